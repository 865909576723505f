//! Data directories that released formats left behind must open, whatever comes; files of formats to come are refused with their version.
//!
//! `tests/golden/<version>/` is never written again: a new format adds a folder, made by
//! `cargo test --test golden -- --ignored make_golden` (files are gzipped, names as in the directory).

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use nearness::collection::{
    Accuracy, CollectionSpec, Damage, Engine, ErrorKind, Fields, Filter, IndexSettings, Item, LocalEngine, Query,
    SearchParams, Source, Space, check_directory,
};
use nearness::embed::Registry;
use nearness::types::{CollectionName, Metric, PointId, Precision};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The folder that [`make_golden`] writes.
const NEWEST: &str = "0.1.0";

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

fn id(number: u64) -> PointId {
    PointId::new(format!("p{number}")).expect("an id")
}

/// The components of a point, no two the same: bytes hold those of the first collection, halves those of the second.
fn vector(number: u64, halves: bool) -> Vec<f32> {
    let divisor = if halves { 2.0 } else { 1.0 };
    let component = |place: u64| match place {
        0..6 => (number * 37 + place * 101) % 251,
        6 => number % 256,
        _ => number / 256,
    };
    (0..8).map(|place| component(place) as f32 / divisor + f32::from(u8::from(halves && place == 0)) / 4.0).collect()
}

fn item(number: u64, version: u64, halves: bool) -> Item {
    let kind = ["a", "b", "c"][number as usize % 3];
    let payload = serde_json::json!({ "number": number, "version": version, "kind": kind });
    let payload = payload.as_object().expect("an object").clone();
    Item { id: id(number), source: Source::Vector(vector(number + 1_000 * version, halves)), payload }
}

/// Which version of a point there is, if any: 2,200 were loaded, some replaced, some deleted, 50 grow.
fn version(number: u64) -> Option<u64> {
    match number {
        _ if number % 50 == 7 => None,
        0..40 | 2_300..2_340 => Some(2),
        40..2_200 => Some(1),
        _ => None,
    }
}

fn name(name: &str) -> CollectionName {
    CollectionName::new(name).expect("a name")
}

fn collections() -> [(&'static str, Metric, Precision, bool); 2] {
    [("bytes", Metric::L2, Precision::F32, false), ("halves", Metric::Cosine, Precision::F16, true)]
}

fn open(dir: &Path) -> LocalEngine {
    LocalEngine::open(dir, Registry::default()).expect("it opens")
}

#[test]
#[ignore = "writes the golden directory of the present format, once"]
#[allow(clippy::print_stdout, reason = "a skipped test must be seen")]
fn make_golden() {
    let target = golden(NEWEST);
    if target.exists() {
        println!("{} is there, and never written again", target.display());
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    for (collection, metric, precision, halves) in collections() {
        let collection = name(collection);
        let index = IndexSettings { m: 4, ef_construction: 32, ef_search: 64, seal_rows: 3_000, precision };
        let space = Space::Plain { dimension: 8 };
        engine.create_collection(&CollectionSpec { name: collection.clone(), space, metric, index }).expect("made");
        for part in [0..2_100, 2_100..2_200] {
            let mut items = part.map(|number| item(number, 1, halves));
            engine.bulk_load(&collection, &mut items, &mut |_, error| Err(error), &|_, _, _| true).expect("loaded");
        }
        engine.build_indexes(&collection, &|_, _, _| true).expect("indexed and measured");
        let items = (0..40).chain(2_300..2_340).map(|number| item(number, 2, halves)).collect();
        engine.upsert(&collection, items).expect("written");
        let dead: Vec<PointId> = (0..2_400).filter(|number| number % 50 == 7).map(id).collect();
        engine.delete_points(&collection, &dead).expect("deleted");
    }
    drop(engine);
    pack(dir.path(), dir.path(), &target);
}

fn pack(root: &Path, dir: &Path, target: &Path) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            pack(root, &path, target);
        } else if path.file_name().is_some_and(|name| name != "LOCK") {
            let to = target.join(path.strip_prefix(root).expect("below it"));
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

fn versions() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(golden("")).expect("tests/golden").map(|entry| entry.expect("an entry").path());
    folders.filter(|path| path.is_dir()).collect()
}

#[test]
fn every_released_format_opens_and_answers() {
    assert!(versions().contains(&golden(NEWEST)));
    for folder in versions() {
        let dir = tempfile::tempdir().expect("a folder");
        unpack(&folder, dir.path());
        let report = check_directory(dir.path()).expect("checked");
        assert!(report.findings.iter().all(|finding| finding.damage != Damage::Data), "{report:?}");
        let engine = open(dir.path());
        for (collection, metric, precision, halves) in collections() {
            let collection = name(collection);
            let info = engine.collection(&collection).expect("there");
            assert!(info.segments.len() == 2 && info.segments[0].graph && info.growing_points > 50, "{info:?}");
            assert!(info.deleted_rows > 50 && info.problems.is_empty(), "{info:?}");
            assert_eq!((info.metric, info.index.precision), (metric, precision));
            let numbers: Vec<u64> = (0..2_400).collect();
            let ids: Vec<PointId> = numbers.iter().copied().map(id).collect();
            let points = engine.get(&collection, &ids, Fields { payload: true, vector: true }).expect("points");
            for (number, point) in numbers.into_iter().zip(points) {
                let expected = version(number).map(|version| item(number, version, halves));
                assert_eq!(
                    point.as_ref().map(|point| &point.payload),
                    expected.as_ref().map(|item| Some(item.payload.clone())).as_ref()
                );
                let found = point.and_then(|point| point.vector).map(Source::Vector);
                assert_eq!(found, expected.map(|item| item.source), "point {number} of {collection}");
            }
            let params = SearchParams {
                k: 10,
                accuracy: Accuracy::Ef(200),
                score_threshold: None,
                fields: Fields::default(),
                filter: Some(Filter::equals("kind", "b").into()),
                group_by: None,
            };
            let unfiltered = SearchParams { filter: None, ..params.clone() };
            let query = [Query::Vector(vector(1_042, halves))];
            let answer = engine.search(&collection, &query, &unfiltered).expect("an answer").remove(0);
            assert!(answer.stats.segments_by_graph >= 1 && answer.hits[0].point.id == id(42), "{answer:?}");
            let answer = engine.search(&collection, &query, &params).expect("an answer").remove(0);
            assert!(
                answer.hits.len() == 10
                    && answer
                        .hits
                        .iter()
                        .all(|hit| hit.point.id.as_str()[1..].parse::<u64>().is_ok_and(|n| n % 3 == 1))
            );
        }
    }
}

/// Overwrites bytes of the only file of that kind below a folder.
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
    let of = |patched: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().expect("a folder");
        unpack(&golden(NEWEST), dir.path());
        patched(dir.path());
        let engine = open(dir.path());
        let error = engine.count(&name("bytes"), None).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(engine.count(&name("halves"), None).is_ok(), "the other collection is served");
        error.to_string()
    };
    let newer = of(&|dir| patch(dir, "vectors", 8, &9_u32.to_le_bytes()));
    assert!(newer.contains("version 9") && newer.contains(".vectors"), "{newer}");
    let foreign = of(&|dir| patch(dir, "vectors", 0, b"SOMETHING"));
    assert!(foreign.contains(".vectors"), "{foreign}");
    let foreign = of(&|dir| patch(dir, "redb", 0, b"SQLite format 3\0"));
    assert!(foreign.contains("points.redb"), "{foreign}");
}
