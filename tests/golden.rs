//! Format compatibility tests: data directories of all released formats must open; files of future formats are refused
//! with their version.
//!
//! `tests/golden/<version>/` is never rewritten. A new format or element type adds a folder, written by
//! `cargo test --test golden -- --ignored make_golden` (files are gzipped, with the names of the directory).

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use nearness::api::{
    Accuracy, AliasAction, Bounds, CollectionSpec, Damage, ErrorKind, FieldQuery, FieldVector, Fields, Filter, Hit,
    IndexSettings, Item, Keywords, PayloadUpdate, PointInput, PointSelection, Query, SearchParams, SparseVector,
    VectorField, VectorSource,
};
use nearness::collection::{OnConflict, check_directory};
use nearness::engine::{Admin, Database, Reads, Snapshots, Writes};
use nearness::snapshot_store::SnapshotStore;
use nearness::text::TextField;
use nearness::types::{CollectionName, Metric, PointId, Precision};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The folders that [`make_golden`] writes, with their collections. All but the first contain a snapshot too. Segments
/// have format 1 or 2 in the first two, and format 3, with identities and content tags, in the others.
const FOLDERS: [(&str, [Kind; 2]); 6] = [
    ("0.1.0", [Kind::Bytes, Kind::Halves]),
    ("0.1.0-floats", [Kind::Floats, Kind::Signed]),
    ("0.1.0-blocks", [Kind::Halves, Kind::Signed]),
    (COUNTS, [Kind::Bytes, Kind::Floats]),
    (UPDATED, [Kind::Bytes, Kind::Signed]),
    (ALIASES, [Kind::Bytes, Kind::Floats]),
];
/// The folder with payload indexes of version 2; the others have version 1.
const COUNTS: &str = "0.1.0-counts";
/// The folder with updated payloads.
const UPDATED: &str = "0.1.0-updates";
/// The folder with aliases: the first collection was renamed from [`FORMER_NAME`], which is an alias of it.
const ALIASES: &str = "0.1.0-aliases";
const FORMER_NAME: &str = "former";
const FIRST: &str = FOLDERS[0].0;
/// The folder with a collection that has vector fields, in a record of version 2.
const VECTORS: &str = "0.1.0-vectors";
/// The directory with all index files of fields.
const INDEXES: &str = "0.1.0-indexes";
/// Points in it.
const INDEXED: u64 = 2_000;
/// Subfolder of snapshots, if any.
const SNAPSHOTS: &str = "snapshots";

/// Element type of a collection's vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Bytes,
    Halves,
    Floats,
    Signed,
}

impl Kind {
    fn name(self) -> CollectionName {
        let name = match self {
            Self::Bytes => "bytes",
            Self::Halves => "halves",
            Self::Floats => "floats",
            Self::Signed => "signed",
        };
        CollectionName::new(name).expect("a name")
    }

    fn settings(self) -> (Metric, Precision) {
        match self {
            Self::Bytes => (Metric::L2, Precision::F32),
            Self::Halves => (Metric::Cosine, Precision::F16),
            Self::Floats => (Metric::Dot, Precision::F32),
            Self::Signed => (Metric::L2, Precision::I8),
        }
    }

    /// Returns the vector of a point: unique, and exactly representable in the element type.
    fn vector(self, number: u64) -> Vec<f32> {
        let component = |axis: u64| match (self, axis) {
            (_, 0..6) => (number * 37 + axis * 101) % 251,
            (Self::Signed, 6) => number % 101,
            (Self::Signed, _) => number / 101,
            (_, 6) => number % 256,
            _ => number / 256,
        };
        let value = |axis: u64| match self {
            Self::Bytes => component(axis) as f32,
            Self::Halves => component(axis) as f32 / 2.0 + f32::from(u8::from(axis == 0)) / 4.0,
            Self::Floats => component(axis) as f32 / 3.0 + 0.1,
            Self::Signed => (component(axis) as f32 - 125.0) / 8.0,
        };
        (0..8).map(value).collect()
    }
}

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

fn id(number: u64) -> PointId {
    PointId::new(format!("p{number}")).expect("an id")
}

fn item(number: u64, version: u64, kind: Kind) -> Item {
    let category = ["a", "b", "c"][number as usize % 3];
    let payload = serde_json::json!({ "number": number, "version": version, "kind": category });
    let payload = payload.as_object().expect("an object").clone();
    Item {
        id: id(number),
        source: PointInput::Vector(kind.vector(number + 1_000 * version)),
        payload,
        vectors: Default::default(),
    }
}

/// Returns the version of a point, if it exists: 2,200 were loaded, some replaced, some deleted, 50 are growing.
fn version(number: u64) -> Option<u64> {
    match number {
        _ if number % 50 == 7 => None,
        0..40 | 2_300..2_340 => Some(2),
        40..2_200 => Some(1),
        _ => None,
    }
}

/// Returns a point of a golden directory, if it exists.
fn expected(folder: &str, number: u64, kind: Kind) -> Option<Item> {
    let item = item(number, version(number)?, kind);
    Some(if folder == UPDATED && is_updated(number) { item.field("updated", number) } else { item })
}

/// Whether the payload of a point was updated, in the directory with updates.
fn is_updated(number: u64) -> bool {
    number % 20 == 3
}

fn open(dir: &Path) -> Database {
    Database::open(dir).expect("it opens")
}

#[test]
#[ignore = "writes the golden directories of the present format"]
#[allow(clippy::print_stdout, reason = "prints skipped folders")]
fn make_golden() {
    for (folder, kinds) in FOLDERS {
        let target = golden(folder);
        if target.exists() {
            println!("{} exists, and is not overwritten", target.display());
            continue;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let snapshots = dir.path().join(SNAPSHOTS);
        let store = SnapshotStore::open(snapshots.to_str().expect("UTF-8")).expect("a snapshot store");
        let engine = Database::options().snapshots(store).open(dir.path()).expect("it opens");
        for kind in kinds {
            let (collection, (metric, precision)) = (kind.name(), kind.settings());
            let index =
                IndexSettings::default().m(4).ef_construction(32).ef_search(64).seal_rows(3_000).precision(precision);
            let space = VectorSource::Plain { dimension: 8 };
            engine
                .create_collection(&CollectionSpec::new(collection.clone(), space).metric(metric).index(index))
                .expect("created");
            for part in [0..2_100, 2_100..2_200] {
                let mut items = part.map(|number| item(number, 1, kind));
                engine
                    .bulk_load(&collection, &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| {
                        true
                    })
                    .expect("loaded");
            }
            engine.build_indexes(&collection, &|_, _, _| true).expect("indexed and calibrated");
            let items = (0..40).chain(2_300..2_340).map(|number| item(number, 2, kind)).collect();
            engine.upsert(&collection, items).expect("written");
            let deleted: Vec<PointId> = (0..2_400).filter(|number| number % 50 == 7).map(id).collect();
            engine.delete_points(&collection, &deleted).expect("deleted");
            for number in (0..2_400).filter(|number| folder == UPDATED && is_updated(*number)) {
                let update = PayloadUpdate::set([("updated".to_owned(), number.into())].into_iter().collect());
                engine.update_payload(&collection, &PointSelection::Ids(vec![id(number)]), &update).expect("updated");
            }
        }
        engine.create_snapshot(&kinds[0].name(), &|_, _, _| true).expect("a snapshot");
        if folder == ALIASES {
            let (name, former) = (kinds[0].name(), CollectionName::new(FORMER_NAME).expect("a name"));
            let rename = |collection: &CollectionName, new_name: &CollectionName| AliasAction::RenameCollection {
                collection: collection.clone(),
                new_name: new_name.clone(),
            };
            let alias = AliasAction::Create { alias: former.clone(), collection: name.clone() };
            engine.update_aliases(&[rename(&name, &former), rename(&former, &name), alias]).expect("renamed");
        }
        drop(engine);
        pack(dir.path(), dir.path(), &target);
    }
}

/// Points with vectors in fields: those up to this number are sealed, the others growing.
const SEALED: u64 = 200;

/// Returns a point of the directory with vector fields. `gone` is a field that was dropped.
fn with_vectors(number: u64) -> Item {
    let n = number as f32;
    let sparse = SparseVector { indices: vec![number as u32, 1 << 30], values: vec![n + 0.1, -1.5] };
    let all = [
        ("gone", FieldVector::Dense(vec![n, 1.0])),
        ("bytes", FieldVector::Dense(vec![n, 255.0 - n, 1.0])),
        ("floats", FieldVector::Dense(vec![n / 3.0 + 0.1, 1.0])),
        ("sparse", FieldVector::Sparse(sparse)),
        ("multi", FieldVector::Multi(vec![vec![n - 100.25, 1.0], vec![0.5, n / 8.0 + 1.0]])),
    ];
    // Each point lacks a vector.
    let present = all.into_iter().enumerate().filter(|(at, _)| number as usize % 5 != *at);
    present.fold(item(number, 1, Kind::Bytes), |item, (_, (field, vector))| item.field_vector(field, vector))
}

fn vector_fields() -> Vec<VectorField> {
    vec![
        VectorField::dense("gone", 2),
        VectorField::dense("bytes", 3).metric(Metric::L2).graph(8, 100, 0),
        VectorField::dense("floats", 2),
        VectorField::sparse("sparse"),
        VectorField::multi("multi", 2).precision(Precision::F16),
    ]
}

#[test]
#[ignore = "writes the golden directory with vector fields"]
#[allow(clippy::print_stdout, reason = "prints a skipped folder")]
fn make_golden_of_vector_fields() {
    if golden(VECTORS).exists() {
        println!("{} exists, and is not overwritten", golden(VECTORS).display());
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    let collection = Kind::Bytes.name();
    let spec = CollectionSpec::vectors(collection.clone(), 8).metric(Metric::L2).vector_fields(vector_fields());
    engine.create_collection(&spec).expect("created");
    let mut sealed = (0..SEALED).map(with_vectors);
    engine
        .bulk_load(&collection, &mut sealed, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    engine.upsert(&collection, (SEALED..SEALED + 20).map(with_vectors).collect()).expect("written");
    let update = PayloadUpdate::set([("updated".to_owned(), true.into())].into_iter().collect());
    engine.update_payload(&collection, &PointSelection::Ids(vec![id(4)]), &update).expect("updated");
    engine.drop_field(&collection, "gone").expect("dropped");
    drop(engine);
    pack(dir.path(), dir.path(), &golden(VECTORS));
}

#[test]
fn vectors_in_fields_are_read_and_searched() {
    let dir = tempfile::tempdir().expect("a folder");
    unpack(&golden(VECTORS), dir.path());
    let report = check_directory(dir.path()).expect("checked");
    assert!(report.findings.is_empty(), "{report:?}");
    let mut engine = open(dir.path());
    let collection = Kind::Bytes.name();
    // As they are, and after a merge.
    for merged in [false, true] {
        let info = engine.collection(&collection).expect("there");
        let mut fields = vector_fields();
        fields.iter_mut().zip(1..).for_each(|(field, number)| field.number = number);
        assert_eq!(info.vector_fields, fields[1..]);
        assert_eq!((info.growing_points > 0, info.points), (!merged, SEALED + 20), "{info:?}");
        let ids: Vec<PointId> = (0..SEALED + 20).map(id).collect();
        let points = engine.get(&collection, &ids, Fields::ALL).expect("points");
        for (number, point) in (0..).zip(points) {
            let mut expected = with_vectors(number);
            expected.vectors.remove("gone");
            let expected = if number == 4 { expected.field("updated", true) } else { expected };
            let point = point.expect("there");
            assert_eq!((&point.vectors, point.payload), (&expected.vectors, Some(expected.payload)), "{}", point.id);
        }
        let best = |field: &str, vector: FieldVector| {
            let query = Query::Field(FieldQuery::vector(field, vector));
            let answer = engine.search(&collection, &[query], &SearchParams::new(1)).expect("an answer").remove(0);
            answer.hits[0].point.id.to_string()
        };
        let sparse = |index: u32| FieldVector::Sparse(SparseVector { indices: vec![index], values: vec![1.0] });
        assert_eq!(best("bytes", FieldVector::Dense(vec![50.2, 205.0, 1.0])), "p50");
        assert_eq!(best("bytes", FieldVector::Dense(vec![210.2, 45.0, 1.0])), "p210");
        assert_eq!(best("floats", FieldVector::Dense(vec![0.1, 1.0])), "p0");
        assert_eq!((best("sparse", sparse(77)), best("sparse", sparse(206))), ("p77".into(), "p206".into()));
        assert_eq!(best("multi", FieldVector::Multi(vec![vec![-1.0, 0.01], vec![0.5, 1.0]])), "p0");
        engine.compact(&collection).expect("merged");
        drop(engine);
        engine = open(dir.path());
    }
}

/// Returns a point of the directory with all index files.
fn indexed(number: u64) -> Item {
    let at = |axis: u64| ((number * 31 + axis * 17) % 101) as f32 + 0.5;
    let sparse =
        SparseVector { indices: vec![(number % 90) as u32, 100 + (number % 7) as u32], values: vec![at(1), at(2)] };
    Item::vector(id(number), vec![at(3), at(4)])
        .field("text", format!("word{} common", number % 40))
        .field_vector("dense", FieldVector::Dense((5..9).map(at).collect()))
        .field_vector("sparse", FieldVector::Sparse(sparse))
}

fn index_files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = std::fs::read_dir(dir.join("collections/0000000000000000")).expect("a folder");
    let paths = folder.map(|entry| entry.expect("an entry").path());
    let indexes = paths.filter(|path| path.extension().is_some_and(|kind| kind != "redb" && kind != "vectors"));
    indexes.map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}

#[test]
#[ignore = "writes the golden directory with index files"]
#[allow(clippy::print_stdout, reason = "prints a skipped folder")]
fn make_golden_of_index_files() {
    if golden(INDEXES).exists() {
        println!("{} exists, and is not overwritten", golden(INDEXES).display());
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    let collection = Kind::Bytes.name();
    let index = IndexSettings::default().m(4).ef_construction(32);
    let spec = CollectionSpec::vectors(collection.clone(), 2)
        .index(index)
        .text_fields([TextField::new("text", ["text"])])
        .vector_fields([VectorField::dense("dense", 4), VectorField::sparse("sparse")]);
    engine.create_collection(&spec).expect("created");
    let mut items = (0..INDEXED).map(indexed);
    engine
        .bulk_load(&collection, &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    engine.build_indexes(&collection, &|_, _, _| true).expect("indexed");
    drop(engine);
    pack(dir.path(), dir.path(), &golden(INDEXES));
}

#[test]
fn released_index_files_are_used_and_outdated_ones_are_rebuilt() {
    let dir = tempfile::tempdir().expect("a folder");
    unpack(&golden(INDEXES), dir.path());
    let collection = Kind::Bytes.name();
    let search = || {
        let engine = open(dir.path());
        let Item { vectors, .. } = indexed(77);
        let field = |name: &str| Query::Field(FieldQuery::vector(name, vectors[name].clone()));
        let queries = [field("dense"), field("sparse"), Query::Keywords(Keywords::new("word37 common"))];
        let params = SearchParams::new(30).filter(Filter::exists("text"));
        let answers = engine.search(&collection, &queries, &params).expect("answers");
        answers.into_iter().map(|answer| answer.hits).collect::<Vec<_>>()
    };
    let before = index_files(dir.path());
    let of_kind = |kind: &str| before.keys().filter(|path| path.to_string_lossy().ends_with(kind)).count();
    let kinds = [".graph", ".payloads", ".terms", ".column", ".column_graph", ".column_recall", ".sparse"];
    assert_eq!(kinds.map(of_kind), [1, 1, 1, 1, 1, 2, 1]);
    assert!(check_directory(dir.path()).expect("checked").findings.is_empty());
    let hits = search();
    assert!(hits.iter().all(|hits| hits.len() == 30), "{hits:?}");
    assert_eq!(index_files(dir.path()), before, "no file is written again");
    // An earlier version of the index of sparse vectors.
    patch(dir.path(), "sparse", 8, &1_u32.to_le_bytes());
    assert!(check_directory(dir.path()).expect("checked").findings.is_empty());
    assert_eq!(search(), hits);
    assert_eq!(index_files(dir.path()), before, "the same index is built again");
}

fn pack(root: &Path, dir: &Path, target: &Path) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            pack(root, &path, target);
        } else if path.file_name().is_some_and(|name| name != "LOCK") {
            let to = target.join(path.strip_prefix(root).expect("below the root"));
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            let file = std::fs::File::create(format!("{}.gz", to.display())).expect("a file");
            let mut packed = GzEncoder::new(file, Compression::best());
            packed.write_all(&std::fs::read(&path).expect("a file")).expect("written");
            packed.finish().expect("written");
        }
    }
}

fn unpack(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a golden directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_str().expect("UTF-8");
        if path.is_dir() {
            unpack(&path, &to.join(name));
        } else if let Some(name) = name.strip_suffix(".gz") {
            let mut bytes = Vec::new();
            GzDecoder::new(std::fs::File::open(&path).expect("a file")).read_to_end(&mut bytes).expect("gzip");
            std::fs::write(to.join(name), bytes).expect("written");
        }
    }
}

/// Compares all points and some search results of a collection with the written data.
fn assert_holds(engine: &Database, folder: &str, collection: &CollectionName, kind: Kind) {
    let info = engine.collection(collection).expect("there");
    assert!(info.segments.len() == 2 && info.segments[0].graph && info.growing_points > 50, "{info:?}");
    assert!(info.deleted_rows > 50 && info.problems.is_empty(), "{info:?}");
    assert_eq!((info.metric, info.index.precision), kind.settings());
    let numbers: Vec<u64> = (0..2_400).collect();
    let ids: Vec<PointId> = numbers.iter().copied().map(id).collect();
    let points = engine.get(collection, &ids, Fields { payload: true, vector: true }).expect("points");
    for (number, point) in numbers.into_iter().zip(points) {
        let expected = expected(folder, number, kind);
        let payload = point.as_ref().map(|point| &point.payload);
        assert_eq!(payload, expected.as_ref().map(|item| Some(item.payload.clone())).as_ref());
        let found = point.and_then(|point| point.vector).map(PointInput::Vector);
        assert_eq!(found, expected.map(|item| item.source), "point {number} of {collection}");
    }
    let params = SearchParams::new(10).accuracy(Accuracy::Ef(200)).filter(Filter::equals("kind", "b"));
    let search = |params: &SearchParams| {
        engine.search(collection, &[Query::Vector(kind.vector(1_042))], params).expect("an answer").remove(0)
    };
    let mut unfiltered = params.clone();
    unfiltered.filter = None;
    let (answer, exact) = (search(&unfiltered), search(&unfiltered.exact()));
    assert!(answer.stats.segments_by_graph >= 1 && answer.hits[0] == exact.hits[0], "{answer:?}");
    // With the inner product, other points may be nearer than the point itself.
    assert!(info.metric == Metric::Dot || answer.hits[0].point.id == id(42), "{answer:?}");
    let updated = engine.count(collection, Some(&Filter::exists("updated"))).expect("counted");
    let expected = (0..2_400).filter(|number| is_updated(*number) && version(*number).is_some()).count() as u64;
    assert_eq!(updated, if folder == UPDATED { expected } else { 0 });
    let answer = search(&params);
    let matches = |hit: &Hit| hit.point.id.as_str()[1..].parse::<u64>().is_ok_and(|n| n % 3 == 1);
    assert!(answer.hits.len() == 10 && answer.hits.iter().all(matches), "{answer:?}");
}

#[test]
fn every_released_format_opens_and_answers() {
    for (folder, kinds) in FOLDERS {
        let dir = tempfile::tempdir().expect("a folder");
        unpack(&golden(folder), dir.path());
        let report = check_directory(dir.path()).expect("checked");
        assert!(report.findings.iter().all(|finding| finding.damage != Damage::Data), "{report:?}");
        let engine = open(dir.path());
        kinds.into_iter().for_each(|kind| assert_holds(&engine, folder, &kind.name(), kind));
        let former = CollectionName::new(FORMER_NAME).expect("a name");
        match folder == ALIASES {
            true => assert_holds(&engine, folder, &former, kinds[0]),
            false => assert!(engine.collection(&former).is_err()),
        }
    }
}

#[test]
fn payload_indexes_of_an_earlier_version_are_rebuilt_and_are_no_damage() {
    for (folder, kinds) in FOLDERS {
        let dir = tempfile::tempdir().expect("a folder");
        unpack(&golden(folder), dir.path());
        let versions = || -> Vec<u8> {
            let collections = std::fs::read_dir(dir.path().join("collections")).expect("a folder");
            let files =
                collections.flat_map(|folder| std::fs::read_dir(folder.expect("a folder").path()).expect("files"));
            let mut paths = files.map(|file| file.expect("a file").path()).collect::<Vec<_>>();
            paths.retain(|path| path.extension().is_some_and(|kind| kind == "payloads"));
            paths.iter().map(|path| std::fs::read(path).expect("an index")[8]).collect()
        };
        let written = if folder == COUNTS { 2 } else { 1 };
        assert_eq!(versions(), [written; 4], "{folder}");
        let findings = check_directory(dir.path()).expect("checked").findings;
        assert!(findings.iter().all(|finding| !finding.file.ends_with(".payloads")), "{findings:?}");
        let engine = open(dir.path());
        for kind in kinds {
            let once =
                Filter::ValuesCount { field: "kind".into(), count: Bounds { gte: Some(1), ..Default::default() } };
            let counted = engine.count(&kind.name(), Some(&once)).expect("a count");
            assert_eq!(counted, engine.count(&kind.name(), None).expect("a count"));
        }
        assert_eq!(versions(), [2; 4], "{folder}");
    }
}

#[test]
fn a_released_directory_gets_identities_once() {
    let dir = tempfile::tempdir().expect("a folder");
    unpack(&golden(FIRST), dir.path());
    let contents = || {
        let folder = dir.path().join("collections");
        let folders = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut files: Vec<PathBuf> = folders.map(|folder| folder.join("points.redb")).collect();
        files.push(dir.path().join("catalogue.redb"));
        files.into_iter().map(|path| (std::fs::read(&path).expect("a file"), path)).collect::<Vec<_>>()
    };
    // A collection is opened by its first use.
    let open_all = || {
        let engine = open(dir.path());
        for collection in engine.collections().expect("a list") {
            engine.count(&collection.name, None).expect("a count");
        }
    };
    let before = contents();
    open_all();
    let after = contents();
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "identities and content tags");
    open_all();
    // The catalog also holds the states in which collections were closed.
    for ((again, path), (after, _)) in
        contents().iter().zip(&after).filter(|((_, path), _)| path.ends_with("points.redb"))
    {
        assert!(again == after, "{} changes the second time", path.display());
    }
    // Now files of different collections can be distinguished.
    let [first, second] = [&after[0].1, &after[1].1];
    let segment = |db: &PathBuf| {
        let folder = std::fs::read_dir(db.parent().expect("a folder")).expect("a folder");
        let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
        files.retain(|path| path.extension().is_some_and(|kind| kind == "vectors"));
        files.into_iter().min().expect("a segment")
    };
    let (theirs, ours) = (segment(first), segment(second));
    assert_eq!(theirs.file_name(), ours.file_name(), "segments of the same number");
    let backup = std::fs::read(&ours).expect("a file");
    std::fs::copy(&theirs, &ours).expect("copied");
    let found = check_directory(dir.path()).expect("checked").findings;
    assert!(found.iter().any(|finding| finding.what.contains("content tag")), "{found:?}");
    std::fs::write(&ours, backup).expect("written");
    std::fs::copy(first, second).expect("copied");
    let found = check_directory(dir.path()).expect("checked").findings;
    assert!(found.iter().any(|finding| finding.what.contains("identity")), "{found:?}");
}

#[test]
fn every_released_format_of_snapshots_is_restored() {
    for (folder, kinds) in &FOLDERS[1..] {
        let dir = tempfile::tempdir().expect("a folder");
        unpack(&golden(folder), dir.path());
        let snapshots = dir.path().join(SNAPSHOTS);
        let store = SnapshotStore::open(snapshots.to_str().expect("UTF-8")).expect("a snapshot store");
        let engine = Database::options().snapshots(store).open(dir.path()).expect("it opens");
        let listed = engine.snapshots().expect("listed");
        let [snapshot] = listed.as_slice() else { panic!("{listed:?}") };
        assert!(snapshot.info.is_ok(), "{snapshot:?}");
        engine.verify_snapshot(&snapshot.snapshot, &|_, _, _| true).expect("intact");
        let target = CollectionName::new("restored").expect("a name");
        engine.restore_snapshot(&snapshot.snapshot, &target, false, &|_, _, _| true).expect("restored");
        assert_holds(&engine, folder, &target, kinds[0]);
    }
}

/// Overwrites bytes of the only file with this extension in the collection's folder.
fn patch(dir: &Path, extension: &str, at: usize, bytes: &[u8]) {
    let folder = dir.join("collections/0000000000000000");
    let mut files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let path = files.find(|path| path.extension().is_some_and(|other| other == extension)).expect("a file");
    let mut content = std::fs::read(&path).expect("a file");
    content[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(path, content).expect("written");
}

#[test]
fn a_newer_or_foreign_file_is_refused_and_named() {
    let error_after = |patch_file: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().expect("a folder");
        unpack(&golden(FIRST), dir.path());
        patch_file(dir.path());
        let engine = open(dir.path());
        let error = engine.count(&Kind::Bytes.name(), None).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(engine.count(&Kind::Halves.name(), None).is_ok(), "the other collection is served");
        error.to_string()
    };
    let newer = error_after(&|dir| patch(dir, "vectors", 8, &9_u32.to_le_bytes()));
    assert!(newer.contains("version 9") && newer.contains(".vectors"), "{newer}");
    let foreign = error_after(&|dir| patch(dir, "vectors", 0, b"SOMETHING"));
    assert!(foreign.contains(".vectors"), "{foreign}");
    let foreign = error_after(&|dir| patch(dir, "redb", 0, b"SQLite format 3\0"));
    assert!(foreign.contains("points.redb"), "{foreign}");
}
