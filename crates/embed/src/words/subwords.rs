//! Character n-grams of words (Bojanowski, Grave, Joulin, Mikolov 2017, "Enriching Word Vectors with Subword
//! Information", section 3.2), which give rare, compound and misspelt words a vector.
//!
//! The n-grams are those of `<word>`, hashed into buckets with fastText's hash, so that its files can be read.

use super::{options::Ngrams, table::Table};

impl Ngrams {
    /// Calls `visit` with the bucket of each n-gram of a word. A lone `<` or `>` is not an n-gram.
    pub(super) fn for_each_bucket(&self, word: &str, mut visit: impl FnMut(u32)) {
        let marked = format!("<{word}>");
        let starts: Vec<usize> = marked.char_indices().map(|(at, _)| at).chain([marked.len()]).collect();
        let characters = starts.len() - 1;
        for first in 0..characters {
            for length in self.min..=self.max.min(characters - first) {
                if length == 1 && (first == 0 || first + 1 == characters) {
                    continue;
                }
                visit(fasttext_hash(&marked.as_bytes()[starts[first]..starts[first + length]]) % self.buckets);
            }
        }
    }
}

/// FNV-1a with bytes sign-extended: a bug of fastText that its files depend on.
fn fasttext_hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash: u32, &byte| (hash ^ i32::from(byte as i8) as u32).wrapping_mul(16_777_619))
}

/// The vectors of a model's n-grams.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subwords {
    pub(super) ngrams: Ngrams,
    /// `ngrams.buckets` rows.
    pub(super) table: Table,
}

impl Subwords {
    /// Returns the mean of the vectors of a word's n-grams, or `None` for a word without n-grams.
    pub(super) fn vector(&self, word: &str, dimension: usize) -> Option<Vec<f32>> {
        let mut sum = vec![0.0_f32; dimension];
        let count = self.add(word, dimension, &mut sum);
        sum.iter_mut().for_each(|x| *x /= count as f32);
        (count > 0).then_some(sum)
    }

    /// Adds the vectors of a word's n-grams to `sum` and returns their number.
    pub(super) fn add(&self, word: &str, dimension: usize, sum: &mut [f32]) -> usize {
        let mut count = 0;
        let mut row = Vec::with_capacity(dimension);
        self.ngrams.for_each_bucket(word, |bucket| {
            self.table.decode(dimension, bucket as usize, bucket as usize + 1, &mut row);
            sum.iter_mut().zip(&row).for_each(|(sum, x)| *sum += x);
            count += 1;
        });
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_n_grams_of_the_paper() {
        // The example of the paper: the 3-grams of "where" are <wh, whe, her, ere, re>.
        let ngrams = Ngrams { min: 3, max: 3, buckets: u32::MAX };
        let mut found = Vec::new();
        ngrams.for_each_bucket("where", |bucket| found.push(bucket));
        let expected = ["<wh", "whe", "her", "ere", "re>"].map(|part| fasttext_hash(part.as_bytes()) % u32::MAX);
        assert_eq!(found, expected);
        let count = |min, max, word: &str| {
            let mut count = 0;
            Ngrams { min, max, buckets: 100 }.for_each_bucket(word, |bucket| {
                assert!(bucket < 100);
                count += 1;
            });
            count
        };
        assert_eq!(count(1, 1, "ab"), 2, "neither < nor > alone");
        assert_eq!(count(3, 6, ""), 0);
        assert_eq!(count(3, 3, "née"), 3, "characters, not bytes");
        assert_eq!(count(3, 20, "cat"), 6);
    }

    #[test]
    fn the_hash_is_fasttexts() {
        // For ASCII, the published FNV-1a; bytes from 128 on flip the upper bits as well.
        assert_eq!(fasttext_hash(b""), 0x811c_9dc5);
        assert_eq!(fasttext_hash(b"a"), 0xe40c_292c);
        assert_eq!(fasttext_hash(b"foobar"), 0xbf9c_f968);
        assert_eq!(fasttext_hash("é".as_bytes()), {
            let step = |hash: u32, byte: u32| (hash ^ byte).wrapping_mul(16_777_619);
            step(step(0x811c_9dc5, 0xffff_ffc3), 0xffff_ffa9)
        });
    }
}
