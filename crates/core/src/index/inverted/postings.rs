//! Postings of a term: its rows in ascending order, with the frequency of the term in each.
//!
//! ```text
//! entry of each block: last row u32 | bits of a row u8 | bits of a frequency u8 | bound u8
//! blocks of 128 rows:  rows, bit-packed differences | frequencies less one, bit-packed
//! rest, fewer rows:    for each row: varint(difference << 1 | frequency is 1), varint(frequency) otherwise
//! ```
//!
//! The rest has an entry too, with zeros for the bits. Blocks use the bit packing of Lemire and Boytsov ("Decoding
//! billions of integers per second through vectorization", 2015). The bound is the largest saturation of the block in
//! units of 1/255, rounded up (block-max index: Ding and Suel, 2011).

use bitpacking::{BitPacker as _, BitPacker4x};

/// Rows of a full block.
pub(crate) const BLOCK: usize = BitPacker4x::BLOCK_LEN;
/// Bytes of an entry.
const ENTRY: usize = 7;

/// Appends the postings of a term. `bound(begin, end)` returns the bound of a range of postings.
pub(crate) fn write(
    rows: &[u32],
    frequencies: &[u32],
    packer: BitPacker4x,
    bound: impl Fn(std::ops::Range<usize>) -> u8,
    out: &mut Vec<u8>,
) {
    let mut data = Vec::new();
    let mut packed = [0; BLOCK * 4];
    let mut previous = None;
    for begin in (0..rows.len()).step_by(BLOCK) {
        let end = rows.len().min(begin + BLOCK);
        let (block, counts) = (&rows[begin..end], &frequencies[begin..end]);
        let mut bits = (0, 0);
        if block.len() == BLOCK {
            let less_one: [u32; BLOCK] = std::array::from_fn(|index| counts[index] - 1);
            bits = (packer.num_bits_strictly_sorted(previous, block), packer.num_bits(&less_one));
            let length = packer.compress_strictly_sorted(previous, block, &mut packed, bits.0);
            data.extend(&packed[..length]);
            let length = packer.compress(&less_one, &mut packed, bits.1);
            data.extend(&packed[..length]);
        } else {
            let mut next = previous.map_or(0, |row| row + 1);
            for (&row, &count) in block.iter().zip(counts) {
                write_varint(u64::from(row - next) << 1 | u64::from(count == 1), &mut data);
                if count > 1 {
                    write_varint(u64::from(count), &mut data);
                }
                next = row + 1;
            }
        }
        let last = block[block.len() - 1];
        previous = Some(last);
        out.extend(last.to_le_bytes());
        out.extend([bits.0, bits.1, bound(begin..end)]);
    }
    out.extend(data);
}

pub(crate) fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number and removes it from `bytes`; `None` at the end of the bytes or beyond 64 bits.
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// A position in the postings of a term, which only moves forward. Damaged postings end early.
pub(crate) struct Cursor<'a> {
    packer: BitPacker4x,
    entries: &'a [[u8; ENTRY]],
    /// The data of the current block and of those after it.
    data: &'a [u8],
    count: u32,
    /// Index of the current block.
    block: usize,
    /// Last row of the block before the current one.
    previous: Option<u32>,
    /// Block whose rows are decoded.
    loaded: usize,
    frequencies_loaded: bool,
    rows: [u32; BLOCK],
    frequencies: [u32; BLOCK],
    /// Number of decoded rows.
    length: usize,
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Opens the postings of a term with `count` rows.
    pub(crate) fn new(bytes: &'a [u8], count: u32, packer: BitPacker4x) -> Self {
        let blocks = (count as usize).div_ceil(BLOCK);
        let (entries, data) = bytes.split_at_checked(blocks * ENTRY).unwrap_or_default();
        Self {
            packer,
            entries: entries.as_chunks().0,
            data,
            count,
            block: 0,
            previous: None,
            loaded: usize::MAX,
            frequencies_loaded: false,
            rows: [0; BLOCK],
            frequencies: [0; BLOCK],
            length: 0,
            position: 0,
        }
    }

    fn last_row(&self, block: usize) -> u32 {
        let [a, b, c, d, ..] = self.entries[block];
        u32::from_le_bytes([a, b, c, d])
    }

    fn data_bytes(&self, block: usize) -> usize {
        let [.., rows, frequencies, _] = self.entries[block];
        (usize::from(rows) + usize::from(frequencies)) * BLOCK / 8
    }

    /// Moves to the first block that ends at `row` or after it. Decodes nothing.
    pub(crate) fn seek_block(&mut self, row: u32) {
        while self.block < self.entries.len() && self.last_row(self.block) < row {
            self.data = self.data.get(self.data_bytes(self.block)..).unwrap_or_default();
            self.previous = Some(self.last_row(self.block));
            self.block += 1;
        }
    }

    /// Returns the largest bound of the blocks with rows in `begin..end`, of those from the current one on; 0 if none.
    pub(crate) fn bound(&self, end: u32) -> u8 {
        let mut bound = 0;
        let mut begin = self.previous.map_or(0, |row| row.saturating_add(1));
        for block in self.block..self.entries.len() {
            if begin >= end {
                break;
            }
            bound = bound.max(self.entries[block][ENTRY - 1]);
            begin = self.last_row(block).saturating_add(1);
        }
        bound
    }

    /// Returns the bound of the current block; 0 after the last.
    pub(crate) fn block_bound(&self) -> u8 {
        self.entries.get(self.block).map_or(0, |entry| entry[ENTRY - 1])
    }

    /// Decodes the rows of the current block. Returns false after the last block.
    fn load(&mut self) -> bool {
        if self.block >= self.entries.len() {
            return false;
        }
        if self.loaded != self.block {
            self.loaded = self.block;
            self.position = 0;
            if self.count as usize - self.block * BLOCK >= BLOCK {
                self.load_full();
            } else {
                self.load_rest();
            }
        }
        self.length > 0
    }

    fn load_full(&mut self) {
        let [.., bits, frequency_bits, _] = self.entries[self.block];
        let (bytes, all) = (usize::from(bits) * BLOCK / 8, self.data_bytes(self.block));
        self.frequencies_loaded = false;
        self.length = 0;
        if bits > 32 || frequency_bits > 32 || self.data.len() < all {
            return;
        }
        self.packer.decompress_strictly_sorted(self.previous, &self.data[..bytes], &mut self.rows, bits);
        self.length = BLOCK;
    }

    fn load_rest(&mut self) {
        let (mut data, mut next) = (self.data, self.previous.map_or(0, |row| row.saturating_add(1)));
        self.frequencies_loaded = true;
        self.length = 0;
        for _ in 0..self.count as usize % BLOCK {
            let Some(number) = read_varint(&mut data) else { return };
            let frequency = if number & 1 == 1 { Some(1) } else { read_varint(&mut data) };
            let row = u32::try_from(number >> 1).ok().and_then(|difference| next.checked_add(difference));
            let frequency = frequency.and_then(|frequency| u32::try_from(frequency).ok());
            let (Some(row), Some(frequency)) = (row, frequency) else { return };
            (self.rows[self.length], self.frequencies[self.length]) = (row, frequency);
            self.length += 1;
            next = row.saturating_add(1);
        }
    }

    fn load_frequencies(&mut self) {
        if self.frequencies_loaded {
            return;
        }
        self.frequencies_loaded = true;
        let [.., bits, frequency_bits, _] = self.entries[self.block];
        let begin = usize::from(bits) * BLOCK / 8;
        let end = begin + usize::from(frequency_bits) * BLOCK / 8;
        self.packer.decompress(&self.data[begin..end], &mut self.frequencies, frequency_bits);
        self.frequencies.iter_mut().for_each(|frequency| *frequency = frequency.saturating_add(1));
    }

    /// Moves to the first row that is not before `row`.
    pub(crate) fn skip_to(&mut self, row: u32) {
        self.seek_block(row);
        if self.load() {
            let before = self.rows[self.position..self.length].partition_point(|other| *other < row);
            self.position += before;
        }
    }

    /// Calls `each` with the rows before `end` and their frequencies, from the current position on.
    pub(crate) fn for_each_before(&mut self, end: u32, mut each: impl FnMut(&[u32], &[u32])) {
        while self.load() {
            self.load_frequencies();
            let rest = &self.rows[self.position..self.length];
            let all = rest.last().is_none_or(|last| *last < end);
            let count = if all { rest.len() } else { rest.partition_point(|row| *row < end) };
            let range = self.position..self.position + count;
            each(&self.rows[range.clone()], &self.frequencies[range]);
            self.position += count;
            if self.position < self.length {
                return;
            }
            self.seek_block(self.last_row(self.block).saturating_add(1));
            if self.loaded == self.block {
                // The last possible row.
                self.block = self.entries.len();
            }
        }
    }

    /// Returns the frequency of the term in a row; 0 if the row does not contain it. `row` must not decrease.
    pub(crate) fn frequency(&mut self, row: u32) -> u32 {
        self.seek_block(row);
        if !self.load() {
            return 0;
        }
        while self.position < self.length && self.rows[self.position] < row {
            self.position += 1;
        }
        if self.position == self.length || self.rows[self.position] != row {
            return 0;
        }
        self.load_frequencies();
        self.frequencies[self.position]
    }
}
