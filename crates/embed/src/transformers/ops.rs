//! Tensor operations common to all families, based on candle.
//!
//! Training and GPUs use candle's operations. Inference on a CPU uses the implementations here where measurements
//! showed them to be faster (`benches/results/2026-11-24-embedders`).

use super::weights::Weights;
use crate::Error;
use crate::math;
use crate::math::gemm::Matrix;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, D, DType, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// The device for models: a GPU if the build supports it and there is one.
pub(super) fn device() -> Device {
    #[cfg(feature = "cuda")]
    if let Ok(device) = Device::cuda_if_available(0) {
        return device;
    }
    Device::Cpu
}

/// Converts an error of the computation: a fault of the machine or of this program.
pub(super) fn failed(error: candle_core::Error) -> Error {
    Error::Compute(error.to_string())
}

/// Linear layer `x W + b`; `x` is `[n, in]`.
#[derive(Clone)]
pub(super) struct Linear {
    /// `[in, out]`
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

impl Linear {
    /// Reads `NAME.weight`, stored `[out, in]`, and `NAME.bias`.
    pub(super) fn read(
        weights: &Weights<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, Error> {
        let weight = weights.get(&[&format!("{name}.weight")], &[outputs, inputs])?;
        let weight = weight.t().and_then(|weight| weight.contiguous()).map_err(failed)?;
        Ok(Self { weight, bias: weights.get(&[&format!("{name}.bias")], &[outputs])? })
    }

    /// Reads layers of equal size as one, with their outputs concatenated.
    pub(super) fn read_concatenated(
        weights: &Weights<'_>,
        names: &[String],
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, Error> {
        let layers = names
            .iter()
            .map(|name| Self::read(weights, name, inputs, outputs))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let [matrices, biases] = [|layer: &Self| layer.weight.clone(), |layer: &Self| layer.bias.clone()]
            .map(|part| layers.iter().map(part).collect::<Vec<_>>());
        let beside = |tensors: &[Tensor]| Tensor::cat(tensors, D::Minus1).map_err(failed);
        Ok(Self { weight: beside(&matrices)?, bias: beside(&biases)? })
    }

    /// Multiplies each output by its factor.
    pub(super) fn scaled(self, factors: &Tensor) -> Result<Self> {
        Ok(Self { weight: self.weight.broadcast_mul(factors)?, bias: (self.bias * factors)? })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if plain(x) && !self.weight.track_op() {
            return x.apply_op3_no_bwd(&self.weight, &self.bias, &Product { activation: None });
        }
        x.matmul(&self.weight)?.broadcast_add(&self.bias)
    }

    /// The layer, followed by an activation.
    pub(super) fn forward_with_activation(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        if plain(x)
            && !self.weight.track_op()
            && let Some(kernel) = activation.kernel()
        {
            return x.apply_op3_no_bwd(&self.weight, &self.bias, &Product { activation: Some(kernel) });
        }
        activation.forward(&self.forward(x)?)
    }
}

/// Fused `f(x W + b)`: each thread computes some rows and applies the activation while they are in the cache.
struct Product {
    activation: Option<Kernel>,
}

/// An elementwise function.
pub(super) type Kernel = fn(&mut [f32]);

/// Minimum rows per thread, because each thread packs the weights for itself.
pub(super) const MIN_ROWS: usize = 32;

impl CustomOp3 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((rows, inputs), (inner, outputs)) = (x_layout.shape().dims2()?, weight_layout.shape().dims2()?);
        if inputs != inner || bias_layout.shape().dims1()? != outputs || inputs == 0 || outputs == 0 {
            candle_core::bail!("a row of {inputs} numbers times {inner} x {outputs} weights");
        }
        let (x, weight, bias) =
            (numbers_of(x, x_layout)?, numbers_of(weight, weight_layout)?, numbers_of(bias, bias_layout)?);
        let mut out = Vec::with_capacity(rows * outputs);
        (0..rows).for_each(|_| out.extend_from_slice(bias));
        let some = rows.div_ceil(rayon::current_num_threads()).max(MIN_ROWS);
        out.par_chunks_mut(some * outputs).zip(x.par_chunks(some * inputs)).for_each(|(out, x)| {
            let x = Matrix::new(x, x.len() / inputs, inputs);
            math::gemm::multiply(out, x, Matrix::new(weight, inputs, outputs), true);
            if let Some(activation) = self.activation {
                activation(out);
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((rows, outputs))))
    }
}

/// Layer normalization: each row to mean 0 and variance 1, then scale and shift.
#[derive(Clone)]
pub(super) struct Norm {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) epsilon: f64,
}

impl Norm {
    /// Reads `NAME.weight` and `NAME.bias`, or their TensorFlow names.
    pub(super) fn read(
        weights: &Weights<'_>,
        name: &str,
        size: usize,
        epsilon: f64,
    ) -> std::result::Result<Self, Error> {
        let named =
            |now: &str, then: &str| weights.get(&[&format!("{name}.{now}"), &format!("{name}.{then}")], &[size]);
        Ok(Self { weight: named("weight", "gamma")?, bias: named("bias", "beta")?, epsilon })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !x.track_op() {
            return candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, self.epsilon as f32);
        }
        // candle's implementation has no backward pass.
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        x.broadcast_div(&(variance + self.epsilon)?.sqrt()?)?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// Activations between the two linear layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// GELU: x times the standard normal distribution function of x.
    Gelu,
    /// GELU, approximated by tanh.
    GeluTanh,
    /// GELU, approximated by the logistic function.
    QuickGelu,
    Relu,
    /// The first half of the values through x / (1 + e^-x), times the second half.
    SwiGlu,
}

impl Activation {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "gelu" => Some(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Some(Self::GeluTanh),
            "quick_gelu" => Some(Self::QuickGelu),
            "relu" => Some(Self::Relu),
            _ => None,
        }
    }

    pub(super) fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Relu => x.relu(),
            Self::SwiGlu => {
                let halves = x.chunk(2, D::Minus1)?;
                halves[0].silu()? * &halves[1]
            }
        }
    }

    /// The implementation in this program, if there is one.
    pub(super) fn kernel(self) -> Option<Kernel> {
        match self {
            Self::Gelu => Some(math::gelu),
            Self::QuickGelu => Some(math::quick_gelu),
            Self::Relu => Some(math::relu),
            Self::GeluTanh | Self::SwiGlu => None,
        }
    }
}

/// Whether the implementations here apply: `f32` on a CPU, and no gradients.
pub(super) fn plain(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32 && !x.track_op()
}

/// The values of an operand, which must be contiguous.
pub(super) fn numbers_of<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("numbers that do not lie together"),
    }
}

/// Attention over a batch of texts, padded to one length.
pub(super) struct Attention<'a> {
    pub(super) heads: usize,
    /// Tokens of each text, without padding.
    pub(super) lengths: &'a [usize],
    /// Tokens per text, with padding.
    pub(super) length: usize,
    /// Whether a token attends only to itself and earlier ones.
    pub(super) causal: bool,
}

impl Attention<'_> {
    /// `qkv` is `[texts * length, 3 * hidden]`: queries, keys and values, concatenated. Returns
    /// `[texts * length, hidden]`; rows of padding are unspecified.
    pub(super) fn forward(&self, qkv: &Tensor) -> Result<Tensor> {
        if plain(qkv) {
            return qkv.apply_op1_no_bwd(self);
        }
        let (rows, columns) = qkv.dims2()?;
        let (texts, hidden) = (self.lengths.len(), columns / 3);
        let size = hidden / self.heads;
        // [3, texts, heads, length, size]
        let parts = qkv.reshape((texts, self.length, 3, self.heads, size))?.permute((2, 0, 3, 1, 4))?;
        let part = |which: usize| parts.get(which)?.contiguous();
        let scores =
            (part(0)?.matmul(&part(1)?.t()?)? / (size as f64).sqrt())?.broadcast_add(&self.mask(qkv.device())?)?;
        candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&part(2)?)?.transpose(1, 2)?.reshape((rows, hidden))
    }

    /// The mask added to the scores: 0 for visible tokens, minus infinity for the others.
    fn mask(&self, device: &Device) -> Result<Tensor> {
        let length = self.length;
        let sees = |seen: bool| if seen { 0.0_f32 } else { f32::NEG_INFINITY };
        if self.causal {
            let mask = (0..length * length).map(|cell| sees(cell % length <= cell / length));
            return Tensor::from_iter(mask, device)?.reshape((1, 1, length, length));
        }
        let mask = self.lengths.iter().flat_map(|&own| (0..length).map(move |index| sees(index < own)));
        Tensor::from_iter(mask, device)?.reshape((self.lengths.len(), 1, 1, length))
    }

    /// The attention output of one head for one text: `[own, size]`.
    fn head(&self, qkv: &[f32], head: usize, own: usize, hidden: usize) -> Vec<f32> {
        let size = hidden / self.heads;
        let scale = 1.0 / (size as f32).sqrt();
        let [query, key, value] =
            [0, 1, 2].map(|part| Matrix::strided(&qkv[part * hidden + head * size..], own, size, 3 * hidden));
        let mut scores = vec![0.0; own * own];
        math::gemm::multiply(&mut scores, query, key.transposed(), false);
        scores.iter_mut().for_each(|score| *score *= scale);
        for (index, row) in scores.chunks_exact_mut(own).enumerate() {
            let (before, after) = row.split_at_mut(if self.causal { index + 1 } else { own });
            math::softmax(before);
            after.fill(0.0);
        }
        let mut seen = vec![0.0; own * size];
        math::gemm::multiply(&mut seen, Matrix::new(&scores, own, own), value, false);
        seen
    }

    /// Attention for one text: from its rows of `qkv` to its rows of the result.
    fn text(&self, qkv: &[f32], out: &mut [f32], own: usize, hidden: usize) {
        let size = hidden / self.heads;
        let heads: Vec<Vec<f32>> =
            (0..self.heads).into_par_iter().map(|head| self.head(qkv, head, own, hidden)).collect();
        for (index, row) in out.chunks_exact_mut(hidden).take(own).enumerate() {
            for (row, seen) in row.chunks_exact_mut(size).zip(&heads) {
                row.copy_from_slice(&seen[index * size..(index + 1) * size]);
            }
        }
    }
}

impl CustomOp1 for Attention<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    /// Skips padding, and allocates no tensors for intermediate steps.
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = numbers_of(storage, layout)?;
        let (rows, columns) = layout.shape().dims2()?;
        let hidden = columns / 3;
        if rows != self.lengths.len() * self.length || rows == 0 || !hidden.is_multiple_of(self.heads) {
            candle_core::bail!("{rows} rows are not {} texts of {} tokens", self.lengths.len(), self.length);
        }
        let mut out = vec![0.0; rows * hidden];
        out.par_chunks_exact_mut(self.length * hidden)
            .zip(qkv.par_chunks_exact(self.length * columns))
            .zip(self.lengths)
            .for_each(|((out, qkv), own)| self.text(qkv, out, *own, hidden));
        Ok((CpuStorage::F32(out), Shape::from((rows, hidden))))
    }
}

/// The rows of `[n, hidden]` as vectors.
pub(super) fn numbers(x: &Tensor) -> Result<Vec<Vec<f32>>> {
    x.to_dtype(DType::F32)?.to_vec2()
}
