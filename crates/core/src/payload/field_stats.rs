//! Statistics of the fields of payloads.

use super::builder::key_of;
use super::geo;
use crate::api::limits::{
    MAX_DISTINCT_TOTAL, MAX_DISTINCT_VALUES, MAX_EXTREME_BYTES, MAX_FIELD_BYTES, MAX_REPORTED_FIELDS,
};
use crate::api::{Extreme, FieldReport, FieldStats, Number, Payload, Scalar, TypeCounts};
use rustc_hash::FxHashMap;
use serde_json::Value;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Collects statistics, payload by payload.
#[derive(Default)]
pub(crate) struct FieldCounter {
    points: u64,
    fields: FxHashMap<Box<str>, Column>,
    truncated: bool,
    /// Number of hashes in all columns.
    distinct: usize,
    /// Seeded at random, which prevents clients from choosing values with equal hashes.
    hasher: RandomState,
}

/// Types in the order of [`TypeCounts`].
const TYPES: usize = 8;

#[derive(Default)]
struct Column {
    points: u64,
    types: [u64; TYPES],
    /// Number of the last point that was counted: in `points`, and in each of `types`.
    last: u64,
    last_of_type: [u64; TYPES],
    numbers: Option<(Number, Number)>,
    strings: Option<(Prefix, Prefix)>,
    /// 64-bit hashes of the distinct values. The probability that two of 100,000 values share one is 3e-10.
    distinct: HashSet<u64>,
    distinct_at_least: bool,
}

/// The first bytes of a string, and whether more follow. Sorts like the strings, up to the length of the prefix.
type Prefix = (Vec<u8>, bool);

impl FieldCounter {
    /// Adds the payload of the next point.
    pub(crate) fn add(&mut self, payload: &Payload) {
        self.points += 1;
        self.object(payload, &mut String::new());
    }

    fn object(&mut self, object: &Payload, path: &mut String) {
        let start = path.len();
        for (name, value) in object {
            if start + name.len() > MAX_FIELD_BYTES {
                self.truncated = true;
                continue;
            }
            path.push_str(name);
            self.value(value, path);
            path.truncate(start);
        }
    }

    fn value(&mut self, value: &Value, path: &mut String) {
        self.count(path, value);
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.value(item, path)),
            Value::Object(object) => {
                let end = path.len();
                path.push('.');
                self.object(object, path);
                path.truncate(end);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn count(&mut self, path: &str, value: &Value) {
        if !self.fields.contains_key(path) {
            if self.fields.len() >= MAX_REPORTED_FIELDS {
                self.truncated = true;
                return;
            }
            self.fields.insert(path.into(), Column::default());
        }
        let Some(column) = self.fields.get_mut(path) else { return };
        let (type_index, scalar) = match value {
            Value::Null => (0, None),
            Value::Bool(value) => (1, Some(Scalar::Bool(*value))),
            Value::Number(value) => {
                let number = Number::from_json(value).map(Scalar::Number);
                (if value.is_f64() { 3 } else { 2 }, number)
            }
            Value::String(text) => (4, Some(Scalar::String(text.clone()))),
            Value::Array(_) => (5, None),
            Value::Object(_) => (if geo::point(value).is_some() { 7 } else { 6 }, None),
        };
        if column.last != self.points {
            column.last = self.points;
            column.points += 1;
        }
        if column.last_of_type[type_index] != self.points {
            column.last_of_type[type_index] = self.points;
            column.types[type_index] += 1;
        }
        let Some(scalar) = scalar else { return };
        match &scalar {
            Scalar::Bool(_) => {}
            Scalar::Number(number) => widen(&mut column.numbers, *number),
            Scalar::String(text) => {
                let text = text.as_bytes();
                let prefix = text[..text.len().min(MAX_EXTREME_BYTES)].to_vec();
                widen(&mut column.strings, (prefix, text.len() > MAX_EXTREME_BYTES));
            }
        }
        let hash = self.hasher.hash_one(key_of(&scalar));
        if column.distinct.contains(&hash) {
            return;
        }
        if column.distinct.len() >= MAX_DISTINCT_VALUES || self.distinct >= MAX_DISTINCT_TOTAL {
            column.distinct_at_least = true;
            return;
        }
        column.distinct.insert(hash);
        self.distinct += 1;
    }

    /// Returns the statistics.
    pub(crate) fn finish(self) -> FieldReport {
        let mut fields: Vec<FieldStats> = self.fields.into_iter().map(|(path, column)| column.finish(path)).collect();
        fields.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        FieldReport { points: self.points, fields, truncated: self.truncated }
    }
}

impl Column {
    fn finish(self, path: Box<str>) -> FieldStats {
        let [null, boolean, integer, float, string, list, object, geo_point] = self.types;
        FieldStats {
            path: path.into(),
            points: self.points,
            types: TypeCounts { null, boolean, integer, float, string, list, object, geo_point },
            numbers: self.numbers,
            strings: self.strings.map(|(least, greatest)| (extreme(least), extreme(greatest))),
            distinct: self.distinct.len() as u64,
            distinct_at_least: self.distinct_at_least,
        }
    }
}

/// Extends a range to a value.
fn widen<T: Ord + Clone>(range: &mut Option<(T, T)>, value: T) {
    match range {
        None => *range = Some((value.clone(), value)),
        Some((least, _)) if value < *least => *least = value,
        Some((_, greatest)) if value > *greatest => *greatest = value,
        Some(_) => {}
    }
}

/// Removes a partial character at the end of a prefix.
fn extreme((bytes, truncated): Prefix) -> Extreme {
    let complete = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    Extreme { text: complete.to_owned(), truncated }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(payloads: &[Value]) -> FieldReport {
        let mut counter = FieldCounter::default();
        payloads.iter().for_each(|payload| counter.add(payload.as_object().unwrap()));
        counter.finish()
    }

    #[test]
    fn every_path_has_its_types_extremes_and_distinct_values() {
        let found = report(&[
            json!({"a": 1, "tags": ["x", "y", "x", null], "at": {"lat": 1, "lon": 2}}),
            json!({"a": 1.0, "tags": [], "at": {"name": "here"}}),
            json!({"a": "ä", "tags": ["b", true], "list": [[{"n": 3}], {"n": -1.5}]}),
            json!({}),
        ]);
        assert_eq!((found.points, found.truncated), (4, false));
        let paths: Vec<&str> = found.fields.iter().map(|field| field.path.as_str()).collect();
        assert_eq!(paths, ["a", "at", "at.lat", "at.lon", "at.name", "list", "list.n", "tags"]);
        let field = |path: &str| found.fields.iter().find(|field| field.path == path).unwrap();
        let number = |value| Number::from_f64(value).unwrap();
        let a = field("a");
        assert_eq!(a.types, TypeCounts { integer: 1, float: 1, string: 1, ..Default::default() });
        assert_eq!((a.points, a.distinct, a.numbers), (3, 2, Some((number(1.0), number(1.0)))), "1 equals 1.0");
        let tags = field("tags");
        let of_tags = TypeCounts { list: 3, string: 2, null: 1, boolean: 1, ..Default::default() };
        assert_eq!((tags.types, tags.points, tags.distinct), (of_tags, 3, 4), "points are counted, not values");
        let extreme = |text: &str| Extreme { text: text.into(), truncated: false };
        assert_eq!(tags.strings, Some((extreme("b"), extreme("y"))));
        assert_eq!(field("at").types, TypeCounts { object: 1, geo_point: 1, ..Default::default() });
        assert_eq!(field("list.n").numbers, Some((number(-1.5), number(3.0))));
        assert_eq!(field("list").types, TypeCounts { list: 1, object: 1, ..Default::default() });
    }

    #[test]
    fn long_strings_are_truncated_between_characters() {
        let long = |c: &str| format!("{}{c}", "a".repeat(255));
        let found = report(&[json!({"s": long("ä")}), json!({"s": long("z")}), json!({"s": long("zz")})]);
        let (least, greatest) = found.fields[0].strings.clone().unwrap();
        assert_eq!((least.text, least.truncated), (long("z"), false));
        assert_eq!((greatest.text, greatest.truncated), (long(""), true), "a partial character is left out");
    }

    #[test]
    fn fields_and_distinct_values_are_bounded() {
        let many: Payload = (0..=MAX_REPORTED_FIELDS).map(|field| (format!("f{field}"), json!(1))).collect();
        let found = report(&[Value::Object(many)]);
        assert_eq!((found.fields.len(), found.truncated), (MAX_REPORTED_FIELDS, true));
        let path = "p".repeat(MAX_FIELD_BYTES + 1);
        let found = report(&[json!({ path: 1 })]);
        assert_eq!((found.fields.len(), found.truncated), (0, true));
        let values: Vec<u32> = (0..=MAX_DISTINCT_VALUES as u32).collect();
        let found = report(&[json!({"few": [1, 2], "many": values})]);
        let of = |index: usize| (found.fields[index].distinct, found.fields[index].distinct_at_least);
        assert_eq!(of(0), (2, false));
        assert_eq!(of(1), (MAX_DISTINCT_VALUES as u64, true));
    }
}
