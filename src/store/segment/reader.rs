//! Reads a mapped segment file.
//!
//! Opening checks the header and the bounds of the sections and reads nothing else. Until [`Segment::verify`] has run,
//! section bytes may be anything: no accessor panics or reads out of bounds. A row that is out of range or whose bytes
//! are damaged has an empty vector, id (`""`) or payload; numbers are whatever the bytes say.

use super::SegmentId;
use super::layout::{Layout, Section};
use crate::disk::{self, Mapping};
use crate::math::{Components, Element};
use crate::store::Error;
use crate::types::{MAX_ID_BYTES, Ordinal};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// A sealed segment. Cheap to clone; `Send + Sync`.
#[derive(Clone, Debug)]
pub struct Segment {
    mapping: Arc<Mapping>,
    layout: Arc<Layout>,
    tag: u64,
}

impl Segment {
    /// Maps the segment `id` of a collection's folder. Takes the same time at any size.
    ///
    /// # Errors
    /// `Corrupt` for a header that does not hold or a file of another length; `Incompatible`; `Internal` for no file.
    pub fn open(dir: &Path, id: SegmentId) -> Result<Self, Error> {
        let mapping = Mapping::open(&dir.join(id.vectors_file()))?;
        let layout = Layout::decode(mapping.path(), mapping.bytes(), id)?;
        let tag = layout.tag();
        Ok(Self { mapping, layout: Arc::new(layout), tag })
    }

    /// Its number.
    pub fn id(&self) -> SegmentId {
        self.layout.id
    }

    /// Rows, dead ones among them.
    pub fn rows(&self) -> u32 {
        self.layout.rows
    }

    /// Components of a vector.
    pub fn dimension(&self) -> u32 {
        self.layout.dimension
    }

    /// All vectors, row after row: rows x dimension.
    pub fn vectors(&self) -> Components<'_> {
        match self.layout.element {
            Element::F32 => Components::F32(self.numbers(Section::Vectors)),
            Element::F16 => Components::F16(self.numbers(Section::Vectors)),
            Element::U8 => Components::U8(self.numbers(Section::Vectors)),
            Element::I8 => Components::I8(self.numbers(Section::Vectors), self.numbers(Section::Scales)),
        }
    }

    /// The vector of a row, as it was given; empty for a row out of range.
    pub fn vector(&self, row: Ordinal) -> Cow<'_, [f32]> {
        self.vectors().vector(self.layout.dimension as usize, row.0 as usize).to_floats()
    }

    /// Euclidean norms, one a row.
    pub fn norms(&self) -> &[f32] {
        self.numbers(Section::Norms)
    }

    /// The id of a row; `""` for a row out of range or damaged.
    pub fn point_id(&self, row: Ordinal) -> &str {
        std::str::from_utf8(self.id_bytes(row)).unwrap_or_default()
    }

    /// The payload of a row, as it was given; empty for a row out of range or damaged.
    pub fn payload(&self, row: Ordinal) -> &[u8] {
        let ends: &[u64] = self.numbers(Section::PayloadEnds);
        let row = row.0 as usize;
        match ends.get(row..row + 2) {
            Some(&[begin, end]) => self.slice(Section::Payloads, begin, end),
            _ => &[],
        }
    }

    /// Rows in the order of their ids' bytes, each once. Until verified, look them up with `get`: they may be out of range.
    pub fn sorted(&self) -> &[u32] {
        self.numbers(Section::Sorted)
    }

    /// The row of an id, by binary search.
    pub fn find(&self, id: &str) -> Option<Ordinal> {
        let sorted = self.sorted();
        let at = sorted.binary_search_by(|row| self.id_bytes(Ordinal(*row)).cmp(id.as_bytes())).ok()?;
        let row = Ordinal(sorted[at]);
        (row.0 < self.layout.rows).then_some(row)
    }

    /// Where in [`sorted`](Self::sorted) the ids greater than `id` begin: a scroll goes on there.
    pub fn sorted_after(&self, id: &str) -> usize {
        self.sorted().partition_point(|row| self.id_bytes(Ordinal(*row)) <= id.as_bytes())
    }

    /// Content tag: two segments with the same tag hold the same bytes. Graph files name it.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Bytes of the file.
    pub fn mapped_bytes(&self) -> u64 {
        self.mapping.len()
    }

    /// Of them, in memory now.
    pub fn resident_bytes(&self) -> u64 {
        self.mapping.resident_bytes()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.mapping.path()
    }

    /// The mapped file, for advice on how it will be read.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Reads the whole file: every checksum, every padding, every id, every order.
    ///
    /// # Errors
    /// `Corrupt`, with the offset of the section.
    pub fn verify(&self) -> Result<(), Error> {
        let mut end = super::layout::HEADER;
        for &section in Section::of(self.layout.element) {
            let range = self.layout.range(section);
            if self.mapping.bytes()[end..range.start].iter().any(|byte| *byte != 0) {
                return Err(self.wrong(section, format!("the bytes before {section:?} are not zero")));
            }
            if !self.is_sound(section) {
                return Err(self.wrong(section, format!("the checksum of {section:?} does not match")));
            }
            end = range.end;
        }
        // With fitting checksums, only a writer that was wrong or hostile fails below.
        self.verify_ends(Section::IdEnds, self.numbers::<u32>(Section::IdEnds).iter().map(|end| u64::from(*end)))?;
        self.verify_ends(Section::PayloadEnds, self.numbers::<u64>(Section::PayloadEnds).iter().copied())?;
        for row in 0..self.layout.rows {
            let id = self.id_bytes(Ordinal(row));
            if id.is_empty() || id.len() > MAX_ID_BYTES || std::str::from_utf8(id).is_err() {
                return Err(self.wrong(Section::Ids, format!("row {row} has no proper id")));
            }
        }
        let sorted = self.sorted();
        let ascending = |pair: &[u32]| self.id_bytes(Ordinal(pair[0])) < self.id_bytes(Ordinal(pair[1]));
        // Strictly ascending ids of rows in range are all different rows: a permutation.
        if sorted.iter().any(|row| *row >= self.layout.rows) || !sorted.windows(2).all(ascending) {
            return Err(self.wrong(Section::Sorted, "rows are not in the order of their ids".into()));
        }
        Ok(())
    }

    /// Whether all is sound that cannot be computed from the rest: vectors, ids and payloads. Reads the whole file.
    pub fn rows_are_sound(&self) -> bool {
        let payload_ends = self.numbers::<u64>(Section::PayloadEnds).iter().copied();
        let scales = self.layout.element != Element::I8 || self.is_sound(Section::Scales);
        scales
            && self.is_sound(Section::Vectors)
            && self.is_sound(Section::PayloadEnds)
            && self.is_sound(Section::Payloads)
            && self.verify_ends(Section::PayloadEnds, payload_ends).is_ok()
            && self.ids_are_sound()
    }

    /// Whether the ids of its rows can be told.
    pub fn ids_are_sound(&self) -> bool {
        let ends = self.numbers::<u32>(Section::IdEnds).iter().map(|end| u64::from(*end));
        self.is_sound(Section::IdEnds)
            && self.is_sound(Section::Ids)
            && self.verify_ends(Section::IdEnds, ends).is_ok()
            && (0..self.layout.rows).all(|row| crate::types::PointId::new(self.point_id(Ordinal(row))).is_ok())
    }

    fn is_sound(&self, section: Section) -> bool {
        crc32fast::hash(self.bytes(section)) == self.layout.sections[section as usize].crc
    }

    fn verify_ends(&self, ends: Section, values: impl Iterator<Item = u64>) -> Result<(), Error> {
        let of = if ends == Section::IdEnds { Section::Ids } else { Section::Payloads };
        let mut last = None;
        for value in values {
            if last.map_or(value != 0, |last| value < last) {
                return Err(self.wrong(ends, format!("{ends:?} do not ascend from 0")));
            }
            last = Some(value);
        }
        if last != Some(self.layout.sections[of as usize].length) {
            return Err(self.wrong(ends, format!("{ends:?} do not end with {of:?}")));
        }
        Ok(())
    }

    fn wrong(&self, section: Section, what: String) -> Error {
        disk::Error::corrupt(self.path(), self.layout.sections[section as usize].offset, what).into()
    }

    fn id_bytes(&self, row: Ordinal) -> &[u8] {
        let ends: &[u32] = self.numbers(Section::IdEnds);
        let row = row.0 as usize;
        match ends.get(row..row + 2) {
            Some(&[begin, end]) => self.slice(Section::Ids, u64::from(begin), u64::from(end)),
            _ => &[],
        }
    }

    fn slice(&self, section: Section, begin: u64, end: u64) -> &[u8] {
        match (usize::try_from(begin), usize::try_from(end)) {
            (Ok(begin), Ok(end)) => self.bytes(section).get(begin..end).unwrap_or_default(),
            _ => &[],
        }
    }

    fn bytes(&self, section: Section) -> &[u8] {
        &self.mapping.bytes()[self.layout.range(section)]
    }

    /// A section as numbers: it begins 64-aligned in a page-aligned map, and its length was checked to be whole numbers.
    fn numbers<T: bytemuck::AnyBitPattern>(&self, section: Section) -> &[T] {
        bytemuck::cast_slice(self.bytes(section))
    }
}
