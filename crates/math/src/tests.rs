//! Tests of every variant of every kernel against an `f64` reference, with a derived error bound, on odd lengths and
//! alignments.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::types::{Neighbor, Ordinal};

/// Bound on the rounding error of a sum of n terms in any order (Higham, Accuracy and Stability, section 4.2): n * u /
/// (1 - n * u) * sum |terms|, u = 2^-24; `extra` counts additional roundings per term.
fn bound(n: usize, extra: f64, magnitude: f64) -> f64 {
    let u = (n as f64 + extra) * 2.0_f64.powi(-24);
    u / (1.0 - u) * magnitude + 1e-40
}

fn check(a: &[f32], b: &[f32]) {
    let pairs = || a.iter().zip(b).map(|(&x, &y)| (f64::from(x), f64::from(y)));
    let dot: f64 = pairs().map(|(x, y)| x * y).sum();
    let dot_size: f64 = pairs().map(|(x, y)| (x * y).abs()).sum();
    let l2: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
    for k in variants() {
        let (d, l) = (f64::from((k.dot)(a, b)), f64::from((k.l2_squared)(a, b)));
        assert!((d - dot).abs() <= bound(a.len(), 1.0, dot_size), "{} dot of {}: {d} {dot}", k.name, a.len());
        assert!((l - l2).abs() <= bound(a.len(), 3.0, l2), "{} l2 of {}: {l} {l2}", k.name, a.len());
    }
}

#[test]
fn every_length_and_alignment_is_within_the_bound() {
    let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(7);
    let a: Vec<f32> = (0..4200).map(|_| rng.random_range(-3.0..3.0)).collect();
    let b: Vec<f32> = (0..4200).map(|_| rng.random_range(-3.0..3.0)).collect();
    for n in (0..=600).chain([1023, 1024, 1025, 2047, 3000, 4095, 4096]) {
        let (at, bt) = (n % 5, n % 7);
        check(&a[at..at + n], &b[bt..bt + n]);
    }
}

#[test]
fn codes_are_exact_even_at_the_extremes() {
    let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(8);
    let a: Vec<u8> = (0..5000).map(|_| rng.random()).collect();
    let b: Vec<i8> = (0..5000).map(|_| rng.random()).collect();
    let reference = |a: &[u8], b: &[i8]| a.iter().zip(b).map(|(&x, &y)| i64::from(x) * i64::from(y)).sum::<i64>();
    for k in variants() {
        for n in (0..=600).chain([4095, 4096]) {
            let (a, b) = (&a[n % 3..n % 3 + n], &b[n % 5..n % 5 + n]);
            assert_eq!(i64::from((k.dot_u8_i8)(a, b)), reference(a, b), "{} of {n}", k.name);
        }
        for extreme in [-128_i8, 127] {
            let (a, b) = (vec![255_u8; 65_792], vec![extreme; 65_792]);
            assert_eq!(i64::from((k.dot_u8_i8)(&a, &b)), reference(&a, &b), "{}", k.name);
        }
    }
}

#[test]
fn code_distances_are_those_of_the_codes() {
    let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(3);
    for stride in [64, 128, 192, 256, 320, 832] {
        let width = stride - codes::NORM_BYTES - rng.random_range(0..20);
        let mut bytes: Vec<u8> = (0..23 * stride).map(|_| rng.random()).collect();
        for row in bytes.chunks_exact_mut(stride) {
            row[width..].fill(0);
            let term = row[..width].iter().map(|&c| (i64::from(c) * i64::from(c)) - 256 * i64::from(c)).sum::<i64>();
            row[stride - 4..].copy_from_slice(&(term as u32).to_le_bytes());
        }
        let query: Vec<u8> = (0..width).map(|_| rng.random()).collect();
        let mut signed = vec![0_i8; stride];
        signed.iter_mut().zip(&query).for_each(|(to, &code)| *to = (code ^ 0x80) as i8);
        let norm = query.iter().map(|&c| u32::from(c).pow(2)).sum();
        let rows = codes::CodeRows { bytes: &bytes, stride };
        let which: Vec<u32> = [0, 22, 5, 23, 7, 7, u32::MAX, 1, 2, 3, 4].into_iter().chain(0..23).collect();
        for take in [0, 1, 3, 4, 5, which.len()] {
            let which = &which[which.len() - take..];
            let expected: Vec<u32> = which
                .iter()
                .map(|&row| {
                    let row = rows.get(row)?;
                    Some(row.iter().zip(&query).map(|(&a, &b)| (i64::from(a) - i64::from(b)).pow(2) as u32).sum())
                })
                .map(|distance| distance.unwrap_or(u32::MAX))
                .collect();
            for k in variants() {
                let mut out = vec![7; take];
                (k.code_distances)(rows, which, codes::CodeQuery { codes: &signed, norm }, &mut out);
                assert_eq!(out, expected, "{} stride {stride}", k.name);
            }
        }
    }
}

#[test]
fn a_matrix_times_a_split_vector_is_the_product() {
    let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(4);
    for width in [1_usize, 16, 63, 64, 100, 784] {
        let wide = width.next_multiple_of(64);
        let vector: Vec<f32> = (0..width).map(|_| rng.random_range(-300.0..500.0)).collect();
        for rows in [1, 2, 4, 7, 59] {
            let mut matrix: Vec<i8> = (0..rows * wide).map(|_| rng.random()).collect();
            matrix.chunks_exact_mut(wide).for_each(|row| row[width..].fill(0));
            for k in variants() {
                let (mut high, mut low) = (vec![0; wide], vec![0; wide]);
                let (min, step) = (k.split)(&vector, &mut high, &mut low).unwrap();
                let mut out = vec![0.0; rows];
                (k.products)(&high, &low, &matrix, &mut out);
                for (row, got) in matrix.chunks_exact(wide).zip(out) {
                    let steps: f64 = row.iter().map(|&b| f64::from(b)).sum();
                    let got = f64::from(step) * f64::from(got) + f64::from(min) * steps;
                    let exact: f64 = row.iter().zip(&vector).map(|(&b, &x)| f64::from(b) * f64::from(x)).sum();
                    let size: f64 = row.iter().map(|&b| f64::from(b).abs()).sum();
                    assert!((got - exact).abs() <= size * f64::from(step) * 0.6 + 0.5, "{}: {got} {exact}", k.name);
                }
            }
        }
    }
    for k in variants() {
        for bad in [vec![f32::NAN, 1.0], vec![1.0, f32::INFINITY], vec![f32::NEG_INFINITY], vec![3e38, -3e38]] {
            assert!((k.split)(&bad, &mut [0; 64], &mut [0; 64]).is_none(), "{} {bad:?}", k.name);
        }
        assert!((k.split)(&[2.5; 20], &mut [0; 64], &mut [0; 64]).is_some_and(|(min, _)| min == 2.5));
    }
}

#[test]
fn unequal_lengths_use_the_shorter() {
    for k in variants() {
        assert_eq!((k.dot)(&[1.0; 100], &[2.0; 37]), 74.0);
        assert_eq!((k.l2_squared)(&[1.0; 37], &[2.0; 100]), 37.0);
        assert_eq!((k.dot_u8_i8)(&[1; 100], &[2; 37]), 74);
    }
}

#[test]
fn norms_do_not_overflow_and_a_zero_vector_is_not_normalized() {
    assert_eq!(norm(&[3e30, 4e30]), 5e30);
    assert_eq!(norm(&[]), 0.0);
    let mut huge = [3e38, -3e38, 0.0];
    assert!(normalize(&mut huge));
    assert!((norm(&huge) - 1.0).abs() < 1e-6);
    for mut bad in [vec![0.0; 5], vec![1.0, f32::NAN], vec![f32::INFINITY], vec![]] {
        let before = format!("{bad:?}");
        assert!(!normalize(&mut bad), "{before}");
        assert_eq!(before, format!("{bad:?}"));
    }
}

#[test]
fn top_k_keeps_the_nearest_and_orders_ties_by_row() {
    let mut top = TopK::new(3);
    assert_eq!(top.worst(), f32::INFINITY);
    for (row, distance) in [(5, 1.0), (2, f32::NAN), (9, 0.5), (1, 1.0), (7, 2.0), (3, 1.0)] {
        top.push(Neighbor { row: Ordinal(row), distance });
    }
    assert_eq!(top.worst(), 1.0);
    assert_eq!(top.into_sorted().iter().map(|n| n.row.0).collect::<Vec<_>>(), [9, 1, 3]);
    let mut none = TopK::new(0);
    none.push(Neighbor { row: Ordinal(0), distance: 0.0 });
    assert!(none.is_empty() && none.worst() == f32::NEG_INFINITY);
}

proptest! {
    #[test]
    fn any_values_are_within_the_bound(pairs in prop::collection::vec((-1e6_f32..1e6, -1e6_f32..1e6), 0..600), skip in 0_usize..4) {
        let skip = skip.min(pairs.len());
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        check(&a[skip..], &b[skip..]);
    }
}
