//! Convolutional residual nets (He et al. 2016) in the format of transformers.
//!
//! Batch normalization at inference is a factor and a term per channel; both are folded into the preceding
//! convolution.

use super::convolution::{Convolution, Grid, Window, max_pool};
use super::folder::{self, CONFIG};
use super::image_net::ImageNet;
use super::ops::{self, Activation, Linear, failed};
use super::processor::Processor;
use super::vit::BATCH_IMAGES;
use super::weights::{Weights, WeightsFile};
use crate::{Error, OutputLayer};
use candle_core::{Device, Result, Tensor};
use serde::Deserialize;
use std::path::Path;

/// Added to variances.
const EPSILON: f64 = 1e-5;
/// Maximum activations of one image after any layer.
const MAX_NUMBERS: usize = 1 << 26;
/// Maximum activations of a batch of images after the largest layer.
const BATCH_NUMBERS: usize = 1 << 23;
const MAX_STAGES: usize = 16;
const STEM_POOL: Window = Window { side: 3, stride: 2, padding: 1 };

/// The fields of `config.json` in use; defaults as in transformers.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    model_type: String,
    num_channels: usize,
    embedding_size: usize,
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    layer_type: LayerType,
    hidden_act: String,
    downsample_in_first_stage: bool,
    downsample_in_bottleneck: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LayerType {
    Basic,
    Bottleneck,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_type: String::new(),
            num_channels: 3,
            embedding_size: 64,
            hidden_sizes: vec![256, 512, 1_024, 2_048],
            depths: vec![3, 4, 6, 3],
            layer_type: LayerType::Bottleneck,
            hidden_act: "relu".into(),
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
        }
    }
}

/// A residual block: consecutive convolutions with ReLUs in between, and a skip connection.
struct Layer {
    steps: Vec<Convolution>,
    shortcut: Option<Convolution>,
}

/// The residual net.
pub(super) struct ResNet {
    stem: Convolution,
    layers: Vec<Layer>,
    /// Activations of the largest layer for one image.
    largest: usize,
    features: usize,
    classifier: Option<Linear>,
}

impl ResNet {
    /// Builds the net. Settings must agree with the shapes of the tensors.
    pub(super) fn read(
        path: &Path,
        config: &[u8],
        processor: &Processor,
        file: &WeightsFile,
    ) -> std::result::Result<Self, Error> {
        let config: Config = folder::parse(&path.join(CONFIG), config)?;
        let corrupt = |what: String| Error::Corrupt { path: path.join(CONFIG), what };
        let short = |text: &str| text.chars().take(40).collect::<String>();
        if config.model_type != "resnet" {
            return Err(corrupt(format!("model_type is {:?}; supported: \"resnet\"", short(&config.model_type))));
        }
        if config.hidden_act != "relu" || config.num_channels != 3 {
            let (channels, found) = (config.num_channels, short(&config.hidden_act));
            return Err(corrupt(format!("hidden_act is {found:?} and num_channels {channels}; supported: relu and 3")));
        }
        let (stages, depths) = (config.hidden_sizes.len(), config.depths.len());
        if stages == 0 || stages > MAX_STAGES || stages != depths || config.depths.contains(&0) {
            return Err(corrupt(format!(
                "hidden_sizes has {stages} stages and depths {depths}; both have the same 1 to {MAX_STAGES}, none of them empty"
            )));
        }
        let features = *config.hidden_sizes.last().unwrap_or(&0);
        let widest = config.hidden_sizes.iter().chain([&config.embedding_size]).copied().max().unwrap_or(0);
        let narrowest = config.hidden_sizes.iter().chain([&config.embedding_size]).copied().min().unwrap_or(0);
        if narrowest == 0 || widest > crate::types::MAX_DIMENSION as usize {
            return Err(corrupt(format!(
                "embedding_size and hidden_sizes are {narrowest} to {widest}; supported: 1 to {}",
                crate::types::MAX_DIMENSION
            )));
        }
        let device = ops::device();
        let weights = file.open(&device, &["resnet."])?;
        let stem = Window { side: 7, stride: 2, padding: 3 };
        let mut reader = Reader { weights: &weights, config: &config };
        let mut net = Self {
            stem: reader.convolution("embedder.embedder", 3, config.embedding_size, stem)?,
            layers: Vec::new(),
            largest: 0,
            features,
            classifier: classifier(&weights, features)?,
        };
        let whole = Grid { images: 1, height: processor.height, width: processor.width };
        let halved = |grid: Grid, window: Window| window.over(grid).map_err(failed);
        let mut grid = halved(whole, stem)?;
        net.largest = grid.rows().saturating_mul(config.embedding_size);
        grid = halved(grid, STEM_POOL)?;
        let mut channels = config.embedding_size;
        for (stage, (&outputs, &depth)) in config.hidden_sizes.iter().zip(&config.depths).enumerate() {
            let first = if stage > 0 || config.downsample_in_first_stage { 2 } else { 1 };
            for number in 0..depth {
                let stride = if number == 0 { first } else { 1 };
                // The first convolution of a block still has the full resolution.
                net.largest = net.largest.max(grid.rows().saturating_mul(channels.max(outputs)));
                if net.largest > MAX_NUMBERS {
                    return Err(corrupt(format!(
                        "hidden_sizes: stage {stage} gives {} numbers for one image; at most {MAX_NUMBERS}",
                        net.largest
                    )));
                }
                let name = format!("encoder.stages.{stage}.layers.{number}");
                net.layers.push(reader.layer(&name, channels, outputs, stride)?);
                grid = halved(grid, Window { side: 1, stride, padding: 0 })?;
                channels = outputs;
            }
        }
        Ok(net)
    }

    /// The last layer's activations, `[images, positions, features]`.
    fn maps(&self, pixels: &Tensor, grid: Grid) -> Result<Tensor> {
        let relu = Some(Activation::Relu);
        let (x, grid) = self.stem.forward(pixels, grid, relu)?;
        let (mut x, mut grid) = max_pool(&x, grid, STEM_POOL)?;
        for layer in &self.layers {
            let around = match &layer.shortcut {
                Some(shortcut) => shortcut.forward(&x, grid, None)?.0,
                None => x.clone(),
            };
            let (last, before) = layer.steps.split_last().expect("a block has steps");
            for step in before {
                (x, grid) = step.forward(&x, grid, relu)?;
            }
            (x, grid) = last.forward(&x, grid, None)?;
            x = (x + around)?.relu()?;
        }
        x.reshape((grid.images, grid.height * grid.width, self.features))
    }
}

/// The classifier, if the net has one.
fn classifier(weights: &Weights<'_>, features: usize) -> std::result::Result<Option<Linear>, Error> {
    let Some(shape) = weights.shape("classifier.1.bias") else { return Ok(None) };
    let classes = shape.iter().product();
    if classes == 0 || classes > crate::types::MAX_DIMENSION as usize {
        return Err(weights
            .corrupt(format!("classifier.1 has {classes} classes; supported: 1 to {}", crate::types::MAX_DIMENSION)));
    }
    Linear::read(weights, "classifier.1", features, classes).map(Some)
}

struct Reader<'a> {
    weights: &'a Weights<'a>,
    config: &'a Config,
}

impl Reader<'_> {
    /// Reads a convolution and the batch normalization after it.
    fn convolution(
        &mut self,
        name: &str,
        channels: usize,
        outputs: usize,
        window: Window,
    ) -> std::result::Result<Convolution, Error> {
        let of = |part: &str| self.weights.get(&[&format!("{name}.normalization.{part}")], &[outputs]);
        let (mean, variance) = (of("running_mean")?, of("running_var")?);
        let min = variance.min_all().and_then(|min| min.to_scalar::<f32>()).map_err(failed)?;
        if min < 0.0 {
            return Err(self.weights.corrupt(format!("{name}.normalization.running_var has a negative number")));
        }
        let (weight, bias) = (of("weight")?, of("bias")?);
        let plain = Convolution::read(
            self.weights,
            &format!("{name}.convolution"),
            channels,
            mean.neg().map_err(failed)?,
            window,
        )?;
        let folded = || plain.scaled(&(weight / (variance + EPSILON)?.sqrt()?)?)?.shifted(&bias);
        folded().map_err(failed)
    }

    fn layer(
        &mut self,
        name: &str,
        channels: usize,
        outputs: usize,
        stride: usize,
    ) -> std::result::Result<Layer, Error> {
        let wide = |stride: usize| Window { side: 3, stride, padding: 1 };
        let single = |stride: usize| Window { side: 1, stride, padding: 0 };
        let inner = outputs / 4;
        let steps = match self.config.layer_type {
            LayerType::Basic => vec![(channels, outputs, wide(stride)), (outputs, outputs, wide(1))],
            LayerType::Bottleneck => {
                let (first, second) = if self.config.downsample_in_bottleneck { (stride, 1) } else { (1, stride) };
                vec![(channels, inner, single(first)), (inner, inner, wide(second)), (inner, outputs, single(1))]
            }
        };
        let steps = steps.into_iter().enumerate().map(|(number, (channels, outputs, window))| {
            self.convolution(&format!("{name}.layer.{number}"), channels, outputs, window)
        });
        let steps = steps.collect::<std::result::Result<_, _>>()?;
        let shortcut = (channels != outputs || stride != 1)
            .then(|| self.convolution(&format!("{name}.shortcut"), channels, outputs, single(stride)))
            .transpose()?;
        Ok(Layer { steps, shortcut })
    }
}

impl ImageNet for ResNet {
    fn output_layers(&self) -> Vec<OutputLayer> {
        let features = OutputLayer {
            name: "features",
            dimension: self.features as u32,
            about: "the mean of each channel of the last layer",
        };
        let logits = self.classifier.as_ref().map(|classifier| OutputLayer {
            name: "logits",
            dimension: classifier.bias.elem_count() as u32,
            about: "one number per class, before the softmax",
        });
        std::iter::once(features).chain(logits).collect()
    }

    fn device(&self) -> &Device {
        self.stem.device()
    }

    fn images_per_batch(&self) -> usize {
        (BATCH_NUMBERS / self.largest.max(1)).clamp(1, BATCH_IMAGES)
    }

    fn forward(&self, layer: &str, pixels: &Tensor, grid: Grid) -> Result<Tensor> {
        let features = self.maps(pixels, grid)?.mean(1)?;
        match (&self.classifier, layer) {
            (Some(classifier), "logits") => classifier.forward(&features),
            _ => Ok(features),
        }
    }
}
