//! The tokenizer, shared by training, embedding and evaluation. A model keeps its tokenization rule, by name, in its
//! card (`settings.tokenizer`).
//!
//! | name | rule |
//! | --- | --- |
//! | `uax29` | the words between the boundaries of Unicode Standard Annex 29 that have a letter or a digit, in NFC |
//! | `letters` (no name in the card) | runs of letters (Unicode `Alphabetic`); a combining mark ends a word |
//!
//! Words are counted and trained in lower case. Texts are tokenized by `uax29`; their words are looked up as written,
//! then in lower case (`WordModel::terms`).
//!
//! `uax29` does not segment scripts without spaces, which needs a dictionary: it finds a boundary at every Thai, Lao,
//! Khmer and Burmese letter, so these are joined into a run. Ideographs and Hiragana remain one word each.

use crate::ModelCard;
use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization, char::is_combining_mark, is_nfc_quick};
use unicode_segmentation::UnicodeSegmentation;

/// The card setting that names the rule.
const SETTING: &str = "tokenizer";

/// A tokenization rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokenizer {
    /// Runs of letters, in lower case: "don't" is `don` and `t`. The rule of models whose card names none.
    Letters,
    /// Word boundaries of UAX 29 and NFC: "don't", `new_york` and `b2b` are one word each. The rule of new models.
    #[default]
    Uax29,
}

impl Tokenizer {
    /// Returns the name: `letters` or `uax29`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Letters => "letters",
            Self::Uax29 => "uax29",
        }
    }

    /// Returns a description of the rule, which is part of every fingerprint. If the rule changes, change the text.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Letters => "runs of letters, lower case/1",
            Self::Uax29 => "UAX 29 words, NFC, as written or lower case/1",
        }
    }

    /// Returns the rule named in a card; [`Letters`](Self::Letters) if there is none.
    pub(super) fn of_card(card: &ModelCard) -> Result<Self, String> {
        match card.settings.get(SETTING) {
            None => Ok(Self::Letters),
            Some(name) => [Self::Letters, Self::Uax29].into_iter().find(|rule| name == rule.name()).ok_or_else(|| {
                format!(
                    "settings.{SETTING} is {name}; this version supports \"letters\" and \"uax29\"; use a newer one"
                )
            }),
        }
    }

    /// Records the rule in a card.
    pub(super) fn note_in(self, card: &mut ModelCard) {
        match self {
            Self::Letters => card.settings.remove(SETTING),
            Self::Uax29 => card.settings.insert(SETTING.into(), self.name().into()),
        };
    }

    /// Calls `visit` with every word of `text` in lower case, in order.
    pub fn words(self, text: &str, mut visit: impl FnMut(&str)) {
        match self {
            Self::Letters => letters(text, visit),
            Self::Uax29 => {
                let mut lowered = String::new();
                written(&normal(text), |word| visit(lower(word, &mut lowered)));
            }
        }
    }

    /// Returns the words of `text` as a list.
    pub fn list(self, text: &str) -> Vec<String> {
        let mut list = Vec::new();
        self.words(text, |word| list.push(word.to_owned()));
        list
    }
}

/// Returns the word in lower case; uses `buffer` unless the word is in lower case already.
pub(super) fn lower<'a>(word: &'a str, buffer: &'a mut String) -> &'a str {
    if word.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return word;
    }
    buffer.clear();
    if word.is_ascii() {
        buffer.push_str(word);
        buffer.make_ascii_lowercase();
    } else {
        // NFC again: some letters lowercase to a letter and a combining mark.
        buffer.extend(word.chars().flat_map(char::to_lowercase).nfc());
    }
    buffer
}

/// Returns a text in NFC, with plain apostrophes and without invisible characters: soft hyphens, byte order marks,
/// directional marks.
pub(super) fn normal(text: &str) -> Cow<'_, str> {
    let unseen = |c: char| matches!(c, '\u{ad}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let plain = |c: char| c != '\u{2019}' && !unseen(c);
    if text.is_ascii() || (text.chars().all(plain) && is_nfc_quick(text.chars()) == IsNormalized::Yes) {
        return Cow::Borrowed(text);
    }
    let seen = text.chars().filter(|&c| !unseen(c)).nfc();
    Cow::Owned(seen.map(|c| if c == '\u{2019}' { '\'' } else { c }).collect())
}

/// Calls `visit` with each UAX 29 segment of a [`normal`] text that is a word, and its offset. Surrounding underscores
/// are stripped: `_so_` is emphasis. So are combining marks without a base.
pub(super) fn segments<'a>(text: &'a str, mut visit: impl FnMut(usize, &'a str)) {
    for (at, segment) in text.unicode_word_indices() {
        let word = segment.trim_start_matches(|c: char| !c.is_alphanumeric() || is_combining_mark(c));
        if !word.is_empty() {
            visit(at + segment.len() - word.len(), word.trim_end_matches('_'));
        }
    }
}

/// Returns whether a segment is in a script whose word boundaries need a dictionary (line breaking class SA).
pub(super) fn is_unspaced(segment: &str) -> bool {
    segment.starts_with(|c: char| {
        c.is_alphabetic()
            && matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{1950}'..='\u{19df}'
                | '\u{1a20}'..='\u{1aaf}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aadf}')
    })
}

/// Calls `visit` with every word of a [`normal`] text, as written.
pub(super) fn written<'a>(text: &'a str, mut visit: impl FnMut(&'a str)) {
    let mut run = 0..0;
    segments(text, |at, segment| {
        if is_unspaced(segment) {
            if run.end != at && !run.is_empty() {
                visit(&text[run.clone()]);
            }
            run = if run.end == at && !run.is_empty() { run.start } else { at }..at + segment.len();
        } else {
            if !run.is_empty() {
                visit(&text[std::mem::take(&mut run)]);
            }
            visit(segment);
        }
    });
    if !run.is_empty() {
        visit(&text[run]);
    }
}

/// Returns the parts of a word between apostrophes, dots, underscores and the like; none if the word has no separator.
pub(super) fn parts(word: &str) -> impl Iterator<Item = &str> {
    let joins = |c: char| {
        c.is_ascii_punctuation()
            || matches!(
                c,
                '\u{b7}' | '\u{2018}' | '\u{2024}' | '\u{2027}' | '\u{203f}' | '\u{2040}' | '\u{ff07}' | '\u{ff0e}'
            )
    };
    let any = word.contains(joins);
    word.split(joins).filter(move |part| any && !part.is_empty())
}

/// Visits the words of [`Tokenizer::Letters`].
fn letters(text: &str, mut visit: impl FnMut(&str)) {
    let bytes = text.as_bytes();
    let mut lowered = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let mut plain = true;
        let mut separator = 1;
        while let Some(&byte) = bytes.get(at) {
            if byte.is_ascii_lowercase() {
                at += 1;
            } else if byte.is_ascii_uppercase() {
                plain = false;
                at += 1;
            } else if byte.is_ascii() {
                break;
            } else {
                let Some(letter) = text[at..].chars().next() else { break };
                if !letter.is_alphabetic() {
                    separator = letter.len_utf8();
                    break;
                }
                plain = false;
                at += letter.len_utf8();
            }
        }
        if at > start {
            let word = &text[start..at];
            if plain {
                visit(word);
            } else {
                lowered.clear();
                for letter in word.chars() {
                    if letter.is_ascii() {
                        lowered.push(letter.to_ascii_lowercase());
                    } else {
                        lowered.extend(letter.to_lowercase());
                    }
                }
                visit(&lowered);
            }
        }
        at += separator;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: Tokenizer, text: &str, expected: &[&str]) {
        assert_eq!(rule.list(text), expected, "{text:?}");
    }

    #[test]
    fn letters_are_runs_of_letters_in_lower_case() {
        let check = |text: &str, expected: &[&str]| check(Tokenizer::Letters, text, expected);
        check("", &[]);
        check(" 12 -- ", &[]);
        check("The quick-brown FOX.", &["the", "quick", "brown", "fox"]);
        check("don't", &["don", "t"]);
        check("mp3player B2B", &["mp", "player", "b", "b"]);
        check("Ångström Éclair naïve ΣΑΣ 東京", &["ångström", "éclair", "naïve", "σασ", "東京"]);
        check("«a»—b\u{a0}c…", &["a", "b", "c"]);
        check("x", &["x"]);
        check("é", &["é"]);
        check("हिन्दी", &["हिन", "दी"]);
    }

    #[test]
    fn words_of_uax29_keep_apostrophes_digits_and_underscores() {
        let check = |text: &str, expected: &[&str]| check(Tokenizer::Uax29, text, expected);
        check("", &[]);
        check(" -- … ___ ", &[]);
        check("_so_ __init__ a_b _\u{e47}A", &["so", "init", "a_b", "a"]);
        check("The quick-brown FOX.", &["the", "quick", "brown", "fox"]);
        check("Don't don’t l'homme 'quoted'", &["don't", "don't", "l'homme", "quoted"]);
        check(
            "mp3player B2B 3.14 12:30 New_York HIV-1",
            &["mp3player", "b2b", "3.14", "12", "30", "new_york", "hiv", "1"],
        );
        check("«a»—b\u{a0}c…\u{85}d\u{3000}e", &["a", "b", "c", "d", "e"]);
        check("東京タワーへ", &["東", "京", "タワー", "へ"]);
        check("한국어 русский ελληνικά עברית عربي", &["한국어", "русский", "ελληνικά", "עברית", "عربي"]);
    }

    #[test]
    fn combining_marks_do_not_split_words() {
        let check = |text: &str, expected: &[&str]| check(Tokenizer::Uax29, text, expected);
        check("हिन्दी में किताब", &["हिन्दी", "में", "किताब"]);
        check("தமிழ் புத்தகம்", &["தமிழ்", "புத்தகம்"]);
        check("น้ำ ผู้ใหญ่, ภาษาไทย", &["น้ำ", "ผู้ใหญ่", "ภาษาไทย"]);
        check("မြန်မာ စာ။", &["မြန်မာ", "စာ"]);
        check("ភាសា ខ្មែរ", &["ភាសា", "ខ្មែរ"]);
        check("abcภาษาdef", &["abc", "ภาษา", "def"]);
        // Words separated by a zero-width space.
        check("ภาษา\u{200b}ไทย", &["ภาษา", "ไทย"]);
        // NFD gives the same words as NFC; invisible characters are ignored.
        check("E\u{301}clair A\u{30a}ngstro\u{308}m", &["éclair", "ångström"]);
        check("\u{feff}co\u{ad}operate \u{202b}שלום\u{202c}", &["cooperate", "שלום"]);
        check("İstanbul ΣΑΣ", &["i\u{307}stanbul", "σασ"]);
    }

    #[test]
    fn a_word_does_not_begin_with_a_combining_mark() {
        assert_eq!(Tokenizer::Uax29.list("\u{203f}\u{cc6}\u{b5f} \u{cc6} \u{301}a"), ["\u{b5f}", "a"]);
    }

    #[test]
    fn punctuation_separates_the_parts_of_a_word() {
        let of = |word| parts(word).collect::<Vec<_>>();
        assert_eq!(of("new_york's"), ["new", "york", "s"]);
        assert_eq!(of("u.s.a"), ["u", "s", "a"]);
        assert!(of("king").is_empty() && of("___").is_empty() && of("").is_empty());
    }

    #[test]
    fn a_card_names_the_rule_and_defaults_to_the_old_one() {
        let mut card = ModelCard::default();
        assert_eq!(Tokenizer::of_card(&card), Ok(Tokenizer::Letters));
        Tokenizer::Uax29.note_in(&mut card);
        assert_eq!((&card.settings["tokenizer"], Tokenizer::of_card(&card)), (&"uax29".into(), Ok(Tokenizer::Uax29)));
        Tokenizer::Letters.note_in(&mut card);
        assert!(card.settings.is_empty());
        card.settings.insert("tokenizer".into(), "letters".into());
        assert_eq!(Tokenizer::of_card(&card), Ok(Tokenizer::Letters));
        for bad in [serde_json::Value::from("bpe"), 3.into(), serde_json::Value::Null] {
            card.settings.insert("tokenizer".into(), bad);
            assert!(Tokenizer::of_card(&card).unwrap_err().contains("uax29"));
        }
    }

    proptest::proptest! {
        #[test]
        fn the_fast_path_of_letters_is_the_rule(text in "\\PC{0,40}|[a-zA-Zé'0-9 ]{0,40}") {
            let by_rule: Vec<String> = text
                .split(|c: char| !c.is_alphabetic())
                .filter(|word| !word.is_empty())
                .map(|word| word.chars().flat_map(char::to_lowercase).collect())
                .collect();
            proptest::prop_assert_eq!(Tokenizer::Letters.list(&text), by_rule);
        }

        #[test]
        fn words_of_uax29_are_words_themselves(text in "\\PC{0,40}|[a-zA-Zé'0-9_ก-๙ก-๙ิ-ู漢かカ ]{0,40}") {
            for word in Tokenizer::Uax29.list(&text) {
                proptest::prop_assert_eq!(Tokenizer::Uax29.list(&word), [word.clone()], "{}", text);
            }
        }
    }
}
