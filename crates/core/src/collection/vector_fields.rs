//! The vector fields of a collection: looked up by queries, changed while it serves; their columns and graphs.

use super::compaction::Step;
use super::job_memory::Refused;
use super::state::Collection;
use crate::api::{CancellationToken, Error, Job, Observe, VectorField, VectorKind};
use crate::index::hnsw;
use crate::index::{GraphParams, calibration};
use crate::segment::columns::{Column, IndexedVectors};
use crate::segment::sealed::{GRAPH_FROM_ROWS, Sealed};
use crate::store::CollectionRecord;
use crate::sync::atomic::Ordering;
use crate::types::Ordinal;
use std::sync::{Arc, PoisonError};

/// Minimum rows for a calibration.
const MIN_CALIBRATED_ROWS: u32 = 200;

impl Collection {
    /// Returns the vector fields, in the order in which they were added.
    pub(crate) fn vector_fields(&self) -> Arc<Vec<Arc<IndexedVectors>>> {
        self.vector_fields.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        view.sealed.iter().for_each(|sealed| sealed.columns.retain(&fields));
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

    /// Opens or builds the columns and graphs of a new segment, before it is searched. Logs a failure: queries build a
    /// missing column, and the background a missing graph.
    pub(crate) fn prepare_columns(&self, sealed: &Sealed, observe: Observe<'_>) {
        for field in self.vector_fields().iter() {
            let done = match field.spec.kind {
                VectorKind::Dense => {
                    sealed.column(field).and_then(|column| self.build_column_graph(field, &column, observe).map(drop))
                }
                VectorKind::Sparse => sealed.sparse_index(field).map(drop),
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

    /// Builds the graph of a column, if it is large enough and has none. Returns false if memory is too small.
    fn build_column_graph(
        &self,
        field: &IndexedVectors,
        column: &Arc<Column>,
        observe: Observe<'_>,
    ) -> Result<bool, Error> {
        if !needs_graph(column) {
            return Ok(true);
        }
        let (spec, params) = (&field.spec, self.field_params(field)?);
        let rows = column.segment.rows();
        let bytes = hnsw::build_bytes(rows.into(), spec.dimension as usize, spec.metric, params.m, false);
        let Some(_memory) = self.reserve(bytes, Job::Indexing, &[], observe)? else { return Ok(false) };
        column.segment.verify_rows()?;
        let progress = |done, total| !self.is_removed() && observe(Job::Indexing, done, total);
        let built = hnsw::build(column.vectors(spec.metric), params, None, &progress)?;
        built.publish(&self.fs, &column.graph_path(), column.segment.tag())?;
        Ok(column.open_graph(spec.metric))
    }

    /// Calibrates the graph of a column that has no table. Returns false if memory is too small.
    fn calibrate_column(
        &self,
        field: &IndexedVectors,
        column: &Arc<Column>,
        observe: Observe<'_>,
    ) -> Result<bool, Error> {
        let Some(graph) = column.graph().filter(|_| needs_calibration(column)) else { return Ok(true) };
        let (rows, params) = (column.vectors(field.spec.metric), self.field_params(field)?);
        let live = rows.len() as u64;
        let needed = calibration::measure_bytes(live, live, rows.dimension, rows.metric, params.m);
        let progress = |done, total| !self.is_removed() && observe(Job::Calibrating, done, total);
        let reserved = match self.meters.memory.reserve(needed.min, needed.max, &|| progress(0, 1)) {
            Ok(reserved) => reserved,
            Err(Refused::TooLittle { .. } | Refused::Cancelled) => return Ok(false),
        };
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

    /// Does one of the jobs on vector fields: builds a missing column or index, a graph, or a calibration.
    pub(crate) fn index_columns(&self, observe: Observe<'_>) -> Result<Step, Error> {
        for field in self.vector_fields().iter().filter(|field| field.spec.kind != VectorKind::Multi) {
            for sealed in &self.view().sealed {
                CancellationToken::current().check()?;
                if field.spec.kind == VectorKind::Sparse {
                    if !sealed.has_sparse_index(field) {
                        sealed.sparse_index(field)?;
                        return Ok(Step::Done);
                    }
                    if sealed.needs_sparse_calibration(field) {
                        let progress = |done, total| !self.is_removed() && observe(Job::Calibrating, done, total);
                        sealed.calibrate_sparse(field, &progress)?;
                        return Ok(Step::Done);
                    }
                    continue;
                }
                let known = sealed.open_columns(field);
                let column = sealed.column(field)?;
                let step =
                    |done: bool| Ok(if done { Step::Done } else { Step::Later(super::compaction::MEMORY_RETRY) });
                if needs_graph(&column) {
                    return step(self.build_column_graph(field, &column, observe)?);
                }
                if needs_calibration(&column) {
                    return step(self.calibrate_column(field, &column, observe)?);
                }
                if known.is_none() {
                    return Ok(Step::Done);
                }
            }
        }
        Ok(Step::Nothing)
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
