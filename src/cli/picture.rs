//! Image files: SVG, or PNG rendered from the same SVG, depending on the file extension.

use anyhow::{Context, anyhow, bail};
use resvg::{tiny_skia, usvg};
use std::path::{Path, PathBuf};

/// Pixels of a PNG per unit of the SVG: sharp in print and on high-resolution screens.
const SCALE: f32 = 2.0;
/// Maximum side length of a PNG, pixels.
const MAX_PIXELS: f32 = 16_384.0;

#[derive(Clone, Copy)]
enum Kind {
    Svg,
    Png,
}

fn kind(path: &Path) -> Option<Kind> {
    match path.extension()?.to_str()? {
        "svg" => Some(Kind::Svg),
        "png" => Some(Kind::Png),
        _ => None,
    }
}

/// Parses the path of an image file.
///
/// # Errors
/// A name that ends neither in .svg nor in .png.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    kind(&path).map(|_| path).ok_or_else(|| "needs a name that ends in .svg or .png".to_owned())
}

/// Writes the image.
///
/// # Errors
/// I/O errors; a PNG if no font is installed.
pub(super) fn write(path: &Path, svg: &str) -> anyhow::Result<()> {
    let bytes = match kind(path) {
        Some(Kind::Svg) => svg.as_bytes().to_vec(),
        Some(Kind::Png) => png(svg).with_context(|| path.display().to_string())?,
        None => bail!("{}: needs a name that ends in .svg or .png", path.display()),
    };
    std::fs::write(path, bytes).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn png(svg: &str) -> anyhow::Result<Vec<u8>> {
    let mut options = usvg::Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_system_fonts();
    let sans = usvg::fontdb::Family::SansSerif;
    if fonts.query(&usvg::fontdb::Query { families: &[sans], ..Default::default() }).is_none() {
        // Missing letters would be worse than no picture.
        let any = fonts.faces().find(|face| !face.monospaced).and_then(|face| face.families.first());
        let Some((family, _)) = any.cloned() else {
            bail!("no font is installed, which a PNG needs: install one, or write an .svg");
        };
        fonts.set_sans_serif_family(family);
    }
    let tree = usvg::Tree::from_str(svg, &options).context("the SVG cannot be read")?;
    let size = tree.size();
    let scale = SCALE.min(MAX_PIXELS / size.width().max(size.height()));
    let side = |length: f32| (length * scale).ceil() as u32;
    let mut pixels = tiny_skia::Pixmap::new(side(size.width()), side(size.height())).context("it has no area")?;
    pixels.fill(tiny_skia::Color::WHITE);
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().context("it cannot be packed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_shows_the_shapes_and_letters_of_the_svg() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.png");
        let svg = |inside: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 100 40\" width=\"100\" height=\"40\" font-family=\"sans-serif\">{inside}</svg>"
            )
        };
        let dark = |svg: &str| {
            write(&file, svg).map(|()| {
                let picture = image::open(&file).unwrap().to_luma8();
                assert_eq!(picture.dimensions(), (200, 80));
                picture.pixels().filter(|pixel| pixel.0[0] < 128).count()
            })
        };
        match dark(&svg("<rect x=\"10\" y=\"10\" width=\"5\" height=\"5\"/>")) {
            Ok(pixels) => {
                assert_eq!(pixels, 100);
                assert_eq!(dark(&svg("")).unwrap(), 0);
                assert!(dark(&svg("<text x=\"10\" y=\"30\" font-size=\"20\">near</text>")).unwrap() > 100);
            }
            Err(error) => assert!(format!("{error:#}").contains("font"), "{error:#}"),
        }
        assert!(dark("<svg").is_err());
    }

    #[test]
    fn only_names_of_pictures_are_taken() {
        assert!(path("a/b.svg").is_ok() && path("b.png").is_ok());
        for name in ["curve", "curve.pdf", ".svg", ""] {
            assert!(path(name).is_err(), "{name}");
        }
        assert!(write(Path::new("curve.pdf"), "<svg/>").is_err());
    }
}
