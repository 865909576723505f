//! The trait that every embedder implements: an input and a tap in, a vector out.

use super::{Error, Fingerprint, ModelCard, digits::DigitNet, transformers::LanguageModel, words::WordModel};
use rayon::prelude::*;

/// The names that files of model folders have.
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

/// What an embedder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    /// A word, a sentence, a block of text.
    Text,
    /// An encoded image file, or raw pixels where the embedder says so.
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

/// One thing to embed. Untrusted: every embedder checks it.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// The bytes of an image file, or of raw pixels.
    Image(&'a [u8]),
}

impl Input<'_> {
    /// What kind of input this is.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Text(_) => Modality::Text,
            Self::Image(_) => Modality::Image,
        }
    }
}

impl<'a> Input<'a> {
    /// The text, of an embedder that reads nothing else.
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

/// A place inside the net whose numbers serve as a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// For example `features`.
    pub name: &'static str,
    /// Components of its vectors.
    pub dimension: u32,
    /// One line for people.
    pub about: &'static str,
}

/// A trained net that gives vectors. Immutable: the same input gives the same bits for the same fingerprint.
pub trait Embedder: Send + Sync {
    /// `words`, `text`, `digits`.
    fn name(&self) -> &str;
    /// What it reads; of one that reads both, what it is made for.
    fn modality(&self) -> Modality;
    /// Whether it reads that too: texts and images may share a space.
    fn reads(&self, modality: Modality) -> bool {
        modality == self.modality()
    }
    /// Its taps; the first is the default.
    fn taps(&self) -> &[Tap];
    /// SHA-256 over weights, preprocessing and settings.
    fn fingerprint(&self) -> Fingerprint;
    /// Where it comes from and how good it is.
    fn card(&self) -> &ModelCard;
    /// The vector of `input` at `tap`, of that tap's dimension; finite, not of zero norm.
    ///
    /// # Errors
    /// [`Error`] of kind `InvalidInput` when the input is not of this embedder's modality, cannot be
    /// decoded, or has nothing it knows; the message names what.
    fn embed(&self, tap: &Tap, input: &Input<'_>) -> Result<Vec<f32>, Error>;

    /// [`embed`](Self::embed) of many inputs, in order; each fails alone. Uses all cores where that pays.
    fn embed_batch(&self, tap: &Tap, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        inputs.par_iter().map(|input| self.embed(tap, input)).collect()
    }

    /// The files of its model folder, by name: what [`Registry::add_folder`](super::Registry::add_folder) reads. None for
    /// an embedder that has no such folder.
    ///
    /// # Errors
    /// [`Error::Io`] when the weights cannot be put into a file.
    fn files(&self) -> Result<ModelFiles, Error> {
        Ok(Vec::new())
    }

    /// Inputs that tell, when they are embedded again later, whether it still gives the same vectors. Those that it cannot
    /// embed are passed over.
    fn canaries(&self) -> Vec<Vec<u8>> {
        match self.modality() {
            Modality::Text => [
                "The ship was sunk by a storm, and its crew came home in a small boat.",
                "alligator and crocodile",
                "In 1874 they measured 3.5 miles; nobody believed it!",
                // One token of any vocabulary of bytes.
                "a",
            ]
            .map(|text| text.as_bytes().to_vec())
            .to_vec(),
            // A bar, a slope and a ring, 28 x 28, 255 being ink.
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

    /// The word model inside, where there is one: nearest words, filled blanks.
    fn word_model(&self) -> Option<&WordModel> {
        None
    }
    /// The language model inside, where there is one: what comes next.
    fn language_model(&self) -> Option<&dyn LanguageModel> {
        None
    }
    /// The digit net inside, where there is one: class probabilities.
    fn digit_net(&self) -> Option<&DigitNet> {
        None
    }

    /// The tap of that name; the default tap for an empty name.
    ///
    /// # Errors
    /// [`Error::UnknownTap`] naming the taps there are.
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
