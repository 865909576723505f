//! Collections: where store, index and embedders are joined.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `engine.rs` | the [`Engine`] trait and the domain's words |
//! | `error.rs` | what it answers when it cannot do as asked |

mod engine;
mod error;

pub use engine::*;
pub use error::{Error, ErrorKind};
