//! GloVe: word vectors whose products approximate the logarithms of co-occurrence counts, by weighted least squares
//! with AdaGrad (Pennington, Socher, Manning 2014, "GloVe: Global Vectors for Word Representation", sections 3, 4.2).

use super::{
    checkpoint::Checkpoint,
    cooccurrence::Pairs,
    corpus::Corpus,
    options::{TrainOptions, TrainProgress},
    parallel_loop::{self, Iterations, ProgressReporter},
    sampling::Random,
};
use crate::{
    Error,
    math::train::{Adaptive, Hogwild, fit_product},
};
use std::sync::Mutex;

/// Count from which pairs have full weight, and the power of the weight of rarer ones (section 3).
const FULL_WEIGHT_COUNT: f32 = 100.0;
const WEIGHT_POWER: f32 = 0.75;
/// Components besides the vector: the row's own bias, and the 1 that multiplies the other row's bias.
const BIASES: usize = 2;
/// Phase name of its checkpoints.
const PHASE: &str = "training";

/// Returns the word vectors, row by row: the sum of a word's two vectors.
///
/// # Errors
/// [`Error::Io`], and checkpoint errors.
pub(super) fn fit(
    corpus: &Corpus,
    options: &TrainOptions,
    checkpoint: Option<&Checkpoint>,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<Vec<f32>, Error> {
    let folder = checkpoint.map_or(options.scratch.as_path(), Checkpoint::folder);
    let pairs = Pairs::count(corpus, options.window, folder, observe)?;
    let (rows, dimension) = (corpus.words.len(), options.dimension);
    // A word's row is its vector, its bias, 1; a context's row is its vector, 1, its bias.
    let mut words = Adaptive::zeros(rows, dimension + BIASES, |index| index <= dimension);
    let mut contexts = Adaptive::zeros(rows, dimension + BIASES, |index| index != dimension);
    let mut random = Random::new(options.seed, u64::MAX);
    for (side, fixed) in [(&mut words, dimension + 1), (&mut contexts, dimension)] {
        for row in 0..rows {
            let mut numbers: Vec<f32> =
                (0..dimension + BIASES).map(|_| (random.unit() - 0.5) / dimension as f32).collect();
            numbers[fixed] = 1.0;
            side.rows.set_row(row, &numbers);
        }
    }
    let matrices = &mut [&mut words.rows, &mut words.squares, &mut contexts.rows, &mut contexts.squares];
    let (first, report) =
        checkpoint.map(|checkpoint| checkpoint.load(PHASE, matrices)).transpose()?.flatten().unwrap_or_default();
    let iterations = pairs.buckets() * options.epochs;
    let total = corpus.total() * options.epochs as u64;
    let reporter = ProgressReporter { phase: PHASE, total, report: Mutex::new(report), observe };
    let save = |iteration| match checkpoint {
        Some(checkpoint) => {
            let matrices = [&words.rows, &words.squares, &contexts.rows, &contexts.squares];
            checkpoint.save(PHASE, iteration, reporter.now(), &matrices)
        }
        None => Ok(()),
    };
    // SAFETY: the threads access the numbers through `fit_product` only; between iterations, one thread reads them.
    let shared = unsafe { (Hogwild::new(&words), Hogwild::new(&contexts)) };
    parallel_loop::run(
        Iterations {
            first,
            total: iterations,
            threads: options.resolved_threads(),
            pause_interval: checkpoint.map(|checkpoint| checkpoint.interval),
        },
        || (),
        |iteration, ()| {
            let (words, contexts): (&Adaptive, &Adaptive) = (&shared.0, &shared.1);
            let mut bucket = pairs.bucket(iteration % pairs.buckets())?;
            let mut random = Random::new(options.seed, iteration as u64);
            let mut sum = 0.0;
            for last in (0..bucket.len()).rev() {
                // One step of a Fisher-Yates shuffle.
                bucket.swap(last, random.below(last as u32 + 1) as usize);
                let (a, b, count) = bucket[last];
                let (target, weight) = (count.ln(), (count / FULL_WEIGHT_COUNT).min(1.0).powf(WEIGHT_POWER));
                let mut difference = fit_product((words, a), (contexts, b), target, weight, options.learning_rate);
                if a != b {
                    difference += fit_product((words, b), (contexts, a), target, weight, options.learning_rate);
                    difference /= 2.0;
                }
                sum += f64::from(0.5 * weight * difference * difference);
            }
            // In words, so that rates are comparable with those of the other objectives.
            let share = |iteration: usize| (total as u128 * iteration as u128 / iterations as u128) as u64;
            let loss = (!bucket.is_empty()).then(|| sum / bucket.len() as f64);
            reporter.add(share(iteration + 1) - share(iteration), loss, options.learning_rate)
        },
        save,
    )?;
    if first < iterations {
        save(iterations)?;
    }
    let (words, contexts) = (words.rows.to_rows(), contexts.rows.to_rows());
    let both = words.chunks_exact(dimension + BIASES).zip(contexts.chunks_exact(dimension + BIASES));
    Ok(both.flat_map(|(a, b)| a[..dimension].iter().zip(&b[..dimension]).map(|(a, b)| a + b)).collect())
}
