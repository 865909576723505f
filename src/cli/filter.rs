//! The `--filter` flag: conditions on payloads as JSON, shared by several commands.

use crate::grpc::payload::inexact_integer;
use crate::grpc::pb;
use clap::Args;
use pb::filter::Form;
use pb::filter_value::Form as ValueForm;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Filter on payloads, as JSON:
    /// {"field": "kind", "equals": "animal"};
    /// instead of "equals": "in" with a list, "gt" "gte" "lt" "lte" with a number or text, "exists": true,
    /// "near": {"lat": 52.5, "lon": 13.4, "meters": 1000};
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
    near: Option<Near>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Near {
    lat: f64,
    lon: f64,
    meters: f64,
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
    let Node { and, or, not, field, equals, among, exists, gt, gte, lt, lte, near } = node;
    let ranged = gt.is_some() || gte.is_some() || lt.is_some() || lte.is_some();
    let combines = [and.is_some(), or.is_some(), not.is_some()].into_iter().filter(|given| *given).count();
    let conditions = [equals.is_some(), among.is_some(), exists.is_some(), ranged, near.is_some()];
    let conditions = conditions.into_iter().filter(|given| *given).count();
    let form = match (field, combines, conditions) {
        (None, 1, 0) => {
            let list = |nodes: Vec<Node>| nodes.into_iter().map(filter).collect::<Result<_, _>>();
            match (and, or, not) {
                (Some(nodes), _, _) => Form::And(pb::Filters { filters: list(nodes)? }),
                (_, Some(nodes), _) => Form::Or(pb::Filters { filters: list(nodes)? }),
                (_, _, not) => Form::Not(Box::new(not.map_or(Ok(pb::Filter::default()), |node| filter(*node))?)),
            }
        }
        (Some(field), 0, 1) => {
            let bound = |bound: Option<Value>| bound.map(value).transpose();
            if let Some(found) = equals {
                Form::Equals(pb::Equals { field, value: Some(value(found)?) })
            } else if let Some(several) = among {
                Form::In(pb::In { field, values: several.into_iter().map(value).collect::<Result<_, _>>()? })
            } else if let Some(Near { lat, lon, meters }) = near {
                Form::GeoRadius(pb::GeoRadius { field, lat, lon, meters })
            } else if ranged {
                Form::Range(pb::Range { field, gt: bound(gt)?, gte: bound(gte)?, lt: bound(lt)?, lte: bound(lte)? })
            } else {
                let present = pb::Filter { form: Some(Form::Exists(pb::Exists { field })) };
                return Ok(if exists == Some(true) {
                    present
                } else {
                    pb::Filter { form: Some(Form::Not(Box::new(present))) }
                });
            }
        }
        _ => {
            return Err("a condition is one of and, or, not; or a field with one of equals, in, exists, near, or \
                bounds (gt, gte, lt, lte)"
                .into());
        }
    };
    Ok(pb::Filter { form: Some(form) })
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
                        {\"not\": {\"field\": ..., \"exists\": true}}"
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
            (r#"{"field": "a", "equals": null}"#, "\"exists\": true"),
            (r#"{"field": "a", "in": [1, null]}"#, "\"exists\": true"),
            (r#"{"field": "a", "gte": null}"#, "\"exists\": true"),
            (r#"{"field": "a", "equals": 18446744073709551616}"#, "more than 64 bits"),
            (r#"{"field": "a", "near": {"lat": 1}}"#, "missing field"),
        ] {
            let error = parse(invalid).expect_err(invalid);
            assert!(error.contains(part), "{invalid}: {error}");
        }
    }
}
