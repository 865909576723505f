//! Reads a mapped segment file.
//!
//! Opening checks the header and the bounds of the sections and reads nothing else. Section bytes are compared with their
//! checksums block by block, when a row of the block is first read. No accessor panics or reads out of bounds. A row that is
//! out of range or whose bytes are damaged has an empty vector, id (`""`) or payload. Versions 1 and 2 have no blocks: until
//! [`Segment::verify`] has run, their numbers are whatever the bytes say.

use super::SegmentId;
use super::blocks::{Checks, Group, joined};
use super::layout::{ALIGNMENT, Blocks, Layout, SUMS, Section};
use crate::disk::{self, Mapping};
use crate::math::{Components, Element};
use crate::store::Error;
use crate::types::{Identity, MAX_ID_BYTES, Ordinal};
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Bytes that a scrub compares between two steps, about.
const SCRUB_STEP: usize = 1 << 20;
/// Ranges of damaged rows that a message names.
const NAMED: usize = 8;

/// A sealed segment. Cheap to clone; `Send + Sync`. Clones share what is known of its blocks.
#[derive(Clone, Debug)]
pub struct Segment {
    mapping: Arc<Mapping>,
    layout: Arc<Layout>,
    checks: Arc<Checks>,
    tag: u64,
}

/// What the damage in a segment costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing that cannot be computed from the rest.
    Nothing,
    /// The rows of some blocks.
    Rows,
    /// All of it: which rows are damaged cannot be told.
    Segment,
}

impl Segment {
    /// Maps the segment `id` of a collection's folder. Takes the same time at any size.
    ///
    /// # Errors
    /// `Corrupt` for a header that does not hold or a file of another length; `Incompatible`; `Internal` for no file.
    pub fn open(dir: &Path, id: SegmentId) -> Result<Self, Error> {
        let mapping = Mapping::open(&dir.join(id.vectors_file()))?;
        let layout = Layout::decode(mapping.path(), mapping.bytes(), id)?;
        let (tag, checks) = (layout.tag(), Checks::new(&layout));
        Ok(Self { mapping, layout: Arc::new(layout), checks: Arc::new(checks), tag })
    }

    /// Its number.
    pub fn id(&self) -> SegmentId {
        self.layout.id
    }

    /// The identity of the collection that it was written for. None in versions 1 and 2.
    pub fn identity(&self) -> Option<Identity> {
        self.layout.blocks.map(|blocks| blocks.identity)
    }

    /// Rows, dead ones among them.
    pub fn rows(&self) -> u32 {
        self.layout.rows
    }

    /// Components of a vector.
    pub fn dimension(&self) -> u32 {
        self.layout.dimension
    }

    /// All vectors, row after row: rows x dimension. Not compared: ask [`vector_is_sound`](Self::vector_is_sound).
    pub fn vectors(&self) -> Components<'_> {
        match self.layout.element {
            Element::F32 => Components::F32(self.numbers(Section::Vectors)),
            Element::F16 => Components::F16(self.numbers(Section::Vectors)),
            Element::U8 => Components::U8(self.numbers(Section::Vectors)),
            Element::I8 => Components::I8(self.numbers(Section::Vectors), self.numbers(Section::Scales)),
        }
    }

    /// Whether the vector and the norm of a row are as they were written. Compares their block, the first time.
    #[inline]
    pub fn vector_is_sound(&self, row: Ordinal) -> bool {
        self.is_sound(Group::Vectors, row)
    }

    /// The first of some rows whose vector or norm is not as it was written.
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

    /// Whether the payload of a row is as it was written. Compares its block, the first time.
    #[inline]
    pub fn payload_is_sound(&self, row: Ordinal) -> bool {
        self.is_sound(Group::Payloads, row)
    }

    /// The vector of a row, as it was given; empty for a row out of range or damaged.
    pub fn vector(&self, row: Ordinal) -> Cow<'_, [f32]> {
        if !self.vector_is_sound(row) {
            return Cow::Borrowed(&[]);
        }
        self.vectors().vector(self.layout.dimension as usize, row.0 as usize).to_floats()
    }

    /// Euclidean norms, one a row. Not compared, as [`vectors`](Self::vectors).
    pub fn norms(&self) -> &[f32] {
        self.numbers(Section::Norms)
    }

    /// The id of a row; `""` for a row out of range or damaged.
    pub fn point_id(&self, row: Ordinal) -> &str {
        let id = self.readable_id(row).map(std::str::from_utf8);
        id.and_then(|id| id.inspect_err(|_| self.lose_id(row)).ok()).unwrap_or_default()
    }

    /// The payload of a row, as it was given; empty for a row out of range or damaged.
    pub fn payload(&self, row: Ordinal) -> &[u8] {
        if !self.payload_is_sound(row) {
            return &[];
        }
        self.var(Section::Payloads, row.0 as usize, row.0 as usize + 1)
            .map_or(&[], |range| &self.mapping.bytes()[range])
    }

    /// Rows in the order of their ids, each once; without those whose ids are found damaged on the way.
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

    /// The row of an id, by binary search.
    pub fn find(&self, id: &str) -> Option<Ordinal> {
        let (at, order) = self.position(|other| other < id.as_bytes());
        let row = if at < order.rows.len() { self.row_at(order, at)? } else { return None };
        (self.id_bytes(row) == id.as_bytes()).then_some(row)
    }

    /// Content tag: two segments with the same tag hold the same bytes. Graph files name it.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Seed of random choices about the rows: the same for the same rows in any collection.
    pub fn seed(&self) -> u64 {
        self.layout.seed()
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

    /// Damaged blocks that were found so far and cost rows.
    pub fn damage_found(&self) -> u64 {
        self.checks.found()
    }

    /// Whether it was found damaged, and has no blocks to tell which rows are.
    pub fn is_lost(&self) -> bool {
        self.checks.is_lost()
    }

    /// The rows that were found damaged so far, as ranges in order.
    pub fn damaged_rows(&self) -> Vec<Range<u32>> {
        if self.checks.is_lost() {
            return std::iter::once(0..self.layout.rows).collect();
        }
        let blocks = Group::OF_ROWS.into_iter().flat_map(|group| self.checks.damaged(group));
        joined(blocks.map(|block| self.row_range(block)).collect())
    }

    /// What was found damaged so far, with the file, the bytes and the rows; none while nothing was.
    pub fn describe_damage(&self) -> Option<String> {
        if self.checks.is_lost() {
            return Some(format!("{}: damaged, and which rows cannot be told", self.path().display()));
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
                if named.len() < NAMED {
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

    /// What the damage costs that [`verify`](Self::verify) found. Reads the whole file again.
    pub fn loss(&self) -> Loss {
        if self.layout.blocks.is_none() {
            return Loss::Segment;
        }
        if self.verify_rows().is_err() && !self.checks.is_lost() {
            return Loss::Rows;
        }
        if self.verify_frame().is_err() { Loss::Nothing } else { Loss::Segment }
    }

    /// Reads vectors, ids and payloads, whatever was compared before.
    ///
    /// # Errors
    /// `Corrupt`, with the rows that are damaged.
    pub fn verify_rows(&self) -> Result<(), Error> {
        if self.layout.blocks.is_none() {
            return self.verify().inspect_err(|_| self.checks.lose());
        }
        for block in 0..self.layout.block_count() {
            Group::OF_ROWS.into_iter().for_each(|group| _ = self.compare(group, block));
        }
        self.verify_ids()
    }

    /// Reads the ids that were not compared before.
    ///
    /// # Errors
    /// `Corrupt`, with all rows that are known to be damaged.
    pub fn verify_ids(&self) -> Result<(), Error> {
        (0..self.layout.rows).map(Ordinal).for_each(|row| _ = self.point_id(row));
        self.describe_damage().map_or(Ok(()), |what| Err(self.wrong(Section::Vectors, what)))
    }

    /// The rows whose vector, id and payload are as they were written: what a copy may hold. Norms and the order of ids are
    /// computed from them. Reads the whole file. None where there are no blocks to tell them apart.
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

    /// Reads the whole file in steps of about a mebibyte, whatever was compared before, and notes what is damaged. After each
    /// step `step` is told of the bytes; false ends it. What was not in memory before is the first to leave it.
    ///
    /// # Errors
    /// `Corrupt` for what costs no rows: the order of ids, checksums, what lies between sections.
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
                    self.checks.lose();
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

    /// Reads a part of the file; if it was not in memory before, others may take that memory first.
    fn in_passing(&self, part: Range<usize>, read: impl FnOnce()) {
        let was_there = self.mapping.resident_in(part.clone()) * 2 > part.len() as u64;
        read();
        if !was_there {
            self.mapping.advise_cold(part);
        }
    }

    /// Reads the whole file: every checksum, every padding, every id, every order.
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
            if let Some(section) = self.layout.present().find(|&section| !self.is_whole(section)) {
                return Err(self.wrong(section, format!("the checksum of {section:?} does not match")));
            }
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
        let sorted: &[u32] = self.numbers(Section::Sorted);
        let ascending = |pair: &[u32]| self.id_bytes(Ordinal(pair[0])) < self.id_bytes(Ordinal(pair[1]));
        // Strictly ascending ids of rows in range are all different rows: a permutation.
        if sorted.iter().any(|row| *row >= self.layout.rows) || !sorted.windows(2).all(ascending) {
            return Err(self.wrong(Section::Sorted, "rows are not in the order of their ids".into()));
        }
        Ok(())
    }

    /// What costs no rows, where there are blocks: the order of ids, the checksums, the zeros between, both headers.
    fn verify_frame(&self) -> Result<(), Error> {
        for block in 0..self.layout.block_count() {
            if !self.compare(Group::Sorted, block) {
                return Err(self.wrong(Section::Sorted, "the order of the ids does not match its checksum".into()));
            }
        }
        if !self.is_whole(Section::Sums) {
            return Err(self.wrong(Section::Sums, "the checksums of the blocks do not match theirs".into()));
        }
        self.verify_padding()?;
        let (bytes, header) = (self.mapping.bytes(), self.layout.encode());
        let wrong = |at: usize, what: &str| Err(disk::Error::corrupt(self.path(), at as u64, what).into());
        if !bytes.starts_with(&header) {
            return wrong(0, "the header is damaged; its copy at the end is used");
        }
        if !bytes.ends_with(&header) {
            return wrong(bytes.len() - header.len(), "the copy of the header is damaged");
        }
        Ok(())
    }

    fn verify_padding(&self) -> Result<(), Error> {
        let mut end = self.layout.header_len();
        for section in self.layout.present() {
            let range = self.layout.range(section);
            if self.mapping.bytes()[end..range.start].iter().any(|byte| *byte != 0) {
                return Err(self.wrong(section, format!("the bytes before {section:?} are not zero")));
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

    /// Whether all is sound that cannot be computed from the rest: vectors, ids and payloads. Reads the whole file.
    pub fn rows_are_sound(&self) -> bool {
        if let Some(rows) = self.salvageable() {
            return rows.len() == self.layout.rows as usize;
        }
        let payload_ends = self.numbers::<u64>(Section::PayloadEnds).iter().copied();
        let scales = self.layout.element != Element::I8 || self.is_whole(Section::Scales);
        scales
            && self.is_whole(Section::Vectors)
            && self.is_whole(Section::PayloadEnds)
            && self.is_whole(Section::Payloads)
            && self.verify_ends(Section::PayloadEnds, payload_ends).is_ok()
            && self.ids_are_sound()
    }

    /// Whether the ids of its rows can be told.
    pub fn ids_are_sound(&self) -> bool {
        let ends = self.numbers::<u32>(Section::IdEnds).iter().map(|end| u64::from(*end));
        self.is_whole(Section::IdEnds)
            && self.is_whole(Section::Ids)
            && self.verify_ends(Section::IdEnds, ends).is_ok()
            && (0..self.layout.rows).all(|row| crate::types::PointId::new(self.point_id(Ordinal(row))).is_ok())
    }

    /// Whether the block of a row is as it was written; compared when it is first asked for.
    #[inline(always)]
    fn is_sound(&self, group: Group, row: Ordinal) -> bool {
        self.checks.is_sound(group, row.0) || self.first_look(group, row)
    }

    #[cold]
    fn first_look(&self, group: Group, row: Ordinal) -> bool {
        let Some(Blocks { rows, .. }) = self.layout.blocks else { return false };
        let block = (row.0 / rows) as usize;
        row.0 < self.layout.rows && !self.checks.is_damaged(group, block) && self.compare(group, block)
    }

    /// Compares a block with its checksums, and notes what comes of it.
    fn compare(&self, group: Group, block: usize) -> bool {
        let sound = group.sections().iter().all(|&section| self.matches(section, block));
        self.checks.set(group, block, sound);
        sound
    }

    /// Whether the bytes of a block in a section have their checksum.
    fn matches(&self, section: Section, block: usize) -> bool {
        if section == Section::Scales && self.layout.element != Element::I8 {
            return true;
        }
        let sum = self.numbers::<u32>(Section::Sums).get(block * SUMS + section as usize);
        let bytes = self.part(section, block).map(|part| &self.mapping.bytes()[part]);
        if bytes.zip(sum).is_some_and(|(bytes, sum)| crc32fast::hash(bytes) == *sum) {
            return true;
        }
        // The checksum may be what is damaged: then that of the whole section decides.
        let sums = *self.checks.sums.get_or_init(|| self.is_whole(Section::Sums));
        !sums && *self.checks.whole[section as usize].get_or_init(|| self.is_whole(section))
    }

    /// Where the rows of a block lie in a section, from the beginning of the file.
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
            // An end between two blocks belongs to both.
            Section::IdEnds => fixed(4, 1),
            Section::PayloadEnds => fixed(8, 1),
            Section::Ids | Section::Payloads => self.var(section, rows.start, rows.end),
            Section::Sums => None,
        }
    }

    /// Where ids or payloads of rows lie, by their ends, from the beginning of the file.
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

    /// The bytes of an id that can be read; none for a row out of range or damaged.
    fn readable_id(&self, row: Ordinal) -> Option<&[u8]> {
        if !self.is_sound(Group::Ids, row) || row.0 >= self.layout.rows {
            return None;
        }
        let id = self.id_bytes(row);
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            self.lose_id(row);
            return None;
        }
        Some(id)
    }

    /// An id is none, whatever its checksum says, or there is no checksum.
    #[cold]
    fn lose_id(&self, row: Ordinal) {
        match self.layout.blocks {
            Some(Blocks { rows, .. }) => self.checks.set(Group::Ids, (row.0 / rows) as usize, false),
            None => self.checks.lose(),
        }
    }

    /// The order of the ids, and where in it those begin that are not `before`.
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

    /// As [`slice::partition_point`]; none where a row or id on the way is damaged.
    fn partition(&self, order: Order<'_>, before: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let (mut low, mut high) = (0, order.rows.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self.row_at(order, middle)?;
            if before(self.id_bytes(row)) { low = middle + 1 } else { high = middle }
        }
        Some(low)
    }

    /// The row at a place in the order; none where it, or its id, is damaged.
    fn row_at(&self, order: Order<'_>, at: usize) -> Option<Ordinal> {
        if !order.rebuilt && !self.is_sound(Group::Sorted, Ordinal(at as u32)) {
            return None;
        }
        let row = Ordinal(*order.rows.get(at)?);
        if self.layout.blocks.is_none() && row.0 >= self.layout.rows {
            self.checks.lose();
        }
        // Without blocks an id that is not text has been damaged.
        let id = self.readable_id(row)?;
        if self.layout.blocks.is_none() && std::str::from_utf8(id).is_err() {
            self.lose_id(row);
            return None;
        }
        Some(row)
    }

    /// The order of those ids that can be read, computed once.
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

    fn is_whole(&self, section: Section) -> bool {
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
        let row = row.0 as usize;
        self.var(Section::Ids, row, row + 1).map_or(&[], |range| &self.mapping.bytes()[range])
    }

    fn bytes(&self, section: Section) -> &[u8] {
        &self.mapping.bytes()[self.layout.range(section)]
    }

    /// A section as numbers: it begins 64-aligned in a page-aligned map, and its length was checked to be whole numbers.
    fn numbers<T: bytemuck::AnyBitPattern>(&self, section: Section) -> &[T] {
        bytemuck::cast_slice(self.bytes(section))
    }
}

/// Rows in the order of their ids.
#[derive(Clone, Copy)]
struct Order<'a> {
    rows: &'a [u32],
    /// Computed from the ids, not that of the file.
    rebuilt: bool,
}
