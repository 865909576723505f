//! Writer that streams points into a new segment file.
//!
//! Vectors are stored in the fewest bytes that hold all of them exactly. While that may be less than f32, they go to a
//! spill file, as payloads do (sections are contiguous); after that directly to the temporary file. Ids and 12 bytes
//! per point stay in memory. Nothing is visible under the segment's name before [`SegmentWriter::finish`] has made it
//! durable.

use super::blocks::RowSums;
use super::layout::{ALIGNMENT, Blocks, HEADER, Layout, SECTIONS, SUMS, Section, block_rows};
use super::vector_encoder::Narrow;
use super::{Segment, SegmentId};
use crate::disk::{AtomicFile, Fs, SectionMark, SpillFile};
use crate::math::{self, Element};
use crate::store::Error;
use crate::types::{Identity, MAX_DIMENSION, MAX_ID_BYTES, Ordinal};
use rayon::slice::ParallelSliceMut;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum rows of a segment: ordinals are u32, and there is one more end than rows.
const MAX_ROWS: u32 = u32::MAX - 1;

/// Writer of one segment. Drop before [`finish`](Self::finish) removes the written files.
pub struct SegmentWriter {
    path: PathBuf,
    id: SegmentId,
    dimension: u32,
    blocks: Blocks,
    draft: AtomicFile,
    vectors: Narrow,
    payloads: SpillFile,
    payload_sums: RowSums,
    payload_ends: Vec<u64>,
    ids: String,
    id_ends: Vec<u32>,
    norms: Vec<f32>,
}

impl SegmentWriter {
    /// Starts the segment `id` in the folder of the collection `identity`, for vectors of `dimension` components; 0 for
    /// points without vectors.
    ///
    /// # Errors
    /// `Internal` (`Refused`) for a dimension out of range; any disk error.
    pub fn create(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        id: SegmentId,
        dimension: u32,
        identity: Identity,
    ) -> Result<Self, Error> {
        Self::create_file(fs, dir, &id.vectors_file(), id, dimension, identity)
    }

    /// Like [`create`](Self::create), with another file name.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub fn create_file(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        name: &str,
        id: SegmentId,
        dimension: u32,
        identity: Identity,
    ) -> Result<Self, Error> {
        let path = dir.join(name);
        if dimension > MAX_DIMENSION {
            return Err(Error::refused(&path, format!("dimension {dimension}, more than {MAX_DIMENSION}")));
        }
        let mut draft = AtomicFile::create(fs.clone(), dir, name)?;
        draft.writer().put(&[0; HEADER])?;
        draft.writer().start_section(ALIGNMENT)?;
        let blocks = Blocks { identity, rows: block_rows(dimension) };
        let vectors = Narrow::create(dir, &format!("{name}.narrow"), dimension as usize, blocks.rows as usize)?;
        let payloads = SpillFile::create(dir, &format!("{name}.bodies"))?;
        Ok(Self {
            path,
            id,
            dimension,
            blocks,
            draft,
            vectors,
            payloads,
            payload_sums: RowSums::new(blocks.rows as usize),
            payload_ends: vec![0],
            ids: String::new(),
            id_ends: vec![0],
            norms: Vec::new(),
        })
    }

    /// Returns the number of rows so far.
    pub fn rows(&self) -> u32 {
        self.norms.len() as u32 // append checks the limit
    }

    /// Appends a point and returns its row. Computes the norm (in f64, stored as f32). Does not check that numbers are
    /// finite: the caller must.
    ///
    /// # Errors
    /// `Internal` (`Refused`) for another dimension or an id out of range; `Exhausted` for more rows or id bytes than a
    /// segment holds, and for a full disk. After a disk error the writer must be dropped.
    pub fn append(&mut self, id: &str, vector: &[f32], payload: &[u8]) -> Result<Ordinal, Error> {
        let row = self.rows();
        if vector.len() != self.dimension as usize {
            let what = format!("{id:?} has {} components, not {}", vector.len(), self.dimension);
            return Err(Error::refused(&self.path, what));
        }
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            let what = format!("row {row}: an id of {} bytes, not 1 to {MAX_ID_BYTES}", id.len());
            return Err(Error::refused(&self.path, what));
        }
        if row >= MAX_ROWS {
            return Err(Error::TooLarge { what: "rows of a segment", limit: u64::from(MAX_ROWS) });
        }
        let id_end = u32::try_from(self.ids.len() + id.len())
            .map_err(|_| Error::TooLarge { what: "bytes of ids in a segment", limit: u64::from(u32::MAX) })?;
        self.vectors.append(vector, self.draft.writer())?;
        self.payloads.put(payload)?;
        self.payload_sums.add(payload);
        self.payload_ends.push(self.payloads.len());
        self.ids.push_str(id);
        self.id_ends.push(id_end);
        self.norms.push(math::norm(vector));
        Ok(Ordinal(row))
    }

    /// Writes the remaining sections, makes the file durable, renames it to its final name and maps it. Blocks for the
    /// disk.
    ///
    /// # Errors
    /// `Internal` (`Refused`) for a duplicate id; any disk error. No segment file exists then.
    pub fn finish(mut self) -> Result<Segment, Error> {
        let sorted = self.sort()?;
        let rows = self.rows();
        let Self {
            path,
            id,
            dimension,
            blocks,
            mut draft,
            vectors,
            payloads,
            payload_sums,
            payload_ends,
            ids,
            id_ends,
            norms,
            ..
        } = self;
        let writer = draft.writer();
        let (element, scales, vector_sums) = vectors.finish(writer)?;
        let mut sections = [SectionMark::default(); SECTIONS];
        sections[Section::Vectors as usize] = writer.section();
        let mut layout = Layout { id, rows, dimension, element, blocks: Some(blocks), sections };
        // Without components there are no bytes, but each block has a checksum of them.
        let vector_sums = if dimension == 0 { vec![crc32fast::hash(&[]); layout.block_count()] } else { vector_sums };
        let mut sums: Vec<u32> = Vec::with_capacity(SUMS * layout.block_count());
        for (block, (of_vectors, of_payloads)) in vector_sums.into_iter().zip(payload_sums.finish()).enumerate() {
            let part = layout.rows_of_block(block);
            let with_end = part.start..part.end + 1;
            let id_bytes = id_ends[part.start] as usize..id_ends[part.end] as usize;
            let of_scales = if element == Element::I8 { sum(&scales[part.clone()]) } else { 0 };
            sums.extend([
                of_vectors,
                sum(&norms[part.clone()]),
                sum(&id_ends[with_end.clone()]),
                crc32fast::hash(&ids.as_bytes()[id_bytes]),
                sum(&payload_ends[with_end]),
                of_payloads,
                sum(&sorted[part]),
                of_scales,
            ]);
        }
        let mut payloads = Some(payloads);
        for section in layout.present().skip(1) {
            writer.start_section(ALIGNMENT)?;
            match section {
                Section::Vectors => {}
                Section::Norms => writer.put(bytemuck::cast_slice(&norms))?,
                Section::IdEnds => writer.put(bytemuck::cast_slice(&id_ends))?,
                Section::Ids => writer.put(ids.as_bytes())?,
                Section::PayloadEnds => writer.put(bytemuck::cast_slice(&payload_ends))?,
                Section::Payloads => {
                    if let Some(payloads) = payloads.take() {
                        payloads.copy_into(writer)?;
                    }
                }
                Section::Sorted => writer.put(bytemuck::cast_slice(&sorted))?,
                Section::Scales => writer.put(bytemuck::cast_slice(&scales))?,
                Section::Sums => writer.put(bytemuck::cast_slice(&sums))?,
            }
            layout.sections[section as usize] = writer.section();
        }
        writer.pad_to(ALIGNMENT)?;
        let header = layout.encode();
        writer.put(&header)?;
        writer.patch(0, &header)?;
        draft.publish()?;
        Segment::open_file(&path, id)
    }

    /// Returns the rows in byte order of their ids.
    fn sort(&mut self) -> Result<Vec<u32>, Error> {
        let id = |row: u32| &self.ids[self.id_ends[row as usize] as usize..self.id_ends[row as usize + 1] as usize];
        // The first id bytes, stored beside the row, decide most comparisons without access to the id.
        let mut keys: Vec<(u64, u32)> = (0..self.rows()).map(|row| (prefix(id(row)), row)).collect();
        keys.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| id(a.1).cmp(id(b.1))));
        if let Some(pair) = keys.windows(2).find(|pair| pair[0].0 == pair[1].0 && id(pair[0].1) == id(pair[1].1)) {
            let what = format!("the id {:?} is in rows {} and {}", id(pair[0].1), pair[0].1, pair[1].1);
            return Err(Error::refused(&self.path, what));
        }
        Ok(keys.into_iter().map(|(_, row)| row).collect())
    }
}

/// Returns the first 8 bytes as a number with the same order. Shorter ids are padded with zeros; ids with equal
/// prefixes need a full comparison.
fn prefix(id: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = id.len().min(8);
    bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
    u64::from_be_bytes(bytes)
}

/// Returns the checksum of numbers in their file encoding.
fn sum<T: bytemuck::NoUninit>(numbers: &[T]) -> u32 {
    crc32fast::hash(bytemuck::cast_slice(numbers))
}
