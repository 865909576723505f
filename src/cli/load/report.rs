//! What became of the records: counted, the first broken ones shown, `--strict` obeyed.

use super::record::RecordError;
use crate::cli::progress::Progress;
use serde_json::{Value, json};

/// Broken records that are shown one by one.
const SHOWN: usize = 10;

/// The account of one load.
#[derive(Debug, Default)]
pub(crate) struct Report {
    strict: bool,
    /// Items that are in the collection now.
    pub(crate) loaded: u64,
    /// Broken records.
    pub(crate) skipped: u64,
    /// Files that could not be read to their end.
    pub(crate) cut_files: u64,
    /// The first broken records.
    pub(crate) errors: Vec<String>,
    /// The error that stopped a strict load.
    pub(crate) stopped: Option<RecordError>,
}

impl Report {
    pub(crate) fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// Counts a broken record; false when the load must stop.
    pub(crate) fn broken(&mut self, error: RecordError, progress: &Progress) -> bool {
        if self.strict {
            self.stopped.get_or_insert(error);
            return false;
        }
        self.skipped += 1;
        self.cut_files += u64::from(error.fatal);
        if self.errors.len() < SHOWN {
            let text = error.to_string();
            progress.warn(&format!("skipped: {text}"));
            self.errors.push(text);
            if self.errors.len() == SHOWN {
                progress.warn("further broken records are counted, not shown");
            }
        }
        true
    }

    /// The account for a program.
    pub(crate) fn json(&self, collection: &str, seconds: f64) -> Value {
        json!({
            "collection": collection,
            "loaded": self.loaded,
            "skipped": self.skipped,
            "cut_files": self.cut_files,
            "errors": self.errors,
            "seconds": seconds,
            "items_per_second": if seconds > 0.0 { self.loaded as f64 / seconds } else { 0.0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::record::{At, Place};
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn errors_are_counted_and_strict_stops() {
        let progress = Progress::start("load", "items", true);
        let error = || RecordError::record(Place { path: Arc::from(Path::new("f")), at: At::Line(3) }, "bad");
        let mut report = Report::new(false);
        assert!((0..25).all(|_| report.broken(error(), &progress)));
        assert_eq!((report.skipped, report.errors.len()), (25, SHOWN));
        let mut report = Report::new(true);
        assert!(!report.broken(error(), &progress));
        assert_eq!(report.stopped, Some(error()));
    }
}
