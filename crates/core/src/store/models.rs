//! Model folders of the data directory. Each is either complete, under its number, or absent.
//!
//! ```text
//! add      writes models/<number>/, each file durable, card.json last: it makes the model visible
//! remove   removes card.json, durably, then the rest
//! upload   writes to models/<number>.tmp/, which stays temporary
//! open     removes temporary folders and folders without card.json
//! ```

use super::{Error, folder_number};
use crate::disk::{self, Fs, FsFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the folder in the data directory.
const FOLDER: &str = "models";
/// Suffix of a temporary folder.
const DRAFT: &str = ".tmp";
/// File that marks a model folder as complete.
const CARD: &str = "card.json";

/// The models of a data directory. The owner holds the lock of the directory.
#[derive(Debug)]
pub struct Models {
    fs: Arc<dyn Fs>,
    folder: PathBuf,
    next: AtomicU64,
}

impl Models {
    /// Removes incomplete folders; returns the numbers of the models in the order of their creation.
    ///
    /// # Errors
    /// `Internal` if the folder cannot be read.
    pub fn open(fs: &Arc<dyn Fs>, data_dir: &Path) -> Result<(Self, Vec<u64>), Error> {
        let folder = data_dir.join(FOLDER);
        let mut numbers = Vec::new();
        if folder.is_dir() {
            for name in disk::list_folders(&folder)? {
                // Other names were not written by this program.
                let Some(number) = folder_number(name.strip_suffix(DRAFT).unwrap_or(&name)) else { continue };
                let path = folder.join(&name);
                if name.ends_with(DRAFT) || !path.join(CARD).exists() {
                    disk::remove_folder(fs.as_ref(), &path)?;
                } else {
                    numbers.push(number);
                }
            }
        }
        numbers.sort_unstable();
        let next = AtomicU64::new(numbers.last().map_or(0, |last| last + 1));
        Ok((Self { fs: fs.clone(), folder, next }, numbers))
    }

    /// Lists the model folders of a directory that is not open, without changes.
    ///
    /// # Errors
    /// `Internal` if the folder cannot be read.
    pub fn open_read_only(data_dir: &Path) -> Result<Vec<PathBuf>, Error> {
        let folder = data_dir.join(FOLDER);
        let names = if folder.is_dir() { disk::list_folders(&folder)? } else { Vec::new() };
        let whole = |name: &String| folder_number(name).is_some() && folder.join(name).join(CARD).exists();
        Ok(names.iter().filter(|name| whole(name)).map(|name| folder.join(name)).collect())
    }

    /// Returns the folder of a model.
    pub fn dir(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}"))
    }

    /// Returns an unused number; creates the models folder if it is missing.
    fn next(&self) -> Result<u64, Error> {
        if !self.folder.is_dir() {
            disk::create_folder(self.fs.as_ref(), &self.folder)?;
        }
        Ok(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes a model folder, durably; one of the files must be the card. Returns its number.
    ///
    /// # Errors
    /// `Exhausted` on a full disk, `Internal`. The model is then absent, unless only the last sync failed.
    pub fn add(&self, files: &[(&str, Vec<u8>)]) -> Result<u64, Error> {
        let number = self.next()?;
        let dir = self.dir(number);
        let (card, others): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| *name == CARD);
        let written = disk::create_folder(self.fs.as_ref(), &dir).and_then(|()| {
            others
                .into_iter()
                .chain(card)
                .try_for_each(|(name, bytes)| disk::publish(&self.fs, &dir, name, |writer| writer.put(bytes)))
        });
        if written.is_err() {
            // The next open removes the rest.
            let _ = self.remove(number);
        }
        Ok(written.map(|()| number)?)
    }

    /// Removes a model, durably.
    ///
    /// # Errors
    /// `Internal`: the model still exists, or is removed by the next open.
    pub fn remove(&self, number: u64) -> Result<(), Error> {
        let dir = self.dir(number);
        disk::remove_file(self.fs.as_ref(), &dir.join(CARD))?;
        disk::sync_folder(self.fs.as_ref(), &dir)?;
        Ok(disk::remove_folder(self.fs.as_ref(), &dir)?)
    }

    /// Creates a temporary folder for an upload.
    ///
    /// # Errors
    /// `Exhausted`, `Internal`.
    pub fn upload(&self) -> Result<Upload, Error> {
        let dir = self.folder.join(format!("{:016x}{DRAFT}", self.next()?));
        disk::create_folder(self.fs.as_ref(), &dir)?;
        Ok(Upload { fs: self.fs.clone(), dir, open: None, bytes: 0 })
    }
}

/// Uploaded files in a temporary folder. Drop removes the folder.
pub struct Upload {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    open: Option<(PathBuf, Box<dyn FsFile>)>,
    bytes: u64,
}

impl Upload {
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Total bytes of the files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Starts a file with a plain name; the previous file is complete.
    ///
    /// # Errors
    /// `Exhausted`, `Internal`.
    pub fn begin(&mut self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        let file = self.fs.create(&path).map_err(|source| disk::Error::io(&path, "create", source))?;
        self.open = Some((path, file));
        Ok(())
    }

    /// Appends to the current file.
    ///
    /// # Errors
    /// `Exhausted`, `Internal`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some((path, file)) = &mut self.open {
            file.append(bytes).map_err(|source| disk::Error::io(path, "write", source))?;
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.open = None;
        if let Err(error) = disk::remove_folder(self.fs.as_ref(), &self.dir) {
            tracing::warn!(folder = %self.dir.display(), %error, "could not remove an obsolete upload; the next start removes it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::crash_fs::{CrashFs, Plan, Unsynced};
    use crate::disk::real_fs;

    fn files() -> Vec<(&'static str, Vec<u8>)> {
        vec![("card.json", b"{}".to_vec()), ("model.safetensors", vec![7; 3_000])]
    }

    fn names(dir: &Path) -> Vec<String> {
        disk::list_folders(&dir.join(FOLDER)).unwrap_or_default()
    }

    #[test]
    fn models_are_numbered_and_incomplete_ones_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let (models, found) = Models::open(&real_fs(), dir.path()).unwrap();
        assert_eq!((found, dir.path().join(FOLDER).exists()), (vec![], false), "created on first use");
        assert_eq!((models.add(&files()).unwrap(), models.add(&files()).unwrap()), (0, 1));
        models.remove(0).unwrap();
        let mut upload = models.upload().unwrap();
        upload.begin("a").unwrap();
        upload.append(b"abc").unwrap();
        upload.append(b"d").unwrap();
        assert_eq!((std::fs::read(upload.dir().join("a")).unwrap(), upload.bytes()), (b"abcd".to_vec(), 4));
        std::mem::forget(upload);
        std::fs::create_dir_all(dir.path().join("models/my-words")).unwrap();
        std::fs::create_dir(models.dir(9)).unwrap();
        std::fs::write(models.dir(9).join("model.safetensors"), "half").unwrap();
        assert_eq!(names(dir.path()), ["0000000000000001", "0000000000000002.tmp", "0000000000000009", "my-words"]);
        let (models, found) = Models::open(&real_fs(), dir.path()).unwrap();
        assert_eq!(
            (found, names(dir.path())),
            (vec![1], vec!["0000000000000001".into(), "my-words".into()]),
            "foreign files stay"
        );
        assert_eq!(std::fs::read(models.dir(1).join("model.safetensors")).unwrap(), [7; 3_000]);
        drop(models.upload().unwrap());
        assert_eq!(names(dir.path()).len(), 2);
        assert_eq!(models.add(&files()).unwrap(), 3);
    }

    #[test]
    fn a_crash_at_any_moment_leaves_a_complete_model_or_none() {
        let root = crate::quick_dir();
        let dir = root.path().join("data");
        std::fs::create_dir(&dir).unwrap();
        let fs = CrashFs::new(&dir, Plan::Nothing);
        let shared: Arc<dyn Fs> = Arc::new(fs.clone());
        let (models, _) = Models::open(&shared, &dir).unwrap();
        models.add(&files()).unwrap();
        models.add(&files()).unwrap();
        let added = fs.now();
        models.remove(0).unwrap();
        let removed = fs.now();
        drop(models);
        let mut seen = std::collections::BTreeSet::new();
        for moment in fs.moments() {
            for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(moment as u64)] {
                let image = crate::quick_dir();
                fs.image(moment, unsynced, image.path());
                let (models, found) = Models::open(&real_fs(), image.path()).unwrap();
                for &number in &found {
                    for (name, bytes) in files() {
                        assert_eq!(std::fs::read(models.dir(number).join(name)).unwrap(), bytes, "at {moment}");
                    }
                }
                assert!(moment != added || found == [0, 1], "at {moment}: {found:?}");
                assert!(moment != removed || found == [1], "at {moment}: {found:?}");
                seen.insert(found);
            }
        }
        assert_eq!(seen, [vec![], vec![0], vec![0, 1], vec![1]].into());
    }

    #[test]
    fn a_full_disk_or_a_failed_sync_leaves_no_model() {
        for plan in [Plan::FullAfter(1_000), Plan::FailSync(2), Plan::FailSync(4)] {
            let root = crate::quick_dir();
            let fs = CrashFs::new(root.path(), Plan::Nothing);
            let shared: Arc<dyn Fs> = Arc::new(fs.clone());
            let (models, _) = Models::open(&shared, root.path()).unwrap();
            models.add(&files()).unwrap();
            fs.restart(plan);
            models.add(&files()).unwrap_err();
            let mut upload = models.upload().unwrap();
            upload.begin("a").unwrap();
            assert_eq!(upload.append(&[1; 4_000]).is_err(), plan == Plan::FullAfter(1_000));
            drop(upload);
            assert_eq!(names(root.path()), ["0000000000000000"], "{plan:?}");
        }
    }
}
