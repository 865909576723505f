//! Background jobs that turn growing points into sealed segments, and sealed segments into fewer and better ones.
//!
//! A job reads rows that live, writes new immutable files, and publishes them in one transaction under
//! the commit lock, where the rows that died meanwhile are carried over. A crash before that transaction
//! leaves files that nothing names; they are swept at the next open.

use super::activity::count;
use super::growing::Growing;
use super::open::{Collection, View, expected, graph_path};
use super::sealed::{GRAPH_FROM_ROWS, Sealed};
use super::{Error, Job};
use crate::index::Rows;
use crate::index::graph::{self, Graph, Reuse};
use crate::index::order::{self, SourceRow};
use crate::store::{Change, Segment, SegmentWriter};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::types::Ordinal;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

/// Most rows of a segment that a merge or a bulk load makes.
pub(super) const MAX_SEGMENT_ROWS: u64 = 4 << 20;
/// A segment is merged with the smaller ones when together they hold one in so many of its rows. The larger it is, the
/// fewer segments a search visits; each row is written about so many times in its life, but linked only once, because the
/// largest input's links are kept.
const SMALLER_ONE_IN: u64 = 8;
/// When more segments than this wait to be merged into one, seals are delayed, and with them the writers: merging is behind.
const MERGES_BEHIND: usize = 16;
/// For how long at most.
const SEAL_DELAY: Duration = Duration::from_secs(10);
/// Generation of a graph that is born with its segment.
const FIRST_GENERATION: u32 = 1;

/// What the collection would be better for.
pub(super) enum Task {
    /// Write the live rows of these into one new segment.
    Merge(Vec<Arc<Sealed>>),
    /// Build a graph where there is none.
    Graph(Arc<Sealed>),
}

pub(super) use super::Observe;

impl Collection {
    /// Seals the oldest frozen segment. False when there is none. Writers that wait for it are told how it went.
    pub(super) fn seal_oldest(&self) -> Result<bool, Arc<Error>> {
        let done = self.try_seal_oldest().map_err(Arc::new);
        self.writer.notify_sealed(done.as_ref().err().cloned());
        done
    }

    fn try_seal_oldest(&self) -> Result<bool, Error> {
        let _one_seal = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(frozen) = self.view().frozen.first().cloned() else { return Ok(false) };
        const STEP: u32 = 1_024;
        let rows = frozen.rows_held();
        let mut writer = self.segment_writer()?;
        let mut origins: Vec<u32> = Vec::new();
        for from in (0..rows).step_by(STEP as usize) {
            // In steps, so that writers that replace a frozen row never wait long.
            let table = frozen.read();
            for row in (from..rows.min(from + STEP)).filter(|&row| !table.dead[row as usize]) {
                let place = row as usize;
                let vector = table.vector(row, self.dimension as usize);
                writer.append(table.ids[place].as_str(), vector, &table.payloads[place])?;
                origins.push(row);
            }
        }
        let segment = if origins.is_empty() { None } else { Some(writer.finish()?) };

        let held = self.writer.hold();
        let (first, last, died) = {
            let table = frozen.read();
            let died: Vec<u32> =
                (0..origins.len() as u32).filter(|&new| table.dead[origins[new as usize] as usize]).collect();
            (table.keys.first().copied().unwrap_or(0), table.keys.last().map_or(0, |key| key + 1), died)
        };
        let mut changes = vec![Change::RemoveGrowingRange { from: first, until: last }];
        if let Some(segment) = &segment {
            changes.push(Change::AddSegment { segment: segment.id(), graph_generation: None });
            changes.extend(died.iter().map(|&row| Change::DeleteRow { segment: segment.id(), row }));
        }
        self.truth.commit(&changes)?;
        let sealed = segment.map(|segment| Arc::new(Sealed::new(segment, None, &died)));
        self.change_view(|view| {
            view.frozen.retain(|other| !Arc::ptr_eq(other, &frozen));
            view.sealed.extend(sealed);
        });
        drop(held);
        count(&self.meters.seals);
        Ok(true)
    }

    /// Does the most useful task there is. False when there is none.
    pub(super) fn improve(&self, observe: Observe<'_>) -> Result<bool, Error> {
        let _turn = self.jobs.behind_requests();
        if !self.can_be_improved() {
            return Ok(false);
        }
        let done = match choose(&self.view()) {
            None => return Ok(false),
            Some(Task::Merge(inputs)) => self.merge(&inputs, observe),
            Some(Task::Graph(sealed)) => self.build_graph(&sealed, observe),
        };
        self.improving_fails.store(done.is_err(), Ordering::Relaxed);
        done.map(|()| true)
    }

    /// Still there, neither damaged nor stopped by a failed disk.
    pub(super) fn can_be_improved(&self) -> bool {
        !self.is_gone() && self.view().lost.is_empty() && self.truth.stopped().is_none()
    }

    /// Whether the next seal had better wait because merging is behind. Not for long: what waits is a writer; and not for
    /// merges that fail, for want of room perhaps.
    pub(super) fn delays_seals(&self) -> bool {
        let view = self.view();
        let fresh = |growing: &Arc<Growing>| growing.frozen_at.get().is_some_and(|at| at.elapsed() < SEAL_DELAY);
        !self.improving_fails.load(Ordering::Relaxed)
            && view.sealed.len() > MERGES_BEHIND
            && view.frozen.first().is_some_and(fresh)
            && matches!(choose(&view), Some(Task::Merge(inputs)) if inputs.len() > MERGES_BEHIND)
    }

    /// Seals what grows, merges all segments into as few as may be, and gives each its graph and its table.
    pub(super) fn compact(&self, observe: Observe<'_>) -> Result<(), Error> {
        self.view().whole(&self.name)?;
        self.freeze(&self.writer.hold())?;
        let turn = self.jobs.of_request()?;
        while self.seal_oldest().map_err(Error::Seal)? {}
        let view = self.view();
        let mut group: Vec<Arc<Sealed>> = Vec::new();
        let mut rows = 0;
        for sealed in &view.sealed {
            if !group.is_empty() && rows + u64::from(sealed.live_rows()) > MAX_SEGMENT_ROWS {
                self.merge_if_useful(&std::mem::take(&mut group), observe)?;
                rows = 0;
            }
            rows += u64::from(sealed.live_rows());
            group.push(sealed.clone());
        }
        self.merge_if_useful(&group, observe)?;
        self.build_graphs(observe)?;
        drop(turn);
        self.calibrate_all(observe)
    }

    /// Builds what is missing of the indexes of the sealed segments, and merges nothing.
    pub(super) fn build_indexes(&self, observe: Observe<'_>) -> Result<(), Error> {
        let turn = self.jobs.of_request()?;
        self.view().sealed.iter().for_each(|sealed| sealed.prepare_payloads());
        self.build_graphs(observe)?;
        drop(turn);
        self.calibrate_all(observe)
    }

    /// Builds the graphs that are missing, and nothing else, for a request.
    pub(super) fn build_missing_graphs(&self, observe: Observe<'_>) -> Result<(), Error> {
        let _turn = self.jobs.of_request()?;
        self.build_graphs(observe)
    }

    /// The same, for whoever has the turn.
    fn build_graphs(&self, observe: Observe<'_>) -> Result<(), Error> {
        for sealed in self.view().sealed.iter().filter(|sealed| sealed.wants_graph()) {
            self.build_graph(sealed, observe)?;
        }
        Ok(())
    }

    fn merge_if_useful(&self, group: &[Arc<Sealed>], observe: Observe<'_>) -> Result<(), Error> {
        if group.len() > 1 || group.iter().any(|sealed| sealed.deleted_rows() > 0) {
            self.merge(group, observe)?;
        }
        Ok(())
    }

    /// Writes the live rows of `inputs` into one new segment with its graph, and swaps it in.
    fn merge(&self, inputs: &[Arc<Sealed>], observe: Observe<'_>) -> Result<(), Error> {
        let total: u64 = inputs.iter().map(|sealed| u64::from(sealed.live_rows())).sum();
        // A copy has checksums of its own: what is copied must be sound.
        for sealed in inputs {
            if let Err(error) = sealed.segment.verify_rows() {
                self.quarantine(&sealed.segment, &error);
                return Err(error.into());
            }
        }
        // Rows that are hidden because they are damaged would be taken for dead.
        self.view().whole(&self.name)?;
        let mut origins: Vec<SourceRow> = Vec::with_capacity(total as usize);
        for (input, sealed) in inputs.iter().enumerate() {
            let rows = (0..sealed.segment.rows()).map(Ordinal).filter(|&row| sealed.is_live(row));
            origins.extend(rows.map(|row| (input as u32, row)));
        }
        let segments: Vec<&Segment> = inputs.iter().map(|sealed| &sealed.segment).collect();
        let made = if origins.is_empty() {
            None
        } else {
            let segment = self.write_in_order(&segments, &mut origins, observe)?;
            let reusable = Reusable::of(inputs, &origins);
            let graph = self.graph_of(&segment, reusable.as_ref(), observe)?;
            Some((segment, graph))
        };

        let held = self.writer.hold();
        if self.is_gone() {
            return Ok(());
        }
        if let Err(error) = self.view().whole(&self.name) {
            if let Some((segment, graph)) = &made {
                self.remove(segment.path());
                graph.iter().for_each(|graph| self.remove(graph.path()));
            }
            return Err(error);
        }
        let died: Vec<u32> = (0..origins.len() as u32)
            .filter(|&new| {
                let (input, row) = origins[new as usize];
                !inputs[input as usize].is_live(row)
            })
            .collect();
        let mut changes: Vec<Change<'_>> =
            inputs.iter().map(|sealed| Change::RemoveSegment { segment: sealed.segment.id() }).collect();
        if let Some((segment, graph)) = &made {
            changes.push(Change::AddSegment {
                segment: segment.id(),
                graph_generation: graph.as_ref().map(|_| FIRST_GENERATION),
            });
            changes.extend(died.iter().map(|&row| Change::DeleteRow { segment: segment.id(), row }));
        }
        self.truth.commit(&changes)?;
        let made = made.map(|(segment, graph)| {
            Arc::new(Sealed::new(segment, graph.map(|graph| (FIRST_GENERATION, graph)), &died))
        });
        self.change_view(|view| {
            view.sealed.retain(|other| !inputs.iter().any(|input| Arc::ptr_eq(input, other)));
            view.sealed.extend(made.clone());
        });
        drop(held);
        count(&self.meters.merges);
        if let Some(made) = &made {
            made.prepare_payloads();
        }
        for input in inputs {
            self.remove(input.segment.path());
            self.remove(&self.dir.join(input.segment.id().payloads_file()));
            if let Some(graph) = input.graph() {
                self.remove(graph.path());
            }
        }
        Ok(())
    }

    /// Writes rows of segments into a new one, near ones together, as its graph would have them. `rows` has that order
    /// afterwards.
    pub(super) fn write_in_order(
        &self,
        segments: &[&Segment],
        rows: &mut [SourceRow],
        observe: Observe<'_>,
    ) -> Result<Segment, Error> {
        let total = rows.len() as u64;
        let go_on = |done| if self.is_gone() { false } else { observe(Job::Merging, done, total) };
        let cancelled = || Error::Unavailable("the writing of a segment was cancelled".into());
        let sources: Vec<Rows<'_>> = segments.iter().map(|segment| self.rows_of(segment)).collect();
        if total >= GRAPH_FROM_ROWS.into() && !order::bring_together(&sources, rows, &|| go_on(0)) {
            return Err(cancelled());
        }
        let mut writer = self.segment_writer()?;
        for (done, &(input, row)) in (1_u64..).zip(&*rows) {
            let segment = segments[input as usize];
            writer.append(segment.point_id(row), &segment.vector(row), segment.payload(row))?;
            if done.is_multiple_of(10_000) && !go_on(done) {
                return Err(cancelled());
            }
        }
        Ok(writer.finish()?)
    }

    /// A new segment of this collection, to be written.
    pub(super) fn segment_writer(&self) -> Result<SegmentWriter, Error> {
        Ok(SegmentWriter::create(&self.fs, &self.dir, self.take_segment_id(), self.dimension, self.identity)?)
    }

    /// The vectors of a segment as the index sees them.
    fn rows_of<'a>(&self, segment: &'a Segment) -> Rows<'a> {
        Rows {
            vectors: segment.vectors(),
            norms: segment.norms(),
            dimension: self.dimension as usize,
            metric: self.metric,
        }
    }

    /// Builds the graph of a segment that has none, and swaps it in.
    fn build_graph(&self, sealed: &Arc<Sealed>, observe: Observe<'_>) -> Result<(), Error> {
        sealed.prepare_payloads();
        if let Err(error) = sealed.ensure_vectors(0..sealed.segment.rows()) {
            self.note_damage();
            return Err(error);
        }
        let generation = sealed.generation.load(Ordering::Relaxed) + 1;
        let graph = self.publish_graph(&sealed.segment, generation, None, observe)?;
        let _held = self.writer.hold();
        if self.is_gone() || !self.view().sealed.iter().any(|other| Arc::ptr_eq(other, sealed)) {
            self.remove(graph.path());
            return Ok(());
        }
        self.truth.commit(&[Change::SetGraph { segment: sealed.segment.id(), graph_generation: Some(generation) }])?;
        let older = sealed.generation.swap(generation, Ordering::Relaxed);
        if older > 0 {
            self.remove(&graph_path(&self.dir, sealed.segment.id(), older));
        }
        sealed.set_graph(Some(graph));
        count(&self.meters.graphs);
        Ok(())
    }

    /// The graph of a new segment, where it is large enough to have one.
    pub(super) fn graph_of(
        &self,
        segment: &Segment,
        reusable: Option<&Reusable>,
        observe: Observe<'_>,
    ) -> Result<Option<Graph>, Error> {
        if segment.rows() < GRAPH_FROM_ROWS {
            return Ok(None);
        }
        self.publish_graph(segment, FIRST_GENERATION, reusable, observe).map(Some)
    }

    fn publish_graph(
        &self,
        segment: &Segment,
        generation: u32,
        reusable: Option<&Reusable>,
        observe: Observe<'_>,
    ) -> Result<Graph, Error> {
        let progress = |done, total| !self.is_gone() && observe(Job::Indexing, done, total);
        let built =
            graph::build(self.rows_of(segment), self.graph_params()?, reusable.map(Reusable::links), &progress)?;
        let path = graph_path(&self.dir, segment.id(), generation);
        built.publish(&self.fs, &path, segment.tag())?;
        Ok(Graph::open(&path, expected(segment, self.metric))?)
    }

    /// Publishes a segment that a bulk load wrote: points of the same ids elsewhere die in the same transaction.
    /// Returns how many did.
    pub(super) fn publish_bulk(&self, segment: Segment, graph: Option<Graph>) -> Result<u64, Error> {
        let held = self.writer.hold();
        if self.is_gone() {
            return Err(Error::UnknownCollection(self.name.to_string()));
        }
        let view = self.view();
        view.whole(&self.name)?;
        let mut changes = vec![Change::AddSegment {
            segment: segment.id(),
            graph_generation: graph.as_ref().map(|_| FIRST_GENERATION),
        }];
        let mut dead_growing = Vec::new();
        let mut dead_sealed = Vec::new();
        for growing in view.growing_newest_first() {
            let table = growing.read();
            let rows: Vec<u32> =
                table.by_id.iter().filter(|(id, _)| segment.find(id.as_str()).is_some()).map(|(_, &row)| row).collect();
            changes.extend(rows.iter().map(|&row| Change::RemoveGrowing { key: table.keys[row as usize] }));
            drop(table);
            dead_growing.push((growing.clone(), rows));
        }
        for sealed in &view.sealed {
            for (_, row) in common_ids(&segment, &sealed.segment).filter(|&(_, row)| sealed.is_live(row)) {
                changes.push(Change::DeleteRow { segment: sealed.segment.id(), row: row.0 });
                dead_sealed.push((sealed.clone(), row));
            }
        }
        // An id that could not be read on the way may be one of those that are replaced.
        view.whole(&self.name)?;
        let sequence = self.writer.sequence() + 1;
        changes.push(Change::Sequence(sequence));
        self.truth.commit(&changes)?;
        let made = Arc::new(Sealed::new(segment, graph.map(|graph| (FIRST_GENERATION, graph)), &[]));
        let replaced = dead_sealed.len() + dead_growing.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        self.writer.change(|| {
            self.change_view(|view| {
                view.additions += 1;
                view.sealed.push(made.clone());
            });
            dead_growing.into_iter().for_each(|(growing, rows)| growing.kill(&rows));
            dead_sealed.into_iter().for_each(|(sealed, row)| sealed.delete(row));
        });
        self.writer.set_sequence(sequence);
        self.changes.tell(None, sequence);
        drop(held);
        made.prepare_payloads();
        Ok(replaced as u64)
    }

    /// Removes a file that nothing names any more; what fails here is swept at the next open.
    pub(super) fn remove(&self, path: &Path) {
        if let Err(error) = self.fs.remove(path) {
            tracing::debug!(path = %path.display(), %error, "a file that nothing names stays until the next open");
        }
    }

    /// Reads every byte of the graphs once and drops those that are damaged, so that they are built anew.
    pub(super) fn audit_graphs(&self) {
        for sealed in &self.view().sealed {
            _ = sealed.verified_graph();
        }
    }
}

/// The graph of a merge's largest input, whose links the new graph keeps.
pub(super) struct Reusable {
    graph: Arc<Graph>,
    /// For each of its rows the one in the new segment.
    rows: Vec<Option<Ordinal>>,
}

impl Reusable {
    /// Of the inputs of a merge, by where each row of the new segment is from.
    #[allow(clippy::cast_possible_truncation)]
    fn of(inputs: &[Arc<Sealed>], origins: &[SourceRow]) -> Option<Self> {
        let with_graph = inputs.iter().enumerate().filter(|(_, sealed)| sealed.graph().is_some());
        let (largest, sealed) = with_graph.max_by_key(|(_, sealed)| sealed.live_rows())?;
        let graph = sealed.verified_graph().ok()??;
        let mut rows = vec![None; sealed.segment.rows() as usize];
        for (new, (input, row)) in origins.iter().enumerate() {
            if *input as usize == largest {
                rows[row.0 as usize] = Some(Ordinal(new as u32));
            }
        }
        Some(Self { graph, rows })
    }

    fn links(&self) -> Reuse<'_> {
        Reuse { graph: &self.graph, rows: &self.rows }
    }
}

/// Rows of two segments that have the same id: one pass over both in the order of their ids.
pub(super) fn common_ids<'a>(a: &'a Segment, b: &'a Segment) -> impl Iterator<Item = (Ordinal, Ordinal)> + 'a {
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

/// Rewrite segments with many dead rows, and merge small ones, before graphs are built.
pub(super) fn choose(view: &View) -> Option<Task> {
    if let Some(worn) = view.sealed.iter().find(|sealed| sealed.is_worn()) {
        return Some(Task::Merge(vec![worn.clone()]));
    }
    let mut by_size = view.sealed.clone();
    by_size.sort_by_key(|sealed| std::cmp::Reverse(sealed.live_rows()));
    for (place, largest) in by_size.iter().enumerate() {
        let mut room = MAX_SEGMENT_ROWS.saturating_sub(largest.live_rows().into());
        let mut smaller: Vec<Arc<Sealed>> = by_size[place + 1..].iter().rev().cloned().collect();
        smaller.retain(|sealed| {
            let rows = u64::from(sealed.live_rows());
            let fits = rows <= room;
            room -= if fits { rows } else { 0 };
            fits
        });
        let rows: u64 = smaller.iter().map(|sealed| u64::from(sealed.live_rows())).sum();
        if !smaller.is_empty() && rows * SMALLER_ONE_IN >= largest.live_rows().into() {
            smaller.push(largest.clone());
            return Some(Task::Merge(smaller));
        }
    }
    view.sealed.iter().find(|sealed| sealed.wants_graph()).cloned().map(Task::Graph)
}

#[cfg(test)]
mod tests {
    use super::super::recall::tests::collection;
    use super::super::write::{Op, ReadyItem};
    use super::*;
    use crate::types::PointId;

    #[test]
    fn seals_wait_a_little_while_merging_is_behind() {
        let dir = tempfile::tempdir().unwrap();
        let collection = collection(dir.path());
        let freeze = |at: usize| {
            let item = ReadyItem {
                id: PointId::new(format!("q{at}")).unwrap(),
                vector: vec![at as f32; 16],
                payload: Box::from(&b"{}"[..]),
            };
            collection.write(Op::Upsert(vec![item])).unwrap();
            collection.freeze(&collection.writer.hold()).unwrap();
        };
        collection.compact(&|_, _, _| true).unwrap();
        for at in 0..=MERGES_BEHIND {
            freeze(at);
            assert!(!collection.delays_seals());
            assert!(collection.seal_oldest().unwrap());
        }
        freeze(MERGES_BEHIND + 1);
        assert!(collection.delays_seals());
        collection.improving_fails.store(true, Ordering::Relaxed);
        assert!(!collection.delays_seals(), "nobody waits for merges that fail");
        assert!(collection.improve(&|_, _, _| true).unwrap());
        assert!(!collection.improving_fails.load(Ordering::Relaxed), "one that does not ends that");
        assert!(!collection.delays_seals(), "{} segments", collection.view().sealed.len());
    }
}
