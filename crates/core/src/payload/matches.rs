//! The definition of a match between a payload and a filter, and the fields of a payload.
//!
//! A path selects values by names separated by dots; a name may itself contain dots (`{"a.b": 1}` and `{"a": {"b": 1}}`
//! both have the field `a.b`). A path into a list selects every element, and a condition matches if any selected value
//! does.

use crate::api::{Filter, Number, Payload, Range, Scalar};
use serde_json::Value;
use std::cmp::Ordering;

/// Mean radius of the earth, metres.
pub(crate) const EARTH_METERS: f64 = 6_371_008.8;

impl Filter {
    /// Whether a payload matches. All indexes must agree with this definition.
    pub fn matches(&self, payload: &Payload) -> bool {
        match self {
            Self::Equals { field, value } => any(payload, field, &mut |found| equals(value, found)),
            Self::In { field, values } => {
                any(payload, field, &mut |found| scalar(found).is_some_and(|found| values.contains(&found)))
            }
            Self::Range { field, range } => any(payload, field, &mut |found| inside(range, found)),
            Self::Exists { field } => any(payload, field, &mut |_| true),
            Self::GeoRadius { field, lat, lon, meters } => any(payload, field, &mut |found| {
                coordinates(found).is_some_and(|there| distance_meters((*lat, *lon), there) <= *meters)
            }),
            Self::And(parts) => parts.iter().all(|part| part.matches(payload)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(payload)),
            Self::Not(part) => !part.matches(payload),
        }
    }
}

/// Whether any value at the path passes the test. Nulls and lists are not values; list elements are.
fn any(object: &Payload, path: &str, test: &mut dyn FnMut(&Value) -> bool) -> bool {
    any_end(object, path, &mut |value| any_element(value, test))
}

/// Whether a payload has a field, even if null or an empty list.
pub(crate) fn has_field(payload: &Payload, path: &str) -> bool {
    any_end(payload, path, &mut |_| true)
}

/// Whether anything at the path passes the test: a null, a whole list, or a value.
fn any_end(object: &Payload, path: &str, test: &mut dyn FnMut(&Value) -> bool) -> bool {
    if object.get(path).is_some_and(&mut *test) {
        return true;
    }
    path.match_indices('.')
        .any(|(dot, _)| object.get(&path[..dot]).is_some_and(|value| any_inside(value, &path[dot + 1..], test)))
}

fn any_inside(value: &Value, path: &str, test: &mut dyn FnMut(&Value) -> bool) -> bool {
    match value {
        Value::Object(object) => any_end(object, path, test),
        Value::Array(items) => items.iter().any(|item| any_inside(item, path, test)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn any_element(value: &Value, test: &mut dyn FnMut(&Value) -> bool) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => items.iter().any(|item| any_element(item, test)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => test(value),
    }
}

/// Returns the first value at a path; `None` if there is none but null.
pub(crate) fn value_at(payload: &Payload, path: &str) -> Option<Value> {
    let mut found = None;
    any(payload, path, &mut |value| {
        found = Some(value.clone());
        true
    });
    found
}

/// Visits the values at a path that can be compared, including equal ones.
pub(super) fn scalars_at(payload: &Payload, path: &str, visit: &mut dyn FnMut(Scalar)) {
    any(payload, path, &mut |found| {
        if let Some(found) = scalar(found) {
            visit(found);
        }
        false
    });
}

/// Whether a payload has a value other than null at a path.
pub(super) fn has_value(payload: &Payload, path: &str) -> bool {
    any(payload, path, &mut |_| true)
}

/// Visits every field of a payload with each of its values, including objects, nulls and empty lists. Skips paths
/// longer than `longest` bytes, with everything below them.
pub(crate) fn fields(payload: &Payload, longest: usize, visit: &mut dyn FnMut(&str, &Value)) {
    object_fields(payload, &mut String::new(), longest, visit);
}

fn object_fields(object: &Payload, path: &mut String, longest: usize, visit: &mut dyn FnMut(&str, &Value)) {
    let start = path.len();
    for (name, value) in object {
        if start + name.len() <= longest {
            path.push_str(name);
            value_fields(value, path, longest, visit);
            path.truncate(start);
        }
    }
}

fn value_fields(value: &Value, path: &mut String, longest: usize, visit: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            items.iter().for_each(|item| value_fields(item, path, longest, visit));
        }
        Value::Null | Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => visit(path, value),
        Value::Object(object) => {
            visit(path, value);
            let end = path.len();
            path.push('.');
            object_fields(object, path, longest, visit);
            path.truncate(end);
        }
    }
}

/// Converts a stored value to a comparable one.
fn scalar(found: &Value) -> Option<Scalar> {
    match found {
        Value::Bool(value) => Some(Scalar::Bool(*value)),
        Value::Number(value) => Number::from_json(value).map(Scalar::Number),
        Value::String(value) => Some(Scalar::String(value.clone())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn equals(value: &Scalar, found: &Value) -> bool {
    compare(found, value) == Some(Ordering::Equal)
}

/// Compares a stored value with one of the same type.
fn compare(found: &Value, value: &Scalar) -> Option<Ordering> {
    match (found, value) {
        (Value::Bool(found), Scalar::Bool(value)) => Some(found.cmp(value)),
        (Value::Number(found), Scalar::Number(value)) => Number::from_json(found).map(|found| found.cmp(value)),
        (Value::String(found), Scalar::String(value)) => Some(found.as_bytes().cmp(value.as_bytes())),
        _ => None,
    }
}

fn inside(range: &Range, found: &Value) -> bool {
    let keeps = |bound: Option<(&Scalar, bool)>, side: Ordering| {
        bound.is_none_or(|(bound, included)| match compare(found, bound) {
            Some(Ordering::Equal) => included,
            other => other == Some(side),
        })
    };
    keeps(range.lower(), Ordering::Greater) && keeps(range.upper(), Ordering::Less)
}

/// Returns the latitude and longitude of an object that has both, within their ranges.
pub(super) fn coordinates(value: &Value) -> Option<(f64, f64)> {
    let degrees = |name: &str, max: f64| value.get(name)?.as_f64().filter(|degrees| degrees.abs() <= max);
    Some((degrees("lat", 90.0)?, degrees("lon", 180.0)?))
}

/// Returns the great-circle distance between two (latitude, longitude) pairs in degrees (haversine formula).
fn distance_meters(a: (f64, f64), b: (f64, f64)) -> f64 {
    let half = |x: f64, y: f64| ((y - x).to_radians() / 2.0).sin().powi(2);
    let chord = half(a.0, b.0) + a.0.to_radians().cos() * b.0.to_radians().cos() * half(a.1, b.1);
    2.0 * EARTH_METERS * chord.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn payload() -> Payload {
        let value = json!({
            "kind": "animal", "year": 1990, "height": 1.0, "alive": false, "none": null, "tags": ["red", "blue", 7],
            "empty": [], "author": {"name": "Ann", "born": {"year": 1950}}, "a.b": 5, "nested": [[1, [2]], {"x": 3}],
            "books": [{"title": "One", "pages": 100}, {"title": "Two", "pages": [300, 400]}],
            "where": {"lat": 52.52, "lon": 13.405}, "": {"x": 1}, "big": 9_007_199_254_740_993_i64
        });
        value.as_object().expect("an object").clone()
    }

    fn number(value: f64) -> Option<Scalar> {
        Number::from_f64(value).map(Scalar::Number)
    }

    #[track_caller]
    fn check(filter: Filter, expected: bool) {
        assert_eq!(filter.matches(&payload()), expected, "{filter:?}");
        assert_eq!(Filter::not(filter.clone()).matches(&payload()), !expected, "not {filter:?}");
    }

    #[test]
    fn values_are_compared_with_their_type() {
        check(Filter::equals("kind", "animal"), true);
        check(Filter::equals("kind", "anima"), false);
        check(Filter::equals("year", 1990), true);
        check(Filter::equals("year", "1990"), false);
        check(Filter::equals("height", 1), true);
        check(Filter::equals("alive", false), true);
        check(Filter::equals("alive", 0), false);
        check(Filter::equals("big", 9_007_199_254_740_993_i64), true);
        check(Filter::equals("big", 9_007_199_254_740_992_i64), false);
        check(Filter::among("kind", [3.into(), "animal".into()]), true);
    }

    #[test]
    fn paths_select_through_objects_lists_and_names_with_dots() {
        check(Filter::equals("author.name", "Ann"), true);
        check(Filter::equals("author.born.year", 1950), true);
        check(Filter::equals("author", "Ann"), false);
        check(Filter::equals("tags", "blue"), true);
        check(Filter::equals("tags", 7), true);
        check(Filter::equals("books.title", "Two"), true);
        check(Filter::equals("books.pages", 400), true);
        check(Filter::equals("nested", 2), true);
        check(Filter::equals("nested.x", 3), true);
        check(Filter::equals("a.b", 5), true);
        check(Filter::equals(".x", 1), true);
        check(Filter::equals("kind.x", "animal"), false);
        // Each condition may match another element.
        check(Filter::And(vec![Filter::equals("books.title", "One"), Filter::equals("books.pages", 300)]), true);
    }

    #[test]
    fn a_field_exists_with_a_value_other_than_null() {
        for (field, there) in [
            ("kind", true),
            ("author", true),
            ("author.born.year", true),
            ("none", false),
            ("empty", false),
            ("x", false),
        ] {
            check(Filter::exists(field), there);
        }
    }

    #[test]
    fn a_payload_may_have_a_field_without_a_value() {
        for (field, there) in [
            ("kind", true),
            ("none", true),
            ("empty", true),
            ("author.born", true),
            ("a.b", true),
            ("nested.x", true),
            ("nested.y", false),
            ("none.x", false),
            ("x", false),
        ] {
            assert_eq!(has_field(&payload(), field), there, "{field}");
        }
    }

    #[test]
    fn ranges_compare_numbers_and_strings_with_inclusive_and_exclusive_bounds() {
        let range = |gt, gte, lt, lte| Range { gt, gte, lt, lte };
        check(Filter::range("year", range(None, number(1990.0), None, None)), true);
        check(Filter::range("year", range(number(1990.0), None, None, None)), false);
        check(Filter::range("year", range(None, number(1989.5), None, number(1990.0))), true);
        check(Filter::range("year", range(None, None, number(1990.0), None)), false);
        check(Filter::range("books.pages", range(number(300.0), None, None, None)), true);
        check(Filter::range("kind", range(None, Some("an".into()), Some("b".into()), None)), true);
        check(Filter::range("kind", range(None, number(0.0), None, None)), false);
        check(Filter::range("year", range(number(2000.0), None, number(1000.0), None)), false);
    }

    #[test]
    fn coordinates_within_a_radius_match() {
        // Berlin to Potsdam (52.39, 13.066): 27.1 km.
        let around = |meters| Filter::GeoRadius { field: "where".into(), lat: 52.39, lon: 13.066, meters };
        check(around(27_500.0), true);
        check(around(26_500.0), false);
        check(Filter::GeoRadius { field: "author".into(), lat: 0.0, lon: 0.0, meters: 1e9 }, false);
        assert!((distance_meters((0.0, 179.5), (0.0, -179.5)) - 111_195.0).abs() < 1.0, "over the date line");
    }

    #[test]
    fn all_any_and_none() {
        let (yes, no) = (Filter::exists("kind"), Filter::exists("x"));
        check(Filter::And(vec![yes.clone(), no.clone()]), false);
        check(Filter::Or(vec![no.clone(), yes.clone()]), true);
        check(Filter::Or(vec![no.clone(), no]), false);
        check(Filter::And(vec![yes.clone(), yes]), true);
    }
}
