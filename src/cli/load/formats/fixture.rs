//! Test files for the readers.

use super::detect;
use super::files::{self, ReadOptions};
use crate::api::{Item, PointInput};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file in its own folder, which is deleted with it.
pub(crate) struct TestFile {
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
}

pub(crate) fn file(name: &str, bytes: &[u8]) -> TestFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    TestFile { path, _folder: folder }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Encodes at most 255 bytes as a zstd frame of one raw block.
pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, u8::try_from(bytes.len()).unwrap()];
    frame.extend(&((bytes.len() as u32) << 3 | 1).to_le_bytes()[..3]);
    frame.extend(bytes);
    frame
}

pub(crate) fn fvecs(vectors: &[&[f32]]) -> Vec<u8> {
    let record = |vector: &&[f32]| {
        let mut bytes = (vector.len() as u32).to_le_bytes().to_vec();
        bytes.extend(vector.iter().flat_map(|x| x.to_le_bytes()));
        bytes
    };
    vectors.iter().flat_map(record).collect()
}

pub(crate) fn idx(axes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, axes.len() as u8];
    file.extend(axes.iter().flat_map(|axis| axis.to_be_bytes()));
    file.extend_from_slice(bytes);
    file
}

pub(crate) fn npy(version: u8, descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY".to_vec();
    file.extend([version, 0]);
    if version == 1 {
        file.extend((header.len() as u16).to_le_bytes());
    } else {
        file.extend((header.len() as u32).to_le_bytes());
    }
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// Returns the vectors of a file, or its first error.
pub(crate) fn vectors(path: &Path) -> Result<Vec<Vec<f32>>, String> {
    let mut rows = files::open_rows(path).map_err(|error| format!("{error:#}"))?;
    let mut all = Vec::new();
    let mut row = Vec::new();
    while let Some(read) = rows.next_row(&mut row) {
        read.map_err(|error| error.to_string())?;
        all.push(std::mem::take(&mut row));
    }
    Ok(all)
}

/// Returns the items of a file and its errors.
pub(crate) fn items(path: &Path) -> (Vec<Item>, Vec<String>) {
    let format = detect::detect(path).unwrap();
    let (mut items, mut errors) = (Vec::new(), Vec::new());
    for next in files::open(path, format, None, 0, &ReadOptions::default()).unwrap() {
        match next {
            Ok(item) => items.push(item),
            Err(error) => errors.push(error.to_string()),
        }
    }
    (items, errors)
}

/// Returns the note of a file.
pub(crate) fn note(path: &Path) -> Option<String> {
    let mut records = files::open(path, detect::detect(path).unwrap(), None, 0, &ReadOptions::default()).unwrap();
    records.by_ref().for_each(drop);
    records.note()
}

/// Returns the text of an item.
#[track_caller]
pub(crate) fn text(item: &Item) -> &str {
    match &item.source {
        PointInput::Text(text) => text,
        other => panic!("not a text: {other:?}"),
    }
}
