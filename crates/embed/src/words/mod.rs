//! Word vectors: training, import, nearest-word search, and the model folder.
//!
//! | file | contents |
//! | --- | --- |
//! | `tokenize.rs` | the tokenizer |
//! | `data.rs` | streaming text input: plain, gzip, zstd, standard input |
//! | `vocabulary.rs` | word counting in bounded memory |
//! | `token_file.rs` | a file of word numbers |
//! | `corpus.rs` | a corpus as word numbers, with its vocabulary |
//! | `corpus_reader.rs` | reading text files as a corpus |
//! | `phrases.rs` | phrase detection: frequent word pairs become one word |
//! | `bpe.rs` | subword tokenization of a corpus |
//! | `options.rs` | training options and progress |
//! | `train.rs` | the phases of a training |
//! | `negative_sampling.rs` | skip-gram and CBOW with negative sampling, multi-threaded |
//! | `cooccurrence.rs` | word co-occurrence counts, in bounded memory |
//! | `glove_train.rs` | GloVe |
//! | `sampling.rs` | random sampling for training |
//! | `parallel_loop.rs` | a parallel loop over numbered iterations, with pauses for checkpoints |
//! | `checkpoint.rs` | checkpoints of an interrupted training |
//! | `postprocess.rs` | postprocessing of trained vectors |
//! | `cloze_train.rs` | training of the cloze layer, which fills blanks |
//! | `subwords.rs` | character n-grams of words |
//! | `sif.rs` | SIF word weights, for blocks of text |
//! | `sif_train.rs` | the common component of texts |
//! | `model.rs` | the model: vectors, neighbours, the [`Embedder`](super::Embedder) |
//! | `cloze_layer.rs` | the parameters of the cloze layer |
//! | `cloze.rs` | filling blanks |
//! | `table.rs` | matrices in their stored precision |
//! | `file.rs` | the model folder |
//! | `spelling.rs` | spelling and selection of imported words |
//! | `word2vec.rs` | import and export of word2vec files |
//! | `import.rs` | import of a file, with format detection |
//! | `imported.rs` | an imported model, and the words that were skipped |
//! | `glove_file.rs` | GloVe's text format |
//! | `json.rs` | word vectors as a JSON object |
//! | `fasttext.rs` | the binary format of fastText |
//! | `eval.rs` | evaluation: word similarity, analogies, blanks |

mod bpe;
mod checkpoint;
mod cloze;
mod cloze_layer;
mod cloze_train;
mod cooccurrence;
mod corpus;
mod corpus_reader;
pub mod data;
pub mod eval;
mod fasttext;
pub(crate) mod file;
mod glove_file;
mod glove_train;
mod import;
mod imported;
mod json;
mod model;
mod negative_sampling;
mod options;
mod parallel_loop;
mod phrases;
mod postprocess;
pub(crate) mod sampling;
pub(crate) mod sif;
mod sif_train;
pub mod spelling;
mod subwords;
mod table;
mod token_file;
pub(crate) mod tokenize;
mod train;
mod vocabulary;
pub mod word2vec;

pub use checkpoint::remove_checkpoint;
pub use glove_file::write_glove;
pub use imported::Imported;
pub(crate) use model::out_of_vocabulary;
#[cfg(test)]
pub(crate) use model::tests::{
    only_common_model, small as small_model, spelled as spelled_model, toy as toy_model, toy_word,
};
pub use model::{Term, WordModel};
pub use options::{
    Checkpoints, MAX_DIMENSION, Ngrams, Objective, Phrases, Postprocessing, TrainOptions, TrainProgress,
};
pub use spelling::Notes;
pub use tokenize::Tokenizer;
pub use train::train;
