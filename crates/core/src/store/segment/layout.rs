//! Header of a segment file, byte by byte, and its invariants (table in docs/FORMAT.md).
//!
//! Offsets are multiples of [`ALIGNMENT`] and independent of the page size. A [`Layout`] was checked against the length
//! of the file, so its sections can be sliced from the mapped bytes.

use super::SegmentId;
use crate::disk::{Error, SectionMark};
use crate::math::Element;
use crate::types::{Identity, MAX_DIMENSION};
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::path::Path;

// Sections hold numbers in native byte order.
#[cfg(target_endian = "big")]
compile_error!("segment files are little-endian and are mapped, not converted");

/// First bytes of a segment file.
pub(super) const MAGIC: [u8; 8] = *b"NEARSEG\0";
/// Version of files with f32 vectors and without block checksums.
const PLAIN_VERSION: u32 = 1;
/// Version of files with narrower vectors and without block checksums.
const NARROW_VERSION: u32 = 2;
/// Version that is written: with an identity, a checksum per block of rows, and a copy of the header at the end.
const VERSION: u32 = 3;
/// Alignment of sections: a cache line, and enough for any SIMD load.
pub(super) const ALIGNMENT: u64 = 64;
/// Number of sections, in the order of [`Section`].
pub(super) const SECTIONS: usize = 9;
/// Bytes before the section table.
const FIXED: usize = 64;
/// Bytes per entry of the section table.
const ENTRY: usize = 24;
/// Number of sections in versions 1 and 2: all but the block checksums.
const OLD_SECTIONS: usize = SECTIONS - 1;
/// Bytes of the header of versions 1 and 2.
const OLD_HEADER: usize = (FIXED + OLD_SECTIONS * ENTRY).next_multiple_of(ALIGNMENT as usize);
/// Offset of the identity, after the section table.
const IDENTITY: usize = FIXED + SECTIONS * ENTRY;
/// Bytes of the header with section table and identity, padded.
pub(super) const HEADER: usize = (IDENTITY + 16).next_multiple_of(ALIGNMENT as usize);
/// Byte range of the header checksum.
const CRC: Range<usize> = 12..16;
/// Approximate bytes of f32 vectors in a block of rows.
const BLOCK_BYTES: u32 = 16 << 10;
/// Maximum rows of a written block.
const BLOCK_ROWS: u32 = 256;
/// Maximum rows of a block that is accepted on read.
const MAX_BLOCK_ROWS: u32 = 4_096;
/// Checksums per block: one for each section but the checksum section.
pub(super) const SUMS: usize = SECTIONS - 1;

const _: () = assert!(OLD_HEADER == 256 && HEADER == 320);

/// Header fields that version 3 added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// The owning collection.
    pub(super) identity: Identity,
    /// Rows per block, a power of two; the last block may have fewer.
    pub(super) rows: u32,
}

/// Returns the rows per block for vectors of `dimension` components.
pub(super) fn block_rows(dimension: u32) -> u32 {
    let rows = (BLOCK_BYTES / 4 / dimension.max(1)).clamp(1, BLOCK_ROWS);
    1 << rows.ilog2()
}

/// A section, in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// rows x dimension components.
    Vectors,
    /// rows f32: Euclidean norms.
    Norms,
    /// rows + 1 u32: the start of each id, and the end.
    IdEnds,
    /// UTF-8, ids concatenated.
    Ids,
    /// rows + 1 u64: the start of each payload, and the end.
    PayloadEnds,
    /// Payloads concatenated.
    Payloads,
    /// rows u32: rows in byte order of their ids.
    Sorted,
    /// rows f32: the scale of each vector's components; only for i8.
    Scales,
    /// [`SUMS`] u32 per block of rows: CRC-32 of the block's bytes in each section above. Absent in versions 1 and 2.
    Sums,
}

impl Section {
    pub(super) const ALL: [Self; SECTIONS] = [
        Self::Vectors,
        Self::Norms,
        Self::IdEnds,
        Self::Ids,
        Self::PayloadEnds,
        Self::Payloads,
        Self::Sorted,
        Self::Scales,
        Self::Sums,
    ];
}

/// Element types by their number in the header, and in the vectors of fields (`store/body.rs`).
pub(in crate::store) const ELEMENTS: [Element; 4] = [Element::F32, Element::F16, Element::U8, Element::I8];

/// Contents of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) id: SegmentId,
    pub(super) rows: u32,
    pub(super) dimension: u32,
    /// Type of the components.
    pub(super) element: Element,
    /// None in versions 1 and 2.
    pub(super) blocks: Option<Blocks>,
    pub(super) sections: [SectionMark; SECTIONS],
}

impl Layout {
    /// Returns the sections of the file, in order.
    pub(super) fn present(&self) -> impl DoubleEndedIterator<Item = Section> + use<> {
        let (scales, sums) = (self.element == Element::I8, self.blocks.is_some());
        Section::ALL.into_iter().filter(move |section| match section {
            Section::Scales => scales,
            Section::Sums => sums,
            _ => true,
        })
    }

    /// Returns the number of blocks. 0 in versions 1 and 2.
    pub(super) fn block_count(&self) -> usize {
        self.blocks.map_or(0, |blocks| self.rows.div_ceil(blocks.rows) as usize)
    }

    /// Returns the rows of a block.
    pub(super) fn rows_of_block(&self, block: usize) -> Range<usize> {
        let rows = self.blocks.map_or(self.rows, |blocks| blocks.rows) as usize;
        let from = block.saturating_mul(rows).min(self.rows as usize);
        from..from.saturating_add(rows).min(self.rows as usize)
    }

    /// Returns the content tag, which changes with any byte of any section: SHA-256 over ids, counts, lengths and
    /// checksums, truncated to 64 bits.
    pub(super) fn tag(&self) -> u64 {
        self.digest(true)
    }

    /// Seed of random choices about the rows. It does not depend on the identity of the collection: the same rows give
    /// the same seed in every collection.
    pub(super) fn seed(&self) -> u64 {
        self.digest(false)
    }

    /// SHA-256, cut to 64 bits, over id, counts, lengths and checksums; `with_identity`, over the identity and block
    /// checksums too.
    fn digest(&self, with_identity: bool) -> u64 {
        let blocks = self.blocks.as_ref().filter(|_| with_identity);
        let mut hash = Sha256::new();
        hash.update(self.id.0.to_le_bytes());
        hash.update(self.rows.to_le_bytes());
        hash.update(self.dimension.to_le_bytes());
        if self.element != Element::F32 || blocks.is_some() {
            hash.update(self.element_number().to_le_bytes());
        }
        if let Some(Blocks { identity, rows }) = blocks {
            hash.update(identity.0);
            hash.update(rows.to_le_bytes());
        }
        for section in self.present().filter(|&section| with_identity || section != Section::Sums) {
            let mark = self.sections[section as usize];
            hash.update(mark.length.to_le_bytes());
            hash.update(mark.crc.to_le_bytes());
        }
        let digest = hash.finalize();
        u64::from_le_bytes(digest[..8].try_into().expect("eight bytes"))
    }

    /// Returns the end of the last section.
    pub(super) fn sections_end(&self) -> u64 {
        let last = self.present().next_back().map_or(SectionMark::default(), |last| self.sections[last as usize]);
        last.offset + last.length
    }

    /// Returns the length of the whole file, including the copy of the header.
    pub(super) fn file_len(&self) -> u64 {
        match self.blocks {
            Some(_) => self.sections_end().next_multiple_of(ALIGNMENT) + HEADER as u64,
            None => self.sections_end(),
        }
    }

    /// Returns the length of the header.
    pub(super) fn header_len(&self) -> usize {
        if self.blocks.is_some() { HEADER } else { OLD_HEADER }
    }

    fn version(&self) -> u32 {
        match (self.blocks, self.element) {
            (Some(_), _) => VERSION,
            (None, Element::F32) => PLAIN_VERSION,
            (None, _) => NARROW_VERSION,
        }
    }

    fn element_number(&self) -> u32 {
        ELEMENTS.iter().position(|element| *element == self.element).expect("every element has a number") as u32
    }

    /// Returns the byte range of a section. After [`decode`](Self::decode) it is within the bounds of the file, hence
    /// of memory.
    pub(super) fn range(&self, section: Section) -> Range<usize> {
        let mark = self.sections[section as usize];
        mark.offset as usize..(mark.offset + mark.length) as usize
    }

    /// Encodes the header.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.header_len()];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &MAGIC);
        put(8, &self.version().to_le_bytes());
        put(16, &self.id.0.to_le_bytes());
        put(24, &self.tag().to_le_bytes());
        put(32, &self.rows.to_le_bytes());
        put(36, &self.dimension.to_le_bytes());
        put(40, &self.file_len().to_le_bytes());
        put(48, &self.element_number().to_le_bytes());
        if let Some(Blocks { identity, rows }) = self.blocks {
            put(52, &rows.to_le_bytes());
            put(IDENTITY, &identity.0);
        }
        for section in self.present() {
            let (at, mark) = (FIXED + section as usize * ENTRY, self.sections[section as usize]);
            put(at, &mark.offset.to_le_bytes());
            put(at + 8, &mark.length.to_le_bytes());
            put(at + 16, &mark.crc.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes[CRC].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes and checks the header of a complete file. Reads nothing after it, except the copy at the end if the
    /// header is damaged.
    pub(super) fn decode(path: &Path, file: &[u8], id: SegmentId) -> Result<Self, Error> {
        Self::read(path, file, file, id).or_else(|error| {
            let at = file.len().saturating_sub(HEADER);
            match Self::read(path, file, &file[at..], id) {
                Ok(copy) if copy.blocks.is_some() => Ok(copy),
                _ => Err(error),
            }
        })
    }

    /// Decodes and checks the header at the start of `bytes`.
    fn read(path: &Path, file: &[u8], bytes: &[u8], id: SegmentId) -> Result<Self, Error> {
        let corrupt = |offset: usize, what: String| Err(Error::corrupt(path, offset as u64, what));
        let cut = |length: usize| format!("the file ends inside its header of {length} bytes");
        if bytes.len() < OLD_HEADER {
            return corrupt(bytes.len(), cut(OLD_HEADER));
        }
        if bytes[..8] != MAGIC {
            return corrupt(0, "not a segment file".into());
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let length = if u32_at(8) == VERSION { HEADER } else { OLD_HEADER };
        let Some(header) = bytes.get(..length) else { return corrupt(bytes.len(), cut(length)) };
        let mut hashed = header.to_vec();
        hashed[CRC].fill(0);
        let intact = crc32fast::hash(&hashed) == u32_at(CRC.start);
        // Check the version first, because a newer one may define the checksum differently. An unknown version with a
        // valid checksum is certainly newer.
        let known = [PLAIN_VERSION, NARROW_VERSION, VERSION].contains(&u32_at(8));
        if !known && (intact || u32_at(8) < 1 << 16) {
            return Err(Error::Incompatible { path: path.into(), found: u32_at(8), expected: VERSION });
        }
        if !intact {
            return corrupt(CRC.start, "the header's checksum does not match".into());
        }
        let blocks = if u32_at(8) == VERSION {
            let mut identity = [0; 16];
            identity.copy_from_slice(&header[IDENTITY..IDENTITY + 16]);
            Some(Blocks { identity: Identity(identity), rows: u32_at(52) })
        } else {
            None
        };
        if let Some(Blocks { rows, .. }) = blocks
            && !(rows.is_power_of_two() && rows <= MAX_BLOCK_ROWS)
        {
            return corrupt(52, format!("blocks of {rows} rows, not of a power of two up to {MAX_BLOCK_ROWS}"));
        }
        let in_table = if blocks.is_some() { SECTIONS } else { OLD_SECTIONS };
        let sections = std::array::from_fn(|index| {
            if index >= in_table {
                return SectionMark::default();
            }
            let at = FIXED + index * ENTRY;
            SectionMark { offset: u64_at(at), length: u64_at(at + 8), crc: u32_at(at + 16) }
        });
        let Some(&element) = ELEMENTS.get(u32_at(48) as usize) else {
            return corrupt(48, format!("there are no components of kind {}", u32_at(48)));
        };
        let (rows, dimension) = (u32_at(32), u32_at(36));
        let layout = Self { id: SegmentId(u64_at(16)), rows, dimension, element, blocks, sections };
        if layout.id != id {
            return corrupt(16, format!("this is segment {}, not {id}", layout.id));
        }
        if layout.dimension > MAX_DIMENSION {
            return corrupt(36, format!("dimension {}, more than {MAX_DIMENSION}", layout.dimension));
        }
        layout.check_sections(path, file.len() as u64)?;
        if layout.file_len() != u64_at(40) || layout.file_len() != file.len() as u64 {
            return corrupt(40, format!("{} bytes long, not {}", file.len(), layout.file_len()));
        }
        if layout.tag() != u64_at(24) {
            return corrupt(24, "the tag does not match".into());
        }
        // Reserved bytes must be zero, so that each header has one encoding.
        if *header != layout.encode() {
            return corrupt(0, "reserved bytes are not zero".into());
        }
        Ok(layout)
    }

    /// Checks that sections are consecutive, aligned, within the file, and of the length that rows and dimension
    /// require.
    fn check_sections(&self, path: &Path, file_len: u64) -> Result<(), Error> {
        let rows = u64::from(self.rows);
        let mut next = self.header_len() as u64;
        for section in self.present() {
            let mark = self.sections[section as usize];
            let demanded = match section {
                Section::Vectors => rows.checked_mul(u64::from(self.dimension) * self.element.bytes() as u64),
                Section::Norms | Section::Sorted | Section::Scales => Some(rows * 4),
                Section::IdEnds => Some((rows + 1) * 4),
                Section::PayloadEnds => Some((rows + 1) * 8),
                Section::Sums => Some(self.block_count() as u64 * SUMS as u64 * 4),
                Section::Ids if mark.length > u64::from(u32::MAX) => Some(u64::from(u32::MAX)),
                Section::Ids | Section::Payloads => Some(mark.length),
            };
            let end = mark.offset.checked_add(mark.length).filter(|end| *end <= file_len);
            let Some(end) = end.filter(|_| mark.offset == next && demanded == Some(mark.length)) else {
                let at = (FIXED + section as usize * ENTRY) as u64;
                let what = format!(
                    "the section {section:?} at {} of {} bytes; expected at {next} of {demanded:?} in a file of {file_len}",
                    mark.offset, mark.length
                );
                return Err(Error::corrupt(path, at, what));
            };
            next = end.next_multiple_of(ALIGNMENT);
        }
        Ok(())
    }
}
