//! The manifest of a collection: its sealed segments with their graphs, calibrations and deleted rows.

use super::super::Error;
use super::super::kv::db::Kv;
use super::super::segment::SegmentId;
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use std::collections::BTreeSet;

pub(super) const SEGMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("segments");
const DELETED: TableDefinition<'_, (u64, u32), ()> = TableDefinition::new("deleted");
const PAYLOADS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("payloads");
pub(super) const CALIBRATIONS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("calibrations");
const REMOVED: TableDefinition<'_, u64, ()> = TableDefinition::new("removed");

/// Version of a value in `segments`.
const SEGMENT_VERSION: u8 = 2;
/// Version of a value in `segments` without a content tag.
const UNTAGGED: u8 = 1;

/// Record of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    /// The id.
    pub id: SegmentId,
    /// The generation of the graph file, if there is one.
    pub graph_generation: Option<u32>,
    /// The content tag of the file; none in a record of a version without tags.
    pub tag: Option<u64>,
    /// The deleted rows, ascending.
    pub deleted: Vec<u32>,
    /// The recall calibration of the graph, if there is one.
    pub calibration: Option<Vec<u8>>,
    /// The rows whose payload was updated, ascending, each with the payload that replaces the one in the file.
    pub payloads: Vec<(u32, Vec<u8>)>,
}

/// The manifest in a transaction.
pub(super) struct Manifest<'t> {
    kv: &'t Kv,
    transaction: &'t WriteTransaction,
    segments: Table<'t, u64, &'static [u8]>,
    deleted: Table<'t, (u64, u32), ()>,
    calibrations: Table<'t, (u64, u32), &'static [u8]>,
    payloads: Table<'t, (u64, u32), &'static [u8]>,
}

impl<'t> Manifest<'t> {
    /// Opens the manifest; creates missing tables.
    pub(super) fn open(kv: &'t Kv, transaction: &'t WriteTransaction) -> Result<Self, Error> {
        Ok(Self {
            kv,
            transaction,
            segments: transaction.open_table(SEGMENTS).map_err(kv.failed("open a table"))?,
            deleted: transaction.open_table(DELETED).map_err(kv.failed("open a table"))?,
            calibrations: transaction.open_table(CALIBRATIONS).map_err(kv.failed("open a table"))?,
            payloads: transaction.open_table(PAYLOADS).map_err(kv.failed("open a table"))?,
        })
    }
}

impl Manifest<'_> {
    pub(super) fn delete_row(&mut self, segment: SegmentId, row: u32) -> Result<(), Error> {
        self.expect(segment)?;
        self.deleted.insert((segment.0, row), ()).map_err(self.kv.failed("write"))?;
        self.payloads.remove((segment.0, row)).map_err(self.kv.failed("write"))?;
        Ok(())
    }

    /// Sets the payload of a row, which replaces the one in the file.
    pub(super) fn set_payload(&mut self, segment: SegmentId, row: u32, payload: &[u8]) -> Result<(), Error> {
        self.expect(segment)?;
        if self.deleted.get((segment.0, row)).map_err(self.kv.failed("read"))?.is_some() {
            return Err(Error::refused(
                self.kv.path(),
                format!("a payload of row {row} of {segment}, which is deleted"),
            ));
        }
        self.payloads.insert((segment.0, row), payload).map_err(self.kv.failed("write"))?;
        Ok(())
    }

    /// Adds a segment, whose id must be unused.
    pub(super) fn add_segment(
        &mut self,
        segment: SegmentId,
        graph_generation: Option<u32>,
        tag: u64,
    ) -> Result<(), Error> {
        if self.segments.get(segment.0).map_err(self.kv.failed("read"))?.is_some() || segment.0 == u64::MAX {
            return Err(Error::refused(self.kv.path(), format!("segment {segment} exists already")));
        }
        self.put_segment(segment, graph_generation, Some(tag))
    }

    pub(super) fn set_graph(&mut self, segment: SegmentId, graph_generation: Option<u32>) -> Result<(), Error> {
        let (_, tag) = self.expect(segment)?;
        self.put_segment(segment, graph_generation, tag)?;
        self.remove_calibrations(segment)
    }

    pub(super) fn set_tag(&mut self, segment: SegmentId, tag: u64) -> Result<(), Error> {
        let (graph_generation, before) = self.expect(segment)?;
        if let Some(before) = before.filter(|before| *before != tag) {
            let what = format!("the tag {tag:016x} of segment {segment}, whose tag is {before:016x}");
            return Err(Error::refused(self.kv.path(), what));
        }
        self.put_segment(segment, graph_generation, Some(tag))
    }

    pub(super) fn set_calibration(
        &mut self,
        segment: SegmentId,
        graph_generation: u32,
        record: &[u8],
    ) -> Result<(), Error> {
        let (graph, _) = self.expect(segment)?;
        if graph != Some(graph_generation) {
            let what =
                format!("a calibration of graph {graph_generation} of segment {segment}, whose graph is {graph:?}");
            return Err(Error::refused(self.kv.path(), what));
        }
        self.calibrations.insert((segment.0, graph_generation), record).map_err(self.kv.failed("write"))?;
        Ok(())
    }

    /// Removes a segment; its files are obsolete, and recorded as such.
    pub(super) fn remove_segment(&mut self, segment: SegmentId) -> Result<(), Error> {
        self.remove_rows_from(segment, 0)?;
        self.remove_calibrations(segment)?;
        self.segments.remove(segment.0).map_err(self.kv.failed("write"))?;
        let mut removed = self.transaction.open_table(REMOVED).map_err(self.kv.failed("open a table"))?;
        removed.insert(segment.0, ()).map_err(self.kv.failed("write"))?;
        Ok(())
    }

    /// Removes the deletions and the updated payloads of rows from this one on.
    pub(super) fn remove_rows_from(&mut self, segment: SegmentId, row: u32) -> Result<(), Error> {
        self.expect(segment)?;
        let rows = (segment.0, row)..=(segment.0, u32::MAX);
        self.payloads.retain_in(rows.clone(), |_, _| false).map_err(self.kv.failed("write"))?;
        self.deleted.retain_in(rows, |_, ()| false).map_err(self.kv.failed("write"))
    }

    /// Forgets removed segments whose files are deleted.
    pub(super) fn settle(&self, segments: &[SegmentId]) -> Result<(), Error> {
        if segments.is_empty() {
            return Ok(());
        }
        let mut removed = self.transaction.open_table(REMOVED).map_err(self.kv.failed("open a table"))?;
        for segment in segments {
            removed.remove(segment.0).map_err(self.kv.failed("write"))?;
        }
        Ok(())
    }

    fn remove_calibrations(&mut self, segment: SegmentId) -> Result<(), Error> {
        self.calibrations
            .retain_in((segment.0, 0)..=(segment.0, u32::MAX), |_, _| false)
            .map_err(self.kv.failed("write"))
    }

    fn put_segment(&mut self, id: SegmentId, graph_generation: Option<u32>, tag: Option<u64>) -> Result<(), Error> {
        let record = encode_segment(graph_generation, tag);
        self.segments.insert(id.0, record.as_slice()).map_err(self.kv.failed("write"))?;
        Ok(())
    }

    /// Returns graph generation and content tag of a segment, or an error if it does not exist.
    fn expect(&self, segment: SegmentId) -> Result<(Option<u32>, Option<u64>), Error> {
        match self.segments.get(segment.0).map_err(self.kv.failed("read"))? {
            Some(value) => decode_segment(value.value())
                .ok_or_else(|| Error::corrupt(self.kv.path(), format!("the record of segment {segment}"))),
            None => Err(Error::refused(self.kv.path(), format!("there is no segment {segment}"))),
        }
    }
}

/// Returns the segments by id.
pub(super) fn read(kv: &Kv, read: &ReadTransaction) -> Result<Vec<SegmentRecord>, Error> {
    let segments = read.open_table(SEGMENTS).map_err(kv.failed("open a table"))?;
    let deleted = read.open_table(DELETED).map_err(kv.failed("open a table"))?;
    let mut all: Vec<SegmentRecord> = Vec::new();
    for entry in segments.iter().map_err(kv.failed("read"))? {
        let (id, value) = entry.map_err(kv.failed("read"))?;
        let id = SegmentId(id.value());
        let (graph_generation, tag) = decode_segment(value.value())
            .ok_or_else(|| Error::corrupt(kv.path(), format!("the record of segment {id}")))?;
        let (deleted, payloads) = (Vec::new(), Vec::new());
        all.push(SegmentRecord { id, graph_generation, tag, deleted, calibration: None, payloads });
    }
    for entry in deleted.iter().map_err(kv.failed("read"))? {
        let (segment, row) = entry.map_err(kv.failed("read"))?.0.value();
        let at = all.binary_search_by_key(&segment, |record| record.id.0).map_err(|_| {
            Error::corrupt(kv.path(), format!("a deleted row of segment {segment:016x}, which does not exist"))
        })?;
        all[at].deleted.push(row);
    }
    read_payloads(kv, read, &mut all)?;
    let calibrations = match read.open_table(CALIBRATIONS) {
        Ok(table) => table,
        // Written by a version without calibrations.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(all),
        Err(error) => return Err(kv.failed("open a table")(error)),
    };
    for record in &mut all {
        let Some(generation) = record.graph_generation else { continue };
        let found = calibrations.get((record.id.0, generation)).map_err(kv.failed("read"))?;
        record.calibration = found.map(|value| value.value().to_vec());
    }
    Ok(all)
}

/// Adds the updated payloads to the segments.
fn read_payloads(kv: &Kv, read: &ReadTransaction, all: &mut [SegmentRecord]) -> Result<(), Error> {
    let payloads = match read.open_table(PAYLOADS) {
        Ok(table) => table,
        // Written by a version without updates of payloads.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(kv.failed("open a table")(error)),
    };
    for entry in payloads.iter().map_err(kv.failed("read"))? {
        let (key, payload) = entry.map_err(kv.failed("read"))?;
        let (segment, row) = key.value();
        let at = all.binary_search_by_key(&segment, |record| record.id.0).map_err(|_| {
            Error::corrupt(kv.path(), format!("a payload of segment {segment:016x}, which does not exist"))
        })?;
        all[at].payloads.push((row, payload.value().to_vec()));
    }
    Ok(())
}

/// Returns the removed segments whose files may still exist.
pub(super) fn removed(kv: &Kv) -> Result<BTreeSet<SegmentId>, Error> {
    kv.read(|read| {
        let table = match read.open_table(REMOVED) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeSet::new()),
            Err(error) => return Err(kv.failed("open a table")(error)),
        };
        let ids = table.iter().map_err(kv.failed("read"))?;
        ids.map(|entry| Ok(SegmentId(entry.map_err(kv.failed("read"))?.0.value()))).collect()
    })
}

/// Encodes the version, whether there is a graph, its generation, and the content tag (little-endian). Without a tag:
/// version 1.
fn encode_segment(graph_generation: Option<u32>, tag: Option<u64>) -> Vec<u8> {
    let version = if tag.is_some() { SEGMENT_VERSION } else { UNTAGGED };
    let mut bytes = vec![version, u8::from(graph_generation.is_some())];
    bytes.extend_from_slice(&graph_generation.unwrap_or(0).to_le_bytes());
    bytes.extend(tag.iter().flat_map(|tag| tag.to_le_bytes()));
    bytes
}

/// Decodes the generation of the graph, and the content tag.
fn decode_segment(bytes: &[u8]) -> Option<(Option<u32>, Option<u64>)> {
    let ([version, graph, generation @ ..], tag) = bytes.split_first_chunk::<6>()?;
    let tag = match (*version, tag) {
        (UNTAGGED, []) => None,
        (SEGMENT_VERSION, tag) => Some(u64::from_le_bytes(tag.try_into().ok()?)),
        _ => return None,
    };
    match (graph, u32::from_le_bytes(*generation)) {
        (0, 0) => Some((None, tag)),
        (1, generation) => Some((Some(generation), tag)),
        _ => None,
    }
}
