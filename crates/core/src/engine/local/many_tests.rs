//! Start of a data directory with the maximum number of collections. Slow: run with `--ignored --nocapture`.

#![allow(clippy::print_stdout)] // the measurements

use super::Database;
use crate::api::limits::MAX_COLLECTIONS;
use crate::api::{CollectionSpec, Item};
use crate::collection::{OnConflict, Refused};
use crate::engine::{Admin, Reads, Writes};
use crate::types::{CollectionName, PointId};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Environment variable with the data directory of the child process.
const DIR: &str = "NEARNESS_TEST_MANY";

fn name(number: usize) -> CollectionName {
    CollectionName::new(&format!("c{number:04}")).unwrap()
}

fn item(number: usize) -> Item {
    Item::vector(PointId::new(format!("p{number}")).unwrap(), vec![number as f32; 4])
}

/// Resident memory of this process, MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

/// Creates the collections: each with 2 growing points, every 8th with a sealed segment.
fn create(dir: &Path, collections: usize) {
    let database = Database::open(dir).unwrap();
    for number in 0..collections {
        let name = name(number);
        database.create_collection(&CollectionSpec::vectors(name.clone(), 4)).unwrap();
        if number % 8 == 0 {
            let refused = &mut |_: Refused<'_>, error| Err(error);
            database.bulk_load(&name, &mut (1..65).map(item), OnConflict::Replace, refused, &|_, _, _| true).unwrap();
        }
        database.upsert(&name, vec![item(100), item(101)]).unwrap();
    }
}

#[test]
#[ignore = "creates 4,096 collections"]
fn the_maximum_number_of_collections_starts_quickly_in_little_memory() {
    let dir = crate::quick_dir();
    let begun = Instant::now();
    create(dir.path(), MAX_COLLECTIONS);
    println!("created {MAX_COLLECTIONS} collections in {:?}", begun.elapsed());
    // In another process, so that the memory of the creation does not count.
    let own = "engine::local::many_tests::a_data_directory_with_many_collections_starts";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", own])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "the child process of the test above"]
fn a_data_directory_with_many_collections_starts() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let before = resident();
    let begun = Instant::now();
    let database = Database::open(dir).unwrap();
    let opened = begun.elapsed();
    println!("started in {opened:?}; resident {before} MiB before, {} MiB after", resident());
    let begun = Instant::now();
    assert_eq!(database.count(&name(8), None).unwrap(), 66);
    println!("the first call took {:?}", begun.elapsed());
    std::thread::sleep(Duration::from_secs(5));
    println!("resident after 5 s: {} MiB", resident());
    assert!(opened < Duration::from_secs(2) && resident() < 100, "{opened:?}, {} MiB", resident());
    let begun = Instant::now();
    assert_eq!(database.collections().unwrap().len(), MAX_COLLECTIONS);
    println!("a list took {:?}; resident {} MiB", begun.elapsed(), resident());
}
