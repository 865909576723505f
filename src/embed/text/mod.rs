//! Blocks of text from their words' vectors.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `model.rs` | the embedder `text`: smooth inverse frequency weights, the common component removed |

mod model;

pub use model::{MAX_TEXT_BYTES, TextEmbedder};
