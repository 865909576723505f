//! JSON objects to `google.protobuf.Struct` and back.
//!
//! A `Struct` has one kind of number, the double: whole numbers come back as integers, and integers beyond 2^53 lose
//! their last digits on the wire (not in the store).

use super::limits::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH};
use crate::collection::{Error, Payload};
use prost::Message;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;
use std::fmt::Display;

/// The largest whole double that stands for one integer only.
const MAX_SAFE: f64 = 9_007_199_254_740_992.0;

/// The JSON object of a `Struct`; `field` is its path in the request.
///
/// # Errors
/// [`Error::Invalid`] naming the place, when it is larger than [`MAX_PAYLOAD_BYTES`], nested deeper than
/// [`MAX_PAYLOAD_DEPTH`], holds NaN or an infinity, or a value without a kind.
pub fn from_struct(object: Struct, field: &dyn Display) -> Result<Payload, Error> {
    let bytes = object.encoded_len();
    if bytes > MAX_PAYLOAD_BYTES {
        return Err(Error::invalid(
            field.to_string(),
            format!("a payload has at most {MAX_PAYLOAD_BYTES} bytes, this one has {bytes}"),
        ));
    }
    object_from(object, 1).map_err(|wrong| {
        let place: String = wrong.place.iter().rev().map(String::as_str).collect();
        Error::invalid(format!("{field}{place}"), wrong.why)
    })
}

/// A wrong value: its place, innermost step first, and why.
struct Wrong {
    place: Vec<String>,
    why: String,
}

impl Wrong {
    fn new(why: impl Into<String>) -> Self {
        Self { place: Vec::new(), why: why.into() }
    }

    fn inside(mut self, step: String) -> Self {
        self.place.push(step);
        self
    }
}

fn object_from(object: Struct, depth: usize) -> Result<Payload, Wrong> {
    check_depth(depth)?;
    object
        .fields
        .into_iter()
        .map(|(name, value)| match value_from(value, depth) {
            Ok(value) => Ok((name, value)),
            Err(wrong) => Err(wrong.inside(format!(".{}", name.chars().take(80).collect::<String>()))),
        })
        .collect()
}

fn check_depth(depth: usize) -> Result<(), Wrong> {
    if depth > MAX_PAYLOAD_DEPTH {
        return Err(Wrong::new(format!("a payload nests at most {MAX_PAYLOAD_DEPTH} objects and lists")));
    }
    Ok(())
}

fn value_from(value: Value, depth: usize) -> Result<Json, Wrong> {
    Ok(match value.kind {
        None => return Err(Wrong::new("has no value; null has a kind of its own")),
        Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(value),
        Some(Kind::StringValue(value)) => Json::String(value),
        Some(Kind::NumberValue(value)) => number_from(value)?,
        Some(Kind::StructValue(object)) => Json::Object(object_from(object, depth + 1)?),
        Some(Kind::ListValue(list)) => {
            check_depth(depth + 1)?;
            let values =
                list.values.into_iter().enumerate().map(|(place, value)| {
                    value_from(value, depth + 1).map_err(|wrong| wrong.inside(format!("[{place}]")))
                });
            Json::Array(values.collect::<Result<_, _>>()?)
        }
    })
}

fn number_from(value: f64) -> Result<Json, Wrong> {
    let whole = value.fract() == 0.0 && value.abs() <= MAX_SAFE && !(value == 0.0 && value.is_sign_negative());
    if whole {
        return Ok(Json::from(value as i64));
    }
    serde_json::Number::from_f64(value)
        .map(Json::Number)
        .ok_or_else(|| Wrong::new(format!("is {value}; numbers are finite")))
}

/// The `Struct` of a JSON object. What is nested deeper than [`MAX_PAYLOAD_DEPTH`] is given as its JSON text, because
/// no client could read it otherwise.
pub fn to_struct(object: Payload) -> Struct {
    object_to(object, 1)
}

fn object_to(object: Payload, depth: usize) -> Struct {
    Struct { fields: object.into_iter().map(|(name, value)| (name, value_to(value, depth))).collect() }
}

/// The `Value` of a JSON value that is no object and no list.
pub(super) fn to_value(value: Json) -> Value {
    value_to(value, 1)
}

fn value_to(value: Json, depth: usize) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::String(value) => Kind::StringValue(value),
        Json::Number(value) => match value.as_f64() {
            Some(value) => Kind::NumberValue(value),
            None => Kind::StringValue(value.to_string()),
        },
        deep @ (Json::Object(_) | Json::Array(_)) if depth >= MAX_PAYLOAD_DEPTH => Kind::StringValue(deep.to_string()),
        Json::Object(object) => Kind::StructValue(object_to(object, depth + 1)),
        Json::Array(values) => {
            let values = values.into_iter().map(|value| value_to(value, depth + 1)).collect();
            Kind::ListValue(ListValue { values })
        }
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Json) -> Payload {
        value.as_object().expect("an object").clone()
    }

    fn nested(depth: usize) -> Payload {
        let mut value = json!(1);
        for level in 1..depth {
            value = if level % 2 == 0 { json!([value]) } else { json!({ "in": value }) };
        }
        object(json!({ "top": value }))
    }

    #[track_caller]
    fn refused(payload: Struct, place: &str) -> String {
        match from_struct(payload, &"payload") {
            Err(Error::Invalid { field, why }) => {
                assert_eq!(field, place);
                why
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_goes_out_comes_back() {
        let payload = object(json!({
            "a": null, "b": true, "c": "text", "d": -3, "e": 2.5, "f": [1, [2, {"g": "ä"}], {}], "": {}, "big": 9007199254740991i64
        }));
        assert_eq!(from_struct(to_struct(payload.clone()), &"payload").expect("valid"), payload);
    }

    #[test]
    fn depth_is_limited_both_ways() {
        let deepest = nested(MAX_PAYLOAD_DEPTH);
        assert_eq!(from_struct(to_struct(deepest.clone()), &"p").expect("as deep as allowed"), deepest);
        let sent = to_struct(nested(MAX_PAYLOAD_DEPTH + 3));
        assert!(Struct::decode(sent.encode_to_vec().as_slice()).is_ok(), "a client must be able to read it");
        let mut deep = Value { kind: Some(Kind::NumberValue(1.0)) };
        for _ in 0..MAX_PAYLOAD_DEPTH {
            deep = Value { kind: Some(Kind::ListValue(ListValue { values: vec![deep] })) };
        }
        let place = format!("payload.x{}", "[0]".repeat(MAX_PAYLOAD_DEPTH - 1));
        assert!(refused(Struct { fields: [("x".to_owned(), deep)].into() }, &place).contains("at most 32"));
    }

    #[test]
    fn wrong_values_are_named() {
        let with = |kind| {
            let list = ListValue { values: vec![Value { kind: Some(Kind::BoolValue(true)) }, Value { kind }] };
            Struct { fields: [("a".to_owned(), Value { kind: Some(Kind::ListValue(list)) })].into() }
        };
        assert!(refused(with(Some(Kind::NumberValue(f64::NAN))), "payload.a[1]").contains("NaN"));
        refused(with(Some(Kind::NumberValue(f64::INFINITY))), "payload.a[1]");
        refused(with(None), "payload.a[1]");
        let large = Kind::StringValue("x".repeat(MAX_PAYLOAD_BYTES));
        assert!(refused(with(Some(large)), "payload").contains("1048576"));
    }

    #[test]
    fn whole_numbers_are_integers() {
        let back = |number: f64| number_from(number).ok().expect("finite").to_string();
        assert_eq!(
            ["3", "-4", "0", "0.5", "-0.0", "1e+300"].map(String::from),
            [3.0, -4.0, 0.0, 0.5, -0.0, 1e300].map(back)
        );
    }
}
