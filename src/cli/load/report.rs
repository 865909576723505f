//! Report of a load: counts, the first invalid records, and the end of a `--strict` load.

use super::formats::detect::Format;
use super::record::RecordError;
use super::target::ExistingCollection;
use crate::cli::progress::{Progress, count, rate};
use serde_json::{Value, json};

/// Maximum number of invalid records shown individually.
const MAX_SHOWN_ERRORS: usize = 10;

/// Effects of the loaded items on the collection, in points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// New points.
    pub(crate) inserted: u64,
    /// Points whose vector or payload changed.
    pub(crate) replaced: u64,
    /// Points that did not change.
    pub(crate) unchanged: u64,
}

/// Numbers of valid items that were not written, because of `--mode` or `--only-if`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Their point exists.
    pub(crate) existing: u64,
    /// They have no point.
    pub(crate) missing: u64,
    /// Their point does not match.
    pub(crate) unmatched: u64,
}

/// The report of one load.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The first invalid record ends the load.
    pub(crate) strict: bool,
    /// Items that are now in the collection.
    pub(crate) loaded: u64,
    /// Effects of the load; none if the server does not report them.
    pub(crate) counts: Option<Counts>,
    /// Valid items that were not written.
    pub(crate) left_out: LeftOut,
    /// The formats of the files.
    pub(crate) formats: Vec<Format>,
    /// The collection after the load.
    pub(crate) collection: Option<ExistingCollection>,
    /// Invalid records.
    pub(crate) skipped: u64,
    /// Files that could not be read to their end.
    pub(crate) cut_files: u64,
    /// The first invalid records.
    pub(crate) errors: Vec<String>,
    /// Notes on inconsistencies of the files.
    notes: Vec<String>,
    /// Error that ended the load before the end of the files.
    pub(crate) stopped: Option<anyhow::Error>,
}

impl Report {
    pub(crate) fn new(strict: bool, formats: &[Format]) -> Self {
        Self { strict, formats: formats.to_vec(), ..Self::default() }
    }

    /// Counts an invalid record; false if the load must stop.
    pub(crate) fn invalid(&mut self, error: RecordError, progress: &Progress) -> bool {
        self.skipped += 1;
        self.cut_files += u64::from(error.fatal);
        let first = self.stopped.is_none();
        if self.errors.len() < MAX_SHOWN_ERRORS {
            let text = error.to_string();
            // The record that stops the load is reported at its end.
            if !(self.strict && first) {
                progress.warn(&format!("skipped: {text}"));
            }
            self.errors.push(text);
            if self.errors.len() == MAX_SHOWN_ERRORS {
                progress.warn("further invalid records are counted but not shown");
            }
        }
        if self.strict && first {
            self.stopped = Some(anyhow::Error::new(error).context("stopped at an invalid record (--strict)"));
        }
        !self.strict
    }

    /// Adds and prints notes on inconsistencies of files; they make no record invalid.
    pub(crate) fn note(&mut self, notes: Vec<String>, progress: &Progress) {
        notes.iter().for_each(|note| progress.warn(&format!("note: {note}")));
        self.notes.extend(notes);
    }

    /// Stores the error that ended the load; keeps an earlier one.
    pub(crate) fn stop(&mut self, error: anyhow::Error) {
        self.stopped.get_or_insert(error);
    }

    /// Summarizes the load on one line.
    pub(crate) fn line(&self) -> String {
        let formats = self.formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ");
        let mut text = format!("{} items ({formats}", count(self.loaded));
        if let Some(ExistingCollection { embedder, dimension, .. }) = &self.collection {
            let by = embedder.as_ref().map_or("no embedder".to_owned(), |(name, _)| format!("embedder {name}"));
            text += &format!("; {by}, {dimension} components");
        }
        text.push(')');
        if let Some(Counts { inserted, replaced, unchanged }) = self.counts {
            let [inserted, replaced, unchanged] = [inserted, replaced, unchanged].map(count);
            text += &format!(": {inserted} inserted, {replaced} replaced, {unchanged} unchanged");
        }
        let LeftOut { existing, missing, unmatched } = self.left_out;
        for (items, reason) in [(existing, "exist"), (missing, "are missing"), (unmatched, "do not match")] {
            if items > 0 {
                text += &format!("; {} not written because their points {reason}", count(items));
            }
        }
        text + &format!("; {} invalid records skipped", count(self.skipped))
    }

    /// Formats the report as JSON.
    pub(crate) fn json(&self, collection: &str, seconds: f64) -> Value {
        let embedder = self.collection.as_ref().and_then(|collection| collection.embedder.as_ref());
        json!({
            "collection": collection,
            "loaded": self.loaded,
            "inserted": self.counts.map(|counts| counts.inserted),
            "replaced": self.counts.map(|counts| counts.replaced),
            "unchanged": self.counts.map(|counts| counts.unchanged),
            "existing": self.left_out.existing,
            "missing": self.left_out.missing,
            "unmatched": self.left_out.unmatched,
            "formats": self.formats.iter().map(|format| format.name()).collect::<Vec<_>>(),
            "embedder": embedder.map(|(name, output)| json!({ "name": name, "output": output })),
            "dimension": self.collection.as_ref().map(|collection| collection.dimension),
            "skipped": self.skipped,
            "cut_files": self.cut_files,
            "errors": self.errors,
            "notes": self.notes,
            "seconds": seconds,
            "items_per_second": rate(self.loaded, seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::record::{FilePosition, RecordPosition};
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn the_summary_names_format_embedder_dimension_and_counts() {
        let collection =
            ExistingCollection { embedder: Some(("text".into(), "sif".into())), metric: None, dimension: 100 };
        let counts = Some(Counts { inserted: 2, replaced: 0, unchanged: 1_000 });
        let report = Report {
            loaded: 1_002,
            counts,
            formats: vec![Format::Text],
            collection: Some(collection),
            ..Default::default()
        };
        let expected = "1,002 items (text; embedder text, 100 components): 2 inserted, 0 replaced, 1,000 unchanged; 0 \
            invalid records skipped";
        assert_eq!(report.line(), expected);
        let json = report.json("c", 0.0);
        assert_eq!(
            (&json["formats"][0], &json["dimension"], &json["unchanged"]),
            (&"text".into(), &100.into(), &1_000.into())
        );
        let report = Report { left_out: LeftOut { existing: 1_000, missing: 0, unmatched: 1 }, ..report };
        assert!(report.line().contains("unchanged; 1,000 not written because their points exist; 1 not written"));
        assert_eq!(
            (&report.json("c", 0.0)["existing"], &report.json("c", 0.0)["unmatched"]),
            (&1_000.into(), &1.into())
        );
        assert!(json["items_per_second"].is_null() && json["embedder"]["output"] == "sif", "{json}");
    }

    #[test]
    fn errors_are_counted_and_strict_stops() {
        let progress = Progress::start("load", "items", true);
        let error = || {
            RecordError::record(FilePosition { path: Arc::from(Path::new("f")), at: RecordPosition::Line(3) }, "bad")
        };
        let mut report = Report::new(false, &[]);
        assert!((0..25).all(|_| report.invalid(error(), &progress)));
        assert_eq!((report.skipped, report.errors.len()), (25, MAX_SHOWN_ERRORS));
        let mut report = Report::new(true, &[]);
        assert!(!report.invalid(error(), &progress));
        assert!(!report.invalid(RecordError { what: "later".into(), ..error() }, &progress), "it was sent already");
        assert_eq!((report.skipped, report.errors.len()), (2, 2));
        let stopped = format!("{:#}", report.stopped.unwrap());
        assert!(stopped.contains("--strict") && stopped.ends_with("f, line 3: bad"), "{stopped}");
    }
}
