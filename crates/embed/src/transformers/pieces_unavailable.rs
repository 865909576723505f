//! Subword pieces in a build without the cargo feature `transformers`.

use crate::Error;
use std::path::Path;

/// Subword pieces; uninhabited, because the program was built without the feature.
pub enum Pieces {}

impl Pieces {
    /// Fails.
    ///
    /// # Errors
    /// [`Error::InvalidInput`].
    pub fn check(_: usize) -> Result<(), Error> {
        let what = "pieces of words need a program that was built with the cargo feature \"transformers\"";
        Err(Error::InvalidInput(what.into()))
    }
    /// Fails.
    ///
    /// # Errors
    /// [`Error::InvalidInput`].
    pub fn learn(_: &[String], _: &[u64], size: usize) -> Result<Self, Error> {
        Self::check(size).and(Err(Error::Compute("there are no pieces".into())))
    }
    /// Fails.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn parse(path: &Path, _: &[u8]) -> Result<Self, Error> {
        Err(Error::NotBuilt { path: path.into(), what: "words in pieces", feature: "transformers" })
    }
    /// The contents of a `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        match *self {}
    }
    /// The pieces of a word.
    pub fn of(&self, _: &str) -> Vec<String> {
        match *self {}
    }
}
