//! The text format of GloVe: for each word a line of the word and its numbers, without a header.

use super::{
    MAX_DIMENSION, WordModel,
    data::strip_bom,
    imported::{Imported, ImportedWords},
    word2vec,
};
use crate::{
    Error,
    formats::{
        compressed,
        word2vec::{max_line_bytes, text_line},
    },
};
use std::{
    io::{BufRead, Read},
    path::Path,
};

impl WordModel {
    /// Reads a GloVe text file as a model without counts and without an output layer. The first line determines the
    /// dimension.
    ///
    /// # Errors
    /// As [`import`](Self::import).
    pub(crate) fn from_glove(path: &Path) -> Result<Imported, Error> {
        let (mut input, _) = compressed::open(path)?;
        let mut accepted = ImportedWords::default();
        let mut dimension = 0;
        let mut buffer = Vec::new();
        for number in 1_u64.. {
            buffer.clear();
            let longest = max_line_bytes(if dimension == 0 { MAX_DIMENSION } else { dimension });
            let read = input.by_ref().take(longest as u64 + 1).read_until(b'\n', &mut buffer);
            if read.map_err(|source| Error::Io { path: path.into(), source })? == 0 {
                break;
            }
            let corrupt = |what: String| Error::Corrupt { path: path.into(), what: format!("line {number}: {what}") };
            if buffer.len() > longest {
                return Err(corrupt(format!("more than {longest} bytes")));
            }
            let line = if number == 1 { strip_bom(&buffer) } else { &buffer };
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
            accepted.add(word, &numbers);
        }
        accepted.into_model(path, "GloVe", dimension)
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
    use crate::words::Notes;

    #[test]
    fn lines_of_a_word_and_its_numbers_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("glove.txt");
        std::fs::write(&path, "the 0.5 -1 2e-1\n. . . 1 2 3\ncat 3 2 1\nthe 9 9 9\n").unwrap();
        let Imported { model, notes } = WordModel::import(&path).unwrap();
        assert_eq!(notes, Notes { duplicates: 1, respelled: 1, ..Notes::default() });
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
}
