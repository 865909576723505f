//! Image files: SVG, or PNG rendered from the same SVG (with the feature `png`), depending on the file extension.

use anyhow::{anyhow, bail};
use std::path::{Path, PathBuf};

#[cfg(feature = "png")]
mod png;

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

#[cfg(not(feature = "png"))]
const WITHOUT_PNG: &str = "this program was built without PNG: name a .svg, or build with the feature png (cargo build --release --features png)";

/// Parses the path of an image file.
///
/// # Errors
/// A name that ends neither in .svg nor in .png.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    check(&path).map(|()| path)
}

/// Checks that the name of an image file ends in .svg, or in .png if the program was built with the feature `png`.
///
/// # Errors
/// Any other name.
pub(super) fn check(path: &Path) -> Result<(), String> {
    match kind(path) {
        Some(Kind::Svg) => Ok(()),
        #[cfg(feature = "png")]
        Some(Kind::Png) => Ok(()),
        #[cfg(not(feature = "png"))]
        Some(Kind::Png) => Err(WITHOUT_PNG.to_owned()),
        None => Err("needs a name that ends in .svg or .png".to_owned()),
    }
}

/// Writes the image.
///
/// # Errors
/// I/O errors; a PNG if no font is installed.
pub(super) fn write(path: &Path, svg: &str) -> anyhow::Result<()> {
    let bytes = match kind(path) {
        Some(Kind::Svg) => svg.as_bytes().to_vec(),
        #[cfg(feature = "png")]
        Some(Kind::Png) => png::render(svg).map_err(|error| error.context(path.display().to_string()))?,
        #[cfg(not(feature = "png"))]
        Some(Kind::Png) => bail!("{}: {WITHOUT_PNG}", path.display()),
        None => bail!("{}: needs a name that ends in .svg or .png", path.display()),
    };
    std::fs::write(path, bytes).map_err(|error| anyhow!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_svg_and_png_names_are_accepted() {
        assert!(path("a/b.svg").is_ok());
        assert_eq!(path("b.png").is_ok(), cfg!(feature = "png"));
        for name in ["curve", "curve.pdf", ".svg", ""] {
            assert!(path(name).is_err(), "{name}");
        }
        assert!(write(Path::new("curve.pdf"), "<svg/>").is_err());
    }
}
