//! Fuzz target: index files of sparse vectors, unchanged, and with corrected checksums; searched by some queries.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::disk::Mapping;
use nearness::index::sparse::{SparseIndex, SparseQuery};
use nearness::math::TopK;
use nearness_fuzz::{file, fix_sparse};

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

fn read(bytes: &[u8]) {
    let path = file("index.sparse", bytes);
    let (binding, rows) = (number(bytes, 16), number(bytes, 24) as u32);
    if let Ok(mapping) = Mapping::open(&path)
        && let Ok(index) = SparseIndex::open(mapping, binding, rows)
    {
        for query in [vec![(0, 1.0)], (0..40).map(|index| (index, 0.5)).collect(), vec![(u32::MAX, 3.0e38), (7, 1e-30)]]
        {
            let query = SparseQuery::new(query);
            // Scores that the bounds of a forged file do not cover.
            let exact = |row: u32| {
                assert!(row < rows);
                Ok::<f32, ()>((row % 7) as f32)
            };
            for omitted in [0.0, 0.4, 1.0] {
                let mut top = TopK::new(10);
                let searched = index.search(&query, &mut top, &|row| row % 3 != 0, &exact, &|| false, 10, omitted);
                assert!(searched.is_ok() && top.into_sorted().len() <= 10);
            }
        }
    }
    let _ = std::fs::remove_file(path);
}

fuzz_target!(|data: &[u8]| {
    read(data);
    let mut fixed = data.to_vec();
    if fix_sparse(&mut fixed) {
        read(&fixed);
    }
});
