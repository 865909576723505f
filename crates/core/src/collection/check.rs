//! Checks of files: all checksums, all records, and the references between files.
//!
//! A directory that no process serves is checked without modification; a live collection also quarantines damaged
//! segments.

use super::compaction::common_ids;
use super::embedder_pin::EMBEDDER_FOLDER;
use super::model_folder::load_installed;
use super::open::{expected, fitting, graph_path, open_segment};
use super::state::Collection;
use super::view::QuarantinedSegment;
use crate::api::{CancellationToken, CheckReport, Damage, Error, Finding, Payload};
use crate::disk::{self, Fs};
use crate::embed::{self, Fingerprint, load_folder};
use crate::index::calibration::Calibration;
use crate::index::hnsw::Graph;
use crate::segment::columns::IndexedVectors;
use crate::segment::index_files::{IndexedFields, check_indexes};
use crate::segment::sealed::Sealed;
use crate::segment::text_index::IndexedField;
use crate::store::{
    Catalog, CollectionDb, CollectionDir, CollectionRecord, Loss, Models, OrphanAction, OrphanFile, Segment, SegmentId,
    SegmentRecord,
};
use crate::types::Metric;
use rustc_hash::FxHashSet;
use std::path::Path;
use std::sync::Arc;

/// Maximum duplicate points named in a finding.
const MAX_LISTED: usize = 10;

/// A report under construction, for one collection.
struct Check<'r> {
    report: &'r mut CheckReport,
    collection: &'r str,
}

impl Check<'_> {
    fn find(&mut self, damage: Damage, file: &Path, what: impl ToString) {
        let (collection, file, what) = (self.collection.to_owned(), file.display().to_string(), what.to_string());
        self.report.findings.push(Finding { damage, collection, file, what });
    }

    fn count(&mut self, bytes: u64) {
        self.report.files += 1;
        self.report.bytes += bytes;
    }

    /// Checks an open segment and its index files; those of `open` are discarded if they are damaged. Returns false if
    /// the segment is damaged.
    fn segment(&mut self, segment: &Segment, fields: &IndexedFields, open: Option<&Sealed>) -> bool {
        self.count(segment.mapped_bytes());
        let verified = segment.verify();
        if let Err(error) = &verified {
            match segment.loss() {
                Loss::Nothing => {
                    let what = format!("{error}; no row is lost, and nearness repair writes the segment again");
                    self.find(Damage::Cache, segment.path(), what);
                }
                Loss::Rows => {
                    let what = segment.describe_damage().unwrap_or_else(|| error.to_string());
                    self.find(Damage::Data, segment.path(), what);
                }
                Loss::Segment => self.find(Damage::Data, segment.path(), error),
            }
        }
        for index in check_indexes(segment, fields) {
            self.count(index.bytes);
            if let Err(what) = &index.result {
                self.find(Damage::Cache, &index.path, what);
                open.iter().for_each(|sealed| sealed.discard_index(&index));
            }
        }
        verified.is_ok()
    }

    fn graph(&mut self, path: &Path, segment: &Segment, metric: Metric) {
        let checked = Graph::open(path, expected(segment, metric)).and_then(|graph| {
            self.count(graph.mapped_bytes());
            graph.verify()
        });
        if let Err(error) = checked {
            self.find(Damage::Cache, path, error);
        }
    }

    fn calibration(&mut self, db: &CollectionDb, segment: SegmentId, record: Option<Vec<u8>>) {
        if let Some(Err(what)) = record.map(|bytes| Calibration::from_bytes(&bytes)) {
            self.find(Damage::Cache, db.path(), format!("the calibration of segment {segment}: {what}"));
        }
    }

    /// Checks the updated payloads of a segment.
    fn payloads(&mut self, db: &CollectionDb, segment: &Segment, payloads: &[(u32, Vec<u8>)]) {
        for (row, payload) in payloads {
            let what = if *row >= segment.rows() {
                format!("there are {} rows", segment.rows())
            } else if let Err(error) = serde_json::from_slice::<Payload>(payload) {
                error.to_string()
            } else {
                continue;
            };
            self.find(Damage::Data, db.path(), format!("a payload of row {row} of segment {}: {what}", segment.id()));
        }
    }

    /// Checks a model folder, given the result of loading it.
    fn model(&mut self, folder: &Path, loaded: Result<(), embed::Error>) -> Result<(), Error> {
        for name in disk::list_files(folder).map_err(crate::store::Error::from)? {
            self.count(disk::file_len(&folder.join(name)).map_err(crate::store::Error::from)?.unwrap_or(0));
        }
        if let Err(error) = loaded {
            self.find(Damage::Data, folder, error);
        }
        Ok(())
    }

    /// Checks the collection's own model folder, if it has one.
    fn own_model(&mut self, dir: &Path, pin: Option<(&str, Fingerprint)>) -> Result<(), Error> {
        let folder = dir.join(EMBEDDER_FOLDER);
        if !folder.is_dir() {
            return Ok(());
        }
        let loaded = load_folder(&folder).and_then(|embedders| {
            let pinned = |(name, fingerprint): (&str, Fingerprint)| {
                embedders.iter().any(|one| one.name() == name && one.fingerprint() == fingerprint)
            };
            match pin.filter(|pin| !pinned(*pin)) {
                None => Ok(()),
                Some((name, fingerprint)) => {
                    let what = format!("does not hold the embedder {name:?} with the fingerprint {fingerprint}");
                    Err(embed::Error::Corrupt { path: folder.clone(), what })
                }
            }
        });
        self.model(&folder, loaded)
    }

    /// Checks the growing points; returns the ids of the readable ones.
    fn growing(&mut self, db: &CollectionDb, dimension: u32) -> Result<FxHashSet<String>, Error> {
        let (mut ids, mut unreadable) = (FxHashSet::default(), Vec::new());
        let mut damaged = |key: u64, what: String| {
            unreadable.push(format!("the growing point {key}: {what}"));
            Ok(())
        };
        let mut misfits = Vec::new();
        let mut visit = |key: u64, id: &str, vector: &[f32], _: &[u8]| {
            if fitting(id, vector, dimension).is_none() {
                misfits.push(format!("the growing point {key}: does not fit its collection"));
            } else if !ids.insert(id.to_owned()) {
                misfits.push(format!("the growing point {key}: another has the id {id:?}"));
            }
            Ok(())
        };
        db.growing_or_damaged(&mut visit, &mut damaged)?;
        unreadable.into_iter().chain(misfits).for_each(|what| self.find(Damage::Data, db.path(), what));
        Ok(ids)
    }

    /// Checks that every live point is in one segment only.
    fn duplicate_ids(&mut self, growing: &FxHashSet<String>, sealed: &[(Segment, FxHashSet<u32>)]) {
        for (index, (segment, dead)) in sealed.iter().enumerate() {
            let grow = growing.iter().filter(|id| segment.find(id).is_some_and(|row| !dead.contains(&row.0)));
            let twice: Vec<String> = grow.take(MAX_LISTED).cloned().collect();
            if !twice.is_empty() {
                self.find(Damage::Data, segment.path(), format!("growing points are live here too: {twice:?}"));
            }
            for (other, other_dead) in &sealed[..index] {
                let twice: Vec<&str> = common_ids(segment, other)
                    .filter(|(row, other_row)| !dead.contains(&row.0) && !other_dead.contains(&other_row.0))
                    .map(|(row, _)| segment.point_id(row))
                    .take(MAX_LISTED)
                    .collect();
                if !twice.is_empty() {
                    let what = format!("points are live here and in {}: {twice:?}", other.path().display());
                    self.find(Damage::Data, segment.path(), what);
                }
            }
        }
    }

    /// Checks a collection that is not open.
    fn closed(&mut self, fs: &Arc<dyn Fs>, record: &CollectionRecord, home: &CollectionDir) -> Result<(), Error> {
        let dir = home.path.as_path();
        let db = CollectionDb::open_read_only(fs, dir)?;
        db.claim(home)?;
        self.count(disk::file_len(db.path()).map_err(crate::store::Error::from)?.unwrap_or(0));
        let growing = self.growing(&db, record.dimension)?;
        let texts = record.text_fields.iter().map(|field| Arc::new(IndexedField::new(field.clone())));
        let vectors = record.vector_fields.iter().map(|field| Arc::new(IndexedVectors::new(field.clone())));
        let fields = IndexedFields { texts: Arc::new(texts.collect()), vectors: Arc::new(vectors.collect()) };
        let mut sound = Vec::new();
        for SegmentRecord { id, graph_generation, tag, deleted, calibration, payloads } in db.segments()? {
            let segment = match open_segment(dir, id, record.dimension, tag) {
                Ok(segment) => segment,
                Err(error) => {
                    self.find(Damage::Data, &dir.join(id.vectors_file()), error);
                    continue;
                }
            };
            let whole = self.segment(&segment, &fields, None);
            if let Some(generation) = graph_generation {
                self.graph(&graph_path(dir, id, generation), &segment, record.metric);
            }
            self.calibration(&db, id, calibration);
            if let Some(row) = deleted.iter().find(|row| **row >= segment.rows()) {
                let what = format!("row {row} of segment {id} is dead, and there are {} rows", segment.rows());
                self.find(Damage::Data, db.path(), what);
            }
            self.payloads(&db, &segment, &payloads);
            if whole {
                sound.push((segment, deleted.into_iter().collect()));
            }
        }
        self.duplicate_ids(&growing, &sound);
        if let Err(error) = db.reference_vectors() {
            self.find(Damage::Data, db.path(), error);
        }
        let pin = record.embedder.as_ref().map(|pin| (pin.name.as_str(), Fingerprint(pin.fingerprint)));
        self.own_model(dir, pin)?;
        self.unnamed(db.unnamed()?);
        Ok(())
    }

    /// Reports files and folders that no record names.
    fn unnamed(&mut self, unnamed: Vec<OrphanFile>) {
        for OrphanFile { path, fate, what } in unnamed {
            match fate {
                OrphanAction::Remove => self.find(Damage::Stray, &path, format!("{what}; the next start removes it")),
                OrphanAction::SetAside => {
                    self.find(Damage::Data, &path, format!("{what}; the next start moves it to orphans/"))
                }
                OrphanAction::Refuse => self.find(Damage::Data, &path, what),
            }
        }
    }
}

/// Checks every file of a data directory that no process has open, without modifying it.
///
/// # Errors
/// `Unavailable` if another process has the directory open; `Corrupt` if the catalogue cannot be read.
pub fn check_directory(data_dir: &Path) -> Result<CheckReport, Error> {
    let fs = disk::real_fs();
    let catalog = Catalog::inspect(&fs, data_dir)?;
    let mut report = CheckReport::default();
    let bytes = disk::file_len(catalog.path()).map_err(crate::store::Error::from)?.unwrap_or(0);
    Check { report: &mut report, collection: "" }.count(bytes);
    for (name, entry) in catalog.list()? {
        let mut check = Check { report: &mut report, collection: &name };
        match entry {
            Err(error) => check.find(Damage::Data, catalog.path(), error),
            Ok(entry) => {
                for generation in [Some(&entry), entry.previous.as_deref()].into_iter().flatten() {
                    let home = catalog.collection_dir(generation);
                    if let Err(error) = check.closed(&fs, &generation.record, &home) {
                        check.find(Damage::Data, &home.path.join(CollectionDb::FILE), error);
                    }
                }
            }
        }
    }
    let mut check = Check { report: &mut report, collection: "" };
    check.unnamed(catalog.unnamed()?);
    for orphan in catalog.orphans()? {
        let what = "an earlier start moved it here because no record named it; restore the files that belong to it, or remove it";
        check.find(Damage::Stray, &orphan, what);
    }
    for folder in Models::open_read_only(data_dir)? {
        Check { report: &mut report, collection: "" }.model(&folder, load_installed(&folder).map(drop))?;
    }
    relative_to(&mut report, data_dir);
    Ok(report)
}

/// Makes the paths of the findings relative to the data directory.
pub(crate) fn relative_to(report: &mut CheckReport, data_dir: &Path) {
    for finding in &mut report.findings {
        if let Ok(file) = Path::new(&finding.file).strip_prefix(data_dir) {
            finding.file = file.display().to_string();
        }
    }
}

/// Checks the folder of one collection that is not open.
///
/// # Errors
/// Those of [`check_directory`].
pub(crate) fn check_folder(
    fs: &Arc<dyn Fs>,
    record: &CollectionRecord,
    home: &CollectionDir,
) -> Result<CheckReport, Error> {
    let mut report = CheckReport::default();
    Check { report: &mut report, collection: record.name.as_str() }.closed(fs, record, home)?;
    Ok(report)
}

impl Collection {
    /// Checks the files of this collection while it is served. Damaged segments are quarantined.
    pub(crate) fn check(&self) -> Result<CheckReport, Error> {
        let mut report = CheckReport::default();
        let name = self.name();
        let mut check = Check { report: &mut report, collection: name.as_str() };
        check.count(disk::file_len(self.db.path()).map_err(crate::store::Error::from)?.unwrap_or(0));
        match self.db.stopped() {
            Some(_) if self.is_removed() => return Err(Error::UnknownCollection(self.name().to_string())),
            Some(why) => check.find(Damage::Data, self.db.path(), why),
            None => {
                check.growing(&self.db, self.dimension)?;
                let view = self.view();
                for SegmentRecord { id, calibration, payloads, .. } in self.db.segments()? {
                    check.calibration(&self.db, id, calibration);
                    // A concurrent merge may have removed it from one of the two.
                    if let Some(sealed) = view.sealed.iter().find(|sealed| sealed.segment.id() == id) {
                        check.payloads(&self.db, &sealed.segment, &payloads);
                    }
                }
            }
        }
        let pin = self.embedder.as_ref().map(|pinned| (pinned.pin.name.as_str(), pinned.pin.fingerprint));
        check.own_model(&self.dir, pin)?;
        let view = self.view();
        let in_view =
            |other: &&QuarantinedSegment| !view.sealed.iter().any(|sealed| sealed.segment.id() == other.segment);
        for other in view.damaged.iter().filter(in_view) {
            check.find(Damage::Data, &self.dir.join(other.segment.vectors_file()), &other.what);
        }
        let stop = CancellationToken::current();
        let fields = self.indexed_fields();
        for sealed in &view.sealed {
            stop.check()?;
            if !check.segment(&sealed.segment, &fields, Some(sealed)) {
                let path = sealed.segment.path().display().to_string();
                let last = check.report.findings.iter().rev().find(|finding| finding.file == path);
                self.quarantine(&sealed.segment, &last.map_or_else(String::new, |finding| finding.what.clone()));
            }
            match sealed.verified_graph() {
                Ok(graph) => graph.iter().for_each(|graph| check.count(graph.mapped_bytes())),
                Err((graph, error)) => {
                    check.count(graph.mapped_bytes());
                    check.find(Damage::Cache, graph.path(), error);
                }
            }
        }
        Ok(report)
    }
}
