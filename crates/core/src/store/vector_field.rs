//! The definition of a vector field.

use crate::types::{Metric, Precision};

/// Kind of the vectors of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorKind {
    /// One vector, indexed by a graph.
    Dense,
    /// A vector with few non-zero components, such as weights of terms, compared by the dot product.
    Sparse,
    /// Several vectors, such as one per token, compared by the sum of the best similarities (MaxSim; Khattab & Zaharia
    /// 2020, section 3.3).
    Multi,
}

impl VectorKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Dense, Self::Sparse, Self::Multi];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Multi => "multi",
        }
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A named field of a collection that holds vectors, besides the vectors of the collection itself. A point may have a
/// vector in it or not.
///
/// ```
/// use nearness_core::prelude::*;
///
/// let title = VectorField::dense("title", 384).metric(Metric::Dot).precision(Precision::F16);
/// let tokens = VectorField::multi("tokens", 128);
/// let weights = VectorField::sparse("splade");
/// assert_eq!((title.kind, tokens.kind, weights.dimension), (VectorKind::Dense, VectorKind::Multi, 0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VectorField {
    /// Name of the field, 1 to 64 bytes: letters, digits, `_` and `-`.
    pub name: String,
    /// Kind of its vectors.
    pub kind: VectorKind,
    /// Components per vector; 0 for sparse vectors, which have no limit but that of a `u32` index.
    pub dimension: u32,
    /// Metric of its vectors. Always the dot product for sparse ones; not L2 for multi-vectors.
    pub metric: Metric,
    /// Precision of the stored components. Always f32 for sparse vectors.
    pub precision: Precision,
    /// Links per graph node (HNSW M); 0 for that of the collection.
    pub m: u32,
    /// Candidates kept during graph construction; 0 for that of the collection.
    pub ef_construction: u32,
    /// Candidates kept during a search that sets no value; 0 for that of the collection.
    pub ef_search: u32,
    /// Number of the field in stored points, assigned when the field is added. Never used again.
    pub number: u32,
}

impl VectorField {
    fn new(name: impl Into<String>, kind: VectorKind, dimension: u32, metric: Metric) -> Self {
        let (m, ef_construction, ef_search) = (0, 0, 0);
        let name = name.into();
        Self { name, kind, dimension, metric, precision: Precision::F32, m, ef_construction, ef_search, number: 0 }
    }

    /// A field of vectors with `dimension` components, compared by cosine.
    pub fn dense(name: impl Into<String>, dimension: u32) -> Self {
        Self::new(name, VectorKind::Dense, dimension, Metric::Cosine)
    }

    /// A field of sparse vectors.
    pub fn sparse(name: impl Into<String>) -> Self {
        Self::new(name, VectorKind::Sparse, 0, Metric::Dot)
    }

    /// A field of multi-vectors with `dimension` components each, compared by cosine.
    pub fn multi(name: impl Into<String>, dimension: u32) -> Self {
        Self::new(name, VectorKind::Multi, dimension, Metric::Cosine)
    }

    /// Sets the metric.
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Sets the precision of the stored components.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Sets the parameters of the graph: links per node, and candidates during construction and search. 0: those of the
    /// collection.
    pub fn graph(mut self, m: u32, ef_construction: u32, ef_search: u32) -> Self {
        (self.m, self.ef_construction, self.ef_search) = (m, ef_construction, ef_search);
        self
    }
}
