//! From the bytes of an image to the net's 28x28 numbers: what is accepted, the limits, and decoding.
//!
//! Everything is checked before memory is taken: the file's size, then width, height and decoded size from its
//! header. Raw pixels are taken as they are; pictures go through `ink.rs`.

use super::{PIXELS, SIDE, ink};
use crate::embed::Error;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// Family and version of the preprocessing, part of the fingerprint: a change of any number that reaches the net for
/// some image needs another version.
pub(super) const PREPROCESSING: &str = "digits/1";
/// Largest image file, bytes.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// Largest width and height, pixels.
pub const MAX_SIDE: u32 = 8_192;
/// Largest width times height.
pub const MAX_PIXELS: u64 = 32_000_000;
/// Largest decoded picture, bytes: four for each of the pixels.
const MAX_DECODED_BYTES: u64 = 4 * MAX_PIXELS;
/// What a decoder may take for its own tables besides.
const DECODER_BYTES: u64 = 32 << 20;
/// Raw pixels that differ by less are one colour.
const FLAT: u8 = 16;

/// The image as the net sees it: 28 rows of 28 numbers, 0 background to 1 ink.
///
/// # Errors
/// [`Error::InvalidInput`] saying which limit the image breaks, that it cannot be decoded, or that it has no ink.
pub(super) fn prepare(bytes: &[u8]) -> Result<[f32; PIXELS], Error> {
    if bytes.is_empty() {
        return Err(invalid("the image has no bytes"));
    }
    if bytes.len() > MAX_FILE_BYTES {
        return Err(invalid(format!("the image has {} bytes; at most {MAX_FILE_BYTES} are read", bytes.len())));
    }
    match (image::guess_format(bytes), <&[u8; PIXELS]>::try_from(bytes)) {
        (Ok(format), Ok(raw)) if supported(format) => {
            opaque(bytes, format).map_or_else(|_| pixels(raw), |it| ink::find(&it))
        }
        (Ok(format), Err(_)) if supported(format) => ink::find(&opaque(bytes, format)?),
        (_, Ok(raw)) => pixels(raw),
        (Ok(format), Err(_)) => Err(invalid(format!("images of the format {format:?} are not read; {KNOWN}"))),
        (Err(_), Err(_)) => Err(invalid(format!("{} bytes that are no image; {KNOWN}", bytes.len()))),
    }
}

const KNOWN: &str = "known are PNG, JPEG, BMP, WebP, and 784 raw bytes (28x28, 0 background to 255 ink)";

pub(in crate::embed) fn supported(format: ImageFormat) -> bool {
    matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Bmp | ImageFormat::WebP)
}

pub(super) fn invalid(what: impl Into<String>) -> Error {
    Error::InvalidInput(what.into())
}

/// Raw pixels as MNIST has them, neither scaled nor moved; exchanged when the border is nearer to 255 than to 0.
fn pixels(raw: &[u8; PIXELS]) -> Result<[f32; PIXELS], Error> {
    let (least, most) = raw.iter().fold((u8::MAX, 0), |(least, most), &byte| (byte.min(least), byte.max(most)));
    if most - least < FLAT {
        return Err(ink::no_ink());
    }
    let on_border = |place: usize| [0, SIDE - 1].contains(&(place / SIDE)) || [0, SIDE - 1].contains(&(place % SIDE));
    let mut border: Vec<u8> = (0..PIXELS).filter(|&place| on_border(place)).map(|place| raw[place]).collect();
    border.sort_unstable();
    let inverted = border[border.len() / 2] > 127;
    Ok(raw.map(|byte| f32::from(if inverted { u8::MAX - byte } else { byte }) / 255.0))
}

/// An opaque picture of 8 bits a channel.
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Red, green, blue of each pixel, row by row.
    pub(super) rgb: Vec<u8>,
}

fn opaque(bytes: &[u8], format: ImageFormat) -> Result<Picture, Error> {
    let image = decode(bytes, format)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let rgb = if image.color().has_alpha() { flatten(&image.into_rgba8()) } else { image.into_rgb8().into_raw() };
    Ok(Picture { width, height, rgb })
}

/// A whole image within the limits, turned as its EXIF says.
pub(in crate::embed) fn decode(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage, Error> {
    let broken = |error: image::ImageError| invalid(format!("the {format:?} image cannot be decoded: {error}"));
    if format == ImageFormat::Jpeg && !ends(bytes) {
        return Err(invalid("the Jpeg image cannot be decoded: it is cut, its end marker is missing"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    // Width and height are checked below, for a message that names the limit.
    limits.max_alloc = Some(MAX_DECODED_BYTES + DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(invalid(format!("the image is {width} x {height} pixels: nothing to see")));
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(invalid(format!(
            "the image is {width} x {height} pixels; width and height are at most {MAX_SIDE}"
        )));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(invalid(format!("the image is {width} x {height} pixels; at most {MAX_PIXELS} in all are read")));
    }
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        let bytes = decoder.total_bytes();
        return Err(invalid(format!(
            "the decoded image would have {bytes} bytes; at most {MAX_DECODED_BYTES} are read"
        )));
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether a JPEG file's last scan has its end marker. (The decoder fills what is cut off with grey, silently.)
fn ends(jpeg: &[u8]) -> bool {
    let last = |marker: [u8; 2]| jpeg.windows(2).rposition(|pair| pair == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}

/// Puts a picture with transparency on white or black: on what its opaque pixels stand out from when it is mostly
/// transparent (a drawing without paper), on what is like them when it is mostly opaque (paper with holes).
fn flatten(image: &image::RgbaImage) -> Vec<u8> {
    let (mut opacity, mut light) = (0u64, 0u64);
    for pixel in image.pixels() {
        let [red, green, blue, alpha] = pixel.0.map(u64::from);
        opacity += alpha;
        light += alpha * (red + green + blue);
    }
    let mostly_opaque = opacity * 2 > image.pixels().len() as u64 * 255;
    let light_ink = light > opacity * 3 * 127;
    let ground = if light_ink == mostly_opaque { 255 } else { 0 };
    let mix = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        ((colour * alpha + ground * (255 - alpha) + 127) / 255) as u8
    };
    image.pixels().flat_map(|pixel| [0, 1, 2].map(|channel| mix(pixel.0[channel], pixel.0[3]))).collect()
}
