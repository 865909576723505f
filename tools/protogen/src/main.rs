//! Generates the messages, clients and servers of `proto/nearness/v1`, and the descriptors for reflection.
//!
//! Usage, in the repository root: `cargo run --manifest-path tools/protogen/Cargo.toml`

use prost::Message;
use std::error::Error;
use std::path::Path;

/// The proto files of the package, without `.proto`.
const FILES: [&str; 10] = [
    "common",
    "filter",
    "collections",
    "points",
    "search",
    "quality",
    "embedders",
    "training",
    "snapshots",
    "map",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or("the repository root")?;
    let out = root.join("proto/generated");
    std::fs::create_dir_all(&out)?;
    let descriptors = protox::compile(FILES.map(|name| format!("nearness/v1/{name}.proto")), [root.join("proto")])?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".nearness.v1").out_dir(&out).compile_fds(descriptors)?;
    Ok(())
}
