//! The text format of GloVe: for each word a line of the word and its numbers, without a header. And which of the known
//! formats a file has.

use super::{
    MAX_DIMENSION, WordModel,
    data::{MAX_WORD_BYTES, open_unpacked},
    fasttext, word2vec,
};
use crate::embed::Error;
use rustc_hash::FxHashSet;
use std::{
    io::{BufRead, Read},
    path::Path,
};

/// Longest line for each component, and for the word.
const MAX_NUMBER_BYTES: usize = 64;
/// Longest line.
const MAX_LINE_BYTES: u64 = (MAX_WORD_BYTES + MAX_NUMBER_BYTES * MAX_DIMENSION) as u64;

impl WordModel {
    /// Reads word vectors that another program made: word2vec (text or binary), GloVe (text) or JSON (an object), each plain,
    /// gzip or zstd, or fastText (`.bin`); which it is, is told from the content.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] naming what is damaged.
    pub fn import(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let mut head = Vec::new();
        open_unpacked(path)?.0.take(MAX_LINE_BYTES).read_until(b'\n', &mut head).map_err(failed)?;
        if fasttext::is_fasttext(&head) {
            return Self::from_fasttext(path);
        }
        if head.trim_ascii_start().first() == Some(&b'{') {
            // A GloVe file may have the word "{" too; its line goes on with numbers.
            let fields = head.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
            let numbers = |field: &[u8]| std::str::from_utf8(field).is_ok_and(|text| text.parse::<f32>().is_ok());
            if fields.clone().count() < 2 || !fields.skip(1).all(numbers) {
                return Self::from_json(path);
            }
        }
        if word2vec::sizes(&head).is_some() { Self::from_word2vec(path) } else { Self::from_glove(path) }
    }

    /// Reads a GloVe text file as a model without counts and without an output layer. Spaces in a word (some files have
    /// such) become `_`; a word that occurs twice keeps its first vector.
    ///
    /// # Errors
    /// As [`import`](Self::import).
    pub fn from_glove(path: &Path) -> Result<Self, Error> {
        let (mut input, _) = open_unpacked(path)?;
        let (mut words, mut rows) = (Vec::new(), Vec::new());
        let mut seen = FxHashSet::default();
        let mut dimension = 0;
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
            if read.map_err(|source| Error::Io { path: path.into(), source })? == 0 {
                break;
            }
            let corrupt = |what: String| Error::Corrupt { path: path.into(), what: format!("line {number}: {what}") };
            let text = String::from_utf8_lossy(&line);
            let fields: Vec<&str> = text.split_ascii_whitespace().collect();
            if fields.is_empty() {
                continue;
            }
            if words.is_empty() {
                dimension = fields.len() - 1;
                if !(1..=MAX_DIMENSION).contains(&dimension) {
                    return Err(corrupt(format!(
                        "{dimension} numbers follow the word; 1 to {MAX_DIMENSION} are possible"
                    )));
                }
            }
            let Some(first) = fields.len().checked_sub(dimension).filter(|&first| first > 0) else {
                return Err(corrupt(format!("{} numbers, expected {dimension}", fields.len() - 1)));
            };
            let word = fields[..first].join("_");
            if word.len() > MAX_WORD_BYTES {
                return Err(corrupt(format!("a word has 1 to {MAX_WORD_BYTES} bytes, this one has {}", word.len())));
            }
            let numbers: Option<Vec<f32>> =
                fields[first..].iter().map(|field| field.parse().ok().filter(|x: &f32| x.is_finite())).collect();
            let numbers =
                numbers.ok_or_else(|| corrupt(format!("{word:?} has a field that is not a finite number")))?;
            if seen.insert(word.clone()) {
                words.push(word);
                rows.extend_from_slice(&numbers);
            }
        }
        if words.is_empty() {
            return Err(Error::Corrupt { path: path.into(), what: "no words".into() });
        }
        Self::of_vectors(path, "GloVe", words, rows, dimension)
    }
}

/// Writes the vectors of a model as GloVe's program does: as word2vec's text, without the first line.
///
/// # Errors
/// [`Error::Io`].
pub fn write_glove(model: &WordModel, path: &Path) -> Result<(), Error> {
    word2vec::write_lines(model, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::words::model::tests::small;

    #[test]
    fn lines_of_a_word_and_its_numbers_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("glove.txt");
        std::fs::write(&path, "the 0.5 -1 2e-1\n. . . 1 2 3\ncat 3 2 1\nthe 9 9 9\n").unwrap();
        let model = WordModel::import(&path).unwrap();
        assert_eq!(model.vocabulary(), ["the", "._._.", "cat"]);
        assert_eq!(model.vector("the").unwrap(), [0.5, -1.0, 0.2]);
        assert_eq!(model.vector("._._.").unwrap(), [1.0, 2.0, 3.0]);
        for (bad, line) in [
            ("cat 1 2\ndog 1\n", "line 2"),
            ("cat 1 2\ndog 1 x\n", "line 2"),
            ("cat 1 NaN\n", "line 1"),
            ("cat\n", "line 1"),
            ("", "no words"),
        ] {
            std::fs::write(&path, bad).unwrap();
            let error = WordModel::import(&path).map(drop).unwrap_err().to_string();
            assert!(error.contains(line), "{bad:?}: {error}");
        }
    }

    #[test]
    fn the_format_is_told_from_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors");
        let model = small();
        word2vec::write_text(&model, &path).unwrap();
        assert_eq!(WordModel::import(&path).unwrap().rows(), model.rows());
        word2vec::write_binary(&model, &path).unwrap();
        assert_eq!(WordModel::import(&path).unwrap().rows(), model.rows());
        write_glove(&model, &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 5);
        assert_eq!(WordModel::import(&path).unwrap().rows(), model.rows());
        std::fs::write(&path, "{ 1 2\ncat 3 4\n").unwrap();
        assert_eq!(WordModel::import(&path).unwrap().vocabulary(), ["{", "cat"], "a word of GloVe's, not JSON");
        assert!(matches!(WordModel::import(folder.path()), Err(Error::Io { .. })));
    }
}
