//! Training of word vectors: skip-gram with negative sampling and subsampling of frequent words (Mikolov, Sutskever,
//! Chen, Corrado, Dean 2013, "Distributed Representations of Words and Phrases and their Compositionality", section 2);
//! CBOW (Mikolov, Chen, Corrado, Dean 2013, "Efficient Estimation of Word Representations in Vector Space", section
//! 3.1); either of them with n-grams (`subwords.rs`); or GloVe (`glove_train.rs`). The loops of the first two are in
//! `negative_sampling.rs`.

use super::{
    WordModel,
    checkpoint::{Checkpoint, Checkpoints},
    cloze_train,
    corpus::{Corpus, Reading},
    file::Table,
    glove_train,
    model::Parts,
    negative_sampling,
    phrases::Phrases,
    postprocess::{Refine, refine},
    sif,
    subwords::Ngrams,
    token_file::Spool,
    tokenize::Tokenizer,
};
use crate::{Error, ModelCard, transformers::Pieces, types::Precision};
use serde_json::json;
use std::{path::PathBuf, thread};

/// Maximum dimension of a word vector.
pub const MAX_DIMENSION: usize = 4_096;
/// Default power of the unigram distribution of negatives (section 2.2).
pub(super) const NOISE_POWER: f64 = 0.75;
/// Maximum context words on each side.
const MAX_WINDOW: usize = 100;
/// Maximum vocabulary size.
const MAX_WORDS: usize = 1 << 28;

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
    pub most_words: usize,
    /// Maximum size of the uncompressed text, in bytes; a larger text is refused.
    pub most_bytes: u64,
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
    pub blank_epochs: usize,
    /// Postprocessing of the vectors.
    pub refine: Refine,
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
            noise_power: NOISE_POWER,
            min_count: 5,
            most_words: 5_000_000,
            most_bytes: u64::MAX,
            phrases: None,
            pieces: None,
            subsample: 1e-4,
            epochs: Objective::SkipGram.epochs(),
            blank_epochs: 1,
            refine: Refine::default(),
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
        let range = |name: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(Error::InvalidInput(format!("{name} must be 1 to {most}, got {value}")))
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
        range("the number of words", self.most_words, MAX_WORDS)?;
        self.phrases.map_or(Ok(()), |phrases| phrases.check())?;
        self.pieces.map_or(Ok(()), Pieces::check)?;
        if self.pieces.is_some() && (self.phrases.is_some() || self.ngrams.is_some()) {
            return Err(Error::InvalidInput("words are cut into pieces, or have n-grams, or join to phrases".into()));
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
        let Refine { output, spelling, spread, nearest } = self.refine;
        let shares = [("output layer", output), ("spelling", spelling), ("spread", spread), ("nearest words", nearest)];
        for (name, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::InvalidInput(format!("the share of the {name} must be 0 to 1, got {share}")));
            }
        }
        if self.blank_epochs > 10_000 {
            return Err(Error::InvalidInput(format!("at most 10000 epochs for blanks, got {}", self.blank_epochs)));
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

/// Reports progress to the observer.
///
/// # Errors
/// [`Error::Cancelled`] if the observer returns false.
pub(super) fn tell(observe: &(dyn Fn(&TrainProgress) -> bool + Sync), progress: TrainProgress) -> Result<(), Error> {
    if observe(&progress) { Ok(()) } else { Err(Error::Cancelled) }
}

/// Trains a model on text files (plain, gzip or zstd; `-` is standard input). Its card has the settings; the caller
/// adds data, date, command and quality ([`WordModel::with_card`]).
///
/// `observe` receives the progress and cancels training by returning false. With checkpoints, an interrupted training
/// is resumed.
///
/// # Errors
/// [`Error::InvalidInput`] for options out of range, a corpus without words, or a folder with the checkpoint of another
/// training; [`Error::Cancelled`], [`Error::Io`], [`Error::Disk`]; [`Error::Corrupt`] for a damaged checkpoint.
pub fn train(
    files: &[PathBuf],
    options: &TrainOptions,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<WordModel, Error> {
    options.check()?;
    let reading = Reading {
        min_count: options.min_count.max(1),
        most_words: options.most_words,
        most_bytes: options.most_bytes,
        phrases: options.phrases,
        pieces: options.pieces,
    };
    let (checkpoint, corpus) = match &options.checkpoints {
        None => (None, None),
        Some(checkpoints) => {
            let (checkpoint, corpus) = Checkpoint::open(checkpoints, plan(files, options))?;
            (Some(checkpoint), corpus)
        }
    };
    let corpus = match (corpus, &checkpoint) {
        (Some(corpus), _) => corpus,
        (None, None) => Corpus::read(files, &reading, Spool::scratch(&options.scratch)?, observe)?,
        (None, Some(checkpoint)) => {
            let corpus = Corpus::read(files, &reading, checkpoint.spool()?, observe)?;
            checkpoint.has_corpus(&corpus)?;
            corpus
        }
    };
    let (mut input, mut output, subwords) = if options.objective == Objective::Glove {
        (glove_train::fit(&corpus, options, checkpoint.as_ref(), observe)?, None, None)
    } else {
        let fitted = negative_sampling::fit(&corpus, options, checkpoint.as_ref(), observe)?;
        (fitted.input, Some(fitted.output), fitted.subwords)
    };
    if options.ngrams.is_none() {
        // With n-grams, a vector is a sum of rows shared with other words.
        let vocabulary = (&corpus.words[..], &corpus.counts[..]);
        refine(vocabulary, &mut input, output.as_deref(), options.dimension, options.refine, observe);
    }
    let mut told = None;
    if options.blank_epochs > 0 {
        let (layer, its_output) = cloze_train::fit(&corpus, options, checkpoint.as_ref(), observe)?;
        (told, output) = (Some(layer), Some(its_output));
    }
    let common = sif::common_component(&corpus, &input, options.dimension, observe)?;
    let card = ModelCard {
        data: corpus.standard_input.iter().cloned().collect(),
        warnings: warnings(corpus.words.len(), options.dimension),
        ..card(options)
    };
    let Corpus { words, counts, pieces, .. } = corpus;
    WordModel::new(Parts {
        words,
        counts,
        dimension: options.dimension,
        input: Table::encode(options.store, input, options.dimension),
        output: output.map(|output| Table::encode(options.store, output, options.dimension)),
        common: Some(common),
        subwords,
        pieces,
        told,
        tokenizer: Tokenizer::default(),
        card,
    })
}

/// Vocabulary size below which a warning is given.
const FEW_WORDS: usize = 100;

/// Returns warnings about vectors of little use.
fn warnings(words: usize, dimension: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if words < FEW_WORDS {
        warnings.push(format!(
            "the vocabulary has {words} words, fewer than {FEW_WORDS}: most texts will have no word that is known; train on more text, or lower min_count"
        ));
    }
    if dimension > words {
        warnings.push(format!(
            "the vectors have {dimension} components for {words} words: train on more text, or with a smaller dimension"
        ));
    }
    warnings
}

/// Returns the settings that must match for resuming from a checkpoint.
fn plan(files: &[PathBuf], options: &TrainOptions) -> serde_json::Value {
    let mut plan = serde_json::Value::Object(settings(options));
    plan["seed"] = options.seed.into();
    plan["files"] = files
        .iter()
        .map(|path| json!({ "path": path.to_string_lossy(), "bytes": path.metadata().map(|file| file.len()).ok() }))
        .collect();
    plan
}

/// Returns the number as typed, not as the nearest `f32`.
fn rounded(number: f32) -> f64 {
    (f64::from(number) * 1e6).round() / 1e6
}

fn settings(options: &TrainOptions) -> serde_json::Map<String, serde_json::Value> {
    let mut settings = json!({
        "objective": options.objective.name(), "dimension": options.dimension, "window": options.window, "negative": options.negative,
        "min_count": options.min_count, "subsample": options.subsample, "epochs": options.epochs,
        "learning_rate": rounded(options.learning_rate), "store": options.store.name(),
        "tokenizer": Tokenizer::default().name(), "noise_power": options.noise_power, "most_words": options.most_words, "blank_epochs": options.blank_epochs,
        "refine": {
            "output": rounded(options.refine.output), "spelling": rounded(options.refine.spelling), "spread": rounded(options.refine.spread),
            "nearest": rounded(options.refine.nearest),
        },
    });
    if let Some(Ngrams { min, max, buckets }) = options.ngrams {
        settings["ngrams"] = json!({ "min": min, "max": max, "buckets": buckets });
    }
    if let Some(size) = options.pieces {
        settings["pieces"] = size.into();
    }
    if let Some(Phrases { passes, threshold, discount }) = options.phrases {
        settings["phrases"] = json!({ "passes": passes, "threshold": threshold, "discount": discount });
    }
    settings.as_object().cloned().unwrap_or_default()
}

fn card(options: &TrainOptions) -> ModelCard {
    let mut summary = match options.objective {
        Objective::Glove => "Word vectors: GloVe".to_owned(),
        net => format!("Word vectors: {} with negative sampling", net.name()),
    };
    if let Some(Ngrams { min, max, .. }) = options.ngrams {
        summary += &format!(" and n-grams of {min} to {max} characters");
    }
    if options.pieces.is_some() {
        summary += ", for pieces of words";
    }
    ModelCard {
        name: "words".into(),
        summary: summary + ".",
        seed: options.seed,
        threads: options.resolved_threads(),
        settings: settings(options),
        ..ModelCard::default()
    }
}

#[cfg(test)]
#[path = "train_tests.rs"]
mod tests;
