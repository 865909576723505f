//! Whether an idle collection may close.

use super::state::Collection;
use std::sync::atomic::Ordering;

impl Collection {
    /// Whether background threads have work for it: full segments to flush, merges, graphs, indexes of fields or
    /// calibrations that are due or postponed, graphs that were not verified since the start, or points that expire.
    pub(crate) fn has_pending_jobs(&self) -> bool {
        let view = self.view();
        if !view.unflushed.is_empty() || self.ttl().is_some() {
            return true;
        }
        if !self.can_compact() {
            return false;
        }
        let verified = self.audited.load(Ordering::Relaxed);
        self.is_compaction_due()
            || self.lacks_columns()
            || view.sealed.iter().any(|sealed| {
                sealed.needs_calibration()
                    || sealed.needs_graph()
                    || sealed.needs_compaction()
                    || !verified && sealed.graph().is_some()
            })
    }

    /// Whether nothing is lost that is reported, or followed, until the next start: damage, stopped writes, a refused
    /// embedder, moved files, subscribers.
    pub(crate) fn may_close(&self) -> bool {
        !self.is_removed()
            && self.folder_use.is_free()
            && self.view().damaged.is_empty()
            && self.db.stopped().is_none()
            && self.embedder.as_ref().is_none_or(|pinned| pinned.refused.get().is_none())
            && self.orphans.is_empty()
            && !self.changes.has_subscribers()
    }

    /// Verifies the graphs once per start. Returns whether it did.
    pub(crate) fn audit_graphs_once(&self) -> bool {
        let first = !self.audited.swap(true, Ordering::Relaxed);
        if first {
            self.audit_graphs();
        }
        first
    }
}
