<<<<<<< HEAD
//! Word vectors.
use super::{Embedder, Error, Fingerprint, Input, Modality, ModelCard, Tap};
use std::path::Path;
pub struct WordModel;
impl WordModel {
    pub fn default_model() -> Result<Self, Error> {
        unimplemented!()
    }
    pub fn load(_folder: &Path) -> Result<Self, Error> {
        unimplemented!()
    }
}
impl Embedder for WordModel {
    fn name(&self) -> &str {
        "words"
    }
    fn modality(&self) -> Modality {
        Modality::Text
    }
    fn taps(&self) -> &[Tap] {
        unimplemented!()
    }
    fn fingerprint(&self) -> Fingerprint {
        unimplemented!()
    }
    fn card(&self) -> &ModelCard {
        unimplemented!()
    }
    fn embed(&self, _tap: &Tap, _input: &Input<'_>) -> Result<Vec<f32>, Error> {
        unimplemented!()
    }
    fn embed_batch(&self, _tap: &Tap, _inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        unimplemented!()
    }
}
=======
//! Word vectors: trained here, searched by meaning, kept in a model folder.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `tokenize.rs` | what a word is |
//! | `data.rs` | a corpus read into word numbers |
//! | `train.rs` | skip-gram with negative sampling over all cores |
//! | `weight.rs` | how much a word tells (SIF), for blocks of text |
//! | `model.rs` | the model: vectors, neighbours, the [`Embedder`](super::Embedder) |
//! | `blank.rs` | blanks filled by the net's output layer |
//! | `file.rs` | the model folder |
//! | `word2vec.rs` | the text and binary formats of word2vec |
//! | `eval.rs` | word similarity and analogies |

mod blank;
pub mod data;
pub mod eval;
mod file;
mod model;
pub mod tokenize;
mod train;
pub(crate) mod weight;
pub mod word2vec;

pub use file::Precision;
pub(crate) use model::out_of_vocabulary;
#[cfg(test)]
pub(crate) use model::tests::{only_common_model, small as small_model};
pub use model::{MAX_NEIGHBOURS, WordModel};
pub use train::{MAX_DIMENSION, TrainOptions, TrainProgress, train};
>>>>>>> words
