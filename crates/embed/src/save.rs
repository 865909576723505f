//! Files of a model folder: atomic, durable writes and size-limited reads.

use super::Error;
use crate::disk;
use std::io::Read;
use std::path::Path;

/// Writes `folder/name` atomically, replacing an existing file.
///
/// # Errors
/// [`Error::Disk`]; an existing file is then unchanged.
pub(super) fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    disk::publish(&disk::real_fs(), folder, name, |writer| writer.put(bytes))?;
    Ok(())
}

/// Writes the files of a model folder in order. Creates a missing folder, accessible to its owner only.
///
/// # Errors
/// [`Error::Io`]; [`Error::Disk`].
pub(super) fn write_folder(folder: &Path, files: &[(&str, impl AsRef<[u8]>)]) -> Result<(), Error> {
    disk::create_private_dirs(folder).map_err(|source| Error::Io { path: folder.into(), source })?;
    files.iter().try_for_each(|(name, bytes)| write_file(folder, name, bytes.as_ref()))
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] for a larger file.
pub(super) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(io)?.take(max + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > max {
        return Err(Error::Corrupt { path: path.into(), what: format!("has more than {max} bytes") });
    }
    Ok(bytes)
}
