//! Filling blanks, by the cloze layer (`cloze_train.rs`): its scores are used unchanged, plus ln count.
//!
//! For models without that layer, the net's own output layer is used. Skip-gram predicts the words around a word. For a
//! word c, the output layer's score of a word w is about ln p(w | c) - ln q(w), where q is proportional to count^0.75,
//! the distribution of the negative samples (Levy, Goldberg 2014). So p(w | c) is about the softmax of score + 0.75 ln
//! count.
//!
//! The scores of several words around a blank are averaged, with the weights of `sif.rs`, because frequent words
//! such as "the" carry little information. The power of the count is 0.5: with 0.75, nearly every blank is filled with
//! "the", "of" and "and", which matches Wikipedia's frequencies, but predicting these words takes grammar, which this
//! net does not model. Measured once, before the records in
//! `benches/results`, on the middle words of 1,000 paragraphs of the training corpus, found among the first ten:
//!
//! | | all words | words past the 100 most frequent (537) |
//! | --- | --- | --- |
//! | mean, weighted, 2 words a side, power 0.75 | 326 | 29 |
//! | mean, weighted, 5 words a side, power 0.5 (this) | 246 | 51 |
//! | mean, weighted, 5 words a side, power 0.25 | 72 | 67 |
//! | mean, unweighted, 2 words a side, power 0.5 | 237 | 48 |
//! | sum, weighted, 5 words a side, power 0.75 | 69 | 69 |
//!
//! CBOW is trained for exactly this task: to predict the middle word from the mean of its context. Its scores are used
//! unchanged, plus 0.75 ln count.

use super::{
    WordModel,
    cloze_layer::{ClozeLayer, WINDOW, after, before},
    model::{Term, check_k},
    options::{DEFAULT_NOISE_POWER, Objective},
    sif::weight,
};
use crate::{Error, capability::WordVectors};

/// Power of the count in a word's score, for skip-gram: more favours frequent words, which are right more often, less
/// favours rare ones (see the table above).
const POWER: f64 = 0.5;
/// Maximum pattern length, in bytes.
const MAX_PATTERN_BYTES: usize = 10_000;

const FORMS: &str =
    "supported: one blank among words (\"the ___ cat\") and a word between two blanks (\"___ black ___\")";

impl WordModel {
    /// Returns the words that fit the blanks of a pattern, with their probabilities, most probable first; one list per
    /// blank.
    ///
    /// - `the ___ cat`: one blank among words; returns the words for the blank.
    /// - `___ black ___`: a word between two blanks; returns its left and its right neighbours.
    ///
    /// A blank is two or more underscores. The probabilities are a softmax of the net's output layer over the
    /// vocabulary without the pattern's words.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for another pattern, a pattern without known words, `k` of 0 or above
    /// 1,000, or a model without an output layer.
    pub fn fill_blank(&self, pattern: &str, k: usize) -> Result<Vec<Vec<(String, f32)>>, Error> {
        check_k(k)?;
        fill(self, pattern, k)
    }
}

impl WordVectors for WordModel {
    fn vocabulary(&self) -> &[String] {
        self.vocabulary()
    }

    fn count(&self, number: usize) -> u64 {
        self.count(number)
    }

    fn vector(&self, word: &str) -> Option<&[f32]> {
        self.vector(word)
    }

    fn nearest(&self, plus: &[&str], minus: &[&str], k: usize) -> Result<Vec<(String, f32)>, Error> {
        self.nearest(plus, minus, k)
    }

    fn fill_blank(&self, pattern: &str, k: usize) -> Result<Vec<Vec<(String, f32)>>, Error> {
        self.fill_blank(pattern, k)
    }
}

fn fill(model: &WordModel, pattern: &str, k: usize) -> Result<Vec<Vec<(String, f32)>>, Error> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(Error::InvalidInput(format!(
            "a pattern has at most {MAX_PATTERN_BYTES} bytes, this one has {}",
            pattern.len()
        )));
    }
    if !model.has_output_layer() {
        return Err(Error::InvalidInput(
            "this model has no output layer (word2vec files do not keep it), so it cannot fill blanks".into(),
        ));
    }
    let parts = split(model, pattern);
    let with_positions = |words: &[String], position: fn(usize) -> usize| -> Vec<(String, usize)> {
        (1..=WINDOW).zip(words).map(|(distance, word)| (word.clone(), position(distance))).collect()
    };
    // The context words of each blank, with their positions.
    let around: Vec<Vec<(String, usize)>> = match parts.as_slice() {
        [left, right] => {
            let nearest_first: Vec<String> = left.iter().rev().cloned().collect();
            vec![[with_positions(&nearest_first, before), with_positions(right, after)].concat()]
        }
        [left, middle, right] if left.is_empty() && right.is_empty() && middle.len() == 1 => {
            vec![with_positions(middle, after), with_positions(middle, before)]
        }
        other => {
            return Err(Error::InvalidInput(format!(
                "a pattern with {} blanks cannot be filled; {FORMS}",
                other.len() - 1
            )));
        }
    };
    let fill = |around: &Vec<(String, usize)>| {
        let known: Vec<ContextWord> = around
            .iter()
            .filter_map(|(word, position)| Some(ContextWord { word: model.number(word)?, position: *position }))
            .collect();
        if known.is_empty() {
            let words: Vec<&str> = around.iter().map(|(word, _)| word.as_str()).collect();
            return Err(Error::InvalidInput(format!(
                "no known word beside the blank (unknown: {}); {FORMS}",
                words.join(", ")
            )));
        }
        let scores = scores(model, &[&known]).expect("the output layer was found above");
        Ok(model.top_k(&softmax(scores), k))
    };
    around.iter().map(fill).collect()
}

/// A context word of a blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContextWord {
    /// The word's number.
    pub(super) word: usize,
    /// The word's position (`cloze_train.rs`).
    pub(super) position: usize,
}

/// Returns the words before, between and after the blanks.
fn split(model: &WordModel, pattern: &str) -> Vec<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut rest = pattern;
    while let Some(at) = rest.find("__") {
        parts.last_mut().expect("starts with one").push_str(&rest[..at]);
        parts.push(String::new());
        rest = rest[at..].trim_start_matches('_');
    }
    parts.last_mut().expect("starts with one").push_str(rest);
    let words = |part: &String| {
        let mut words = Vec::new();
        model.terms(part, |term| {
            words.push(match term {
                Term::Known(number) => model.vocabulary()[number].clone(),
                Term::Unknown(word) => word.to_owned(),
            });
        });
        words
    };
    parts.iter().map(words).collect()
}

/// Returns, for each context, ln of the probability of every word of the vocabulary, up to a constant, concatenated;
/// minus infinity for the context's own words. `None` without an output layer.
pub(super) fn scores(model: &WordModel, blanks: &[&[ContextWord]]) -> Option<Vec<f32>> {
    let cbow = model.objective() == Objective::Cbow;
    let power = match &model.cloze {
        Some(_) => 1.0,
        None if cbow => DEFAULT_NOISE_POWER,
        None => POWER,
    };
    let query = |around: &&[ContextWord]| match &model.cloze {
        Some(cloze) => cloze_query(model, cloze, around),
        None if cbow => mean(model, around, |_| 1.0),
        None => mean(model, around, |word| weight(model.count(word), model.total())),
    };
    let queries: Vec<f32> = blanks.iter().flat_map(query).collect();
    let mut scores = model.output_scores(&queries)?;
    let words = model.vocabulary().len();
    let prior: Vec<f32> = (0..words).map(|word| (power * (model.count(word).max(1) as f64).ln()) as f32).collect();
    for (scores, around) in scores.chunks_exact_mut(words).zip(blanks) {
        scores.iter_mut().zip(&prior).for_each(|(score, prior)| *score += prior);
        around.iter().for_each(|neighbour| scores[neighbour.word] = f32::NEG_INFINITY);
    }
    Some(scores)
}

/// Returns the sum of the context words' vectors, each multiplied by the vector of its position.
fn cloze_query(model: &WordModel, cloze: &ClozeLayer, around: &[ContextWord]) -> Vec<f32> {
    let mut query = vec![0.0_f32; model.dimension()];
    let mut row = Vec::new();
    for &ContextWord { word, position } in around {
        cloze.around.decode(model.dimension(), word, word + 1, &mut row);
        let factors = &cloze.positions[position * model.dimension()..];
        query.iter_mut().zip(&row).zip(factors).for_each(|((sum, x), factor)| *sum += x * factor);
    }
    query
}

/// Returns the weighted mean of the context words' vectors.
fn mean(model: &WordModel, around: &[ContextWord], weigh: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut query = vec![0.0_f32; model.dimension()];
    let sum: f32 = around.iter().map(|neighbour| weigh(neighbour.word)).sum();
    for neighbour in around {
        let factor = weigh(neighbour.word) / sum;
        query.iter_mut().zip(model.row(neighbour.word)).for_each(|(sum_x, x)| *sum_x += factor * x);
    }
    query
}

/// Converts scores to probabilities; minus infinity stays minus infinity.
fn softmax(mut scores: Vec<f32>) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|&score| f64::from(score - max).exp()).sum();
    for score in scores.iter_mut().filter(|score| **score > f32::NEG_INFINITY) {
        *score = (f64::from(*score - max).exp() / sum) as f32;
    }
    scores
}

#[cfg(test)]
#[path = "cloze_tests.rs"]
mod tests;
