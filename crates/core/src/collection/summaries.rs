//! Summaries of the payloads of a collection, scrolls in the order of a field, and random samples.
//!
//! Each is computed from one consistent state: the live, matching rows are selected, together with the updated payloads
//! of sealed rows, while no write changes them. The rest runs without excluding writers.

use super::layout::id_hash;
use super::read::{PageReader, parse};
use super::state::Collection;
use super::view::{RowLocation, View};
use crate::api::CancellationToken;
use crate::api::{
    Error, Facet, FieldReport, Fields, Filter, OrderBy, OrderedPage, Payload, Point, SortKey, SortPosition,
};
use crate::payload::field_stats::FieldCounter;
use crate::payload::field_values::{FacetCounter, Source, Wanted, keys_in, sort_key};
use crate::payload::{RowSet, Selection};
use crate::segment::growing::Growing;
use crate::segment::overlay::Updates;
use crate::segment::payload_rows::{Indexes, PayloadRows, SealedRows};
use crate::types::{Ordinal, PointId};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

/// Rows processed between two checks for cancellation.
const STEP: usize = 4_096;

/// A segment with its payloads at one moment.
enum SegmentRows<'a> {
    Growing(&'a Arc<Growing>),
    Sealed(SealedRows<'a>),
}

/// The rows of a collection at one moment.
struct Rows {
    view: Arc<View>,
    selection: Selection,
    /// The updated payloads of each sealed segment of the view.
    updates: Vec<Arc<Updates>>,
}

impl Rows {
    /// Returns the segments, each with its selected rows.
    fn segments(&self) -> Vec<(SegmentRows<'_>, &RowSet)> {
        let sealed = self.view.sealed.iter().zip(&self.updates);
        let sealed =
            sealed.map(|(sealed, updates)| SegmentRows::Sealed(SealedRows { sealed, updates: updates.clone() }));
        self.view.growing_newest_first().map(SegmentRows::Growing).chain(sealed).zip(&self.selection.segments).collect()
    }
}

impl SegmentRows<'_> {
    fn indexes(&self) -> Result<Indexes<'_>, Error> {
        match self {
            Self::Growing(growing) => growing.indexes(),
            Self::Sealed(sealed) => sealed.indexes(),
        }
    }

    fn each_payload<T: Send>(
        &self,
        rows: impl Iterator<Item = u32>,
        read: &(dyn Fn(Payload) -> T + Sync),
        visit: &mut dyn FnMut(u32, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Growing(growing) => growing.each_payload(rows, read, visit),
            Self::Sealed(sealed) => sealed.each_payload(rows, read, visit),
        }
    }

    fn id(&self, row: u32) -> Result<PointId, Error> {
        match self {
            Self::Growing(growing) => Ok(growing.read().ids[row as usize].clone()),
            Self::Sealed(rows) => rows.sealed.id_of(Ordinal(row)),
        }
    }

    /// Reads one point. Returns false if the response has no room for it.
    ///
    /// # Errors
    /// See [`PageReader::read`].
    fn read(&self, collection: &Collection, reader: &mut PageReader, id: PointId, row: u32) -> Result<bool, Error> {
        let rows = match self {
            Self::Growing(growing) => {
                return reader.read(collection, id, &RowLocation::Growing((*growing).clone(), row));
            }
            Self::Sealed(rows) => rows,
        };
        let (location, fields) = (RowLocation::Sealed(rows.sealed.clone(), Ordinal(row)), reader.fields);
        let mut point = collection.point(id, &location, Fields { payload: false, ..fields })?;
        if fields.payload {
            // That of the selection: a later one may have another position in the order.
            point.payload = Some(parse(&collection.name(), &point.id, &rows.stored(row)?.0)?);
        }
        reader.add(point)
    }
}

impl Collection {
    /// Returns the live rows, or the live rows that match, of one moment: each point once. Does not check the filter.
    ///
    /// # Errors
    /// `Damaged`, also for a segment that would be missing.
    fn steady_rows(&self, filter: Option<&Filter>) -> Result<Rows, Error> {
        if filter.is_some() || self.ttl().is_some() {
            // Sealed segments cache the matches, so that the evaluation below is short.
            self.visible(&self.view(), filter)?;
        }
        let (view, selection, updates) = self.steady(|view| {
            (view.clone(), self.visible(view, filter), view.sealed.iter().map(|sealed| sealed.updates()).collect())
        });
        view.ensure_intact(&self.name())?;
        Ok(Rows { view, selection: selection?, updates })
    }

    /// Counts the values of a field. Does not check the parameters.
    ///
    /// # Errors
    /// `Exhausted` for too many distinct values outside of indexes; `Damaged`; `Abandoned`.
    pub(crate) fn facet(&self, field: &str, limit: usize, filter: Option<&Filter>) -> Result<Facet, Error> {
        let rows = self.steady_rows(filter)?;
        let segments = rows.segments();
        let indexes = segments.iter().map(|(segment, _)| segment.indexes()).collect::<Result<Vec<_>, _>>()?;
        let mut counter = FacetCounter::default();
        for ((segment, selected), indexes) in segments.iter().zip(&indexes) {
            for (first, source) in indexes.sources(field, selected) {
                let (rows, counted) = match source {
                    Source::Index(values, long) => {
                        counter.add_index(values);
                        (long, true)
                    }
                    Source::Payloads(selected) => (selected.rows().map(|row| row.0).collect(), false),
                    Source::Nothing => continue,
                };
                segment.each_payload(
                    rows.into_iter().map(|row| first + row),
                    &|payload| keys_in(&payload, field),
                    &mut |_, (keys, has_value)| counter.add_payload(keys, has_value, counted),
                )?;
            }
        }
        let facet = counter.finish(limit)?;
        self.view().ensure_intact(&self.name())?;
        Ok(facet)
    }

    /// Returns statistics of all fields, from the payloads of all matching points. Does not check the filter.
    ///
    /// # Errors
    /// `Damaged`; `Abandoned`.
    pub(crate) fn describe_fields(&self, filter: Option<&Filter>) -> Result<FieldReport, Error> {
        let rows = self.steady_rows(filter)?;
        let mut counter = FieldCounter::default();
        for (segment, selected) in rows.segments() {
            let mut add = |_, payload: Payload| {
                counter.add(&payload);
                Ok(())
            };
            segment.each_payload(selected.rows().map(|row| row.0), &|payload| payload, &mut add)?;
        }
        self.view().ensure_intact(&self.name())?;
        Ok(counter.finish())
    }

    /// Returns the page after `after` in the order of a field. Does not check the parameters.
    ///
    /// # Errors
    /// `Damaged`; `Abandoned`; those of the response budget.
    pub(crate) fn scroll_ordered(
        &self,
        order: &OrderBy,
        after: Option<&SortPosition>,
        limit: usize,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<OrderedPage, Error> {
        let rows = self.steady_rows(filter)?;
        let segments = rows.segments();
        // One more than requested, to detect whether points follow.
        let mut page = OrderedRows::new(order.descending, after, limit + 1);
        for (ordinal, (segment, selected)) in segments.iter().enumerate() {
            let indexes = segment.indexes()?;
            for (first, source) in indexes.sources(&order.field, selected) {
                let take = |page: &mut OrderedRows<'_>, key: &SortKey, row: u32| {
                    page.take(key, || segment.id(first + row), (ordinal, first + row))
                };
                let rows = match source {
                    Source::Index(values, long) => {
                        let page = std::cell::RefCell::new(&mut page);
                        values.each_in_order(
                            order.descending,
                            &long,
                            &mut |key| page.borrow().wanted(key),
                            &mut |key, row| take(&mut page.borrow_mut(), key, row),
                        )?;
                        long
                    }
                    Source::Payloads(selected) => selected.rows().map(|row| row.0).collect(),
                    Source::Nothing => continue,
                };
                segment.each_payload(
                    rows.into_iter().map(|row| first + row),
                    &|payload| sort_key(&payload, &order.field, order.descending),
                    &mut |row, key| key.map_or(Ok(()), |key| take(&mut page, &key, row - first)),
                )?;
            }
        }
        let mut rows = page.rows;
        let mut more = rows.len() > limit;
        if more {
            rows.pop_last();
        }
        self.view().ensure_intact(&self.name())?;
        let mut reader = PageReader::new(fields);
        let mut last = None;
        for ((key, id), (ordinal, row)) in rows {
            if !segments[ordinal].0.read(self, &mut reader, id.clone(), row)? {
                more = true;
                break;
            }
            last = Some((key.key, id));
        }
        Ok(OrderedPage { points: reader.points, next: last.filter(|_| more) })
    }

    /// Returns a uniform random sample without replacement, in random order: the points with the smallest hashes of
    /// their ids (bottom-k sampling, Cohen & Kaplan 2007). It depends only on the seed and on the ids of the matching
    /// points. Does not check the parameters.
    ///
    /// # Errors
    /// `Damaged`; `Abandoned`; those of the response budget.
    pub(crate) fn sample(
        &self,
        count: usize,
        seed: u64,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Vec<Point>, Error> {
        let rows = self.steady_rows(filter)?;
        let segments = rows.segments();
        let (stop, start) = (CancellationToken::current(), mix(seed));
        let mut chosen: BinaryHeap<(u64, Reverse<PointId>, usize, u32)> = BinaryHeap::new();
        for (ordinal, (segment, selected)) in segments.iter().enumerate() {
            for (step, row) in selected.rows().enumerate() {
                if step % STEP == 0 {
                    stop.check()?;
                }
                let id = segment.id(row.0)?;
                let hash = id_hash(id.as_str(), start);
                if chosen.len() < count || chosen.peek().is_some_and(|(greatest, ..)| hash < *greatest) {
                    chosen.push((hash, Reverse(id), ordinal, row.0));
                    if chosen.len() > count {
                        chosen.pop();
                    }
                }
            }
        }
        self.view().ensure_intact(&self.name())?;
        let mut reader = PageReader::new(fields);
        for (_, Reverse(id), ordinal, row) in chosen.into_sorted_vec() {
            if !segments[ordinal].0.read(self, &mut reader, id, row)? {
                return Err(Error::ResponseTooLarge(format!(
                    "limit: a sample of {count} points exceeds the size limit of the response; ask for fewer points, \
                     or without vectors"
                )));
            }
        }
        Ok(reader.points)
    }
}

/// Spreads a seed over all bits of a hash (splitmix64, Steele, Lea & Flood 2014), so that the samples of similar seeds
/// are independent.
fn mix(seed: u64) -> u64 {
    let mut hash = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The first rows of a page in the order of a field, so far.
struct OrderedRows<'a> {
    descending: bool,
    after: Option<&'a SortPosition>,
    count: usize,
    /// Each with the ordinal of its segment and its row there.
    rows: BTreeMap<(Directed, PointId), (usize, u32)>,
}

/// A key that sorts in the direction of the page.
#[derive(Clone, PartialEq, Eq)]
struct Directed {
    key: SortKey,
    descending: bool,
}

impl Ord for Directed {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.key.cmp(&other.key);
        if self.descending { order.reverse() } else { order }
    }
}

impl PartialOrd for Directed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> OrderedRows<'a> {
    fn new(descending: bool, after: Option<&'a SortPosition>, count: usize) -> Self {
        Self { descending, after, count, rows: BTreeMap::new() }
    }

    fn directed(&self, key: &SortKey) -> Directed {
        Directed { key: key.clone(), descending: self.descending }
    }

    /// Whether points with this key can be on the page.
    fn wanted(&self, key: &SortKey) -> Wanted {
        let key = self.directed(key);
        if self.after.is_some_and(|(after, _)| key < self.directed(after)) {
            Wanted::Skip
        } else if self.rows.len() >= self.count && self.rows.last_key_value().is_some_and(|((last, _), _)| *last < key)
        {
            Wanted::End
        } else {
            Wanted::Visit
        }
    }

    /// Adds a row, if it is among the first.
    fn take(
        &mut self,
        key: &SortKey,
        id: impl FnOnce() -> Result<PointId, Error>,
        location: (usize, u32),
    ) -> Result<(), Error> {
        if self.wanted(key) != Wanted::Visit {
            return Ok(());
        }
        let id = id()?;
        if self.after.is_some_and(|(after, last)| after == key && id <= *last) {
            return Ok(());
        }
        self.rows.insert((self.directed(key), id), location);
        if self.rows.len() > self.count {
            self.rows.pop_last();
        }
        Ok(())
    }
}
