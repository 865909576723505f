//! Fuzz target: opening an engine on valid key-value files with any values in their tables.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::api::{Accuracy, Fields, Query, SearchParams};
use nearness::disk::real_fs;
use nearness::engine::{Admin, Database, Reads};
use nearness::store::{Catalog, CollectionDb, CollectionRecord};
use nearness::types::{CollectionName, Metric, Precision};
use nearness_fuzz::{choice, fix_record, folder, parts};
use redb::TableDefinition;
use std::path::Path;

const GROWING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("growing");
const SEGMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("segments");
const DELETED: TableDefinition<'_, (u64, u32), ()> = TableDefinition::new("deleted");
const CALIBRATIONS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("calibrations");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const IDENTITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("identity");
const REMOVED: TableDefinition<'_, u64, ()> = TableDefinition::new("removed");
const COLLECTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("collections");

fn name() -> CollectionName {
    CollectionName::new("a").expect("a name")
}

/// Writes values into the tables: each is a table, a key, a length, and that many bytes.
fn fill(path: &Path, mut values: &[u8]) {
    let database = redb::Database::open(path).expect("a valid file");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut growing = transaction.open_table(GROWING).expect("a table");
        let mut segments = transaction.open_table(SEGMENTS).expect("a table");
        let mut deleted = transaction.open_table(DELETED).expect("a table");
        let mut calibrations = transaction.open_table(CALIBRATIONS).expect("a table");
        let mut meta = transaction.open_table(META).expect("a table");
        let mut identity = transaction.open_table(IDENTITY).expect("a table");
        let mut removed = transaction.open_table(REMOVED).expect("a table");
        while let Some(([table, key, length], rest)) = values.split_first_chunk::<3>() {
            let (value, rest) = rest.split_at(usize::from(*length).min(rest.len()));
            values = rest;
            let key = if *key == 255 { u64::MAX } else { u64::from(*key) };
            let number = value.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
            let mut value = value.to_vec();
            match table % 8 {
                0 | 1 => {
                    if table % 8 == 0 {
                        fix_record(&mut value, 8);
                    }
                    drop(growing.insert(key, value.as_slice()).expect("room"));
                }
                2 => drop(segments.insert(key, value.as_slice()).expect("room")),
                3 => drop(deleted.insert((key, number as u32), ()).expect("room")),
                4 => {
                    fix_record(&mut value, 4);
                    drop(calibrations.insert((key, number as u32), value.as_slice()).expect("room"));
                }
                5 => drop(removed.insert(key, ()).expect("room")),
                6 => {
                    let name = ["directory", "collection"][key as usize % 2];
                    drop(identity.insert(name, value.as_slice()).expect("room"));
                }
                _ => {
                    let name = ["sequence", "next_key", "next_segment", "format"][key as usize % 4];
                    drop(meta.insert(name, number).expect("room"));
                }
            }
        }
    }
    transaction.commit().expect("a commit");
}

fuzz_target!(|data: &[u8]| {
    let (kind, data) = choice(data);
    let [record, values] = parts(data);
    let (fs, dir) = (real_fs(), folder("data"));
    let catalog = Catalog::open(&fs, &dir).expect("a new catalog");
    let plain = CollectionRecord {
        name: name(),
        dimension: 2,
        metric: Metric::ALL[usize::from(kind) % 3],
        embedder: None,
        m: 8,
        ef_construction: 16,
        ef_search: 16,
        seal_rows: 100,
        precision: Precision::F32,
        text_fields: Vec::new(),
        vector_fields: Vec::new(),
        next_field: 1,
        optional_vectors: false,
        ttl: None,
        tenant: None,
    };
    let folder = catalog.create(&plain).expect("a new collection");
    drop(catalog);
    fill(&folder.path.join(CollectionDb::FILE), values);
    if kind & 0x80 != 0 {
        let database = redb::Database::open(dir.join("catalogue.redb")).expect("a valid file");
        let transaction = database.begin_write().expect("a transaction");
        drop(transaction.open_table(COLLECTIONS).expect("a table").insert("a", record).expect("room"));
        transaction.commit().expect("a commit");
    }
    let Ok(engine) = Database::open(&dir) else { return };
    let _ = (engine.count(&name(), None), engine.collections(), engine.check(&name()));
    let _ = engine.scroll(&name(), None, 100, Fields { payload: true, vector: true }, None);
    let params = SearchParams::new(3).accuracy(Accuracy::Ef(8));
    let _ = engine.search(&name(), &[Query::Vector(vec![1.0, 2.0])], &params);
    let _ = engine.compact(&name());
});
