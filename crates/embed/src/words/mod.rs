//! Word vectors: training, import, nearest-word search, and the model folder.
//!
//! | file | contents |
//! | --- | --- |
//! | `tokenize.rs` | the tokenizer |
//! | `data.rs` | streaming text input: plain, gzip, zstd, standard input |
//! | `vocabulary.rs` | word counting in bounded memory |
//! | `spool.rs` | a file of word numbers |
//! | `corpus.rs` | a corpus as word numbers, with its vocabulary |
//! | `phrases.rs` | phrase detection: frequent word pairs become one word |
//! | `pieces.rs` | subword tokenization of a corpus |
//! | `train.rs` | the training options and phases |
//! | `negative.rs` | skip-gram and CBOW with negative sampling, multi-threaded |
//! | `cooccurrence.rs` | word co-occurrence counts, in bounded memory |
//! | `factors.rs` | GloVe |
//! | `draw.rs` | random sampling for training |
//! | `rounds.rs` | a parallel loop over numbered turns, with pauses for checkpoints |
//! | `checkpoint.rs` | checkpoints of an interrupted training |
//! | `refine.rs` | postprocessing of trained vectors |
//! | `told.rs` | training of the cloze layer, which fills blanks |
//! | `subwords.rs` | character n-grams of words |
//! | `weight.rs` | SIF word weights, for blocks of text |
//! | `model.rs` | the model: vectors, neighbours, the [`Embedder`](super::Embedder) |
//! | `blank.rs` | filling blanks |
//! | `file.rs` | the model folder |
//! | `spelling.rs` | spelling and selection of imported words |
//! | `word2vec.rs` | the text and binary formats of word2vec |
//! | `glove.rs` | GloVe's text format, and format detection |
//! | `json.rs` | word vectors as a JSON object |
//! | `fasttext.rs` | the binary format of fastText |
//! | `eval.rs` | evaluation: word similarity, analogies, blanks |

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
