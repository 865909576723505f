//! Graph file: written from a [`Built`], opened as a [`Graph`]. The only code that parses external bytes.
//!
//! Opening reads the header and checks it against the caller's expectations and the length of the file, so that every
//! section lies within the file. It reads nothing else; [`Graph::verify`] does.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::beam_search::Scratch;
use super::build::{Built, UpperLevel};
use super::layout::{ALIGN, HEADER_BYTES, Header, MAGIC, MAX_LEVELS, MAX_ROWS, SectionKind, VERSION, metric_number};
use crate::disk::Mapping;
use crate::index::pca::Projection;
use crate::index::quantize::Quantizer;
use crate::index::{Error, GraphParams};
use crate::types::{MAX_DIMENSION, Metric};

/// Maximum search scratches that a graph keeps for later searches.
const MAX_POOLED_SCRATCH: usize = 64;

/// Expected properties of a segment's graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Rows of the segment.
    pub rows: u32,
    /// Components of a row.
    pub dimension: u32,
    /// Distance metric.
    pub metric: Metric,
    /// Content tag of the vectors.
    pub tag: u64,
}

/// An opened graph. Searching takes `&self`; any number of threads may search concurrently.
pub struct Graph {
    bytes: Box<dyn AsRef<[u8]> + Send + Sync>,
    header: Header,
    path: PathBuf,
    /// Mapping behind `bytes`, if they are mapped.
    pub(super) mapping: Option<Arc<Mapping>>,
    pub(super) quantizer: Quantizer,
    pub(super) scratch: Mutex<Vec<Scratch>>,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("path", &self.path).field("rows", &self.header.rows).finish_non_exhaustive()
    }
}

impl Built {
    /// Writes the file: the same bytes for the same graph and `tag`, the content tag of the graph's vectors.
    ///
    /// # Errors
    /// The errors of the writer.
    #[allow(clippy::cast_possible_truncation)]
    pub fn write_to(&self, out: &mut impl Write, tag: u64) -> io::Result<()> {
        let mut header: Header = bytemuck::Zeroable::zeroed();
        header.magic = MAGIC;
        header.version = VERSION;
        header.header_bytes = HEADER_BYTES as u32;
        header.tag = tag;
        header.seed = self.params.seed;
        header.rows = self.rows;
        header.dimension = self.quantizer.dimension as u32;
        header.metric = metric_number(self.quantizer.metric);
        header.m = self.params.m;
        header.ef_construction = self.params.ef_construction;
        header.levels = self.upper.len() as u32;
        header.entry = self.entry;
        header.stride = self.quantizer.stride() as u32;
        (header.offset, header.scale, header.max_norm) =
            (self.quantizer.offset, self.quantizer.scale, self.quantizer.max_norm);
        if let Some(projection) = &self.quantizer.projection {
            header.n_components = projection.n_components() as u32;
            header.basis_step = projection.step;
        }
        header.code_error_bound = self.code_error_bound;
        header.groups = self.duplicates.heads.len() as u32;
        header.duplicates = self.duplicates.rows.len() as u32;
        for (count, level) in header.level_rows.iter_mut().zip(&self.upper) {
            *count = level.rows.len() as u32;
        }
        let sections: [Vec<&[u8]>; 7] = SectionKind::ALL.map(|kind| self.parts(kind));
        header.lay_out_sections().ok_or_else(|| io::Error::other("the graph is larger than a file can be"))?;
        for (section, parts) in header.sections.iter_mut().zip(&sections) {
            let mut crc = crc32fast::Hasher::new();
            parts.iter().for_each(|part| crc.update(part));
            section.crc = crc.finalize();
        }
        header.crc = header.checksum();
        out.write_all(bytemuck::bytes_of(&header))?;
        for (section, parts) in header.sections.iter().zip(&sections) {
            for part in parts {
                out.write_all(part)?;
            }
            let padding = section.bytes.next_multiple_of(ALIGN) - section.bytes;
            out.write_all(&[0; ALIGN as usize][..padding as usize])?;
        }
        Ok(())
    }

    /// Returns the bytes of a section, in parts.
    fn parts(&self, kind: SectionKind) -> Vec<&[u8]> {
        match kind {
            SectionKind::Codes => vec![self.codes()],
            SectionKind::Links => vec![bytemuck::cast_slice(&self.links)],
            SectionKind::Upper => self.upper.iter().flat_map(UpperLevel::parts).map(bytemuck::cast_slice).collect(),
            SectionKind::DuplicateGroups => vec![bytemuck::cast_slice(&self.duplicates.starts)],
            SectionKind::DuplicateRows => vec![bytemuck::cast_slice(&self.duplicates.rows)],
            SectionKind::DuplicateHeads => vec![bytemuck::cast_slice(&self.duplicates.heads)],
            SectionKind::Basis => match &self.quantizer.projection {
                Some(projection) => {
                    vec![bytemuck::cast_slice(&projection.mean), bytemuck::cast_slice(&projection.basis)]
                }
                None => vec![],
            },
        }
    }
}

impl Graph {
    /// Opens a graph file from its bytes, which must not change. `path` is for messages.
    ///
    /// Reads the header and the basis only. Copies the bytes if they are not aligned to 4.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the header or the length is invalid; [`Error::Incompatible`] if the file has another
    /// version, or other rows than expected.
    pub fn from_bytes(
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        path: &Path,
        expected: Expected,
    ) -> Result<Self, Error> {
        let corrupt = |what: String| Error::Corrupt { path: path.to_owned(), what };
        let bytes: Box<dyn AsRef<[u8]> + Send + Sync> = if bytes.as_ref().as_ptr().addr().is_multiple_of(4) {
            Box::new(bytes)
        } else {
            Box::new(Aligned::copy(bytes.as_ref()))
        };
        let all = (*bytes).as_ref();
        let length = all.len();
        let head =
            all.get(..HEADER_BYTES).ok_or_else(|| corrupt(format!("{length} bytes are shorter than a header")))?;
        let header: Header = bytemuck::pod_read_unaligned(head);
        if header.magic != MAGIC {
            return Err(corrupt("damaged at byte 0: it does not start like a graph file".into()));
        }
        if header.version != VERSION {
            let what = format!("it has version {}, this program reads version {VERSION}", header.version);
            return Err(Error::Incompatible { path: path.to_owned(), what });
        }
        if header.crc != header.checksum() {
            return Err(corrupt(format!(
                "damaged in the first {HEADER_BYTES} bytes: the checksum of the header does not match"
            )));
        }
        check_header(&header, length).map_err(corrupt)?;
        let metric = header.metric().ok_or_else(|| corrupt(format!("there is no metric {}", header.metric)))?;
        let found = Expected { rows: header.rows, dimension: header.dimension, metric, tag: header.tag };
        if found != expected {
            let what = format!("it was built on {found:?}, the vectors are {expected:?}");
            return Err(Error::Incompatible { path: path.to_owned(), what });
        }
        let Header { offset, scale, max_norm, dimension, .. } = header;
        let projection = match header.n_components {
            0 => None,
            _ => Some(Arc::new(projection(all, &header, metric).map_err(corrupt)?)),
        };
        let quantizer = Quantizer { metric, dimension: dimension as usize, offset, scale, max_norm, projection };
        Ok(Self { bytes, header, path: path.to_owned(), mapping: None, quantizer, scratch: Mutex::default() })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes of a section.
    pub(super) fn section(&self, kind: SectionKind) -> &[u8] {
        let section = self.header.sections[kind as usize];
        let range = section.offset as usize..(section.offset + section.bytes) as usize;
        (*self.bytes).as_ref().get(range).unwrap_or(&[])
    }

    /// The bytes between the sections.
    pub(super) fn padding(&self) -> impl Iterator<Item = &[u8]> {
        self.header.sections.iter().map(|section| {
            let end = section.offset + section.bytes;
            (*self.bytes).as_ref().get(end as usize..end.next_multiple_of(ALIGN) as usize).unwrap_or(&[])
        })
    }

    /// The whole file.
    pub fn file_bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// Length of the file in bytes.
    pub fn mapped_bytes(&self) -> u64 {
        (*self.bytes).as_ref().len() as u64
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Rows of the graph.
    pub fn rows(&self) -> u32 {
        self.header.rows
    }

    /// Build parameters. The number of threads is not stored.
    pub fn params(&self) -> GraphParams {
        let Header { m, ef_construction, seed, .. } = self.header;
        GraphParams { m, ef_construction, seed, threads: 1 }
    }

    pub(super) fn take_scratch(&self) -> Scratch {
        self.scratch.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn keep_scratch(&self, scratch: Scratch) {
        let mut pool = self.scratch.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if pool.len() < MAX_POOLED_SCRATCH {
            pool.push(scratch);
        }
    }
}

/// Checks that the header's numbers are valid and agree with the length of the file.
fn check_header(header: &Header, length: usize) -> Result<(), String> {
    let within = |name: &str, got: u32, min: u32, max: u32| {
        if (min..=max).contains(&got) { Ok(()) } else { Err(format!("{name} is {got}, not {min} to {max}")) }
    };
    within("the header length", header.header_bytes, HEADER_BYTES as u32, HEADER_BYTES as u32)?;
    within("the number of rows", header.rows, 0, MAX_ROWS)?;
    within("the dimension", header.dimension, 1, MAX_DIMENSION)?;
    within("m", header.m, GraphParams::MIN_M, GraphParams::MAX_M)?;
    within("the number of levels", header.levels, 0, MAX_LEVELS as u32)?;
    within("the number of duplicates", header.duplicates, 0, header.rows)?;
    within("the number of duplicate groups", header.groups, 0, header.duplicates)?;
    for count in header.level_counts() {
        within("the nodes of a level", count, 1, header.rows)?;
    }
    let on_top = header.level_counts().last().unwrap_or(header.rows);
    within("the entry", header.entry, 0, on_top.saturating_sub(1))?;
    let metric = header.metric().ok_or_else(|| format!("there is no metric {}", header.metric))?;
    let full = Quantizer::full_width_of(metric, header.dimension as usize);
    within("the number of directions", header.n_components, 0, full as u32)?;
    let width = if header.n_components == 0 { full } else { header.n_components as usize + 1 };
    let stride = Quantizer::stride_of(width) as u32;
    within("the length of a code row", header.stride, stride, stride)?;
    let numbers = [header.offset, header.scale, header.max_norm];
    if numbers.iter().any(|x| !x.is_finite()) || header.scale <= 0.0 || header.max_norm <= 0.0 {
        return Err(format!("the scale of the codes is invalid: {numbers:?}"));
    }
    if !(0.0..=1e6).contains(&header.code_error_bound) {
        return Err(format!("the error bound of the codes is invalid: {}", header.code_error_bound));
    }
    let mut placed = *header;
    let end = placed.lay_out_sections().ok_or("the sections are longer than a file can be")?;
    for (kind, (found, expected)) in SectionKind::ALL.into_iter().zip(header.sections.iter().zip(&placed.sections)) {
        if (found.offset, found.bytes) != (expected.offset, expected.bytes) {
            return Err(format!(
                "the section of the {} lies at {}, not at {}",
                kind.name(),
                found.offset,
                expected.offset
            ));
        }
    }
    if end != length as u64 {
        return Err(format!("the file has {length} bytes, its header declares {end}"));
    }
    Ok(())
}

/// Reads the basis of the codes and verifies its checksum: a few hundred kilobytes at most.
fn projection(all: &[u8], header: &Header, metric: Metric) -> Result<Projection, String> {
    let width = Quantizer::full_width_of(metric, header.dimension as usize);
    let section = header.sections[SectionKind::Basis as usize];
    let bytes = all.get(section.offset as usize..(section.offset + section.bytes) as usize).unwrap_or(&[]);
    if crc32fast::hash(bytes) != section.crc {
        return Err("the checksum of the basis does not match".into());
    }
    let (mean, basis) = bytes.split_at_checked(4 * width).ok_or("the basis is too short")?;
    let mean = mean.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
    Projection::new(width, bytemuck::cast_slice(basis).to_vec(), header.basis_step, mean)
        .ok_or_else(|| "the basis is invalid".into())
}

/// Copy of bytes, aligned to 8.
struct Aligned {
    words: Vec<u64>,
    length: usize,
}

impl Aligned {
    fn copy(bytes: &[u8]) -> Self {
        let mut words = vec![0_u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, length: bytes.len() }
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }
}
