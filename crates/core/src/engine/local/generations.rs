//! Replacement of a collection: by the next generation, the previous one, or a restored one.

use super::Inner;
use super::handle::Handle;
use crate::api::{CancellationToken, CollectionInfo, Error, Observe, Sources};
use crate::collection::embedder_pin::Lineage;
use crate::collection::reembed::Follower;
use crate::collection::state::Collection;
use crate::store::{Changed, CollectionRecord};
use crate::types::CollectionName;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Timeout of a wait for the jobs of a replaced generation.
const FOLDER_TIMEOUT: Duration = Duration::from_secs(60);
/// Polling interval of that wait.
const FOLDER_POLL_INTERVAL: Duration = Duration::from_millis(5);

impl Inner {
    /// Starts to serve `collection` and retires the one that it replaces. Requires the commit lock of the latter.
    pub(crate) fn install(&self, before: Option<&Collection>, collection: Collection) -> CollectionInfo {
        if let Some(before) = before {
            before.end();
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.retain(|(_, folder)| !folder.is_free());
            retired.push((before.dir.clone(), before.folder_use.clone()));
        }
        // The collection may have been opened before a model was installed.
        self.models.registry().models().iter().for_each(|model| collection.bind_embedder(model));
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        // The replaced collection may have been renamed since this one was opened.
        collection.set_names(slots.names(&before.map_or_else(|| collection.name(), Collection::name)));
        let info = collection.info();
        let handle = Handle::open(collection);
        handle.touch(self.started);
        let replaced = slots.insert(info.name.clone(), Arc::new(handle));
        drop(slots);
        // A background thread may hold the handle for long.
        if let Some(replaced) = replaced {
            replaced.lazy.remove();
        }
        self.notify(true);
        self.notify_expirer();
        info
    }

    /// Removes obsolete folders of a collection, after the jobs that still write in those of replaced generations. The
    /// next start removes what cannot be removed now. Waits, so not for callers with the `changing` lock if one of the
    /// folders has been in use.
    pub(crate) fn discard(&self, name: &CollectionName, folders: Vec<PathBuf>) {
        for folder in folders {
            // After a timeout or a cancellation, the removal is still worth a try.
            let _ = self.await_folder(&folder);
            if let Err(error) = self.catalog.discard(&folder) {
                tracing::warn!(collection = %name, %error, "could not remove an obsolete folder; the next start removes it");
            }
        }
    }

    /// Waits until no job of a replaced collection writes in this folder. The jobs end soon, because each checks
    /// whether its collection is removed.
    ///
    /// # Errors
    /// `Unavailable` after a timeout; those of [`CancellationToken::check`].
    pub(crate) fn await_folder(&self, dir: &Path) -> Result<(), Error> {
        let stop = CancellationToken::current();
        let deadline = Instant::now() + FOLDER_TIMEOUT;
        loop {
            {
                let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
                retired.retain(|(_, folder)| !folder.is_free());
                if !retired.iter().any(|(other, _)| other == dir) {
                    return Ok(());
                }
            }
            stop.check()?;
            if self.stopping() || Instant::now() > deadline {
                return Err(Error::Unavailable(
                    "background jobs of the previous generation have not ended yet; retry in a minute".into(),
                ));
            }
            std::thread::sleep(FOLDER_POLL_INTERVAL);
        }
    }

    /// Lets `next` catch up with the collection `before`, then switches durably by calling `switch` with the present name.
    pub(crate) fn switch_generation(
        &self,
        before: &Collection,
        next: Collection,
        sources: Sources,
        observe: Observe<'_>,
        switch: impl FnOnce(&CollectionName) -> Result<Changed, Error>,
    ) -> Result<CollectionInfo, Error> {
        let observe = |job, done, total| !self.stopping() && observe(job, done, total);
        let mut follower = Follower::new(before, &next, sources, &observe);
        follower.approach()?;
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Running writes finish; new ones wait for the next generation.
        let writers = before.generation.write().unwrap_or_else(PoisonError::into_inner);
        let held = before.commit_queue.lock();
        follower.finish(&held)?;
        drop(follower);
        let Changed { entry, obsolete } = switch(&before.name()).inspect_err(|_| self.stop_if_unknown(Some(before)))?;
        if let Some(entry) = &entry {
            next.set_lineage(Lineage::of(entry));
            // They may have changed meanwhile.
            next.set_fields(&entry.record);
            next.set_ttl(entry.record.ttl.clone());
        }
        let info = self.install(Some(before), next);
        drop((held, writers, changing));
        self.discard(&before.name(), obsolete);
        Ok(info)
    }

    /// Re-embeds a collection and replaces it with the result.
    pub(crate) fn reembed(
        &self,
        name: &CollectionName,
        embedder: &str,
        output: &str,
        sources: Sources,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let before = self.get(name)?;
        let name = &before.name();
        if before.embedder.is_none() {
            let why = format!(
                "the collection {:?} holds plain vectors and has no embedder, so it cannot be re-embedded",
                name.as_str()
            );
            return Err(Error::invalid("name", why));
        }
        let (dimension, pin) = self.pin(embedder, output)?;
        let record = CollectionRecord { dimension, embedder: Some(pin), ..self.entry(name)?.record };
        let prepared = self.catalog.prepare()?;
        let registry = self.models.registry();
        let home = prepared.collection_dir();
        // Points are copied as they are: none is stamped or hidden before the switch.
        let unset = CollectionRecord { ttl: None, ..record.clone() };
        let next = Collection::open(&self.fs, &unset, home, &registry, self.meters.clone())?;
        self.switch_generation(&before, next, sources, observe, |name| {
            let record = CollectionRecord { name: name.clone(), ..record };
            self.has_embedder(&record, prepared.dir())?;
            Ok(self.catalog.succeed(&record, prepared)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::job_lock::FolderUse;
    use crate::engine::local::Database;

    #[test]
    fn a_folder_is_reopened_only_after_its_jobs_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Database::open(dir.path()).unwrap();
        let (folder, other, jobs) = (dir.path().join("one"), dir.path().join("other"), FolderUse::default());
        let job = jobs.begin();
        engine.inner.retired.lock().unwrap().push((folder.clone(), jobs));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| engine.inner.await_folder(&folder));
            engine.inner.await_folder(&other).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            assert!(!waiting.is_finished());
            drop(job);
            waiting.join().unwrap().unwrap();
        });
        assert!(engine.inner.retired.lock().unwrap().is_empty());
    }

    #[test]
    fn a_folder_is_removed_only_after_its_jobs_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Database::open(dir.path()).unwrap();
        let (folder, jobs) = (dir.path().join("one"), FolderUse::default());
        std::fs::create_dir(&folder).unwrap();
        let name = CollectionName::new("c").unwrap();
        let job = jobs.begin();
        engine.inner.retired.lock().unwrap().push((folder.clone(), jobs));
        std::thread::scope(|scope| {
            let discarding = scope.spawn(|| engine.inner.discard(&name, vec![folder.clone()]));
            std::thread::sleep(Duration::from_millis(50));
            std::fs::write(folder.join("written late"), "").unwrap();
            assert!(!discarding.is_finished());
            drop(job);
            discarding.join().unwrap();
        });
        assert!(!folder.exists());
    }
}
