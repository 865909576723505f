//! The [`Analyzer`] of a text field.
//!
//! ```text
//! text ─► words (UAX 29) ─► NFKC ─► case folding ─► stop words ─► stemming (Snowball) ─► accent folding ─► terms
//! ```
//!
//! Scripts without spaces between words (Han, kana, Thai, Lao, Khmer, Burmese) become overlapping pairs of characters,
//! so that each word of two or more characters is found; a single character between other text is a term of its own.

use rust_stemmers::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::convert::Infallible;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation as _;

/// A language with a stemmer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names of languages")]
pub enum Language {
    Arabic,
    Danish,
    Dutch,
    English,
    Finnish,
    French,
    German,
    Greek,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Tamil,
    Turkish,
}

/// The languages with their names and stemmers.
const LANGUAGES: [(Language, &str, Algorithm); 18] = [
    (Language::Arabic, "arabic", Algorithm::Arabic),
    (Language::Danish, "danish", Algorithm::Danish),
    (Language::Dutch, "dutch", Algorithm::Dutch),
    (Language::English, "english", Algorithm::English),
    (Language::Finnish, "finnish", Algorithm::Finnish),
    (Language::French, "french", Algorithm::French),
    (Language::German, "german", Algorithm::German),
    (Language::Greek, "greek", Algorithm::Greek),
    (Language::Hungarian, "hungarian", Algorithm::Hungarian),
    (Language::Italian, "italian", Algorithm::Italian),
    (Language::Norwegian, "norwegian", Algorithm::Norwegian),
    (Language::Portuguese, "portuguese", Algorithm::Portuguese),
    (Language::Romanian, "romanian", Algorithm::Romanian),
    (Language::Russian, "russian", Algorithm::Russian),
    (Language::Spanish, "spanish", Algorithm::Spanish),
    (Language::Swedish, "swedish", Algorithm::Swedish),
    (Language::Tamil, "tamil", Algorithm::Tamil),
    (Language::Turkish, "turkish", Algorithm::Turkish),
];

impl Language {
    /// Returns all languages.
    pub fn all() -> impl Iterator<Item = Self> {
        LANGUAGES.iter().map(|(language, ..)| *language)
    }

    /// Returns the English name, in lower case.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// Returns the language with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        LANGUAGES.iter().find(|(_, other, _)| *other == name).map(|(language, ..)| *language)
    }

    fn entry(self) -> &'static (Self, &'static str, Algorithm) {
        LANGUAGES.iter().find(|(other, ..)| *other == self).unwrap_or(&LANGUAGES[0])
    }
}

/// Settings of an [`Analyzer`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AnalyzerConfig {
    /// Language of the stemmer; `None` leaves words unstemmed.
    pub language: Option<Language>,
    /// Words to leave out, compared after case folding. They count neither as terms nor in the length of a text.
    pub stop_words: Vec<String>,
    /// Whether letters lose their accents: `café` and `cafe` are one term.
    pub fold_accents: bool,
}

/// A term of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The term.
    pub term: &'a str,
    /// Position in the sequence of terms; stop words leave a gap.
    pub position: u32,
    /// The bytes of the text that the term stands for.
    pub range: std::ops::Range<usize>,
}

/// Longest word that is stemmed, in bytes. Stemming takes time quadratic in the length in some languages.
const MAX_STEMMED_BYTES: usize = 255;

/// Turns texts into terms.
pub struct Analyzer {
    stemmer: Option<Stemmer>,
    stop_words: std::collections::HashSet<Box<str>>,
    fold_accents: bool,
}

impl Analyzer {
    /// Creates an analyzer.
    pub fn new(config: &AnalyzerConfig) -> Self {
        Self {
            stemmer: config.language.map(|language| Stemmer::create(language.entry().2)),
            stop_words: config.stop_words.iter().map(|word| normalized(word).into()).collect(),
            fold_accents: config.fold_accents,
        }
    }

    /// Calls `each` with the terms of a text, in order.
    pub fn for_each(&self, text: &str, mut each: impl FnMut(Token<'_>)) {
        let Ok(()) = self.try_for_each::<Infallible>(text, |token| {
            each(token);
            Ok(())
        });
    }

    /// Calls `each` with the terms of a text, in order, until it fails.
    ///
    /// # Errors
    /// That of `each`.
    pub fn try_for_each<E>(&self, text: &str, mut each: impl FnMut(Token<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut position = 0;
        // The last character of a script without spaces: its bytes, and whether a pair has contained it.
        let mut last: Option<(std::ops::Range<usize>, bool)> = None;
        let single = |last: Option<(std::ops::Range<usize>, bool)>,
                      position: &mut u32,
                      each: &mut dyn FnMut(Token<'_>) -> Result<(), E>| {
            if let Some((range, false)) = last {
                each(Token { term: &normalized(&text[range.clone()]), position: *position, range })?;
                *position += 1;
            }
            Ok(())
        };
        for (begin, word) in text.split_word_bound_indices() {
            let range = begin..begin + word.len();
            if !word.chars().any(char::is_alphanumeric) {
                single(last.take(), &mut position, &mut each)?;
                continue;
            }
            if word.chars().next().is_some_and(has_no_spaces) {
                self.pairs(text, range, &mut last, &mut position, &mut each)?;
                continue;
            }
            single(last.take(), &mut position, &mut each)?;
            let word = normalized(word);
            if !self.stop_words.contains(&*word) {
                let stemmed = match &self.stemmer {
                    Some(stemmer) if word.len() <= MAX_STEMMED_BYTES => stemmer.stem(&word),
                    _ => Cow::Borrowed(&*word),
                };
                let term = if self.fold_accents { without_accents(&stemmed) } else { stemmed };
                each(Token { term: &term, position, range })?;
            }
            position += 1;
        }
        single(last, &mut position, &mut each)
    }

    /// Adds the pairs that end in a segment of a script without spaces. A segment may have several characters, such as a
    /// run of katakana.
    fn pairs<E>(
        &self,
        text: &str,
        segment: std::ops::Range<usize>,
        last: &mut Option<(std::ops::Range<usize>, bool)>,
        position: &mut u32,
        each: &mut impl FnMut(Token<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (offset, grapheme) in text[segment.clone()].grapheme_indices(true) {
            let range = segment.start + offset..segment.start + offset + grapheme.len();
            let before = last.take().filter(|(before, _)| before.end == range.start);
            let paired = before.is_some();
            if let Some((before, _)) = before {
                let range = before.start..range.end;
                each(Token { term: &normalized(&text[range.clone()]), position: *position, range })?;
                *position += 1;
            }
            *last = Some((range, paired));
        }
        Ok(())
    }
}

/// Returns a word in NFKC, with its case folded.
///
/// The folding of a character is the lower case of its upper case, which is the full case folding of Unicode but for the
/// dotless i, kept here because Turkish words differ by it.
pub(super) fn normalized(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        return match word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(word.to_ascii_lowercase()),
            false => Cow::Borrowed(word),
        };
    }
    let mut folded = String::with_capacity(word.len());
    for character in word.nfkc() {
        match character {
            'ı' => folded.push(character),
            _ => folded.extend(character.to_uppercase().flat_map(char::to_lowercase)),
        }
    }
    Cow::Owned(folded.nfkc().collect())
}

/// Returns a word without accents: combining marks are removed after decomposition, and letters with a stroke or of two
/// letters are spelled out.
fn without_accents(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        return Cow::Borrowed(word).into_owned().into();
    }
    let mut plain = String::with_capacity(word.len());
    for character in word.nfd().filter(|character| !is_combining_mark(*character)) {
        match character {
            'ø' => plain.push('o'),
            'ł' => plain.push('l'),
            'đ' | 'ð' => plain.push('d'),
            'ħ' => plain.push('h'),
            'ı' => plain.push('i'),
            'ŧ' => plain.push('t'),
            'æ' => plain.push_str("ae"),
            'œ' => plain.push_str("oe"),
            'þ' => plain.push_str("th"),
            _ => plain.push(character),
        }
    }
    Cow::Owned(plain)
}

/// Whether a character is of a script that is written without spaces between words.
fn has_no_spaces(character: char) -> bool {
    matches!(u32::from(character),
        0x0E00..=0x0EFF        // Thai, Lao
        | 0x1000..=0x109F      // Burmese
        | 0x1780..=0x17FF      // Khmer
        | 0x3005..=0x3007      // iteration mark, closing mark, zero
        | 0x3040..=0x30FF      // kana
        | 0x31F0..=0x31FF      // katakana extensions
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF // Han
        | 0xFF66..=0xFF9F      // half-width katakana
        | 0x20000..=0x3FFFF) // Han, supplementary planes
}
