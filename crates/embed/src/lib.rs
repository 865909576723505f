//! Embedders: map a word, a text or an image to a vector.
//!
//! | file | contents |
//! | --- | --- |
//! | `embedder.rs` | the [`Embedder`] trait, its inputs and output layers |
//! | `capability.rs` | optional capabilities: [`WordVectors`], [`LanguageModel`], [`DigitClassifier`] |
//! | `batch.rs` | batch embedding in chunks, on a separate thread pool |
//! | `fingerprint.rs` | SHA-256 of weights, preprocessing and settings |
//! | `card.rs` | the model card and the training data it lists |
//! | `registry.rs` | the embedders of a process, by name and by fingerprint |
//! | `epochs.rs` | progress of a training on labelled images |
//! | `knn.rs` | exact nearest neighbours, and the share of the same class |
//! | `save.rs` | writing and reading files of a model folder |
//! | `image_decode.rs` | untrusted image files: limits, decoding |
//! | `formats/` | readers of file formats: gzip and zstd, IDX, WikiExtractor, word2vec |
//! | `words/` | skip-gram word vectors: data, model, train, file, eval |
//! | `text/` | text vectors from word vectors: SIF, or contrastive training; paragraph retrieval test |
//! | `transformers/` | BERT, GPT-2, CLIP, DINOv2 and residual nets from a folder; trains a small GPT-2 |
//! | `digits/` | the 11-layer digit net: data, model, train, file, image preprocessing |
//! | `images/` | a residual net for image classification: data, model, train, file |

pub(crate) use nearness_base::{disk, types};
pub(crate) use nearness_math as math;

mod batch;
mod capability;
mod card;
pub mod digits;
mod embedder;
mod epochs;
mod error;
mod fingerprint;
pub mod formats;
pub mod image_decode;
pub mod images;
pub mod knn;
mod registry;
mod save;
pub mod text;
pub mod transformers;
pub mod words;

pub use batch::{embed_in_chunks, run_on_embed_pool};
pub use capability::{Activation, DigitClassifier, LanguageModel, NextToken, WordVectors};
pub use card::{DIGITS, DataSource, ModelCard, WORDS, check_name, date, today};
pub use embedder::{Embedder, EmbedderInfo, Input, MODEL_FILES, Modality, ModelFiles, OutputLayer};
pub use error::{Error, ErrorKind};
pub use fingerprint::{Fingerprint, Fingerprinter};
pub use registry::{BUILT_IN, Model, Origin, Registry, load_folder, word_embedders};
