//! Interface of the readers: a stream of items, errors with file and line, and progress.

use crate::api::{Item, Payload, PointInput};
use crate::cli::output::escaped;
use crate::embed::Fingerprinter;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A stream of items. Holds at most one record of the file in memory.
pub(crate) trait Records: Iterator<Item = Result<Item, RecordError>> + Send {
    /// Returns the bytes of the file read so far (compressed bytes, if it is compressed).
    fn bytes_read(&self) -> u64;
    /// Returns the size of the file, bytes.
    fn bytes_total(&self) -> u64;
    /// Returns the position of the last record.
    fn file_position(&self) -> FilePosition;
    /// Returns the number of row numbers assigned so far, including invalid records: the next file continues from here.
    fn rows_seen(&self) -> u64;
    /// Returns a note on a harmless inconsistency of the file, after it was read completely.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Number of hexadecimal digits of a content-based id: 96 bits of a SHA-256.
const CONTENT_DIGITS: usize = 24;

/// Returns the id of a record without one, derived from its content: the same record is the same point in every file
/// and every load, and never replaces a different record.
pub(super) fn content_id(prefix: &str, source: &PointInput, payload: &Payload) -> String {
    let mut content = Fingerprinter::new("record/1");
    match source {
        PointInput::Text(text) => content.part("text", text.as_bytes()),
        PointInput::Image(bytes) => content.part("image", bytes),
        PointInput::None => {}
        PointInput::Vector(vector) | PointInput::Embedded { vector, .. } => {
            content.part("vector", &vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        }
    }
    // Serializing a map to a string cannot fail.
    content.part("payload", serde_json::to_string(payload).unwrap_or_default().as_bytes());
    let mut id = prefix.to_owned();
    id.extend(content.finish().to_string().chars().take(CONTENT_DIGITS));
    id
}

/// Position of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePosition {
    pub(crate) path: Arc<Path>,
    pub(crate) at: RecordPosition,
}

/// Position in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordPosition {
    /// The file as a whole.
    Whole,
    /// A line, counted from 1.
    Line(u64),
    /// A record, counted from 0 like row numbers.
    Record(u64),
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        let path = escaped(&path);
        match self.at {
            RecordPosition::Whole => write!(f, "{path}"),
            RecordPosition::Line(line) => write!(f, "{path}, line {line}"),
            RecordPosition::Record(record) => write!(f, "{path}, record {record}"),
        }
    }
}

/// Error of a record that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {what}")]
pub(crate) struct RecordError {
    pub(crate) position: FilePosition,
    pub(crate) what: String,
    /// The rest of the file cannot be read either.
    pub(crate) fatal: bool,
}

impl RecordError {
    /// Error of one record; the next one may be valid.
    pub(crate) fn record(position: FilePosition, what: impl Into<String>) -> Self {
        Self { position, what: what.into(), fatal: false }
    }

    /// Error that ends the file.
    pub(crate) fn fatal(position: FilePosition, what: impl Into<String>) -> Self {
        Self { position, what: what.into(), fatal: true }
    }
}
