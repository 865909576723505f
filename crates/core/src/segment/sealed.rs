//! A sealed segment in memory: mapped vectors, its deleted rows, and an intact graph if there is one.

use super::SealedPayloads;
use super::columns::SealedColumns;
use super::overlay::{Overlay, Updates};
use super::text_index::SealedTexts;
use crate::api::Job;
use crate::index::calibration::Calibration;
use crate::index::hnsw::Graph;
use crate::index::{Error, Rows};
use crate::payload::RowSet;
use crate::store::{Segment, body};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, RwLock};
use crate::types::{Metric, Ordinal, PointId};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::PoisonError;

/// Minimum rows of a segment with a graph; with fewer, a scan is as fast.
pub(crate) const GRAPH_FROM_ROWS: u32 = 2_000;

/// Minimum live rows for calibration.
const MIN_CALIBRATED_ROWS: u32 = 200;

/// Rewrite a segment when more than 1/7 of its rows are deleted, or have an updated payload.
const MAX_DEAD_DIVISOR: u32 = 7;
/// Minimum deleted or updated rows for a rewrite: a small segment is soon merged with others anyway.
const MIN_DEAD_ROWS: u32 = 200;

/// What a job on a segment works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobOn {
    /// The points' own vectors.
    Vectors,
    /// The text fields.
    Texts,
    /// The vector field with this number.
    Field(u32),
}

/// A sealed segment of a collection.
pub(crate) struct Sealed {
    pub(crate) segment: Segment,
    pub(crate) graph: RwLock<Option<Arc<Graph>>>,
    /// Generation of the newest graph file. The next one gets another name.
    pub(crate) generation: AtomicU32,
    /// Calibration of the graph; `None` until measured.
    calibration: RwLock<Option<Arc<Calibration>>>,
    /// Whether the table is outdated, so that the graph is calibrated again.
    pub(crate) recalibrate: AtomicBool,
    /// Payload index for filters.
    pub(crate) payloads: SealedPayloads,
    /// Inverted indexes of text fields.
    pub(crate) texts: SealedTexts,
    /// Vectors of vector fields.
    pub(crate) columns: SealedColumns,
    /// Updated payloads.
    overlay: Overlay,
    /// Jobs that are not done, with the reason.
    deferred: Mutex<Vec<((Job, JobOn), String)>>,
    /// Deleted or hidden rows.
    deleted: Bitmap,
    /// Live rows found to be damaged: excluded everywhere until a repair.
    hidden: Bitmap,
    /// Damage count of the segment up to which rows are hidden.
    noted: AtomicU64,
}

impl Sealed {
    pub(crate) fn new(segment: Segment, graph: Option<(u32, Graph)>, deleted: &[u32]) -> Self {
        let (bitmap, hidden) = (Bitmap::new(segment.rows()), Bitmap::new(segment.rows()));
        for &row in deleted {
            bitmap.set(row);
        }
        let generation = AtomicU32::new(graph.as_ref().map_or(0, |(generation, _)| *generation));
        Self {
            segment,
            graph: RwLock::new(graph.map(|(_, graph)| Arc::new(graph))),
            generation,
            calibration: RwLock::new(None),
            recalibrate: AtomicBool::new(false),
            payloads: SealedPayloads::default(),
            texts: SealedTexts::default(),
            columns: SealedColumns::default(),
            overlay: Overlay::default(),
            deferred: Mutex::default(),
            deleted: bitmap,
            hidden,
            noted: AtomicU64::new(0),
        }
    }

    /// Returns the same segment with the rows deleted and the payloads updated so far. Later changes do not affect the
    /// copy.
    pub(crate) fn detached_copy(&self) -> Self {
        Self {
            segment: self.segment.clone(),
            graph: RwLock::new(self.graph()),
            generation: AtomicU32::new(self.generation.load(Ordering::Relaxed)),
            calibration: RwLock::new(self.calibration()),
            recalibrate: AtomicBool::new(false),
            payloads: SealedPayloads::default(),
            texts: SealedTexts::default(),
            columns: SealedColumns::default(),
            overlay: self.overlay.detached_copy(),
            deferred: Mutex::default(),
            deleted: self.deleted.copy(),
            hidden: self.hidden.copy(),
            noted: AtomicU64::new(self.noted.load(Ordering::Relaxed)),
        }
    }

    /// Returns its deleted rows, ascending, without hidden ones.
    pub(crate) fn dead(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.segment.rows()).filter(|&row| self.deleted.get(row) && !self.hidden.get(row))
    }

    /// Whether there is damage that is not hidden yet.
    pub(crate) fn has_new_damage(&self) -> bool {
        self.segment.damage_found() != self.noted.load(Ordering::Acquire)
    }

    /// Hides rows found to be damaged. Returns the number of new damaged blocks.
    pub(crate) fn hide_damage(&self) -> u64 {
        let found = self.segment.damage_found();
        for row in self.segment.damaged_rows().into_iter().flatten() {
            if !self.deleted.get(row) {
                self.hidden.set(row);
                self.deleted.set(row);
            }
        }
        found - self.noted.swap(found, Ordering::AcqRel).min(found)
    }

    /// Fails if the vector of a live row among these is damaged.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn ensure_vectors(&self, mut rows: Range<u32>) -> Result<(), crate::api::Error> {
        while let Some(row) = self.segment.unsound_vector(rows.clone()) {
            if self.is_live(row) {
                return Err(self.damage());
            }
            rows.start = row.0 + 1;
        }
        Ok(())
    }

    /// Returns the error for an unreadable part of it.
    pub(crate) fn damage(&self) -> crate::api::Error {
        let path = || format!("{}: damaged", self.segment.path().display());
        crate::api::Error::Damaged { what: self.segment.describe_damage().unwrap_or_else(path) }
    }

    /// Returns the id of a row.
    ///
    /// # Errors
    /// `Damaged` if it is unreadable.
    pub(crate) fn id_of(&self, row: Ordinal) -> Result<PointId, crate::api::Error> {
        PointId::new(self.segment.point_id(row)).map_err(|_| self.damage())
    }

    pub(crate) fn rows(&self, metric: Metric) -> Rows<'_> {
        Rows {
            vectors: self.segment.vectors(),
            norms: self.segment.norms(),
            dimension: self.segment.dimension() as usize,
            metric,
        }
    }

    pub(crate) fn graph(&self) -> Option<Arc<Graph>> {
        self.graph.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the graph, and discards the calibration of the previous one.
    pub(crate) fn set_graph(&self, graph: Option<Graph>) {
        self.set_calibration(None);
        *self.graph.write().unwrap_or_else(PoisonError::into_inner) = graph.map(Arc::new);
    }

    /// Returns the graph after verifying all of its bytes. A damaged graph is dropped: the segment is scanned until
    /// another is built.
    ///
    /// # Errors
    /// The damaged graph, and the failed check.
    pub(crate) fn verified_graph(&self) -> Result<Option<Arc<Graph>>, (Arc<Graph>, Error)> {
        let Some(graph) = self.graph() else { return Ok(None) };
        match graph.verify() {
            Ok(()) => Ok(Some(graph)),
            Err(error) => {
                let path = graph.path().display();
                tracing::error!(%path, %error, "a graph is damaged; its segment is scanned until it is rebuilt");
                self.set_graph(None);
                Err((graph, error))
            }
        }
    }

    pub(crate) fn calibration(&self) -> Option<Arc<Calibration>> {
        self.calibration.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_calibration(&self, calibration: Option<Calibration>) {
        self.recalibrate.store(false, Ordering::Relaxed);
        *self.calibration.write().unwrap_or_else(PoisonError::into_inner) = calibration.map(Arc::new);
    }

    pub(crate) fn needs_calibration(&self) -> bool {
        self.live_rows() >= MIN_CALIBRATED_ROWS
            && self.graph().is_some()
            && (self.recalibrate.load(Ordering::Relaxed) || self.calibration().is_none())
    }

    /// Whether its rows have vectors: all of them, or none.
    pub(crate) fn has_vectors(&self) -> bool {
        self.segment.dimension() > 0
    }

    pub(crate) fn needs_graph(&self) -> bool {
        self.has_vectors() && self.segment.rows() >= GRAPH_FROM_ROWS && self.graph().is_none()
    }

    /// Whether more than max(1/7 of its rows, 200) are deleted, or have an updated payload: it is rewritten before 1/5
    /// are.
    pub(crate) fn needs_compaction(&self) -> bool {
        let most = (self.segment.rows() / MAX_DEAD_DIVISOR).max(MIN_DEAD_ROWS);
        self.deleted_rows() > most || self.updates().rows() > most
    }

    /// Returns the updated payloads.
    pub(crate) fn updates(&self) -> std::sync::Arc<Updates> {
        self.overlay.get()
    }

    /// Returns the payload of a row: the updated one, or the one in the file.
    pub(crate) fn payload(&self, row: Ordinal) -> Cow<'_, [u8]> {
        match self.overlay.payload(row.0) {
            Some(updated) => Cow::Owned(updated.to_vec()),
            None => Cow::Borrowed(self.segment.payload(row)),
        }
    }

    /// Returns the body of a row: its present payload, and the vectors of its fields.
    pub(crate) fn body(&self, row: Ordinal) -> Cow<'_, [u8]> {
        match self.overlay.payload(row.0) {
            Some(updated) => Cow::Owned(body::join(&updated, body::fields(self.segment.body(row))).into_vec()),
            None => Cow::Borrowed(self.segment.body(row)),
        }
    }

    /// Whether the payload of a row is intact. An updated one does not depend on the file.
    pub(crate) fn payload_is_sound(&self, row: Ordinal) -> bool {
        self.overlay.payload(row.0).is_some() || self.segment.payload_is_sound(row)
    }

    /// Replaces payloads of rows. Under the commit lock.
    pub(crate) fn update_payloads(&self, payloads: impl IntoIterator<Item = (u32, std::sync::Arc<[u8]>)>) {
        self.overlay.set(payloads);
    }

    pub(crate) fn is_live(&self, row: Ordinal) -> bool {
        !self.deleted.get(row.0)
    }

    pub(crate) fn delete(&self, row: Ordinal) {
        self.deleted.set(row.0);
    }

    /// Records why a job on this segment is not done, or clears the reason.
    pub(crate) fn defer(&self, job: Job, on: JobOn, why: Option<String>) {
        let mut deferred = self.deferred.lock().unwrap_or_else(PoisonError::into_inner);
        let known = deferred.iter().position(|(other, _)| *other == (job, on));
        match (known, why) {
            (Some(at), Some(why)) => deferred[at].1 = why,
            (Some(at), None) => drop(deferred.remove(at)),
            (None, Some(why)) => {
                tracing::warn!(path = %self.segment.path().display(), why, "a background job is deferred");
                deferred.push(((job, on), why));
            }
            (None, None) => {}
        }
    }

    /// Forgets the reasons for jobs on fields that do not exist.
    pub(crate) fn retain_deferred(&self, exists: impl Fn(u32) -> bool) {
        let mut deferred = self.deferred.lock().unwrap_or_else(PoisonError::into_inner);
        deferred.retain(|((_, on), _)| if let JobOn::Field(number) = on { exists(*number) } else { true });
    }

    /// Returns the reasons for jobs that are not done.
    pub(crate) fn deferred(&self) -> Vec<String> {
        let deferred = self.deferred.lock().unwrap_or_else(PoisonError::into_inner);
        deferred.iter().map(|(_, why)| why.clone()).collect()
    }

    /// Returns the rows that are not deleted.
    pub(crate) fn only_live(&self, rows: &RowSet) -> RowSet {
        rows.minus_words(|word| self.deleted.words.get(word).map_or(0, |dead| dead.load(Ordering::Relaxed)))
    }

    pub(crate) fn deleted_rows(&self) -> u32 {
        self.deleted.count().saturating_sub(self.hidden.count())
    }

    pub(crate) fn live_rows(&self) -> u32 {
        self.segment.rows() - self.deleted.count()
    }

    /// Returns the live row with this id.
    pub(crate) fn find(&self, id: &str) -> Option<Ordinal> {
        self.segment.find(id).filter(|&row| self.is_live(row))
    }
}

/// One bit per row; set concurrently with reads.
struct Bitmap {
    words: Vec<AtomicU64>,
    count: AtomicU32,
    rows: u32,
}

impl Bitmap {
    fn new(rows: u32) -> Self {
        Self { words: (0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(), count: AtomicU32::new(0), rows }
    }

    fn copy(&self) -> Self {
        let words: Vec<AtomicU64> =
            self.words.iter().map(|word| AtomicU64::new(word.load(Ordering::Relaxed))).collect();
        Self { words, count: AtomicU32::new(self.count.load(Ordering::Relaxed)), rows: self.rows }
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    fn get(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_none_or(|word| word.load(Ordering::Relaxed) >> (row % 64) & 1 == 1)
    }

    fn set(&self, row: u32) {
        if row < self.rows {
            let before = self.words[row as usize / 64].fetch_or(1 << (row % 64), Ordering::Relaxed);
            if before >> (row % 64) & 1 == 0 {
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
