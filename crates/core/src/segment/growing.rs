//! The growing segment: acknowledged points not yet sealed, in memory. Their durable copy is in the collection's
//! database.
//!
//! Rows are append-only and never move; deleting or replacing a point marks its row dead. The first `indexed` rows,
//! except a few, are in an hnsw_rs graph built in the background; the remaining rows are scanned exactly.

use super::columns::GrowingColumns;
use super::text_index::GrowingTexts;
use super::{GrowingPayloads, plan};
use crate::api::Error;
use crate::index::calibration::Calibration;
use crate::index::{self, GraphParams, GrowingIndex, Rows};
use crate::math::{Components, TopK};
use crate::payload::RowSet;
use crate::store::body;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Arc, RwLock, RwLockReadGuard};
use crate::types::{Metric, Neighbor, Ordinal, PointId};
use std::collections::BTreeMap;
use std::sync::{OnceLock, PoisonError};
use std::time::Instant;

/// Rows from which the graph of a growing segment is calibrated.
pub(super) const CALIBRATED_FROM_ROWS: u32 = 4_096;
/// Held-out rows: between 64 and 128 once the segment has 8,192 rows.
pub(super) const HELD_OUT: u32 = 128;

/// Minimum rows for a graph; below it a graph is not faster than a scan.
const INDEX_FROM_ROWS: u32 = 5_000;
/// Rows copied under the lock per step of the indexer.
const INDEX_STEP: u32 = 256;

/// Overhead per row beyond vector, payload and id, bytes: pointers, lengths, the entry in the map of ids.
const ROW_BYTES: usize = 120;

/// One growing segment of a collection.
pub(crate) struct Growing {
    pub(crate) dimension: usize,
    metric: Metric,
    params: GraphParams,
    capacity: usize,
    table: RwLock<Table>,
    graph: OnceLock<GrowingIndex>,
    /// Number of leading rows processed by the indexer: inserted into the graph, held out, or refused.
    indexed: AtomicU32,
    /// Time at which the segment became immutable. The indexer skips it from then on, because its flush is near.
    pub(crate) rotated_at: OnceLock<Instant>,
    /// Set after an error of the graph: its rows are still searched, but no rows are added.
    graph_failed: AtomicBool,
    /// Calibration of the graph, with the value of `indexed` at that time.
    pub(crate) measured: RwLock<Option<(u32, Arc<Calibration>)>>,
    /// Index that filters use.
    pub(crate) payloads: GrowingPayloads,
    /// Inverted indexes of text fields.
    pub(crate) texts: GrowingTexts,
    /// Vectors of vector fields.
    pub(crate) columns: GrowingColumns,
}

/// Rows of a growing segment.
#[derive(Default)]
pub(crate) struct Table {
    vectors: Vec<f32>,
    norms: Vec<f32>,
    pub(crate) keys: Vec<u64>,
    pub(crate) ids: Vec<PointId>,
    /// Payloads and vectors of fields (`store/body.rs`).
    pub(crate) bodies: Vec<Box<[u8]>>,
    /// Bytes of bodies, ids and per-row overhead.
    other_bytes: usize,
    pub(crate) dead: Vec<bool>,
    /// Rows without a vector; empty if there are none.
    without_vector: Vec<u32>,
    /// Live row of each id.
    pub(crate) by_id: BTreeMap<PointId, u32>,
    /// Rows refused by the graph; scanned.
    unindexable: Vec<u32>,
    /// Rows held out of the graph to measure its recall; scanned. See `growing_calibration.rs`.
    pub(crate) held_out: Vec<u32>,
}

impl Table {
    pub(crate) fn rows(&self) -> u32 {
        self.keys.len() as u32
    }

    /// Rows below `indexed` that are not in the graph (a released row may already be).
    pub(crate) fn outside(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.unindexable.iter().chain(&self.held_out).copied()
    }

    pub(crate) fn payload(&self, row: u32) -> &[u8] {
        body::payload(&self.bodies[row as usize])
    }

    /// Whether a row has a vector.
    pub(crate) fn has_vector(&self, row: u32) -> bool {
        self.without_vector.is_empty() || self.without_vector.binary_search(&row).is_err()
    }

    /// Whether a search for a vector may find a row.
    pub(crate) fn is_searched(&self, row: u32) -> bool {
        !self.dead[row as usize] && self.has_vector(row)
    }

    /// Returns the vector of a row; empty if it has none.
    pub(crate) fn vector(&self, row: u32, dimension: usize) -> &[f32] {
        if !self.has_vector(row) {
            return &[];
        }
        &self.vectors[row as usize * dimension..][..dimension]
    }
}

/// A row to append.
pub(crate) struct NewRow {
    pub(crate) key: u64,
    pub(crate) id: PointId,
    /// Empty for a point without a vector.
    pub(crate) vector: Vec<f32>,
    /// Payload and vectors of fields (`store/body.rs`).
    pub(crate) body: Box<[u8]>,
}

/// Result of a search of a growing segment.
pub(crate) struct GrowingFound {
    pub(crate) neighbors: Vec<Neighbor>,
    pub(crate) distances: u64,
    /// Whether some rows were searched by graph.
    pub(crate) by_graph: bool,
}

impl Growing {
    pub(crate) fn new(dimension: u32, metric: Metric, params: GraphParams, capacity: u32) -> Self {
        // Writers may exceed the flush threshold by one batch each.
        Self::with_capacity(dimension as usize, metric, params, capacity as usize + crate::api::limits::MAX_BATCH)
    }

    /// Returns an empty segment with the same parameters.
    pub(crate) fn without_rows(&self) -> Self {
        Self::with_capacity(self.dimension, self.metric, self.params, self.capacity)
    }

    fn with_capacity(dimension: usize, metric: Metric, params: GraphParams, capacity: usize) -> Self {
        Self {
            dimension,
            metric,
            params,
            capacity,
            table: RwLock::default(),
            graph: OnceLock::new(),
            indexed: AtomicU32::new(0),
            rotated_at: OnceLock::new(),
            graph_failed: AtomicBool::new(false),
            measured: RwLock::new(None),
            payloads: GrowingPayloads::default(),
            texts: GrowingTexts::default(),
            columns: GrowingColumns::default(),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Every critical section below leaves the table consistent, so a poisoned lock still guards a valid table.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends rows and makes them visible.
    pub(crate) fn append(&self, rows: impl IntoIterator<Item = NewRow>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let ordinal = table.rows();
            table.norms.push(crate::math::norm(&row.vector));
            table.vectors.extend_from_slice(&row.vector);
            if row.vector.is_empty() && self.dimension > 0 {
                let length = table.vectors.len() + self.dimension;
                table.vectors.resize(length, 0.0);
                table.without_vector.push(ordinal);
            }
            table.keys.push(row.key);
            table.other_bytes += row.body.len() + 2 * row.id.as_str().len() + ROW_BYTES;
            table.bodies.push(row.body);
            table.dead.push(false);
            table.by_id.insert(row.id.clone(), ordinal);
            table.ids.push(row.id);
        }
    }

    /// Marks rows dead. Keeps the id entry of a row that was replaced in this same segment, because it refers to the
    /// newer row.
    pub(crate) fn mark_deleted(&self, rows: &[u32]) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for &row in rows {
            table.dead[row as usize] = true;
            let id = table.ids[row as usize].clone();
            if table.by_id.get(&id) == Some(&row) {
                table.by_id.remove(&id);
            }
        }
    }

    pub(crate) fn live(&self) -> u64 {
        self.read().by_id.len() as u64
    }

    /// Returns the number of rows, including dead ones.
    pub(crate) fn rows_held(&self) -> u32 {
        self.read().rows()
    }

    /// Returns the memory used by the rows, bytes: vectors, payloads, ids.
    pub(crate) fn bytes_held(&self) -> usize {
        let table = self.read();
        table.vectors.len() * 4 + table.other_bytes + self.texts.memory() + self.columns.memory()
    }

    /// Returns whether the segment must be flushed: it has `rows` rows, or they use `bytes`.
    pub(crate) fn is_full(&self, rows: u32, bytes: usize) -> bool {
        self.rows_held() >= rows || self.bytes_held() >= bytes
    }

    /// Inserts up to [`INDEX_STEP`] rows of the tail into the graph. Returns whether there were any.
    ///
    /// # Errors
    /// Those of the index. The rows stay in the scanned tail.
    pub(crate) fn index_step(&self) -> Result<bool, Error> {
        if self.rotated_at.get().is_some() || self.graph_failed.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let from = self.indexed.load(Ordering::Acquire);
        let (until, vectors, held_before, without_vector) = {
            let table = self.read();
            let rows = table.rows();
            if rows < INDEX_FROM_ROWS || rows == from || self.dimension == 0 {
                return Ok(false);
            }
            let until = rows.min(from + INDEX_STEP);
            let vectors = &table.vectors[from as usize * self.dimension..until as usize * self.dimension];
            let first = table.without_vector.partition_point(|row| *row < from);
            (until, vectors.to_vec(), table.held_out.clone(), table.without_vector[first..].to_vec())
        };
        let graph = match self.graph.get() {
            Some(graph) => graph,
            None => {
                let graph = GrowingIndex::new(self.dimension, self.metric, self.params, self.capacity)?;
                self.graph.get_or_init(|| graph)
            }
        };
        // Some of the rows held out so far are now released.
        let (held_before, released): (Vec<u32>, Vec<u32>) =
            held_before.into_iter().partition(|&row| is_held_out(row, until));
        let released: Vec<(u32, Vec<f32>)> = {
            let table = self.read();
            released.into_iter().map(|row| (row, table.vector(row, self.dimension).to_vec())).collect()
        };
        let released = released.iter().map(|(row, vector)| (*row, vector.as_slice()));
        let new = (from..until).zip(vectors.chunks_exact(self.dimension));
        let (mut held_out, mut refused) = (held_before, Vec::new());
        for (row, vector) in released.chain(new) {
            if without_vector.binary_search(&row).is_ok() {
                refused.push(row);
                continue;
            }
            if is_held_out(row, until) {
                held_out.push(row);
                continue;
            }
            match graph.insert(Ordinal(row), vector) {
                Ok(true) => {}
                Ok(false) => refused.push(row),
                Err(error) => {
                    self.graph_failed.store(true, Ordering::Relaxed);
                    return Err(error.into());
                }
            }
        }
        {
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            table.unindexable.extend(refused);
            table.held_out = held_out;
        }
        self.indexed.store(until, Ordering::Release);
        Ok(true)
    }

    /// Returns the rows of a table of this segment.
    pub(crate) fn rows<'a>(&self, table: &'a Table) -> Rows<'a> {
        Rows {
            vectors: Components::F32(&table.vectors),
            norms: &table.norms,
            dimension: self.dimension,
            metric: self.metric,
        }
    }

    /// Returns `indexed`, the number of leading rows that the indexer has processed.
    pub(crate) fn indexed_rows(&self) -> u32 {
        self.indexed.load(Ordering::Acquire)
    }

    /// Returns the graph, if it has been created.
    pub(crate) fn graph(&self) -> Option<&GrowingIndex> {
        self.graph.get()
    }

    /// Returns the nearest live rows, or with `selected` the nearest of those. Searches the indexed rows by graph if
    /// `ef` is given, and all other rows by an exact scan, which may skip rows farther than `bound`. A small selection
    /// is scanned without the graph.
    ///
    /// # Errors
    /// Those of the index.
    pub(crate) fn search(
        &self,
        query: &[f32],
        k: usize,
        ef: Option<u32>,
        bound: f32,
        selected: Option<&RowSet>,
    ) -> Result<GrowingFound, Error> {
        // Load before locking the table, so that the indexer has already processed all rows below it.
        let indexed = self.indexed.load(Ordering::Acquire);
        let table = self.read();
        let rows = self.rows(&table);
        let wanted = |row: u32| match selected {
            Some(selected) => selected.contains(row) && table.has_vector(row),
            None => table.is_searched(row),
        };
        let ef = ef.filter(|&ef| selected.is_none_or(|of| !plan::compares(of.count(), u64::from(table.rows()), ef)));
        if let (Some(ef), Some(graph), 1..) = (ef, self.graph.get(), indexed) {
            let accept = |row: Ordinal| row.0 < indexed && wanted(row.0);
            let mut found = graph.search(rows, query, k, ef as usize, accept)?;
            let live = selected.map_or(table.by_id.len(), |selected| selected.count() as usize);
            let live = live.saturating_sub(table.outside().count());
            let tail_live = (indexed..table.rows()).filter(|&row| wanted(row)).count();
            if found.neighbors.len() >= k.min(live.saturating_sub(tail_live)) {
                let mut top = TopK::new(k);
                let query_norm = crate::math::norm(query);
                let in_graph: Vec<Ordinal> = found.neighbors.iter().map(|neighbor| neighbor.row).collect();
                found.neighbors.drain(..).for_each(|neighbor| top.push(neighbor));
                let outside = table.outside().filter(|&row| row < indexed && !in_graph.contains(&Ordinal(row)));
                for row in outside.chain(indexed..table.rows()).filter(|&row| wanted(row)) {
                    found.distances += 1;
                    let row = Ordinal(row);
                    top.push(Neighbor { row, distance: index::exact::distance(rows, row, query, query_norm) });
                }
                return Ok(GrowingFound { neighbors: top.into_sorted(), distances: found.distances, by_graph: true });
            }
        }
        let found = match selected {
            Some(selected) => {
                index::exact::search_rows(rows, query, k, selected.rows().filter(|row| table.has_vector(row.0)))
            }
            None => index::exact::search_within(rows, query, k, bound, |row| table.is_searched(row.0)),
        };
        Ok(GrowingFound { neighbors: found.neighbors, distances: found.distances, by_graph: false })
    }
}

/// Returns whether a row is held out of the graph of a segment with `rows` rows. Once released, a row is never held out
/// again.
pub(super) fn is_held_out(row: u32, rows: u32) -> bool {
    let level = (rows.max(CALIBRATED_FROM_ROWS) / HELD_OUT).next_power_of_two().trailing_zeros();
    // Fibonacci hashing (Knuth, volume 3, section 6.4): the upper bits are distributed best.
    let hash = (u64::from(row) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash.leading_zeros() >= level
}
