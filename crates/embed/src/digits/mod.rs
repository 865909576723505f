//! The digit net: the 11-layer convolutional net for handwritten digits, trained on MNIST.
//!
//! The net: convolution (20 of 5x5), ramp, max pool 2, convolution (50 of 5x5), ramp, max pool 2, flatten,
//! linear 500, ramp, linear 10, softmax; 431,080 weights; after LeCun, Bottou, Bengio, Haffner, "Gradient-based
//! learning applied to document recognition", Proc. IEEE 1998. An image goes in as 28x28 numbers, 0 background
//! to 1 ink; three taps come out: `features` (500, the default), `logits` (10), `probabilities` (10).
//!
//! | file | what it holds |
//! | --- | --- |
//! | `idx.rs` | the IDX format: arrays of bytes with their sizes, plain or gzip |
//! | `data.rs` | images with labels, and where they come from |
//! | `layers.rs` | the layers, forward and backward, over matrix products |
//! | `model.rs` | the weights, the net as an embedder, evaluation |
//! | `activations.rs` | what every layer holds while the net looks at an image |
//! | `train.rs` | Adam, learning rate, augmentation, batches over threads |
//! | `file.rs` | the model folder |
//! | `image.rs` | an image file or raw pixels to 28x28 numbers |
//! | `ink.rs` | finding the ink, scaling and centring it as MNIST did |

mod activations;
mod data;
mod file;
pub mod idx;
mod image;
mod ink;
mod layers;
mod model;
mod train;

#[cfg(test)]
mod tests;

pub use super::epochs::TrainProgress;
pub use activations::Activation;
pub use data::{LabelledImages, data_source};
pub use model::{DigitNet, Evaluation, evaluate, same_digit};
pub use train::{TrainOptions, train};

/// Pixels in a row, and rows, of the net's input.
pub const SIDE: usize = 28;
/// Pixels of the net's input.
pub const PIXELS: usize = SIDE * SIDE;
/// Numbers of the `features` tap.
pub const FEATURES: usize = 500;
/// The digits 0 to 9.
pub const CLASSES: usize = 10;

/// An image as the net sees it, for the fuzz targets.
///
/// # Errors
/// What is wrong with the image.
#[cfg(fuzzing)]
pub fn prepared(bytes: &[u8]) -> Result<[f32; PIXELS], super::Error> {
    image::prepare(bytes)
}
