//! The net's weights, its forward pass, and its [`Embedder`] implementation.
//!
//! The convolutions process images one by one, the linear layers in blocks of [`BLOCK`], padded with zeros. Every
//! matrix product then has the same shape for any batch, so an image gives the same bits alone and in a batch.

use super::{CLASSES, FEATURES, LabelledImages, PIXELS, image, layers, layers::Convolution};
use crate::capability::DigitClassifier;
use crate::knn::same_class;
use crate::math;
use crate::{DIGITS, Embedder, Error, Fingerprint, Fingerprinter, Input, Modality, ModelCard, ModelFiles, OutputLayer};
use rayon::prelude::*;
use std::ops::Range;

/// The first convolution, with ReLU and pooling: 28x28 to 20 channels of 12x12.
pub(super) const FIRST: Convolution<1, 20, 28, 24> = Convolution;
/// The second convolution: to 50 channels of 4x4.
pub(super) const SECOND: Convolution<20, 50, 12, 8> = Convolution;
/// Activations per image after the first pooling.
pub(super) const POOLED1: usize = 20 * 12 * 12;
/// Activations per image after the second pooling.
pub(super) const POOLED2: usize = 50 * 4 * 4;
/// Images per product in the linear layers.
pub(super) const BLOCK: usize = 16;

/// Name, shape and range of each tensor in the weights.
pub(super) const TENSORS: [(&str, &[usize], Range<usize>); 8] = [
    ("convolution1.weight", &[20, 1, 5, 5], 0..500),
    ("convolution1.bias", &[20], 500..520),
    ("convolution2.weight", &[50, 20, 5, 5], 520..25_520),
    ("convolution2.bias", &[50], 25_520..25_570),
    ("linear1.weight", &[500, 800], 25_570..425_570),
    ("linear1.bias", &[500], 425_570..426_070),
    ("linear2.weight", &[10, 500], 426_070..431_070),
    ("linear2.bias", &[10], 431_070..WEIGHTS),
];
/// Total number of weights.
pub(super) const WEIGHTS: usize = 431_080;

/// The weights, or their gradients, by layer.
pub(super) struct Layers<T> {
    pub(super) convolution1: (T, T),
    pub(super) convolution2: (T, T),
    pub(super) linear1: (T, T),
    pub(super) linear2: (T, T),
}

/// Splits `weights` into tensors, each layer as `(weight, bias)`.
pub(super) fn layers_of(weights: &[f32]) -> Layers<&[f32]> {
    let part = |index: usize| &weights[TENSORS[index].2.clone()];
    Layers {
        convolution1: (part(0), part(1)),
        convolution2: (part(2), part(3)),
        linear1: (part(4), part(5)),
        linear2: (part(6), part(7)),
    }
}

/// Mutable [`layers_of`].
pub(super) fn layers_of_mut(mut weights: &mut [f32]) -> Layers<&mut [f32]> {
    let mut parts = TENSORS.iter().map(|(_, _, range)| {
        let (part, rest) = std::mem::take(&mut weights).split_at_mut(range.len());
        weights = rest;
        part
    });
    let mut pair = || (parts.next().expect("eight tensors"), parts.next().expect("eight tensors"));
    Layers { convolution1: pair(), convolution2: pair(), linear1: pair(), linear2: pair() }
}

const OUTPUT_LAYERS: [OutputLayer; 3] = [
    OutputLayer { name: "features", dimension: FEATURES as u32, about: "the layer before the last, after its ReLU" },
    OutputLayer { name: "logits", dimension: CLASSES as u32, about: "one number per digit, before the softmax" },
    OutputLayer {
        name: "probabilities",
        dimension: CLASSES as u32,
        about: "probability of each digit, after the softmax",
    },
];

/// The trained digit net.
pub struct DigitNet {
    weights: Vec<f32>,
    card: ModelCard,
    fingerprint: Fingerprint,
}

/// The net's outputs for a block of images.
pub(super) struct Outputs {
    /// `[image][500]`.
    pub(super) features: Vec<f32>,
    /// `[image][10]`.
    pub(super) logits: Vec<f32>,
}

/// Result of an evaluation on labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Share of correct predictions, 0 to 1.
    pub accuracy: f64,
    /// Counts by `[true][predicted]`.
    pub confusion: [[u64; CLASSES]; CLASSES],
}

impl DigitNet {
    /// A net with these weights, which must be finite, in the order of [`TENSORS`].
    pub(super) fn new(weights: Vec<f32>, card: ModelCard) -> Self {
        let mut parts = Fingerprinter::new(image::PREPROCESSING);
        for (name, shape, range) in TENSORS {
            parts.part("tensor", format!("{name} {shape:?}").as_bytes());
            let bytes: Vec<u8> = weights[range].iter().flat_map(|weight| weight.to_le_bytes()).collect();
            parts.part("weights", &bytes);
        }
        Self { weights, card, fingerprint: parts.finish() }
    }

    /// All 431,080 weights, in the order of [`TENSORS`].
    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The same net with another card; the fingerprint does not change.
    #[must_use]
    pub fn with_card(self, card: ModelCard) -> Self {
        Self { card, ..self }
    }

    /// The probability of each digit for an image as in [`Input::Image`]: a PNG, JPEG, BMP or WebP
    /// file, or 784 raw bytes.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the image cannot be decoded, is too large, or has no ink.
    pub fn probabilities(&self, image: &[u8]) -> Result<[f32; CLASSES], Error> {
        let pixels = image::prepare(image)?;
        let mut logits = forward(&self.weights, &pixels).logits;
        layers::softmax(&mut logits);
        logits.try_into().map_err(|_| Error::InvalidInput("the net returned no probabilities".into()))
    }

    /// The vectors at `layer` of prepared images, `[image][784]`.
    fn vectors(&self, layer: &OutputLayer, pixels: &[f32]) -> Vec<Result<Vec<f32>, Error>> {
        let one_block = |pixels: &[f32]| -> Vec<Result<Vec<f32>, Error>> {
            let mut outputs = forward(&self.weights, pixels);
            let rows = match layer.name {
                "features" => outputs.features.chunks_exact(FEATURES),
                "logits" => outputs.logits.chunks_exact(CLASSES),
                _ => {
                    outputs.logits.chunks_exact_mut(CLASSES).for_each(layers::softmax);
                    outputs.logits.chunks_exact(CLASSES)
                }
            };
            rows.map(|row| {
                let ok = row.iter().all(|x| x.is_finite()) && row.iter().any(|&x| x != 0.0);
                let what = || Error::InvalidInput(format!("the {} of this image are zero or not finite", layer.name));
                ok.then(|| row.to_vec()).ok_or_else(what)
            })
            .collect()
        };
        if pixels.len() <= BLOCK * PIXELS {
            one_block(pixels)
        } else {
            pixels.par_chunks(BLOCK * PIXELS).flat_map_iter(one_block).collect()
        }
    }
}

impl Embedder for DigitNet {
    fn name(&self) -> &str {
        self.card.name_or(DIGITS)
    }

    fn modality(&self) -> Modality {
        Modality::Image
    }

    fn output_layers(&self) -> &[OutputLayer] {
        &OUTPUT_LAYERS
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn files(&self) -> Result<ModelFiles, Error> {
        Ok(self.folder())
    }

    fn embed(&self, layer: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        let layer = self.output_layer(layer.name)?;
        let pixels = prepare(input)?;
        self.vectors(layer, &pixels).pop().expect("one vector for one image")
    }

    fn embed_batch(&self, layer: &OutputLayer, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        if self.output_layer(layer.name).is_err() {
            return inputs.iter().map(|_| self.output_layer(layer.name).map(|_| Vec::new())).collect();
        }
        // In chunks, so that the pixels of a huge batch are never all in memory.
        const CHUNK_IMAGES: usize = 1024;
        let mut vectors = Vec::with_capacity(inputs.len());
        for inputs in inputs.chunks(CHUNK_IMAGES) {
            let prepared: Vec<_> = inputs.par_iter().map(prepare).collect();
            let pixels: Vec<f32> = prepared.iter().flatten().flatten().copied().collect();
            let mut ready = self.vectors(layer, &pixels).into_iter();
            let next = |image: Result<_, _>| image.and_then(|_| ready.next().expect("a vector for every image"));
            vectors.extend(prepared.into_iter().map(next));
        }
        vectors
    }

    fn digit_net(&self) -> Option<&dyn DigitClassifier> {
        Some(self)
    }
}

fn prepare(input: &Input<'_>) -> Result<[f32; PIXELS], Error> {
    match input {
        Input::Image(bytes) => image::prepare(bytes),
        Input::Text(_) => Err(Error::Modality {
            embedder: "digits".into(),
            expected: Modality::Image.name(),
            found: input.modality().name(),
        }),
    }
}

/// The forward pass over prepared images, on the calling thread.
pub(super) fn forward(weights: &[f32], pixels: &[f32]) -> Outputs {
    let net = layers_of(weights);
    let images = pixels.len() / PIXELS;
    let mut outputs = Outputs { features: vec![0.0; images * FEATURES], logits: vec![0.0; images * CLASSES] };
    let mut patches = vec![0.0; Convolution::<20, 50, 12, 8>::PATCHES];
    let mut result = vec![0.0; Convolution::<1, 20, 28, 24>::RESULT];
    let (mut pooled1, mut choice) = (vec![0.0; POOLED1], vec![0; POOLED1]);
    let mut pooled2 = vec![0.0; BLOCK * POOLED2];
    let (mut features, mut logits) = (vec![0.0; BLOCK * FEATURES], vec![0.0; BLOCK * CLASSES]);
    for (block, pixels) in pixels.chunks(BLOCK * PIXELS).enumerate() {
        let count = pixels.len() / PIXELS;
        pooled2[count * POOLED2..].fill(0.0);
        for (pixels, pooled2) in pixels.chunks_exact(PIXELS).zip(pooled2.chunks_exact_mut(POOLED2)) {
            FIRST.gather(pixels, 1, &mut patches);
            FIRST.forward(net.convolution1.0, &patches, 1, &mut result);
            FIRST.pool(&result, net.convolution1.1, 1, &mut pooled1, &mut choice);
            SECOND.gather(&pooled1, 1, &mut patches);
            SECOND.forward(net.convolution2.0, &patches, 1, &mut result);
            SECOND.pool(&result, net.convolution2.1, 1, pooled2, &mut choice);
        }
        layers::linear(&pooled2, net.linear1.0, net.linear1.1, BLOCK, &mut features);
        layers::relu(&mut features);
        layers::linear(&features, net.linear2.0, net.linear2.1, BLOCK, &mut logits);
        outputs.features[block * BLOCK * FEATURES..][..count * FEATURES].copy_from_slice(&features[..count * FEATURES]);
        outputs.logits[block * BLOCK * CLASSES..][..count * CLASSES].copy_from_slice(&logits[..count * CLASSES]);
    }
    outputs
}

/// The predicted digit of each image: the index of its largest logit.
pub(super) fn classify(weights: &[f32], images: &LabelledImages) -> Vec<usize> {
    images
        .images()
        .par_chunks(BLOCK * PIXELS)
        .flat_map_iter(|bytes| {
            forward(weights, &scale_pixels(bytes)).logits.chunks_exact(CLASSES).map(math::argmax).collect::<Vec<_>>()
        })
        .collect()
}

/// Pixels scaled to 0..1.
fn scale_pixels(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect()
}

/// Confusion matrix and accuracy of the net. Uses the images as they are, white on black.
pub fn evaluate(net: &DigitNet, images: &LabelledImages) -> Evaluation {
    let mut confusion = [[0; CLASSES]; CLASSES];
    for (&label, digit) in images.labels().iter().zip(classify(&net.weights, images)) {
        confusion[usize::from(label)][digit] += 1;
    }
    let right: u64 = (0..CLASSES).map(|digit| confusion[digit][digit]).sum();
    Evaluation { accuracy: right as f64 / (images.len() as f64).max(1.0), confusion }
}

/// Share of the 10 nearest images, by the cosine of `features` and of `logits`, that show the same digit; mean over
/// all images. None for fewer than two images.
pub fn same_digit(net: &DigitNet, images: &LabelledImages) -> Option<[f64; 2]> {
    let blocks = images.images().par_chunks(BLOCK * PIXELS).map(|bytes| forward(&net.weights, &scale_pixels(bytes)));
    let (mut features, mut logits) = (Vec::new(), Vec::new());
    for block in blocks.collect::<Vec<Outputs>>() {
        features.extend(block.features);
        logits.extend(block.logits);
    }
    let labels: Vec<u16> = images.labels().iter().map(|&label| u16::from(label)).collect();
    Some([same_class(features, FEATURES, &labels)?, same_class(logits, CLASSES, &labels)?])
}
