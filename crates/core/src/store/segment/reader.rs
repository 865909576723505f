//! Reader of a mapped segment file.
//!
//! Opening checks the header and the bounds of the sections and reads nothing else. The first read of a row verifies
//! the checksums of its block. No accessor panics or reads out of bounds. A row that is out of range or damaged has an
//! empty vector, id (`""`) or payload. Versions 1 and 2 have no blocks: their numbers are unverified until
//! [`Segment::verify`] has run.

use super::SegmentId;
use super::blocks::{Checks, Group, joined};
use super::layout::{ALIGNMENT, Blocks, Layout, SUMS, Section};
use crate::disk::{self, Mapping};
use crate::math::{Components, Element};
use crate::store::{Error, body};
use crate::types::{Identity, MAX_ID_BYTES, Ordinal};
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Approximate bytes that a scrub verifies per step.
const SCRUB_STEP: usize = 1 << 20;
/// Maximum ranges of damaged rows in a message.
const MAX_LISTED: usize = 8;

/// A sealed segment. Cheap to clone; `Send + Sync`. Clones share the verification state of the blocks.
#[derive(Clone, Debug)]
pub struct Segment {
    mapping: Arc<Mapping>,
    layout: Arc<Layout>,
    checks: Arc<Checks>,
    tag: u64,
}

/// Cost of the damage in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Only data that can be recomputed from the rest.
    Nothing,
    /// The rows of some blocks.
    Rows,
    /// All rows: which of them are damaged is unknown.
    Segment,
}

impl Segment {
    /// Maps the segment `id` of a collection's folder. The time does not depend on the size.
    ///
    /// # Errors
    /// `Corrupt` for an invalid header or an invalid file length; `Incompatible`; `Internal` if the file does not
    /// exist.
    pub fn open(dir: &Path, id: SegmentId) -> Result<Self, Error> {
        Self::open_file(&dir.join(id.vectors_file()), id)
    }

    /// Like [`open`](Self::open), with another file name.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_file(path: &Path, id: SegmentId) -> Result<Self, Error> {
        let mapping = Mapping::open(path)?;
        let layout = Layout::decode(mapping.path(), mapping.bytes(), id)?;
        let (tag, checks) = (layout.tag(), Checks::new(&layout));
        Ok(Self { mapping, layout: Arc::new(layout), checks: Arc::new(checks), tag })
    }

    /// Returns the id.
    pub fn id(&self) -> SegmentId {
        self.layout.id
    }

    /// Returns the identity of the collection that the segment was written for. None in versions 1 and 2.
    pub fn identity(&self) -> Option<Identity> {
        self.layout.blocks.map(|blocks| blocks.identity)
    }

    /// Returns the number of rows, including deleted ones.
    pub fn rows(&self) -> u32 {
        self.layout.rows
    }

    /// Returns the components per vector.
    pub fn dimension(&self) -> u32 {
        self.layout.dimension
    }

    /// Returns all vectors, row by row: rows x dimension. Unverified: see [`vector_is_sound`](Self::vector_is_sound).
    pub fn vectors(&self) -> Components<'_> {
        match self.layout.element {
            Element::F32 => Components::F32(self.numbers(Section::Vectors)),
            Element::F16 => Components::F16(self.numbers(Section::Vectors)),
            Element::U8 => Components::U8(self.numbers(Section::Vectors)),
            Element::I8 => Components::I8(self.numbers(Section::Vectors), self.numbers(Section::Scales)),
        }
    }

    /// Returns whether the vector and the norm of a row are intact. The first call verifies their block.
    #[inline]
    pub fn vector_is_sound(&self, row: Ordinal) -> bool {
        self.is_sound(Group::Vectors, row)
    }

    /// Returns the first row of a range whose vector or norm is damaged.
    pub fn unsound_vector(&self, rows: Range<u32>) -> Option<Ordinal> {
        let step = self.layout.blocks.map_or(u32::MAX, |blocks| blocks.rows);
        let mut row = rows.start;
        while row < rows.end.min(self.layout.rows) {
            if !self.vector_is_sound(Ordinal(row)) {
                return Some(Ordinal(row));
            }
            row = (row / step + 1).saturating_mul(step);
        }
        None
    }

    /// Returns whether the payload of a row is intact. The first call verifies its block.
    #[inline]
    pub fn payload_is_sound(&self, row: Ordinal) -> bool {
        self.is_sound(Group::Payloads, row)
    }

    /// Returns the vector of a row; empty for a row out of range or damaged.
    pub fn vector(&self, row: Ordinal) -> Cow<'_, [f32]> {
        if !self.vector_is_sound(row) {
            return Cow::Borrowed(&[]);
        }
        self.vectors().vector(self.layout.dimension as usize, row.0 as usize).to_floats()
    }

    /// Returns the Euclidean norms, one per row. Unverified, like [`vectors`](Self::vectors).
    pub fn norms(&self) -> &[f32] {
        self.numbers(Section::Norms)
    }

    /// Returns the id of a row; `""` for a row out of range or damaged.
    pub fn point_id(&self, row: Ordinal) -> &str {
        let id = self.readable_id(row).map(std::str::from_utf8);
        id.and_then(|id| id.inspect_err(|_| self.note_invalid_id(row)).ok()).unwrap_or_default()
    }

    /// Returns the payload of a row; empty for a row out of range or damaged.
    pub fn payload(&self, row: Ordinal) -> &[u8] {
        body::payload(self.body(row))
    }

    /// Returns the [body](crate::store::body) of a row: its payload, and the vectors of its fields. Empty for a row out
    /// of range or damaged.
    pub fn body(&self, row: Ordinal) -> &[u8] {
        if !self.payload_is_sound(row) {
            return &[];
        }
        self.var(Section::Payloads, row.0 as usize, row.0 as usize + 1)
            .map_or(&[], |range| &self.mapping.bytes()[range])
    }

    /// Returns the length of a row's payload, in bytes, without reading it.
    pub fn payload_len(&self, row: Ordinal) -> u64 {
        self.var(Section::Payloads, row.0 as usize, row.0 as usize + 1).map_or(0, |range| range.len() as u64)
    }

    /// Iterates over the rows in id order, each once, starting after the id `after`. Skips rows with damaged ids.
    pub fn in_order(&self, after: Option<&str>) -> impl Iterator<Item = Ordinal> + '_ {
        let after = after.unwrap_or_default().as_bytes().to_vec();
        let (mut at, mut order) = self.position(|id| id <= after.as_slice());
        let mut last: Option<Ordinal> = None;
        std::iter::from_fn(move || {
            while at < order.rows.len() {
                match self.row_at(order, at) {
                    Some(row) => {
                        at += 1;
                        last = Some(row);
                        return Some(row);
                    }
                    None if order.rebuilt => at += 1,
                    None => {
                        order = self.rebuilt();
                        let last = last.map_or(after.as_slice(), |row| self.id_bytes(row));
                        at = order.rows.partition_point(|row| self.id_bytes(Ordinal(*row)) <= last);
                    }
                }
            }
            None
        })
    }

    /// Returns the row of an id, by binary search.
    pub fn find(&self, id: &str) -> Option<Ordinal> {
        let (at, order) = self.position(|other| other < id.as_bytes());
        let row = if at < order.rows.len() { self.row_at(order, at)? } else { return None };
        (self.id_bytes(row) == id.as_bytes()).then_some(row)
    }

    /// Returns the content tag: segments with equal tags hold the same bytes. Graph files contain it.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Seed for random choices about the rows: equal rows give the same seed in every collection.
    pub fn seed(&self) -> u64 {
        self.layout.seed()
    }

    /// Returns the bytes of the file.
    pub fn mapped_bytes(&self) -> u64 {
        self.mapping.len()
    }

    /// Returns the bytes of the file that are resident in memory.
    pub fn resident_bytes(&self) -> u64 {
        self.mapping.resident_bytes()
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        self.mapping.path()
    }

    /// Returns the mapping, for read-access advice.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Returns the number of damaged blocks found so far that cost rows.
    pub fn damage_found(&self) -> u64 {
        self.checks.found()
    }

    /// Returns whether damage was found in a segment without blocks, so that all rows count as damaged.
    pub fn is_lost(&self) -> bool {
        self.checks.is_lost()
    }

    /// Returns the rows found damaged so far, as ascending ranges.
    pub fn damaged_rows(&self) -> Vec<Range<u32>> {
        if self.checks.is_lost() {
            return std::iter::once(0..self.layout.rows).collect();
        }
        let blocks = Group::OF_ROWS.into_iter().flat_map(|group| self.checks.damaged(group));
        joined(blocks.map(|block| self.row_range(block)).collect())
    }

    /// Describes the damage found so far: file, bytes and rows; none if there is none.
    pub fn describe_damage(&self) -> Option<String> {
        if self.checks.is_lost() {
            return Some(format!("{}: damaged; the affected rows are unknown", self.path().display()));
        }
        let rows: u64 = self.damaged_rows().iter().map(|range| range.len() as u64).sum();
        if rows == 0 {
            return None;
        }
        let mut named = Vec::new();
        let mut blocks = 0;
        for group in Group::OF_ROWS {
            for block in self.checks.damaged(group) {
                blocks += 1;
                if named.len() < MAX_LISTED {
                    let Range { start, end } = self.row_range(block);
                    let at = self
                        .part(group.main(), block)
                        .map_or(self.mark(group.main()).offset as usize, |part| part.start);
                    named.push(format!("at byte {at}: {} of rows {start} to {}", group.name(), end - 1));
                }
            }
        }
        let more = if blocks > named.len() { format!(" and {} more", blocks - named.len()) } else { String::new() };
        Some(format!(
            "{}: damaged {}{more}; {rows} of {} rows are lost",
            self.path().display(),
            named.join(", "),
            self.layout.rows
        ))
    }

    /// Returns the cost of the damage that [`verify`](Self::verify) found. Reads the whole file again.
    pub fn loss(&self) -> Loss {
        if self.layout.blocks.is_none() {
            return Loss::Segment;
        }
        if self.verify_rows().is_err() && !self.checks.is_lost() {
            return Loss::Rows;
        }
        if self.verify_frame().is_err() { Loss::Nothing } else { Loss::Segment }
    }

    /// Verifies vectors, ids and payloads, including blocks verified before.
    ///
    /// # Errors
    /// `Corrupt`, with the damaged rows.
    pub fn verify_rows(&self) -> Result<(), Error> {
        if self.layout.blocks.is_none() {
            return self.verify().inspect_err(|_| self.checks.quarantine_segment());
        }
        for block in 0..self.layout.block_count() {
            Group::OF_ROWS.into_iter().for_each(|group| _ = self.compare(group, block));
        }
        self.verify_ids()
    }

    /// Verifies the ids that were not verified before.
    ///
    /// # Errors
    /// `Corrupt`, with all rows known to be damaged.
    pub fn verify_ids(&self) -> Result<(), Error> {
        (0..self.layout.rows).map(Ordinal).for_each(|row| _ = self.point_id(row));
        self.describe_damage().map_or(Ok(()), |what| Err(self.corrupt(Section::Vectors, what)))
    }

    /// Returns the rows with intact vector, id and payload, which a copy may hold. Norms and id order are recomputed
    /// from them. Reads the whole file. None for a segment without blocks.
    pub fn salvageable(&self) -> Option<Vec<Ordinal>> {
        let Blocks { rows: block_rows, .. } = self.layout.blocks?;
        const NEEDED: [Section; 6] =
            [Section::Vectors, Section::Scales, Section::IdEnds, Section::Ids, Section::PayloadEnds, Section::Payloads];
        let is_sound = |block: usize| NEEDED.into_iter().all(|section| self.matches(section, block));
        let sound: Vec<bool> = (0..self.layout.block_count()).map(is_sound).collect();
        let rows = (0..self.layout.rows).map(Ordinal);
        let rows = rows.filter(|row| sound.get((row.0 / block_rows) as usize).is_some_and(|sound| *sound));
        Some(rows.filter(|row| !self.point_id(*row).is_empty()).collect())
    }

    /// Verifies the whole file in steps of about 1 MiB, including blocks verified before, and records damage. Calls
    /// `step` with the number of bytes after each step; stops if it returns false. Marks pages that were not resident
    /// before for early eviction.
    ///
    /// # Errors
    /// `Corrupt` for damage that costs no rows: id order, checksums, padding between sections.
    pub fn scrub(&self, step: &mut dyn FnMut(u64) -> bool) -> Result<(), Error> {
        if self.layout.blocks.is_none() {
            for section in self.layout.present() {
                let mut crc = crc32fast::Hasher::new();
                let range = self.layout.range(section);
                for from in range.clone().step_by(SCRUB_STEP) {
                    let part = from..range.end.min(from + SCRUB_STEP);
                    self.in_passing(part.clone(), || crc.update(&self.mapping.bytes()[part.clone()]));
                    if !step(part.len() as u64) {
                        return Ok(());
                    }
                }
                if crc.finalize() != self.mark(section).crc {
                    self.checks.quarantine_segment();
                }
            }
            return Ok(());
        }
        let blocks = self.layout.block_count();
        for group in Group::ALL {
            let bytes: u64 = group.sections().iter().map(|&section| self.mark(section).length).sum();
            let at_once = (SCRUB_STEP / (bytes as usize / blocks.max(1)).max(1)).max(1);
            for from in (0..blocks).step_by(at_once) {
                let until = blocks.min(from + at_once);
                let part = |block| self.part(group.main(), block).unwrap_or_default();
                self.in_passing(part(from).start..part(until - 1).end, || {
                    (from..until).for_each(|block| _ = self.compare(group, block));
                });
                if !step(bytes * (until - from) as u64 / blocks as u64) {
                    return Ok(());
                }
            }
        }
        self.verify_frame()
    }

    /// Reads a part of the file. Unless most of it was resident before, advises the kernel to evict it first.
    fn in_passing(&self, part: Range<usize>, read: impl FnOnce()) {
        let was_resident = self.mapping.resident_in(part.clone()) * 2 > part.len() as u64;
        read();
        if !was_resident {
            self.mapping.advise_cold(part);
        }
    }

    /// Verifies the whole file: every checksum, padding, id and order.
    ///
    /// # Errors
    /// `Corrupt`, with the offset of the section.
    pub fn verify(&self) -> Result<(), Error> {
        if self.layout.blocks.is_some() {
            for block in 0..self.layout.block_count() {
                for group in Group::OF_ROWS {
                    if !self.compare(group, block) {
                        let at = self.part(group.main(), block).map_or(0, |part| part.start);
                        let Range { start, end } = self.row_range(block);
                        let what =
                            format!("the {} of rows {start} to {} do not match their checksum", group.name(), end - 1);
                        return Err(disk::Error::corrupt(self.path(), at as u64, what).into());
                    }
                }
            }
            self.verify_frame()?;
        } else {
            self.verify_padding()?;
            if let Some(section) = self.layout.present().find(|&section| !self.is_intact(section)) {
                return Err(self.corrupt(section, format!("the checksum of {section:?} does not match")));
            }
        }
        // With valid checksums, the checks below fail only for a buggy or malicious writer.
        self.verify_ends(Section::IdEnds, self.numbers::<u32>(Section::IdEnds).iter().map(|end| u64::from(*end)))?;
        self.verify_ends(Section::PayloadEnds, self.numbers::<u64>(Section::PayloadEnds).iter().copied())?;
        for row in 0..self.layout.rows {
            let id = self.id_bytes(Ordinal(row));
            if id.is_empty() || id.len() > MAX_ID_BYTES || std::str::from_utf8(id).is_err() {
                return Err(self.corrupt(Section::Ids, format!("row {row} has an invalid id")));
            }
        }
        let sorted: &[u32] = self.numbers(Section::Sorted);
        let ascending = |pair: &[u32]| self.id_bytes(Ordinal(pair[0])) < self.id_bytes(Ordinal(pair[1]));
        // Rows in range with strictly ascending ids are distinct: a permutation.
        if sorted.iter().any(|row| *row >= self.layout.rows) || !sorted.windows(2).all(ascending) {
            return Err(self.corrupt(Section::Sorted, "rows are not in the order of their ids".into()));
        }
        Ok(())
    }

    /// In a segment with blocks, verifies the parts that cost no rows: id order, checksums, zero padding, both headers.
    fn verify_frame(&self) -> Result<(), Error> {
        for block in 0..self.layout.block_count() {
            if !self.compare(Group::Sorted, block) {
                return Err(self.corrupt(Section::Sorted, "the order of the ids does not match its checksum".into()));
            }
        }
        if !self.is_intact(Section::Sums) {
            return Err(self.corrupt(Section::Sums, "the checksums of the blocks do not match theirs".into()));
        }
        self.verify_padding()?;
        let (bytes, header) = (self.mapping.bytes(), self.layout.encode());
        let corrupt = |at: usize, what: &str| Err(disk::Error::corrupt(self.path(), at as u64, what).into());
        if !bytes.starts_with(&header) {
            return corrupt(0, "the header is damaged; its copy at the end is used");
        }
        if !bytes.ends_with(&header) {
            return corrupt(bytes.len() - header.len(), "the copy of the header is damaged");
        }
        Ok(())
    }

    fn verify_padding(&self) -> Result<(), Error> {
        let mut end = self.layout.header_len();
        for section in self.layout.present() {
            let range = self.layout.range(section);
            if self.mapping.bytes()[end..range.start].iter().any(|byte| *byte != 0) {
                return Err(self.corrupt(section, format!("the bytes before {section:?} are not zero")));
            }
            end = range.end;
        }
        if self.layout.blocks.is_some() {
            let copy = end.next_multiple_of(ALIGNMENT as usize);
            if self.mapping.bytes().get(end..copy).is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
                return Err(disk::Error::corrupt(
                    self.path(),
                    end as u64,
                    "the bytes before the copy of the header are not zero",
                )
                .into());
            }
        }
        Ok(())
    }

    /// Returns whether the data that cannot be recomputed is intact: vectors, ids and payloads. Reads the whole file.
    pub fn rows_are_sound(&self) -> bool {
        if let Some(rows) = self.salvageable() {
            return rows.len() == self.layout.rows as usize;
        }
        let payload_ends = self.numbers::<u64>(Section::PayloadEnds).iter().copied();
        let scales = self.layout.element != Element::I8 || self.is_intact(Section::Scales);
        scales
            && self.is_intact(Section::Vectors)
            && self.is_intact(Section::PayloadEnds)
            && self.is_intact(Section::Payloads)
            && self.verify_ends(Section::PayloadEnds, payload_ends).is_ok()
            && self.ids_are_sound()
    }

    /// Returns whether all ids are readable.
    pub fn ids_are_sound(&self) -> bool {
        let ends = self.numbers::<u32>(Section::IdEnds).iter().map(|end| u64::from(*end));
        self.is_intact(Section::IdEnds)
            && self.is_intact(Section::Ids)
            && self.verify_ends(Section::IdEnds, ends).is_ok()
            && (0..self.layout.rows).all(|row| crate::types::PointId::new(self.point_id(Ordinal(row))).is_ok())
    }

    /// Returns whether the block of a row is intact. The first call verifies it.
    #[inline(always)]
    fn is_sound(&self, group: Group, row: Ordinal) -> bool {
        self.checks.is_sound(group, row.0) || self.verify_first(group, row)
    }

    #[cold]
    fn verify_first(&self, group: Group, row: Ordinal) -> bool {
        let Some(Blocks { rows, .. }) = self.layout.blocks else { return false };
        let block = (row.0 / rows) as usize;
        row.0 < self.layout.rows && !self.checks.is_damaged(group, block) && self.compare(group, block)
    }

    /// Verifies a block and records the result.
    fn compare(&self, group: Group, block: usize) -> bool {
        let sound = group.sections().iter().all(|&section| self.matches(section, block));
        self.checks.set(group, block, sound);
        sound
    }

    /// Returns whether the bytes of a block in a section match their checksum.
    fn matches(&self, section: Section, block: usize) -> bool {
        if section == Section::Scales && self.layout.element != Element::I8 {
            return true;
        }
        let sum = self.numbers::<u32>(Section::Sums).get(block * SUMS + section as usize);
        let bytes = self.part(section, block).map(|part| &self.mapping.bytes()[part]);
        if bytes.zip(sum).is_some_and(|(bytes, sum)| crc32fast::hash(bytes) == *sum) {
            return true;
        }
        // The checksum itself may be damaged: then the checksum of the whole section decides.
        let sums = *self.checks.sums.get_or_init(|| self.is_intact(Section::Sums));
        !sums && *self.checks.whole[section as usize].get_or_init(|| self.is_intact(section))
    }

    /// Returns the byte range of a block in a section, from the start of the file.
    fn part(&self, section: Section, block: usize) -> Option<Range<usize>> {
        let rows = self.layout.rows_of_block(block);
        let all = self.layout.range(section);
        let fixed = |width: usize, more: usize| {
            let part = all.start + rows.start * width..all.start + (rows.end + more) * width;
            (part.end <= all.end).then_some(part)
        };
        match section {
            Section::Vectors => fixed(self.layout.dimension as usize * self.layout.element.bytes(), 0),
            Section::Norms | Section::Sorted | Section::Scales => fixed(4, 0),
            // The end between two blocks belongs to both.
            Section::IdEnds => fixed(4, 1),
            Section::PayloadEnds => fixed(8, 1),
            Section::Ids | Section::Payloads => self.var(section, rows.start, rows.end),
            Section::Sums => None,
        }
    }

    /// Returns the byte range of the ids or payloads of rows, from the start of the file.
    fn var(&self, section: Section, from: usize, until: usize) -> Option<Range<usize>> {
        let end = |row: usize| match section {
            Section::Ids => self.numbers::<u32>(Section::IdEnds).get(row).map(|end| *end as usize),
            _ => self.numbers::<u64>(Section::PayloadEnds).get(row).and_then(|end| usize::try_from(*end).ok()),
        };
        let all = self.layout.range(section);
        let (begin, end) = (end(from)?, end(until)?);
        (begin <= end && end <= all.len()).then(|| all.start + begin..all.start + end)
    }

    fn row_range(&self, block: usize) -> Range<u32> {
        let rows = self.layout.rows_of_block(block);
        rows.start as u32..rows.end as u32
    }

    /// Returns the bytes of an id; none for a row out of range or damaged.
    fn readable_id(&self, row: Ordinal) -> Option<&[u8]> {
        if !self.is_sound(Group::Ids, row) || row.0 >= self.layout.rows {
            return None;
        }
        let id = self.id_bytes(row);
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            self.note_invalid_id(row);
            return None;
        }
        Some(id)
    }

    /// Records an invalid id: its checksum matches nevertheless, or there is none.
    #[cold]
    fn note_invalid_id(&self, row: Ordinal) {
        match self.layout.blocks {
            Some(Blocks { rows, .. }) => self.checks.set(Group::Ids, (row.0 / rows) as usize, false),
            None => self.checks.quarantine_segment(),
        }
    }

    /// Returns the first position in the id order for which `before` is false, and the order.
    fn position(&self, before: impl Fn(&[u8]) -> bool) -> (usize, Order<'_>) {
        let mapped = match self.checks.order.get() {
            Some(rows) => Order { rows, rebuilt: true },
            None => Order { rows: self.numbers(Section::Sorted), rebuilt: false },
        };
        match self.partition(mapped, &before) {
            Some(at) => (at, mapped),
            None => {
                let order = self.rebuilt();
                (order.rows.partition_point(|row| before(self.id_bytes(Ordinal(*row)))), order)
            }
        }
    }

    /// Like [`slice::partition_point`]; none if a row or id on the path is damaged.
    fn partition(&self, order: Order<'_>, before: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let (mut low, mut high) = (0, order.rows.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self.row_at(order, middle)?;
            if before(self.id_bytes(row)) { low = middle + 1 } else { high = middle }
        }
        Some(low)
    }

    /// Returns the row at a position of the order; none if the entry or its id is damaged.
    fn row_at(&self, order: Order<'_>, at: usize) -> Option<Ordinal> {
        if !order.rebuilt && !self.is_sound(Group::Sorted, Ordinal(at as u32)) {
            return None;
        }
        let row = Ordinal(*order.rows.get(at)?);
        if self.layout.blocks.is_none() && row.0 >= self.layout.rows {
            self.checks.quarantine_segment();
        }
        // Without blocks, an id that is not UTF-8 shows damage.
        let id = self.readable_id(row)?;
        if self.layout.blocks.is_none() && std::str::from_utf8(id).is_err() {
            self.note_invalid_id(row);
            return None;
        }
        Some(row)
    }

    /// Returns the order of the readable ids, computed once.
    #[cold]
    fn rebuilt(&self) -> Order<'_> {
        let rows = self.checks.order.get_or_init(|| {
            let mut rows: Vec<u32> =
                (0..self.layout.rows).filter(|row| !self.point_id(Ordinal(*row)).is_empty()).collect();
            rows.sort_unstable_by(|a, b| self.id_bytes(Ordinal(*a)).cmp(self.id_bytes(Ordinal(*b))));
            rows
        });
        Order { rows, rebuilt: true }
    }

    fn is_intact(&self, section: Section) -> bool {
        crc32fast::hash(self.bytes(section)) == self.mark(section).crc
    }

    fn mark(&self, section: Section) -> disk::SectionMark {
        self.layout.sections[section as usize]
    }

    fn verify_ends(&self, ends: Section, values: impl Iterator<Item = u64>) -> Result<(), Error> {
        let of = if ends == Section::IdEnds { Section::Ids } else { Section::Payloads };
        let mut last = None;
        for value in values {
            if last.map_or(value != 0, |last| value < last) {
                return Err(self.corrupt(ends, format!("{ends:?} do not ascend from 0")));
            }
            last = Some(value);
        }
        if last != Some(self.layout.sections[of as usize].length) {
            return Err(self.corrupt(ends, format!("{ends:?} do not end with {of:?}")));
        }
        Ok(())
    }

    fn corrupt(&self, section: Section, what: String) -> Error {
        disk::Error::corrupt(self.path(), self.layout.sections[section as usize].offset, what).into()
    }

    fn id_bytes(&self, row: Ordinal) -> &[u8] {
        let row = row.0 as usize;
        self.var(Section::Ids, row, row + 1).map_or(&[], |range| &self.mapping.bytes()[range])
    }

    fn bytes(&self, section: Section) -> &[u8] {
        &self.mapping.bytes()[self.layout.range(section)]
    }

    /// Returns a section as numbers. It starts at a multiple of 64 in a page-aligned mapping, and opening has checked that
    /// its length is a whole number of elements.
    fn numbers<T: bytemuck::AnyBitPattern>(&self, section: Section) -> &[T] {
        bytemuck::cast_slice(self.bytes(section))
    }
}

/// Rows in id order.
#[derive(Clone, Copy)]
struct Order<'a> {
    rows: &'a [u32],
    /// Whether it was recomputed from the ids instead of read from the file.
    rebuilt: bool,
}
