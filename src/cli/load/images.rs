//! A folder of images, read recursively in the order of names, or a single image file.

use super::record::{At, Place, RecordError, Records};
use crate::collection::{self, Item, Payload};
use crate::embed::picture::{ENDINGS, has_image_name};
use crate::types::PointId;
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest image file, bytes.
const MAX_IMAGE: u64 = 64 << 20;
/// Folders within folders.
const MAX_DEPTH: usize = 64;

/// Reads an image file; the message names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(named)?;
    let mut bytes = Vec::new();
    file.take(MAX_IMAGE + 1).read_to_end(&mut bytes).map_err(named)?;
    if bytes.len() as u64 > MAX_IMAGE {
        return Err(format!("{}: larger than {} MiB", path.display(), MAX_IMAGE >> 20));
    }
    Ok(bytes)
}

/// The images of a folder: the id is the path below it, `folder` in the payload the folder it lies in.
pub(crate) struct FolderRecords {
    root: PathBuf,
    files: std::vec::IntoIter<PathBuf>,
    id_prefix: String,
    place: Place,
    read: u64,
    total: u64,
}

impl FolderRecords {
    /// Lists the images; only names are kept.
    pub(crate) fn open(path: &Path, id_prefix: &str) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        let mut total = 0;
        let root = if path.is_dir() {
            walk(path, 0, &mut files, &mut total)?;
            path.to_owned()
        } else {
            total = fs::metadata(path).with_context(|| format!("{}: cannot be opened", path.display()))?.len();
            files.push(path.to_owned());
            path.parent().map(Path::to_owned).unwrap_or_default()
        };
        if files.is_empty() {
            bail!("{}: no images in it (files that end in {})", path.display(), ENDINGS.join(", "));
        }
        let place = Place { path: path.into(), at: At::Whole };
        Ok(Self { root, files: files.into_iter(), id_prefix: id_prefix.into(), place, read: 0, total })
    }
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, total: &mut u64) -> anyhow::Result<()> {
    if depth > MAX_DEPTH {
        bail!("{}: folders lie deeper than {MAX_DEPTH} within one another", folder.display());
    }
    let named = || format!("{}: cannot be listed", folder.display());
    let mut entries = fs::read_dir(folder).with_context(named)?.collect::<Result<Vec<_>, _>>().with_context(named)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Not following links: no folder is seen twice.
        let kind = entry.file_type().with_context(named)?;
        if kind.is_dir() {
            walk(&path, depth + 1, files, total)?;
        } else if has_image_name(&path) && path.is_file() {
            *total += fs::metadata(&path).map_or(0, |meta| meta.len());
            files.push(path);
        }
    }
    Ok(())
}

impl Iterator for FolderRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = self.files.next()?;
        self.place.path = Arc::from(path.as_path());
        let broken = |what: String| RecordError::record(self.place.clone(), what);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(what) => return Some(Err(broken(what))),
        };
        self.read += bytes.len() as u64;
        let relative = path.strip_prefix(&self.root).unwrap_or(&path);
        let Some(name) = relative.to_str() else { return Some(Err(broken("its name is not UTF-8".into()))) };
        let mut payload = Payload::new();
        if let Some(folder) = relative.parent().and_then(Path::to_str).filter(|folder| !folder.is_empty()) {
            payload.insert("folder".into(), folder.into());
        }
        Some(match PointId::new(format!("{}{name}", self.id_prefix)) {
            Ok(id) => Ok(Item { id, source: collection::Source::Image(bytes), payload }),
            Err(error) => Err(broken(error.to_string())),
        })
    }
}

impl Records for FolderRecords {
    fn bytes_read(&self) -> u64 {
        self.read
    }
    fn bytes_total(&self) -> u64 {
        self.total
    }
    fn place(&self) -> Place {
        self.place.clone()
    }
    fn rows_seen(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::fixture;

    #[test]
    fn images_below_a_folder_are_found_in_order() {
        let file = fixture::file("note.txt", b"not an image");
        let root = file.path.parent().unwrap();
        fs::create_dir_all(root.join("b/c")).unwrap();
        for name in ["b/c/2.PNG", "a.jpg", "b/1.webp"] {
            fs::write(root.join(name), name).unwrap();
        }
        let (items, errors) = fixture::items(root);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["a.jpg", "b/1.webp", "b/c/2.PNG"]);
        assert_eq!(items[2].payload["folder"], "b/c");
    }

    #[test]
    fn a_folder_without_images_is_refused() {
        let file = fixture::file("note.txt", b"not an image");
        assert!(FolderRecords::open(file.path.parent().unwrap(), "").is_err());
    }
}
