//! Expiry of points: the setting of a collection that serves, and the background thread that deletes expired points.

use super::{Database, Inner, Work};
use crate::api::{CollectionInfo, Error, Ttl, ttl};
use crate::collection::compaction::Step;
use crate::collection::state::Collection;
use crate::disk;
use crate::types::CollectionName;
use std::sync::PoisonError;
use std::time::Duration;

/// Interval at which a collection is searched for expired points.
const EXPIRY_PAUSE: Duration = Duration::from_secs(1);
/// Delay before a failed deletion is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

impl Database {
    /// Deletes the expired points of a collection, as the background thread does, and returns their number.
    ///
    /// # Errors
    /// `NotFound`; those of a write.
    pub fn delete_expired(&self, name: &CollectionName) -> Result<u64, Error> {
        let mut deleted = 0;
        loop {
            let (done, more) = self.inner.delete_expired(&*self.inner.get(name)?)?;
            deleted += done;
            if !more {
                return Ok(deleted);
            }
        }
    }

    /// Returns an open collection.
    #[cfg(test)]
    pub(crate) fn inner_collection(&self, name: &CollectionName) -> std::sync::Arc<Collection> {
        self.inner.get(name).expect("an open collection")
    }
}

impl Inner {
    pub(super) fn set_ttl(&self, name: &CollectionName, ttl: Option<Ttl>) -> Result<CollectionInfo, Error> {
        ttl.as_ref().map_or(Ok(()), |ttl| ttl::validate("ttl", ttl))?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let collection = self.get(name)?;
        let _folder = collection.use_folder()?;
        self.catalog.set_ttl(collection.name().as_str(), ttl.as_ref())?;
        collection.set_ttl(ttl);
        self.notify_expirer();
        Ok(collection.info())
    }

    pub(super) fn notify_expirer(&self) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).expire = true;
        self.wake.notify_all();
    }

    /// Deletes a batch of expired points. Returns their number, and whether more may be expired.
    fn delete_expired(&self, collection: &Collection) -> Result<(u64, bool), Error> {
        let _stays = collection.generation.read().unwrap_or_else(PoisonError::into_inner);
        if collection.is_removed() {
            return Ok((0, false));
        }
        let Some((request, more)) = collection.expire_request()? else { return Ok((0, false)) };
        Ok((self.write_to(collection, request)?.deleted()?.deleted, more))
    }

    pub(super) fn run_expirer(&self) {
        disk::lower_thread_priority();
        self.serve(|work: &mut Work| &mut work.expire, &|collection| {
            if collection.ttl().is_none() {
                return Step::Nothing;
            }
            match self.delete_expired(collection) {
                Ok((_, true)) => Step::Done,
                Ok((_, false)) => Step::Later(EXPIRY_PAUSE),
                Err(_) if self.stopping() || collection.is_removed() => Step::Nothing,
                Err(error) => {
                    tracing::error!(collection = %collection.name(), %error, "expired points could not be deleted; they stay hidden");
                    Step::Later(RETRY_PAUSE)
                }
            }
        });
    }
}
