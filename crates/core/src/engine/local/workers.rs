//! Background threads of the engine: flushing, merging, graph builds, calibration, and indexing of growing segments.
//!
//! Each thread serves the collections round robin, one job each, so a busy collection delays the others by at most one
//! job.

use super::{Inner, Work};
use crate::api::{Error, ErrorKind, Observe};
use crate::collection::compaction::Step;
use crate::collection::state::Collection;
use crate::disk;
use crate::types::CollectionName;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Interval at which the indexer checks for new growing points.
const INDEX_PAUSE: Duration = Duration::from_millis(100);
/// The indexer skips a collection that gained more rows than this since its last visit, because they will soon be
/// flushed.
const INDEX_BELOW_ROWS: u32 = 500;
/// Delay before a failed job is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Interval at which the flusher checks whether merging has caught up.
const DELAY_PAUSE: Duration = Duration::from_millis(100);

/// Collections with postponed jobs, and the time until which they are postponed.
type Pauses = BTreeMap<CollectionName, Instant>;

/// Runs one job per collection in rounds, until a round has done nothing. Skips postponed collections. Calls `names`
/// before each round; `job` returns none to stop.
fn round_robin(
    pauses: &mut Pauses,
    names: &dyn Fn() -> Vec<CollectionName>,
    job: &mut dyn FnMut(&CollectionName) -> Option<Step>,
) {
    let mut busy = true;
    while std::mem::take(&mut busy) {
        let names = names();
        pauses.retain(|name, _| names.contains(name));
        for name in &names {
            if pauses.get(name).is_some_and(|until| *until > Instant::now()) {
                continue;
            }
            pauses.remove(name);
            match job(name) {
                Some(Step::Done) => busy = true,
                Some(Step::Nothing) => {}
                Some(Step::Later(pause)) => _ = pauses.insert(name.clone(), Instant::now() + pause),
                None => return,
            }
        }
    }
}

impl Inner {
    /// Waits until `flag` is raised (and lowers it), a pause ends, or the engine stops. Returns false if it stops.
    fn wait(&self, flag: fn(&mut Work) -> &mut bool, pauses: &Pauses) -> bool {
        let until = pauses.values().min();
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.stopping() {
                return false;
            }
            if std::mem::take(flag(&mut work)) {
                return true;
            }
            work = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.wake.wait(work).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return true,
                Some(left) => self.wake.wait_timeout(work, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Sleeps for `time`, or until the engine stops.
    pub(crate) fn pause(&self, time: Duration) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.wake.wait_timeout_while(work, time, |_| !self.stopping()));
    }

    /// Runs `job` on all collections, round robin, whenever the flag is raised.
    pub(super) fn serve(&self, flag: fn(&mut Work) -> &mut bool, job: &dyn Fn(&Collection) -> Step) {
        let mut pauses = Pauses::new();
        while self.wait(flag, &pauses) {
            let mut worked = false;
            // By name: holding the collections would keep deleted or replaced ones alive.
            round_robin(&mut pauses, &|| self.open_names(), &mut |name| {
                if self.stopping() {
                    return None;
                }
                let Some(collection) = self.opened(name) else { return Some(Step::Nothing) };
                let step = job(&collection);
                worked |= step == Step::Done;
                Some(step)
            });
            if worked {
                disk::trim_malloc();
            }
        }
    }

    pub(crate) fn run_sealer(&self) {
        self.serve(|work| &mut work.flush, &|collection| {
            if collection.delays_flush() {
                return Step::Later(DELAY_PAUSE);
            }
            match collection.flush_oldest() {
                Ok(true) => {
                    self.notify(true);
                    Step::Done
                }
                Ok(false) => Step::Nothing,
                Err(error) => {
                    tracing::error!(collection = %collection.name(), %error, "a segment could not be flushed; its points stay in the write buffer");
                    // A failed disk does not recover before the collection is reopened.
                    if error.kind() == ErrorKind::Unavailable { Step::Nothing } else { Step::Later(RETRY_PAUSE) }
                }
            }
        });
    }

    pub(crate) fn run_compactor(&self) {
        // Low priority, inherited by the threads that it starts: queries and writes go first.
        disk::lower_thread_priority();
        let job = |collection: &Collection, observe: Observe<'_>| -> Result<Step, Error> {
            let step = collection.run_compaction(observe)?;
            if step == Step::Done {
                self.notify_measurer();
            }
            Ok(step)
        };
        self.run_jobs(
            |work| &mut work.run_compaction,
            &job,
            "a merge or a graph build failed; the segments are served as they are",
            "segments are not merged, and no graphs are built",
        );
    }

    pub(crate) fn run_measurer(&self) {
        // Low priority, like the compactor; auditing graphs reads them completely.
        disk::lower_thread_priority();
        let job = |collection: &Collection, observe: Observe<'_>| -> Result<Step, Error> {
            if collection.audit_graphs_once() {
                // The compactor rebuilds damaged graphs.
                self.notify(true);
            }
            collection.calibrate_one(observe)
        };
        self.run_jobs(
            |work| &mut work.measure,
            &job,
            "a graph could not be calibrated; its expected recall is unknown",
            "graphs are not calibrated",
        );
    }

    /// Runs `job` on all collections, whenever the flag is raised, in a separate thread pool.
    fn run_jobs(
        &self,
        flag: fn(&mut Work) -> &mut bool,
        job: &(dyn Fn(&Collection, Observe<'_>) -> Result<Step, Error> + Sync),
        failed: &str,
        without_threads: &str,
    ) {
        let pool = match rayon::ThreadPoolBuilder::new().thread_name(|at| format!("behind-{at}")).build() {
            Ok(pool) => pool,
            Err(error) => return tracing::error!(%error, "{without_threads}: no threads for it could be started"),
        };
        self.serve(flag, &|collection| {
            let observe = |_, _, _| !self.stopping();
            match pool.install(|| job(collection, &observe)) {
                Ok(step) => step,
                Err(_) if self.stopping() || collection.is_removed() => Step::Nothing,
                Err(error) => {
                    tracing::error!(collection = %collection.name(), %error, "{failed}");
                    Step::Later(RETRY_PAUSE)
                }
            }
        });
    }

    pub(crate) fn run_indexer(&self) {
        let mut seen: BTreeMap<CollectionName, u32> = BTreeMap::new();
        while !self.stopping() {
            let mut busy = false;
            if self.meters.memory.is_short() {
                // A growing segment without a graph is scanned.
                self.pause(INDEX_PAUSE);
                continue;
            }
            for name in self.open_names() {
                // One at a time: a collection that is held here does not close.
                let Some(collection) = self.opened(&name) else { continue };
                let growing = collection.view().growing.clone();
                let rows = growing.rows_held();
                let before = seen.insert(name, rows).unwrap_or(0);
                if rows.saturating_sub(before) > INDEX_BELOW_ROWS {
                    continue;
                }
                // Measure the graph only when there are no rows to insert.
                for field in collection.text_fields().iter() {
                    // A query reports an error.
                    _ = growing.text(field);
                }
                let step = growing.index_step().and_then(|done| match done {
                    true => Ok(true),
                    false => growing.measure(&|| !self.stopping()),
                });
                match step {
                    Ok(done) => busy |= done,
                    Err(error) => {
                        tracing::error!(collection = %collection.name(), %error, "the growing segment's graph failed; its points are scanned");
                    }
                }
            }
            if !busy {
                self.pause(INDEX_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the order of the jobs, given the number of jobs per collection; stops after `limit` jobs.
    fn order(jobs: &[(&str, usize)], limit: usize) -> String {
        let mut left: BTreeMap<String, usize> = jobs.iter().map(|(name, jobs)| ((*name).to_owned(), *jobs)).collect();
        let names: Vec<CollectionName> = jobs.iter().map(|(name, _)| CollectionName::new(name).unwrap()).collect();
        let mut done = String::new();
        round_robin(&mut Pauses::new(), &|| names.clone(), &mut |name| {
            let left = left.get_mut(name.as_str()).unwrap();
            if *left == 0 {
                return Some(Step::Nothing);
            }
            *left -= 1;
            done.push_str(name.as_str());
            (done.len() < limit).then_some(Step::Done)
        });
        done
    }

    #[test]
    fn a_busy_collection_waits_for_the_others_after_each_job() {
        assert_eq!(order(&[("a", usize::MAX), ("b", 3), ("c", 1)], 10), "abcababaaa");
        assert_eq!(order(&[("a", 1), ("b", 2), ("c", usize::MAX)], 6), "abcbcc");
        assert_eq!(order(&[("a", 2), ("b", 2)], 10), "abab");
        assert_eq!(order(&[], 10), "");
    }

    #[test]
    fn a_postponed_collection_delays_no_other() {
        let names: Vec<CollectionName> = ["a", "b"].map(|name| CollectionName::new(name).unwrap()).into();
        let (mut pauses, mut order, mut left) = (Pauses::new(), String::new(), 3);
        let mut run = |pauses: &mut Pauses| {
            round_robin(pauses, &|| names.clone(), &mut |name| {
                order.push_str(name.as_str());
                if name.as_str() == "a" {
                    return Some(Step::Later(Duration::from_secs(3_600)));
                }
                left -= 1;
                Some(if left >= 0 { Step::Done } else { Step::Nothing })
            });
        };
        run(&mut pauses);
        run(&mut pauses);
        assert_eq!(pauses.len(), 1);
        // After the pause, "a" gets its turn again.
        pauses.values_mut().for_each(|until| *until = Instant::now());
        run(&mut pauses);
        assert_eq!(order, "abbbbbab");
    }
}
