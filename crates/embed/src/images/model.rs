//! The trained net as an image embedder.

use super::architecture::Architecture;
use super::net::{Net, Output};
use super::prepare::{self, PREPROCESSING};
use super::settings::{FAMILY, settings};
use crate::{
    Embedder, Error, Fingerprint, Fingerprinter, Input, Modality, ModelCard, ModelFiles, OutputLayer, image_decode,
};
use rayon::prelude::*;

/// Images decoded per chunk, so that the pixels of a huge batch are never all in memory.
const CHUNK_IMAGES: usize = 1024;

/// A residual net that classifies pictures.
pub struct PictureNet {
    net: Net,
    classes: Vec<String>,
    output_layers: Vec<OutputLayer>,
    card: ModelCard,
    fingerprint: Fingerprint,
}

impl PictureNet {
    /// # Errors
    /// [`Error::InvalidInput`] if the number of names differs from the number of classes.
    pub(super) fn new(net: Net, classes: Vec<String>, card: ModelCard) -> Result<Self, Error> {
        let shape = net.shape();
        if classes.len() != shape.classes {
            let (names, count) = (classes.len(), shape.classes);
            return Err(Error::InvalidInput(format!("{names} names for {count} classes")));
        }
        let layer = |name, dimension: usize, about| OutputLayer { name, dimension: dimension as u32, about };
        let output_layers = vec![
            layer("features", shape.features(), "the layer before the last, averaged over all pixels"),
            layer("logits", shape.classes, "one number a class, before the softmax"),
            layer("probabilities", shape.classes, "probability of each class, after the softmax"),
        ];
        let mut parts = Fingerprinter::new(PREPROCESSING);
        parts.part("settings", &settings(&net, &classes));
        for ((name, shape), numbers) in shape.tensors().iter().zip(net.folded().tensors()) {
            parts.part("tensor", format!("{name} {shape:?}").as_bytes());
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            parts.part("weights", &bytes);
        }
        let fingerprint = parts.finish();
        let card = ModelCard { family: FAMILY.into(), ..card };
        Ok(Self { net, classes, output_layers, card, fingerprint })
    }

    pub(super) fn net(&self) -> &Net {
        &self.net
    }

    /// The shape of the net and of its input.
    pub fn shape(&self) -> Architecture {
        self.net.shape()
    }

    /// The class names, in the order of the components of the output layers `logits` and `probabilities`.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The same net with another card; the fingerprint does not change.
    #[must_use]
    pub fn with_card(self, card: ModelCard) -> Self {
        Self { card: ModelCard { family: FAMILY.into(), ..card }, ..self }
    }

    fn prepare(&self, input: &Input<'_>) -> Result<Vec<u8>, Error> {
        match input {
            Input::Image(bytes) => prepare::pixels(bytes, self.shape().side, self.shape().channels),
            Input::Text(_) => Err(Error::Modality {
                embedder: self.card.name.clone(),
                expected: Modality::Image.name(),
                found: input.modality().name(),
            }),
        }
    }

    fn vector(&self, layer: &OutputLayer, output: Output) -> Result<Vec<f32>, Error> {
        let vector = match layer.name {
            "features" => output.features,
            "logits" => output.logits,
            _ => {
                let mut logits = output.logits;
                crate::math::softmax(&mut logits);
                logits
            }
        };
        let usable = vector.iter().all(|x| x.is_finite()) && vector.iter().any(|&x| x != 0.0);
        usable
            .then_some(vector)
            .ok_or_else(|| Error::InvalidInput(format!("the {} of this image are zero or not finite", layer.name)))
    }
}

impl Embedder for PictureNet {
    fn name(&self) -> &str {
        &self.card.name
    }

    fn modality(&self) -> Modality {
        Modality::Image
    }

    fn output_layers(&self) -> &[OutputLayer] {
        &self.output_layers
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn files(&self) -> Result<ModelFiles, Error> {
        self.folder()
    }

    fn embed(&self, layer: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        self.embed_batch(layer, &[*input]).pop().expect("one vector for one image")
    }

    fn embed_batch(&self, layer: &OutputLayer, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        if self.output_layer(layer.name).is_err() {
            return inputs.iter().map(|_| self.output_layer(layer.name).map(|_| Vec::new())).collect();
        }
        let mut vectors = Vec::with_capacity(inputs.len());
        for inputs in inputs.chunks(CHUNK_IMAGES) {
            let prepared: Vec<_> = inputs.par_iter().map(|input| self.prepare(input)).collect();
            let pixels: Vec<u8> = prepared.iter().flatten().flatten().copied().collect();
            let mut ready = self.net.outputs(&pixels).into_iter();
            let mut next = || ready.next().expect("an output for every image");
            vectors.extend(prepared.into_iter().map(|image| image.and_then(|_| self.vector(layer, next()))));
        }
        vectors
    }

    fn reference_inputs(&self) -> Vec<Vec<u8>> {
        image_decode::reference_images()
    }
}
