//! The write buffer of a collection: its growing points, durable until they are flushed into a segment.

use super::super::Error;
use super::super::kv::db::Kv;
use super::point_record;
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

pub(super) const GROWING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("growing");

/// Visitor of growing points: key, id, vector, payload.
pub type Visit<'v> = dyn FnMut(u64, &str, &[f32], &[u8]) -> Result<(), Error> + 'v;

/// The write buffer in a transaction.
pub(super) struct WriteBuffer<'t> {
    kv: &'t Kv,
    growing: Table<'t, u64, &'static [u8]>,
    record: Vec<u8>,
}

impl<'t> WriteBuffer<'t> {
    /// Opens the write buffer; creates a missing table.
    pub(super) fn open(kv: &'t Kv, transaction: &'t WriteTransaction) -> Result<Self, Error> {
        let growing = transaction.open_table(GROWING).map_err(kv.failed("open a table"))?;
        Ok(Self { kv, growing, record: Vec::new() })
    }

    /// Adds a point under an unused key.
    pub(super) fn add(&mut self, key: u64, id: &str, vector: &[f32], payload: &[u8]) -> Result<(), Error> {
        point_record::encode(&mut self.record, id, vector, payload)
            .map_err(|what| Error::refused(self.kv.path(), what))?;
        self.growing.insert(key, self.record.as_slice()).map_err(self.kv.failed("write"))?;
        Ok(())
    }

    pub(super) fn remove(&mut self, key: u64) -> Result<(), Error> {
        self.growing.remove(key).map_err(self.kv.failed("write"))?;
        Ok(())
    }

    /// Removes all points with `from <= key < until`.
    pub(super) fn remove_range(&mut self, from: u64, until: u64) -> Result<(), Error> {
        if from >= until {
            return Ok(());
        }
        self.growing.retain_in(from..until, |_, _| false).map_err(self.kv.failed("write"))
    }
}

/// Visits the points in key order, and the keys of unreadable records with the reason.
pub(super) fn visit(
    kv: &Kv,
    read: &ReadTransaction,
    visit: &mut Visit<'_>,
    damaged: &mut dyn FnMut(u64, String) -> Result<(), Error>,
) -> Result<(), Error> {
    let table = read.open_table(GROWING).map_err(kv.failed("open a table"))?;
    let mut vector = Vec::new();
    for entry in table.iter().map_err(kv.failed("read"))? {
        let (key, record) = entry.map_err(kv.failed("read"))?;
        let key = key.value();
        match point_record::decode(record.value(), &mut vector) {
            Ok((id, payload)) => visit(key, id, &vector, payload)?,
            Err(what) => damaged(key, what.to_string())?,
        }
    }
    Ok(())
}
