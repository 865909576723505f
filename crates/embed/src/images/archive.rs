//! The images of a folder or of a tar archive (plain or gzip), one after the other, with the class that each lies in.

use crate::packed::Gunzip;
use crate::picture::{MAX_FILE_BYTES, has_image_name};
use crate::save::read_bounded;
use crate::{DataSource, Error};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};
use tar::{Archive, EntryType};

/// Folders within folders.
const MAX_DEPTH: usize = 16;
/// Longest name of an entry of an archive, bytes.
const MAX_NAME: u64 = 64 << 10;

/// An image file: where it lies, the name of its class, and its bytes, or why they cannot be had.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) bytes: Result<Vec<u8>, Error>,
}

/// Reads every image below `path` in order, and gives each to `take`: of a folder, in the order of names, the class being the
/// folder directly below it (hidden files and folders are left out); of a tar archive in its order, the class being the folder that the file lies in. Gives what was read.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] for an archive that is damaged or cut, or a folder that holds images beside its class
/// folders and no class folder; what `take` says.
pub(super) fn read(
    path: &Path,
    licence: &str,
    classes: &mut dyn FnMut(&str),
    take: &mut dyn FnMut(Entry) -> Result<(), Error>,
) -> Result<DataSource, Error> {
    if path.is_dir() { read_folder(path, licence, classes, take) } else { read_archive(path, licence, take) }
}

fn read_folder(
    root: &Path,
    licence: &str,
    classes: &mut dyn FnMut(&str),
    take: &mut dyn FnMut(Entry) -> Result<(), Error>,
) -> Result<DataSource, Error> {
    let (mut hash, mut total) = (Sha256::new(), 0);
    let folders = list(root)?.into_iter().filter(|path| path.is_dir() && !is_hidden(path));
    for folder in folders {
        let class = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        classes(&class);
        let mut files = Vec::new();
        walk(&folder, 0, &mut files)?;
        for path in files {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            let bytes = read_bounded(&path, MAX_FILE_BYTES as u64);
            let content = bytes.as_deref().unwrap_or_default();
            for piece in [name.as_bytes(), content] {
                hash.update((piece.len() as u64).to_le_bytes());
                hash.update(piece);
            }
            total += content.len() as u64;
            take(Entry { name, class: class.clone(), bytes })?;
        }
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let file = root.canonicalize().ok().and_then(|root| Some(root.file_name()?.to_string_lossy().into_owned()));
    let file = file.unwrap_or_default() + "/";
    Ok(DataSource { file, bytes: total, sha256, licence: licence.into(), ..DataSource::default() })
}

/// Whether a file or folder is hidden: its name begins with a dot, as in `.ipynb_checkpoints`, `.git` and `._photo.jpg`.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// What lies in a folder, in the order of names.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let named = |source| Error::Io { path: folder.into(), source };
    let entries = fs::read_dir(folder).map_err(named)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(named)?;
    paths.sort();
    Ok(paths)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        let what = format!("folders lie deeper than {MAX_DEPTH} within one another");
        return Err(Error::Corrupt { path: folder.into(), what });
    }
    for path in list(folder)?.into_iter().filter(|path| !is_hidden(path)) {
        // Not following links: no folder is seen twice.
        let is_link = path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        if path.is_dir() && !is_link {
            walk(&path, depth + 1, files)?;
        } else if has_image_name(&path) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// The images of a tar archive; names of any length as GNU tar and pax write them.
fn read_archive(
    path: &Path,
    licence: &str,
    take: &mut dyn FnMut(Entry) -> Result<(), Error>,
) -> Result<DataSource, Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let broken =
        |error: io::Error| Error::Corrupt { path: path.into(), what: format!("not a whole tar archive: {error}") };
    let mut file = BufReader::with_capacity(256 << 10, File::open(path).map_err(io)?);
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic).map_err(io)?;
    let gzip = magic == [0x1f, 0x8b];
    let whole = io::Cursor::new(magic).chain(file);
    let stream: Box<dyn Read> = if gzip { Box::new(Gunzip::new(whole)) } else { Box::new(whole) };
    let mut archive = Archive::new(stream);
    let mut long_name = None;
    // Raw: long names are read here, within bounds.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let (kind, size) = (entry.header().entry_type(), entry.size());
        if [EntryType::GNULongName, EntryType::XHeader].contains(&kind) {
            if size > MAX_NAME {
                let what = format!("a name or its attributes have {size} bytes; at most {MAX_NAME} are read");
                return Err(Error::Corrupt { path: path.into(), what });
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            long_name = if kind == EntryType::XHeader { pax_path(&bytes).or(long_name) } else { Some(bytes) };
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
        let file = Path::new(&name);
        let hidden = file.file_name().is_none() || file.components().any(|part| is_hidden(Path::new(part.as_os_str())));
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) || hidden || !has_image_name(file) {
            continue;
        }
        let class = file.parent().and_then(Path::file_name).map(|class| class.to_string_lossy().into_owned());
        let Some(class) = class else { continue };
        let bytes = if size > MAX_FILE_BYTES as u64 {
            Err(Error::InvalidInput(format!("the image has {size} bytes; at most {MAX_FILE_BYTES} are read")))
        } else {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            Ok(bytes)
        };
        take(Entry { name, class, bytes })?;
    }
    // What follows the last entry is padding; a damaged end of the gzip stream shows here.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    DataSource::of(path, licence)
}

/// The path among the attributes of a pax header: lines of `length key=value`.
fn pax_path(mut attributes: &[u8]) -> Option<Vec<u8>> {
    while let Some(space) = attributes.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&attributes[..space]).ok()?.parse().ok()?;
        let line = attributes.get(space + 1..length)?;
        if let Some(path) = line.strip_prefix(b"path=") {
            return Some(path.strip_suffix(b"\n").unwrap_or(path).to_vec());
        }
        attributes = &attributes[length..];
    }
    None
}

/// Archives for tests.
#[cfg(test)]
pub(super) mod tests_support {
    use std::io::Write;

    /// A tar archive of files.
    pub(in super::super) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// The bytes inside gzip.
    pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }
}
