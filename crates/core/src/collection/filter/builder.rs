//! Gathers the fields of many payloads by field and value, and writes them as an index (`file.rs` has the bytes).
//!
//! What would grow without bound is left out, and the index says so: fields beyond [`MAX_PATHS`], and the largest
//! fields when all together take more than the budget. Conditions on them are answered from the payloads.

use super::condition::Scalar;
use super::file::{self, BOOL, EXISTS, LONG, MAX_KEY_BYTES, NUMBER, STRING};
use super::{Number, matches};
use crate::collection::Payload;
use crate::collection::limits::MAX_FIELD_BYTES;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use serde_json::Value;

/// Most fields of an index.
pub(super) const MAX_PATHS: usize = 1_024;
/// Longest field of an index: a place's latitude may be asked for below the longest field of a filter.
const LONGEST_PATH: usize = MAX_FIELD_BYTES + ".lat".len();
/// Memory that all fields together may take while they are gathered, bytes, about.
pub(super) const BUDGET: usize = 1 << 30;
/// What a value takes beside its bytes, about.
const VALUE_BYTES: usize = 64;
/// What a row of a value takes.
const ENTRY_BYTES: usize = size_of::<(u32, u32)>();
/// Values of fewer rows are always kept as a list.
const BITMAP_FROM: usize = 32;

/// Gathers payloads.
pub(super) struct Builder {
    columns: Vec<Column>,
    by_path: FxHashMap<Box<str>, u32>,
    complete: bool,
    bytes: usize,
    budget: usize,
    key: Vec<u8>,
}

/// What one field holds: its values by their keys, and which row has which.
#[derive(Default)]
struct Column {
    keys: FxHashMap<Box<[u8]>, u32>,
    /// (value, row), rows ascending.
    entries: Vec<(u32, u32)>,
    bytes: usize,
    dropped: bool,
}

impl Builder {
    /// An empty one.
    pub(super) fn new(budget: usize) -> Self {
        Self { columns: Vec::new(), by_path: FxHashMap::default(), complete: true, bytes: 0, budget, key: Vec::new() }
    }

    /// Takes the fields of a row; rows come in ascending order.
    pub(super) fn add(&mut self, row: u32, payload: &Payload) {
        let Self { columns, by_path, complete, bytes, key, .. } = self;
        matches::fields(payload, LONGEST_PATH, &mut |path, value| {
            let place = match by_path.get(path) {
                Some(&place) => place as usize,
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
            let column = &mut columns[place];
            if column.dropped {
                return;
            }
            if matches!(value, Value::Null | Value::Array(_)) {
                // The field is there, and leads to nothing.
                return;
            }
            let before = column.bytes;
            column.add(&[EXISTS], row);
            if write_key(value, key) {
                column.add(key, row);
            }
            *bytes += column.bytes - before;
        });
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

    /// The bytes of the index of `rows` rows of a segment with that content tag.
    pub(super) fn finish(self, tag: u64, rows: u32) -> Vec<u8> {
        let Self { mut columns, by_path, complete, .. } = self;
        let mut paths: Vec<(Box<str>, u32)> =
            by_path.into_iter().filter(|(_, place)| !columns[*place as usize].dropped).collect();
        paths.sort_unstable();
        let mut parts = file::Parts::default();
        for (path, place) in paths {
            parts.begin_path(&path);
            std::mem::take(&mut columns[place as usize]).write(&mut parts);
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

    /// Writes the values in the order of their keys, each with its rows.
    fn write(self, parts: &mut file::Parts) {
        // Rows are brought together by value (a counting sort, which keeps them ascending).
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
            let place = &mut next[value as usize];
            rows[*place] = row;
            *place += 1;
        }
        let mut keys: Vec<(Box<[u8]>, u32)> = self.keys.into_iter().collect();
        keys.sort_unstable();
        let mut own = Vec::new();
        for (key, value) in keys {
            own.clear();
            own.extend_from_slice(&rows[ends[value as usize]..ends[value as usize + 1]]);
            // A list of a payload may hold a value twice.
            own.dedup();
            let bitmap = (own.len() >= BITMAP_FROM).then(|| {
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

/// The key of a stored value: a type, then bytes that order as the values do. False for what has none: an object.
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

/// The key of a value to compare with. For a string that is too long to be a key: a key that comes where it would.
pub(super) fn key_of(value: &Scalar) -> Vec<u8> {
    match value {
        Scalar::Bool(value) => vec![BOOL, u8::from(*value)],
        Scalar::Number(number) => [&[NUMBER], number.key().as_slice()].concat(),
        Scalar::String(text) => [&[STRING], text.as_bytes()].concat(),
    }
}
