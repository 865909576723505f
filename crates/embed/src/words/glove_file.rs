//! The text format of GloVe: for each word a line of the word and its numbers, without a header. Also detects the
//! format of a file.

use super::{
    MAX_DIMENSION, WordModel,
    data::{open_unpacked, without_mark},
    fasttext,
    spelling::{Imported, Taken},
    word2vec::{self, longest_line, text_line},
};
use crate::Error;
use std::{
    io::{BufRead, Read},
    path::Path,
};

impl WordModel {
    /// Imports word vectors of another program: word2vec (text or binary), GloVe (text) or JSON (an object), each
    /// plain, gzip or zstd, or fastText (`.bin`). The format is detected from the content. All formats share the rules
    /// for selecting and spelling words (`spelling.rs`).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] naming the damaged part.
    pub fn import(path: &Path) -> Result<Imported, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let mut head = Vec::new();
        let most = longest_line(MAX_DIMENSION) as u64;
        open_unpacked(path)?.0.take(most).read_until(b'\n', &mut head).map_err(failed)?;
        if fasttext::is_fasttext(&head) {
            return Self::from_fasttext(path);
        }
        if without_mark(&head).trim_ascii_start().first() == Some(&b'{') {
            // A GloVe file may contain the word "{", followed by numbers.
            let fields = head.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
            let numbers = |field: &[u8]| std::str::from_utf8(field).is_ok_and(|text| text.parse::<f32>().is_ok());
            if fields.clone().count() < 2 || !fields.skip(1).all(numbers) {
                return Self::from_json(path);
            }
        }
        if word2vec::sizes(&head).is_some() { Self::from_word2vec(path) } else { Self::from_glove(path) }
    }

    /// Reads a GloVe text file as a model without counts and without an output layer. The first line determines the
    /// dimension.
    ///
    /// # Errors
    /// As [`import`](Self::import).
    pub fn from_glove(path: &Path) -> Result<Imported, Error> {
        let (mut input, _) = open_unpacked(path)?;
        let mut taken = Taken::default();
        let mut dimension = 0;
        let mut buffer = Vec::new();
        for number in 1_u64.. {
            buffer.clear();
            let longest = longest_line(if dimension == 0 { MAX_DIMENSION } else { dimension });
            let read = input.by_ref().take(longest as u64 + 1).read_until(b'\n', &mut buffer);
            if read.map_err(|source| Error::Io { path: path.into(), source })? == 0 {
                break;
            }
            let corrupt = |what: String| Error::Corrupt { path: path.into(), what: format!("line {number}: {what}") };
            if buffer.len() > longest {
                return Err(corrupt(format!("more than {longest} bytes")));
            }
            let line = if number == 1 { without_mark(&buffer) } else { &buffer };
            let fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).count();
            if fields == 0 {
                continue;
            }
            if dimension == 0 {
                dimension = fields - usize::from(!line[0].is_ascii_whitespace());
                if !(1..=MAX_DIMENSION).contains(&dimension) {
                    return Err(corrupt(format!(
                        "{dimension} numbers follow the word; 1 to {MAX_DIMENSION} are possible"
                    )));
                }
            }
            let (word, numbers) = text_line(line, dimension).map_err(corrupt)?;
            taken.add(word, &numbers);
        }
        taken.model(path, "GloVe", dimension)
    }
}

/// Writes the vectors of a model in GloVe's format: that of word2vec's text, without the first line.
///
/// # Errors
/// [`Error::Io`].
pub fn write_glove(model: &WordModel, path: &Path) -> Result<(), Error> {
    word2vec::write_lines(model, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Notes, model::tests::small};

    #[test]
    fn lines_of_a_word_and_its_numbers_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("glove.txt");
        std::fs::write(&path, "the 0.5 -1 2e-1\n. . . 1 2 3\ncat 3 2 1\nthe 9 9 9\n").unwrap();
        let Imported { model, notes } = WordModel::import(&path).unwrap();
        assert_eq!(notes, Notes { twice: 1, spaced: 1, ..Notes::default() });
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
        assert_eq!(WordModel::import(&path).unwrap().model.rows(), model.rows());
        word2vec::write_binary(&model, &path).unwrap();
        assert_eq!(WordModel::import(&path).unwrap().model.rows(), model.rows());
        write_glove(&model, &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 5);
        assert_eq!(WordModel::import(&path).unwrap().model.rows(), model.rows());
        std::fs::write(&path, "{ 1 2\ncat 3 4\n").unwrap();
        assert_eq!(WordModel::import(&path).unwrap().model.vocabulary(), ["{", "cat"], "a word of GloVe's, not JSON");
        assert!(matches!(WordModel::import(folder.path()), Err(Error::Io { .. })));
    }
}
