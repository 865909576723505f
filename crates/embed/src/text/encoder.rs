//! The text encoder trained by contrast (`train.rs`). A vector has two parts, each with a fixed share of its length:
//!
//! - the topic: the sum of the words' learned vectors;
//! - the vocabulary: the hashed features of the words (`hashed_features.rs`), each weighted by its rarity, and by
//!   1 + ln n if it occurs n times. They distinguish names that are not in the training data.
//!
//! The first part is trained without the second, and counts a word as often as it occurs. Training both together, and
//! counting 1 + ln n in both, measured worse (`benches/results/2026-11-28-texts`).

use super::{
    hashed_features,
    model::{check_length, frequency, no_known_words, reference_inputs, unknown_frequency},
};
use crate::capability::WordVectors;
use crate::math::normalize;
use crate::{
    Embedder, Error, Fingerprint, Fingerprinter, Input, Modality, ModelCard, ModelFiles, OutputLayer,
    save::{read_bounded, write_folder},
    words::{MAX_DIMENSION, Term, WordModel, file},
};
use serde_json::Value;
use std::path::Path;

/// The family of these models in their cards.
pub const FAMILY: &str = "text-contrast";
/// Approximate words of a paragraph: turns a share of the words into a share of the paragraphs.
const PARAGRAPH_WORDS: f64 = 100.0;
/// Maximum sizes of the files in a model folder, in bytes.
const MAX_TENSORS_BYTES: u64 = 16 << 30;
const MAX_VOCABULARY_BYTES: u64 = 1 << 30;

/// The parts of a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct VectorParts {
    /// Number of hashed features; 0 for none.
    pub(super) hashed: usize,
    /// Share of the hashed features in a cosine, 0 to 1.
    pub(super) share: f32,
}

impl VectorParts {
    /// Reads the parts from the settings of a card.
    fn of(card: &ModelCard) -> Result<Self, String> {
        let Some(hashed) = card.settings.get("sketch") else { return Ok(Self { hashed: 0, share: 0.0 }) };
        let numbers = hashed.as_u64().filter(|&numbers| numbers <= MAX_DIMENSION as u64);
        let numbers = numbers.ok_or_else(|| format!("settings.sketch is {hashed}, not 0 to {MAX_DIMENSION}"))?;
        let share = card.settings.get("sketch_share").and_then(Value::as_f64).filter(|x| (0.0..=1.0).contains(x));
        let share = share.ok_or("settings.sketch_share must be a number from 0 to 1")?;
        Ok(Self { hashed: numbers as usize, share: share as f32 })
    }

    /// Combines the parts in `out`: the learned part, then the hashed features, both of any length.
    ///
    /// If one part is zero, the other has the full weight. Returns false if both are zero.
    fn combine(self, out: &mut [f32]) -> bool {
        let (learned, hashed) = out.split_at_mut(out.len() - self.hashed);
        let share = match (normalize(learned), normalize(hashed)) {
            (true, true) => self.share,
            (true, false) => 0.0,
            (false, true) => {
                // The learned part may also be a sum beyond the range of floats.
                learned.fill(0.0);
                1.0
            }
            (false, false) => return false,
        };
        let (of_learned, of_hashed) = ((1.0 - share).sqrt(), share.sqrt());
        learned.iter_mut().for_each(|x| *x *= of_learned);
        hashed.iter_mut().for_each(|x| *x *= of_hashed);
        true
    }
}

/// Returns the rarity of a word with this share of the corpus: about ln(1 / share of paragraphs with the word).
fn rarity_of_frequency(share: f64) -> f32 {
    (1.0 + 1.0 / (share * PARAGRAPH_WORDS)).ln() as f32
}

/// Returns the rarity of each word.
pub(super) fn rarity(words: &WordModel) -> Vec<f32> {
    (0..words.vocabulary().len()).map(|number| rarity_of_frequency(frequency(words, number))).collect()
}

/// Returns the distinct words of a text, each with its number if known, and its count; sorted.
fn count_words(model: &WordModel, text: &str) -> Vec<((String, Option<usize>), f32)> {
    let mut words = Vec::new();
    model.terms(text, |term| {
        words.push(match term {
            Term::Known(number) => (model.vocabulary()[number].clone(), Some(number)),
            Term::Unknown(word) => (word.to_owned(), None),
        });
    });
    words.sort_unstable();
    words.chunk_by_mut(|a, b| a == b).map(|same| (std::mem::take(&mut same[0]), same.len() as f32)).collect()
}

/// The encoder of blocks of text.
pub struct TextEncoder {
    words: WordModel,
    rarity: Vec<f32>,
    rarity_of_unknown: f32,
    parts: VectorParts,
    card: ModelCard,
    fingerprint: Fingerprint,
    output_layers: [OutputLayer; 1],
}

impl TextEncoder {
    /// Returns the encoder over learned word vectors, named by the words' card.
    pub(super) fn new(words: WordModel, parts: VectorParts) -> Self {
        let mut fingerprint = Fingerprinter::new("text-contrast/2");
        fingerprint.part("words", &words.fingerprint().0);
        fingerprint.part("sketch", &(parts.hashed as u64).to_le_bytes());
        fingerprint.part("share", &parts.share.to_le_bytes());
        let about = "topic and words of the text, a unit vector";
        let output_layers =
            [OutputLayer { name: "vector", dimension: (words.dimension() + parts.hashed) as u32, about }];
        let card = words.card().clone();
        let (rarity, rarity_of_unknown) = (rarity(&words), rarity_of_frequency(unknown_frequency(&words)));
        let fingerprint = fingerprint.finish();
        Self { words, rarity, rarity_of_unknown, parts, card, fingerprint, output_layers }.record_settings()
    }

    /// Loads a model folder of the family [`FAMILY`]; its files are those of a word model.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if a file is too large, or the files contradict each other.
    pub fn load(folder: &Path, card: ModelCard) -> Result<Self, Error> {
        let path = folder.join(file::CARD);
        card.check_name(&path)?;
        let parts = VectorParts::of(&card).map_err(|what| Error::Corrupt { path, what })?;
        let tensors = read_bounded(&folder.join(file::TENSORS), MAX_TENSORS_BYTES)?;
        let vocabulary = read_bounded(&folder.join(file::VOCABULARY), MAX_VOCABULARY_BYTES)?;
        Ok(Self::new(file::assemble(folder, card, &tensors, &vocabulary, None)?, parts))
    }

    /// Writes the model folder, creating it if needed, the card last.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Disk`].
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        write_folder(folder, &self.files()?)
    }

    /// Returns the same model with another card; the settings of its parts are kept.
    #[must_use]
    pub fn with_card(mut self, card: ModelCard) -> Self {
        self.card = card;
        self.record_settings()
    }

    fn record_settings(mut self) -> Self {
        self.card.settings.insert("sketch".into(), self.parts.hashed.into());
        // The shortest digits that parse to the same number.
        let share = self.parts.share.to_string().parse::<f64>().unwrap_or_default();
        self.card.settings.insert("sketch_share".into(), share.into());
        self
    }

    fn text(&self, text: &str) -> Result<Vec<f32>, Error> {
        check_length(text)?;
        let mut vector = vec![0.0; self.words.dimension() + self.parts.hashed];
        let (learned, hashed) = vector.split_at_mut(self.words.dimension());
        let mut any = false;
        for ((word, number), times) in count_words(&self.words, text) {
            if let Some(number) = number {
                any = true;
                learned.iter_mut().zip(self.words.row(number)).for_each(|(sum, x)| *sum += times * x);
            }
            let rarity = number.map_or(self.rarity_of_unknown, |number| self.rarity[number]);
            hashed_features::add(&word, (1.0 + times.ln()) * rarity, hashed);
        }
        if !any {
            return Err(no_known_words(self.name(), &self.words, text));
        }
        match self.parts.combine(&mut vector) {
            true => Ok(vector),
            false => Err(Error::InvalidInput("the vectors of the text's words cancel each other out".into())),
        }
    }
}

impl Embedder for TextEncoder {
    fn name(&self) -> &str {
        &self.card.name
    }

    fn modality(&self) -> Modality {
        Modality::Text
    }

    fn output_layers(&self) -> &[OutputLayer] {
        &self.output_layers
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn files(&self) -> Result<ModelFiles, Error> {
        self.words.folder_with(&self.card)
    }

    fn reference_inputs(&self) -> Vec<Vec<u8>> {
        reference_inputs(&self.words)
    }

    /// Returns the unit vector of a text of at most [`MAX_TEXT_BYTES`](super::MAX_TEXT_BYTES) with at least one known
    /// word.
    fn embed(&self, layer: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        self.output_layer(layer.name)?;
        self.text(input.text_for(self.name())?)
    }

    fn word_model(&self) -> Option<&dyn WordVectors> {
        Some(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_TEXT_BYTES;
    use super::*;
    use crate::words::{toy_model, toy_word};

    fn encoder(hashed: usize, share: f32) -> TextEncoder {
        TextEncoder::new(toy_model(64, 16), VectorParts { hashed, share })
    }

    fn cosine(encoder: &TextEncoder, a: &str, b: &str) -> f32 {
        let embed = |text: &str| encoder.embed(&encoder.output_layers()[0], &Input::Text(text)).unwrap();
        embed(a).iter().zip(embed(b)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn a_vector_is_of_both_parts_and_of_unit_length() {
        let text = format!("{} {} {}", toy_word(1), toy_word(2), toy_word(1));
        for (hashed, share) in [(0, 0.0), (32, 0.5), (32, 0.25), (32, 1.0)] {
            let encoder = encoder(hashed, share);
            let vector = encoder.embed(&encoder.output_layers()[0], &Input::Text(&text)).unwrap();
            assert_eq!((vector.len(), encoder.output_layers()[0].dimension as usize), (16 + hashed, 16 + hashed));
            let squares = |part: &[f32]| part.iter().map(|x| x * x).sum::<f32>();
            assert!((squares(&vector[..16]) - (1.0 - share)).abs() < 1e-5, "{hashed} {share}: {vector:?}");
            assert!((squares(&vector[16..]) - share).abs() < 1e-5, "{hashed} {share}: {vector:?}");
        }
        let joined =
            |mut vector: [f32; 4]| VectorParts { hashed: 2, share: 0.25 }.combine(&mut vector).then_some(vector);
        assert_eq!(joined([0.0, 2.0, 3.0, 0.0]), Some([0.0, 0.75_f32.sqrt(), 0.5, 0.0]));
        assert_eq!(joined([0.0, 2.0, 0.0, 0.0]), Some([0.0, 1.0, 0.0, 0.0]));
        assert_eq!(joined([f32::INFINITY, 2.0, 0.0, 3.0]), Some([0.0, 0.0, 0.0, 1.0]));
        assert_eq!(joined([0.0; 4]), None);
    }

    #[test]
    fn names_outside_the_training_data_are_distinguished() {
        let with = |name: &str| format!("{} {} {name}", toy_word(1), toy_word(2));
        let with_hashed = encoder(512, 0.5);
        let same = cosine(&with_hashed, &with("Zyxo"), &format!("zyxo {}", toy_word(1)));
        let other = cosine(&with_hashed, &with("Zyxo"), &format!("quuf {}", toy_word(1)));
        assert!(same > other + 0.1, "{same} {other}");
        let without = encoder(0, 0.0);
        assert_eq!(cosine(&without, &with("Zyxo"), &with("quuf")), cosine(&without, &with(""), &with("")));
    }

    #[test]
    fn order_and_case_change_nothing_and_repeating_little() {
        let encoder = encoder(64, 0.5);
        let (a, b) = (toy_word(1), toy_word(2));
        assert!(cosine(&encoder, &format!("{a} {b}"), &format!("({b}), {}!", a.to_uppercase())) > 0.999_99);
        let often = cosine(&encoder, &format!("{a} {b}"), &format!("{a} {a} {b}"));
        assert!((0.8..0.999).contains(&often), "{often}");
    }

    #[test]
    fn texts_without_meaning_and_invalid_settings_are_refused() {
        let encoder = encoder(64, 0.5);
        let refused = |text: &str| encoder.embed(&encoder.output_layers()[0], &Input::Text(text)).unwrap_err();
        assert_eq!(refused("unicorns, unicorns").kind(), crate::ErrorKind::OutOfVocabulary);
        assert!(refused("12 + 30").to_string().contains("no word"));
        assert!(refused(&"a ".repeat(MAX_TEXT_BYTES)).to_string().contains("1048576"));
        for share in [0.1, 1.0 / 3.0, 0.6, 1e-7] {
            let parts = VectorParts { hashed: 8, share };
            assert_eq!(VectorParts::of(TextEncoder::new(toy_model(64, 16), parts).card()), Ok(parts));
        }
        let mut card = ModelCard::default();
        assert_eq!(VectorParts::of(&card), Ok(VectorParts { hashed: 0, share: 0.0 }));
        for (hashed, share, says) in [
            (Value::from(-1), Value::from(0.5), "settings.sketch is -1"),
            (Value::from(MAX_DIMENSION + 1), Value::from(0.5), "settings.sketch is"),
            (Value::from("64"), Value::from(0.5), "settings.sketch is"),
            (Value::from(64), Value::from(1.5), "settings.sketch_share"),
            (Value::from(64), Value::Null, "settings.sketch_share"),
        ] {
            card.settings.insert("sketch".into(), hashed);
            card.settings.insert("sketch_share".into(), share);
            assert!(VectorParts::of(&card).unwrap_err().contains(says));
        }
    }
}
