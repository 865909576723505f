//! The interface of nets that compute vectors of images.

use super::convolution::Grid;
use crate::OutputLayer;
use candle_core::{Device, Result as Computed, Tensor};

/// A net that computes vectors of images.
pub(super) trait ImageNet: Send + Sync {
    fn output_layers(&self) -> Vec<OutputLayer>;

    /// The device of the net.
    fn device(&self) -> &Device;

    /// Images per batch.
    fn images_per_batch(&self) -> usize;

    /// The vectors at an output layer, `[images, dimension]`, for pixels of shape `[images * height * width, 3]`.
    fn forward(&self, layer: &str, pixels: &Tensor, grid: Grid) -> Computed<Tensor>;

    /// Whether vectors are normalized to length 1.
    fn unit(&self) -> bool {
        false
    }
}
