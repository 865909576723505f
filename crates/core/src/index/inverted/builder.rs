//! Builds an inverted index in memory, and searches it meanwhile.

use super::bm25::{Bm25, Saturation, TextStats, encode_length};
use super::file::Parts;
use super::postings::{read_varint, write_varint};
use bitpacking::{BitPacker as _, BitPacker4x};
use rustc_hash::FxHashMap;

/// Longest term that is indexed, in bytes. Longer ones are counted in the length of their row but cannot be found.
pub const MAX_TERM_BYTES: usize = 255;
/// Overhead of a term beyond its bytes and postings: map entry, vector, allocations.
const TERM_BYTES: usize = 96;

/// Postings of a term while they are collected.
#[derive(Default)]
struct Collected {
    /// For each row: varint(difference << 1 | frequency is 1), varint(frequency) otherwise.
    bytes: Vec<u8>,
    count: u32,
    /// The row after the last one.
    next: u32,
}

impl Collected {
    fn add(&mut self, row: u32, frequency: u32) {
        let difference = u64::from(row - self.next);
        write_varint(difference << 1 | u64::from(frequency == 1), &mut self.bytes);
        if frequency > 1 {
            write_varint(u64::from(frequency), &mut self.bytes);
        }
        self.count += 1;
        self.next = row + 1;
    }

    fn for_each(&self, mut each: impl FnMut(u32, u32)) {
        let (mut bytes, mut next) = (&self.bytes[..], 0);
        while let Some(number) = read_varint(&mut bytes) {
            let frequency = if number & 1 == 1 { 1 } else { read_varint(&mut bytes).unwrap_or(1) };
            let row = next + (number >> 1) as u32;
            each(row, frequency as u32);
            next = row + 1;
        }
    }
}

/// An inverted index being built.
pub struct Builder {
    bm25: Bm25,
    terms: FxHashMap<Box<str>, Collected>,
    /// Tokens of each row, at most `u16::MAX`; 0 for a row without the field.
    lengths: Vec<u16>,
    stats: TextStats,
    /// Bytes of terms and postings.
    bytes: usize,
}

impl Builder {
    /// Creates a builder without rows.
    pub fn new(bm25: Bm25) -> Self {
        Self { bm25, terms: FxHashMap::default(), lengths: Vec::new(), stats: TextStats::default(), bytes: 0 }
    }

    /// Adds the next row: its terms with their frequencies, and its length in tokens, which is 0 for a row without the
    /// field. A longer row than 65,535 tokens has that length.
    pub fn add_row<'a>(&mut self, terms: impl IntoIterator<Item = (&'a str, u32)>, length: u32) {
        let row = self.lengths.len() as u32;
        for (term, frequency) in terms {
            if term.len() > MAX_TERM_BYTES {
                continue;
            }
            if let Some(collected) = self.terms.get_mut(term) {
                let before = collected.bytes.len();
                collected.add(row, frequency);
                self.bytes += collected.bytes.len() - before;
            } else {
                let mut collected = Collected::default();
                collected.add(row, frequency);
                self.bytes += term.len() + TERM_BYTES + collected.bytes.len();
                self.terms.insert(term.into(), collected);
            }
        }
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.stats.add(TextStats { points: u64::from(length > 0), tokens: u64::from(length) });
        self.lengths.push(length);
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.lengths.len() as u32
    }

    /// Returns the length of a row, in tokens; 0 if it does not have the field.
    pub fn length(&self, row: u32) -> u32 {
        self.lengths.get(row as usize).copied().unwrap_or(0).into()
    }

    /// Returns the approximate memory used, in bytes.
    pub fn memory(&self) -> usize {
        // Vectors grow by doubling.
        self.bytes * 3 / 2 + self.lengths.capacity() * 2
    }

    /// Calls `each` with the rows of a term, ascending, and its frequency in each.
    pub fn for_each(&self, term: &str, each: impl FnMut(u32, u32)) {
        if let Some(collected) = self.terms.get(term) {
            collected.for_each(each);
        }
    }

    /// Returns a builder with some of the rows, each once, in this order.
    pub fn with_rows(&self, rows: &[u32]) -> Self {
        let mut position = vec![u32::MAX; self.lengths.len()];
        let mut copy = Self::new(self.bm25);
        for (new, row) in (0..).zip(rows) {
            let length = self.length(*row);
            position[*row as usize] = new;
            copy.stats.add(TextStats { points: u64::from(length > 0), tokens: length.into() });
            copy.lengths.push(length as u16);
        }
        for (term, collected) in &self.terms {
            let mut moved = Vec::new();
            collected.for_each(|row, frequency| {
                if position[row as usize] != u32::MAX {
                    moved.push((position[row as usize], frequency));
                }
            });
            moved.sort_unstable();
            let mut kept = Collected::default();
            moved.into_iter().for_each(|(row, frequency)| kept.add(row, frequency));
            if kept.count > 0 {
                copy.bytes += term.len() + TERM_BYTES + kept.bytes.len();
                copy.terms.insert(term.clone(), kept);
            }
        }
        copy
    }

    /// Calls `each` with the terms that have a prefix, in no particular order.
    pub fn for_each_term(&self, prefix: &str, mut each: impl FnMut(&str)) {
        self.terms.keys().filter(|term| term.starts_with(prefix)).for_each(|term| each(term));
    }

    /// Returns the file of an index that is bound to `tag`.
    pub fn finish(self, tag: u64) -> Vec<u8> {
        let average = self.stats.average_length();
        let saturation = Saturation::new(&self.bm25, average);
        let codes: Vec<u8> = self.lengths.iter().map(|length| encode_length((*length).into())).collect();
        let packer = BitPacker4x::new();
        let mut terms: Vec<(Box<str>, Collected)> = self.terms.into_iter().collect();
        terms.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut parts = Parts::default();
        let (mut rows, mut frequencies) = (Vec::new(), Vec::new());
        for (term, collected) in terms {
            rows.clear();
            frequencies.clear();
            collected.for_each(|row, frequency| {
                rows.push(row);
                frequencies.push(frequency);
            });
            let bound = |range: std::ops::Range<usize>| {
                let of = |index: usize| saturation.of(frequencies[index], codes[rows[index] as usize]);
                (range.map(of).fold(0.0, f32::max) * 255.0).ceil() as u8
            };
            parts.add_term(&term, &rows, &frequencies, packer, bound);
        }
        parts.finish(tag, average, self.stats, codes, &self.lengths)
    }
}
