//! Evaluation of formulas over candidates.

use crate::api::{CancellationToken, Decay, DecayOf, DecayShape, Error, Expression, Fields, Payload};
use crate::collection::search::{Candidate, sort_nearest};
use crate::collection::state::Collection;
use crate::payload;
use crate::types::PointId;

const PAYLOAD: Fields = Fields { payload: true, vector: false };
/// Microseconds of a second.
const SECOND: f64 = 1e6;

/// The point that a formula is evaluated for.
struct Inputs<'a> {
    id: &'a PointId,
    payload: &'a Payload,
    score: f64,
}

impl Collection {
    /// Orders candidates by the values of a formula, which become their scores. `score` is that for a distance.
    pub(super) fn rank_by_formula(
        &self,
        expression: &Expression,
        candidates: &mut [Candidate<'_>],
        score: &dyn Fn(f32) -> f32,
    ) -> Result<(), Error> {
        let stop = CancellationToken::current();
        for candidate in &mut *candidates {
            stop.check()?;
            candidate.distance = -self.formula_value(expression, candidate, score(candidate.distance))?;
        }
        sort_nearest(candidates);
        Ok(())
    }

    /// Returns the value of a formula for a point with this score.
    pub(super) fn formula_value(
        &self,
        expression: &Expression,
        candidate: &Candidate<'_>,
        score: f32,
    ) -> Result<f32, Error> {
        let payload = self.point_of(candidate, PAYLOAD)?.payload.unwrap_or_default();
        let value = expression.value(&Inputs { id: &candidate.id, payload: &payload, score: score.into() })?;
        if (value as f32).is_finite() {
            return Ok(value as f32);
        }
        let id = candidate.id.as_str();
        let why = format!("is {value} for the point {id:?} with the score {score}; the value must be a finite f32");
        Err(Error::invalid("params.formula", why))
    }
}

impl Expression {
    fn value(&self, inputs: &Inputs<'_>) -> Result<f64, Error> {
        let of = |part: &Self| part.value(inputs);
        Ok(match self {
            Self::Constant(number) => *number,
            Self::Score => inputs.score,
            Self::Number { field, default } => payload::number_at(inputs.payload, field)
                .map_or_else(|| inputs.missing("number", field, *default), Ok)?,
            Self::Condition(filter) => f64::from(u8::from(filter.matches(inputs.id, inputs.payload))),
            Self::Sum(parts) => parts.iter().try_fold(0.0, |sum, part| Ok::<_, Error>(sum + of(part)?))?,
            Self::Product(parts) => parts.iter().try_fold(1.0, |product, part| Ok::<_, Error>(product * of(part)?))?,
            Self::Negate(part) => -of(part)?,
            Self::Abs(part) => of(part)?.abs(),
            Self::Sqrt(part) => of(part)?.sqrt(),
            Self::Ln(part) => of(part)?.ln(),
            Self::Log10(part) => of(part)?.log10(),
            Self::Exp(part) => of(part)?.exp(),
            Self::Power { base, exponent } => of(base)?.powf(of(exponent)?),
            Self::Quotient { dividend, divisor, if_zero } => match (of(dividend)?, of(divisor)?, if_zero) {
                (_, 0.0, Some(value)) => *value,
                (dividend, divisor, _) => dividend / divisor,
            },
            Self::Decay(decay) => decay.value_for(inputs)?,
        })
    }
}

impl Decay {
    fn value_for(&self, inputs: &Inputs<'_>) -> Result<f64, Error> {
        let (distance, kind, field) = match &self.of {
            DecayOf::Value { value, target } => (Some(value.value(inputs)? - target), "value", ""),
            DecayOf::Time { field, target } => {
                let time = payload::time_at(inputs.payload, field);
                let seconds = time.map(|time| (time.micros() - target.micros()) as f64 / SECOND);
                (seconds, "time", field.as_str())
            }
            DecayOf::Place { field, target } => {
                (payload::meters_from(inputs.payload, field, *target), "place", field.as_str())
            }
        };
        let Some(distance) = distance else { return inputs.missing(kind, field, self.default) };
        let units = distance.abs() / self.scale;
        Ok(match self.shape {
            DecayShape::Linear => (1.0 - (1.0 - self.midpoint) * units).max(0.0),
            DecayShape::Exponential => self.midpoint.powf(units),
            DecayShape::Gaussian => self.midpoint.powf(units * units),
        })
    }
}

impl Inputs<'_> {
    /// Returns the default for a missing value.
    fn missing(&self, kind: &str, field: &str, default: Option<f64>) -> Result<f64, Error> {
        default.ok_or_else(|| {
            let id = self.id.as_str();
            let why = format!("the point {id:?} has no {kind} at {field:?}; set a default, or filter such points out");
            Error::invalid("params.formula", why)
        })
    }
}
