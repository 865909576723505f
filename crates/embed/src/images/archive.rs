//! Iteration over the images of a folder or a tar archive (plain, gzip or zstd), each with its class.

use crate::formats::compressed;
use crate::image_decode::{MAX_FILE_BYTES, has_image_extension};
use crate::save::read_bounded;
use crate::{DataSource, Error};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};
use tar::{Archive, EntryType};

/// Maximum nesting of folders.
const MAX_DEPTH: usize = 16;
/// Longest entry name in an archive, bytes.
const MAX_NAME: u64 = 64 << 10;

/// An image file: its path, its class, and its bytes or the error of reading them.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) bytes: Result<Vec<u8>, Error>,
}

/// Reads all images below `path` and passes each to `take`; returns the data source. In a folder, images come in
/// the order of names, and the class is the folder directly below `path`; hidden files and folders are skipped. In
/// a tar archive, images come in archive order, and the class is the folder that contains the file.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] for an archive that is damaged or truncated, or a folder that contains images
/// but no class folder; the errors of `take`.
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

/// Whether a file or folder is hidden: its name starts with a dot, as in `.ipynb_checkpoints`, `.git` and
/// `._photo.jpg`.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Contents of a folder, sorted by name.
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
        // Does not follow links, so no folder is visited twice.
        let is_link = path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        if path.is_dir() && !is_link {
            walk(&path, depth + 1, files)?;
        } else if has_image_extension(&path) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads the images of a tar archive; supports long names of GNU tar and pax.
fn read_archive(
    path: &Path,
    licence: &str,
    take: &mut dyn FnMut(Entry) -> Result<(), Error>,
) -> Result<DataSource, Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let broken =
        |error: io::Error| Error::Corrupt { path: path.into(), what: format!("not a whole tar archive: {error}") };
    let file = BufReader::with_capacity(256 << 10, File::open(path).map_err(io)?);
    let (stream, _) = compressed::decompress(file).map_err(io)?;
    let mut archive = Archive::new(stream);
    let mut long_name = None;
    // Raw entries: long names are read here, with a size limit.
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
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) || hidden || !has_image_extension(file) {
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
    // The rest is padding; reading it detects a damaged end of the gzip stream.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    DataSource::of(path, licence)
}

/// The `path` attribute of a pax header, which has lines of `length key=value`.
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

/// Builders of archives for tests.
#[cfg(test)]
pub(super) mod tests_support {
    use std::io::Write;

    /// A tar archive of `files`.
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

    /// `bytes` compressed with gzip.
    pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }
}
