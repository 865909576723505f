//! How good a net is on labelled pictures: how many it recognises, and how many of an image's nearest are of its class.

use super::net::best;
use super::{LabelledPictures, PictureNet};
use crate::embed::Error;
use crate::math::gemm::{Matrix, multiply};
use crate::math::normalize;
use rayon::prelude::*;

/// The nearest images that are looked at.
pub const NEAREST: usize = 10;
/// Images whose distances to all others are computed at once.
const BLOCK: usize = 64;

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The part that was recognised, 0 to 1.
    pub accuracy: f64,
    /// Of the [`NEAREST`] images nearest to an image by the cosine of their `features`, itself left out, the part that is of
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
        class.1 += u64::from(best(&output.logits) == usize::from(label));
        let mut vector = output.features;
        normalize(&mut vector);
        features.extend(vector);
    }
    let right: u64 = classes.iter().map(|class| class.1).sum();
    Ok(Evaluation {
        accuracy: right as f64 / images.len() as f64,
        same_class: same_class(&features, width, images.labels()),
        classes,
    })
}

/// The mean over all rows of the part of its nearest that have its label.
pub(super) fn same_class(features: &[f32], width: usize, labels: &[u16]) -> f64 {
    let count = labels.len();
    let all = Matrix::new(features, count, width).transposed();
    let nearest = NEAREST.min(count - 1);
    let blocks: Vec<u64> = features
        .par_chunks(BLOCK * width)
        .enumerate()
        .map(|(block, rows)| {
            let own = rows.len() / width;
            let mut cosines = vec![0.0; own * count];
            multiply(&mut cosines, Matrix::new(rows, own, width), all, false);
            let mut same = 0;
            for (row, cosines) in cosines.chunks_exact(count).enumerate() {
                let row = block * BLOCK + row;
                let mut order: Vec<u32> = (0..count as u32).filter(|&other| other as usize != row).collect();
                let nearer = |a: &u32, b: &u32| cosines[*b as usize].total_cmp(&cosines[*a as usize]).then(a.cmp(b));
                order.select_nth_unstable_by(nearest - 1, nearer);
                same += order[..nearest].iter().filter(|&&other| labels[other as usize] == labels[row]).count() as u64;
            }
            same
        })
        .collect();
    blocks.iter().sum::<u64>() as f64 / (count * nearest) as f64
}
