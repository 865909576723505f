//! The vector fields of a collection: looked up by queries, changed while it serves; their columns and graphs.

use super::compaction::{MEMORY_RETRY, Reusable, Step};
use super::job_memory::{Refused, Reserved, too_little};
use super::state::Collection;
use crate::api::{CancellationToken, Error, Job, Observe, VectorField, VectorKind};
use crate::index::hnsw;
use crate::index::reorder::SourceRow;
use crate::index::{GraphParams, calibration};
use crate::segment::columns::{Column, IndexedVectors};
use crate::segment::index_files::IndexedFields;
use crate::segment::sealed::{GRAPH_FROM_ROWS, JobOn, Sealed};
use crate::store::CollectionRecord;
use crate::sync::atomic::Ordering;
use crate::types::Ordinal;
use std::sync::{Arc, PoisonError};

/// Minimum rows for a calibration.
const MIN_CALIBRATED_ROWS: u32 = 200;

/// A job on the index of a segment.
pub(super) struct IndexBuild<'b> {
    pub(super) sealed: &'b Sealed,
    pub(super) job: Job,
    pub(super) on: JobOn,
    /// Name of the field, for messages.
    pub(super) name: &'b str,
}

impl<'b> IndexBuild<'b> {
    fn of(sealed: &'b Sealed, job: Job, field: &'b IndexedVectors) -> Self {
        Self { sealed, job, on: JobOn::Field(field.spec.number), name: &field.spec.name }
    }
}

impl Collection {
    /// Returns the vector fields, in the order in which they were added.
    pub(crate) fn vector_fields(&self) -> Arc<Vec<Arc<IndexedVectors>>> {
        self.vector_fields.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the fields that segments index.
    pub(crate) fn indexed_fields(&self) -> IndexedFields {
        IndexedFields { texts: self.text_fields(), vectors: self.vector_fields() }
    }

    /// Returns the field with this name. `root` is the path of the name, for errors.
    pub(crate) fn vector_field(&self, root: &str, name: &str) -> Result<Arc<IndexedVectors>, Error> {
        let fields = self.vector_fields();
        if let Some(field) = fields.iter().find(|field| field.spec.name == name) {
            return Ok(field.clone());
        }
        let names: Vec<&str> = fields.iter().map(|field| field.spec.name.as_str()).collect();
        let has = if names.is_empty() { "none: add one".into() } else { names.join(", ") };
        Err(Error::invalid(root, format!("there is no vector field {name:?}: the collection has {has}")))
    }

    /// Replaces the fields by those of a record.
    pub(crate) fn set_fields(&self, record: &CollectionRecord) {
        self.set_text_fields(&record.text_fields);
        self.next_field.store(record.next_field, Ordering::Relaxed);
        self.set_vector_fields(&record.vector_fields);
    }

    /// Replaces the vector fields, and removes the indexes of those that are gone. Columns and graphs of new ones are
    /// built in the background, or a column by the first query.
    pub(super) fn set_vector_fields(&self, specs: &[VectorField]) {
        let fields: Vec<Arc<IndexedVectors>> =
            specs.iter().map(|spec| Arc::new(IndexedVectors::new(spec.clone()))).collect();
        *self.vector_fields.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fields.clone());
        let view = self.view();
        for sealed in &view.sealed {
            sealed.columns.retain(&fields);
            sealed.retain_deferred(|number| fields.iter().any(|field| field.spec.number == number));
        }
        view.growing_newest_first().for_each(|growing| growing.columns.retain(&fields));
        self.remove_obsolete_columns();
    }

    /// Removes the files of columns and sparse indexes that belong to no field. A file that stays is removed at the next open.
    pub(crate) fn remove_obsolete_columns(&self) {
        let (view, fields) = (self.view(), self.vector_fields());
        self.remove_field_files(|name| {
            let of = view.sealed.iter().find(|sealed| name.starts_with(&sealed.segment.id().to_string()));
            (name.contains(".column") || name.ends_with(".sparse"))
                && of.is_some_and(|sealed| !fields.iter().any(|field| field.owns_file(&sealed.segment, name)))
        });
    }

    /// Returns the parameters of the graphs of a field.
    fn field_params(&self, field: &IndexedVectors) -> Result<GraphParams, Error> {
        let of = self.graph_params()?;
        let or = |own: u32, other: u32| if own == 0 { other } else { own };
        Ok(GraphParams {
            m: or(field.spec.m, of.m),
            ef_construction: or(field.spec.ef_construction, of.ef_construction),
            ..of
        })
    }

    /// Opens or builds the columns and graphs of a new segment, before it is searched. A graph keeps the links of the
    /// largest one among the `inputs` of a merge; `origins` has the source row of each new row. Logs a failure: queries
    /// build a missing column, and the background a missing graph.
    pub(crate) fn prepare_columns(
        &self,
        sealed: &Sealed,
        inputs: &[Arc<Sealed>],
        origins: &[SourceRow],
        observe: Observe<'_>,
    ) {
        for field in self.vector_fields().iter() {
            let done = match field.spec.kind {
                VectorKind::Dense => sealed.column(field).and_then(|column| {
                    let reuse = Reusable::of_column(field, inputs, origins, &column);
                    self.build_column_graph(sealed, field, &column, reuse.as_ref(), observe).map(drop)
                }),
                VectorKind::Sparse => self.build_sparse_index(sealed, field, observe).map(drop),
                VectorKind::Multi => Ok(()),
            };
            match done {
                Ok(()) | Err(Error::Abandoned) => {}
                Err(error) => {
                    let path = sealed.segment.path().display();
                    tracing::error!(%path, field = field.spec.name, %error, "the vectors of a field cannot be indexed");
                }
            }
        }
    }

    /// Reserves between `min` and `max` bytes of memory for a job on a segment. If there is too little, records that at
    /// the segment and returns `None`.
    ///
    /// # Errors
    /// `Unavailable` when `observe` returns false while waiting for other jobs.
    pub(super) fn reserve_for(
        &self,
        build: IndexBuild<'_>,
        min: u64,
        max: u64,
        observe: Observe<'_>,
    ) -> Result<Option<Reserved<'_>>, Error> {
        let IndexBuild { sealed, job, on, name } = build;
        let go_on = || !self.is_removed() && observe(job, 0, 1);
        let (reserved, why) = match self.meters.memory.reserve(min, max, &go_on) {
            Ok(reserved) => (Some(reserved), None),
            Err(Refused::TooLittle { capacity }) => {
                let (id, job) = (sealed.segment.id().0, if job == Job::Calibrating { "calibration" } else { "index" });
                let what = format!("segment {id} has no {job} of the {name} field: it");
                (None, Some(too_little(&what, min, capacity)))
            }
            Err(Refused::Cancelled) => return Err(Error::Unavailable("a job was cancelled before it began".into())),
        };
        sealed.defer(job, on, why);
        Ok(reserved)
    }

    /// Opens or builds the index of a sparse field. Returns false if memory is too small.
    fn build_sparse_index(&self, sealed: &Sealed, field: &IndexedVectors, observe: Observe<'_>) -> Result<bool, Error> {
        let (bytes, build) = (self.index_build_bytes(), IndexBuild::of(sealed, Job::Indexing, field));
        let Some(memory) = self.reserve_for(build, bytes, bytes, observe)? else { return Ok(false) };
        sealed.sparse_index(field, memory.bytes())?;
        Ok(true)
    }

    /// Builds the graph of a column, if it is large enough and has none. Returns false if memory is too small.
    fn build_column_graph(
        &self,
        sealed: &Sealed,
        field: &IndexedVectors,
        column: &Arc<Column>,
        reuse: Option<&Reusable>,
        observe: Observe<'_>,
    ) -> Result<bool, Error> {
        if !needs_graph(column) {
            return Ok(true);
        }
        let (spec, params) = (&field.spec, self.field_params(field)?);
        let rows = column.segment.rows();
        let bytes = hnsw::build_bytes(rows.into(), spec.dimension as usize, spec.metric, params.m, reuse.is_some());
        let build = IndexBuild::of(sealed, Job::Indexing, field);
        let Some(_memory) = self.reserve_for(build, bytes, bytes, observe)? else { return Ok(false) };
        column.segment.verify_rows()?;
        let progress = |done, total| !self.is_removed() && observe(Job::Indexing, done, total);
        let built = hnsw::build(column.vectors(spec.metric), params, reuse.map(Reusable::links), &progress)?;
        built.publish(&self.fs, &column.graph_path(), column.segment.tag())?;
        Ok(column.open_graph(spec.metric))
    }

    /// Calibrates the graph of a column that has no table. Returns false if memory is too small.
    fn calibrate_column(
        &self,
        sealed: &Sealed,
        field: &IndexedVectors,
        column: &Arc<Column>,
        observe: Observe<'_>,
    ) -> Result<bool, Error> {
        let Some(graph) = column.graph().filter(|_| needs_calibration(column)) else { return Ok(true) };
        let (rows, params) = (column.vectors(field.spec.metric), self.field_params(field)?);
        let live = rows.len() as u64;
        let needed = calibration::measure_bytes(live, live, rows.dimension, rows.metric, params.m);
        let progress = |done, total| !self.is_removed() && observe(Job::Calibrating, done, total);
        let build = IndexBuild::of(sealed, Job::Calibrating, field);
        let Some(reserved) = self.reserve_for(build, needed.min, needed.max, observe)? else { return Ok(false) };
        let accept = |_: Ordinal| true;
        let seed = column.segment.seed();
        if let Some(table) = calibration::measure(rows, &graph, &accept, params, reserved.bytes(), seed, &progress)? {
            column.publish_calibration(table);
        }
        Ok(true)
    }

    /// Whether there are jobs for [`index_columns`](Self::index_columns).
    pub(super) fn lacks_columns(&self) -> bool {
        let (view, fields) = (self.view(), self.vector_fields());
        fields.iter().any(|field| {
            view.sealed.iter().any(|sealed| match field.spec.kind {
                VectorKind::Dense => {
                    sealed.open_columns(field).is_none_or(|column| needs_graph(&column) || needs_calibration(&column))
                }
                VectorKind::Sparse => !sealed.has_sparse_index(field) || sealed.needs_sparse_calibration(field),
                VectorKind::Multi => false,
            })
        })
    }

    /// Does one of the jobs on vector fields: builds a missing column or index, a graph, or a calibration. A job for which
    /// memory is too small does not keep the others waiting.
    pub(crate) fn index_columns(&self, observe: Observe<'_>) -> Result<Step, Error> {
        let mut deferred = false;
        for field in self.vector_fields().iter().filter(|field| field.spec.kind != VectorKind::Multi) {
            for sealed in &self.view().sealed {
                CancellationToken::current().check()?;
                if field.spec.kind == VectorKind::Sparse {
                    if !sealed.has_sparse_index(field) {
                        if self.build_sparse_index(sealed, field, observe)? {
                            return Ok(Step::Done);
                        }
                        deferred = true;
                    } else if sealed.needs_sparse_calibration(field) {
                        let build = IndexBuild::of(sealed, Job::Calibrating, field);
                        let bytes = sealed.sparse_calibration_bytes(field);
                        if let Some(_memory) = self.reserve_for(build, bytes, bytes, observe)? {
                            let progress = |done, total| !self.is_removed() && observe(Job::Calibrating, done, total);
                            sealed.calibrate_sparse(field, &progress)?;
                            return Ok(Step::Done);
                        }
                        deferred = true;
                    }
                    continue;
                }
                let known = sealed.open_columns(field);
                let column = sealed.column(field)?;
                let job = needs_graph(&column) || needs_calibration(&column);
                let done = if needs_graph(&column) {
                    self.build_column_graph(sealed, field, &column, None, observe)?
                } else {
                    self.calibrate_column(sealed, field, &column, observe)?
                };
                if done && (job || known.is_none()) {
                    return Ok(Step::Done);
                }
                deferred |= !done;
            }
        }
        Ok(if deferred { Step::Later(MEMORY_RETRY) } else { Step::Nothing })
    }

    /// Does all jobs on columns, for a request.
    pub(crate) fn index_all_columns(&self, observe: Observe<'_>) -> Result<(), Error> {
        while self.index_columns(observe)? == Step::Done {}
        Ok(())
    }
}

fn needs_graph(column: &Column) -> bool {
    column.segment.rows() >= GRAPH_FROM_ROWS && column.graph().is_none()
}

fn needs_calibration(column: &Column) -> bool {
    column.segment.rows() >= MIN_CALIBRATED_ROWS && column.graph().is_some() && column.calibration().is_none()
}
