//! The net of contrastive training: a text is the normalized sum of its words' vectors.
//!
//! A word's vector is `M e + d`: `e` is the vector of the word model, weighted by the word's rarity; `M` is one linear
//! map for all words; `d` is the word's own vector. The map generalizes to words without training pairs. `M` and `d`
//! are learned with AdaGrad (Duchi, Hazan, Singer 2011), `d` with one rate per row.

use super::encoder::rarity;
use crate::{
    math::gemm::{Matrix, multiply},
    words::{WordModel, sampling::Random, sif::inverse_norm},
};
use rayon::prelude::*;

/// Texts, or rows of a table, per thread; fixed sizes, so that sums do not depend on the number of threads.
const TEXT_BLOCK: usize = 32;
const ROW_BLOCK: usize = 256;
/// Initial value of the sums of squares.
const INITIAL_SQUARES: f32 = 1e-8;

/// A bag of words: word numbers in rising order, with counts.
pub(super) type Bag = [(u32, f32)];

/// The weights, and the sums of the squares of their gradients.
pub(super) struct Net {
    pub(super) dimension: usize,
    /// Dimension of the word model.
    inner: usize,
    /// The rarity of each word.
    rarity: Vec<f32>,
    /// `e` of each word, fixed.
    fixed: Vec<f32>,
    /// `M`, one row per component of a vector.
    map: Vec<f32>,
    map_squares: Vec<f32>,
    /// `d` of each word.
    learned: Vec<f32>,
    learned_squares: Vec<f32>,
}

/// The results of the forward pass that the backward pass uses.
#[derive(Default)]
pub(super) struct Forward {
    /// Sums of `e`.
    fixed: Vec<f32>,
    /// Unit vectors.
    pub(super) unit: Vec<f32>,
    /// 1 / norm of the vectors before normalization.
    inverse: Vec<f32>,
}

impl Net {
    /// Returns the initial net: the map copies the word model's components, and any further components are random.
    pub(super) fn new(words: &WordModel, dimension: usize, random: &mut Random) -> Self {
        let (n, inner) = (words.vocabulary().len(), words.dimension());
        let rarity = rarity(words);
        let mut mean = vec![0.0_f64; inner];
        words
            .rows()
            .chunks_exact(inner)
            .for_each(|row| mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x)));
        mean.iter_mut().for_each(|x| *x /= n as f64);
        let mut fixed = Vec::with_capacity(n * inner);
        for (row, rarity) in words.rows().chunks_exact(inner).zip(&rarity) {
            let first = fixed.len();
            fixed.extend(row.iter().zip(&mean).map(|(&x, mean)| x - *mean as f32));
            let scale = rarity * inverse_norm(&fixed[first..]);
            fixed[first..].iter_mut().for_each(|x| *x *= scale);
        }
        let mut map = vec![0.0; dimension * inner];
        if dimension >= inner {
            (0..inner).for_each(|at| map[at * inner + at] = 1.0);
        } else {
            // With fewer components than the word model, a random projection preserves angles best.
            map.iter_mut().for_each(|x| *x = normal(random) / (dimension as f32).sqrt());
        }
        let mut learned = vec![0.0; n * dimension];
        let beyond = dimension.saturating_sub(inner);
        for (row, rarity) in learned.chunks_exact_mut(dimension).zip(&rarity) {
            row[dimension - beyond..].iter_mut().for_each(|x| *x = rarity * normal(random) / (beyond as f32).sqrt());
        }
        Self {
            dimension,
            inner,
            rarity,
            fixed,
            map_squares: vec![INITIAL_SQUARES; map.len()],
            map,
            learned,
            learned_squares: vec![INITIAL_SQUARES; n],
        }
    }

    /// Computes the vectors of texts.
    pub(super) fn forward(&self, texts: &[&Bag], forward: &mut Forward) {
        let (dimension, inner) = (self.dimension, self.inner);
        forward.fixed.resize(texts.len() * inner, 0.0);
        forward.unit.resize(texts.len() * dimension, 0.0);
        forward.inverse.resize(texts.len(), 0.0);
        let chunks = texts.par_chunks(TEXT_BLOCK).zip(forward.fixed.par_chunks_mut(TEXT_BLOCK * inner));
        let out = forward.unit.par_chunks_mut(TEXT_BLOCK * dimension).zip(forward.inverse.par_chunks_mut(TEXT_BLOCK));
        chunks.zip(out).for_each(|((texts, fixed), (unit, inverse))| {
            let sum = |table: &[f32], width: usize, text: &Bag, sum: &mut [f32]| {
                for &(word, times) in text {
                    let row = &table[word as usize * width..][..width];
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += times * x);
                }
            };
            fixed.fill(0.0);
            unit.fill(0.0);
            for (index, text) in texts.iter().enumerate() {
                sum(&self.fixed, inner, text, &mut fixed[index * inner..][..inner]);
                sum(&self.learned, dimension, text, &mut unit[index * dimension..][..dimension]);
            }
            let map = Matrix::new(&self.map, dimension, inner).transposed();
            multiply(unit, Matrix::new(fixed, texts.len(), inner), map, true);
            for (unit, inverse) in unit.chunks_exact_mut(dimension).zip(inverse) {
                *inverse = inverse_norm(unit);
                unit.iter_mut().for_each(|x| *x *= *inverse);
            }
        });
    }

    /// Performs one descent step. `gradient` is the gradient of the loss with respect to the unit vectors; it is
    /// replaced by that with respect to the sums.
    pub(super) fn descend(&mut self, texts: &[&Bag], forward: &Forward, gradient: &mut [f32], rates: Rates) {
        let (dimension, inner) = (self.dimension, self.inner);
        let rows = gradient.par_chunks_exact_mut(dimension).zip(forward.unit.par_chunks_exact(dimension));
        rows.zip(&forward.inverse).for_each(|((gradient, unit), inverse)| {
            let along: f32 = gradient.iter().zip(unit).map(|(a, b)| a * b).sum();
            gradient.iter_mut().zip(unit).for_each(|(g, u)| *g = (*g - u * along) * inverse);
        });
        let gradient = &*gradient;
        if rates.map > 0.0 {
            let mut by_map = vec![0.0; self.map.len()];
            let fixed = Matrix::new(&forward.fixed, texts.len(), inner);
            by_map.par_chunks_mut(TEXT_BLOCK * inner).enumerate().for_each(|(block, by_map)| {
                let columns =
                    Matrix::strided(&gradient[block * TEXT_BLOCK..], texts.len(), by_map.len() / inner, dimension);
                multiply(by_map, columns.transposed(), fixed, false);
            });
            for ((weight, squares), by) in self.map.iter_mut().zip(&mut self.map_squares).zip(by_map) {
                *squares += by * by;
                *weight -= rates.map * by / squares.sqrt();
            }
        }
        let mut uses: Vec<(u32, u32, f32)> = (0_u32..)
            .zip(texts)
            .flat_map(|(text, bag)| bag.iter().map(move |&(word, times)| (word, text, times)))
            .collect();
        uses.par_sort_unstable_by_key(|&(word, text, _)| (word, text));
        let tables =
            self.learned.par_chunks_mut(ROW_BLOCK * dimension).zip(self.learned_squares.par_chunks_mut(ROW_BLOCK));
        tables.zip(self.rarity.par_chunks(ROW_BLOCK)).enumerate().for_each(|(block, ((learned, squares), rarity))| {
            let first = block * ROW_BLOCK;
            let from = uses.partition_point(|&(word, ..)| (word as usize) < first);
            let to = uses.partition_point(|&(word, ..)| (word as usize) < first + ROW_BLOCK);
            let mut sum = vec![0.0; dimension];
            for uses in uses[from..to].chunk_by(|a, b| a.0 == b.0) {
                sum.fill(0.0);
                for &(_, text, times) in uses {
                    let gradient = &gradient[text as usize * dimension..][..dimension];
                    sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += times * g);
                }
                let index = uses[0].0 as usize - first;
                squares[index] += sum.iter().map(|g| g * g).sum::<f32>() / dimension as f32;
                let step = rates.learned * rarity[index] / squares[index].sqrt();
                learned[index * dimension..][..dimension].iter_mut().zip(&sum).for_each(|(x, g)| *x -= step * g);
            }
        });
    }

    /// Returns `M e + d` of each word.
    pub(super) fn rows(&self) -> Vec<f32> {
        let (dimension, inner) = (self.dimension, self.inner);
        let mut rows = self.learned.clone();
        let map = Matrix::new(&self.map, dimension, inner).transposed();
        rows.par_chunks_mut(ROW_BLOCK * dimension).zip(self.fixed.par_chunks(ROW_BLOCK * inner)).for_each(
            |(rows, fixed)| {
                multiply(rows, Matrix::new(fixed, fixed.len() / inner, inner), map, true);
            },
        );
        rows
    }
}

/// Learning rates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// For the map.
    pub(super) map: f32,
    /// For the words' own vectors.
    pub(super) learned: f32,
}

/// Returns a sample of the standard normal distribution (Box, Muller 1958).
fn normal(random: &mut Random) -> f32 {
    let (a, b) = (1.0 - random.unit(), random.unit());
    (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::super::contrastive_loss::info_nce;
    use super::*;
    use crate::words::toy_model;

    #[test]
    fn a_step_follows_the_gradient_of_the_loss() {
        let articles = [0, 0, 1, 1, 2, 2];
        let bags: Vec<Vec<(u32, f32)>> = (0..6).map(|n| vec![(n, 1.0), (n + 1, 2.0), (8, 1.0 + n as f32)]).collect();
        let texts: Vec<&Bag> = bags.iter().map(Vec::as_slice).collect();
        let mut net = Net::new(&toy_model(10, 4), 6, &mut Random::new(1, 1));
        // The loss, and the gradient by the unit vectors.
        let loss_of = |net: &Net, forward: &mut Forward| {
            net.forward(&texts, forward);
            let mut gradient = vec![0.0; forward.unit.len()];
            (info_nce(&forward.unit, 6, &articles, 0.5, &mut Vec::new(), &mut gradient), gradient)
        };
        let slope = |net: &mut Net, of: fn(&mut Net) -> &mut Vec<f32>, at: usize| {
            let mut moved = |by: f32| {
                of(net)[at] += by;
                let loss = loss_of(net, &mut Forward::default()).0;
                of(net)[at] -= by;
                loss
            };
            (moved(0.01) - moved(-0.01)) / 0.02
        };
        let learned: Vec<f64> = (0..60).map(|at| slope(&mut net, |net| &mut net.learned, at)).collect();
        let map: Vec<f64> = (0..24).map(|at| slope(&mut net, |net| &mut net.map, at)).collect();
        let mut forward = Forward::default();
        let (loss, mut gradient) = loss_of(&net, &mut forward);
        let before = (net.learned.clone(), net.map.clone());
        net.descend(&texts, &forward, &mut gradient, Rates { map: 1e-3, learned: 1e-3 });
        assert!(loss_of(&net, &mut forward).0 < loss);
        // A row moves against its gradient; each element of the map against its own, at the first step by the learning
        // rate.
        for word in 0..10 {
            let row = word * 6..word * 6 + 6;
            let moved: Vec<f64> = row.clone().map(|at| f64::from(net.learned[at] - before.0[at])).collect();
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let along: f64 = learned[row.clone()].iter().zip(&moved).map(|(a, b)| a * b).sum();
            let used = word < 7 || word == 8;
            assert_eq!(norm(&moved) > 0.0, used, "{word}");
            assert!(!used || along < -0.999 * norm(&moved) * norm(&learned[row]), "{word}: {moved:?}");
        }
        for (at, slope) in map.iter().enumerate() {
            let moved = f64::from(net.map[at] - before.1[at]);
            assert!((moved + 1e-3 * slope / (slope * slope + 1e-8).sqrt()).abs() < 1e-4, "{at}: {moved} {slope}");
        }
    }
}
