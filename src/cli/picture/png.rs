//! Rendering of an SVG as PNG.

use anyhow::{Context, bail};
use resvg::{tiny_skia, usvg};

/// Pixels of a PNG per unit of the SVG: sharp in print and on high-resolution screens.
const SCALE: f32 = 2.0;
/// Maximum side length of a PNG, pixels.
const MAX_PIXELS: f32 = 16_384.0;

/// Renders an SVG.
///
/// # Errors
/// An SVG that cannot be read; no installed font.
pub(super) fn render(svg: &str) -> anyhow::Result<Vec<u8>> {
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
    let mut pixels = tiny_skia::Pixmap::new(side(size.width()), side(size.height())).context("the SVG has no area")?;
    pixels.fill(tiny_skia::Color::WHITE);
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().context("the PNG cannot be encoded")
}

#[cfg(test)]
mod tests {
    use super::super::write;

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
}
