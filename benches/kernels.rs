//! Nanoseconds per distance and gigabytes per second of every kernel supported by this processor:
//! `cargo bench --bench kernels`.
//!
//! Rows are read from 64 MiB in order, so the numbers include the cost of memory. `near` lines read the same 1,024
//! rows repeatedly from the cache: the cost of the instructions. `far` lines read rows in random order, prefetched
//! 16 ahead, as a graph search does: the cost of cache misses. `of read` is the share of the speed at which the
//! same bytes are only read, in the same order and with the widest loads: 100 % is the machine's limit. Each line
//! is the best of 5 passes.
#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use nearness::math;

const BYTES: usize = 64 << 20;

fn main() {
    println!("{:12} {:10} {:>5} {:>8} {:>7} {:>8}", "kernels", "what", "dim", "ns", "GB/s", "of read");
    let floats: Vec<f32> = (0..BYTES / 4).map(|i| (i % 997) as f32 * 0.01 - 5.0).collect();
    let codes: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8).collect();
    for kernels in math::variants() {
        for dimension in [100, 128, 784, 1536] {
            let query: Vec<f32> = floats[..dimension].iter().rev().copied().collect();
            let signed: Vec<i8> = (0..dimension).map(|i| (i % 256) as u8 as i8).collect();
            let report = |what: &str, size: usize, mut pass: Box<dyn FnMut() -> f64 + '_>| {
                let seconds = best(|| _ = black_box(pass()));
                let reading = best(|| {
                    black_box(codes.chunks_exact(dimension * size).fold(0, |sum, row| sum ^ read(row)));
                });
                let rows = BYTES / size / dimension;
                let (ns, rate) = (seconds * 1e9 / rows as f64, (rows * dimension * size) as f64 / seconds / 1e9);
                let share = 100.0 * reading / seconds;
                println!("{:12} {what:10} {dimension:5} {ns:8.1} {rate:7.1} {share:6.0} %", kernels.name);
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

/// Distances of code rows to one query, 16 per call.
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
        let mut out = [0; 16];
        let pass = |score: &mut dyn FnMut(&[u32])| {
            best(|| {
                for (which, ahead) in which.chunks_exact(16).zip(which.chunks_exact(16).skip(1)) {
                    ahead.iter().filter_map(|&row| rows.get(row)).for_each(|row| math::prefetch_slice(row, usize::MAX));
                    score(which);
                }
            })
        };
        let mut sum = 0;
        let seconds = pass(&mut |which| {
            (kernels.code_distances)(rows, which, query, &mut out);
            sum ^= u64::from(out[0]);
        });
        let reading = pass(&mut |which| which.iter().filter_map(|&row| rows.get(row)).for_each(|row| sum ^= read(row)));
        black_box(sum);
        let (ns, share) = (seconds * 1e9 / which.len() as f64, 100.0 * reading / seconds);
        println!("{:12} {name:10} {stride:5} {ns:8.1} {:7.1} {share:6.0} %", kernels.name, stride as f64 / ns);
    }
}

/// Seconds of the fastest of five passes.
fn best(mut pass: impl FnMut()) -> f64 {
    let mut time = || {
        let start = Instant::now();
        pass();
        start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| time()).fold(f64::INFINITY, f64::min)
}

/// Reads every whole word of a row with minimal work per word.
#[inline(always)]
fn read(row: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide(row: &[u8]) -> u64 {
            words(row)
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { wide(row) };
        }
    }
    words(row)
}

#[inline(always)]
fn words(row: &[u8]) -> u64 {
    let mut sums = [0_u64; 16];
    let mut blocks = row.chunks_exact(128);
    for block in &mut blocks {
        for (sum, word) in sums.iter_mut().zip(block.chunks_exact(8)) {
            *sum ^= word.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        }
    }
    let rest = blocks.remainder().chunks_exact(8);
    let rest = rest.fold(0, |sum, word| sum ^ word.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)));
    sums.iter().fold(rest, |all, sum| all ^ sum)
}
