//! Evaluation of filters over the segments of a view.

use super::commit_queue::LOCK_FREE_READS;
use super::state::Collection;
use super::view::View;
use crate::api::{CancellationToken, Error, Filter};
use crate::payload::{Selection, Selections};
use std::sync::Arc;

impl Collection {
    /// Returns the current view and, with a filter or while there are expired points, its visible matches. Does not
    /// check the filter.
    ///
    /// A write deletes rows of the newest view only, and appends its own there. If the view was replaced meanwhile (by
    /// a new growing segment), the filter is evaluated again, finally under the commit lock.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn view_and_selection(&self, filter: Option<&Filter>) -> Result<(Arc<View>, Option<Selection>), Error> {
        self.view_and_selections(filter, &[]).map(|(view, selections)| (view, selections.of_call))
    }

    /// Like [`view_and_selection`](Self::view_and_selection), with the matches of further filters in the same view.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn view_and_selections(
        &self,
        filter: Option<&Filter>,
        of_parts: &[Filter],
    ) -> Result<(Arc<View>, Selections), Error> {
        if filter.is_none() && of_parts.is_empty() && self.ttl().is_none() {
            return Ok((self.view(), Selections::default()));
        }
        let select = |view: &Arc<View>| -> Result<Selections, Error> {
            let all = filter.is_none() && self.expired(view)?.is_none();
            let of_call = if all { None } else { Some(self.visible(view, filter)?) };
            let of_parts =
                of_parts.iter().map(|filter| self.visible(view, Some(filter))).collect::<Result<_, Error>>()?;
            Ok(Selections { of_call, of_parts })
        };
        for _ in 0..LOCK_FREE_READS {
            let view = self.view();
            let selections = select(&view)?;
            if Arc::ptr_eq(&view, &self.view()) {
                return Ok((view, selections));
            }
        }
        let _stopped = self.commit_queue.lock();
        let view = self.view();
        let selections = select(&view)?;
        Ok((view, selections))
    }

    /// Returns the current matches of a filter in a view, including expired points. Does not check the filter.
    ///
    /// Reads sealed rows first and growing ones last: a point that is replaced meanwhile is found as its old row, its
    /// new one, or both, never as none.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn select(&self, view: &View, filter: &Filter) -> Result<Selection, Error> {
        let sealed = view.sealed.iter().map(|sealed| sealed.select(filter)).collect::<Result<Vec<_>, _>>()?;
        let unflushed =
            view.unflushed.iter().map(|unflushed| unflushed.select(filter)).collect::<Result<Vec<_>, _>>()?;
        let mut segments = vec![view.growing.select(filter)?];
        segments.extend(unflushed.into_iter().rev());
        segments.extend(sealed);
        Ok(Selection::new(segments))
    }

    /// Returns the fields of a filter that no point has, usually misspelt ones. Omits a field if that would require
    /// reading every payload; returns none for a collection without points.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn unknown_fields(&self, filter: &Filter) -> Result<Vec<String>, Error> {
        let view = self.view();
        let mut unknown = Vec::new();
        if view.live() == 0 {
            return Ok(unknown);
        }
        let stop = CancellationToken::current();
        for field in filter.fields() {
            stop.check()?;
            if !view.may_have_field(&field)? {
                unknown.push(field);
            }
        }
        Ok(unknown)
    }

    /// Whether a live point of the view has a field. Reads payloads where the indexes do not suffice.
    ///
    /// # Errors
    /// `Damaged` for an unreadable payload.
    pub(crate) fn has_field(&self, view: &View, field: &str) -> Result<bool, Error> {
        if !view.may_have_field(field)? {
            return Ok(false);
        }
        // The remaining case: fields without a value in any live point.
        Ok(self.select(view, &Filter::exists(field))?.count > 0 || view.any_live_payload_has(field)?)
    }
}

impl View {
    /// Whether a point may have a field, by the payload indexes.
    fn may_have_field(&self, field: &str) -> Result<bool, Error> {
        for sealed in &self.sealed {
            if sealed.may_have_field(field)? {
                return Ok(true);
            }
        }
        for growing in self.growing_newest_first() {
            if growing.may_have_field(field)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a live point has a field, payload by payload.
    fn any_live_payload_has(&self, field: &str) -> Result<bool, Error> {
        for growing in self.growing_newest_first() {
            if growing.any_live_payload_has(field)? {
                return Ok(true);
            }
        }
        for sealed in &self.sealed {
            if sealed.any_live_payload_has(field)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
