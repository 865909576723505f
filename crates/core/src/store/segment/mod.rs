//! Sealed points: one file a segment, written once, never changed, mapped as a whole.
//!
//! ```text
//! header | vectors | norms | id ends | ids | payload ends | payloads | rows in the order of their ids | scales of i8 | checksums of blocks | header
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `layout.rs` | the bytes of the header, and what must hold among its numbers |
//! | `blocks.rs` | which blocks of rows were compared with their checksums |
//! | `narrow.rs` | vectors in the making, in the narrowest element that holds them |
//! | `writer.rs` | [`SegmentWriter`]: streams points into a file |
//! | `reader.rs` | [`Segment`]: reads the mapped file |

mod blocks;
mod layout;
mod narrow;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use blocks::damage_found;
pub use reader::{Loss, Segment};
use std::fmt;
pub use writer::SegmentWriter;

/// The number of a segment within its collection; shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// Name of its file in the collection's folder.
    pub fn vectors_file(self) -> String {
        format!("{self}.vectors")
    }

    /// Name of its payload index's file in the collection's folder.
    pub fn payloads_file(self) -> String {
        format!("{self}.payloads")
    }

    /// Name of the empty file that says that no transaction has named it yet.
    pub fn uncommitted_file(self) -> String {
        format!("{self}.uncommitted")
    }

    /// Name of its graph's file in the collection's folder; a generation is a graph's number within the segment.
    pub fn graph_file(self, generation: u32) -> String {
        format!("{self}.{generation}.graph")
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
