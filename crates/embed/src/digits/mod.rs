//! The digit net: the 11-layer convolutional net for handwritten digits, trained on MNIST.
//!
//! Architecture: convolution (20 of 5x5), ReLU, max pool 2, convolution (50 of 5x5), ReLU, max pool 2, flatten,
//! linear 500, ReLU, linear 10, softmax; 431,080 weights; after LeCun, Bottou, Bengio, Haffner, "Gradient-based
//! learning applied to document recognition", Proc. IEEE 1998. The input is 28x28 numbers, from 0 (background) to 1
//! (ink). There are three output layers: `features` (500, the default), `logits` (10), `probabilities` (10).
//!
//! | file | contents |
//! | --- | --- |
//! | `data.rs` | labelled images and their sources |
//! | `layers.rs` | forward and backward passes of the layers, as matrix products |
//! | `model.rs` | the weights, the embedder, evaluation |
//! | `activations.rs` | the activations of every layer for one image |
//! | `train.rs` | Adam, learning rate schedule, augmentation, data-parallel batches |
//! | `file.rs` | the model folder |
//! | `image.rs` | preprocessing of an image file or raw pixels to 28x28 numbers |
//! | `preprocess.rs` | extraction, scaling and centring of the ink as in MNIST |

mod activations;
mod data;
mod file;
mod image;
mod layers;
mod model;
mod preprocess;
mod train;

#[cfg(test)]
mod tests;

pub use super::epochs::TrainProgress;
pub use crate::capability::Activation;
pub use data::LabelledImages;
pub use model::{DigitNet, Evaluation, evaluate, same_digit};
pub use train::{TrainOptions, train};

/// Rows and columns of the net's input.
pub const SIDE: usize = 28;
/// Pixels of the net's input.
pub const PIXELS: usize = SIDE * SIDE;
/// Dimension of the `features` output layer.
pub(crate) const FEATURES: usize = 500;
/// Number of classes, the digits 0 to 9.
pub(crate) const CLASSES: usize = 10;

/// The net's input for an image, for the fuzz targets.
///
/// # Errors
/// Those of the preprocessing.
#[cfg(fuzzing)]
pub fn prepared(bytes: &[u8]) -> Result<[f32; PIXELS], super::Error> {
    image::prepare(bytes)
}
