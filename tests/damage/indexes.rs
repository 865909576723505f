//! Damage to index files is found by checks and by the scrubber, changes no answer, and is mended by a new build.

use crate::support::*;
use nearness::api::{
    CollectionSpec, Damage, FieldQuery, FieldVector, Filter, Hit, IndexSettings, Item, Keywords, Query, SearchParams,
    SparseVector, VectorField, VectorSource,
};
use nearness::collection::{OnConflict, check_directory};
use nearness::engine::{Admin, Database, Reads, repair_directory};
use nearness::text::TextField;
use nearness::types::Precision;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

const POINTS: u64 = 2_100;
/// Extensions of the index files of a segment.
const INDEXES: [&str; 6] = ["payloads", "terms", "column", "column_graph", "column_recall", "sparse"];

fn indexed_item(number: u64) -> Item {
    let at = |axis: u64| ((number * 31 + axis * 17) % 101) as f32 + 0.5;
    let sparse = SparseVector { indices: vec![(number % 50) as u32, 60], values: vec![at(1), at(2)] };
    Item::vector(id(number), (0..4).map(at).collect::<Vec<f32>>())
        .field("number", number)
        .field("text", format!("word{} common", number % 40))
        .field_vector("dense", FieldVector::Dense((4..8).map(at).collect()))
        .field_vector("sparse", FieldVector::Sparse(sparse))
}

fn create(dir: &Path) {
    let engine = open(dir);
    let index =
        IndexSettings::default().m(4).ef_construction(32).ef_search(32).seal_rows(5_000).precision(Precision::F32);
    let spec = CollectionSpec::new(name("c"), VectorSource::Plain { dimension: 4 })
        .index(index)
        .text_fields([TextField::new("text", ["text".to_owned()])])
        .vector_fields([VectorField::dense("dense", 4), VectorField::sparse("sparse")]);
    engine.create_collection(&spec).expect("created");
    let mut items = (0..POINTS).map(indexed_item);
    engine
        .bulk_load(&name("c"), &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    engine.build_indexes(&name("c"), &|_, _, _| true).expect("indexed");
}

/// Returns the hits of queries that use every index file.
fn answers(engine: &Database) -> Vec<Vec<Hit>> {
    let field = |name: &str, vector| Query::Field(FieldQuery::vector(name, vector));
    let sparse = SparseVector { indices: vec![7, 60], values: vec![1.0, 0.5] };
    let queries = [
        Query::Keywords(Keywords::new("word7 common")),
        field("dense", FieldVector::Dense(vec![3.0, 9.0, 27.0, 81.0])),
        field("sparse", FieldVector::Sparse(sparse)),
    ];
    let third = Filter::equals("number", 33);
    let filtered = SearchParams::new(3).filter(third);
    let mut all = engine.search(&name("c"), &queries, &SearchParams::new(20)).expect("answers");
    all.extend(engine.search(&name("c"), &[Query::Vector(vec![1.0; 4])], &filtered).expect("an answer"));
    all.into_iter().map(|answer| answer.hits).collect()
}

/// Flips a bit in the middle of a file, in place: the process that has it mapped sees the damage.
fn flip_in_place(path: &Path) {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let middle = file.metadata().expect("a file").len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).expect("in the file");
    file.read_exact(&mut byte).expect("read");
    file.seek(SeekFrom::Start(middle)).expect("in the file");
    file.write_all(&[byte[0] ^ 8]).expect("written");
}

#[test]
fn checks_find_damaged_indexes_and_the_next_build_mends_them() {
    let dir = tempfile::tempdir().expect("a folder");
    create(dir.path());
    let engine = open(dir.path());
    let before = answers(&engine);
    assert!(before.iter().all(|hits| !hits.is_empty()));
    engine.build_indexes(&name("c"), &|_, _, _| true).expect("indexed");
    assert!(engine.check(&name("c")).expect("checked").findings.is_empty());
    for extension in INDEXES {
        let path = file(dir.path(), 0, extension);
        flip_in_place(&path);
        let report = engine.check(&name("c")).expect("checked");
        let [finding] = report.findings.as_slice() else { panic!("{extension}: {report:?}") };
        assert!(finding.damage == Damage::Cache && finding.file.ends_with(extension), "{finding:?}");
        assert_eq!(answers(&engine), before, "{extension}");
        engine.build_indexes(&name("c"), &|_, _, _| true).expect("indexed");
        assert!(path.exists(), "{extension}");
        assert!(engine.check(&name("c")).expect("checked").findings.is_empty(), "{extension}");
        assert_eq!(answers(&engine), before, "{extension}");
    }
    drop(engine);
    for extension in INDEXES {
        let path = file(dir.path(), 0, extension);
        flip_in_place(&path);
        let report = check_directory(dir.path()).expect("checked");
        let [finding] = report.findings.as_slice() else { panic!("{extension}: {report:?}") };
        assert!(finding.damage == Damage::Cache && finding.file.ends_with(extension), "{finding:?}");
        assert_eq!(answers(&open(dir.path())), before, "{extension}");
        repair_directory(dir.path(), &|_, _, _| true).1.expect("repaired");
        assert_eq!(answers(&open(dir.path())), before, "{extension}");
        assert!(check_directory(dir.path()).expect("checked").findings.is_empty(), "{extension}");
    }
}

#[test]
fn the_scrubber_finds_damaged_indexes() {
    let dir = tempfile::tempdir().expect("a folder");
    create(dir.path());
    // The others are verified when they are opened.
    let column = file(dir.path(), 0, "column");
    flip_in_place(&column);
    let damaged = std::fs::read(&column).expect("a file");
    let engine = Database::options().scrub_rate(1 << 30).open(dir.path()).expect("it opens");
    for _ in 0..3_000 {
        let rebuilt = std::fs::read(&column).is_ok_and(|bytes| bytes != damaged);
        if engine.activity().scrub.passes > 0 && rebuilt {
            assert_eq!(engine.activity().scrub.damaged_blocks, 1);
            assert!(engine.check(&name("c")).expect("checked").findings.is_empty());
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{:?} {:?}", engine.activity(), engine.check(&name("c")));
}
