//! Labelled pictures in memory, and their sources.

use super::architecture::{CLASSES, SIDES};
use super::archive::{self, Entry};
use super::prepare;
use crate::formats::idx;
use crate::image_decode::Picture;
use crate::{DataSource, Error};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Maximum bytes of pixels in memory.
const MAX_BYTES: usize = 8 << 30;
/// Limits of a chunk of files that is decoded in parallel: files, and bytes.
const CHUNK_FILES: usize = 1024;
const CHUNK_BYTES: usize = 64 << 20;
/// Longest class name, bytes.
const MAX_CLASS_NAME: usize = 255;
/// Up to `MAX_LISTED` skipped files are listed. The data are refused if more than 1 / `SKIPPED_DIVISOR` of the files
/// are skipped.
const MAX_LISTED: usize = 10;
const SKIPPED_DIVISOR: usize = 10;

/// Requested format of the pictures.
#[derive(Clone, Copy, Debug)]
pub struct PictureOptions<'a> {
    /// Rows and columns; by default the size in an IDX file, or 32 for other files.
    pub side: Option<usize>,
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// The allowed classes; by default the classes that occur.
    pub classes: Option<&'a [String]>,
}

/// Files that were skipped because they are not valid images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Skipped {
    /// Number of files.
    pub count: usize,
    /// The first of them, each with its error.
    pub first: Vec<String>,
}

/// Square pictures of equal size, each with its class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelledPictures {
    side: usize,
    channels: usize,
    images: Vec<u8>,
    labels: Vec<u16>,
    classes: Vec<String>,
    sources: Vec<DataSource>,
    skipped: Skipped,
}

/// Default side of pictures from image files.
const DEFAULT_SIDE: usize = 32;

impl LabelledPictures {
    /// Labelled pictures from memory: `images` holds `side * side * channels` bytes for each of `labels`; labels
    /// are indices into `classes`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the lengths do not match, a label has no class, or a limit is exceeded.
    pub fn new(
        side: usize,
        channels: usize,
        images: Vec<u8>,
        labels: Vec<u16>,
        classes: Vec<String>,
    ) -> Result<Self, Error> {
        check_side(side)?;
        check_classes(&classes)?;
        let size = side * side * channels;
        if ![1, 3].contains(&channels) || labels.len().checked_mul(size) != Some(images.len()) {
            let (bytes, count) = (images.len(), labels.len());
            return Err(Error::InvalidInput(format!(
                "{bytes} bytes of images for {count} labels; an image has {size}"
            )));
        }
        if let Some(index) = labels.iter().position(|&label| usize::from(label) >= classes.len()) {
            let (label, max) = (labels[index], classes.len() - 1);
            return Err(Error::InvalidInput(format!("label {index} is {label}; the classes are 0 to {max}")));
        }
        Ok(Self { side, channels, images, labels, classes, ..Self::default() })
    }

    /// Reads a folder with one subfolder per class, or a tar archive of one (plain or gzip). Skips and counts files
    /// that are not valid images.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if an archive is damaged, or more than a tenth of the files are not
    /// images; [`Error::InvalidInput`] for fewer than two classes or too many, a class that is not allowed, or too
    /// many pixels for memory.
    pub fn read_classes(path: &Path, options: PictureOptions<'_>) -> Result<Self, Error> {
        let side = options.side.unwrap_or(DEFAULT_SIDE);
        check_side(side)?;
        let mut reader = PictureReader::new(side, options);
        let mut class_names = Vec::new();
        let mut waiting: (Vec<Entry>, usize) = (Vec::new(), 0);
        let source = archive::read(path, "unknown", &mut |class| class_names.push(class.to_owned()), &mut |entry| {
            waiting.1 += entry.bytes.as_ref().map_or(0, Vec::len);
            waiting.0.push(entry);
            if waiting.0.len() >= CHUNK_FILES || waiting.1 >= CHUNK_BYTES {
                waiting.1 = 0;
                reader.add_chunk(std::mem::take(&mut waiting.0))?;
            }
            Ok(())
        })?;
        reader.add_chunk(waiting.0)?;
        // Folders without an image are classes too; the trainer refuses them.
        class_names.iter().try_for_each(|class| reader.class(class).map(|_| ()))?;
        let mut this = reader.finish(path)?;
        this.sources = vec![source];
        Ok(this)
    }

    /// Reads a pair of IDX files of grey images and labels, each plain or gzip. Class names are the label numbers.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if a file is damaged or the counts differ; [`Error::InvalidInput`] as for
    /// [`new`](Self::new) and [`read_classes`](Self::read_classes).
    pub fn read_idx(images: &Path, labels: &Path, options: PictureOptions<'_>) -> Result<Self, Error> {
        let corrupt = |path: &Path, what: String| Error::Corrupt { path: path.into(), what };
        let pictures = idx::read(images)?;
        let &[count, rows, columns] = &pictures.dimensions[..] else {
            return Err(corrupt(images, format!("holds {:?}, not count x rows x columns", pictures.dimensions)));
        };
        if count == 0 || rows == 0 || columns == 0 {
            return Err(corrupt(images, format!("holds {count} images of {columns} x {rows} pixels: they are empty")));
        }
        // A limit of at least 1 MiB, so that a slightly longer file is reported as a count mismatch; it
        // still stops a gzip bomb.
        let found = idx::read_within(labels, u64::from(count).max(1 << 20))?;
        if found.dimensions != [count] {
            return Err(corrupt(labels, format!("holds {:?}, not the {count} labels of the images", found.dimensions)));
        }
        let (rows, columns) = (rows as usize, columns as usize);
        let side = options.side.unwrap_or(if rows == columns && SIDES.contains(&rows) { rows } else { DEFAULT_SIDE });
        check_side(side)?;
        let size = side * side * options.channels;
        check_bytes((count as usize).saturating_mul(size))?;
        let fitted = pictures.bytes.par_chunks(rows * columns).map(|grey| {
            if (rows, columns, options.channels) == (side, side, 1) {
                return Ok(grey.to_vec());
            }
            let rgb = grey.iter().flat_map(|&grey| [grey; 3]).collect();
            prepare::fit(Picture { width: columns, height: rows, rgb }, side, options.channels)
        });
        let fitted = fitted.collect::<Result<Vec<_>, _>>()?.concat();
        let last = usize::from(found.bytes.iter().copied().max().unwrap_or(0));
        let classes =
            options.classes.map_or_else(|| (0..=last).map(|class| class.to_string()).collect(), <[String]>::to_vec);
        let label_numbers = found.bytes.iter().map(|&label| u16::from(label)).collect();
        let mut this = Self::new(side, options.channels, fitted, label_numbers, classes)
            .map_err(|error| corrupt(labels, error.to_string()))?;
        this.sources = vec![DataSource::of(images, "unknown")?, DataSource::of(labels, "unknown")?];
        Ok(this)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Rows and columns of each image.
    pub fn side(&self) -> usize {
        self.side
    }

    /// 1 for grey, 3 for colour.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The bytes of one image, `[y][x][channel]`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.side * self.side * self.channels;
        &self.images[index * size..][..size]
    }

    /// The class of one image.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn label(&self, index: usize) -> u16 {
        self.labels[index]
    }

    /// The pixels of all images, concatenated.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// All labels.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The sources they were read from.
    pub fn sources(&self) -> &[DataSource] {
        &self.sources
    }

    /// The files that were skipped.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// Whether both have the same image size and the same classes.
    pub(crate) fn has_same_format(&self, other: &Self) -> bool {
        (self.side, self.channels, &self.classes) == (other.side, other.channels, &other.classes)
    }

    /// The first class without an image.
    pub(super) fn empty_class(&self) -> Option<usize> {
        let mut seen = vec![false; self.classes.len()];
        self.labels.iter().for_each(|&label| seen[usize::from(label)] = true);
        seen.iter().position(|seen| !seen)
    }

    /// Mean and standard deviation of each colour, for pixels scaled to 0..1.
    pub(super) fn moments(&self) -> (Vec<f32>, Vec<f32>) {
        let count = (self.images.len() / self.channels).max(1) as f64;
        let of = |channel: usize| {
            let numbers = self.images.iter().skip(channel).step_by(self.channels);
            let (sum, square) = numbers.fold((0u64, 0u64), |(sum, square), &byte| {
                (sum + u64::from(byte), square + u64::from(byte) * u64::from(byte))
            });
            let mean = sum as f64 / count;
            let deviation = (square as f64 / count - mean * mean).max(1.0).sqrt();
            ((mean / 255.0) as f32, (deviation / 255.0) as f32)
        };
        (0..self.channels).map(of).unzip()
    }
}

/// State of reading pictures from files.
struct PictureReader<'a> {
    side: usize,
    options: PictureOptions<'a>,
    class_indexes: HashMap<String, u16>,
    images: Vec<u8>,
    labels: Vec<u16>,
    skipped: Skipped,
}

impl<'a> PictureReader<'a> {
    fn new(side: usize, options: PictureOptions<'a>) -> Self {
        let classes = options.classes.unwrap_or_default();
        let class_indexes = classes.iter().zip(0..).map(|(class, index)| (class.clone(), index)).collect();
        Self { side, options, class_indexes, images: Vec::new(), labels: Vec::new(), skipped: Skipped::default() }
    }

    /// The index of a class; adds a new class unless the allowed classes are given.
    fn class(&mut self, name: &str) -> Result<u16, Error> {
        if let Some(index) = self.class_indexes.get(name) {
            return Ok(*index);
        }
        let shown: String = name.chars().take(80).collect();
        if self.options.classes.is_some() {
            return Err(Error::InvalidInput(format!(
                "the class {shown:?} is none of the {} known",
                self.class_indexes.len()
            )));
        }
        if name.len() > MAX_CLASS_NAME {
            return Err(Error::InvalidInput(format!(
                "the name of the class {shown:?} has more than {MAX_CLASS_NAME} bytes"
            )));
        }
        if self.class_indexes.len() == *CLASSES.end() {
            return Err(Error::InvalidInput(format!("there are more than {} classes", CLASSES.end())));
        }
        let index = self.class_indexes.len() as u16;
        self.class_indexes.insert(name.into(), index);
        Ok(index)
    }

    /// Decodes a chunk of files on all cores.
    fn add_chunk(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        let (side, channels) = (self.side, self.options.channels);
        let decode = |entry: Entry| {
            let pixels = entry.bytes.and_then(|bytes| prepare::pixels(&bytes, side, channels));
            (entry.name, entry.class, pixels)
        };
        let decoded: Vec<_> = entries.into_par_iter().map(decode).collect();
        for (name, class, pixels) in decoded {
            let class = self.class(&class)?;
            match pixels {
                Ok(pixels) => {
                    self.images.extend(pixels);
                    self.labels.push(class);
                }
                Err(error) => {
                    self.skipped.count += 1;
                    if self.skipped.first.len() < MAX_LISTED {
                        let name: String = name.chars().take(200).collect();
                        self.skipped.first.push(format!("{name}: {error}"));
                    }
                }
            }
        }
        check_bytes(self.images.len())
    }

    fn finish(self, path: &Path) -> Result<LabelledPictures, Error> {
        let mut classes = vec![String::new(); self.class_indexes.len()];
        self.class_indexes.into_iter().for_each(|(class, index)| classes[usize::from(index)] = class);
        let all = self.labels.len() + self.skipped.count;
        if self.labels.is_empty() && self.skipped.count == 0 {
            let what = "has no images in class folders (a folder a class; files that end in png, jpg, jpeg, bmp, webp)";
            return Err(Error::Corrupt { path: path.into(), what: what.into() });
        }
        if self.skipped.count * SKIPPED_DIVISOR > all {
            let what = format!(
                "{} of {all} files are not valid images: {}",
                self.skipped.count,
                self.skipped.first.join("; ")
            );
            return Err(Error::Corrupt { path: path.into(), what });
        }
        // Sorted, because an archive may contain the classes in any order.
        let mut order: Vec<u16> = (0..classes.len() as u16).collect();
        if self.options.classes.is_none() {
            order.sort_by_key(|&index| &classes[usize::from(index)]);
        }
        let mut new = vec![0; classes.len()];
        order.iter().zip(0..).for_each(|(&index, rank)| new[usize::from(index)] = rank);
        let labels = self.labels.iter().map(|&label| new[usize::from(label)]).collect();
        let sorted = order.iter().map(|&index| classes[usize::from(index)].clone()).collect();
        let mut this = LabelledPictures::new(self.side, self.options.channels, self.images, labels, sorted)?;
        this.skipped = self.skipped;
        Ok(this)
    }
}

fn check_side(side: usize) -> Result<(), Error> {
    let (min, max) = (SIDES.start(), SIDES.end());
    if SIDES.contains(&side) {
        return Ok(());
    }
    Err(Error::InvalidInput(format!("the side of the images is {side}; it must be {min} to {max} pixels")))
}

/// Refuses too few or too many classes, and duplicate names.
pub(super) fn check_classes(classes: &[String]) -> Result<(), Error> {
    let (min, max) = (CLASSES.start(), CLASSES.end());
    let mut seen = HashSet::new();
    if let Some(twice) = classes.iter().find(|class| !seen.insert(*class)) {
        let shown: String = twice.chars().take(80).collect();
        return Err(Error::InvalidInput(format!("two classes are called {shown:?}")));
    }
    match classes {
        [only] => Err(Error::InvalidInput(format!("{only:?} is the only class; training needs at least {min}"))),
        _ if CLASSES.contains(&classes.len()) => Ok(()),
        _ => Err(Error::InvalidInput(format!("{} classes; there must be {min} to {max}", classes.len()))),
    }
}

fn check_bytes(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let what = format!("the images have more than {MAX_BYTES} bytes of pixels; a smaller size helps");
    Err(Error::InvalidInput(what))
}
