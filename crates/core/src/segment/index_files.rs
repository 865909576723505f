//! The index files of sealed segments: read in full by checks and by the scrubber, and discarded when damaged.
//!
//! All of them are caches. A discarded one is built again in the background, or by the first query that needs it. The
//! graph of the points' own vectors is not among them: it is recorded in the database.

use super::columns::{IndexedVectors, check_vectors};
use super::payload_index::check_payloads;
use super::sealed::Sealed;
use super::text_index::{IndexedField, check_texts};
use crate::disk;
use crate::store::Segment;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The indexed fields of a collection.
pub(crate) struct IndexedFields {
    pub(crate) texts: Arc<Vec<Arc<IndexedField>>>,
    pub(crate) vectors: Arc<Vec<Arc<IndexedVectors>>>,
}

/// What an index file covers.
#[derive(Clone, Copy)]
enum Covers<'f> {
    Payloads,
    Texts(&'f Arc<IndexedField>),
    Vectors(&'f Arc<IndexedVectors>),
}

/// Path and length of a file, and the failed check if it is damaged.
pub(crate) type CheckedFile = (PathBuf, u64, Result<(), String>);

/// An index file that was read in full.
pub(crate) struct CheckedIndex<'f> {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) result: Result<(), String>,
    covers: Covers<'f>,
}

impl Covers<'_> {
    /// Reads its files in full.
    fn check(self, segment: &Segment) -> Vec<CheckedFile> {
        match self {
            Self::Payloads => check_payloads(segment).into_iter().collect(),
            Self::Texts(field) => check_texts(segment, field),
            Self::Vectors(field) => check_vectors(segment, field),
        }
    }
}

/// Reads the index files of a segment in full, those of one field at a time.
pub(crate) fn check_indexes<'f>(
    segment: &'f Segment,
    fields: &'f IndexedFields,
) -> impl Iterator<Item = CheckedIndex<'f>> {
    let texts = fields.texts.iter().map(Covers::Texts);
    let vectors = fields.vectors.iter().map(Covers::Vectors);
    std::iter::once(Covers::Payloads).chain(texts).chain(vectors).flat_map(move |covers| {
        let files = covers.check(segment).into_iter();
        files.map(move |(path, bytes, result)| CheckedIndex { path, bytes, result, covers })
    })
}

impl Sealed {
    /// Removes a damaged index file, then closes the index, so that it is not opened again in between. Does nothing if
    /// the file was built again since the check.
    pub(crate) fn discard_index(&self, index: &CheckedIndex<'_>) {
        let covers = index.covers;
        let remove = || {
            let damaged = covers.check(&self.segment).into_iter().filter(|(path, _, result)| {
                let found = *path == index.path && result.is_err();
                if found {
                    tracing::error!(path = %path.display(), error = ?result, "an index is damaged; it is rebuilt");
                    remove_index(path);
                }
                found
            });
            damaged.count() > 0
        };
        match covers {
            Covers::Payloads => self.payloads.discard_if(remove),
            Covers::Texts(field) => self.texts.discard_if(field, remove),
            Covers::Vectors(field) => self.columns.discard_if(field, remove),
        }
    }
}

/// Removes the file of a damaged index. Logs a failure.
pub(super) fn remove_index(path: &Path) {
    if let Err(error) = disk::remove_file(disk::real_fs().as_ref(), path) {
        tracing::warn!(path = %path.display(), %error, "a damaged index cannot be removed");
    }
}
