//! Files and folders without a record, and their fate.
//!
//! Only three kinds are removed: those that a transaction recorded as removed, those marked as uncommitted, and those
//! without points. All others may be the only copy of points: they are moved to `orphans/`, or opening fails if their
//! number proves that the record is older than the data.

use super::collection_db::CollectionDb;
use super::{Error, ErrorKind, Owner};
use crate::disk::{self, Fs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folder of the data directory for orphans.
pub(super) const FOLDER: &str = "orphans";
/// File that marks a folder as not yet recorded: the folder belongs to no collection.
pub(super) const MARKER: &str = "uncommitted";

/// Action of the next open on a file or folder without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanAction {
    /// Remove it: it is a leftover.
    Remove,
    /// Move it to `orphans/`: it may be the only copy of points.
    SetAside,
    /// Fail the open of the collection or data directory: the record is older than the data, or belongs to another data
    /// directory.
    Refuse,
}

/// A file or folder without a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanFile {
    /// The path.
    pub path: PathBuf,
    /// Action of the next open.
    pub fate: OrphanAction,
    /// The reason, and the remedy if opening fails.
    pub what: String,
}

/// Contents of a folder of a collection.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Description of the contents that may hold points, if any.
    pub(super) points: Option<String>,
    /// Whether it is marked as uncommitted.
    pub(super) uncommitted: bool,
    /// The owner according to `points.redb`.
    pub(super) owner: Option<Owner>,
}

/// Reads the contents of a folder without changing it.
///
/// # Errors
/// `Busy` if its `points.redb` is open; `Internal`.
pub(super) fn content(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Content, Error> {
    /// Known folders and caches that hold no points.
    const EMPTY_FOLDERS: [&str; 1] = ["embedder"];
    const EMPTY_FILES: [&str; 4] = [".tmp", ".graph", ".payloads", ".uncommitted"];
    let mut content = Content::default();
    for name in disk::list_files(dir)? {
        if name == MARKER {
            content.uncommitted = true;
        } else if name == CollectionDb::FILE && disk::file_len(&dir.join(&name))? != Some(0) {
            match CollectionDb::open_read_only(fs, dir).and_then(|db| Ok((db.owner(), db.holds_points()?))) {
                Ok((owner, holds)) => {
                    content.owner = owner;
                    if holds {
                        content.points = Some(name);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Busy => return Err(error),
                Err(error) => content.points = Some(format!("{name}, which cannot be read ({error})")),
            }
        } else if name != CollectionDb::FILE && !EMPTY_FILES.iter().any(|end| name.ends_with(end)) {
            content.points.get_or_insert(name);
        }
    }
    let foreign = disk::list_folders(dir)?.into_iter().find(|name| !EMPTY_FOLDERS.contains(&name.as_str()));
    if content.points.is_none() {
        content.points = foreign;
    }
    Ok(content)
}

/// Moves an orphan to `orphans` under `name`, with a number appended if the name is taken, and logs it. Returns the new
/// path.
///
/// # Errors
/// Any disk error.
pub(super) fn set_aside(fs: &dyn Fs, orphan: &OrphanFile, orphans: &Path, name: &str) -> Result<PathBuf, Error> {
    let to = disk::move_aside(fs, &orphan.path, orphans, name)?;
    tracing::warn!(from = %orphan.path.display(), to = %to.display(), why = orphan.what, "moved aside an orphan that may hold points");
    Ok(to)
}
