//! Evaluation of a filter: by index where possible, else from the payloads.
//!
//! A condition that the index covers takes a few lookups. Others (a field left out, a long string, a geo radius) read
//! payloads, and only those of the rows that the other conditions leave.

use super::builder::key_of;
use super::index::{EXISTS, LONG, MAX_KEY_BYTES, NUMBER, PayloadIndex, RowsOf, STRING, Values};
use super::matches::EARTH_METERS;
use crate::api::{CancellationToken, Error, Filter, Number, Payload, Range, Scalar};
use rayon::prelude::*;
use roaring::RoaringBitmap;

/// Returns the payload of a row.
pub(crate) type PayloadOf<'a> = &'a (dyn Fn(u32) -> Result<Payload, Error> + Sync);

/// Minimum values whose rows are collected in a plain bit set.
const MIN_BITSET_VALUES: usize = 64;

/// Result of the index for a single condition.
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
    /// As `payload`.
    pub(crate) fn select(&self, filter: &Filter, payload: PayloadOf<'_>) -> Result<RoaringBitmap, Error> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.rows());
        self.select_within(filter, &all, payload)
    }

    fn select_within(
        &self,
        filter: &Filter,
        within: &RoaringBitmap,
        payload: PayloadOf<'_>,
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
                    left = self.select_within(part, &left, payload)?;
                }
                Ok(left)
            }
            Filter::Or(parts) => {
                let (mut found, mut left) = (RoaringBitmap::new(), within.clone());
                for part in parts {
                    let more = self.select_within(part, &left, payload)?;
                    left -= &more;
                    found |= more;
                }
                Ok(found)
            }
            Filter::Not(part) => Ok(within - self.select_within(part, within, payload)?),
            Filter::Equals { .. }
            | Filter::In { .. }
            | Filter::Range { .. }
            | Filter::Exists { .. }
            | Filter::GeoRadius { .. } => {
                let Some(answer) = self.answer(filter) else { return check(filter, within, payload) };
                let possible = (answer.possible & within) - &answer.certain;
                let mut found = answer.certain & within;
                if !possible.is_empty() {
                    found |= check(filter, &possible, payload)?;
                }
                Ok(found)
            }
        }
    }

    /// Whether evaluation reads payloads. These parts come last.
    fn needs_payloads(&self, filter: &Filter) -> bool {
        match filter {
            Filter::Equals { field, .. }
            | Filter::In { field, .. }
            | Filter::Range { field, .. }
            | Filter::Exists { field } => self.unknown(field),
            Filter::GeoRadius { .. } => true,
            Filter::And(parts) | Filter::Or(parts) => parts.iter().any(|part| self.needs_payloads(part)),
            Filter::Not(part) => self.needs_payloads(part),
        }
    }

    /// Whether the index may lack a field.
    fn unknown(&self, field: &str) -> bool {
        !self.is_complete() && self.values(field).is_none()
    }

    /// Evaluates a condition by index; `None` if the field is not covered.
    fn answer(&self, filter: &Filter) -> Option<Answer> {
        let (mut certain, mut possible) = (RoaringBitmap::new(), RoaringBitmap::new());
        let field = match filter {
            Filter::Equals { field, .. }
            | Filter::In { field, .. }
            | Filter::Range { field, .. }
            | Filter::Exists { field } => field,
            Filter::GeoRadius { field, lat, lon, meters } => {
                let possible = self.around(field, *lat, *lon, *meters)?;
                return Some(Answer { certain, possible });
            }
            Filter::And(_) | Filter::Or(_) | Filter::Not(_) => return None,
        };
        let values = match self.values(field) {
            Some(values) => values,
            None if self.is_complete() => return Some(Answer { certain, possible }),
            None => return None,
        };
        match filter {
            Filter::Equals { value, .. } => self.add_equal(&values, value, &mut certain, &mut possible),
            Filter::In { values: several, .. } => {
                several.iter().for_each(|value| self.add_equal(&values, value, &mut certain, &mut possible));
            }
            Filter::Range { range, .. } => {
                certain = self.range(&values, range);
                let of_strings =
                    |bound: Option<(&Scalar, bool)>| bound.is_some_and(|(b, _)| matches!(b, Scalar::String(_)));
                if of_strings(range.lower()) || of_strings(range.upper()) {
                    possible = self.rows_with(&values, &[LONG]);
                }
            }
            Filter::Exists { .. } => certain = self.rows_with(&values, &[EXISTS]),
            Filter::GeoRadius { .. } | Filter::And(_) | Filter::Or(_) | Filter::Not(_) => return None,
        }
        Some(Answer { certain, possible })
    }

    fn add_equal(&self, values: &Values, value: &Scalar, certain: &mut RoaringBitmap, possible: &mut RoaringBitmap) {
        match value {
            Scalar::String(text) if text.len() > MAX_KEY_BYTES => *possible |= self.rows_with(values, &[LONG]),
            Scalar::Bool(_) | Scalar::Number(_) | Scalar::String(_) => {
                *certain |= self.rows_with(values, &key_of(value))
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

    /// Returns rows with latitude and longitude in the bounding box of a circle; `None` if the index does not cover
    /// them.
    fn around(&self, field: &str, lat: f64, lon: f64, meters: f64) -> Option<RoaringBitmap> {
        let (lat_field, lon_field) = (format!("{field}.lat"), format!("{field}.lon"));
        if self.unknown(&lat_field) || self.unknown(&lon_field) {
            return None;
        }
        // Slightly enlarged for rounding; the payloads decide.
        let angle = meters / EARTH_METERS * 1.001 + 1e-9;
        let side = |field: &str, centre: f64, half: f64| {
            let bound = |value| Number::from_f64(value).map(Scalar::Number);
            let range = Range { gte: bound(centre - half), lte: bound(centre + half), ..Range::default() };
            self.values(field).map_or_else(RoaringBitmap::new, |values| self.range(&values, &range))
        };
        let mut rows = side(&lat_field, lat, angle.to_degrees());
        // If the circle contains no pole and does not cross the date line, the longitude is bounded too.
        let ratio = angle.sin() / lat.to_radians().cos();
        let half = if angle < 1.0 && (0.0..1.0).contains(&ratio) { ratio.asin().to_degrees() * 1.001 } else { 360.0 };
        if lat.abs() + angle.to_degrees() < 90.0 && lon - half >= -180.0 && lon + half <= 180.0 {
            rows &= side(&lon_field, lon, half);
        }
        Some(rows)
    }

    /// Returns the rows of several values together, without those out of range.
    fn gather(&self, values: std::ops::Range<usize>) -> RoaringBitmap {
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
fn check(filter: &Filter, rows: &RoaringBitmap, payload: PayloadOf<'_>) -> Result<RoaringBitmap, Error> {
    /// Payloads that one core reads at a time.
    const SHARE: usize = 1_024;
    let rows: Vec<u32> = rows.iter().collect();
    let stop = CancellationToken::current();
    let matching = |&row: &u32| match stop.check().and_then(|()| payload(row)) {
        Ok(payload) => filter.matches(&payload).then_some(Ok(row)),
        Err(error) => Some(Err(error)),
    };
    let found: Vec<u32> = rows.par_iter().with_min_len(SHARE).filter_map(matching).collect::<Result<_, _>>()?;
    Ok(found.into_iter().collect())
}
