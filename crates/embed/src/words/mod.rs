//! Word vectors: trained here, searched by meaning, kept in a model folder.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `tokenize.rs` | what a word is |
//! | `data.rs` | text read as a stream: plain, gzip, zstd, standard input |
//! | `vocabulary.rs` | words counted in bounded memory |
//! | `spool.rs` | word numbers in a file |
//! | `corpus.rs` | a corpus as word numbers with its vocabulary |
//! | `phrases.rs` | words that occur together become one |
//! | `pieces.rs` | pieces of words instead of words |
//! | `train.rs` | the settings of training, and its phases |
//! | `negative.rs` | skip-gram and CBOW with negative sampling over all cores |
//! | `cooccurrence.rs` | how often words stand near each other, in bounded memory |
//! | `factors.rs` | GloVe |
//! | `draw.rs` | random choices of training |
//! | `rounds.rs` | work in turns for all cores, with pauses |
//! | `checkpoint.rs` | a training that was interrupted goes on |
//! | `refine.rs` | what is done to the vectors after training |
//! | `told.rs` | the layer that fills blanks, trained |
//! | `subwords.rs` | words by their character n-grams |
//! | `weight.rs` | how much a word tells (SIF), for blocks of text |
//! | `model.rs` | the model: vectors, neighbours, the [`Embedder`](super::Embedder) |
//! | `blank.rs` | blanks filled |
//! | `file.rs` | the model folder |
//! | `spelling.rs` | which words of other programs' files are taken, and how they are spelled |
//! | `word2vec.rs` | the text and binary formats of word2vec |
//! | `glove.rs` | GloVe's text format, and which format a file has |
//! | `json.rs` | an object of words and their numbers |
//! | `fasttext.rs` | the binary format of fastText |
//! | `eval.rs` | word similarity and analogies |

mod blank;
mod checkpoint;
mod cooccurrence;
mod corpus;
pub mod data;
pub(crate) mod draw;
pub mod eval;
mod factors;
mod fasttext;
pub(crate) mod file;
mod glove;
mod json;
mod model;
mod negative;
mod phrases;
mod pieces;
mod refine;
mod rounds;
pub mod spelling;
mod spool;
mod subwords;
pub mod tokenize;
mod told;
mod train;
mod vocabulary;
pub(crate) mod weight;
pub mod word2vec;

pub use checkpoint::{Checkpoints, remove_checkpoint};
pub use glove::write_glove;
#[cfg(test)]
pub(crate) use model::tests::{
    only_common_model, small as small_model, spelled as spelled_model, toy as toy_model, toy_word,
};
pub use model::{MAX_NEIGHBOURS, WordModel};
pub use model::{Term, out_of_vocabulary};
pub use phrases::Phrases;
pub use refine::Refine;
pub use spelling::{Imported, Notes};
pub use subwords::Ngrams;
pub use tokenize::Tokenizer;
pub use train::{MAX_DIMENSION, Objective, TrainOptions, TrainProgress, train};
