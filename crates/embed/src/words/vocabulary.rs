//! Word counting in bounded memory.
//!
//! Words get provisional numbers in order of appearance. When the number of distinct words exceeds the limit, the
//! rarest are discarded, as in word2vec.c (`ReduceVocab`); a discarded word that recurs gets a new number and is
//! counted again from 0. So the count of a discarded word is a lower bound, and that of any other word is exact.

use super::data::MAX_WORD_BYTES;
use crate::Error;
use rustc_hash::FxHashMap;

/// Words and their counts.
pub(super) struct WordCounter {
    entries: FxHashMap<Box<str>, Entry>,
    /// Maximum number of distinct words held.
    limit: usize,
    next: u32,
    /// Words of at most this count have been discarded.
    pruned_count: u64,
}

struct Entry {
    number: u32,
    count: u64,
}

/// The final vocabulary, most frequent word first.
#[derive(Default)]
pub(super) struct Vocabulary {
    pub(super) words: Vec<String>,
    pub(super) counts: Vec<u64>,
    /// Index in the lists, by provisional number.
    pub(super) numbers: FxHashMap<u32, u32>,
}

impl WordCounter {
    /// Returns a counter that holds at most `limit` distinct words.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: FxHashMap::default(), limit: limit.max(2), next: 0, pruned_count: 0 }
    }

    /// Counts a word; returns its provisional number, or `None` for an overlong word.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when all 2^32 - 1 numbers are used.
    #[inline]
    pub(super) fn count(&mut self, word: &str) -> Result<Option<u32>, Error> {
        if let Some(entry) = self.entries.get_mut(word) {
            entry.count += 1;
            return Ok(Some(entry.number));
        }
        if word.len() > MAX_WORD_BYTES {
            return Ok(None);
        }
        let number = self.next;
        if number == u32::MAX {
            return Err(Error::InvalidInput("the corpus has more than 4,294,967,294 different words".into()));
        }
        self.next += 1;
        if self.entries.len() >= self.limit {
            self.prune();
        }
        self.entries.insert(word.into(), Entry { number, count: 1 });
        Ok(Some(number))
    }

    /// Discards the rarest words until at most 3/4 of the limit are left.
    fn prune(&mut self) {
        let mut counts: Vec<u64> = self.entries.values().map(|entry| entry.count).collect();
        let target = self.limit * 3 / 4;
        let (_, threshold, _) = counts.select_nth_unstable_by(target, |a, b| b.cmp(a));
        self.pruned_count = *threshold;
        let threshold = *threshold;
        self.entries.retain(|_, entry| entry.count > threshold);
    }

    /// Returns the count up to which words may have been discarded; 0 if none was.
    pub(super) fn pruned_count(&self) -> u64 {
        self.pruned_count
    }

    /// Returns the `max_words` most frequent words among those seen at least `min_count` times; ties by the word.
    pub(super) fn finish(self, min_count: u64, max_words: usize) -> Vocabulary {
        let mut sorted: Vec<(Box<str>, Entry)> =
            self.entries.into_iter().filter(|(_, entry)| entry.count >= min_count).collect();
        sorted.sort_unstable_by(|(a, first), (b, second)| second.count.cmp(&first.count).then_with(|| a.cmp(b)));
        sorted.truncate(max_words);
        let mut vocabulary = Vocabulary::default();
        for (index, (word, entry)) in (0_u32..).zip(sorted) {
            vocabulary.words.push(word.into_string());
            vocabulary.counts.push(entry.count);
            vocabulary.numbers.insert(entry.number, index);
        }
        vocabulary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str, limit: usize) -> WordCounter {
        let mut counter = WordCounter::new(limit);
        text.split(' ').for_each(|word| _ = counter.count(word).unwrap());
        counter
    }

    #[test]
    fn frequent_words_come_first_and_rare_ones_are_left_out() {
        let counter = count("b a b c a b d d", 100);
        assert_eq!(counter.pruned_count(), 0);
        let found = counter.finish(2, 100);
        assert_eq!((&found.words[..], &found.counts[..]), (&["b", "a", "d"].map(String::from)[..], &[3, 2, 2][..]));
        assert_eq!((found.numbers[&0], found.numbers[&1], found.numbers.get(&2)), (0, 1, None));
        assert_eq!(count("b a b c a b d d", 100).finish(1, 2).words, ["b", "a"]);
        assert!(count(&"x".repeat(MAX_WORD_BYTES + 1), 9).finish(1, 9).words.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_frequent_words_survive() {
        let mut counter = WordCounter::new(100);
        for i in 0..10_000 {
            counter.count("often").unwrap();
            counter.count(&format!("rare{i}")).unwrap();
            if i % 4 == 0 {
                counter.count("sometimes").unwrap();
            }
            assert!(counter.entries.len() <= 100);
        }
        assert!(counter.pruned_count() >= 1);
        let found = counter.finish(5, 100);
        assert_eq!(
            (&found.words[..], &found.counts[..]),
            (&["often", "sometimes"].map(String::from)[..], &[10_000, 2_500][..])
        );
    }
}
