//! Word vectors: training, import, nearest-word search, and the model folder.
//!
//! | file | contents |
//! | --- | --- |
//! | `tokenize.rs` | the tokenizer |
//! | `data.rs` | streaming text input: plain, gzip, zstd, standard input |
//! | `vocabulary.rs` | word counting in bounded memory |
//! | `token_file.rs` | a file of word numbers |
//! | `corpus.rs` | a corpus as word numbers, with its vocabulary |
//! | `phrases.rs` | phrase detection: frequent word pairs become one word |
//! | `bpe.rs` | subword tokenization of a corpus |
//! | `train.rs` | the training options and phases |
//! | `negative_sampling.rs` | skip-gram and CBOW with negative sampling, multi-threaded |
//! | `cooccurrence.rs` | word co-occurrence counts, in bounded memory |
//! | `glove_train.rs` | GloVe |
//! | `sampling.rs` | random sampling for training |
//! | `parallel_loop.rs` | a parallel loop over numbered turns, with pauses for checkpoints |
//! | `checkpoint.rs` | checkpoints of an interrupted training |
//! | `postprocess.rs` | postprocessing of trained vectors |
//! | `cloze_train.rs` | training of the cloze layer, which fills blanks |
//! | `subwords.rs` | character n-grams of words |
//! | `sif.rs` | SIF word weights, for blocks of text |
//! | `model.rs` | the model: vectors, neighbours, the [`Embedder`](super::Embedder) |
//! | `cloze.rs` | filling blanks |
//! | `file.rs` | the model folder |
//! | `spelling.rs` | spelling and selection of imported words |
//! | `word2vec.rs` | the text and binary formats of word2vec |
//! | `glove_file.rs` | GloVe's text format, and format detection |
//! | `json.rs` | word vectors as a JSON object |
//! | `fasttext.rs` | the binary format of fastText |
//! | `eval.rs` | evaluation: word similarity, analogies, blanks |

mod bpe;
mod checkpoint;
mod cloze;
mod cloze_train;
mod cooccurrence;
mod corpus;
pub mod data;
pub mod eval;
mod fasttext;
pub(crate) mod file;
mod glove_file;
mod glove_train;
mod json;
mod model;
mod negative_sampling;
mod parallel_loop;
mod phrases;
mod postprocess;
pub(crate) mod sampling;
pub(crate) mod sif;
pub mod spelling;
mod subwords;
mod token_file;
pub mod tokenize;
mod train;
mod vocabulary;
pub mod word2vec;

pub use checkpoint::{Checkpoints, remove_checkpoint};
pub use glove_file::write_glove;
#[cfg(test)]
pub(crate) use model::tests::{
    only_common_model, small as small_model, spelled as spelled_model, toy as toy_model, toy_word,
};
pub use model::{MAX_NEIGHBOURS, WordModel};
pub use model::{Term, out_of_vocabulary};
pub use phrases::Phrases;
pub use postprocess::Refine;
pub use spelling::{Imported, Notes};
pub use subwords::Ngrams;
pub use tokenize::Tokenizer;
pub use train::{MAX_DIMENSION, Objective, TrainOptions, TrainProgress, train};
