//! The definition of a match between a payload and a filter, and the fields of a payload.
//!
//! A path selects values by names separated by dots; a name may itself contain dots (`{"a.b": 1}` and `{"a": {"b": 1}}`
//! both have the field `a.b`). A path into a list selects every element, and a condition matches if any selected value
//! does. Nulls and lists are not values, but the elements of lists are.

use super::geo;
use crate::api::{Filter, GeoPoint, Number, Payload, Range, Scalar, Timestamp};
use crate::types::PointId;
use serde_json::Value;
use std::cmp::Ordering;

impl Filter {
    /// Whether a point matches. All indexes must agree with this definition.
    pub fn matches(&self, id: &PointId, payload: &Payload) -> bool {
        self.holds(Some(id), payload)
    }

    /// Whether a payload matches, or an object in it, which has no id.
    pub(super) fn holds(&self, id: Option<&PointId>, payload: &Payload) -> bool {
        match self {
            Self::Equals { field, value } => any(payload, field, &mut |found| equals(value, found)),
            Self::In { field, values } => {
                any(payload, field, &mut |found| scalar(found).is_some_and(|found| values.contains(&found)))
            }
            Self::Range { field, range } => any(payload, field, &mut |found| inside(range, found)),
            Self::Exists { field } => any(payload, field, &mut |_| true),
            Self::GeoRadius { field, lat, lon, meters } => {
                let centre = GeoPoint { lat: *lat, lon: *lon };
                any_point(payload, field, &|point| geo::distance_meters(centre, point) <= *meters)
            }
            Self::And(parts) => parts.iter().all(|part| part.holds(id, payload)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(id, payload)),
            Self::Not(part) => !part.holds(id, payload),
            Self::Ids(ids) => id.is_some_and(|id| ids.contains(id)),
            Self::IsNull { field } => any_end(payload, field, &mut has_null),
            Self::IsEmpty { field } => !any(payload, field, &mut |_| true),
            Self::ValuesCount { field, count } => {
                let mut values = 0;
                any(payload, field, &mut |_| {
                    values += 1;
                    false
                });
                count.contains(&values)
            }
            Self::Nested { field, filter } => {
                any(payload, field, &mut |found| found.as_object().is_some_and(|object| filter.holds(None, object)))
            }
            Self::GeoBox { field, area } => any_point(payload, field, &|point| area.contains(point)),
            Self::GeoPolygon { field, area } => any_point(payload, field, &|point| area.contains(point)),
            Self::Text { field, matches } => {
                any(payload, field, &mut |found| found.as_str().is_some_and(|text| matches.matches(text)))
            }
            Self::TimeRange { field, range } => any(payload, field, &mut |found| {
                found.as_str().and_then(Timestamp::parse).is_some_and(|time| range.contains(&time))
            }),
        }
    }
}

/// Whether any value at the path passes the test. Nulls and lists are not values; list elements are.
fn any(object: &Payload, path: &str, test: &mut dyn FnMut(&Value) -> bool) -> bool {
    any_end(object, path, &mut |value| any_element(value, test))
}

/// Whether any point on the earth at the path passes the test.
fn any_point(object: &Payload, path: &str, test: &dyn Fn(GeoPoint) -> bool) -> bool {
    any(object, path, &mut |found| geo::point(found).is_some_and(test))
}

/// Whether a value is null, or a list with a null.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    }
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

/// Returns the first string or integer at a path.
pub(crate) fn tenant_at(payload: &Payload, path: &str) -> Option<Value> {
    first(payload, path, |value| match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(number) if !number.is_f64() => Some(value.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

/// Returns the first number at a path.
pub(crate) fn number_at(payload: &Payload, path: &str) -> Option<f64> {
    first(payload, path, Value::as_f64)
}

/// Returns the first time at a path.
pub(crate) fn time_at(payload: &Payload, path: &str) -> Option<Timestamp> {
    first(payload, path, |value| value.as_str().and_then(Timestamp::parse))
}

/// Returns the distance of the first point on the earth at a path, in metres.
pub(crate) fn meters_from(payload: &Payload, path: &str, target: GeoPoint) -> Option<f64> {
    first(payload, path, |value| geo::point(value).map(|point| geo::distance_meters(target, point)))
}

/// Returns the first value at a path that can be converted.
fn first<T>(payload: &Payload, path: &str, convert: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let mut found = None;
    any(payload, path, &mut |value| {
        found = convert(value);
        found.is_some()
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

/// Visits the strings at a path, in order.
pub(crate) fn strings_at(payload: &Payload, path: &str, visit: &mut dyn FnMut(&str)) {
    any(payload, path, &mut |value| {
        if let Value::String(text) = value {
            visit(text);
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
pub(crate) fn scalar(found: &Value) -> Option<Scalar> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Bounds, GeoBox, GeoPolygon};
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
        let id = PointId::new("p1").expect("an id");
        assert_eq!(filter.matches(&id, &payload()), expected, "{filter:?}");
        assert_eq!(Filter::not(filter.clone()).matches(&id, &payload()), !expected, "not {filter:?}");
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
        let (west, east) = (GeoPoint { lat: 0.0, lon: 179.5 }, GeoPoint { lat: 0.0, lon: -179.5 });
        assert!((geo::distance_meters(west, east) - 111_195.0).abs() < 1.0, "over the date line");
    }

    #[test]
    fn coordinates_within_an_area_match() {
        let area = GeoBox { north: 53.0, south: 52.0, west: 13.0, east: 14.0 };
        let inside = |field: &str, area| Filter::GeoBox { field: field.into(), area };
        check(inside("where", area), true);
        check(inside("where", GeoBox { north: 52.5, ..area }), false);
        check(inside("author", area), false);
        let corner = |lat, lon| GeoPoint { lat, lon };
        let exterior = vec![corner(52.0, 13.0), corner(53.0, 13.0), corner(53.0, 14.0)];
        let polygon = |holes| Filter::GeoPolygon {
            field: "where".into(),
            area: GeoPolygon { exterior: exterior.clone(), holes },
        };
        check(polygon(vec![]), true);
        check(polygon(vec![exterior.clone()]), false);
    }

    #[test]
    fn ids_match_their_points() {
        let id = |id: &str| PointId::new(id).expect("an id");
        check(Filter::ids([id("p0"), id("p1")]), true);
        check(Filter::ids([id("p0"), id("p11")]), false);
        check(Filter::And(vec![Filter::ids([id("p1")]), Filter::equals("kind", "plant")]), false);
    }

    #[test]
    fn nulls_and_fields_without_values() {
        let nulls = json!({"n": null, "list": [1, null], "deep": [[], [null]], "void": [], "voids": [[], []], "x": 1,
                           "of": [{"a": null}, {"a": 1}], "o": {}, "d.n": null});
        let payload = nulls.as_object().expect("an object");
        for (field, null, empty, count) in [
            ("n", true, true, 0),
            ("list", true, false, 1),
            ("deep", true, true, 0),
            ("void", false, true, 0),
            ("voids", false, true, 0),
            ("x", false, false, 1),
            ("of", false, false, 2),
            ("of.a", true, false, 1),
            ("of.b", false, true, 0),
            ("o", false, false, 1),
            ("d.n", true, true, 0),
            ("n.x", false, true, 0),
            ("missing", false, true, 0),
        ] {
            let holds = |filter: Filter| filter.holds(None, payload);
            let field = || field.to_owned();
            assert_eq!(holds(Filter::IsNull { field: field() }), null, "{}", field());
            assert_eq!(holds(Filter::IsEmpty { field: field() }), empty, "{}", field());
            assert_eq!(holds(Filter::exists(field())), !empty, "{}", field());
            let counts = |bounds| holds(Filter::ValuesCount { field: field(), count: bounds });
            assert!(counts(Bounds { gte: Some(count), lte: Some(count), ..Default::default() }), "{}", field());
            assert!(!counts(Bounds { gt: Some(count), ..Default::default() }), "{}", field());
            assert!(!counts(Bounds { lt: Some(count), ..Default::default() }), "{}", field());
        }
    }

    #[test]
    fn values_are_counted_in_lists_and_through_paths() {
        let counts = |field: &str, count| {
            let exactly = Bounds { gte: Some(count), lte: Some(count), ..Default::default() };
            check(Filter::ValuesCount { field: field.into(), count: exactly }, true);
        };
        counts("tags", 3);
        counts("nested", 3);
        counts("books.pages", 3);
        counts("books", 2);
        counts("kind", 1);
        counts("author", 1);
    }

    #[test]
    fn nested_conditions_apply_to_one_element() {
        let (one, three_hundred) = (Filter::equals("title", "One"), Filter::equals("pages", 300));
        check(Filter::nested("books", Filter::And(vec![one.clone(), three_hundred.clone()])), false);
        check(Filter::nested("books", Filter::And(vec![Filter::equals("title", "Two"), three_hundred])), true);
        check(Filter::nested("books", Filter::not(one.clone())), true);
        check(Filter::And(vec![Filter::nested("books", one.clone()), Filter::exists("kind")]), true);
        // One object counts as a list of itself; values that are not objects do not match.
        check(Filter::nested("author", Filter::equals("born.year", 1950)), true);
        check(Filter::nested("author", Filter::nested("born", Filter::exists("year"))), true);
        check(Filter::nested("tags", Filter::not(Filter::exists("x"))), false);
        check(Filter::nested("missing", Filter::not(Filter::exists("x"))), false);
        check(Filter::nested("nested", Filter::equals("x", 3)), true);
    }

    #[test]
    fn times_are_compared_in_utc() {
        let payload = json!({"at": ["2024-05-01T12:00:00+02:00", "no time", 5], "n": 1_714_557_600});
        let payload = payload.as_object().expect("an object");
        let time = |text: &str| Some(Timestamp::parse(text).expect(text));
        let holds = |field: &str, range| Filter::TimeRange { field: field.into(), range }.holds(None, payload);
        let at = || time("2024-05-01T10:00:00Z");
        assert!(holds("at", Bounds { gte: at(), lte: at(), ..Default::default() }));
        assert!(!holds("at", Bounds { gt: at(), ..Default::default() }));
        assert!(!holds("at", Bounds { lt: at(), ..Default::default() }));
        assert!(holds("at", Bounds { gt: time("2024-05-01"), lt: time("2024-05-02"), ..Default::default() }));
        assert!(!holds("n", Bounds { gt: time("0000-01-01"), ..Default::default() }));
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
