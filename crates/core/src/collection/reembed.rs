//! Generations: rebuilding a collection with another embedder, from the sources stored in its points, while it serves.
//!
//! The next generation is built in a folder that the catalogue does not name. It [follows](Follower) the current one: a
//! full copy first, then the writes that arrive meanwhile. Writers wait only for the last few points; then one
//! transaction of the catalogue switches to the new folder. A crash before it leaves the current generation intact, a
//! crash after it the next one. The previous generation is kept. A rollback is the same process in the other direction:
//! the previous generation follows the writes since the switch, then replaces the current one.
//!
//! The source of a point is a field of its payload, and users write payloads: an item may have been written as a vector
//! with some text beside it. The current embedder therefore embeds each source again. A source is certain only
//! if this reproduces the stored vector. If any source is not certain, nothing is changed and the points are listed.

use super::bulk::{OnConflict, Refused};
use super::change_feed::{ChangeFeed, Subscription};
use super::commit_queue::CommitState;
use super::embed_input::{Absent, IMAGE_FIELD, TEXT_FIELD, image_from_base64};
use super::embedder_probe;
use super::plan::WriteRequest;
use super::state::Collection;
use crate::api::{Error, Fields, Item, Job, Observe, Payload, Point, PointInput, Sources, limits};
use crate::embed::{Input, Modality};
use crate::store::Change;
use crate::sync::MutexGuard;
use crate::types::{PointId, Precision};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Points compared or embedded per batch.
const PAGE: usize = 1_024;
/// Maximum remaining points at the switch, while writers wait.
const LAST: usize = 128;
/// Maximum attempts to get down to [`LAST`] points.
const ROUNDS: usize = 1_000;
/// Maximum full comparisons caused by writes that outran the change feed.
const COMPARISONS: usize = 16;

/// Maximum points without a certain source that an error lists.
const MAX_LISTED: usize = 10;

const WHOLE: Fields = Fields { payload: true, vector: true };

/// Tolerated distance between a new and a stored vector, relative to its length: I8 steps are coarse, and a component
/// between two steps may be rounded either way.
fn tolerance(precision: Precision) -> f32 {
    match precision {
        Precision::F32 | Precision::F16 => embedder_probe::ROUNDING,
        Precision::I8 => 20.0 * embedder_probe::ROUNDING,
    }
}

/// Points without a certain source.
#[derive(Default)]
struct Uncertain {
    count: u64,
    /// The first [`MAX_LISTED`] of them.
    ids: Vec<String>,
}

impl Uncertain {
    fn add(&mut self, id: &PointId) {
        self.count += 1;
        if self.ids.len() < MAX_LISTED {
            self.ids.push(id.to_string());
        }
    }
}

/// Brings one generation up to date with another.
pub(crate) struct Follower<'g> {
    /// The generation that serves.
    from: &'g Collection,
    to: &'g Collection,
    /// Changes of `from`.
    feed: Subscription,
    comparisons: usize,
    /// Whether payloads are trusted, without verification by the current embedder.
    sources: Sources,
    observe: Observe<'g>,
}

impl<'g> Follower<'g> {
    pub(crate) fn new(from: &'g Collection, to: &'g Collection, sources: Sources, observe: Observe<'g>) -> Self {
        let feed = Subscription::new(&from.changes, || from.commit_queue.sequence());
        Self { from, to, feed, comparisons: 0, sources, observe }
    }

    /// Copies all differences but the last few.
    ///
    /// # Errors
    /// `Conflict` for points without a certain source, or while the current embedder is not loaded; `InvalidInput` for
    /// a point that cannot be embedded; `Unavailable` when writes are faster than the copying, or `observe` returns
    /// false.
    pub(crate) fn approach(&mut self) -> Result<(), Error> {
        // No background thread flushes this generation, and a reopened one may have unflushed segments.
        while self.to.flush_oldest().map_err(Error::Flush)? {}
        if self.to.view().live() == 0 {
            self.fill()?
        } else {
            self.compare()?
        }
        for _ in 0..ROUNDS {
            if self.follow(PAGE)? <= LAST {
                return Ok(());
            }
        }
        Err(self.too_fast())
    }

    /// Copies the last differences. `held` proves that the serving generation has no concurrent writes.
    ///
    /// # Errors
    /// As [`approach`](Self::approach); also `Unavailable` when the collection was deleted or replaced.
    pub(crate) fn finish(&mut self, _held: &MutexGuard<'_, CommitState>) -> Result<(), Error> {
        while self.follow(PAGE)? > 0 {}
        // Clients may wait for a sequence number of the previous generation: continue above it.
        let sequence = self.from.commit_queue.sequence().max(self.to.commit_queue.sequence()) + 1;
        let _to = self.to.commit_queue.lock();
        self.to.db.commit(&[Change::Sequence(sequence)])?;
        self.to.commit_queue.set_sequence(sequence);
        Ok(())
    }

    fn too_fast(&self) -> Error {
        let name = self.from.name();
        let name = name.as_str();
        Error::Unavailable(format!("{name:?} is written faster than it can be embedded; retry at a lower write rate"))
    }

    fn progress(&self, done: u64) -> Result<(), Error> {
        let total = self.from.view().live().max(done);
        let go_on = (self.observe)(Job::Embedding, done, total);
        if go_on { Ok(()) } else { Err(cancelled()) }
    }

    /// Copies all points into an empty generation, as sealed segments with their graphs.
    fn fill(&mut self) -> Result<(), Error> {
        let (mut failed, mut uncertain) = (None, Uncertain::default());
        let (mut after, mut more, mut page) = (None, true, Vec::new().into_iter());
        // Set when the loaded rows will be discarded: no graph is built.
        let ended = AtomicBool::new(false);
        let mut items = std::iter::from_fn(|| {
            loop {
                if let Some(item) = page.next() {
                    return Some(item);
                }
                if !more || failed.is_some() {
                    return None;
                }
                match self.page(&mut after, &mut uncertain) {
                    // The remaining points are only counted.
                    Ok((_, more_follow)) if uncertain.count > 0 => more = more_follow,
                    Ok((items, more_follow)) => (page, more) = (items.into_iter(), more_follow),
                    Err(error) => failed = Some(error),
                }
                ended.store(failed.is_some() || uncertain.count > 0, Ordering::Relaxed);
            }
        });
        let mut refuse = |refused: Refused<'_>, error: Error| Err(self.refused(refused.id, error));
        let total = self.from.view().live();
        let observe = |job: Job, done: u64, of: u64| match job {
            _ if ended.load(Ordering::Relaxed) => false,
            Job::Loading => (self.observe)(Job::Embedding, done, total.max(done)),
            other => (self.observe)(other, done, of),
        };
        let loaded = self.to.bulk_load(&mut items, OnConflict::Replace, &mut refuse, &observe);
        failed.map_or(Ok(()), Err)?;
        self.check(uncertain)?;
        loaded.map(drop)
    }

    /// Returns what `read` reads of the serving generation, and the names of the vector fields that both generations
    /// have. Vectors in other fields are copied after [`take_over_fields`](Self::take_over_fields).
    fn read<T>(&self, read: impl Fn() -> Result<T, Error>) -> Result<(T, BTreeSet<String>), Error> {
        loop {
            let fields = self.from.vector_fields();
            let done = read()?;
            // Another field may have got the name of one that was dropped meanwhile.
            if Arc::ptr_eq(&fields, &self.from.vector_fields()) {
                let there = self.to.vector_fields();
                let both = fields.iter().filter(|field| there.iter().any(|other| other.spec == field.spec));
                return Ok((done, both.map(|field| field.spec.name.clone()).collect()));
            }
        }
    }

    /// Takes over vector fields that were added or dropped since the copy began, and the vectors in them.
    fn take_over_fields(&mut self) -> Result<(), Error> {
        let specs = |of: &Collection| of.vector_fields().iter().map(|field| field.spec.clone()).collect::<Vec<_>>();
        let fields = specs(self.from);
        if fields == specs(self.to) {
            return Ok(());
        }
        self.to.next_field.fetch_max(self.from.next_field.load(Ordering::Relaxed), Ordering::Relaxed);
        self.to.set_vector_fields(&fields);
        self.compare()
    }

    /// Returns the next points in id order as items, and whether more follow.
    fn page(&self, after: &mut Option<PointId>, uncertain: &mut Uncertain) -> Result<(Vec<Item>, bool), Error> {
        let (page, fields) = self.read(|| self.from.scroll(after.as_ref(), PAGE, WHOLE, None))?;
        if uncertain.count > 0 && !(self.observe)(Job::Embedding, 0, self.from.view().live()) {
            return Err(cancelled());
        }
        if let Some(last) = page.points.last() {
            *after = Some(last.id.clone());
        }
        Ok((self.items(page.points, &fields, uncertain)?, page.more))
    }

    /// Converts points back to items: their sources, their payloads, and their vectors in these fields. Skips points
    /// without a certain source.
    fn items(
        &self,
        points: Vec<Point>,
        fields: &BTreeSet<String>,
        uncertain: &mut Uncertain,
    ) -> Result<Vec<Item>, Error> {
        if points.is_empty() {
            return Ok(Vec::new());
        }
        let to = &self.to.embedder("embedder")?.0;
        let from = if self.sources == Sources::Trusted { to } else { &self.from.embedder("name")?.0 };
        // The image comes first where both are read: the text may be only a description of it.
        let stored_sources = |payload: &Payload| -> Vec<PointInput> {
            let read = [Modality::Image, Modality::Text].into_iter().filter(|&reads| from.reads(reads));
            read.filter_map(|reads| {
                let stored = payload.get(field_of(reads))?.as_str()?;
                match reads {
                    Modality::Text => Some(PointInput::Text(stored.into())),
                    Modality::Image => image_from_base64(stored).map(PointInput::Image),
                }
            })
            .collect()
        };
        // A point without a vector has none in the next generation either.
        let (points, without): (Vec<Point>, Vec<Point>) = points.into_iter().partition(|point| point.vector.is_some());
        let none = Payload::new();
        let sources: Vec<Vec<PointInput>> =
            points.iter().map(|point| stored_sources(point.payload.as_ref().unwrap_or(&none))).collect();
        let mut certain = self.certain(&points, &sources)?.into_iter();
        let mut items = Vec::with_capacity(points.len());
        for (point, sources) in points.into_iter().zip(sources) {
            let certain = sources.into_iter().zip(certain.by_ref()).filter_map(|(source, is)| is.then_some(source));
            // Collected eagerly, to consume one element of the iterator per source.
            let certain: Vec<PointInput> = certain.collect();
            let read = |source: &PointInput| match source {
                PointInput::Text(_) => to.reads(Modality::Text),
                PointInput::Image(_) => to.reads(Modality::Image),
                PointInput::Vector(_) | PointInput::Embedded { .. } | PointInput::None => false,
            };
            match certain.into_iter().find(read) {
                Some(source) => items.push(Item {
                    id: point.id,
                    source,
                    payload: point.payload.unwrap_or_default(),
                    vectors: point.vectors.into_iter().filter(|(name, _)| fields.contains(name)).collect(),
                }),
                None => uncertain.add(&point.id),
            }
        }
        items.extend(without.into_iter().map(|point| Item {
            id: point.id,
            source: PointInput::None,
            payload: point.payload.unwrap_or_default(),
            vectors: point.vectors,
        }));
        Ok(items)
    }

    /// Returns, for each source of each point in order, whether the current embedder reproduces the stored vector from
    /// it.
    ///
    /// # Errors
    /// `Abandoned` when the call was cancelled.
    fn certain(&self, points: &[Point], sources: &[Vec<PointInput>]) -> Result<Vec<bool>, Error> {
        let inputs: Vec<Input<'_>> = sources
            .iter()
            .flatten()
            .filter_map(|source| match source {
                PointInput::Text(text) => Some(Input::Text(text)),
                PointInput::Image(image) => Some(Input::Image(image)),
                PointInput::Vector(_) | PointInput::Embedded { .. } | PointInput::None => None,
            })
            .collect();
        if self.sources == Sources::Trusted {
            return Ok(vec![true; inputs.len()]);
        }
        let (from, precision) = (self.from, self.from.settings.precision);
        let stored = points.iter().zip(sources).flat_map(|(point, sources)| sources.iter().map(|_| &point.vector));
        let embedded = from.embed_each(&inputs, |_| "payload".to_owned(), false);
        embedded
            .into_iter()
            .zip(stored)
            .map(|(embedded, stored)| {
                let rounded = |embedded| {
                    limits::rounded(&|| "payload".to_owned(), embedded, precision, from.dimension, from.metric)
                };
                match (embedded.and_then(rounded), stored) {
                    (Ok(embedded), Some(stored)) => Ok(embedder_probe::off(&embedded, stored) <= tolerance(precision)),
                    (Err(Error::Abandoned), _) => Err(Error::Abandoned),
                    _ => Ok(false),
                }
            })
            .collect()
    }

    /// Fails if there are points without a certain source.
    fn check(&self, uncertain: Uncertain) -> Result<(), Error> {
        let Uncertain { count, ids } = uncertain;
        if count == 0 {
            return Ok(());
        }
        let reads = self.to.embedder("embedder")?.0.modality();
        let collection = self.from.name().to_string();
        Err(Error::UncertainSource { collection, count, ids, reads: reads.name(), field: field_of(reads) })
    }

    fn refused(&self, id: &PointId, error: Error) -> Error {
        match error {
            Error::Embed { source, .. } => Error::Embed { field: format!("the point {:?}", id.as_str()), source },
            other => other,
        }
    }

    /// Copies every difference, found by id and payload: missing, changed and surplus points.
    fn compare(&mut self) -> Result<(), Error> {
        self.comparisons += 1;
        if self.comparisons > COMPARISONS {
            return Err(self.too_fast());
        }
        let (mut after, mut done, mut uncertain) = (None, 0, Uncertain::default());
        loop {
            let (page, fields) = self.read(|| self.from.scroll(after.as_ref(), PAGE, WHOLE, None))?;
            let ids: Vec<PointId> = page.points.iter().map(|point| point.id.clone()).collect();
            let there = self.to.get(&ids, WHOLE)?;
            done += ids.len() as u64;
            after = ids.into_iter().last();
            let differs = page.points.into_iter().zip(there).filter(|(here, there)| {
                let same = |there: &Point| there.payload == here.payload && there.vectors == here.vectors;
                !there.as_ref().is_some_and(same)
            });
            let items = self.items(differs.map(|(point, _)| point).collect(), &fields, &mut uncertain)?;
            // After the first uncertain source the rest is only counted.
            if uncertain.count == 0 {
                self.upsert(items)?;
            }
            self.progress(done)?;
            if !page.more {
                break;
            }
        }
        self.check(uncertain)?;
        let mut after = None;
        loop {
            let page = self.to.scroll(after.as_ref(), PAGE, Fields::default(), None)?;
            let ids: Vec<PointId> = page.points.into_iter().map(|point| point.id).collect();
            let there = self.from.get(&ids, Fields::default())?;
            after = ids.last().cloned();
            self.delete(ids.into_iter().zip(there).filter(|(_, there)| there.is_none()).map(|(id, _)| id).collect())?;
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Copies the changes since the last call, up to about `max_points` points. Returns their number.
    fn follow(&mut self, max_points: usize) -> Result<usize, Error> {
        self.take_over_fields()?;
        let batch = self.feed.take(max_points);
        if batch.ended || self.from.is_removed() {
            let name = self.from.name();
            let name = name.as_str();
            return Err(Error::Unavailable(format!("{name:?} was deleted or replaced meanwhile; nothing was changed")));
        }
        if batch.missed {
            self.compare()?;
            return Ok(max_points);
        }
        let count = batch.ids.len();
        if count == 0 {
            return Ok(0);
        }
        let (now, fields) = self.read(|| self.from.get(&batch.ids, WHOLE))?;
        let (mut points, mut removed, mut uncertain) = (Vec::new(), Vec::new(), Uncertain::default());
        for (id, point) in batch.ids.into_iter().zip(now) {
            match point {
                Some(point) => points.push(point),
                None => removed.push(id),
            }
        }
        let items = self.items(points, &fields, &mut uncertain)?;
        self.check(uncertain)?;
        self.upsert(items)?;
        self.delete(removed)?;
        self.progress(self.to.view().live())?;
        Ok(count)
    }

    fn upsert(&self, items: Vec<Item>) -> Result<(), Error> {
        if items.is_empty() {
            return Ok(());
        }
        let ids: Vec<PointId> = items.iter().map(|item| item.id.clone()).collect();
        let root = |_: usize| "item".to_owned();
        let prepared = self.to.prepare_each(items, &root).into_iter().zip(&ids);
        let ready = prepared.map(|(prepared, id)| {
            prepared
                .and_then(|item| self.to.ready("item", &item, Absent::Refused))
                .map_err(|error| self.refused(id, error))
        });
        self.write(WriteRequest::Upsert(ready.collect::<Result<_, _>>()?))
    }

    fn delete(&self, ids: Vec<PointId>) -> Result<(), Error> {
        if ids.is_empty() { Ok(()) } else { self.write(WriteRequest::Delete(ids)) }
    }

    /// Writes, and flushes in this thread, because no background thread flushes this generation.
    fn write(&self, op: WriteRequest) -> Result<(), Error> {
        self.to.write(op)?;
        while self.to.flush_oldest().map_err(Error::Flush)? {}
        Ok(())
    }
}

fn cancelled() -> Error {
    Error::Unavailable("it was cancelled; nothing was changed".into())
}

/// Returns the payload field that stores this kind of source.
fn field_of(reads: Modality) -> &'static str {
    match reads {
        Modality::Text => TEXT_FIELD,
        Modality::Image => IMAGE_FIELD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        CollectionSpec, Damage, FieldVector, FieldVectors, Filter, IndexSettings, PayloadUpdate, PointSelection,
        SparseVector, VectorField, VectorSource,
    };
    use crate::collection::{check_directory, layout};
    use crate::embed::{Embedder, Input, Registry};
    use crate::engine::crash_tests::letters::Letters;
    use crate::engine::{Admin, Database, Generations, Layouts, Reads, Writes};
    use crate::types::{CollectionName, Metric};
    use std::path::Path;
    use std::sync::atomic::AtomicUsize;

    const GO_ON: Observe<'static> = &|_, _, _| true;

    fn name() -> CollectionName {
        CollectionName::new("texts").unwrap()
    }

    fn id(text: &str) -> PointId {
        PointId::new(text).unwrap()
    }

    fn text(id: &str, text: &str) -> Item {
        Item {
            id: self::id(id),
            source: PointInput::Text(text.into()),
            payload: Payload::new(),
            vectors: Default::default(),
        }
    }

    fn open(dir: &Path) -> Database {
        let mut registry = Registry::default();
        registry.add(Arc::new(Letters::new()));
        Database::options().embedders(registry).open(dir).unwrap()
    }

    /// Creates a collection for that output of the embedder. A segment is sealed after 100 points.
    fn created(dir: &Path, output: &str) -> Database {
        let engine = open(dir);
        let space = VectorSource::Embedded { embedder: "letters".into(), output: output.into() };
        let index = IndexSettings { seal_rows: 100, ..Default::default() };
        engine
            .create_collection(&CollectionSpec {
                name: name(),
                space,
                metric: Metric::L2,
                index,
                text_fields: None,
                vector_fields: Vec::new(),
                optional_vectors: false,
                ttl: None,
                tenant: None,
            })
            .unwrap();
        engine
    }

    #[test]
    fn vector_fields_may_change_meanwhile() {
        // While the points are copied; and then while they are compared, too.
        for jobs in [1, 2] {
            let dir = tempfile::tempdir().unwrap();
            let engine = created(dir.path(), "counts");
            engine.add_field(&name(), VectorField::dense("t", 2).into()).unwrap();
            let vector = |x: f32| FieldVector::Dense(vec![x, 1.0]);
            let items = (0..5).map(|n| text(&format!("p{n}"), "abe").field_vector("t", vector(n as f32)));
            engine.upsert(&name(), items.collect()).unwrap();
            let calls = AtomicUsize::new(0);
            let observe = |_: Job, _, _| {
                let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
                if (1..=jobs).contains(&call) {
                    // The new field has the name of the other, and none of its vectors.
                    engine.drop_field(&name(), "t").unwrap();
                    engine.add_field(&name(), VectorField::dense("t", 2).into()).unwrap();
                    let field = format!("new{call}");
                    engine.add_field(&name(), VectorField::sparse(field.as_str()).into()).unwrap();
                    let change = Item { source: PointInput::None, ..text("p1", "") };
                    let change = change.field_vector("t", vector(1.0)).field_vector(field, sparse());
                    engine.update_vectors(&name(), vec![change]).unwrap();
                }
                true
            };
            let info = engine.reembed(&name(), "letters", "vowels", Sources::Proved, &observe).unwrap();
            assert_eq!((info.generation, info.vector_fields.len()), (2, 1 + jobs));
            for _ in 0..2 {
                let page = engine.scroll(&name(), None, 10, WHOLE, None).unwrap();
                for point in page.points {
                    let mut expected = FieldVectors::new();
                    if point.id == id("p1") {
                        expected.insert("t".into(), vector(1.0));
                        expected.extend((1..=jobs).map(|call| (format!("new{call}"), sparse())));
                    }
                    assert_eq!(point.vectors, expected, "{jobs}: {}", point.id);
                }
                engine.rollback(&name(), GO_ON).unwrap();
            }
        }
    }

    fn sparse() -> FieldVector {
        FieldVector::Sparse(SparseVector { indices: vec![3], values: vec![0.5] })
    }

    #[test]
    fn an_item_of_the_previous_embedder_is_embedded_again() {
        let dir = tempfile::tempdir().unwrap();
        let engine = created(dir.path(), "counts");
        let item = text("a", "abe");
        let prepared = engine.prepare(&name(), item).unwrap();
        engine.upsert(&name(), vec![prepared.clone()]).unwrap();
        let vector = || {
            let fields = Fields { payload: true, vector: true };
            let point = engine.get(&name(), &[id("a")], fields).unwrap().pop().unwrap().unwrap();
            assert_eq!(point.payload.unwrap()["text"], "abe");
            point.vector.unwrap()
        };
        let letters = Letters::new();
        let embedded =
            |output: &str| letters.embed(letters.output_layer(output).unwrap(), &Input::Text("abe")).unwrap();
        assert_eq!(vector(), embedded("counts"));
        engine.upsert(&name(), vec![text("a", "uuu")]).unwrap();
        engine.reembed(&name(), "letters", "vowels", Sources::Proved, GO_ON).unwrap();
        engine.upsert(&name(), vec![prepared.clone()]).unwrap();
        assert_eq!(vector(), embedded("vowels"));
        engine.rollback(&name(), GO_ON).unwrap();
        engine.upsert(&name(), vec![prepared]).unwrap();
        assert_eq!(vector(), embedded("counts"));
    }

    #[test]
    fn a_new_generation_keeps_the_expiry_and_the_times_of_its_points() {
        let dir = tempfile::tempdir().unwrap();
        let engine = created(dir.path(), "counts");
        engine.upsert(&name(), vec![text("a", "abe")]).unwrap();
        let ttl = crate::api::Ttl::new("at", 3_600).stamp(true);
        engine.set_ttl(&name(), Some(ttl.clone())).unwrap();
        engine.upsert(&name(), vec![text("b", "uuu")]).unwrap();
        let times = || {
            let points = engine.get(&name(), &[id("a"), id("b")], Fields { payload: true, vector: false }).unwrap();
            points.into_iter().map(|point| point.unwrap().payload.unwrap().get("at").cloned()).collect::<Vec<_>>()
        };
        let before = times();
        assert!(before[0].is_none() && before[1].is_some(), "{before:?}");
        let info = engine.reembed(&name(), "letters", "vowels", Sources::Proved, GO_ON).unwrap();
        assert_eq!((info.ttl, times()), (Some(ttl.clone()), before.clone()));
        engine.set_ttl(&name(), None).unwrap();
        let info = engine.rollback(&name(), GO_ON).unwrap();
        assert_eq!((info.ttl, times()), (None, before), "the setting is that of both generations");
    }

    #[test]
    fn both_generations_keep_updated_payloads() {
        let dir = tempfile::tempdir().unwrap();
        let engine = created(dir.path(), "counts");
        engine.upsert(&name(), (0..150).map(|at| text(&format!("p{at}"), "alligator")).collect()).unwrap();
        let set = |ids: &[&str], field: &str, value: &str| {
            let points = PointSelection::Ids(ids.iter().map(|text| id(text)).collect());
            let update = PayloadUpdate::set([(field.to_owned(), value.into())].into_iter().collect());
            engine.update_payload(&name(), &points, &update).unwrap();
        };
        let seen = || engine.count(&name(), Some(&Filter::exists("seen"))).unwrap();
        set(&["p1", "p140"], "seen", "first");
        engine.reembed(&name(), "letters", "vowels", Sources::Proved, GO_ON).unwrap();
        assert_eq!(seen(), 2);
        set(&["p2", "p149"], "seen", "second");
        engine.rollback(&name(), GO_ON).unwrap();
        assert_eq!(seen(), 4);
        // The vector does not belong to the updated text.
        set(&["p3"], "text", "crocodile");
        let error = engine.reembed(&name(), "letters", "vowels", Sources::Proved, GO_ON).unwrap_err();
        assert!(matches!(&error, Error::UncertainSource { count: 1, ids, .. } if ids[..] == ["p3"]), "{error}");
        let same = Item { payload: Payload::new(), ..text("p3", "crocodile") };
        engine.update_vectors(&name(), vec![same]).unwrap();
        engine.reembed(&name(), "letters", "vowels", Sources::Proved, GO_ON).unwrap();
    }

    #[test]
    fn a_rollback_starts_immediately_while_the_previous_generation_is_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let engine = created(dir.path(), "counts");
        let (stop, reads, read) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            // Keeps the background threads busy with the collection.
            let writer = scope.spawn(|| {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let items = (0..50).map(|at| text(&format!("p{}", (n * 50 + at) % 2_000), "alligator")).collect();
                    engine.upsert(&name(), items).expect("written");
                }
            });
            while engine.count(&name(), None).unwrap() < 500 {
                std::thread::yield_now();
            }
            // Holds the previous generation until the end.
            let reader = scope.spawn(|| {
                let choice = layout::LayoutKey { dimensions: 2, method: Some(crate::layout::Method::Pca) };
                let params = layout::LayoutParams { choice, fields: Vec::new(), limit: 300, fresh: false, seed: 0 };
                let observe = |_: layout::LayoutPart| {
                    reads.store(true, Ordering::SeqCst);
                    while !read.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                    false
                };
                engine.compute_layout(&name(), &params, &observe)
            });
            while !reads.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            let both = || {
                engine.reembed(&name(), "letters", "vowels", Sources::Proved, GO_ON)?;
                engine.rollback(&name(), GO_ON)
            };
            let outcomes: Vec<_> = (0..4).map(|_| both()).collect();
            read.store(true, Ordering::SeqCst);
            stop.store(true, Ordering::Relaxed);
            writer.join().expect("every write was accepted");
            reader.join().unwrap().ok();
            outcomes.into_iter().for_each(|outcome| assert_eq!(outcome.unwrap().dimension, 26));
        });
        let points = engine.count(&name(), None).unwrap();
        drop(engine);
        assert_eq!(open(dir.path()).count(&name(), None).unwrap(), points);
        // A switch may abort a job and leave its file, which the next open removes.
        let findings = check_directory(dir.path()).unwrap().findings;
        assert!(findings.iter().all(|finding| finding.damage == Damage::Stray), "{findings:?}");
    }
}
