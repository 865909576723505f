//! Fuzz target: snapshots: arbitrary bytes, and well-formed files with any manifest and parts. Each is verified,
//! then restored.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::api::Job;
use nearness::engine::{Admin, Database, Reads, Snapshots};
use nearness::snapshot::SnapshotName;
use nearness::snapshot::fuzzing::canonical_manifest;
use nearness::snapshot_store::SnapshotStore;
use nearness::types::CollectionName;
use nearness_fuzz::{choice, fix_record, fix_segment, folder, parts, snapshot};
use std::path::PathBuf;
use std::sync::OnceLock;

const NAME: &str = "000000000001-1-00000000.nearness.tar";

fn engine() -> &'static (Database, PathBuf) {
    static ENGINE: OnceLock<(Database, PathBuf)> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let (data, snapshot_dir) = (folder("data"), folder("snapshots"));
        let snapshots = SnapshotStore::open(snapshot_dir.to_str().expect("a plain path")).expect("a folder");
        (Database::options().snapshots(snapshots).open(&data).expect("an engine"), snapshot_dir)
    })
}

fn read(bytes: &[u8]) {
    let (engine, snapshot_dir) = engine();
    std::fs::write(snapshot_dir.join(NAME), bytes).expect("a file");
    let (name, target) = (SnapshotName::new(NAME).expect("a name"), CollectionName::new("restored").expect("a name"));
    let silent = |_: Job, _: u64, _: u64| true;
    let valid = engine.verify_snapshot(&name, &silent).is_ok();
    let restored = engine.restore_snapshot(&name, &target, true, &silent);
    assert!(valid || restored.is_err(), "an invalid snapshot was restored");
    if restored.is_ok() {
        let _ = (engine.count(&target, None), engine.check(&target), engine.delete_collection(&target));
    }
}

/// The growing points, each with a length prefix, with corrected checksums.
fn fix_growing(mut bytes: &[u8]) -> Vec<u8> {
    let mut fixed = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (record, rest) = rest.split_at((u32::from_le_bytes(*length) as usize).min(rest.len()));
        let mut record = record.to_vec();
        fix_record(&mut record, 8);
        fixed.extend(length);
        fixed.extend(record);
        bytes = rest;
    }
    fixed.extend(bytes);
    fixed
}

fuzz_target!(|data: &[u8]| {
    let (kind, data) = choice(data);
    if kind % 4 == 0 {
        return read(data);
    }
    // A manifest, then the bytes of all parts; lengths come from the manifest, limited by the available bytes.
    let [manifest, mut rest] = parts(data);
    let mut manifest: serde_json::Value = match serde_json::from_slice(manifest) {
        Ok(manifest) => manifest,
        Err(_) => return,
    };
    let mut contents = Vec::new();
    if let Some(parts) = manifest.get_mut("parts").and_then(|parts| parts.as_array_mut()) {
        for part in parts {
            let Some(name) = part.get("name").and_then(|name| name.as_str()).map(str::to_owned) else { return };
            let bytes = part.get("bytes").and_then(|bytes| bytes.as_u64()).unwrap_or(0);
            let (content, left) = rest.split_at(usize::try_from(bytes).unwrap_or(usize::MAX).min(rest.len()));
            rest = left;
            let mut content = content.to_vec();
            if kind % 4 != 1 && name.ends_with(".vectors") && content.len() >= 256 {
                fix_segment(&mut content);
            }
            if kind % 4 != 1 && name == "growing" {
                content = fix_growing(&content);
            }
            if kind % 4 != 3 {
                part["bytes"] = content.len().into();
            }
            contents.push((name, content));
        }
    }
    // Canonical form: keys in the order of the format.
    let text = |key: &str| manifest.get(key).map_or("null".into(), |value| value.to_string());
    let keys = ["version", "program", "made", "sequence", "points", "collection", "parts"];
    let json = format!("{{{}}}", keys.map(|key| format!("\"{key}\":{}", text(key))).join(","));
    let json = canonical_manifest(json.as_bytes()).unwrap_or(json.into_bytes());
    read(&snapshot(&json, &contents));
});
