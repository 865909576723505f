//! Conversion between JSON objects and `google.protobuf.Struct`.
//!
//! A `Struct` has only one number type, double: whole numbers are returned as integers, and integers beyond 2^53 are
//! rounded to 53 bits. It nests one level less than a payload may. A payload that its `Struct` cannot represent exactly
//! is also sent as JSON text, which takes precedence.

use crate::api::{Error, Payload};
use crate::grpc::limits::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH};
use prost::Message;
use prost::encoding::encoded_len_varint;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;
use std::fmt::Display;

/// 2^53: the largest whole double that represents only one integer.
const MAX_SAFE: f64 = 9_007_199_254_740_992.0;

/// Converts a `Struct` to a JSON object; `field` is its path in the request.
///
/// # Errors
/// [`Error::Invalid`] naming the position, if it is larger than [`MAX_PAYLOAD_BYTES`], nested deeper than
/// [`MAX_PAYLOAD_DEPTH`], or holds NaN, an infinity, or a value without a kind.
pub fn from_struct(object: Struct, field: &dyn Display) -> Result<Payload, Error> {
    let bytes = object.encoded_len();
    if bytes > MAX_PAYLOAD_BYTES {
        return Err(Error::invalid(
            field.to_string(),
            format!("a payload has at most {MAX_PAYLOAD_BYTES} bytes, this one has {bytes}"),
        ));
    }
    object_from(object, 1).map_err(|invalid| {
        let path: String = invalid.path.iter().rev().map(String::as_str).collect();
        Error::invalid(format!("{field}{path}"), invalid.why)
    })
}

/// Converts the payload of a message: its JSON text if present, else its `Struct`; `field` is the path of the `Struct`.
///
/// # Errors
/// As [`from_struct`]; [`Error::Invalid`] naming the text if it is not a JSON object, larger than
/// [`MAX_PAYLOAD_BYTES`], or holds an integer of more than 64 bits.
pub fn from_wire(object: Option<Struct>, json: &str, field: &dyn Display) -> Result<Payload, Error> {
    if json.is_empty() {
        return object.map_or_else(|| Ok(Payload::new()), |object| from_struct(object, field));
    }
    let invalid = |why: String| Error::invalid(format!("{field}_json"), why);
    if json.len() > MAX_PAYLOAD_BYTES {
        return Err(invalid(format!("takes at most {MAX_PAYLOAD_BYTES} bytes, got {}", json.len())));
    }
    let payload = serde_json::from_str(json).map_err(|error| invalid(format!("is not a JSON object: {error}")))?;
    match inexact_integer(json) {
        None => Ok(payload),
        Some(digits) => {
            let digits = &digits[..digits.len().min(40)];
            Err(invalid(format!(
                "the integer {digits} has more than 64 bits; give it as a string, or as a decimal number"
            )))
        }
    }
}

/// Returns the first integer of a JSON text with more than 64 bits, which parsing would round to a double.
pub(crate) fn inexact_integer(json: &str) -> Option<&str> {
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[at..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = text;
            // Skip to the end of the string.
            while let Some(at) = rest.find(['"', '\\']) {
                let escaped = rest[at..].starts_with('\\');
                rest = &rest[at + 1..];
                if !escaped {
                    break;
                }
                rest = rest.get(1..).unwrap_or_default();
            }
            continue;
        }
        let end = rest.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        rest = after;
        let integer = !number.contains(['.', 'e', 'E']);
        if integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
            return Some(number);
        }
    }
    None
}

/// An invalid value: its path, innermost step first, and the reason.
struct InvalidValue {
    path: Vec<String>,
    why: String,
}

impl InvalidValue {
    fn new(why: impl Into<String>) -> Self {
        Self { path: Vec::new(), why: why.into() }
    }

    fn inside(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }
}

fn object_from(object: Struct, depth: usize) -> Result<Payload, InvalidValue> {
    check_depth(depth)?;
    object
        .fields
        .into_iter()
        .map(|(name, value)| match value_from(value, depth) {
            Ok(value) => Ok((name, value)),
            Err(invalid) => Err(invalid.inside(format!(".{}", name.chars().take(80).collect::<String>()))),
        })
        .collect()
}

fn check_depth(depth: usize) -> Result<(), InvalidValue> {
    if depth > MAX_PAYLOAD_DEPTH {
        return Err(InvalidValue::new(format!("a payload nests at most {MAX_PAYLOAD_DEPTH} objects and lists")));
    }
    Ok(())
}

fn value_from(value: Value, depth: usize) -> Result<Json, InvalidValue> {
    Ok(match value.kind {
        None => return Err(InvalidValue::new("has no value; null is a kind of value")),
        Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(value),
        Some(Kind::StringValue(value)) => Json::String(value),
        Some(Kind::NumberValue(value)) => number_from(value)?,
        Some(Kind::StructValue(object)) => Json::Object(object_from(object, depth + 1)?),
        Some(Kind::ListValue(list)) => {
            check_depth(depth + 1)?;
            let values = list.values.into_iter().enumerate().map(|(path, value)| {
                value_from(value, depth + 1).map_err(|invalid| invalid.inside(format!("[{path}]")))
            });
            Json::Array(values.collect::<Result<_, _>>()?)
        }
    })
}

fn number_from(value: f64) -> Result<Json, InvalidValue> {
    let whole = value.fract() == 0.0 && value.abs() <= MAX_SAFE && !(value == 0.0 && value.is_sign_negative());
    if whole {
        return Ok(Json::from(value as i64));
    }
    serde_json::Number::from_f64(value)
        .map(Json::Number)
        .ok_or_else(|| InvalidValue::new(format!("is {value}; numbers are finite")))
}

/// Converts a JSON object to a `Struct`, for responses. Values nested deeper than [`MAX_PAYLOAD_DEPTH`] become JSON
/// text, since no client could read them otherwise; send [`exact_json`] along. Build requests from [`exact_json`], or
/// from the JSON text alone.
pub fn to_struct(object: Payload) -> Struct {
    object_to(object, 1)
}

/// Returns the JSON text of a payload that its `Struct` cannot represent exactly; empty for any other payload.
pub fn exact_json(payload: &Payload) -> String {
    if payload.values().all(|value| is_exact(value, 1)) {
        return String::new();
    }
    serde_json::to_string(payload).unwrap_or_default()
}

/// Whether a value within `depth` objects and lists survives the conversion to a `Struct`.
fn is_exact(value: &Json, depth: usize) -> bool {
    match value {
        Json::Null | Json::Bool(_) | Json::String(_) => true,
        Json::Number(number) if number.is_f64() => {
            number.as_f64().and_then(|double| number_from(double).ok()).is_some_and(|back| back == *value)
        }
        Json::Number(number) => rounded_integer(number).is_none(),
        Json::Array(_) | Json::Object(_) if depth >= MAX_PAYLOAD_DEPTH => false,
        Json::Array(values) => values.iter().all(|value| is_exact(value, depth + 1)),
        Json::Object(fields) => fields.values().all(|value| is_exact(value, depth + 1)),
    }
}

/// Returns the digits of an integer beyond 2^53.
pub(crate) fn rounded_integer(number: &serde_json::Number) -> Option<String> {
    let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs))?;
    (magnitude > MAX_SAFE as u64).then(|| number.to_string())
}

/// Returns the encoded length of a message in a field whose number is below 16.
pub(crate) fn field_len(message: usize) -> usize {
    1 + encoded_len_varint(message as u64) + message
}

/// Returns the encoded length of [`to_struct`] of the payload.
pub(crate) fn encoded_len(payload: &Payload) -> usize {
    object_len(payload, 1)
}

fn object_len(object: &Payload, depth: usize) -> usize {
    let entry = |(name, value): (&String, &Json)| {
        let name = if name.is_empty() { 0 } else { field_len(name.len()) };
        field_len(name + field_len(value_len(value, depth)))
    };
    object.iter().map(entry).sum()
}

fn value_len(value: &Json, depth: usize) -> usize {
    match value {
        Json::Null | Json::Bool(_) => 2,
        Json::Number(_) => 9,
        Json::String(text) => field_len(text.len()),
        deep @ (Json::Object(_) | Json::Array(_)) if depth >= MAX_PAYLOAD_DEPTH => field_len(deep.to_string().len()),
        Json::Object(object) => field_len(object_len(object, depth + 1)),
        Json::Array(values) => {
            field_len(values.iter().map(|value| field_len(value_len(value, depth + 1))).sum::<usize>())
        }
    }
}

fn object_to(object: Payload, depth: usize) -> Struct {
    Struct { fields: object.into_iter().map(|(name, value)| (name, value_to(value, depth))).collect() }
}

/// Converts a JSON value that is neither an object nor a list.
pub(crate) fn to_value(value: Json) -> Value {
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

    /// A field of nested lists, the innermost empty.
    fn nested_lists(depth: usize) -> Json {
        let innermost = json!([]);
        json!({ "deep": (1..depth).fold(innermost, |value, _| json!([value])) })
    }

    #[track_caller]
    fn refused(payload: Struct, path: &str) -> String {
        match from_struct(payload, &"payload") {
            Err(Error::Invalid { field, why }) => {
                assert_eq!(field, path);
                why
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_struct_converts_back_to_the_same_payload() {
        let payload = object(json!({
            "a": null, "b": true, "c": "text", "d": -3, "e": 2.5, "f": [1, [2, {"g": "ä"}], {}], "": {}, "big": 9007199254740991i64
        }));
        assert_eq!(from_struct(to_struct(payload.clone()), &"payload").expect("valid"), payload);
    }

    #[test]
    fn encoded_len_is_the_encoded_length() {
        for payload in [
            json!({}),
            json!({ "": "", "a": null, "b": true, "c": "ä".repeat(100), "d": [1, [], [0.5, "x"]], "e": { "f": {} } }),
            json!({ "n": u64::MAX, "m": i64::MIN, "long": "x".repeat(20_000), "many": vec![json!({ "a": 1 }); 300] }),
            nested(MAX_PAYLOAD_DEPTH + 3).into(),
        ] {
            let payload = object(payload);
            assert_eq!(encoded_len(&payload), to_struct(payload.clone()).encoded_len(), "{payload:?}");
        }
    }

    #[test]
    fn a_payload_that_a_struct_cannot_represent_is_sent_as_text() {
        let exact = |value: Json| exact_json(&object(value));
        for plain in [json!({}), json!({ "a": 1u64 << 53, "b": -(1i64 << 53), "c": [1e300, 0.5, "9007199254740993"] })]
        {
            assert_eq!(exact(plain), "");
        }
        assert_eq!(exact(nested_lists(MAX_PAYLOAD_DEPTH - 1)), "", "a Struct holds them");
        for payload in [
            json!({ "n": 9_007_199_254_740_993i64 }),
            json!({ "a": [{ "n": i64::MIN }], "b": 1.0 }),
            json!({ "n": u64::MAX, "s": "\\\"12345678901234567890123" }),
            json!({ "whole": 1.0 }),
            nested_lists(MAX_PAYLOAD_DEPTH),
        ] {
            let payload = object(payload);
            let text = exact_json(&payload);
            assert!(!text.is_empty(), "{payload:?}");
            let back = from_wire(Some(to_struct(payload.clone())), &text, &"payload").expect("valid");
            assert_eq!(back, payload, "{text}");
            assert_eq!(from_wire(None, &text, &"payload").expect("valid"), payload);
        }
        assert_eq!(from_wire(None, "", &"payload").expect("valid"), Payload::new());
        for (invalid, part) in [
            ("[1]", "not a JSON object"),
            ("{\"a\":", "not a JSON object"),
            ("{\"a\": 18446744073709551616}", "18446744073709551616"),
            ("{\"a\": [\"\\\\\", -9223372036854775809]}", "-9223372036854775809"),
            (&format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_PAYLOAD_BYTES)), "at most 1048576"),
        ] {
            match from_wire(None, invalid, &"items[0].payload") {
                Err(Error::Invalid { field, why }) => {
                    assert_eq!(field, "items[0].payload_json");
                    assert!(why.contains(part), "{why}");
                }
                other => panic!("{other:?}"),
            }
        }
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
        let path = format!("payload.x{}", "[0]".repeat(MAX_PAYLOAD_DEPTH - 1));
        assert!(refused(Struct { fields: [("x".to_owned(), deep)].into() }, &path).contains("at most 32"));
    }

    #[test]
    fn errors_name_the_invalid_value() {
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
