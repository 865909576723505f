//! Data directories for the tests, and functions that damage their files.

use nearness::api::{
    Answer, CollectionSpec, Fields, IndexSettings, Item, PointInput, Query, SearchParams, VectorSource,
};
use nearness::collection::OnConflict;
use nearness::engine::{Admin, Database, Reads, Writes};
use nearness::types::{CollectionName, Metric, PointId, Precision};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Points of each collection in its sealed segment.
pub(crate) const SEALED: u64 = 2_100;
/// Points of each collection in its growing segment.
pub(crate) const GROWING: u64 = 40;

/// Size of the header of a segment file, and of its copy at the end.
pub(crate) const HEADER: usize = 320;

// Sections of a segment file, numbered as in `docs/FORMAT.md`.
pub(crate) const VECTORS: usize = 0;
pub(crate) const NORMS: usize = 1;
pub(crate) const IDS: usize = 3;
pub(crate) const PAYLOADS: usize = 5;
pub(crate) const SORTED: usize = 6;
pub(crate) const SUMS: usize = 8;

pub(crate) fn name(name: &str) -> CollectionName {
    CollectionName::new(name).expect("a name")
}

pub(crate) fn id(number: u64) -> PointId {
    PointId::new(format!("p{number}")).expect("an id")
}

pub(crate) fn item(number: u64) -> Item {
    let payload = [("number".to_owned(), number.into())].into_iter().collect();
    let vector = (0..4).map(|axis| ((number * 31 + axis * 17) % 101) as f32 + 0.5).collect();
    Item { id: id(number), source: PointInput::Vector(vector), payload, vectors: Default::default() }
}

pub(crate) fn open(dir: &Path) -> Database {
    Database::open(dir).expect("the directory opens, although files are damaged")
}

/// Creates these collections in a directory, each with one sealed segment with graph and payload index, some deleted
/// rows, and growing points.
pub(crate) fn create_collections(dir: &Path, names: &[&str]) {
    create_collections_of(dir, names, item);
}

/// Like [`create_collections`], with other points.
pub(crate) fn create_collections_of(dir: &Path, names: &[&str], item: fn(u64) -> Item) {
    let engine = open(dir);
    for collection in names {
        let collection = name(collection);
        let index =
            IndexSettings::default().m(4).ef_construction(32).ef_search(32).seal_rows(5_000).precision(Precision::F32);
        let space = VectorSource::Plain { dimension: 4 };
        let spec = CollectionSpec::new(collection.clone(), space).metric(Metric::L2).index(index);
        engine.create_collection(&spec).expect("created");
        engine
            .bulk_load(
                &collection,
                &mut (0..SEALED).map(item),
                OnConflict::Replace,
                &mut |_, error| Err(error),
                &|_, _, _| true,
            )
            .expect("loaded");
        engine.upsert(&collection, (SEALED..SEALED + GROWING).map(item).collect()).expect("written");
        engine.delete_points(&collection, &[id(3), id(5)]).expect("deleted");
    }
}

/// Returns the sorted ids of the points in a collection of [`create_collections`].
pub(crate) fn all_ids() -> Vec<PointId> {
    let mut all: Vec<PointId> = (0..SEALED + GROWING).filter(|number| ![3, 5].contains(number)).map(id).collect();
    all.sort();
    all
}

pub(crate) fn ids(engine: &Database, collection: &str) -> Vec<PointId> {
    let page = engine.scroll(&name(collection), None, 10_000, Fields::default(), None).expect("a page");
    page.points.into_iter().map(|point| point.id).collect()
}

pub(crate) fn count_hits(engine: &Database, collection: &str) -> Result<usize, nearness::api::Error> {
    search(engine, collection, Query::Vector(vec![1.0; 4]), false).map(|answer| answer.hits.len())
}

pub(crate) fn search(
    engine: &Database,
    collection: &str,
    query: Query,
    allow_partial: bool,
) -> Result<Answer, nearness::api::Error> {
    let params = SearchParams::new(10).allow_partial(allow_partial);
    engine.search(&name(collection), &[query], &params).map(|mut answers| answers.remove(0))
}

/// Returns the folder of a collection, numbered in order of creation.
pub(crate) fn folder(dir: &Path, number: u64) -> PathBuf {
    dir.join("collections").join(format!("{number:016x}"))
}

/// Returns the first file of the collection with this extension.
pub(crate) fn file(dir: &Path, number: u64, extension: &str) -> PathBuf {
    let files = std::fs::read_dir(folder(dir, number)).expect("a folder");
    let mut found = files.map(|entry| entry.expect("an entry").path());
    found.find(|path| path.extension().is_some_and(|other| other == extension)).expect("a file of that kind")
}

/// Flips the lowest bit of a byte of the file.
pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("a file");
    bytes[at] ^= 1;
    std::fs::remove_file(path).expect("removed");
    std::fs::write(path, bytes).expect("written");
}

/// Returns the offset of a section of a segment file.
pub(crate) fn section(path: &Path, number: usize) -> usize {
    let bytes = std::fs::read(path).expect("a file");
    let at = 64 + 24 * number;
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")) as usize
}

/// Flips the same bit in the header of a segment and in its copy at the end.
pub(crate) fn flip_headers(path: &Path, at: usize) {
    let length = std::fs::metadata(path).expect("a file").len() as usize;
    flip(path, at);
    flip(path, length - HEADER + at);
}

/// Returns all files below a folder, with their bytes.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    all
}

pub(crate) fn nearness(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearness")).args(arguments).output().expect("the program runs")
}
