//! Expiry of points: the setting, the rows that are hidden, and the deletion in the background.
//!
//! Expired points are those that a filter on the time of their payload matches. [`Collection::visible`] takes them out of
//! the selection of every read, and [`Collection::hides`] out of reads by id. The matches are kept until a write, a change
//! of segments or the next second.

use super::plan::WriteRequest;
use super::read::parse;
use super::state::Collection;
use super::view::{RowLocation, View};
use crate::api::{Error, Filter, Item, Timestamp, Ttl, ttl};
use crate::payload::{RowSet, Selection};
use crate::types::PointId;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

/// Maximum points deleted in one write.
pub(crate) const EXPIRED_BATCH: usize = 10_000;

/// The setting, and the expired rows found last.
#[derive(Default)]
pub(crate) struct Expiry {
    ttl: RwLock<Option<Arc<Ttl>>>,
    last: Mutex<Option<Expired>>,
}

/// The expired rows of a view.
struct Expired {
    view: Weak<View>,
    /// Count of changes of rows at which they were found.
    changes: u64,
    cutoff: Timestamp,
    path: String,
    rows: Option<Arc<Selection>>,
}

impl Expiry {
    pub(super) fn new(ttl: Option<Ttl>) -> Self {
        Self { ttl: RwLock::new(ttl.map(Arc::new)), last: Mutex::default() }
    }
}

impl Collection {
    /// Returns the setting; none if points do not expire.
    pub(crate) fn ttl(&self) -> Option<Arc<Ttl>> {
        self.expiry.ttl.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_ttl(&self, ttl: Option<Ttl>) {
        *self.expiry.ttl.write().unwrap_or_else(PoisonError::into_inner) = ttl.map(Arc::new);
    }

    /// Returns the filter of the points that are expired now; none if points do not expire.
    pub(crate) fn expired_filter(&self) -> Option<Filter> {
        let ttl = self.ttl()?;
        Some(ttl::expired(&ttl, ttl::cutoff(&ttl, self.meters.clock.now())))
    }

    /// Returns the expired live rows of a view; none if there are none.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn expired(&self, view: &Arc<View>) -> Result<Option<Arc<Selection>>, Error> {
        let Some(ttl) = self.ttl() else { return Ok(None) };
        let cutoff = ttl::cutoff(&ttl, self.meters.clock.now());
        let changes = self.commit_queue.changes();
        {
            let last = self.expiry.last.lock().unwrap_or_else(PoisonError::into_inner);
            let known = |last: &&Expired| {
                last.changes == changes
                    && last.cutoff == cutoff
                    && last.path == ttl.path
                    && last.view.as_ptr() == Arc::as_ptr(view)
            };
            if let Some(last) = last.as_ref().filter(known) {
                return Ok(last.rows.clone());
            }
        }
        let found = self.select(view, &ttl::expired(&ttl, cutoff))?;
        let rows = (found.count > 0).then(|| Arc::new(found));
        if !self.commit_queue.changed_since(changes) {
            let (view, path) = (Arc::downgrade(view), ttl.path.clone());
            *self.expiry.last.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Expired { view, changes, cutoff, path, rows: rows.clone() });
        }
        Ok(rows)
    }

    /// Returns the live rows, or those that match a filter, without the expired ones. Does not check the filter.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn visible(&self, view: &Arc<View>, filter: Option<&Filter>) -> Result<Selection, Error> {
        let expired = self.expired(view)?;
        let found = filter.map_or_else(|| Ok(live_rows(view)), |filter| self.select(view, filter))?;
        Ok(match expired {
            None => found,
            Some(expired) => found.minus(&expired),
        })
    }

    /// Whether the point at a location is expired. An unreadable payload is not, and fails when it is read.
    pub(crate) fn hides(&self, id: &PointId, location: &RowLocation) -> bool {
        let Some(filter) = self.expired_filter() else { return false };
        let matches =
            |payload: &[u8]| parse(&self.name(), id, payload).is_ok_and(|payload| filter.matches(id, &payload));
        match location {
            RowLocation::Growing(growing, row) => matches(growing.read().payload(*row)),
            RowLocation::Sealed(sealed, row) => sealed.payload_is_sound(*row) && matches(&sealed.payload(*row)),
        }
    }

    /// Writes the time into an item without one, if the collection is set to.
    ///
    /// # Errors
    /// `InvalidInput` if a value is in the way.
    pub(crate) fn stamp(&self, root: &str, item: &mut Item) -> Result<(), Error> {
        let Some(ttl) = self.ttl().filter(|ttl| ttl.stamp) else { return Ok(()) };
        ttl::stamp(&ttl, &item.id, &mut item.payload, self.meters.clock.now()).map_err(|why| {
            let why = format!("takes no time at {:?}, as the collection is set to write: {why}", ttl.path);
            Error::invalid(format!("{root}.payload"), why)
        })
    }

    /// Returns the write that deletes the next expired points, and whether more may follow; none if there are none.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn expire_request(&self) -> Result<Option<(WriteRequest, bool)>, Error> {
        let expired = self.noting_damage(|| self.expired(&self.view()))?;
        Ok(expired.map(|rows| (WriteRequest::DeleteExpired { max: EXPIRED_BATCH }, rows.count > EXPIRED_BATCH as u64)))
    }
}

/// Returns the live rows of a view. Reads sealed rows first, as [`Collection::select`] does.
fn live_rows(view: &View) -> Selection {
    let sealed: Vec<RowSet> = view.sealed.iter().map(|sealed| sealed.live_set()).collect();
    let unflushed: Vec<RowSet> = view.unflushed.iter().map(|growing| growing.live_set()).collect();
    let mut segments = vec![view.growing.live_set()];
    segments.extend(unflushed.into_iter().rev());
    segments.extend(sealed);
    Selection::new(segments)
}
