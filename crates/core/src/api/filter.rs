//! Filter conditions on payloads and ids.
//!
//! A field is a path of names separated by dots (`author.name`); `matches.rs` defines which values it selects.

use super::{Bounds, GeoBox, GeoPolygon, Number, Range, TextMatch, TextMatchKind, Timestamp};
use crate::types::PointId;
use std::collections::BTreeSet;

/// Maximum nesting depth of a filter.
pub const MAX_FILTER_DEPTH: usize = 32;
/// Maximum conditions of a filter, including the combining ones.
pub const MAX_FILTER_CONDITIONS: usize = 1_000;
/// Maximum values of one `in`, and ids of one `ids`.
pub const MAX_FILTER_VALUES: usize = 10_000;
/// Maximum length of the text of a text condition, bytes.
pub const MAX_FILTER_TEXT_BYTES: usize = 4_096;
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
    /// A string of the field matches a condition on its words.
    Text {
        /// The field.
        field: String,
        /// The condition.
        matches: TextMatch,
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

    /// Matches if a string of `field` has the words.
    pub fn text(field: impl Into<String>, kind: TextMatchKind, text: impl Into<String>) -> Self {
        Self::Text { field: field.into(), matches: TextMatch::new(kind, text) }
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
            | Self::TimeRange { field, .. }
            | Self::Text { field, .. } => drop(fields.insert(format!("{prefix}{field}"))),
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
