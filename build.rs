//! Compiles the protos with protox, so that nobody needs protoc.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["common", "filter", "collections", "points", "search", "quality", "embedders", "snapshots", "map"]
        .map(|name| format!("nearness/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("nearness_v1.bin"), prost_bytes(&descriptors))?;
    tonic_prost_build::configure().bytes(".nearness.v1").compile_fds(descriptors)?;
    Ok(())
}

fn prost_bytes(descriptors: &impl prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
