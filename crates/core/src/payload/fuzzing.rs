//! Access to payload indexes for the fuzz targets in `fuzz/`; compiled only for them.

use super::builder::{BUDGET, Builder};
use super::index::PayloadIndex;
use super::matches;
use super::select::RowAccess;
use crate::api::{Filter, Payload};
use crate::disk::FileBytes;
use crate::types::PointId;

/// Opens an index from these bytes, and queries every field and `filter`.
///
/// # Errors
/// A description of the damage.
pub fn query_index(bytes: Vec<u8>, tag: u64, rows: u32, filter: &Filter) -> Result<(), String> {
    let index = PayloadIndex::open(FileBytes::Memory(bytes), tag, rows)?;
    let nothing = |_row: u32| Ok(Payload::new());
    // Even a row out of range is harmless.
    let _ = index.select(filter, RowAccess { payload: &nothing, find: &|_id: &PointId| Some(rows) });
    for field in ["", "a", "a.b", "kind", "n", "version", "deep.tags"] {
        if let Some(values) = index.values(field) {
            for value in values.0.clone().take(1_000) {
                drop(index.rows_of(value));
            }
            index.find(&values, b"\x03animal");
        }
    }
    Ok(())
}

/// Compares the result of an index with that of each payload. The ids of the points are their rows.
///
/// # Panics
/// If they differ.
pub fn compare(filter: &Filter, payloads: &[Payload]) {
    let mut builder = Builder::new(BUDGET);
    for (row, payload) in (0..).zip(payloads) {
        matches::fields(payload, usize::MAX, &mut |_, _| {});
        builder.add(row, payload);
    }
    let rows = payloads.len() as u32;
    let index = PayloadIndex::open(FileBytes::Memory(builder.finish(7, rows)), 7, rows).expect("what was just written");
    let id = |row: u32| PointId::new(row.to_string()).expect("short");
    let access = RowAccess {
        payload: &|row: u32| Ok(payloads[row as usize].clone()),
        find: &|id: &PointId| id.as_str().parse().ok().filter(|row| *row < rows),
    };
    let found = index.select(filter, access).expect("payloads in memory");
    for (row, payload) in (0..).zip(payloads) {
        assert_eq!(found.contains(row), filter.matches(&id(row), payload), "{filter:?} on {payload:?}");
    }
}
