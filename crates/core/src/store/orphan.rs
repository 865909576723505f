//! Files and folders that no record names: what becomes of each.
//!
//! Only three things are removed: what a transaction recorded as removed, what is marked as not committed yet, and what holds
//! no points. Everything else may be the only copy of points, so it is moved to `orphans/`, or the open is refused where
//! its number proves that the record is older than the data.

use super::truth::Truth;
use super::{Error, ErrorKind, Owner};
use crate::disk::{self, Fs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of a data directory that orphans are moved to.
pub(super) const FOLDER: &str = "orphans";
/// In a folder that no record names yet: it is not a collection's, whatever it holds.
pub(super) const MARKER: &str = "uncommitted";

/// What the next open does with a file or folder that no record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Removes it: it is a leftover.
    Remove,
    /// Moves it to `orphans/`: it may be the only copy of points.
    SetAside,
    /// Refuses the collection, or the data directory: it proves that the record is older than the data, or another's.
    Refuse,
}

/// A file or folder that no record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// Where it is.
    pub path: PathBuf,
    /// What the next open does with it.
    pub fate: Fate,
    /// Why, and what the user can do where it is refused.
    pub what: String,
}

/// What a folder of a collection holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// What may hold points in it; none where nothing does.
    pub(super) points: Option<String>,
    /// It is marked as not committed yet.
    pub(super) uncommitted: bool,
    /// Whose it is, where its `points.redb` says so.
    pub(super) owner: Option<Owner>,
}

/// Looks into a folder; nothing changes.
///
/// # Errors
/// `Busy` when its `points.redb` is open; `Internal`.
pub(super) fn content(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Content, Error> {
    /// Folders and caches of ours that hold no points.
    const EMPTY_FOLDERS: [&str; 1] = ["embedder"];
    const EMPTY_FILES: [&str; 4] = [".tmp", ".graph", ".payloads", ".uncommitted"];
    let mut content = Content::default();
    for name in disk::list_files(dir)? {
        if name == MARKER {
            content.uncommitted = true;
        } else if name == Truth::FILE && disk::file_len(&dir.join(&name))? != Some(0) {
            match Truth::look(fs, dir).and_then(|truth| Ok((truth.owner(), truth.holds_points()?))) {
                Ok((owner, holds)) => {
                    content.owner = owner;
                    if holds {
                        content.points = Some(name);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Busy => return Err(error),
                Err(error) => content.points = Some(format!("{name}, which cannot be read ({error})")),
            }
        } else if name != Truth::FILE && !EMPTY_FILES.iter().any(|end| name.ends_with(end)) {
            content.points.get_or_insert(name);
        }
    }
    let foreign = disk::list_folders(dir)?.into_iter().find(|name| !EMPTY_FOLDERS.contains(&name.as_str()));
    if content.points.is_none() {
        content.points = foreign;
    }
    Ok(content)
}

/// Moves an orphan to `orphans`, as `name` or with a number behind it, and logs it. Returns where it is now.
///
/// # Errors
/// What the disk refuses.
pub(super) fn set_aside(fs: &dyn Fs, orphan: &Unnamed, orphans: &Path, name: &str) -> Result<PathBuf, Error> {
    let to = disk::move_aside(fs, &orphan.path, orphans, name)?;
    tracing::warn!(from = %orphan.path.display(), to = %to.display(), why = orphan.what, "moved aside an orphan that may hold points");
    Ok(to)
}
