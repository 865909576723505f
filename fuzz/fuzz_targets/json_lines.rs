//! Fuzz target: JSON lines files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::cli::fuzzing::records;
use nearness_fuzz::file;

fuzz_target!(|data: &[u8]| {
    let _ = records(&file("a.jsonl", data), "jsonl", None, false);
});
