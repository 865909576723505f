//! The [`Snapshots`] trait: backups of a collection in a snapshot store.

use crate::api::{CollectionInfo, Error, Observe};
use crate::snapshot::{self, SnapshotInfo, SnapshotName};
use crate::types::CollectionName;

/// Snapshots of collections. The default methods are those of an engine without a snapshot store.
pub trait Snapshots: Send + Sync {
    /// Writes a snapshot of the current state; writes continue meanwhile. Engines without a snapshot store return
    /// [`Error::NoSnapshotStore`].
    ///
    /// # Errors
    /// `NotFound` for the collection; `Conflict` if no snapshot store is configured or the embedder is not loaded;
    /// `Corrupt` for a damaged segment; `Unavailable` if the store does not respond or `observe` returns false.
    fn create_snapshot(&self, name: &CollectionName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let _ = (name, observe);
        Err(Error::NoSnapshotStore)
    }
    /// Returns all snapshots, oldest first.
    ///
    /// # Errors
    /// `Conflict`, `Unavailable`.
    fn snapshots(&self) -> Result<Vec<snapshot::Listed>, Error> {
        Err(Error::NoSnapshotStore)
    }
    /// Returns the contents of a snapshot's manifest.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Conflict`, `Unavailable`.
    fn snapshot(&self, snapshot: &SnapshotName) -> Result<SnapshotInfo, Error> {
        let _ = snapshot;
        Err(Error::NoSnapshotStore)
    }
    /// Reads every byte of a snapshot and verifies its checksums.
    ///
    /// # Errors
    /// Those of [`snapshot`](Self::snapshot).
    fn verify_snapshot(&self, snapshot: &SnapshotName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let _ = (snapshot, observe);
        Err(Error::NoSnapshotStore)
    }
    /// Restores a snapshot as the collection `target`: a new one or, with `replace`, instead of an existing one. The
    /// collection becomes visible once it is complete and verified; after an error nothing has changed.
    ///
    /// # Errors
    /// `AlreadyExists` without `replace`; those of [`verify_snapshot`](Self::verify_snapshot); `Conflict` if the
    /// embedder is neither loaded nor in the snapshot; `Exhausted` if there is no room.
    fn restore_snapshot(
        &self,
        snapshot: &SnapshotName,
        target: &CollectionName,
        replace: bool,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let _ = (snapshot, target, replace, observe);
        Err(Error::NoSnapshotStore)
    }
}
