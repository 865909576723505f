//! Filter conditions on payloads, and their limits.
//!
//! A field is a path of names separated by dots (`author.name`); `matches.rs` defines which values it selects.

use super::geo::MAX_POLYGON_POINTS;
use super::{Bounds, Error, GeoBox, GeoPoint, GeoPolygon, Number, Range, Timestamp};
use crate::types::PointId;
use std::collections::BTreeSet;

/// Maximum nesting depth of a filter.
pub const MAX_FILTER_DEPTH: usize = 32;
/// Maximum conditions of a filter, including the combining ones.
pub const MAX_FILTER_CONDITIONS: usize = 1_000;
/// Maximum values of one `in`, and ids of one `ids`.
pub const MAX_FILTER_VALUES: usize = 10_000;
/// Maximum length of a field path, bytes.
pub const MAX_FIELD_BYTES: usize = 512;

/// A filter: a condition on a payload or an id, or a combination of conditions.
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
    /// The id of the point is one of these, 1 to [`MAX_FILTER_VALUES`].
    Ids(BTreeSet<PointId>),
    /// The field has a null, or a list with a null.
    IsNull {
        /// The field.
        field: String,
    },
    /// The field has no value: it is missing, null, or a list without values. The opposite of [`Exists`](Self::Exists).
    IsEmpty {
        /// The field.
        field: String,
    },
    /// The number of values of the field lies between bounds: 0 for a missing field or null, the sum of the elements
    /// for lists (nulls do not count), 1 for any other value.
    ValuesCount {
        /// The field.
        field: String,
        /// The bounds.
        count: Bounds<u64>,
    },
    /// One object in the field, or in a list there, matches the filter alone.
    Nested {
        /// The field.
        field: String,
        /// A filter whose fields are relative to the object. Has no [`Ids`](Self::Ids).
        filter: Box<Filter>,
    },
    /// The field has an object with `lat` and `lon`, in degrees, within a box.
    GeoBox {
        /// The field.
        field: String,
        /// The box.
        area: GeoBox,
    },
    /// The field has an object with `lat` and `lon`, in degrees, within a polygon.
    GeoPolygon {
        /// The field.
        field: String,
        /// The polygon.
        area: GeoPolygon,
    },
    /// The field has a string that is a time (see [`Timestamp::parse`]) between bounds.
    TimeRange {
        /// The field.
        field: String,
        /// The bounds.
        range: Bounds<Timestamp>,
    },
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

    /// Matches if the id of the point is one of `ids`.
    pub fn ids(ids: impl IntoIterator<Item = PointId>) -> Self {
        Self::Ids(ids.into_iter().collect())
    }

    /// Matches if one object in `field`, or in a list there, matches `filter`, whose fields are relative to it.
    pub fn nested(field: impl Into<String>, filter: Self) -> Self {
        Self::Nested { field: field.into(), filter: Box::new(filter) }
    }

    /// Returns the fields of all conditions, without duplicates; those of nested filters with their full path.
    pub fn fields(&self) -> BTreeSet<String> {
        let mut fields = BTreeSet::new();
        self.add_fields("", &mut fields);
        fields
    }

    fn add_fields(&self, prefix: &str, fields: &mut BTreeSet<String>) {
        match self {
            Self::Ids(_) => {}
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.add_fields(prefix, fields)),
            Self::Not(part) => part.add_fields(prefix, fields),
            Self::Nested { field, filter } => {
                filter.add_fields(&format!("{prefix}{field}."), fields);
                fields.insert(format!("{prefix}{field}"));
            }
            Self::Equals { field, .. }
            | Self::In { field, .. }
            | Self::Range { field, .. }
            | Self::Exists { field }
            | Self::GeoRadius { field, .. }
            | Self::IsNull { field }
            | Self::IsEmpty { field }
            | Self::ValuesCount { field, .. }
            | Self::GeoBox { field, .. }
            | Self::GeoPolygon { field, .. }
            | Self::TimeRange { field, .. } => drop(fields.insert(format!("{prefix}{field}"))),
        }
    }

    /// Returns the ids of all conditions.
    pub(crate) fn ids_of_conditions(&self) -> BTreeSet<&PointId> {
        match self {
            Self::Ids(ids) => ids.iter().collect(),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::ids_of_conditions).collect(),
            Self::Not(part) => part.ids_of_conditions(),
            // Nested filters have no ids.
            _ => BTreeSet::new(),
        }
    }

    /// Whether a condition depends on the payload, rather than on the id alone.
    pub(crate) fn reads_payloads(&self) -> bool {
        match self {
            Self::Ids(_) => false,
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::reads_payloads),
            Self::Not(part) => part.reads_payloads(),
            _ => true,
        }
    }

    /// Returns the only ids that can match; `None` if points with any other id can.
    pub(crate) fn only_ids(&self) -> Option<BTreeSet<&PointId>> {
        match self {
            Self::Ids(ids) => Some(ids.iter().collect()),
            Self::And(parts) => parts.iter().find_map(Self::only_ids),
            Self::Or(parts) => {
                let each: Option<Vec<_>> = parts.iter().map(Self::only_ids).collect();
                Some(each?.into_iter().flatten().collect())
            }
            _ => None,
        }
    }

    /// Checks all limits. `at` is the position of the filter in the request.
    ///
    /// # Errors
    /// `InvalidInput` with the invalid part, such as `filter.and[2].range.gte`, and the limit.
    pub fn check(&self, at: &str) -> Result<(), Error> {
        let mut check = Check { root: at, conditions: MAX_FILTER_CONDITIONS, polygon_points: MAX_POLYGON_POINTS };
        check.part(self, at, MAX_FILTER_DEPTH, None)
    }
}

/// A check of a filter, with what is left of the limits for all its parts together.
struct Check<'a> {
    root: &'a str,
    conditions: usize,
    polygon_points: usize,
}

impl Check<'_> {
    /// Checks a part. `inside` is the length of the fields of the nested filters around it, with dots; `None` outside.
    fn part(&mut self, filter: &Filter, at: &str, levels: usize, inside: Option<usize>) -> Result<(), Error> {
        let Some(levels) = levels.checked_sub(1) else {
            return Err(Error::invalid(self.root, format!("nests deeper than {MAX_FILTER_DEPTH} levels")));
        };
        let Some(rest) = self.conditions.checked_sub(1) else {
            return Err(Error::invalid(self.root, format!("has more than {MAX_FILTER_CONDITIONS} conditions")));
        };
        self.conditions = rest;
        let outer = inside.unwrap_or(0);
        match filter {
            Filter::Equals { field, value } => {
                check_field(&format!("{at}.equals"), field, outer)?;
                value.check(&format!("{at}.equals.value"))
            }
            Filter::In { field, values } => {
                check_field(&format!("{at}.in"), field, outer)?;
                check_count(&format!("{at}.in.values"), values.len())?;
                let mut each = values.iter().enumerate();
                each.try_for_each(|(index, value)| value.check(&format!("{at}.in.values[{index}]")))
            }
            Filter::Range { field, range } => {
                check_field(&format!("{at}.range"), field, outer)?;
                range.check_scalars(&format!("{at}.range"))
            }
            Filter::Exists { field } => check_field(&format!("{at}.exists"), field, outer),
            Filter::GeoRadius { field, lat, lon, meters } => {
                let at = format!("{at}.geo_radius");
                check_field(&at, field, outer)?;
                GeoPoint { lat: *lat, lon: *lon }.check(&at)?;
                if !(meters.is_finite() && *meters > 0.0) {
                    return Err(Error::invalid(
                        format!("{at}.meters"),
                        format!("takes a number above 0, got {meters}"),
                    ));
                }
                Ok(())
            }
            Filter::And(parts) | Filter::Or(parts) => {
                let name = if matches!(filter, Filter::And(_)) { "and" } else { "or" };
                if parts.is_empty() {
                    return Err(Error::invalid(format!("{at}.{name}"), "is empty; give at least one filter"));
                }
                let mut each = parts.iter().enumerate();
                each.try_for_each(|(index, part)| self.part(part, &format!("{at}.{name}[{index}]"), levels, inside))
            }
            Filter::Not(part) => self.part(part, &format!("{at}.not"), levels, inside),
            Filter::Ids(ids) => {
                let at = format!("{at}.ids");
                if inside.is_some() {
                    let why = "is inside nested, whose objects have no id; combine it with nested by and";
                    return Err(Error::invalid(at, why));
                }
                check_count(&at, ids.len())
            }
            Filter::IsNull { field } => check_field(&format!("{at}.is_null"), field, outer),
            Filter::IsEmpty { field } => check_field(&format!("{at}.is_empty"), field, outer),
            Filter::ValuesCount { field, count } => {
                check_field(&format!("{at}.values_count"), field, outer)?;
                count.check(&format!("{at}.values_count"))
            }
            Filter::Nested { field, filter } => {
                let at = format!("{at}.nested");
                check_field(&at, field, outer)?;
                self.part(filter, &format!("{at}.filter"), levels, Some(outer + field.len() + ".".len()))
            }
            Filter::GeoBox { field, area } => {
                check_field(&format!("{at}.geo_box"), field, outer)?;
                area.check(&format!("{at}.geo_box"))
            }
            Filter::GeoPolygon { field, area } => {
                check_field(&format!("{at}.geo_polygon"), field, outer)?;
                area.check(&format!("{at}.geo_polygon"), &mut self.polygon_points)
            }
            Filter::TimeRange { field, range } => {
                check_field(&format!("{at}.time_range"), field, outer)?;
                range.check(&format!("{at}.time_range"))
            }
        }
    }
}

/// Checks the number of values or ids of a condition.
fn check_count(at: &str, count: usize) -> Result<(), Error> {
    if count == 0 || count > MAX_FILTER_VALUES {
        return Err(Error::invalid(at, format!("takes 1 to {MAX_FILTER_VALUES}, got {count}")));
    }
    Ok(())
}

impl Scalar {
    /// Checks the length of a string. `at` is the position of the value in the request.
    pub(super) fn check(&self, at: &str) -> Result<(), Error> {
        use super::point::MAX_PAYLOAD_BYTES;
        match self {
            // No stored string is longer.
            Self::String(text) if text.len() > MAX_PAYLOAD_BYTES => {
                Err(Error::invalid(at, format!("takes at most {MAX_PAYLOAD_BYTES} bytes, got {}", text.len())))
            }
            _ => Ok(()),
        }
    }
}

/// Checks the field of a condition, below `outer` bytes of the fields of nested filters.
fn check_field(at: &str, field: &str, outer: usize) -> Result<(), Error> {
    let at = format!("{at}.field");
    check_path(&at, field)?;
    if outer + field.len() > MAX_FIELD_BYTES {
        let length = outer + field.len();
        let why =
            format!("takes {MAX_FIELD_BYTES} bytes with the fields of the nested filters around it, got {length}");
        return Err(Error::invalid(at, why));
    }
    Ok(())
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

    #[test]
    fn ids_and_nested_filters_are_limited() {
        let ok = |filter: &Filter| filter.check("filter").expect("allowed");
        let ids = |count: usize| Filter::ids((0..count).map(|n| PointId::new(n.to_string()).expect("an id")));
        ok(&ids(MAX_FILTER_VALUES));
        refused(&ids(MAX_FILTER_VALUES + 1), "filter.ids", "1 to 10000, got 10001");
        refused(&Filter::not(ids(0)), "filter.not.ids", "got 0");
        refused(&Filter::nested("a", Filter::not(ids(1))), "filter.nested.filter.not.ids", "by and");
        // Nested filters count as a level, and their parts as conditions.
        let nested = |levels: usize| (1..levels).fold(Filter::exists("a"), |inner, _| Filter::nested("a", inner));
        ok(&nested(MAX_FILTER_DEPTH));
        refused(&nested(MAX_FILTER_DEPTH + 1), "filter", "deeper than 32");
        let many = |count: usize| Filter::nested("a", Filter::Or(vec![Filter::exists("a"); count]));
        ok(&many(MAX_FILTER_CONDITIONS - 2));
        refused(&many(MAX_FILTER_CONDITIONS - 1), "filter", "more than 1000");
        // The full path of a field has the length of one.
        let long = |outer: usize, inner: usize| Filter::nested("x".repeat(outer), Filter::exists("x".repeat(inner)));
        ok(&long(255, 256));
        refused(&long(255, 257), "filter.nested.filter.exists.field", "nested filters around it, got 513");
        let twice = |inner: usize| Filter::nested("y", long(255, inner));
        ok(&twice(254));
        refused(&twice(255), "filter.nested.filter.nested.filter.exists.field", "got 513");
        refused(&Filter::nested("", Filter::exists("a")), "filter.nested.field", "got 0");
        refused(&Filter::nested("a[0]", Filter::exists("a")), "filter.nested.field", "\"a\"");
    }

    #[test]
    fn counts_times_and_areas_are_checked() {
        let field = || "a".to_owned();
        let count = |count| Filter::ValuesCount { field: field(), count };
        refused(&count(Bounds::default()), "filter.values_count", "no bound");
        let both = Bounds { lt: Some(1), lte: Some(1), ..Default::default() };
        refused(&count(both), "filter.values_count", "both lt and lte");
        refused(&Filter::TimeRange { field: field(), range: Bounds::default() }, "filter.time_range", "no bound");
        let area = GeoBox { north: 0.0, south: 1.0, west: 0.0, east: 0.0 };
        refused(&Filter::GeoBox { field: field(), area }, "filter.geo_box.south", "above north");
        let polygon = |points: usize| {
            let exterior = (0..points).map(|n| GeoPoint { lat: 0.0, lon: n as f64 / 10.0 }).collect();
            Filter::GeoPolygon { field: field(), area: GeoPolygon { exterior, holes: vec![] } }
        };
        refused(&polygon(2), "filter.geo_polygon.exterior", "3 to 1000 points, got 2");
        // All polygons of a filter share a limit, in nested filters too.
        let all =
            |last: usize| Filter::Or([vec![polygon(1_000); 9], vec![Filter::nested("a", polygon(last))]].concat());
        all(1_000).check("filter").expect("allowed");
        let more = Filter::And(vec![all(1_000), polygon(3)]);
        refused(&more, "filter.and[1].geo_polygon.exterior", "10000 points for all polygons");
        for named in ["is_null", "is_empty", "values_count", "geo_box", "geo_polygon", "time_range"] {
            let field = String::new();
            let filter = match named {
                "is_null" => Filter::IsNull { field },
                "is_empty" => Filter::IsEmpty { field },
                "values_count" => Filter::ValuesCount { field, count: Bounds { gt: Some(1), ..Default::default() } },
                "geo_box" => Filter::GeoBox { field, area },
                "geo_polygon" => Filter::GeoPolygon { field, area: GeoPolygon::default() },
                _ => Filter::TimeRange { field, range: Bounds::default() },
            };
            refused(&filter, &format!("filter.{named}.field"), "got 0");
        }
    }

    #[test]
    fn fields_and_ids_are_those_of_all_conditions() {
        let id = |id: &str| PointId::new(id).expect("an id");
        let inner = Filter::And(vec![Filter::exists("b"), Filter::nested("c", Filter::exists("d"))]);
        let filter = Filter::Or(vec![Filter::not(Filter::nested("a", inner)), Filter::ids([id("x")])]);
        assert_eq!(filter.fields().into_iter().collect::<Vec<_>>(), ["a", "a.b", "a.c", "a.c.d"]);
        assert_eq!(filter.ids_of_conditions(), BTreeSet::from([&id("x")]));
        assert_eq!(filter.only_ids(), None);
        let (some, more) = (Filter::ids([id("x")]), Filter::ids([id("y")]));
        let both = Filter::Or(vec![some.clone(), Filter::And(vec![Filter::exists("a"), more])]);
        assert_eq!(both.only_ids(), Some(BTreeSet::from([&id("x"), &id("y")])));
        assert!(both.reads_payloads() && !Filter::not(some.clone()).reads_payloads());
        assert_eq!(Filter::not(some).only_ids(), None);
    }
}
