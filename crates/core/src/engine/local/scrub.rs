//! The scrubber: reads stored bytes at a limited rate and verifies their checksums, to find damage before a request
//! does.
//!
//! One thread processes the collections in sequence. Damaged rows of a segment are hidden immediately; a damaged graph
//! is rebuilt.

use super::Inner;
use crate::collection::meters::{Meters, count};
use crate::collection::state::Collection;
use crate::disk;
use crate::segment::sealed::Sealed;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// Polling interval of the rate and the stop flag.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
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

    /// Reads all segments and graphs once.
    fn scrub_pass(&self) {
        let collections = self.open_collections();
        let total = collections.iter().map(|collection| stored_bytes(collection)).sum();
        self.meters.scrub_position.store(0, Ordering::Relaxed);
        self.meters.scrub_total.store(total, Ordering::Relaxed);
        for collection in collections {
            for sealed in collection.view().sealed.iter() {
                if !self.scrub(&collection, sealed) {
                    return;
                }
            }
        }
        let Meters { scrub_passes, scrub_last_pass, .. } = &*self.meters;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        scrub_last_pass.store(now, Ordering::Relaxed);
        count(scrub_passes);
    }

    /// Reads a segment and its graph. Returns false if the engine stops.
    fn scrub(&self, collection: &Collection, sealed: &Sealed) -> bool {
        let mut step = |bytes: u64| {
            self.meters.scrubbed.fetch_add(bytes, Ordering::Relaxed);
            self.meters.scrub_position.fetch_add(bytes, Ordering::Relaxed);
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
        !self.stopping()
    }
}

/// Returns the bytes of a collection that a pass reads.
fn stored_bytes(collection: &Collection) -> u64 {
    let bytes =
        |sealed: &Sealed| sealed.segment.mapped_bytes() + sealed.graph().map_or(0, |graph| graph.mapped_bytes());
    collection.view().sealed.iter().map(|sealed| bytes(sealed)).sum()
}
