//! Verification state of the blocks of rows: verified, damaged.
//!
//! A block is a fixed number of rows. The first read of one of its rows verifies it, separately for each [`Group`] of
//! sections, so that a scan of vectors does not read payloads. The result is one bit; a repeated check is one relaxed
//! load.

use super::layout::{Layout, Section};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Damaged blocks that cost rows, found by this process in all segments.
static FOUND: AtomicU64 = AtomicU64::new(0);

/// Returns the number of damaged blocks found since the process started, in all segments. While it is constant, no new
/// damage was found.
pub fn damage_found() -> u64 {
    FOUND.load(Ordering::Acquire)
}

/// Sections that are verified together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Vectors,
    Ids,
    Payloads,
    /// A cache of the id order: damage to it costs no rows.
    Sorted,
}

impl Group {
    pub(super) const ALL: [Self; 4] = [Self::Vectors, Self::Ids, Self::Payloads, Self::Sorted];
    /// Groups whose damage costs rows.
    pub(super) const OF_ROWS: [Self; 3] = [Self::Vectors, Self::Ids, Self::Payloads];

    pub(super) fn sections(self) -> &'static [Section] {
        match self {
            Self::Vectors => &[Section::Vectors, Section::Norms, Section::Scales],
            Self::Ids => &[Section::IdEnds, Section::Ids],
            Self::Payloads => &[Section::PayloadEnds, Section::Payloads],
            Self::Sorted => &[Section::Sorted],
        }
    }

    /// Returns the section with most of the bytes.
    pub(super) fn main(self) -> Section {
        match self {
            Self::Vectors => Section::Vectors,
            Self::Ids => Section::Ids,
            Self::Payloads => Section::Payloads,
            Self::Sorted => Section::Sorted,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Vectors => "vectors",
            Self::Ids => "ids",
            Self::Payloads => "payloads",
            Self::Sorted => "order",
        }
    }
}

/// One bit per block.
type Bits = Box<[AtomicU64]>;

/// Verification state of the blocks of a segment.
#[derive(Debug)]
pub(super) struct Checks {
    /// log2 of the rows per block. A segment of version 1 or 2 is one block, assumed intact.
    shift: u32,
    sound: [Bits; Group::ALL.len()],
    damaged: [Bits; Group::ALL.len()],
    /// Whether a segment without blocks is damaged: then all its rows are.
    lost: AtomicBool,
    found: AtomicU64,
    /// Whether the checksum section is intact.
    pub(super) sums: OnceLock<bool>,
    /// Whether a whole section is intact; used only if its block checksums are damaged.
    pub(super) whole: [OnceLock<bool>; super::layout::SUMS],
    /// Readable rows in id order, computed if the order in the file cannot be used.
    pub(super) order: OnceLock<Vec<u32>>,
}

impl Checks {
    pub(super) fn new(layout: &Layout) -> Self {
        let bits = |blocks: usize, value: u64| (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(value)).collect();
        let (shift, blocks, known) = match layout.blocks {
            Some(blocks) => (blocks.rows.ilog2(), layout.block_count(), 0),
            None => (31, 2, u64::MAX),
        };
        Self {
            shift,
            sound: std::array::from_fn(|_| bits(blocks, known)),
            damaged: std::array::from_fn(|_| bits(blocks, 0)),
            lost: AtomicBool::new(false),
            found: AtomicU64::new(0),
            sums: OnceLock::new(),
            whole: std::array::from_fn(|_| OnceLock::new()),
            order: OnceLock::new(),
        }
    }

    /// Returns whether the block of a row was verified and is intact.
    #[inline(always)]
    pub(super) fn is_sound(&self, group: Group, row: u32) -> bool {
        bit(&self.sound[group as usize], (row >> self.shift) as usize)
    }

    pub(super) fn is_damaged(&self, group: Group, block: usize) -> bool {
        bit(&self.damaged[group as usize], block)
    }

    /// Records the result of a verification.
    pub(super) fn set(&self, group: Group, block: usize, sound: bool) {
        let (at, bit) = (block / 64, 1 << (block % 64));
        let (Some(sound_word), Some(damaged_word)) =
            (self.sound[group as usize].get(at), self.damaged[group as usize].get(at))
        else {
            return;
        };
        if sound {
            sound_word.fetch_or(bit, Ordering::Relaxed);
            return;
        }
        sound_word.fetch_and(!bit, Ordering::Relaxed);
        // A damaged id order is not counted: it is recomputed, and the data read through it is unaffected.
        if damaged_word.fetch_or(bit, Ordering::AcqRel) & bit == 0 && group != Group::Sorted {
            self.count();
        }
    }

    /// Marks all rows as damaged.
    pub(super) fn quarantine_segment(&self) {
        if !self.lost.swap(true, Ordering::AcqRel) {
            self.count();
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn count(&self) {
        self.found.fetch_add(1, Ordering::AcqRel);
        FOUND.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the number of damaged blocks found so far that cost rows, counted per group.
    pub(super) fn found(&self) -> u64 {
        self.found.load(Ordering::Acquire)
    }

    /// Iterates over the damaged blocks of a group, ascending.
    pub(super) fn damaged(&self, group: Group) -> impl Iterator<Item = usize> + '_ {
        self.damaged[group as usize].iter().enumerate().flat_map(|(at, word)| {
            let word = word.load(Ordering::Acquire);
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }
}

#[inline(always)]
fn bit(bits: &[AtomicU64], at: usize) -> bool {
    bits.get(at / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (at % 64) & 1 == 1)
}

/// Sorts ranges, drops empty ones, and merges those that overlap or touch.
pub(super) fn joined(mut ranges: Vec<Range<u32>>) -> Vec<Range<u32>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u32>> = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match joined.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => joined.push(range),
        }
    }
    joined
}

/// Block checksums of a stream of rows.
pub(super) struct RowSums {
    block_rows: usize,
    /// Rows in the current block.
    rows: usize,
    hasher: crc32fast::Hasher,
    sums: Vec<u32>,
}

impl RowSums {
    pub(super) fn new(block_rows: usize) -> Self {
        Self { block_rows, rows: 0, hasher: crc32fast::Hasher::new(), sums: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.rows += 1;
        if self.rows == self.block_rows {
            self.end();
        }
    }

    fn end(&mut self) {
        self.sums.push(std::mem::take(&mut self.hasher).finalize());
        self.rows = 0;
    }

    /// Returns the checksums of the blocks.
    pub(super) fn finish(mut self) -> Vec<u32> {
        if self.rows > 0 {
            self.end();
        }
        self.sums
    }
}
