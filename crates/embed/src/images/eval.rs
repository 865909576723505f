//! How good a net is on labelled pictures: how many it recognises, and how many of an image's nearest are of its class.

use super::{LabelledPictures, PictureNet};
use crate::Error;
use crate::math;
use crate::nearest::same_class;

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The part that was recognised, 0 to 1.
    pub accuracy: f64,
    /// Of the [`NEAREST`](super::NEAREST) images nearest to an image by the cosine of their `features`, itself left out, the part that is of
    /// its class; the mean over all images.
    pub same_class: f64,
    /// Of each class, how many images there are and how many were recognised.
    pub classes: Vec<(u64, u64)>,
}

/// Measures a net on images of its size and classes.
///
/// # Errors
/// [`Error::InvalidInput`] when the images are of another size or other classes, or there are fewer than 2.
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
        class.1 += u64::from(math::largest(&output.logits) == usize::from(label));
        features.extend(output.features);
    }
    let right: u64 = classes.iter().map(|class| class.1).sum();
    Ok(Evaluation {
        accuracy: right as f64 / images.len() as f64,
        same_class: same_class(features, width, images.labels()).unwrap_or(0.0),
        classes,
    })
}
