//! Embedders: what turns a word, a text or an image into a vector.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `embedder.rs` | the [`Embedder`] trait, its inputs and taps |
//! | `batch.rs` | many inputs: stretch by stretch, on threads of their own |
//! | `fingerprint.rs` | SHA-256 over weights, preprocessing and settings |
//! | `card.rs` | the model card, and the files that it names |
//! | `registry.rs` | the embedders a process knows, by name and by fingerprint |
//! | `epochs.rs` | how far a training on labelled images is |
//! | `nearest.rs` | the nearest of many vectors, and how often they are of the same class |
//! | `save.rs` | writes and reads a file of a model folder |
//! | `packed.rs` | gzip and zstd files as streams of their content |
//! | `picture.rs` | image files from outside: limits, decoding |
//! | `words/` | skip-gram word vectors: data, model, train, file, eval |
//! | `text/` | a block of text from its words' vectors: SIF, or trained by contrast; how well paragraphs find each other |
//! | `transformers/` | BERT, GPT-2, CLIP, DINOv2 and residual nets from a folder; trains a small GPT-2 |
//! | `digits/` | the 11-layer digit net: data, model, train, file, image preprocessing |
//! | `images/` | a residual net for pictures of any classes: data, model, train, file |

pub(crate) use nearness_base::{disk, types};
pub(crate) use nearness_math as math;

mod batch;
mod card;
pub mod digits;
mod embedder;
mod epochs;
mod error;
mod fingerprint;
pub mod images;
pub mod nearest;
pub mod packed;
pub mod picture;
mod registry;
mod save;
pub mod text;
pub mod transformers;
pub mod words;

pub use batch::{embed_stretches, on_embedding_threads};
pub use card::{DIGITS, DataSource, ModelCard, WORDS, check_name, date, today};
pub use embedder::{Embedder, Input, MODEL_FILES, Modality, ModelFiles, Tap};
pub use error::{Error, ErrorKind};
pub use fingerprint::{Fingerprint, Fingerprinter};
pub use registry::{BUILT_IN, Model, Origin, Registry, load_folder, of_words};
