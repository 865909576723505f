//! UMAP (McInnes, Healy & Melville 2018) in two or three dimensions, on the nearest-neighbour graph.
//!
//! Weights and schedule follow the paper and umap-learn: edges are sampled in proportion to their weights, each with
//! random negative samples. An epoch processes the points in blocks. Each point of a block moves along its own
//! edges, sequentially, relative to the positions at the start of the block, so the result does not depend on the
//! number of threads. Blocks are small relative to the layout, because neighbours that move simultaneously overshoot.

use super::affinity::{Affinities, Neighbors};
use super::{Observe, Step};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

/// Coefficients of the curve 1 / (1 + a d^(2b)) for a minimum distance of 0.1 and a spread of 1, as fitted by
/// umap-learn.
const A: f32 = 1.576_943_5;
const B: f32 = 0.895_060_9;
/// Negative samples per edge sample.
const PUSHES: usize = 5;
/// Epochs for a large layout, and for one of at most 10,000 points.
const ROUNDS: (usize, usize) = (200, 500);
/// Half of the side of the initial layout.
const INIT_EXTENT: f32 = 10.0;
/// Blocks per epoch.
const BLOCKS: usize = 64;
/// Maximum displacement per update along an axis.
const MAX_DISPLACEMENT: f32 = 4.0;

/// Computes a layout with `dimensions` (2 or 3) coordinates per point from the initial coordinates `start` (PCA).
/// Returns None if `observe` returns false.
pub fn umap(
    neighbors: &Neighbors,
    start: &[f32],
    dimensions: usize,
    seed: u64,
    observe: Observe<'_>,
) -> Option<Vec<f32>> {
    match dimensions {
        2 => lay_out::<2>(neighbors, start, seed, observe),
        _ => lay_out::<3>(neighbors, start, seed, observe),
    }
}

fn lay_out<const D: usize>(neighbors: &Neighbors, start: &[f32], seed: u64, observe: Observe<'_>) -> Option<Vec<f32>> {
    let graph = Affinities::fuzzy(neighbors);
    let n = graph.len();
    let rounds = if n <= 10_000 { ROUNDS.1 } else { ROUNDS.0 };
    let largest = start.iter().fold(f32::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut noise = || rng.random_range(-1e-3..1e-3_f32);
    let mut positions: Vec<[f32; D]> = start
        .chunks_exact(D)
        .map(|position| std::array::from_fn(|axis| position[axis] / largest * INIT_EXTENT + noise()))
        .collect();
    let heaviest = (0..n).flat_map(|point| graph.of(point).1).fold(f32::MIN_POSITIVE, |max, &weight| max.max(weight));
    for round in 0..rounds {
        let rate = 1.0 - round as f32 / rounds as f32;
        let moved = |positions: &[[f32; D]], point: usize| {
            let mut here = positions[point];
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ ((round as u64) << 32 | point as u64) << 1 ^ 1);
            let (others, weights) = graph.of(point);
            for (&other, weight) in others.iter().zip(weights) {
                // Samples the edge if its cumulative count increases in this epoch.
                let share = weight / heaviest;
                if ((round + 1) as f32 * share) as usize == (round as f32 * share) as usize {
                    continue;
                }
                // The edge is sampled equally often from its other end, which moves this point as much; hence the
                // factor 2.
                pull(&mut here, &positions[other as usize], 2.0 * rate);
                for _ in 0..PUSHES {
                    let other = rng.random_range(0..n);
                    if other != point {
                        push(&mut here, &positions[other], rate);
                    }
                }
            }
            here
        };
        let block = n.div_ceil(BLOCKS).max(1);
        for from in (0..n).step_by(block) {
            let until = n.min(from + block);
            let next: Vec<[f32; D]> =
                (from..until).into_par_iter().with_min_len(64).map(|point| moved(&positions, point)).collect();
            positions[from..until].copy_from_slice(&next);
        }
        let flat = || positions.as_flattened().to_vec();
        if !observe(Step { done: (round + 1) as f32 / rounds as f32, positions: &flat }) {
            return None;
        }
    }
    Some(positions.into_flattened())
}

fn apart<const D: usize>(a: &[f32; D], b: &[f32; D]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[inline]
fn pull<const D: usize>(here: &mut [f32; D], there: &[f32; D], rate: f32) {
    let square = apart(here, there);
    if square > 0.0 {
        let power = square.powf(B - 1.0);
        let slope = -2.0 * A * B * power / (1.0 + A * power * square);
        for (x, other) in here.iter_mut().zip(there) {
            *x += rate * (slope * (*x - other)).clamp(-MAX_DISPLACEMENT, MAX_DISPLACEMENT);
        }
    }
}

#[inline]
fn push<const D: usize>(here: &mut [f32; D], there: &[f32; D], rate: f32) {
    let square = apart(here, there);
    let slope = 2.0 * B / ((0.001 + square) * (1.0 + A * square.powf(B)));
    for (x, other) in here.iter_mut().zip(there) {
        *x += rate * (slope * (*x - other)).clamp(-MAX_DISPLACEMENT, MAX_DISPLACEMENT);
    }
}
