//! BM25 (Robertson, Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", section 3.5), the baseline
//! for vectors of texts.
//!
//! A word's weight is ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative, multiplied by its count in the query.

use crate::knn::NEIGHBOURS;
use crate::{
    math::TopK,
    types::{Neighbor, Ordinal},
    words::Tokenizer,
};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

/// Term frequency saturation.
const K1: f32 = 1.2;
/// Length normalization.
const B: f32 = 0.75;

/// An inverted index over texts.
pub struct Bm25 {
    numbers: FxHashMap<String, u32>,
    /// For each word, its texts and its score in them.
    postings: Vec<Vec<(u32, f32)>>,
    texts: usize,
}

impl Bm25 {
    /// Builds the index of `texts`, numbered in order.
    pub fn new(texts: &[String]) -> Self {
        let mut numbers = FxHashMap::<String, u32>::default();
        let mut postings = Vec::<Vec<(u32, f32)>>::new();
        let mut lengths = vec![0_u32; texts.len()];
        for ((text, number), length) in texts.iter().zip(0_u32..).zip(&mut lengths) {
            Tokenizer::default().words(text, |word| {
                *length += 1;
                let known = numbers.get(word).copied();
                let word = known.unwrap_or_else(|| {
                    let fresh = postings.len() as u32;
                    numbers.insert(word.to_owned(), fresh);
                    postings.push(Vec::new());
                    fresh
                });
                match postings[word as usize].last_mut() {
                    Some((text, times)) if *text == number => *times += 1.0,
                    _ => postings[word as usize].push((number, 1.0)),
                }
            });
        }
        let mean = lengths.iter().map(|&length| f64::from(length)).sum::<f64>() / lengths.len().max(1) as f64;
        for posting in &mut postings {
            let (all, with) = (texts.len() as f32, posting.len() as f32);
            let weight = ((all - with + 0.5) / (with + 0.5)).ln_1p();
            for (text, times) in posting {
                let long = lengths[*text as usize] as f32 / mean as f32;
                *times = weight * *times * (K1 + 1.0) / (*times + K1 * (1.0 - B + B * long));
            }
        }
        Self { numbers, postings, texts: texts.len() }
    }

    /// Returns the score of every text for a query.
    pub fn scores(&self, query: &str) -> Vec<f32> {
        let mut scores = vec![0.0; self.texts];
        let mut words = FxHashMap::<u32, f32>::default();
        Tokenizer::default().words(query, |word| {
            if let Some(&word) = self.numbers.get(word) {
                *words.entry(word).or_default() += 1.0;
            }
        });
        for (word, times) in words {
            self.postings[word as usize].iter().for_each(|&(text, score)| scores[text as usize] += times * score);
        }
        scores
    }

    /// Returns the [`NEIGHBOURS`] best other texts for each text in `queries`, on all cores.
    pub fn nearest(&self, texts: &[String], queries: &[u32]) -> Vec<Vec<u32>> {
        queries
            .par_iter()
            .map(|&query| {
                let mut top = TopK::new(NEIGHBOURS);
                for (row, score) in (0_u32..).zip(self.scores(&texts[query as usize])) {
                    if row != query {
                        top.push(Neighbor { row: Ordinal(row), distance: -score });
                    }
                }
                top.into_sorted().into_iter().map(|found| found.row.0).collect()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_formula() {
        let texts = ["a cat", "a dog and a cat and a bird", "birds"].map(String::from);
        let index = Bm25::new(&texts);
        // Lengths 2, 8, 1, mean 11/3; "cat" and "a" are in two of three texts, "birds" in one.
        let two = (1.0_f32 + 1.5 / 2.5).ln();
        let part = |times: f32, length: f32| times * 2.2 / (times + 1.2 * (0.25 + 0.75 * length / (11.0 / 3.0)));
        let close = |found: Vec<f32>, expected: [f32; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} {expected:?}");
        };
        close(index.scores("Cat!"), [two * part(1.0, 2.0), two * part(1.0, 8.0), 0.0]);
        close(index.scores("a a unicorn"), [2.0 * two * part(1.0, 2.0), 2.0 * two * part(3.0, 8.0), 0.0]);
        close(index.scores("birds"), [0.0, 0.0, (1.0_f32 + 2.5 / 1.5).ln() * part(1.0, 1.0)]);
        close(index.scores(""), [0.0; 3]);
        assert_eq!(index.nearest(&texts, &[0, 2]), [vec![1, 2], vec![0, 1]]);
        assert!(Bm25::new(&[]).scores("a").is_empty());
    }
}
