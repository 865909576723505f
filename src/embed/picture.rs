//! An image file to red, green and blue, within the limits of the digit net's reader.

use super::Error;
use super::digits::{self, MAX_FILE_BYTES};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// A picture of 8 bits a channel. Of a transparent one the colours are kept as they are, as Pillow does.
pub(super) struct Picture {
    /// At least 1.
    pub(super) width: usize,
    /// At least 1.
    pub(super) height: usize,
    /// Red, green, blue of each pixel, row by row.
    pub(super) rgb: Vec<u8>,
}

/// Decodes a PNG, JPEG, BMP or WebP file, turned as its EXIF says.
///
/// # Errors
/// [`Error::InvalidInput`] saying which limit the image breaks, or that it cannot be decoded.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, Error> {
    if bytes.len() > MAX_FILE_BYTES {
        let what = format!("the image has {} bytes; at most {MAX_FILE_BYTES} are read", bytes.len());
        return Err(Error::InvalidInput(what));
    }
    let format = image::guess_format(bytes).ok().filter(|format| digits::supported(*format));
    let Some(format) = format else {
        let what = format!("{} bytes that are no image; known are PNG, JPEG, BMP and WebP", bytes.len());
        return Err(Error::InvalidInput(what));
    };
    let image = digits::decode(bytes, format)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok(Picture { width, height, rgb: image.into_rgb8().into_raw() })
}

/// Small pictures, as files, that tell whether an embedder of pictures still gives the same vectors: a slope of colours, a
/// chequered square, and a disc before a striped ground.
pub(super) fn canaries() -> Vec<Vec<u8>> {
    let drawn = |width: u32, height: u32, colour: fn(i32, i32) -> [u8; 3]| {
        let places = (0..width * height).map(|at| ((at % width) as i32, (at / width) as i32));
        let rgb: Vec<u8> = places.flat_map(|(x, y)| colour(x, y)).collect();
        let mut file = Vec::new();
        let encoder = PngEncoder::new(&mut file);
        encoder.write_image(&rgb, width, height, ExtendedColorType::Rgb8).expect("a picture of that size");
        file
    };
    vec![
        drawn(48, 32, |x, y| [5 * x, 7 * y, 255 - 2 * (x + y)].map(|part| part as u8)),
        drawn(32, 48, |x, y| if (x / 8 + y / 8) % 2 == 0 { [230, 220, 40] } else { [20, 30, 120] }),
        drawn(64, 64, |x, y| match ((x - 40) * (x - 40) + (y - 24) * (y - 24) < 300, y / 6 % 2) {
            (true, _) => [200, 30, 30],
            (false, 0) => [60, 160, 70],
            (false, _) => [235, 235, 235],
        }),
    ]
}

#[cfg(test)]
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
    fn colours_are_kept_and_what_is_no_image_is_refused() {
        let image = RgbaImage::from_fn(3, 2, |x, y| Rgba([x as u8, y as u8, 200, 90 * x as u8]));
        let picture = decode(&png(&image)).unwrap();
        assert_eq!((picture.width, picture.height, picture.rgb.len()), (3, 2, 18));
        assert_eq!(picture.rgb[3 * 5..], [2, 1, 200]);
        let wide = png(&RgbaImage::new(digits::MAX_SIDE + 1, 1));
        for (bytes, reason) in [
            (Vec::new(), "no image"),
            (b"GIF89a\x01\0\x01\0\0\0\0".to_vec(), "known are PNG"),
            (png(&image)[..40].to_vec(), "cannot be decoded"),
            (wide, "at most 8192"),
            (vec![0; MAX_FILE_BYTES + 1], "at most 16777216 are read"),
        ] {
            let error = decode(&bytes).err().expect(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
