//! Reader of a folder of images, recursively in the order of names, or of a single image file.

use crate::api::{Item, Payload, PointInput};
use crate::cli::load::record::{FilePosition, RecordError, RecordPosition, Records};
use crate::embed::image_decode::{EXTENSIONS, has_image_extension};
use crate::types::PointId;
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum size of an image file, bytes.
const MAX_IMAGE: u64 = 64 << 20;
/// Maximum depth of nested folders.
const MAX_DEPTH: usize = 64;

/// Reads an image file; the error names it.
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

/// Maximum number of rows and columns of an image that may be a digit.
const DIGIT_SIDE: u32 = 128;
/// Mean difference of the colour channels of a pixel from which an image counts as coloured.
const COLOURED: u64 = 24;

/// Explains why an image is unsuitable for the default digit net; none if it may be a digit: digits are small and grey.
pub(crate) fn unlike_a_digit(bytes: &[u8]) -> Option<String> {
    let reader = || image::ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok();
    // The embedder refuses invalid images with its own message.
    let (width, height) = reader()?.into_dimensions().ok()?;
    let kind = if width > DIGIT_SIDE || height > DIGIT_SIDE {
        format!("{width} x {height} pixels")
    } else {
        let pixels = reader()?.decode().ok()?.into_rgb8();
        let spread = |[red, green, blue]: [u8; 3]| red.max(green).max(blue) - red.min(green).min(blue);
        let apart: u64 = pixels.pixels().map(|pixel| u64::from(spread(pixel.0))).sum();
        if apart <= COLOURED * u64::from(width) * u64::from(height) {
            return None;
        }
        "in colour".to_owned()
    };
    Some(format!(
        "an image {kind}; the embedder digits takes handwritten digits, small and grey. Choose another with \
         --embedder (`nearness embedders` lists them, `train images` trains one), or give --embedder digits to embed it anyway"
    ))
}

/// The images of a folder: the id is the relative path; the payload field `folder` is the folder of the image.
pub(crate) struct FolderRecords {
    root: PathBuf,
    files: std::vec::IntoIter<Result<PathBuf, RecordError>>,
    id_prefix: String,
    position: FilePosition,
    read: u64,
    total: u64,
}

impl FolderRecords {
    /// Lists the images; only names are kept in memory.
    pub(crate) fn open(path: &Path, id_prefix: &str) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        let mut total = 0;
        let root = if path.is_dir() {
            fs::read_dir(path).with_context(|| format!("{}: cannot be listed", path.display()))?;
            walk(path, 0, &mut files, &mut total);
            path.to_owned()
        } else {
            total = fs::metadata(path).with_context(|| format!("{}: cannot be opened", path.display()))?.len();
            files.push(Ok(path.to_owned()));
            path.parent().map(Path::to_owned).unwrap_or_default()
        };
        if files.is_empty() {
            bail!(
                "{}: contains no images (files that end in {}); load text files by their names",
                path.display(),
                EXTENSIONS.join(", ")
            );
        }
        let position = FilePosition { path: path.into(), at: RecordPosition::Whole };
        Ok(Self { root, files: files.into_iter(), id_prefix: id_prefix.into(), position, read: 0, total })
    }
}

/// Adds the images below a folder, and an error for each folder that cannot be listed.
fn walk(folder: &Path, depth: usize, files: &mut Vec<Result<PathBuf, RecordError>>, total: &mut u64) {
    let invalid =
        |what: String| Err(RecordError::record(FilePosition { path: folder.into(), at: RecordPosition::Whole }, what));
    if depth > MAX_DEPTH {
        return files.push(invalid(format!("skipped a folder at a depth of more than {MAX_DEPTH}")));
    }
    let listed = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut entries = match listed {
        Ok(entries) => entries,
        Err(error) => return files.push(invalid(format!("the folder cannot be listed: {error}"))),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links are not followed, so no folder is visited twice.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, depth + 1, files, total);
        } else if has_image_extension(&path) && path.is_file() {
            *total += fs::metadata(&path).map_or(0, |meta| meta.len());
            files.push(Ok(path));
        }
    }
}

impl Iterator for FolderRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = match self.files.next()? {
            Ok(path) => path,
            Err(error) => {
                self.position = error.position.clone();
                return Some(Err(error));
            }
        };
        self.position.path = Arc::from(path.as_path());
        let invalid = |what: String| RecordError::record(self.position.clone(), what);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(what) => return Some(Err(invalid(what))),
        };
        self.read += bytes.len() as u64;
        let relative = path.strip_prefix(&self.root).unwrap_or(&path);
        let Some(name) = relative.to_str() else { return Some(Err(invalid("its name is not UTF-8".into()))) };
        let mut payload = Payload::new();
        if let Some(folder) = relative.parent().and_then(Path::to_str).filter(|folder| !folder.is_empty()) {
            payload.insert("folder".into(), folder.into());
        }
        Some(match PointId::new(format!("{}{name}", self.id_prefix)) {
            Ok(id) => Ok(Item { id, source: PointInput::Image(bytes), payload, vectors: Default::default() }),
            Err(error) => Err(invalid(error.to_string())),
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
    fn file_position(&self) -> FilePosition {
        self.position.clone()
    }
    fn rows_seen(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::formats::fixture;

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
    fn a_folder_that_cannot_be_listed_is_skipped() {
        let file = fixture::file("a.png", b"pixels");
        let root = file.path.parent().unwrap();
        // Refused for root, too, to whom permissions do not apply.
        let deep = (0..=MAX_DEPTH).fold(root.join("deep"), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("lost.png"), b"pixels").unwrap();
        let (items, errors) = fixture::items(root);
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["a.png"]);
        assert!(errors.len() == 1 && errors[0].contains("deep/d/d") && errors[0].contains("skipped"), "{errors:?}");
    }

    #[test]
    fn photographs_are_distinguished_from_digits() {
        let png = |width: u32, height: u32, pixel: [u8; 3]| {
            let mut bytes = Cursor::new(Vec::new());
            image::RgbImage::from_pixel(width, height, image::Rgb(pixel))
                .write_to(&mut bytes, image::ImageFormat::Png)
                .unwrap();
            bytes.into_inner()
        };
        assert_eq!(unlike_a_digit(&png(28, 28, [90, 92, 91])), None);
        assert_eq!(unlike_a_digit(&[7; 784]), None);
        assert_eq!(unlike_a_digit(b"broken"), None);
        assert!(unlike_a_digit(&png(32, 32, [200, 50, 60])).unwrap().contains("in colour"));
        assert!(unlike_a_digit(&png(640, 480, [90; 3])).unwrap().contains("640 x 480 pixels"));
    }

    #[test]
    fn a_folder_without_images_is_refused() {
        let file = fixture::file("note.txt", b"not an image");
        assert!(FolderRecords::open(file.path.parent().unwrap(), "").is_err());
    }
}
