//! Summaries of payloads: counts of the values of a field, and statistics of all fields.

use super::filter_check::check_path;
use super::{Error, Number, Scalar};

/// Maximum values of a facet.
pub const MAX_FACET_VALUES: u32 = 10_000;
/// Default for the values of a facet.
pub const DEFAULT_FACET_VALUES: u32 = 10;
/// Maximum memory for the distinct values of a facet that no payload index holds, bytes.
pub const MAX_FACET_BYTES: usize = 64 << 20;
/// Maximum fields of a [`FieldReport`].
pub const MAX_REPORTED_FIELDS: usize = 1_000;
/// Maximum distinct values of a field that a [`FieldReport`] counts.
pub const MAX_DISTINCT_VALUES: usize = 100_000;
/// Maximum distinct values that a [`FieldReport`] counts for all fields together.
pub const MAX_DISTINCT_TOTAL: usize = 1_000_000;
/// Maximum length of the smallest and greatest string in a [`FieldReport`], bytes.
pub const MAX_EXTREME_BYTES: usize = 256;

/// Number of points per value of a payload field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facet {
    /// The most frequent values, most frequent first; ties in the order of the values.
    pub values: Vec<ValueCount>,
    /// Number of distinct values, including those that are not listed.
    pub distinct: u64,
    /// Number of points with a value other than null in the field. Objects are values that are not listed.
    pub points: u64,
}

/// A value and the number of points that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueCount {
    /// The value. 1 and 1.0 are the same.
    pub value: Scalar,
    /// Number of points. A point whose list holds the value twice counts once.
    pub count: u64,
}

/// Statistics of the payload fields of a set of points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldReport {
    /// Number of points.
    pub points: u64,
    /// The fields, in byte order of their paths.
    pub fields: Vec<FieldStats>,
    /// Whether there are more than [`MAX_REPORTED_FIELDS`] fields. The first ones found are reported.
    pub truncated: bool,
}

/// Statistics of one payload field. A path descends into every element of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldStats {
    /// Path of the field.
    pub path: String,
    /// Number of points with the field, even if it is null or an empty list.
    pub points: u64,
    /// Number of points with at least one value of each type.
    pub types: TypeCounts,
    /// Smallest and greatest number.
    pub numbers: Option<(Number, Number)>,
    /// Smallest and greatest string, in byte order.
    pub strings: Option<(Extreme, Extreme)>,
    /// Number of distinct booleans, numbers and strings.
    pub distinct: u64,
    /// Whether there may be more distinct values, because a limit of the count was reached.
    pub distinct_at_least: bool,
}

/// Number of points with at least one value of each type at a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeCounts {
    /// Null.
    pub null: u64,
    /// True or false.
    pub boolean: u64,
    /// A number without a fraction or an exponent.
    pub integer: u64,
    /// Any other number.
    pub float: u64,
    /// A string.
    pub string: u64,
    /// A list. Its elements are counted as well.
    pub list: u64,
    /// An object that is not a geo point.
    pub object: u64,
    /// An object with the numbers `lat` (-90 to 90) and `lon` (-180 to 180).
    pub geo_point: u64,
}

/// The smallest or the greatest string of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extreme {
    /// The string, or its first [`MAX_EXTREME_BYTES`] bytes, without a partial character at the end.
    pub text: String,
    /// Whether the string is longer.
    pub truncated: bool,
}

/// Checks the parameters of a facet.
///
/// # Errors
/// `InvalidInput` with the limit.
pub(crate) fn check_facet(field: &str, limit: u32) -> Result<(), Error> {
    check_path("field", field)?;
    if limit == 0 || limit > MAX_FACET_VALUES {
        return Err(Error::invalid("limit", format!("must be 1 to {MAX_FACET_VALUES}, got {limit}")));
    }
    Ok(())
}
