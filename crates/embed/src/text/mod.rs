//! Embedders of text blocks, based on word vectors.
//!
//! | file | contents |
//! | --- | --- |
//! | `model.rs` | the embedder `text`: smooth inverse frequency weights, the common component removed |
//! | `encoder.rs` | the text encoder trained by contrast |
//! | `hashed_features.rs` | hashed features of a text's words |
//! | `paragraphs.rs` | paragraphs of articles, some of them held out |
//! | `train.rs` | contrastive training on paragraphs: options and steps |
//! | `net.rs` | the weights, forward and backward pass |
//! | `contrastive_loss.rs` | the contrastive loss |
//! | `retrieval.rs` | retrieval of paragraphs of the same article |
//! | `bm25.rs` | BM25, the baseline |

pub mod bm25;
mod contrastive_loss;
mod encoder;
mod hashed_features;
mod model;
mod net;
pub mod paragraphs;
pub mod retrieval;
mod train;

pub use encoder::{FAMILY, TextEncoder};
pub use model::{MAX_TEXT_BYTES, TEXT_SUFFIX, TextEmbedder};
pub use train::{TrainOptions, TrainProgress, train};
