//! What is written, for those who watch: a bounded list of ids that each watcher reads at its own pace.
//!
//! Nobody is waited for. A watcher that reads more slowly than is written misses the oldest, and is told so.

use crate::types::PointId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ids that are remembered; with the longest ids 10 MiB.
const MOST: usize = 65_536;

/// What was written to a collection lately, as long as anybody watches.
#[derive(Debug, Default)]
pub(in crate::collection) struct Changes(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    ids: VecDeque<PointId>,
    /// The number of the first of them.
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

impl Changes {
    fn list(&self) -> MutexGuard<'_, List> {
        // Every change below leaves the list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody wants to know.
    pub(in crate::collection) fn watched(&self) -> bool {
        self.list().watchers > 0
    }

    /// These were written or removed, up to that write; none: more than can be told.
    pub(in crate::collection) fn tell(&self, ids: Option<Vec<PointId>>, sequence: u64) {
        let mut list = self.list();
        list.sequence = sequence;
        if list.watchers == 0 {
            return;
        }
        match ids {
            Some(ids) => {
                list.ids.extend(ids);
                list.forget(MOST);
            }
            None => {
                // One more number than there are ids: whoever reads next has missed it.
                list.forget(0);
                list.first += 1;
            }
        }
    }

    /// The collection is no more.
    pub(in crate::collection) fn end(&self) {
        self.list().ended = true;
    }
}

/// A watcher's place in what is written. Dropping it ends the watch.
#[derive(Debug)]
pub struct Feed {
    changes: Arc<Changes>,
    next: u64,
}

/// What was written since a watcher last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Points that were written or removed, each once.
    pub ids: Vec<PointId>,
    /// Writes up to this one are among them.
    pub sequence: u64,
    /// More was written than is told.
    pub missed: bool,
    /// The collection is no more.
    pub ended: bool,
}

impl Feed {
    /// Watches from now on: what is written after the write `sequence`.
    pub(in crate::collection) fn new(changes: &Arc<Changes>, sequence: impl FnOnce() -> u64) -> Self {
        let mut list = changes.list();
        list.watchers += 1;
        list.sequence = list.sequence.max(sequence());
        let next = list.end();
        drop(list);
        Self { changes: changes.clone(), next }
    }

    /// What was written since the last call, at most about `most` ids; never waits.
    pub fn take(&mut self, most: usize) -> News {
        let list = self.changes.list();
        let missed = self.next < list.first;
        let from = self.next.max(list.first);
        let until = list.end().min(from + most as u64);
        let at = |number: u64| (number - list.first) as usize;
        let mut last: HashMap<&PointId, usize> = HashMap::new();
        let taken = list.ids.range(at(from)..at(until));
        taken.clone().enumerate().for_each(|(place, id)| {
            last.insert(id, place);
        });
        let ids =
            taken.enumerate().filter(|(place, id)| last.get(id) == Some(place)).map(|(_, id)| id.clone()).collect();
        self.next = until;
        // Before all is read, only what came before it is known to be told.
        let sequence = if until == list.end() { list.sequence } else { 0 };
        News { ids, sequence, missed, ended: list.ended }
    }
}

impl Drop for Feed {
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
    fn each_watcher_reads_at_its_own_pace() {
        let changes = Arc::<Changes>::default();
        assert!(!changes.watched());
        changes.tell(Some(ids(&["early"])), 3);
        let mut a = Feed::new(&changes, || 3);
        assert!(changes.watched());
        assert_eq!(a.take(10), News { sequence: 3, ..News::default() });
        changes.tell(Some(ids(&["x", "y", "x"])), 4);
        let mut b = Feed::new(&changes, || 4);
        changes.tell(Some(ids(&["z"])), 5);
        assert_eq!(a.take(2), News { ids: ids(&["x", "y"]), sequence: 0, ..News::default() });
        assert_eq!(a.take(2).ids, ids(&["x", "z"]));
        assert_eq!(b.take(10), News { ids: ids(&["z"]), sequence: 5, ..News::default() });
        drop(a);
        drop(b);
        assert!(!changes.watched());
        assert!(changes.list().ids.is_empty());
    }

    #[test]
    fn a_slow_watcher_misses_and_holds_no_memory() {
        let changes = Arc::<Changes>::default();
        let mut slow = Feed::new(&changes, || 0);
        for write in 0..20 {
            let written = (0..MOST / 10).map(|at| ids(&[&format!("{write}-{at}")])[0].clone()).collect();
            changes.tell(Some(written), write + 1);
            assert!(changes.list().ids.len() <= MOST);
        }
        let news = slow.take(usize::MAX >> 1);
        assert!(news.missed && news.ids.len() == MOST && news.sequence == 20);
        assert_eq!(slow.take(10), News { sequence: 20, ..News::default() });
        changes.tell(None, 21);
        assert_eq!(slow.take(10), News { sequence: 21, missed: true, ..News::default() });
        changes.end();
        assert!(slow.take(1).ended);
    }
}
