//! Decoding of untrusted image files: formats and limits; also reference pictures for embedders.
//!
//! All limits are checked before memory is allocated: first the file size, then width, height and decoded
//! size from the header.

use super::Error;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::path::Path;

/// Largest image file, bytes.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// Largest width and height, pixels.
pub(crate) const MAX_SIDE: u32 = 8_192;
/// Largest width times height.
pub const MAX_PIXELS: u64 = 32_000_000;
/// Maximum number of pixels of the images of one request together: 16 images of the maximum size.
pub const MAX_REQUEST_PIXELS: u64 = 16 * MAX_PIXELS;
/// Largest decoded picture in bytes: four per pixel.
const MAX_DECODED_BYTES: u64 = 4 * MAX_PIXELS;
/// Additional memory for the decoder's tables.
const DECODER_BYTES: u64 = 32 << 20;

/// Whether this format is supported: PNG, JPEG, BMP, WebP.
pub(crate) fn is_supported(format: ImageFormat) -> bool {
    matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Bmp | ImageFormat::WebP)
}

/// File extensions of images.
pub const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "bmp", "webp"];

/// Whether a file name has an image extension.
pub fn has_image_extension(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

pub(crate) fn invalid(what: impl Into<String>) -> Error {
    Error::InvalidInput(what.into())
}

/// Refuses an image file that is empty or too large.
///
/// # Errors
/// [`Error::InvalidInput`].
pub(crate) fn check_size(bytes: &[u8]) -> Result<(), Error> {
    if bytes.is_empty() {
        return Err(invalid("the image has no bytes"));
    }
    if bytes.len() > MAX_FILE_BYTES {
        return Err(invalid(format!("the image has {} bytes; at most {MAX_FILE_BYTES} are read", bytes.len())));
    }
    Ok(())
}

/// Number of pixels according to the header; none if the header cannot be read or exceeds [`MAX_PIXELS`], because
/// the image is not decoded then.
pub fn pixels(bytes: &[u8]) -> Option<u64> {
    let format = image::guess_format(bytes).ok().filter(|format| is_supported(*format))?;
    let (width, height) = ImageReader::with_format(Cursor::new(bytes), format).into_dimensions().ok()?;
    Some(u64::from(width) * u64::from(height)).filter(|pixels| *pixels <= MAX_PIXELS)
}

/// An opaque picture with 8 bits per channel.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Red, green, blue of each pixel, row by row.
    pub(crate) rgb: Vec<u8>,
}

/// Decodes an image file of a [`is_supported`] format.
///
/// # Errors
/// [`Error::InvalidInput`] with the limit that the image exceeds, or the decoding error.
pub(crate) fn decode(bytes: &[u8], format: ImageFormat) -> Result<Picture, Error> {
    let image = decode_oriented(bytes, format)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let rgb = if image.color().has_alpha() { flatten(&image.into_rgba8()) } else { image.into_rgb8().into_raw() };
    Ok(Picture { width, height, rgb })
}

/// Decodes an image file of any supported format. Drops the alpha channel and keeps the colours, as Pillow does.
///
/// # Errors
/// As [`decode`].
#[cfg(feature = "transformers")]
pub(crate) fn decode_rgb(bytes: &[u8]) -> Result<Picture, Error> {
    check_size(bytes)?;
    let Some(format) = image::guess_format(bytes).ok().filter(|format| is_supported(*format)) else {
        return Err(invalid(format!(
            "{} bytes that are not an image; supported: PNG, JPEG, BMP and WebP",
            bytes.len()
        )));
    };
    let image = decode_oriented(bytes, format)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok(Picture { width, height, rgb: image.into_rgb8().into_raw() })
}

/// Decodes an image within the limits and applies its EXIF orientation.
fn decode_oriented(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage, Error> {
    let broken = |error: image::ImageError| invalid(format!("the {format:?} image cannot be decoded: {error}"));
    if format == ImageFormat::Jpeg && !has_end_marker(bytes) {
        return Err(invalid("the Jpeg image cannot be decoded: it is cut, its end marker is missing"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    // Width and height are checked below, with a message that names the limit.
    limits.max_alloc = Some(MAX_DECODED_BYTES + DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(invalid(format!("the image is {width} x {height} pixels: it is empty")));
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

/// Whether the last scan of a JPEG file has its end marker. (The decoder silently fills missing parts with grey.)
fn has_end_marker(jpeg: &[u8]) -> bool {
    let last = |marker: [u8; 2]| jpeg.windows(2).rposition(|pair| pair == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}

/// Blends a transparent picture onto white or black. Mostly transparent (a drawing without paper): the ground that
/// contrasts with the opaque pixels. Mostly opaque (paper with holes): the ground that resembles them.
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

/// Reference pictures, as files, to check that an image embedder still gives the same vectors: a colour gradient, a
/// chequered square, and a disc on a striped ground.
pub(crate) fn reference_images() -> Vec<Vec<u8>> {
    let draw = |width: u32, height: u32, colour: fn(i32, i32) -> [u8; 3]| {
        let pixels = (0..width * height).map(|at| ((at % width) as i32, (at / width) as i32));
        let rgb: Vec<u8> = pixels.flat_map(|(x, y)| colour(x, y)).collect();
        let mut file = Vec::new();
        let encoder = PngEncoder::new(&mut file);
        encoder.write_image(&rgb, width, height, ExtendedColorType::Rgb8).expect("a picture of that size");
        file
    };
    vec![
        draw(48, 32, |x, y| [5 * x, 7 * y, 255 - 2 * (x + y)].map(|part| part as u8)),
        draw(32, 48, |x, y| if (x / 8 + y / 8) % 2 == 0 { [230, 220, 40] } else { [20, 30, 120] }),
        draw(64, 64, |x, y| match ((x - 40) * (x - 40) + (y - 24) * (y - 24) < 300, y / 6 % 2) {
            (true, _) => [200, 30, 30],
            (false, 0) => [60, 160, 70],
            (false, _) => [235, 235, 235],
        }),
    ]
}

#[cfg(all(test, feature = "transformers"))]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgba, RgbaImage};
    use std::io::Cursor;

    fn png(image: &RgbaImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn colours_are_decoded_and_invalid_images_are_refused() {
        let image = RgbaImage::from_fn(3, 2, |x, y| Rgba([x as u8, y as u8, 200, 90 * x as u8]));
        let picture = decode_rgb(&png(&image)).unwrap();
        assert_eq!((picture.width, picture.height, picture.rgb.len()), (3, 2, 18));
        assert_eq!(picture.rgb[3 * 5..], [2, 1, 200]);
        let wide = png(&RgbaImage::new(MAX_SIDE + 1, 1));
        for (bytes, reason) in [
            (Vec::new(), "has no bytes"),
            (b"GIF89a\x01\0\x01\0\0\0\0".to_vec(), "supported: PNG"),
            (png(&image)[..40].to_vec(), "cannot be decoded"),
            (wide, "at most 8192"),
            (vec![0; MAX_FILE_BYTES + 1], "at most 16777216 are read"),
        ] {
            let error = decode_rgb(&bytes).err().expect(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
