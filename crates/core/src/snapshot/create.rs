//! Creation of a snapshot. The state is captured under the commit lock (deleted rows as bits, no vectors), then written
//! without it. Merges may remove files meanwhile, which stay readable through their mappings.

use super::manifest::{Kind, Manifest, Part, SnapshotInfo, SnapshotName};
use super::selftest::SelfTest;
use super::tar_format::{PIECE, Writer};
use super::updates;
use crate::api::{Error, Job, Observe};
use crate::collection::embedder_probe;
use crate::collection::state::Collection;
use crate::collection::view::View;
use crate::segment::growing::{Growing, NewRow};
use crate::segment::sealed::Sealed;
use crate::snapshot_store::SnapshotStore;
use crate::store::{CollectionRecord, EmbedderRecord, encode_point};
use crate::types::Ordinal;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Rows copied per lock of a growing segment.
const STEP: usize = 1_024;

/// An immutable capture of the collection at one sequence number.
pub(crate) struct Captured {
    pub(crate) sequence: u64,
    pub(crate) view: View,
}

/// Content of a part.
enum Content {
    Bytes(Vec<u8>),
    Vectors(Arc<Sealed>),
    Graph(Arc<crate::index::hnsw::Graph>),
    Growing,
}

impl Collection {
    /// Writes a snapshot of the current state into `store`.
    pub(crate) fn snapshot(&self, store: &SnapshotStore, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let captured = self.capture()?;
        let now = Manifest::now();
        let name = SnapshotName::generate(now, captured.sequence);
        let contents = self.contents(&captured.view, observe)?;
        let manifest = Manifest {
            record: self.record(),
            created: now,
            program: format!("nearness {}", env!("CARGO_PKG_VERSION")),
            sequence: captured.sequence,
            points: captured.view.live(),
            parts: contents.iter().map(|(part, _)| *part).collect(),
        };
        let mut upload = store.write(name.as_str())?;
        let mut writer = Writer::begin(&mut upload, &manifest, observe)?;
        for (part, content) in &contents {
            writer.part(*part, |put| match content {
                Content::Bytes(bytes) => put(bytes),
                Content::Vectors(sealed) => put(sealed.segment.mapping().bytes()),
                Content::Graph(graph) => put(graph.file_bytes()),
                Content::Growing => self.put_growing(&captured.view.growing, put),
            })?;
        }
        let bytes = writer.end()?;
        upload.finish()?;
        Ok(manifest.info(&name, bytes))
    }

    /// Captures the state.
    pub(crate) fn capture(&self) -> Result<Captured, Error> {
        let held = self.commit_queue.lock();
        if self.is_removed() {
            return Err(Error::UnknownCollection(self.name().to_string()));
        }
        let view = self.view();
        view.ensure_intact(&self.name())?;
        let sequence = self.commit_queue.sequence();
        let sealed = view.sealed.iter().map(|sealed| Arc::new(sealed.detached_copy())).collect();
        let oldest_first = view.unflushed.iter().chain(std::iter::once(&view.growing));
        let live: Vec<(Arc<Growing>, Vec<u32>)> = oldest_first
            .map(|growing| {
                let table = growing.read();
                let rows = (0..table.rows()).filter(|&row| !table.dead[row as usize]).collect();
                (growing.clone(), rows)
            })
            .collect();
        drop(held);
        // Rows never move: the captured ones can be read while others are appended.
        let growing = self.new_growing()?;
        let mut key = 0;
        for (from, rows) in &live {
            for rows in rows.chunks(STEP) {
                let table = from.read();
                let copies: Vec<NewRow> = rows
                    .iter()
                    .map(|&row| {
                        key += 1;
                        NewRow {
                            key,
                            id: table.ids[row as usize].clone(),
                            vector: table.vector(row, self.dimension as usize).to_vec(),
                            body: table.bodies[row as usize].clone(),
                        }
                    })
                    .collect();
                drop(table);
                growing.append(copies);
            }
        }
        let view =
            View { sealed, unflushed: Vec::new(), growing: Arc::new(growing), additions: 0, damaged: Vec::new() };
        Ok(Captured { sequence, view })
    }

    fn record(&self) -> CollectionRecord {
        let settings = self.settings;
        CollectionRecord {
            name: self.name().clone(),
            dimension: self.dimension,
            metric: self.metric,
            embedder: self.embedder.as_ref().map(|pinned| EmbedderRecord {
                name: pinned.pin.name.clone(),
                output: pinned.pin.output.clone(),
                fingerprint: pinned.pin.fingerprint.0,
            }),
            m: settings.m,
            ef_construction: settings.ef_construction,
            ef_search: settings.ef_search,
            seal_rows: settings.seal_rows,
            precision: settings.precision,
            text_fields: self.text_fields().iter().map(|field| field.spec.clone()).collect(),
            vector_fields: self.vector_fields().iter().map(|field| field.spec.clone()).collect(),
            next_field: self.next_field.load(Ordering::Relaxed),
            optional_vectors: self.optional_vectors,
            ttl: self.ttl().as_deref().cloned(),
            tenant: self.tenant.clone(),
        }
    }

    /// Returns all parts in order. Verifies what is copied, because a copy gets its own checksums.
    fn contents(&self, view: &View, observe: Observe<'_>) -> Result<Vec<(Part, Content)>, Error> {
        let mut contents = Vec::new();
        let bytes = |kind, bytes: Vec<u8>| (Part { kind, bytes: bytes.len() as u64 }, Content::Bytes(bytes));
        if self.embedder.is_some() {
            let (embedder, _) = self.embedder("snapshot")?;
            let files = embedder.files().map_err(|source| Error::Embed { field: "embedder".into(), source })?;
            contents.extend(files.into_iter().filter_map(|(name, file)| Some(bytes(Kind::embedder(name)?, file))));
            let reference_vectors = embedder_probe::to_bytes(&self.db.reference_vectors()?)?;
            if !reference_vectors.is_empty() {
                contents.push(bytes(Kind::Canaries, reference_vectors));
            }
        }
        let total = view.sealed.len() as u64;
        for (number, sealed) in view.sealed.iter().enumerate() {
            if !observe(Job::Checking, number as u64, total) {
                return Err(Error::Unavailable("it was cancelled".into()));
            }
            let id = sealed.segment.id();
            sealed.segment.verify().inspect_err(|error| self.quarantine(&sealed.segment, error))?;
            let length = sealed.segment.mapped_bytes();
            contents.push((Part { kind: Kind::Vectors(id), bytes: length }, Content::Vectors(sealed.clone())));
            let dead: Vec<u8> = sealed.dead().flat_map(u32::to_le_bytes).collect();
            if !dead.is_empty() {
                contents.push(bytes(Kind::Dead(id), dead));
            }
            let updates = updates::encode(sealed.updates().iter().filter(|(row, _)| sealed.is_live(Ordinal(*row))));
            if !updates.is_empty() {
                contents.push(bytes(Kind::Updates(id), updates));
            }
            // A graph is a cache: a damaged one is left out, and rebuilt here and after a restore.
            let live = self.view().sealed.iter().find(|live| live.segment.id() == id).cloned();
            let live = live.unwrap_or_else(|| sealed.clone());
            let Ok(Some(graph)) = live.verified_graph() else { continue };
            let generation = live.generation.load(Ordering::Relaxed);
            let part = Part { kind: Kind::Graph(id, generation), bytes: graph.mapped_bytes() };
            contents.push((part, Content::Graph(graph)));
            if let Some(table) = live.calibration() {
                contents.push(bytes(Kind::Calibration(id, generation), table.to_bytes()));
            }
        }
        let mut length = 0;
        self.put_growing(&view.growing, &mut |piece| {
            length += piece.len() as u64;
            Ok(())
        })?;
        contents.push((Part { kind: Kind::Growing, bytes: length }, Content::Growing));
        contents.push(bytes(Kind::SelfTest, SelfTest::create(self, view)?.to_json()));
        Ok(contents)
    }

    /// Writes every row: length u32, then the record in database format.
    fn put_growing(&self, growing: &Growing, put: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let table = growing.read();
        let (mut record, mut buffer) = (Vec::new(), Vec::new());
        for row in 0..table.rows() {
            let index = row as usize;
            let vector = table.vector(row, self.dimension as usize);
            encode_point(&mut record, table.ids[index].as_str(), vector, &table.bodies[index])
                .map_err(|what| Error::Damaged { what: format!("the growing point {}: {what}", table.ids[index]) })?;
            buffer.extend_from_slice(&(record.len() as u32).to_le_bytes());
            buffer.extend_from_slice(&record);
            if buffer.len() >= PIECE {
                put(&buffer)?;
                buffer.clear();
            }
        }
        put(&buffer)
    }
}
