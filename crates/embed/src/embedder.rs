//! The [`Embedder`] trait: maps an input to the vector of an output layer.

use super::capability::{DigitClassifier, LanguageModel, WordVectors};
use super::{Error, Fingerprint, ModelCard};
use rayon::prelude::*;

/// File names in model folders.
pub const MODEL_FILES: [&str; 7] = [
    "card.json",
    "model.safetensors",
    "vocab.txt",
    "config.json",
    "pooling.json",
    "tokenizer.json",
    "preprocessor.json",
];

/// Names and contents of the files of a model folder.
pub type ModelFiles = Vec<(&'static str, Vec<u8>)>;

/// Kind of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    /// A word, a sentence, a block of text.
    Text,
    /// An encoded image file, or raw pixels if the embedder accepts them.
    Image,
}

impl Modality {
    /// `text` or `image`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
        }
    }
}

/// One input to embed. Untrusted: every embedder validates it.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// The bytes of an image file, or raw pixels.
    Image(&'a [u8]),
}

impl Input<'_> {
    /// The modality of this input.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Text(_) => Modality::Text,
            Self::Image(_) => Modality::Image,
        }
    }
}

impl<'a> Input<'a> {
    /// The text, for an embedder that reads text only.
    ///
    /// # Errors
    /// [`Error::Modality`] for an image.
    pub(super) fn text_for(&self, embedder: &str) -> Result<&'a str, Error> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Image(_) => Err(Error::Modality {
                embedder: embedder.into(),
                expected: Modality::Text.name(),
                found: self.modality().name(),
            }),
        }
    }
}

/// An output layer of the net whose values serve as a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLayer {
    /// The name, for example `features`.
    pub name: &'static str,
    /// Dimension of its vectors.
    pub dimension: u32,
    /// One-line description.
    pub about: &'static str,
}

/// Description of an embedder: everything but the computation.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedderInfo {
    /// The name.
    pub name: String,
    /// The main input modality.
    pub modality: Modality,
    /// The output layers; the first is the default.
    pub output_layers: Vec<OutputLayer>,
    /// SHA-256 of weights, preprocessing and settings.
    pub fingerprint: Fingerprint,
    /// Origin and measured quality.
    pub card: ModelCard,
}

impl From<&dyn Embedder> for EmbedderInfo {
    fn from(embedder: &dyn Embedder) -> Self {
        Self {
            name: embedder.name().into(),
            modality: embedder.modality(),
            output_layers: embedder.output_layers().to_vec(),
            fingerprint: embedder.fingerprint(),
            card: embedder.card().clone(),
        }
    }
}

/// A trained net that computes vectors. Immutable: the same input and fingerprint give the same bits.
pub trait Embedder: Send + Sync {
    /// The name: `words`, `text`, `digits`.
    fn name(&self) -> &str;
    /// The input modality; for an embedder that reads both, the main one.
    fn modality(&self) -> Modality;
    /// Whether it reads that modality. Texts and images may share a vector space.
    fn reads(&self, modality: Modality) -> bool {
        modality == self.modality()
    }
    /// The output layers; the first is the default.
    fn output_layers(&self) -> &[OutputLayer];
    /// SHA-256 of weights, preprocessing and settings.
    fn fingerprint(&self) -> Fingerprint;
    /// Origin and measured quality.
    fn card(&self) -> &ModelCard;
    /// The vector of `input` at `layer`. It has the output layer's dimension, is finite, and its norm is not zero.
    ///
    /// # Errors
    /// [`Error`] of kind `InvalidInput` if the input is of another modality, cannot be decoded, or contains nothing
    /// that the embedder can embed; the message names the cause.
    fn embed(&self, layer: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error>;

    /// [`embed`](Self::embed) for many inputs, in order; each has its own result. Uses all cores if that is faster.
    fn embed_batch(&self, layer: &OutputLayer, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        inputs.par_iter().map(|input| self.embed(layer, input)).collect()
    }

    /// The files of the model folder, by name, as [`Registry::add_folder`](super::Registry::add_folder) reads them.
    /// Empty for an embedder without a folder.
    ///
    /// # Errors
    /// [`Error::Io`] if the weights cannot be serialized.
    fn files(&self) -> Result<ModelFiles, Error> {
        Ok(Vec::new())
    }

    /// Reference inputs: embedding them again later shows whether the vectors are still the same. Callers skip
    /// those that it cannot embed.
    fn reference_inputs(&self) -> Vec<Vec<u8>> {
        match self.modality() {
            Modality::Text => [
                "The ship was sunk by a storm, and its crew came home in a small boat.",
                "alligator and crocodile",
                "In 1874 they measured 3.5 miles; nobody believed it!",
                // One token in any byte-level vocabulary.
                "a",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec(),
            // A bar, a slope and a ring, 28 x 28; 255 is ink.
            Modality::Image => {
                let ink = |shape: fn(i32, i32) -> bool| {
                    (0..28 * 28).map(|at| if shape(at % 28, at / 28) { 255 } else { 0 }).collect()
                };
                vec![
                    ink(|x, y| (12..15).contains(&x) && (4..24).contains(&y)),
                    ink(|x, y| (x + y - 27).abs() < 2 && (5..23).contains(&x)),
                    ink(|x, y| (49..82).contains(&((x - 14) * (x - 14) + (y - 14) * (y - 14)))),
                ]
            }
        }
    }

    /// The word model, if there is one: nearest words, masked words.
    fn word_model(&self) -> Option<&dyn WordVectors> {
        None
    }
    /// The language model, if there is one: next-token prediction.
    fn language_model(&self) -> Option<&dyn LanguageModel> {
        None
    }
    /// The digit net, if there is one: class probabilities.
    fn digit_net(&self) -> Option<&dyn DigitClassifier> {
        None
    }

    /// The output layer of that name; the default output layer for an empty name.
    ///
    /// # Errors
    /// [`Error::UnknownOutputLayer`] with the available output layers.
    fn output_layer(&self, name: &str) -> Result<&OutputLayer, Error> {
        let output_layers = self.output_layers();
        let found =
            if name.is_empty() { output_layers.first() } else { output_layers.iter().find(|layer| layer.name == name) };
        found.ok_or_else(|| Error::UnknownOutputLayer {
            embedder: self.name().into(),
            layer: name.into(),
            known: output_layers.iter().map(|layer| layer.name).collect::<Vec<_>>().join(", "),
        })
    }
}
