//! t-SNE in a plane (van der Maaten & Hinton 2008), with attraction along the nearest-neighbour graph and repulsion of
//! all pairs by `fft_repulsion.rs`.
//!
//! The descent follows openTSNE (Policar, Strazar & Zupan 2024): momentum and gains, early exaggeration, learning rate
//! = number of points / exaggeration (Belkina et al. 2019), and initialization by PCA (Kobak & Berens 2019).

use super::affinity::{Affinities, Neighbors};
use super::fft_repulsion::Fields;
use super::{Observe, Step};
use rayon::prelude::*;

/// Perplexity: effective number of neighbours, the exponential of an entropy. Low, to preserve the nearest neighbours.
const PERPLEXITY: f32 = 10.0;
/// Iterations with early exaggeration, in which clusters form.
const EARLY: usize = 150;
/// Iterations after it.
const LATE: usize = 350;
const EXAGGERATION: f32 = 12.0;
const MOMENTUM: f32 = 0.8;
const MIN_GAIN: f32 = 0.01;
/// Maximum length of a step.
const MAX_STEP: f32 = 5.0;
/// Standard deviation of the initial coordinates.
const INIT_STDDEV: f32 = 1e-4;

/// Computes a layout with two coordinates per point from the initial coordinates `start` (PCA). Returns None if
/// `observe` returns false.
pub fn tsne(neighbors: &Neighbors, start: &[f32], observe: Observe<'_>) -> Option<Vec<f32>> {
    let graph = Affinities::gaussian(neighbors, PERPLEXITY);
    let n = graph.len();
    let spread = (start.iter().map(|x| x * x).sum::<f32>() / start.len().max(1) as f32).sqrt().max(f32::MIN_POSITIVE);
    let mut positions: Vec<[f32; 2]> = start
        .chunks_exact(2)
        .map(|position| [position[0] / spread * INIT_STDDEV, position[1] / spread * INIT_STDDEV])
        .collect();
    let mut moves = vec![([0.0_f32; 2], [1.0_f32; 2]); n];
    let mut fields = Fields::default();
    for round in 0..EARLY + LATE {
        let exaggeration = if round < EARLY { EXAGGERATION } else { 1.0 };
        let rate = n as f32 / exaggeration;
        if round == EARLY {
            moves.fill(([0.0; 2], [1.0; 2]));
        }
        let (pushes, sum) = fields.push(&positions);
        #[allow(clippy::cast_possible_truncation)]
        let scale = (1.0 / sum) as f32;
        let step = |(point, (movement, gains)): (usize, &mut ([f32; 2], [f32; 2]))| {
            let here = positions[point];
            let mut pull = [0.0_f32; 2];
            let (others, weights) = graph.of(point);
            for (&other, weight) in others.iter().zip(weights) {
                let there = positions[other as usize];
                let (x, y) = (here[0] - there[0], here[1] - there[1]);
                let weight = weight / (1.0 + x * x + y * y);
                pull[0] += weight * x;
                pull[1] += weight * y;
            }
            for axis in 0..2 {
                let gradient = 4.0 * (exaggeration * pull[axis] - pushes[point][axis] * scale);
                let gain = if gradient * movement[axis] < 0.0 { gains[axis] + 0.2 } else { gains[axis] * 0.8 };
                gains[axis] = gain.max(MIN_GAIN);
                movement[axis] = MOMENTUM * movement[axis] - rate * gains[axis] * gradient;
            }
            let length = movement[0].hypot(movement[1]);
            if length > MAX_STEP {
                movement.iter_mut().for_each(|x| *x *= MAX_STEP / length);
            }
        };
        moves.par_iter_mut().enumerate().with_min_len(512).for_each(step);
        let moved = positions.par_iter_mut().zip(&moves).with_min_len(4_096);
        moved.for_each(|(position, (movement, _))| {
            position[0] += movement[0];
            position[1] += movement[1];
        });
        let flat = || positions.as_flattened().to_vec();
        if !observe(Step { done: (round + 1) as f32 / (EARLY + LATE) as f32, positions: &flat }) {
            return None;
        }
    }
    Some(positions.into_flattened())
}
