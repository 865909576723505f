//! Preprocessing of a picture of any size: centre crop, scaling, conversion to grey or colour, normalization.

use super::architecture::Architecture;
use crate::Error;
use crate::image_decode::{Picture, check_size, decode, invalid, is_supported};
use crate::math::convolution::rows;
use image::{RgbImage, imageops};

/// Family and version of the preprocessing, part of the fingerprint. Any change of the net's input for any image
/// requires a new version.
pub(super) const PREPROCESSING: &str = "images/1";

/// The pixels of an image file, or of raw pixels of exactly the net's size: `[y][x][channel]`, 8 bits each.
///
/// # Errors
/// [`Error::InvalidInput`] with the limit that the image exceeds, or the decoding error.
pub(super) fn pixels(bytes: &[u8], side: usize, channels: usize) -> Result<Vec<u8>, Error> {
    check_size(bytes)?;
    let raw = (bytes.len() == side * side * channels).then_some(bytes);
    let known = || {
        let size = side * side * channels;
        format!("supported: PNG, JPEG, BMP, WebP, and {size} raw bytes ({side}x{side}, {channels} a pixel)")
    };
    match (image::guess_format(bytes), raw) {
        (Ok(format), raw) if is_supported(format) => match (decode(bytes, format), raw) {
            (Ok(picture), _) => fit(picture, side, channels),
            (Err(_), Some(raw)) => Ok(raw.to_vec()),
            (Err(error), None) => Err(error),
        },
        (_, Some(raw)) => Ok(raw.to_vec()),
        (Ok(format), None) => Err(invalid(format!("images of the format {format:?} are not read; {}", known()))),
        (Err(_), None) => Err(invalid(format!("{} bytes that are not an image; {}", bytes.len(), known()))),
    }
}

/// The central square of a picture, scaled to `side`; a picture of that size is unchanged.
pub(super) fn fit(picture: Picture, side: usize, channels: usize) -> Result<Vec<u8>, Error> {
    let Picture { width, height, rgb } = picture;
    let shorter = width.min(height);
    let (left, top) = ((width - shorter) / 2, (height - shorter) / 2);
    let image = RgbImage::from_raw(width as u32, height as u32, rgb)
        .ok_or_else(|| invalid(format!("the decoded image is not of {width} x {height} pixels")))?;
    let square = if width == height {
        image
    } else {
        imageops::crop_imm(&image, left as u32, top as u32, shorter as u32, shorter as u32).to_image()
    };
    let scaled = if shorter == side {
        square
    } else {
        imageops::resize(&square, side as u32, side as u32, imageops::FilterType::Triangle)
    };
    let rgb = scaled.into_raw();
    // Weights of the colours by ITU-R BT.601.
    let grey = |pixel: &[u8; 3]| {
        let [red, green, blue] = pixel.map(u32::from);
        ((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8
    };
    Ok(if channels == 3 { rgb } else { rgb.as_chunks::<3>().0.iter().map(grey).collect() })
}

/// Lookup tables of `(byte / 255 - mean) / deviation` for each colour.
#[derive(Clone, Debug)]
pub(super) struct Tables(Vec<[f32; 256]>);

impl Tables {
    pub(super) fn new(mean: &[f32], deviation: &[f32]) -> Self {
        let table =
            |(mean, deviation): (&f32, &f32)| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / deviation);
        Self(mean.iter().zip(deviation).map(table).collect())
    }

    /// Writes the normalized image into a zeroed picture with border: shifted by `(dx, dy)` pixels with zero fill,
    /// and mirrored if `flip`.
    pub(super) fn fill(
        &self,
        shape: &Architecture,
        pixels: &[u8],
        (dx, dy): (isize, isize),
        flip: bool,
        into: &mut [f32],
    ) {
        let Architecture { side, channels, .. } = *shape;
        for (y, row) in rows(side, channels).enumerate() {
            let into = &mut into[row];
            let from = y.checked_add_signed(dy).filter(|&from| from < side);
            let Some(from) = from else { continue };
            let line = &pixels[from * side * channels..][..side * channels];
            for (x, into) in into.chunks_exact_mut(channels).enumerate() {
                let x = if flip { side - 1 - x } else { x };
                let Some(from) = x.checked_add_signed(dx).filter(|&from| from < side) else { continue };
                let pixel = &line[from * channels..][..channels];
                for ((into, byte), table) in into.iter_mut().zip(pixel).zip(&self.0) {
                    *into = table[usize::from(*byte)];
                }
            }
        }
    }
}
