//! Forward pass of the trained net, with the normalization folded into its weights. Images are processed one by
//! one, so that an image gives the same bits alone and in a batch.

use super::architecture::{Architecture, Unit};
use super::data::LabelledPictures;
use super::layers;
use super::prepare::Tables;
use crate::Error;
use crate::math;
use crate::math::convolution::{Convolution, unpadded_len};
use crate::math::gemm::{Matrix, multiply};
use rayon::prelude::*;

/// Images per task.
const IMAGES_PER_TASK: usize = 16;

/// Weights and biases as stored in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Folded {
    /// For each unit, `[ky][kx][from][to]` and `[to]`.
    pub(super) convolutions: Vec<(Vec<f32>, Vec<f32>)>,
    /// `[class][feature]` and `[class]`.
    pub(super) linear: (Vec<f32>, Vec<f32>),
}

impl Folded {
    /// The values of each tensor, in the order of [`Architecture::tensors`].
    pub(super) fn tensors(&self) -> impl Iterator<Item = &[f32]> {
        self.convolutions.iter().chain([&self.linear]).flat_map(|(weights, bias)| [&weights[..], &bias[..]])
    }
}

/// The trained net.
pub(super) struct Net {
    shape: Architecture,
    units: Vec<Unit>,
    folded: Folded,
    panels: Vec<Vec<f32>>,
    /// Per colour, for pixels scaled to 0..1.
    mean: Vec<f32>,
    deviation: Vec<f32>,
    tables: Tables,
}

/// The net's outputs for an image.
pub(super) struct Output {
    pub(super) features: Vec<f32>,
    pub(super) logits: Vec<f32>,
}

/// Buffers for the forward pass of one image.
struct ForwardBuffers {
    result: Vec<f32>,
    /// The net's input and the result of each unit, before and after pooling, with border.
    pictures: Vec<Vec<f32>>,
}

impl Net {
    /// # Errors
    /// [`Error::InvalidInput`] for a shape out of bounds, or a number that is not finite.
    pub(super) fn new(shape: Architecture, folded: Folded, mean: Vec<f32>, deviation: Vec<f32>) -> Result<Self, Error> {
        shape.check()?;
        if let Some(index) = folded.tensors().position(|tensor| tensor.iter().any(|number| !number.is_finite())) {
            let name = &shape.tensors()[index].0;
            return Err(Error::InvalidInput(format!("a number of {name} is not finite")));
        }
        let units = shape.units();
        let panels = units.iter().zip(&folded.convolutions).map(|(unit, (weights, _))| {
            let mut panels = vec![0.0; unit.convolution.weights()];
            unit.convolution.pack(weights, &mut panels);
            panels
        });
        let (panels, tables) = (panels.collect(), Tables::new(&mean, &deviation));
        Ok(Self { shape, units, folded, panels, mean, deviation, tables })
    }

    pub(super) fn shape(&self) -> Architecture {
        self.shape
    }

    pub(super) fn folded(&self) -> &Folded {
        &self.folded
    }

    /// Mean and standard deviation of each colour, for pixels scaled to 0..1.
    pub(super) fn colours(&self) -> (&[f32], &[f32]) {
        (&self.mean, &self.deviation)
    }

    /// Number of weights.
    pub(super) fn weights(&self) -> usize {
        self.folded.tensors().map(<[f32]>::len).sum()
    }

    fn buffers(&self) -> ForwardBuffers {
        let widest = self.units.iter().map(|unit| unpadded_len(unit.convolution.side, unit.convolution.to)).max();
        let mut pictures = vec![vec![0.0; self.shape.input()]];
        for unit in &self.units {
            let Convolution { side, to, .. } = unit.convolution;
            pictures.push(layers::padded_zeros(1, side, to));
            if unit.pools {
                pictures.push(layers::padded_zeros(1, unit.side_out(), to));
            }
        }
        ForwardBuffers { result: vec![0.0; widest.unwrap_or(0)], pictures }
    }

    fn forward(&self, pixels: &[u8], buffers: &mut ForwardBuffers) -> Output {
        let ForwardBuffers { result, pictures } = buffers;
        self.tables.fill(&self.shape, pixels, (0, 0), false, &mut pictures[0]);
        let ones = vec![1.0; self.shape.features()];
        // Indices in `pictures` of the inputs of the previous unit and of this one.
        let (mut previous, mut input) = (0, 0);
        for ((unit, panels), (_, bias)) in self.units.iter().zip(&self.panels).zip(&self.folded.convolutions) {
            let Convolution { side, to, .. } = unit.convolution;
            let result = &mut result[..unpadded_len(side, to)];
            unit.convolution.forward(&pictures[input], panels, result, false);
            let (before, after) = pictures.split_at_mut(input + 1);
            let skip = unit.adds.then(|| &before[previous][..]);
            layers::normalize_relu(side, result, (&ones[..to], bias), skip, &mut after[0]);
            (previous, input) = (input, input + 1);
            if unit.pools {
                let (out, pooled) = pictures.split_at_mut(input + 1);
                layers::pool(side, to, &out[input], &mut pooled[0]);
                input += 1;
            }
        }
        let (width, classes) = (self.shape.features(), self.shape.classes);
        let last = self.units[self.units.len() - 1].convolution.side;
        let (mut features, mut logits) = (vec![0.0; width], self.folded.linear.1.clone());
        layers::average(last, width, &pictures[input], &mut features);
        let weights = Matrix::new(&self.folded.linear.0, classes, width).transposed();
        multiply(&mut logits, Matrix::new(&features, 1, width), weights, true);
        Output { features, logits }
    }

    /// The outputs for images of [`Architecture::pixels`] bytes each, in order; uses all cores if that is faster.
    pub(super) fn outputs(&self, pixels: &[u8]) -> Vec<Output> {
        let task = |pixels: &[u8]| {
            let mut buffers = self.buffers();
            pixels.chunks_exact(self.shape.pixels()).map(|image| self.forward(image, &mut buffers)).collect::<Vec<_>>()
        };
        if pixels.len() <= IMAGES_PER_TASK / 4 * self.shape.pixels() {
            return task(pixels);
        }
        pixels.par_chunks(IMAGES_PER_TASK * self.shape.pixels()).flat_map_iter(task).collect()
    }

    /// Share of the images whose largest logit is that of their class.
    pub(super) fn accuracy(&self, images: &LabelledPictures) -> f64 {
        let right = images
            .images()
            .par_chunks(IMAGES_PER_TASK * self.shape.pixels())
            .zip(images.labels().par_chunks(IMAGES_PER_TASK));
        let right: usize = right
            .map(|(pixels, labels)| {
                let mut buffers = self.buffers();
                let images = pixels.chunks_exact(self.shape.pixels()).zip(labels);
                images
                    .filter(|(image, label)| {
                        math::argmax(&self.forward(image, &mut buffers).logits) == usize::from(**label)
                    })
                    .count()
            })
            .sum();
        right as f64 / (images.len() as f64).max(1.0)
    }
}
