//! Crash tests of the whole engine on a simulated file system: a run with flushes, merges, a graph, a snapshot,
//! restores and deleted collections, stopped at every sync; and a repair, stopped likewise.
//!
//! From one run, the disk is rebuilt as it was at each moment. Acknowledged writes must be there, and the write in
//! progress must be there completely or not at all. Then the run is repeated with each sync failing.

#[path = "../../../../tests/support/letters.rs"]
pub(crate) mod letters;

use super::repair::repair_directory_on;
use crate::api::Range;
use crate::api::*;
use crate::collection::*;
use crate::disk::Fs;
use crate::disk::crash_fs::{CrashFs, Plan, Unsynced};
use crate::embed::{Input, Registry};
use crate::engine::Generations as _;
use crate::engine::*;
use crate::quick_dir;
use crate::snapshot::SnapshotName;
use crate::snapshot_store::SnapshotStore;
use crate::types::{CollectionName, Metric, PointId, Precision};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Collection -> id -> version + [`MARK`] * mark.
/// Also `ALIAS -> COLLECTION`, without points, for each alias.
type State = BTreeMap<String, BTreeMap<String, u64>>;

/// Factor of the mark, which an update of the payload sets after the version was written.
const MARK: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create(&'static str),
    /// Writes the points from..until with a version.
    Upsert(&'static str, u64, u64, u64),
    Delete(&'static str, u64, u64),
    DeleteVersion(&'static str, u64),
    DeleteAll(&'static str),
    /// Sets a mark in the payloads of the points from..until.
    Mark(&'static str, u64, u64, u64),
    Bulk(&'static str, u64, u64, u64),
    Compact(&'static str),
    Drop(&'static str),
    /// Takes a snapshot, stored on another disk that does not fail.
    Snapshot(&'static str),
    /// Replaces the collection with the contents of the snapshot.
    Restore(&'static str),
    /// Renames the collection, and makes its former name an alias, together.
    Rename(&'static str, &'static str),
}

fn alias_of(alias: &str, collection: &str) -> String {
    format!("{alias} -> {collection}")
}

/// The snapshot taken, with its contents.
type Taken = Option<(SnapshotName, BTreeMap<String, u64>)>;

const STEPS: &[Step] = &[
    Step::Create("a"),
    Step::Upsert("a", 0, 60, 1),
    Step::Create("b"),
    Step::Upsert("b", 0, 20, 2),
    Step::Upsert("a", 40, 120, 3),
    Step::Delete("a", 30, 50),
    Step::Upsert("a", 100, 180, 4),
    Step::Upsert("b", 10, 150, 5),
    Step::Upsert("a", 0, 110, 6),
    Step::DeleteVersion("a", 4),
    Step::Upsert("a", 150, 260, 7),
    Step::Bulk("a", 200, 2_300, 8),
    Step::Upsert("a", 190, 230, 9),
    // Sealed and growing points, deleted ones, and ids without a point.
    Step::Mark("a", 180, 320, 1),
    Step::Delete("a", 300, 310),
    Step::Snapshot("a"),
    Step::Mark("a", 290, 330, 2),
    Step::Compact("a"),
    Step::Mark("a", 0, 60, 3),
    Step::Restore("c"),
    Step::Upsert("c", 250, 260, 20),
    Step::Delete("a", 0, 40),
    Step::Restore("b"),
    Step::Drop("b"),
    Step::Upsert("a", 20, 60, 10),
    Step::Create("b"),
    Step::Upsert("b", 0, 5, 11),
    Step::DeleteAll("a"),
    Step::Upsert("a", 0, 5, 12),
    Step::Rename("a", "d"),
    Step::Upsert("d", 30, 70, 13),
    Step::Restore("d"),
    Step::Rename("c", "e"),
    Step::Drop("d"),
    Step::Create("a"),
];

fn id(number: u64) -> String {
    format!("p{number}")
}

fn name(name: &str) -> CollectionName {
    CollectionName::new(name).unwrap()
}

fn item(number: u64, version: u64) -> Item {
    let payload = [("version".to_owned(), version.into())].into_iter().collect();
    let vector = vec![version as f32 + 0.25, number as f32, (number % 7) as f32];
    Item {
        id: PointId::new(id(number)).unwrap(),
        source: PointInput::Vector(vector),
        payload,
        vectors: field_vectors(number, version),
    }
}

fn fields() -> Vec<VectorField> {
    vec![VectorField::dense("dense", 2), VectorField::sparse("sparse"), VectorField::multi("multi", 2)]
}

/// Returns the vectors of a point in its fields: some points have none, and each vector is that of one version.
fn field_vectors(number: u64, version: u64) -> FieldVectors {
    let (number_of, version_of) = (number as f32 + 1.0, version as f32);
    let sparse = SparseVector { indices: vec![number as u32, 1 << 20], values: vec![version_of, 1.5] };
    let multi = vec![vec![version_of, 0.25], vec![number_of, 1.0]];
    let all = [
        ("dense", FieldVector::Dense(vec![number_of, version_of])),
        ("sparse", FieldVector::Sparse(sparse)),
        ("multi", FieldVector::Multi(multi)),
    ];
    let present = all.into_iter().zip([2, 3, 5]).filter(|(_, step)| number.is_multiple_of(*step));
    present.map(|((field, vector), _)| (field.to_owned(), vector)).collect()
}

impl Step {
    /// Returns whether the step can run in this state.
    fn is_possible(self, state: &State, taken: &Taken) -> bool {
        match self {
            Self::Create(name) => {
                !state.contains_key(name) && !state.keys().any(|other| other.starts_with(&alias_of(name, "")))
            }
            Self::Upsert(name, ..)
            | Self::Delete(name, ..)
            | Self::DeleteVersion(name, _)
            | Self::DeleteAll(name)
            | Self::Mark(name, ..)
            | Self::Bulk(name, ..)
            | Self::Compact(name)
            | Self::Drop(name)
            | Self::Snapshot(name)
            | Self::Rename(name, _) => state.contains_key(name),
            Self::Restore(_) => taken.is_some(),
        }
    }

    fn apply(self, state: &mut State, taken: &Taken) {
        let points = |from, until, version| (from..until).map(move |number| (id(number), version));
        match self {
            Self::Create(name) => _ = state.insert(name.into(), BTreeMap::new()),
            Self::Upsert(name, from, until, version) | Self::Bulk(name, from, until, version) => {
                state.get_mut(name).unwrap().extend(points(from, until, version));
            }
            Self::Delete(name, from, until) => (from..until).for_each(|number| {
                state.get_mut(name).unwrap().remove(&id(number));
            }),
            Self::DeleteVersion(name, version) => {
                state.get_mut(name).unwrap().retain(|_, other| *other % MARK != version);
            }
            Self::DeleteAll(name) => state.get_mut(name).unwrap().clear(),
            Self::Mark(name, from, until, mark) => (from..until).for_each(|number| {
                if let Some(version) = state.get_mut(name).unwrap().get_mut(&id(number)) {
                    *version = *version % MARK + MARK * mark;
                }
            }),
            Self::Compact(_) | Self::Snapshot(_) => {}
            Self::Drop(name) => {
                state.remove(name);
                state.retain(|other, _| !other.ends_with(&alias_of("", name)));
            }
            Self::Rename(from, to) => {
                let points = state.remove(from).unwrap();
                state.insert(to.into(), points);
                state.insert(alias_of(from, to), BTreeMap::new());
            }
            Self::Restore(name) => _ = state.insert(name.into(), taken.as_ref().unwrap().1.clone()),
        }
    }

    /// Runs the step; `state` is the state before it. Records a snapshot with its contents.
    fn run(self, engine: &Database, state: &State, taken: &mut Taken) -> Result<(), Error> {
        match self {
            Self::Create(collection) => {
                let index = IndexSettings {
                    m: 4,
                    ef_construction: 16,
                    ef_search: 16,
                    seal_rows: 100,
                    precision: Precision::F32,
                };
                let spec = CollectionSpec {
                    name: name(collection),
                    space: VectorSource::Plain { dimension: 3 },
                    metric: Metric::L2,
                    index,
                    text_fields: None,
                    vector_fields: fields(),
                    optional_vectors: false,
                    ttl: None,
                    tenant: None,
                };
                engine.create_collection(&spec).map(drop)
            }
            Self::Upsert(collection, from, until, version) => {
                let items = (from..until).map(|number| item(number, version)).collect();
                engine.upsert(&name(collection), items).map(drop)
            }
            Self::Delete(collection, from, until) => {
                let ids: Vec<PointId> = (from..until).map(|number| PointId::new(id(number)).unwrap()).collect();
                engine.delete_points(&name(collection), &ids).map(drop)
            }
            Self::DeleteVersion(collection, version) => {
                let bound = Some((version as i64).into());
                let range = Range { gte: bound.clone(), lte: bound, ..Default::default() };
                engine.delete_matching(&name(collection), &Filter::range("version", range), true).map(drop)
            }
            Self::DeleteAll(collection) => engine.delete_all_points(&name(collection)).map(drop),
            Self::Mark(collection, from, until, mark) => {
                let points = PointSelection::Ids((from..until).map(|n| PointId::new(id(n)).unwrap()).collect());
                let update = PayloadUpdate::set([("mark".to_owned(), mark.into())].into_iter().collect());
                engine.update_payload(&name(collection), &points, &update).map(drop)
            }
            Self::Bulk(collection, from, until, version) => {
                let mut items = (from..until).map(|number| item(number, version));
                engine
                    .bulk_load(
                        &name(collection),
                        &mut items,
                        OnConflict::Replace,
                        &mut |_, error| Err(error),
                        &|_, _, _| true,
                    )
                    .map(drop)
            }
            Self::Compact(collection) => engine.compact(&name(collection)).map(drop),
            Self::Drop(collection) => engine.delete_collection(&name(collection)).map(drop),
            Self::Snapshot(collection) => {
                let created = engine.create_snapshot(&name(collection), &|_, _, _| true)?;
                *taken = Some((created.snapshot, state[collection].clone()));
                Ok(())
            }
            Self::Restore(collection) => {
                let (snapshot, _) = taken.as_ref().unwrap();
                engine.restore_snapshot(snapshot, &name(collection), true, &|_, _, _| true).map(drop)
            }
            Self::Rename(from, to) => {
                let (from, to) = (name(from), name(to));
                let rename = AliasAction::RenameCollection { collection: from.clone(), new_name: to.clone() };
                engine.update_aliases(&[rename, AliasAction::Create { alias: from, collection: to }]).map(drop)
            }
        }
    }
}

/// Opens a database. Closes a collection for each other one that opens if only one may be open.
fn open(fs: &CrashFs, dir: &Path, snapshot_dir: &Path, max_open: Option<usize>) -> Database {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let store = SnapshotStore::open(snapshot_dir.to_str().unwrap()).unwrap();
    Database::options().file_system(&fs).snapshots(store).max_open_collections(max_open).open(dir).unwrap()
}

/// Returns all points of an engine; checks that each vector, also those in fields, is the one of its version.
fn read(engine: &Database) -> State {
    let mut state = State::new();
    for info in engine.collections().unwrap() {
        assert!(info.problems.is_empty(), "{info:?}");
        state.extend(info.aliases.iter().map(|alias| (alias_of(alias.as_str(), info.name.as_str()), BTreeMap::new())));
        let points = state.entry(info.name.to_string()).or_default();
        let mut after: Option<PointId> = None;
        loop {
            let fields = Fields { payload: true, vector: true };
            let page = engine.scroll(&info.name, after.as_ref(), 5_000, fields, None).unwrap();
            after = page.points.last().map(|point| point.id.clone());
            for point in page.points {
                let payload = point.payload.unwrap();
                let version = payload["version"].as_u64().unwrap();
                let mark = payload.get("mark").map_or(0, |mark| mark.as_u64().unwrap());
                let number = point.id.as_str()[1..].parse().unwrap();
                assert_eq!(point.vectors, field_vectors(number, version), "{}", point.id);
                assert_eq!(Some(PointInput::Vector(point.vector.unwrap())), Some(item(number, version).source));
                assert!(
                    points.insert(point.id.to_string(), version + MARK * mark).is_none(),
                    "{} is there twice",
                    point.id
                );
            }
            if !page.more {
                break;
            }
        }
        assert_eq!(engine.count(&info.name, None).unwrap(), points.len() as u64, "count of {}", info.name);
        check_fields(engine, &info.name, points);
        let report = engine.check(&info.name).unwrap();
        assert!(report.findings.iter().all(|finding| finding.damage != Damage::Data), "{report:?}");
    }
    state
}

/// Checks that a search of each field finds the points with a vector in it, by their scores.
fn check_fields(engine: &Database, collection: &CollectionName, points: &BTreeMap<String, u64>) {
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let query = [1.0, 0.5];
    let sparse = SparseVector { indices: vec![6, 1 << 20], values: vec![1.0, 2.0] };
    let queries = [
        ("dense", FieldVector::Dense(query.to_vec())),
        ("sparse", FieldVector::Sparse(sparse)),
        ("multi", FieldVector::Multi(vec![query.to_vec()])),
    ];
    for (field, vector) in queries {
        let score = |id: &str, version: u64| {
            let number: u64 = id[1..].parse().unwrap();
            Some(match field_vectors(number, version).remove(field)? {
                FieldVector::Dense(vector) => cosine(&query, &vector),
                FieldVector::Sparse(_) => 3.0 + if number == 6 { version as f32 } else { 0.0 },
                FieldVector::Multi(vectors) => {
                    vectors.iter().map(|vector| cosine(&query, vector)).fold(f32::NEG_INFINITY, f32::max)
                }
            })
        };
        let expected: BTreeMap<&str, f32> =
            points.iter().filter_map(|(id, state)| Some((id.as_str(), score(id, state % MARK)?))).collect();
        let params = SearchParams::new(10_000).exact();
        let query = Query::Field(FieldQuery::vector(field, vector));
        let hits = engine.search(collection, &[query], &params).unwrap().remove(0).hits;
        assert_eq!(hits.len(), expected.len(), "{field} of {collection}");
        for hit in hits {
            let score = expected.get(hit.point.id.as_str());
            assert!(score.is_some_and(|score| (score - hit.score).abs() < 1e-4), "{field}: {hit:?}, {score:?}");
        }
    }
}

fn brief(state: &State) -> Vec<(String, BTreeMap<u64, usize>)> {
    let versions = |points: &BTreeMap<String, u64>| {
        points.values().fold(BTreeMap::new(), |mut counts, version| {
            *counts.entry(*version).or_default() += 1;
            counts
        })
    };
    state.iter().map(|(name, points)| (name.clone(), versions(points))).collect()
}

/// Opens the disk image left by a crash; its state must be one of the allowed ones.
fn check_image(fs: &CrashFs, moment: usize, unsynced: Unsynced, allowed: &[State], what: &str) {
    let image = quick_dir();
    fs.image(moment, unsynced, image.path());
    let engine =
        Database::open(image.path()).unwrap_or_else(|error| panic!("{what}, {unsynced:?} at {moment}: {error}"));
    let found = read(&engine);
    // Any names that were not synced may be missing, including that of a mark.
    let aside = engine.activity().orphans;
    assert!(aside == 0 || matches!(unsynced, Unsynced::Torn(_)), "{what}, {unsynced:?} at {moment}: {aside} orphans");
    assert!(
        allowed.contains(&found),
        "{what}, {unsynced:?} at {moment}: found {:?}, allowed {:?}",
        brief(&found),
        allowed.iter().map(brief).collect::<Vec<_>>()
    );
}

fn crash_everywhere(every: usize, seeds: u64, max_open: Option<usize>) {
    let (dir, snapshot_dir) = (quick_dir(), quick_dir());
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let engine = open(&fs, dir.path(), snapshot_dir.path(), max_open);
    let mut taken = None;
    let mut states = vec![State::new()];
    let mut acknowledged = vec![fs.now()];
    for step in STEPS {
        let mut next = states[states.len() - 1].clone();
        step.run(&engine, &next, &mut taken).unwrap();
        step.apply(&mut next, &taken);
        states.push(next);
        acknowledged.push(fs.now());
    }
    assert_eq!(read(&engine), states[states.len() - 1]);
    drop(engine);
    let mut images = 0;
    let moments = fs.moments();
    for moment in moments.iter().copied().enumerate().filter(|(index, _)| index % every == 0).map(|(_, moment)| moment)
    {
        let done = acknowledged.partition_point(|at| *at <= moment);
        let allowed = &states[done.saturating_sub(1)..(done + 1).min(states.len())];
        for unsynced in [Unsynced::Lost, Unsynced::Kept].into_iter().chain((0..seeds).map(Unsynced::Torn)) {
            check_image(&fs, moment, unsynced, allowed, "a crash");
            images += 1;
        }
    }
    assert!(moments.len() > 100 && images > 30, "{images} images of {} moments", moments.len());
}

/// Repeats the run with one sync failing; returns whether one did.
fn fail_sync(at: u64, max_open: Option<usize>) -> bool {
    let (dir, snapshot_dir) = (quick_dir(), quick_dir());
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let engine = open(&fs, dir.path(), snapshot_dir.path(), max_open);
    let mut taken = None;
    fs.restart(Plan::FailSync(at));
    let mut state = State::new();
    // Allowed states: each failed write may be there completely, in its order.
    let mut allowed = vec![State::new()];
    for step in STEPS {
        if !step.is_possible(&state, &taken) {
            continue;
        }
        match step.run(&engine, &state, &mut taken) {
            Ok(()) => {
                step.apply(&mut state, &taken);
                for state in &mut allowed {
                    let creates = matches!(step, Step::Create(_));
                    assert!(
                        creates || step.is_possible(state, &taken),
                        "sync {at}, {step:?} is acknowledged and may be lost"
                    );
                    step.apply(state, &taken);
                }
            }
            Err(error) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::Internal | ErrorKind::Unavailable), "sync {at}, {step:?}: {error}");
                // A write refused because of an earlier failure was never started.
                if kind == ErrorKind::Internal {
                    let mut more: Vec<State> =
                        allowed.iter().filter(|state| step.is_possible(state, &taken)).cloned().collect();
                    more.iter_mut().for_each(|state| step.apply(state, &taken));
                    allowed.extend(more);
                }
            }
        }
    }
    let failed = fs.syncs() > at;
    // Reads continue and return the acknowledged writes.
    for (collection, points) in state.iter().filter(|(collection, _)| !collection.contains(' ')) {
        assert_eq!(engine.count(&name(collection), None).unwrap(), points.len() as u64, "sync {at}, {collection}");
    }
    let moment = fs.now();
    drop(engine);
    for unsynced in [Unsynced::Lost, Unsynced::Torn(at)] {
        check_image(&fs, moment, unsynced, &allowed, &format!("sync {at} failed"));
    }
    failed
}

/// Runs steps that succeed; returns the final state.
fn run_all(engine: &Database, steps: &[Step]) -> State {
    let mut state = State::new();
    for step in steps {
        step.run(engine, &state, &mut None).unwrap();
        step.apply(&mut state, &None);
    }
    state
}

#[test]
fn opening_an_up_to_date_directory_writes_nothing() {
    let (dir, snapshot_dir) = (quick_dir(), quick_dir());
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let engine = open(&fs, dir.path(), snapshot_dir.path(), None);
    run_all(
        &engine,
        &[
            Step::Create("a"),
            Step::Upsert("a", 0, 60, 1),
            Step::Create("b"),
            Step::Upsert("b", 0, 20, 2),
            Step::Upsert("a", 40, 70, 3),
            Step::Compact("a"),
            Step::Compact("b"),
            Step::Create("c"),
            Step::Drop("c"),
        ],
    );
    drop(engine);
    let before = (fs.now(), fs.syncs());
    let engine = open(&fs, dir.path(), snapshot_dir.path(), None);
    let count = |name: &str| engine.count(&super::crash_tests::name(name), None).unwrap();
    assert_eq!((count("a"), count("b")), (70, 20));
    drop(engine);
    assert_eq!((fs.now(), fs.syncs()), before, "{:#?}", fs.changes_since(before.0));
}

#[test]
fn a_crash_at_a_sync_loses_nothing_that_was_acknowledged() {
    crash_everywhere(5, 1, None);
}

#[test]
fn a_failed_sync_stops_the_writer_and_loses_nothing() {
    for at in [3, 9, 17, 30, 44] {
        assert!(fail_sync(at, None), "there is no sync {at}");
    }
}

#[test]
fn collections_that_close_and_reopen_lose_nothing_in_a_crash_or_after_a_failed_sync() {
    crash_everywhere(13, 1, Some(1));
    for at in [5, 21, 40] {
        assert!(fail_sync(at, Some(1)), "there is no sync {at}");
    }
}

/// Interrupts a repair at every n-th moment and repairs again: rows kept by the first repair must survive the second.
fn crash_repair_everywhere(every: usize, seeds: u64) {
    let (dir, snapshot_dir) = (quick_dir(), quick_dir());
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let engine = open(&fs, dir.path(), snapshot_dir.path(), None);
    let state = run_all(
        &engine,
        &[
            Step::Create("a"),
            Step::Bulk("a", 0, 2_100, 1),
            Step::Bulk("a", 3_000, 3_300, 2),
            // Too few to be sealed; they stay in the growing segment.
            Step::Upsert("a", 2_050, 2_140, 3),
            Step::Delete("a", 3_000, 3_010),
            Step::Mark("a", 10, 60, 1),
            Step::Mark("a", 3_100, 3_120, 1),
        ],
    );
    drop(engine);
    // Corrupt one payload in each segment.
    let folder = dir.path().join("collections").join(format!("{:016x}", 0));
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let segments = crate::store::CollectionDb::open(&shared, &folder).unwrap().segments().unwrap();
    let files: Vec<_> = segments.iter().map(|segment| folder.join(segment.id.vectors_file())).collect();
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        let payload = bytes.windows(10).rposition(|bytes| bytes == b"{\"version\"").unwrap();
        fs.flip_bit(file, payload + 3);
    }
    let begun = fs.now();
    let (done, result) = repair_directory_on(&shared, dir.path(), &|_, _, _| true);
    result.unwrap();
    assert!(done.left.is_empty() && done.taken_out.len() == files.len(), "{:?} {:?}", done.left, done.taken_out);
    assert!(done.taken_out.iter().all(|path| path.is_file()), "{:?}", done.taken_out);
    let repaired = read(&Database::open(dir.path()).unwrap());
    // At most one block of rows is lost per segment.
    let lost = state["a"].len() - repaired["a"].len();
    assert!((1..=files.len() * 256).contains(&lost), "{lost} lost: {:?}", brief(&repaired));
    assert!(repaired["a"].iter().all(|(id, version)| state["a"].get(id) == Some(version)));
    let moments: Vec<usize> = fs.moments().into_iter().filter(|moment| *moment >= begun).collect();
    assert!(moments.len() > 10, "{moments:?}");
    for moment in moments.into_iter().step_by(every) {
        for unsynced in [Unsynced::Lost, Unsynced::Kept].into_iter().chain((0..seeds).map(Unsynced::Torn)) {
            let image = quick_dir();
            fs.image(moment, unsynced, image.path());
            let (again, result) = repair_directory_on(&crate::disk::real_fs(), image.path(), &|_, _, _| true);
            result.unwrap_or_else(|error| panic!("{unsynced:?} at {moment}: {error}"));
            assert!(again.left.is_empty(), "{unsynced:?} at {moment}: {:?}", again.left);
            let found = read(&Database::open(image.path()).unwrap());
            assert_eq!(brief(&found), brief(&repaired), "{unsynced:?} at {moment}");
            assert!(found == repaired, "{unsynced:?} at {moment}");
            let damaged = std::fs::read_dir(image.path().join(super::repair::DAMAGED_FOLDER)).unwrap().count();
            assert_eq!(damaged, files.len(), "{unsynced:?} at {moment}: the damaged files are kept");
        }
    }
}

fn lettered() -> Registry {
    let mut registry = Registry::default();
    registry.add(Arc::new(letters::Letters::new()));
    registry
}

/// Generation, dimension, number of the other generation, and the text of each id; none if there is no collection.
type Generations = Option<(u32, u32, Option<u32>, BTreeMap<String, String>)>;

fn read_generations(engine: &Database) -> Generations {
    let info = engine.collections().unwrap().pop()?;
    assert!(info.problems.is_empty(), "{info:?}");
    let embedders = engine.embedders();
    let letters = embedders.by_name("letters").unwrap();
    let output = letters.output_layer(&info.embedder.unwrap().output).unwrap();
    let page = engine.scroll(&info.name, None, 5_000, Fields { payload: true, vector: true }, None).unwrap();
    let texts = page.points.into_iter().map(|point| {
        let text = point.payload.unwrap()["text"].as_str().unwrap().to_owned();
        assert_eq!(point.vector.unwrap(), letters.embed(output, &Input::Text(&text)).unwrap(), "{}", point.id);
        (point.id.to_string(), text)
    });
    Some((info.generation, info.dimension, info.previous.map(|previous| previous.generation), texts.collect()))
}

/// Interrupts a series of generation changes at every n-th moment: the complete generation before or after the step
/// remains.
fn crash_generations_everywhere(every: usize, seeds: u64) {
    let dir = quick_dir();
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let engine = Database::options().file_system(&shared).embedders(lettered()).open(dir.path()).unwrap();
    let a = name("a");
    let write = |from: u64, until: u64, text: &str| {
        let item = |number| Item {
            id: PointId::new(id(number)).unwrap(),
            source: PointInput::Text(text.repeat(1 + number as usize % 3)),
            payload: Payload::new(),
            vectors: Default::default(),
        };
        engine.upsert(&a, (from..until).map(item).collect()).unwrap();
    };
    let go_on: Observe<'_> = &|_, _, _| true;
    let index = IndexSettings { m: 4, ef_construction: 16, ef_search: 16, seal_rows: 100, precision: Precision::F32 };
    let space = VectorSource::Embedded { embedder: "letters".into(), output: "counts".into() };
    let spec = CollectionSpec {
        name: a.clone(),
        space,
        metric: Metric::L2,
        index,
        text_fields: None,
        vector_fields: Vec::new(),
        optional_vectors: false,
        ttl: None,
        tenant: None,
    };
    let steps: [&dyn Fn(); 10] = [
        &|| drop(engine.create_collection(&spec).unwrap()),
        &|| write(0, 250, "a"),
        &|| drop(engine.reembed(&a, "letters", "vowels", Sources::Proved, go_on).unwrap()),
        &|| write(200, 300, "ee"),
        &|| drop(engine.delete_points(&a, &[PointId::new(id(5)).unwrap()]).unwrap()),
        &|| drop(engine.rollback(&a, go_on).unwrap()),
        &|| write(0, 20, "ooo"),
        &|| drop(engine.reembed(&a, "letters", "vowels", Sources::Proved, go_on).unwrap()),
        &|| drop(engine.delete_previous_generation(&a).unwrap()),
        &|| assert!(engine.delete_collection(&a).unwrap() > 0),
    ];
    let (mut states, mut done) = (vec![None], vec![fs.now()]);
    for step in steps {
        step();
        states.push(read_generations(&engine));
        done.push(fs.now());
    }
    let numbers: Vec<_> = states.iter().map(|state| state.as_ref().map(|state| (state.0, state.1, state.2))).collect();
    let expected = [(1, 26, None), (1, 26, None), (2, 5, Some(1)), (2, 5, Some(1)), (2, 5, Some(1)), (1, 26, Some(2))];
    assert_eq!(numbers[1..7], expected.map(Some));
    assert_eq!(numbers[7..], [Some((1, 26, Some(2))), Some((3, 5, Some(1))), Some((3, 5, None)), None]);
    drop(engine);
    for moment in fs.moments().into_iter().step_by(every) {
        let past = done.partition_point(|at| *at <= moment);
        let allowed = &states[past.saturating_sub(1)..(past + 1).min(states.len())];
        for unsynced in [Unsynced::Lost, Unsynced::Kept].into_iter().chain((0..seeds).map(Unsynced::Torn)) {
            let image = quick_dir();
            fs.image(moment, unsynced, image.path());
            let engine = Database::options()
                .embedders(lettered())
                .open(image.path())
                .unwrap_or_else(|error| panic!("{unsynced:?} at {moment}: {error}"));
            let found = read_generations(&engine);
            assert!(
                allowed.contains(&found),
                "{unsynced:?} at {moment}: {:?}",
                found.map(|it| (it.0, it.1, it.2, it.3.len()))
            );
            // The other generation is complete, too.
            if let Some((generation, _, Some(previous), texts)) = found {
                let info = engine.rollback(&a, go_on).unwrap();
                assert_eq!((info.generation, info.previous.unwrap().generation), (previous, generation));
                assert_eq!(read_generations(&engine).unwrap().3, texts, "{unsynced:?} at {moment}");
            }
            drop(engine);
            let folders = std::fs::read_dir(image.path().join("collections")).map_or(0, Iterator::count);
            assert!(folders <= 2, "{unsynced:?} at {moment}: {folders} folders are left");
        }
    }
}

#[test]
fn a_crash_leaves_one_intact_generation() {
    crash_generations_everywhere(6, 1);
}

#[test]
#[ignore = "slow: every sync, minutes"]
fn a_crash_at_any_sync_leaves_one_intact_generation() {
    crash_generations_everywhere(1, 4);
}

#[test]
fn a_crash_during_a_repair_loses_no_further_points() {
    crash_repair_everywhere(12, 1);
}

#[test]
#[ignore = "slow: every sync, minutes"]
fn a_crash_at_any_sync_of_a_repair_loses_no_further_points() {
    crash_repair_everywhere(1, 1);
}

#[test]
#[ignore = "slow: every sync, minutes"]
fn a_crash_at_every_sync_loses_nothing_that_was_acknowledged() {
    crash_everywhere(1, 4, None);
}

#[test]
#[ignore = "slow: every sync, minutes"]
fn every_failed_sync_stops_the_writer_and_loses_nothing() {
    let mut at = 0;
    while fail_sync(at, None) {
        at += 1;
    }
    assert!(at > 50, "only {at} syncs");
}
