//! Facets, statistics of fields and ordered scrolls, computed from all payloads without bounds.

use nearness::api::*;
use nearness::types::PointId;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Points<'a> = [(&'a PointId, &'a Payload)];

/// Returns every path of a payload with each of its values. Elements of lists have the path of the list.
fn paths(payload: &Payload) -> Vec<(String, &Value)> {
    fn visit<'a>(path: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
        found.push((path.to_owned(), value));
        match value {
            Value::Array(items) => items.iter().for_each(|item| visit(path, item, found)),
            Value::Object(object) => {
                object.iter().for_each(|(name, value)| visit(&format!("{path}.{name}"), value, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    payload.iter().for_each(|(name, value)| visit(name, value, &mut found));
    found
}

fn scalar(value: &Value) -> Option<Scalar> {
    match value {
        Value::Bool(value) => Some((*value).into()),
        Value::String(text) => Some(text.clone().into()),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Some(value.into()),
            (None, Some(value)) => Some(Number::from(value).into()),
            (None, None) => number.as_f64().and_then(Number::from_f64).map(Scalar::Number),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn scalars(payload: &Payload, field: &str) -> BTreeSet<Scalar> {
    paths(payload).into_iter().filter(|(path, _)| path == field).filter_map(|(_, value)| scalar(value)).collect()
}

pub(crate) fn facet(points: &Points<'_>, field: &str, limit: usize) -> Facet {
    let mut counts: BTreeMap<Scalar, u64> = BTreeMap::new();
    for (_, payload) in points {
        scalars(payload, field).into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    }
    let with_field = points.iter().filter(|(id, payload)| Filter::exists(field).matches(id, payload)).count() as u64;
    let distinct = counts.len() as u64;
    let mut values: Vec<ValueCount> = counts.into_iter().map(|(value, count)| ValueCount { value, count }).collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.count));
    values.truncate(limit);
    Facet { values, distinct, points: with_field }
}

pub(crate) fn describe_fields(points: &Points<'_>) -> FieldReport {
    let mut columns: BTreeMap<String, Vec<(&PointId, &Value)>> = BTreeMap::new();
    for (id, payload) in points {
        paths(payload).into_iter().for_each(|(path, value)| columns.entry(path).or_default().push((*id, value)));
    }
    let is_geo = |value: &Value| {
        let within = |name: &str, max: f64| value.get(name).and_then(Value::as_f64).is_some_and(|x| x.abs() <= max);
        within("lat", 90.0) && within("lon", 180.0)
    };
    let describe = |(path, values): (String, Vec<(&PointId, &Value)>)| {
        let count = |of: &dyn Fn(&Value) -> bool| {
            values.iter().filter(|(_, value)| of(value)).map(|(id, _)| *id).collect::<BTreeSet<_>>().len() as u64
        };
        let distinct: BTreeSet<Scalar> = values.iter().filter_map(|(_, value)| scalar(value)).collect();
        let numbers = || distinct.iter().filter_map(|v| if let Scalar::Number(n) = v { Some(*n) } else { None });
        let strings = || distinct.iter().filter_map(|v| if let Scalar::String(s) = v { Some(s) } else { None });
        let extreme = |text: &String| Extreme { text: text.clone(), truncated: false };
        FieldStats {
            points: count(&|_| true),
            types: TypeCounts {
                null: count(&Value::is_null),
                boolean: count(&Value::is_boolean),
                integer: count(&|value| value.is_i64() || value.is_u64()),
                float: count(&Value::is_f64),
                string: count(&Value::is_string),
                list: count(&Value::is_array),
                object: count(&|value| value.is_object() && !is_geo(value)),
                geo_point: count(&is_geo),
            },
            numbers: numbers().min().zip(numbers().max()),
            strings: strings().min().map(extreme).zip(strings().max().map(extreme)),
            distinct: distinct.len() as u64,
            distinct_at_least: false,
            path,
        }
    };
    let fields = columns.into_iter().map(describe).collect();
    FieldReport { points: points.len() as u64, fields, truncated: false }
}

/// Returns the positions after `after`, in order.
pub(crate) fn ordered(points: &Points<'_>, order: &OrderBy, after: Option<&SortPosition>) -> Vec<SortPosition> {
    let value = |payload| match order.descending {
        false => scalars(payload, &order.field).pop_first(),
        true => scalars(payload, &order.field).pop_last(),
    };
    let key = |payload| value(payload).map(|value| SortKey::new(&value));
    let mut rows: Vec<SortPosition> =
        points.iter().filter_map(|(id, payload)| Some((key(payload)?, (*id).clone()))).collect();
    // The points are in the order of their ids, and the sort is stable.
    rows.sort_by(|a, b| if order.descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
    match after {
        None => rows,
        Some(after) => rows.into_iter().skip_while(|row| row != after).skip(1).collect(),
    }
}
