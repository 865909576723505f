//! Maps: 2-D/3-D layouts of a collection, cached and kept up to date, and the change feed.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `words.rs` | requests, results and limits |
//! | `choose.rs` | the points of a layout: all, or an even sample |
//! | `layout.rs` | layouts and their cache |
//! | `project.rs` | the computation of a layout, or its update from the cache |
//! | `neighbors.rs` | the nearest neighbours of each point, by the index |
//! | `place.rs` | the coordinates of queries and of newly written points |
//! | `feed.rs` | the change feed |

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
