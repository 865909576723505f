//! Import and export of word2vec files (`crates/embed/src/formats/word2vec.rs` reads them).
//!
//! `spelling.rs` determines which words are imported, and how they are spelled. The formats contain neither counts nor
//! the output layer: an imported model embeds words and finds neighbours, but cannot fill blanks.

use super::{
    WordModel,
    imported::{Imported, ImportedWords},
    table::le_bytes,
};
use crate::Error;
use crate::formats::word2vec::{Format, Reader};
use crate::save::write_file;
use std::{io::BufRead, path::Path};

/// Reads the importable words of a text file, with their vectors.
///
/// # Errors
/// As [`Reader::open`]; [`Error::Corrupt`] naming the damaged word.
pub fn read_text(path: &Path) -> Result<Vec<(String, Vec<f32>)>, Error> {
    read(path, Format::Text)
}

/// Reads the importable words of a binary file, with their vectors.
///
/// # Errors
/// As [`read_text`].
pub fn read_binary(path: &Path) -> Result<Vec<(String, Vec<f32>)>, Error> {
    read(path, Format::Binary)
}

fn read(path: &Path, format: Format) -> Result<Vec<(String, Vec<f32>)>, Error> {
    let reader = Reader::open(path, format)?;
    let dimension = reader.dimension();
    let ImportedWords { words, rows, .. } = read_all(reader)?;
    Ok(words.into_iter().zip(rows.chunks_exact(dimension).map(<[f32]>::to_vec)).collect())
}

/// Reads all importable words.
fn read_all(mut reader: Reader<impl BufRead>) -> Result<ImportedWords, Error> {
    let mut accepted = ImportedWords::default();
    for item in &mut reader {
        let (word, numbers) = item?;
        accepted.add(&word, &numbers);
    }
    let (promised, read) = (reader.words(), reader.words_read());
    accepted.notes.word_counts = (read != promised).then_some((promised, read));
    Ok(accepted)
}

/// Writes the vectors of a model as text; the numbers round-trip exactly.
///
/// # Errors
/// [`Error::Io`].
pub fn write_text(model: &WordModel, path: &Path) -> Result<(), Error> {
    write(model, path, true, write_decimals)
}

/// Like [`write_text`], without the first line.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write_lines(model: &WordModel, path: &Path) -> Result<(), Error> {
    write(model, path, false, write_decimals)
}

fn write_decimals(bytes: &mut Vec<u8>, row: &[f32]) {
    for number in row {
        bytes.extend_from_slice(format!(" {number}").as_bytes());
    }
}

/// Writes the vectors of a model in binary.
///
/// # Errors
/// [`Error::Io`].
pub fn write_binary(model: &WordModel, path: &Path) -> Result<(), Error> {
    write(model, path, true, |bytes, row| {
        bytes.push(b' ');
        bytes.extend_from_slice(&le_bytes(row));
    })
}

fn write(model: &WordModel, path: &Path, sizes: bool, numbers: impl Fn(&mut Vec<u8>, &[f32])) -> Result<(), Error> {
    let mut bytes = Vec::new();
    if sizes {
        bytes.extend_from_slice(format!("{} {}\n", model.vocabulary().len(), model.dimension()).as_bytes());
    }
    for (number, word) in model.vocabulary().iter().enumerate() {
        bytes.extend_from_slice(word.as_bytes());
        numbers(&mut bytes, model.row(number));
        bytes.push(b'\n');
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy()).ok_or_else(|| Error::Io {
        path: path.into(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file's name"),
    })?;
    write_file(folder, &name, &bytes)
}

impl WordModel {
    /// Reads a word2vec file, text or binary, as a model without counts and without an output layer. A word that
    /// occurs twice keeps its first vector.
    ///
    /// # Errors
    /// As [`Reader::open`]; [`Error::Corrupt`] naming the damaged word, or for no words.
    pub fn from_word2vec(path: &Path) -> Result<Imported, Error> {
        let reader = Reader::detect(path)?;
        let dimension = reader.dimension();
        read_all(reader)?.into_model(path, "word2vec", dimension)
    }
}

#[cfg(test)]
#[path = "word2vec_tests.rs"]
mod tests;
