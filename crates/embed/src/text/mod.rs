//! Blocks of text from their words' vectors.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `model.rs` | the embedder `text`: smooth inverse frequency weights, the common component removed |
//! | `encoder.rs` | the encoder trained by contrast |
//! | `sketch.rs` | the words of a text in a few numbers |
//! | `paragraphs.rs` | paragraphs of articles, some of them held out |
//! | `train.rs` | training by contrast of paragraphs: settings and steps |
//! | `net.rs` | the weights, forward and back |
//! | `contrast.rs` | the loss |
//! | `retrieval.rs` | how well the paragraphs of an article find each other |
//! | `bm25.rs` | BM25, to compare with |

pub mod bm25;
mod contrast;
mod encoder;
mod model;
mod net;
pub mod paragraphs;
pub mod retrieval;
mod sketch;
mod train;

pub use encoder::{CONTRAST, TextEncoder};
pub use model::{MAX_TEXT_BYTES, OF_TEXTS, TextEmbedder};
pub use train::{TrainOptions, TrainProgress, train};
