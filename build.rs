//! Build script: packs the files of the web page, so that a build needs no Node.

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The files of the page, output of `npm run build` in `web/`.
const PAGE: &str = "web/dist";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PAGE}");
    if std::env::var_os("CARGO_FEATURE_SERVER").is_none() {
        return Ok(());
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    pack_page(&out)
}

/// Writes the compressed files of the page, and a table of them: path, SHA-256 of the content, gzip.
fn pack_page(out: &Path) -> Result<(), Box<dyn Error>> {
    let mut found = Vec::new();
    walk(Path::new(PAGE), &mut found).map_err(|error| format!("{PAGE}: {error}; it is a part of the repository"))?;
    found.sort();
    let mut table = String::from("&[\n");
    for (number, path) in found.iter().enumerate() {
        let content = std::fs::read(path)?;
        let name = path.strip_prefix(PAGE)?.to_str().ok_or("a file of the page has a name that is not UTF-8")?;
        let hash = Sha256::digest(&content).iter().fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"));
        let packed = out.join(format!("page-{number}.gz"));
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        gzip.write_all(&content)?;
        std::fs::write(&packed, gzip.finish()?)?;
        let name = name.replace('\\', "/");
        writeln!(table, "    ({name:?}, {hash:?}, include_bytes!({packed:?})),")?;
    }
    table.push(']');
    std::fs::write(out.join("page.rs"), table)?;
    Ok(())
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
