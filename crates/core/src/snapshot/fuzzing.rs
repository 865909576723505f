//! Access to snapshots for the fuzz targets in `fuzz/`; compiled only for them.

use super::manifest::Manifest;

/// Returns a manifest in canonical form, the only one that is accepted.
///
/// # Errors
/// A description of the failed check.
pub fn canonical_manifest(json: &[u8]) -> Result<Vec<u8>, String> {
    Manifest::from_json(json).map(|manifest| manifest.to_json())
}
