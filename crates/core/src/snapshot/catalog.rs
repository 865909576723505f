//! The catalog of a snapshot depot: list, describe, verify.

use super::manifest::{Kind, Listed, SnapshotInfo, SnapshotName};
use super::restore::{Points, open};
use super::selftest::SelfTest;
use crate::api::{Error, Observe};
use crate::collection::embedder_probe;
use crate::snapshot_store::SnapshotStore;

/// Lists all snapshots, oldest first. Ignores files with other names.
///
/// # Errors
/// Errors of the depot. The entry of a snapshot without a readable manifest holds its own error.
pub fn list(depot: &SnapshotStore) -> Result<Vec<Listed>, Error> {
    let mut all = Vec::new();
    for kept in depot.list()? {
        let Ok(snapshot) = SnapshotName::new(&kept.name) else { continue };
        let info = describe(depot, &snapshot).map_err(|error| error.to_string());
        all.push(Listed { snapshot, bytes: kept.bytes, info });
    }
    Ok(all)
}

/// Describes a snapshot from its manifest.
///
/// # Errors
/// `NotFound`; `Corrupt`; `Conflict` for another format version.
pub fn describe(depot: &SnapshotStore, snapshot: &SnapshotName) -> Result<SnapshotInfo, Error> {
    let (_, manifest, bytes) = open(depot, snapshot)?;
    Ok(manifest.info(snapshot, bytes))
}

/// Reads every byte: verifies all checksums, and decodes the parts. A restore also opens the restored collection.
///
/// # Errors
/// As [`describe`].
pub fn verify(depot: &SnapshotStore, snapshot: &SnapshotName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
    let (mut reader, manifest, bytes) = open(depot, snapshot)?;
    let (mut selftest, mut reference_vectors) = (Vec::new(), Vec::new());
    for &part in &manifest.parts {
        let mut points = Points::new(&manifest.record);
        let mut wrong = None;
        reader.part(part, observe, &mut |piece| {
            match part.kind {
                Kind::SelfTest => selftest.extend_from_slice(piece),
                Kind::Canaries => reference_vectors.extend_from_slice(piece),
                Kind::Growing if wrong.is_none() => wrong = points.take(piece, &mut |_| Ok(())).err(),
                _ => {}
            }
            Ok(())
        })?;
        let end = if part.kind == Kind::Growing { points.end() } else { Ok(()) };
        if let Some(error) = wrong.or(end.err()) {
            return Err(reader.damaged(error.to_string()));
        }
    }
    embedder_probe::from_bytes(&reference_vectors)
        .map_err(|what| reader.damaged(format!("a reference vector: {what}")))?;
    SelfTest::from_json(&selftest).map_err(|what| reader.damaged(what))?;
    reader.end()?;
    Ok(manifest.info(snapshot, bytes))
}
