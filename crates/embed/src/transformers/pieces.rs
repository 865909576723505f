//! Subword pieces: byte-pair encoding within words (Sennrich, Haddow, Birch 2016, "Neural Machine Translation of
//! Rare Words with Subword Units", section 3.2), with the `tokenizers` crate.
//!
//! Pieces inside a word have the prefix `##`, so that a word that is a single piece keeps its spelling.

use super::tokens::catch_panic;
use crate::Error;
use rustc_hash::FxHashMap;
use std::path::Path;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{AddedToken, Model, Tokenizer};

/// Prefix of a piece that does not begin a word.
const INSIDE: &str = "##";
/// Allowed numbers of distinct pieces.
const SIZES: std::ops::RangeInclusive<usize> = 100..=1_000_000;

/// A trained byte-pair encoding.
pub struct Pieces {
    bpe: BPE,
    json: Vec<u8>,
}

impl Pieces {
    /// Refuses a number of pieces out of range.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] naming the limits.
    pub fn check(size: usize) -> Result<(), Error> {
        if SIZES.contains(&size) {
            return Ok(());
        }
        let (min, max) = (SIZES.start(), SIZES.end());
        Err(Error::InvalidInput(format!("the number of pieces must be {min} to {max}, got {size}")))
    }

    /// Trains on words and their counts, for at most `size` distinct pieces. At most half of them are single
    /// letters, the most frequent ones. Deterministic for the same words in the same order.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for words that yield no pieces; as [`check`](Self::check).
    pub fn learn(words: &[String], counts: &[u64], size: usize) -> Result<Self, Error> {
        Self::check(size)?;
        let failed = |error: String| Error::InvalidInput(format!("learning pieces from the corpus failed: {error}"));
        let mut often: FxHashMap<char, u64> = FxHashMap::default();
        for (word, count) in words.iter().zip(counts) {
            word.chars().for_each(|letter| *often.entry(letter).or_default() += count);
        }
        let mut letters: Vec<(u64, char)> = often.into_iter().map(|(letter, count)| (count, letter)).collect();
        letters.sort_unstable_by_key(|&(count, letter)| (std::cmp::Reverse(count), letter));
        letters.truncate(size / 4);
        // Added first: otherwise their ids, which break ties between equally frequent merges, would be random.
        let inside = letters.iter().map(|(_, letter)| AddedToken::from(format!("{INSIDE}{letter}"), true)).collect();
        let trainer = BpeTrainer::builder()
            .vocab_size(size)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(inside)
            .initial_alphabet(letters.iter().map(|(_, letter)| *letter).collect())
            .limit_alphabet(letters.len())
            .continuing_subword_prefix(INSIDE.into())
            .build();
        let json = catch_panic(|| {
            let mut bpe = BPE::default();
            let words = words.iter().zip(counts).map(|(word, count)| (word.as_str().into(), *count)).collect();
            trainer.do_train(&words, &mut bpe)?;
            Tokenizer::new(bpe).to_string(false)
        });
        Self::parse(Path::new("the pieces"), json.map_err(failed)?.as_bytes())
    }

    /// Parses the output of [`json`](Self::json): a `tokenizer.json` that contains only a BPE model.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
        let tokenizer = catch_panic(|| Tokenizer::from_bytes(json)).map_err(corrupt)?;
        let ModelWrapper::BPE(bpe) = tokenizer.get_model() else {
            return Err(corrupt("its model is not BPE".into()));
        };
        if bpe.dropout.is_some() || bpe.get_continuing_subword_prefix().as_deref() != Some(INSIDE) {
            return Err(corrupt(format!("supported: BPE without dropout, and the prefix {INSIDE} inside words")));
        }
        Ok(Self { bpe: bpe.clone(), json: json.to_vec() })
    }

    /// The contents of a `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The pieces of a word, in order; letters without a piece are skipped.
    pub fn of(&self, word: &str) -> Vec<String> {
        let pieces = catch_panic(|| self.bpe.tokenize(word)).unwrap_or_default();
        pieces.into_iter().map(|piece| piece.value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(words: &[(&str, u64)], size: usize) -> Pieces {
        let (words, counts): (Vec<String>, Vec<u64>) =
            words.iter().map(|(word, count)| ((*word).to_owned(), *count)).unzip();
        Pieces::learn(&words, &counts, size).unwrap()
    }

    /// The example of the paper, section 3.2; its first merges are "es", "est", "lo", "low".
    const WORDS: [(&str, u64); 5] = [("low", 500), ("lower", 200), ("newest", 600), ("widest", 300), ("qi", 1)];

    #[test]
    fn frequent_words_are_whole_and_rare_ones_are_split() {
        let pieces = learned(&WORDS, 100);
        assert_eq!(pieces.of("low"), ["low"]);
        assert_eq!(pieces.of("newest"), ["newest"]);
        let cut = pieces.of("lowest");
        assert_eq!((cut[0].as_str(), cut.concat().replace(INSIDE, "").as_str()), ("low", "lowest"));
        assert_eq!(pieces.of("xyz"), [""; 0], "letters outside the training corpus");
        assert_eq!(pieces.of(""), [""; 0]);
    }

    #[test]
    fn pieces_are_reproducible_and_read_back() {
        let words: Vec<(String, u64)> =
            (0..2_000_u64).map(|n| (format!("{:b}x{}", n, n % 7).replace(char::is_numeric, "ab"), 1 + n % 5)).collect();
        let (words, counts): (Vec<String>, Vec<u64>) = words.into_iter().unzip();
        let first = Pieces::learn(&words, &counts, 300).unwrap();
        for _ in 0..3 {
            assert_eq!(Pieces::learn(&words, &counts, 300).unwrap().json(), first.json());
        }
        let back = Pieces::parse(Path::new("p"), first.json()).unwrap();
        assert!(words.iter().all(|word| back.of(word) == first.of(word)));
    }

    #[test]
    fn an_invalid_tokenizer_file_is_refused() {
        for json in ["", "{}", "[1,2]", r#"{"model":{"type":"WordPiece"}}"#] {
            assert!(matches!(Pieces::parse(Path::new("p"), json.as_bytes()), Err(Error::Corrupt { .. })), "{json}");
        }
        let json = String::from_utf8(learned(&WORDS, 100).json().to_vec()).unwrap();
        assert!(Pieces::parse(Path::new("p"), json.replace("\"dropout\":null", "\"dropout\":0.5").as_bytes()).is_err());
        assert!(Pieces::parse(Path::new("p"), json.replace("\"##\"", "\"@\"").as_bytes()).is_err());
        assert!(Pieces::check(99).is_err() && Pieces::check(1_000_001).is_err());
        assert!(Pieces::learn(&["a".into()], &[1], 5).is_err());
    }
}
