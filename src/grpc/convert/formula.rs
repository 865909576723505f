//! Conversion of formulas. The engine checks limits, paths and numbers.

use super::filter;
use crate::api::{Decay, DecayShape, Error, Expression, Filter, Formula, GeoPoint, Timestamp};
use crate::grpc::pb;

pub(super) fn formula(given: pb::Formula) -> Result<Formula, Error> {
    let expression = required("params.formula.expression", given.expression)?;
    Ok(Formula::new(expression).candidates(given.candidates))
}

fn required(at: &str, given: Option<pb::Expression>) -> Result<Expression, Error> {
    expression(at, given.unwrap_or_default())
}

/// `at` is the path of the expression. The decoder limits the depth.
fn expression(at: &str, given: pb::Expression) -> Result<Expression, Error> {
    use pb::expression::Form;
    let inside = |name: &str, given: Option<Box<pb::Expression>>| {
        required(&format!("{at}.{name}"), given.map(|given| *given)).map(Box::new)
    };
    let list = |name: &str, given: pb::Expressions| {
        let each = given.expressions.into_iter().enumerate();
        each.map(|(index, one)| expression(&format!("{at}.{name}[{index}]"), one)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match given.form {
        None | Some(Form::Score(false)) => {
            let why = "is empty; give constant, score, number, condition, sum, product, negate, abs, sqrt, ln, log10, \
                       exp, power, quotient or decay";
            return Err(Error::invalid(at, why));
        }
        Some(Form::Constant(number)) => Expression::Constant(number),
        Some(Form::Score(true)) => Expression::Score,
        Some(Form::Number(pb::PayloadNumber { field, default })) => Expression::Number { field, default },
        Some(Form::Condition(given)) => Expression::Condition(condition(&format!("{at}.condition"), given)?),
        Some(Form::Sum(parts)) => Expression::Sum(list("sum", parts)?),
        Some(Form::Product(parts)) => Expression::Product(list("product", parts)?),
        Some(Form::Negate(part)) => Expression::Negate(inside("negate", Some(part))?),
        Some(Form::Abs(part)) => Expression::Abs(inside("abs", Some(part))?),
        Some(Form::Sqrt(part)) => Expression::Sqrt(inside("sqrt", Some(part))?),
        Some(Form::Ln(part)) => Expression::Ln(inside("ln", Some(part))?),
        Some(Form::Log10(part)) => Expression::Log10(inside("log10", Some(part))?),
        Some(Form::Exp(part)) => Expression::Exp(inside("exp", Some(part))?),
        Some(Form::Power(power)) => Expression::Power {
            base: inside("power.base", power.base)?,
            exponent: inside("power.exponent", power.exponent)?,
        },
        Some(Form::Quotient(quotient)) => Expression::Quotient {
            dividend: inside("quotient.dividend", quotient.dividend)?,
            divisor: inside("quotient.divisor", quotient.divisor)?,
            if_zero: quotient.if_zero,
        },
        Some(Form::Decay(given)) => decay(&format!("{at}.decay"), *given)?.into(),
    })
}

fn condition(at: &str, given: pb::Filter) -> Result<Filter, Error> {
    filter::filter(at, Some(given))?.ok_or_else(|| Error::invalid(at, "is missing"))
}

fn decay(at: &str, given: pb::Decay) -> Result<Decay, Error> {
    use pb::decay::{Of, Shape};
    let shape = match Shape::try_from(given.shape) {
        Ok(Shape::Unspecified | Shape::Gaussian) => DecayShape::Gaussian,
        Ok(Shape::Linear) => DecayShape::Linear,
        Ok(Shape::Exponential) => DecayShape::Exponential,
        Err(_) => return Err(Error::invalid(format!("{at}.shape"), format!("{} is none", given.shape))),
    };
    let mut decay = match given.of {
        None => return Err(Error::invalid(at, "give a value, a time or a place")),
        Some(Of::Value(value)) => {
            let pb::DecayValue { of, target } = *value;
            Decay::value(required(&format!("{at}.value.of"), of.map(|of| *of))?, target)
        }
        Some(Of::Time(pb::DecayTime { field, target })) => {
            let time = Timestamp::parse(&target).ok_or_else(|| {
                let begin: String = target.chars().take(40).collect();
                let why = format!("is {begin:?}; give a date or a time such as 2024-05-01T12:00:00+02:00 (RFC 3339)");
                Error::invalid(format!("{at}.time.target"), why)
            })?;
            Decay::time(field, time)
        }
        Some(Of::Place(pb::DecayPlace { field, target })) => {
            let Some(pb::GeoPoint { lat, lon }) = target else {
                return Err(Error::invalid(format!("{at}.place.target"), "is missing"));
            };
            Decay::place(field, GeoPoint { lat, lon })
        }
    };
    decay = decay.shape(shape).scale(given.scale);
    decay = given.midpoint.map_or(decay.clone(), |midpoint| decay.midpoint(midpoint));
    Ok(given.default.map_or(decay.clone(), |default| decay.default(default)))
}
