//! Negative sampling: the loops of skip-gram and CBOW (`train.rs` cites the papers).
//!
//! An input composed of several rows is their mean, and each row receives the whole update, as in word2vec.c and
//! fastText.
//!
//! The corpus is cut into blocks of whole sentences; threads process the blocks and update both matrices without locks.
//! A block's random choices depend on the seed and the block's number, and the learning rate falls with the block's
//! number, so that one thread with one seed gives the same bits on every run on one machine.

use super::{
    checkpoint::Checkpoint,
    corpus::{Corpus, MAX_SENTENCE_WORDS},
    options::Ngrams,
    options::{Objective, TrainOptions, TrainProgress},
    parallel_loop::{self, Iterations, ProgressReporter},
    sampling::{AliasTable, Random, keep_thresholds},
    subwords::Subwords,
    table::Table,
    token_file::END,
};
use crate::{
    Error,
    math::train::{Composed, Hogwild, SharedMatrix, Window, loss, step},
};
use std::sync::Mutex;

/// The loss is measured on 1/256 of the windows.
const LOSS_EVERY: u64 = 256;
/// Phase name of its checkpoints.
const PHASE: &str = "training";

/// Result of training.
pub(super) struct TrainedLayers {
    /// The word vectors, row by row; with n-grams, the means of the rows that compose each word.
    pub(super) input: Vec<f32>,
    /// The output layer, row by row.
    pub(super) output: Vec<f32>,
    pub(super) subwords: Option<Subwords>,
}

/// Trains all epochs, resuming from the last checkpoint if there is one.
///
/// # Errors
/// [`Error::Io`], and checkpoint errors.
pub(super) fn fit(
    corpus: &Corpus,
    options: &TrainOptions,
    checkpoint: Option<&Checkpoint>,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<TrainedLayers, Error> {
    let rows = corpus.words.len();
    let input_rows = options.ngrams.map(|ngrams| InputRows::of(&corpus.words, ngrams));
    let buckets = options.ngrams.map_or(0, |ngrams| ngrams.buckets as usize);
    let mut input = SharedMatrix::zeros(rows + buckets, options.dimension);
    let mut output = SharedMatrix::zeros(rows, options.dimension);
    let mut random = Random::new(options.seed, u64::MAX);
    let width = 1.0 / options.dimension as f32;
    input.fill(|| (random.unit() - 0.5) * width);
    let saved =
        checkpoint.map(|checkpoint| checkpoint.load(PHASE, &mut [&mut input, &mut output])).transpose()?.flatten();
    let (first, report) = saved.unwrap_or_default();

    // SAFETY: the threads access the numbers through the functions of `math::train` only.
    let shared = unsafe { (Hogwild::new(&input), Hogwild::new(&output)) };
    let pass = Pass {
        corpus,
        options,
        input: shared.0,
        output: shared.1,
        input_rows: input_rows.as_ref(),
        noise: AliasTable::new(&corpus.counts, options.noise_power),
        keep: keep_thresholds(&corpus.counts, options.subsample),
    };
    let total = corpus.total() * options.epochs as u64;
    let reporter = ProgressReporter { phase: PHASE, total, report: Mutex::new(report), observe };
    let iterations = corpus.blocks.len() * options.epochs;
    let save = |iteration| match checkpoint {
        Some(checkpoint) => checkpoint.save(PHASE, iteration, reporter.now(), &[&input, &output]),
        None => Ok(()),
    };
    parallel_loop::run(
        Iterations {
            first,
            total: iterations,
            threads: options.resolved_threads(),
            pause_interval: checkpoint.map(|checkpoint| checkpoint.interval),
        },
        || TrainBuffers::new(options),
        |iteration, buffers| {
            let remaining = 1.0 - iteration as f32 / iterations as f32;
            let rate = options.learning_rate * remaining.max(1e-4);
            let done = pass.block(iteration, rate, buffers)?;
            reporter.add(done, buffers.loss_meter.mean(), rate)
        },
        save,
    )?;
    if first < iterations {
        save(iterations)?;
    }
    let mut input = input.to_rows();
    let subwords = options.ngrams.map(|ngrams| {
        let grams = input.split_off(rows * options.dimension);
        let table = Table::encode(options.store, grams, options.dimension);
        let subwords = Subwords { ngrams, table };
        // Uses the n-gram vectors in their stored precision.
        for (word, row) in corpus.words.iter().zip(input.chunks_exact_mut(options.dimension)) {
            let count = subwords.add(word, options.dimension, row);
            row.iter_mut().for_each(|x| *x /= (count + 1) as f32);
        }
        subwords
    });
    Ok(TrainedLayers { input, output: output.to_rows(), subwords })
}

/// The rows of the input matrix that compose each word: its own, then those of its n-grams, which are stored after the
/// words' rows.
struct InputRows {
    rows: Vec<u32>,
    ends: Vec<usize>,
}

impl InputRows {
    fn of(words: &[String], ngrams: Ngrams) -> Self {
        let (mut rows, mut ends) = (Vec::new(), Vec::with_capacity(words.len()));
        for (number, word) in (0_u32..).zip(words) {
            rows.push(number);
            ngrams.for_each_bucket(word, |bucket| rows.push(words.len() as u32 + bucket));
            ends.push(rows.len());
        }
        Self { rows, ends }
    }

    fn of_word(&self, word: u32) -> &[u32] {
        &self.rows[range_of(&self.ends, word as usize)]
    }
}

/// Returns the range of part `index` of a concatenation with these `ends`.
fn range_of(ends: &[usize], index: usize) -> std::ops::Range<usize> {
    index.checked_sub(1).map_or(0, |before| ends[before])..ends[index]
}

/// State shared by all threads.
struct Pass<'a> {
    corpus: &'a Corpus,
    options: &'a TrainOptions,
    input: Hogwild<'a, SharedMatrix>,
    output: Hogwild<'a, SharedMatrix>,
    input_rows: Option<&'a InputRows>,
    noise: AliasTable,
    keep: Vec<u32>,
}

impl Pass<'_> {
    /// Trains on one block; returns its number of words.
    fn block(&self, iteration: usize, rate: f32, buffers: &mut TrainBuffers) -> Result<u64, Error> {
        let mut random = Random::new(self.options.seed, iteration as u64);
        buffers.loss_meter = LossMeter::default();
        let mut tokens = std::mem::take(&mut buffers.tokens);
        self.corpus.token_file.read(&self.corpus.blocks[iteration % self.corpus.blocks.len()], &mut tokens)?;
        let mut words = 0;
        for sentence in tokens.split(|&token| token == END) {
            words += sentence.len() as u64;
            buffers.sentence.clear();
            for &word in sentence {
                let keep = self.keep[word as usize];
                if keep == u32::MAX || random.next() as u32 <= keep {
                    buffers.sentence.push(word);
                }
            }
            self.sentence(rate, &mut random, buffers);
        }
        buffers.tokens = tokens;
        Ok(words)
    }

    fn sentence(&self, rate: f32, random: &mut Random, buffers: &mut TrainBuffers) {
        if buffers.sentence.len() < 2 {
            return;
        }
        self.sample_targets(buffers.sentence[0], random, &mut buffers.targets);
        for at in 0..buffers.sentence.len() {
            let sentence = &buffers.sentence;
            // Prefetches the rows of the next window.
            if let Some(&next) = sentence.get(at + 1) {
                self.sample_targets(next, random, &mut buffers.next_targets);
            }
            if let Some(&entering) = sentence.get(at + 1 + self.options.window) {
                self.input.prefetch(entering);
            }
            let reach = 1 + random.below(self.options.window as u32) as usize;
            buffers.inputs.clear();
            buffers.inputs.extend_from_slice(&sentence[at.saturating_sub(reach)..at]);
            buffers.inputs.extend_from_slice(&sentence[at + 1..(at + 1 + reach).min(sentence.len())]);
            self.window(rate, buffers);
            std::mem::swap(&mut buffers.targets, &mut buffers.next_targets);
        }
    }

    /// Performs one step on the inputs and targets of a window.
    fn window(&self, rate: f32, buffers: &mut TrainBuffers) {
        let TrainBuffers { inputs, targets, errors, composed, .. } = buffers;
        let Some(ComposedInputs { inputs: matrix, rows, ends, slots }) = composed else {
            let window = Window { inputs, targets, shift: 0.0 };
            buffers.loss_meter.window(&self.input, &self.output, window);
            return step(&self.input, &self.output, window, rate, errors);
        };
        rows.clear();
        ends.clear();
        for &word in inputs.iter() {
            match self.input_rows {
                Some(input_rows) => rows.extend_from_slice(input_rows.of_word(word)),
                None => rows.push(word),
            }
            if self.options.objective == Objective::SkipGram {
                ends.push(rows.len());
            }
        }
        if self.options.objective == Objective::Cbow {
            ends.push(rows.len());
        }
        let slots = &slots[..ends.len()];
        let of = |slot: u32| range_of(ends, slot as usize);
        slots.iter().for_each(|&slot| matrix.gather(slot, &self.input, &rows[of(slot)]));
        let window = Window { inputs: slots, targets, shift: 0.0 };
        buffers.loss_meter.window(matrix.inputs(), &self.output, window);
        step(matrix.inputs(), &self.output, window, rate, errors);
        slots.iter().for_each(|&slot| matrix.scatter(slot, &self.input, &rows[of(slot)]));
    }

    /// Draws the targets: the word, then negatives other than the word.
    fn sample_targets(&self, word: u32, random: &mut Random, targets: &mut Vec<u32>) {
        targets.clear();
        targets.push(word);
        self.output.prefetch(word);
        for _ in 0..self.options.negative {
            let negative = self.noise.sample(random);
            if negative != word {
                targets.push(negative);
                self.output.prefetch(negative);
            }
        }
    }
}

/// The buffers of a thread.
struct TrainBuffers {
    tokens: Vec<u32>,
    sentence: Vec<u32>,
    inputs: Vec<u32>,
    targets: Vec<u32>,
    next_targets: Vec<u32>,
    errors: Vec<f32>,
    /// For inputs composed of several rows.
    composed: Option<ComposedInputs>,
    loss_meter: LossMeter,
}

impl TrainBuffers {
    fn new(options: &TrainOptions) -> Self {
        let composed = options.ngrams.is_some() || options.objective == Objective::Cbow;
        Self {
            tokens: Vec::new(),
            sentence: Vec::with_capacity(MAX_SENTENCE_WORDS),
            inputs: Vec::new(),
            targets: Vec::new(),
            next_targets: Vec::new(),
            errors: Vec::new(),
            composed: composed.then(|| ComposedInputs {
                inputs: Composed::new(2 * options.window, options.dimension),
                rows: Vec::new(),
                ends: Vec::new(),
                slots: (0..2 * options.window as u32).collect(),
            }),
            loss_meter: LossMeter::default(),
        }
    }
}

/// The inputs of a window, each composed of several rows.
struct ComposedInputs {
    inputs: Composed,
    /// The rows of all inputs, concatenated, and the end of each input.
    rows: Vec<u32>,
    ends: Vec<usize>,
    /// 0, 1, ...
    slots: Vec<u32>,
}

/// The loss, measured on some windows of a block.
#[derive(Default)]
pub(super) struct LossMeter {
    sum: f64,
    measured: u64,
    windows: u64,
}

impl LossMeter {
    #[inline]
    pub(super) fn window(&mut self, input: &SharedMatrix, output: &SharedMatrix, window: Window<'_>) {
        self.windows += 1;
        if self.windows.is_multiple_of(LOSS_EVERY) {
            self.sum += loss(input, output, window) / window.inputs.len() as f64;
            self.measured += 1;
        }
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (self.measured > 0).then(|| self.sum / self.measured as f64)
    }
}
