//! Fuzz target: vector files (fvecs, bvecs, fbin, u8bin), detected by name and by content; and ivecs, the ground
//! truth of a bench.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::cli::fuzzing::{neighbours, records, vectors};
use nearness_fuzz::{choice, file};

fuzz_target!(|data: &[u8]| {
    let (kind, data) = choice(data);
    let formats = ["fvecs", "bvecs", "fbin", "u8bin"];
    if let Some(format) = formats.get(usize::from(kind % 5)) {
        let path = file(&format!("a.{format}"), data);
        let _ = (records(&path, format, None, false), vectors(&path));
    } else {
        let _ = neighbours(&file("a.ivecs", data), usize::from(kind / 5), 3, 100);
        let _ = vectors(&file("a", data));
    }
});
