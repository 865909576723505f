//! Blocks of text from their words' vectors.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `model.rs` | the embedder `text`: smooth inverse frequency weights, the common component removed; or vectors trained by contrast, added up |
//! | `paragraphs.rs` | paragraphs of articles, some of them held out |
//! | `train.rs` | training by contrast of paragraphs: settings and steps |
//! | `net.rs` | the weights, forward and back |
//! | `contrast.rs` | the loss |
//! | `retrieval.rs` | how well the paragraphs of an article find each other |
//! | `bm25.rs` | BM25, to compare with |

pub mod bm25;
mod contrast;
mod model;
mod net;
pub mod paragraphs;
pub mod retrieval;
mod train;

pub use model::{CONTRAST, MAX_TEXT_BYTES, TextEmbedder};
pub use train::{TrainOptions, TrainProgress, train};
