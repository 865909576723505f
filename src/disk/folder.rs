//! Folders: make, list, sweep and remove them, and ask how much room is left.

use super::{Error, Fs};
use std::io;
use std::path::Path;

/// Makes a folder and those above it, and makes its name durable in the folder above.
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

/// Makes the names in a folder durable.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_folder(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    fs.sync_dir(path).map_err(|source| Error::io(path, "make its names durable", source))
}

/// Removes a folder and everything in it; one that is not there is no error.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_folder(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    absent_is_done(fs.remove_dir(path)).map_err(|source| Error::io(path, "remove the folder", source))
}

/// Removes a file; one that is not there is no error. A map of it stays whole.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_file(fs: &dyn Fs, path: &Path) -> Result<(), Error> {
    absent_is_done(fs.remove(path)).map_err(|source| Error::io(path, "remove", source))
}

fn absent_is_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Bytes of a file; none when there is no such file.
///
/// # Errors
/// [`Error::Io`].
pub fn file_len(path: &Path) -> Result<Option<u64>, Error> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(path, "look at", source)),
    }
}

/// Names of the files in a folder, sorted. Names that are not UTF-8 are none of ours and are left out.
///
/// # Errors
/// [`Error::Io`].
pub fn list_files(dir: &Path) -> Result<Vec<String>, Error> {
    list(dir, |kind| kind.is_file())
}

/// Names of the folders in a folder, sorted; as [`list_files`].
///
/// # Errors
/// [`Error::Io`].
pub fn list_folders(dir: &Path) -> Result<Vec<String>, Error> {
    list(dir, |kind| kind.is_dir())
}

fn list(dir: &Path, want: impl Fn(&std::fs::FileType) -> bool) -> Result<Vec<String>, Error> {
    let failed = |source| Error::io(dir, "list", source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if want(&entry.file_type().map_err(failed)?) {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes the files of a folder that `keep` does not want, folders never. Returns their names.
/// To be called while nothing is being written there: drafts are files that nothing names.
///
/// # Errors
/// [`Error::Io`].
pub fn sweep(fs: &dyn Fs, dir: &Path, keep: impl Fn(&str) -> bool) -> Result<Vec<String>, Error> {
    let mut names = list_files(dir)?;
    names.retain(|name| !keep(name));
    for name in &names {
        remove_file(fs, &dir.join(name))?;
    }
    Ok(names)
}

/// Bytes that this user can still write on the file system of `path`.
///
/// # Errors
/// [`Error::Io`].
pub fn free_bytes(path: &Path) -> Result<u64, Error> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|error| Error::io(path, "ask for free space", error.into()))?;
    let mut answer = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `name` is a C string and `answer` has room for one statvfs.
    if unsafe { libc::statvfs(name.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return Err(Error::io(path, "ask for free space", io::Error::last_os_error()));
    }
    // SAFETY: statvfs is plain numbers, zeroed above and filled in by the call.
    let answer = unsafe { answer.assume_init() };
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)] // narrower on some systems
    Ok((answer.f_bavail as u64).saturating_mul(answer.f_frsize as u64))
}

#[cfg(test)]
mod tests {
    use super::super::RealFs;
    use super::*;

    #[test]
    fn a_sweep_removes_what_nothing_names_and_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        create_folder(&RealFs, &dir.path().join("a/b")).unwrap();
        for name in ["keep", "x.0.tmp", "old"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        assert_eq!(sweep(&RealFs, dir.path(), |name| name == "keep").unwrap(), ["old", "x.0.tmp"]);
        assert_eq!(list_files(dir.path()).unwrap(), ["keep"]);
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
    fn free_space_is_told_or_the_folder_is_named() {
        assert!(free_bytes(Path::new("/")).unwrap() > 0);
        assert!(free_bytes(Path::new("/no/such")).unwrap_err().to_string().contains("/no/such"));
    }
}
