//! Text.
use super::{Embedder, Error, Fingerprint, Input, Modality, ModelCard, Tap};
pub struct TextEmbedder;
impl TextEmbedder {
    pub fn new(_words: std::sync::Arc<super::words::WordModel>) -> Result<Self, Error> {
        unimplemented!()
    }
}
impl Embedder for TextEmbedder {
    fn name(&self) -> &str {
        "text"
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
