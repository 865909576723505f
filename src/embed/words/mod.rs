//! Word vectors: trained here, searched by meaning, kept in a model folder.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `tokenize.rs` | what a word is |
//! | `data.rs` | a corpus read into word numbers |
//! | `train.rs` | skip-gram and CBOW with negative sampling over all cores |
//! | `subwords.rs` | words by their character n-grams |
//! | `weight.rs` | how much a word tells (SIF), for blocks of text |
//! | `model.rs` | the model: vectors, neighbours, the [`Embedder`](super::Embedder) |
//! | `blank.rs` | blanks filled by the net's output layer |
//! | `file.rs` | the model folder |
//! | `word2vec.rs` | the text and binary formats of word2vec |
//! | `glove.rs` | GloVe's text format, and which format a file has |
//! | `fasttext.rs` | the binary format of fastText |
//! | `eval.rs` | word similarity and analogies |

mod blank;
pub mod data;
pub mod eval;
mod fasttext;
mod file;
mod glove;
mod model;
mod subwords;
pub mod tokenize;
mod train;
pub(crate) mod weight;
pub mod word2vec;

pub(crate) use model::out_of_vocabulary;
#[cfg(test)]
pub(crate) use model::tests::{only_common_model, small as small_model};
pub use model::{MAX_NEIGHBOURS, WordModel};
pub use subwords::Ngrams;
pub use train::{MAX_DIMENSION, Objective, TrainOptions, TrainProgress, train};
