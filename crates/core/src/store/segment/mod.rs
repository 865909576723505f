//! Sealed points: one file per segment, written once, immutable, memory-mapped as a whole.
//!
//! ```text
//! header | vectors | norms | id ends | ids | payload ends | payloads
//!        | rows in id order | scales of i8 | block checksums | header
//! ```
//!
//! | file | contents |
//! | --- | --- |
//! | `layout.rs` | the bytes of the header, and its invariants |
//! | `blocks.rs` | verification state of the blocks of rows |
//! | `vector_encoder.rs` | vectors during the write, in the narrowest element type that holds them |
//! | `writer.rs` | [`SegmentWriter`]: streams points into a file |
//! | `reader.rs` | [`Segment`]: reads the mapped file |

mod blocks;
mod layout;
mod reader;
#[cfg(test)]
mod tests;
mod vector_encoder;
mod writer;

pub use blocks::damage_found;
pub(super) use layout::ELEMENTS;
pub use reader::{Loss, Segment};
use std::fmt;
pub use writer::SegmentWriter;

/// Number of a segment within its collection; displayed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// Returns the name of the segment file.
    pub fn vectors_file(self) -> String {
        format!("{self}.vectors")
    }

    /// Returns the name of the payload index file.
    pub fn payloads_file(self) -> String {
        format!("{self}.payloads")
    }

    /// Returns the name of an inverted index file: of a text field with these settings, and of a part of the rows.
    pub fn terms_file(self, settings: u64, part: usize) -> String {
        format!("{self}.{settings:016x}.{part}.terms")
    }

    /// Returns the name of the file with the vectors of a vector field.
    pub fn column_file(self, settings: u64) -> String {
        format!("{self}.{settings:016x}.column")
    }

    /// Returns the name of the graph over the vectors of a vector field.
    pub fn column_graph_file(self, settings: u64) -> String {
        format!("{self}.{settings:016x}.column_graph")
    }

    /// Returns the name of the file with the recall calibration of that graph.
    pub fn column_recall_file(self, settings: u64) -> String {
        format!("{self}.{settings:016x}.column_recall")
    }

    /// Returns the name of the index of a field of sparse vectors.
    pub fn sparse_file(self, settings: u64) -> String {
        format!("{self}.{settings:016x}.sparse")
    }

    /// Whether a file in the folder of a collection is an index of a field: a cache that is rebuilt when it is missing.
    pub fn is_field_index(name: &str) -> bool {
        [".terms", ".column", ".column_graph", ".column_recall", ".sparse"].iter().any(|end| name.ends_with(end))
    }

    /// Returns the name of the empty file that marks the segment as uncommitted.
    pub fn uncommitted_file(self) -> String {
        format!("{self}.uncommitted")
    }

    /// Returns the name of a graph file; the generation is the number of a graph within the segment.
    pub fn graph_file(self, generation: u32) -> String {
        format!("{self}.{generation}.graph")
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
