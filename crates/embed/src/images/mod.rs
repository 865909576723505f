//! General images: a small residual net that learns to tell classes apart, and gives vectors of what it sees.
//!
//! The net (after He, Zhang, Ren, Sun 2016, "Deep Residual Learning for Image Recognition"): a convolution, then three
//! stages, each of a convolution that doubles the channels and of residual blocks of two convolutions, with max pooling
//! between, so that a stage has half the side of the one before; the mean over all pixels; a linear layer to the classes.
//! Convolutions are 3x3, normalised over the batch while it learns; for use the normalisation is folded into the weights.
//! Three taps: `features` (the mean, the default), `logits`, `probabilities` (one number a class).
//!
//! | file | what it holds |
//! | --- | --- |
//! | `shape.rs` | the convolutions of a net, their sizes, and bounds of them |
//! | `data.rs` | pictures with labels: from class folders, tar archives, IDX files |
//! | `archive.rs` | the images of a folder or a tar archive, one after the other |
//! | `prepare.rs` | a decoded picture to the net's pixels |
//! | `layers.rs` | what stands between the convolutions, forward and backward |
//! | `worker.rs` | a part of a batch through the net and back |
//! | `train.rs` | batches over threads, Nesterov's momentum, the learning rate |
//! | `net.rs` | the trained net, forward |
//! | `model.rs` | the net as an embedder |
//! | `file.rs` | the model folder |
//! | `eval.rs` | accuracy, and how often near images are of the same class |

mod archive;
mod data;
mod eval;
mod file;
mod layers;
mod model;
mod net;
mod prepare;
mod shape;
mod train;
mod worker;

#[cfg(test)]
mod tests;

pub use super::epochs::TrainProgress;
pub use super::nearest::NEAREST;
pub use data::{LabelledPictures, Skipped, Wanted};
pub use eval::{Evaluation, evaluate};
pub(crate) use file::FAMILY;
pub use model::PictureNet;
pub use shape::Shape;
pub use train::{TrainOptions, train};
