//! The BM25 score (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, section 3.3).
//!
//! ```text
//! score(d) = sum over terms t of  boost(t) * idf(t) * (k1 + 1) * tf / (tf + k1 * (1 - b + b * |d| / average |d|))
//! idf(t)   = ln(1 + (n - df + 0.5) / (df + 0.5))
//! ```
//!
//! Within the fraction, a length is rounded down to one of 256: exact up to 40 tokens, then in steps of 4 to 12 % (the
//! encoding of Lucene's `SmallFloat.intToByte4`). The average is exact. The contribution of a term is rounded to a
//! multiple of 2^-20 (more if the weights sum to 2,048 or more), so that sums do not depend on the order of the terms.

/// Maximum number of fraction bits of a score.
const MAX_SCORE_BITS: i32 = 20;

/// Parameters of BM25.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bm25 {
    /// Saturation of the term frequency, 0 to 100: at 0 only the presence of a term counts.
    pub k1: f32,
    /// Normalization by length, 0 to 1: at 0 the length does not count.
    pub b: f32,
}

impl Default for Bm25 {
    fn default() -> Self {
        Self { k1: 1.2, b: 0.75 }
    }
}

/// Counts over all live points of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextStats {
    /// Number of points that have the field.
    pub points: u64,
    /// Sum of their lengths, in tokens.
    pub tokens: u64,
}

impl TextStats {
    /// Returns the mean length; at least 1.
    pub(crate) fn average_length(&self) -> f32 {
        if self.points == 0 { 1.0 } else { (self.tokens as f64 / self.points as f64).max(1.0) as f32 }
    }

    /// Adds the counts of other points.
    pub fn add(&mut self, other: Self) {
        self.points += other.points;
        self.tokens += other.tokens;
    }
}

/// A term of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryTerm {
    /// The term.
    pub term: Box<str>,
    /// Factor of its contribution, above 0: the number of its occurrences in the query.
    pub boost: f32,
    /// Number of live points of the collection with the term.
    pub frequency: u64,
}

/// The scores of one query, the same for all segments.
pub struct Scorer {
    terms: Vec<QueryTerm>,
    /// Weight of each term, in units of the sums.
    weights: Vec<f32>,
    /// Units per 1 of score.
    scale: f32,
    saturation: Saturation,
    average_length: f32,
}

impl Scorer {
    /// Creates a scorer for distinct terms.
    pub fn new(bm25: &Bm25, stats: &TextStats, terms: Vec<QueryTerm>) -> Self {
        let weight = |term: &QueryTerm| {
            let (points, frequency) = (stats.points.max(term.frequency) as f64, term.frequency as f64);
            let idf = (1.0 + (points - frequency + 0.5) / (frequency + 0.5)).ln();
            idf * (1.0 + f64::from(bm25.k1)) * f64::from(term.boost)
        };
        let weights: Vec<f64> = terms.iter().map(weight).collect();
        // The largest sum stays below 2^31.
        let sum: f64 = weights.iter().sum();
        let bits = (30 - sum.max(1.0).log2().ceil() as i32).min(MAX_SCORE_BITS);
        let scale = 2_f64.powi(bits);
        let average_length = stats.average_length();
        Self {
            terms,
            weights: weights.into_iter().map(|weight| (weight * scale) as f32).collect(),
            scale: scale as f32,
            saturation: Saturation::new(bm25, average_length),
            average_length,
        }
    }

    /// Returns the terms.
    pub fn terms(&self) -> &[QueryTerm] {
        &self.terms
    }

    /// Returns the weight of each term: the limit of its contribution for a very frequent term.
    pub fn weights(&self) -> impl Iterator<Item = f32> + '_ {
        self.weights.iter().map(|weight| weight / self.scale)
    }

    pub(crate) fn average_length(&self) -> f32 {
        self.average_length
    }

    pub(crate) fn weight(&self, term: usize) -> f32 {
        self.weights[term]
    }

    pub(crate) fn saturation(&self) -> &Saturation {
        &self.saturation
    }

    /// Returns the score of one term in a row, given its count in the row and the length of the row.
    pub(crate) fn contribution(&self, term: usize, frequency: u32, length_code: u8) -> u32 {
        contribution(self.weights[term], self.saturation.of(frequency, length_code))
    }

    /// Returns the contribution of a term to the sum of a row with this number of tokens.
    pub fn contribution_of(&self, term: usize, frequency: u32, length: u32) -> u32 {
        self.contribution(term, frequency, encode_length(length))
    }

    /// Returns a sum of contributions as a score.
    pub fn score(&self, sum: u32) -> f32 {
        sum as f32 / self.scale
    }

    /// Returns a sum that no row with at least this score has less than, less 1.
    pub(crate) fn sum_below(&self, score: f32) -> u32 {
        ((score * self.scale) as u32).saturating_sub(1)
    }
}

/// The saturation of a term by length code: `tf / (tf + k1 * (1 - b + b * length / average))`.
pub(crate) struct Saturation {
    /// The part of the denominator that depends on the length.
    by_code: [f32; 256],
}

impl Saturation {
    pub(crate) fn new(bm25: &Bm25, average_length: f32) -> Self {
        let of = |code: usize| bm25.k1 * (1.0 - bm25.b + bm25.b * decode_length(code as u8) as f32 / average_length);
        Self { by_code: std::array::from_fn(of) }
    }

    /// Returns the saturation, from 0 to 1.
    pub(crate) fn of(&self, frequency: u32, length_code: u8) -> f32 {
        let frequency = frequency as f32;
        frequency / (frequency + self.by_code[usize::from(length_code)])
    }
}

/// Returns the contribution of a term to a sum.
pub(crate) fn contribution(weight: f32, saturation: f32) -> u32 {
    (weight * saturation) as u32
}

/// Lengths below this have codes of their own.
const EXACT_LENGTHS: u32 = 24;

/// Returns the largest length code whose length is not greater than `length`.
pub(crate) fn encode_length(length: u32) -> u8 {
    if length < EXACT_LENGTHS {
        return length as u8;
    }
    let rest = length - EXACT_LENGTHS;
    let bits = 32 - rest.leading_zeros();
    let code = match bits {
        0..=3 => rest,
        _ => {
            let shift = bits - 4;
            // Three bits after the leading one, and the exponent above them.
            (rest >> shift & 7) | (shift + 1) << 3
        }
    };
    (EXACT_LENGTHS + code).min(255) as u8
}

/// Returns the length of a code.
pub(crate) fn decode_length(code: u8) -> u32 {
    let code = u32::from(code);
    if code < EXACT_LENGTHS {
        return code;
    }
    let (bits, shift) = ((code - EXACT_LENGTHS) & 7, (code - EXACT_LENGTHS) >> 3);
    EXACT_LENGTHS + if shift == 0 { bits } else { (bits | 8) << (shift - 1) }
}
