//! Background jobs: flushing of growing segments, compaction of sealed ones, and graph builds.
//!
//! A job reads live rows, writes new immutable files, and publishes them in one transaction under the commit lock,
//! which also carries over the rows deleted and the payloads updated meanwhile. A crash before that transaction leaves files marked as not
//! committed ([`UncommittedSegment`]); the next open removes them.

use crate::api::{Error, Job};
use crate::collection::job_memory::{Refused, Reserved, too_little};
use crate::collection::meters::count;
use crate::collection::open::{expected, graph_path};
use crate::collection::state::Collection;
use crate::collection::tenants::ORDER_ROW_BYTES;
use crate::collection::uncommitted::{FIRST_GENERATION, UncommittedSegment};
use crate::collection::view::View;
use crate::disk;
use crate::index::Rows;
use crate::index::hnsw::{self, Graph, Reuse};
use crate::index::reorder::{self, SourceRow};
use crate::segment::columns::{Column, IndexedVectors};
use crate::segment::growing::Growing;
use crate::segment::overlay::Updates;
use crate::segment::sealed::{GRAPH_FROM_ROWS, JobOn, Sealed};
use crate::store::{Change, Segment, body};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::types::Ordinal;
use rayon::prelude::*;
use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

/// Maximum rows of a segment written by a merge or a bulk load.
const MAX_SEGMENT_ROWS: u64 = 4 << 20;
/// Merge a segment with all smaller ones once they hold 1/8 of its rows. A larger value means fewer segments to search,
/// but about that many writes of each row over its life. A row is linked only once, because the links of the largest
/// input are kept.
const SMALLER_ONE_IN: u64 = 8;
/// Delay flushes, and with them writers, when a merge of more segments than this is due.
const MERGES_BEHIND: usize = 16;
/// Maximum delay of a flush.
const MAX_FLUSH_DELAY: Duration = Duration::from_secs(10);
/// Retry interval of a background job while a request holds the job lock.
const JOB_LOCK_RETRY: Duration = Duration::from_millis(100);
/// Retry interval of a job that memory was too small for.
pub(super) const MEMORY_RETRY: Duration = Duration::from_secs(10);
/// Bytes per row that a merge needs for reordering and writing, besides its graph: row origin, slots, id ends and id
/// order.
const MERGE_ROW_BYTES: u64 = 128;

/// A compaction task.
pub(crate) enum Task {
    /// Writes the live rows of these segments into one new segment.
    Merge(Vec<Arc<Sealed>>),
    /// Builds a missing graph.
    Graph(Arc<Sealed>),
}

/// Limits of jobs, from the available memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobLimits {
    /// Rows of a merged segment.
    merge: u64,
    /// Rows of a segment whose graph is built.
    graph: u64,
    /// Bytes of updated payloads from which a segment is rewritten.
    overlay_bytes: usize,
}

/// Result of a background step on one collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Did one job; there may be more.
    Done,
    /// No job is due.
    Nothing,
    /// A job is due but cannot run now; retry after this time.
    Later(Duration),
}

pub(crate) use crate::api::Observe;

impl Collection {
    /// Runs the most useful job: one merge, or one graph build.
    pub(crate) fn run_compaction(&self, observe: Observe<'_>) -> Result<Step, Error> {
        let Ok(_folder) = self.use_folder() else { return Ok(Step::Nothing) };
        let Some(_job_lock) = self.jobs.behind_requests() else { return Ok(Step::Later(JOB_LOCK_RETRY)) };
        if !self.can_compact() {
            return Ok(Step::Nothing);
        }
        let (view, capacity) = (self.view(), self.meters.memory.capacity());
        let deferred = self.note_deferred(&view, capacity);
        let after_merge = self.last_was_merge.load(Ordering::Relaxed);
        let Some(task) = choose(&view, self.job_limits(capacity), after_merge) else {
            if let Some(sealed) = self.without_text() {
                self.prepare_texts(&sealed, observe);
                // Without an index after all, the next query returns the error.
                let failed = self.without_text().is_some_and(|other| Arc::ptr_eq(&other, &sealed));
                return Ok(if failed { Step::Later(MEMORY_RETRY) } else { Step::Done });
            }
            match self.index_columns(observe)? {
                Step::Nothing => {}
                step => return Ok(step),
            }
            return Ok(if deferred { Step::Later(MEMORY_RETRY) } else { Step::Nothing });
        };
        self.last_was_merge.store(matches!(task, Task::Merge(_)), Ordering::Relaxed);
        let done = match &task {
            Task::Merge(inputs) => self.merge(inputs, observe),
            Task::Graph(sealed) => self.build_graph(sealed, observe),
        };
        let begun = matches!(done, Ok(true));
        self.compaction_fails.store(!begun, Ordering::Relaxed);
        done.map(|begun| if begun { Step::Done } else { Step::Later(MEMORY_RETRY) })
    }

    /// Returns the maximum memory of a merge into `rows` rows and of their graph, in bytes.
    fn merge_bytes(&self, rows: u64) -> u64 {
        let graph = if rows < GRAPH_FROM_ROWS.into() { 0 } else { self.graph_bytes(rows, true) };
        let order = if self.tenant.is_some() { ORDER_ROW_BYTES } else { 0 };
        graph.saturating_add(rows.saturating_mul(MERGE_ROW_BYTES + order))
    }

    fn graph_bytes(&self, rows: u64, with_reuse: bool) -> u64 {
        hnsw::build_bytes(rows, self.dimension as usize, self.metric, self.settings.m, with_reuse)
    }

    /// Returns the limits for this much memory.
    fn job_limits(&self, bytes: u64) -> JobLimits {
        let max_rows = |needed: &dyn Fn(u64) -> u64| {
            let (mut low, mut high) = (0, u64::from(hnsw::MAX_ROWS));
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                if needed(middle) <= bytes {
                    low = middle;
                } else {
                    high = middle - 1;
                }
            }
            low
        };
        JobLimits {
            merge: max_rows(&|rows| self.merge_bytes(rows)),
            graph: max_rows(&|rows| self.graph_bytes(rows, false)),
            overlay_bytes: self.rewrite_overlay_bytes(),
        }
    }

    /// Returns the row limit of a new segment for the available memory.
    pub(crate) fn max_rows(&self) -> u64 {
        self.job_limits(self.meters.memory.capacity()).merge.min(MAX_SEGMENT_ROWS)
    }

    /// Records at each segment the jobs that do not fit into `capacity`. Returns whether there are any.
    fn note_deferred(&self, view: &View, capacity: u64) -> bool {
        let mut deferred = false;
        for sealed in &view.sealed {
            let id = sealed.segment.id().0;
            let mut note = |job, wanted: bool, needed: u64| {
                let why = (wanted && needed > capacity)
                    .then(|| too_little(&format!("segment {id} {}", drawback(job)), needed, capacity));
                deferred |= why.is_some();
                sealed.defer(job, JobOn::Vectors, why);
            };
            let graph = self.graph_bytes(sealed.segment.rows().into(), false);
            note(Job::Indexing, sealed.needs_graph(), graph);
            let merge = self.merge_bytes(sealed.live_rows().into());
            note(Job::Merging, sealed.needs_compaction(), merge);
        }
        deferred
    }

    /// Reserves memory for a job on these segments. If there is too little, records that at each of them and returns
    /// `None`.
    ///
    /// # Errors
    /// `Unavailable` when `observe` returns false while waiting for other jobs.
    pub(crate) fn reserve(
        &self,
        bytes: u64,
        job: Job,
        inputs: &[Arc<Sealed>],
        observe: Observe<'_>,
    ) -> Result<Option<Reserved<'_>>, Error> {
        match self.meters.memory.reserve(bytes, bytes, &|| !self.is_removed() && observe(job, 0, 1)) {
            Ok(reserved) => Ok(Some(reserved)),
            Err(Refused::TooLittle { capacity }) => {
                for sealed in inputs {
                    let id = sealed.segment.id().0;
                    let what = match inputs.len() {
                        1 => format!("segment {id} {}", drawback(job)),
                        others => format!("segment {id} is not merged: merging it with {} others", others - 1),
                    };
                    sealed.defer(job, JobOn::Vectors, Some(too_little(&what, bytes, capacity)));
                }
                Ok(None)
            }
            Err(Refused::Cancelled) => Err(Error::Unavailable("a job was cancelled before it began".into())),
        }
    }

    /// Whether the collection exists, and neither damage nor a failed disk stops its jobs.
    pub(crate) fn can_compact(&self) -> bool {
        !self.is_removed() && self.view().damaged.is_empty() && self.db.stopped().is_none()
    }

    /// Whether a merge, a graph build or a text index is due.
    pub(crate) fn is_compaction_due(&self) -> bool {
        let limits = self.job_limits(self.meters.memory.capacity());
        choose(&self.view(), limits, false).is_some() || self.without_text().is_some()
    }

    /// Whether to delay the next flush because compaction lags. Bounded, because writers wait for it. Not for failing
    /// merges, such as those without disk space.
    pub(crate) fn delays_flush(&self) -> bool {
        let view = self.view();
        let fresh = |growing: &Arc<Growing>| growing.rotated_at.get().is_some_and(|at| at.elapsed() < MAX_FLUSH_DELAY);
        !self.compaction_fails.load(Ordering::Relaxed)
            && view.sealed.len() > MERGES_BEHIND
            && view.unflushed.first().is_some_and(fresh)
            && matches!(choose(&view, self.job_limits(self.meters.memory.capacity()), false), Some(Task::Merge(inputs)) if inputs.len() > MERGES_BEHIND)
    }

    /// Flushes the growing segment, merges all segments into as few as possible, and builds each graph and its
    /// calibration table. Ignores later writes, so that it ends while writers continue. Skips jobs that memory is too
    /// small for, and records them at the segments.
    pub(crate) fn compact(&self, observe: Observe<'_>) -> Result<(), Error> {
        let _folder = self.use_folder()?;
        self.view().ensure_intact(&self.name())?;
        let unflushed = {
            let held = self.commit_queue.lock();
            self.rotate_growing(&held)?;
            self.view().unflushed.clone()
        };
        let job_lock = self.jobs.of_request()?;
        self.flush_all_of(&unflushed)?;
        let (view, max_rows) = (self.view(), self.max_rows());
        let mut group: Vec<Arc<Sealed>> = Vec::new();
        let mut rows = 0;
        // Segments with vectors, then those without.
        let mut in_order = view.sealed.clone();
        in_order.sort_by_key(|sealed| !sealed.has_vectors());
        for sealed in &in_order {
            let kind_ends = group.last().is_some_and(|last| last.has_vectors() != sealed.has_vectors());
            if kind_ends {
                self.merge_if_useful(&std::mem::take(&mut group), observe)?;
                rows = 0;
            }
            if !group.is_empty() && rows + u64::from(sealed.live_rows()) > max_rows {
                self.merge_if_useful(&std::mem::take(&mut group), observe)?;
                rows = 0;
            }
            rows += u64::from(sealed.live_rows());
            group.push(sealed.clone());
        }
        self.merge_if_useful(&group, observe)?;
        self.build_graphs(observe)?;
        drop(job_lock);
        self.index_all_columns(observe)?;
        self.calibrate_all(observe)
    }

    /// Builds the missing indexes of the sealed segments, without merging.
    pub(crate) fn build_indexes(&self, observe: Observe<'_>) -> Result<(), Error> {
        let _folder = self.use_folder()?;
        let job_lock = self.jobs.of_request()?;
        for sealed in &self.view().sealed {
            sealed.prepare_payloads();
            self.prepare_texts(sealed, observe);
        }
        self.build_graphs(observe)?;
        drop(job_lock);
        self.index_all_columns(observe)?;
        self.calibrate_all(observe)
    }

    /// Builds the missing graphs for a request, and nothing else.
    pub(crate) fn build_missing_graphs(&self, observe: Observe<'_>) -> Result<(), Error> {
        let _folder = self.use_folder()?;
        let _job_lock = self.jobs.of_request()?;
        self.build_graphs(observe)
    }

    /// Builds the missing graphs. The caller holds the job lock.
    fn build_graphs(&self, observe: Observe<'_>) -> Result<(), Error> {
        self.note_deferred(&self.view(), self.meters.memory.capacity());
        for sealed in self.view().sealed.iter().filter(|sealed| sealed.needs_graph()) {
            self.build_graph(sealed, observe)?;
        }
        Ok(())
    }

    fn merge_if_useful(&self, group: &[Arc<Sealed>], observe: Observe<'_>) -> Result<(), Error> {
        if group.len() > 1 || group.iter().any(|sealed| sealed.deleted_rows() > 0 || sealed.updates().rows() > 0) {
            self.merge(group, observe)?;
        }
        Ok(())
    }

    /// Merges the live rows of `inputs` into one new segment with its graph, and publishes it. Returns false if memory
    /// is too small.
    fn merge(&self, inputs: &[Arc<Sealed>], observe: Observe<'_>) -> Result<bool, Error> {
        let total: u64 = inputs.iter().map(|sealed| u64::from(sealed.live_rows())).sum();
        let Some(memory) = self.reserve(self.merge_bytes(total), Job::Merging, inputs, observe)? else {
            return Ok(false);
        };
        // A copy gets its own checksums: verify what is copied.
        for sealed in inputs {
            if let Err(error) = sealed.segment.verify_rows() {
                self.quarantine(&sealed.segment, &error);
                return Err(error.into());
            }
        }
        // Hidden damaged rows would be taken for deleted ones.
        self.view().ensure_intact(&self.name())?;
        let mut origins: Vec<SourceRow> = Vec::with_capacity(total as usize);
        for (input, sealed) in inputs.iter().enumerate() {
            let rows = (0..sealed.segment.rows()).map(Ordinal).filter(|&row| sealed.is_live(row));
            origins.extend(rows.map(|row| (input as u32, row)));
        }
        let segments: Vec<&Segment> = inputs.iter().map(|sealed| &sealed.segment).collect();
        let updates: Vec<_> = inputs.iter().map(|sealed| sealed.updates()).collect();
        let written = if origins.is_empty() {
            None
        } else {
            let (segment, mark) = self.write_in_order(&segments, &updates, &mut origins, observe)?;
            let reusable = Reusable::of(inputs, &origins);
            let graph = match segment.dimension() > 0 && segment.rows() >= GRAPH_FROM_ROWS {
                true => Some(self.publish_graph(&segment, FIRST_GENERATION, reusable.as_ref(), observe)?),
                false => None,
            };
            // The indexes of fields reserve their own memory, and would wait for this.
            drop((memory, reusable));
            // Before the segment is searched, which would wait for them. They are opened again with it.
            let indexed = Sealed::new(segment.clone(), None, &[]);
            self.prepare_texts(&indexed, observe);
            self.prepare_columns(&indexed, inputs, &origins, observe);
            Some((segment, graph, mark))
        };

        let held = self.commit_queue.lock();
        // Dropping the marker removes the new files.
        let current = self.view();
        if self.is_removed() || !inputs.iter().all(|input| current.sealed.iter().any(|other| Arc::ptr_eq(other, input)))
        {
            // The collection or all of its points were deleted.
            return Ok(true);
        }
        current.ensure_intact(&self.name())?;
        let deleted: Vec<u32> = (0..origins.len() as u32)
            .filter(|&new| {
                let (input, row) = origins[new as usize];
                !inputs[input as usize].is_live(row)
            })
            .collect();
        let updated = updated_since(inputs, &updates, &origins);
        let mut changes: Vec<Change<'_>> =
            inputs.iter().map(|sealed| Change::RemoveSegment { segment: sealed.segment.id() }).collect();
        if let Some((segment, graph, _)) = &written {
            changes.push(Change::AddSegment {
                segment: segment.id(),
                graph_generation: graph.as_ref().map(|_| FIRST_GENERATION),
                tag: segment.tag(),
            });
            let id = segment.id();
            changes.extend(updated.iter().map(|(row, payload)| Change::SetPayload { segment: id, row: *row, payload }));
            changes.extend(deleted.iter().map(|&row| Change::DeleteRow { segment: id, row }));
        }
        let merged = match written {
            Some((segment, graph, mark)) => {
                self.commit_segments([mark], &changes)?;
                let sealed = Sealed::new(segment, graph.map(|graph| (FIRST_GENERATION, graph)), &deleted);
                sealed.update_payloads(updated);
                Some(Arc::new(sealed))
            }
            None => {
                self.db.commit(&changes)?;
                None
            }
        };
        self.change_view(|view| {
            view.sealed.retain(|other| !inputs.iter().any(|input| Arc::ptr_eq(input, other)));
            view.sealed.extend(merged.clone());
        });
        drop(held);
        count(&self.meters.merges);
        if let Some(merged) = &merged {
            merged.prepare_payloads();
        }
        self.remove_files(inputs);
        Ok(true)
    }

    /// Removes the files of segments that no record names any more.
    pub(super) fn remove_files(&self, segments: &[Arc<Sealed>]) {
        let mut removed = true;
        for sealed in segments {
            removed &= self.remove(sealed.segment.path());
            self.remove(&self.dir.join(sealed.segment.id().payloads_file()));
            let id = sealed.segment.id().to_string();
            self.remove_field_files(|name| name.starts_with(&id));
            if let Some(graph) = sealed.graph() {
                self.remove(graph.path());
            }
        }
        if removed && disk::sync_folder(self.fs.as_ref(), &self.dir).is_ok() {
            self.db.settle(segments.iter().map(|sealed| sealed.segment.id()));
        }
    }

    /// Writes rows of segments into a new one, ordered by tenant, and within each in graph order, which places near rows
    /// together. `rows` has that order afterwards. `updates` holds the updated payloads of each segment, or nothing if there are none.
    pub(crate) fn write_in_order(
        &self,
        segments: &[&Segment],
        updates: &[std::sync::Arc<Updates>],
        rows: &mut [SourceRow],
        observe: Observe<'_>,
    ) -> Result<(Segment, UncommittedSegment<'_>), Error> {
        let total = rows.len() as u64;
        let go_on = |done| if self.is_removed() { false } else { observe(Job::Merging, done, total) };
        let cancelled = || Error::Unavailable("the writing of a segment was cancelled".into());
        let sources: Vec<Rows<'_>> = segments.iter().map(|segment| self.rows_of(segment)).collect();
        let reorders = self.dimension > 0 && segments.iter().all(|segment| segment.dimension() > 0);
        let payload = |(input, row): SourceRow| {
            let updated = updates.get(input as usize).and_then(|updates| updates.get(row.0));
            match updated {
                Some(updated) => Cow::Borrowed(&**updated),
                None => Cow::Borrowed(segments[input as usize].payload(row)),
            }
        };
        let tenants = self.sort_by_tenant(rows, &payload, &|| go_on(0)).ok_or_else(cancelled)?;
        if reorders && total >= GRAPH_FROM_ROWS.into() {
            let mut rest = &mut *rows;
            let mut parts: Vec<&mut [SourceRow]> = Vec::with_capacity(tenants.len());
            for count in tenants {
                let (part, others) = std::mem::take(&mut rest).split_at_mut(count);
                parts.push(part);
                rest = others;
            }
            let reorder = |part: &mut [SourceRow]| reorder::reorder_by_proximity(&sources, part, &|| go_on(0));
            if !parts.into_par_iter().all(reorder) {
                return Err(cancelled());
            }
        }
        // Inputs have vectors, all or none.
        let dimension = segments.first().map_or(self.dimension, |segment| segment.dimension());
        let (mut writer, mark) = self.segment_writer(dimension)?;
        let fields: Vec<u32> = self.vector_fields().iter().map(|field| field.spec.number).collect();
        for (done, &(input, row)) in (1_u64..).zip(&*rows) {
            let segment = segments[input as usize];
            let updated = updates.get(input as usize).and_then(|updates| updates.get(row.0));
            let stored = segment.body(row);
            let updated = updated.map(|payload| body::join(payload, body::fields(stored)));
            let body = body::retain(updated.as_deref().unwrap_or(stored), |number| fields.contains(&number));
            writer.append(segment.point_id(row), &segment.vector(row), &body)?;
            if done.is_multiple_of(10_000) && !go_on(done) {
                return Err(cancelled());
            }
        }
        Ok((writer.finish()?, mark))
    }

    /// Returns the vectors of a segment in the form that indexes take.
    fn rows_of<'a>(&self, segment: &'a Segment) -> Rows<'a> {
        Rows {
            vectors: segment.vectors(),
            norms: segment.norms(),
            dimension: segment.dimension() as usize,
            metric: self.metric,
        }
    }

    /// Builds the missing graph of a segment, and publishes it. Returns false if memory is too small.
    fn build_graph(&self, sealed: &Arc<Sealed>, observe: Observe<'_>) -> Result<bool, Error> {
        sealed.prepare_payloads();
        if let Err(error) = sealed.ensure_vectors(0..sealed.segment.rows()) {
            self.note_damage();
            return Err(error);
        }
        let bytes = self.graph_bytes(sealed.segment.rows().into(), false);
        let Some(_memory) = self.reserve(bytes, Job::Indexing, std::slice::from_ref(sealed), observe)? else {
            return Ok(false);
        };
        let generation = sealed.generation.load(Ordering::Relaxed) + 1;
        let graph = self.publish_graph(&sealed.segment, generation, None, observe)?;
        let _held = self.commit_queue.lock();
        if self.is_removed() || !self.view().sealed.iter().any(|other| Arc::ptr_eq(other, sealed)) {
            self.remove(graph.path());
            return Ok(true);
        }
        self.db.commit(&[Change::SetGraph { segment: sealed.segment.id(), graph_generation: Some(generation) }])?;
        let older = sealed.generation.swap(generation, Ordering::Relaxed);
        if older > 0 {
            self.remove(&graph_path(&self.dir, sealed.segment.id(), older));
        }
        sealed.set_graph(Some(graph));
        sealed.defer(Job::Indexing, JobOn::Vectors, None);
        count(&self.meters.graphs);
        Ok(true)
    }

    /// Builds the graph of a new segment, if it is large enough and there is memory.
    pub(crate) fn graph_of(&self, segment: &Segment, observe: Observe<'_>) -> Result<Option<Graph>, Error> {
        if segment.dimension() == 0 || segment.rows() < GRAPH_FROM_ROWS {
            return Ok(None);
        }
        let bytes = self.graph_bytes(segment.rows().into(), false);
        let Some(_memory) = self.reserve(bytes, Job::Indexing, &[], observe)? else { return Ok(None) };
        self.publish_graph(segment, FIRST_GENERATION, None, observe).map(Some)
    }

    fn publish_graph(
        &self,
        segment: &Segment,
        generation: u32,
        reusable: Option<&Reusable>,
        observe: Observe<'_>,
    ) -> Result<Graph, Error> {
        let progress = |done, total| !self.is_removed() && observe(Job::Indexing, done, total);
        let built = hnsw::build(self.rows_of(segment), self.graph_params()?, reusable.map(Reusable::links), &progress)?;
        let path = graph_path(&self.dir, segment.id(), generation);
        built.publish(&self.fs, &path, segment.tag())?;
        Ok(Graph::open(&path, expected(segment, self.metric))?)
    }

    /// Removes an obsolete file, if it exists. If that fails, the next open removes it.
    pub(crate) fn remove(&self, path: &Path) -> bool {
        let removed = disk::remove_file(self.fs.as_ref(), path);
        if let Err(error) = &removed {
            tracing::debug!(path = %path.display(), %error, "could not remove an obsolete file; the next open removes it");
        }
        removed.is_ok()
    }

    /// Verifies every byte of the graphs, and drops damaged ones, so that they are rebuilt.
    pub(crate) fn audit_graphs(&self) {
        for sealed in &self.view().sealed {
            _ = sealed.verified_graph();
        }
    }
}

/// Describes a segment while that job is deferred.
fn drawback(job: Job) -> &'static str {
    match job {
        Job::Merging => "keeps its deleted rows and updated payloads: rewriting it",
        _ => "has no graph and is scanned: building one",
    }
}

/// The graph of a merge's largest input: over the points' own vectors, or over those of a field. The new graph keeps its
/// links.
pub(crate) struct Reusable {
    graph: Arc<Graph>,
    /// New row of each of its rows.
    rows: Vec<Option<Ordinal>>,
}

impl Reusable {
    /// Selects it from the inputs of a merge. `origins` has the source row of each row of the new segment.
    fn of(inputs: &[Arc<Sealed>], origins: &[SourceRow]) -> Option<Self> {
        let with_graph = inputs.iter().enumerate().filter(|(_, sealed)| sealed.graph().is_some());
        let (largest, sealed) = with_graph.max_by_key(|(_, sealed)| sealed.live_rows())?;
        let graph = sealed.verified_graph().ok()??;
        Some(Self { graph, rows: new_rows(sealed, largest, origins) })
    }

    /// Like [`of`](Self::of), over the vectors of a field. `new` is the column of the new segment.
    pub(super) fn of_column(
        field: &IndexedVectors,
        inputs: &[Arc<Sealed>],
        origins: &[SourceRow],
        new: &Column,
    ) -> Option<Self> {
        let columns =
            inputs.iter().enumerate().filter_map(|(at, sealed)| Some((at, sealed, sealed.open_columns(field)?)));
        let with_graph = columns.filter_map(|(at, sealed, column)| Some((at, sealed, column.graph()?, column)));
        let (largest, sealed, graph, column) = with_graph.max_by_key(|(.., column)| column.segment.rows())?;
        let segment_rows = new_rows(sealed, largest, origins);
        let new_row = |row: u32| new.row_at((*segment_rows.get(column.row_of(Ordinal(row)).0 as usize)?)?);
        // Its links were verified when it was opened.
        Some(Self { graph, rows: (0..column.segment.rows()).map(new_row).collect() })
    }

    pub(super) fn links(&self) -> Reuse<'_> {
        Reuse { graph: &self.graph, rows: &self.rows }
    }
}

/// Returns the new row of each row of the input of a merge with this index. `origins` has the source row of each new row.
fn new_rows(input: &Sealed, index: usize, origins: &[SourceRow]) -> Vec<Option<Ordinal>> {
    let mut rows = vec![None; input.segment.rows() as usize];
    for (new, (_, row)) in (0..).zip(origins).filter(|(_, (input, _))| *input as usize == index) {
        rows[row.0 as usize] = Some(Ordinal(new));
    }
    rows
}

/// Returns the rows of a merged segment whose payload was updated after `before`, with that payload. `origins` has the
/// source row of each row of the new segment.
fn updated_since(
    inputs: &[Arc<Sealed>],
    before: &[std::sync::Arc<Updates>],
    origins: &[SourceRow],
) -> Vec<(u32, std::sync::Arc<[u8]>)> {
    let now: Vec<_> = inputs.iter().map(|sealed| sealed.updates()).collect();
    if now.iter().zip(before).all(|(now, before)| now.version() == before.version()) {
        return Vec::new();
    }
    let updated = |(new, &(input, row)): (u32, &SourceRow)| {
        let payload = now[input as usize].get(row.0)?;
        let written = before[input as usize].get(row.0).is_some_and(|before| std::sync::Arc::ptr_eq(before, payload));
        (!written && inputs[input as usize].is_live(row)).then(|| (new, payload.clone()))
    };
    (0..).zip(origins).filter_map(updated).collect()
}

/// Returns the pairs of rows of two segments with equal ids, in one pass over both in id order.
pub(crate) fn common_ids<'a>(a: &'a Segment, b: &'a Segment) -> impl Iterator<Item = (Ordinal, Ordinal)> + 'a {
    let (mut left, mut right) = (a.in_order(None).peekable(), b.in_order(None).peekable());
    std::iter::from_fn(move || {
        loop {
            let (&x, &y) = (left.peek()?, right.peek()?);
            match a.point_id(x).as_bytes().cmp(b.point_id(y).as_bytes()) {
                std::cmp::Ordering::Less => _ = left.next(),
                std::cmp::Ordering::Greater => _ = right.next(),
                std::cmp::Ordering::Equal => {
                    left.next();
                    right.next();
                    return Some((x, y));
                }
            }
        }
    })
}

/// Selects the next job. Segments with many deleted rows are rewritten and small ones merged before graphs are built,
/// within `limits`. `after_merge`, a graph outside the next merge comes first: a busy collection always has merges,
/// which would otherwise starve its build.
pub(crate) fn choose(view: &View, limits: JobLimits, after_merge: bool) -> Option<Task> {
    let fits = |sealed: &&Arc<Sealed>| sealed.needs_graph() && u64::from(sealed.segment.rows()) <= limits.graph;
    let merge = choose_merge(view, limits.merge, limits.overlay_bytes);
    let inputs = merge.as_deref().unwrap_or_default();
    let outside = |sealed: &&Arc<Sealed>| !inputs.iter().any(|input| Arc::ptr_eq(input, sealed));
    let graph = view.sealed.iter().filter(fits).find(outside).filter(|_| after_merge || merge.is_none());
    graph.cloned().map(Task::Graph).or(merge.map(Task::Merge))
}

fn choose_merge(view: &View, max_rows: u64, overlay_bytes: usize) -> Option<Vec<Arc<Sealed>>> {
    let fits = |sealed: &&Arc<Sealed>| u64::from(sealed.live_rows()) <= max_rows;
    let rewrite = view.sealed.iter().filter(fits).find(|sealed| sealed.needs_compaction());
    if let Some(rewrite) = rewrite.or_else(|| view.largest_overlay(overlay_bytes).filter(fits)) {
        return Some(vec![rewrite.clone()]);
    }
    // Segments with vectors, and those without, are merged apart.
    [true, false].into_iter().find_map(|with_vectors| {
        let of_kind = view.sealed.iter().filter(|sealed| sealed.has_vectors() == with_vectors);
        choose_smaller(of_kind.cloned().collect(), max_rows)
    })
}

/// Selects a segment with all smaller ones once these hold enough of its rows.
fn choose_smaller(mut by_size: Vec<Arc<Sealed>>, max_rows: u64) -> Option<Vec<Arc<Sealed>>> {
    by_size.sort_by_key(|sealed| std::cmp::Reverse(sealed.live_rows()));
    for (index, largest) in by_size.iter().enumerate() {
        let mut remaining = max_rows.min(MAX_SEGMENT_ROWS).saturating_sub(largest.live_rows().into());
        let mut smaller: Vec<Arc<Sealed>> = by_size[index + 1..].iter().rev().cloned().collect();
        smaller.retain(|sealed| {
            let rows = u64::from(sealed.live_rows());
            let fits = rows <= remaining;
            remaining -= if fits { rows } else { 0 };
            fits
        });
        let rows: u64 = smaller.iter().map(|sealed| u64::from(sealed.live_rows())).sum();
        if !smaller.is_empty() && rows * SMALLER_ONE_IN >= largest.live_rows().into() {
            smaller.push(largest.clone());
            return Some(smaller);
        }
    }
    None
}

#[cfg(test)]
mod tests;
