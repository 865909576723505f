//! Labelled images, and the record of their source files.

use super::{CLASSES, PIXELS, SIDE};
use crate::formats::idx;
use crate::{DataSource, Error};
use std::path::Path;

/// Images of 28x28 pixels, from 0 (background) to 255 (ink), each with its digit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelledImages {
    images: Vec<u8>,
    labels: Vec<u8>,
    sources: Vec<DataSource>,
}

impl LabelledImages {
    /// Labelled images from memory: `images` holds 784 bytes for each of `labels`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the lengths do not match, or a label is above 9.
    pub fn new(images: Vec<u8>, labels: Vec<u8>) -> Result<Self, Error> {
        if labels.len().checked_mul(PIXELS) != Some(images.len()) {
            return Err(Error::InvalidInput(format!(
                "{} bytes of images for {} labels; an image has {PIXELS} bytes",
                images.len(),
                labels.len()
            )));
        }
        if let Some(index) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
            return Err(Error::InvalidInput(format!("label {index} is {}; labels are 0 to 9", labels[index])));
        }
        Ok(Self { images, labels, sources: Vec::new() })
    }

    /// Reads a pair of IDX files, each plain or gzip.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if a file is damaged, does not contain 28x28 images or labels 0 to 9, or
    /// if the counts differ.
    pub fn read(images: &Path, labels: &Path) -> Result<Self, Error> {
        let pictures = idx::read(images)?;
        let corrupt = |path: &Path, what: String| Error::Corrupt { path: path.into(), what };
        if pictures.dimensions.len() != 3 || pictures.dimensions[1..] != [SIDE as u32; 2] {
            return Err(corrupt(images, format!("holds {:?}, not count x {SIDE} x {SIDE}", pictures.dimensions)));
        }
        // A limit of at least 1 MiB, so that a slightly longer file is reported as a count mismatch; it
        // still stops a gzip bomb.
        let digits = idx::read_within(labels, u64::from(pictures.dimensions[0]).max(1 << 20))?;
        if digits.dimensions.len() != 1 || digits.dimensions[0] != pictures.dimensions[0] {
            let what =
                format!("holds {:?}, not the {} labels of the images", digits.dimensions, pictures.dimensions[0]);
            return Err(corrupt(labels, what));
        }
        let mut this = Self::new(pictures.bytes, digits.bytes).map_err(|error| corrupt(labels, error.to_string()))?;
        this.sources = vec![data_source(images)?, data_source(labels)?];
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

    /// The 784 bytes of one image, row by row.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn image(&self, index: usize) -> &[u8] {
        &self.images[index * PIXELS..][..PIXELS]
    }

    /// The digit of one image.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn label(&self, index: usize) -> u8 {
        self.labels[index]
    }

    /// The pixels of all images, concatenated.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// All labels.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The source files.
    pub fn sources(&self) -> &[DataSource] {
        &self.sources
    }

    /// The first `count` images (all of them when there are fewer).
    pub fn first(&self, count: usize) -> Self {
        let count = count.min(self.len());
        Self {
            images: self.images[..count * PIXELS].to_vec(),
            labels: self.labels[..count].to_vec(),
            sources: self.sources.clone(),
        }
    }
}

/// Licences of known files, by the SHA-256 of their bytes.
const LICENCES: [(&str, &str); 4] = [
    ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", MNIST),
    ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", MNIST),
    ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", MNIST),
    ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", MNIST),
];
const MNIST: &str = "The MNIST database of handwritten digits, Y. LeCun, C. Cortes, C. J. C. Burges. Copied from GitHub \
                     fgnt/mnist, which states no licence; the training images rebuilt from GitHub rasbt/mnist-pngs, which \
                     states MIT for the repository.";

/// The record of one file for a model card: name, size, SHA-256, and the licence of a known file.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn data_source(path: &Path) -> Result<DataSource, Error> {
    let source = DataSource::of(path, "unknown")?;
    let known = LICENCES.iter().find(|(sha256, _)| *sha256 == source.sha256);
    Ok(DataSource { licence: known.map_or("unknown", |(_, licence)| licence).into(), ..source })
}
