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
    corpus::{Corpus, SENTENCE},
    options::Ngrams,
    options::{Objective, TrainOptions, TrainProgress},
    parallel_loop::{self, Reporter, Turns},
    sampling::{Alias, Random, keep_thresholds},
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
pub(super) struct Fitted {
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
) -> Result<Fitted, Error> {
    let rows = corpus.words.len();
    let pieces = options.ngrams.map(|ngrams| Pieces::of(&corpus.words, ngrams));
    let buckets = options.ngrams.map_or(0, |ngrams| ngrams.buckets as usize);
    let mut input = SharedMatrix::zeros(rows + buckets, options.dimension);
    let mut output = SharedMatrix::zeros(rows, options.dimension);
    let mut random = Random::new(options.seed, u64::MAX);
    let width = 1.0 / options.dimension as f32;
    input.fill(|| (random.unit() - 0.5) * width);
    let kept = checkpoint.map(|kept| kept.load(PHASE, &mut [&mut input, &mut output])).transpose()?.flatten();
    let (first, report) = kept.unwrap_or_default();

    // SAFETY: the threads access the numbers through the functions of `math::train` only.
    let shared = unsafe { (Hogwild::new(&input), Hogwild::new(&output)) };
    let run = Run {
        corpus,
        options,
        input: shared.0,
        output: shared.1,
        pieces: pieces.as_ref(),
        noise: Alias::new(&corpus.counts, options.noise_power),
        keep: keep_thresholds(&corpus.counts, options.subsample),
    };
    let total = corpus.total() * options.epochs as u64;
    let reporter = Reporter { phase: PHASE, total, report: Mutex::new(report), observe };
    let all = corpus.blocks.len() * options.epochs;
    let save = |turn| match checkpoint {
        Some(checkpoint) => checkpoint.save(PHASE, turn, reporter.now(), &[&input, &output]),
        None => Ok(()),
    };
    parallel_loop::run(
        Turns { first, all, threads: options.resolved_threads(), every: checkpoint.map(|kept| kept.every) },
        || Scratch::new(options),
        |turn, scratch| {
            let left = 1.0 - turn as f32 / all as f32;
            let rate = options.learning_rate * left.max(1e-4);
            let done = run.block(turn, rate, scratch)?;
            reporter.add(done, scratch.measure.mean(), rate)
        },
        save,
    )?;
    if first < all {
        save(all)?;
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
    Ok(Fitted { input, output: output.to_rows(), subwords })
}

/// The rows of the input matrix that compose each word: its own, then those of its n-grams, which are stored after the
/// words' rows.
struct Pieces {
    rows: Vec<u32>,
    ends: Vec<usize>,
}

impl Pieces {
    fn of(words: &[String], ngrams: Ngrams) -> Self {
        let (mut rows, mut ends) = (Vec::new(), Vec::with_capacity(words.len()));
        for (number, word) in (0_u32..).zip(words) {
            rows.push(number);
            ngrams.of(word, |bucket| rows.push(words.len() as u32 + bucket));
            ends.push(rows.len());
        }
        Self { rows, ends }
    }

    fn of_word(&self, word: u32) -> &[u32] {
        &self.rows[part(&self.ends, word as usize)]
    }
}

/// Returns the range of part `slot` of a concatenation with these `ends`.
fn part(ends: &[usize], slot: usize) -> std::ops::Range<usize> {
    slot.checked_sub(1).map_or(0, |before| ends[before])..ends[slot]
}

/// State shared by all threads.
struct Run<'a> {
    corpus: &'a Corpus,
    options: &'a TrainOptions,
    input: Hogwild<'a, SharedMatrix>,
    output: Hogwild<'a, SharedMatrix>,
    pieces: Option<&'a Pieces>,
    noise: Alias,
    keep: Vec<u32>,
}

impl Run<'_> {
    /// Trains on one block; returns its number of words.
    fn block(&self, turn: usize, rate: f32, scratch: &mut Scratch) -> Result<u64, Error> {
        let mut random = Random::new(self.options.seed, turn as u64);
        scratch.measure = Measure::default();
        let mut tokens = std::mem::take(&mut scratch.tokens);
        self.corpus.spool.read(&self.corpus.blocks[turn % self.corpus.blocks.len()], &mut tokens)?;
        let mut words = 0;
        for sentence in tokens.split(|&token| token == END) {
            words += sentence.len() as u64;
            scratch.sentence.clear();
            for &word in sentence {
                let keep = self.keep[word as usize];
                if keep == u32::MAX || random.next() as u32 <= keep {
                    scratch.sentence.push(word);
                }
            }
            self.sentence(rate, &mut random, scratch);
        }
        scratch.tokens = tokens;
        Ok(words)
    }

    fn sentence(&self, rate: f32, random: &mut Random, scratch: &mut Scratch) {
        if scratch.sentence.len() < 2 {
            return;
        }
        self.draw(scratch.sentence[0], random, &mut scratch.targets);
        for at in 0..scratch.sentence.len() {
            let sentence = &scratch.sentence;
            // Prefetches the rows of the next window.
            if let Some(&next) = sentence.get(at + 1) {
                self.draw(next, random, &mut scratch.coming);
            }
            if let Some(&entering) = sentence.get(at + 1 + self.options.window) {
                self.input.prefetch(entering);
            }
            let reach = 1 + random.below(self.options.window as u32) as usize;
            scratch.inputs.clear();
            scratch.inputs.extend_from_slice(&sentence[at.saturating_sub(reach)..at]);
            scratch.inputs.extend_from_slice(&sentence[at + 1..(at + 1 + reach).min(sentence.len())]);
            self.window(rate, scratch);
            std::mem::swap(&mut scratch.targets, &mut scratch.coming);
        }
    }

    /// Performs one step on the inputs and targets of a window.
    fn window(&self, rate: f32, scratch: &mut Scratch) {
        let Scratch { inputs, targets, errors, composed, .. } = scratch;
        let Some(Joined { inputs: joined, rows, ends, slots }) = composed else {
            let window = Window { inputs, targets, shift: 0.0 };
            scratch.measure.window(&self.input, &self.output, window);
            return step(&self.input, &self.output, window, rate, errors);
        };
        rows.clear();
        ends.clear();
        for &word in inputs.iter() {
            match self.pieces {
                Some(pieces) => rows.extend_from_slice(pieces.of_word(word)),
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
        let of = |slot: u32| part(ends, slot as usize);
        slots.iter().for_each(|&slot| joined.gather(slot, &self.input, &rows[of(slot)]));
        let window = Window { inputs: slots, targets, shift: 0.0 };
        scratch.measure.window(joined.inputs(), &self.output, window);
        step(joined.inputs(), &self.output, window, rate, errors);
        slots.iter().for_each(|&slot| joined.scatter(slot, &self.input, &rows[of(slot)]));
    }

    /// Draws the targets: the word, then negatives other than the word.
    fn draw(&self, word: u32, random: &mut Random, targets: &mut Vec<u32>) {
        targets.clear();
        targets.push(word);
        self.output.prefetch(word);
        for _ in 0..self.options.negative {
            let negative = self.noise.draw(random);
            if negative != word {
                targets.push(negative);
                self.output.prefetch(negative);
            }
        }
    }
}

/// A thread's scratch space.
struct Scratch {
    tokens: Vec<u32>,
    sentence: Vec<u32>,
    inputs: Vec<u32>,
    targets: Vec<u32>,
    coming: Vec<u32>,
    errors: Vec<f32>,
    /// For inputs composed of several rows.
    composed: Option<Joined>,
    measure: Measure,
}

impl Scratch {
    fn new(options: &TrainOptions) -> Self {
        let composed = options.ngrams.is_some() || options.objective == Objective::Cbow;
        Self {
            tokens: Vec::new(),
            sentence: Vec::with_capacity(SENTENCE),
            inputs: Vec::new(),
            targets: Vec::new(),
            coming: Vec::new(),
            errors: Vec::new(),
            composed: composed.then(|| Joined {
                inputs: Composed::new(2 * options.window, options.dimension),
                rows: Vec::new(),
                ends: Vec::new(),
                slots: (0..2 * options.window as u32).collect(),
            }),
            measure: Measure::default(),
        }
    }
}

/// The inputs of a window, each composed of several rows.
struct Joined {
    inputs: Composed,
    /// The rows of all inputs, concatenated, and the end of each input.
    rows: Vec<u32>,
    ends: Vec<usize>,
    /// 0, 1, ...
    slots: Vec<u32>,
}

/// The loss, measured on some windows of a block.
#[derive(Default)]
pub(super) struct Measure {
    sum: f64,
    measured: u64,
    windows: u64,
}

impl Measure {
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
