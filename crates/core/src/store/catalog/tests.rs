//! Tests of the catalogue: creation, removal, generations, and folders without a record.

use super::*;
use crate::store::ErrorKind;
use crate::types::{CollectionName, Metric, Precision};

pub(super) fn record(name: &str) -> CollectionRecord {
    CollectionRecord {
        name: CollectionName::new(name).unwrap(),
        dimension: 3,
        metric: Metric::L2,
        embedder: None,
        m: 16,
        ef_construction: 200,
        ef_search: 64,
        seal_rows: 1000,
        precision: Precision::F32,
        text_fields: Vec::new(),
        vector_fields: Vec::new(),
        next_field: 1,
        optional_vectors: false,
        ttl: None,
        tenant: None,
    }
}

pub(super) fn open(dir: &Path) -> Result<Catalog, Error> {
    Catalog::open(&disk::real_fs(), dir)
}

fn listed(catalog: &Catalog) -> Vec<(CollectionRecord, PathBuf)> {
    let entries = catalog.list().unwrap().into_iter().map(|(_, entry)| entry.unwrap());
    entries.map(|entry| (entry.record.clone(), catalog.dir_of(&entry))).collect()
}

pub(super) fn create(catalog: &Catalog, name: &str) -> PathBuf {
    catalog.create(&record(name)).unwrap().path
}

/// Adds a growing point to a collection's folder.
fn fill(folder: &Path) {
    let db = CollectionDb::open(&disk::real_fs(), folder).unwrap();
    let point = crate::store::Change::AddGrowing { key: 0, id: "a", vector: &[1.0; 3], body: b"{}" };
    db.commit(&[point]).unwrap();
}

fn refused(dir: &Path) -> String {
    let error = open(dir).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    error.to_string()
}

pub(super) fn remove(catalog: &Catalog, name: &str) {
    catalog.remove(name).unwrap().into_iter().for_each(|folder| catalog.discard(&folder).unwrap());
}

#[test]
fn collections_survive_a_reopen_and_leftovers_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).unwrap();
    let a = create(&catalog, "a");
    let b = create(&catalog, "b");
    assert_eq!(catalog.create(&record("a")).unwrap_err().kind(), ErrorKind::Internal);
    assert!(matches!(open(dir.path()).map(|_| ()), Err(error) if error.kind() == ErrorKind::Busy));
    drop(catalog);

    // State after an uncommitted creation; and a folder of another program.
    let leftover = dir.path().join(FOLDER).join("0000000000000002");
    let foreign = dir.path().join(FOLDER).join("lost+found");
    std::fs::create_dir(&leftover).unwrap();
    std::fs::write(leftover.join("points.redb.tmp"), b"x").unwrap();
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("x.vectors"), b"x").unwrap();
    let catalog = open(dir.path()).unwrap();
    assert!(!leftover.exists() && foreign.exists());
    assert_eq!(listed(&catalog), [(record("a"), a.clone()), (record("b"), b.clone())]);

    remove(&catalog, "a");
    remove(&catalog, "a");
    assert!(!a.exists() && b.exists());
    let again = create(&catalog, "a");
    assert_ne!(again, a, "a folder number is never used twice");
    drop(catalog);
    let names: Vec<_> = listed(&open(dir.path()).unwrap());
    assert_eq!(names, [(record("a"), again), (record("b"), b)]);
}

#[test]
fn generations_follow_each_other_and_their_folders_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).unwrap();
    let first = create(&catalog, "a");
    let entry = || catalog.list().unwrap().pop().unwrap().1.unwrap();
    let numbers = || (entry().generation, entry().previous.map(|previous| previous.generation));
    assert!(catalog.go_back("a").is_err() && catalog.go_back("none").is_err());
    assert!(catalog.forget_previous("a").unwrap().obsolete.is_empty());
    let wider = CollectionRecord { dimension: 7, ..record("a") };
    let prepared = catalog.prepare().unwrap();
    let second = prepared.dir().to_path_buf();
    let changed = catalog.succeed(&wider, prepared).unwrap();
    assert!(changed.obsolete.is_empty() && changed.entry == Some(entry()));
    assert_eq!((numbers(), entry().record.dimension), ((2, Some(1)), 7));
    catalog.go_back("a").unwrap();
    assert_eq!((numbers(), entry().record.dimension, catalog.dir_of(&entry())), ((1, Some(2)), 3, first.clone()));
    // The number of a generation that was swapped out is not reused.
    let prepared = catalog.prepare().unwrap();
    let third = prepared.dir().to_path_buf();
    assert_eq!(catalog.succeed(&wider, prepared).unwrap().obsolete, std::slice::from_ref(&second));
    assert_eq!(numbers(), (3, Some(1)));
    drop(catalog);
    let catalog = open(dir.path()).unwrap();
    assert!(first.exists() && third.exists() && !second.exists(), "the second is swept");
    assert_eq!(catalog.forget_previous("a").unwrap().obsolete, std::slice::from_ref(&first));
    let prepared = catalog.prepare().unwrap();
    let fourth = prepared.dir().to_path_buf();
    catalog.succeed(&wider, prepared).unwrap();
    assert_eq!(catalog.adopt(&record("a"), catalog.prepare().unwrap()).unwrap(), [fourth, third]);
    catalog.succeed(&wider, catalog.prepare().unwrap()).unwrap();
    assert_eq!(catalog.remove("a").unwrap().len(), 2);
    assert!(catalog.succeed(&wider, catalog.prepare().unwrap()).is_err());
    assert!(catalog.list().unwrap().is_empty());
}

#[test]
fn a_lost_catalogue_is_an_error_and_nothing_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = create(&open(dir.path()).unwrap(), "a");
    let file = dir.path().join(FILE);
    std::fs::write(&file, b"").unwrap();
    assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::write(&file, b"not a database at all, but long enough to be read").unwrap();
    assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(folder.join("points.redb").exists());
}

#[test]
fn an_unreadable_record_affects_no_other_and_its_folder_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).unwrap();
    let (a, b) = (create(&catalog, "a"), create(&catalog, "b"));
    make_unreadable(&catalog, "a");
    drop(catalog);
    let catalog = open(dir.path()).unwrap();
    let all = catalog.list().unwrap();
    assert_eq!(all[0].0, "a");
    assert_eq!(all[0].1.as_ref().unwrap_err().kind(), ErrorKind::Incompatible);
    assert_eq!(catalog.dir_of(all[1].1.as_ref().unwrap()), b);
    assert!(a.exists() && b.exists());
    remove(&catalog, "a");
    drop(catalog);
    drop(open(dir.path()).unwrap());
    assert!(!a.exists() && b.exists(), "forgotten, it is removed, since it holds no points");
}

#[test]
fn an_older_catalogue_is_refused_and_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE);
    let catalog = open(dir.path()).unwrap();
    create(&catalog, "a");
    drop(catalog);
    let older = std::fs::read(&file).unwrap();
    let catalog = open(dir.path()).unwrap();
    let b = create(&catalog, "b");
    fill(&b);
    let c = create(&catalog, "c");
    drop(catalog);
    let newer = std::fs::read(&file).unwrap();
    std::fs::write(&file, &older).unwrap();
    let text = refused(dir.path());
    assert!(text.contains("0000000000000001") && text.contains("older than the data"), "{text}");
    let unnamed = Catalog::inspect(&disk::real_fs(), dir.path()).unwrap().unnamed().unwrap();
    assert!(unnamed.len() == 2 && unnamed.iter().all(|one| one.fate == OrphanAction::Refuse), "{unnamed:?}");
    assert!(b.join(CollectionDb::FILE).exists() && c.join(CollectionDb::FILE).exists());
    std::fs::write(&file, &newer).unwrap();
    assert_eq!(listed(&open(dir.path()).unwrap()).len(), 3, "the matching catalog opens");
}

#[test]
fn an_older_catalogue_with_an_unreadable_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE);
    let catalog = open(dir.path()).unwrap();
    create(&catalog, "a");
    make_unreadable(&catalog, "a");
    drop(catalog);
    let older = std::fs::read(&file).unwrap();
    let catalog = open(dir.path()).unwrap();
    let b = create(&catalog, "b");
    fill(&b);
    drop(catalog);
    std::fs::write(&file, &older).unwrap();
    let text = refused(dir.path());
    assert!(text.contains("0000000000000001") && text.contains("older than the data"), "{text}");
    assert!(b.join(CollectionDb::FILE).exists());
}

/// Replaces a record by one of an unknown version.
fn make_unreadable(catalog: &Catalog, name: &str) {
    catalog
        .kv
        .write(|transaction| {
            let mut table = transaction.open_table(COLLECTIONS).unwrap();
            table.insert(name, &b"{\"version\": 99}"[..]).unwrap();
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_catalogue_of_another_directory_is_refused_and_both_are_named() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let catalog = open(here.path()).unwrap();
    let (ours, a) = (catalog.identity, create(&catalog, "a"));
    fill(&a);
    drop(catalog);
    let catalog = open(there.path()).unwrap();
    let theirs = catalog.identity;
    for name in ["x", "y"] {
        create(&catalog, name);
    }
    // The other catalogue records the folder number of our collection as removed.
    catalog.remove("x").unwrap();
    drop(catalog);
    std::fs::copy(there.path().join(FILE), here.path().join(FILE)).unwrap();
    let text = refused(here.path());
    let named = [ours.to_string(), theirs.to_string(), a.display().to_string(), FILE.into()];
    assert!(named.iter().all(|name| text.contains(name)), "{text}");
    assert!(a.join(CollectionDb::FILE).exists());
}

#[test]
fn a_folder_with_points_and_no_record_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).unwrap();
    let folders: Vec<PathBuf> = ["a", "b", "c"].iter().map(|name| create(&catalog, name)).collect();
    folders[..2].iter().for_each(|folder| fill(folder));
    let forget = |name: &str| {
        catalog.kv.write(|transaction| {
            drop(transaction.open_table(COLLECTIONS).unwrap().remove(name).unwrap());
            Ok(())
        })
    };
    forget("b").unwrap();
    forget("c").unwrap();
    drop(catalog);
    let looked = Catalog::inspect(&disk::real_fs(), dir.path()).unwrap();
    let fates: Vec<OrphanAction> = looked.unnamed().unwrap().iter().map(|one| one.fate).collect();
    assert_eq!(fates, [OrphanAction::SetAside, OrphanAction::Remove]);
    drop(looked);
    let catalog = open(dir.path()).unwrap();
    assert!(folders[0].exists() && !folders[1].exists() && !folders[2].exists());
    let aside = dir.path().join("orphans/0000000000000001");
    assert_eq!(catalog.orphans().unwrap(), std::slice::from_ref(&aside));
    assert!(aside.join(CollectionDb::FILE).exists());
}

#[test]
fn leftovers_of_an_interrupted_change_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).unwrap();
    let a = create(&catalog, "a");
    fill(&a);
    let prepared = catalog.prepare().unwrap();
    let making = prepared.dir().to_path_buf();
    fill(&making);
    std::mem::forget(prepared);
    let adopted = catalog.prepare().unwrap();
    let named = adopted.dir().to_path_buf();
    assert!(named.join(orphan::MARKER).exists());
    catalog.adopt(&record("b"), adopted).unwrap();
    assert!(!named.join(orphan::MARKER).exists(), "a record names it");
    // Removed, but not discarded.
    assert_eq!(catalog.remove("a").unwrap(), std::slice::from_ref(&a));
    drop(catalog);
    std::fs::write(named.join(orphan::MARKER), b"").unwrap();
    let catalog = open(dir.path()).unwrap();
    assert!(!a.exists() && !making.exists() && named.exists() && !named.join(orphan::MARKER).exists());
    assert!(catalog.orphans().unwrap().is_empty());
    assert_eq!(catalog.removed().unwrap(), [0].into(), "written when something else is");
    create(&catalog, "c");
    assert!(catalog.removed().unwrap().is_empty());
    let dropped = catalog.prepare().unwrap();
    let dropped_at = dropped.dir().to_path_buf();
    drop(dropped);
    assert!(!dropped_at.exists());
}

#[test]
fn a_crash_while_an_orphan_is_set_aside_loses_none_of_it() {
    use crate::disk::crash_fs::{CrashFs, Plan, Unsynced};
    use crate::quick_dir;
    let dir = tempfile::tempdir().unwrap();
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let catalog = Catalog::open(&shared, dir.path()).unwrap();
    let path = catalog.create(&record("a")).unwrap().path;
    let db = CollectionDb::open(&shared, &path).unwrap();
    let point = crate::store::Change::AddGrowing { key: 0, id: "a", vector: &[1.0; 3], body: b"{}" };
    db.commit(&[point]).unwrap();
    drop(db);
    let forget = |transaction: &WriteTransaction| {
        drop(transaction.open_table(COLLECTIONS).unwrap().remove("a").unwrap());
        Ok(())
    };
    catalog.kv.write(forget).unwrap();
    drop(catalog);
    let begun = fs.now();
    drop(Catalog::open(&shared, dir.path()).unwrap());
    for moment in begun..=fs.now() {
        for unsynced in [Unsynced::Lost, Unsynced::Kept].into_iter().chain((0..4).map(Unsynced::Torn)) {
            let image = quick_dir();
            fs.image(moment, unsynced, image.path());
            let catalog = open(image.path()).unwrap();
            let orphans = catalog.orphans().unwrap();
            let whole = |path: &PathBuf| {
                CollectionDb::open_read_only(&disk::real_fs(), path).is_ok_and(|it| it.holds_points().unwrap())
            };
            assert!(orphans.len() == 1 && whole(&orphans[0]), "{unsynced:?} at {moment}: {orphans:?}");
        }
    }
}

#[test]
fn an_open_after_a_clean_end_writes_nothing() {
    use crate::disk::crash_fs::{CrashFs, Plan};
    let dir = tempfile::tempdir().unwrap();
    let fs = CrashFs::new(dir.path(), Plan::Nothing);
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let catalog = Catalog::open(&shared, dir.path()).unwrap();
    for name in ["a", "b"] {
        catalog.create(&record(name)).unwrap();
    }
    drop(catalog);
    let before = (fs.now(), fs.syncs());
    let catalog = Catalog::open(&shared, dir.path()).unwrap();
    assert_eq!(catalog.list().unwrap().len(), 2);
    drop(catalog);
    assert_eq!((fs.now(), fs.syncs()), before);
}

#[test]
fn collections_without_identities_get_them_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).unwrap();
    create(&catalog, "a");
    catalog.succeed(&record("a"), catalog.prepare().unwrap()).unwrap();
    let mut entry = catalog.entry("a").unwrap().unwrap();
    let identities = |entry: &Entry| (entry.identity, entry.previous.as_ref().unwrap().identity);
    let (present, previous) = identities(&entry);
    assert!(present.is_some() && previous.is_some() && present != previous);
    entry.identity = None;
    entry.previous.as_mut().unwrap().identity = None;
    let json = record::encode(&entry);
    let put = |transaction: &WriteTransaction| {
        drop(transaction.open_table(COLLECTIONS).unwrap().insert("a", json.as_slice()).unwrap());
        Ok(())
    };
    catalog.kv.write(put).unwrap();
    let (new, other) = (Identity([7; 16]), Identity([8; 16]));
    catalog.identify(&[("a".into(), 0, new), ("none".into(), 0, new)]).unwrap();
    assert_eq!(identities(&catalog.entry("a").unwrap().unwrap()), (None, Some(new)));
    catalog.identify(&[("a".into(), 1, other), ("a".into(), 0, other)]).unwrap();
    assert_eq!(identities(&catalog.entry("a").unwrap().unwrap()), (Some(other), Some(new)));
}
