//! Preprocessing of an image to the net's 28x28 numbers. Image files are decoded by `crates/embed/src/image_decode.rs`
//! and normalized by `preprocess.rs`; raw pixels are used as they are.

use super::{PIXELS, SIDE, preprocess};
use crate::Error;
use crate::image_decode::{self, decode, invalid, is_supported};

/// Family and version of the preprocessing, part of the fingerprint. Any change of the net's input for any image
/// requires a new version.
pub(super) const PREPROCESSING: &str = "digits/1";
/// Raw pixels with a range below this are a uniform image.
const FLAT: u8 = 16;

/// The net's input for an image: 28 rows of 28 numbers, from 0 (background) to 1 (ink).
///
/// # Errors
/// [`Error::InvalidInput`] with the limit that the image exceeds, if it cannot be decoded, or if it has no ink.
pub(super) fn prepare(bytes: &[u8]) -> Result<[f32; PIXELS], Error> {
    image_decode::check_size(bytes)?;
    match (image::guess_format(bytes), <&[u8; PIXELS]>::try_from(bytes)) {
        (Ok(format), Ok(raw)) if is_supported(format) => {
            decode(bytes, format).map_or_else(|_| pixels(raw), |it| preprocess::extract_digit(&it))
        }
        (Ok(format), Err(_)) if is_supported(format) => preprocess::extract_digit(&decode(bytes, format)?),
        (_, Ok(raw)) => pixels(raw),
        (Ok(format), Err(_)) => Err(invalid(format!("images of the format {format:?} are not read; {KNOWN}"))),
        (Err(_), Err(_)) => Err(invalid(format!("{} bytes that are not an image; {KNOWN}", bytes.len()))),
    }
}

const KNOWN: &str = "supported: PNG, JPEG, BMP, WebP, and 784 raw bytes (28x28, 0 background to 255 ink)";

/// Raw pixels as in MNIST, neither scaled nor moved; inverted if the border is nearer to 255 than to 0.
fn pixels(raw: &[u8; PIXELS]) -> Result<[f32; PIXELS], Error> {
    let (min, max) = raw.iter().fold((u8::MAX, 0), |(min, max), &byte| (byte.min(min), byte.max(max)));
    if max - min < FLAT {
        return Err(preprocess::no_ink_error());
    }
    let on_border = |index: usize| [0, SIDE - 1].contains(&(index / SIDE)) || [0, SIDE - 1].contains(&(index % SIDE));
    let mut border: Vec<u8> = (0..PIXELS).filter(|&index| on_border(index)).map(|index| raw[index]).collect();
    border.sort_unstable();
    let inverted = border[border.len() / 2] > 127;
    Ok(raw.map(|byte| f32::from(if inverted { u8::MAX - byte } else { byte }) / 255.0))
}
