//! The loss of contrastive training (InfoNCE: van den Oord, Li, Vinyals 2018, "Representation Learning with Contrastive
//! Predictive Coding", equation 4), with the other texts of a batch as negatives, on both sides of each pair.

use crate::math::gemm::{Matrix, multiply};
use rayon::prelude::*;

/// Rows per thread and block; a fixed size, so that sums do not depend on the number of threads.
const BLOCK: usize = 64;

/// Returns the mean over the rows of -ln of the partner's share in the row's softmax of cosines over the temperature,
/// and computes its gradient with respect to the rows.
///
/// `unit` is an even number of unit vectors of `dimension` numbers; 2i and 2i + 1 are partners. Rows of the same
/// article are not negatives of each other. `scores` is scratch space.
///
/// # Panics
/// If the lengths do not match.
pub(super) fn info_nce(
    unit: &[f32],
    dimension: usize,
    articles: &[u32],
    temperature: f32,
    scores: &mut Vec<f32>,
    gradient: &mut [f32],
) -> f64 {
    let n = articles.len();
    assert!(n.is_multiple_of(2) && unit.len() == n * dimension && gradient.len() == unit.len(), "rows in pairs");
    scores.resize(n * n, 0.0);
    let all = Matrix::new(unit, n, dimension);
    let losses: Vec<f64> = scores
        .par_chunks_mut(BLOCK * n)
        .enumerate()
        .flat_map_iter(|(block, scores)| {
            let first = block * BLOCK;
            let rows = scores.len() / n;
            multiply(scores, Matrix::new(&unit[first * dimension..], rows, dimension), all.transposed(), false);
            let losses: Vec<f64> = scores
                .chunks_exact_mut(n)
                .zip(first..)
                .map(|(scores, row)| softmax_gradient(scores, row, articles, temperature))
                .collect();
            losses
        })
        .collect();
    let scores = &*scores;
    gradient.par_chunks_mut(BLOCK * dimension).enumerate().for_each(|(block, gradient)| {
        let (first, rows) = (block * BLOCK, gradient.len() / dimension);
        // A score depends on two rows: as the first and as the second.
        multiply(gradient, Matrix::new(&scores[first * n..], rows, n), all, false);
        multiply(gradient, Matrix::strided(&scores[first..], n, rows, n).transposed(), all, true);
    });
    losses.iter().sum::<f64>() / n as f64
}

/// Replaces a row's cosines by the gradient with respect to them; returns the row's loss.
fn softmax_gradient(scores: &mut [f32], row: usize, articles: &[u32], temperature: f32) -> f64 {
    let (partner, own) = (row ^ 1, articles[row]);
    let is_compared = |index: usize| index == partner || articles[index] != own;
    let mut max_score = f32::NEG_INFINITY;
    for (index, score) in scores.iter_mut().enumerate() {
        *score /= temperature;
        if is_compared(index) {
            max_score = max_score.max(*score);
        }
    }
    let right = scores[partner];
    let mut sum = 0.0_f64;
    for (index, score) in scores.iter_mut().enumerate() {
        *score = if is_compared(index) { (*score - max_score).exp() } else { 0.0 };
        sum += f64::from(*score);
    }
    let scale = 1.0 / (temperature * articles.len() as f32);
    let inverse = scale * (1.0 / sum) as f32;
    scores.iter_mut().for_each(|score| *score *= inverse);
    scores[partner] -= scale;
    sum.ln() + f64::from(max_score) - f64::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::sampling::Random;

    /// Reference implementation in 64 bits, by definition.
    fn by_definition(rows: &[f64], dimension: usize, articles: &[u32], temperature: f64) -> f64 {
        let n = articles.len();
        let row = |index: usize| &rows[index * dimension..][..dimension];
        let score = |a: usize, b: usize| row(a).iter().zip(row(b)).map(|(a, b)| a * b).sum::<f64>() / temperature;
        let losses = (0..n).map(|a| {
            let others = (0..n).filter(|&b| b == a ^ 1 || articles[b] != articles[a]);
            others.map(|b| score(a, b).exp()).sum::<f64>().ln() - score(a, a ^ 1)
        });
        losses.sum::<f64>() / n as f64
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        // More rows than a block; two pairs belong to one article.
        let (n, dimension, temperature) = (140, 7, 0.2_f32);
        let mut articles: Vec<u32> = (0..n).map(|row| row / 2).collect();
        articles[8..10].fill(1);
        let mut random = Random::new(5, 0);
        let mut rows: Vec<f32> = (0..n as usize * dimension).map(|_| random.unit() - 0.5).collect();
        rows.chunks_exact_mut(dimension).for_each(|row| _ = crate::math::normalize(row));
        let (mut scores, mut gradient) = (Vec::new(), vec![f32::NAN; rows.len()]);
        let loss = info_nce(&rows, dimension, &articles, temperature, &mut scores, &mut gradient);
        let wide: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
        let expected = by_definition(&wide, dimension, &articles, f64::from(temperature));
        assert!((loss - expected).abs() < 1e-4, "{loss} {expected}");
        for index in (0..rows.len()).step_by(3) {
            let moved = |by: f64| {
                let mut moved = wide.clone();
                moved[index] += by;
                by_definition(&moved, dimension, &articles, f64::from(temperature))
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!(
                (slope - f64::from(gradient[index])).abs() < 1e-5 + 1e-3 * slope.abs(),
                "{index}: {slope} {}",
                gradient[index]
            );
        }
        // Another number of threads gives the same bits.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let mut again = vec![0.0; rows.len()];
        let once = pool.install(|| info_nce(&rows, dimension, &articles, temperature, &mut scores, &mut again));
        assert_eq!((once, again), (loss, gradient));
    }
}
