//! Fuzz target: sequences of operations on the engine, each checked against a map and an exact search.
//!
//! One byte selects the operation, the next bytes its arguments. There are few ids, and components are small numbers,
//! so that distances are exact, and replacements, ties and empty results are frequent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::api::{
    Accuracy, CollectionSpec, Fields, Filter, IndexSettings, Item, Job, Payload, PayloadAction, PayloadUpdate,
    PointInput, PointSelection, Query, Range, SearchParams, VectorSource,
};
use nearness::engine::{Admin, Database, Reads, Snapshots, Writes};
use nearness::snapshot_store::SnapshotStore;
use nearness::types::{CollectionName, Metric, PointId, Precision};
use nearness_fuzz::folder;
use std::collections::BTreeMap;
use std::path::Path;

const DIMENSION: usize = 3;
const MAX_STEPS: usize = 60;

type Model = BTreeMap<PointId, (Vec<f32>, i64)>;

/// The input, byte by byte; zeros after the end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn id(&mut self) -> PointId {
        PointId::new(format!("p{}", self.byte())).expect("an id")
    }

    fn vector(&mut self) -> Vec<f32> {
        let byte = self.byte();
        // Never the zero vector.
        vec![f32::from(byte & 7) - 3.5, f32::from(byte >> 3 & 7) - 3.0, f32::from(byte >> 6)]
    }

    fn filter(&mut self, levels: u8) -> Filter {
        let (kind, number) = (self.byte(), i64::from(self.byte()));
        match kind % if levels == 0 { 5 } else { 8 } {
            0 => Filter::equals("n", number),
            1 => Filter::range(
                "n",
                Range { gte: Some(number.into()), lt: Some((number + 40).into()), ..Range::default() },
            ),
            2 => Filter::exists(if number & 1 == 0 { "odd" } else { "n" }),
            3 => Filter::among("kind", [["a", "b", "c"][number as usize % 3].into()]),
            4 => Filter::ids((0..number % 8 + 1).map(|_| self.id())),
            5 => Filter::not(self.filter(levels - 1)),
            6 => Filter::And(vec![self.filter(levels - 1), self.filter(levels - 1)]),
            _ => Filter::Or(vec![self.filter(levels - 1), self.filter(levels - 1)]),
        }
    }
}

fn payload(n: i64) -> Payload {
    let mut payload: Payload = [("n".to_owned(), n.into())].into_iter().collect();
    payload.insert("kind".into(), ["a", "b", "c"][n as usize % 3].into());
    if n % 2 == 1 {
        payload.insert("odd".into(), true.into());
    }
    payload
}

fn name() -> CollectionName {
    CollectionName::new("model").expect("a name")
}

fn open(data: &Path, snapshot_dir: &Path) -> Database {
    let snapshots = SnapshotStore::open(snapshot_dir.to_str().expect("a plain path")).expect("a folder");
    Database::options().snapshots(snapshots).open(data).expect("the engine opens")
}

fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    match metric {
        Metric::Cosine => 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        Metric::Dot => -dot(a, b),
        Metric::L2 => a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>().sqrt(),
    }
}

fn compare(engine: &Database, model: &Model, metric: Metric, input: &mut Input<'_>) {
    let filter = (input.byte() & 1 == 1).then(|| input.filter(2));
    let matching: Vec<(&PointId, &Vec<f32>)> = model
        .iter()
        .filter(|(id, (_, n))| filter.as_ref().is_none_or(|filter| filter.matches(id, &payload(*n))))
        .map(|(id, (vector, _))| (id, vector))
        .collect();
    assert_eq!(engine.count(&name(), filter.as_ref()).expect("a count"), matching.len() as u64, "{filter:?}");
    let page = engine.scroll(&name(), None, 10_000, Fields { payload: true, vector: true }, filter.as_ref());
    let page = page.expect("a page");
    assert_eq!(page.points.len(), matching.len(), "scroll of {filter:?}");
    for (point, (id, vector)) in page.points.iter().zip(&matching) {
        assert_eq!((&point.id, point.vector.as_ref()), (*id, Some(*vector)));
        assert_eq!(point.payload.as_ref(), Some(&payload(model[*id].1)));
    }
    let (query, k) = (input.vector(), u32::from(input.byte() % 16) + 1);
    let mut distances: Vec<f64> = matching.iter().map(|(_, vector)| distance(metric, vector, &query)).collect();
    distances.sort_by(f64::total_cmp);
    for accuracy in [Accuracy::Exact, Accuracy::Ef(64)] {
        let filter = filter.clone().map(Into::into);
        let fields = Fields::default();
        let mut params = SearchParams::new(k).accuracy(accuracy).fields(fields);
        params.filter = filter;
        let answer = engine.search(&name(), &[Query::Vector(query.clone())], &params).expect("an answer").remove(0);
        assert_eq!(answer.hits.len(), matching.len().min(k as usize), "never fewer than k while k match");
        for (rank, hit) in answer.hits.iter().enumerate() {
            let (vector, _) = &model[&hit.point.id];
            assert!((distance(metric, vector, &query) - f64::from(hit.distance)).abs() < 1e-5, "of {}", hit.point.id);
            if accuracy == Accuracy::Exact {
                assert!((distances[rank] - f64::from(hit.distance)).abs() < 1e-5, "rank {rank}");
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (data, snapshot_dir) = (folder("data"), folder("snapshots"));
    let first = input.byte();
    let metric = Metric::ALL[usize::from(first) % 3];
    let mut engine = open(&data, &snapshot_dir);
    let index =
        IndexSettings::default().m(4).ef_construction(16).ef_search(16).seal_rows(100).precision(Precision::F32);
    let space = VectorSource::Plain { dimension: DIMENSION as u32 };
    engine
        .create_collection(&CollectionSpec::new(name(), space).metric(metric).index(index))
        .expect("a new collection");
    let (mut model, mut sequence) = (Model::new(), 0);
    let silent = |_: Job, _: u64, _: u64| true;
    for _ in 0..MAX_STEPS {
        if input.0.is_empty() {
            break;
        }
        match input.byte() % 16 {
            step @ 0..6 => {
                // From a single point to more points than the growing segment holds.
                let count = [1, 2, 5, 20, 60, 120][usize::from(step)];
                let start = input.byte();
                let mut items = Vec::new();
                for offset in 0..count {
                    let id = PointId::new(format!("p{}", start.wrapping_add(offset))).expect("an id");
                    let vector = if offset < 8 { input.vector() } else { Input(&[offset.wrapping_mul(37)]).vector() };
                    let n = i64::from(start.wrapping_mul(3).wrapping_add(offset));
                    model.insert(id.clone(), (vector.clone(), n));
                    items.push(Item {
                        id,
                        source: PointInput::Vector(vector),
                        payload: payload(n),
                        vectors: Default::default(),
                    });
                }
                let done = engine.upsert(&name(), items).expect("an upsert");
                assert!(done.sequence > sequence);
                sequence = done.sequence;
            }
            6 | 7 => {
                let ids: Vec<PointId> = (0..input.byte() % 8 + 1).map(|_| input.id()).collect();
                let removed = ids.iter().filter(|id| model.remove(*id).is_some()).count() as u64;
                let done = engine.delete_points(&name(), &ids).expect("a delete");
                assert_eq!((done.deleted, done.sequence > sequence), (removed, true));
                sequence = done.sequence;
            }
            8 => {
                let filter = input.filter(1);
                let before = model.len();
                model.retain(|id, (_, n)| !filter.matches(id, &payload(*n)));
                let done = engine.delete_matching(&name(), &filter, true).expect("a delete");
                assert_eq!(done.deleted, (before - model.len()) as u64, "{filter:?}");
                sequence = done.sequence;
            }
            9 => {
                let info = engine.compact(&name()).expect("a compaction");
                assert!(info.segments.len() <= 1 && info.deleted_rows == 0, "{info:?}");
            }
            10 => {
                drop(engine);
                engine = open(&data, &snapshot_dir);
                assert_eq!(engine.sequence(&name()).expect("a number"), sequence);
            }
            11 => {
                let snapshot = engine.create_snapshot(&name(), &silent).expect("a snapshot").snapshot;
                // A restore discards this later delete.
                let deleted = engine.delete_points(&name(), &[input.id()]).expect("a delete");
                assert!(deleted.sequence > sequence);
                engine.restore_snapshot(&snapshot, &name(), true, &silent).expect("a restore");
                let _ = std::fs::remove_file(snapshot_dir.join(snapshot.as_str()));
            }
            12 => {
                let report = engine.check(&name()).expect("a check");
                assert!(report.findings.is_empty(), "{report:?}");
            }
            13 => {
                let (filter, n) = (input.filter(1), i64::from(input.byte()));
                let mut changed = 0;
                for (_, (_, old)) in model.iter_mut().filter(|(id, (_, n))| filter.matches(id, &payload(*n))) {
                    changed += u64::from(*old != n);
                    *old = n;
                }
                let points = PointSelection::Matching { filter, allow_unknown_fields: true };
                let update = PayloadUpdate::new([PayloadAction::Overwrite(payload(n))]);
                let done = engine.update_payload(&name(), &points, &update).expect("an update");
                assert_eq!((done.updated, done.sequence > sequence), (changed, true));
                sequence = done.sequence;
            }
            _ => compare(&engine, &model, metric, &mut input),
        }
    }
    compare(&engine, &model, metric, &mut input);
});
