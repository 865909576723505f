//! Evaluation of a filter: by index where possible, else from the payloads.
//!
//! A condition that the index covers takes a few lookups. Others (a field left out, a long string, an area, conditions on
//! one element) read payloads, and only those of the rows that the index and the other conditions leave.

use super::builder::{count_key, key_of};
use super::geo::{EARTH_METERS, EDGE_DEGREES};
use super::index::{COUNT, EXISTS, LONG, MAX_KEY_BYTES, NULL, NUMBER, PayloadIndex, RowsOf, STRING, Values};
use crate::api::{Bounds, CancellationToken, Error, Filter, GeoBox, Number, Payload, Range, Scalar, Timestamp};
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
}

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
        self.select_within(filter, &self.all(), access)
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.rows());
        all
    }

    fn select_within(
        &self,
        filter: &Filter,
        within: &RoaringBitmap,
        access: RowAccess<'_>,
    ) -> Result<RoaringBitmap, Error> {
        match filter {
            Filter::And(parts) => {
                let mut parts: Vec<&Filter> = parts.iter().collect();
                parts.sort_by_key(|part| self.needs_payloads(part));
                let mut left = within.clone();
                for part in parts {
                    if left.is_empty() {
                        break;
                    }
                    left = self.select_within(part, &left, access)?;
                }
                Ok(left)
            }
            Filter::Or(parts) => {
                let (mut found, mut left) = (RoaringBitmap::new(), within.clone());
                for part in parts {
                    let more = self.select_within(part, &left, access)?;
                    left -= &more;
                    found |= more;
                }
                Ok(found)
            }
            Filter::Not(part) => Ok(within - self.select_within(part, within, access)?),
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
            | Filter::TimeRange { .. } => {
                let Some(answer) = self.answer(filter, "") else { return check(filter, within, access) };
                let possible = (answer.possible & within) - &answer.certain;
                let mut found = answer.certain & within;
                if !possible.is_empty() {
                    found |= check(filter, &possible, access)?;
                }
                Ok(found)
            }
            Filter::Ids(ids) => {
                let (stop, mut found) = (CancellationToken::current(), RoaringBitmap::new());
                for id in ids {
                    stop.check()?;
                    found.extend((access.find)(id));
                }
                Ok(found & within)
            }
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
            Filter::GeoRadius { .. } | Filter::GeoBox { .. } | Filter::GeoPolygon { .. } | Filter::Nested { .. } => {
                true
            }
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
    fn answer(&self, filter: &Filter, prefix: &str) -> Option<Answer> {
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
                possible(match self.implied(filter, &format!("{prefix}{field}.")) {
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
    fn implied(&self, filter: &Filter, prefix: &str) -> Option<RoaringBitmap> {
        match filter {
            Filter::And(parts) => {
                parts.iter().filter_map(|part| self.implied(part, prefix)).reduce(|rows, other| rows & other)
            }
            Filter::Or(parts) => parts
                .iter()
                .map(|part| self.implied(part, prefix))
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
            | Filter::TimeRange { .. } => self.answer(filter, prefix).map(|answer| answer.certain | answer.possible),
        }
    }

    fn add_equal(&self, values: &Values, value: &Scalar, answer: &mut Answer) {
        match value {
            Scalar::String(text) if text.len() > MAX_KEY_BYTES => answer.possible |= self.rows_with(values, &[LONG]),
            Scalar::Bool(_) | Scalar::Number(_) | Scalar::String(_) => {
                answer.certain |= self.rows_with(values, &key_of(value));
            }
        }
    }

    fn rows_with(&self, values: &Values, key: &[u8]) -> RoaringBitmap {
        self.find(values, key).map_or_else(RoaringBitmap::new, |value| self.gather(value..value + 1))
    }

    /// Returns the rows of the values within the bounds, which are adjacent in key order.
    fn range(&self, values: &Values, range: &Range) -> RoaringBitmap {
        let kind = match range.lower().or(range.upper()) {
            Some((Scalar::Number(_), _)) => NUMBER,
            Some((Scalar::String(_), _)) => STRING,
            Some((Scalar::Bool(_), _)) | None => return RoaringBitmap::new(),
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
        self.gather(from..until.max(from))
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
