//! Fuzz target: images of every supported format. (`image` ignores PNG checksums when it is built for fuzzing.)
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::embed::digits::prepared;

fuzz_target!(|data: &[u8]| {
    if let Ok(pixels) = prepared(data) {
        assert!(pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    }
});
