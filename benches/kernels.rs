//! Nanoseconds a distance and gigabytes a second of every kernel that this processor runs: `cargo bench --bench kernels`.
//!
//! Rows come from 64 MiB, in order, so that the numbers include what memory costs.
#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use nearness::math;

const BYTES: usize = 64 << 20;

fn main() {
    println!("{:12} {:10} {:>5} {:>8} {:>7}", "kernels", "what", "dim", "ns", "GB/s");
    let floats: Vec<f32> = (0..BYTES / 4).map(|i| (i % 997) as f32 * 0.01 - 5.0).collect();
    let codes: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8).collect();
    for kernels in math::variants() {
        for dimension in [100, 128, 784, 1536] {
            let query: Vec<f32> = floats[..dimension].iter().rev().copied().collect();
            let signed: Vec<i8> = (0..dimension).map(|i| (i % 256) as u8 as i8).collect();
            let report = |what: &str, size: usize, mut pass: Box<dyn FnMut() -> f64 + '_>| {
                pass();
                let start = Instant::now();
                black_box(pass());
                let seconds = start.elapsed().as_secs_f64();
                let rows = BYTES / size / dimension;
                let (ns, rate) = (seconds * 1e9 / rows as f64, (rows * dimension * size) as f64 / seconds / 1e9);
                println!("{:12} {what:10} {dimension:5} {ns:8.1} {rate:7.1}", kernels.name);
            };
            let of_floats = |kernel: fn(&[f32], &[f32]) -> f32| {
                let (floats, query) = (&floats, &query);
                Box::new(move || floats.chunks_exact(dimension).map(|row| f64::from(kernel(row, query))).sum::<f64>())
            };
            report("dot", 4, of_floats(kernels.dot));
            report("l2_squared", 4, of_floats(kernels.l2_squared));
            let pass = || codes.chunks_exact(dimension).map(|row| f64::from((kernels.dot_u8_i8)(row, &signed))).sum();
            report("dot_u8_i8", 1, Box::new(pass));
        }
    }
}
