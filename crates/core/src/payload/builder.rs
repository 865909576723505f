//! The builder of payload indexes: collects many payloads by field and value, and writes the index (`index.rs` has the
//! format).
//!
//! The size is bounded: fields beyond [`MAX_PATHS`] are left out, and the largest fields when all together exceed the
//! budget. The index records that it is incomplete, and conditions on these fields read the payloads.

use super::index::{self, BOOL, COUNT, EXISTS, LONG, MAX_KEY_BYTES, NULL, NUMBER, STRING};
use super::matches;
use crate::api::limits::MAX_FIELD_BYTES;
use crate::api::{Number, Payload, Scalar};
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use serde_json::Value;

/// Maximum fields of an index.
pub(crate) const MAX_PATHS: usize = 1_024;
/// Maximum length of a field's path: the latitude of a geo filter lies below the longest field of a filter.
const MAX_PATH_BYTES: usize = MAX_FIELD_BYTES + ".lat".len();
/// Approximate memory of all fields together during a build, in bytes.
pub(crate) const BUDGET: usize = 1 << 30;
/// Approximate memory of a value besides its bytes.
const VALUE_BYTES: usize = 64;
/// Memory of one row of a value.
const ENTRY_BYTES: usize = size_of::<(u32, u32)>();
/// Minimum rows of a value for a bitmap; fewer are stored as a list.
const MIN_BITMAP_ROWS: usize = 32;

/// Collects payloads for an index.
pub(crate) struct Builder {
    columns: Vec<Column>,
    by_path: FxHashMap<Box<str>, u32>,
    complete: bool,
    bytes: usize,
    budget: usize,
    key: Vec<u8>,
    /// Columns with several values in the row being added.
    several: Vec<u32>,
}

/// Values of one field by key, and the rows of each.
#[derive(Default)]
struct Column {
    keys: FxHashMap<Box<[u8]>, u32>,
    /// (value, row), rows ascending.
    entries: Vec<(u32, u32)>,
    /// The last row with a value, and its number of values.
    last: (u32, u32),
    bytes: usize,
    dropped: bool,
}

impl Builder {
    /// Creates an empty builder.
    pub(crate) fn new(budget: usize) -> Self {
        let (columns, by_path) = (Vec::new(), FxHashMap::default());
        Self { columns, by_path, complete: true, bytes: 0, budget, key: Vec::new(), several: Vec::new() }
    }

    /// Adds the fields of a row. Rows must be ascending.
    pub(crate) fn add(&mut self, row: u32, payload: &Payload) {
        let Self { columns, by_path, complete, bytes, key, several, .. } = self;
        matches::fields(payload, MAX_PATH_BYTES, &mut |path, value| {
            let column_index = match by_path.get(path) {
                Some(&column_index) => column_index as usize,
                None if by_path.len() >= MAX_PATHS => {
                    *complete = false;
                    return;
                }
                None => {
                    by_path.insert(path.into(), columns.len() as u32);
                    columns.push(Column::default());
                    columns.len() - 1
                }
            };
            let column = &mut columns[column_index];
            if column.dropped {
                return;
            }
            let before = column.bytes;
            match value {
                Value::Null => column.add(&[NULL], row),
                Value::Array(_) => {}
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                    column.add(&[EXISTS], row);
                    column.last = if column.last.0 == row { (row, column.last.1 + 1) } else { (row, 1) };
                    if column.last.1 == 2 {
                        several.push(column_index as u32);
                    }
                    if write_key(value, key) {
                        column.add(key, row);
                    }
                }
            }
            *bytes += column.bytes - before;
        });
        for column_index in several.drain(..) {
            let column = &mut columns[column_index as usize];
            let before = column.bytes;
            column.add(&count_key(column.last.1), row);
            *bytes += column.bytes - before;
        }
        while self.bytes > self.budget {
            self.drop_largest();
        }
    }

    fn drop_largest(&mut self) {
        let Some(largest) = self.columns.iter_mut().max_by_key(|column| column.bytes) else { return };
        self.bytes -= largest.bytes;
        *largest = Column { dropped: true, ..Column::default() };
        self.complete = false;
    }

    /// Returns the bytes of the index over `rows` rows of the segment with this content tag.
    pub(crate) fn finish(self, tag: u64, rows: u32) -> Vec<u8> {
        let Self { mut columns, by_path, complete, .. } = self;
        let mut paths: Vec<(Box<str>, u32)> =
            by_path.into_iter().filter(|(_, column_index)| !columns[*column_index as usize].dropped).collect();
        paths.sort_unstable();
        let mut parts = index::Parts::default();
        for (path, column_index) in paths {
            parts.begin_path(&path);
            std::mem::take(&mut columns[column_index as usize]).write(&mut parts);
        }
        parts.finish(tag, rows, complete)
    }
}

impl Column {
    fn add(&mut self, key: &[u8], row: u32) {
        let value = match self.keys.get(key) {
            Some(&value) => value,
            None => {
                let value = self.keys.len() as u32;
                self.keys.insert(key.into(), value);
                self.bytes += key.len() + VALUE_BYTES;
                value
            }
        };
        if self.entries.last() != Some(&(value, row)) {
            self.entries.push((value, row));
            self.bytes += ENTRY_BYTES;
        }
    }

    /// Writes the values in key order, each with its rows.
    fn write(self, parts: &mut index::Parts) {
        // Group rows by value with a counting sort, which keeps them ascending.
        let mut ends = vec![0_usize; self.keys.len() + 1];
        for (value, _) in &self.entries {
            ends[*value as usize + 1] += 1;
        }
        for value in 1..ends.len() {
            ends[value] += ends[value - 1];
        }
        let mut next = ends.clone();
        let mut rows = vec![0_u32; self.entries.len()];
        for (value, row) in self.entries {
            let slot = &mut next[value as usize];
            rows[*slot] = row;
            *slot += 1;
        }
        let mut keys: Vec<(Box<[u8]>, u32)> = self.keys.into_iter().collect();
        keys.sort_unstable();
        let mut own = Vec::new();
        for (key, value) in keys {
            own.clear();
            own.extend_from_slice(&rows[ends[value as usize]..ends[value as usize + 1]]);
            // A list in a payload may hold a value twice.
            own.dedup();
            let bitmap = (own.len() >= MIN_BITMAP_ROWS).then(|| {
                let mut bitmap: RoaringBitmap = own.iter().copied().collect();
                bitmap.optimize();
                bitmap
            });
            match bitmap.filter(|bitmap| bitmap.serialized_size() < own.len() * size_of::<u32>()) {
                Some(bitmap) => parts.bitmap(&key, &bitmap),
                None => parts.list(&key, &own),
            }
        }
    }
}

/// Returns the key for the rows with a number of values, at least 2. Keys sort like numbers.
pub(crate) fn count_key(count: u32) -> [u8; 5] {
    let [a, b, c, d] = count.to_be_bytes();
    [COUNT, a, b, c, d]
}

/// Writes the key of a stored value: a type byte, then bytes that sort like the values. Returns false for an object,
/// which has no key.
fn write_key(value: &Value, key: &mut Vec<u8>) -> bool {
    key.clear();
    match value {
        Value::Bool(value) => key.extend([BOOL, u8::from(*value)]),
        Value::Number(value) => {
            let Some(number) = Number::from_json(value) else { return false };
            key.push(NUMBER);
            key.extend(number.key());
        }
        Value::String(text) if text.len() > MAX_KEY_BYTES => key.push(LONG),
        Value::String(text) => {
            key.push(STRING);
            key.extend(text.as_bytes());
        }
        Value::Null | Value::Array(_) | Value::Object(_) => return false,
    }
    true
}

/// Returns the key of a value to compare with. For a string too long for a key: one with the sort position of that
/// string.
pub(crate) fn key_of(value: &Scalar) -> Vec<u8> {
    match value {
        Scalar::Bool(value) => vec![BOOL, u8::from(*value)],
        Scalar::Number(number) => [&[NUMBER], number.key().as_slice()].concat(),
        Scalar::String(text) => [&[STRING], text.as_bytes()].concat(),
    }
}
