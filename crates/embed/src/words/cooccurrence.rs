//! Word co-occurrence counts, computed in bounded memory and read in random order.
//!
//! Two words at distance d count 1/d (Pennington, Socher, Manning 2014, "GloVe: Global Vectors for Word
//! Representation", section 4.2). Pairs are collected in memory; when the limit is reached they are sorted, aggregated,
//! and written to a file as a run. The runs are merged and distributed by a hash to buckets in another file; a thread
//! holds one bucket at a time.

use super::{
    corpus::Corpus,
    options::{TrainProgress, report_progress},
    token_file::create_unlinked_file,
};
use crate::Error;
use rayon::prelude::*;
use std::{cmp::Reverse, collections::BinaryHeap, fs::File, ops::Range, os::unix::fs::FileExt, path::Path};

/// Maximum number of pairs held in memory while counting: 256 MiB.
const MAX_PAIRS_IN_MEMORY: usize = 1 << 24;
/// Approximate number of pairs per bucket.
const PAIRS_PER_BUCKET: u64 = 1 << 19;
/// Pairs per read or write.
const CHUNK: usize = 1 << 10;
/// A count of 1. Counts are fixed-point, so that sums do not depend on the order.
const FIXED_POINT_ONE: u64 = 1 << 16;
/// Bytes of a pair in a file.
const PAIR_BYTES: usize = 16;

/// Two words, the lower number first, and their co-occurrence count in units of 1/65,536.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    words: u64,
    count: u64,
}

impl Pair {
    fn bytes(self) -> [u8; PAIR_BYTES] {
        let mut bytes = [0; PAIR_BYTES];
        bytes[..8].copy_from_slice(&self.words.to_le_bytes());
        bytes[8..].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }

    fn of(bytes: &[u8]) -> Self {
        let eight = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Self { words: eight(0), count: eight(8) }
    }
}

/// The word pairs of a corpus, in buckets.
pub(super) struct Pairs {
    file: File,
    buckets: Vec<Range<u64>>,
}

impl Pairs {
    /// Counts the pairs of words at a distance of at most `window`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn count(
        corpus: &Corpus,
        window: usize,
        folder: &Path,
        observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
    ) -> Result<Self, Error> {
        Self::count_with_limit(MAX_PAIRS_IN_MEMORY, corpus, window, folder, observe)
    }

    fn count_with_limit(
        max_pairs: usize,
        corpus: &Corpus,
        window: usize,
        folder: &Path,
        observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
    ) -> Result<Self, Error> {
        let (mut in_memory, mut runs) =
            (Vec::with_capacity(max_pairs.min(MAX_PAIRS_IN_MEMORY)), SortedRuns::new(folder)?);
        let (total, mut done, mut reported) = (corpus.total(), 0, 0);
        corpus.token_file.sentences(|sentence| {
            for (at, &word) in sentence.iter().enumerate() {
                for (distance, &other) in (1..=window as u64).zip(sentence[..at].iter().rev()) {
                    let words = (u64::from(word.min(other)) << 32) | u64::from(word.max(other));
                    in_memory.push(Pair { words, count: FIXED_POINT_ONE / distance });
                }
                if in_memory.len() + window >= max_pairs {
                    aggregate(&mut in_memory);
                    if in_memory.len() * 2 > max_pairs {
                        runs.write(&in_memory)?;
                        in_memory.clear();
                    }
                }
            }
            done += sentence.len() as u64;
            if done - reported >= 500_000 {
                reported = done;
                report_progress(observe, TrainProgress::of("counting pairs", done, total))?;
            }
            Ok(())
        })?;
        aggregate(&mut in_memory);
        let mut pairs = 0_u64;
        runs.for_each_merged(&in_memory, |_| {
            pairs += 1;
            Ok(())
        })?;
        let n = pairs.div_ceil(PAIRS_PER_BUCKET).max(1);
        let bucket = |words: u64| {
            let mixed = (words ^ (words >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((u128::from(mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb) as u64 >> 20) % n) as usize
        };
        let mut sizes = vec![0_u64; n as usize];
        runs.for_each_merged(&in_memory, |pair| {
            sizes[bucket(pair.words)] += 1;
            Ok(())
        })?;
        let mut start = 0;
        let buckets: Vec<Range<u64>> = sizes
            .iter()
            .map(|size| {
                start += size;
                start - size..start
            })
            .collect();
        let (file, path) = create_unlinked_file(folder)?;
        let mut pending: Vec<Vec<u8>> = vec![Vec::new(); buckets.len()];
        let mut next: Vec<u64> = buckets.iter().map(|bucket| bucket.start).collect();
        let mut write = |at: usize, bytes: &mut Vec<u8>| {
            let result = file.write_all_at(bytes, next[at] * PAIR_BYTES as u64);
            next[at] += (bytes.len() / PAIR_BYTES) as u64;
            bytes.clear();
            result.map_err(|source| Error::Io { path: path.clone(), source })
        };
        runs.for_each_merged(&in_memory, |pair| {
            let at = bucket(pair.words);
            pending[at].extend_from_slice(&pair.bytes());
            if pending[at].len() >= CHUNK * PAIR_BYTES { write(at, &mut pending[at]) } else { Ok(()) }
        })?;
        pending.iter_mut().enumerate().try_for_each(|(at, bytes)| write(at, bytes))?;
        Ok(Self { file, buckets })
    }

    /// Returns the number of buckets; at least one.
    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Reads the pairs of a bucket, with their counts.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn bucket(&self, at: usize) -> Result<Vec<(u32, u32, f32)>, Error> {
        let range = &self.buckets[at];
        let mut bytes = vec![0; (range.end - range.start) as usize * PAIR_BYTES];
        let failed = |source| Error::Io { path: "the file of pairs".into(), source };
        self.file.read_exact_at(&mut bytes, range.start * PAIR_BYTES as u64).map_err(failed)?;
        let pairs = bytes.chunks_exact(PAIR_BYTES).map(Pair::of);
        Ok(pairs.map(|p| ((p.words >> 32) as u32, p.words as u32, p.count as f32 / FIXED_POINT_ONE as f32)).collect())
    }
}

/// Sorts the pairs and sums the counts of equal pairs.
fn aggregate(pairs: &mut Vec<Pair>) {
    pairs.par_sort_unstable();
    pairs.dedup_by(|next, previous| {
        let same = next.words == previous.words;
        if same {
            previous.count += next.count;
        }
        same
    });
}

/// Sorted runs in one file.
struct SortedRuns {
    file: File,
    path: std::path::PathBuf,
    runs: Vec<Range<u64>>,
}

impl SortedRuns {
    fn new(folder: &Path) -> Result<Self, Error> {
        let (file, path) = create_unlinked_file(folder)?;
        Ok(Self { file, path, runs: Vec::new() })
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }

    fn write(&mut self, pairs: &[Pair]) -> Result<(), Error> {
        let mut at = self.runs.last().map_or(0, |run| run.end);
        self.runs.push(at..at + pairs.len() as u64);
        for chunk in pairs.chunks(CHUNK) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|pair| pair.bytes()).collect();
            self.file.write_all_at(&bytes, at * PAIR_BYTES as u64).map_err(|source| self.failed(source))?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Calls `visit` with every pair of the runs and of `in_memory`, sorted, once each, with its total count.
    fn for_each_merged(
        &self,
        in_memory: &[Pair],
        mut visit: impl FnMut(Pair) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut inputs: Vec<Input<'_>> =
            self.runs.iter().map(|run| Input::Run { remaining: run.clone(), chunk: Vec::new() }).collect();
        inputs.push(Input::Memory(in_memory.iter()));
        let mut heap = BinaryHeap::new();
        for (number, input) in inputs.iter_mut().enumerate() {
            heap.extend(self.next(input)?.map(|pair| Reverse((pair, number))));
        }
        let mut sum: Option<Pair> = None;
        while let Some(Reverse((pair, number))) = heap.pop() {
            heap.extend(self.next(&mut inputs[number])?.map(|pair| Reverse((pair, number))));
            match &mut sum {
                Some(sum) if sum.words == pair.words => sum.count += pair.count,
                other => {
                    if let Some(whole) = other.replace(pair) {
                        visit(whole)?;
                    }
                }
            }
        }
        sum.map_or(Ok(()), visit)
    }

    fn next(&self, input: &mut Input<'_>) -> Result<Option<Pair>, Error> {
        match input {
            Input::Memory(pairs) => Ok(pairs.next().copied()),
            Input::Run { remaining, chunk } => {
                if chunk.is_empty() && !remaining.is_empty() {
                    let end = remaining.end.min(remaining.start + CHUNK as u64);
                    let mut bytes = vec![0; (end - remaining.start) as usize * PAIR_BYTES];
                    let at = remaining.start * PAIR_BYTES as u64;
                    self.file.read_exact_at(&mut bytes, at).map_err(|source| self.failed(source))?;
                    // Reversed, because pairs are taken from the end.
                    chunk.extend(bytes.chunks_exact(PAIR_BYTES).rev().map(Pair::of));
                    remaining.start = end;
                }
                Ok(chunk.pop())
            }
        }
    }
}

/// An input of the merge.
enum Input<'a> {
    Run { remaining: Range<u64>, chunk: Vec<Pair> },
    Memory(std::slice::Iter<'a, Pair>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{corpus, corpus_reader, sampling::Random};
    use std::collections::BTreeMap;

    #[test]
    fn pairs_are_counted_by_distance_within_any_memory_limit() {
        let mut random = Random::new(1, 1);
        let mut text = String::new();
        for _ in 0..2_000 {
            for _ in 0..random.below(12) {
                text.push(char::from(b'a' + random.below(20) as u8));
                text.push(' ');
            }
            text.push('\n');
        }
        let corpus = corpus_reader::of_text(text.as_bytes(), &corpus_reader::from(1)).unwrap();
        let mut expected: BTreeMap<(u32, u32), f64> = BTreeMap::new();
        let tokens = corpus::tokens(&corpus);
        for sentence in tokens.split(|&token| token == super::super::token_file::END) {
            for i in 0..sentence.len() {
                for j in i + 1..sentence.len().min(i + 4) {
                    let pair = (sentence[i].min(sentence[j]), sentence[i].max(sentence[j]));
                    *expected.entry(pair).or_default() += 1.0 / (j - i) as f64;
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for in_memory in [50, 1_000, MAX_PAIRS_IN_MEMORY] {
            let pairs = Pairs::count_with_limit(in_memory, &corpus, 3, folder.path(), &|_| true).unwrap();
            let found: Vec<(u32, u32, f32)> = (0..pairs.buckets()).flat_map(|at| pairs.bucket(at).unwrap()).collect();
            assert_eq!(found.len(), expected.len(), "holding {in_memory}");
            for (a, b, count) in found {
                assert!((f64::from(count) - expected[&(a, b)]).abs() < 1e-2, "{a} {b}: {count}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
