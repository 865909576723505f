//! The common component of texts (`sif.rs` cites the paper), computed from the training corpus.

use super::{
    corpus::Corpus,
    options::{TrainProgress, report_progress},
    sif::{mean, weight},
};
use crate::Error;
use rayon::prelude::*;

/// Number of paragraphs sampled for the common component.
const MAX_SAMPLED_PARAGRAPHS: usize = 20_000;
/// Minimum words of a paragraph; shorter lines are titles.
const MIN_WORDS: usize = 10;

/// Returns the first right singular vector of the means of many paragraphs (step 2 of the paper): a unit vector, or
/// zero if there is no principal direction.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn common_component(
    corpus: &Corpus,
    vectors: &[f32],
    dimension: usize,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<Vec<f32>, Error> {
    let total = corpus.total();
    let weights: Vec<f32> = corpus.counts.iter().map(|&count| weight(count, total)).collect();
    let mut paragraphs = 0_usize;
    corpus.token_file.sentences(|sentence| {
        paragraphs += usize::from(sentence.len() >= MIN_WORDS);
        Ok(())
    })?;
    let stride = paragraphs.div_ceil(MAX_SAMPLED_PARAGRAPHS).max(1);
    let (mut sample, mut seen) = (Vec::new(), 0_usize);
    corpus.token_file.sentences(|sentence| {
        if sentence.len() >= MIN_WORDS {
            if seen.is_multiple_of(stride) {
                sample.push(sentence.clone());
            }
            seen += 1;
        }
        Ok(())
    })?;
    let report = |done| report_progress(observe, TrainProgress::of("weighting", done, sample.len() as u64));
    report(0)?;
    let means: Vec<Vec<f32>> = sample
        .par_iter()
        .map(|paragraph| {
            mean(paragraph.iter().copied(), dimension, |word| {
                (&vectors[word as usize * dimension..][..dimension], weights[word as usize])
            })
        })
        .collect();
    let direction = principal(&means, dimension);
    report(sample.len() as u64)?;
    Ok(direction)
}

/// Returns the direction of the largest second moment, by power iteration.
fn principal(rows: &[Vec<f32>], dimension: usize) -> Vec<f32> {
    let mut direction = vec![0.0_f64; dimension];
    for row in rows {
        direction.iter_mut().zip(row).for_each(|(sum, &number)| *sum += f64::from(number));
    }
    for _ in 0..30 {
        let norm = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        if !(norm.is_normal()) {
            return vec![0.0; dimension];
        }
        direction.iter_mut().for_each(|x| *x /= norm);
        let mut next = vec![0.0_f64; dimension];
        for row in rows {
            let along: f64 = row.iter().zip(&direction).map(|(&a, b)| f64::from(a) * b).sum();
            next.iter_mut().zip(row).for_each(|(sum, &number)| *sum += along * f64::from(number));
        }
        direction = next;
    }
    let norm = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
    direction.iter().map(|x| if norm.is_normal() { (x / norm) as f32 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_component_is_the_direction_of_largest_variance() {
        let rows: Vec<Vec<f32>> = (0..50)
            .map(|i| vec![0.1 * (i as f32 * 0.7).sin(), 3.0 + (i as f32).cos(), 4.0 + (i as f32).cos()])
            .collect();
        let found = principal(&rows, 3);
        assert!((found[1] - 0.6).abs() < 0.02 && (found[2] - 0.8).abs() < 0.02 && found[0].abs() < 0.02, "{found:?}");
        assert_eq!(principal(&[], 3), [0.0; 3]);
        assert_eq!(principal(&[vec![0.0; 3]], 3), [0.0; 3]);
    }
}
