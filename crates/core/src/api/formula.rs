//! Scores computed from those of a query and from payloads.

use super::{Error, Filter, GeoPoint, Timestamp, check_path};

/// Maximum parts of a formula.
pub const MAX_FORMULA_NODES: usize = 1_000;
/// Maximum nesting depth of a formula.
pub const MAX_FORMULA_DEPTH: usize = 16;
/// Maximum conditions of a formula; each is a filter.
pub const MAX_FORMULA_CONDITIONS: usize = 64;

/// A formula for the score of a point, evaluated over the best candidates of a query, which are then ordered by the
/// result.
///
/// ```
/// use nearness_core::prelude::*;
///
/// // The score, plus up to 0.5 for recent points.
/// let age = Decay::time("published", Timestamp::parse("2024-05-01").unwrap()).scale(30.0 * 86_400.0).default(0.0);
/// let formula = Expression::Sum(vec![
///     Expression::Score,
///     Expression::Product(vec![Expression::Constant(0.5), Expression::from(age)]),
/// ]);
/// let params = SearchParams::new(10).formula(Formula::new(formula));
/// # assert!(params.formula.is_some());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Formula {
    /// The expression.
    pub expression: Expression,
    /// Number of candidates to evaluate, k to 10,000; 0 for the larger of 100 and 4 * k.
    pub candidates: u32,
}

/// An expression, computed in f64. The value of the whole must be a finite f32 for each candidate, otherwise the search
/// fails and names the point; parts may be infinite.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Expression {
    /// A number.
    Constant(f64),
    /// The score of the candidate.
    Score,
    /// The first number at a path of the payload.
    Number {
        /// The path.
        field: String,
        /// Value for points without a number there; none to fail.
        default: Option<f64>,
    },
    /// 1 for points that match, otherwise 0.
    Condition(Filter),
    /// The sum of expressions.
    Sum(Vec<Expression>),
    /// The product of expressions.
    Product(Vec<Expression>),
    /// The negated value.
    Negate(Box<Expression>),
    /// The absolute value.
    Abs(Box<Expression>),
    /// The square root.
    Sqrt(Box<Expression>),
    /// The natural logarithm.
    Ln(Box<Expression>),
    /// The decimal logarithm.
    Log10(Box<Expression>),
    /// e to the power of the value.
    Exp(Box<Expression>),
    /// A power.
    Power {
        /// The base.
        base: Box<Expression>,
        /// The exponent.
        exponent: Box<Expression>,
    },
    /// A quotient.
    Quotient {
        /// The dividend.
        dividend: Box<Expression>,
        /// The divisor.
        divisor: Box<Expression>,
        /// Value for a divisor of 0; none for that of IEEE 754, which is infinite or NaN.
        if_zero: Option<f64>,
    },
    /// A value that falls from 1 with the distance from a target.
    Decay(Box<Decay>),
}

/// How a decay falls, as a function of the distance d in units of its scale. Each is 1 at the target and `midpoint` at
/// d = 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecayShape {
    /// 1 - (1 - midpoint) * d, at least 0.
    Linear,
    /// midpoint ^ d.
    Exponential,
    /// midpoint ^ (d * d).
    #[default]
    Gaussian,
}

/// What a decay measures the distance of.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DecayOf {
    /// A value from a target.
    Value {
        /// The value.
        value: Expression,
        /// The target.
        target: f64,
    },
    /// The first time at a path of the payload, from a target, in seconds.
    Time {
        /// The path.
        field: String,
        /// The target.
        target: Timestamp,
    },
    /// The first point on the earth at a path of the payload, from a target, in metres.
    Place {
        /// The path.
        field: String,
        /// The target.
        target: GeoPoint,
    },
}

/// A value that falls from 1 with the distance from a target.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decay {
    /// How it falls.
    pub shape: DecayShape,
    /// What is measured.
    pub of: DecayOf,
    /// Distance at which the decay is `midpoint`, above 0: in units of the value, seconds or metres.
    pub scale: f64,
    /// Value at that distance, between 0 and 1.
    pub midpoint: f64,
    /// Value for points without a time or place; none to fail.
    pub default: Option<f64>,
}

impl Formula {
    /// This expression, over the default number of candidates.
    pub const fn new(expression: Expression) -> Self {
        Self { expression, candidates: 0 }
    }

    /// Sets the number of candidates to evaluate.
    pub const fn candidates(mut self, candidates: u32) -> Self {
        self.candidates = candidates;
        self
    }

    /// Returns conditions whose fields are those of the formula.
    pub fn filters(&self) -> Vec<Filter> {
        let mut filters = Vec::new();
        self.expression.for_each(&mut |part| match part {
            Expression::Number { field, .. } => filters.push(Filter::exists(field)),
            Expression::Condition(filter) => filters.push(filter.clone()),
            Expression::Decay(decay) => match &decay.of {
                DecayOf::Value { .. } => {}
                DecayOf::Time { field, .. } | DecayOf::Place { field, .. } => filters.push(Filter::exists(field)),
            },
            _ => {}
        });
        filters
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let mut limits = Limits { nodes: MAX_FORMULA_NODES, conditions: MAX_FORMULA_CONDITIONS };
        self.expression.check("params.formula.expression", 0, &mut limits)
    }
}

impl Decay {
    fn new(of: DecayOf) -> Self {
        Self { shape: DecayShape::default(), of, scale: 1.0, midpoint: 0.5, default: None }
    }

    /// A Gaussian decay of a value, by half at a distance of 1.
    pub fn value(value: Expression, target: f64) -> Self {
        Self::new(DecayOf::Value { value, target })
    }

    /// A Gaussian decay of a time, by half at a distance of a second.
    pub fn time(field: impl Into<String>, target: Timestamp) -> Self {
        Self::new(DecayOf::Time { field: field.into(), target })
    }

    /// A Gaussian decay of a place, by half at a distance of a metre.
    pub fn place(field: impl Into<String>, target: GeoPoint) -> Self {
        Self::new(DecayOf::Place { field: field.into(), target })
    }

    /// Sets how it falls.
    pub const fn shape(mut self, shape: DecayShape) -> Self {
        self.shape = shape;
        self
    }

    /// Sets the distance at which the decay is the midpoint.
    pub const fn scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// Sets the value at that distance.
    pub const fn midpoint(mut self, midpoint: f64) -> Self {
        self.midpoint = midpoint;
        self
    }

    /// Sets the value for points without a time or place.
    pub const fn default(mut self, default: f64) -> Self {
        self.default = Some(default);
        self
    }
}

impl From<Decay> for Expression {
    fn from(decay: Decay) -> Self {
        Self::Decay(Box::new(decay))
    }
}

/// What is left of the limits.
struct Limits {
    nodes: usize,
    conditions: usize,
}

impl Expression {
    /// Calls `each` with this expression and all inside it.
    fn for_each<'e>(&'e self, each: &mut dyn FnMut(&'e Self)) {
        each(self);
        match self {
            Self::Constant(_) | Self::Score | Self::Number { .. } | Self::Condition(_) => {}
            Self::Sum(parts) | Self::Product(parts) => parts.iter().for_each(|part| part.for_each(each)),
            Self::Negate(part)
            | Self::Abs(part)
            | Self::Sqrt(part)
            | Self::Ln(part)
            | Self::Log10(part)
            | Self::Exp(part) => part.for_each(each),
            Self::Power { base: a, exponent: b } | Self::Quotient { dividend: a, divisor: b, .. } => {
                a.for_each(each);
                b.for_each(each);
            }
            Self::Decay(decay) => {
                if let DecayOf::Value { value, .. } = &decay.of {
                    value.for_each(each);
                }
            }
        }
    }

    fn check(&self, at: &str, depth: usize, limits: &mut Limits) -> Result<(), Error> {
        if depth == MAX_FORMULA_DEPTH {
            let why = format!("nests deeper than {MAX_FORMULA_DEPTH} levels");
            return Err(Error::invalid("params.formula.expression", why));
        }
        limits.nodes = limits.nodes.checked_sub(1).ok_or_else(|| {
            Error::invalid("params.formula.expression", format!("has more than {MAX_FORMULA_NODES} parts"))
        })?;
        let mut inside = |name: &str, part: &Self| part.check(&format!("{at}.{name}"), depth + 1, limits);
        match self {
            Self::Constant(number) => finite(at, "constant", Some(*number)),
            Self::Score => Ok(()),
            Self::Number { field, default } => {
                check_path(&format!("{at}.number.field"), field)?;
                finite(at, "number.default", *default)
            }
            Self::Condition(filter) => {
                let at = format!("{at}.condition");
                limits.conditions = limits.conditions.checked_sub(1).ok_or_else(|| {
                    Error::invalid(at.as_str(), format!("a formula has at most {MAX_FORMULA_CONDITIONS} conditions"))
                })?;
                filter.check(&at)
            }
            Self::Sum(parts) | Self::Product(parts) => {
                let name = if matches!(self, Self::Sum(_)) { "sum" } else { "product" };
                if parts.is_empty() {
                    return Err(Error::invalid(format!("{at}.{name}"), "is empty; give at least one expression"));
                }
                parts.iter().enumerate().try_for_each(|(index, part)| inside(&format!("{name}[{index}]"), part))
            }
            Self::Negate(part) => inside("negate", part),
            Self::Abs(part) => inside("abs", part),
            Self::Sqrt(part) => inside("sqrt", part),
            Self::Ln(part) => inside("ln", part),
            Self::Log10(part) => inside("log10", part),
            Self::Exp(part) => inside("exp", part),
            Self::Power { base, exponent } => {
                inside("power.base", base)?;
                inside("power.exponent", exponent)
            }
            Self::Quotient { dividend, divisor, if_zero } => {
                finite(at, "quotient.if_zero", *if_zero)?;
                inside("quotient.dividend", dividend)?;
                inside("quotient.divisor", divisor)
            }
            Self::Decay(decay) => {
                let Decay { of, scale, midpoint, default, .. } = &**decay;
                if !(*scale > 0.0 && scale.is_finite()) {
                    return Err(Error::invalid(format!("{at}.decay.scale"), format!("must be above 0, got {scale}")));
                }
                if !(*midpoint > 0.0 && *midpoint < 1.0) {
                    let why = format!("must be above 0 and below 1, got {midpoint}");
                    return Err(Error::invalid(format!("{at}.decay.midpoint"), why));
                }
                finite(at, "decay.default", *default)?;
                match of {
                    DecayOf::Value { value, target } => {
                        finite(at, "decay.value.target", Some(*target))?;
                        inside("decay.value.of", value)
                    }
                    DecayOf::Time { field, .. } => check_path(&format!("{at}.decay.time.field"), field),
                    DecayOf::Place { field, target } => {
                        check_path(&format!("{at}.decay.place.field"), field)?;
                        target.check(&format!("{at}.decay.place.target"))
                    }
                }
            }
        }
    }
}

fn finite(at: &str, name: &str, number: Option<f64>) -> Result<(), Error> {
    match number {
        Some(number) if !number.is_finite() => {
            Err(Error::invalid(format!("{at}.{name}"), format!("is {number}; numbers are finite")))
        }
        _ => Ok(()),
    }
}
