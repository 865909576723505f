//! Training: skip-gram with negative sampling and frequent-word subsampling (Mikolov, Sutskever, Chen, Corrado, Dean
//! 2013, "Distributed Representations of Words and Phrases and their Compositionality", section 2), or CBOW (Mikolov,
//! Chen, Corrado, Dean 2013, "Efficient Estimation of Word Representations in Vector Space", section 3.1); either of
//! them with n-grams (`subwords.rs`). An input made of several rows is their mean, and each of them takes its whole
//! change, as in word2vec.c and fastText.
//!
//! The corpus is cut into blocks of whole sentences; threads take block after block and update both matrices without
//! locks. A block's random choices come from the seed and the block's number, and the learning rate falls with the
//! block's number, so that one thread with one seed gives the same bits on every run of one machine.

use super::{
    WordModel,
    data::{Corpus, END, SENTENCE},
    file::Table,
    model::Parts,
    subwords::{Ngrams, Subwords},
    weight,
};
use crate::{
    embed::{Error, ModelCard},
    math::train::{Composed, SharedMatrix, Window, loss, step},
    types::Precision,
};
use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Most components of a word vector.
pub const MAX_DIMENSION: usize = 4_096;
/// The power that flattens word frequencies for drawing negatives (section 2.2).
pub(super) const NOISE_POWER: f64 = 0.75;
/// Words of a block of a large corpus.
const BLOCK: usize = 1 << 15;
/// Most words to each side that count as context.
const MAX_WINDOW: usize = 100;
/// The loss is measured on one window of so many.
const LOSS_EVERY: u64 = 256;

/// What the net learns to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Objective {
    /// From a word, the words around it.
    #[default]
    SkipGram,
    /// From the words around, the word in the middle.
    Cbow,
}

impl Objective {
    /// Its name on the command line and in cards.
    pub fn name(self) -> &'static str {
        match self {
            Self::SkipGram => "skip-gram",
            Self::Cbow => "cbow",
        }
    }

    /// The objective of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::SkipGram, Self::Cbow].into_iter().find(|objective| objective.name() == name)
    }
}

/// How to train. The defaults are those of `nearness train words`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// What the net learns to tell.
    pub objective: Objective,
    /// The n-grams that words are made of; none for words as wholes.
    pub ngrams: Option<Ngrams>,
    /// Components of a vector, 1 to [`MAX_DIMENSION`].
    pub dimension: usize,
    /// Most words to each side that count as context, 1 to 100; the actual reach is drawn from 1 to this.
    pub window: usize,
    /// Negatives for a window, 1 to 100.
    pub negative: usize,
    /// Words that occur less often are left out.
    pub min_count: u64,
    /// Frequency (a share of the corpus) from which words are left out at random; 0 keeps all.
    pub subsample: f64,
    /// Passes over the corpus.
    pub epochs: usize,
    /// Threads; 0 is one for each core.
    pub threads: usize,
    /// Seed of every random choice; the result repeats exactly with one thread.
    pub seed: u64,
    /// The learning rate at the start; it falls linearly to a ten-thousandth of this.
    pub learning_rate: f32,
    /// How the model keeps its numbers.
    pub store: Precision,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            objective: Objective::SkipGram,
            ngrams: None,
            dimension: 100,
            window: 5,
            negative: 5,
            min_count: 5,
            subsample: 1e-4,
            epochs: 5,
            threads: 0,
            seed: 1,
            learning_rate: 0.03,
            store: Precision::F32,
        }
    }
}

/// Where training stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainProgress {
    /// `counting`, `training`, `weighting`.
    pub phase: &'static str,
    /// Words (in `weighting`: paragraphs) done in this phase.
    pub done: u64,
    /// Words of this phase; 0 when not known.
    pub total: u64,
    /// The loss of an input word against the true word and the negatives, a moving average.
    pub loss: Option<f64>,
    /// The learning rate now.
    pub learning_rate: f32,
}

impl TrainOptions {
    fn check(&self) -> Result<(), Error> {
        let range = |name: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(Error::InvalidInput(format!("{name} must be 1 to {most}, got {value}")))
            }
        };
        self.ngrams.map_or(Ok(()), |ngrams| ngrams.check())?;
        range("the dimension", self.dimension, MAX_DIMENSION)?;
        range("the window", self.window, MAX_WINDOW)?;
        range("the number of negatives", self.negative, 100)?;
        range("the number of epochs", self.epochs, 10_000)?;
        if self.threads > 1_024 {
            return Err(Error::InvalidInput(format!("at most 1024 threads, got {}", self.threads)));
        }
        if !(0.0..=1.0).contains(&self.subsample) {
            return Err(Error::InvalidInput(format!(
                "the subsampling frequency must be 0 to 1, got {}",
                self.subsample
            )));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return Err(Error::InvalidInput(format!(
                "the learning rate must be above 0, at most 1, got {}",
                self.learning_rate
            )));
        }
        Ok(())
    }

    /// The threads that training will use.
    pub fn resolved_threads(&self) -> usize {
        if self.threads > 0 { self.threads } else { thread::available_parallelism().map_or(1, usize::from) }
    }
}

/// Trains a model on text files (plain or gzip). The card it carries has the settings; data, date, command and
/// quality are the caller's to add ([`WordModel::with_card`]).
///
/// # Errors
/// [`Error::InvalidInput`] for options outside their limits or a corpus without words, [`Error::Io`].
pub fn train(
    corpus: &[PathBuf],
    options: &TrainOptions,
    observe: &(dyn Fn(&TrainProgress) + Sync),
) -> Result<WordModel, Error> {
    options.check()?;
    let corpus = Corpus::read(corpus, options.min_count.max(1), observe)?;
    let Fitted { input, output, subwords } = fit(&corpus, options, observe);
    let common = weight::common_component(&corpus, &input, options.dimension, observe);
    let Corpus { words, counts, .. } = corpus;
    WordModel::new(Parts {
        words,
        counts,
        dimension: options.dimension,
        input: Table::encode(options.store, input, options.dimension),
        output: Some(Table::encode(options.store, output, options.dimension)),
        common: Some(common),
        subwords,
        card: card(options),
    })
}

fn card(options: &TrainOptions) -> ModelCard {
    let mut settings = serde_json::json!({
        "objective": options.objective.name(), "dimension": options.dimension, "window": options.window, "negative": options.negative,
        "min_count": options.min_count, "subsample": options.subsample, "epochs": options.epochs,
        "learning_rate": (f64::from(options.learning_rate) * 1e6).round() / 1e6, "store": options.store.name(),
    });
    let mut summary = format!("Word vectors: {} with negative sampling", options.objective.name());
    if let Some(Ngrams { min, max, buckets }) = options.ngrams {
        settings["ngrams"] = serde_json::json!({ "min": min, "max": max, "buckets": buckets });
        summary += &format!(" and n-grams of {min} to {max} characters");
    }
    ModelCard {
        name: "words".into(),
        summary: summary + ".",
        seed: options.seed,
        threads: options.resolved_threads(),
        settings: settings.as_object().cloned().unwrap_or_default(),
        ..ModelCard::default()
    }
}

/// What all epochs gave.
struct Fitted {
    /// The vectors of the words, row after row; with n-grams, the means of their parts.
    input: Vec<f32>,
    /// The output layer, row after row.
    output: Vec<f32>,
    subwords: Option<Subwords>,
}

fn fit(corpus: &Corpus, options: &TrainOptions, observe: &(dyn Fn(&TrainProgress) + Sync)) -> Fitted {
    let rows = corpus.words.len();
    let pieces = options.ngrams.map(|ngrams| Pieces::of(&corpus.words, ngrams));
    let buckets = options.ngrams.map_or(0, |ngrams| ngrams.buckets as usize);
    let mut input = SharedMatrix::zeros(rows + buckets, options.dimension);
    let mut output = SharedMatrix::zeros(rows, options.dimension);
    let mut random = Random::new(options.seed, u64::MAX);
    let width = 1.0 / options.dimension as f32;
    input.fill(|| (random.unit() - 0.5) * width);

    let blocks = cut(&corpus.tokens);
    let run = Run {
        corpus,
        options,
        input: &input,
        output: &output,
        pieces: pieces.as_ref(),
        noise: Alias::new(&corpus.counts),
        keep: keep_thresholds(&corpus.counts, options.subsample),
        next: AtomicUsize::new(0),
        report: Mutex::new(Report { done: 0, loss: None }),
        total: corpus.total() * options.epochs as u64,
        observe,
        blocks,
    };
    let threads = options.resolved_threads().min(run.blocks.len() * options.epochs).max(1);
    if threads == 1 {
        run.work();
    } else {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| run.work());
            }
        });
    }
    let mut input = input.to_rows();
    let subwords = options.ngrams.map(|ngrams| {
        let grams = input.split_off(rows * options.dimension);
        let table = Table::encode(options.store, grams, options.dimension);
        let subwords = Subwords { ngrams, table };
        // Of the n-grams as they are kept.
        for (word, row) in corpus.words.iter().zip(input.chunks_exact_mut(options.dimension)) {
            let count = subwords.add(word, options.dimension, row);
            row.iter_mut().for_each(|x| *x /= (count + 1) as f32);
        }
        subwords
    });
    Fitted { input, output: output.to_rows(), subwords }
}

/// For every word the rows of the input matrix that it is made of: its own, then those of its n-grams, which follow
/// the words'.
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

/// The part at `place` of what is cut at `ends`.
fn part(ends: &[usize], place: usize) -> std::ops::Range<usize> {
    place.checked_sub(1).map_or(0, |before| ends[before])..ends[place]
}

/// Blocks of whole sentences: where each begins and ends among the tokens.
fn cut(tokens: &[u32]) -> Vec<std::ops::Range<usize>> {
    let size = (tokens.len() / 256).clamp(1_000, BLOCK);
    let mut blocks = Vec::new();
    let mut start = 0;
    for (at, &token) in tokens.iter().enumerate() {
        if token == END && at + 1 - start >= size {
            blocks.push(start..at + 1);
            start = at + 1;
        }
    }
    if start < tokens.len() {
        blocks.push(start..tokens.len());
    }
    blocks
}

/// What all threads share.
struct Run<'a> {
    corpus: &'a Corpus,
    options: &'a TrainOptions,
    input: &'a SharedMatrix,
    output: &'a SharedMatrix,
    pieces: Option<&'a Pieces>,
    noise: Alias,
    keep: Vec<u32>,
    blocks: Vec<std::ops::Range<usize>>,
    next: AtomicUsize,
    report: Mutex<Report>,
    total: u64,
    observe: &'a (dyn Fn(&TrainProgress) + Sync),
}

struct Report {
    done: u64,
    loss: Option<f64>,
}

impl Run<'_> {
    /// Takes blocks until none is left.
    fn work(&self) {
        let all = self.blocks.len() * self.options.epochs;
        let mut scratch = Scratch::new(self.options);
        loop {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            if turn >= all {
                return;
            }
            let left = 1.0 - turn as f32 / all as f32;
            let rate = self.options.learning_rate * left.max(1e-4);
            let done = self.block(turn, rate, &mut scratch);

            let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.done += done;
            if let Some(now) = scratch.measure.mean() {
                report.loss = Some(report.loss.map_or(now, |before| before + 0.1 * (now - before)));
            }
            // Reported under the lock, so that reports come in order.
            (self.observe)(&TrainProgress {
                phase: "training",
                done: report.done,
                total: self.total,
                loss: report.loss,
                learning_rate: rate,
            });
        }
    }

    /// Trains on one block; gives its number of words.
    fn block(&self, turn: usize, rate: f32, scratch: &mut Scratch) -> u64 {
        let mut random = Random::new(self.options.seed, turn as u64);
        scratch.measure.begin();
        let tokens = &self.corpus.tokens[self.blocks[turn % self.blocks.len()].clone()];
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
        words
    }

    fn sentence(&self, rate: f32, random: &mut Random, scratch: &mut Scratch) {
        if scratch.sentence.len() < 2 {
            return;
        }
        self.draw(scratch.sentence[0], random, &mut scratch.targets);
        for at in 0..scratch.sentence.len() {
            let sentence = &scratch.sentence;
            // The rows of the next window are on their way while this one is computed.
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

    /// One step on the inputs and targets of a window.
    fn window(&self, rate: f32, scratch: &mut Scratch) {
        let Scratch { inputs, targets, errors, composed, .. } = scratch;
        let Some(Joined { inputs: joined, rows, ends, places }) = composed else {
            let window = Window { inputs, targets };
            scratch.measure.window(self.input, self.output, window);
            return step(self.input, self.output, window, rate, errors);
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
        let places = &places[..ends.len()];
        let of = |place: u32| part(ends, place as usize);
        places.iter().for_each(|&place| joined.gather(place, self.input, &rows[of(place)]));
        let window = Window { inputs: places, targets };
        scratch.measure.window(joined.inputs(), self.output, window);
        step(joined.inputs(), self.output, window, rate, errors);
        places.iter().for_each(|&place| joined.scatter(place, self.input, &rows[of(place)]));
    }

    /// The word, then negatives other than the word.
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

/// What a thread needs again and again.
struct Scratch {
    sentence: Vec<u32>,
    inputs: Vec<u32>,
    targets: Vec<u32>,
    coming: Vec<u32>,
    errors: Vec<f32>,
    /// Where inputs are made of several rows.
    composed: Option<Joined>,
    measure: Measure,
}

impl Scratch {
    fn new(options: &TrainOptions) -> Self {
        let composed = options.ngrams.is_some() || options.objective == Objective::Cbow;
        Self {
            sentence: Vec::with_capacity(SENTENCE),
            inputs: Vec::new(),
            targets: Vec::new(),
            coming: Vec::new(),
            errors: Vec::new(),
            composed: composed.then(|| Joined {
                inputs: Composed::new(2 * options.window, options.dimension),
                rows: Vec::new(),
                ends: Vec::new(),
                places: (0..2 * options.window as u32).collect(),
            }),
            measure: Measure::default(),
        }
    }
}

/// The inputs of a window that are made of several rows each.
struct Joined {
    inputs: Composed,
    /// The rows, input after input, and where those of each end.
    rows: Vec<u32>,
    ends: Vec<usize>,
    /// 0, 1, ...
    places: Vec<u32>,
}

/// The loss, measured on a few windows.
#[derive(Default)]
struct Measure {
    sum: f64,
    measured: u64,
    windows: u64,
}

impl Measure {
    fn begin(&mut self) {
        (self.sum, self.measured) = (0.0, 0);
    }

    #[inline]
    fn window(&mut self, input: &SharedMatrix, output: &SharedMatrix, window: Window<'_>) {
        self.windows += 1;
        if self.windows.is_multiple_of(LOSS_EVERY) {
            self.sum += loss(input, output, window) / window.inputs.len() as f64;
            self.measured += 1;
        }
    }

    fn mean(&self) -> Option<f64> {
        (self.measured > 0).then(|| self.sum / self.measured as f64)
    }
}

/// For each word, how large a random number may be for the word to stay; `u32::MAX` always stays. The share that
/// stays is sqrt(t/f) + t/f, as word2vec.c has it (the paper's formula is close to it).
fn keep_thresholds(counts: &[u64], subsample: f64) -> Vec<u32> {
    let total = counts.iter().sum::<u64>() as f64;
    let threshold = |&count: &u64| {
        let ratio = subsample / (count as f64 / total);
        let share = ratio.sqrt() + ratio;
        if subsample == 0.0 || share >= 1.0 { u32::MAX } else { (share * f64::from(u32::MAX)) as u32 }
    };
    counts.iter().map(threshold).collect()
}

/// Draws words in proportion to count^0.75 with two memory reads (Walker's alias method).
struct Alias {
    cells: Vec<(u32, u32)>,
}

impl Alias {
    fn new(counts: &[u64]) -> Self {
        let mut shares: Vec<f64> = counts.iter().map(|&count| (count as f64).powf(NOISE_POWER)).collect();
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        shares.iter_mut().for_each(|share| *share /= mean);
        let mut cells: Vec<(u32, u32)> = (0..counts.len() as u32).map(|word| (u32::MAX, word)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..shares.len()).partition(|&at| shares[at] < 1.0);
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            cells[poor] = ((shares[poor] * f64::from(u32::MAX)) as u32, rich as u32);
            shares[rich] -= 1.0 - shares[poor];
            if shares[rich] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        Self { cells }
    }

    #[inline]
    fn draw(&self, random: &mut Random) -> u32 {
        let bits = random.next();
        let at = ((bits >> 32) * self.cells.len() as u64) >> 32;
        let (limit, other) = self.cells[at as usize];
        if bits as u32 <= limit { at as u32 } else { other }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and two multiplications a number.
struct Random(u64);

impl Random {
    fn new(seed: u64, stream: u64) -> Self {
        let mut start = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        Self(start.next())
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 16_777_216.0
    }

    #[inline]
    fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
#[path = "train_tests.rs"]
mod tests;
