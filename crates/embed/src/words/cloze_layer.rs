//! The parameters of the cloze layer, besides its output layer (`cloze_train.rs` describes the model).

use super::table::Table;

/// Context words on each side of a blank.
pub(super) const WINDOW: usize = 5;
/// Positions around a blank, from left to right.
pub(super) const POSITIONS: usize = 2 * WINDOW;
/// Parameters of the cloze layer, besides its output layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClozeLayer {
    /// The context vector of each word.
    pub(super) around: Table,
    /// The vector of each position, from left to right: [`POSITIONS`] rows.
    pub(super) positions: Vec<f32>,
}

/// Returns the position of a word `distance` words before a blank (1 is adjacent).
pub(super) fn before(distance: usize) -> usize {
    WINDOW - distance
}

/// Returns the position of a word `distance` words after a blank.
pub(super) fn after(distance: usize) -> usize {
    WINDOW + distance - 1
}
