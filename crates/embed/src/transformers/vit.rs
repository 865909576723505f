//! Vision transformer over the patches of an image (Dosovitskiy et al. 2021), common to CLIP and DINOv2.

use super::block::Block;
use super::convolution::{Convolution, Grid};
use super::ops::{Activation, Attention, Linear, Norm, failed};
use super::weights::Weights;
use crate::Error;
use candle_core::{Result, Tensor};

/// Maximum attention scores per image or text: heads times tokens squared.
const MAX_SCORES: usize = 1 << 28;
/// Maximum hidden activations of the feed-forward layers per image or text: tokens times width.
const MAX_INNER: usize = 1 << 26;
/// Tokens per batch.
const BATCH_TOKENS: usize = 2_048;
/// Images per batch.
pub(super) const BATCH_IMAGES: usize = 16;

/// Sizes from the settings.
pub(super) struct Shape<'a> {
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) inner: usize,
    /// Tokens of the longest input.
    pub(super) tokens: usize,
    pub(super) epsilon: f64,
    pub(super) activation: &'a str,
}

impl Shape<'_> {
    /// Validates the sizes; returns the activation of the feed-forward layers.
    pub(super) fn check(&self) -> std::result::Result<Activation, String> {
        let Self { hidden, heads, inner, tokens, epsilon, activation } = *self;
        if hidden == 0 || heads == 0 || !hidden.is_multiple_of(heads) {
            return Err(format!("hidden_size {hidden} is not a multiple of num_attention_heads {heads}"));
        }
        let max = crate::types::MAX_DIMENSION as usize;
        if hidden > max {
            return Err(format!("hidden_size {hidden}: vectors have at most {max} components"));
        }
        if tokens.saturating_mul(tokens).saturating_mul(heads) > MAX_SCORES || tokens.saturating_mul(inner) > MAX_INNER
        {
            return Err(format!(
                "{tokens} patches or tokens with {heads} heads and {inner} numbers between the linear layers: too much for memory"
            ));
        }
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(format!("layer_norm_eps is {epsilon}, not between 0 and 1"));
        }
        Activation::from_name(activation).ok_or_else(|| {
            let found: String = activation.chars().take(40).collect();
            format!("hidden_act is {found:?}; supported: gelu, gelu_new, quick_gelu and relu")
        })
    }
}

/// The numbers of patches along width and height.
pub(super) fn patches(width: usize, height: usize, patch: usize) -> std::result::Result<(usize, usize), String> {
    if patch == 0 || !width.is_multiple_of(patch) || !height.is_multiple_of(patch) {
        return Err(format!(
            "an image of {width} x {height} pixels does not divide into patches of patch_size {patch}"
        ));
    }
    Ok((width / patch, height / patch))
}

/// Reads a layer of CLIP, for either tower.
pub(super) fn clip_block(
    weights: &Weights<'_>,
    name: &str,
    hidden: usize,
    inner: usize,
    epsilon: f64,
) -> std::result::Result<Block, Error> {
    let part = |part: &str| format!("{name}.{part}");
    let qkv = ["q", "k", "v"].map(|which| part(&format!("self_attn.{which}_proj")));
    Ok(Block {
        norm: Norm::read(weights, &part("layer_norm1"), hidden, epsilon)?,
        qkv: Linear::read_concatenated(weights, &qkv, hidden, hidden)?,
        out: Linear::read(weights, &part("self_attn.out_proj"), hidden, hidden)?,
        norm_after: Norm::read(weights, &part("layer_norm2"), hidden, epsilon)?,
        up: Linear::read(weights, &part("mlp.fc1"), hidden, inner)?,
        down: Linear::read(weights, &part("mlp.fc2"), inner, hidden)?,
    })
}

/// The net without its head.
pub(super) struct Vit {
    pub(super) patches: Convolution,
    /// The class token, which precedes the patches: `[hidden]`.
    pub(super) class: Tensor,
    /// Position embeddings: `[1 + patches, hidden]`.
    pub(super) positions: Tensor,
    /// Normalization before the first layer.
    pub(super) norm: Option<Norm>,
    pub(super) blocks: Vec<Block>,
    pub(super) heads: usize,
    pub(super) activation: Activation,
}

impl Vit {
    /// The states of images, `[images, 1 + patches, hidden]`, the class token first. `pixels` is
    /// `[images * height * width, 3]`.
    pub(super) fn forward(&self, pixels: &Tensor, grid: Grid) -> Result<Tensor> {
        let (length, hidden) = self.positions.dims2()?;
        let (x, output_grid) = self.patches.forward(pixels, grid, None)?;
        let x = x.reshape((grid.images, output_grid.height * output_grid.width, hidden))?;
        let class = self.class.reshape((1, 1, hidden))?.broadcast_as((grid.images, 1, hidden))?;
        let x = Tensor::cat(&[&class.contiguous()?, &x], 1)?.broadcast_add(&self.positions)?;
        let mut x = x.reshape((grid.images * length, hidden))?;
        if let Some(norm) = &self.norm {
            x = norm.forward(&x)?;
        }
        let lengths = vec![length; grid.images];
        let attention = Attention { heads: self.heads, lengths: &lengths, length, causal: false };
        for block in &self.blocks {
            x = block.forward(x, &attention, self.activation)?;
        }
        x.reshape((grid.images, length, hidden))
    }

    /// Images per batch.
    pub(super) fn images_per_batch(&self) -> usize {
        (BATCH_TOKENS / self.positions.dim(0).unwrap_or(1).max(1)).clamp(1, BATCH_IMAGES)
    }
}

/// Resizes the position embeddings of a square of patches, `[1 + side * side, hidden]`, to other numbers of rows
/// and columns by bicubic interpolation (Keys 1981 with a = -3/4 and repeated border, as in PyTorch). The class
/// token's embedding is unchanged.
pub(super) fn interpolate_positions(
    positions: &Tensor,
    (columns, rows): (usize, usize),
) -> std::result::Result<Tensor, Error> {
    let interpolate_positions = || -> Result<Tensor> {
        let (count, hidden) = positions.dims2()?;
        let side = (count - 1).isqrt();
        if (columns, rows) == (side, side) {
            return Ok(positions.clone());
        }
        let numbers: Vec<Vec<f32>> = positions.to_vec2()?;
        let (across, down) = (cubic(side, columns), cubic(side, rows));
        let mut out = numbers[0].clone();
        for (rows, down) in &down {
            for (columns, across) in &across {
                let mut sum = vec![0.0; hidden];
                for (row, down) in rows.iter().zip(down) {
                    for (column, across) in columns.iter().zip(across) {
                        let position = &numbers[1 + row * side + column];
                        sum.iter_mut().zip(position).for_each(|(sum, x)| *sum += down * across * x);
                    }
                }
                out.extend(sum);
            }
        }
        Tensor::from_vec(out, (1 + rows * columns, hidden), positions.device())
    };
    interpolate_positions().map_err(failed)
}

/// For each of `to` positions on a line of `from`: the four source positions, and their weights.
fn cubic(from: usize, to: usize) -> Vec<([usize; 4], [f32; 4])> {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let scale = from as f32 / to as f32;
    let of = |index: usize| {
        let at = scale * (index as f32 + 0.5) - 0.5;
        let (first, part) = (at.floor() as isize - 1, at - at.floor());
        let indexes = [0, 1, 2, 3].map(|step| (first + step).clamp(0, from as isize - 1) as usize);
        (indexes, [far(1.0 + part), near(part), near(1.0 - part), far(2.0 - part)])
    };
    (0..to).map(of).collect()
}
