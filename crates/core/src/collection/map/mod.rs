//! Maps: layouts of a collection, kept and brought up to date, and what is written to it told as it happens.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `words.rs` | what is asked for and what is told |
//! | `choose.rs` | the points of a layout: all, or an even sample |
//! | `layout.rs` | a layout that is kept, and the few of them that are |
//! | `project.rs` | makes a layout, or takes the one that is kept |
//! | `neighbors.rs` | the nearest others of each point, by the index |
//! | `place.rs` | the places of queries and of points that were written since |
//! | `feed.rs` | what is written, for those who watch |

mod choose;
mod feed;
mod layout;
mod neighbors;
mod place;
mod project;
mod words;

pub(super) use feed::Changes;
pub use feed::{Feed, News};
pub(super) use layout::Maps;
pub use words::*;
