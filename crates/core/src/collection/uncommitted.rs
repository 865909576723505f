//! New segments before their transaction: the marker that makes an interrupted job harmless.

use crate::api::Error;
use crate::collection::state::Collection;
use crate::disk::{self, Fs};
use crate::store::{Change, SegmentId, SegmentWriter};
use std::path::Path;

/// Generation of a graph written together with its segment.
pub(super) const FIRST_GENERATION: u32 = 1;

/// Marker of a segment that no transaction names yet: an empty file beside the segment's, made durable first. Dropped
/// before the commit, it removes both.
pub(crate) struct UncommittedSegment<'c> {
    fs: &'c dyn Fs,
    dir: &'c Path,
    id: SegmentId,
    /// Whether to keep the segment's file.
    keep: bool,
}

impl<'c> UncommittedSegment<'c> {
    pub(crate) fn begin(fs: &'c dyn Fs, dir: &'c Path, id: SegmentId) -> Result<Self, Error> {
        let mark = dir.join(id.uncommitted_file());
        let created = || -> Result<(), disk::Error> {
            fs.create(&mark).map_err(|source| disk::Error::io(&mark, "create", source))?;
            disk::sync_folder(fs, dir)
        };
        created().map_err(crate::store::Error::from)?;
        Ok(Self { fs, dir, id, keep: false })
    }

    /// Releases the marker after the transaction. If the outcome is unknown, the file and its marker stay.
    pub(crate) fn end(mut self, committed: bool, known: bool) {
        self.keep = committed || !known;
        if committed {
            self.remove(&self.id.uncommitted_file());
        }
    }

    fn remove(&self, name: &str) -> bool {
        let removed = disk::remove_file(self.fs, &self.dir.join(name));
        if let Err(error) = &removed {
            tracing::warn!(folder = %self.dir.display(), name, %error, "could not remove an unused file; the next start removes it");
        }
        removed.is_ok()
    }
}

impl Drop for UncommittedSegment<'_> {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        self.remove(&self.id.payloads_file());
        let (id, names) = (self.id.to_string(), disk::list_files(self.dir).unwrap_or_default());
        for name in names.iter().filter(|name| name.starts_with(&id) && SegmentId::is_field_index(name)) {
            self.remove(name);
        }
        self.remove(&self.id.graph_file(FIRST_GENERATION));
        // The marker last: after a crash the segment is still marked.
        let removed = self.remove(&self.id.vectors_file()) && disk::sync_folder(self.fs, self.dir).is_ok();
        if removed {
            self.remove(&self.id.uncommitted_file());
        }
    }
}

impl Collection {
    /// Begins a new segment of this collection, marked as not committed: for points with vectors of `dimension`
    /// components, or 0 without vectors.
    pub(crate) fn segment_writer(&self, dimension: u32) -> Result<(SegmentWriter, UncommittedSegment<'_>), Error> {
        let id = self.take_segment_id();
        let mark = UncommittedSegment::begin(self.fs.as_ref(), &self.dir, id)?;
        Ok((SegmentWriter::create(&self.fs, &self.dir, id, dimension, self.identity)?, mark))
    }

    /// Commits changes that name the new segments of these markers.
    pub(super) fn commit_segments<'m>(
        &self,
        marks: impl IntoIterator<Item = UncommittedSegment<'m>>,
        changes: &[Change<'_>],
    ) -> Result<(), Error> {
        let done = self.db.commit(changes);
        let known = self.db.stopped().is_none();
        marks.into_iter().for_each(|mark| mark.end(done.is_ok(), known));
        Ok(done?)
    }
}
