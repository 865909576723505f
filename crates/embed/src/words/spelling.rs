//! Spelling and selection of words imported from files of other programs: one rule for all formats, for `import` and
//! for `load`.
//!
//! White space within a word (a no-break, thin or ideographic space, U+0085; in text formats plain spaces too) becomes
//! `_`. A word that is empty, too long, not UTF-8, or a duplicate is skipped and counted.

use super::data::MAX_WORD_BYTES;
use rustc_hash::FxHashSet;
use std::fmt;

/// Maximum bytes read as one word; a longer one means damage.
pub(crate) const MAX_RAW_WORD_BYTES: usize = 4 << 10;

/// Reason why a word is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It is empty.
    Empty,
    /// It has this many bytes.
    TooLong(usize),
    /// It is not UTF-8.
    NotUtf8,
    /// It is a duplicate.
    Duplicate,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the word is empty"),
            Self::TooLong(bytes) => write!(f, "the word has {bytes} bytes, at most {MAX_WORD_BYTES} are possible"),
            Self::NotUtf8 => f.write_str("the word is not UTF-8"),
            Self::Duplicate => f.write_str("the word came before, and keeps its first vector"),
        }
    }
}

/// Returns the spelling of a word.
pub(crate) fn spell(word: &[u8]) -> Result<String, SkipReason> {
    let word = std::str::from_utf8(word).map_err(|_| SkipReason::NotUtf8)?;
    let mut spelled = String::with_capacity(word.len());
    let mut after_space = false;
    for c in word.chars() {
        let space = c.is_whitespace();
        if !space || !after_space {
            spelled.push(if space { '_' } else { c });
        }
        after_space = space;
    }
    match spelled.len() {
        0 => Err(SkipReason::Empty),
        bytes if bytes > MAX_WORD_BYTES => Err(SkipReason::TooLong(bytes)),
        _ => Ok(spelled),
    }
}

/// Words accepted so far.
#[derive(Default)]
pub struct AcceptedWords(FxHashSet<String>);

impl AcceptedWords {
    /// Returns the spelling of a word and records it; duplicates are refused.
    pub fn accept(&mut self, word: &[u8]) -> Result<String, SkipReason> {
        let word = spell(word)?;
        if self.0.insert(word.clone()) { Ok(word) } else { Err(SkipReason::Duplicate) }
    }
}

/// Summary of the words that an import skipped or respelled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Empty words, skipped.
    pub empty: u64,
    /// Overlong words, skipped.
    pub too_long: u64,
    /// Words that are not UTF-8, skipped.
    pub not_utf8: u64,
    /// Duplicates, skipped.
    pub duplicates: u64,
    /// Words whose white space became `_`.
    pub respelled: u64,
    /// The word count in the header and the actual one, if they differ.
    pub word_counts: Option<(u64, u64)>,
}

impl Notes {
    /// Returns the number of skipped words.
    pub fn skipped(&self) -> u64 {
        self.empty + self.too_long + self.not_utf8 + self.duplicates
    }

    pub(super) fn count(&mut self, unfit: SkipReason) {
        match unfit {
            SkipReason::Empty => self.empty += 1,
            SkipReason::TooLong(_) => self.too_long += 1,
            SkipReason::NotUtf8 => self.not_utf8 += 1,
            SkipReason::Duplicate => self.duplicates += 1,
        }
    }
}

/// One line; empty if there is nothing to report.
impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut notes = Vec::new();
        let kinds = [
            (self.empty, "empty".to_owned()),
            (self.too_long, format!("longer than {MAX_WORD_BYTES} bytes")),
            (self.not_utf8, "not UTF-8".to_owned()),
            (self.duplicates, "duplicates".to_owned()),
        ];
        let kinds: Vec<String> = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if !kinds.is_empty() {
            notes.push(format!("words left out: {}", kinds.join(", ")));
        }
        if self.respelled > 0 {
            notes.push(format!("words whose spaces became \"_\": {}", self.respelled));
        }
        if let Some((declared, found)) = self.word_counts {
            notes.push(format!("the first line declares {declared} words, the file has {found}"));
        }
        f.write_str(&notes.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_become_underscores_and_invalid_words_are_left_out() {
        let spelled = |word: &str| spell(word.as_bytes()).unwrap();
        for (word, expected) in [
            ("king", "king"),
            ("new york", "new_york"),
            (".\u{a0}.", "._."),
            ("\u{a0}", "_"),
            ("\u{85}", "_"),
            ("a\u{2009}\u{3000}b", "a_b"),
            ("a_b", "a_b"),
            ("__", "__"),
            ("\u{feff}", "\u{feff}"),
        ] {
            assert_eq!(spelled(word), expected, "{word:?}");
        }
        assert_eq!(spelled(&"x".repeat(MAX_WORD_BYTES)).len(), MAX_WORD_BYTES);
        assert_eq!(spell(&[b'x'; MAX_WORD_BYTES + 1]), Err(SkipReason::TooLong(MAX_WORD_BYTES + 1)));
        assert_eq!(spell(b""), Err(SkipReason::Empty));
        assert_eq!(spell(b"caf\xe9"), Err(SkipReason::NotUtf8));
        let mut spellings = AcceptedWords::default();
        assert_eq!(spellings.accept(b"a b"), Ok("a_b".into()));
        assert_eq!(spellings.accept("a\u{a0}b".as_bytes()), Err(SkipReason::Duplicate));
    }

    #[test]
    fn notes_are_one_line_or_empty() {
        assert_eq!(Notes::default().to_string(), "");
        let notes =
            Notes { empty: 1, too_long: 2, not_utf8: 3, duplicates: 4, respelled: 5, word_counts: Some((7, 6)) };
        assert_eq!(
            notes.to_string(),
            "words left out: 1 empty, 2 longer than 128 bytes, 3 not UTF-8, 4 duplicates; \
             words whose spaces became \"_\": 5; the first line declares 7 words, the file has 6"
        );
        assert_eq!(notes.skipped(), 10);
    }
}
