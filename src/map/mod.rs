//! Layouts: places in two or three dimensions for many vectors, so that they can be looked at. Pure computation.
//!
//! ```text
//! vectors -> pca ------------------------------------> places at once
//!                \ nearest neighbours (the caller's) -> affinities -> tsne or umap -> better and better places
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `vectors.rs` | the vectors of a layout, wherever they live |
//! | `pca.rs` | the directions in which they differ most |
//! | `frame.rs` | places of a common size and centre |
//! | `between.rs` | the place of a new point among those that it is near to |
//! | `kept.rs` | the share of true neighbours that a layout keeps |
//!
//! The same input gives the same places, whatever the number of threads: a sum is always formed in the same order.

mod between;
mod frame;
mod kept;
mod pca;
mod vectors;

pub use between::between;
pub use frame::Frame;
pub use kept::neighbors_kept;
pub use pca::Pca;
pub use vectors::Vectors;

/// How a layout is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Principal components.
    Pca,
    /// UMAP (McInnes, Healy & Melville 2018).
    Umap,
    /// t-SNE (van der Maaten & Hinton 2008).
    Tsne,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pca, Self::Umap, Self::Tsne];

    /// `pca`, `umap` or `tsne`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pca => "pca",
            Self::Umap => "umap",
            Self::Tsne => "tsne",
        }
    }

    /// The method of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
