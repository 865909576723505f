//! The digit net.
use super::{Embedder, Error, Fingerprint, Input, Modality, ModelCard, Tap};
use std::path::Path;
pub struct DigitNet;
impl DigitNet {
    pub fn default_model() -> Result<Self, Error> {
        unimplemented!()
    }
    pub fn load(_folder: &Path) -> Result<Self, Error> {
        unimplemented!()
    }
}
impl Embedder for DigitNet {
    fn name(&self) -> &str {
        "digits"
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
