//! The `--filter` flag: conditions on payloads and ids as JSON, shared by several commands.

use crate::grpc::payload::inexact_integer;
use crate::grpc::pb;
use clap::Args;
use pb::filter::Form;
use pb::filter_value::Form as ValueForm;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Filter on payloads and ids, as JSON:
    /// {"field": "kind", "equals": "animal"};
    /// instead of "equals": "in" with a list, "gt" "gte" "lt" "lte" with a number or text,
    /// "exists": true, "is_empty": true, "is_null": true, "values_count": {"gte": 2},
    /// "time_range": {"gte": "2024-05-01", "lt": "2024-05-02T12:00:00+02:00"},
    /// "near": {"lat": 52.5, "lon": 13.4, "meters": 1000},
    /// "geo_box": {"north": 53, "south": 52, "west": 13, "east": 14},
    /// "geo_polygon": {"exterior": [{"lat": 52, "lon": 13}, ...], "holes": [[...]]},
    /// "nested": a filter on one element of a list;
    /// {"ids": ["a", "b"]};
    /// combined by {"and": [...]}, {"or": [...]}, {"not": ...}. A field may be a path: "author.name".
    #[arg(long, value_name = "JSON", value_parser = parse, verbatim_doc_comment)]
    pub(crate) filter: Option<pb::Filter>,
}

/// JSON form of a filter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    and: Option<Vec<Node>>,
    or: Option<Vec<Node>>,
    not: Option<Box<Node>>,
    field: Option<String>,
    #[serde(default, deserialize_with = "given")]
    equals: Option<Value>,
    #[serde(rename = "in")]
    among: Option<Vec<Value>>,
    exists: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    gt: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    gte: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    lt: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    lte: Option<Value>,
    #[serde(default, deserialize_with = "object")]
    near: Option<Near>,
    ids: Option<Vec<String>>,
    is_null: Option<bool>,
    is_empty: Option<bool>,
    #[serde(default, deserialize_with = "object")]
    values_count: Option<Bounds<u64>>,
    nested: Option<Box<Node>>,
    #[serde(default, deserialize_with = "object")]
    geo_box: Option<GeoBox>,
    #[serde(default, deserialize_with = "object")]
    geo_polygon: Option<GeoPolygon>,
    #[serde(default, deserialize_with = "object")]
    time_range: Option<Bounds<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Near {
    lat: f64,
    lon: f64,
    meters: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds<T> {
    gt: Option<T>,
    gte: Option<T>,
    lt: Option<T>,
    lte: Option<T>,
}

#[derive(Deserialize)]
#[serde(try_from = "Map<String, Value>")]
struct GeoPoint {
    lat: f64,
    lon: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GeoBox {
    north: f64,
    south: f64,
    west: f64,
    east: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GeoPolygon {
    exterior: Vec<GeoPoint>,
    #[serde(default)]
    holes: Vec<Vec<GeoPoint>>,
}

impl TryFrom<Map<String, Value>> for GeoPoint {
    type Error = &'static str;

    fn try_from(object: Map<String, Value>) -> Result<Self, Self::Error> {
        let number = |name: &str| object.get(name).and_then(Value::as_f64);
        match (number("lat"), number("lon"), object.len()) {
            (Some(lat), Some(lon), 2) => Ok(Self { lat, lon }),
            _ => Err("a point is an object with the numbers \"lat\" and \"lon\""),
        }
    }
}

/// Deserializes an object. Serde would accept a list too, whose order is easily confused.
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let object = Map::deserialize(deserializer)?;
    serde_json::from_value(Value::Object(object)).map(Some).map_err(D::Error::custom)
}

/// Deserializes a present value, including null: null is refused later, with the remedy.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Parses a filter from JSON. Limits are left to the server.
pub(crate) fn parse(text: &str) -> Result<pb::Filter, String> {
    let node: Node = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Some(digits) = inexact_integer(text) {
        return Err(format!("the integer {digits} has more than 64 bits, no stored integer can equal it"));
    }
    filter(node)
}

fn filter(node: Node) -> Result<pb::Filter, String> {
    let form = match (combination(&node), conditions(&node), node.field.is_some()) {
        (1, 0, false) => combined(node)?,
        (0, 1, true) => condition(node)?,
        _ => {
            return Err(
                "a condition is one of and, or, not, ids; or a field with one of equals, in, exists, is_empty, \
                is_null, values_count, near, geo_box, geo_polygon, time_range, nested, or bounds (gt, gte, lt, lte)"
                    .into(),
            );
        }
    };
    Ok(pb::Filter { form: Some(form) })
}

/// Returns the number of forms without a field.
fn combination(node: &Node) -> usize {
    let Node { and, or, not, ids, .. } = node;
    count([and.is_some(), or.is_some(), not.is_some(), ids.is_some()])
}

/// Returns the number of conditions on a field.
fn conditions(node: &Node) -> usize {
    let Node { equals, among, exists, near, is_null, is_empty, values_count, .. } = node;
    let Node { nested, geo_box, geo_polygon, time_range, .. } = node;
    count([equals.is_some(), among.is_some(), exists.is_some(), near.is_some(), is_ranged(node)])
        + count([is_null.is_some(), is_empty.is_some(), values_count.is_some(), nested.is_some()])
        + count([geo_box.is_some(), geo_polygon.is_some(), time_range.is_some()])
}

fn is_ranged(Node { gt, gte, lt, lte, .. }: &Node) -> bool {
    gt.is_some() || gte.is_some() || lt.is_some() || lte.is_some()
}

fn count<const N: usize>(given: [bool; N]) -> usize {
    given.into_iter().filter(|given| *given).count()
}

/// Converts a node with one form without a field.
fn combined(node: Node) -> Result<Form, String> {
    let list = |nodes: Vec<Node>| nodes.into_iter().map(filter).collect::<Result<_, _>>();
    Ok(match node {
        Node { and: Some(nodes), .. } => Form::And(pb::Filters { filters: list(nodes)? }),
        Node { or: Some(nodes), .. } => Form::Or(pb::Filters { filters: list(nodes)? }),
        Node { ids: Some(ids), .. } => Form::Ids(pb::Ids { ids }),
        Node { not, .. } => Form::Not(Box::new(not.map_or(Ok(pb::Filter::default()), |node| filter(*node))?)),
    })
}

/// Converts a node with one condition on a field.
fn condition(node: Node) -> Result<Form, String> {
    let ranged = is_ranged(&node);
    let field = node.field.unwrap_or_default();
    let bound = |bound: Option<Value>| bound.map(value).transpose();
    let unless = |given: bool, form: Form| match given {
        true => form,
        false => Form::Not(Box::new(pb::Filter { form: Some(form) })),
    };
    Ok(if let Some(found) = node.equals {
        Form::Equals(pb::Equals { field, value: Some(value(found)?) })
    } else if let Some(several) = node.among {
        Form::In(pb::In { field, values: several.into_iter().map(value).collect::<Result<_, _>>()? })
    } else if let Some(Near { lat, lon, meters }) = node.near {
        Form::GeoRadius(pb::GeoRadius { field, lat, lon, meters })
    } else if ranged {
        let (gt, gte, lt, lte) = (bound(node.gt)?, bound(node.gte)?, bound(node.lt)?, bound(node.lte)?);
        Form::Range(pb::Range { field, gt, gte, lt, lte })
    } else if let Some(given) = node.is_null {
        unless(given, Form::IsNull(pb::IsNull { field }))
    } else if let Some(given) = node.is_empty {
        unless(given, Form::IsEmpty(pb::IsEmpty { field }))
    } else if let Some(Bounds { gt, gte, lt, lte }) = node.values_count {
        Form::ValuesCount(pb::ValuesCount { field, gt, gte, lt, lte })
    } else if let Some(inner) = node.nested {
        Form::Nested(Box::new(pb::Nested { field, filter: Some(Box::new(filter(*inner)?)) }))
    } else if let Some(GeoBox { north, south, west, east }) = node.geo_box {
        Form::GeoBox(pb::GeoBox { field, north, south, west, east })
    } else if let Some(GeoPolygon { exterior, holes }) = node.geo_polygon {
        let holes = holes.into_iter().map(ring).collect();
        Form::GeoPolygon(pb::GeoPolygon { field, exterior: Some(ring(exterior)), holes })
    } else if let Some(Bounds { gt, gte, lt, lte }) = node.time_range {
        Form::TimeRange(pb::TimeRange { field, gt, gte, lt, lte })
    } else {
        unless(node.exists == Some(true), Form::Exists(pb::Exists { field }))
    })
}

fn ring(points: Vec<GeoPoint>) -> pb::GeoRing {
    pb::GeoRing { points: points.into_iter().map(|GeoPoint { lat, lon }| pb::GeoPoint { lat, lon }).collect() }
}

fn value(value: Value) -> Result<pb::FilterValue, String> {
    let form = match value {
        Value::Bool(value) => ValueForm::BoolValue(value),
        Value::String(value) => ValueForm::StringValue(value),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => ValueForm::IntegerValue(value),
            (None, Some(value), _) => ValueForm::UnsignedValue(value),
            (None, None, Some(value)) => ValueForm::NumberValue(value),
            (None, None, None) => return Err(format!("{number} is not a number that can be compared")),
        },
        Value::Null => {
            return Err("null cannot be compared; to find points without a field, use \
                        {\"field\": ..., \"is_empty\": true}, or \"is_null\" for those with a null"
                .into());
        }
        other @ (Value::Array(_) | Value::Object(_)) => {
            return Err(format!("{other} cannot be compared; use text, a number, true or false"));
        }
    };
    Ok(pb::FilterValue { form: Some(form) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_parsed() {
        let text = r#"{"and": [{"field": "year", "gte": 1990, "lt": 2000.5}, {"or": [{"field": "kind", "in": ["a", 1]}]},
                       {"not": {"field": "x.y", "exists": true}}, {"field": "z", "exists": false},
                       {"field": "w", "near": {"lat": 1, "lon": 2, "meters": 3}}, {"field": "t", "equals": true}]}"#;
        let Some(Form::And(all)) = parse(text).expect("valid").form else { panic!("not an and") };
        assert_eq!(all.filters.len(), 6);
        let Some(Form::Range(range)) = &all.filters[0].form else { panic!("not a range") };
        assert_eq!(range.gte, Some(pb::FilterValue { form: Some(ValueForm::IntegerValue(1990)) }));
        assert_eq!(range.lt, Some(pb::FilterValue { form: Some(ValueForm::NumberValue(2000.5)) }));
        let equals =
            |digits: &str| match parse(&format!("{{\"field\": \"a\", \"equals\": {digits}}}")).expect(digits).form {
                Some(Form::Equals(equals)) => equals.value.and_then(|value| value.form),
                other => panic!("{other:?}"),
            };
        assert_eq!(equals("9007199254740993"), Some(ValueForm::IntegerValue(9_007_199_254_740_993)));
        assert_eq!(equals("18446744073709551615"), Some(ValueForm::UnsignedValue(u64::MAX)));
        let not = |index: usize| matches!(&all.filters[index].form, Some(Form::Not(inner)) if matches!(inner.form, Some(Form::Exists(_))));
        assert!(not(2) && not(3));
    }

    #[test]
    fn every_condition_has_a_short_form() {
        let field = || "a".to_owned();
        let point = |lat: f64, lon: f64| pb::GeoPoint { lat, lon };
        let not = |form| Form::Not(Box::new(pb::Filter { form: Some(form) }));
        let exists = pb::Filter { form: Some(Form::Exists(pb::Exists { field: "b".into() })) };
        let ring = pb::GeoRing { points: vec![point(0.0, 0.0), point(1.0, 0.0), point(1.0, 2.5)] };
        for (text, expected) in [
            (r#"{"ids": ["x", "y"]}"#, Form::Ids(pb::Ids { ids: vec!["x".into(), "y".into()] })),
            (r#"{"field": "a", "is_null": true}"#, Form::IsNull(pb::IsNull { field: field() })),
            (r#"{"field": "a", "is_empty": false}"#, not(Form::IsEmpty(pb::IsEmpty { field: field() }))),
            (
                r#"{"field": "a", "values_count": {"gt": 1, "lte": 3}}"#,
                Form::ValuesCount(pb::ValuesCount { field: field(), gt: Some(1), lte: Some(3), ..Default::default() }),
            ),
            (
                r#"{"field": "a", "nested": {"field": "b", "exists": true}}"#,
                Form::Nested(Box::new(pb::Nested { field: field(), filter: Some(Box::new(exists)) })),
            ),
            (
                r#"{"field": "a", "geo_box": {"north": 4, "south": 3, "west": 2, "east": 1}}"#,
                Form::GeoBox(pb::GeoBox { field: field(), north: 4.0, south: 3.0, west: 2.0, east: 1.0 }),
            ),
            (
                r#"{"field": "a", "geo_polygon": {"exterior": [{"lat":0,"lon":0}, {"lat":1,"lon":0}, {"lat":1,"lon":2.5}]}}"#,
                Form::GeoPolygon(pb::GeoPolygon { field: field(), exterior: Some(ring), holes: vec![] }),
            ),
            (
                r#"{"field": "a", "time_range": {"gte": "2024-05-01", "lt": "2024-05-02"}}"#,
                Form::TimeRange(pb::TimeRange {
                    field: field(),
                    gte: Some("2024-05-01".into()),
                    lt: Some("2024-05-02".into()),
                    ..Default::default()
                }),
            ),
        ] {
            assert_eq!(parse(text).expect(text).form, Some(expected));
        }
    }

    #[test]
    fn invalid_filters_are_refused_with_a_reason() {
        for (invalid, part) in [
            ("", "EOF"),
            ("[]", "invalid"),
            ("{}", "a condition is one of"),
            (r#"{"field": "a"}"#, "a condition is one of"),
            (r#"{"equals": 1}"#, "a condition is one of"),
            (r#"{"field": "a", "equals": 1, "gt": 0}"#, "a condition is one of"),
            (r#"{"and": [], "or": []}"#, "a condition is one of"),
            (r#"{"and": [], "field": "a"}"#, "a condition is one of"),
            (r#"{"field": "a", "like": 1}"#, "unknown field `like`"),
            (r#"{"field": "a", "equals": [1]}"#, "cannot be compared"),
            (r#"{"field": "a", "equals": null}"#, "\"is_empty\": true"),
            (r#"{"field": "a", "in": [1, null]}"#, "\"is_empty\": true"),
            (r#"{"field": "a", "gte": null}"#, "\"is_empty\": true"),
            (r#"{"field": "a", "equals": 18446744073709551616}"#, "more than 64 bits"),
            (r#"{"field": "a", "near": {"lat": 1}}"#, "missing field"),
            (r#"{"field": "a", "ids": ["b"]}"#, "a condition is one of"),
            (r#"{"ids": "b"}"#, "invalid type"),
            (r#"{"nested": {"field": "a", "exists": true}}"#, "a condition is one of"),
            (r#"{"field": "a", "nested": {"field": "b"}}"#, "a condition is one of"),
            (r#"{"field": "a", "is_null": true, "is_empty": true}"#, "a condition is one of"),
            (r#"{"field": "a", "values_count": {"gte": -1}}"#, "invalid value"),
            (r#"{"field": "a", "values_count": {"equals": 1}}"#, "unknown field"),
            (r#"{"field": "a", "time_range": {"gte": 5}}"#, "invalid type"),
            (r#"{"field": "a", "geo_box": {"north": 1, "south": 0, "west": 0}}"#, "missing field"),
            (r#"{"field": "a", "geo_polygon": {"exterior": [[1, 2]]}}"#, "expected a map"),
            (r#"{"field": "a", "geo_polygon": {"exterior": [{"lat": 1, "lng": 2}]}}"#, "\"lat\" and \"lon\""),
            (r#"{"field": "a", "geo_polygon": [[]]}"#, "expected a map"),
            (r#"{"field": "a", "geo_box": [1, 0, 0, 1]}"#, "expected a map"),
            (r#"{"field": "a", "near": [1, 2, 3]}"#, "expected a map"),
        ] {
            let error = parse(invalid).expect_err(invalid);
            assert!(error.contains(part), "{invalid}: {error}");
        }
    }
}
