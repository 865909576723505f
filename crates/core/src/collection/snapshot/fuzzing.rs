//! What the fuzz targets in `fuzz/` reach of snapshots; compiled for them only.

use super::manifest::Manifest;

/// A manifest in the one form that is read.
///
/// # Errors
/// What is wrong with it.
pub fn canonical_manifest(json: &[u8]) -> Result<Vec<u8>, String> {
    Manifest::from_json(json).map(|manifest| manifest.to_json())
}
