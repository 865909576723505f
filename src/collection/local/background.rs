//! What the engine's threads do behind the writers: seal, merge and build graphs, measure them, feed the growing segments' graphs.

use super::super::open::Collection;
use super::super::{Error, ErrorKind, Observe};
use super::{Inner, Work};
use crate::disk;
use crate::types::CollectionName;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

/// How often the indexer looks for new growing points.
const INDEX_PAUSE: Duration = Duration::from_millis(100);
/// The indexer leaves a collection alone that got more rows than this since it last looked: they will soon be sealed.
const INDEX_BELOW_ROWS: u32 = 500;
/// How long a job that failed waits before it is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How often the sealer looks whether merging has caught up.
const DELAY_PAUSE: Duration = Duration::from_millis(100);

impl Inner {
    /// Waits until `flag` is raised (and lowers it) or the engine stops. False when it stops.
    fn wait(&self, flag: fn(&mut Work) -> &mut bool) -> bool {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.stopping() {
                return false;
            }
            if std::mem::take(flag(&mut work)) {
                return true;
            }
            work = self.wake.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits, but not for ever. Returns early when the engine stops.
    pub(super) fn pause(&self, time: Duration) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.wake.wait_timeout_while(work, time, |_| !self.stopping()));
    }

    pub(super) fn run_sealer(&self) {
        while self.wait(|work| &mut work.seal) {
            let mut again = false;
            let mut delayed = false;
            for collection in self.open_collections() {
                loop {
                    if collection.delays_seals() {
                        delayed = true;
                        break;
                    }
                    match collection.seal_oldest() {
                        Ok(true) => self.notify(true),
                        Ok(false) => break,
                        Err(error) => {
                            tracing::error!(collection = %collection.name, %error, "a segment could not be sealed; its points stay in the growing store");
                            // A disk that failed will not work before the collection is opened anew.
                            again |= error.kind() != ErrorKind::Unavailable;
                            break;
                        }
                    }
                }
            }
            if again || delayed {
                self.pause(if again { RETRY_PAUSE } else { DELAY_PAUSE });
                self.notify(false);
            }
        }
    }

    pub(super) fn run_improver(&self) {
        // This thread, and those that it starts, run behind others: queries and writes come first.
        disk::run_behind_others();
        let job = |collection: &Collection, observe: Observe<'_>| -> Result<bool, Error> {
            let done = collection.improve(observe)?;
            if done {
                self.notify_measurer();
            }
            Ok(done)
        };
        self.run_jobs(
            |work| &mut work.improve,
            &job,
            "a merge or a graph failed; the segments serve as they are",
            "segments are not merged and get no graphs",
        );
    }

    pub(super) fn run_measurer(&self) {
        // As the improver; to audit graphs is to read them whole.
        disk::run_behind_others();
        for collection in self.open_collections() {
            if self.stopping() {
                return;
            }
            collection.audit_graphs();
        }
        self.notify(true);
        self.run_jobs(
            |work| &mut work.measure,
            &Collection::calibrate_one,
            "a graph could not be measured; it serves without a promise of its recall",
            "graphs are not measured, and promise no recall",
        );
    }

    /// Does `job` in every collection until there is none, whenever the flag is raised, with threads of its own.
    pub(super) fn run_jobs(
        &self,
        flag: fn(&mut Work) -> &mut bool,
        job: &(dyn Fn(&Collection, Observe<'_>) -> Result<bool, Error> + Sync),
        failed: &str,
        without_threads: &str,
    ) {
        let pool = match rayon::ThreadPoolBuilder::new().thread_name(|at| format!("behind-{at}")).build() {
            Ok(pool) => pool,
            Err(error) => return tracing::error!(%error, "{without_threads}: no threads for it could be started"),
        };
        while self.wait(flag) {
            let mut again = false;
            for collection in self.open_collections() {
                loop {
                    let observe = |_, _, _| !self.stopping();
                    match pool.install(|| job(&collection, &observe)) {
                        Ok(true) if !self.stopping() => {}
                        Ok(_) => break,
                        Err(_) if self.stopping() || collection.is_gone() => break,
                        Err(error) => {
                            tracing::error!(collection = %collection.name, %error, "{failed}");
                            again = true;
                            break;
                        }
                    }
                }
            }
            if again {
                self.pause(RETRY_PAUSE);
                self.notify(true);
            }
        }
    }

    pub(super) fn run_indexer(&self) {
        let mut seen: BTreeMap<CollectionName, u32> = BTreeMap::new();
        while !self.stopping() {
            let mut busy = false;
            for collection in self.open_collections() {
                let growing = collection.view().growing.clone();
                let rows = growing.rows_held();
                let before = seen.insert(collection.name.clone(), rows).unwrap_or(0);
                if rows.saturating_sub(before) > INDEX_BELOW_ROWS {
                    continue;
                }
                // What is in the graph is measured when nothing waits to be put into it.
                let step = growing.index_step().and_then(|done| match done {
                    true => Ok(true),
                    false => growing.measure(&|| !self.stopping()),
                });
                match step {
                    Ok(done) => busy |= done,
                    Err(error) => {
                        tracing::error!(collection = %collection.name, %error, "the growing segment's graph failed; its points are scanned");
                    }
                }
            }
            if !busy {
                self.pause(INDEX_PAUSE);
            }
        }
    }
}
