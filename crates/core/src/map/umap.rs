//! UMAP (McInnes, Healy & Melville 2018) in two or three dimensions, on the graph of nearest neighbours.
//!
//! Weights and schedule are those of the paper and of umap-learn: an edge is drawn as often as its weight says, and each time
//! points taken at random are pushed away. A round goes through the points in blocks. Each point of a block moves along its own
//! edges, one after the other, among the others as they were when the block began: many threads, and one result. Blocks are small
//! against the whole, because neighbours that move at the same time overshoot.

use super::affinity::{Affinities, Neighbors};
use super::{Observe, Step};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

/// The curve 1 / (1 + a d^(2b)) for a least distance of 0.1 and a spread of 1, as umap-learn fits it.
const A: f32 = 1.576_943_5;
const B: f32 = 0.895_060_9;
/// Pushes for each pull.
const PUSHES: usize = 5;
/// Rounds for a large layout, and for one of at most 10,000 points.
const ROUNDS: (usize, usize) = (200, 500);
/// Half of the side of the first layout.
const BEGIN: f32 = 10.0;
/// Blocks of a round.
const BLOCKS: usize = 64;
/// Longest pull or push along an axis.
const LONGEST: f32 = 4.0;

/// Lays points out from the places that they have (PCA), `dimensions` (2 or 3) numbers each. False from `observe` ends it with none.
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
    let mut places: Vec<[f32; D]> = start
        .chunks_exact(D)
        .map(|place| std::array::from_fn(|axis| place[axis] / largest * BEGIN + noise()))
        .collect();
    let heaviest = (0..n).flat_map(|point| graph.of(point).1).fold(f32::MIN_POSITIVE, |most, &weight| most.max(weight));
    for round in 0..rounds {
        let rate = 1.0 - round as f32 / rounds as f32;
        let moved = |places: &[[f32; D]], point: usize| {
            let mut here = places[point];
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ ((round as u64) << 32 | point as u64) << 1 ^ 1);
            let (others, weights) = graph.of(point);
            for (&other, weight) in others.iter().zip(weights) {
                // How often it has been drawn by now, and by the round before.
                let share = weight / heaviest;
                if ((round + 1) as f32 * share) as usize == (round as f32 * share) as usize {
                    continue;
                }
                // The edge is drawn from its other end as often, which moves this point as much.
                pull(&mut here, &places[other as usize], 2.0 * rate);
                for _ in 0..PUSHES {
                    let other = rng.random_range(0..n);
                    if other != point {
                        push(&mut here, &places[other], rate);
                    }
                }
            }
            here
        };
        let block = n.div_ceil(BLOCKS).max(1);
        for from in (0..n).step_by(block) {
            let until = n.min(from + block);
            let next: Vec<[f32; D]> =
                (from..until).into_par_iter().with_min_len(64).map(|point| moved(&places, point)).collect();
            places[from..until].copy_from_slice(&next);
        }
        let flat = || places.as_flattened().to_vec();
        if !observe(Step { done: (round + 1) as f32 / rounds as f32, places: &flat }) {
            return None;
        }
    }
    Some(places.into_flattened())
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
            *x += rate * (slope * (*x - other)).clamp(-LONGEST, LONGEST);
        }
    }
}

#[inline]
fn push<const D: usize>(here: &mut [f32; D], there: &[f32; D], rate: f32) {
    let square = apart(here, there);
    let slope = 2.0 * B / ((0.001 + square) * (1.0 + A * square.powf(B)));
    for (x, other) in here.iter_mut().zip(there) {
        *x += rate * (slope * (*x - other)).clamp(-LONGEST, LONGEST);
    }
}
