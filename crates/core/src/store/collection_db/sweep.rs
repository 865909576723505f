//! Classification and removal of unrecorded files in a collection's folder: leftovers or orphans.

use super::{CollectionDb, FILE, SegmentRecord, manifest};
use crate::disk;
use crate::store::orphan::{self, OrphanAction, OrphanFile};
use crate::store::segment::SegmentId;
use crate::store::{Error, folder_number};
use std::path::Path;

const VECTORS: &str = ".vectors";
const UNCOMMITTED: &str = ".uncommitted";

/// Parses a file name into segment id and suffix.
fn segment_of(name: &str) -> Option<(SegmentId, &str)> {
    let (id, end) = name.split_at_checked(name.find('.')?)?;
    let known =
        [VECTORS, UNCOMMITTED, ".payloads"].contains(&end) || end.ends_with(".graph") || SegmentId::is_field_index(end);
    folder_number(id).filter(|_| known).map(|id| (SegmentId(id), end))
}

impl CollectionDb {
    /// Removes the leftovers in the folder and moves orphans to `orphans`; see the docs of `mod.rs`. Call before the
    /// first write to the folder. Returns a message for the user per orphan.
    ///
    /// # Errors
    /// `Corrupt` (`Foreign`) if this file is older than the segments in the folder: nothing is removed; `Corrupt`,
    /// `Internal`.
    pub fn sweep(&self, orphans: &Path) -> Result<Vec<String>, Error> {
        let unnamed = self.unnamed()?;
        if let Some(OrphanFile { path, what, .. }) = unnamed.iter().find(|unnamed| unnamed.fate == OrphanAction::Refuse)
        {
            return Err(Error::foreign(path, what.clone()));
        }
        let (mut aside, mut segments, mut marks) = (Vec::new(), false, Vec::new());
        for unnamed in unnamed {
            let name = unnamed.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if unnamed.fate == OrphanAction::SetAside {
                let collection = self.dir.file_name().unwrap_or_default().to_string_lossy();
                let to = orphan::set_aside(self.fs.as_ref(), &unnamed, orphans, &format!("{collection}-{name}"))?;
                aside.push(format!("{}: {}; it was moved to {}", unnamed.path.display(), unnamed.what, to.display()));
            } else if name.ends_with(UNCOMMITTED) {
                marks.push(unnamed.path);
            } else {
                segments |= name.ends_with(VECTORS);
                disk::remove_file(self.fs.as_ref(), &unnamed.path)?;
            }
        }
        if segments {
            disk::sync_folder(self.fs.as_ref(), &self.dir)?;
        }
        // Remove marks last: after a crash the segment is still marked.
        for mark in marks {
            disk::remove_file(self.fs.as_ref(), &mark)?;
        }
        let is_deleted = |id: &SegmentId| !self.dir.join(id.vectors_file()).exists();
        self.settle(manifest::removed(&self.kv)?.into_iter().filter(is_deleted));
        Ok(aside)
    }

    /// Returns the unrecorded files of the folder. Files with names that this program does not write are ignored.
    ///
    /// # Errors
    /// `Corrupt`, `Internal`.
    pub fn unnamed(&self) -> Result<Vec<OrphanFile>, Error> {
        let (named, removed, next) = (self.named()?, manifest::removed(&self.kv)?, self.next_segment()?);
        let files = disk::list_files(&self.dir)?;
        let marked = |id: SegmentId| files.contains(&id.uncommitted_file());
        let mut unnamed = Vec::new();
        for name in files.iter().filter(|name| !named.contains(name)) {
            let remove = |what: &str| (OrphanAction::Remove, what.to_owned());
            let (fate, what) = match segment_of(name) {
                None if name.ends_with(".tmp") => remove("a file that was not completed"),
                None => continue,
                Some((id, end)) if SegmentId::is_field_index(end) && named.contains(&id.vectors_file()) => continue,
                Some((id, VECTORS)) if removed.contains(&id) => remove("its segment was removed"),
                Some((id, VECTORS)) if marked(id) => remove("its segment was not committed"),
                Some((id, VECTORS)) if id >= next && self.is_owned() => {
                    let db = self.path().display();
                    let what = format!(
                        "is segment {id}, but the next segment of {db} is {next}: {db} is older than the segments; restore the one that belongs to them, or move the segment out of the folder"
                    );
                    (OrphanAction::Refuse, what)
                }
                Some((_, VECTORS)) => {
                    (OrphanAction::SetAside, format!("{} does not name this segment", self.path().display()))
                }
                Some((_, UNCOMMITTED)) => remove("an obsolete mark"),
                Some(_) => remove("a cache that belongs to no segment"),
            };
            unnamed.push(OrphanFile { path: self.dir.join(name), fate, what });
        }
        Ok(unnamed)
    }

    /// Returns the names of the recorded files; not all of them need to exist.
    fn named(&self) -> Result<Vec<String>, Error> {
        let mut named = vec![FILE.to_owned(), orphan::MARKER.to_owned()];
        for SegmentRecord { id, graph_generation, .. } in self.segments()? {
            named.push(id.vectors_file());
            named.push(id.payloads_file());
            named.extend(graph_generation.map(|generation| id.graph_file(generation)));
        }
        Ok(named)
    }
}
