//! Conditions on the words of a text.

use super::Analyzer;
use super::analyzer::{AnalyzerConfig, normalized};
use std::sync::LazyLock;

/// The analyzer of conditions: words in NFKC with folded case, without stems and stop words.
static ANALYZER: LazyLock<Analyzer> = LazyLock::new(|| Analyzer::new(&AnalyzerConfig::default()));

/// The kind of a [`TextMatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextMatchKind {
    /// A text has all words, in any order.
    All,
    /// A text has at least one of the words.
    Any,
    /// A text has the words next to each other, in this order.
    Phrase,
    /// As `Phrase`, but the last word may be the beginning of a longer one.
    Prefix,
    /// A text contains the characters, also within words.
    Substring,
}

impl TextMatchKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::All, Self::Any, Self::Phrase, Self::Prefix, Self::Substring];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Any => "any",
            Self::Phrase => "phrase",
            Self::Prefix => "prefix",
            Self::Substring => "substring",
        }
    }
}

/// A condition on a text. Words are those of UAX 29, compared in NFKC without regard to case; characters of scripts
/// without spaces are compared in pairs, as in text fields.
#[derive(Clone, Debug)]
pub struct TextMatch {
    kind: TextMatchKind,
    text: String,
    /// The words; for a substring, its normalized characters.
    terms: Vec<Box<str>>,
}

impl PartialEq for TextMatch {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.text) == (other.kind, &other.text)
    }
}

impl TextMatch {
    /// Creates a condition.
    pub fn new(kind: TextMatchKind, text: impl Into<String>) -> Self {
        let text = text.into();
        let mut terms: Vec<Box<str>> = Vec::new();
        match kind {
            TextMatchKind::Substring => terms.push(normalized(&text).into()),
            _ => ANALYZER.for_each(&text, |token| terms.push(token.term.into())),
        }
        Self { kind, text, terms }
    }

    /// Returns the kind.
    pub fn kind(&self) -> TextMatchKind {
        self.kind
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the words; for a substring, its normalized characters.
    pub(crate) fn terms(&self) -> &[Box<str>] {
        &self.terms
    }

    /// Whether a text matches.
    pub fn matches(&self, text: &str) -> bool {
        match self.kind {
            TextMatchKind::All => {
                let mut missing: Vec<bool> = vec![true; self.terms.len()];
                ANALYZER.for_each(text, |token| {
                    for (term, missing) in self.terms.iter().zip(&mut missing) {
                        *missing &= **term != *token.term;
                    }
                });
                !missing.is_empty() && !missing.contains(&true)
            }
            TextMatchKind::Any => {
                let mut found = false;
                ANALYZER.for_each(text, |token| found |= self.terms.iter().any(|term| **term == *token.term));
                found
            }
            TextMatchKind::Phrase | TextMatchKind::Prefix => self.matches_phrase(text),
            TextMatchKind::Substring => self.terms.iter().all(|term| normalized(text).contains(&**term)),
        }
    }

    fn matches_phrase(&self, text: &str) -> bool {
        let Some(last) = self.terms.len().checked_sub(1) else { return false };
        let is_at = |position: usize, word: &str| match self.terms.get(position) {
            Some(term) if self.kind == TextMatchKind::Prefix && position == last => word.starts_with(&**term),
            Some(term) => **term == *word,
            None => false,
        };
        // Numbers of words of the phrase that end before the current word.
        let (mut begun, mut found): (Vec<usize>, bool) = (Vec::new(), false);
        ANALYZER.for_each(text, |token| {
            begun.push(0);
            begun.retain_mut(|words| {
                let goes_on = is_at(*words, token.term);
                *words += 1;
                goes_on
            });
            found |= begun.iter().any(|words| *words > last);
            begun.retain(|words| *words <= last);
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TextMatchKind::{All, Any, Phrase, Prefix, Substring};

    #[track_caller]
    fn check(kind: TextMatchKind, text: &str, matching: &[&str], others: &[&str]) {
        let condition = TextMatch::new(kind, text);
        matching.iter().for_each(|text| assert!(condition.matches(text), "{condition:?} does not match {text:?}"));
        others.iter().for_each(|text| assert!(!condition.matches(text), "{condition:?} matches {text:?}"));
    }

    #[test]
    fn each_kind_matches_what_it_says() {
        check(All, "salt TAX", &["tax on salt", "Salt, tax!"], &["salt", "salty tax", ""]);
        check(All, "a a", &["a", "b A"], &["b"]);
        check(Any, "salt tax", &["salt", "a Tax"], &["salty taxes", ""]);
        check(
            Phrase,
            "the salt tax",
            &["on THE salt-tax", "the salt tax", "the the salt tax"],
            &["the tax salt", "salt tax", "the salt"],
        );
        check(Phrase, "a a b", &["a a a b"], &["a b a", "a b"]);
        check(Prefix, "salt ta", &["a salt tax", "salt ta"], &["salt", "salty tax", "sea salt", "tax salt"]);
        check(Prefix, "north", &["The Northern seas"], &["the seas of the east", "renorth"]);
        check(Substring, "alt T", &["salt tax", "SALT TAX"], &["saltt ax", "tax"]);
        check(Substring, "STRASSE", &["Hauptstraße"], &["Strase"]);
    }

    #[test]
    fn words_are_normalized_in_all_scripts() {
        check(All, "ﬁne Straße", &["FINE STRASSE"], &["fin strasse"]);
        check(Phrase, "東京都", &["これは東京都です"], &["京都と東京"]);
        check(Any, "été", &["E\u{301}TE\u{301}"], &["ete"]);
        check(All, "...", &[], &["...", "a", ""]);
        check(Any, "...", &[], &["...", "a"]);
        check(Phrase, "...", &[], &["..."]);
        check(Substring, "...", &["wait..."], &["wait"]);
    }
}
