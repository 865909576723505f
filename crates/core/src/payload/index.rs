//! The file format of a payload index: fields, their values in order, and the rows of each value (see docs/FORMAT.md).
//!
//! ```text
//! header | path ends | paths | first values | key ends | keys | row ends | rows
//! ```
//!
//! Opening reads the whole file once. It verifies both checksums, and that all ends ascend within their sections.
//! Accessors still do not trust any number: they return nothing for one that is out of range.

use crate::disk::FileBytes;
use crate::index::header::{self, Header};
use roaring::RoaringBitmap;
use std::ops::Range;

/// Magic number of the file.
const MAGIC: [u8; 8] = *b"NEARPAYL";
/// Version of the format.
const VERSION: u32 = 2;
/// Length of the header, in bytes.
const HEADER: usize = 128;
/// Position of the section lengths.
const LENGTHS: usize = 56;
const SECTIONS: usize = 7;
const _: () = assert!(LENGTHS + SECTIONS * 8 <= HEADER);

/// First byte of the key for all rows with the field.
pub(crate) const EXISTS: u8 = 0;
/// First byte of boolean keys.
pub(crate) const BOOL: u8 = 1;
/// First byte of number keys.
pub(crate) const NUMBER: u8 = 2;
/// First byte of string keys.
pub(crate) const STRING: u8 = 3;
/// First byte of the key for all rows with a string longer than [`MAX_KEY_BYTES`]; the string is not stored.
pub(crate) const LONG: u8 = 4;
/// The key for all rows with a null.
pub(crate) const NULL: u8 = 5;
/// First byte of the keys for all rows with a number of values, u32 in big-endian order, 2 or more.
pub(crate) const COUNT: u8 = 6;
/// Maximum length of a stored string.
pub(crate) const MAX_KEY_BYTES: usize = 256;

/// Bytes of an index that are read in the time of finding one value.
const VALUE_COST: u64 = 16;
/// Bytes of an index that are read in the time of one payload. (Measured: a payload takes 0.9 us, a byte of rows 4 ns.)
const PAYLOAD_COST: u64 = 256;

/// First byte of rows stored as a list of u32.
const LIST: u8 = 0;
/// First byte of rows stored as a roaring bitmap in portable format.
const BITMAP: u8 = 1;

#[derive(Clone, Copy)]
enum Section {
    PathEnds,
    Paths,
    FirstValues,
    KeyEnds,
    Keys,
    RowEnds,
    Rows,
}

/// Sections of a file being written.
#[derive(Default)]
pub(crate) struct Parts {
    path_ends: Vec<u64>,
    paths: Vec<u8>,
    first_values: Vec<u64>,
    key_ends: Vec<u64>,
    keys: Vec<u8>,
    row_ends: Vec<u64>,
    rows: Vec<u8>,
}

impl Parts {
    /// Begins a field. Fields must be in byte order.
    pub(crate) fn begin_path(&mut self, path: &str) {
        self.paths.extend(path.as_bytes());
        self.path_ends.push(self.paths.len() as u64);
        self.first_values.push(self.key_ends.len() as u64);
    }

    /// Adds a value of the field, with its rows as a list. Values must be in key order.
    pub(crate) fn list(&mut self, key: &[u8], rows: &[u32]) {
        self.rows.push(LIST);
        self.rows.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
        self.end_value(key);
    }

    /// Adds a value of the field, with its rows as a bitmap.
    pub(crate) fn bitmap(&mut self, key: &[u8], rows: &RoaringBitmap) {
        self.rows.push(BITMAP);
        rows.serialize_into(&mut self.rows).expect("memory takes every byte");
        self.end_value(key);
    }

    fn end_value(&mut self, key: &[u8]) {
        self.keys.extend(key);
        self.key_ends.push(self.keys.len() as u64);
        self.row_ends.push(self.rows.len() as u64);
    }

    /// Returns the complete file.
    pub(crate) fn finish(mut self, tag: u64, rows: u32, complete: bool) -> Vec<u8> {
        let paths = self.path_ends.len() as u32;
        self.first_values.push(self.key_ends.len() as u64);
        let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let sections = [
            numbers(&self.path_ends),
            self.paths,
            numbers(&self.first_values),
            numbers(&self.key_ends),
            self.keys,
            numbers(&self.row_ends),
            self.rows,
        ];
        let mut file = vec![0; HEADER];
        sections.iter().for_each(|section| file.extend_from_slice(section));
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(16, &tag.to_le_bytes());
        put(24, &rows.to_le_bytes());
        put(28, &paths.to_le_bytes());
        put(32, &(self.key_ends.len() as u64).to_le_bytes());
        put(48, &u32::from(complete).to_le_bytes());
        for (ordinal, section) in sections.iter().enumerate() {
            put(LENGTHS + 8 * ordinal, &(section.len() as u64).to_le_bytes());
        }
        let length = file.len() as u64;
        file[40..48].copy_from_slice(&length.to_le_bytes());
        let body = crc32fast::hash(&file[HEADER..]);
        file[52..56].copy_from_slice(&body.to_le_bytes());
        header::seal(&mut file[..HEADER], MAGIC, VERSION);
        file
    }
}

/// Index of the payloads of one segment (or of a block of a growing one) by field and value.
pub(crate) struct PayloadIndex {
    bytes: FileBytes,
    rows: u32,
    paths: usize,
    complete: bool,
    sections: [Range<usize>; SECTIONS],
}

/// The values of one field, as indices in key order.
#[derive(Clone, Debug)]
pub(crate) struct Values(pub(crate) Range<usize>);

/// The rows of one value.
pub(crate) enum RowsOf<'a> {
    /// As u32, ascending.
    List(&'a [[u8; 4]]),
    Bitmap(RoaringBitmap),
}

impl PayloadIndex {
    /// Whether a file is an index of an earlier version, which is rebuilt.
    pub(crate) fn is_outdated(file: &[u8]) -> bool {
        header::is_outdated(file, MAGIC, VERSION)
    }

    /// Reads and verifies every byte. The index must belong to a segment with this `tag` and `rows`.
    ///
    /// # Errors
    /// A description of the failed check.
    pub(crate) fn open(bytes: FileBytes, tag: u64, rows: u32) -> Result<Self, String> {
        let file = bytes.get();
        let (header, body) = Header::<HEADER>::read(file, MAGIC, VERSION, "a payload index")?;
        if (header.u64_at(16), header.u32_at(24)) != (tag, rows) {
            return Err("it belongs to another segment".into());
        }
        if header.u64_at(40) != file.len() as u64 {
            return Err(format!("{} bytes long, not {}", file.len(), header.u64_at(40)));
        }
        if crc32fast::hash(body) != header.u32_at(52) {
            return Err("the checksum does not match".into());
        }
        let (paths, keys) = (u64::from(header.u32_at(28)), header.u64_at(32));
        let mut end = HEADER as u64;
        let mut sections: [Range<usize>; SECTIONS] = Default::default();
        for (ordinal, section) in sections.iter_mut().enumerate() {
            let length = header.u64_at(LENGTHS + 8 * ordinal);
            let begin = end;
            end = end.checked_add(length).filter(|end| *end <= file.len() as u64).ok_or("a section passes the end")?;
            *section = begin as usize..end as usize; // within the file, hence within memory
        }
        let length = |section: Section| sections[section as usize].len() as u64;
        let numbers = [
            (Section::PathEnds, Some(paths)),
            (Section::FirstValues, Some(paths + 1)),
            (Section::KeyEnds, Some(keys)),
            (Section::RowEnds, Some(keys)),
        ];
        if end != file.len() as u64
            || numbers.iter().any(|(section, count)| count.and_then(|n| n.checked_mul(8)) != Some(length(*section)))
        {
            return Err("the lengths of the sections do not match their numbers".into());
        }
        let index = Self { rows, paths: paths as usize, complete: header.u32_at(48) == 1, sections, bytes };
        for (ends, section) in
            [(Section::PathEnds, Section::Paths), (Section::KeyEnds, Section::Keys), (Section::RowEnds, Section::Rows)]
        {
            index.check_ascending(ends, index.section(section).len() as u64)?;
        }
        index.check_ascending(Section::FirstValues, keys)?;
        Ok(index)
    }

    /// Creates an index of this number of rows without fields, which covers no condition on payloads.
    pub(crate) fn without_fields(rows: u32) -> Self {
        let bytes = FileBytes::Memory(Vec::new());
        Self { bytes, rows, paths: 0, complete: false, sections: Default::default() }
    }

    fn check_ascending(&self, section: Section, max: u64) -> Result<(), String> {
        let (eights, _) = self.section(section).as_chunks::<8>();
        let mut last = 0;
        for number in eights.iter().map(|eight| u64::from_le_bytes(*eight)) {
            if number < last || number > max {
                return Err("the ends of a section do not ascend within it".into());
            }
            last = number;
        }
        Ok(())
    }

    /// Returns the number of indexed rows.
    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns the mapped bytes; 0 for an index that is not a file.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.bytes.mapped_bytes()
    }

    /// Returns the mapped bytes that are resident in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.bytes.resident_bytes()
    }

    /// Whether all fields are indexed: a field missing here is in no payload.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Returns the values of a field; `None` if it is not indexed.
    pub(crate) fn values(&self, path: &str) -> Option<Values> {
        let name = |ordinal: usize| self.slice(Section::PathEnds, Section::Paths, ordinal);
        let ordinal = partition(0..self.paths, |ordinal| name(ordinal) < path.as_bytes());
        (ordinal < self.paths && name(ordinal) == path.as_bytes()).then(|| {
            let at = |ordinal: usize| self.number(Section::FirstValues, ordinal) as usize;
            Values(at(ordinal)..at(ordinal + 1))
        })
    }

    /// Returns the first of these values whose key is not less than `key`.
    pub(crate) fn lower_bound(&self, values: &Values, key: &[u8]) -> usize {
        partition(values.0.clone(), |value| self.key(value) < key)
    }

    /// Returns the value with this key.
    pub(crate) fn find(&self, values: &Values, key: &[u8]) -> Option<usize> {
        Some(self.lower_bound(values, key)).filter(|&value| value < values.0.end && self.key(value) == key)
    }

    /// Returns the key of a value: a type byte, then bytes that sort like the values.
    pub(crate) fn key(&self, value: usize) -> &[u8] {
        self.slice(Section::KeyEnds, Section::Keys, value)
    }

    /// Returns the rows of a value. They may be out of range in a file from a faulty writer.
    pub(crate) fn rows_of(&self, value: usize) -> RowsOf<'_> {
        match self.slice(Section::RowEnds, Section::Rows, value).split_first() {
            Some((&LIST, list)) => RowsOf::List(list.as_chunks().0),
            Some((&BITMAP, bitmap)) => RowsOf::Bitmap(RoaringBitmap::deserialize_from(bitmap).unwrap_or_default()),
            _ => RowsOf::List(&[]),
        }
    }

    /// Returns the cost of reading adjacent values with their rows, in bytes; at least that of one value.
    pub(crate) fn cost_of(&self, values: Range<usize>) -> u64 {
        let end = |values: usize| values.checked_sub(1).map_or(0, |last| self.number(Section::RowEnds, last));
        let rows = end(values.end).saturating_sub(end(values.start));
        (values.len().max(1) as u64).saturating_mul(VALUE_COST).saturating_add(rows)
    }

    fn section(&self, section: Section) -> &[u8] {
        self.bytes.get().get(self.sections[section as usize].clone()).unwrap_or_default()
    }

    fn number(&self, section: Section, ordinal: usize) -> u64 {
        self.section(section).as_chunks().0.get(ordinal).map_or(0, |eight| u64::from_le_bytes(*eight))
    }

    /// Returns the bytes between an end and the previous one.
    fn slice(&self, ends: Section, section: Section, ordinal: usize) -> &[u8] {
        let begin = ordinal.checked_sub(1).map_or(0, |before| self.number(ends, before));
        self.section(section).get(begin as usize..self.number(ends, ordinal) as usize).unwrap_or_default()
    }
}

/// Whether the payloads of `rows` rows take less time to read than values of an index with this `cost`.
pub(crate) fn are_few(rows: u64, cost: u64) -> bool {
    rows.saturating_mul(PAYLOAD_COST) < cost
}

/// Returns the first index of a range for which `before` is false.
fn partition(range: Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end.max(range.start));
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
