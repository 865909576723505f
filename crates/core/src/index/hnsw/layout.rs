//! Byte layout of a graph file: a header of 512 bytes and seven sections, all little-endian. See also `docs/FORMAT.md`.

use bytemuck::{Pod, Zeroable};

use crate::index::quantize::Quantizer;
use crate::types::Metric;

/// First bytes of the file.
pub(super) const MAGIC: [u8; 8] = *b"NEARGRPH";
/// Format version that this code writes and reads.
pub(super) const VERSION: u32 = 2;
/// Maximum levels above level 0.
pub(super) const MAX_LEVELS: usize = 16;
/// Maximum rows of a graph: a search packs a row and two flags into 32 bits.
pub const MAX_ROWS: u32 = 1 << 30;
/// Marker of a free link slot.
pub(super) const NONE: u32 = u32::MAX;
/// Alignment of the sections, in bytes.
pub(super) const ALIGN: u64 = 64;

/// Sections in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// `rows x stride` bytes: see `quantize.rs`.
    Codes,
    /// `rows x 2m` rows: the links of level 0, `NONE` after the last.
    Links,
    /// For each level from 1: `n` rows, `n` nodes of the level below, `n x m` nodes of this level.
    Upper,
    /// `groups + 1` positions in the next section.
    DuplicateGroups,
    /// Rows whose codes equal those of their group's head.
    DuplicateRows,
    /// Head of each group: the row that is a node; ascending.
    DuplicateHeads,
    /// With PCA only: `width` numbers of the mean, then `n_components` rows of steps: see `pca.rs`.
    Basis,
}

impl SectionKind {
    pub(super) const ALL: [Self; 7] = [
        Self::Codes,
        Self::Links,
        Self::Upper,
        Self::DuplicateGroups,
        Self::DuplicateRows,
        Self::DuplicateHeads,
        Self::Basis,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Codes => "codes",
            Self::Links => "links",
            Self::Upper => "upper levels",
            Self::DuplicateGroups => "duplicate groups",
            Self::DuplicateRows => "duplicate rows",
            Self::DuplicateHeads => "duplicate heads",
            Self::Basis => "basis",
        }
    }
}

/// Position of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
    pub(super) zero: u32,
}

/// File header.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) version: u32,
    pub(super) header_bytes: u32,
    /// Content tag of the vectors on which the graph was built.
    pub(super) tag: u64,
    pub(super) seed: u64,
    pub(super) rows: u32,
    pub(super) dimension: u32,
    /// Position in [`Metric::ALL`].
    pub(super) metric: u32,
    pub(super) m: u32,
    pub(super) ef_construction: u32,
    /// Levels above level 0.
    pub(super) levels: u32,
    /// Entry point: the node of the highest level where every search starts.
    pub(super) entry: u32,
    /// Bytes of a code row.
    pub(super) stride: u32,
    pub(super) offset: f32,
    pub(super) scale: f32,
    pub(super) max_norm: f32,
    pub(super) groups: u32,
    pub(super) duplicates: u32,
    /// Directions of the basis; 0 if all components are kept.
    pub(super) n_components: u32,
    /// Nodes of level 1, 2, ...
    pub(super) level_rows: [u32; MAX_LEVELS],
    pub(super) sections: [Section; 7],
    /// Value of one step of the basis; 0 without a basis.
    pub(super) basis_step: f32,
    /// See `code_error_bound.rs`.
    pub(super) code_error_bound: f32,
    pub(super) reserved: [[u8; 60]; 3],
    /// CRC-32 of all preceding bytes.
    pub(super) crc: u32,
}

pub(super) const HEADER_BYTES: usize = 512;
const _: () = assert!(size_of::<Header>() == HEADER_BYTES);
const _: () = assert!(cfg!(target_endian = "little"), "files are mapped as they are, and they are little-endian");

impl Header {
    /// Computes the bytes of a section from the counts in the header. Returns None on overflow.
    pub(super) fn section_bytes(&self, kind: SectionKind) -> Option<u64> {
        let rows = u64::from(self.rows);
        match kind {
            SectionKind::Codes => rows.checked_mul(self.stride.into()),
            SectionKind::Links => rows.checked_mul(8 * u64::from(self.m)),
            SectionKind::Upper => self.level_counts().try_fold(0_u64, |sum, nodes| {
                sum.checked_add(u64::from(nodes).checked_mul(4 * (2 + u64::from(self.m)))?)
            }),
            SectionKind::DuplicateGroups => Some(4 * (u64::from(self.groups) + 1)),
            SectionKind::DuplicateRows => Some(4 * u64::from(self.duplicates)),
            SectionKind::DuplicateHeads => Some(4 * u64::from(self.groups)),
            SectionKind::Basis if self.n_components == 0 => Some(0),
            SectionKind::Basis => {
                let width = Quantizer::full_width_of(self.metric()?, self.dimension as usize) as u64;
                Some(4 * width + u64::from(self.n_components) * width.next_multiple_of(64))
            }
        }
    }

    /// Fills in the positions of the sections; returns the length of the file.
    pub(super) fn lay_out_sections(&mut self) -> Option<u64> {
        let mut at = HEADER_BYTES as u64;
        for kind in SectionKind::ALL {
            let bytes = self.section_bytes(kind)?;
            let section = &mut self.sections[kind as usize];
            (section.offset, section.bytes) = (at, bytes);
            at = at.checked_add(bytes)?.checked_next_multiple_of(ALIGN)?;
        }
        Some(at)
    }

    /// Number of nodes of each existing upper level, from level 1.
    pub(super) fn level_counts(&self) -> impl Iterator<Item = u32> + '_ {
        self.level_rows.iter().copied().take(self.levels as usize)
    }

    /// Returns the metric, if its number is valid.
    pub(super) fn metric(&self) -> Option<Metric> {
        Metric::ALL.get(self.metric as usize).copied()
    }

    /// CRC-32 of the header's other bytes.
    pub(super) fn checksum(&self) -> u32 {
        crc32fast::hash(&bytemuck::bytes_of(self)[..HEADER_BYTES - 4])
    }
}

/// Returns the header's number of a metric.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn metric_number(metric: Metric) -> u32 {
    Metric::ALL.iter().position(|m| *m == metric).expect("every metric is in ALL") as u32
}
