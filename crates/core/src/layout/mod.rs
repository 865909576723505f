//! Layouts: coordinates in two or three dimensions of many vectors, for display. Pure computation, no I/O.
//!
//! ```text
//! vectors -> pca ------------------------------------> final coordinates
//!                \ nearest neighbours (the caller's) -> affinities -> tsne or umap -> improving coordinates
//! ```
//!
//! | file | contents |
//! | --- | --- |
//! | `vectors.rs` | access to the vectors of a layout |
//! | `pca.rs` | principal components |
//! | `affinity.rs` | graph of attraction weights, from the nearest neighbours |
//! | `tsne.rs` `fft_repulsion.rs` | t-SNE in a plane; repulsion of all pairs on a grid |
//! | `umap.rs` | UMAP in two or three dimensions |
//! | `frame.rs` | normalization of centre and scale |
//! | `weighted_mean.rs` | coordinates of a new point, from those of its neighbours |
//! | `neighbor_preservation.rs` | share of true neighbours that a layout preserves |
//!
//! Results are deterministic for any number of threads: the order of additions is fixed.

mod affinity;
mod fft_repulsion;
mod frame;
mod neighbor_preservation;
mod pca;
mod tsne;
mod umap;
mod vectors;
mod weighted_mean;

pub use affinity::{NO_NEIGHBOR, Neighbors};
pub use frame::Frame;
pub use neighbor_preservation::neighbors_kept;
pub use pca::Pca;
pub use tsne::tsne;
pub use umap::umap;
pub use vectors::Vectors;
pub use weighted_mean::between;

/// Progress of a layout.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// Finished share of the work, 0 to 1.
    pub done: f32,
    /// Returns a copy of the current coordinates.
    pub positions: &'a (dyn Fn() -> Vec<f32> + Sync),
}

/// Progress callback, called after every step. Return false to cancel.
pub type Observe<'a> = &'a (dyn Fn(Step<'_>) -> bool + Sync);

/// Layout method.
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
    /// All methods.
    pub const ALL: [Self; 3] = [Self::Pca, Self::Umap, Self::Tsne];

    /// `pca`, `umap` or `tsne`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pca => "pca",
            Self::Umap => "umap",
            Self::Tsne => "tsne",
        }
    }

    /// Returns the method with this [`name`](Self::name).
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
