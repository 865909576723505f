//! The change feed: a bounded list of written ids, which each subscriber reads at its own pace.
//!
//! Writes never wait for subscribers. A slow subscriber loses the oldest ids, and the feed reports that.

use crate::types::PointId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum ids held; 10 MiB with the longest ids.
const MAX_CHANGES: usize = 65_536;

/// The latest changes of a collection, recorded while there are subscribers.
#[derive(Debug, Default)]
pub(crate) struct ChangeLog(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    ids: VecDeque<PointId>,
    /// Position of the first id in the feed.
    first: u64,
    sequence: u64,
    watchers: usize,
    ended: bool,
}

impl List {
    fn end(&self) -> u64 {
        self.first + self.ids.len() as u64
    }

    fn forget(&mut self, keep: usize) {
        let over = self.ids.len().saturating_sub(keep);
        self.ids.drain(..over);
        self.first += over as u64;
    }
}

impl ChangeLog {
    fn list(&self) -> MutexGuard<'_, List> {
        // Every change below leaves the list consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are subscribers.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.list().watchers > 0
    }

    /// Publishes the ids changed or removed by writes up to `sequence`; `None` if there are too many.
    pub(crate) fn publish(&self, ids: Option<Vec<PointId>>, sequence: u64) {
        let mut list = self.list();
        list.sequence = sequence;
        if list.watchers == 0 {
            return;
        }
        match ids {
            Some(ids) => {
                list.ids.extend(ids);
                list.forget(MAX_CHANGES);
            }
            None => {
                // Skip one position without an id: every subscriber notices a gap.
                list.forget(0);
                list.first += 1;
            }
        }
    }

    /// Marks the collection as deleted or replaced.
    pub(crate) fn end(&self) {
        self.list().ended = true;
    }
}

/// A subscription to the writes of a collection. Dropping it ends it.
pub trait ChangeFeed: Send {
    /// Returns the changes since the last call, up to about `max_ids` ids, without waiting.
    fn take(&mut self, max_ids: usize) -> ChangeBatch;
}

/// Subscription to a [`ChangeLog`].
#[derive(Debug)]
pub(crate) struct Subscription {
    changes: Arc<ChangeLog>,
    next: u64,
}

/// Changes since the previous read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeBatch {
    /// Points written or removed, without duplicates.
    pub ids: Vec<PointId>,
    /// All writes up to this sequence number are included.
    pub sequence: u64,
    /// Whether changes were lost.
    pub missed: bool,
    /// Whether the collection was deleted or replaced.
    pub ended: bool,
}

impl Subscription {
    /// Subscribes to all writes after `sequence`.
    pub(crate) fn new(changes: &Arc<ChangeLog>, sequence: impl FnOnce() -> u64) -> Self {
        let mut list = changes.list();
        list.watchers += 1;
        list.sequence = list.sequence.max(sequence());
        let next = list.end();
        drop(list);
        Self { changes: changes.clone(), next }
    }
}

impl ChangeFeed for Subscription {
    fn take(&mut self, max_ids: usize) -> ChangeBatch {
        let list = self.changes.list();
        let missed = self.next < list.first;
        let from = self.next.max(list.first);
        let until = list.end().min(from + max_ids as u64);
        let at = |number: u64| (number - list.first) as usize;
        let mut last: HashMap<&PointId, usize> = HashMap::new();
        let taken = list.ids.range(at(from)..at(until));
        taken.clone().enumerate().for_each(|(index, id)| {
            last.insert(id, index);
        });
        let ids =
            taken.enumerate().filter(|(index, id)| last.get(id) == Some(index)).map(|(_, id)| id.clone()).collect();
        self.next = until;
        // Before the end of the list, it is unknown which writes are complete.
        let sequence = if until == list.end() { list.sequence } else { 0 };
        ChangeBatch { ids, sequence, missed, ended: list.ended }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut list = self.changes.list();
        list.watchers -= 1;
        if list.watchers == 0 {
            list.forget(0);
            list.ids.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<PointId> {
        names.iter().map(|name| PointId::new(*name).unwrap()).collect()
    }

    #[test]
    fn each_subscriber_reads_at_its_own_pace() {
        let changes = Arc::<ChangeLog>::default();
        assert!(!changes.has_subscribers());
        changes.publish(Some(ids(&["early"])), 3);
        let mut a = Subscription::new(&changes, || 3);
        assert!(changes.has_subscribers());
        assert_eq!(a.take(10), ChangeBatch { sequence: 3, ..ChangeBatch::default() });
        changes.publish(Some(ids(&["x", "y", "x"])), 4);
        let mut b = Subscription::new(&changes, || 4);
        changes.publish(Some(ids(&["z"])), 5);
        assert_eq!(a.take(2), ChangeBatch { ids: ids(&["x", "y"]), sequence: 0, ..ChangeBatch::default() });
        assert_eq!(a.take(2).ids, ids(&["x", "z"]));
        assert_eq!(b.take(10), ChangeBatch { ids: ids(&["z"]), sequence: 5, ..ChangeBatch::default() });
        drop(a);
        drop(b);
        assert!(!changes.has_subscribers());
        assert!(changes.list().ids.is_empty());
    }

    #[test]
    fn a_slow_subscriber_misses_changes_and_holds_no_memory() {
        let changes = Arc::<ChangeLog>::default();
        let mut slow = Subscription::new(&changes, || 0);
        for write in 0..20 {
            let written = (0..MAX_CHANGES / 10).map(|at| ids(&[&format!("{write}-{at}")])[0].clone()).collect();
            changes.publish(Some(written), write + 1);
            assert!(changes.list().ids.len() <= MAX_CHANGES);
        }
        let batch = slow.take(usize::MAX >> 1);
        assert!(batch.missed && batch.ids.len() == MAX_CHANGES && batch.sequence == 20);
        assert_eq!(slow.take(10), ChangeBatch { sequence: 20, ..ChangeBatch::default() });
        changes.publish(None, 21);
        assert_eq!(slow.take(10), ChangeBatch { sequence: 21, missed: true, ..ChangeBatch::default() });
        changes.end();
        assert!(slow.take(1).ended);
    }
}
