//! The cloze layer, which fills blanks: it predicts a word from its context and the positions of the context words.
//!
//! Skip-gram ignores word order, and its subsampling drops the frequent words that most blanks need. So a second, small
//! model is trained after it on the whole text: the vector-log-bilinear model of Mnih, Kavukcuoglu 2013, "Learning word
//! embeddings efficiently with noise-contrastive estimation" (section 3). The context vector is the sum of the vectors
//! of the context words, each multiplied component-wise by the vector of its position; the score of a word is the dot
//! product of that sum and the word's row of the output layer. With noise drawn from the unigram distribution, the
//! score is ln p(word | context) - ln p(word).

use super::{
    checkpoint::Checkpoint,
    cloze_layer::{ClozeLayer, POSITIONS, WINDOW, after, before},
    corpus::Corpus,
    negative_sampling::LossMeter,
    options::{TrainOptions, TrainProgress},
    parallel_loop::{self, Iterations, ProgressReporter},
    sampling::{AliasTable, Random},
    table::Table,
    token_file::END,
};
use crate::{
    Error,
    math::train::{Composed, Hogwild, SharedMatrix, Window, step},
};
use std::sync::{Mutex, PoisonError};

/// Noise words per blank: time grows in proportion.
const NOISE: usize = 10;
/// Initial learning rate of the words; that of the positions is `POSITION_LEARNING_RATE`. 0.2 instead of 0.1 was as
/// good (`benches/results/2026-11-27-words`).
const LEARNING_RATE: f32 = 0.1;
const POSITION_LEARNING_RATE: f32 = 0.2;
/// Phase name, for progress and checkpoints.
const PHASE: &str = "blanks";

/// Trains the layer; returns it and its output layer.
///
/// # Errors
/// [`Error::Io`], and checkpoint errors.
pub(super) fn fit(
    corpus: &Corpus,
    options: &TrainOptions,
    checkpoint: Option<&Checkpoint>,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<(ClozeLayer, Vec<f32>), Error> {
    let (rows, dimension) = (corpus.words.len(), options.dimension);
    let mut around = SharedMatrix::zeros(rows, dimension);
    let mut positions = SharedMatrix::zeros(POSITIONS, dimension);
    let mut output = SharedMatrix::zeros(rows, dimension);
    let mut random = Random::new(options.seed, u64::MAX - 1);
    let width = 1.0 / (dimension as f32).sqrt();
    around.fill(|| (random.unit() - 0.5) * width);
    for distance in 1..=WINDOW {
        let nearer = vec![1.0 / (1.0 + distance as f32); dimension];
        positions.set_row(before(distance), &nearer);
        positions.set_row(after(distance), &nearer);
    }
    let saved = checkpoint.map(|checkpoint| checkpoint.load(PHASE, &mut [&mut around, &mut positions, &mut output]));
    let (first, report) = saved.transpose()?.flatten().unwrap_or_default();
    let iterations = corpus.blocks.len() * options.cloze_epochs;
    let noise = AliasTable::new(&corpus.counts, 1.0);
    let total = corpus.total() * options.cloze_epochs as u64;
    let reporter = ProgressReporter { phase: PHASE, total, report: Mutex::new(report), observe };
    let positions = Mutex::new(positions);
    let save = |iteration| match checkpoint {
        Some(checkpoint) => {
            let positions = positions.lock().unwrap_or_else(PoisonError::into_inner);
            checkpoint.save(PHASE, iteration, reporter.now(), &[&around, &positions, &output])
        }
        None => Ok(()),
    };
    // SAFETY: the threads access the numbers through the functions of `math::train` only.
    let pass = unsafe { Pass { around: Hogwild::new(&around), output: Hogwild::new(&output), noise } };
    parallel_loop::run(
        Iterations {
            first,
            total: iterations,
            threads: options.resolved_threads(),
            pause_interval: checkpoint.map(|checkpoint| checkpoint.interval),
        },
        || TrainBuffers::new(dimension),
        |iteration, buffers| {
            let rate = LEARNING_RATE * (1.0 - iteration as f32 / iterations as f32).max(1e-4);
            let mut tokens = std::mem::take(&mut buffers.tokens);
            corpus.token_file.read(&corpus.blocks[iteration % corpus.blocks.len()], &mut tokens)?;
            let mut random = Random::new(options.seed ^ u64::from(END), iteration as u64);
            buffers.loss_meter = LossMeter::default();
            buffers.positions.load(&positions.lock().unwrap_or_else(PoisonError::into_inner));
            let mut words = 0;
            for sentence in tokens.split(|&token| token == END) {
                words += sentence.len() as u64;
                pass.sentence(sentence, rate, &mut random, buffers);
            }
            buffers.positions.merge(&mut positions.lock().unwrap_or_else(PoisonError::into_inner));
            buffers.tokens = tokens;
            reporter.add(words, buffers.loss_meter.mean(), rate)
        },
        save,
    )?;
    if first < iterations {
        save(iterations)?;
    }
    let around = Table::encode(options.store, around.to_rows(), dimension);
    let mut positions = positions.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((ClozeLayer { around, positions: positions.to_rows() }, output.to_rows()))
}

/// A thread's copy of the position vectors. Every window changes them, and sharing their cache lines between cores is
/// slow.
struct PositionVectors {
    now: SharedMatrix,
    loaded: Vec<f32>,
}

impl PositionVectors {
    /// Copies the shared vectors.
    fn load(&mut self, from: &SharedMatrix) {
        let mut row = vec![0.0; from.dimension()];
        self.loaded.clear();
        for position in 0..POSITIONS {
            from.copy_row(position, &mut row);
            self.now.set_row(position, &row);
            self.loaded.extend_from_slice(&row);
        }
    }

    /// Adds the changes since `load` to the shared vectors.
    fn merge(&self, to: &mut SharedMatrix) {
        let dimension = to.dimension();
        let (mut row, mut now) = (vec![0.0; dimension], vec![0.0; dimension]);
        for (position, loaded) in self.loaded.chunks_exact(dimension).enumerate() {
            to.copy_row(position, &mut row);
            self.now.copy_row(position, &mut now);
            row.iter_mut().zip(&now).zip(loaded).for_each(|((x, now), loaded)| *x += now - loaded);
            to.set_row(position, &row);
        }
    }
}

struct TrainBuffers {
    positions: PositionVectors,
    tokens: Vec<u32>,
    input: Composed,
    rows: Vec<u32>,
    position_rows: Vec<u32>,
    targets: Vec<u32>,
    next_targets: Vec<u32>,
    errors: Vec<f32>,
    loss_meter: LossMeter,
}

impl TrainBuffers {
    fn new(dimension: usize) -> Self {
        Self {
            positions: PositionVectors { now: SharedMatrix::zeros(POSITIONS, dimension), loaded: Vec::new() },
            tokens: Vec::new(),
            input: Composed::new(1, dimension),
            rows: Vec::new(),
            position_rows: Vec::new(),
            targets: Vec::new(),
            next_targets: Vec::new(),
            errors: Vec::new(),
            loss_meter: LossMeter::default(),
        }
    }
}

struct Pass<'a> {
    around: Hogwild<'a, SharedMatrix>,
    output: Hogwild<'a, SharedMatrix>,
    noise: AliasTable,
}

impl Pass<'_> {
    fn sentence(&self, sentence: &[u32], rate: f32, random: &mut Random, buffers: &mut TrainBuffers) {
        if sentence.len() < 2 {
            return;
        }
        let TrainBuffers { positions, input, rows, position_rows, targets, next_targets, errors, loss_meter, .. } =
            buffers;
        self.sample_targets(sentence[0], random, targets);
        sentence.iter().take(WINDOW + 1).for_each(|&word| self.around.prefetch(word));
        for at in 0..sentence.len() {
            if let Some(&next) = sentence.get(at + 1) {
                self.sample_targets(next, random, next_targets);
            }
            if let Some(&entering) = sentence.get(at + 1 + WINDOW) {
                self.around.prefetch(entering);
            }
            rows.clear();
            position_rows.clear();
            for distance in 1..=WINDOW {
                if let Some(index) = at.checked_sub(distance) {
                    rows.push(sentence[index]);
                    position_rows.push(before(distance) as u32);
                }
                if let Some(&word) = sentence.get(at + distance) {
                    rows.push(word);
                    position_rows.push(after(distance) as u32);
                }
            }
            input.gather_weighted(0, (&self.around, rows), (&positions.now, position_rows));
            let window = Window { inputs: &[0], targets, shift: (NOISE as f32).ln() };
            loss_meter.window(input.inputs(), &self.output, window);
            step(input.inputs(), &self.output, window, rate, errors);
            input.scatter_weighted(0, (&self.around, rows), (&positions.now, position_rows), POSITION_LEARNING_RATE);
            std::mem::swap(targets, next_targets);
        }
    }

    /// Draws the targets: the word, then the noise, which may include the word.
    fn sample_targets(&self, word: u32, random: &mut Random, targets: &mut Vec<u32>) {
        targets.clear();
        targets.push(word);
        self.output.prefetch(word);
        for _ in 0..NOISE {
            let noise = self.noise.sample(random);
            targets.push(noise);
            self.output.prefetch(noise);
        }
    }
}
