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
//! | `affinity.rs` | who draws whom, from the nearest neighbours |
//! | `tsne.rs` `field.rs` | t-SNE in a plane; the pushes of all pairs on a grid |
//! | `umap.rs` | UMAP in two or three dimensions |
//! | `frame.rs` | places of a common size and centre |
//! | `between.rs` | the place of a new point among those that it is near to |
//! | `kept.rs` | the share of true neighbours that a layout keeps |
//!
//! The same input gives the same places, whatever the number of threads: a sum is always formed in the same order.

mod affinity;
mod between;
mod field;
mod frame;
mod kept;
mod pca;
mod tsne;
mod umap;
mod vectors;

pub use affinity::{NOBODY, Neighbors};
pub use between::between;
pub use frame::Frame;
pub use kept::neighbors_kept;
pub use pca::Pca;
pub use tsne::tsne;
pub use umap::umap;
pub use vectors::Vectors;

/// How far a layout is.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// Of the work, 0 to 1.
    pub done: f32,
    /// Copies the places as they are.
    pub places: &'a (dyn Fn() -> Vec<f32> + Sync),
}

/// Is told of every step. Returning false ends the work.
pub type Observe<'a> = &'a (dyn Fn(Step<'_>) -> bool + Sync);

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

#[cfg(test)]
mod tests;
