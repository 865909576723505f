//! Synthetic data for the tests of this layer: clustered vectors of low intrinsic dimension, with and without
//! duplicates.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::Rows;
use crate::math::{self, Components};
use crate::types::Metric;

/// Vectors with their norms, and queries from the same distribution.
pub(super) struct Sample {
    pub(super) vectors: Vec<f32>,
    norms: Vec<f32>,
    dimension: usize,
    metric: Metric,
    extra: Vec<Vec<f32>>,
}

fn normal(rng: &mut Xoshiro256PlusPlus) -> f32 {
    // Box-Muller transform.
    let (u, v): (f32, f32) = (rng.random_range(1e-7..1.0), rng.random_range(0.0..1.0));
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

impl Sample {
    /// `rows` vectors around 30 centres in 8 latent dimensions, and 200 queries from the same distribution.
    pub(super) fn clustered(rows: usize, dimension: usize, metric: Metric, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        const LATENT: usize = 8;
        let centres: Vec<[f32; LATENT]> = (0..30).map(|_| std::array::from_fn(|_| 1.5 * normal(&mut rng))).collect();
        let mix: Vec<[f32; LATENT]> = (0..dimension).map(|_| std::array::from_fn(|_| normal(&mut rng))).collect();
        let mut all: Vec<Vec<f32>> = (0..rows + 200)
            .map(|_| {
                let centre = centres[rng.random_range(0..centres.len())];
                let at = centre.map(|c| c + normal(&mut rng));
                mix.iter()
                    .map(|w| w.iter().zip(&at).map(|(w, x)| w * x).sum::<f32>() + 0.1 * normal(&mut rng))
                    .collect()
            })
            .collect();
        let extra = all.split_off(rows);
        Self::of(all.concat(), dimension, metric, extra)
    }

    /// `rows` vectors of independent components around 30 centres, the hardest case for a graph, and `queries` from the
    /// same distribution.
    pub(super) fn hard(rows: usize, dimension: usize, metric: Metric, seed: u64, queries: usize) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut of = |spread: f32| (0..dimension).map(|_| spread * normal(&mut rng)).collect::<Vec<f32>>();
        let centres: Vec<Vec<f32>> = (0..30).map(|_| of(0.7)).collect();
        let mut all: Vec<Vec<f32>> = (0..rows + queries)
            .map(|row| of(1.0).iter().zip(&centres[row % 30]).map(|(x, centre)| x + centre).collect())
            .collect();
        let extra = all.split_off(rows);
        Self::of(all.concat(), dimension, metric, extra)
    }

    /// [`clustered`](Self::clustered), but every fifth row is a copy of one of three vectors.
    pub(super) fn with_duplicates(rows: usize, dimension: usize, metric: Metric, seed: u64) -> Self {
        let sample = Self::clustered(rows, dimension, metric, seed);
        let mut vectors = sample.vectors.clone();
        for row in (0..rows).step_by(5) {
            let from = (row % 3 + 1) * dimension;
            vectors.copy_within(from..from + dimension, row * dimension);
        }
        Self::of(vectors, dimension, metric, sample.extra)
    }

    /// Given vectors.
    pub(super) fn of(vectors: Vec<f32>, dimension: usize, metric: Metric, extra: Vec<Vec<f32>>) -> Self {
        let norms = vectors.chunks_exact(dimension).map(math::norm).collect();
        Self { vectors, norms, dimension, metric, extra }
    }

    pub(super) fn rows(&self) -> Rows<'_> {
        Rows {
            vectors: Components::F32(&self.vectors),
            norms: &self.norms,
            dimension: self.dimension,
            metric: self.metric,
        }
    }

    pub(super) fn queries(&self, count: usize) -> Vec<Vec<f32>> {
        self.extra[..count].to_vec()
    }
}
