//! Training options with their limits, and training progress.

use crate::{Error, transformers::Pieces, types::Precision};
use std::{path::PathBuf, thread, time::Duration};

/// Maximum dimension of a word vector.
pub const MAX_DIMENSION: usize = 4_096;
/// Default power of the unigram distribution of negatives (section 2.2).
pub(super) const DEFAULT_NOISE_POWER: f64 = 0.75;
/// Maximum context words on each side.
const MAX_WINDOW: usize = 100;
/// Maximum vocabulary size.
const MAX_WORDS: usize = 1 << 28;

/// Maximum number of passes.
const MAX_PASSES: usize = 10;
/// Maximum n-gram length, in characters.
const MAX_LENGTH: usize = 20;
/// Maximum number of buckets.
const MAX_BUCKETS: u32 = 1 << 26;

/// Training objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Objective {
    /// Skip-gram: predict the context from a word.
    #[default]
    SkipGram,
    /// CBOW: predict a word from its context.
    Cbow,
    /// GloVe: fit the co-occurrence counts.
    Glove,
}

impl Objective {
    /// Returns the name on the command line and in cards.
    pub fn name(self) -> &'static str {
        match self {
            Self::SkipGram => "skip-gram",
            Self::Cbow => "cbow",
            Self::Glove => "glove",
        }
    }

    /// Returns the objective of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::SkipGram, Self::Cbow, Self::Glove].into_iter().find(|objective| objective.name() == name)
    }

    /// Returns the default learning rate. CBOW averages a whole window into one input and so allows a larger rate;
    /// GloVe's is that of its authors' program.
    pub fn learning_rate(self) -> f32 {
        match self {
            Self::SkipGram => 0.02,
            Self::Cbow | Self::Glove => 0.05,
        }
    }

    /// Returns the default number of passes over the corpus.
    pub fn epochs(self) -> usize {
        match self {
            Self::SkipGram | Self::Cbow => 5,
            Self::Glove => 25,
        }
    }
}

/// Training options. The defaults are those of `nearness train words`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Training objective.
    pub objective: Objective,
    /// Character n-grams that words are composed of; `None` for whole words.
    pub ngrams: Option<Ngrams>,
    /// Vector dimension, 1 to [`MAX_DIMENSION`].
    pub dimension: usize,
    /// Maximum context words on each side, 1 to 100; the actual window is drawn from 1 to this.
    pub window: usize,
    /// Negatives per window, 1 to 100.
    pub negative: usize,
    /// Power of the unigram distribution of negatives.
    pub noise_power: f64,
    /// Minimum count; rarer words are dropped.
    pub min_count: u64,
    /// Maximum vocabulary size, most frequent words first; counting holds a small multiple of this number of words.
    pub max_words: usize,
    /// Maximum size of the uncompressed text, in bytes; a larger text is refused.
    pub max_bytes: u64,
    /// Phrase detection, if enabled.
    pub phrases: Option<Phrases>,
    /// Maximum number of distinct pieces: words are segmented, and the pieces have vectors. Not with n-grams or
    /// phrases.
    pub pieces: Option<usize>,
    /// Subsampling threshold: words of a higher frequency (share of the corpus) are dropped at random; 0 keeps all.
    pub subsample: f64,
    /// Passes over the corpus.
    pub epochs: usize,
    /// Passes over the corpus for the cloze layer; 0 fills blanks with the net's own output layer.
    pub cloze_epochs: usize,
    /// Postprocessing of the vectors.
    pub postprocessing: Postprocessing,
    /// Number of threads; 0 for one per core.
    pub threads: usize,
    /// Random seed; the result is reproducible with one thread.
    pub seed: u64,
    /// Initial learning rate; it falls linearly to 1/10,000 of this.
    pub learning_rate: f32,
    /// Stored precision of the vectors.
    pub store: Precision,
    /// Location and interval of checkpoints, if enabled.
    pub checkpoints: Option<Checkpoints>,
    /// Folder of scratch files, which take four bytes for each word of the corpus.
    pub scratch: PathBuf,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            objective: Objective::SkipGram,
            ngrams: None,
            dimension: 100,
            window: 6,
            negative: 15,
            noise_power: DEFAULT_NOISE_POWER,
            min_count: 5,
            max_words: 5_000_000,
            max_bytes: u64::MAX,
            phrases: None,
            pieces: None,
            subsample: 1e-4,
            epochs: Objective::SkipGram.epochs(),
            cloze_epochs: 1,
            postprocessing: Postprocessing::default(),
            threads: 0,
            seed: 1,
            learning_rate: Objective::SkipGram.learning_rate(),
            store: Precision::F32,
            checkpoints: None,
            scratch: std::env::temp_dir(),
        }
    }
}

/// Training progress.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainProgress {
    /// `counting`, `joining phrases`, `cutting words`, `training`, `blanks`, `refining`, `weighting`.
    pub phase: &'static str,
    /// Words (in `weighting`: paragraphs; in `refining`: of the vocabulary) done in this phase.
    pub done: u64,
    /// Words in this phase; 0 if unknown.
    pub total: u64,
    /// The loss of an input word against the true word and the negatives, as a moving average.
    pub loss: Option<f64>,
    /// The current learning rate.
    pub learning_rate: f32,
}

impl TrainProgress {
    /// Returns the progress of a phase without a loss.
    pub(super) fn of(phase: &'static str, done: u64, total: u64) -> Self {
        Self { phase, done, total, loss: None, learning_rate: 0.0 }
    }
}

impl TrainOptions {
    /// Validates the options.
    ///
    /// # Errors
    /// [`Error::InvalidInput`].
    pub fn check(&self) -> Result<(), Error> {
        let range = |name: &str, value: usize, max: usize| {
            if (1..=max).contains(&value) {
                Ok(())
            } else {
                Err(Error::InvalidInput(format!("{name} must be 1 to {max}, got {value}")))
            }
        };
        self.ngrams.map_or(Ok(()), |ngrams| ngrams.check())?;
        if self.ngrams.is_some() && self.objective == Objective::Glove {
            return Err(Error::InvalidInput("GloVe has no n-grams; leave them out, or train skip-gram or CBOW".into()));
        }
        range("the dimension", self.dimension, MAX_DIMENSION)?;
        range("the window", self.window, MAX_WINDOW)?;
        range("the number of negatives", self.negative, 100)?;
        range("the number of epochs", self.epochs, 10_000)?;
        range("the number of words", self.max_words, MAX_WORDS)?;
        self.phrases.map_or(Ok(()), |phrases| phrases.check())?;
        self.pieces.map_or(Ok(()), Pieces::check)?;
        if self.pieces.is_some() && (self.phrases.is_some() || self.ngrams.is_some()) {
            return Err(Error::InvalidInput("pieces, n-grams and phrases exclude each other".into()));
        }
        if !(0.0..=2.0).contains(&self.noise_power) {
            return Err(Error::InvalidInput(format!(
                "the power of the noise must be 0 to 2, got {}",
                self.noise_power
            )));
        }
        if self.threads > 1_024 {
            return Err(Error::InvalidInput(format!("at most 1024 threads, got {}", self.threads)));
        }
        if !(0.0..=1.0).contains(&self.subsample) {
            return Err(Error::InvalidInput(format!(
                "the subsampling frequency must be 0 to 1, got {}",
                self.subsample
            )));
        }
        let Postprocessing { output, spelling, spread, nearest } = self.postprocessing;
        let shares = [("output layer", output), ("spelling", spelling), ("spread", spread), ("nearest words", nearest)];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::InvalidInput(format!("the share of the {name} must be 0 to 1, got {share}")));
            }
        }
        if self.cloze_epochs > 10_000 {
            return Err(Error::InvalidInput(format!("at most 10000 epochs for blanks, got {}", self.cloze_epochs)));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return Err(Error::InvalidInput(format!(
                "the learning rate must be above 0, at most 1, got {}",
                self.learning_rate
            )));
        }
        Ok(())
    }

    /// Returns the effective number of threads.
    pub fn resolved_threads(&self) -> usize {
        if self.threads > 0 { self.threads } else { thread::available_parallelism().map_or(1, usize::from) }
    }
}

/// Selection of a word's n-grams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ngrams {
    /// Length of the shortest n-gram, in characters.
    pub min: usize,
    /// Length of the longest n-gram, in characters.
    pub max: usize,
    /// Number of vectors that the n-grams share.
    pub buckets: u32,
}

impl Ngrams {
    /// Validates the options.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] naming the limit.
    pub(super) fn check(&self) -> Result<(), Error> {
        if !(1..=self.max).contains(&self.min) || self.max > MAX_LENGTH {
            return Err(Error::InvalidInput(format!(
                "n-grams must have 1 to {MAX_LENGTH} characters, the shortest first; got {} to {}",
                self.min, self.max
            )));
        }
        if !(1..=MAX_BUCKETS).contains(&self.buckets) {
            return Err(Error::InvalidInput(format!(
                "the n-grams must share 1 to {MAX_BUCKETS} vectors, got {}",
                self.buckets
            )));
        }
        Ok(())
    }
}

/// Phrase detection options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phrases {
    /// Number of joining passes: one pass makes phrases of two words, two passes of up to four.
    pub passes: usize,
    /// Minimum score: (count(ab) - discount) / (count(a) count(b)), times the corpus length in words, as in
    /// word2phrase.c.
    pub threshold: f64,
    /// Discount on the count of a pair, so that rare words do not become phrases (the paper's delta).
    pub discount: u64,
}

impl Default for Phrases {
    fn default() -> Self {
        Self { passes: 1, threshold: 100.0, discount: 5 }
    }
}

impl Phrases {
    /// Validates the options.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] naming the limit.
    pub(super) fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_PASSES).contains(&self.passes) {
            return Err(Error::InvalidInput(format!(
                "phrases are joined in 1 to {MAX_PASSES} passes, got {}",
                self.passes
            )));
        }
        if !(self.threshold > 0.0 && self.threshold.is_finite()) {
            return Err(Error::InvalidInput(format!(
                "the minimum score of a phrase must be above 0, got {}",
                self.threshold
            )));
        }
        Ok(())
    }
}

/// Strength of each step; 0 disables it. The defaults trade WordSim-353, SimLex-999 and analogies against each other
/// (`benches/results/2026-11-28-words`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Postprocessing {
    /// Weight of the output layer's row relative to the word's own vector, both of unit length; 0 to 1.
    pub output: f32,
    /// Share of the spelling prediction in a word's vector; 0 to 1.
    pub spelling: f32,
    /// Power of the standard deviation that a component is divided by; 0 to 1.
    pub spread: f32,
    /// Length of the nearest words' contribution relative to the word's own vector; 0 to 1.
    pub nearest: f32,
}

impl Default for Postprocessing {
    fn default() -> Self {
        Self { output: 0.3, spelling: 0.4, spread: 0.45, nearest: 0.3 }
    }
}

impl Postprocessing {
    /// No postprocessing.
    pub const NONE: Self = Self { output: 0.0, spelling: 0.0, spread: 0.0, nearest: 0.0 };
}

/// Location and interval of checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    /// A folder used by this training only; created if needed.
    pub folder: PathBuf,
    /// Time between checkpoints.
    pub interval: Duration,
}

/// Reports progress to the observer.
///
/// # Errors
/// [`Error::Cancelled`] if the observer returns false.
pub(super) fn report_progress(
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
    progress: TrainProgress,
) -> Result<(), Error> {
    if observe(&progress) { Ok(()) } else { Err(Error::Cancelled) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_ngrams_are_refused() {
        let good = Ngrams { min: 3, max: 6, buckets: 1_000 };
        assert!(good.check().is_ok());
        for bad in [
            Ngrams { min: 0, ..good },
            Ngrams { min: 7, ..good },
            Ngrams { max: 21, ..good },
            Ngrams { buckets: 0, ..good },
            Ngrams { buckets: MAX_BUCKETS + 1, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn invalid_settings_are_refused() {
        for bad in [Phrases { passes: 0, ..Phrases::default() }, Phrases { threshold: f64::NAN, ..Phrases::default() }]
        {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
