//! The scrubber: reads what is stored, at a set rate, and compares it with its checksums, so that damage is found before it is
//! asked for.
//!
//! One thread takes collection after collection. A segment's damaged rows are hidden at once; a damaged graph is built anew.

use super::super::activity::{Meters, count};
use super::super::open::Collection;
use super::super::sealed::Sealed;
use super::{Inner, LocalEngine};
use crate::disk;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// Time between two looks at whether there is a rate, and whether the engine stops.
const LOOK: Duration = Duration::from_secs(1);
/// Least time from the begin of a pass to that of the next.
const PASS: Duration = Duration::from_secs(600);

impl LocalEngine {
    /// Sets the rate of the scrubber, bytes a second; 0, the default, stops it.
    pub fn with_scrub_rate(self, bytes_per_second: u64) -> Self {
        self.inner.scrub_rate.store(bytes_per_second, Ordering::Relaxed);
        self
    }
}

impl Inner {
    pub(super) fn run_scrubber(&self) {
        // This thread runs behind others: queries and writes come first.
        disk::run_behind_others();
        while !self.stopping() {
            if self.scrub_rate.load(Ordering::Relaxed) == 0 {
                self.pause(LOOK);
                continue;
            }
            let begun = std::time::Instant::now();
            self.scrub_pass();
            self.pause(PASS.saturating_sub(begun.elapsed()).max(LOOK));
        }
    }

    /// Reads everything once.
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

    /// Reads a segment and its graph. False when the engine stops.
    fn scrub(&self, collection: &Collection, sealed: &Sealed) -> bool {
        let mut step = |bytes: u64| {
            self.meters.scrubbed.fetch_add(bytes, Ordering::Relaxed);
            self.meters.scrub_position.fetch_add(bytes, Ordering::Relaxed);
            collection.note_damage();
            let rate = self.scrub_rate.load(Ordering::Relaxed);
            if rate > 0 {
                self.pause(Duration::from_secs_f64(bytes as f64 / rate as f64));
            }
            rate > 0 && !self.stopping() && !collection.is_gone()
        };
        if let Err(error) = sealed.segment.scrub(&mut step) {
            tracing::warn!(collection = %collection.name, %error, "a segment is damaged where it costs no rows");
        }
        collection.note_damage();
        if let Some(graph) = sealed.graph().filter(|_| !self.stopping() && !collection.is_gone()) {
            if sealed.verified_graph().is_err() {
                count(&self.meters.damaged);
                // It is built anew.
                self.notify(true);
            }
            step(graph.mapped_bytes());
        }
        !self.stopping()
    }
}

/// Bytes that a pass reads of a collection.
fn stored_bytes(collection: &Collection) -> u64 {
    let bytes =
        |sealed: &Sealed| sealed.segment.mapped_bytes() + sealed.graph().map_or(0, |graph| graph.mapped_bytes());
    collection.view().sealed.iter().map(|sealed| bytes(sealed)).sum()
}
