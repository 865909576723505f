//! The growing segment: points acknowledged but not yet sealed, in memory (and in the truth, which is their durable home).
//!
//! Rows are appended and never move; a row dies when its point is deleted or replaced. The first
//! `indexed` rows are in an hnsw_rs graph (built behind the writers) but for a few, the tail is scanned exactly.

use super::Error;
use super::filter::{GrowingPayloads, Selected, plan};
use super::growing_recall::is_held_out;
use crate::index::calibration::Calibration;
use crate::index::{self, GraphParams, GrowingIndex, Rows};
use crate::math::{Components, TopK};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Arc, RwLock, RwLockReadGuard};
use crate::types::{Metric, Neighbor, Ordinal, PointId};
use std::collections::BTreeMap;
use std::sync::{OnceLock, PoisonError};
use std::time::Instant;

/// Fewer rows than this are scanned: a graph would not be faster.
const INDEX_FROM_ROWS: u32 = 5_000;
/// Rows copied out under the lock for one step of the indexer.
const INDEX_STEP: u32 = 256;

/// What a row takes beside its vector, payload and id: pointers, lengths, its place in the order of ids.
const ROW_BYTES: usize = 120;

/// One growing segment of a collection.
pub(super) struct Growing {
    pub(super) dimension: usize,
    metric: Metric,
    params: GraphParams,
    capacity: usize,
    table: RwLock<Table>,
    graph: OnceLock<GrowingIndex>,
    /// Rows that the graph was offered, in order.
    indexed: AtomicU32,
    /// Since when no more rows come: the indexer leaves it alone, its seal is near.
    pub(super) frozen_at: OnceLock<Instant>,
    /// Set when the graph failed: what it holds still serves, nothing is added.
    graph_failed: AtomicBool,
    /// What was measured of the graph, and how many rows it had been offered then.
    pub(super) measured: RwLock<Option<(u32, Arc<Calibration>)>>,
    /// What filters are answered from.
    pub(super) payloads: GrowingPayloads,
}

/// The rows.
#[derive(Default)]
pub(super) struct Table {
    vectors: Vec<f32>,
    norms: Vec<f32>,
    pub(super) keys: Vec<u64>,
    pub(super) ids: Vec<PointId>,
    pub(super) payloads: Vec<Box<[u8]>>,
    /// Bytes of payloads, ids and what else a row takes beside its vector.
    other_bytes: usize,
    pub(super) dead: Vec<bool>,
    /// Live rows by id.
    pub(super) by_id: BTreeMap<PointId, u32>,
    /// Rows that the graph refused: scanned like the tail.
    unindexable: Vec<u32>,
    /// Rows that are kept out of the graph, to measure it with: scanned like the tail. See `growing_recall.rs`.
    pub(super) held_out: Vec<u32>,
}

impl Table {
    pub(super) fn rows(&self) -> u32 {
        self.keys.len() as u32
    }

    /// Rows that the graph was offered and that are not in it (one that was held out may be there already).
    pub(super) fn outside(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.unindexable.iter().chain(&self.held_out).copied()
    }

    pub(super) fn vector(&self, row: u32, dimension: usize) -> &[f32] {
        &self.vectors[row as usize * dimension..][..dimension]
    }
}

/// A point on its way into a growing segment.
pub(super) struct NewRow {
    pub(super) key: u64,
    pub(super) id: PointId,
    pub(super) vector: Vec<f32>,
    pub(super) payload: Box<[u8]>,
}

/// What a search of a growing segment found.
pub(super) struct GrowingFound {
    pub(super) neighbors: Vec<Neighbor>,
    pub(super) distances: u64,
    /// Whether the graph answered for some rows.
    pub(super) by_graph: bool,
}

impl Growing {
    pub(super) fn new(dimension: u32, metric: Metric, params: GraphParams, capacity: u32) -> Self {
        Self {
            dimension: dimension as usize,
            metric,
            params,
            // Writers may overshoot the seal threshold by one batch each.
            capacity: capacity as usize + super::limits::MAX_BATCH,
            table: RwLock::default(),
            graph: OnceLock::new(),
            indexed: AtomicU32::new(0),
            frozen_at: OnceLock::new(),
            graph_failed: AtomicBool::new(false),
            measured: RwLock::new(None),
            payloads: GrowingPayloads::default(),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Every critical section below leaves the table whole, so a poisoned lock still guards a sound table.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends rows and makes them visible.
    pub(super) fn append(&self, rows: impl IntoIterator<Item = NewRow>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let place = table.rows();
            table.norms.push(crate::math::norm(&row.vector));
            table.vectors.extend_from_slice(&row.vector);
            table.keys.push(row.key);
            table.other_bytes += row.payload.len() + 2 * row.id.as_str().len() + ROW_BYTES;
            table.payloads.push(row.payload);
            table.dead.push(false);
            table.by_id.insert(row.id.clone(), place);
            table.ids.push(row.id);
        }
    }

    /// Marks rows dead. A row that was replaced in this same segment keeps its id's newer row.
    pub(super) fn kill(&self, rows: &[u32]) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for &row in rows {
            table.dead[row as usize] = true;
            let id = table.ids[row as usize].clone();
            if table.by_id.get(&id) == Some(&row) {
                table.by_id.remove(&id);
            }
        }
    }

    pub(super) fn live(&self) -> u64 {
        self.read().by_id.len() as u64
    }

    /// Rows, dead ones too.
    pub(super) fn rows_held(&self) -> u32 {
        self.read().rows()
    }

    /// Bytes of memory that the rows take: vectors, payloads, ids.
    pub(super) fn bytes_held(&self) -> usize {
        let table = self.read();
        table.vectors.len() * 4 + table.other_bytes
    }

    /// Whether it is to be sealed: it has `rows` rows, or its vectors and payloads take `bytes`.
    pub(super) fn is_full(&self, rows: u32, bytes: usize) -> bool {
        self.rows_held() >= rows || self.bytes_held() >= bytes
    }

    /// Moves at most a step of the tail into the graph. Returns whether it did anything.
    ///
    /// # Errors
    /// The index's, which leaves the rows in the scanned tail.
    pub(super) fn index_step(&self) -> Result<bool, Error> {
        if self.frozen_at.get().is_some() || self.graph_failed.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let from = self.indexed.load(Ordering::Acquire);
        let (until, vectors, held_before) = {
            let table = self.read();
            let rows = table.rows();
            if rows < INDEX_FROM_ROWS || rows == from {
                return Ok(false);
            }
            let until = rows.min(from + INDEX_STEP);
            let vectors = &table.vectors[from as usize * self.dimension..until as usize * self.dimension];
            (until, vectors.to_vec(), table.held_out.clone())
        };
        let graph = match self.graph.get() {
            Some(graph) => graph,
            None => {
                let graph = GrowingIndex::new(self.dimension, self.metric, self.params, self.capacity)?;
                self.graph.get_or_init(|| graph)
            }
        };
        // Of the rows held out before, some are not any more.
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

    /// The rows of a table of this segment.
    pub(super) fn rows<'a>(&self, table: &'a Table) -> Rows<'a> {
        Rows {
            vectors: Components::F32(&table.vectors),
            norms: &table.norms,
            dimension: self.dimension,
            metric: self.metric,
        }
    }

    /// Rows that the graph was offered, the first ones.
    pub(super) fn indexed_rows(&self) -> u32 {
        self.indexed.load(Ordering::Acquire)
    }

    /// The graph, once there is one.
    pub(super) fn graph(&self) -> Option<&GrowingIndex> {
        self.graph.get()
    }

    /// The nearest live rows (with `selected`: of those): the graph for the indexed rows (if `ef` is given), an exact
    /// scan for all others, which leaves out what is farther than `bound`. Few selected rows are compared without the graph.
    ///
    /// # Errors
    /// The index's.
    pub(super) fn search(
        &self,
        query: &[f32],
        k: usize,
        ef: Option<u32>,
        bound: f32,
        selected: Option<&Selected>,
    ) -> Result<GrowingFound, Error> {
        // Read before the table is locked: rows below it were offered to the graph by then.
        let indexed = self.indexed.load(Ordering::Acquire);
        let table = self.read();
        let rows = self.rows(&table);
        let wanted = |row: u32| match selected {
            Some(selected) => selected.contains(row),
            None => !table.dead[row as usize],
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
            Some(selected) => index::exact::search_rows(rows, query, k, selected.rows()),
            None => index::exact::search_within(rows, query, k, bound, |row| !table.dead[row.0 as usize]),
        };
        Ok(GrowingFound { neighbors: found.neighbors, distances: found.distances, by_graph: false })
    }
}
