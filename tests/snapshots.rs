//! Snapshot tests: creation during writes and merges, restores, damage, S3, and the commands.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared: other tests use the rest")]
mod server;

use nearness::api::{
    Accuracy, CollectionSpec, Error, ErrorKind, FieldQuery, FieldVector, Fields, IndexSettings, Item, Job, Payload,
    PayloadUpdate, PointInput, PointSelection, Query, SearchParams, SparseVector, VectorField, VectorSource,
};
use nearness::embed::Registry;
use nearness::engine::{Admin, Database, Reads, Snapshots, Writes};
use nearness::snapshot::SnapshotName;
use nearness::snapshot_store::SnapshotStore;
use nearness::types::{CollectionName, Metric, PointId, Precision};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const DIMENSION: u32 = 8;
const BLOCK: usize = 512;

fn name(name: &str) -> CollectionName {
    CollectionName::new(name).unwrap()
}

fn id(number: u64) -> PointId {
    PointId::new(format!("p{number:05}")).unwrap()
}

fn open(data: &Path, snapshots: &Path) -> Database {
    let store = SnapshotStore::open(snapshots.to_str().unwrap()).unwrap();
    Database::options().snapshots(store).open(data).unwrap()
}

fn plain(engine: &Database, collection: &str, seal_rows: u32) {
    let index = IndexSettings::default().seal_rows(seal_rows);
    let space = VectorSource::Plain { dimension: DIMENSION };
    engine.create_collection(&CollectionSpec::new(name(collection), space).metric(Metric::L2).index(index)).unwrap();
}

fn item(number: u64, rng: &mut StdRng) -> Item {
    let vector = (0..DIMENSION).map(|_| rng.random::<f32>()).collect();
    let payload = Payload::from_iter([("n".to_owned(), rng.random_range(0..1_000_u32).into())]);
    Item { id: id(number), source: PointInput::Vector(vector), payload, vectors: Default::default() }
}

fn silent(_: Job, _: u64, _: u64) -> bool {
    true
}

/// Returns all points: id to vector and payload.
fn points(engine: &Database, collection: &str) -> BTreeMap<String, (Vec<f32>, Payload)> {
    let fields = Fields { payload: true, vector: true };
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let page = engine.scroll(&name(collection), after.as_ref(), 1_000, fields, None).unwrap();
        after = page.points.last().map(|point| point.id.clone());
        if page.points.is_empty() {
            return all;
        }
        for point in page.points {
            all.insert(point.id.to_string(), (point.vector.unwrap(), point.payload.unwrap()));
        }
    }
}

#[test]
fn a_snapshot_holds_every_write_up_to_its_sequence_and_none_after() {
    enum Write {
        Put(Vec<Item>),
        Delete(Vec<PointId>),
    }
    let (data, snapshot_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = open(data.path(), snapshot_dir.path());
    plain(&engine, "c", 300);
    let written: Mutex<BTreeMap<u64, Write>> = Mutex::default();
    let stop = AtomicBool::new(false);
    let latest = AtomicU64::new(0);
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (engine, written, stop, latest) = (&engine, &written, &stop, &latest);
            scope.spawn(move || {
                let mut rng = StdRng::seed_from_u64(seed);
                while !stop.load(Ordering::Relaxed) {
                    let count = rng.random_range(1..60);
                    let (sequence, write) = if rng.random_range(0..4) == 0 {
                        let mut ids: Vec<PointId> = (0..count).map(|_| id(rng.random_range(0..1_500))).collect();
                        ids.sort();
                        ids.dedup();
                        (engine.delete_points(&name("c"), &ids).unwrap().sequence, Write::Delete(ids))
                    } else {
                        let mut items: Vec<Item> = Vec::new();
                        for _ in 0..count {
                            let number = rng.random_range(0..1_500);
                            if items.iter().all(|other| other.id != id(number)) {
                                items.push(item(number, &mut rng));
                            }
                        }
                        (engine.upsert(&name("c"), items.clone()).unwrap().sequence, Write::Put(items))
                    };
                    written.lock().unwrap().insert(sequence, write);
                    latest.fetch_max(sequence, Ordering::Relaxed);
                    // Limits the number of points to compare.
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            });
        }
        for round in 0..5 {
            while latest.load(Ordering::Relaxed) < 60 * (round + 1) {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            // The compaction replaces segments that the snapshot reads.
            let merge = scope.spawn(|| engine.compact(&name("c")).unwrap());
            taken.push(engine.create_snapshot(&name("c"), &silent).unwrap());
            merge.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let written = written.into_inner().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = open(elsewhere.path(), snapshot_dir.path());
    for (number, info) in taken.iter().enumerate() {
        let restored = format!("r{number}");
        let collection = other.restore_snapshot(&info.snapshot, &name(&restored), false, &silent).unwrap();
        let mut model = BTreeMap::new();
        for write in written.range(..=info.sequence).map(|(_, write)| write) {
            match write {
                Write::Put(items) => {
                    for Item { id, source, payload, .. } in items {
                        let PointInput::Vector(vector) = source else { unreachable!() };
                        model.insert(id.to_string(), (vector.clone(), payload.clone()));
                    }
                }
                Write::Delete(ids) => ids.iter().for_each(|id| drop(model.remove(id.as_str()))),
            }
        }
        assert_eq!(collection.sequence, info.sequence);
        assert_eq!(info.points, model.len() as u64, "snapshot {number} at {}", info.sequence);
        assert!(points(&other, &restored) == model, "snapshot {number} at sequence {}", info.sequence);
    }
    assert!(taken.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert_eq!(other.snapshots().unwrap().len(), 5);
    // Sequence numbers continue from the snapshot, and the point is present after a restart.
    let next = other.upsert(&name("r4"), vec![item(9_999, &mut StdRng::seed_from_u64(9))]).unwrap();
    assert_eq!(next.sequence, taken[4].sequence + 1);
    let before = points(&other, "r4");
    drop(other);
    assert!(points(&open(elsewhere.path(), snapshot_dir.path()), "r4") == before);
}

/// Creates a collection of one segment with a graph, calibration, deleted rows, and growing points; and a snapshot.
fn with_all_parts(data: &Path, snapshot_dir: &Path) -> (Database, SnapshotName) {
    let engine = open(data, snapshot_dir);
    plain(&engine, "c", 100_000);
    let mut rng = StdRng::seed_from_u64(1);
    engine.upsert(&name("c"), (0..2_500).map(|number| item(number, &mut rng)).collect()).unwrap();
    engine.compact(&name("c")).unwrap();
    engine.delete_points(&name("c"), &[id(3), id(4)]).unwrap();
    engine.upsert(&name("c"), (2_400..2_450).map(|number| item(number + 100, &mut rng)).collect()).unwrap();
    let snapshot = engine.create_snapshot(&name("c"), &silent).unwrap().snapshot;
    (engine, snapshot)
}

/// Returns the name, offset and length of each entry's content.
fn entries(file: &[u8]) -> Vec<(String, usize, usize)> {
    let mut archive = tar::Archive::new(file);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            (path, entry.raw_file_position() as usize, entry.size() as usize)
        })
        .collect()
}

#[test]
fn a_damaged_snapshot_is_refused_and_changes_nothing() {
    let (data, snapshot_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, snapshot) = with_all_parts(data.path(), snapshot_dir.path());
    let path = snapshot_dir.path().join(snapshot.as_str());
    let intact = std::fs::read(&path).unwrap();
    let parts = entries(&intact);
    let ends: Vec<&str> = parts.iter().map(|(name, ..)| name.rsplit('.').next().unwrap()).collect();
    let all = ["FORMAT", "json", "vectors", "dead", "graph", "calibration", "growing", "json", "SHA256SUMS"];
    assert_eq!(ends, all, "{parts:?}");
    engine.verify_snapshot(&snapshot, &silent).unwrap();
    let before = points(&engine, "c");
    let folders = || std::fs::read_dir(data.path().join("collections")).unwrap().count();
    assert_eq!(folders(), 1);

    let refused = |file: &[u8], damage: &str, restore: bool| {
        std::fs::write(&path, file).unwrap();
        let damaged = |error: &Error| matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict);
        let verified = engine.verify_snapshot(&snapshot, &silent);
        assert!(verified.as_ref().is_err_and(damaged), "{damage}: {verified:?}");
        if restore {
            let restored = engine.restore_snapshot(&snapshot, &name("c"), true, &silent);
            assert!(restored.as_ref().is_err_and(damaged), "{damage}: {restored:?}");
            assert_eq!(folders(), 1, "{damage}");
        }
    };
    // Flips one bit of every block: headers, contents, zeros.
    let mut rng = StdRng::seed_from_u64(2);
    for block in 0..intact.len() / BLOCK {
        let mut file = intact.clone();
        file[block * BLOCK + rng.random_range(0..BLOCK)] ^= 1 << rng.random_range(0..8);
        refused(&file, &format!("a bit of block {block}"), block % 97 == 0);
    }
    for (part, from, length) in &parts {
        for at in [*from, from + length / 2, from + length - 1, from - BLOCK] {
            let mut file = intact.clone();
            file[at] ^= 4;
            refused(&file, &format!("byte {at}, of {part}"), true);
        }
        refused(&intact[..*from], &format!("cut before {part}"), true);
        refused(&intact[..from + length / 2], &format!("cut in {part}"), true);
    }
    refused(&intact[..intact.len() - 1], "the last byte is missing", true);
    refused(&[&intact[..], b"x"].concat(), "a byte too many", true);
    refused(b"", "empty", true);
    refused(b"#!/bin/sh\n", "foreign", true);
    refused(&[0; 4_096], "zeros", true);
    assert!(points(&engine, "c") == before);

    // Another version is not damage.
    let mut file = intact.clone();
    file[parts[0].1 + "nearness snapshot ".len()] = b'2';
    std::fs::write(&path, &file).unwrap();
    let error = engine.restore_snapshot(&snapshot, &name("c"), true, &silent).unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("format version 2"), "{error}");

    // Changed content with matching checksums: the self-test and the file checks detect it.
    let forge = |part: usize, change: &dyn Fn(&mut [u8])| {
        let mut file = intact.clone();
        let (forged, from, length) = &parts[part];
        change(&mut file[*from..from + length]);
        let digest = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (old, new) = (digest(&intact[*from..from + length]), digest(&file[*from..from + length]));
        let sums = parts.last().unwrap().1;
        let text = String::from_utf8(file[sums..].to_vec()).unwrap();
        assert!(text.contains(&old), "{forged}");
        file.splice(sums.., text.replace(&old, &new).into_bytes());
        std::fs::write(&path, file).unwrap();
        engine.verify_snapshot(&snapshot, &silent).unwrap();
        let error = engine.restore_snapshot(&snapshot, &name("c"), true, &silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{forged}: {error}");
        assert_eq!(folders(), 1, "{forged}");
        error.to_string()
    };
    let swapped = forge(7, &|json| {
        let at = json.windows(8).position(|window| window == b"\"answer\"").unwrap() + 13;
        json[at] = if json[at] == b'1' { b'2' } else { b'1' };
    });
    assert!(swapped.contains("self-test"), "{swapped}");
    forge(3, &|dead| dead.copy_within(0..4, 4));
    forge(3, &|dead| dead[3] = 0xff);
    forge(2, &|vectors| vectors[vectors.len() / 2] ^= 1);
    forge(4, &|graph| graph[graph.len() / 2] ^= 1);
    assert!(points(&engine, "c") == before);

    // The intact file replaces the collection.
    std::fs::write(&path, &intact).unwrap();
    engine.delete_points(&name("c"), &[id(7)]).unwrap();
    let error = engine.restore_snapshot(&snapshot, &name("c"), false, &silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let cancelled = engine.restore_snapshot(&snapshot, &name("c"), true, &|_, _, _| false).unwrap_err();
    assert_eq!(cancelled.kind(), ErrorKind::Unavailable);
    assert_eq!(engine.count(&name("c"), None).unwrap(), before.len() as u64 - 1);
    let restored = engine.restore_snapshot(&snapshot, &name("c"), true, &silent).unwrap();
    assert!(restored.segments[0].graph && points(&engine, "c") == before);
    let params = SearchParams::new(5).accuracy(Accuracy::TargetRecall(0.9));
    let answer = engine.search(&name("c"), &[Query::Vector(vec![0.5; 8])], &params).unwrap();
    assert!(answer[0].stats.expected_recall.is_some(), "the calibration is restored with the graph");
    assert_eq!(folders(), 1, "the folder of the replaced collection is removed");
    drop(engine);
    assert!(points(&open(data.path(), snapshot_dir.path()), "c") == before);
}

#[test]
fn a_collection_is_restored_with_its_vector_fields() {
    let (data, snapshot_dir, elsewhere) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = open(data.path(), snapshot_dir.path());
    let fields = vec![
        VectorField::dense("gone", 2),
        VectorField::dense("title", 4).metric(Metric::L2).precision(Precision::I8).graph(5, 50, 60),
        VectorField::sparse("words"),
        VectorField::multi("tokens", 2).precision(Precision::F16),
    ];
    let spec = CollectionSpec::vectors(name("c"), DIMENSION).metric(Metric::L2).vector_fields(fields);
    engine.create_collection(&spec).unwrap();
    let mut rng = StdRng::seed_from_u64(4);
    let mut with_vectors = |number: u64| {
        let n = number as f32;
        let sparse = SparseVector { indices: vec![1, number as u32 + 2], values: vec![n, -0.5] };
        let all = [
            ("gone", FieldVector::Dense(vec![1.0, n])),
            ("title", FieldVector::Dense(vec![n, 1.0, -n, 0.5])),
            ("words", FieldVector::Sparse(sparse)),
            ("tokens", FieldVector::Multi(vec![vec![n, 1.0], vec![1.0, 0.25]])),
        ];
        // Each point lacks one of the vectors.
        let present = all.into_iter().enumerate().filter(|(at, _)| number as usize % 4 != *at);
        present.fold(item(number, &mut rng), |item, (_, (field, vector))| item.field_vector(field, vector))
    };
    engine.upsert(&name("c"), (0..2_500).map(&mut with_vectors).collect()).unwrap();
    engine.compact(&name("c")).unwrap();
    // Growing points; a sealed point with an updated payload; stored vectors of a field that is gone.
    engine.upsert(&name("c"), (2_480..2_530).map(&mut with_vectors).collect()).unwrap();
    let update = PayloadUpdate::set([("n".to_owned(), 7.into())].into_iter().collect());
    engine.update_payload(&name("c"), &PointSelection::Ids(vec![id(5)]), &update).unwrap();
    engine.drop_field(&name("c"), "gone").unwrap();
    let read = |engine: &Database, collection: &str| {
        let page = engine.scroll(&name(collection), None, 5_000, Fields::ALL, None).unwrap();
        page.points.into_iter().map(|point| (point.id.clone(), point)).collect::<BTreeMap<_, _>>()
    };
    let find = |engine: &Database, collection: &str| {
        let sparse = SparseVector { indices: vec![1, 700], values: vec![1.0, -3.0] };
        let queries = [
            FieldQuery::vector("title", FieldVector::Dense(vec![99.0, 1.0, -98.0, 0.0])),
            FieldQuery::vector("words", FieldVector::Sparse(sparse)),
            FieldQuery::vector("tokens", FieldVector::Multi(vec![vec![3.0, 1.0], vec![0.0, 1.0]])),
        ];
        let params = SearchParams::new(5).accuracy(Accuracy::Exact);
        let answers = engine.search(&name(collection), &queries.map(Query::Field), &params).unwrap();
        let hits = |answer: nearness::api::Answer| {
            answer.hits.into_iter().map(|hit| (hit.point.id, hit.score)).collect::<Vec<_>>()
        };
        answers.into_iter().map(hits).collect::<Vec<_>>()
    };
    let (points, found) = (read(&engine, "c"), find(&engine, "c"));
    assert_eq!(points.len(), 2_530);
    assert!(points.values().all(|point| (2..=3).contains(&point.vectors.len())), "the field is gone");
    assert_eq!(points[&id(4)].vectors["title"], FieldVector::Dense(vec![4.0, 1.0, -4.0, 0.5]));
    let snapshot = engine.create_snapshot(&name("c"), &silent).unwrap().snapshot;

    let mut other = open(elsewhere.path(), snapshot_dir.path());
    let restored = other.restore_snapshot(&snapshot, &name("r"), false, &silent).unwrap();
    assert_eq!(restored.vector_fields, engine.collection(&name("c")).unwrap().vector_fields);
    // A new field does not get the stored vectors of the one that is gone.
    other.add_field(&name("r"), VectorField::dense("gone", 2).into()).unwrap();
    for _ in 0..2 {
        assert_eq!(read(&other, "r"), points);
        assert_eq!(find(&other, "r"), found);
        drop(other);
        other = open(elsewhere.path(), snapshot_dir.path());
    }
}

#[test]
fn a_text_collection_is_restored_with_its_embedder() {
    let (data, snapshot_dir, elsewhere) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = || SnapshotStore::open(snapshot_dir.path().to_str().unwrap()).unwrap();
    let engine =
        Database::options().embedders(Registry::with_defaults().unwrap()).snapshots(store()).open(data.path()).unwrap();
    let space = VectorSource::Embedded { embedder: "text".into(), output: String::new() };
    let (metric, index) = (Metric::Cosine, IndexSettings::default());
    engine.create_collection(&CollectionSpec::new(name("t"), space).metric(metric).index(index)).unwrap();
    let texts = ["the king and the queen", "a river in the mountains", "music for the piano", "war and peace"];
    let item = |text: &&str| Item {
        id: PointId::new(text.replace(' ', "-")).unwrap(),
        source: PointInput::Text((*text).into()),
        payload: Payload::new(),
        vectors: Default::default(),
    };
    engine.upsert(&name("t"), texts.iter().map(item).collect()).unwrap();
    let search = |engine: &Database, collection: &str| {
        let queries = ["a prince", "the lake", "song"].map(|text| Query::Text(text.into()));
        let params = SearchParams::new(4);
        let answers = engine.search(&name(collection), &queries, &params).unwrap();
        let hits = answers.into_iter().map(|answer| answer.hits.into_iter().map(|hit| (hit.point.id, hit.distance)));
        hits.map(Iterator::collect).collect::<Vec<Vec<_>>>()
    };
    let expected = search(&engine, "t");
    let info = engine.create_snapshot(&name("t"), &silent).unwrap();
    assert!(info.carries_embedder);

    // An engine without embedders.
    let bare = open(elsewhere.path(), snapshot_dir.path());
    bare.restore_snapshot(&info.snapshot, &name("u"), false, &silent).unwrap();
    assert_eq!(search(&bare, "u"), expected);
    drop(bare);
    let bare = open(elsewhere.path(), snapshot_dir.path());
    assert_eq!(search(&bare, "u"), expected, "after a restart");
    let again = bare.create_snapshot(&name("u"), &silent).unwrap();
    assert!(again.carries_embedder && again.embedder == info.embedder);
    // An engine with the embedder stores no second copy.
    engine.restore_snapshot(&again.snapshot, &name("v"), false, &silent).unwrap();
    assert_eq!(search(&engine, "v"), expected);
    let copies = std::fs::read_dir(data.path().join("collections")).unwrap();
    assert!(copies.map(|entry| entry.unwrap().path()).all(|folder| !folder.join("embedder").exists()));
}

#[test]
fn invalid_names_and_engines_without_a_snapshot_store_are_refused() {
    for invalid in ["", "x", "../a.nearness.tar", "a/b.nearness.tar", ".nearness.tar", "a b.nearness.tar"] {
        assert_eq!(SnapshotName::new(invalid).unwrap_err().kind(), ErrorKind::InvalidInput, "{invalid}");
    }
    let data = tempfile::tempdir().unwrap();
    let engine = Database::open(data.path()).unwrap();
    assert_eq!(engine.snapshots().unwrap_err().kind(), ErrorKind::Conflict);
    let snapshot_dir = tempfile::tempdir().unwrap();
    drop(engine);
    let store = SnapshotStore::open(snapshot_dir.path().to_str().unwrap()).unwrap();
    let engine = Database::options().snapshots(store).open(data.path()).unwrap();
    let missing = SnapshotName::new("000-1-0.nearness.tar").unwrap();
    assert_eq!(engine.verify_snapshot(&missing, &silent).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(engine.create_snapshot(&name("none"), &silent).unwrap_err().kind(), ErrorKind::NotFound);
}

/// `.ci/run` starts an S3-compatible server and sets NEARNESS_TEST_S3 to a bucket (with AWS_... variables).
#[test]
#[allow(clippy::print_stderr, reason = "prints that the test is skipped")]
fn snapshots_are_stored_in_s3() {
    if !cfg!(feature = "cloud") {
        eprintln!("NOT TESTED: snapshots in S3; this build has no feature `cloud`");
        return;
    }
    let Ok(bucket) = std::env::var("NEARNESS_TEST_S3") else {
        eprintln!("NOT TESTED: snapshots in S3; NEARNESS_TEST_S3 is not set");
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(&bucket).unwrap();
    let engine = Database::options().snapshots(store).open(data.path()).unwrap();
    plain(&engine, "c", 100_000);
    let mut rng = StdRng::seed_from_u64(5);
    // More than one part of a multipart upload.
    let long = "x".repeat(5_000);
    let big = |number| {
        let mut item = item(number, &mut rng);
        item.payload.insert("long".into(), long.clone().into());
        item
    };
    engine.upsert(&name("c"), (0..5_000).map(big).collect()).unwrap();
    let info = engine.create_snapshot(&name("c"), &silent).unwrap();
    assert!(info.bytes > 20 << 20, "{}", info.bytes);
    assert!(engine.snapshots().unwrap().iter().any(|listed| listed.info.as_ref().is_ok_and(|found| *found == info)));
    engine.verify_snapshot(&info.snapshot, &silent).unwrap();
    engine.restore_snapshot(&info.snapshot, &name("d"), false, &silent).unwrap();
    assert!(points(&engine, "c") == points(&engine, "d"));
    assert!(engine.create_snapshot(&name("c"), &|_, done, _| done < 18 << 20).is_err(), "cancelled during the upload");
    let missing = SnapshotName::new("000-1-0.nearness.tar").unwrap();
    assert_eq!(engine.verify_snapshot(&missing, &silent).unwrap_err().kind(), ErrorKind::NotFound);
}

#[track_caller]
fn run(arguments: &[&str]) -> serde_json::Value {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nearness")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nearness")).args(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn snapshot_commands_work_through_a_server_and_offline() {
    let (data, snapshot_dir, fresh) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let location = snapshot_dir.path().to_str().unwrap();
    let engine = Database::open(data.path()).unwrap();
    plain(&engine, "c", 100_000);
    let mut rng = StdRng::seed_from_u64(3);
    engine.upsert(&name("c"), (0..50).map(|number| item(number, &mut rng)).collect()).unwrap();
    drop(engine);

    let served = server::Server::start(data.path(), &["--snapshots", location]);
    let live = ["--json", "--server", &served.url];
    let call = |words: &[&str]| run(&[&["snapshot"], words, &live].concat());
    let created = call(&["create", "--collection", "c"]);
    let snapshot = created[0]["snapshot"].as_str().unwrap().to_owned();
    assert_eq!((&created[0]["points"], &created[0]["collection"]), (&50.into(), &"c".into()));
    assert_eq!(call(&["list"]), created);
    assert_eq!(call(&["verify", &snapshot]), created);
    let restored = call(&["restore", &snapshot, "--collection", "d"]);
    assert_eq!(restored, serde_json::json!({ "collection": "d", "points": 50, "sequence": 1 }));
    let error = fails(&["snapshot", "restore", &snapshot, "--collection", "d", "--server", &served.url]);
    assert!(error.contains("ALREADY_EXISTS"), "{error}");
    call(&["restore", &snapshot, "--collection", "d", "--replace"]);
    let path = fails(&["snapshot", "verify", "../../etc/passwd", "--server", &served.url]);
    assert!(path.contains("INVALID_ARGUMENT"), "{path}");
    drop(served);

    let without = server::Server::start(data.path(), &[]);
    let error = fails(&["snapshot", "create", "--collection", "c", "--server", &without.url]);
    assert!(error.contains("FAILED_PRECONDITION") && error.contains("--snapshots"), "{error}");
    drop(without);

    let from = ["--from", location, "--json"];
    assert_eq!(run(&[&["snapshot", "list"][..], &from].concat()), created);
    assert_eq!(run(&[&["snapshot", "verify", &snapshot][..], &from].concat()), created);
    let target = fresh.path().join("data");
    let target = target.to_str().unwrap();
    let offline = ["snapshot", "restore", &snapshot, "--collection", "e", "--data", target];
    assert_eq!(run(&[&offline[..], &from].concat())["points"], 50);
    let again = run(&["snapshot", "create", "--collection", "e", "--data", target, "--to", location, "--json"]);
    assert_eq!((&again[0]["sequence"], &again[0]["collection"]), (&1.into(), &"e".into()));
    let path = snapshot_dir.path().join(&snapshot);
    let mut file = std::fs::read(&path).unwrap();
    let middle = file.len() / 2;
    file[middle] ^= 1;
    std::fs::write(&path, file).unwrap();
    let damaged = fails(&["snapshot", "verify", &snapshot, "--from", location]);
    assert!(damaged.contains("is damaged"), "{damaged}");
}
