//! CLIP (Radford et al. 2021): an image tower and a text tower with a common vector space.

use super::block::Block;
use super::convolution::{Convolution, Grid, Window};
use super::folder::{self, CONFIG, TOKENIZER};
use super::image_net::ImageNet;
use super::ops::{self, Activation, Attention, Linear, Norm, failed};
use super::processor::Processor;
use super::tokens::Tokens;
use super::vit::{Shape, Vit, clip_block, patches};
use super::weights::{Weights, WeightsFile};
use crate::{Error, OutputLayer};
use candle_core::{Device, Result, Tensor};
use serde::Deserialize;
use std::path::Path;

/// The fields of `config.json` in use; defaults as in transformers.
#[derive(Deserialize)]
struct Config {
    model_type: String,
    #[serde(default = "projection")]
    projection_dim: usize,
    text_config: TextConfig,
    vision_config: VisionConfig,
}

fn projection() -> usize {
    512
}

#[derive(Deserialize)]
#[serde(default)]
struct TextConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    eos_token_id: u32,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2_048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
            eos_token_id: 49_407,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct VisionConfig {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_channels: usize,
    image_size: usize,
    patch_size: usize,
    hidden_act: String,
    layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3_072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
        }
    }
}

/// The image tower.
pub(super) struct ImageTower {
    vit: Vit,
    norm: Norm,
    projection: Linear,
}

/// The text tower.
pub(super) struct TextTower {
    tokens: Tokens,
    words: Tensor,
    positions: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    projection: Linear,
    heads: usize,
    activation: Activation,
    end: End,
    device: Device,
}

/// The token whose state becomes the vector of a text.
#[derive(Clone, Copy)]
enum End {
    /// The first token with this id.
    Token(u32),
    /// The first token with the largest id in the text: files written before transformers 4.31 have an invalid end
    /// token, 2.
    Largest,
}

/// Builds both towers, and checks that they match the processor and the tokenizer.
pub(super) fn read(
    path: &Path,
    config: &[u8],
    processor: &Processor,
    tokenizer: &[u8],
    file: &WeightsFile,
) -> std::result::Result<(ImageTower, TextTower), Error> {
    let config: Config = folder::parse(&path.join(CONFIG), config)?;
    let corrupt = |what: String| Error::Corrupt { path: path.join(CONFIG), what };
    if config.model_type != "clip" {
        let found: String = config.model_type.chars().take(40).collect();
        return Err(corrupt(format!("model_type is {found:?}; supported: \"clip\"")));
    }
    let projected = config.projection_dim;
    if projected == 0 || projected > crate::types::MAX_DIMENSION as usize {
        return Err(corrupt(format!("projection_dim is {projected}, not 1 to {}", crate::types::MAX_DIMENSION)));
    }
    let device = ops::device();
    let weights = file.open(&device, &[])?;
    let images = ImageTower::read(&weights, &config.vision_config, projected, processor, &corrupt)?;
    let texts = TextTower::read(&weights, &config.text_config, projected, path, tokenizer, &corrupt, &device)?;
    Ok((images, texts))
}

/// Reads a linear layer without bias.
fn projection_of(
    weights: &Weights<'_>,
    name: &str,
    inputs: usize,
    outputs: usize,
) -> std::result::Result<Linear, Error> {
    let weight = weights.get(&[name], &[outputs, inputs])?;
    let read =
        || Ok(Linear { weight: weight.t()?.contiguous()?, bias: weight.narrow(1, 0, 1)?.squeeze(1)?.zeros_like()? });
    read().map_err(failed)
}

impl ImageTower {
    fn read(
        weights: &Weights<'_>,
        config: &VisionConfig,
        projected: usize,
        processor: &Processor,
        corrupt: &dyn Fn(String) -> Error,
    ) -> std::result::Result<Self, Error> {
        let corrupt = |what: String| corrupt(format!("vision_config: {what}"));
        let (side, hidden, epsilon) = (config.image_size, config.hidden_size, config.layer_norm_eps);
        if (processor.width, processor.height) != (side, side) {
            let (width, height) = (processor.width, processor.height);
            return Err(corrupt(format!("image_size is {side}, and the preprocessor gives {width} x {height} pixels")));
        }
        if config.num_channels != 3 {
            return Err(corrupt(format!("num_channels is {}; supported: 3", config.num_channels)));
        }
        let (columns, rows) = patches(side, side, config.patch_size).map_err(&corrupt)?;
        let tokens = 1 + columns * rows;
        let shape = Shape {
            hidden,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            tokens,
            epsilon,
            activation: &config.hidden_act,
        };
        let activation = shape.check().map_err(&corrupt)?;
        let class = weights.get(&["vision_model.embeddings.class_embedding"], &[hidden])?;
        let positions = weights.get(&["vision_model.embeddings.position_embedding.weight"], &[tokens, hidden])?;
        let window = Window { side: config.patch_size, stride: config.patch_size, padding: 0 };
        let none = class.zeros_like().map_err(failed)?;
        let patches = Convolution::read(weights, "vision_model.embeddings.patch_embedding", 3, none, window)?;
        // The spelling error is in the reference.
        let norm = Some(Norm::read(weights, "vision_model.pre_layrnorm", hidden, epsilon)?);
        let block = |number: usize| {
            let name = format!("vision_model.encoder.layers.{number}");
            clip_block(weights, &name, hidden, config.intermediate_size, epsilon)
        };
        let blocks = (0..config.num_hidden_layers).map(block).collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            vit: Vit { patches, class, positions, norm, blocks, heads: config.num_attention_heads, activation },
            norm: Norm::read(weights, "vision_model.post_layernorm", hidden, epsilon)?,
            projection: projection_of(weights, "visual_projection.weight", hidden, projected)?,
        })
    }
}

impl ImageNet for ImageTower {
    fn output_layers(&self) -> Vec<OutputLayer> {
        let about = "the embedding of an image or a text in their common space, a unit vector";
        vec![OutputLayer { name: "vector", dimension: self.projection.bias.elem_count() as u32, about }]
    }

    fn device(&self) -> &Device {
        self.vit.positions.device()
    }

    fn images_per_batch(&self) -> usize {
        self.vit.images_per_batch()
    }

    fn forward(&self, _: &str, pixels: &Tensor, grid: Grid) -> Result<Tensor> {
        let class = self.vit.forward(pixels, grid)?.narrow(1, 0, 1)?.squeeze(1)?;
        self.projection.forward(&self.norm.forward(&class)?)
    }

    fn unit(&self) -> bool {
        true
    }
}

impl TextTower {
    fn read(
        weights: &Weights<'_>,
        config: &TextConfig,
        projected: usize,
        path: &Path,
        tokenizer: &[u8],
        corrupt: &dyn Fn(String) -> Error,
        device: &Device,
    ) -> std::result::Result<Self, Error> {
        let corrupt = |what: String| corrupt(format!("text_config: {what}"));
        let (hidden, positions, epsilon) = (config.hidden_size, config.max_position_embeddings, config.layer_norm_eps);
        let shape = Shape {
            hidden,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            tokens: positions,
            epsilon,
            activation: &config.hidden_act,
        };
        let activation = shape.check().map_err(&corrupt)?;
        let words = weights.get(&["text_model.embeddings.token_embedding.weight"], &[config.vocab_size, hidden])?;
        let block = |number: usize| {
            let name = format!("text_model.encoder.layers.{number}");
            clip_block(weights, &name, hidden, config.intermediate_size, epsilon)
        };
        let tower = Self {
            words,
            positions: weights.get(&["text_model.embeddings.position_embedding.weight"], &[positions, hidden])?,
            blocks: (0..config.num_hidden_layers).map(block).collect::<std::result::Result<_, _>>()?,
            norm: Norm::read(weights, "text_model.final_layer_norm", hidden, epsilon)?,
            projection: projection_of(weights, "text_projection.weight", hidden, projected)?,
            tokens: Tokens::parse(&path.join(TOKENIZER), tokenizer, config.vocab_size, Some(positions), false)?,
            heads: config.num_attention_heads,
            activation,
            end: if config.eos_token_id == 2 { End::Largest } else { End::Token(config.eos_token_id) },
            device: device.clone(),
        };
        if let End::Token(end) = tower.end
            && !tower.tokens.encode("a", true)?.contains(&end)
        {
            return Err(corrupt(format!("eos_token_id is {end}, and the tokenizer ends no text with it")));
        }
        Ok(tower)
    }

    /// The tokens of a text, including the end marker.
    pub(super) fn encode(&self, text: &str) -> std::result::Result<Vec<u32>, Error> {
        self.tokens.encode(text, true)
    }

    /// The vectors of a batch of texts, not normalized.
    pub(super) fn forward(&self, texts: &[&[u32]]) -> Result<Tensor> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let length = lengths.iter().copied().max().unwrap_or(0);
        let padded =
            texts.iter().flat_map(|text| text.iter().copied().chain(std::iter::repeat_n(0, length - text.len())));
        let ids = Tensor::from_iter(padded, &self.device)?;
        let hidden = self.words.dim(1)?;
        let words = self.words.index_select(&ids, 0)?.reshape((texts.len(), length, hidden))?;
        let x = words.broadcast_add(&self.positions.narrow(0, 0, length)?)?;
        let mut x = x.reshape((texts.len() * length, hidden))?;
        let attention = Attention { heads: self.heads, lengths: &lengths, length, causal: true };
        for block in &self.blocks {
            x = block.forward(x, &attention, self.activation)?;
        }
        let rows = texts.iter().enumerate().map(|(index, text)| (index * length + self.end.of(text)) as u32);
        let last = x.index_select(&Tensor::from_iter(rows, &self.device)?, 0)?;
        self.projection.forward(&self.norm.forward(&last)?)
    }
}

impl End {
    /// The index of the token whose state becomes the vector.
    fn of(self, text: &[u32]) -> usize {
        let end = match self {
            Self::Token(end) => end,
            Self::Largest => text.iter().copied().max().unwrap_or(0),
        };
        // As in the reference: the first token if there is no end marker.
        text.iter().position(|token| *token == end).unwrap_or(0)
    }
}
