//! Filter conditions on payloads, and their limits.
//!
//! A field is a path of names separated by dots (`author.name`); `matches.rs` defines which values it selects.

use super::{Error, Number};
use std::collections::BTreeSet;

/// Maximum nesting depth of a filter.
pub const MAX_FILTER_DEPTH: usize = 32;
/// Maximum conditions of a filter, including the combining ones.
pub const MAX_FILTER_CONDITIONS: usize = 1_000;
/// Maximum values of one `in`.
pub const MAX_FILTER_VALUES: usize = 10_000;
/// Maximum length of a field path, bytes.
pub const MAX_FIELD_BYTES: usize = 512;

/// A filter: a condition on a payload, or a combination of conditions.
///
/// ```
/// use nearness_core::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let database = Database::open(folder.path())?;
/// # let books = CollectionName::new("books")?;
/// # database.create_collection(&CollectionSpec::vectors(books.clone(), 2))?;
/// let book = |id: &str, year: i64, lent: bool| -> Result<Item, Error> {
///     Ok(Item::vector(PointId::new(id)?, [1.0, year as f32]).field("year", year).field("lent", lent))
/// };
/// database.upsert(&books, vec![book("a", 1851, false)?, book("b", 1922, true)?, book("c", 1949, false)?])?;
///
/// let modern = Filter::range("year", Range { gte: Some(1900.into()), ..Range::default() });
/// let on_the_shelf = Filter::equals("lent", false);
/// let filter = Filter::And(vec![modern, on_the_shelf]);
/// assert_eq!(database.count(&books, Some(&filter))?, 1);
/// // A misspelt field matches nothing; `unknown_fields` returns it.
/// assert_eq!(database.unknown_fields(&books, &Filter::exists("jear"))?, ["jear"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// A value of the field equals this one.
    Equals {
        /// The field.
        field: String,
        /// Value of the same type; 1 equals 1.0.
        value: Scalar,
    },
    /// A value of the field equals one of these.
    In {
        /// The field.
        field: String,
        /// 1 to [`MAX_FILTER_VALUES`].
        values: BTreeSet<Scalar>,
    },
    /// A value of the field lies between bounds: a number, or a string in byte order.
    Range {
        /// The field.
        field: String,
        /// The bounds.
        range: Range,
    },
    /// The field has a value other than null. (An empty list has no value.)
    Exists {
        /// The field.
        field: String,
    },
    /// The field has an object with `lat` and `lon`, in degrees, within a distance.
    GeoRadius {
        /// The field.
        field: String,
        /// Latitude of the centre, -90 to 90.
        lat: f64,
        /// Longitude of the centre, -180 to 180.
        lon: f64,
        /// Radius in metres, above 0, on a sphere of the earth's mean radius.
        meters: f64,
    },
    /// All conditions match. Not empty.
    And(Vec<Filter>),
    /// At least one condition matches. Not empty.
    Or(Vec<Filter>),
    /// The condition does not match. Points without the field match.
    Not(Box<Filter>),
}

/// A value to compare with. Values of different types are never equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar {
    /// True or false.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// Text, compared byte by byte.
    String(String),
}

/// Bounds of one type, number or string: at least one, and at most one per side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Above this.
    pub gt: Option<Scalar>,
    /// This or above.
    pub gte: Option<Scalar>,
    /// Below this.
    pub lt: Option<Scalar>,
    /// This or below.
    pub lte: Option<Scalar>,
}

impl From<bool> for Scalar {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<Number> for Scalar {
    fn from(value: Number) -> Self {
        Self::Number(value)
    }
}
impl From<i64> for Scalar {
    fn from(value: i64) -> Self {
        Self::Number(value.into())
    }
}
impl From<&str> for Scalar {
    fn from(value: &str) -> Self {
        Self::String(value.into())
    }
}
impl From<String> for Scalar {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl Filter {
    /// Matches if a value of `field` equals `value`.
    pub fn equals(field: impl Into<String>, value: impl Into<Scalar>) -> Self {
        Self::Equals { field: field.into(), value: value.into() }
    }

    /// Matches if a value of `field` is one of `values`.
    pub fn among(field: impl Into<String>, values: impl IntoIterator<Item = Scalar>) -> Self {
        Self::In { field: field.into(), values: values.into_iter().collect() }
    }

    /// Matches if `field` has a value.
    pub fn exists(field: impl Into<String>) -> Self {
        Self::Exists { field: field.into() }
    }

    /// Matches if a value of `field` lies in `range`.
    pub fn range(field: impl Into<String>, range: Range) -> Self {
        Self::Range { field: field.into(), range }
    }

    /// Matches if `filter` does not.
    #[allow(clippy::should_implement_trait)] // a constructor, not an operator
    pub fn not(filter: Self) -> Self {
        Self::Not(Box::new(filter))
    }

    /// Returns the fields of all conditions, without duplicates.
    pub fn fields(&self) -> BTreeSet<&str> {
        match self {
            Self::Equals { field, .. }
            | Self::In { field, .. }
            | Self::Range { field, .. }
            | Self::Exists { field }
            | Self::GeoRadius { field, .. } => BTreeSet::from([field.as_str()]),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::fields).collect(),
            Self::Not(part) => part.fields(),
        }
    }

    /// Checks all limits. `at` is the position of the filter in the request.
    ///
    /// # Errors
    /// `InvalidInput` with the invalid part, such as `filter.and[2].range.gte`, and the limit.
    pub fn check(&self, at: &str) -> Result<(), Error> {
        let mut left = MAX_FILTER_CONDITIONS;
        self.check_part(at, at, MAX_FILTER_DEPTH, &mut left)
    }

    fn check_part(&self, root: &str, at: &str, levels: usize, left: &mut usize) -> Result<(), Error> {
        let Some(levels) = levels.checked_sub(1) else {
            return Err(Error::invalid(root, format!("nests deeper than {MAX_FILTER_DEPTH} levels")));
        };
        let Some(rest) = left.checked_sub(1) else {
            return Err(Error::invalid(root, format!("has more than {MAX_FILTER_CONDITIONS} conditions")));
        };
        *left = rest;
        match self {
            Self::Equals { field, value } => {
                check_field(&format!("{at}.equals"), field)?;
                check_value(&format!("{at}.equals.value"), value)
            }
            Self::In { field, values } => {
                check_field(&format!("{at}.in"), field)?;
                let count = values.len();
                if count == 0 || count > MAX_FILTER_VALUES {
                    let why = format!("takes 1 to {MAX_FILTER_VALUES}, got {count}");
                    return Err(Error::invalid(format!("{at}.in.values"), why));
                }
                let each = values.iter().enumerate();
                each.into_iter().try_for_each(|(index, value)| check_value(&format!("{at}.in.values[{index}]"), value))
            }
            Self::Range { field, range } => {
                check_field(&format!("{at}.range"), field)?;
                range.check(&format!("{at}.range"))
            }
            Self::Exists { field } => check_field(&format!("{at}.exists"), field),
            Self::GeoRadius { field, lat, lon, meters } => {
                let at = format!("{at}.geo_radius");
                check_field(&at, field)?;
                for (name, value, max) in [("lat", *lat, 90.0), ("lon", *lon, 180.0)] {
                    if !(-max..=max).contains(&value) {
                        return Err(Error::invalid(
                            format!("{at}.{name}"),
                            format!("takes -{max} to {max}, got {value}"),
                        ));
                    }
                }
                if !(meters.is_finite() && *meters > 0.0) {
                    return Err(Error::invalid(
                        format!("{at}.meters"),
                        format!("takes a number above 0, got {meters}"),
                    ));
                }
                Ok(())
            }
            Self::And(parts) | Self::Or(parts) => {
                let name = if matches!(self, Self::And(_)) { "and" } else { "or" };
                if parts.is_empty() {
                    return Err(Error::invalid(format!("{at}.{name}"), "is empty; give at least one filter"));
                }
                parts
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, part)| part.check_part(root, &format!("{at}.{name}[{index}]"), levels, left))
            }
            Self::Not(part) => part.check_part(root, &format!("{at}.not"), levels, left),
        }
    }
}

impl Range {
    /// Returns the lower bound, and whether it is inclusive.
    pub(crate) fn lower(&self) -> Option<(&Scalar, bool)> {
        self.gt.as_ref().map(|bound| (bound, false)).or(self.gte.as_ref().map(|bound| (bound, true)))
    }

    /// Returns the upper bound, and whether it is inclusive.
    pub(crate) fn upper(&self) -> Option<(&Scalar, bool)> {
        self.lt.as_ref().map(|bound| (bound, false)).or(self.lte.as_ref().map(|bound| (bound, true)))
    }

    fn check(&self, at: &str) -> Result<(), Error> {
        for (one, other, names) in [(&self.gt, &self.gte, "gt and gte"), (&self.lt, &self.lte, "lt and lte")] {
            if one.is_some() && other.is_some() {
                return Err(Error::invalid(at, format!("has both {names}; give one of them")));
            }
        }
        let bounds = [("gt", &self.gt), ("gte", &self.gte), ("lt", &self.lt), ("lte", &self.lte)];
        let mut first: Option<&Scalar> = None;
        for (name, bound) in bounds {
            let Some(bound) = bound else { continue };
            let at = format!("{at}.{name}");
            check_value(&at, bound)?;
            if matches!(bound, Scalar::Bool(_)) {
                return Err(Error::invalid(at, "is true or false; bounds are numbers or strings"));
            }
            if first.is_some_and(|first| std::mem::discriminant(first) != std::mem::discriminant(bound)) {
                return Err(Error::invalid(at, "is not of the type of the other bound: numbers or strings, not both"));
            }
            first = Some(bound);
        }
        if first.is_none() {
            return Err(Error::invalid(at, "has no bound; give gt, gte, lt or lte"));
        }
        Ok(())
    }
}

fn check_field(at: &str, field: &str) -> Result<(), Error> {
    check_path(&format!("{at}.field"), field)
}

/// Checks the path of a field. `at` is its position in the request.
///
/// # Errors
/// `InvalidInput` with the limit, or with the correct form.
pub(crate) fn check_path(at: &str, path: &str) -> Result<(), Error> {
    if path.is_empty() || path.len() > MAX_FIELD_BYTES {
        return Err(Error::invalid(at, format!("takes 1 to {MAX_FIELD_BYTES} bytes, got {}", path.len())));
    }
    if let Some(plain) = without_indices(path) {
        let why = format!("is {path:?}: a path has no list indices and selects every element; write {plain:?}");
        return Err(Error::invalid(at, why));
    }
    Ok(())
}

/// Removes list indices from a path such as `a[0].b` or `a[].b`; `None` if there are none.
fn without_indices(field: &str) -> Option<String> {
    let index = |name: &str| -> Option<usize> {
        let inner = name.strip_suffix(']')?;
        let begin = inner.rfind('[').filter(|begin| *begin > 0)?;
        inner[begin + 1..].bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'*' | b'-')).then_some(begin)
    };
    let mut found = false;
    let names = field.split('.').map(|name| {
        let mut rest = name;
        while let Some(begin) = index(rest) {
            (rest, found) = (&rest[..begin], true);
        }
        rest
    });
    let plain = names.collect::<Vec<_>>().join(".");
    found.then_some(plain)
}

fn check_value(at: &str, value: &Scalar) -> Result<(), Error> {
    use super::point::MAX_PAYLOAD_BYTES;
    match value {
        // No stored string is longer.
        Scalar::String(text) if text.len() > MAX_PAYLOAD_BYTES => {
            Err(Error::invalid(at, format!("takes at most {MAX_PAYLOAD_BYTES} bytes, got {}", text.len())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(filter: &Filter, index: &str, part: &str) {
        match filter.check("filter") {
            Err(Error::Invalid { field, why }) => {
                assert_eq!(field, index, "{why}");
                assert!(why.contains(part), "{why:?} should contain {part:?}");
            }
            other => panic!("{index} should be refused: {other:?}"),
        }
    }

    fn nested(levels: usize) -> Filter {
        (1..levels).fold(Filter::exists("a"), |inner, level| match level % 3 {
            0 => Filter::not(inner),
            1 => Filter::And(vec![inner]),
            _ => Filter::Or(vec![inner]),
        })
    }

    #[test]
    fn a_path_has_no_list_indices() {
        for (field, plain) in [("a[0]", "\"a\""), ("a[].b", "\"a.b\""), ("x.a[1][*]", "\"x.a\""), ("a[-1]", "\"a\"")] {
            refused(&Filter::exists(field), "filter.exists.field", plain);
        }
        for field in ["a[x]", "[0]", "a]", "a.0", "a[0]b"] {
            Filter::exists(field).check("filter").expect("a name");
        }
    }

    #[test]
    fn every_limit_is_named_in_its_error() {
        let ok = |filter: Filter| filter.check("filter").expect("allowed");
        let number = |value: f64| Number::from_f64(value).map(Scalar::Number);
        ok(nested(MAX_FILTER_DEPTH));
        refused(&nested(MAX_FILTER_DEPTH + 1), "filter", "deeper than 32");
        ok(Filter::And(vec![Filter::exists("a"); MAX_FILTER_CONDITIONS - 1]));
        refused(&Filter::And(vec![Filter::exists("a"); MAX_FILTER_CONDITIONS]), "filter", "more than 1000");
        let among = |count: usize| Filter::among("a", (0..count as i64).map(Scalar::from));
        ok(among(MAX_FILTER_VALUES));
        refused(&among(MAX_FILTER_VALUES + 1), "filter.in.values", "1 to 10000, got 10001");
        refused(&among(0), "filter.in.values", "got 0");
        ok(Filter::exists("x".repeat(MAX_FIELD_BYTES)));
        refused(&Filter::exists("x".repeat(MAX_FIELD_BYTES + 1)), "filter.exists.field", "1 to 512 bytes, got 513");
        refused(
            &Filter::And(vec![Filter::exists("a"), Filter::equals("", true)]),
            "filter.and[1].equals.field",
            "got 0",
        );
        refused(&Filter::And(vec![]), "filter.and", "empty");
        refused(&Filter::not(Filter::Or(vec![])), "filter.not.or", "empty");
        let range = |range| Filter::Or(vec![Filter::exists("a"), Filter::range("a", range)]);
        ok(range(Range { gt: number(2.0), lte: number(1.0), ..Default::default() }));
        refused(&range(Range::default()), "filter.or[1].range", "no bound");
        let both = Range { gt: number(1.0), gte: number(1.0), ..Default::default() };
        refused(&range(both), "filter.or[1].range", "both gt and gte");
        let mixed = Range { gt: number(1.0), lt: Some("x".into()), ..Default::default() };
        refused(&range(mixed), "filter.or[1].range.lt", "numbers or strings");
        refused(
            &range(Range { gte: Some(true.into()), ..Default::default() }),
            "filter.or[1].range.gte",
            "true or false",
        );
        let around = |lat, lon, meters| Filter::GeoRadius { field: "a".into(), lat, lon, meters };
        ok(around(-90.0, 180.0, 1.0));
        refused(&around(90.1, 0.0, 1.0), "filter.geo_radius.lat", "-90 to 90");
        refused(&around(0.0, f64::NAN, 1.0), "filter.geo_radius.lon", "NaN");
        refused(&around(0.0, 0.0, f64::INFINITY), "filter.geo_radius.meters", "above 0");
        refused(&Filter::equals("a", "x".repeat((1 << 20) + 1)), "filter.equals.value", "at most 1048576");
    }
}
