//! Tests of flushes, merges and graph builds: order, termination, memory limits.

use super::*;
use crate::collection::commit::PreparedPoint;
use crate::collection::job_memory::tests::memory_of;
use crate::collection::meters::Meters;
use crate::collection::plan::WriteRequest;
use crate::collection::recall::tests::{collection, empty, opened};
use crate::store::VectorField;
use crate::store::body::{FieldVector, SparseVector};
use crate::sync::atomic::AtomicU64;
use crate::types::PointId;

#[test]
fn flushes_are_delayed_while_merges_lag() {
    let dir = tempfile::tempdir().unwrap();
    let collection = collection(dir.path());
    let rotate_growing = |at: usize| {
        let item = PreparedPoint {
            id: PointId::new(format!("q{at}")).unwrap(),
            vector: vec![at as f32; 16],
            body: Box::from(&b"{}"[..]),
        };
        collection.write(WriteRequest::Upsert(vec![item])).unwrap();
        collection.rotate_growing(&collection.commit_queue.lock()).unwrap();
    };
    collection.compact(&|_, _, _| true).unwrap();
    for at in 0..=MERGES_BEHIND {
        rotate_growing(at);
        assert!(!collection.delays_flush());
        assert!(collection.flush_oldest().unwrap());
    }
    rotate_growing(MERGES_BEHIND + 1);
    assert!(collection.delays_flush());
    collection.compaction_fails.store(true, Ordering::Relaxed);
    assert!(!collection.delays_flush(), "failing merges delay no flush");
    assert_eq!(collection.run_compaction(&|_, _, _| true).unwrap(), Step::Done);
    assert!(!collection.compaction_fails.load(Ordering::Relaxed), "a merge that succeeds clears the flag");
    assert!(!collection.delays_flush(), "{} segments", collection.view().sealed.len());
}

fn item(at: usize, dimension: usize) -> PreparedPoint {
    let id = PointId::new(format!("q{at}")).unwrap();
    // Pseudo-random components: golden ratio steps.
    let vector = (0..dimension).map(|i| ((at * dimension + i) as f32 * 0.618_034).fract() - 0.5).collect();
    PreparedPoint { id, vector, body: Box::from(&b"{}"[..]) }
}

#[test]
fn a_compaction_ends_while_writers_continue() {
    const MIN_RECALL: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    // Each write fills a segment.
    let collection = empty(dir.path(), 2, 1);
    let written = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for at in 0..MIN_RECALL {
                if collection.write(WriteRequest::Upsert(vec![item(at, 2)])).is_err() {
                    return;
                }
                written.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        while collection.view().unflushed.is_empty() {
            std::thread::yield_now();
        }
        collection.compact(&|_, _, _| true).unwrap();
        let so_far = written.load(std::sync::atomic::Ordering::SeqCst);
        assert!(so_far < MIN_RECALL / 2, "it flushed points written after its start: {so_far}");
        // The writer waits for a flush that will not happen.
        let held = collection.commit_queue.lock();
        collection.end();
        drop(held);
        writer.join().unwrap();
    });
}

#[test]
fn growing_rows_of_several_segments_are_flushed_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let collection = empty(dir.path(), 2, 1_000);
    collection.write(WriteRequest::Upsert((0..10).map(|at| item(at, 2)).collect())).unwrap();
    drop(collection);
    let collection = opened(dir.path(), 2, 4, Default::default());
    let rows = |collection: &Collection| {
        let view = collection.view();
        (view.unflushed.iter().map(|unflushed| unflushed.rows_held()).collect::<Vec<_>>(), view.growing.rows_held())
    };
    assert_eq!(rows(&collection), (vec![4, 4], 2));
    while collection.flush_oldest().unwrap() {}
    let view = collection.view();
    assert_eq!((rows(&collection).0.len(), view.sealed.len(), view.live()), (0, 2, 10));
    drop((view, collection));
    // Sealed rows are no longer in a growing segment.
    let collection = opened(dir.path(), 2, 4, Default::default());
    assert_eq!((rows(&collection), collection.view().live()), ((vec![], 2), 10));
    // A segment that is just full is rotated too: there may be no further write to trigger it.
    drop(collection);
    assert_eq!(rows(&opened(dir.path(), 2, 2, Default::default())), (vec![2], 0));
}

#[test]
fn the_end_of_a_flush_is_signalled_under_the_commit_lock() {
    let dir = tempfile::tempdir().unwrap();
    let collection = empty(dir.path(), 2, 1);
    for at in 0..2 {
        collection.write(WriteRequest::Upsert(vec![item(at, 2)])).unwrap();
    }
    let failed = || Some(Arc::new(Error::Unavailable("on purpose".into())));
    std::thread::scope(|scope| {
        // Simulates a writer between its check and its wait: holding the lock, it must not miss the notification.
        let held = collection.commit_queue.lock();
        let flush = scope.spawn(|| collection.commit_queue.flush_ended(failed()));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!flush.is_finished());
        drop(held);
        flush.join().unwrap();
    });
    let begun = std::time::Instant::now();
    let refused = collection.write(WriteRequest::Upsert(vec![item(2, 2)])).err().unwrap();
    assert!(matches!(refused, Error::Flush(_)) && refused.to_string().contains("on purpose"), "{refused}");
    // A waiting writer is woken.
    collection.commit_queue.flush_ended(None);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| collection.write(WriteRequest::Upsert(vec![item(3, 2)])));
        std::thread::sleep(Duration::from_millis(20));
        collection.commit_queue.flush_ended(failed());
        assert!(matches!(writer.join().unwrap(), Err(Error::Flush(_))));
    });
    assert!(begun.elapsed() < Duration::from_secs(30), "half of a writer's timeout");
}

/// Creates a collection with sealed segments of the given numbers of rows, without graphs.
fn with_segments(dir: &Path, segments: &[usize], meters: Arc<Meters>) -> Collection {
    drop(empty(dir, 16, 1_000_000));
    let collection = opened(dir, 16, 1_000_000, meters);
    let mut next = 0;
    for &rows in segments {
        for from in (0..rows).step_by(5_000) {
            let batch = (from..rows.min(from + 5_000)).map(|at| item(next + at, 16)).collect();
            collection.write(WriteRequest::Upsert(batch)).unwrap();
        }
        next += rows;
        collection.rotate_growing(&collection.commit_queue.lock()).unwrap();
        assert!(collection.flush_oldest().unwrap());
    }
    collection
}

#[test]
fn a_graph_that_no_merge_builds_is_built_between_merges() {
    let dir = tempfile::tempdir().unwrap();
    // The small ones are merged; the large one waits for its graph.
    let collection = with_segments(dir.path(), &[3_000, 10, 10], Arc::default());
    let limits = JobLimits { merge: 1 << 20, graph: 1 << 20, overlay_bytes: usize::MAX };
    let view = collection.view();
    assert!(matches!(choose(&view, limits, false), Some(Task::Merge(inputs)) if inputs.len() == 2));
    assert!(matches!(choose(&view, limits, true), Some(Task::Graph(sealed)) if sealed.live_rows() == 3_000));
    // An input of the next merge gets its graph from the merge.
    let (mut both, mut small) = (View::clone(&view), View::clone(&view));
    both.sealed = vec![view.sealed[0].clone(), Arc::new(view.sealed[0].detached_copy())];
    assert!(matches!(choose(&both, limits, true), Some(Task::Merge(_))));
    // A job that does not fit is skipped; others are chosen.
    let smaller = JobLimits { merge: 3_500, graph: 2_999, ..limits };
    assert!(choose(&both, smaller, true).is_none());
    assert!(matches!(choose(&view, smaller, true), Some(Task::Merge(inputs)) if inputs.len() == 2));
    small.sealed.truncate(1);
    assert!(choose(&small, smaller, false).is_none());
    assert_eq!(collection.run_compaction(&|_, _, _| true).unwrap(), Step::Done);
    assert!(
        collection.view().sealed.iter().all(|sealed| sealed.graph().is_none()) && collection.view().sealed.len() == 2
    );
    assert_eq!(collection.run_compaction(&|_, _, _| true).unwrap(), Step::Done);
    assert!(collection.view().sealed.iter().any(|sealed| sealed.graph().is_some()));
}

#[test]
fn a_segment_whose_graph_does_not_fit_into_memory_is_scanned_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let available = Arc::new(AtomicU64::new(1 << 30));
    let meters = Meters::of(memory_of(1 << 30, &available));
    let collection = with_segments(dir.path(), &[3_000], Arc::new(meters));
    let step = || collection.run_compaction(&|_, _, _| true).unwrap();
    // Less than 1/8 is left.
    available.store(100 << 20, Ordering::Relaxed);
    assert!(matches!(step(), Step::Later(_)));
    let problems = collection.info().problems;
    assert!(problems.len() == 1 && problems[0].contains("has no graph and is scanned"), "{problems:?}");
    assert!(problems[0].contains("may use 1 MiB now; raise --background-memory"), "{problems:?}");
    assert_eq!(collection.info().state, crate::api::CollectionState::Serving);
    // A request skips it too, and ends.
    collection.compact(&|_, _, _| true).unwrap();
    assert!(collection.view().sealed[0].graph().is_none() && collection.info().problems.len() == 1);
    assert!(collection.meters.activity().jobs_refused > 0);
    available.store(1 << 30, Ordering::Relaxed);
    assert_eq!(step(), Step::Done);
    assert!(collection.view().sealed[0].graph().is_some() && collection.info().problems.is_empty());
    // The same for calibration.
    available.store(100 << 20, Ordering::Relaxed);
    let measure = || collection.calibrate_one(&|_, _, _| true).unwrap();
    assert!(matches!(measure(), Step::Later(_)));
    let problems = collection.info().problems;
    assert!(problems.len() == 1 && problems[0].contains("is not calibrated"), "{problems:?}");
    available.store(1 << 30, Ordering::Relaxed);
    assert_eq!(measure(), Step::Done);
    assert!(collection.info().problems.is_empty() && collection.view().sealed[0].calibration().is_some());
    assert_eq!(collection.meters.activity().job_memory_reserved, 0);
}

#[test]
fn merges_and_loads_write_segments_that_fit_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let available = Arc::new(AtomicU64::new(1 << 30));
    let meters = Meters::of(memory_of(1 << 30, &available));
    let collection = with_segments(dir.path(), &[2_500, 2_500, 2_500], Arc::new(meters));
    // Memory for merging two of them, not three.
    collection.meters.memory.configure(collection.merge_bytes(6_000));
    assert_eq!(collection.max_rows(), 6_000);
    while collection.run_compaction(&|_, _, _| true).unwrap() == Step::Done {}
    let mut rows: Vec<u32> = collection.view().sealed.iter().map(|sealed| sealed.live_rows()).collect();
    rows.sort_unstable();
    assert_eq!(rows, [2_500, 5_000]);
    assert!(collection.view().sealed.iter().all(|sealed| sealed.graph().is_some()));
    collection.compact(&|_, _, _| true).unwrap();
    assert_eq!(collection.view().sealed.len(), 2);
    let mut items = (10_000..20_000).map(|at| {
        let PreparedPoint { id, vector, .. } = item(at, 16);
        crate::api::Item {
            id,
            source: crate::api::PointInput::Vector(vector),
            payload: Default::default(),
            vectors: Default::default(),
        }
    });
    collection
        .bulk_load(&mut items, crate::collection::bulk::OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| {
            true
        })
        .unwrap();
    let view = collection.view();
    assert_eq!((view.live(), view.sealed.len()), (17_500, 4));
    assert!(view.sealed.iter().all(|sealed| sealed.graph().is_some()));
}

/// A vector of 64 components for a field of an item.
fn field_vector(item: &PreparedPoint) -> FieldVector {
    FieldVector::Dense((0..4).flat_map(|_| item.vector.clone()).collect())
}

#[test]
fn the_graph_of_a_field_keeps_the_links_of_the_largest_input() {
    let dir = tempfile::tempdir().unwrap();
    drop(empty(dir.path(), 16, 1_000_000));
    let collection = opened(dir.path(), 16, 1_000_000, Arc::default());
    collection.set_vector_fields(&[VectorField { number: 1, ..VectorField::dense("title", 64) }]);
    // Every third point has no vector in the field.
    let point = |at: usize| {
        let item = item(at, 16);
        let dense = field_vector(&item);
        let body = body::encode(&item.body, [(1, &dense)].into_iter().filter(|_| !at.is_multiple_of(3)));
        PreparedPoint { body, ..item }
    };
    for range in [0..400, 400..4_000] {
        collection.write(WriteRequest::Upsert(range.map(point).collect())).unwrap();
        collection.rotate_growing(&collection.commit_queue.lock()).unwrap();
        assert!(collection.flush_oldest().unwrap());
    }
    collection.index_all_columns(&|_, _, _| true).unwrap();
    let gone: Vec<PointId> = (0..4_000).step_by(40).map(|at| PointId::new(format!("q{at}")).unwrap()).collect();
    collection.write(WriteRequest::Delete(gone)).unwrap();

    let (inputs, field) = (collection.view().sealed.clone(), collection.vector_fields()[0].clone());
    let live = |sealed: &Arc<Sealed>| {
        let rows = (0..sealed.segment.rows()).map(Ordinal);
        rows.filter(|row| sealed.is_live(*row)).collect::<Vec<_>>()
    };
    let mut origins: Vec<SourceRow> = inputs
        .iter()
        .enumerate()
        .flat_map(|(at, sealed)| live(sealed).into_iter().map(move |row| (at as u32, row)))
        .collect();
    let segments: Vec<&Segment> = inputs.iter().map(|sealed| &sealed.segment).collect();
    let (segment, _mark) = collection.write_in_order(&segments, &[], &mut origins, &|_, _, _| true).unwrap();
    let new = Sealed::new(segment, None, &[]).column(&field).unwrap();
    let reusable = Reusable::of_column(&field, &inputs, &origins, &new).unwrap();
    let largest = inputs.iter().max_by_key(|sealed| sealed.segment.rows()).unwrap();
    let old = largest.column(&field).unwrap();
    assert_eq!(reusable.rows.len(), old.segment.rows() as usize);
    let mut kept = 0;
    for (before, after) in (0..).map(Ordinal).zip(&reusable.rows) {
        assert_eq!(after.is_some(), largest.is_live(old.row_of(before)));
        let Some(after) = after else { continue };
        assert_eq!(old.segment.vector(before), new.segment.vector(*after));
        kept += 1;
    }
    assert!(kept > 2_300, "{kept}");

    collection.compact(&|_, _, _| true).unwrap();
    let sealed = collection.view().sealed[0].clone();
    assert_eq!(collection.view().sealed.len(), 1);
    let column = sealed.column(&field).unwrap();
    let rows = column.vectors(field.spec.metric);
    let found_by = |graph: &Graph| {
        let nearest = |row: &u32| {
            let query = column.segment.vector(Ordinal(*row));
            let found = graph.search_all(rows, &query, 1, 40);
            found.neighbors.first().is_some_and(|found| column.segment.vector(found.row) == query)
        };
        (0..column.segment.rows()).filter(nearest).count()
    };
    let path = dir.path().join("fresh");
    let fresh = hnsw::build(rows, collection.graph_params().unwrap(), None, &|_, _| true).unwrap();
    fresh.publish(&collection.fs, &path, column.segment.tag()).unwrap();
    let fresh = Graph::open(&path, expected(&column.segment, field.spec.metric)).unwrap();
    let (found, of) = (found_by(&column.graph().expect("a graph")), found_by(&fresh));
    assert!(found * 100 >= of * 97, "{found}, and {of} by a graph without links of another");
}

#[test]
fn indexes_of_fields_wait_for_memory_and_give_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let available = Arc::new(AtomicU64::new(1 << 30));
    drop(empty(dir.path(), 16, 1_000_000));
    let collection = opened(dir.path(), 16, 1_000_000, Arc::new(Meters::of(memory_of(1 << 30, &available))));
    let field = |name: &str, number| VectorField { number, ..VectorField::dense(name, 64) };
    let sparse = VectorField { number: 3, ..VectorField::sparse("words") };
    collection.set_vector_fields(&[field("title", 1), field("image", 2), sparse]);
    let with_fields = |at: usize| {
        let item = item(at, 16);
        let dense = field_vector(&item);
        let words = FieldVector::Sparse(SparseVector { indices: vec![at as u32 % 7], values: vec![1.0] });
        let body = body::encode(&item.body, [(1, &dense), (2, &dense), (3, &words)]);
        PreparedPoint { body, ..item }
    };
    for first in [0, 1_500] {
        collection.write(WriteRequest::Upsert((first..first + 1_500).map(with_fields).collect())).unwrap();
        collection.rotate_growing(&collection.commit_queue.lock()).unwrap();
        assert!(collection.flush_oldest().unwrap());
    }
    // Memory for the merge, or for the graph of a field, not for both at a time.
    let graph = hnsw::build_bytes(3_000, 64, collection.metric, collection.settings.m, false);
    collection.meters.memory.configure(collection.merge_bytes(3_000).max(graph));
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    collection.compact(&|_, _, _| std::time::Instant::now() < deadline).unwrap();
    let of = |index: usize| {
        let (view, fields) = (collection.view(), collection.vector_fields());
        view.sealed[0].column(&fields[index]).unwrap().graph().is_some()
    };
    assert_eq!((collection.view().sealed.len(), of(0), of(1)), (1, true, true), "{:?}", collection.info().problems);
    // Too little for any graph of a field; the index of sparse vectors is not delayed by them.
    collection.meters.memory.configure(collection.index_build_bytes().max(graph / 2));
    for field in collection.vector_fields().iter() {
        collection.view().sealed[0].columns.discard_if(field, || true);
    }
    for file in crate::disk::list_files(dir.path()).unwrap() {
        if file.contains(".column") || file.ends_with(".sparse") {
            std::fs::remove_file(dir.path().join(file)).unwrap();
        }
    }
    available.store((1 << 27) + graph / 2, Ordering::Relaxed);
    while collection.index_columns(&|_, _, _| true).unwrap() == Step::Done {}
    let problems = collection.info().problems;
    assert!(problems.iter().any(|problem| problem.contains("no index of the title field: it needs")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("no index of the image field: it needs")), "{problems:?}");
    available.store(1 << 30, Ordering::Relaxed);
    collection.meters.memory.configure(0);
    collection.index_all_columns(&|_, _, _| true).unwrap();
    assert!(of(0) && of(1) && collection.info().problems.is_empty(), "{:?}", collection.info().problems);
    assert_eq!(collection.meters.activity().job_memory_reserved, 0);
}
