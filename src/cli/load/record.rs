//! What every reader gives: items one by one, errors that name file and line, and how far it is.

use crate::cli::output::escaped;
use crate::collection::{Item, Payload, Source};
use crate::embed::Fingerprinter;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A stream of items. Holds no more of the file than one record.
pub(crate) trait Records: Iterator<Item = Result<Item, RecordError>> + Send {
    /// Bytes of the file read so far (of the compressed file, if it is).
    fn bytes_read(&self) -> u64;
    /// Bytes of the file.
    fn bytes_total(&self) -> u64;
    /// Where the last record stood.
    fn place(&self) -> Place;
    /// Row numbers given out so far, broken records counted too: the next file goes on from here.
    fn rows_seen(&self) -> u64;
    /// What the file says wrongly of itself, once it was read to its end. It does no harm.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Hexadecimal digits of an id that is made from content: 96 bits of a SHA-256.
const CONTENT_DIGITS: usize = 24;

/// The id of a record that has none: made from its content, so that the same record is the same point in every file and every
/// load, and another record is never put in its place.
pub(super) fn content_id(prefix: &str, source: &Source, payload: &Payload) -> String {
    let mut content = Fingerprinter::new("record/1");
    match source {
        Source::Text(text) => content.part("text", text.as_bytes()),
        Source::Image(bytes) => content.part("image", bytes),
        Source::Vector(vector) | Source::Embedded { vector, .. } => {
            content.part("vector", &vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        }
    }
    // Writing a map to a string cannot fail.
    content.part("payload", serde_json::to_string(payload).unwrap_or_default().as_bytes());
    let mut id = prefix.to_owned();
    id.extend(content.finish().to_string().chars().take(CONTENT_DIGITS));
    id
}

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: Arc<Path>,
    pub(crate) at: At,
}

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The file as a whole.
    Whole,
    /// A line, counted from 1.
    Line(u64),
    /// A record, counted from 0 as row numbers are.
    Record(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        let path = escaped(&path);
        match self.at {
            At::Whole => write!(f, "{path}"),
            At::Line(line) => write!(f, "{path}, line {line}"),
            At::Record(record) => write!(f, "{path}, record {record}"),
        }
    }
}

/// A record that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct RecordError {
    pub(crate) place: Place,
    pub(crate) what: String,
    /// The rest of the file cannot be read either.
    pub(crate) fatal: bool,
}

impl RecordError {
    /// The next record may be sound.
    pub(crate) fn record(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into(), fatal: false }
    }

    /// The file ends here.
    pub(crate) fn fatal(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into(), fatal: true }
    }
}
