//! Reads in another order than that of the ids: by a payload field, or at random.

use super::filter_check::check_path;
use super::limits::MAX_PAGE;
use super::{Error, Number, Point, Scalar};
use crate::types::PointId;

/// Maximum length of a string in a [`SortKey`], bytes. The order of longer strings is that of their first bytes.
pub const MAX_SORT_BYTES: usize = 256;

/// Order of a scroll by a payload field: booleans, then numbers, then strings in byte order. Points without such a
/// value are left out. A point with several values is placed at its smallest, or, descending, at its greatest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBy {
    /// Path of the field.
    pub field: String,
    /// Whether the greatest values come first. Ties are always in ascending order of the ids.
    pub descending: bool,
}

impl OrderBy {
    /// Orders by a field, smallest values first.
    pub fn ascending(field: impl Into<String>) -> Self {
        Self { field: field.into(), descending: false }
    }

    /// Orders by a field, greatest values first.
    pub fn descending(field: impl Into<String>) -> Self {
        Self { field: field.into(), descending: true }
    }

    /// Checks the path.
    ///
    /// # Errors
    /// `InvalidInput` with the limit.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_path("order_by.field", &self.field)
    }
}

/// Position of a point in the order of a field: bytes that sort like the values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey(Box<[u8]>);

const BOOL: u8 = 1;
const NUMBER: u8 = 2;
const STRING: u8 = 3;

impl SortKey {
    /// Maximum length of the bytes.
    pub const MAX_BYTES: usize = 1 + MAX_SORT_BYTES;

    /// Returns the key of a value.
    pub fn new(value: &Scalar) -> Self {
        match value {
            Scalar::Bool(value) => Self([BOOL, u8::from(*value)].into()),
            Scalar::Number(number) => Self([&[NUMBER], number.key().as_slice()].concat().into()),
            Scalar::String(text) => {
                let text = text.as_bytes();
                Self([&[STRING], &text[..text.len().min(MAX_SORT_BYTES)]].concat().into())
            }
        }
    }

    /// Returns its bytes, for a page token.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the key with these bytes; `None` if no value has it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let valid = match bytes.split_first()? {
            (&BOOL, value) => matches!(value, [0 | 1]),
            (&NUMBER, value) => value.len() == Number::BYTES,
            (&STRING, text) => text.len() <= MAX_SORT_BYTES,
            _ => false,
        };
        valid.then(|| Self(bytes.into()))
    }
}

/// Position of a point in an ordered scroll: its key, then its id.
pub type SortPosition = (SortKey, PointId);

/// One page of an ordered scroll.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderedPage {
    /// Points in order.
    pub points: Vec<Point>,
    /// Position after which the next page begins; none after the last page.
    pub next: Option<SortPosition>,
}

/// Checks the number of points of a page or a sample.
///
/// # Errors
/// `InvalidInput` with the limit.
pub(crate) fn check_page(limit: u32) -> Result<(), Error> {
    if limit == 0 || limit > MAX_PAGE {
        return Err(Error::invalid("limit", format!("must be 1 to {MAX_PAGE}, got {limit}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_values_and_only_keys_of_values_are_accepted() {
        let ascending = [
            Scalar::from(false),
            Scalar::from(true),
            Scalar::from(-3_i64),
            Scalar::Number(Number::from_f64(0.5).unwrap()),
            Scalar::from(i64::MAX),
            Scalar::from(""),
            Scalar::from("a"),
            Scalar::from("a\0"),
            Scalar::from("ab"),
            Scalar::from("x".repeat(256)),
            Scalar::from("y"),
        ];
        let keys: Vec<SortKey> = ascending.iter().map(SortKey::new).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        for key in &keys {
            assert_eq!(SortKey::from_bytes(key.as_bytes()).as_ref(), Some(key));
        }
        assert_eq!(SortKey::new(&"x".repeat(256).into()), SortKey::new(&"x".repeat(300).into()));
        let too_long = [vec![STRING], vec![b'x'; 257]].concat();
        for bytes in [&[][..], &[0], &[BOOL], &[BOOL, 2], &[BOOL, 1, 1], &[NUMBER, 1], &[4, 1], &too_long] {
            assert_eq!(SortKey::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
