//! The [`Embedder`] trait: maps an input to the vector of a tap.

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
pub struct Tap {
    /// The name, for example `features`.
    pub name: &'static str,
    /// Dimension of its vectors.
    pub dimension: u32,
    /// One-line description.
    pub about: &'static str,
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
    /// The taps; the first is the default.
    fn taps(&self) -> &[Tap];
    /// SHA-256 of weights, preprocessing and settings.
    fn fingerprint(&self) -> Fingerprint;
    /// Origin and measured quality.
    fn card(&self) -> &ModelCard;
    /// The vector of `input` at `tap`. It has the tap's dimension, is finite, and its norm is not zero.
    ///
    /// # Errors
    /// [`Error`] of kind `InvalidInput` if the input is of another modality, cannot be decoded, or contains nothing
    /// that the embedder can embed; the message names the cause.
    fn embed(&self, tap: &Tap, input: &Input<'_>) -> Result<Vec<f32>, Error>;

    /// [`embed`](Self::embed) for many inputs, in order; each has its own result. Uses all cores where that pays.
    fn embed_batch(&self, tap: &Tap, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        inputs.par_iter().map(|input| self.embed(tap, input)).collect()
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
    fn canaries(&self) -> Vec<Vec<u8>> {
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

    /// The tap of that name; the default tap for an empty name.
    ///
    /// # Errors
    /// [`Error::UnknownTap`] with the available taps.
    fn tap(&self, name: &str) -> Result<&Tap, Error> {
        let taps = self.taps();
        let found = if name.is_empty() { taps.first() } else { taps.iter().find(|tap| tap.name == name) };
        found.ok_or_else(|| Error::UnknownTap {
            embedder: self.name().into(),
            tap: name.into(),
            known: taps.iter().map(|tap| tap.name).collect::<Vec<_>>().join(", "),
        })
    }
}
