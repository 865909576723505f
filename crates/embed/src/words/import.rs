//! Import of word vectors in any known format, which is detected from the content.

use super::{MAX_DIMENSION, WordModel, data::strip_bom, fasttext, imported::Imported};
use crate::{
    Error,
    formats::{
        compressed,
        word2vec::{max_line_bytes, parse_header},
    },
};
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
        let max = max_line_bytes(MAX_DIMENSION) as u64;
        compressed::open(path)?.0.take(max).read_until(b'\n', &mut head).map_err(failed)?;
        if fasttext::is_fasttext(&head) {
            return Self::from_fasttext(path);
        }
        if strip_bom(&head).trim_ascii_start().first() == Some(&b'{') {
            // A GloVe file may contain the word "{", followed by numbers.
            let fields = head.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
            let numbers = |field: &[u8]| std::str::from_utf8(field).is_ok_and(|text| text.parse::<f32>().is_ok());
            if fields.clone().count() < 2 || !fields.skip(1).all(numbers) {
                return Self::from_json(path);
            }
        }
        if parse_header(&head).is_some() { Self::from_word2vec(path) } else { Self::from_glove(path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{glove_file::write_glove, model::tests::small, word2vec};

    #[test]
    fn the_format_is_detected_from_the_content() {
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
