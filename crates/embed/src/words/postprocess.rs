//! Postprocessing of trained vectors. Each step changes directions only; lengths are kept.
//!
//! 1. A share of the output layer's rows is added: a word's two vectors have different errors (Levy, Goldberg, Dagan
//!    2015, "Improving Distributional Similarity with Lessons Learned from Word Embeddings", section 3.3).
//! 2. Spelling smooths the vectors: a model of a word's vector from its character n-grams is fitted to the vectors, and
//!    a share of its prediction is added. A rare word's vector is noisy, and so is the difference between "quick" and
//!    "quickly"; many words of similar spelling estimate it better than one. The n-gram vectors are those of Zhao,
//!    Mudgal, Liang 2018, "Generalizing Word Embeddings using Bag of Subwords" (section 2): a word's vector is their
//!    sum, by least squares. Here they are regularised, words are weighted by the square root of their frequency, and
//!    the system is solved by conjugate gradients (Hestenes, Stiefel 1952) for all components together.
//! 3. The few directions of the largest variance are shrunk: the component along each principal direction is divided by
//!    a power of the standard deviation along it (Artetxe, Labaka, Lopez-Gazpio, Agirre 2018, "Uncovering divergent
//!    linguistic information in word embeddings with lessons for intrinsic and extrinsic evaluation", section 2).
//! 4. A word moves slightly towards its nearest words, which reduces noise: one step of blurring mean shift (Cheng
//!    1995, "Mean Shift, Mode Seeking, and Clustering", section 2) with the cube of the cosine as its kernel.

use super::{
    options::{Postprocessing, TrainProgress},
    sampling::fnv1a,
};
use crate::knn::nearest_among;
use crate::math::{symmetric, train::multiply};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

/// Range of n-gram lengths of `<word>`, in characters.
const NGRAM_LENGTHS: std::ops::RangeInclusive<usize> = 3..=6;
/// Minimum number of words with an n-gram; rarer n-grams are ignored, which bounds the table and the noise.
const MIN_WORDS_PER_NGRAM: u32 = 3;
/// Number of most frequent words that the n-gram vectors are fitted to: bounds time and memory of large vocabularies.
const MAX_FITTED_WORDS: usize = 200_000;
/// Ridge regularisation: more shrinks the vectors of rare n-grams towards 0.
const RIDGE: f32 = 1.0;
/// Conjugate gradient iterations: each takes one pass over all n-grams of all words.
const ITERATIONS: usize = 12;
/// Frequency rank of the word with weight 1; the maximum weight is [`MAX_WEIGHT`].
const REFERENCE_RANK: usize = 3_000;
const MAX_WEIGHT: f32 = 5.0;
/// Number of nearest words, among the `MAX_CANDIDATES` most frequent, that move a word: 6 move it further, to the cost
/// of SimLex-999 (`benches/results/2026-11-28-words`). Time grows with the candidates.
const NEIGHBOURS: usize = 3;
const MAX_CANDIDATES: usize = 40_000;
/// Words whose vectors are replaced per block.
const BLOCK: usize = 1_024;

/// Refines `vectors`, of `dimension` components, row by row, of words by falling frequency; `output` is the output
/// layer, if any.
pub(super) fn postprocess(
    (words, counts): (&[String], &[u64]),
    vectors: &mut [f32],
    output: Option<&[f32]>,
    dimension: usize,
    options: Postprocessing,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) {
    if options == Postprocessing::NONE {
        return;
    }
    // Refining is short, so the result is ignored: cancellation takes effect after it.
    let report = |done: usize| {
        let _ = observe(&TrainProgress::of("refining", done as u64, words.len() as u64));
    };
    report(0);
    let norms: Vec<f32> = vectors.chunks_exact(dimension).map(norm).collect();
    if let Some(output) = output.filter(|_| options.output > 0.0) {
        vectors.par_chunks_exact_mut(dimension).zip(output.par_chunks_exact(dimension)).for_each(|(row, output)| {
            let (own, others) = (norm(row), norm(output));
            if own > 0.0 && others > 0.0 {
                row.iter_mut().zip(output).for_each(|(x, other)| *x = *x / own + options.output * other / others);
            }
        });
    }
    normalize_rows(vectors, dimension);
    if options.spelling > 0.0 {
        smooth_by_spelling((words, counts), vectors, dimension, options.spelling, &report);
        normalize_rows(vectors, dimension);
    }
    if options.spread > 0.0 {
        shrink_top_directions(vectors, dimension, options.spread);
        normalize_rows(vectors, dimension);
    }
    if options.nearest > 0.0 {
        move_to_neighbours(vectors, dimension, options.nearest);
        normalize_rows(vectors, dimension);
    }
    vectors.par_chunks_exact_mut(dimension).zip(&norms).for_each(|(row, norm)| row.iter_mut().for_each(|x| *x *= norm));
    report(words.len());
}

/// Normalizes every vector to unit length; zero vectors stay.
fn normalize_rows(vectors: &mut [f32], dimension: usize) {
    vectors.par_chunks_exact_mut(dimension).for_each(|row| {
        let norm = norm(row);
        row.iter_mut().filter(|_| norm > 0.0).for_each(|x| *x /= norm);
    });
}

/// Step 3: shrinks the directions of the largest variance.
fn shrink_top_directions(vectors: &mut [f32], dimension: usize, power: f32) {
    let rows = (vectors.len() / dimension) as f64;
    let mut mean = vec![0.0_f64; dimension];
    vectors.chunks_exact(dimension).for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x)));
    mean.iter_mut().for_each(|sum| *sum /= rows);
    // One thread computes each row of the covariance, so that the result is reproducible.
    let mut covariance = vec![0.0_f64; dimension * dimension];
    let vectors_now: &[f32] = vectors;
    covariance.par_chunks_exact_mut(dimension).enumerate().for_each(|(i, line)| {
        for row in vectors_now.chunks_exact(dimension) {
            let factor = f64::from(row[i]) - mean[i];
            line.iter_mut().zip(row).zip(&mean).for_each(|((sum, &x), mean)| *sum += factor * (f64::from(x) - mean));
        }
        line.iter_mut().for_each(|sum| *sum /= rows);
    });
    let (values, directions) = symmetric::eigen(&covariance, dimension);
    let max = values.iter().copied().fold(0.0, f64::max);
    // Relative to the largest; a direction without variance is not amplified.
    let factors: Vec<f64> = values
        .iter()
        .map(|&value| if value > 1e-6 * max { (value / max).powf(-0.5 * f64::from(power)) } else { 1.0 })
        .collect();
    let mut matrix = vec![0.0_f32; dimension * dimension];
    for i in 0..dimension {
        for j in 0..dimension {
            let element = |k: usize| factors[k] * directions[k * dimension + i] * directions[k * dimension + j];
            matrix[i * dimension + j] = (0..dimension).map(element).sum::<f64>() as f32;
        }
    }
    vectors.par_chunks_mut(BLOCK * dimension).for_each(|rows| {
        let mut changed = vec![0.0; rows.len()];
        multiply(rows, rows.len() / dimension, &matrix, dimension, dimension, &mut changed);
        rows.copy_from_slice(&changed);
    });
}

/// Step 4, on unit vectors: moves words towards their nearest.
fn move_to_neighbours(vectors: &mut [f32], dimension: usize, length: f32) {
    let words = vectors.len() / dimension;
    let among = words.min(MAX_CANDIDATES);
    let all: Vec<u32> = (0..words as u32).collect();
    let nearest = nearest_among(vectors, among, dimension, &all, NEIGHBOURS);
    let frequent = vectors[..among * dimension].to_vec();
    vectors.par_chunks_exact_mut(dimension).zip(&nearest).for_each(|(row, nearest)| {
        let mut sum = vec![0.0; dimension];
        for &other in nearest {
            let other = &frequent[other as usize * dimension..][..dimension];
            let cosine: f32 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            let weight = cosine.max(0.0).powi(3);
            sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += weight * x);
        }
        let norm = norm(&sum);
        if norm > 0.0 {
            row.iter_mut().zip(&sum).for_each(|(x, sum)| *x += length * sum / norm);
        }
    });
}

/// Step 2, on unit vectors: smooths by spelling.
fn smooth_by_spelling(
    (words, counts): (&[String], &[u64]),
    vectors: &mut [f32],
    dimension: usize,
    share: f32,
    report: &dyn Fn(usize),
) {
    let learned = words.len().min(MAX_FITTED_WORDS);
    let ngram_numbers = number_ngrams(&words[..learned], (MAX_TABLE_NUMBERS / dimension.max(1)).max(1));
    let rows = Sparse::of(&words[..learned], &ngram_numbers);
    let reference = counts[REFERENCE_RANK.min(counts.len()) - 1].max(1) as f32;
    let weights: Vec<f32> =
        counts[..learned].iter().map(|&count| (count as f32 / reference).sqrt().min(MAX_WEIGHT)).collect();
    let grams = solve(&rows, &weights, &vectors[..learned * dimension], ngram_numbers.len(), dimension);
    let mut done = 0;
    for (block, rows) in words.chunks(BLOCK).zip(vectors.chunks_mut(BLOCK * dimension)) {
        let predicted = Sparse::of(block, &ngram_numbers).times(&grams, dimension);
        for (row, predicted) in rows.chunks_exact_mut(dimension).zip(predicted.chunks_exact(dimension)) {
            // A zero vector is unknown, not a target.
            if row.iter().any(|&x| x != 0.0) {
                row.iter_mut().zip(predicted).for_each(|(x, predicted)| *x += share * (predicted - *x));
            }
        }
        done += block.len();
        report(done);
    }
}

fn norm(row: &[f32]) -> f32 {
    row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32
}

/// Calls `visit` with the hash of every n-gram of a word, and of the empty n-gram, which all words share: the mean.
fn for_each_ngram(word: &str, mut visit: impl FnMut(u64)) {
    let marked = format!("<{word}>");
    let ends: Vec<usize> = marked.char_indices().map(|(at, _)| at).chain([marked.len()]).collect();
    visit(0);
    for first in 0..ends.len() {
        for length in NGRAM_LENGTHS {
            if let Some(&end) = ends.get(first + length) {
                visit(fnv1a(&marked.as_bytes()[ends[first]..end]));
            }
        }
    }
}

/// Maximum elements of the n-gram table; a few copies of 512 MB exist at a time.
const MAX_TABLE_NUMBERS: usize = 1 << 27;

/// Numbers the n-grams that enough words have, in order of appearance; above `max`, keeps those of the most words.
fn number_ngrams(words: &[String], max: usize) -> FxHashMap<u64, u32> {
    let mut words_of: FxHashMap<u64, (u32, u32)> = FxHashMap::default();
    for (number, word) in (1_u32..).zip(words) {
        for_each_ngram(word, |gram| {
            let (words, last) = words_of.entry(gram).or_insert((0, 0));
            *words += u32::from(*last != number);
            *last = number;
        });
    }
    let mut min = MIN_WORDS_PER_NGRAM;
    let mut counts: Vec<u32> = words_of.values().map(|(words, _)| *words).filter(|words| *words >= min).collect();
    if counts.len() > max {
        let (_, last, _) = counts.select_nth_unstable_by(max, |a, b| b.cmp(a));
        // N-grams of equal word counts are kept or dropped together, so that their order does not matter.
        min = *last + 1;
    }
    let mut ngram_numbers = FxHashMap::default();
    for word in words {
        for_each_ngram(word, |gram| {
            if words_of[&gram].0 >= min {
                let next = ngram_numbers.len() as u32;
                ngram_numbers.entry(gram).or_insert(next);
            }
        });
    }
    ngram_numbers
}

/// A sparse matrix: for each word its n-grams, all with the value 1 / sqrt(number of n-grams).
struct Sparse {
    columns: Vec<u32>,
    ends: Vec<usize>,
    values: Vec<f32>,
}

impl Sparse {
    fn of(words: &[String], ngram_numbers: &FxHashMap<u64, u32>) -> Self {
        let (mut columns, mut ends, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for word in words {
            let start = columns.len();
            for_each_ngram(word, |gram| columns.extend(ngram_numbers.get(&gram)));
            columns[start..].sort_unstable();
            let own = columns.split_off(start);
            columns.extend(own.chunk_by(|a, b| a == b).map(|same| same[0]));
            ends.push(columns.len());
            values.push(1.0 / ((columns.len() - start).max(1) as f32).sqrt());
        }
        Self { columns, ends, values }
    }

    fn row(&self, row: usize) -> &[u32] {
        &self.columns[row.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[row]]
    }

    /// Multiplies this matrix by one of `dimension` columns.
    fn times(&self, right: &[f32], dimension: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.ends.len() * dimension];
        out.par_chunks_exact_mut(dimension).enumerate().for_each(|(row, out)| {
            for &column in self.row(row) {
                out.iter_mut().zip(&right[column as usize * dimension..]).for_each(|(sum, x)| *sum += x);
            }
            out.iter_mut().for_each(|sum| *sum *= self.values[row]);
        });
        out
    }

    /// Returns the rows of each column, with their values.
    fn transposed(&self, columns: usize) -> Vec<Vec<(u32, f32)>> {
        let mut rows = vec![Vec::new(); columns];
        for (row, &value) in self.values.iter().enumerate() {
            for &column in self.row(row) {
                rows[column as usize].push((row as u32, value));
            }
        }
        rows
    }
}

/// Returns the `columns` vectors z that minimize weights (rows z - targets)^2 + ridge z^2.
fn solve(rows: &Sparse, weights: &[f32], targets: &[f32], columns: usize, dimension: usize) -> Vec<f32> {
    let transposed = rows.transposed(columns);
    // transposed . weights . right
    let back = |right: &[f32]| {
        let mut out = vec![0.0_f32; columns * dimension];
        out.par_chunks_exact_mut(dimension).zip(&transposed).for_each(|(out, rows)| {
            for &(row, value) in rows {
                let factor = value * weights[row as usize];
                out.iter_mut().zip(&right[row as usize * dimension..]).for_each(|(sum, x)| *sum += factor * x);
            }
        });
        out
    };
    // Returns, for each component, the dot product of the columns of two matrices.
    let products = |a: &[f32], b: &[f32]| {
        let mut sums = vec![0.0_f64; dimension];
        for (a, b) in a.chunks_exact(dimension).zip(b.chunks_exact(dimension)) {
            sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (&a, &b))| *sum += f64::from(a) * f64::from(b));
        }
        sums
    };
    let add = |to: &mut [f32], factors: &[f64], from: &[f32]| {
        for (to, from) in to.chunks_exact_mut(dimension).zip(from.chunks_exact(dimension)) {
            to.iter_mut().zip(from).zip(factors).for_each(|((to, from), &factor)| *to += factor as f32 * from);
        }
    };
    let ratio = |a: &[f64], b: &[f64]| -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| if *b > 0.0 { a / b } else { 0.0 }).collect()
    };
    let mut found = vec![0.0_f32; columns * dimension];
    let mut rest = back(targets);
    let mut direction = rest.clone();
    let mut squares = products(&rest, &rest);
    for _ in 0..ITERATIONS {
        let mut image = back(&rows.times(&direction, dimension));
        image.iter_mut().zip(&direction).for_each(|(image, x)| *image += RIDGE * x);
        let step = ratio(&squares, &products(&direction, &image));
        add(&mut found, &step, &direction);
        add(&mut rest, &step.iter().map(|x| -x).collect::<Vec<_>>(), &image);
        let next = products(&rest, &rest);
        let keep = ratio(&next, &squares);
        squares = next;
        for (direction, rest) in direction.chunks_exact_mut(dimension).zip(rest.chunks_exact(dimension)) {
            direction.iter_mut().zip(rest).zip(&keep).for_each(|((x, rest), &keep)| *x = rest + keep as f32 * *x);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::sampling::Random;

    /// Words of a stem and an ending; a word's vector is the sum of the vectors of both, plus noise.
    fn sample_words(noise: f32) -> (Vec<String>, Vec<f32>, Vec<f32>) {
        let mut random = Random::new(1, 1);
        let mut row = || -> Vec<f32> { (0..16).map(|_| random.unit() - 0.5).collect() };
        let ends = ["ing", "edly", "ness", "able"].map(|end| (end, row()));
        let (mut words, mut exact) = (Vec::new(), Vec::new());
        for stem in 0..60_u8 {
            let stem = format!("{}or{}", char::from(b'a' + stem % 26), char::from(b'a' + stem / 26));
            let of_stem = row();
            for (end, of_end) in &ends {
                words.push(format!("{stem}{end}"));
                exact.extend(of_stem.iter().zip(of_end).map(|(a, b)| a + b));
            }
        }
        let noisy = exact.iter().map(|x| x + noise * (random.unit() - 0.5)).collect();
        (words, exact, noisy)
    }

    fn error(exact: &[f32], found: &[f32]) -> f32 {
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() / norm(a) / norm(b);
        let rows = exact.chunks_exact(16).zip(found.chunks_exact(16));
        rows.map(|(a, b)| 1.0 - cosine(a, b)).sum::<f32>() / (exact.len() / 16) as f32
    }

    const SPELLING: Postprocessing = Postprocessing { spelling: 0.5, ..Postprocessing::NONE };

    #[test]
    fn spelling_smoothing_reduces_noise() {
        let (words, exact, mut found) = sample_words(1.2);
        let before = error(&exact, &found);
        let norms: Vec<f32> = found.chunks_exact(16).map(norm).collect();
        postprocess((&words, &vec![10; words.len()]), &mut found, None, 16, SPELLING, &|_| true);
        let after = error(&exact, &found);
        assert!(after < 0.7 * before, "{before} {after}");
        assert!(found.chunks_exact(16).zip(norms).all(|(row, before)| (norm(row) - before).abs() < 1e-3 * before));
    }

    #[test]
    fn directions_of_large_variance_shrink() {
        let (words, _, mut found) = sample_words(0.1);
        // A large variance along one direction, to which all components contribute.
        found.chunks_exact_mut(16).enumerate().for_each(|(at, row)| {
            row.iter_mut().for_each(|x| *x += if at % 2 == 0 { 1.0 } else { -1.0 });
        });
        let along = |rows: &[f32]| {
            let mut rows = rows.to_vec();
            normalize_rows(&mut rows, 16);
            rows.chunks_exact(16).map(|row| row.iter().sum::<f32>().powi(2)).sum::<f32>()
        };
        let before = along(&found);
        let counts = vec![10; words.len()];
        let options = |spread| Postprocessing { spread, ..Postprocessing::NONE };
        let mut half = found.clone();
        postprocess((&words, &counts), &mut half, None, 16, options(0.5), &|_| true);
        let mut whole = found.clone();
        postprocess((&words, &counts), &mut whole, None, 16, options(1.0), &|_| true);
        assert!(
            along(&half) < 0.9 * before && along(&whole) < 0.5 * along(&half),
            "{before} {} {}",
            along(&half),
            along(&whole)
        );
    }

    #[test]
    fn moving_to_neighbours_reduces_noise() {
        // Thirty centres, with eight words around each.
        let mut random = Random::new(5, 1);
        let mut row = || -> Vec<f32> { (0..16).map(|_| random.unit() - 0.5).collect() };
        let centres: Vec<Vec<f32>> = (0..30).map(|_| row()).collect();
        let exact: Vec<f32> = centres.iter().flat_map(|centre| centre.repeat(8)).collect();
        let mut found: Vec<f32> = exact
            .chunks_exact(16)
            .flat_map(|exact| exact.iter().zip(row()).map(|(x, noise)| x + 0.7 * noise).collect::<Vec<_>>())
            .collect();
        let words: Vec<String> = (0..240).map(|n| format!("w{n}")).collect();
        let before = error(&exact, &found);
        let options = Postprocessing { nearest: 0.6, ..Postprocessing::NONE };
        postprocess((&words, &vec![10; 240]), &mut found, None, 16, options, &|_| true);
        let after = error(&exact, &found);
        assert!(after < 0.7 * before, "{before} {after}");
    }

    #[test]
    fn the_output_layer_has_its_share() {
        let mut vectors = vec![2.0, 0.0, 0.0, 3.0];
        let options = Postprocessing { output: 1.0, ..Postprocessing::NONE };
        postprocess(
            (&["x".into(), "y".into()], &[2, 1]),
            &mut vectors,
            Some(&[0.0, 5.0, 0.0, 0.0]),
            2,
            options,
            &|_| true,
        );
        let root = 2.0_f32.sqrt();
        assert!(vectors.iter().zip([root, root, 0.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{vectors:?}");
    }

    #[test]
    fn empty_and_uniform_inputs_are_accepted() {
        for words in [vec!["x".to_string(), "y".into()], vec!["x".into()]] {
            let mut vectors = vec![0.0; 2 * words.len()];
            vectors[0] = 1.0;
            let output = vec![0.5; vectors.len()];
            postprocess(
                (&words, &vec![2; words.len()]),
                &mut vectors,
                Some(&output),
                2,
                Postprocessing::default(),
                &|_| true,
            );
            assert!(vectors.iter().all(|x| x.is_finite()) && vectors[0] > 0.69, "{vectors:?}");
            assert!(vectors[2..].iter().all(|&x| x == 0.0), "a zero vector stays one");
        }
    }
}
