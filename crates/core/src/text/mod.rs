//! Text analysis: from a text to the terms that are indexed and searched.

mod analyzer;
#[cfg(test)]
mod tests;

pub use analyzer::{Analyzer, AnalyzerConfig, Language, Token};
