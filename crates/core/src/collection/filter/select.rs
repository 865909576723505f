//! The rows that match a filter: by index where it can, from the payloads where it must.
//!
//! A condition that the index answers is a few lookups; one that it does not (a field that was left out, a long
//! string, a place) is checked payload by payload, and only on the rows that the others have left.

use super::Number;
use super::builder::key_of;
use super::condition::{Filter, Range, Scalar};
use super::file::{EXISTS, LONG, MAX_KEY_BYTES, NUMBER, PayloadIndex, RowsOf, STRING, Values};
use super::matches::EARTH_METERS;
use crate::collection::{Error, Payload, Stop};
use rayon::prelude::*;
use roaring::RoaringBitmap;

/// Gives the payload of a row.
pub(super) type PayloadOf<'a> = &'a (dyn Fn(u32) -> Result<Payload, Error> + Sync);

/// Rows of more values than this are gathered in plain bits.
const BITS_FROM: usize = 64;

/// What the index says to a single condition.
struct Answer {
    /// Rows that match.
    sure: RoaringBitmap,
    /// Rows that may: their payloads tell.
    maybe: RoaringBitmap,
}

impl PayloadIndex {
    /// The rows that match.
    ///
    /// # Errors
    /// Those of `payload`.
    pub(super) fn select(&self, filter: &Filter, payload: PayloadOf<'_>) -> Result<RoaringBitmap, Error> {
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
                let maybe = (answer.maybe & within) - &answer.sure;
                let mut found = answer.sure & within;
                if !maybe.is_empty() {
                    found |= check(filter, &maybe, payload)?;
                }
                Ok(found)
            }
        }
    }

    /// Whether payloads must be read for it: such parts come last.
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

    /// Whether the index knows nothing of a field.
    fn unknown(&self, field: &str) -> bool {
        !self.is_complete() && self.values(field).is_none()
    }

    /// What the index says to a condition; none where it knows nothing.
    fn answer(&self, filter: &Filter) -> Option<Answer> {
        let (mut sure, mut maybe) = (RoaringBitmap::new(), RoaringBitmap::new());
        let field = match filter {
            Filter::Equals { field, .. }
            | Filter::In { field, .. }
            | Filter::Range { field, .. }
            | Filter::Exists { field } => field,
            Filter::GeoRadius { field, lat, lon, meters } => {
                let maybe = self.around(field, *lat, *lon, *meters)?;
                return Some(Answer { sure, maybe });
            }
            Filter::And(_) | Filter::Or(_) | Filter::Not(_) => return None,
        };
        let values = match self.values(field) {
            Some(values) => values,
            None if self.is_complete() => return Some(Answer { sure, maybe }),
            None => return None,
        };
        match filter {
            Filter::Equals { value, .. } => self.add_equal(&values, value, &mut sure, &mut maybe),
            Filter::In { values: several, .. } => {
                several.iter().for_each(|value| self.add_equal(&values, value, &mut sure, &mut maybe));
            }
            Filter::Range { range, .. } => {
                sure = self.range(&values, range);
                let of_strings =
                    |bound: Option<(&Scalar, bool)>| bound.is_some_and(|(b, _)| matches!(b, Scalar::String(_)));
                if of_strings(range.lower()) || of_strings(range.upper()) {
                    maybe = self.rows_with(&values, &[LONG]);
                }
            }
            Filter::Exists { .. } => sure = self.rows_with(&values, &[EXISTS]),
            Filter::GeoRadius { .. } | Filter::And(_) | Filter::Or(_) | Filter::Not(_) => return None,
        }
        Some(Answer { sure, maybe })
    }

    fn add_equal(&self, values: &Values, value: &Scalar, sure: &mut RoaringBitmap, maybe: &mut RoaringBitmap) {
        match value {
            Scalar::String(text) if text.len() > MAX_KEY_BYTES => *maybe |= self.rows_with(values, &[LONG]),
            Scalar::Bool(_) | Scalar::Number(_) | Scalar::String(_) => *sure |= self.rows_with(values, &key_of(value)),
        }
    }

    fn rows_with(&self, values: &Values, key: &[u8]) -> RoaringBitmap {
        self.find(values, key).map_or_else(RoaringBitmap::new, |value| self.gather(value..value + 1))
    }

    /// The rows of the values between the bounds: neighbours in the order of keys.
    fn range(&self, values: &Values, range: &Range) -> RoaringBitmap {
        let kind = match range.lower().or(range.upper()) {
            Some((Scalar::Number(_), _)) => NUMBER,
            Some((Scalar::String(_), _)) => STRING,
            Some((Scalar::Bool(_), _)) | None => return RoaringBitmap::new(),
        };
        // The first value behind all those that are equal to the bound, or the first of them.
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

    /// Rows with a latitude and a longitude in the box around a circle; none where the index knows nothing of them.
    fn around(&self, field: &str, lat: f64, lon: f64, meters: f64) -> Option<RoaringBitmap> {
        let (lat_field, lon_field) = (format!("{field}.lat"), format!("{field}.lon"));
        if self.unknown(&lat_field) || self.unknown(&lon_field) {
            return None;
        }
        // A little more than it is, for rounding; what is too much is left to the payloads.
        let angle = meters / EARTH_METERS * 1.001 + 1e-9;
        let side = |field: &str, centre: f64, half: f64| {
            let bound = |value| Number::from_f64(value).map(Scalar::Number);
            let range = Range { gte: bound(centre - half), lte: bound(centre + half), ..Range::default() };
            self.values(field).map_or_else(RoaringBitmap::new, |values| self.range(&values, &range))
        };
        let mut rows = side(&lat_field, lat, angle.to_degrees());
        // Where the circle holds no pole and does not cross the date line, its sides are bounded too.
        let ratio = angle.sin() / lat.to_radians().cos();
        let half = if angle < 1.0 && (0.0..1.0).contains(&ratio) { ratio.asin().to_degrees() * 1.001 } else { 360.0 };
        if lat.abs() + angle.to_degrees() < 90.0 && lon - half >= -180.0 && lon + half <= 180.0 {
            rows &= side(&lon_field, lon, half);
        }
        Some(rows)
    }

    /// The rows of several values together, within range.
    fn gather(&self, values: std::ops::Range<usize>) -> RoaringBitmap {
        let mut rows = RoaringBitmap::new();
        if values.len() < BITS_FROM {
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

/// Those rows whose payloads match. To read one takes so long that each is preceded by a look at whether to stop.
fn check(filter: &Filter, rows: &RoaringBitmap, payload: PayloadOf<'_>) -> Result<RoaringBitmap, Error> {
    /// Payloads that one core reads at a time.
    const SHARE: usize = 1_024;
    let rows: Vec<u32> = rows.iter().collect();
    let stop = Stop::current();
    let matching = |&row: &u32| match stop.check().and_then(|()| payload(row)) {
        Ok(payload) => filter.matches(&payload).then_some(Ok(row)),
        Err(error) => Some(Err(error)),
    };
    let found: Vec<u32> = rows.par_iter().with_min_len(SHARE).filter_map(matching).collect::<Result<_, _>>()?;
    Ok(found.into_iter().collect())
}
