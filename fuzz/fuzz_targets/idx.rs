//! Fuzz target: IDX files, plain and gzip, in the readers of `train`, of `load` with labels, and of `bench`.
#![no_main]

use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use nearness::cli::fuzzing::{records, vectors};
use nearness::embed::{digits::LabelledImages, formats::idx};
use nearness_fuzz::{choice, file, parts};
use std::io::Write;

fuzz_target!(|data: &[u8]| {
    let (kind, data) = choice(data);
    let [labels, images] = parts(data);
    let packed = |bytes: &[u8]| {
        if kind & 1 == 0 {
            return bytes.to_vec();
        }
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).expect("memory");
        gzip.finish().expect("memory")
    };
    let (images, labels) = (file("images", &packed(images)), file("labels", &packed(labels)));
    if let Ok(read) = idx::read(&images) {
        let product: u64 = read.dimensions.iter().map(|size| u64::from(*size)).product();
        assert_eq!(product, read.bytes.len() as u64);
    }
    let _ = LabelledImages::read(&images, &labels);
    let _ = records(&images, "idx", (kind & 2 != 0).then_some(labels.as_path()), kind & 4 != 0);
    let _ = vectors(&images);
});
