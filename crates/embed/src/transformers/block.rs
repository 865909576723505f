//! A pre-norm transformer layer (GPT-2, CLIP, DINOv2): attention, then two linear layers, each step with a
//! residual connection.

use super::ops::{Activation, Attention, Linear, Norm};
use candle_core::{Result, Tensor};

/// A transformer layer.
pub(super) struct Block {
    pub(super) norm: Norm,
    /// Queries, keys and values, concatenated.
    pub(super) qkv: Linear,
    pub(super) out: Linear,
    pub(super) norm_after: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

impl Block {
    /// Both `x` and the result are `[texts * length, hidden]`.
    pub(super) fn forward(&self, x: Tensor, attention: &Attention<'_>, activation: Activation) -> Result<Tensor> {
        let attended = attention.forward(&self.qkv.forward(&self.norm.forward(&x)?)?)?;
        let x = (self.out.forward(&attended)? + x)?;
        let inner = self.up.forward_with_activation(&self.norm_after.forward(&x)?, activation)?;
        self.down.forward(&inner)? + x
    }
}
