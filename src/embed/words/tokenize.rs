//! What a word is: the one rule that training, embedding and evaluating share.
//!
//! A word is a run of letters (Unicode `Alphabetic`), in lower case. Everything else separates: spaces, digits,
//! punctuation, apostrophes ("don't" is `don` and `t`) and hyphens.

/// The name of the rule, part of every fingerprint. Changed rule, changed name.
pub const RULE: &str = "runs of letters, lower case/1";

/// Calls `visit` with every word of `text`, in order.
pub fn words(text: &str, mut visit: impl FnMut(&str)) {
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

/// The words of `text` in a list.
pub fn list(text: &str) -> Vec<String> {
    let mut list = Vec::new();
    words(text, |word| list.push(word.to_owned()));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(list(text), expected, "{text:?}");
    }

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        check("", &[]);
        check(" 12 -- ", &[]);
        check("The quick-brown FOX.", &["the", "quick", "brown", "fox"]);
        check("don't", &["don", "t"]);
        check("mp3player B2B", &["mp", "player", "b", "b"]);
        check("Ångström Éclair naïve ΣΑΣ 東京", &["ångström", "éclair", "naïve", "σασ", "東京"]);
        check("«a»—b\u{a0}c…", &["a", "b", "c"]);
        check("x", &["x"]);
        check("é", &["é"]);
    }

    proptest::proptest! {
        #[test]
        fn the_fast_path_is_the_rule(text in "\\PC{0,40}|[a-zA-Zé'0-9 ]{0,40}") {
            let by_rule: Vec<String> = text
                .split(|c: char| !c.is_alphabetic())
                .filter(|word| !word.is_empty())
                .map(|word| word.chars().flat_map(char::to_lowercase).collect())
                .collect();
            proptest::prop_assert_eq!(list(&text), by_rule);
        }
    }
}
