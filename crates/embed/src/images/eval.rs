//! Evaluation of a net on labelled pictures: accuracy, and the share of nearest images of the same class.

use super::{LabelledPictures, PictureNet};
use crate::Error;
use crate::knn::same_class;
use crate::math;

/// Result of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Share of correct predictions, 0 to 1.
    pub accuracy: f64,
    /// Share of the [`NEIGHBOURS`](super::NEIGHBOURS) images, by the cosine of their `features` and excluding the image
    /// itself, that are of the same class; mean over all images.
    pub same_class: f64,
    /// For each class, the number of images and of correct predictions.
    pub classes: Vec<(u64, u64)>,
}

/// Evaluates a net on images of its size and classes.
///
/// # Errors
/// [`Error::InvalidInput`] if the images have another size or other classes, or there are fewer than 2.
pub fn evaluate(net: &PictureNet, images: &LabelledPictures) -> Result<Evaluation, Error> {
    let shape = net.shape();
    if (images.side(), images.channels(), images.classes()) != (shape.side, shape.channels, net.classes()) {
        return Err(Error::InvalidInput("the images are not of the net's size and classes".into()));
    }
    if images.len() < 2 {
        return Err(Error::InvalidInput("at least 2 images are needed".into()));
    }
    let mut classes = vec![(0, 0); shape.classes];
    let width = shape.features();
    let mut features = Vec::with_capacity(images.len() * width);
    for (output, &label) in net.net().outputs(images.images()).into_iter().zip(images.labels()) {
        let class = &mut classes[usize::from(label)];
        class.0 += 1;
        class.1 += u64::from(math::argmax(&output.logits) == usize::from(label));
        features.extend(output.features);
    }
    let right: u64 = classes.iter().map(|class| class.1).sum();
    Ok(Evaluation {
        accuracy: right as f64 / images.len() as f64,
        same_class: same_class(features, width, images.labels()).unwrap_or(0.0),
        classes,
    })
}
