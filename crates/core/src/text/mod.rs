//! Text analysis: from a text to the terms that are indexed and searched.

mod analyzer;
mod field;
#[cfg(test)]
mod tests;

pub use analyzer::{Analyzer, AnalyzerConfig, Language, Token};
pub use field::TextField;

/// English words that carry little meaning: the list of Lucene's `EnglishAnalyzer`.
pub const ENGLISH_STOP_WORDS: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
];
