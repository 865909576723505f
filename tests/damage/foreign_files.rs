//! Files that do not belong together: outdated, swapped, copied from elsewhere, orphaned.

use crate::support::*;
use nearness::api::{CollectionState, Damage, ErrorKind, Item};
use nearness::collection::{OnConflict, check_directory};
use nearness::engine::{Admin, Database, Reads, Writes};
use std::path::{Path, PathBuf};

/// Returns the state of a collection, and its problems in one line.
fn problems(engine: &Database, collection: &str) -> (CollectionState, String) {
    let info = engine.collection(&name(collection)).expect("listed");
    (info.state, info.problems.join("; "))
}

/// Returns file and problem of each finding of damaged data.
fn damaged(dir: &Path) -> Vec<(PathBuf, String)> {
    let report = check_directory(dir).expect("checked");
    let data = report.findings.into_iter().filter(|finding| finding.damage == Damage::Data);
    data.map(|finding| (dir.join(finding.file), finding.what)).collect()
}

#[test]
fn an_outdated_catalogue_is_refused_and_nothing_is_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let catalogue = dir.path().join("catalogue.redb");
    create_collections(dir.path(), &["a"]);
    let older = std::fs::read(&catalogue).expect("a file");
    create_collections(dir.path(), &["b"]);
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
    assert_eq!((ids(&engine, "a"), ids(&engine, "b")), (all_ids(), all_ids()));
}

#[test]
fn the_catalogue_of_another_directory_makes_collections_unavailable() {
    let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    create_collections(here.path(), &["a"]);
    create_collections(there.path(), &["a", "b"]);
    std::fs::copy(there.path().join("catalogue.redb"), here.path().join("catalogue.redb")).expect("copied");
    let before = contents(&folder(here.path(), 0));
    assert!(!damaged(here.path()).is_empty());
    let engine = open(here.path());
    let (state, problem) = problems(&engine, "a");
    assert_eq!(state, CollectionState::Unavailable);
    assert!(
        problem.contains("points.redb") && problem.contains("catalogue.redb") && problem.contains("identity"),
        "{problem}"
    );
    assert_eq!(count_hits(&engine, "a").expect_err("no answer").kind(), ErrorKind::Corrupt);
    drop(engine);
    assert_eq!(contents(&folder(here.path(), 0)), before);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "imitates an operator's mistake")]
fn swapped_folders_and_foreign_files_are_reported_and_not_served() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["a", "b", "c", "d"]);
    // The folders of a and b.
    let (a, b, aside) = (folder(dir.path(), 0), folder(dir.path(), 1), dir.path().join("aside"));
    for (from, to) in [(&a, &aside), (&b, &a), (&aside, &b)] {
        std::fs::rename(from, to).expect("renamed");
    }
    // c gets the points.redb of d.
    let db = |number| folder(dir.path(), number).join("points.redb");
    std::fs::copy(db(3), db(2)).expect("copied");
    let segments = contents(&folder(dir.path(), 2));
    let found = damaged(dir.path());
    assert_eq!(found.len(), 3, "{found:?}");
    let engine = open(dir.path());
    for collection in ["a", "b", "c"] {
        let (state, problem) = problems(&engine, collection);
        assert_eq!(state, CollectionState::Unavailable, "{problem}");
        assert!(problem.contains("points.redb") && problem.contains("catalogue.redb"), "{problem}");
        assert!(count_hits(&engine, collection).is_err() && engine.upsert(&name(collection), vec![item(1)]).is_err());
    }
    let (state, problem) = problems(&engine, "d");
    assert_eq!((state, problem.as_str()), (CollectionState::Serving, ""));
    assert_eq!(contents(&folder(dir.path(), 2)), segments, "nothing is removed");
    // Another collection's files in the folder of a removed collection are kept.
    let points = std::fs::read(db(0)).expect("a file");
    engine.delete_collection(&name("a")).expect("deleted");
    assert!(!folder(dir.path(), 0).exists());
    drop(engine);
    let orphans = dir.path().join("orphans").join(format!("{:016x}", 0));
    assert_eq!(std::fs::read(orphans.join("points.redb")).expect("a file"), points);
}

#[test]
fn a_segment_of_another_collection_is_not_served() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections_of(dir.path(), &["a"], item);
    create_collections_of(dir.path(), &["b"], |number| Item { source: item(number + 7).source, ..item(number) });
    let (ours, theirs) = (file(dir.path(), 0, "vectors"), file(dir.path(), 1, "vectors"));
    assert_eq!(ours.file_name(), theirs.file_name(), "segments of the same number");
    std::fs::remove_file(&ours).expect("removed");
    std::fs::copy(&theirs, &ours).expect("copied");
    let found = damaged(dir.path());
    assert!(found.len() == 1 && found[0].0 == ours && found[0].1.contains("content tag"), "{found:?}");
    let engine = open(dir.path());
    let (state, problem) = problems(&engine, "a");
    assert_eq!(state, CollectionState::Damaged, "{problem}");
    assert!(
        problem.contains(".vectors") && problem.contains("points.redb") && problem.contains("content tag"),
        "{problem}"
    );
    assert!(count_hits(&engine, "a").is_err());
    assert_eq!(problems(&engine, "b").0, CollectionState::Serving);
}

#[test]
fn an_outdated_collection_database_makes_the_collection_unavailable_and_removes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["a"]);
    let db = folder(dir.path(), 0).join("points.redb");
    let older = std::fs::read(&db).expect("a file");
    let engine = open(dir.path());
    let mut more = (10_000..12_500).map(item);
    engine
        .bulk_load(&name("a"), &mut more, OnConflict::Replace, &mut |_, error| Err(error), &|_, _, _| true)
        .expect("loaded");
    drop(engine);
    let newer = std::fs::read(&db).expect("a file");
    std::fs::write(&db, &older).expect("written");
    let vectors = || {
        let all = contents(&folder(dir.path(), 0));
        all.into_keys().filter(|path| path.extension().is_some_and(|kind| kind == "vectors")).collect::<Vec<_>>()
    };
    let before = vectors();
    assert!(!damaged(dir.path()).is_empty());
    let engine = open(dir.path());
    let (state, problem) = problems(&engine, "a");
    assert_eq!(state, CollectionState::Unavailable, "{problem}");
    assert!(problem.contains("older than the segments"), "{problem}");
    drop(engine);
    assert_eq!(vectors(), before);
    std::fs::write(&db, &newer).expect("written");
    assert_eq!(ids(&open(dir.path()), "a").len(), all_ids().len() + 2_500);
}

#[test]
fn an_orphaned_segment_is_moved_aside_and_reported() {
    let dir = tempfile::tempdir().expect("a folder");
    create_collections(dir.path(), &["a"]);
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
    let (state, problem) = problems(&engine, "a");
    assert_eq!(state, CollectionState::Serving);
    assert!(problem.contains("orphans"), "{problem}");
    assert_eq!(engine.activity().orphans, 1);
    drop(engine);
    let orphans = contents(&dir.path().join("orphans"));
    assert!(orphans.len() == 1 && orphans.values().all(|content| *content == bytes) && !first.exists());
    let report = check_directory(dir.path()).expect("checked");
    assert!(report.findings.len() == 1 && report.findings[0].damage == Damage::Stray, "{report:?}");
    assert_eq!(problems(&open(dir.path()), "a").1, "");
}

#[test]
fn files_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().expect("a folder");
    let dir = outer.path().join("data");
    create_collections(&dir, &["a"]);
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
