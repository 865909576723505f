//! Tests of the database against a map: random changes, reopens, and crashes at any sync.

use super::*;
use crate::disk::ErrorKind;
use crate::disk::crash_fs::{CrashFs, Plan, Unsynced};
use crate::quick_dir;
use crate::store::OrphanAction;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const TAG: u64 = 0x0123_4567_89ab_cdef;
const OWNER: Owner = Owner { directory: Identity([1; 16]), collection: Identity([2; 16]) };

/// Expected contents of the database.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    growing: BTreeMap<u64, (String, Vec<u32>, Vec<u8>)>,
    segments: BTreeMap<u64, (Option<u32>, BTreeSet<u32>)>,
    tags: BTreeMap<u64, u64>,
    removed: BTreeSet<u64>,
    calibrations: BTreeMap<u64, Vec<u8>>,
    payloads: BTreeMap<(u64, u32), Vec<u8>>,
    reference_vectors: BTreeMap<u32, (String, Vec<u8>)>,
    sequence: u64,
    next_key: u64,
    next_segment: u64,
}

impl Model {
    fn apply(&mut self, changes: &[Change<'_>]) -> bool {
        let mut next = self.clone();
        let done = changes.iter().all(|change| next.step(change));
        if done {
            *self = next;
        }
        done
    }

    fn step(&mut self, change: &Change<'_>) -> bool {
        match *change {
            Change::AddGrowing { key, id, vector, body: payload } => {
                let fits = key >= self.next_key && !id.is_empty();
                self.next_key = self.next_key.max(key + 1);
                let bits = vector.iter().map(|float| float.to_bits()).collect();
                self.growing.insert(key, (id.into(), bits, payload.into()));
                fits
            }
            Change::RemoveGrowing { key } => {
                self.growing.remove(&key);
                true
            }
            Change::RemoveGrowingRange { from, until } => {
                self.growing.retain(|key, _| !(from..until).contains(key));
                true
            }
            Change::DeleteRow { segment, row } => {
                self.payloads.remove(&(segment.0, row));
                self.segments.get_mut(&segment.0).map(|(_, deleted)| deleted.insert(row)).is_some()
            }
            Change::SetPayload { segment, row, payload } => {
                self.payloads.insert((segment.0, row), payload.into());
                self.segments.get(&segment.0).is_some_and(|(_, deleted)| !deleted.contains(&row))
            }
            Change::RemoveExcessRows { segment, rows } => {
                self.payloads.retain(|(of, row), _| *of != segment.0 || *row < rows);
                self.segments.get_mut(&segment.0).map(|(_, deleted)| deleted.retain(|row| *row < rows)).is_some()
            }
            Change::AddSegment { segment, graph_generation, tag } => {
                self.tags.insert(segment.0, tag);
                self.next_segment = self.next_segment.max(segment.0 + 1);
                self.segments.insert(segment.0, (graph_generation, BTreeSet::new())).is_none()
            }
            Change::SetTag { segment, tag } => self.tags.get(&segment.0) == Some(&tag),
            Change::SetGraph { segment, graph_generation } => {
                self.calibrations.remove(&segment.0);
                self.segments.get_mut(&segment.0).map(|(graph, _)| *graph = graph_generation).is_some()
            }
            Change::SetCalibration { segment, graph_generation, record } => {
                self.calibrations.insert(segment.0, record.into());
                self.segments.get(&segment.0).is_some_and(|(graph, _)| *graph == Some(graph_generation))
            }
            Change::RemoveSegment { segment } => {
                self.calibrations.remove(&segment.0);
                self.tags.remove(&segment.0);
                self.removed.insert(segment.0);
                self.payloads.retain(|(of, _), _| *of != segment.0);
                self.segments.remove(&segment.0).is_some()
            }
            Change::AddReferenceVector { index, kind, vector: _, input } => {
                self.reference_vectors.insert(index, (kind.into(), input.into()));
                true
            }
            Change::Sequence(sequence) => {
                self.sequence = sequence;
                true
            }
        }
    }
}

fn read(db: &CollectionDb) -> Model {
    let mut model = Model {
        sequence: db.sequence().unwrap(),
        next_key: db.next_key().unwrap(),
        next_segment: db.meta(NEXT_SEGMENT).unwrap(),
        removed: manifest::removed(&db.kv).unwrap().into_iter().map(|id| id.0).collect(),
        ..Model::default()
    };
    let mut visit = |key, id: &str, vector: &[f32], payload: &[u8]| {
        let bits = vector.iter().map(|float| float.to_bits()).collect();
        assert!(model.growing.last_key_value().is_none_or(|(last, _)| *last < key), "in the order of keys");
        model.growing.insert(key, (id.to_owned(), bits, payload.to_vec()));
        Ok(())
    };
    db.growing(&mut visit).unwrap();
    for record in db.segments().unwrap() {
        model.tags.extend(record.tag.map(|tag| (record.id.0, tag)));
        model.calibrations.extend(record.calibration.map(|bytes| (record.id.0, bytes)));
        let payloads = record.payloads.into_iter().map(|(row, payload)| ((record.id.0, row), payload));
        model.payloads.extend(payloads);
        model.segments.insert(record.id.0, (record.graph_generation, record.deleted.into_iter().collect()));
    }
    for (index, reference_vector) in (0..).zip(db.reference_vectors().unwrap()) {
        assert_eq!(reference_vector.vector, [1.0]);
        model.reference_vectors.insert(index, (reference_vector.kind, reference_vector.input));
    }
    model
}

/// A change that owns its data; keys are offsets from the next free one.
#[derive(Clone, Debug)]
enum Step {
    Add(u8, Vec<u32>, Vec<u8>),
    AddAt(u64),
    Remove(u64),
    RemoveRange(u64, u64),
    Delete(u64, u32),
    Payload(u64, u32, Vec<u8>),
    Segment(u64, Option<u32>),
    Graph(u64, Option<u32>),
    Calibrate(u64, u32, Vec<u8>),
    Drop(u64),
    Excess(u64, u32),
    /// Adds the reference vector with index 0.
    ReferenceVector(Vec<u8>),
    Sequence(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), prop::collection::vec(any::<u32>(), 1..4), prop::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(id, bits, payload)| Step::Add(id, bits, payload)),
        1 => (0..40u64).prop_map(Step::AddAt),
        3 => (0..40u64).prop_map(Step::Remove),
        2 => (0..40u64, 0..40u64).prop_map(|(from, until)| Step::RemoveRange(from, until)),
        3 => (0..5u64, 0..9u32).prop_map(|(segment, row)| Step::Delete(segment, row)),
        3 => (0..5u64, 0..9u32, prop::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(segment, row, payload)| Step::Payload(segment, row, payload)),
        3 => (0..5u64, prop::option::of(0..3u32)).prop_map(|(segment, graph)| Step::Segment(segment, graph)),
        1 => (0..5u64, prop::option::of(any::<u32>())).prop_map(|(segment, graph)| Step::Graph(segment, graph)),
        3 => (0..5u64, 0..3u32, prop::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(segment, graph, record)| Step::Calibrate(segment, graph, record)),
        2 => (0..5u64).prop_map(Step::Drop),
        1 => (0..5u64, 0..9u32).prop_map(|(segment, rows)| Step::Excess(segment, rows)),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Step::ReferenceVector),
        2 => any::<u64>().prop_map(Step::Sequence),
    ]
}

/// Applies the steps to the database and to the model, as one commit.
fn commit(db: &CollectionDb, model: &mut Model, steps: &[Step]) -> Result<bool, Error> {
    let mut key = model.next_key;
    let floats: Vec<(String, Vec<f32>)> = steps
        .iter()
        .map(|step| match step {
            Step::Add(id, bits, _) => (format!("id{id}"), bits.iter().map(|bits| f32::from_bits(*bits)).collect()),
            _ => ("x".into(), vec![1.0]),
        })
        .collect();
    let changes: Vec<Change<'_>> = steps
        .iter()
        .zip(&floats)
        .map(|(step, (id, vector))| match step {
            Step::Add(_, _, payload) => {
                key += 1;
                Change::AddGrowing { key: key - 1, id, vector, body: payload }
            }
            Step::AddAt(at) => {
                key = key.max(at + 1);
                Change::AddGrowing { key: *at, id, vector, body: b"" }
            }
            Step::Remove(key) => Change::RemoveGrowing { key: *key },
            Step::RemoveRange(from, until) => Change::RemoveGrowingRange { from: *from, until: *until },
            Step::Delete(segment, row) => Change::DeleteRow { segment: SegmentId(*segment), row: *row },
            Step::Payload(segment, row, payload) => {
                Change::SetPayload { segment: SegmentId(*segment), row: *row, payload }
            }
            Step::Segment(segment, graph) => {
                Change::AddSegment { segment: SegmentId(*segment), graph_generation: *graph, tag: TAG }
            }
            Step::Graph(segment, graph) => Change::SetGraph { segment: SegmentId(*segment), graph_generation: *graph },
            Step::Calibrate(segment, graph_generation, record) => {
                Change::SetCalibration { segment: SegmentId(*segment), graph_generation: *graph_generation, record }
            }
            Step::Drop(segment) => Change::RemoveSegment { segment: SegmentId(*segment) },
            Step::Excess(segment, rows) => Change::RemoveExcessRows { segment: SegmentId(*segment), rows: *rows },
            Step::ReferenceVector(input) => Change::AddReferenceVector { index: 0, kind: id, vector, input },
            Step::Sequence(sequence) => Change::Sequence(*sequence),
        })
        .collect();
    match db.commit(&changes) {
        Ok(()) => {
            assert!(model.apply(&changes), "the model refuses {changes:?}");
            Ok(true)
        }
        Err(Error::Refused { .. }) => {
            assert!(!model.apply(&changes), "the model accepts {changes:?}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_changes_are_as_in_a_map(commits in prop::collection::vec((prop::collection::vec(step(), 1..7), prop::bool::weighted(0.15)), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let mut db = CollectionDb::create(&disk::real_fs(), dir.path(), OWNER).unwrap();
        let mut model = Model::default();
        for (steps, reopen) in &commits {
            commit(&db, &mut model, steps).unwrap();
            if *reopen {
                drop(db);
                db = open(dir.path()).unwrap();
            }
            prop_assert_eq!(&read(&db), &model);
        }
    }
}

fn open(dir: &Path) -> Result<CollectionDb, Error> {
    CollectionDb::open(&disk::real_fs(), dir)
}

fn create_on(fs: &CrashFs, dir: &Path) -> CollectionDb {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    CollectionDb::create(&fs, dir, OWNER).unwrap()
}

#[test]
fn a_crash_at_any_sync_loses_nothing_acknowledged() {
    let commits: Vec<Vec<Step>> = (0..8u8)
        .map(|n| {
            let mut steps = vec![Step::Add(n, vec![u32::from(n); 3], vec![n; 9]), Step::Add(n + 100, vec![7], vec![])];
            match n {
                2 => steps.push(Step::Segment(1, None)),
                3 => steps.push(Step::RemoveRange(0, 5)),
                4 => steps.push(Step::Delete(1, 3)),
                5 => steps.push(Step::Graph(1, Some(1))),
                6 => steps.push(Step::Drop(1)),
                _ => steps.push(Step::Sequence(u64::from(n))),
            }
            steps
        })
        .collect();
    // The state after each commit, and the moment of its acknowledgement.
    let dir = tempfile::tempdir().unwrap();
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let db = create_on(&fs, dir.path());
    let mut states = vec![Model::default()];
    let mut moments = vec![fs.now()];
    let before = fs.syncs();
    for steps in &commits {
        let mut next = states[states.len() - 1].clone();
        assert!(commit(&db, &mut next, steps).unwrap());
        states.push(next);
        moments.push(fs.now());
    }
    assert!(fs.syncs() - before >= commits.len() as u64, "a sync for each commit");
    let check = |fs: &CrashFs, moment, acknowledged: usize| {
        for unsynced in [Unsynced::Lost, Unsynced::Kept].into_iter().chain((0..4).map(Unsynced::Torn)) {
            let image = quick_dir();
            fs.image(moment, unsynced, image.path());
            let found = read(&open(image.path()).unwrap());
            let allowed = &states[acknowledged..(acknowledged + 2).min(states.len())];
            assert!(allowed.contains(&found), "{unsynced:?} at {moment}, {acknowledged} acknowledged: {found:?}");
        }
    };
    for moment in (moments[0]..=fs.now()).filter(|moment| moment % 3 == 0 || moments.contains(moment)) {
        check(&fs, moment, moments.partition_point(|acknowledged| *acknowledged <= moment) - 1);
    }

    for failing in 0..fs.syncs() - before {
        let dir = tempfile::tempdir().unwrap();
        let fs = CrashFs::new(dir.path(), Plan::Nothing);
        let db = create_on(&fs, dir.path());
        fs.restart(Plan::FailSync(failing));
        let failed = commits
            .iter()
            .zip(&states)
            .position(|(steps, before)| commit(&db, &mut before.clone(), steps).is_err())
            .unwrap_or(commits.len());
        assert!(failed < commits.len(), "sync {failing} failed without an error");
        // Commits are refused although the disk works again.
        let refused = db.commit(&[Change::Sequence(99)]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Stopped, "{refused}");
        assert!(db.stopped().is_some());
        check(&fs, fs.now(), failed);
    }
}

#[test]
fn a_full_disk_is_reported_and_writes_resume_with_free_space() {
    let dir = tempfile::tempdir().unwrap();
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let db = create_on(&fs, dir.path());
    let mut model = Model::default();
    let add = |n: u8| vec![Step::Add(n, vec![1; 3], vec![n; 3000])];
    assert!(commit(&db, &mut model, &add(1)).unwrap());
    for room in [0, 1_000, 5_000, 9_000] {
        fs.restart(Plan::FullAfter(room));
        for _ in 0..2 {
            assert_eq!(commit(&db, &mut model, &add(2)).unwrap_err().kind(), ErrorKind::Exhausted, "{room}");
            assert!(db.stopped().is_none());
        }
        fs.restart(Plan::Nothing);
        assert_eq!(read(&db), model, "refused changes have no effect");
        assert!(commit(&db, &mut model, &add(3)).unwrap());
    }
    drop(db);
    assert_eq!(read(&open(dir.path()).unwrap()), model);
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_small_file_is_safe() {
    let dir = quick_dir();
    let db = small(dir.path());
    let sound = read(&db);
    drop(db);
    let file = dir.path().join(FILE);
    let whole = std::fs::read(&file).unwrap();
    let (mut refused, mut unharmed) = (0, 0);
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    for at in used {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        // Create a new file: overwriting waits for the disk.
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &bytes).unwrap();
        match CollectionDb::open_read_only(&disk::real_fs(), dir.path()) {
            Ok(db) => {
                assert_eq!(read(&db), sound, "byte {at} flipped without an error");
                unharmed += 1;
            }
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible | ErrorKind::Internal),
                    "byte {at}: {error}"
                );
                refused += 1;
                if refused % 100 == 0 {
                    assert!(open(dir.path()).is_err(), "byte {at}: read-only and normal opens differ");
                    assert_eq!(std::fs::read(&file).unwrap(), bytes, "a damaged file is not modified");
                }
            }
        }
    }
    assert!(refused > 100, "{refused} refused, {unharmed} unharmed");
    for cut in (0..whole.len()).step_by(509) {
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &whole[..cut]).unwrap();
        assert!(
            CollectionDb::open_read_only(&disk::real_fs(), dir.path()).is_err(),
            "cut to {cut} bytes of {}",
            whole.len()
        );
    }
}

fn small(dir: &Path) -> CollectionDb {
    let db = CollectionDb::create(&disk::real_fs(), dir, OWNER).unwrap();
    let segment = SegmentId(1);
    db.commit(&[
        Change::AddGrowing { key: 0, id: "a", vector: &[1.0, 2.0], body: b"{}" },
        Change::AddSegment { segment, graph_generation: Some(3), tag: TAG },
        Change::DeleteRow { segment, row: 4 },
        Change::Sequence(5),
    ])
    .unwrap();
    db
}

#[test]
fn a_database_opens_once_and_is_shared_by_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let dir = tempfile::tempdir().unwrap();
    let db = small(dir.path());
    shared(&db);
    assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!((db.sequence().unwrap(), db.next_key().unwrap()), (5, 1));
    assert_eq!(db.next_segment().unwrap(), SegmentId(2));
    drop(db);
    open(dir.path()).unwrap();
}

#[test]
fn keys_and_segments_are_not_used_twice() {
    let dir = tempfile::tempdir().unwrap();
    let db = small(dir.path());
    let before = read(&db);
    db.commit(&[Change::RemoveGrowing { key: 0 }, Change::RemoveGrowing { key: 77 }]).unwrap();
    let again = Change::AddGrowing { key: 0, id: "a", vector: &[1.0], body: b"" };
    let error = db.commit(&[Change::Sequence(9), again]).unwrap_err();
    assert!(error.to_string().contains("growing key 0"), "{error}");
    assert_eq!(db.sequence().unwrap(), before.sequence, "all or nothing");
    let unknown = SegmentId(9);
    for change in [
        Change::AddSegment { segment: SegmentId(1), graph_generation: None, tag: TAG },
        Change::DeleteRow { segment: unknown, row: 0 },
        Change::SetGraph { segment: unknown, graph_generation: None },
        Change::RemoveSegment { segment: unknown },
        Change::SetTag { segment: unknown, tag: TAG },
        Change::SetTag { segment: SegmentId(1), tag: TAG + 1 },
        Change::SetCalibration { segment: unknown, graph_generation: 3, record: b"x" },
        Change::SetCalibration { segment: SegmentId(1), graph_generation: 4, record: b"x" },
    ] {
        assert!(matches!(db.commit(&[change]), Err(Error::Refused { .. })), "{change:?}");
    }
    db.commit(&[Change::RemoveSegment { segment: SegmentId(1) }]).unwrap();
    assert_eq!(db.segments().unwrap(), []);
    assert_eq!(db.next_segment().unwrap(), SegmentId(2));
}

#[test]
fn a_calibration_is_removed_with_its_graph_and_is_optional() {
    let dir = tempfile::tempdir().unwrap();
    let db = small(dir.path());
    let segment = SegmentId(1);
    let calibration = |db: &CollectionDb| db.segments().unwrap()[0].calibration.clone();
    let set = |graph_generation, record| Change::SetCalibration { segment, graph_generation, record };
    db.commit(&[set(3, b"first"), set(3, b"second")]).unwrap();
    assert_eq!(calibration(&db).as_deref(), Some(&b"second"[..]));
    db.commit(&[Change::SetGraph { segment, graph_generation: Some(4) }]).unwrap();
    assert_eq!(calibration(&db), None);
    db.commit(&[set(4, b"third"), Change::DeleteRow { segment, row: 9 }]).unwrap();
    drop(db);
    let db = open(dir.path()).unwrap();
    assert_eq!(calibration(&db).as_deref(), Some(&b"third"[..]));
    // A folder of a version without the table.
    db.kv.write(|transaction| Ok(transaction.delete_table(manifest::CALIBRATIONS).unwrap())).unwrap();
    assert_eq!(calibration(&db), None);
    db.commit(&[set(4, b"again"), Change::RemoveSegment { segment }]).unwrap();
    let left =
        db.kv.write(|transaction| Ok(transaction.open_table(manifest::CALIBRATIONS).unwrap().iter().unwrap().count()));
    assert_eq!(left.unwrap(), 0);
}

#[test]
fn the_first_updated_payload_raises_the_version() {
    let dir = tempfile::tempdir().unwrap();
    let db = small(dir.path());
    let segment = SegmentId(1);
    let version = |db: &CollectionDb| db.meta(FORMAT).unwrap();
    // A program without updates of payloads reads version 2 and refuses version 3.
    assert_eq!(version(&db), VERSION);
    let set = |row, payload| Change::SetPayload { segment, row, payload };
    assert!(db.commit(&[set(2, b"{}"), Change::RemoveSegment { segment: SegmentId(77) }]).is_err());
    assert_eq!(version(&db), VERSION, "a refused commit changes nothing");
    db.commit(&[set(2, b"{}"), set(1, b"[]"), set(2, br#"{"a":1}"#)]).unwrap();
    assert_eq!(version(&db), WITH_PAYLOADS);
    drop(db);
    let db = open(dir.path()).unwrap();
    let payloads = |db: &CollectionDb| db.segments().unwrap()[0].payloads.clone();
    assert_eq!(payloads(&db), [(1, b"[]".to_vec()), (2, br#"{"a":1}"#.to_vec())]);
    db.commit(&[Change::DeleteRow { segment, row: 1 }]).unwrap();
    assert_eq!(payloads(&db).len(), 1);
    assert!(db.commit(&[set(1, b"{}")]).is_err(), "a payload of a deleted row");
    db.commit(&[Change::RemoveSegment { segment }]).unwrap();
    assert_eq!(version(&db), WITH_PAYLOADS);
}

#[test]
fn a_visitor_can_stop() {
    let dir = tempfile::tempdir().unwrap();
    let db = small(dir.path());
    let stopped = db.growing(&mut |_, _, _, _| Err(Error::refused(Path::new("here"), "enough")));
    assert!(stopped.unwrap_err().to_string().contains("enough"));
}

/// Returns the file names in a folder.
fn files(dir: &Path) -> Vec<String> {
    disk::list_files(dir).unwrap()
}

#[test]
fn the_sweep_removes_leftovers_and_sets_orphans_aside() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("0000000000000007");
    let db = small(&folder);
    let id = SegmentId(1);
    let add = |number| Change::AddSegment { segment: SegmentId(number), graph_generation: None, tag: TAG };
    db.commit(&[add(2), add(3), Change::RemoveSegment { segment: SegmentId(3) }, add(9)]).unwrap();
    db.commit(&[Change::RemoveSegment { segment: SegmentId(9) }]).unwrap();
    let recorded =
        [id.vectors_file(), id.graph_file(3), id.payloads_file(), SegmentId(2).vectors_file(), "notes.txt".into()];
    let leftovers = [
        id.graph_file(2),
        id.uncommitted_file(),
        "0000000000000002.vectors.0.tmp".into(),
        SegmentId(3).vectors_file(),
        SegmentId(3).payloads_file(),
        SegmentId(10).vectors_file(),
        SegmentId(10).uncommitted_file(),
        SegmentId(11).uncommitted_file(),
    ];
    // The id shows that it was recorded once; it was never removed.
    let orphan = SegmentId(5).vectors_file();
    for name in recorded.iter().chain(&leftovers).chain([&orphan]) {
        std::fs::write(folder.join(name), b"x").unwrap();
    }
    let orphans = dir.path().join("orphans");
    let aside = db.sweep(&orphans).unwrap();
    assert!(aside.len() == 1 && aside[0].contains(&orphan) && aside[0].contains("points.redb"), "{aside:?}");
    let mut expected: Vec<String> = recorded.iter().cloned().chain([FILE.to_owned()]).collect();
    expected.sort();
    assert_eq!(files(&folder), expected);
    assert_eq!(files(&orphans), [format!("0000000000000007-{orphan}")]);
    assert_eq!(read(&db).removed, [3, 9].into(), "written when something else is");
    db.commit(&[Change::Sequence(7)]).unwrap();
    assert_eq!(read(&db).removed, [].into());
    assert_eq!(db.sweep(&orphans).unwrap(), [] as [String; 0]);
}

#[test]
fn a_database_older_than_its_segments_is_refused_and_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let db = small(dir.path());
    let newer = SegmentId(2).vectors_file();
    for name in [&newer, &SegmentId(1).graph_file(9)] {
        std::fs::write(dir.path().join(name), b"x").unwrap();
    }
    let before = files(dir.path());
    let error = db.sweep(&dir.path().join("orphans")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(text.contains(&newer) && text.contains("points.redb is older"), "{text}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_database_of_another_collection_or_directory_is_refused_and_both_are_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(small(dir.path()));
    let db = open(dir.path()).unwrap();
    assert_eq!((db.owner(), db.is_owned()), (Some(OWNER), true));
    let home = |directory, collection| CollectionDir {
        path: dir.path().into(),
        orphans: dir.path().join("orphans"),
        directory,
        collection,
        catalog: "the/catalogue.redb".into(),
    };
    let other = Identity([0xee; 16]);
    assert_eq!(db.claim(&home(OWNER.directory, Some(OWNER.collection))).unwrap(), OWNER.collection);
    // State after a crash before the catalogue recorded it.
    assert_eq!(db.claim(&home(OWNER.directory, None)).unwrap(), OWNER.collection);
    for (home, found) in [
        (home(OWNER.directory, Some(other)), OWNER.collection),
        (home(other, Some(OWNER.collection)), OWNER.directory),
        (home(other, None), OWNER.directory),
    ] {
        let error = db.claim(&home).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        let named = ["points.redb", "the/catalogue.redb", &found.to_string(), &other.to_string()];
        assert!(named.iter().all(|name| text.contains(name)), "{text}");
    }
}

#[test]
fn a_database_without_identities_gets_them_once_with_its_first_commit() {
    let dir = tempfile::tempdir().unwrap();
    let db = small(dir.path());
    // A file of a version without identities and tags.
    db.kv
        .write(|transaction| {
            transaction.delete_table(IDENTITY).unwrap();
            transaction.open_table(META).unwrap().insert(FORMAT, ANONYMOUS).unwrap();
            transaction.open_table(manifest::SEGMENTS).unwrap().insert(1, [1, 1, 3, 0, 0, 0].as_slice()).unwrap();
            Ok(())
        })
        .unwrap();
    drop(db);
    let db = open(dir.path()).unwrap();
    assert_eq!((db.owner(), db.is_owned()), (None, false));
    let record = &db.segments().unwrap()[0];
    assert_eq!((record.graph_generation, record.tag), (Some(3), None));
    // That version left uncommitted segments behind: they prove nothing.
    std::fs::write(dir.path().join(SegmentId(8).vectors_file()), b"x").unwrap();
    assert_eq!(db.unnamed().unwrap()[0].fate, OrphanAction::SetAside);
    let home = CollectionDir {
        path: dir.path().into(),
        orphans: dir.path().join("orphans"),
        directory: OWNER.directory,
        collection: Some(OWNER.collection),
        catalog: "catalogue.redb".into(),
    };
    let error = db.claim(&home).unwrap_err();
    assert!(error.to_string().contains("has no identity"), "{error}");
    let home = CollectionDir { collection: None, ..home };
    let identity = db.claim(&home).unwrap();
    assert_eq!((db.claim(&home).unwrap(), db.is_owned()), (identity, false));
    let segment = SegmentId(1);
    db.commit(&[Change::SetGraph { segment, graph_generation: None }]).unwrap();
    assert_eq!((db.segments().unwrap()[0].tag, db.is_owned()), (None, true));
    db.commit(&[Change::SetTag { segment, tag: TAG }]).unwrap();
    drop(db);
    let db = open(dir.path()).unwrap();
    assert_eq!(db.owner(), Some(Owner { directory: OWNER.directory, collection: identity }));
    assert_eq!(db.segments().unwrap()[0].tag, Some(TAG));
}

#[test]
fn an_open_writes_nothing_until_the_first_commit() {
    let dir = tempfile::tempdir().unwrap();
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut model = Model::default();
    let db = create_on(&fs, dir.path());
    assert!(commit(&db, &mut model, &[Step::Add(1, vec![1; 3], vec![1; 9])]).unwrap());
    let killed = quick_dir();
    fs.image(fs.now(), Unsynced::Kept, killed.path());
    drop(db);
    let before = std::fs::read(killed.path().join(FILE)).unwrap();
    let (now, bytes) = (fs.now(), std::fs::read(dir.path().join(FILE)).unwrap());
    let db = CollectionDb::open(&shared, dir.path()).unwrap();
    assert_eq!(read(&db), model);
    drop(db);
    assert!(fs.now() == now && std::fs::read(dir.path().join(FILE)).unwrap() == bytes, "after a clean end");
    let db = open(killed.path()).unwrap();
    assert_eq!(read(&db), model);
    assert_eq!(std::fs::read(killed.path().join(FILE)).unwrap(), before, "after a crash");
    assert!(commit(&db, &mut model, &[Step::Add(2, vec![2; 3], vec![2; 9])]).unwrap());
    drop(db);
    assert_eq!(read(&open(killed.path()).unwrap()), model);
}

#[test]
fn a_lost_or_foreign_or_newer_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let db = small(dir.path());
    db.kv
        .write(|transaction| {
            transaction.open_table(META).unwrap().insert(FORMAT, WITH_PAYLOADS + 1).unwrap();
            Ok(())
        })
        .unwrap();
    drop(db);
    assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Incompatible);
    let file = dir.path().join(FILE);
    std::fs::write(&file, b"something else, of some length").unwrap();
    assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::remove_file(&file).unwrap();
    std::fs::write(dir.path().join(SegmentId(1).vectors_file()), b"x").unwrap();
    assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_cut_file_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    drop(small(dir.path()));
    let file = dir.path().join(FILE);
    let whole = std::fs::read(&file).unwrap();
    for cut in [1, 100, 512, 4096, 5000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let kind = open(dir.path()).map(|_| ()).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Corrupt, "cut at {cut} of {}", whole.len());
    }
}
