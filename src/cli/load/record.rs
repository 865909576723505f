//! What every reader gives: items one by one, errors that name file and line, and how far it is.

use crate::collection::Item;
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
        let path = self.path.display();
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
