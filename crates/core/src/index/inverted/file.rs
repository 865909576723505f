//! The file of an inverted index (see docs/FORMAT.md).
//!
//! ```text
//! header | length codes u8 | lengths u16 | ends of term groups u64 | term groups | postings
//! ```
//!
//! Codes and lengths have an entry per row. A group has up to 16 terms in byte order. It begins with the position of its first postings, u64. Each term has
//! varint(bytes shared with the previous term), varint(further bytes), the further bytes, varint(number of rows),
//! varint(bytes of postings).

use super::bm25::TextStats;
use super::postings::{self, Cursor, read_varint, write_varint};
use crate::disk::FileBytes;
use crate::index::header::{self, Header};
use bitpacking::{BitPacker as _, BitPacker4x};
use std::ops::Range;

/// Magic number of the file.
const MAGIC: [u8; 8] = *b"NEARTERM";
/// Version of the format.
const VERSION: u32 = 1;
/// Length of the header, in bytes.
const HEADER: usize = 128;
/// Position of the section lengths.
const LENGTHS: usize = 72;
const SECTIONS: usize = 5;
const _: () = assert!(LENGTHS + SECTIONS * 8 <= HEADER);
/// Terms of a group: a lookup reads half of them on average, and each group costs 20 bytes.
const GROUP: usize = 16;

#[derive(Clone, Copy)]
enum Section {
    LengthCodes,
    Lengths,
    GroupEnds,
    Groups,
    Postings,
}

/// Sections of a file being written.
#[derive(Default)]
pub(crate) struct Parts {
    group_ends: Vec<u64>,
    groups: Vec<u8>,
    postings: Vec<u8>,
    terms: u64,
    last: Vec<u8>,
}

impl Parts {
    /// Adds a term. Terms must be in byte order.
    pub(crate) fn add_term(
        &mut self,
        term: &str,
        rows: &[u32],
        frequencies: &[u32],
        packer: BitPacker4x,
        bound: impl Fn(Range<usize>) -> u8,
    ) {
        if self.terms.is_multiple_of(GROUP as u64) {
            if self.terms > 0 {
                self.group_ends.push(self.groups.len() as u64);
            }
            self.groups.extend((self.postings.len() as u64).to_le_bytes());
            self.last.clear();
        }
        let term = term.as_bytes();
        let shared = term.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        write_varint(shared as u64, &mut self.groups);
        write_varint((term.len() - shared) as u64, &mut self.groups);
        self.groups.extend(&term[shared..]);
        write_varint(rows.len() as u64, &mut self.groups);
        let before = self.postings.len();
        postings::write(rows, frequencies, packer, bound, &mut self.postings);
        write_varint((self.postings.len() - before) as u64, &mut self.groups);
        self.last.clear();
        self.last.extend(term);
        self.terms += 1;
    }

    /// Returns the complete file.
    pub(crate) fn finish(
        mut self,
        tag: u64,
        average_length: f32,
        stats: TextStats,
        length_codes: Vec<u8>,
        lengths: &[u16],
    ) -> Vec<u8> {
        if self.terms > 0 {
            self.group_ends.push(self.groups.len() as u64);
        }
        let rows = length_codes.len() as u32;
        let group_ends = self.group_ends.iter().flat_map(|end| end.to_le_bytes()).collect();
        let lengths = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
        let sections = [length_codes, lengths, group_ends, self.groups, self.postings];
        let mut file = vec![0; HEADER];
        sections.iter().for_each(|section| file.extend_from_slice(section));
        let length = file.len() as u64;
        let body = crc32fast::hash(&file[HEADER..]);
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(16, &tag.to_le_bytes());
        put(24, &rows.to_le_bytes());
        put(28, &body.to_le_bytes());
        put(32, &self.terms.to_le_bytes());
        put(40, &length.to_le_bytes());
        put(48, &stats.tokens.to_le_bytes());
        put(56, &stats.points.to_le_bytes());
        put(64, &average_length.to_le_bytes());
        for (ordinal, section) in sections.iter().enumerate() {
            put(LENGTHS + 8 * ordinal, &(section.len() as u64).to_le_bytes());
        }
        header::seal(&mut file[..HEADER], MAGIC, VERSION);
        file
    }
}

/// The inverted index of one segment.
pub struct InvertedIndex {
    bytes: FileBytes,
    rows: u32,
    terms: u64,
    stats: TextStats,
    average_length: f32,
    sections: [Range<usize>; SECTIONS],
    packer: BitPacker4x,
}

/// A term of a group.
struct Entry<'a> {
    shared: usize,
    further: &'a [u8],
    count: u64,
    size: u64,
}

impl<'a> Entry<'a> {
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let shared = read_varint(bytes)? as usize;
        let length = read_varint(bytes)? as usize;
        let further = bytes.split_off(..length)?;
        Some(Self { shared, further, count: read_varint(bytes)?, size: read_varint(bytes)? })
    }
}

/// The postings of a term.
#[derive(Clone, Copy)]
pub(crate) struct Postings<'a> {
    bytes: &'a [u8],
    /// Number of rows with the term.
    pub(crate) count: u32,
}

impl InvertedIndex {
    /// Reads and verifies every byte of an index in memory. It must be bound to this `tag`.
    ///
    /// # Errors
    /// A description of the failed check.
    pub fn from_bytes(bytes: Vec<u8>, tag: u64) -> Result<Self, String> {
        Self::open(FileBytes::Memory(bytes), tag)
    }

    /// Reads and verifies every byte. The index must be bound to this `tag`.
    ///
    /// # Errors
    /// A description of the failed check.
    pub(crate) fn open(bytes: FileBytes, tag: u64) -> Result<Self, String> {
        let file = bytes.get();
        let (header, body) = Header::<HEADER>::read(file, MAGIC, VERSION, "an inverted index")?;
        if header.u64_at(16) != tag {
            return Err("it belongs to another segment, or to a field with other settings".into());
        }
        if header.u64_at(40) != file.len() as u64 {
            return Err(format!("{} bytes long, not {}", file.len(), header.u64_at(40)));
        }
        if crc32fast::hash(body) != header.u32_at(28) {
            return Err("the checksum does not match".into());
        }
        let mut end = HEADER as u64;
        let mut sections: [Range<usize>; SECTIONS] = Default::default();
        for (ordinal, section) in sections.iter_mut().enumerate() {
            let begin = end;
            end = end.checked_add(header.u64_at(LENGTHS + 8 * ordinal)).ok_or("a section passes the end")?;
            if end > file.len() as u64 {
                return Err("a section passes the end".into());
            }
            *section = begin as usize..end as usize; // within the file, hence within memory
        }
        let (rows, terms) = (header.u32_at(24), header.u64_at(32));
        let length = |section: Section| sections[section as usize].len() as u64;
        if end != file.len() as u64
            || length(Section::LengthCodes) != u64::from(rows)
            || length(Section::Lengths) != 2 * u64::from(rows)
            || Some(length(Section::GroupEnds)) != terms.div_ceil(GROUP as u64).checked_mul(8)
        {
            return Err("the sections do not have the lengths that their numbers demand".into());
        }
        let average_length = f32::from_bits(header.u32_at(64));
        let stats = TextStats { points: header.u64_at(56), tokens: header.u64_at(48) };
        Ok(Self { rows, terms, stats, average_length, sections, packer: BitPacker4x::new(), bytes })
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns the number of distinct terms.
    pub fn terms(&self) -> u64 {
        self.terms
    }

    /// Returns the counts over all rows.
    pub fn stats(&self) -> TextStats {
        self.stats
    }

    /// Returns the length of the file, in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.get().len() as u64
    }

    /// Returns the mapped bytes; 0 for an index that is not a file.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.bytes.mapped_bytes()
    }

    /// Returns the mapped bytes that are resident in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.bytes.resident_bytes()
    }

    /// Returns the mean length that the bounds were computed with.
    pub(crate) fn average_length(&self) -> f32 {
        self.average_length
    }

    /// Returns the length codes of all rows.
    pub(crate) fn length_codes(&self) -> &[u8] {
        self.section(Section::LengthCodes)
    }

    /// Returns the length of a row, in tokens; 0 if it does not have the field.
    pub fn length(&self, row: u32) -> u32 {
        let lengths = self.section(Section::Lengths).as_chunks::<2>().0;
        lengths.get(row as usize).map_or(0, |length| u16::from_le_bytes(*length).into())
    }

    /// Calls `each` with the rows of a term, ascending, and its frequency in each.
    pub fn for_each(&self, term: &str, mut each: impl FnMut(u32, u32)) {
        if let Some(postings) = self.postings(term) {
            self.cursor(postings).for_each_before(u32::MAX, |rows, frequencies| {
                rows.iter().zip(frequencies).for_each(|(row, frequency)| each(*row, *frequency));
            });
        }
    }

    /// Returns the frequency of a term in each of these rows, which must ascend.
    pub fn frequencies(&self, term: &str, rows: &[u32]) -> Vec<u32> {
        let Some(postings) = self.postings(term) else { return vec![0; rows.len()] };
        let mut cursor = self.cursor(postings);
        rows.iter().map(|row| cursor.frequency(*row)).collect()
    }

    /// Calls `each` with the terms that have a prefix, ascending.
    pub fn for_each_term(&self, prefix: &str, mut each: impl FnMut(&str)) {
        let prefix = prefix.as_bytes();
        let groups = self.section(Section::GroupEnds).len() / 8;
        let first = self.group_before(prefix).unwrap_or(0);
        let mut term = Vec::new();
        for group in first..groups {
            let mut bytes = self.group(group).get(8..).unwrap_or_default();
            while !bytes.is_empty() {
                let Some(entry) = Entry::read(&mut bytes) else { return };
                term.truncate(entry.shared);
                term.extend_from_slice(entry.further);
                if term.starts_with(prefix) {
                    each(&String::from_utf8_lossy(&term));
                } else if term.as_slice() > prefix {
                    return;
                }
            }
        }
    }

    /// Returns the number of rows with a term.
    pub fn frequency(&self, term: &str) -> u32 {
        self.postings(term).map_or(0, |postings| postings.count)
    }

    /// Returns the postings of a term; `None` if no row contains it.
    pub(crate) fn postings(&self, term: &str) -> Option<Postings<'_>> {
        let term = term.as_bytes();
        let group = self.group_before(term)?;
        let mut bytes = self.group(group);
        let mut begin = u64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?);
        // Bytes that the previous term shares with the wanted one.
        let mut matched = 0;
        while !bytes.is_empty() {
            let Entry { shared, further, count, size } = Entry::read(&mut bytes)?;
            let end = begin.checked_add(size)?;
            if shared <= matched {
                let wanted = &term[shared..];
                let same = further.iter().zip(wanted).take_while(|(a, b)| a == b).count();
                matched = shared + same;
                if same == further.len() && same == wanted.len() {
                    let bytes = self.section(Section::Postings).get(begin as usize..end as usize)?;
                    return Some(Postings { bytes, count: u32::try_from(count).ok()? });
                }
            }
            begin = end;
        }
        None
    }

    /// Returns a cursor at the first row of a term.
    pub(crate) fn cursor<'a>(&self, postings: Postings<'a>) -> Cursor<'a> {
        Cursor::new(postings.bytes, postings.count, self.packer)
    }

    /// Returns the last group whose first term is not greater.
    fn group_before(&self, term: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.section(Section::GroupEnds).len() / 8);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_term(middle)? <= term { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1)
    }

    fn first_term(&self, group: usize) -> Option<&[u8]> {
        let mut bytes = self.group(group).get(8..)?;
        let _shared = read_varint(&mut bytes)?;
        let length = read_varint(&mut bytes)? as usize;
        bytes.get(..length)
    }

    fn group(&self, group: usize) -> &[u8] {
        let ends = self.section(Section::GroupEnds).as_chunks::<8>().0;
        let end = |group: usize| ends.get(group).map_or(0, |end| u64::from_le_bytes(*end) as usize);
        let begin = group.checked_sub(1).map_or(0, end);
        self.section(Section::Groups).get(begin..end(group)).unwrap_or_default()
    }

    fn section(&self, section: Section) -> &[u8] {
        self.bytes.get().get(self.sections[section as usize].clone()).unwrap_or_default()
    }
}
