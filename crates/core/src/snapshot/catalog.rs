//! The catalog of a snapshot store: list, describe, verify.

use super::manifest::{Kind, Listed, SnapshotInfo, SnapshotName};
use super::restore::{MAX_HELD_BYTES, Points, open};
use super::selftest::SelfTest;
use super::updates;
use crate::api::{Error, Observe};
use crate::collection::embedder_probe;
use crate::snapshot_store::SnapshotStore;

/// Lists all snapshots, oldest first. Ignores files with other names.
///
/// # Errors
/// Errors of the store. The entry of a snapshot without a readable manifest holds its own error.
pub fn list(store: &SnapshotStore) -> Result<Vec<Listed>, Error> {
    let mut all = Vec::new();
    for file in store.list()? {
        let Ok(snapshot) = SnapshotName::new(&file.name) else { continue };
        let info = describe(store, &snapshot).map_err(|error| error.to_string());
        all.push(Listed { snapshot, bytes: file.bytes, info });
    }
    Ok(all)
}

/// Describes a snapshot from its manifest.
///
/// # Errors
/// `NotFound`; `Corrupt`; `Conflict` for another format version.
pub fn describe(store: &SnapshotStore, snapshot: &SnapshotName) -> Result<SnapshotInfo, Error> {
    let (_, manifest, bytes) = open(store, snapshot)?;
    Ok(manifest.info(snapshot, bytes))
}

/// Reads every byte: verifies all checksums, and decodes the parts. A restore also opens the restored collection.
///
/// # Errors
/// As [`describe`].
pub fn verify(store: &SnapshotStore, snapshot: &SnapshotName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
    let (mut reader, manifest, bytes) = open(store, snapshot)?;
    let (mut selftest, mut reference_vectors) = (Vec::new(), Vec::new());
    for &part in &manifest.parts {
        let mut points = Points::new(&manifest.record);
        let (mut first_error, mut updated) = (None, Vec::new());
        if matches!(part.kind, Kind::Updates(_)) && part.bytes > MAX_HELD_BYTES {
            return Err(reader.damaged(format!("{} has {} bytes", part.kind.name(), part.bytes)));
        }
        reader.part(part, observe, &mut |piece| {
            match part.kind {
                Kind::SelfTest => selftest.extend_from_slice(piece),
                Kind::Updates(_) => updated.extend_from_slice(piece),
                Kind::Canaries => reference_vectors.extend_from_slice(piece),
                Kind::Growing if first_error.is_none() => first_error = points.take(piece, &mut |_| Ok(())).err(),
                _ => {}
            }
            Ok(())
        })?;
        let end = if part.kind == Kind::Growing { points.end() } else { Ok(()) };
        if let Some(error) = first_error.or(end.err()) {
            return Err(reader.damaged(error.to_string()));
        }
        let decoded = updates::decode(&updated).map(drop);
        decoded.map_err(|what| reader.damaged(format!("{}: {what}", part.kind.name())))?;
    }
    embedder_probe::from_bytes(&reference_vectors)
        .map_err(|what| reader.damaged(format!("a reference vector: {what}")))?;
    SelfTest::from_json(&selftest).map_err(|what| reader.damaged(what))?;
    reader.end()?;
    Ok(manifest.info(snapshot, bytes))
}
