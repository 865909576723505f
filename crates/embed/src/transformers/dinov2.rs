//! DINOv2 (Oquab et al. 2023): self-attention over the patches of an image and a class token.

use super::block::Block;
use super::convolution::{Convolution, Grid, Window};
use super::folder::{self, CONFIG};
use super::image_net::ImageNet;
use super::ops::{self, Activation, Linear, Norm, failed};
use super::processor::Processor;
use super::vit::{Shape, Vit, interpolate_positions, patches};
use super::weights::{Weights, WeightsFile};
use crate::{Error, OutputLayer};
use candle_core::{Device, Result, Tensor};
use serde::Deserialize;
use std::path::Path;

/// The fields of `config.json` in use; defaults as in transformers.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    mlp_ratio: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    image_size: usize,
    patch_size: usize,
    num_channels: usize,
    qkv_bias: bool,
    use_swiglu_ffn: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_type: String::new(),
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            mlp_ratio: 4,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-6,
            image_size: 224,
            patch_size: 14,
            num_channels: 3,
            qkv_bias: true,
            use_swiglu_ffn: false,
        }
    }
}

impl Config {
    /// Hidden width of the feed-forward layers.
    fn inner(&self) -> usize {
        let inner = self.hidden_size.saturating_mul(self.mlp_ratio);
        // 2/3 of the width, rounded up to a multiple of 8, because the gate is a third matrix.
        if self.use_swiglu_ffn { (inner / 3 * 2 + inner % 3 * 2 / 3).div_ceil(8).saturating_mul(8) } else { inner }
    }
}

/// The DINOv2 net.
pub(super) struct Dinov2 {
    vit: Vit,
    norm: Norm,
}

impl Dinov2 {
    /// Builds the net. Settings must agree with the shapes of the tensors.
    pub(super) fn read(
        path: &Path,
        config: &[u8],
        processor: &Processor,
        file: &WeightsFile,
    ) -> std::result::Result<Self, Error> {
        let config: Config = folder::parse(&path.join(CONFIG), config)?;
        let corrupt = |what: String| Error::Corrupt { path: path.join(CONFIG), what };
        if config.model_type != "dinov2" {
            let found: String = config.model_type.chars().take(40).collect();
            return Err(corrupt(format!("model_type is {found:?}; supported: \"dinov2\"")));
        }
        if config.num_channels != 3 || !config.qkv_bias {
            return Err(corrupt("supported: nets with num_channels 3 and qkv_bias".into()));
        }
        let (hidden, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let trained = patches(config.image_size, config.image_size, config.patch_size).map_err(&corrupt)?;
        let grid = patches(processor.width, processor.height, config.patch_size).map_err(&corrupt)?;
        let max = (1 + grid.0 * grid.1).max(trained.0.saturating_mul(trained.1).saturating_add(1));
        let shape = Shape {
            hidden,
            heads: config.num_attention_heads,
            inner: config.inner(),
            tokens: max,
            epsilon,
            activation: &config.hidden_act,
        };
        let activation = shape.check().map_err(&corrupt)?;
        let activation = if config.use_swiglu_ffn { Activation::SwiGlu } else { activation };
        let device = ops::device();
        let weights = file.open(&device, &["dinov2."])?;
        let class = weights.get(&["embeddings.cls_token"], &[1, 1, hidden])?.flatten_all().map_err(failed)?;
        let positions = weights.get(&["embeddings.position_embeddings"], &[1, 1 + trained.0 * trained.1, hidden])?;
        let positions = interpolate_positions(&positions.squeeze(0).map_err(failed)?, grid)?;
        let window = Window { side: config.patch_size, stride: config.patch_size, padding: 0 };
        let bias = weights.get(&["embeddings.patch_embeddings.projection.bias"], &[hidden])?;
        let patches = Convolution::read(&weights, "embeddings.patch_embeddings.projection", 3, bias, window)?;
        let blocks = (0..config.num_hidden_layers)
            .map(|number| block(&weights, &format!("encoder.layer.{number}"), &config))
            .collect::<std::result::Result<_, _>>()?;
        let norm = Norm::read(&weights, "layernorm", hidden, epsilon)?;
        let heads = config.num_attention_heads;
        Ok(Self { vit: Vit { patches, class, positions, norm: None, blocks, heads, activation }, norm })
    }
}

/// Reads a layer. The layer scale factors of its two steps are folded into the last matrix of each step.
fn block(weights: &Weights<'_>, name: &str, config: &Config) -> std::result::Result<Block, Error> {
    let (hidden, inner, epsilon) = (config.hidden_size, config.inner(), config.layer_norm_eps);
    let part = |part: &str| format!("{name}.{part}");
    let qkv = ["query", "key", "value"].map(|which| part(&format!("attention.attention.{which}")));
    let scaled =
        |linear: Linear, factors: &str| linear.scaled(&weights.get(&[&part(factors)], &[hidden])?).map_err(failed);
    let (up, down, width) = match config.use_swiglu_ffn {
        true => ("mlp.weights_in", "mlp.weights_out", inner.saturating_mul(2)),
        false => ("mlp.fc1", "mlp.fc2", inner),
    };
    Ok(Block {
        norm: Norm::read(weights, &part("norm1"), hidden, epsilon)?,
        qkv: Linear::read_concatenated(weights, &qkv, hidden, hidden)?,
        out: scaled(Linear::read(weights, &part("attention.output.dense"), hidden, hidden)?, "layer_scale1.lambda1")?,
        norm_after: Norm::read(weights, &part("norm2"), hidden, epsilon)?,
        up: Linear::read(weights, &part(up), hidden, width)?,
        down: scaled(Linear::read(weights, &part(down), inner, hidden)?, "layer_scale2.lambda1")?,
    })
}

impl ImageNet for Dinov2 {
    fn output_layers(&self) -> Vec<OutputLayer> {
        let dimension = self.vit.class.elem_count() as u32;
        vec![
            OutputLayer { name: "cls", dimension, about: "the last hidden state of the class token" },
            OutputLayer { name: "patches", dimension, about: "the mean of the patches' last hidden states" },
        ]
    }

    fn device(&self) -> &Device {
        self.vit.positions.device()
    }

    fn images_per_batch(&self) -> usize {
        self.vit.images_per_batch()
    }

    fn forward(&self, layer: &str, pixels: &Tensor, grid: Grid) -> Result<Tensor> {
        let states = self.vit.forward(pixels, grid)?;
        if layer == "cls" {
            return self.norm.forward(&states.narrow(1, 0, 1)?.squeeze(1)?);
        }
        let (images, length, hidden) = states.dims3()?;
        let patches = states.narrow(1, 1, length - 1)?.contiguous()?.reshape((images * (length - 1), hidden))?;
        self.norm.forward(&patches)?.reshape((images, length - 1, hidden))?.mean(1)
    }
}
