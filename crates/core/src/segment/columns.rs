//! Vectors of vector fields, per segment.
//!
//! The body of a point holds its vectors (`store/body.rs`). For a dense field, a sealed segment has a column: a file with
//! the vectors of its rows that have one, in the order of the rows, in the format of a segment. It is a cache, opened or
//! built on first use, and built again when it is damaged. The graph over a column and its calibration are caches of
//! the column. A growing segment has a column in memory, extended on use, and is scanned. Sparse vectors and
//! multi-vectors are read from the bodies.

use super::growing::{Growing, Table};
use super::index_files::{CheckedFile, remove_index};
use super::sealed::{GRAPH_FROM_ROWS, Sealed};
use crate::api::{CancellationToken, Error};
use crate::disk::{self, AtomicFile, Mapping};
use crate::index::calibration::{Calibration, SparseSubject, measure_sparse_bytes};
use crate::index::hnsw::{Expected, Graph};
use crate::index::sparse::{self, ForEachComponent, SparseIndex};
use crate::index::{Found, Rows, exact};
use crate::math::{Components, TopK};
use crate::payload::RowSet;
use crate::store::body::{self, EncodedVector};
use crate::store::{Segment, SegmentWriter, VectorField};
use crate::types::{Identity, Metric, Neighbor, Ordinal};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

/// Version of the files of columns.
const COLUMN_VERSION: u32 = 1;
/// Rows read between two checks for cancellation.
const STEP: u32 = 1_024;
/// Rows of a growing segment compared between two checks for cancellation.
const BODIES_STEP: usize = 64;

/// A vector field of an open collection.
pub(crate) struct IndexedVectors {
    pub(crate) spec: VectorField,
}

impl IndexedVectors {
    pub(crate) fn new(spec: VectorField) -> Self {
        Self { spec }
    }

    /// Returns the start of the [binding](Self::binding), which is in the names of files.
    fn settings(&self, segment: &Segment) -> u64 {
        let binding = self.binding(segment).0;
        binding.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Returns the digest of what the column of a segment depends on: the rows, and the field. It is in the files, so that
    /// a file under the name of another one is not used.
    fn binding(&self, segment: &Segment) -> Identity {
        let mut hash = Sha256::new();
        hash.update(COLUMN_VERSION.to_le_bytes());
        hash.update(segment.tag().to_le_bytes());
        for number in [self.spec.number, self.spec.dimension] {
            hash.update(number.to_le_bytes());
        }
        Identity(hash.finalize().first_chunk().copied().unwrap_or_default())
    }

    fn damaged(&self, id: &str, what: &str) -> Error {
        Error::Damaged { what: format!("the vector {:?} of the point {id:?}: {what}", self.spec.name) }
    }

    /// Whether an index file of a segment belongs to this field.
    pub(crate) fn owns_file(&self, segment: &Segment, name: &str) -> bool {
        let (id, settings) = (segment.id(), self.settings(segment));
        let names = [
            id.column_file(settings),
            id.column_graph_file(settings),
            id.column_recall_file(settings),
            id.sparse_file(settings),
        ];
        names.iter().any(|own| own == name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values under these locks are consistent at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value for each field, by its number.
struct ByField<T>(Mutex<Vec<(u32, Arc<T>)>>);

impl<T> Default for ByField<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> ByField<T> {
    fn of(&self, field: &IndexedVectors) -> Arc<T> {
        let mut fields = lock(&self.0);
        if let Some((_, value)) = fields.iter().find(|(number, _)| *number == field.spec.number) {
            return value.clone();
        }
        let value = Arc::<T>::default();
        fields.push((field.spec.number, value.clone()));
        value
    }

    /// Forgets the values of all other fields.
    fn retain(&self, fields: &[Arc<IndexedVectors>]) {
        lock(&self.0).retain(|(number, _)| fields.iter().any(|field| field.spec.number == *number));
    }
}

/// The columns of a sealed segment.
#[derive(Default)]
pub(crate) struct SealedColumns(ByField<SealedColumn>);

/// The column of one field of a sealed segment, or its index of sparse vectors.
#[derive(Default)]
pub(crate) struct SealedColumn {
    open: RwLock<Option<Arc<Column>>>,
    /// None inside if there can be none: a component is negative, or the disk is full.
    sparse: OnceLock<Option<Arc<SparseIndex>>>,
    /// The calibration of that index. None inside if it cannot be measured.
    sparse_recall: OnceLock<Option<Arc<Calibration>>>,
    building: Mutex<()>,
}

impl SealedColumns {
    /// Forgets the columns of all other fields.
    pub(crate) fn retain(&self, fields: &[Arc<IndexedVectors>]) {
        self.0.retain(fields);
    }

    /// Forgets the column or the index of a field if `remove` removes a file of it, while no builder runs.
    pub(crate) fn discard_if(&self, field: &IndexedVectors, remove: impl FnOnce() -> bool) {
        let slot = self.0.of(field);
        let _one_builder = lock(&slot.building);
        if !remove() {
            return;
        }
        lock(&self.0.0).retain(|(number, _)| *number != field.spec.number);
    }

    /// Returns the mapped bytes.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.sum(&|column| column.mapped_bytes(), &|index| index.mapped_bytes())
    }

    /// Returns the mapped bytes that are resident in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.sum(&|column| column.resident_bytes(), &|index| index.resident_bytes())
    }

    fn sum(&self, of_column: &dyn Fn(&Column) -> u64, of_index: &dyn Fn(&SparseIndex) -> u64) -> u64 {
        let fields = lock(&self.0.0).clone();
        let of = |column: &SealedColumn| {
            let index = column.sparse.get().and_then(Option::as_deref).map_or(0, of_index);
            column.get().map_or(0, |column| of_column(&column)) + index
        };
        fields.iter().map(|(_, column)| of(column)).sum()
    }
}

impl SealedColumn {
    fn get(&self) -> Option<Arc<Column>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The vectors of a dense field in a sealed segment.
pub(crate) struct Column {
    pub(crate) segment: Segment,
    settings: u64,
    /// The row of the segment for each row of the column, ascending; none if all rows have a vector.
    rows: Option<Vec<u32>>,
    graph: RwLock<Option<Arc<Graph>>>,
    calibration: RwLock<Option<Arc<Calibration>>>,
}

impl Column {
    /// Returns the vectors.
    pub(crate) fn vectors(&self, metric: Metric) -> Rows<'_> {
        Rows {
            vectors: self.segment.vectors(),
            norms: self.segment.norms(),
            dimension: self.segment.dimension() as usize,
            metric,
        }
    }

    /// Returns the row of the segment for a row of the column.
    pub(crate) fn row_of(&self, row: Ordinal) -> Ordinal {
        Ordinal(self.rows.as_ref().map_or(row.0, |rows| rows.get(row.0 as usize).copied().unwrap_or(u32::MAX)))
    }

    /// Returns the row of the column for a row of the segment; none if it has no vector.
    pub(crate) fn row_at(&self, row: Ordinal) -> Option<Ordinal> {
        match &self.rows {
            Some(rows) => rows.binary_search(&row.0).ok().map(|at| Ordinal(at as u32)),
            None => (row.0 < self.segment.rows()).then_some(row),
        }
    }

    /// Returns selected rows of the segment as rows of the column; none if these are the same.
    pub(crate) fn selected(&self, selected: &RowSet) -> Option<RowSet> {
        let (rows, range) = (self.rows.as_ref()?, selected.range());
        let begin = rows.partition_point(|row| *row < range.start);
        let end = rows.partition_point(|row| *row < range.end);
        let wanted = (begin..end).filter(|at| selected.contains(rows[*at]));
        Some(RowSet::of(&wanted.map(|at| at as u32).collect()))
    }

    pub(crate) fn graph(&self) -> Option<Arc<Graph>> {
        self.graph.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn calibration(&self) -> Option<Arc<Calibration>> {
        self.calibration.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the path of its graph.
    pub(crate) fn graph_path(&self) -> PathBuf {
        self.segment.path().with_file_name(self.segment.id().column_graph_file(self.settings))
    }

    /// Opens the graph, if there is an intact file.
    pub(crate) fn open_graph(&self, metric: Metric) -> bool {
        let Some((path, _, opened)) = self.graph_file(metric) else { return false };
        let graph = opened.inspect_err(|error| {
            tracing::error!(path = %path.display(), error, "a graph cannot be used; its column is scanned until it is rebuilt");
        });
        let Ok(graph) = graph else { return false };
        *self.graph.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(graph));
        true
    }

    /// Reads the file of the graph in full; none without a file.
    fn graph_file(&self, metric: Metric) -> Option<IndexFile<Graph>> {
        let path = self.graph_path();
        let bytes = disk::file_len(&path).ok()??;
        let expected = Expected {
            rows: self.segment.rows(),
            dimension: self.segment.dimension(),
            metric,
            tag: self.segment.tag(),
        };
        let opened = Graph::open(&path, expected).and_then(|graph| graph.verify().map(|()| graph));
        Some((path, bytes, opened.map_err(|error| error.to_string())))
    }

    fn recall_file(&self) -> String {
        self.segment.id().column_recall_file(self.settings)
    }

    /// Opens the calibration of the graph, if there is an intact file.
    fn open_calibration(&self) {
        let path = self.segment.path().with_file_name(self.recall_file());
        if let Some(table) = read_calibration(&path, self.segment.tag()) {
            self.set_calibration(table);
        }
    }

    fn set_calibration(&self, table: Calibration) {
        *self.calibration.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(table));
    }

    /// Publishes the calibration of the graph.
    pub(crate) fn publish_calibration(&self, table: Calibration) {
        publish_calibration(&self.segment, &self.recall_file(), self.segment.tag(), &table);
        self.set_calibration(table);
    }

    fn mapped_bytes(&self) -> u64 {
        self.segment.mapped_bytes() + self.graph().map_or(0, |graph| graph.mapped_bytes())
    }

    fn resident_bytes(&self) -> u64 {
        self.segment.resident_bytes() + self.graph().map_or(0, |graph| graph.resident_bytes())
    }
}

/// Reads a calibration of a column or index with this tag, if there is an intact file.
fn read_calibration(path: &Path, tag: u64) -> Option<Calibration> {
    let (path, _, table) = calibration_file(path, tag)?;
    table
        .inspect_err(
            |what| tracing::error!(path = %path.display(), what, "a calibration is damaged; it is measured again"),
        )
        .ok()
}

/// Reads the file of the calibration of the column or index with this tag; none without one.
fn calibration_file(path: &Path, tag: u64) -> Option<IndexFile<Calibration>> {
    let bytes = std::fs::read(path).ok()?;
    let table = match bytes.split_first_chunk() {
        // That of another column or index, such as of the one before this.
        Some((of, _)) if u64::from_le_bytes(*of) != tag => return None,
        Some((_, table)) => Calibration::from_bytes(table),
        None => Err("the file ends inside its header".into()),
    };
    Some((path.into(), bytes.len() as u64, table))
}

fn publish_calibration(segment: &Segment, name: &str, tag: u64, table: &Calibration) {
    let bytes = [&tag.to_le_bytes(), table.to_bytes().as_slice()].concat();
    super::payload_index::publish_cache(segment, name, &bytes);
}

impl Sealed {
    /// Returns the column of a dense field, opened from its file, or built and published.
    ///
    /// # Errors
    /// `Damaged` for a damaged row; `Abandoned`; any disk error.
    pub(crate) fn column(&self, field: &IndexedVectors) -> Result<Arc<Column>, Error> {
        let slot = self.columns.0.of(field);
        if let Some(column) = slot.get() {
            return Ok(column);
        }
        let _one_builder = lock(&slot.building);
        if let Some(column) = slot.get() {
            return Ok(column);
        }
        let opened = match self.open_column(field) {
            Some(column) => column,
            None => {
                self.build_column(field)?;
                self.open_column(field)
                    .ok_or_else(|| Error::Unavailable("a newly built column of vectors is invalid".into()))?
            }
        };
        if opened.open_graph(field.spec.metric) {
            opened.open_calibration();
        }
        let column = Arc::new(opened);
        *slot.open.write().unwrap_or_else(PoisonError::into_inner) = Some(column.clone());
        Ok(column)
    }

    /// Returns the column of a dense field, if it is open.
    pub(crate) fn open_columns(&self, field: &IndexedVectors) -> Option<Arc<Column>> {
        self.columns.0.of(field).get()
    }

    /// Discards a damaged column and its file, so that it is built again.
    pub(crate) fn discard_column(&self, field: &IndexedVectors, column: &Arc<Column>) {
        self.columns.discard_if(field, || {
            let is_open = self.open_columns(field).is_some_and(|open| Arc::ptr_eq(&open, column));
            if is_open {
                let path = column.segment.path();
                tracing::error!(path = %path.display(), "a column of vectors is damaged; it is rebuilt");
                remove_index(path);
            }
            is_open
        });
    }

    fn open_column(&self, field: &IndexedVectors) -> Option<Column> {
        let (path, _, opened) = column_file(&self.segment, field)?;
        opened
            .inspect_err(|error| {
                tracing::error!(path = %path.display(), error, "a column of vectors cannot be used; it is rebuilt");
            })
            .ok()
    }

    fn build_column(&self, field: &IndexedVectors) -> Result<(), Error> {
        let (segment, binding) = (&self.segment, field.binding(&self.segment));
        let dir = segment.path().parent().map(PathBuf::from).unwrap_or_default();
        let name = segment.id().column_file(field.settings(segment));
        let mut writer =
            SegmentWriter::create_file(&disk::real_fs(), &dir, &name, segment.id(), field.spec.dimension, binding)?;
        let stop = CancellationToken::current();
        let mut vector = Vec::new();
        for row in 0..segment.rows() {
            if row.is_multiple_of(STEP) {
                stop.check()?;
            }
            // A damaged row has no body; it is hidden.
            let Some(encoded) = body::vector_of(segment.body(Ordinal(row)), field.spec.number) else { continue };
            vector.clear();
            encoded
                .append_dense(field.spec.dimension, &mut vector)
                .map_err(|what| field.damaged(segment.point_id(Ordinal(row)), &what))?;
            writer.append(&format!("{row:x}"), &vector, &row.to_le_bytes())?;
        }
        writer.finish()?;
        Ok(())
    }
}

impl Sealed {
    /// Returns the index of a sparse field, opened from its file, or built with `build_bytes` of memory and published; none
    /// if there can be none.
    ///
    /// # Errors
    /// `Damaged` for a damaged row; `Abandoned`.
    pub(crate) fn sparse_index(
        &self,
        field: &IndexedVectors,
        build_bytes: u64,
    ) -> Result<Option<Arc<SparseIndex>>, Error> {
        let slot = self.columns.0.of(field);
        if let Some(index) = slot.sparse.get() {
            return Ok(index.clone());
        }
        let _one_builder = lock(&slot.building);
        if let Some(index) = slot.sparse.get() {
            return Ok(index.clone());
        }
        let index = match self.open_sparse(field) {
            Some(index) => Some(index),
            None if self.build_sparse(field, build_bytes)? => self.open_sparse(field),
            None => None,
        };
        if let Some(table) = index.as_ref().and_then(|index| self.open_sparse_calibration(field, index)) {
            slot.sparse_recall.get_or_init(|| Some(Arc::new(table)));
        }
        Ok(slot.sparse.get_or_init(|| index.map(Arc::new)).clone())
    }

    fn open_sparse_calibration(&self, field: &IndexedVectors, index: &SparseIndex) -> Option<Calibration> {
        let name = self.segment.id().column_recall_file(field.settings(&self.segment));
        read_calibration(&self.segment.path().with_file_name(name), index.tag())
    }

    /// Returns the calibration of the index of a sparse field, if there is one.
    pub(crate) fn sparse_calibration(&self, field: &IndexedVectors) -> Option<Arc<Calibration>> {
        self.columns.0.of(field).sparse_recall.get().cloned().flatten()
    }

    /// Whether a sparse field has an index without a calibration.
    pub(crate) fn needs_sparse_calibration(&self, field: &IndexedVectors) -> bool {
        let slot = self.columns.0.of(field);
        self.segment.rows() >= GRAPH_FROM_ROWS
            && slot.sparse.get().is_some_and(Option::is_some)
            && slot.sparse_recall.get().is_none()
    }

    /// Returns the memory of [`calibrate_sparse`](Self::calibrate_sparse), in bytes.
    pub(crate) fn sparse_calibration_bytes(&self, field: &IndexedVectors) -> u64 {
        let index = self.columns.0.of(field).sparse.get().cloned().flatten();
        index.map_or(0, |index| measure_sparse_bytes(self.segment.rows(), index.components()))
    }

    /// Calibrates the index of a sparse field, and publishes the table.
    ///
    /// # Errors
    /// `Damaged` for a damaged row; cancellation by `progress`.
    pub(crate) fn calibrate_sparse(
        &self,
        field: &IndexedVectors,
        progress: &dyn Fn(u64, u64) -> bool,
    ) -> Result<(), Error> {
        let slot = self.columns.0.of(field);
        let Some(index) = slot.sparse.get().cloned().flatten() else { return Ok(()) };
        let vector = |row: u32, each: ForEachComponent<'_>| self.components(field, row, each);
        let accept = |row: u32| self.is_live(Ordinal(row));
        let subject = SparseSubject { index: &index, rows: self.segment.rows(), accept: &accept, vector: &vector };
        let table = subject.measure(self.segment.seed(), progress)?;
        if let Some(table) = &table {
            let name = self.segment.id().column_recall_file(field.settings(&self.segment));
            publish_calibration(&self.segment, &name, index.tag(), table);
        }
        slot.sparse_recall.get_or_init(|| table.map(Arc::new));
        Ok(())
    }

    /// Calls back with the components of a row in a sparse field.
    fn components(&self, field: &IndexedVectors, row: u32, each: ForEachComponent<'_>) -> Result<(), Error> {
        // A damaged row has no body; it is hidden.
        let encoded = body::vector_of(self.segment.body(Ordinal(row)), field.spec.number);
        let Some(encoded) = encoded else { return Ok(()) };
        encoded.for_each_component(each).map_err(|what| field.damaged(self.segment.point_id(Ordinal(row)), &what))
    }

    /// Whether the index of a sparse field was opened or built before.
    pub(crate) fn has_sparse_index(&self, field: &IndexedVectors) -> bool {
        self.columns.0.of(field).sparse.get().is_some()
    }

    fn open_sparse(&self, field: &IndexedVectors) -> Option<SparseIndex> {
        let (path, _, opened) = sparse_file(&self.segment, field)?;
        opened
            .inspect_err(|error| {
                tracing::error!(path = %path.display(), error, "an index of sparse vectors cannot be used; it is rebuilt");
            })
            .ok()
    }

    /// Builds and publishes the index of a sparse field. Returns false if a component is negative.
    fn build_sparse(&self, field: &IndexedVectors, build_bytes: u64) -> Result<bool, Error> {
        let (segment, settings) = (&self.segment, field.settings(&self.segment));
        let dir = segment.path().parent().map(PathBuf::from).unwrap_or_default();
        let stop = CancellationToken::current();
        let mut vector = |row: u32, each: ForEachComponent<'_>| -> Result<(), BuildError> {
            if row.is_multiple_of(STEP) {
                stop.check().map_err(BuildError)?;
            }
            self.components(field, row, each).map_err(BuildError)
        };
        let name = segment.id().sparse_file(settings);
        let mut file = AtomicFile::create(disk::real_fs(), &dir, &name).map_err(|error| BuildError::from(error).0)?;
        let written = sparse::write(segment.rows(), settings, build_bytes, &mut vector, file.writer());
        let indexed = written.map_err(|error| error.0)?;
        if indexed {
            file.publish().map_err(|error| BuildError::from(error).0)?;
        }
        Ok(indexed)
    }
}

/// Path and length of an index file, and the opened index or the failed check.
type IndexFile<T> = (PathBuf, u64, Result<T, String>);

/// Opens the file of a column; none without a file.
fn column_file(of: &Segment, field: &IndexedVectors) -> Option<IndexFile<Column>> {
    let (id, settings) = (of.id(), field.settings(of));
    let path = of.path().with_file_name(id.column_file(settings));
    let bytes = disk::file_len(&path).ok()??;
    let opened = Segment::open_file(&path, id).map_err(|error| error.to_string()).and_then(|segment| {
        let fits = segment.identity() == Some(field.binding(of))
            && segment.dimension() == field.spec.dimension
            && segment.rows() <= of.rows();
        let rows = match fits {
            true if segment.rows() == of.rows() => None,
            true => Some(read_rows(&segment, of.rows())?),
            false => return Err("it does not belong to its segment and field".into()),
        };
        let (graph, calibration) = (RwLock::default(), RwLock::default());
        Ok(Column { segment, settings, rows, graph, calibration })
    });
    Some((path, bytes, opened))
}

/// Reads the index of a sparse field in full; none without a file of this version.
fn sparse_file(of: &Segment, field: &IndexedVectors) -> Option<IndexFile<SparseIndex>> {
    let settings = field.settings(of);
    let path = of.path().with_file_name(of.id().sparse_file(settings));
    let bytes = disk::file_len(&path).ok()??;
    let opened = Mapping::open(&path).map_err(|error| error.to_string());
    if opened.as_ref().is_ok_and(|mapping| SparseIndex::is_outdated(mapping.bytes())) {
        return None;
    }
    Some((path, bytes, opened.and_then(|mapping| SparseIndex::open(mapping, settings, of.rows()))))
}

/// Reads the index files of a field of a segment in full. The graph of a damaged column is not read: it is built again
/// with the column.
pub(super) fn check_vectors(segment: &Segment, field: &IndexedVectors) -> Vec<CheckedFile> {
    fn checked<T>((path, bytes, opened): IndexFile<T>) -> CheckedFile {
        (path, bytes, opened.map(drop))
    }
    let mut files: Vec<CheckedFile> = Vec::new();
    let recall = segment.path().with_file_name(segment.id().column_recall_file(field.settings(segment)));
    if let Some(file) = sparse_file(segment, field) {
        let tag = file.2.as_ref().ok().map(SparseIndex::tag);
        files.extend(tag.and_then(|tag| calibration_file(&recall, tag)).map(checked));
        files.push(checked(file));
    }
    let Some((path, bytes, opened)) = column_file(segment, field) else { return files };
    let verified = opened.and_then(|column| match column.segment.verify() {
        Ok(()) => Ok(column),
        Err(error) => Err(error.to_string()),
    });
    if let Ok(column) = &verified {
        files.extend(column.graph_file(field.spec.metric).map(checked));
        files.extend(calibration_file(&recall, column.segment.tag()).map(checked));
    }
    files.push(checked((path, bytes, verified)));
    files
}

/// An error while an index is built: of the rows, or of the disk.
struct BuildError(Error);

impl From<disk::Error> for BuildError {
    fn from(error: disk::Error) -> Self {
        Self(crate::store::Error::from(error).into())
    }
}

/// Reads which rows of the segment have a vector: the payloads of a column.
fn read_rows(column: &Segment, rows: u32) -> Result<Vec<u32>, String> {
    let mut read = Vec::with_capacity(column.rows() as usize);
    for at in 0..column.rows() {
        let row = column.body(Ordinal(at)).try_into().map(u32::from_le_bytes).ok().filter(|row| *row < rows);
        match row.filter(|row| read.last().is_none_or(|last| last < row)) {
            Some(row) => read.push(row),
            None => return Err(format!("row {at} names no row of its segment")),
        }
    }
    Ok(read)
}

/// The columns of a growing segment.
#[derive(Default)]
pub(crate) struct GrowingColumns {
    fields: ByField<RwLock<GrowingColumn>>,
    /// Memory used, in bytes.
    memory: AtomicUsize,
}

/// The vectors of a dense field in a growing segment.
#[derive(Default)]
pub(crate) struct GrowingColumn {
    /// Number of leading rows that were read.
    read: u32,
    /// The row of each vector, ascending.
    rows: Vec<u32>,
    vectors: Vec<f32>,
    norms: Vec<f32>,
}

impl GrowingColumns {
    /// Returns the memory used, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Forgets the columns of all other fields.
    pub(crate) fn retain(&self, fields: &[Arc<IndexedVectors>]) {
        self.fields.retain(fields);
    }
}

impl GrowingColumn {
    fn vectors(&self, field: &IndexedVectors) -> Rows<'_> {
        Rows {
            vectors: Components::F32(&self.vectors),
            norms: &self.norms,
            dimension: field.spec.dimension as usize,
            metric: field.spec.metric,
        }
    }
}

impl Growing {
    /// Returns the column of a dense field, extended to all rows.
    fn column(&self, field: &IndexedVectors) -> Result<Arc<RwLock<GrowingColumn>>, Error> {
        let column = self.columns.fields.of(field);
        let stop = CancellationToken::current();
        loop {
            stop.check()?;
            let mut write = column.write().unwrap_or_else(PoisonError::into_inner);
            let table = self.read();
            let (from, until) = (write.read, table.rows().min(write.read + STEP));
            if from == until {
                drop(table);
                drop(write);
                return Ok(column);
            }
            for row in from..until {
                let Some(encoded) = body::vector_of(&table.bodies[row as usize], field.spec.number) else { continue };
                let begin = write.vectors.len();
                encoded
                    .append_dense(field.spec.dimension, &mut write.vectors)
                    .map_err(|what| field.damaged(table.ids[row as usize].as_str(), &what))?;
                let norm = crate::math::norm(&write.vectors[begin..]);
                write.norms.push(norm);
                write.rows.push(row);
            }
            write.read = until;
            let added = 4 * field.spec.dimension as usize + 8;
            self.columns.memory.fetch_add(added * (until - from) as usize, Ordering::Relaxed);
        }
    }

    /// Returns the `k` nearest live rows by a dense field, or with `selected` the nearest of those.
    ///
    /// # Errors
    /// `Damaged` for an unreadable vector; `Abandoned`.
    pub(crate) fn scan_column(
        &self,
        field: &IndexedVectors,
        query: &[f32],
        k: usize,
        bound: f32,
        selected: Option<&RowSet>,
    ) -> Result<Found, Error> {
        let column = self.column(field)?;
        let (column, table) = (read(&column), self.read());
        let accept = |row: Ordinal| {
            let row = column.rows[row.0 as usize];
            !table.dead[row as usize] && selected.is_none_or(|selected| selected.contains(row))
        };
        let mut found = exact::search_within(column.vectors(field), query, k, bound, accept);
        found.neighbors.iter_mut().for_each(|neighbor| neighbor.row = Ordinal(column.rows[neighbor.row.0 as usize]));
        Ok(found)
    }
}

impl Growing {
    /// Returns the `k` nearest live rows by the vectors in their bodies, or with `selected` the nearest of those. Reads in
    /// steps, on this thread: to wait for others with the table locked could block them.
    ///
    /// # Errors
    /// `Damaged` for an unreadable vector; `Abandoned`.
    pub(crate) fn scan_bodies(
        &self,
        field: &IndexedVectors,
        k: usize,
        selected: Option<&RowSet>,
        distance: Distance<'_>,
    ) -> Result<Found, Error> {
        let (stop, rows) = (CancellationToken::current(), self.rows_held());
        let (mut top, mut distances) = (TopK::new(k), 0);
        for from in (0..rows).step_by(BODIES_STEP) {
            stop.check()?;
            let table = self.read();
            for row in from..rows.min(from + BODIES_STEP as u32) {
                let wanted = !table.dead[row as usize] && selected.is_none_or(|selected| selected.contains(row));
                if wanted && let Some(distance) = field.distance_growing(&table, Ordinal(row), distance)? {
                    distances += 1;
                    top.push(Neighbor { row: Ordinal(row), distance });
                }
            }
        }
        Ok(Found { neighbors: top.into_sorted(), distances })
    }
}

fn read(column: &RwLock<GrowingColumn>) -> RwLockReadGuard<'_, GrowingColumn> {
    column.read().unwrap_or_else(PoisonError::into_inner)
}

/// A comparison of a query with the stored vector of a field; none if it cannot be a hit.
pub(crate) type Distance<'a> = &'a (dyn Fn(EncodedVector<'_>) -> Result<Option<f32>, String> + Sync);

impl IndexedVectors {
    /// Returns the distance of a sealed row by its body; none if it has no vector in the field.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn distance_sealed(
        &self,
        sealed: &Sealed,
        row: Ordinal,
        distance: Distance<'_>,
    ) -> Result<Option<f32>, Error> {
        if !sealed.segment.payload_is_sound(row) {
            return Err(sealed.damage());
        }
        let encoded = body::vector_of(sealed.segment.body(row), self.spec.number);
        let damaged = |what: String| self.damaged(sealed.segment.point_id(row), &what);
        encoded.map_or(Ok(None), |encoded| distance(encoded).map_err(damaged))
    }

    /// Returns the distance of a growing row by its body; none if it has no vector in the field.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn distance_growing(
        &self,
        table: &Table,
        row: Ordinal,
        distance: Distance<'_>,
    ) -> Result<Option<f32>, Error> {
        let row = row.0 as usize;
        let encoded = body::vector_of(&table.bodies[row], self.spec.number);
        let damaged = |what: String| self.damaged(table.ids[row].as_str(), &what);
        encoded.map_or(Ok(None), |encoded| distance(encoded).map_err(damaged))
    }
}
