//! The embedder `text` (Arora, Liang, Ma 2017): the mean of the words' vectors, each weighted by a / (a + p(w)), minus
//! its projection on the common component, normalized. (The word vectors are not normalized first: unit
//! vectors find fewer paragraphs of the same article, `benches/results/2026-11-28-texts`.)
//!
//! A model without word counts (imported from word2vec) uses weights by rank, assuming Zipf's law; a model without the
//! common component removes none. [`TextEmbedder::card`](Embedder::card) states this.

use crate::capability::WordVectors;
use crate::{
    Embedder, Error, Fingerprint, Fingerprinter, Input, Modality, ModelCard, ModelFiles, OutputLayer, WORDS,
    words::{Term, WordModel, out_of_vocabulary, sif},
};
use std::sync::Arc;

/// Maximum length of a text, in bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// A shorter mean is rounding error, not a direction.
const MIN_NORM: f64 = 1e-5;

/// Suffix of a word model's name that gives the name of its text embedder.
pub const TEXT_SUFFIX: &str = "-text";

/// The embedder of sentences and blocks of text with the words of a [`WordModel`].
pub struct TextEmbedder {
    words: Arc<WordModel>,
    /// The weight of each word.
    weights: Vec<f32>,
    card: ModelCard,
    fingerprint: Fingerprint,
    output_layers: [OutputLayer; 1],
}

/// Returns the frequency of word `number`, as a share of the corpus.
pub(super) fn frequency(words: &WordModel, number: usize) -> f64 {
    let total = words.total();
    if total > 0 {
        return words.count(number) as f64 / total as f64;
    }
    // Without counts, the word of rank r has the share 1 / (r H(n)), where H(n) is about ln n + 0.58.
    1.0 / ((number + 1) as f64 * ((words.vocabulary().len() as f64).ln() + 0.577))
}

/// Returns the assumed share of an unknown word: half that of a word that occurs once.
pub(super) fn unknown_frequency(words: &WordModel) -> f64 {
    match words.total() {
        0 => frequency(words, words.vocabulary().len()),
        total => 0.5 / total as f64,
    }
}

/// Refuses overlong texts.
pub(super) fn check_length(text: &str) -> Result<(), Error> {
    match text.len() {
        0..=MAX_TEXT_BYTES => Ok(()),
        bytes => Err(Error::InvalidInput(format!("a text has at most {MAX_TEXT_BYTES} bytes, this one has {bytes}"))),
    }
}

/// Returns the error for a text without known words.
pub(super) fn no_known_words(embedder: &str, words: &WordModel, text: &str) -> Error {
    let mut unknown: Vec<String> = Vec::new();
    words.terms(text, |term| match term {
        Term::Unknown(word) if !unknown.iter().take(10).any(|seen| seen == word) => unknown.push(word.into()),
        _ => {}
    });
    match unknown.is_empty() {
        true => Error::InvalidInput("the text has no word; a word has at least one letter".into()),
        false => out_of_vocabulary(embedder, &unknown),
    }
}

/// Returns the probe inputs of the word model, separately and joined.
pub(super) fn reference_inputs(words: &WordModel) -> Vec<Vec<u8>> {
    let mut texts = words.reference_inputs();
    texts.push(texts.join(&b' '));
    texts
}

impl TextEmbedder {
    /// Returns the embedder over a word model.
    ///
    /// # Errors
    /// None at present.
    pub fn new(words: Arc<WordModel>) -> Result<Self, Error> {
        let n = words.vocabulary().len();
        let total = words.total();
        let weights =
            (0..n).map(|number| (sif::SMOOTHING / (sif::SMOOTHING + frequency(&words, number))) as f32).collect();
        let mut parts = Fingerprinter::new("text/1");
        parts.part("words", &words.fingerprint().0);
        parts.part("a", &sif::SMOOTHING.to_le_bytes());
        let mut card = words.card().clone();
        card.name = match words.name() {
            WORDS => "text".into(),
            name => format!("{name}{TEXT_SUFFIX}"),
        };
        let without = match (words.common(), total > 0) {
            (Some(_), true) => "",
            (None, true) => " The model has no common component, so none is removed.",
            (Some(_), false) => " The model has no word counts, so words are weighted by rank.",
            (None, false) => {
                " The model has no word counts and no common component: words are weighted by rank, nothing is removed."
            }
        };
        card.summary = format!(
            "Blocks of text from word vectors: smooth inverse frequency weights (a = {}), common component removed.{without}",
            sif::SMOOTHING
        );
        let about = "the weighted mean of the words' vectors, a unit vector";
        let output_layers = [OutputLayer { name: "vector", dimension: words.dimension() as u32, about }];
        Ok(Self { words, weights, card, fingerprint: parts.finish(), output_layers })
    }

    fn text(&self, text: &str) -> Result<Vec<f32>, Error> {
        check_length(text)?;
        let mut known = Vec::new();
        // Unknown words composed of their n-grams, numbered after the vocabulary.
        let mut composed = Vec::new();
        self.words.terms(text, |term| match term {
            Term::Known(number) => known.push(number as u32),
            Term::Unknown(word) => {
                let pieces = self.words.pieces_of(word);
                if !pieces.is_empty() {
                    known.extend(pieces.iter().map(|&piece| piece as u32));
                } else if let Some(vector) = self.words.vector_of_any(word) {
                    known.push((self.weights.len() + composed.len()) as u32);
                    composed.push(vector);
                }
            }
        });
        if known.is_empty() {
            return Err(no_known_words(self.name(), &self.words, text));
        }
        let mut mean = sif::mean(known.into_iter(), self.words.dimension(), |number| {
            let number = number as usize;
            match composed.get(number.wrapping_sub(self.weights.len())) {
                Some(vector) => (vector, 1.0),
                None => (self.words.row(number), self.weights[number]),
            }
        });
        let before = norm(&mean);
        if let Some(common) = self.words.common() {
            let along: f64 = mean.iter().zip(common).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            mean.iter_mut().zip(common).for_each(|(x, &c)| *x -= (along * f64::from(c)) as f32);
        }
        let norm = norm(&mean);
        // Relative to the norm before: subtraction leaves rounding errors where the result should be zero.
        if norm.is_nan() || norm <= before * MIN_NORM || before < MIN_NORM * MIN_NORM {
            return Err(Error::InvalidInput(
                "the text's vector is zero without the component common to all texts".into(),
            ));
        }
        mean.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        Ok(mean)
    }
}

fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

impl Embedder for TextEmbedder {
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
        self.words.folder()
    }

    fn reference_inputs(&self) -> Vec<Vec<u8>> {
        reference_inputs(&self.words)
    }

    /// Returns the unit vector of a text of at most [`MAX_TEXT_BYTES`]; unknown words are ignored if at least one is
    /// known.
    fn embed(&self, layer: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        self.output_layer(layer.name)?;
        self.text(input.text_for(self.name())?)
    }

    fn word_model(&self) -> Option<&dyn WordVectors> {
        Some(&*self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, words::small_model};

    fn embedder() -> TextEmbedder {
        TextEmbedder::new(Arc::new(small_model())).unwrap()
    }

    fn embed(text: &str) -> Result<Vec<f32>, Error> {
        let embedder = embedder();
        embedder.embed(&embedder.output_layers()[0], &Input::Text(text))
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn a_text_is_a_unit_vector_without_the_common_direction() {
        let vector = embed("The king and the queen of Yeti").unwrap();
        assert!((norm(&vector) - 1.0).abs() < 1e-6);
        assert!(vector[2].abs() < 1e-6, "the third axis is what texts share: {vector:?}");
    }

    #[test]
    fn order_and_case_and_unknown_words_change_nothing() {
        let vector = embed("king woman").unwrap();
        assert!(cosine(&vector, &embed("Woman, KING (unicorn)!").unwrap()) > 0.999_99);
    }

    #[test]
    fn frequent_words_have_little_weight() {
        let with = embed("the the the king").unwrap();
        assert!(cosine(&with, &embed("king").unwrap()) > 0.98, "{with:?}");
    }

    #[test]
    fn texts_without_meaning_are_refused() {
        let error = embed("unicorns and yetis and unicorns").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfVocabulary);
        assert!(error.to_string().ends_with("unicorns, and, yetis"), "{error}");
        assert_eq!(embed("").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(embed("12 + 30").unwrap_err().kind(), ErrorKind::InvalidInput);
        // The vectors cancel out, except along the common direction.
        let error = embed("king queen man woman unicorn").map(|vector| vector[1].abs());
        assert!(error.is_ok_and(|y| y < 1e-5));
        assert!(embed("man woman").is_ok());
        let error = embed(&"king ".repeat(MAX_TEXT_BYTES / 5 + 1)).unwrap_err();
        assert!(error.to_string().contains("1048576"), "{error}");
        let embedder = embedder();
        assert!(matches!(
            embedder.embed(&embedder.output_layers()[0], &Input::Image(&[])),
            Err(Error::Modality { .. })
        ));
    }

    #[test]
    fn the_common_component_alone_is_refused() {
        let words = crate::words::only_common_model();
        let embedder = TextEmbedder::new(Arc::new(words)).unwrap();
        let error = embedder.embed(&embedder.output_layers()[0], &Input::Text("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }

    #[test]
    fn words_with_capitals_and_marks_count_in_a_text() {
        let words = Arc::new(crate::words::spelled_model(crate::words::Tokenizer::Uax29));
        let embedder = TextEmbedder::new(words.clone()).unwrap();
        let part = |text: &str, word: &str| {
            let vector = embedder.embed(&embedder.output_layers()[0], &Input::Text(text)).unwrap();
            vector[words.number(word).unwrap()]
        };
        assert_eq!(part("Paris", "Paris"), 1.0);
        for (text, word) in [
            ("the city of Paris", "Paris"),
            ("the New_York marathon", "New_York"),
            ("HIV and the city", "HIV"),
            ("the cafe\u{301}", "café"),
            ("the किताब", "किताब"),
        ] {
            assert!(part(text, word) > 0.5, "{text}: {}", part(text, word));
        }
    }

    #[test]
    fn a_batch_equals_its_items_and_the_fingerprint_is_distinct() {
        let embedder = embedder();
        let inputs = [Input::Text("king"), Input::Text("yeti"), Input::Image(&[]), Input::Text("a queen")];
        let batch = embedder.embed_batch(&embedder.output_layers()[0], &inputs);
        for (input, vector) in inputs.iter().zip(&batch) {
            assert_eq!(embedder.embed(&embedder.output_layers()[0], input).ok(), vector.as_ref().ok().cloned());
        }
        assert_ne!(embedder.fingerprint(), embedder.words.fingerprint());
        assert_eq!(embedder.card().name, "text");
    }
}
