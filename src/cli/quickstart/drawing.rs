//! Digits as characters in a terminal, and a drawn 7 as an image file for the server.

/// Side length of an MNIST image, pixels.
const SIDE: usize = 28;
/// Size of the drawn 7, pixels.
pub(super) const WIDTH: u32 = 240;
pub(super) const HEIGHT: u32 = 200;

/// Renders images of 28 x 28 bytes (0 background, 255 ink) side by side, two rows of pixels per line.
pub(super) fn in_terminal(images: &[&[u8]]) -> String {
    // Omits the rows without ink above and below.
    let inked = |row: usize| images.iter().any(|image| image[row * SIDE..][..SIDE].iter().any(|&pixel| pixel > 64));
    let first = (0..SIDE).find(|&row| inked(row)).unwrap_or(0) / 2 * 2;
    let last = (0..SIDE).rev().find(|&row| inked(row)).unwrap_or(SIDE - 1);
    let mut text = String::new();
    for row in (first..=last).step_by(2) {
        text.push_str("    ");
        for image in images {
            for column in 3..SIDE - 3 {
                let ink = |row: usize| row < SIDE && image[row * SIDE + column] > 96;
                text.push(match (ink(row), ink(row + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            text.push_str("  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Encodes an image of 28 x 28 bytes as a PNG file.
pub(super) fn png(image: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut file = std::io::Cursor::new(Vec::new());
    let side = SIDE as u32;
    image::write_buffer_with_format(
        &mut file,
        image,
        side,
        side,
        image::ExtendedColorType::L8,
        image::ImageFormat::Png,
    )?;
    Ok(file.into_inner())
}

/// Draws a 7 with a pen: dark blue on pale paper, off centre. Returns a PNG file.
pub(super) fn seven() -> anyhow::Result<Vec<u8>> {
    const PEN: f32 = 7.0;
    const STROKES: [[(f32, f32); 2]; 3] =
        [[(95.0, 45.0), (170.0, 40.0)], [(170.0, 40.0), (140.0, 100.0)], [(140.0, 100.0), (118.0, 165.0)]];
    let mut picture = image::RgbImage::from_pixel(WIDTH, HEIGHT, image::Rgb([244, 240, 228]));
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let near = |[(ax, ay), (bx, by)]: [(f32, f32); 2]| {
            let (dx, dy) = (bx - ax, by - ay);
            let along = (((x as f32 - ax) * dx + (y as f32 - ay) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
            (x as f32 - ax - along * dx).hypot(y as f32 - ay - along * dy) < PEN
        };
        if STROKES.into_iter().any(near) {
            *pixel = image::Rgb([28, 36, 96]);
        }
    }
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, image::ImageFormat::Png)?;
    Ok(file.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digit_is_drawn_where_its_ink_is() {
        let mut image = [0_u8; SIDE * SIDE];
        image[10 * SIDE + 5] = 255;
        image[11 * SIDE + 5] = 255;
        assert_eq!(in_terminal(&[&image]), "      █\n");
    }

    #[test]
    fn the_drawn_seven_is_read_as_a_seven() {
        let net = crate::embed::digits::DigitNet::default_model().expect("the default net");
        let probabilities = net.probabilities(&seven().expect("a PNG")).expect("it is read");
        assert!(probabilities[7] > 0.9, "{probabilities:?}");
    }
}
