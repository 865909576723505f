//! Damage tests: damage to one collection affects neither the server nor other collections; it is detected, reported,
//! and repaired without guessing.
#![allow(clippy::print_stdout, reason = "counts of damages are shown")]

use nearness::api::{
    Accuracy, Answer, CollectionSpec, CollectionState, Damage, ErrorKind, Fields, Filter, Finding, Hit, IndexSettings,
    Item, PointInput, Query, SearchParams, VectorSource,
};
use nearness::collection::{OnConflict, check_directory};
use nearness::engine::{Admin, Database, Reads, Writes, repair_directory};
use nearness::types::{CollectionName, Metric, PointId, Precision};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Sealed points of each collection; `GROWING` more are in the growing segment.
const SEALED: u64 = 2_100;
const GROWING: u64 = 40;

fn name(name: &str) -> CollectionName {
    CollectionName::new(name).expect("a name")
}

fn id(number: u64) -> PointId {
    PointId::new(format!("p{number}")).expect("an id")
}

fn item(number: u64) -> Item {
    let payload = [("number".to_owned(), number.into())].into_iter().collect();
    let vector = (0..4).map(|place| ((number * 31 + place * 17) % 101) as f32 + 0.5).collect();
    Item { id: id(number), source: PointInput::Vector(vector), payload }
}

fn open(dir: &Path) -> Database {
    Database::open(dir).expect("the directory opens, whatever is damaged in it")
}

/// Makes a directory with these collections, each with one sealed segment with graph and payload index, some deleted
/// rows, and growing points.
fn make(dir: &Path, names: &[&str]) {
    make_of(dir, names, item);
}

/// Like [`make`], with other points.
fn make_of(dir: &Path, names: &[&str], item: fn(u64) -> Item) {
    let engine = open(dir);
    for collection in names {
        let collection = name(collection);
        let index =
            IndexSettings::default().m(4).ef_construction(32).ef_search(32).seal_rows(5_000).precision(Precision::F32);
        let space = VectorSource::Plain { dimension: 4 };
        let spec = CollectionSpec::new(collection.clone(), space).metric(Metric::L2).index(index);
        engine.create_collection(&spec).expect("made");
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

/// Returns the ids of the points in a collection of [`make`].
fn whole() -> Vec<PointId> {
    let mut all: Vec<PointId> = (0..SEALED + GROWING).filter(|number| ![3, 5].contains(number)).map(id).collect();
    all.sort();
    all
}

fn ids(engine: &Database, collection: &str) -> Vec<PointId> {
    let page = engine.scroll(&name(collection), None, 10_000, Fields::default(), None).expect("a page");
    page.points.into_iter().map(|point| point.id).collect()
}

fn near(engine: &Database, collection: &str) -> Result<usize, nearness::api::Error> {
    search(engine, collection, Query::Vector(vec![1.0; 4]), false).map(|answer| answer.hits.len())
}

fn search(
    engine: &Database,
    collection: &str,
    query: Query,
    allow_partial: bool,
) -> Result<Answer, nearness::api::Error> {
    let params = SearchParams::new(10).allow_partial(allow_partial);
    engine.search(&name(collection), &[query], &params).map(|mut answers| answers.remove(0))
}

/// Returns the folder of the collection with this number, in order of creation.
fn folder(dir: &Path, number: u64) -> PathBuf {
    dir.join("collections").join(format!("{number:016x}"))
}

fn file(dir: &Path, number: u64, extension: &str) -> PathBuf {
    let files = std::fs::read_dir(folder(dir, number)).expect("a folder");
    let mut found = files.map(|entry| entry.expect("an entry").path());
    found.find(|path| path.extension().is_some_and(|other| other == extension)).expect("a file of that kind")
}

/// Flips a bit of the file.
fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("a file");
    bytes[at] ^= 1;
    std::fs::remove_file(path).expect("removed");
    std::fs::write(path, bytes).expect("written");
}

/// Returns the offset of a section of a segment file; sections are numbered as in `docs/FORMAT.md`.
fn section(path: &Path, number: usize) -> usize {
    let bytes = std::fs::read(path).expect("a file");
    let at = 64 + 24 * number;
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")) as usize
}

/// Flips the same bit in the header of a segment and in its copy at the end.
fn flip_headers(path: &Path, at: usize) {
    let length = std::fs::metadata(path).expect("a file").len() as usize;
    flip(path, at);
    flip(path, length - HEADER + at);
}

const HEADER: usize = 320;
const VECTORS: usize = 0;
const NORMS: usize = 1;
const IDS: usize = 3;
const PAYLOADS: usize = 5;
const SORTED: usize = 6;
const SUMS: usize = 8;

/// Returns all files below a folder, with their bytes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
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

fn nearness(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearness")).args(arguments).output().expect("the program runs")
}

#[test]
fn a_damaged_collection_stops_nothing_else_and_answers_nothing_in_part() {
    let dir = tempfile::tempdir().expect("a folder");
    let names = ["truth", "header", "missing", "sound", "half", "cut"];
    make(dir.path(), &names);
    let truth = folder(dir.path(), 0).join("points.redb");
    let bytes = std::fs::read(&truth).expect("a file");
    // The file stores a growing point's payload uncompressed.
    let at = bytes.windows(13).position(|window| window == b"{\"number\":210").expect("a growing point");
    flip(&truth, at + 10);
    flip_headers(&file(dir.path(), 1, "vectors"), 33);
    std::fs::remove_file(folder(dir.path(), 2).join("points.redb")).expect("removed");
    // One intact header is enough.
    flip(&file(dir.path(), 4, "vectors"), 33);
    let cut = file(dir.path(), 5, "vectors");
    let bytes = std::fs::read(&cut).expect("a file");
    std::fs::remove_file(&cut).expect("removed");
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).expect("cut");

    let engine = open(dir.path());
    let state = |collection: &str| engine.collection(&name(collection)).expect("listed").state;
    let all = engine.collections().expect("all");
    assert_eq!(all.len(), names.len(), "a damaged collection is listed too");
    assert_eq!(state("truth"), CollectionState::Unavailable);
    assert_eq!(state("missing"), CollectionState::Unavailable);
    assert_eq!(state("header"), CollectionState::Damaged);
    assert_eq!(state("cut"), CollectionState::Damaged);
    assert_eq!(state("sound"), CollectionState::Serving);
    assert_eq!(ids(&engine, "sound"), whole());
    assert_eq!(near(&engine, "sound").expect("an answer"), 10);
    let answer = search(&engine, "sound", Query::Id(id(1)), true).expect("an answer");
    assert_eq!((answer.hits.len(), answer.stats.lost_segments), (10, 0));
    engine.upsert(&name("sound"), vec![item(9_999)]).expect("written");
    for (collection, word) in [("truth", "points.redb"), ("missing", "points.redb"), ("header", ".vectors")] {
        let error = near(&engine, collection).expect_err("not in part");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        let problems = engine.collection(&name(collection)).expect("listed").problems;
        assert!(problems.iter().any(|problem| problem.contains(word)), "{problems:?}");
    }
    assert_eq!((state("half"), ids(&engine, "half")), (CollectionState::Serving, whole()));
    let report = engine.check(&name("half")).expect("checked");
    assert!(report.findings.len() == 1 && report.findings[0].damage == Damage::Cache, "{report:?}");
    assert_eq!(state("half"), CollectionState::Serving);
    for collection in ["header", "cut"] {
        assert_eq!(state(collection), CollectionState::Damaged);
        let collection = name(collection);
        let corrupt = |error: nearness::api::Error| assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let get = |number| engine.get(&collection, &[id(number)], Fields { payload: true, vector: true });
        let grows = get(SEALED + 1).expect("what is sound is served").remove(0).expect("there");
        assert_eq!(grows.payload, Some(item(SEALED + 1).payload));
        corrupt(get(1).expect_err("it may be in the segment"));
        let asked = |query, allow_partial| search(&engine, collection.as_str(), query, allow_partial);
        let near = || Query::Vector(vec![1.0; 4]);
        corrupt(asked(near(), false).expect_err("not in part unasked"));
        let answer = asked(near(), true).expect("what is sound is served to whoever asks for it");
        let grows = |hit: &Hit| (SEALED..SEALED + GROWING).any(|number| id(number) == hit.point.id);
        assert!(answer.hits.len() == 10 && answer.hits.iter().all(grows), "{answer:?}");
        assert_eq!((answer.stats.lost_segments, answer.stats.expected_recall), (1, None));
        corrupt(asked(Query::Id(id(1)), true).expect_err("it may be in the segment"));
        corrupt(engine.count(&collection, None).expect_err("not in part"));
        corrupt(engine.scroll(&collection, None, 10, Fields::default(), None).expect_err("not in part"));
        corrupt(engine.upsert(&collection, vec![item(1)]).expect_err("an older version may be there"));
        corrupt(engine.delete_points(&collection, &[id(1)]).expect_err("it may be there"));
        corrupt(engine.compact(&collection).expect_err("nothing is copied from it"));
    }
    engine.delete_collection(&name("truth")).expect("a damaged collection can be deleted");
    assert_eq!(engine.collections().expect("all").len(), names.len() - 1);
}

#[test]
fn damage_is_found_by_who_reads_it_first_and_costs_only_its_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["vectors", "ids", "payloads", "order", "sums"]);
    for (number, place) in [(0, VECTORS), (1, IDS), (2, PAYLOADS), (3, SORTED), (4, SUMS)] {
        let hurt = file(dir.path(), number, "vectors");
        flip(&hurt, section(&hurt, place) + 7);
    }
    let engine = open(dir.path());
    let state = |collection: &str| engine.collection(&name(collection)).expect("listed").state;
    for collection in ["vectors", "ids", "payloads", "order", "sums"] {
        assert_eq!(state(collection), CollectionState::Serving, "nobody has read it");
    }
    // The order and the checksums can be recomputed.
    for collection in ["order", "sums"] {
        assert_eq!(ids(&engine, collection), whole(), "{collection}");
        let all = engine.get(&name(collection), &whole(), Fields { payload: true, vector: true }).expect("points");
        assert!(all.iter().all(Option::is_some));
        assert_eq!(near(&engine, collection).expect("an answer"), 10);
        assert_eq!(state(collection), CollectionState::Serving);
        let report = engine.check(&name(collection)).expect("checked");
        assert!(report.findings.iter().all(|finding| finding.damage == Damage::Cache), "{report:?}");
        assert_eq!((report.findings.len(), state(collection)), (1, CollectionState::Serving));
    }
    for collection in ["vectors", "ids", "payloads"] {
        let collection = name(collection);
        let fields = Fields { payload: true, vector: true };
        let error = engine.get(&collection, &whole(), fields).expect_err("some are damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let info = engine.collection(&collection).expect("listed");
        let problem = &info.problems[0];
        assert_eq!(info.state, CollectionState::Damaged);
        assert!(
            problem.contains(".vectors") && problem.contains("of rows") && problem.contains("at byte"),
            "{problem}"
        );
        assert!(info.points >= SEALED + GROWING - 2 - 256 && info.points < SEALED + GROWING - 2, "{info:?}");
        let mut read = 0;
        for id in whole() {
            match engine.get(&collection, std::slice::from_ref(&id), fields) {
                Ok(points) => {
                    let number = id.as_str()[1..].parse().expect("a number");
                    let point = points[0].as_ref().expect("it is there");
                    assert_eq!(point.payload, Some(item(number).payload));
                    assert_eq!(point.vector.clone().map(PointInput::Vector), Some(item(number).source));
                    read += 1;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            }
        }
        assert_eq!(read, info.points);
        let asked = |allow_partial| search(&engine, collection.as_str(), Query::Vector(vec![1.0; 4]), allow_partial);
        assert_eq!(asked(false).expect_err("not in part unasked").kind(), ErrorKind::Corrupt);
        let answer = asked(true).expect("what is sound");
        assert_eq!((answer.hits.len(), answer.stats.lost_segments, answer.stats.expected_recall), (10, 1, None));
        let refused = engine.upsert(&collection, vec![item(1)]).expect_err("an older version may be there");
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_write_does_not_take_a_point_whose_id_is_damaged_for_a_new_one() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["c"]);
    let hurt = file(dir.path(), 0, "vectors");
    flip(&hurt, section(&hurt, IDS) + 7);
    let engine = open(dir.path());
    let error = engine.upsert(&name("c"), (0..1_000).map(item).collect()).expect_err("one of them is damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(engine.collection(&name("c")).expect("listed").growing_points, GROWING);
}

#[test]
fn the_scrubber_finds_what_nobody_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["c", "sound"]);
    let hurt = file(dir.path(), 0, "vectors");
    flip(&hurt, section(&hurt, PAYLOADS) + 7);
    let engine = Database::options().scrub_rate(1 << 30).open(dir.path()).expect("it opens");
    for _ in 0..3_000 {
        if engine.activity().scrub.passes > 0 {
            let scrub = engine.activity().scrub;
            assert!(scrub.damaged_blocks == 1 && scrub.bytes > 100_000 && scrub.last_pass > 0, "{scrub:?}");
            assert!(scrub.position > 0 && scrub.total > 0, "{scrub:?}");
            let state = |collection: &str| engine.collection(&name(collection)).expect("listed").state;
            assert_eq!((state("c"), state("sound")), (CollectionState::Damaged, CollectionState::Serving));
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{:?}", engine.activity());
}

#[test]
fn a_merge_copies_nothing_that_is_damaged() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["c"]);
    let hurt = file(dir.path(), 0, "vectors");
    flip(&hurt, section(&hurt, VECTORS) + 99);
    let engine = open(dir.path());
    let error = engine.compact(&name("c")).expect_err("not copied");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(engine.collection(&name("c")).expect("listed").state, CollectionState::Damaged);
    assert!(hurt.exists());
}

#[test]
fn a_check_names_what_is_wrong_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["sound", "hurt", "cache"]);
    let report = check_directory(dir.path()).expect("checked");
    assert!(report.findings.is_empty() && report.files > 9, "{report:?}");
    let hurt = file(dir.path(), 1, "vectors");
    flip(&hurt, section(&hurt, PAYLOADS) + 20);
    let graph = file(dir.path(), 2, "graph");
    flip(&graph, 600);
    let index = file(dir.path(), 2, "payloads");
    flip(&index, 300);
    std::fs::write(folder(dir.path(), 0).join("00000000000000aa.payloads"), b"x").expect("written");
    let before = contents(dir.path());
    let report = check_directory(dir.path()).expect("checked");
    assert_eq!(contents(dir.path()), before, "a check changes nothing");
    let found = |f: &Finding| (f.damage.name(), f.collection.clone(), dir.path().join(&f.file));
    let mut found: Vec<_> = report.findings.iter().map(found).collect();
    found.sort();
    let stray = folder(dir.path(), 0).join("00000000000000aa.payloads");
    let expected =
        [("cache", "cache", &graph), ("cache", "cache", &index), ("data", "hurt", &hurt), ("stray", "sound", &stray)];
    let expected = expected.map(|(damage, collection, file)| (damage, collection.to_owned(), file.clone()));
    assert!(expected.iter().all(|one| found.contains(one)) && found.len() == 4, "{found:?}");
    let engine = open(dir.path());
    let error = check_directory(dir.path()).expect_err("it is being served");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(engine);
    let nothing = tempfile::tempdir().expect("a folder");
    assert_eq!(check_directory(nothing.path()).expect_err("no data directory").kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read_dir(nothing.path()).expect("a folder").count(), 0);
}

#[test]
fn a_repair_keeps_what_is_sound_and_lists_what_is_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["norms", "payloads", "ids", "graph", "truth", "sound"]);
    let norms = file(dir.path(), 0, "vectors");
    flip(&norms, section(&norms, NORMS) + 3);
    let payloads = file(dir.path(), 1, "vectors");
    flip(&payloads, section(&payloads, PAYLOADS) + 20);
    let header = file(dir.path(), 2, "vectors");
    flip_headers(&header, 40);
    flip(&file(dir.path(), 3, "graph"), 600);
    std::fs::remove_file(folder(dir.path(), 4).join("points.redb")).expect("removed");

    // The state after a repair that was interrupted while copying the damaged file.
    let kept = dir.path().join("damaged");
    std::fs::create_dir(&kept).expect("a folder");
    let kept = kept.join(format!("{:016x}-{}", 1, payloads.file_name().expect("a name").display()));
    std::fs::write(&kept, b"in part").expect("written");
    let hurt = std::fs::read(&payloads).expect("a file");

    let (done, result) = repair_directory(dir.path(), &|_, _, _| true);
    result.expect("repaired");
    assert_eq!((done.rewritten, done.rebuilt), (2, 5), "{done:?}");
    let lost = done.lost.len() as u64;
    assert!((200..=256).contains(&lost) && done.lost_unnamed.is_empty(), "the live points of one block, by id: {lost}");
    assert!(done.lost.iter().all(|(collection, _)| collection == "payloads"));
    assert_eq!(done.taken_out.len(), 2);
    assert!(done.taken_out.iter().all(|kept| kept.exists()), "what is taken out is kept");
    assert!(std::fs::read(&kept).expect("it is kept") == hurt && !payloads.exists(), "whole, and out of the way");
    assert_eq!(done.left.len(), 2, "a segment without a header, a collection without its truth: {:?}", done.left);

    let engine = open(dir.path());
    for collection in ["norms", "graph", "sound"] {
        assert_eq!(ids(&engine, collection), whole(), "{collection}");
        let info = engine.collection(&name(collection)).expect("listed");
        assert!(info.state == CollectionState::Serving && info.segments[0].graph, "{info:?}");
    }
    for (collection, left) in [("payloads", SEALED - 2 - lost), ("ids", 0)] {
        assert_eq!(ids(&engine, collection).len() as u64, left + GROWING, "{collection}");
        engine.upsert(&name(collection), vec![item(1)]).expect("it takes writes again");
    }
    assert_eq!(engine.collection(&name("truth")).expect("listed").state, CollectionState::Unavailable);
    engine.delete_collection(&name("truth")).expect("deleted");
    drop(engine);
    let report = check_directory(dir.path()).expect("checked");
    assert!(report.findings.iter().all(|finding| finding.damage != Damage::Data), "{report:?}");
}

#[test]
fn a_segment_of_a_later_format_is_neither_taken_out_nor_called_damaged() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["later", "sound"]);
    let later = file(dir.path(), 0, "vectors");
    let mut bytes = std::fs::read(&later).expect("a file");
    let copy = bytes.len() - HEADER;
    (bytes[8], bytes[copy + 8]) = (99, 99);
    std::fs::remove_file(&later).expect("removed");
    std::fs::write(&later, &bytes).expect("written");
    let engine = open(dir.path());
    let info = engine.collection(&name("later")).expect("listed");
    assert_eq!(info.state, CollectionState::Unavailable);
    assert!(info.problems[0].contains("version 99") && !info.problems[0].contains("repair"), "{:?}", info.problems);
    assert_eq!(ids(&engine, "sound"), whole());
    drop(engine);
    let (done, result) = repair_directory(dir.path(), &|_, _, _| true);
    assert!(done.left.iter().any(|what| what.contains("version 99")) && done.lost.is_empty(), "{done:?}, {result:?}");
    assert_eq!(std::fs::read(&later).expect("it is where it was"), bytes);
}

#[test]
fn the_commands_say_it_by_their_exit_code() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["c"]);
    let data = dir.path().to_str().expect("UTF-8");
    let code = |arguments: &[&str]| nearness(arguments).status.code();
    assert_eq!(code(&["check", "--data", data]), Some(0));
    assert_eq!(code(&["check", "--data", "/no/such/directory"]), Some(1));
    assert_eq!(code(&["check"]), Some(2));
    let hurt = file(dir.path(), 0, "vectors");
    flip(&hurt, section(&hurt, VECTORS) + 5);
    let checked = nearness(&["check", "--data", data, "--json"]);
    assert_eq!(checked.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!(report["findings"][0]["damage"], "data");
    assert!(report["findings"][0]["what"].as_str().expect("text").contains("damaged at byte"), "{report}");
    let repaired = nearness(&["repair", "--data", data, "--json"]);
    assert_eq!(repaired.status.code(), Some(3), "points are lost");
    let report: serde_json::Value = serde_json::from_slice(&repaired.stdout).expect("JSON");
    let lost = report["lost"].as_array().map_or(0, Vec::len);
    assert!((200..=256).contains(&lost), "the live points of one block: {lost}");
    assert_eq!(code(&["check", "--data", data]), Some(0));
    assert_eq!(code(&["repair", "--data", data]), Some(0), "nothing more is lost");
}

#[test]
fn rows_that_are_only_deleted_give_their_space_back() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["c"]);
    let engine = open(dir.path());
    let (mut rows, mut until) = (u64::MAX, 10);
    while rows > SEALED - 300 && until < 400 {
        engine.delete_points(&name("c"), &(until..until + 10).map(id).collect::<Vec<_>>()).expect("deleted");
        until += 10;
        std::thread::sleep(std::time::Duration::from_millis(20));
        rows = engine.collection(&name("c")).expect("listed").segments.iter().map(|segment| segment.rows).sum();
    }
    // Without further writes, deleted rows are still compacted away.
    for _ in 0..3_000 {
        let info = engine.collection(&name("c")).expect("listed");
        if info.segments.iter().all(|segment| segment.deleted_rows * 5 < segment.rows && segment.rows < SEALED - 200) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{:?}", engine.collection(&name("c")));
}

/// Returns the problems of a collection, in one line.
fn problems(engine: &Database, collection: &str) -> (CollectionState, String) {
    let info = engine.collection(&name(collection)).expect("listed");
    (info.state, info.problems.join("; "))
}

/// Returns the findings of a check that are damage to data: the file and the problem.
fn damaged(dir: &Path) -> Vec<(PathBuf, String)> {
    let report = check_directory(dir).expect("checked");
    let data = report.findings.into_iter().filter(|finding| finding.damage == Damage::Data);
    data.map(|finding| (dir.join(finding.file), finding.what)).collect()
}

#[test]
fn a_catalogue_older_than_the_collections_is_refused_and_nothing_is_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let catalogue = dir.path().join("catalogue.redb");
    make(dir.path(), &["a"]);
    let older = std::fs::read(&catalogue).expect("a file");
    make(dir.path(), &["b"]);
    let newer = std::fs::read(&catalogue).expect("a file");
    std::fs::write(&catalogue, &older).expect("written");
    let before = contents(dir.path());
    let found = damaged(dir.path());
    assert!(found.len() == 1 && found[0].0 == folder(dir.path(), 1), "{found:?}");
    let error = Database::open(dir.path()).map(|_| ()).expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("0000000000000001") && text.contains("catalogue.redb") && text.contains("older"), "{text}");
    assert_eq!(contents(dir.path()), before);
    std::fs::write(&catalogue, &newer).expect("written");
    let engine = open(dir.path());
    assert_eq!((ids(&engine, "a"), ids(&engine, "b")), (whole(), whole()));
}

#[test]
fn a_catalogue_of_another_directory_answers_for_none_of_the_collections() {
    let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    make(here.path(), &["a"]);
    make(there.path(), &["a", "b"]);
    std::fs::copy(there.path().join("catalogue.redb"), here.path().join("catalogue.redb")).expect("copied");
    let before = contents(&folder(here.path(), 0));
    assert!(!damaged(here.path()).is_empty());
    let engine = open(here.path());
    let (state, why) = problems(&engine, "a");
    assert_eq!(state, CollectionState::Unavailable);
    assert!(why.contains("points.redb") && why.contains("catalogue.redb") && why.contains("identity"), "{why}");
    assert_eq!(near(&engine, "a").expect_err("not answered").kind(), ErrorKind::Corrupt);
    drop(engine);
    assert_eq!(contents(&folder(here.path(), 0)), before);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "it does what an operator does by mistake")]
fn swapped_folders_and_files_of_others_are_named_and_not_served() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["a", "b", "c", "d"]);
    // The folders of a and b.
    let (a, b, aside) = (folder(dir.path(), 0), folder(dir.path(), 1), dir.path().join("aside"));
    for (from, to) in [(&a, &aside), (&b, &a), (&aside, &b)] {
        std::fs::rename(from, to).expect("renamed");
    }
    // c gets the points.redb of d.
    let truth = |number| folder(dir.path(), number).join("points.redb");
    std::fs::copy(truth(3), truth(2)).expect("copied");
    let segments = contents(&folder(dir.path(), 2));
    let found = damaged(dir.path());
    assert_eq!(found.len(), 3, "{found:?}");
    let engine = open(dir.path());
    for collection in ["a", "b", "c"] {
        let (state, why) = problems(&engine, collection);
        assert_eq!(state, CollectionState::Unavailable, "{why}");
        assert!(why.contains("points.redb") && why.contains("catalogue.redb"), "{why}");
        assert!(near(&engine, collection).is_err() && engine.upsert(&name(collection), vec![item(1)]).is_err());
    }
    let (state, why) = problems(&engine, "d");
    assert_eq!((state, why.as_str()), (CollectionState::Serving, ""));
    assert_eq!(contents(&folder(dir.path(), 2)), segments, "nothing is removed");
    // Another collection's files in the folder of a removed collection are kept.
    let points = std::fs::read(truth(0)).expect("a file");
    engine.delete_collection(&name("a")).expect("deleted");
    assert!(!folder(dir.path(), 0).exists());
    drop(engine);
    let kept = dir.path().join("orphans").join(format!("{:016x}", 0));
    assert_eq!(std::fs::read(kept.join("points.redb")).expect("a file"), points);
}

#[test]
fn a_segment_of_another_collection_is_not_served() {
    let dir = tempfile::tempdir().expect("a folder");
    make_of(dir.path(), &["a"], item);
    make_of(dir.path(), &["b"], |number| Item { source: item(number + 7).source, ..item(number) });
    let (ours, theirs) = (file(dir.path(), 0, "vectors"), file(dir.path(), 1, "vectors"));
    assert_eq!(ours.file_name(), theirs.file_name(), "segments of the same number");
    std::fs::remove_file(&ours).expect("removed");
    std::fs::copy(&theirs, &ours).expect("copied");
    let found = damaged(dir.path());
    assert!(found.len() == 1 && found[0].0 == ours && found[0].1.contains("content tag"), "{found:?}");
    let engine = open(dir.path());
    let (state, why) = problems(&engine, "a");
    assert_eq!(state, CollectionState::Damaged, "{why}");
    assert!(why.contains(".vectors") && why.contains("points.redb") && why.contains("content tag"), "{why}");
    assert!(near(&engine, "a").is_err());
    assert_eq!(problems(&engine, "b").0, CollectionState::Serving);
}

#[test]
fn a_truth_older_than_the_segments_makes_the_collection_unavailable_and_removes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["a"]);
    let truth = folder(dir.path(), 0).join("points.redb");
    let older = std::fs::read(&truth).expect("a file");
    let engine = open(dir.path());
    let mut more = (10_000..12_500).map(item);
    engine
        .bulk_load(&name("a"), &mut more, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    drop(engine);
    let newer = std::fs::read(&truth).expect("a file");
    std::fs::write(&truth, &older).expect("written");
    let vectors = || {
        let all = contents(&folder(dir.path(), 0));
        all.into_keys().filter(|path| path.extension().is_some_and(|kind| kind == "vectors")).collect::<Vec<_>>()
    };
    let before = vectors();
    assert!(!damaged(dir.path()).is_empty());
    let engine = open(dir.path());
    let (state, why) = problems(&engine, "a");
    assert_eq!(state, CollectionState::Unavailable, "{why}");
    assert!(why.contains("older than the segments"), "{why}");
    drop(engine);
    assert_eq!(vectors(), before);
    std::fs::write(&truth, &newer).expect("written");
    assert_eq!(ids(&open(dir.path()), "a").len(), whole().len() + 2_500);
}

#[test]
fn an_orphaned_segment_is_moved_aside_and_reported() {
    let dir = tempfile::tempdir().expect("a folder");
    make(dir.path(), &["a"]);
    let engine = open(dir.path());
    let mut more = (10_000..12_500).map(item);
    engine
        .bulk_load(&name("a"), &mut more, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    let first = file(dir.path(), 0, "vectors");
    let bytes = std::fs::read(&first).expect("a file");
    engine.compact(&name("a")).expect("compacted");
    // Another write, so that no transaction records the segment as removed.
    engine.upsert(&name("a"), vec![item(50_000)]).expect("written");
    drop(engine);
    assert!(!first.exists());
    std::fs::write(&first, &bytes).expect("written");
    let found = damaged(dir.path());
    assert!(found.len() == 1 && found[0].0 == first && found[0].1.contains("orphans/"), "{found:?}");
    let engine = open(dir.path());
    let (state, why) = problems(&engine, "a");
    assert_eq!(state, CollectionState::Serving);
    assert!(why.contains("orphans"), "{why}");
    assert_eq!(engine.activity().orphans, 1);
    drop(engine);
    let orphans = contents(&dir.path().join("orphans"));
    assert!(orphans.len() == 1 && orphans.values().all(|kept| *kept == bytes) && !first.exists());
    let report = check_directory(dir.path()).expect("checked");
    assert!(report.findings.len() == 1 && report.findings[0].damage == Damage::Stray, "{report:?}");
    assert_eq!(problems(&open(dir.path()), "a").1, "");
}

#[test]
fn what_is_written_can_be_read_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().expect("a folder");
    let dir = outer.path().join("data");
    make(&dir, &["a"]);
    let mut folders = vec![dir.clone()];
    while let Some(folder) = folders.pop() {
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
}

/// Points of the collection that is damaged at many positions.
const POINTS: u64 = 2_200;
const WIDTH: u64 = 32;
/// Rows per block of vectors of this dimension.
const BLOCK: usize = 128;

fn wide(number: u64) -> Item {
    let payload =
        [("number".to_owned(), number.into()), ("third".to_owned(), (number % 3).into())].into_iter().collect();
    let vector = (0..WIDTH).map(|place| ((number * 2_654_435_761 + place * 40_503) % 1_009) as f32 / 7.0).collect();
    Item { id: id(number), source: PointInput::Vector(vector), payload }
}

fn ask(
    engine: &Database,
    number: u64,
    accuracy: Accuracy,
    third: Option<i64>,
    allow_partial: bool,
) -> Result<Vec<Hit>, nearness::api::Error> {
    let PointInput::Vector(vector) = wide(number * 37 + 5).source else { unreachable!("vectors only") };
    let mut params = SearchParams::new(20)
        .accuracy(accuracy)
        .fields(Fields { payload: true, vector: true })
        .allow_partial(allow_partial);
    params.filter = third.map(|third| Filter::equals("third", third).into());
    let query = Query::Vector(vector.iter().map(|x| x + 0.25).collect());
    engine.search(&name("c"), &[query], &params).map(|mut answers| answers.remove(0).hits)
}

/// Accuracy and filter of the queries.
const WAYS: [(Accuracy, Option<i64>); 4] =
    [(Accuracy::Exact, None), (Accuracy::Ef(40), None), (Accuracy::Exact, Some(1)), (Accuracy::Ef(40), Some(1))];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &to) } else { _ = std::fs::copy(&path, &to).expect("copied") }
    }
}

/// Damages a segment file at many positions, one after the other, and compares every answer with the one before. After
/// every `repaired`-th damage, repairs the collection and compares the rest.
fn damage_everywhere(damages: u64, repaired: u64) {
    let base = tempfile::tempdir().expect("a folder");
    let engine = open(base.path());
    let index =
        IndexSettings::default().m(4).ef_construction(32).ef_search(32).seal_rows(5_000).precision(Precision::F32);
    let space = VectorSource::Plain { dimension: WIDTH as u32 };
    engine.create_collection(&CollectionSpec::new(name("c"), space).index(index)).expect("made");
    let mut items = (0..POINTS).map(wide);
    engine
        .bulk_load(&name("c"), &mut items, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    engine.build_indexes(&name("c"), &|_, _, _| true).expect("indexed");
    let gone = [id(3), id(5)];
    engine.delete_points(&name("c"), &gone).expect("deleted");
    let live: Vec<PointId> = (0..POINTS).map(id).filter(|id| !gone.contains(id)).collect();
    let baseline: Vec<Vec<Vec<Hit>>> = (0..12)
        .map(|number| WAYS.map(|(how, third)| ask(&engine, number, how, third, false).expect("an answer")).into())
        .collect();
    drop(engine);
    let path = file(base.path(), 0, "vectors").strip_prefix(base.path()).expect("below it").to_owned();
    let whole = std::fs::read(base.path().join(&path)).expect("a file");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut right, mut refused, mut partial, mut lost_rows, mut most_lost, mut harmless) = (0, 0, 0, 0, 0, 0);
    for damage in 0..damages {
        let dir = tempfile::tempdir().expect("a folder");
        copy(base.path(), dir.path());
        // Anywhere in the file, or in each section in turn.
        let at = if damage % 2 == 0 {
            random(whole.len())
        } else {
            let entry = 64 + 24 * (damage as usize / 2 % 9);
            let number = |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().expect("8 bytes")) as usize;
            let length = number(entry + 8);
            // At the low byte of a number, or anywhere.
            let step = if damage < 18 { 4 } else { 1 };
            if length == 0 { random(HEADER) } else { number(entry) + random(length) / step * step }
        };
        let mut bytes = whole.clone();
        // Each kind of damage in each section.
        let kind = damage / 18 % 4;
        match kind {
            // Keeps text valid: with the highest bit it would not be UTF-8.
            0 => bytes[at] ^= 1 << random(7),
            1 => bytes[at] = bytes[at].wrapping_add(1 + random(255) as u8),
            _ => {
                // A few bytes, or one sector.
                let until = bytes.len().min(at + if kind == 2 { 1 + random(8) } else { 512 });
                bytes[at..until].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        std::fs::remove_file(dir.path().join(&path)).expect("removed");
        std::fs::write(dir.path().join(&path), &bytes).expect("written");
        let said = |what: &str| format!("damage {damage} at byte {at}: {what}");
        let engine = open(dir.path());
        let corrupt = |error: nearness::api::Error| {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", said(&error.to_string()));
        };
        let fields = Fields { payload: true, vector: true };
        let is_right = |id: &PointId, point: &nearness::api::Point| {
            let Item { source, payload, .. } = wide(id.as_str()[1..].parse().expect("a number"));
            point.vector.clone().map(PointInput::Vector) == Some(source) && point.payload.as_ref() == Some(&payload)
        };
        for (number, of_number) in baseline.iter().enumerate() {
            for ((how, third), before) in WAYS.into_iter().zip(of_number) {
                match ask(&engine, number as u64, how, third, false) {
                    Ok(hits) => {
                        assert_eq!(&hits, before, "{}", said("another answer"));
                        right += 1;
                    }
                    Err(error) => {
                        corrupt(error);
                        refused += 1;
                    }
                }
                let hits = ask(&engine, number as u64, how, third, true).expect("what is sound");
                assert!(hits.iter().all(|hit| is_right(&hit.point.id, &hit.point)), "{}", said("a wrong hit"));
                assert_eq!(hits.len(), before.len(), "{}", said("too few hits"));
                if &hits == before {
                    continue;
                }
                partial += 1;
                if how == Accuracy::Exact {
                    // Any missing best hit is damaged, and nothing else changes.
                    let missing = before.iter().filter(|hit| !hits.contains(hit));
                    for hit in missing.filter(|hit| hits.last().is_some_and(|last| hit.distance < last.distance)) {
                        let got = engine.get(&name("c"), std::slice::from_ref(&hit.point.id), fields);
                        corrupt(got.expect_err("it is not missing from answers for nothing"));
                    }
                }
            }
        }
        match engine.scroll(&name("c"), None, 10_000, fields, None) {
            Ok(page) => {
                let mut expected = live.clone();
                expected.sort();
                assert!(page.points.iter().map(|point| &point.id).eq(&expected), "{}", said("other points"));
                assert!(page.points.iter().all(|point| is_right(&point.id, point)), "{}", said("a wrong point"));
            }
            Err(error) => corrupt(error),
        }
        let mut damaged = 0;
        for id in &live {
            match engine.get(&name("c"), std::slice::from_ref(id), fields) {
                Ok(points) => {
                    assert!(points[0].as_ref().is_some_and(|point| is_right(id, point)), "{}", said("a point"))
                }
                Err(error) => {
                    corrupt(error);
                    damaged += 1;
                }
            }
        }
        // A sector may span two sections.
        assert!(damaged <= if kind == 3 { 4 } else { 2 } * BLOCK, "{}", said(&format!("{damaged} points")));
        lost_rows += damaged;
        most_lost = most_lost.max(damaged);
        harmless += u32::from(damaged == 0);
        drop(engine);
        if damage % repaired != 0 {
            continue;
        }
        let (done, result) = repair_directory(dir.path(), &|_, _, _| true);
        result.expect("repaired");
        let unnamed: u64 = done.lost_unnamed.iter().map(|lost| lost.points).sum();
        assert!(done.lost.len() + unnamed as usize <= damaged, "{}", said(&format!("{done:?} of {damaged}")));
        let engine = open(dir.path());
        let points = engine.get(&name("c"), &live, fields).expect("sound");
        let left = live.iter().zip(&points).filter(|(id, point)| {
            let named = done.lost.iter().any(|(_, lost)| lost == id.as_str());
            assert!(!named || point.is_none(), "{}", said("a lost point is there"));
            point.as_ref().is_some_and(|point| is_right(id, point))
        });
        assert_eq!(
            left.count(),
            live.len() - done.lost.len() - unnamed as usize,
            "{}",
            said("points after the repair")
        );
    }
    let answers = right + refused;
    println!(
        "{damages} damages, {harmless} without loss: of {answers} answers {right} are right, {refused} refused, 0 wrong; \
         {partial} partial ones differ; {lost_rows} of {} rows lost, at most {most_lost} at once",
        damages as usize * live.len()
    );
    assert!(right > 0 && refused > 0 && partial > 0 && harmless > 0);
}

#[test]
fn damage_anywhere_in_a_segment_gives_no_wrong_answer() {
    damage_everywhere(72, 24);
}

#[test]
#[ignore = "slow: a few minutes"]
fn damage_at_hundreds_of_places_gives_no_wrong_answer() {
    damage_everywhere(288, 3);
}
