//! `nearness check` and `nearness repair`.

use crate::support::*;
use nearness::api::{CollectionSpec, CollectionState, Damage, ErrorKind, Finding, Item, PointInput};
use nearness::collection::check_directory;
use nearness::disk::real_fs;
use nearness::engine::{Admin, Reads, Writes, repair_directory};
use nearness::store::{Change, CollectionDb};
use nearness::types::PointId;

#[test]
fn a_check_reports_damage_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["intact", "damaged", "cache"]);
    let report = check_directory(dir.path()).expect("checked");
    assert!(report.findings.is_empty() && report.files > 9, "{report:?}");
    let segment = file(dir.path(), 1, "vectors");
    flip(&segment, section(&segment, PAYLOADS) + 20);
    let graph = file(dir.path(), 2, "graph");
    flip(&graph, 600);
    let index = file(dir.path(), 2, "payloads");
    flip(&index, 300);
    std::fs::write(folder(dir.path(), 0).join("00000000000000aa.payloads"), b"x").expect("written");
    let before = contents(dir.path());
    let report = check_directory(dir.path()).expect("checked");
    assert_eq!(contents(dir.path()), before, "a check changes nothing");
    let describe = |f: &Finding| (f.damage.name(), f.collection.clone(), dir.path().join(&f.file));
    let mut found: Vec<_> = report.findings.iter().map(describe).collect();
    found.sort();
    let stray = folder(dir.path(), 0).join("00000000000000aa.payloads");
    let expected = [
        ("cache", "cache", &graph),
        ("cache", "cache", &index),
        ("data", "damaged", &segment),
        ("stray", "intact", &stray),
    ];
    let expected = expected.map(|(damage, collection, file)| (damage, collection.to_owned(), file.clone()));
    assert!(expected.iter().all(|one| found.contains(one)) && found.len() == 4, "{found:?}");
    let engine = open(dir.path());
    let error = check_directory(dir.path()).expect_err("a server has it open");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(engine);
    let empty = tempfile::tempdir().expect("a folder");
    assert_eq!(check_directory(empty.path()).expect_err("no data directory").kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read_dir(empty.path()).expect("a folder").count(), 0);
}

#[test]
fn a_repair_keeps_points_without_a_vector() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    engine.create_collection(&CollectionSpec::vectors(name("a"), 2).optional_vectors(true)).expect("created");
    let with = Item::vector(PointId::new("with").expect("an id"), vec![1.0, 0.0]);
    let without = Item { id: PointId::new("without").expect("an id"), source: PointInput::None, ..with.clone() };
    engine.upsert(&name("a"), vec![with, without]).expect("written");
    drop(engine);
    let (repaired, result) = repair_directory(dir.path(), &|_, _, _| true);
    result.expect("repaired");
    assert!(repaired.lost_unnamed.is_empty(), "{repaired:?}");
    assert_eq!(open(dir.path()).count(&name("a"), None).expect("a count"), 2);
}

#[test]
fn a_repair_removes_the_payloads_of_rows_that_do_not_exist() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["a"]);
    let db = CollectionDb::open(&real_fs(), &folder(dir.path(), 0)).expect("the database");
    let segment = db.segments().expect("segments")[0].id;
    let payload = |row, payload| Change::SetPayload { segment, row, payload };
    db.commit(&[payload(5_000, b"{}"), payload(9, b"{\"number\":")]).expect("written");
    db.commit(&[Change::DeleteRow { segment, row: 6_000 }]).expect("written");
    drop(db);
    assert_eq!(open(dir.path()).collection(&name("a")).expect("listed").state, CollectionState::Unavailable);
    let (repaired, result) = repair_directory(dir.path(), &|_, _, _| true);
    result.expect("repaired");
    assert_eq!(repaired.lost_unnamed.len(), 1);
    assert!(repaired.lost_unnamed[0].location.contains("row 5000"), "{repaired:?}");
    let [left] = repaired.left.as_slice() else { panic!("{repaired:?}") };
    assert!(left.contains("upsert the point again"), "{left}");
    let report = check_directory(dir.path()).expect("checked");
    assert!(report.findings.iter().all(|finding| finding.what.contains("row 9 ")), "{report:?}");
    let engine = open(dir.path());
    assert_eq!((ids(&engine, "a"), engine.collection(&name("a")).expect("listed").points), (all_ids(), 2_138));
}

#[test]
fn a_repair_keeps_intact_points_and_lists_the_lost_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["norms", "payloads", "ids", "graph", "db", "intact"]);
    let norms = file(dir.path(), 0, "vectors");
    flip(&norms, section(&norms, NORMS) + 3);
    let payloads = file(dir.path(), 1, "vectors");
    flip(&payloads, section(&payloads, PAYLOADS) + 20);
    let header = file(dir.path(), 2, "vectors");
    flip_headers(&header, 40);
    flip(&file(dir.path(), 3, "graph"), 600);
    std::fs::remove_file(folder(dir.path(), 4).join("points.redb")).expect("removed");

    // The state after a repair that was interrupted while copying the damaged file.
    let quarantine = dir.path().join("damaged");
    std::fs::create_dir(&quarantine).expect("a folder");
    let copy = quarantine.join(format!("{:016x}-{}", 1, payloads.file_name().expect("a name").display()));
    std::fs::write(&copy, b"in part").expect("written");
    let damaged = std::fs::read(&payloads).expect("a file");

    let (done, result) = repair_directory(dir.path(), &|_, _, _| true);
    result.expect("repaired");
    assert_eq!((done.rewritten, done.rebuilt), (2, 5), "{done:?}");
    let lost = done.lost.len() as u64;
    assert!((200..=256).contains(&lost) && done.lost_unnamed.is_empty(), "the live points of one block, by id: {lost}");
    assert!(done.lost.iter().all(|(collection, _)| collection == "payloads"));
    assert_eq!(done.taken_out.len(), 2);
    assert!(done.taken_out.iter().all(|file| file.exists()), "damaged files are kept");
    assert!(
        std::fs::read(&copy).expect("the copy") == damaged && !payloads.exists(),
        "the copy is complete and the original removed"
    );
    assert_eq!(done.left.len(), 2, "a segment without a header, a collection without its database: {:?}", done.left);

    let engine = open(dir.path());
    for collection in ["norms", "graph", "intact"] {
        assert_eq!(ids(&engine, collection), all_ids(), "{collection}");
        let info = engine.collection(&name(collection)).expect("listed");
        assert!(info.state == CollectionState::Serving && info.segments[0].graph, "{info:?}");
    }
    for (collection, left) in [("payloads", SEALED - 2 - lost), ("ids", 0)] {
        assert_eq!(ids(&engine, collection).len() as u64, left + GROWING, "{collection}");
        engine.upsert(&name(collection), vec![item(1)]).expect("writes are accepted again");
    }
    assert_eq!(engine.collection(&name("db")).expect("listed").state, CollectionState::Unavailable);
    engine.delete_collection(&name("db")).expect("deleted");
    drop(engine);
    let report = check_directory(dir.path()).expect("checked");
    assert!(report.findings.iter().all(|finding| finding.damage != Damage::Data), "{report:?}");
}

#[test]
fn a_segment_of_a_later_format_is_neither_moved_nor_reported_as_damaged() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["later", "intact"]);
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
    assert_eq!(ids(&engine, "intact"), all_ids());
    drop(engine);
    let (done, result) = repair_directory(dir.path(), &|_, _, _| true);
    assert!(
        done.left.iter().any(|problem| problem.contains("version 99")) && done.lost.is_empty(),
        "{done:?}, {result:?}"
    );
    assert_eq!(std::fs::read(&later).expect("the segment"), bytes);
}

#[test]
fn check_and_repair_report_damage_by_exit_code() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["c"]);
    let data = dir.path().to_str().expect("UTF-8");
    let code = |arguments: &[&str]| nearness(arguments).status.code();
    assert_eq!(code(&["check", "--data", data]), Some(0));
    assert_eq!(code(&["check", "--data", "/no/such/directory"]), Some(1));
    assert_eq!(code(&["check"]), Some(2));
    let segment = file(dir.path(), 0, "vectors");
    flip(&segment, section(&segment, VECTORS) + 5);
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
