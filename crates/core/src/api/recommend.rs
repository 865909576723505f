//! Queries by examples: points similar to some, and not to others.

use super::Error;
use super::limits::MAX_TERMS;
use crate::types::PointId;

/// An example of a recommendation.
#[derive(Clone, Debug, PartialEq)]
pub enum RecommendTerm {
    /// A stored point.
    Id(PointId),
    /// A vector.
    Vector(Vec<f32>),
    /// A text to embed.
    Text(String),
}

/// How examples select points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecommendStrategy {
    /// A search for one vector: the mean of the positive examples; with negative ones, twice that mean minus theirs, as
    /// the average_vector of Qdrant (<https://qdrant.tech/documentation/concepts/explore>). Under cosine, the examples
    /// are unit vectors.
    #[default]
    AverageVector,
    /// The score of a point is p, the similarity to its nearest positive example, if p is above n, that to its nearest
    /// negative one; otherwise it is -n². Points nearer to a positive example therefore come first, and those near a
    /// negative one last. This is the best_score that Qdrant documents (ibid.). Like in its program, similarities are
    /// scaled to 0..1 first, because the square would reverse the order of negative ones: (1 + cosine) / 2;
    /// (1 + x / (1 + |x|)) / 2 for a dot product x; 1 / (1 + distance) for L2.
    ///
    /// The candidates are the union of those of a search for each positive example; an exact search scores all points.
    BestScore,
}

/// Points similar to positive examples, and not to negative ones. Stored points among the examples are excluded from
/// the hits.
///
/// ```
/// use nearness_core::prelude::*;
///
/// # fn main() -> Result<(), Error> {
/// let like = [RecommendTerm::Id(PointId::new("a")?), RecommendTerm::Vector(vec![0.6, 0.8])];
/// let query = Query::Recommend(Recommend::new(like).negative([RecommendTerm::Id(PointId::new("b")?)]));
/// # let _ = query;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recommend {
    /// Examples that hits are similar to, at least one.
    pub positive: Vec<RecommendTerm>,
    /// Examples that hits are not similar to. There are at most 100 examples in all.
    pub negative: Vec<RecommendTerm>,
    /// How the examples select points.
    pub strategy: RecommendStrategy,
}

impl Recommend {
    /// Points similar to these examples.
    pub fn new(positive: impl Into<Vec<RecommendTerm>>) -> Self {
        Self { positive: positive.into(), negative: Vec::new(), strategy: RecommendStrategy::default() }
    }

    /// Sets the examples that hits are not similar to.
    pub fn negative(mut self, negative: impl Into<Vec<RecommendTerm>>) -> Self {
        self.negative = negative.into();
        self
    }

    /// Sets how the examples select points.
    pub const fn strategy(mut self, strategy: RecommendStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Returns the examples, positive ones first.
    pub fn terms(&self) -> impl Iterator<Item = &RecommendTerm> {
        self.positive.iter().chain(&self.negative)
    }

    /// Checks the number of examples; vectors are checked when they are resolved.
    pub(super) fn validate(&self, field: &str) -> Result<(), Error> {
        if self.positive.is_empty() {
            return Err(Error::invalid(format!("{field}.positive"), "is empty; give at least one example"));
        }
        match self.positive.len() + self.negative.len() {
            0..=MAX_TERMS => Ok(()),
            terms => Err(Error::invalid(field, format!("takes 1 to {MAX_TERMS} examples, got {terms}"))),
        }
    }
}
