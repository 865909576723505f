//! Fuzz target: valid key-value files with patches. Any failure in redb must be returned as an error, not a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::disk::{Fs, real_fs};
use nearness::store::{Catalog, Change, CollectionDb, Owner, SegmentId};
use nearness::types::Identity;
use nearness_fuzz::{allow_panics_of_redb, choice, folder, patched};
use std::sync::{Arc, OnceLock};

fn valid_files() -> &'static [Vec<u8>; 2] {
    static VALID: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    VALID.get_or_init(|| {
        let (fs, dir) = (real_fs(), folder("valid"));
        let owner = Owner { directory: Identity([1; 16]), collection: Identity([2; 16]) };
        let db = CollectionDb::create(&fs, &dir, owner).expect("a database");
        let point = |key, id| Change::AddGrowing { key, id, vector: &[1.0, 2.0], body: b"{}" };
        let reference_vector = Change::AddReferenceVector { index: 0, kind: "text", vector: &[1.0], input: b"a" };
        let [first, second] = [1, 2].map(SegmentId);
        let segment = |segment| Change::AddSegment { segment, graph_generation: None, tag: 7 };
        let changes = [segment(first), segment(second), Change::RemoveSegment { segment: first }, reference_vector];
        db.commit(&[point(0, "a"), point(1, "b"), Change::Sequence(2)]).expect("a commit");
        db.commit(&changes).expect("a commit");
        drop(db);
        let points = std::fs::read(dir.join(CollectionDb::FILE)).expect("the file");
        let dir = folder("valid");
        drop(Catalog::open(&fs, &dir).expect("a catalog"));
        [points, std::fs::read(dir.join("catalogue.redb")).expect("the file")]
    })
}

fn visit(fs: &Arc<dyn Fs>, dir: &std::path::Path) {
    let read_all = |db: &CollectionDb| {
        let _ = (db.sequence(), db.next_key(), db.next_segment(), db.segments(), db.reference_vectors());
        let _ = (db.owner(), db.unnamed());
        let _ = db.growing(&mut |_, _, _, _| Ok(()));
    };
    if let Ok(db) = CollectionDb::open_read_only(fs, dir) {
        read_all(&db);
    }
    if let Ok(db) = CollectionDb::open(fs, dir) {
        read_all(&db);
        let _ = db.commit(&[Change::Sequence(9)]);
    }
}

fuzz_target!(init: { allow_panics_of_redb(); valid_files(); }, |data: &[u8]| {
    let (kind, patches) = choice(data);
    let fs = real_fs();
    let dir = folder("data");
    let bytes = patched(&valid_files()[usize::from(kind % 2)], patches);
    // Some inputs are truncated as well.
    let bytes = if kind & 2 == 0 { &bytes } else { &bytes[..bytes.len() * usize::from(kind) / 256] };
    if kind % 2 == 0 {
        std::fs::write(dir.join(CollectionDb::FILE), bytes).expect("a file");
        visit(&fs, &dir);
    } else {
        std::fs::write(dir.join("catalogue.redb"), bytes).expect("a file");
        if let Ok(catalog) = Catalog::open(&fs, &dir) {
            let _ = (catalog.list(), catalog.unnamed());
        }
    }
});
