//! Folder operations: create, list, move aside, remove; free space and permissions.

use super::{Error, Fs};
use std::io;
use std::path::{Path, PathBuf};

/// Creates a folder and its missing parents, and makes its name durable in the parent folder.
///
/// # Errors
/// [`Error::Io`].
pub fn create_folder(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    fs.create_dir(path).map_err(|source| Error::io(path, "create the folder", source))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    sync_folder(fs, parent)
}

/// Syncs a folder, which makes the names in it durable.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_folder(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    fs.sync_dir(path).map_err(|source| Error::io(path, "sync the folder", source))
}

/// Removes a folder and everything in it. A missing folder is no error.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_folder(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    ignore_not_found(fs.remove_dir(path)).map_err(|source| Error::io(path, "remove the folder", source))
}

/// Removes a file. A missing file is no error. Existing maps of the file stay valid.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_file(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    ignore_not_found(fs.remove(path)).map_err(|source| Error::io(path, "remove", source))
}

fn ignore_not_found(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns the length of a file in bytes, or None if the file does not exist.
///
/// # Errors
/// [`Error::Io`].
pub fn file_len(path: &Path) -> Result<Option<u64>, Error> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(path, "read the metadata of", source)),
    }
}

/// Returns the names of the files in a folder, sorted. Skips names that are not UTF-8: nearness creates none.
///
/// # Errors
/// [`Error::Io`].
pub fn list_files(dir: &Path) -> Result<Vec<String>, Error> {
    list(dir, |kind| kind.is_file())
}

/// Returns the names of the folders in a folder, sorted; skips names like [`list_files`].
///
/// # Errors
/// [`Error::Io`].
pub fn list_folders(dir: &Path) -> Result<Vec<String>, Error> {
    list(dir, |kind| kind.is_dir())
}

fn list(dir: &Path, accepts: impl Fn(&std::fs::FileType) -> bool) -> Result<Vec<String>, Error> {
    let failed = |source| Error::io(dir, "list", source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if accepts(&entry.file_type().map_err(failed)?) {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Moves a file or folder into the folder `aside` (created if missing) under `name`, or under `name.1`, `name.2`, ...
/// if the name exists, and makes both names durable. Returns the new path.
///
/// # Errors
/// [`Error::Io`]: the file is unmoved, unless only a sync failed.
pub fn move_aside(fs: &dyn Fs, from: &Path, aside: &Path, name: &str) -> Result<PathBuf, Error> {
    if !aside.is_dir() {
        create_folder(fs, aside)?;
    }
    let mut to = aside.join(name);
    let mut suffix = 0_u64;
    while to.symlink_metadata().is_ok() {
        suffix += 1;
        to = aside.join(format!("{name}.{suffix}"));
    }
    fs.move_to(from, &to).map_err(|source| Error::io(from, "move aside", source))?;
    sync_folder(fs, aside)?;
    sync_folder(fs, from.parent().unwrap_or(Path::new(".")))?;
    Ok(to)
}

/// Returns the permission bits of a path if its group or other users have any, else None.
///
/// # Errors
/// [`Error::Io`].
pub fn mode_for_others(path: &Path) -> Result<Option<u32>, Error> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path).map_err(|source| Error::io(path, "read the metadata of", source))?;
    let mode = metadata.permissions().mode() & 0o7777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// Returns the bytes that this user can still write on the file system of `path`.
///
/// # Errors
/// [`Error::Io`].
pub fn free_bytes(path: &Path) -> Result<u64, Error> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|error| Error::io(path, "read the free space of the file system of", error.into()))?;
    let mut answer = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `name` is a C string and `answer` has room for one statvfs.
    if unsafe { libc::statvfs(name.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return Err(Error::io(path, "read the free space of the file system of", io::Error::last_os_error()));
    }
    // SAFETY: statvfs consists of plain numbers, zeroed above and filled in by the call.
    let answer = unsafe { answer.assume_init() };
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // narrower on some systems
    Ok((answer.f_bavail as u64).saturating_mul(answer.f_frsize as u64))
}

#[cfg(test)]
mod tests {
    use super::super::RealFs;
    use super::*;

    #[test]
    fn folders_are_created_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        create_folder(&RealFs, &dir.path().join("a/b")).unwrap();
        for name in ["keep", "old"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        assert_eq!(list_files(dir.path()).unwrap(), ["keep", "old"]);
        assert_eq!(list_folders(dir.path()).unwrap(), ["a"]);
        assert_eq!(file_len(&dir.path().join("keep")).unwrap(), Some(4));
        assert_eq!(file_len(&dir.path().join("none")).unwrap(), None);
        remove_folder(&RealFs, &dir.path().join("a")).unwrap();
        remove_folder(&RealFs, &dir.path().join("a")).unwrap();
        remove_file(&RealFs, &dir.path().join("keep")).unwrap();
        remove_file(&RealFs, &dir.path().join("keep")).unwrap();
        assert!(list_folders(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn moving_aside_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let aside = dir.path().join("aside");
        let mut moved = Vec::new();
        for content in ["one", "two"] {
            std::fs::write(dir.path().join("x"), content).unwrap();
            moved.push(move_aside(&RealFs, &dir.path().join("x"), &aside, "x").unwrap());
        }
        create_folder(&RealFs, &dir.path().join("f/g")).unwrap();
        moved.push(move_aside(&RealFs, &dir.path().join("f"), &aside, "x").unwrap());
        assert_eq!(moved, [aside.join("x"), aside.join("x.1"), aside.join("x.2")]);
        assert_eq!(std::fs::read_to_string(&moved[0]).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(&moved[1]).unwrap(), "two");
        assert!(moved[2].join("g").is_dir() && list_files(dir.path()).unwrap().is_empty());
        let refused = RealFs.move_to(&moved[0], &moved[1]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn created_files_are_private_to_their_owner() {
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        create_folder(&RealFs, &folder).unwrap();
        RealFs.create(&folder.join("created")).unwrap().append(b"x").unwrap();
        drop(RealFs.open(&folder.join("opened")).unwrap());
        drop(super::super::DirLock::take(&folder).unwrap());
        let mut atomic_file = super::super::AtomicFile::create(super::super::real_fs(), &folder, "published").unwrap();
        atomic_file.writer().write_all(b"x").unwrap();
        atomic_file.publish().unwrap();
        let spill_file = super::super::SpillFile::create(&folder, "scratch").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&dir.path().join("a"))), (0o700, 0o700));
        let files = list_files(&folder).unwrap();
        assert_eq!(files.len(), 5, "{files:?}");
        files.iter().for_each(|file| assert_eq!(mode(&folder.join(file)), 0o600, "{file}"));
        drop(spill_file);
        assert_eq!(mode_for_others(&folder).unwrap(), None);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(mode_for_others(&folder).unwrap(), Some(0o750));
    }

    #[test]
    fn free_space_is_returned_or_the_error_names_the_folder() {
        assert!(free_bytes(Path::new("/")).unwrap() > 0);
        assert!(free_bytes(Path::new("/no/such")).unwrap_err().to_string().contains("/no/such"));
    }
}
