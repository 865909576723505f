//! The overlay of a sealed segment: payloads of rows that were updated after the segment was written.
//!
//! The file of a segment never changes. An update of a payload is therefore a record in `points.redb` and an entry
//! here, until the next merge writes the segment anew with the updated payloads. A reader takes the current
//! [`Updates`] as an `Arc`: one consistent state, which later updates do not change (copy on write).

use crate::sync::RwLock;
use rustc_hash::FxHashMap;
use std::sync::{Arc, PoisonError};

/// Overhead per entry beyond its payload, bytes: pointers, lengths, reference counts, free slots of the map.
const ENTRY_BYTES: usize = 64;

/// The updated payloads of a segment at one moment.
#[derive(Clone, Default)]
pub(crate) struct Updates {
    rows: FxHashMap<u32, Arc<[u8]>>,
    /// Increases with every change; 0 for none.
    version: u64,
    bytes: usize,
}

impl Updates {
    pub(crate) fn get(&self, row: u32) -> Option<&Arc<[u8]>> {
        self.rows.get(&row)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<[u8]>)> {
        self.rows.iter().map(|(&row, payload)| (row, payload))
    }

    /// Returns the number of updated rows, including rows deleted since.
    pub(crate) fn rows(&self) -> u32 {
        self.rows.len() as u32
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the memory that it uses.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the memory that an entry uses.
    pub(crate) fn bytes_of(payload: &[u8]) -> usize {
        payload.len() + ENTRY_BYTES
    }
}

/// The current updates of a segment.
#[derive(Default)]
pub(crate) struct Overlay(RwLock<Arc<Updates>>);

impl Overlay {
    /// Returns the current updates.
    pub(crate) fn get(&self) -> Arc<Updates> {
        // A change under the lock leaves the updates consistent at every step.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the payload of a row, if it was updated.
    pub(crate) fn payload(&self, row: u32) -> Option<Arc<[u8]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(row).cloned()
    }

    /// Replaces payloads, all at once for a reader. The entry of a row stays when the row is deleted, because a reader
    /// that found the row before may still read its payload.
    pub(crate) fn set(&self, payloads: impl IntoIterator<Item = (u32, Arc<[u8]>)>) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let updates = Arc::make_mut(&mut current);
        for (row, payload) in payloads {
            updates.version += 1;
            updates.bytes += Updates::bytes_of(&payload);
            if let Some(older) = updates.rows.insert(row, payload) {
                updates.bytes -= Updates::bytes_of(&older);
            }
        }
    }

    /// Returns an overlay with the current updates, which later ones do not change.
    pub(crate) fn detached_copy(&self) -> Self {
        Self(RwLock::new(self.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_its_state_and_replaced_entries_are_not_counted() {
        let overlay = Overlay::default();
        let payload = |text: &str| Arc::<[u8]>::from(text.as_bytes());
        let none = overlay.get();
        overlay.set([(3, payload("{}")), (5, payload("{\"n\":1}"))]);
        let first = overlay.get();
        let copy = overlay.detached_copy();
        overlay.set([(5, payload("{}"))]);
        assert_eq!((none.rows(), none.version(), none.bytes()), (0, 0, 0));
        assert_eq!((first.rows(), first.bytes()), (2, 2 * ENTRY_BYTES + 9));
        assert_eq!(first.get(5).map(|bytes| &**bytes), Some(&br#"{"n":1}"#[..]));
        assert_eq!(copy.payload(5).as_deref(), Some(&br#"{"n":1}"#[..]));
        let last = overlay.get();
        assert!(last.version() > first.version());
        assert_eq!((last.rows(), last.bytes()), (2, 2 * ENTRY_BYTES + 4));
        assert_eq!((overlay.payload(5).as_deref(), overlay.payload(4)), (Some(&b"{}"[..]), None));
    }
}
