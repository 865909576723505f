//! Writing a file of a model folder: whole and durable, or not at all.

use super::Error;
use crate::disk;
use std::path::Path;

/// Writes `folder/name`, replacing what was there.
///
/// # Errors
/// [`Error::Disk`]; what was there before is still there then.
pub(super) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    disk::publish(&disk::real_fs(), folder, name, |writer| writer.put(bytes))?;
    Ok(())
}
