//! Evaluation of a filter: by index where possible, else from the payloads.
//!
//! A condition that the index covers takes a few lookups. Others (a field left out, a long string, an area, conditions on
//! one element) read payloads, and only those of the rows that the index and the other conditions leave. Of several
//! conditions, the one with the least to read in the index comes first. Once it leaves few rows, the payloads of these are
//! read instead of the rows of many values, so that the work depends on the matches and not on the size of the segment.

use super::builder::{count_key, key_of};
use super::geo::{EARTH_METERS, EDGE_DEGREES};
use super::index::{COUNT, EXISTS, LONG, MAX_KEY_BYTES, NULL, NUMBER, PayloadIndex, RowsOf, STRING, Values, are_few};
use crate::api::{
    Bounds, CancellationToken, Error, Filter, GeoBox, Number, Payload, Range, Scalar, TextMatch, Timestamp,
};
use crate::types::PointId;
use rayon::prelude::*;
use roaring::RoaringBitmap;

/// Access to the rows of an index.
#[derive(Clone, Copy)]
pub(crate) struct RowAccess<'a> {
    /// Returns the payload of a row.
    pub(crate) payload: &'a (dyn Fn(u32) -> Result<Payload, Error> + Sync),
    /// Returns the row with an id, which may be deleted.
    pub(crate) find: &'a (dyn Fn(&PointId) -> Option<u32> + Sync),
    /// Returns a superset of the rows with a text that matches, if an inverted index knows them.
    pub(crate) with_words: WithWords<'a>,
}

/// See [`RowAccess::with_words`].
pub(crate) type WithWords<'a> = &'a (dyn Fn(&str, &TextMatch) -> Option<RoaringBitmap> + Sync);

/// A [`WithWords`] without an inverted index.
pub(crate) const NO_WORDS: WithWords<'static> = &|_, _| None;

/// Minimum values whose rows are collected in a plain bit set.
const MIN_BITSET_VALUES: usize = 64;

/// Result of the index for a single condition.
#[derive(Default)]
struct Answer {
    /// Rows that match.
    certain: RoaringBitmap,
    /// Rows that may match, depending on their payloads.
    possible: RoaringBitmap,
}

impl PayloadIndex {
    /// Returns the matching rows.
    ///
    /// # Errors
    /// As `access.payload`.
    pub(crate) fn select(&self, filter: &Filter, access: RowAccess<'_>) -> Result<RoaringBitmap, Error> {
        self.select_within(filter, None, access)
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.rows());
        all
    }

    /// Returns the matching rows among the given ones, or among all.
    fn select_within(
        &self,
        filter: &Filter,
        within: Option<&RoaringBitmap>,
        access: RowAccess<'_>,
    ) -> Result<RoaringBitmap, Error> {
        let or_all = |within: Option<&RoaringBitmap>| within.cloned().unwrap_or_else(|| self.all());
        match filter {
            Filter::And(parts) => {
                let mut parts: Vec<&Filter> = parts.iter().collect();
                parts.sort_by_cached_key(|part| (self.needs_payloads(part), self.cost(part, "")));
                let mut left: Option<RoaringBitmap> = None;
                for part in parts {
                    if left.as_ref().is_some_and(RoaringBitmap::is_empty) {
                        break;
                    }
                    left = Some(self.select_within(part, left.as_ref().or(within), access)?);
                }
                Ok(left.unwrap_or_else(|| or_all(within)))
            }
            Filter::Or(parts) => {
                let (mut found, mut left) = (RoaringBitmap::new(), within.cloned());
                for part in parts {
                    let more = self.select_within(part, left.as_ref(), access)?;
                    if let Some(left) = &mut left {
                        *left -= &more;
                    }
                    found |= more;
                }
                Ok(found)
            }
            Filter::Not(part) => Ok(or_all(within) - self.select_within(part, within, access)?),
            Filter::Equals { .. }
            | Filter::In { .. }
            | Filter::Range { .. }
            | Filter::Exists { .. }
            | Filter::GeoRadius { .. }
            | Filter::IsNull { .. }
            | Filter::IsEmpty { .. }
            | Filter::ValuesCount { .. }
            | Filter::Nested { .. }
            | Filter::GeoBox { .. }
            | Filter::GeoPolygon { .. }
            | Filter::TimeRange { .. }
            | Filter::Text { .. } => {
                let are_few = |rows: &&RoaringBitmap| {
                    let cost = self.cost(filter, "");
                    // Without the field, an index of texts may still know a few candidates.
                    cost < u64::MAX && are_few(rows.len(), cost)
                };
                if let Some(few) = within.filter(are_few) {
                    return check(filter, few, access);
                }
                let Some(Answer { mut certain, mut possible }) = self.answer(filter, "", access.with_words) else {
                    return check(filter, &or_all(within), access);
                };
                if let Some(within) = within {
                    certain &= within;
                    possible &= within;
                }
                possible -= &certain;
                if !possible.is_empty() {
                    certain |= check(filter, &possible, access)?;
                }
                Ok(certain)
            }
            Filter::Ids(ids) => {
                let (stop, mut found) = (CancellationToken::current(), RoaringBitmap::new());
                for id in ids {
                    stop.check()?;
                    found.extend((access.find)(id));
                }
                match within {
                    Some(within) => found &= within,
                    None => _ = found.remove_range(self.rows()..),
                }
                Ok(found)
            }
        }
    }

    /// Returns about how many bytes of the index the evaluation of a filter on fields below `prefix` reads.
    fn cost(&self, filter: &Filter, prefix: &str) -> u64 {
        let covered = |field: &str| self.covered(&format!("{prefix}{field}"));
        // Without the field, the payloads of all rows are read.
        let whole = |field: &str| covered(field).map_or(u64::MAX, |values| self.cost_of(values.0));
        let of_key = |field: &str, key: &[u8]| {
            let of = |values: &Values| self.find(values, key).map_or(0..0, |value| value..value + 1);
            covered(field).map_or(u64::MAX, |values| self.cost_of(of(&values)))
        };
        let all = u64::from(self.rows() / 8);
        match filter {
            Filter::Equals { field, value } => of_key(field, &Self::key_for(value)),
            Filter::In { field, values } => {
                values.iter().fold(0, |cost, value| cost.saturating_add(of_key(field, &Self::key_for(value))))
            }
            Filter::Range { field, range } => {
                covered(field).map_or(u64::MAX, |values| self.cost_of(self.values_in(&values, range)))
            }
            Filter::Exists { field } => of_key(field, &[EXISTS]),
            Filter::IsNull { field } => of_key(field, &[NULL]),
            Filter::IsEmpty { field } | Filter::ValuesCount { field, .. } => whole(field).saturating_add(all),
            Filter::TimeRange { field, .. } => whole(field),
            // At worst, every row has the words.
            Filter::Text { field, .. } => whole(field).saturating_add(all),
            Filter::GeoRadius { field, .. } | Filter::GeoBox { field, .. } | Filter::GeoPolygon { field, .. } => {
                whole(&format!("{field}.lat")).saturating_add(whole(&format!("{field}.lon")))
            }
            Filter::Nested { field, filter } => {
                whole(field).saturating_add(self.cost(filter, &format!("{prefix}{field}.")))
            }
            Filter::And(parts) => parts.iter().map(|part| self.cost(part, prefix)).min().unwrap_or(all),
            Filter::Or(parts) => parts.iter().fold(0, |cost, part| cost.saturating_add(self.cost(part, prefix))),
            Filter::Not(part) => self.cost(part, prefix).saturating_add(all),
            Filter::Ids(ids) => self.cost_of(0..0).saturating_mul(ids.len() as u64),
        }
    }

    /// Whether evaluation reads payloads. These parts come last.
    fn needs_payloads(&self, filter: &Filter) -> bool {
        match filter {
            Filter::Equals { field, .. }
            | Filter::In { field, .. }
            | Filter::Range { field, .. }
            | Filter::Exists { field }
            | Filter::IsNull { field }
            | Filter::IsEmpty { field }
            | Filter::ValuesCount { field, .. }
            | Filter::TimeRange { field, .. } => self.unknown(field),
            Filter::GeoRadius { .. }
            | Filter::GeoBox { .. }
            | Filter::GeoPolygon { .. }
            | Filter::Nested { .. }
            | Filter::Text { .. } => true,
            Filter::And(parts) | Filter::Or(parts) => parts.iter().any(|part| self.needs_payloads(part)),
            Filter::Not(part) => self.needs_payloads(part),
            Filter::Ids(_) => false,
        }
    }

    /// Whether the index may lack a field.
    fn unknown(&self, field: &str) -> bool {
        !self.is_complete() && self.values(field).is_none()
    }

    /// Evaluates a condition on a field below `prefix` by index; `None` if the field is not covered.
    fn answer(&self, filter: &Filter, prefix: &str, with_words: WithWords<'_>) -> Option<Answer> {
        let covered = |field: &String| self.covered(&format!("{prefix}{field}"));
        let certain = |certain| Some(Answer { certain, possible: RoaringBitmap::new() });
        let possible = |possible| Some(Answer { certain: RoaringBitmap::new(), possible });
        match filter {
            Filter::Equals { field, value } => {
                let (values, mut answer) = (covered(field)?, Answer::default());
                self.add_equal(&values, value, &mut answer);
                Some(answer)
            }
            Filter::In { field, values: several } => {
                let (values, mut answer) = (covered(field)?, Answer::default());
                several.iter().for_each(|value| self.add_equal(&values, value, &mut answer));
                Some(answer)
            }
            Filter::Range { field, range } => {
                let values = covered(field)?;
                let of_strings = |bound: Option<(&Scalar, bool)>| matches!(bound, Some((Scalar::String(_), _)));
                let long = match of_strings(range.lower()) || of_strings(range.upper()) {
                    true => self.rows_with(&values, &[LONG]),
                    false => RoaringBitmap::new(),
                };
                Some(Answer { certain: self.range(&values, range), possible: long })
            }
            Filter::Exists { field } => certain(self.rows_with(&covered(field)?, &[EXISTS])),
            Filter::IsNull { field } => certain(self.rows_with(&covered(field)?, &[NULL])),
            Filter::IsEmpty { field } => certain(self.all() - self.rows_with(&covered(field)?, &[EXISTS])),
            Filter::ValuesCount { field, count } => certain(self.counted(&covered(field)?, count)),
            Filter::TimeRange { field, range } => certain(self.times(&covered(field)?, range)),
            Filter::Text { field, matches } => {
                let path = format!("{prefix}{field}");
                // Rows with all words somewhere, if a text field knows them.
                let candidates = with_words(&path, matches);
                match (self.covered(&path), candidates) {
                    (Some(values), Some(candidates)) => Some(self.texts(&values, matches, &candidates)),
                    (Some(values), None) => Some(self.texts(&values, matches, &self.all())),
                    (None, Some(candidates)) => possible(candidates),
                    (None, None) => None,
                }
            }
            Filter::GeoRadius { field, lat, lon, meters } => {
                possible(self.around(&format!("{prefix}{field}"), *lat, *lon, *meters)?)
            }
            Filter::GeoBox { field, area } => possible(self.inside(&format!("{prefix}{field}"), *area)?),
            Filter::GeoPolygon { field, area } => {
                let GeoBox { north, south, west, east } = area.bounds();
                // Enlarged by the width of an edge, twice for rounding.
                let margin = 2.0 * EDGE_DEGREES;
                let (north, south, west, east) = (north + margin, south - margin, west - margin, east + margin);
                possible(self.inside(&format!("{prefix}{field}"), GeoBox { north, south, west, east })?)
            }
            Filter::Nested { field, filter } => {
                let objects = self.rows_with(&covered(field)?, &[EXISTS]);
                possible(match self.implied(filter, &format!("{prefix}{field}."), with_words) {
                    Some(rows) => rows & objects,
                    None => objects,
                })
            }
            Filter::And(_) | Filter::Or(_) | Filter::Not(_) | Filter::Ids(_) => None,
        }
    }

    /// Returns the values of a field, none for one that no row has; `None` if the index may lack the field.
    fn covered(&self, field: &str) -> Option<Values> {
        self.values(field).or_else(|| self.is_complete().then_some(Values(0..0)))
    }

    /// Returns a superset of the rows with an object below `prefix` that matches; `None` for all rows. If a value in an
    /// object fulfils a condition, it does so by its full path too; the lack of a value in one object says nothing of
    /// the others.
    fn implied(&self, filter: &Filter, prefix: &str, with_words: WithWords<'_>) -> Option<RoaringBitmap> {
        match filter {
            Filter::And(parts) => parts
                .iter()
                .filter_map(|part| self.implied(part, prefix, with_words))
                .reduce(|rows, other| rows & other),
            Filter::Or(parts) => parts
                .iter()
                .map(|part| self.implied(part, prefix, with_words))
                .try_fold(RoaringBitmap::new(), |rows, part| Some(rows | part?)),
            Filter::Not(_) | Filter::Ids(_) | Filter::IsEmpty { .. } | Filter::ValuesCount { .. } => None,
            Filter::Equals { .. }
            | Filter::In { .. }
            | Filter::Range { .. }
            | Filter::Exists { .. }
            | Filter::GeoRadius { .. }
            | Filter::IsNull { .. }
            | Filter::Nested { .. }
            | Filter::GeoBox { .. }
            | Filter::GeoPolygon { .. }
            | Filter::TimeRange { .. }
            | Filter::Text { .. } => {
                self.answer(filter, prefix, with_words).map(|answer| answer.certain | answer.possible)
            }
        }
    }

    fn add_equal(&self, values: &Values, value: &Scalar, answer: &mut Answer) {
        let key = Self::key_for(value);
        let rows = self.rows_with(values, &key);
        if key == [LONG] {
            answer.possible |= rows;
        } else {
            answer.certain |= rows;
        }
    }

    /// Returns the key with the rows that may have a value.
    fn key_for(value: &Scalar) -> Vec<u8> {
        match value {
            Scalar::String(text) if text.len() > MAX_KEY_BYTES => vec![LONG],
            Scalar::Bool(_) | Scalar::Number(_) | Scalar::String(_) => key_of(value),
        }
    }

    fn rows_with(&self, values: &Values, key: &[u8]) -> RoaringBitmap {
        self.find(values, key).map_or_else(RoaringBitmap::new, |value| self.gather(value..value + 1))
    }

    /// Returns the rows of the values within the bounds.
    fn range(&self, values: &Values, range: &Range) -> RoaringBitmap {
        self.gather(self.values_in(values, range))
    }

    /// Returns the values within the bounds, which are adjacent in key order.
    fn values_in(&self, values: &Values, range: &Range) -> std::ops::Range<usize> {
        let kind = match range.lower().or(range.upper()) {
            Some((Scalar::Number(_), _)) => NUMBER,
            Some((Scalar::String(_), _)) => STRING,
            Some((Scalar::Bool(_), _)) | None => return 0..0,
        };
        // The first value greater than the bound, or the first not less than it.
        let cut = |bound: &Scalar, behind: bool| {
            let key = key_of(bound);
            let at = self.lower_bound(values, &key);
            at + usize::from(behind && self.find(values, &key).is_some())
        };
        let from = range.lower().map_or_else(|| self.lower_bound(values, &[kind]), |(b, included)| cut(b, !included));
        let until =
            range.upper().map_or_else(|| self.lower_bound(values, &[kind + 1]), |(b, included)| cut(b, included));
        from..until.max(from)
    }

    /// Returns the rows with a number of values within bounds.
    fn counted(&self, values: &Values, count: &Bounds<u64>) -> RoaringBitmap {
        // The first value with at least this count.
        let from = |least: u64| match u32::try_from(least.max(2)) {
            Ok(least) => self.lower_bound(values, &count_key(least)),
            Err(_) => values.0.end,
        };
        let least = count.lower().map_or(0, |(bound, included)| bound.saturating_add(u64::from(!included)));
        let end = count.upper().map_or(u64::MAX, |(bound, included)| bound.saturating_add(u64::from(included)));
        let begin = from(least);
        let mut rows = self.gather(begin..from(end).max(begin));
        let exists = self.rows_with(values, &[EXISTS]);
        if count.contains(&1) {
            let several = self.lower_bound(values, &[COUNT])..self.lower_bound(values, &[COUNT + 1]);
            rows |= &exists - self.gather(several);
        }
        if count.contains(&0) {
            rows |= self.all() - exists;
        }
        rows
    }

    /// Returns the rows with a string that is a time within bounds.
    fn times(&self, values: &Values, range: &Bounds<Timestamp>) -> RoaringBitmap {
        // The date in a text is at most a day from the date in UTC. A longer string is no time.
        let from = range.lower().map_or_else(String::new, |(time, _)| time.date(-1));
        let until = range.upper().map_or_else(|| "~".into(), |(time, _)| time.date(1) + "~");
        let cut = |text: String| self.lower_bound(values, &key_of(&Scalar::String(text)));
        let begin = cut(from);
        let time = |value: &usize| {
            let text = self.key(*value).get(1..).and_then(|text| std::str::from_utf8(text).ok());
            text.and_then(Timestamp::parse).is_some_and(|time| range.contains(&time))
        };
        let within: Vec<usize> = (begin..cut(until).max(begin)).filter(time).collect();
        self.gather(within.into_iter())
    }

    /// Returns the rows with a string that matches, among candidates: by the strings in the index; longer ones possibly.
    fn texts(&self, values: &Values, matches: &TextMatch, candidates: &RoaringBitmap) -> Answer {
        let strings = self.lower_bound(values, &[STRING])..self.lower_bound(values, &[STRING + 1]);
        let is_match = |value: &usize| {
            let text = self.key(*value).get(1..).and_then(|text| std::str::from_utf8(text).ok());
            text.is_some_and(|text| matches.matches(text))
        };
        let found: Vec<usize> = strings.filter(is_match).collect();
        Answer { certain: self.gather(found.into_iter()), possible: self.rows_with(values, &[LONG]) & candidates }
    }

    /// Returns rows with latitude and longitude in the bounding box of a circle; `None` if the index does not cover
    /// them.
    fn around(&self, field: &str, lat: f64, lon: f64, meters: f64) -> Option<RoaringBitmap> {
        // Slightly enlarged for rounding; the payloads decide.
        let angle = meters / EARTH_METERS * 1.001 + 1e-9;
        let (north, south) = (lat + angle.to_degrees(), lat - angle.to_degrees());
        // If the circle contains no pole and does not cross the antimeridian, the longitude is bounded too.
        let ratio = angle.sin() / lat.to_radians().cos();
        let half = if angle < 1.0 && (0.0..1.0).contains(&ratio) { ratio.asin().to_degrees() * 1.001 } else { 360.0 };
        let (mut west, mut east) = (lon - half, lon + half);
        if lat.abs() + angle.to_degrees() >= 90.0 || west < -180.0 || east > 180.0 {
            (west, east) = (-180.0, 180.0);
        }
        self.inside(field, GeoBox { north, south, west, east })
    }

    /// Returns rows with latitude and longitude in a box, possibly of two objects; `None` if the index does not cover
    /// them.
    fn inside(&self, field: &str, area: GeoBox) -> Option<RoaringBitmap> {
        let (lats, lons) = (self.covered(&format!("{field}.lat"))?, self.covered(&format!("{field}.lon"))?);
        let side = |values: &Values, from: f64, until: f64| {
            let bound = |value| Number::from_f64(value).map(Scalar::Number);
            self.range(values, &Range { gte: bound(from), lte: bound(until), ..Range::default() })
        };
        let GeoBox { north, south, west, east } = area;
        let mut rows = side(&lats, south, north);
        if west <= -180.0 && east >= 180.0 {
            return Some(rows);
        }
        let mut within = match west <= east {
            true => side(&lons, west, east),
            false => side(&lons, west, 180.0) | side(&lons, -180.0, east),
        };
        // Both longitudes of the antimeridian are the same.
        if west <= -180.0 || east >= 180.0 {
            within |= side(&lons, -180.0, -180.0) | side(&lons, 180.0, 180.0);
        }
        rows &= within;
        Some(rows)
    }

    /// Returns the rows of several values together, without those out of range.
    fn gather(&self, values: impl ExactSizeIterator<Item = usize>) -> RoaringBitmap {
        let mut rows = RoaringBitmap::new();
        if values.len() < MIN_BITSET_VALUES {
            for value in values {
                match self.rows_of(value) {
                    RowsOf::List(list) => rows.extend(list.iter().map(|row| u32::from_le_bytes(*row))),
                    RowsOf::Bitmap(bitmap) => rows |= bitmap,
                }
            }
        } else {
            let mut bits = vec![0_u8; self.rows().div_ceil(8) as usize];
            let mut set = |row: u32| {
                if let Some(byte) = bits.get_mut(row as usize / 8) {
                    *byte |= 1 << (row % 8);
                }
            };
            for value in values {
                match self.rows_of(value) {
                    RowsOf::List(list) => list.iter().for_each(|row| set(u32::from_le_bytes(*row))),
                    RowsOf::Bitmap(bitmap) => bitmap.iter().for_each(&mut set),
                }
            }
            rows = RoaringBitmap::from_lsb0_bytes(0, &bits);
        }
        rows.remove_range(self.rows()..);
        rows
    }
}

/// Returns the rows whose payloads match. Checks for cancellation before each payload, since reading one takes long.
fn check(filter: &Filter, rows: &RoaringBitmap, access: RowAccess<'_>) -> Result<RoaringBitmap, Error> {
    /// Payloads that one core reads at a time.
    const SHARE: usize = 1_024;
    let rows: Vec<u32> = rows.iter().collect();
    let stop = CancellationToken::current();
    let matching = |&row: &u32| match stop.check().and_then(|()| (access.payload)(row)) {
        // Conditions on ids are never evaluated here.
        Ok(payload) => filter.holds(None, &payload).then_some(Ok(row)),
        Err(error) => Some(Err(error)),
    };
    let found: Vec<u32> = rows.par_iter().with_min_len(SHARE).filter_map(matching).collect::<Result<_, _>>()?;
    Ok(found.into_iter().collect())
}
