//! A layer of a transformer that normalises first (GPT-2, CLIP, DINOv2): attention, then two linear layers; what each of the two
//! steps gives is added to what it was given.

use super::ops::{Activation, Attention, Linear, Norm};
use candle_core::{Result, Tensor};

/// One layer.
pub(super) struct Block {
    pub(super) norm: Norm,
    /// Queries, keys and values side by side.
    pub(super) qkv: Linear,
    pub(super) out: Linear,
    pub(super) norm_after: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

impl Block {
    /// `x` is `[texts * length, hidden]`, and so is the result.
    pub(super) fn forward(&self, x: Tensor, attention: &Attention<'_>, activation: Activation) -> Result<Tensor> {
        let seen = attention.forward(&self.qkv.forward(&self.norm.forward(&x)?)?)?;
        let x = (self.out.forward(&seen)? + x)?;
        let inner = self.up.forward_then(&self.norm_after.forward(&x)?, activation)?;
        self.down.forward(&inner)? + x
    }
}
