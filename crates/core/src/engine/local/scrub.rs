//! The scrubber: reads stored bytes at a limited rate and verifies their checksums, to find damage before a request
//! does.
//!
//! One thread processes the collections in sequence. Damaged rows of a segment are hidden immediately; damaged graphs and
//! indexes are rebuilt.

use super::Inner;
use super::handle::Handle;
use crate::api::CollectionInfo;
use crate::collection::meters::{Meters, count};
use crate::collection::state::Collection;
use crate::disk;
use crate::segment::index_files::check_indexes;
use crate::segment::sealed::Sealed;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// Polling interval of the rate and the stop flag.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two reads of a closed collection: its bytes change only by themselves.
const CLOSED_PASS: Duration = Duration::from_secs(6 * 3_600);
/// Pause after a collection was opened for a read.
const OPEN_PAUSE: Duration = Duration::from_millis(2);
/// Minimum time between the starts of two passes.
const PASS: Duration = Duration::from_secs(600);

impl Inner {
    pub(crate) fn run_scrubber(&self) {
        // Low priority: queries and writes go first.
        disk::lower_thread_priority();
        while !self.stopping() {
            if self.scrub_rate == 0 {
                self.pause(POLL_INTERVAL);
                continue;
            }
            let begun = std::time::Instant::now();
            self.scrub_pass();
            self.pause(PASS.saturating_sub(begun.elapsed()).max(POLL_INTERVAL));
        }
    }

    /// Reads all segments, graphs and indexes once; those of closed collections only in some passes.
    fn scrub_pass(&self) {
        let handles: Vec<_> = self.handles().into_iter().filter(|handle| is_due(handle)).collect();
        let total = handles.iter().filter_map(|handle| handle.info(false)).map(|info| stored_bytes(&info)).sum();
        self.meters.scrub_position.store(0, Ordering::Relaxed);
        self.meters.scrub_total.store(total, Ordering::Relaxed);
        for handle in handles {
            if self.stopping() {
                return;
            }
            let unknown = handle.info(false).is_none();
            let was_open = handle.opened().is_some();
            // An error is in the state of the collection.
            let Ok(Some(collection)) = self.open(&handle) else { continue };
            if unknown {
                self.meters.scrub_total.fetch_add(stored_bytes(&collection.stats()), Ordering::Relaxed);
            }
            for sealed in collection.view().sealed.iter() {
                if !self.scrub(&collection, sealed) {
                    return;
                }
            }
            handle.visits.lock().unwrap_or_else(PoisonError::into_inner).scrub = Some(Instant::now());
            drop(collection);
            if !was_open {
                self.close_if_idle(&handle);
                self.pause(OPEN_PAUSE);
            }
        }
        let Meters { scrub_passes, scrub_last_pass, .. } = &*self.meters;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        scrub_last_pass.store(now, Ordering::Relaxed);
        count(scrub_passes);
    }

    /// Reads a segment, its graph and its indexes. Returns false if the engine stops.
    fn scrub(&self, collection: &Collection, sealed: &Sealed) -> bool {
        let mut step = |bytes: u64| {
            self.meters.scrubbed.fetch_add(bytes, Ordering::Relaxed);
            let position = bytes + self.meters.scrub_position.fetch_add(bytes, Ordering::Relaxed);
            // Indexes that are not open are not in the total.
            self.meters.scrub_total.fetch_max(position, Ordering::Relaxed);
            collection.note_damage();
            let rate = self.scrub_rate;
            if rate > 0 {
                self.pause(Duration::from_secs_f64(bytes as f64 / rate as f64));
            }
            rate > 0 && !self.stopping() && !collection.is_removed()
        };
        if let Err(error) = sealed.segment.scrub(&mut step) {
            tracing::warn!(collection = %collection.name(), %error, "a segment is damaged, but no row is lost");
        }
        collection.note_damage();
        if let Some(graph) = sealed.graph().filter(|_| !self.stopping() && !collection.is_removed()) {
            if sealed.verified_graph().is_err() {
                count(&self.meters.damaged);
                // The compactor rebuilds the graph.
                self.notify(true);
            }
            step(graph.mapped_bytes());
        }
        let fields = collection.indexed_fields();
        let mut indexes = check_indexes(&sealed.segment, &fields);
        while let Some(index) = (!self.stopping() && !collection.is_removed()).then(|| indexes.next()).flatten() {
            if index.result.is_err() {
                sealed.discard_index(&index);
                count(&self.meters.damaged);
                // The compactor rebuilds it.
                self.notify(true);
            }
            step(index.bytes);
        }
        !self.stopping()
    }
}

/// Whether a pass reads a collection. A closed one is opened for it only after [`CLOSED_PASS`], and only if it has
/// segments.
fn is_due(handle: &Handle) -> bool {
    if handle.opened().is_some() {
        return true;
    }
    let last = handle.visits.lock().unwrap_or_else(PoisonError::into_inner).scrub;
    let empty = handle.info(false).is_some_and(|info| info.segments.is_empty());
    !empty && handle.failure().is_none() && last.is_none_or(|last| last.elapsed() >= CLOSED_PASS)
}

/// Returns the bytes of a collection that a pass reads.
fn stored_bytes(info: &CollectionInfo) -> u64 {
    info.mapped_bytes
}
