//! General images: a small residual net for classification, whose activations serve as vectors.
//!
//! The architecture (after He, Zhang, Ren, Sun 2016, "Deep Residual Learning for Image Recognition"): a convolution,
//! then three stages; the mean over all pixels; a linear layer to the classes. Each stage is a convolution that doubles
//! the channels, followed by residual blocks of two convolutions; max pooling between stages halves the side.
//! Convolutions are 3x3 with batch normalization in training; for inference the normalization is folded into the
//! weights. There are three output layers: `features` (the mean, the default), `logits`, `probabilities` (one number
//! per class).
//!
//! | file | contents |
//! | --- | --- |
//! | `architecture.rs` | the convolutions of a net, their sizes and limits |
//! | `data.rs` | labelled pictures: from class folders, tar archives, IDX files |
//! | `archive.rs` | iteration over the images of a folder or a tar archive |
//! | `prepare.rs` | preprocessing of a decoded picture |
//! | `layers.rs` | forward and backward passes of the layers between the convolutions |
//! | `backprop.rs` | forward and backward pass of a shard of a batch |
//! | `train.rs` | data-parallel batches, Nesterov momentum, learning rate schedule |
//! | `net.rs` | forward pass of the trained net |
//! | `model.rs` | the embedder |
//! | `settings.rs` | `config.json` |
//! | `file.rs` | the model folder |
//! | `eval.rs` | accuracy, and the share of near images of the same class |

mod architecture;
mod archive;
mod backprop;
mod data;
mod eval;
mod file;
mod layers;
mod model;
mod net;
mod prepare;
mod settings;
mod train;

#[cfg(test)]
mod tests;

pub use super::epochs::TrainProgress;
pub use super::knn::NEIGHBOURS;
pub use architecture::Architecture;
pub use data::{LabelledPictures, PictureOptions, Skipped};
pub use eval::{Evaluation, evaluate};
pub use model::PictureNet;
pub(crate) use settings::FAMILY;
pub use train::{TrainOptions, train};
