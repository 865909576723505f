//! Training: Adam on cross-entropy over shuffled batches, with slight augmentation of each image in each epoch.
//!
//! A batch is split into shards of [`SHARD`] images that run on different threads. Their gradients are summed in
//! shard order, and each image has its own random generator for augmentation, so the result depends on the data,
//! the options and the processor's instructions, but not on the number of threads.

use super::{
    CLASSES, DigitNet, FEATURES, LabelledImages, PIXELS, SIDE, layers,
    layers::Convolution,
    model::{FIRST, POOLED1, POOLED2, SECOND, TENSORS, WEIGHTS, classify, layers_of, layers_of_mut},
};
use crate::{Error, ModelCard, epochs::TrainProgress};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use rayon::prelude::*;
use serde_json::json;

/// Images per shard.
const SHARD: usize = 32;
/// Images per matrix product in the convolutions, limited by cache size.
const GROUP: usize = 4;
/// Weights per task of the optimizer.
const STEP_CHUNK: usize = 32 * 1024;

/// Training settings.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Epochs; 1 to 1,000.
    pub epochs: usize,
    /// Images per step; 1 to 4,096.
    pub batch: usize,
    /// Seed of the initial weights, the order of the images, and the augmentation.
    pub seed: u64,
    /// Threads; 0 means all cores. The result does not depend on it.
    pub threads: usize,
    /// Adam's initial learning rate; it decays to 0 along half a cosine.
    pub learning_rate: f32,
    /// Whether to rotate, scale, slant and shift images slightly in each epoch.
    pub augment: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { epochs: 8, batch: 64, seed: 1, threads: 0, learning_rate: 2e-3, augment: true }
    }
}

impl TrainOptions {
    fn check(&self, images: &LabelledImages) -> Result<(), Error> {
        let invalid = |what: String| Err(Error::InvalidInput(what));
        if images.is_empty() {
            return invalid("there are no training images".into());
        }
        if !(1..=1000).contains(&self.epochs) {
            return invalid(format!("epochs is {}; it must be 1 to 1,000", self.epochs));
        }
        if !(1..=4096).contains(&self.batch) {
            return invalid(format!("batch is {}; it must be 1 to 4,096", self.batch));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return invalid(format!("learning_rate is {}; it must be above 0, at most 1", self.learning_rate));
        }
        Ok(())
    }
}

/// Reasons why a net trained on these images is of little use.
fn warnings(train: &LabelledImages) -> Vec<String> {
    let missing: Vec<String> =
        (0..CLASSES).filter(|&class| !train.labels().contains(&(class as u8))).map(|class| class.to_string()).collect();
    match missing.is_empty() {
        true => Vec::new(),
        false => vec![format!("no image shows the digit {}: it will not be recognised", missing.join(", "))],
    }
}

/// Trains a net on `train`; `test` is only for measurements. Calls `observe` every 50 steps and at the end of each
/// epoch; returning false cancels the training.
///
/// # Errors
/// [`Error::InvalidInput`] for no images, settings out of range, or a training that diverged;
/// [`Error::Io`] when the threads cannot be started.
pub fn train(
    train: &LabelledImages,
    test: Option<&LabelledImages>,
    options: &TrainOptions,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<DigitNet, Error> {
    options.check(train)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
    let pool = pool.map_err(|error| Error::Io { path: "threads".into(), source: std::io::Error::other(error) })?;
    let mut metrics = EpochMetrics::default();
    let weights = pool.install(|| run(train, test, options, &mut metrics, observe))?;
    let EpochMetrics { losses, accuracies } = metrics;
    let mut card = ModelCard {
        name: "digits".into(),
        summary: "The 11-layer convolutional net for handwritten digits, 431,080 weights.".into(),
        data: train.sources().iter().chain(test.map_or(&[][..], LabelledImages::sources)).cloned().collect(),
        seed: options.seed,
        threads: pool.current_num_threads(),
        warnings: warnings(train),
        ..ModelCard::default()
    };
    for (name, value) in [
        ("epochs", json!(options.epochs)),
        ("batch", json!(options.batch)),
        // Formatted as text first: an f32 converted to f64 would print spurious digits.
        ("learning_rate", json!(options.learning_rate.to_string().parse::<f64>().unwrap_or_default())),
        ("schedule", json!("cosine to 0")),
        ("optimiser", json!("Adam 0.9 0.999")),
        ("augment", json!(options.augment)),
        ("train_images", json!(train.len())),
    ] {
        card.settings.insert(name.into(), value);
    }
    // Losses rounded to five digits, because people read the card.
    let losses: Vec<f64> = losses.iter().map(|loss| (loss * 1e5).round() / 1e5).collect();
    card.quality.insert("training_loss_after_each_epoch".into(), json!(losses));
    if let (Some(test), Some(last)) = (test, accuracies.last()) {
        card.quality.insert("test_accuracy".into(), json!(last));
        card.quality.insert("test_accuracy_after_each_epoch".into(), json!(accuracies));
        card.quality.insert("test_images".into(), json!(test.len()));
    }
    Ok(DigitNet::new(weights, card))
}

/// Measurements after each epoch.
#[derive(Default)]
struct EpochMetrics {
    losses: Vec<f64>,
    accuracies: Vec<f64>,
}

fn run(
    train: &LabelledImages,
    test: Option<&LabelledImages>,
    options: &TrainOptions,
    metrics: &mut EpochMetrics,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<Vec<f32>, Error> {
    const REPORT_EVERY: usize = 50;
    let batch = options.batch.min(train.len());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(options.seed);
    let mut adam = Adam::new(initial_weights(&mut random));
    let mut states: Vec<ShardState> = (0..batch.div_ceil(SHARD)).map(|_| ShardState::new(SHARD.min(batch))).collect();
    let mut order: Vec<usize> = (0..train.len()).collect();
    let steps = order.len().div_ceil(batch);
    for epoch in 0..options.epochs {
        for last in (1..order.len()).rev() {
            order.swap(last, random.next_u64() as usize % (last + 1));
        }
        let (mut recent_stats, mut epoch_stats) = (BatchStats::default(), BatchStats::default());
        for (step, images) in order.chunks(batch).enumerate() {
            states.par_iter_mut().zip(images.par_chunks(SHARD)).for_each(|(state, shard)| {
                state.load(train, shard, options, epoch);
                state.step(&adam.weights, 1.0 / images.len() as f32);
            });
            let used = &states[..images.len().div_ceil(SHARD)];
            let stats = used.iter().fold(BatchStats::default(), |sum, state| sum.merged(state.stats));
            if !stats.loss.is_finite() {
                let what = "the training diverged: the loss is no longer a number; a smaller learning rate may help";
                return Err(Error::InvalidInput(what.into()));
            }
            let progress = (epoch * steps + step) as f64 / (options.epochs * steps) as f64;
            let rate = f64::from(options.learning_rate) * 0.5 * (1.0 + (progress * std::f64::consts::PI).cos());
            adam.update(used, rate as f32);
            (recent_stats, epoch_stats) = (recent_stats.merged(stats), epoch_stats.merged(stats));
            let end = step + 1 == steps;
            if end || (step + 1) % REPORT_EVERY == 0 {
                let test_accuracy = test.filter(|_| end).map(|test| accuracy(&adam.weights, test));
                metrics.accuracies.extend(test_accuracy);
                metrics.losses.extend(end.then(|| epoch_stats.loss / epoch_stats.images as f64));
                let shown = if end { epoch_stats } else { std::mem::take(&mut recent_stats) };
                let progress = TrainProgress {
                    epoch: epoch + 1,
                    epochs: options.epochs,
                    done: epoch_stats.images,
                    total: train.len() as u64,
                    loss: shown.loss / shown.images as f64,
                    train_accuracy: shown.right as f64 / shown.images as f64,
                    test_accuracy,
                };
                if !observe(&progress) {
                    return Err(Error::Cancelled);
                }
            }
        }
    }
    Ok(adam.weights)
}

fn accuracy(weights: &[f32], images: &LabelledImages) -> f64 {
    let right = classify(weights, images).iter().zip(images.labels()).filter(|(a, b)| **a == usize::from(**b)).count();
    right as f64 / (images.len() as f64).max(1.0)
}

/// A uniform number in [0, 1).
fn uniform(random: &mut impl Rng) -> f32 {
    (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32
}

/// The initial weights: normal with variance 2 / inputs (He et al. 2015, section 2.2); every bias is 0.
pub(super) fn initial_weights(random: &mut impl Rng) -> Vec<f32> {
    let mut weights = vec![0.0; WEIGHTS];
    for (_, shape, range) in TENSORS {
        if shape.len() == 1 {
            continue;
        }
        let deviation = (2.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
        for weight in &mut weights[range] {
            // Box-Muller transform (Box and Muller 1958).
            let (radius, angle) = (1.0 - uniform(random), uniform(random) * std::f32::consts::TAU);
            *weight = deviation * (-2.0 * radius.ln()).sqrt() * angle.cos();
        }
    }
    weights
}

/// Adam (Kingma, Ba 2015, algorithm 1).
struct Adam {
    weights: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Adam {
    const BETA1: f32 = 0.9;
    const BETA2: f32 = 0.999;
    const EPSILON: f32 = 1e-8;

    fn new(weights: Vec<f32>) -> Self {
        Self { mean: vec![0.0; weights.len()], square: vec![0.0; weights.len()], weights, steps: 0 }
    }

    /// One optimizer step with the sum of the workers' gradients.
    fn update(&mut self, states: &[ShardState], rate: f32) {
        self.steps = self.steps.saturating_add(1);
        let correction1 = 1.0 - Self::BETA1.powi(self.steps);
        let correction2 = (1.0 - Self::BETA2.powi(self.steps)).sqrt();
        let (first, others) = states.split_first().expect("a batch has a shard");
        let moments = self.mean.par_chunks_mut(STEP_CHUNK).zip(self.square.par_chunks_mut(STEP_CHUNK));
        self.weights.par_chunks_mut(STEP_CHUNK).zip(moments).enumerate().for_each(
            |(chunk, (weights, (mean, square)))| {
                let part = |state: &ShardState| {
                    chunk * STEP_CHUNK..(chunk * STEP_CHUNK + STEP_CHUNK).min(state.gradient.len())
                };
                let mut gradient = first.gradient[part(first)].to_vec();
                for other in others {
                    gradient.iter_mut().zip(&other.gradient[part(other)]).for_each(|(sum, slope)| *sum += slope);
                }
                for (((weight, mean), square), slope) in weights.iter_mut().zip(mean).zip(square).zip(gradient) {
                    *mean = Self::BETA1 * *mean + (1.0 - Self::BETA1) * slope;
                    *square = Self::BETA2 * *square + (1.0 - Self::BETA2) * slope * slope;
                    *weight -= rate / correction1 * *mean / (square.sqrt() / correction2 + Self::EPSILON);
                }
            },
        );
    }
}

/// Loss and accuracy sums over images.
#[derive(Clone, Copy, Default)]
pub(super) struct BatchStats {
    pub(super) loss: f64,
    right: u64,
    images: u64,
}

impl BatchStats {
    fn merged(self, other: Self) -> Self {
        Self { loss: self.loss + other.loss, right: self.right + other.right, images: self.images + other.images }
    }
}

/// Images, activations and gradient of one shard; reused between batches.
pub(super) struct ShardState {
    /// `[image][784]`.
    pub(super) pixels: Vec<f32>,
    pub(super) labels: Vec<u8>,
    pooled1: Vec<f32>,
    choice1: Vec<u8>,
    pooled2: Vec<f32>,
    choice2: Vec<u8>,
    features: Vec<f32>,
    /// The logits, then their gradient.
    logits: Vec<f32>,
    features_slope: Vec<f32>,
    pooled2_slope: Vec<f32>,
    pooled1_slope: Vec<f32>,
    patches: Vec<f32>,
    patches_slope: Vec<f32>,
    result: Vec<f32>,
    /// Gradient of all weights, summed over the shard.
    pub(super) gradient: Vec<f32>,
    pub(super) stats: BatchStats,
}

impl ShardState {
    pub(super) fn new(images: usize) -> Self {
        let patches = Convolution::<1, 20, 28, 24>::PATCHES.max(Convolution::<20, 50, 12, 8>::PATCHES);
        let result = Convolution::<1, 20, 28, 24>::RESULT.max(Convolution::<20, 50, 12, 8>::RESULT);
        Self {
            pixels: vec![0.0; images * PIXELS],
            labels: vec![0; images],
            pooled1: vec![0.0; images * POOLED1],
            choice1: vec![0; images * POOLED1],
            pooled2: vec![0.0; images * POOLED2],
            choice2: vec![0; images * POOLED2],
            features: vec![0.0; images * FEATURES],
            logits: vec![0.0; images * CLASSES],
            features_slope: vec![0.0; images * FEATURES],
            pooled2_slope: vec![0.0; images * POOLED2],
            pooled1_slope: vec![0.0; GROUP * POOLED1],
            patches: vec![0.0; GROUP * patches],
            patches_slope: vec![0.0; GROUP * patches],
            result: vec![0.0; GROUP * result],
            gradient: vec![0.0; WEIGHTS],
            stats: BatchStats::default(),
        }
    }

    /// Loads the images of a shard, augmented if requested.
    fn load(&mut self, train: &LabelledImages, shard: &[usize], options: &TrainOptions, epoch: usize) {
        self.labels.clear();
        self.labels.extend(shard.iter().map(|&image| train.label(image)));
        for (&image, pixels) in shard.iter().zip(self.pixels.chunks_exact_mut(PIXELS)) {
            if options.augment {
                // One generator per image and epoch; the constants only spread the bits of the three numbers.
                let visit = (image as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    ^ (epoch as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
                augmented(train.image(image), &mut Xoshiro256PlusPlus::seed_from_u64(options.seed ^ visit), pixels);
            } else {
                pixels.iter_mut().zip(train.image(image)).for_each(|(to, &from)| *to = f32::from(from) / 255.0);
            }
        }
    }

    /// Forward and backward pass over the shard's images: fills `gradient` with the gradient of `weight` times the
    /// sum of their losses, and updates `stats`.
    pub(super) fn step(&mut self, weights: &[f32], weight: f32) {
        let net = layers_of(weights);
        let images = self.labels.len();
        for first in (0..images).step_by(GROUP) {
            let group = GROUP.min(images - first);
            let pixels = &self.pixels[first * PIXELS..][..group * PIXELS];
            let part1 = first * POOLED1..(first + group) * POOLED1;
            let part2 = first * POOLED2..(first + group) * POOLED2;
            FIRST.gather(pixels, group, &mut self.patches);
            FIRST.forward(net.convolution1.0, &self.patches, group, &mut self.result);
            let (pooled, choice) = (&mut self.pooled1[part1.clone()], &mut self.choice1[part1]);
            FIRST.pool(&self.result, net.convolution1.1, group, pooled, choice);
            SECOND.gather(pooled, group, &mut self.patches);
            SECOND.forward(net.convolution2.0, &self.patches, group, &mut self.result);
            let (pooled, choice) = (&mut self.pooled2[part2.clone()], &mut self.choice2[part2]);
            SECOND.pool(&self.result, net.convolution2.1, group, pooled, choice);
        }
        layers::linear(&self.pooled2, net.linear1.0, net.linear1.1, images, &mut self.features);
        layers::relu(&mut self.features[..images * FEATURES]);
        layers::linear(&self.features, net.linear2.0, net.linear2.1, images, &mut self.logits);

        self.stats = BatchStats { images: images as u64, ..BatchStats::default() };
        for (logits, &label) in self.logits.chunks_exact_mut(CLASSES).zip(&self.labels) {
            let label = usize::from(label);
            self.stats.right += u64::from((0..CLASSES).all(|other| other == label || logits[other] < logits[label]));
            self.stats.loss += layers::cross_entropy(logits, label, weight);
        }

        self.gradient.fill(0.0);
        let slopes = layers_of_mut(&mut self.gradient);
        layers::linear_backward(&self.logits, &self.features, images, slopes.linear2.0, slopes.linear2.1);
        layers::linear_backward_input(&self.logits, net.linear2.0, CLASSES, images, &mut self.features_slope);
        layers::relu_backward(&self.features[..images * FEATURES], &mut self.features_slope);
        layers::linear_backward(&self.features_slope, &self.pooled2, images, slopes.linear1.0, slopes.linear1.1);
        layers::linear_backward_input(&self.features_slope, net.linear1.0, FEATURES, images, &mut self.pooled2_slope);
        for first in (0..images).step_by(GROUP) {
            let group = GROUP.min(images - first);
            let part1 = first * POOLED1..(first + group) * POOLED1;
            let part2 = first * POOLED2..(first + group) * POOLED2;
            SECOND.unpool(&self.pooled2_slope[part2.clone()], &self.choice2[part2], group, &mut self.result);
            // Gathers the patches again instead of keeping them: copying is cheaper than the memory.
            SECOND.gather(&self.pooled1[part1.clone()], group, &mut self.patches);
            let (by_weight, by_bias) = (&mut *slopes.convolution2.0, &mut *slopes.convolution2.1);
            SECOND.backward(&self.result, &self.patches, group, by_weight, by_bias);
            SECOND.backward_input(net.convolution2.0, &self.result, group, &mut self.patches_slope);
            SECOND.scatter(&self.patches_slope, group, &mut self.pooled1_slope);
            FIRST.unpool(&self.pooled1_slope, &self.choice1[part1], group, &mut self.result);
            FIRST.gather(&self.pixels[first * PIXELS..][..group * PIXELS], group, &mut self.patches);
            let (by_weight, by_bias) = (&mut *slopes.convolution1.0, &mut *slopes.convolution1.1);
            FIRST.backward(&self.result, &self.patches, group, by_weight, by_bias);
        }
    }
}

/// Rotates, scales, slants and shifts an image by up to 0.2 radians, a tenth, a fifth and 1.5 pixels.
fn augmented(image: &[u8], random: &mut impl Rng, into: &mut [f32]) {
    let mut between = |max_change: f32| (2.0 * uniform(random) - 1.0) * max_change;
    let (rotation, slant) = (between(0.2), between(0.2));
    let (wide, high) = (1.0 + between(0.1), 1.0 + between(0.1));
    let middle = (SIDE as f32 - 1.0) / 2.0;
    let (shift_x, shift_y) = (middle + between(1.5), middle + between(1.5));
    let (sin, cos) = rotation.sin_cos();
    // Inverse transform: the source position of each result pixel.
    let (xx, xy) = (cos / wide, (slant * cos - sin) / wide);
    let (yx, yy) = (sin / high, (slant * sin + cos) / high);
    let pixel = |x: i32, y: i32| {
        let inside = (0..SIDE as i32).contains(&x) && (0..SIDE as i32).contains(&y);
        if inside { f32::from(image[y as usize * SIDE + x as usize]) } else { 0.0 }
    };
    for (y, line) in into.chunks_exact_mut(SIDE).enumerate() {
        for (x, to) in line.iter_mut().enumerate() {
            let (dx, dy) = (x as f32 - middle, y as f32 - middle);
            let (from_x, from_y) = (xx * dx + xy * dy + shift_x, yx * dx + yy * dy + shift_y);
            let (left, top) = (from_x.floor(), from_y.floor());
            let (right, low) = (from_x - left, from_y - top);
            let (left, top) = (left as i32, top as i32);
            let upper = pixel(left, top) * (1.0 - right) + pixel(left + 1, top) * right;
            let lower = pixel(left, top + 1) * (1.0 - right) + pixel(left + 1, top + 1) * right;
            *to = (upper * (1.0 - low) + lower * low) / 255.0;
        }
    }
}
