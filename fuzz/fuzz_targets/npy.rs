//! Fuzz target: npy files, in the readers of `load` and of `bench`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::cli::fuzzing::{records, vectors};
use nearness_fuzz::file;

fuzz_target!(|data: &[u8]| {
    let path = file("a.npy", data);
    let _ = (records(&path, "npy", None, false), vectors(&path));
});
