//! Nanoseconds a distance and gigabytes a second of every kernel that this processor runs: `cargo bench --bench kernels`.
//!
//! Rows come from 64 MiB, in order, so that the numbers include what memory costs. `near` lines read 1,024 rows again and
//! again, which the cache holds: what the instructions cost. `far` lines read rows in no order, asked for 16 ahead, as a walk
//! does: what a cache line from memory costs.
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
            let of_bytes = |kernel: fn(&[u8], f32, &[f32]) -> f32| {
                let (codes, query) = (&codes, &query);
                Box::new(move || {
                    codes.chunks_exact(dimension).map(|row| f64::from(kernel(row, 1.0, query))).sum::<f64>()
                })
            };
            report("l2_u8", 1, of_bytes(kernels.l2_u8));
            let halves: &[half::f16] = bytemuck::cast_slice(&codes);
            let pass = || halves.chunks_exact(dimension).map(|row| f64::from((kernels.l2_f16)(row, 1.0, &query))).sum();
            report("l2_f16", 2, Box::new(pass));
            let pass = || codes.chunks_exact(dimension).map(|row| f64::from((kernels.dot_u8_i8)(row, &signed))).sum();
            report("dot_u8_i8", 1, Box::new(pass));
        }
        for stride in [64, 128, 192, 832] {
            code_rows(&kernels, &codes, stride);
        }
        for (rows, width) in [(59, 128), (123, 832)] {
            let matrix: Vec<i8> = codes[..rows * width].iter().map(|&x| x as i8).collect();
            let (high, low, mut out) = (&codes[..width], &codes[width..2 * width], vec![0.0; rows]);
            const TIMES: usize = 20_000;
            let start = Instant::now();
            for _ in 0..TIMES {
                (kernels.products)(black_box(high), low, &matrix, &mut out);
            }
            let ns = start.elapsed().as_secs_f64() * 1e9 / TIMES as f64;
            let rate = (rows * width) as f64 / ns;
            println!("{:12} {:10} {width:5} {ns:8.1} {rate:7.1}", kernels.name, format!("x {rows} rows"));
        }
    }
}

/// Distances of code rows to one query, 16 at a call.
fn code_rows(kernels: &math::Kernels, codes: &[u8], stride: usize) {
    let rows = math::codes::CodeRows { bytes: codes, stride };
    let query = math::codes::CodeQuery { codes: &vec![1; stride], norm: 9 };
    for (name, within) in [("codes near", 1024), ("codes far", (codes.len() / stride) as u32)] {
        let mut next = 1_u32;
        let mut draw = || {
            next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (next >> 4) % within
        };
        let which: Vec<u32> = (0..1 << 20).map(|_| draw()).collect();
        let (mut out, mut sum) = ([0; 16], 0_u64);
        let start = Instant::now();
        for (which, ahead) in which.chunks_exact(16).zip(which.chunks_exact(16).skip(1)) {
            ahead.iter().filter_map(|&row| rows.get(row)).for_each(|row| math::prefetch_slice(row, usize::MAX));
            (kernels.code_distances)(rows, which, query, &mut out);
            sum += u64::from(out[0]);
        }
        black_box(sum);
        let ns = start.elapsed().as_secs_f64() * 1e9 / which.len() as f64;
        println!("{:12} {name:10} {stride:5} {ns:8.1} {:7.1}", kernels.name, stride as f64 / ns);
    }
}
