//! A model imported from a file of another program: the accepted words with their vectors, and notes on the others.

use super::{
    WordModel,
    spelling::{AcceptedWords, Notes},
};
use crate::{Error, ModelCard, WORDS};
use std::path::Path;

/// A model imported from a file of another program.
pub struct Imported {
    /// The model.
    pub model: WordModel,
    /// Words that were skipped or respelled.
    pub notes: Notes,
}

/// The accepted words of a file, with their vectors.
#[derive(Default)]
pub(super) struct ImportedWords {
    pub(super) words: Vec<String>,
    pub(super) rows: Vec<f32>,
    pub(super) notes: Notes,
    accepted_words: AcceptedWords,
}

impl ImportedWords {
    /// Accepts a word, or counts it as skipped. Returns whether it was accepted.
    pub(super) fn add(&mut self, word: &[u8], numbers: &[f32]) -> bool {
        match self.accepted_words.accept(word) {
            Ok(spelled) => {
                self.notes.respelled += u64::from(spelled.as_bytes() != word);
                self.words.push(spelled);
                self.rows.extend_from_slice(numbers);
                true
            }
            Err(unfit) => {
                self.notes.count(unfit);
                false
            }
        }
    }

    /// Builds the model of these words, without counts and without an output layer.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for no words.
    pub(super) fn into_model(self, path: &Path, format: &str, dimension: usize) -> Result<Imported, Error> {
        let Self { words, rows, notes, .. } = self;
        if words.is_empty() {
            let skipped = match notes.skipped() {
                0 => String::new(),
                _ => format!("; {notes}"),
            };
            return Err(Error::Corrupt { path: path.into(), what: format!("no words{skipped}") });
        }
        let card = imported_card(path, format, &notes);
        Ok(Imported { model: WordModel::from_vectors(words, rows, dimension, card)?, notes })
    }
}

/// Returns the card of an imported model.
pub(super) fn imported_card(path: &Path, format: &str, notes: &Notes) -> ModelCard {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut summary = format!("Word vectors read from the {format} file {file}; how they were trained is not known.");
    let notes = notes.to_string();
    if !notes.is_empty() {
        summary += &format!(" Of the file: {notes}.");
    }
    ModelCard { name: WORDS.into(), summary, ..ModelCard::default() }
}
