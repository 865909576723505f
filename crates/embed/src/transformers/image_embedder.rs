//! An image net as an embedder; with CLIP also for texts, in the same vector space.

use super::clip::{self, TextTower};
use super::convolution::Grid;
use super::dinov2::Dinov2;
use super::family::Family;
use super::folder::{self, CONFIG, FingerprintedFiles, PREPROCESSOR, TOKENIZER, WEIGHTS};
use super::image_net::ImageNet;
use super::length_batches::by_length;
use super::ops::{self, failed};
use super::processor::Processor;
use super::resnet::ResNet;
use super::weights::WeightsFile;
use crate::math;
use crate::{Embedder, Error, Fingerprint, Input, Modality, ModelCard, ModelFiles, OutputLayer, image_decode};
use candle_core::Tensor;
use rayon::prelude::*;
use std::path::Path;

/// Files that determine the vectors of an image net, and thus the fingerprint.
const FILES: &[&str] = &[CONFIG, PREPROCESSOR, WEIGHTS];
/// The same for a net that also reads texts.
const FILES_WITH_TEXTS: &[&str] = &[CONFIG, PREPROCESSOR, TOKENIZER, WEIGHTS];
/// Texts per batch.
const BATCH_TEXTS: usize = 16;
/// Tokens per batch, including padding.
const BATCH_TOKENS: usize = 2_048;

/// The contents of a folder's files.
pub(super) struct Parts<'a> {
    pub(super) config: &'a [u8],
    pub(super) processor: &'a Processor,
    pub(super) tokenizer: Option<&'a [u8]>,
    pub(super) weights: &'a WeightsFile,
}

/// Builds the net and the text tower, and checks that they match.
pub(super) fn assemble(
    family: Family,
    folder: &Path,
    parts: &Parts<'_>,
) -> Result<(Box<dyn ImageNet>, Option<TextTower>), Error> {
    let Parts { config, processor, tokenizer, weights } = *parts;
    Ok(match (family, tokenizer) {
        (Family::Clip, Some(tokenizer)) => {
            let (images, texts) = clip::read(folder, config, processor, tokenizer, weights)?;
            (Box::new(images), Some(texts))
        }
        (Family::Dinov2, _) => (Box::new(Dinov2::read(folder, config, processor, weights)?), None),
        (Family::Resnet, _) => (Box::new(ResNet::read(folder, config, processor, weights)?), None),
        (Family::Clip | Family::Bert | Family::Gpt, _) => {
            let what = format!("a model of the family {:?} cannot be built from it", family.name());
            return Err(Error::Corrupt { path: folder.into(), what });
        }
    })
}

/// An image embedder.
pub struct ImageEmbedder {
    net: Box<dyn ImageNet>,
    texts: Option<TextTower>,
    processor: Processor,
    card: ModelCard,
    fingerprinted: FingerprintedFiles,
    output_layers: Vec<OutputLayer>,
}

impl ImageEmbedder {
    /// Reads a model folder created by [`import`](super::import).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for anything that is missing, truncated, unknown, or does not have the
    /// shape given by the settings.
    pub fn load(family: Family, folder: &Path, card: ModelCard) -> Result<Self, Error> {
        card.check_name(&folder.join(folder::CARD))?;
        let config = folder::read_config(&folder.join(CONFIG))?;
        let settings = folder::read_config(&folder.join(PREPROCESSOR))?;
        let processor = Processor::parse(&folder.join(PREPROCESSOR), &settings)?;
        let reads_text = family == Family::Clip;
        let tokenizer = reads_text.then(|| folder::read_tokenizer(&folder.join(TOKENIZER))).transpose()?;
        let weights = WeightsFile::read(&folder.join(WEIGHTS))?;
        let parts =
            Parts { config: &config, processor: &processor, tokenizer: tokenizer.as_deref(), weights: &weights };
        let (net, texts) = assemble(family, folder, &parts)?;
        // The version covers this program's preprocessing of images.
        let version = match family {
            Family::Clip => "clip/1",
            Family::Dinov2 => "dinov2/1",
            _ => "resnet/1",
        };
        let fingerprinted = match &tokenizer {
            Some(tokenizer) => FingerprintedFiles::new(
                folder,
                version,
                FILES_WITH_TEXTS,
                &[&config, &settings, tokenizer, weights.bytes()],
            )?,
            None => FingerprintedFiles::new(folder, version, FILES, &[&config, &settings, weights.bytes()])?,
        };
        let output_layers = net.output_layers();
        Ok(Self { net, texts, processor, card, fingerprinted, output_layers })
    }

    /// The vectors of one batch of images; each image has its own result.
    fn images(&self, layer: &OutputLayer, images: &[&[u8]]) -> Vec<Result<Vec<f32>, Error>> {
        let prepare = |bytes: &&[u8]| image_decode::decode_rgb(bytes).map(|picture| self.processor.pixels(&picture));
        let prepared: Vec<Result<Vec<f32>, Error>> = images.par_iter().map(prepare).collect();
        let pixels: Vec<f32> = prepared.iter().flatten().flatten().copied().collect();
        let count = prepared.iter().flatten().count();
        let grid = Grid { images: count, height: self.processor.height, width: self.processor.width };
        let outputs = || {
            let pixels = Tensor::from_vec(pixels, (grid.rows(), 3), self.net.device())?;
            ops::numbers(&self.net.forward(layer.name, &pixels, grid)?)
        };
        let mut vectors = match (count > 0).then(outputs).transpose() {
            Ok(vectors) => vectors.unwrap_or_default().into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => {
                let what = error.to_string();
                (0..count).map(|_| Err(Error::Compute(what.clone()))).collect()
            }
        }
        .into_iter();
        let next = |image: Result<Vec<f32>, Error>| {
            let vector = image.and_then(|_| vectors.next().expect("a vector for every image"))?;
            self.finish(layer, vector)
        };
        prepared.into_iter().map(next).collect()
    }

    /// Normalizes to length 1 if the net requires it; refuses a vector without a direction.
    fn finish(&self, layer: &OutputLayer, mut vector: Vec<f32>) -> Result<Vec<f32>, Error> {
        let usable = match self.net.unit() {
            true => math::normalize(&mut vector),
            false => vector.iter().any(|&x| x != 0.0) && vector.iter().all(|x| x.is_finite()),
        };
        if usable {
            Ok(vector)
        } else {
            Err(Error::InvalidInput(format!("the {} of this input are zero or not finite", layer.name)))
        }
    }
}

impl Embedder for ImageEmbedder {
    fn name(&self) -> &str {
        &self.card.name
    }

    fn modality(&self) -> Modality {
        Modality::Image
    }

    fn reads(&self, modality: Modality) -> bool {
        modality == Modality::Image || self.texts.is_some()
    }

    fn output_layers(&self) -> &[OutputLayer] {
        &self.output_layers
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinted.fingerprint
    }

    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn files(&self) -> Result<ModelFiles, Error> {
        self.fingerprinted.files(&self.card)
    }

    fn reference_inputs(&self) -> Vec<Vec<u8>> {
        image_decode::reference_images()
    }

    fn embed(&self, layer: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        self.embed_batch(layer, std::slice::from_ref(input)).pop().expect("one result for one input")
    }

    /// Runs images through the net in small groups, in parallel on all cores.
    fn embed_batch(&self, layer: &OutputLayer, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        if self.output_layer(layer.name).is_err() {
            return inputs.iter().map(|_| self.output_layer(layer.name).map(|_| Vec::new())).collect();
        }
        let images: Vec<&[u8]> = inputs.iter().filter_map(image_of).collect();
        let threads = rayon::current_num_threads();
        let group = images.len().div_ceil(threads).clamp(1, self.net.images_per_batch());
        // At most one group per thread at a time: a waiting thread must not start another group.
        let stretch = |some: &[&[u8]]| some.par_chunks(group).flat_map_iter(|some| self.images(layer, some)).collect();
        let mut outputs = images.chunks(group * threads).flat_map(|some| -> Vec<_> { stretch(some) });
        let texts: Vec<&str> = inputs.iter().filter_map(text_of).collect();
        let encode = |text: &&str| match &self.texts {
            Some(tower) => tower.encode(text),
            None => Err(Error::Modality {
                embedder: self.name().into(),
                expected: Modality::Image.name(),
                found: Modality::Text.name(),
            }),
        };
        let tokens = texts.par_iter().map(encode).collect();
        let states = |texts: &[&[u32]]| match &self.texts {
            Some(tower) => tower.forward(texts).and_then(|vectors| ops::numbers(&vectors)).map_err(failed),
            None => Ok(Vec::new()),
        };
        let mut read = by_length(tokens, BATCH_TEXTS, BATCH_TOKENS, states).into_iter();
        let next = |input: &Input<'_>| match input {
            Input::Image(_) => outputs.next().expect("a vector for every image"),
            Input::Text(_) => {
                read.next().expect("a vector for every text").and_then(|vector| self.finish(layer, vector))
            }
        };
        inputs.iter().map(next).collect()
    }
}

fn image_of<'a>(input: &Input<'a>) -> Option<&'a [u8]> {
    match input {
        Input::Image(bytes) => Some(bytes),
        Input::Text(_) => None,
    }
}

fn text_of<'a>(input: &Input<'a>) -> Option<&'a str> {
    match input {
        Input::Text(text) => Some(text),
        Input::Image(_) => None,
    }
}
