//! Limits and validation of text fields, the parts of payloads that keyword queries search.

use super::Error;
use super::limits::MAX_FIELD_BYTES;
pub use crate::text::{AnalyzerConfig, Language, TextField, TextMatch, TextMatchKind};

/// Maximum text fields of a collection.
pub const MAX_TEXT_FIELDS: usize = 16;
/// Maximum payload paths of a text field.
pub const MAX_TEXT_PATHS: usize = 16;
/// Maximum length of a field's name, bytes.
pub const MAX_FIELD_NAME_BYTES: usize = 64;
/// Maximum stop words of a text field.
pub const MAX_STOP_WORDS: usize = 10_000;
/// Maximum length of a stop word, bytes.
pub const MAX_STOP_WORD_BYTES: usize = 64;

/// A term of an analyzed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnalyzedToken {
    /// The term.
    pub term: String,
    /// Position in the sequence of words, from 0. Stop words leave a gap.
    pub position: u32,
    /// First byte of the word in the text.
    pub start: u32,
    /// Byte after the word.
    pub end: u32,
}

impl TextField {
    /// Checks the names, numbers and sizes. `root` is the path of the field in the request, for errors.
    pub(crate) fn validate(&self, root: &str) -> Result<(), Error> {
        let invalid = |part: &str, what: String| Err(Error::invalid(format!("{root}.{part}"), what));
        check_name(root, &self.name)?;
        if !(1..=MAX_TEXT_PATHS).contains(&self.paths.len()) {
            return invalid(
                "paths",
                format!("must have 1 to {MAX_TEXT_PATHS} payload paths, got {}", self.paths.len()),
            );
        }
        for (index, path) in self.paths.iter().enumerate() {
            if !(1..=MAX_FIELD_BYTES).contains(&path.len()) {
                return invalid(
                    &format!("paths[{index}]"),
                    format!("must be a payload path of 1 to {MAX_FIELD_BYTES} bytes, got {} bytes", path.len()),
                );
            }
        }
        if !(0.0..=100.0).contains(&self.k1) {
            return invalid("k1", format!("must be 0 to 100, got {}", self.k1));
        }
        if !(0.0..=1.0).contains(&self.b) {
            return invalid("b", format!("must be 0 to 1, got {}", self.b));
        }
        let stop_words = &self.analyzer.stop_words;
        if stop_words.len() > MAX_STOP_WORDS {
            return invalid("stop_words", format!("at most {MAX_STOP_WORDS} words, got {}", stop_words.len()));
        }
        if let Some(index) = stop_words.iter().position(|word| !(1..=MAX_STOP_WORD_BYTES).contains(&word.len())) {
            let what = format!("must be 1 to {MAX_STOP_WORD_BYTES} bytes, got {}", stop_words[index].len());
            return invalid(&format!("stop_words[{index}]"), what);
        }
        Ok(())
    }
}

/// Checks the name of the field at `root`.
pub(super) fn check_name(root: &str, name: &str) -> Result<(), Error> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=MAX_FIELD_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_name) {
        return Ok(());
    }
    let what = format!("must be 1 to {MAX_FIELD_NAME_BYTES} letters, digits, - and _, got {name:?}");
    Err(Error::invalid(format!("{root}.name"), what))
}

/// Checks the text fields of a collection.
pub(crate) fn validate(fields: &[TextField]) -> Result<(), Error> {
    if fields.len() > MAX_TEXT_FIELDS {
        let what = format!("a collection has at most {MAX_TEXT_FIELDS} text fields, got {}", fields.len());
        return Err(Error::invalid("text_fields", what));
    }
    for (index, field) in fields.iter().enumerate() {
        let root = format!("text_fields[{index}]");
        field.validate(&root)?;
        if fields[..index].iter().any(|other| other.name == field.name) {
            return Err(Error::invalid(format!("{root}.name"), format!("there are two fields {:?}", field.name)));
        }
    }
    Ok(())
}
