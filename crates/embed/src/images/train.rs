//! Training: stochastic gradient descent with Nesterov momentum over shuffled batches, with random shifts and
//! mirroring of each image in each epoch.
//!
//! A batch is split into shards of [`SHARD`] images that run on different threads. Their gradients and moments are
//! summed in shard order, and each image has its own random generator for augmentation, so the result depends on
//! the data, the options and the processor's instructions, but not on the number of threads.

use super::architecture::{Architecture, ParameterLayout, Unit};
use super::backprop::{BatchStats, Packed, ShardState};
use super::data::LabelledPictures;
use super::layers::Moments;
use super::model::PictureNet;
use super::net::{Folded, Net};
use super::prepare::Tables;
use crate::{Error, ModelCard, epochs::TrainProgress};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use rayon::prelude::*;
use serde_json::json;

/// Images per shard.
const SHARD: usize = 32;
/// Parameters per task of the optimizer.
const STEP_CHUNK: usize = 16 * 1024;
/// Momentum.
const MOMENTUM: f32 = 0.9;
/// Weight decay per step, times the learning rate.
const DECAY: f32 = 5e-4;
/// Label smoothing: the share of a label that is spread over all classes.
const SMOOTHING: f32 = 0.1;
/// Share of the training in which the learning rate rises linearly to its maximum; afterwards it falls linearly to 0.
const WARMUP: f64 = 0.25;
/// Weight of a shard's moments in the running average.
const RUNNING_WEIGHT: f32 = 0.02;
/// Images are shifted by up to side / `SHIFT_DIVISOR`.
const SHIFT_DIVISOR: usize = 16;
/// Maximum memory of a training in addition to the images, bytes.
const MAX_TRAINING_BYTES: u64 = 16 << 30;

/// Training settings.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Epochs; 1 to 1,000.
    pub epochs: usize,
    /// Images per step; 2 to 4,096.
    pub batch: usize,
    /// Maximum learning rate; above 0, at most 10.
    pub learning_rate: f32,
    /// Channels of the first stage.
    pub width: usize,
    /// Residual blocks per stage.
    pub blocks: usize,
    /// Whether to shift images randomly in each epoch.
    pub augment: bool,
    /// Whether to mirror images randomly as well; only with `augment`.
    pub mirror: bool,
    /// Seed of the initial weights, the order of the images, and the augmentation.
    pub seed: u64,
    /// Threads; 0 means all cores. The result does not depend on it.
    pub threads: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: 12,
            batch: 128,
            learning_rate: 0.2,
            width: 32,
            blocks: 1,
            augment: true,
            mirror: true,
            seed: 1,
            threads: 0,
        }
    }
}

impl TrainOptions {
    fn check(&self, images: &LabelledPictures) -> Result<Architecture, Error> {
        let invalid = |what: String| Err(Error::InvalidInput(what));
        let (side, channels, classes) = (images.side(), images.channels(), images.classes().len());
        let shape = Architecture { side, channels, width: self.width, blocks: self.blocks, classes };
        shape.check()?;
        if images.len() < 2 {
            return invalid(format!("there are {} training images; at least 2 are needed", images.len()));
        }
        if let Some(class) = images.empty_class() {
            return invalid(format!("the class {:?} has no image", images.classes()[class]));
        }
        if !(1..=1000).contains(&self.epochs) {
            return invalid(format!("epochs is {}; it must be 1 to 1,000", self.epochs));
        }
        if !(2..=4096).contains(&self.batch) {
            return invalid(format!("batch is {}; it must be 2 to 4,096", self.batch));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 10.0) {
            return invalid(format!("learning_rate is {}; it must be above 0, at most 10", self.learning_rate));
        }
        let batch = self.batch.min(images.len());
        let bytes = batch.div_ceil(SHARD) as u64 * ShardState::bytes(&shape, SHARD.min(batch));
        if bytes > MAX_TRAINING_BYTES {
            let (needed, max) = (bytes >> 20, MAX_TRAINING_BYTES >> 20);
            return invalid(format!(
                "a batch of {batch} would take {needed} MiB, at most {max} are allowed; a smaller batch, size or width helps"
            ));
        }
        Ok(shape)
    }
}

/// Trains a net on `train`; `test` is only for measurements. Calls `observe` every 50 steps and at the end of each
/// epoch; returning false cancels the training.
///
/// # Errors
/// [`Error::InvalidInput`] for too few images, a class without images, test images of another size or with other
/// classes, settings out of range, or a training that diverged; [`Error::Cancelled`]; [`Error::Io`] if the threads
/// cannot be started.
pub fn train(
    train: &LabelledPictures,
    test: Option<&LabelledPictures>,
    options: &TrainOptions,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<PictureNet, Error> {
    let shape = options.check(train)?;
    if let Some(test) = test.filter(|test| !test.has_same_format(train)) {
        let (side, channels) = (test.side(), test.channels());
        return Err(Error::InvalidInput(format!(
            "the test images are {side} x {side} x {channels} of {} classes, unlike the training images",
            test.classes().len()
        )));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
    let pool = pool.map_err(|error| Error::Io { path: "threads".into(), source: std::io::Error::other(error) })?;
    let mut metrics = EpochMetrics::default();
    let net = pool.install(|| run(shape, train, test, options, &mut metrics, observe))?;
    let mut card = ModelCard {
        name: "images".into(),
        summary: format!(
            "A residual net for images of {0} x {0} pixels in {1} classes, {2} weights.",
            shape.side,
            shape.classes,
            net.weights()
        ),
        data: train.sources().iter().chain(test.map_or(&[][..], LabelledPictures::sources)).cloned().collect(),
        seed: options.seed,
        threads: pool.current_num_threads(),
        ..ModelCard::default()
    };
    for (name, value) in [
        ("classes", json!(train.classes())),
        ("side", json!(shape.side)),
        ("channels", json!(shape.channels)),
        ("width", json!(shape.width)),
        ("blocks", json!(shape.blocks)),
        ("epochs", json!(options.epochs)),
        ("batch", json!(options.batch)),
        // Formatted as text first: an f32 converted to f64 would print spurious digits.
        ("learning_rate", json!(options.learning_rate.to_string().parse::<f64>().unwrap_or_default())),
        ("schedule", json!("one cycle, linear")),
        ("optimiser", json!("SGD, Nesterov 0.9, decay 5e-4")),
        ("label_smoothing", json!(0.1)),
        ("augment", json!(options.augment)),
        ("mirror", json!(options.augment && options.mirror)),
        ("train_images", json!(train.len())),
    ] {
        card.settings.insert(name.into(), value);
    }
    let skipped = train.skipped().count + test.map_or(0, |test| test.skipped().count);
    if skipped > 0 {
        card.settings.insert("skipped_images".into(), json!(skipped));
    }
    // Losses rounded to five digits, because people read the card.
    let losses: Vec<f64> = metrics.losses.iter().map(|loss| (loss * 1e5).round() / 1e5).collect();
    card.quality.insert("training_loss_after_each_epoch".into(), json!(losses));
    if let (Some(test), Some(last)) = (test, metrics.accuracies.last()) {
        card.quality.insert("test_accuracy".into(), json!(last));
        card.quality.insert("test_accuracy_after_each_epoch".into(), json!(metrics.accuracies));
        card.quality.insert("test_images".into(), json!(test.len()));
    }
    PictureNet::new(net, train.classes().to_vec(), card)
}

/// Measurements after each epoch.
#[derive(Default)]
struct EpochMetrics {
    losses: Vec<f64>,
    accuracies: Vec<f64>,
}

fn run(
    shape: Architecture,
    train: &LabelledPictures,
    test: Option<&LabelledPictures>,
    options: &TrainOptions,
    metrics: &mut EpochMetrics,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<Net, Error> {
    const REPORT_EVERY: usize = 50;
    let batch = options.batch.min(train.len());
    let (units, layout) = (shape.units(), ParameterLayout::of(&shape));
    let (mean, deviation) = train.moments();
    let tables = Tables::new(&mean, &deviation);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(options.seed);
    let mut optimizer = NesterovSgd::new(&units, &layout, initial_parameters(&units, &layout, &shape, &mut random));
    let mut packed = Packed::new(&units);
    packed.pack(&units, &layout, &optimizer.numbers);
    let mut running: Vec<Moments> = Vec::new();
    let mut states: Vec<ShardState> =
        (0..batch.div_ceil(SHARD)).map(|_| ShardState::new(shape, SHARD.min(batch))).collect();
    let mut order: Vec<usize> = (0..train.len()).collect();
    // The images beyond the last full batch are left out of this epoch.
    let steps = order.len() / batch;
    let folded = |numbers: &[f32], running: &[Moments]| {
        Net::new(shape, fold(&units, &layout, numbers, running), mean.clone(), deviation.clone())
    };
    for epoch in 0..options.epochs {
        for last in (1..order.len()).rev() {
            order.swap(last, random.next_u64() as usize % (last + 1));
        }
        let (mut recent_stats, mut epoch_stats) = (BatchStats::default(), BatchStats::default());
        for (step, images) in order.chunks_exact(batch).enumerate() {
            let used = images.len().div_ceil(SHARD);
            // Shards of almost equal size, so that none has a single image.
            let shard = images.len().div_ceil(used);
            states.par_iter_mut().zip(images.par_chunks(shard)).for_each(|(state, shard)| {
                load_shard(state, &shape, train, shard, &tables, options, epoch);
                state.step(&layout, &optimizer.numbers, &packed, SMOOTHING, 1.0 / images.len() as f32);
            });
            let used = &states[..images.len().div_ceil(shard)];
            let stats = used.iter().fold(BatchStats::default(), |sum, state| sum.merged(state.stats));
            if !stats.loss.is_finite() {
                let what = "the training diverged: the loss is no longer a number; a smaller learning rate may help";
                return Err(Error::InvalidInput(what.into()));
            }
            used.iter().for_each(|state| update_running_moments(&mut running, state));
            let progress = (epoch * steps + step + 1) as f64 / (options.epochs * steps) as f64;
            let part = if progress < WARMUP { progress / WARMUP } else { (1.0 - progress) / (1.0 - WARMUP) };
            optimizer.update(used, (f64::from(options.learning_rate) * part) as f32);
            packed.pack(&units, &layout, &optimizer.numbers);
            (recent_stats, epoch_stats) = (recent_stats.merged(stats), epoch_stats.merged(stats));
            let end = step + 1 == steps;
            if end || (step + 1) % REPORT_EVERY == 0 {
                let test_accuracy = match test.filter(|_| end) {
                    Some(test) => Some(folded(&optimizer.numbers, &running)?.accuracy(test)),
                    None => None,
                };
                metrics.accuracies.extend(test_accuracy);
                metrics.losses.extend(end.then(|| epoch_stats.loss / epoch_stats.images as f64));
                let shown = if end { epoch_stats } else { std::mem::take(&mut recent_stats) };
                let progress = TrainProgress {
                    epoch: epoch + 1,
                    epochs: options.epochs,
                    done: epoch_stats.images,
                    total: (steps * batch) as u64,
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
    folded(&optimizer.numbers, &running)
}

/// Loads the images of a shard, shifted and mirrored if requested.
fn load_shard(
    state: &mut ShardState,
    shape: &Architecture,
    train: &LabelledPictures,
    shard: &[usize],
    tables: &Tables,
    options: &TrainOptions,
    epoch: usize,
) {
    state.labels.clear();
    state.labels.extend(shard.iter().map(|&image| train.label(image)));
    let inputs = state.input.chunks_exact_mut(shape.input());
    for (&image, into) in shard.iter().zip(inputs) {
        into.fill(0.0);
        let (mut shift, mut mirrored) = ((0, 0), false);
        if options.augment {
            // One generator per image and epoch; the constants only spread the bits of the three numbers.
            let visit =
                (image as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (epoch as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
            let mut random = Xoshiro256PlusPlus::seed_from_u64(options.seed ^ visit);
            let max_shift = shape.side / SHIFT_DIVISOR;
            let mut between = || (random.next_u64() % (2 * max_shift as u64 + 1)) as isize - max_shift as isize;
            shift = (between(), between());
            mirrored = options.mirror && random.next_u64() >> 63 == 1;
        }
        tables.fill(shape, train.image(image), shift, mirrored, into);
    }
}

/// Updates the running moments with a worker's moments.
fn update_running_moments(running: &mut Vec<Moments>, state: &ShardState) {
    if running.is_empty() {
        running.extend(state.moments().cloned());
        return;
    }
    for (running, moments) in running.iter_mut().zip(state.moments()) {
        for (running, now) in [(&mut running.mean, &moments.mean), (&mut running.variance, &moments.variance)] {
            running.iter_mut().zip(now).for_each(|(running, now)| *running += RUNNING_WEIGHT * (now - *running));
        }
    }
}

/// Folds the normalization into each unit's weights and bias.
fn fold(units: &[Unit], layout: &ParameterLayout, numbers: &[f32], running: &[Moments]) -> Folded {
    let convolutions = units.iter().zip(&layout.units).zip(running).map(|((unit, layout), running)| {
        let (scale, shift) = (&numbers[layout.scale.clone()], &numbers[layout.shift.clone()]);
        let factor: Vec<f32> = scale.iter().zip(running.inverse()).map(|(scale, inverse)| scale * inverse).collect();
        let rows = numbers[layout.weights.clone()].chunks_exact(unit.convolution.to);
        let weights = rows.flat_map(|row| row.iter().zip(&factor).map(|(weight, factor)| weight * factor)).collect();
        let bias = shift.iter().zip(&running.mean).zip(&factor).map(|((shift, mean), factor)| shift - mean * factor);
        (weights, bias.collect())
    });
    Folded {
        convolutions: convolutions.collect(),
        linear: (numbers[layout.linear.clone()].to_vec(), numbers[layout.bias.clone()].to_vec()),
    }
}

/// A uniform number in [0, 1).
fn uniform(random: &mut impl Rng) -> f32 {
    (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32
}

/// The initial parameters: weights normal with variance 2 / inputs (He et al. 2015, section 2.2); scales 1, but 0 at
/// the end of a residual block, so that a block starts as the identity (Goyal et al. 2017, section 5.1); all others 0.
pub(super) fn initial_parameters(
    units: &[Unit],
    layout: &ParameterLayout,
    shape: &Architecture,
    random: &mut impl Rng,
) -> Vec<f32> {
    let mut numbers = vec![0.0; layout.total];
    let mut normal = |numbers: &mut [f32], inputs: usize, gain: f32| {
        let deviation = (gain / inputs as f32).sqrt();
        for number in numbers {
            // Box-Muller transform (Box and Muller 1958).
            let (radius, angle) = (1.0 - uniform(random), uniform(random) * std::f32::consts::TAU);
            *number = deviation * (-2.0 * radius.ln()).sqrt() * angle.cos();
        }
    };
    for (unit, layout) in units.iter().zip(&layout.units) {
        normal(&mut numbers[layout.weights.clone()], 9 * unit.convolution.from, 2.0);
        numbers[layout.scale.clone()].fill(if unit.adds { 0.0 } else { 1.0 });
    }
    normal(&mut numbers[layout.linear.clone()], shape.features(), 1.0);
    numbers
}

/// Nesterov momentum in the formulation of Sutskever et al. 2013, with weight decay.
struct NesterovSgd {
    numbers: Vec<f32>,
    velocity: Vec<f32>,
    /// Ranges of the weights; the other parameters do not decay.
    decays: Vec<std::ops::Range<usize>>,
}

impl NesterovSgd {
    fn new(units: &[Unit], layout: &ParameterLayout, numbers: Vec<f32>) -> Self {
        let weights = layout.units.iter().take(units.len()).map(|unit| unit.weights.clone());
        Self { velocity: vec![0.0; numbers.len()], numbers, decays: weights.chain([layout.linear.clone()]).collect() }
    }

    /// One optimizer step with the sum of the workers' gradients.
    fn update(&mut self, states: &[ShardState], rate: f32) {
        let (first, others) = states.split_first().expect("a batch has a shard");
        let decays = &self.decays;
        let chunks = self.numbers.par_chunks_mut(STEP_CHUNK).zip(self.velocity.par_chunks_mut(STEP_CHUNK));
        chunks.enumerate().for_each(|(chunk, (numbers, velocity))| {
            let part = chunk * STEP_CHUNK..chunk * STEP_CHUNK + numbers.len();
            let mut gradient = first.gradient[part.clone()].to_vec();
            for other in others {
                gradient.iter_mut().zip(&other.gradient[part.clone()]).for_each(|(sum, slope)| *sum += slope);
            }
            for range in decays {
                let (from, until) = (range.start.max(part.start), range.end.min(part.end));
                for at in from..until.max(from) {
                    gradient[at - part.start] += DECAY * numbers[at - part.start];
                }
            }
            for ((number, velocity), slope) in numbers.iter_mut().zip(velocity).zip(gradient) {
                *velocity = MOMENTUM * *velocity + slope;
                *number -= rate * (slope + MOMENTUM * *velocity);
            }
        });
    }
}
