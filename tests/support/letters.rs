//! A test embedder that counts the letters a to z of a text.

use nearness::embed::{Embedder, Error, Fingerprint, Fingerprinter, Input, Modality, ModelCard, OutputLayer};

/// Counts letters; a text without letters is out of vocabulary.
pub(crate) struct Letters {
    card: ModelCard,
    outputs: [OutputLayer; 2],
}

impl Letters {
    pub(crate) fn new() -> Self {
        let card = ModelCard { name: "letters".into(), summary: "counts letters".into(), ..Default::default() };
        let outputs = [
            OutputLayer { name: "counts", dimension: 26, about: "occurrences of a to z" },
            OutputLayer { name: "vowels", dimension: 5, about: "occurrences of a e i o u, plus one each" },
        ];
        Self { card, outputs }
    }
}

impl Embedder for Letters {
    fn name(&self) -> &str {
        "letters"
    }
    fn modality(&self) -> Modality {
        Modality::Text
    }
    fn output_layers(&self) -> &[OutputLayer] {
        &self.outputs
    }
    fn fingerprint(&self) -> Fingerprint {
        Fingerprinter::new("letters/1").finish()
    }
    fn card(&self) -> &ModelCard {
        &self.card
    }
    fn embed(&self, output: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        let Input::Text(text) = input else {
            return Err(Error::Modality { embedder: "letters".into(), expected: "text", found: "an image" });
        };
        let mut counts = vec![0.0; 26];
        text.bytes().filter(u8::is_ascii_lowercase).for_each(|letter| counts[usize::from(letter - b'a')] += 1.0);
        if counts.iter().all(|count| *count == 0.0) {
            return Err(Error::OutOfVocabulary { embedder: "letters".into(), words: (*text).into() });
        }
        if output.name == "vowels" {
            return Ok([0, 4, 8, 14, 20].map(|at| 1.0 + counts[at]).to_vec());
        }
        Ok(counts)
    }
    fn embed_batch(&self, output: &OutputLayer, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        inputs.iter().map(|input| self.embed(output, input)).collect()
    }
}
