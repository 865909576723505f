//! The `--formula` flag: an expression for the score of a point, as JSON.

use super::filter;
use crate::grpc::pb;
use pb::expression::Form;
use serde_json::{Map, Value};

const FORMS: &str = "an expression is a number, \"score\", or an object with one of field, condition, sum, product, \
                     negate, abs, sqrt, ln, log10, exp, power, quotient, decay";

/// Parses an expression from JSON. Limits are left to the server.
pub(crate) fn parse(text: &str) -> Result<pb::Expression, String> {
    expression(&serde_json::from_str(text).map_err(|error| error.to_string())?)
}

fn expression(value: &Value) -> Result<pb::Expression, String> {
    let form = match value {
        Value::Number(number) => Form::Constant(number.as_f64().ok_or_else(|| format!("{number} is too large"))?),
        Value::String(name) if name == "score" => Form::Score(true),
        Value::Object(object) => form(object)?,
        other => return Err(format!("{other} is no expression; {FORMS}")),
    };
    Ok(pb::Expression { form: Some(form) })
}

fn form(object: &Map<String, Value>) -> Result<Form, String> {
    const NAMES: [&str; 13] = [
        "field",
        "condition",
        "sum",
        "product",
        "negate",
        "abs",
        "sqrt",
        "ln",
        "log10",
        "exp",
        "power",
        "quotient",
        "decay",
    ];
    let mut named = NAMES.into_iter().filter_map(|name| object.get(name).map(|value| (name, value)));
    let (Some((name, value)), decays) = (named.next(), object.contains_key("decay")) else {
        return Err(FORMS.into());
    };
    if decays {
        return decay(object).map(|decay| Form::Decay(Box::new(decay)));
    }
    let optional: &[&str] = match name {
        "field" => &["default"],
        "quotient" => &["if_zero"],
        _ => &[],
    };
    only(object, &[&[name], optional].concat())?;
    let boxed = || expression(value).map(Box::new);
    Ok(match name {
        "field" => Form::Number(pb::PayloadNumber { field: text(name, value)?, default: number(object, "default")? }),
        "condition" => Form::Condition(filter::parse(&value.to_string())?),
        "sum" => Form::Sum(expressions(name, value)?),
        "product" => Form::Product(expressions(name, value)?),
        "negate" => Form::Negate(boxed()?),
        "abs" => Form::Abs(boxed()?),
        "sqrt" => Form::Sqrt(boxed()?),
        "ln" => Form::Ln(boxed()?),
        "log10" => Form::Log10(boxed()?),
        "exp" => Form::Exp(boxed()?),
        "power" => {
            let [base, exponent] = two(name, value)?;
            Form::Power(Box::new(pb::Power { base, exponent }))
        }
        _ => {
            let [dividend, divisor] = two(name, value)?;
            let if_zero = number(object, "if_zero")?;
            Form::Quotient(Box::new(pb::Quotient { dividend, divisor, if_zero }))
        }
    })
}

/// Parses `{"decay": SHAPE, "of": EXPRESSION | "time": FIELD | "place": FIELD, "target": ..., "scale": ...}`.
fn decay(object: &Map<String, Value>) -> Result<pb::Decay, String> {
    use pb::decay::{Of, Shape};
    only(object, &["decay", "of", "time", "place", "target", "scale", "midpoint", "default"])?;
    let shape = match object.get("decay").and_then(Value::as_str) {
        Some("linear") => Shape::Linear,
        Some("exponential") => Shape::Exponential,
        Some("gaussian") => Shape::Gaussian,
        _ => return Err("decay is \"linear\", \"exponential\" or \"gaussian\"".into()),
    };
    let target = object.get("target");
    let of = match (object.get("of"), object.get("time"), object.get("place")) {
        (Some(of), None, None) => {
            let target = number(object, "target")?.ok_or("give a target")?;
            Of::Value(Box::new(pb::DecayValue { of: Some(Box::new(expression(of)?)), target }))
        }
        (None, Some(field), None) => {
            let target = text("target", target.ok_or("give a target")?)?;
            Of::Time(pb::DecayTime { field: text("time", field)?, target })
        }
        (None, None, Some(field)) => {
            let degrees = |name: &str| target.and_then(|target| target.get(name)).and_then(Value::as_f64);
            let (Some(lat), Some(lon)) = (degrees("lat"), degrees("lon")) else {
                return Err("the target of a place is an object with the numbers \"lat\" and \"lon\"".into());
            };
            Of::Place(pb::DecayPlace { field: text("place", field)?, target: Some(pb::GeoPoint { lat, lon }) })
        }
        _ => return Err("a decay has one of \"of\", \"time\" and \"place\"".into()),
    };
    Ok(pb::Decay {
        shape: shape.into(),
        of: Some(of),
        scale: number(object, "scale")?.ok_or("give the scale of a decay")?,
        midpoint: number(object, "midpoint")?,
        default: number(object, "default")?,
    })
}

fn only(object: &Map<String, Value>, allowed: &[&str]) -> Result<(), String> {
    match object.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(key) => Err(format!("{key:?} does not belong there: allowed are {}", allowed.join(", "))),
        None => Ok(()),
    }
}

fn text(name: &str, value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{name} is {value}; give a text"))
}

fn number(object: &Map<String, Value>, name: &str) -> Result<Option<f64>, String> {
    let number = |value: &Value| value.as_f64().ok_or_else(|| format!("{name} is {value}; give a number"));
    object.get(name).map(number).transpose()
}

fn list<'v>(name: &str, value: &'v Value) -> Result<&'v [Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| format!("{name} is {value}; give a list of expressions"))
}

fn expressions(name: &str, value: &Value) -> Result<pb::Expressions, String> {
    let expressions = list(name, value)?.iter().map(expression).collect::<Result<_, _>>()?;
    Ok(pb::Expressions { expressions })
}

fn two(name: &str, value: &Value) -> Result<[Option<Box<pb::Expression>>; 2], String> {
    match list(name, value)? {
        [a, b] => Ok([Some(Box::new(expression(a)?)), Some(Box::new(expression(b)?))]),
        _ => Err(format!("{name} takes a list of two expressions")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_parsed() {
        let text = r#"{"sum": ["score", {"product": [0.5, {"field": "stars", "default": 1}]},
            {"decay": "linear", "time": "at", "target": "2024-05-01", "scale": 60, "midpoint": 0.1, "default": 0},
            {"decay": "gaussian", "of": {"field": "x"}, "target": 3, "scale": 2},
            {"decay": "exponential", "place": "where", "target": {"lat": 1, "lon": 2}, "scale": 1000},
            {"quotient": [1, {"negate": {"abs": "score"}}], "if_zero": 0}, {"power": [2, "score"]},
            {"condition": {"field": "kind", "equals": "a"}}]}"#;
        let Some(Form::Sum(sum)) = parse(text).expect("valid").form else { panic!("no sum") };
        assert_eq!(sum.expressions.len(), 8);
        let Some(Form::Decay(decay)) = &sum.expressions[2].form else { panic!("no decay") };
        assert_eq!((decay.shape(), decay.scale, decay.midpoint), (pb::decay::Shape::Linear, 60.0, Some(0.1)));
        let Some(Form::Quotient(quotient)) = &sum.expressions[5].form else { panic!("no quotient") };
        assert_eq!(quotient.if_zero, Some(0.0));
        for (text, part) in [
            ("[]", "no expression"),
            ("\"scores\"", "no expression"),
            ("{}", "one of field"),
            (r#"{"sum": 1}"#, "list of expressions"),
            (r#"{"sum": [1], "product": [1]}"#, "product"),
            (r#"{"field": "a", "if_zero": 1}"#, "if_zero"),
            (r#"{"power": [1]}"#, "two"),
            (r#"{"decay": "cubic"}"#, "gaussian"),
            (r#"{"decay": "linear", "scale": 1}"#, "one of \"of\""),
            (r#"{"decay": "linear", "of": 1, "target": 1}"#, "scale"),
            (r#"{"condition": {"field": "a"}}"#, "equals"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
