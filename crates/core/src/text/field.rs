//! The definition of a text field.

use super::{AnalyzerConfig, ENGLISH_STOP_WORDS, Language};
use crate::index::inverted::Bm25;

/// A text field of a collection: the strings at some payload paths, analyzed together and ranked by BM25.
///
/// A path descends into every element of a list; all strings that it leads to belong to the field, in order. Other
/// values are ignored.
///
/// ```
/// use nearness_core::prelude::*;
///
/// let field = TextField::new("body", ["title", "body"]).language(Language::German);
/// assert_eq!((field.k1, field.b), (1.2, 0.75));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TextField {
    /// Name of the field, 1 to 64 bytes: letters, digits, `_` and `-`.
    pub name: String,
    /// Payload paths, 1 to 16, as in filters.
    pub paths: Vec<String>,
    /// How a text becomes terms.
    pub analyzer: AnalyzerConfig,
    /// Saturation of the term frequency, 0 to 100: at 0 only the presence of a term counts.
    pub k1: f32,
    /// Normalization by length, 0 to 1: at 0 the length does not count.
    pub b: f32,
}

impl TextField {
    /// A field over these payload paths, without stemming and stop words.
    pub fn new<P: Into<String>>(name: impl Into<String>, paths: impl IntoIterator<Item = P>) -> Self {
        let Bm25 { k1, b } = Bm25::default();
        let paths = paths.into_iter().map(Into::into).collect();
        Self { name: name.into(), paths, analyzer: AnalyzerConfig::default(), k1, b }
    }

    /// The field of a collection with a text embedder, unless it is created with others: the payload field `text`, with
    /// English stems and stop words.
    pub fn of_embedded_texts() -> Self {
        let mut field = Self::new("text", ["text"]).language(Language::English);
        field.analyzer.stop_words = ENGLISH_STOP_WORDS.iter().map(|word| (*word).to_owned()).collect();
        field
    }

    /// Sets the analyzer.
    pub fn analyzer(mut self, analyzer: AnalyzerConfig) -> Self {
        self.analyzer = analyzer;
        self
    }

    /// Sets the language of the stemmer.
    pub fn language(mut self, language: Language) -> Self {
        self.analyzer.language = Some(language);
        self
    }

    /// Sets the parameters of BM25.
    pub fn bm25(mut self, k1: f32, b: f32) -> Self {
        (self.k1, self.b) = (k1, b);
        self
    }
}
