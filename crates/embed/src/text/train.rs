//! Contrastive training of a text encoder: two paragraphs of an article become nearer to each other than to the
//! paragraphs of other articles in the same batch (`contrastive_loss.rs`).

use super::{
    contrastive_loss::info_nce,
    encoder::{FAMILY, TextEncoder, VectorParts},
    net::{Bag, Forward, Net, Rates},
    paragraphs::Paragraphs,
};
use crate::{
    types::Precision,
    {
        Embedder, Error, ModelCard,
        words::{MAX_DIMENSION, Term, WordModel, sampling::Random},
    },
};
use rayon::prelude::*;
use serde_json::json;

/// Maximum pairs per batch: their scores are a square matrix of twice this number of rows, 1 GiB.
const MAX_BATCH: usize = 8_192;
/// Maximum passes.
const MAX_EPOCHS: usize = 10_000;
/// Approximate number of steps in the reported mean loss.
const LOSS_WINDOW: f64 = 20.0;

/// Training options.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Number of learned components.
    pub dimension: usize,
    /// Number of hashed features, appended to the learned components; 0 for none.
    pub hashed: usize,
    /// Share of the hashed features in a cosine, 0 to 1.
    pub hashed_share: f32,
    /// Passes over the paragraphs.
    pub epochs: usize,
    /// Pairs per batch; each is a negative of all others.
    pub batch: usize,
    /// Temperature of the softmax of cosines.
    pub temperature: f32,
    /// Initial learning rate of the words' own vectors; it falls to 0.
    pub learning_rate: f32,
    /// Initial learning rate of the shared map.
    pub map_rate: f32,
    /// Share of a text's distinct words that are dropped at each visit.
    pub dropout: f32,
    /// Number of threads; the result does not depend on it.
    pub threads: usize,
    /// Random seed.
    pub seed: u64,
    /// Stored precision of the vectors.
    pub store: Precision,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            dimension: 256,
            hashed: 768,
            hashed_share: 0.6,
            epochs: 2,
            batch: 512,
            temperature: 0.05,
            learning_rate: 0.02,
            map_rate: 0.005,
            dropout: 0.0,
            threads: 1,
            seed: 1,
            store: Precision::I8,
        }
    }
}

/// Training progress.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainProgress {
    /// `encoding` or `training`.
    pub phase: &'static str,
    /// Paragraphs done in this phase.
    pub done: u64,
    /// Paragraphs in this phase.
    pub total: u64,
    /// Mean loss of the last steps.
    pub loss: Option<f64>,
}

impl TrainOptions {
    /// Validates the options.
    ///
    /// # Errors
    /// [`Error::InvalidInput`].
    pub fn check(&self) -> Result<(), Error> {
        let invalid = |what: String| Err(Error::InvalidInput(what));
        for (name, value, min, max) in [
            ("dimension", self.dimension, 2, MAX_DIMENSION),
            ("sketch", self.hashed, 0, MAX_DIMENSION - self.dimension.min(MAX_DIMENSION)),
            ("epochs", self.epochs, 1, MAX_EPOCHS),
            ("batch", self.batch, 2, MAX_BATCH),
        ] {
            if !(min..=max).contains(&value) {
                return invalid(format!("{name} must be {min} to {max}, got {value}"));
            }
        }
        for (name, value, min, max) in [
            ("temperature", self.temperature, 0.005, 10.0),
            ("learning rate", self.learning_rate, 0.0, 10.0),
            ("map rate", self.map_rate, 0.0, 10.0),
            ("dropout", self.dropout, 0.0, 0.9),
            ("sketch share", self.hashed_share, 0.0, 1.0),
        ] {
            if !(min..=max).contains(&value) {
                return invalid(format!("{name} must be {min} to {max}, got {value}"));
            }
        }
        Ok(())
    }
}

/// Bags of words, concatenated.
struct Bags {
    ends: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl Bags {
    fn bag(&self, text: u32) -> &Bag {
        let text = text as usize;
        &self.entries[if text == 0 { 0 } else { self.ends[text - 1] }..self.ends[text]]
    }
}

/// Trains on the paragraphs of the articles that are not held out. The card has the settings; the caller adds data,
/// date, command and measured quality.
///
/// `observe` receives the progress and cancels training by returning false.
///
/// # Errors
/// [`Error::InvalidInput`] for settings out of range, or fewer than two articles with two paragraphs of known words;
/// [`Error::Cancelled`]; [`Error::Compute`] if the numbers exceed the range of floats.
pub fn train(
    words: &WordModel,
    paragraphs: &Paragraphs,
    options: &TrainOptions,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<TextEncoder, Error> {
    options.check()?;
    if words.is_of_pieces() {
        return Err(Error::InvalidInput(
            "texts are trained on a model of whole words, and this one is of pieces".into(),
        ));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
    let pool = pool.map_err(|error| Error::Compute(format!("starting the training threads failed: {error}")))?;
    let mut random = Random::new(options.seed, 0);
    let (net, loss, pairs) = pool.install(|| {
        let bags = encode(words, paragraphs, observe)?;
        let mut net = Net::new(words, options.dimension, &mut random);
        let (loss, pairs) = fit(&mut net, paragraphs, &bags, options, &mut random, observe)?;
        Ok::<_, Error>((net, loss, pairs))
    })?;
    let rows = pool.install(|| net.rows());
    if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
        let word = &words.vocabulary()[at / options.dimension];
        return Err(Error::Compute(format!("the vector of {word:?} is not finite; a lower learning rate may help")));
    }
    let mut card = ModelCard {
        name: "text".into(),
        family: FAMILY.into(),
        summary: format!(
            "Blocks of text: {} components learned from word vectors by contrastive training on paragraphs, {} hashed word features.",
            options.dimension, options.hashed
        ),
        seed: options.seed,
        threads: options.threads,
        ..ModelCard::default()
    };
    let settings = json!({
        "dimension": options.dimension, "epochs": options.epochs, "batch": options.batch, "temperature": options.temperature,
        "learning_rate": options.learning_rate, "map_rate": options.map_rate, "dropout": options.dropout,
        "words": words.fingerprint().to_string(), "held_out": "1 of 10 articles, by the SHA-256 of the title", "pairs": pairs,
    });
    card.settings = settings.as_object().cloned().unwrap_or_default();
    card.quality.insert("loss".into(), ((loss * 1e4).round() / 1e4).into());
    let parts = VectorParts { hashed: options.hashed, share: options.hashed_share };
    Ok(TextEncoder::new(words.with_vectors(rows, options.dimension, options.store, card)?, parts))
}

/// Returns the paragraphs as bags of known words.
fn encode(
    words: &WordModel,
    paragraphs: &Paragraphs,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<Bags, Error> {
    let total = paragraphs.texts().len();
    let mut bags = Bags { ends: Vec::with_capacity(total), entries: Vec::new() };
    for (at, texts) in paragraphs.texts().chunks(8_192).enumerate() {
        report_progress(
            observe,
            TrainProgress { phase: "encoding", done: (at * 8_192) as u64, total: total as u64, loss: None },
        )?;
        let encoded: Vec<Vec<(u32, f32)>> = texts
            .par_iter()
            .map(|text| {
                let mut numbers = Vec::new();
                words.terms(text, |term| {
                    if let Term::Known(number) = term {
                        numbers.push(number as u32);
                    }
                });
                numbers.sort_unstable();
                numbers.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f32)).collect()
            })
            .collect();
        for bag in encoded {
            bags.entries.extend(bag);
            bags.ends.push(bags.entries.len());
        }
    }
    Ok(bags)
}

/// Trains the net; returns the mean loss of the last steps and the number of pairs.
fn fit(
    net: &mut Net,
    paragraphs: &Paragraphs,
    bags: &Bags,
    options: &TrainOptions,
    random: &mut Random,
    observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
) -> Result<(f64, u64), Error> {
    // The non-empty paragraphs of each training article, and the position of each paragraph there.
    let mut of_article: Vec<Vec<u32>> = vec![Vec::new(); paragraphs.titles().len()];
    for (number, &article) in (0_u32..).zip(paragraphs.articles()) {
        if !paragraphs.is_held_out(number as usize) && !bags.bag(number).is_empty() {
            of_article[article as usize].push(number);
        }
    }
    let mut samples: Vec<(u32, u32)> = Vec::new();
    let mut articles = 0;
    for (article, own) in (0_u32..).zip(&of_article).filter(|(_, own)| own.len() >= 2) {
        articles += 1;
        samples.extend((0..own.len() as u32).map(|index| (article, index)));
    }
    if articles < 2 {
        return Err(Error::InvalidInput(format!(
            "{articles} of the articles that are not held out have two paragraphs with known words; at least 2 are needed"
        )));
    }
    let batch = options.batch.min(samples.len());
    let steps = options.epochs * (samples.len() / batch);
    let (mut recent, mut forward, mut scores, mut gradient) = (None, Forward::default(), Vec::new(), Vec::new());
    let mut at = samples.len();
    for step in 0..steps {
        if at + batch > samples.len() {
            shuffle(&mut samples, random);
            at = 0;
        }
        let (mut texts, mut article_of_row) = (Vec::with_capacity(2 * batch), Vec::with_capacity(2 * batch));
        for &(article, index) in &samples[at..at + batch] {
            let own = &of_article[article as usize];
            let other = random.below(own.len() as u32 - 1);
            let other = other + u32::from(other >= index);
            texts.extend([own[index as usize], own[other as usize]]);
            article_of_row.extend([article; 2]);
        }
        at += batch;
        let thinned: Vec<Vec<(u32, f32)>> = if options.dropout > 0.0 {
            texts.iter().map(|&text| drop_words(bags.bag(text), options.dropout, random)).collect()
        } else {
            Vec::new()
        };
        let batch_bags: Vec<&Bag> = if thinned.is_empty() {
            texts.iter().map(|&text| bags.bag(text)).collect()
        } else {
            thinned.iter().map(Vec::as_slice).collect()
        };
        net.forward(&batch_bags, &mut forward);
        gradient.resize(forward.unit.len(), 0.0);
        let loss =
            info_nce(&forward.unit, net.dimension, &article_of_row, options.temperature, &mut scores, &mut gradient);
        let remaining = 1.0 - step as f32 / steps as f32;
        let rates = Rates { map: options.map_rate * remaining, learned: options.learning_rate * remaining };
        net.descend(&batch_bags, &forward, &mut gradient, rates);
        let mean = recent.map_or(loss, |mean: f64| mean + (loss - mean) / LOSS_WINDOW);
        if !mean.is_finite() {
            return Err(Error::Compute(format!(
                "the loss of step {step} is not finite; a lower learning rate may help"
            )));
        }
        recent = Some(mean);
        let of = |steps: usize| (steps * batch) as u64;
        report_progress(
            observe,
            TrainProgress { phase: "training", done: of(step + 1), total: of(steps), loss: recent },
        )?;
    }
    Ok((recent.unwrap_or(f64::NAN), (steps * batch) as u64))
}

/// Returns a bag with some words dropped, but at least one kept.
fn drop_words(bag: &Bag, dropout: f32, random: &mut Random) -> Vec<(u32, f32)> {
    let thinned: Vec<_> = bag.iter().copied().filter(|_| random.unit() >= dropout).collect();
    if thinned.is_empty() { bag.to_vec() } else { thinned }
}

/// Fisher-Yates shuffle.
fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u32 + 1) as usize);
    }
}

fn report_progress(observe: &(dyn Fn(&TrainProgress) -> bool + Sync), progress: TrainProgress) -> Result<(), Error> {
    if observe(&progress) { Ok(()) } else { Err(Error::Cancelled) }
}

#[cfg(test)]
#[path = "train_tests.rs"]
mod tests;
