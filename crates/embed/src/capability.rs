//! Optional capabilities of embedders, as traits, so that `embedder.rs` depends on no net.

use super::Error;

/// The vocabulary of a word model.
pub trait WordVectors: Send + Sync {
    /// Returns the words, most frequent first; a word's index is its number.
    fn vocabulary(&self) -> &[String];
    /// Returns the count of word `number` in the corpus; 0 in models of formats without counts, and for unknown
    /// numbers.
    fn count(&self, number: usize) -> u64;
    /// Returns the vector of a word, in the vocabulary's spelling.
    fn vector(&self, word: &str) -> Option<&[f32]>;
    /// Returns the words nearest to the sum of the unit vectors of `plus` minus those of `minus`, by cosine.
    ///
    /// # Errors
    /// As [`WordModel::nearest`](super::words::WordModel::nearest).
    fn nearest(&self, plus: &[&str], minus: &[&str], k: usize) -> Result<Vec<(String, f32)>, Error>;
    /// Returns the words that fit the blanks of a pattern, with their probabilities; one list per blank.
    ///
    /// # Errors
    /// As [`WordModel::fill_blank`](super::words::WordModel::fill_blank).
    fn fill_blank(&self, pattern: &str, k: usize) -> Result<Vec<Vec<(String, f32)>>, Error>;
}

/// A candidate for the next token, with its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct NextToken {
    /// Its text; bytes that are not valid UTF-8 become the replacement character.
    pub text: String,
    /// Its id.
    pub token: u32,
    /// 0 to 1; the probabilities of all tokens sum to 1.
    pub probability: f32,
}

/// Next-token prediction of a language model.
pub trait LanguageModel: Send + Sync {
    /// The `k` most probable next tokens after `text`, the most probable first.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the text is too long or has no token.
    fn next_tokens(&self, text: &str, k: usize) -> Result<Vec<NextToken>, Error>;
}

/// Classification of images of digits, with the activations of every layer.
pub trait DigitClassifier: Send + Sync {
    /// Returns the probability of each digit.
    ///
    /// # Errors
    /// As [`DigitNet::probabilities`](super::digits::DigitNet::probabilities).
    fn probabilities(&self, image: &[u8]) -> Result<[f32; 10], Error>;
    /// Returns the preprocessed image, then the output of each layer down to the probabilities.
    ///
    /// # Errors
    /// As [`probabilities`](Self::probabilities).
    fn activations(&self, image: &[u8]) -> Result<Vec<Activation>, Error>;
}

/// The activations of one layer: `channels` maps of `rows` x `columns`.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// The layer, for example `convolution1`; output layers keep their names.
    pub name: &'static str,
    /// One-line description.
    pub about: &'static str,
    /// Number of maps.
    pub channels: usize,
    /// Rows per map.
    pub rows: usize,
    /// Columns per map.
    pub columns: usize,
    /// `[channel][row][column]`.
    pub values: Vec<f32>,
}
