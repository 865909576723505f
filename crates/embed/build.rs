//! Build script: packs the vocabulary of the built-in word model, which then takes 300 KB of the program instead of 730.

use flate2::{Compression, write::GzEncoder};
use std::io::Write as _;
use std::path::Path;

const VOCABULARY: &str = "models/words/vocab.txt";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={VOCABULARY}");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&std::fs::read(VOCABULARY)?)?;
    let packed = Path::new(&std::env::var("OUT_DIR")?).join("vocab.txt.gz");
    std::fs::write(packed, gzip.finish()?)?;
    Ok(())
}
