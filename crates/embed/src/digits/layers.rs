//! Forward and backward passes of the layers, as matrix products.
//!
//! Activations are stored image by image, `[image][channel][pixel]`. A 5x5 convolution over a group of images is one
//! matrix product (Chellapilla, Puri, Simard 2006, section 3): the weights `[output][channel * 25]` times the patches
//! `[channel * 25][image * pixel]`, giving `[output][image * pixel]`; pooling restores the image-major order.

use crate::math::gemm::{Matrix, multiply};

/// Rows and columns of the kernel.
pub(super) const KERNEL: usize = 5;
/// Weights of the kernel per channel.
pub(super) const TAPS: usize = KERNEL * KERNEL;
/// Pooling choice for a closed ReLU: no input passed.
pub(super) const CLOSED: u8 = 4;

/// A 5x5 convolution from `IN` channels of `W` x `W` pixels to `OUT` channels of `O` x `O`; `O` is `W - 4`.
#[derive(Clone, Copy)]
pub(super) struct Convolution<const IN: usize, const OUT: usize, const W: usize, const O: usize>;

impl<const IN: usize, const OUT: usize, const W: usize, const O: usize> Convolution<IN, OUT, W, O> {
    /// Size of one image's patches.
    pub(super) const PATCHES: usize = IN * TAPS * O * O;
    /// Size of one image's result, before pooling.
    pub(super) const RESULT: usize = OUT * O * O;

    /// `patches[channel, ky, kx][image, y, x] = input[image, channel, y + ky, x + kx]`.
    pub(super) fn gather(self, input: &[f32], images: usize, patches: &mut [f32]) {
        let columns = images * O * O;
        for (row, patch) in patches.chunks_exact_mut(columns).take(IN * TAPS).enumerate() {
            let (channel, ky, kx) = (row / TAPS, row % TAPS / KERNEL, row % KERNEL);
            for (image, cells) in patch.chunks_exact_mut(O * O).enumerate() {
                let from = &input[(image * IN + channel) * W * W + ky * W + kx..];
                for (y, line) in cells.chunks_exact_mut(O).enumerate() {
                    let line: &mut [f32; O] = line.try_into().expect("a chunk of O");
                    line.copy_from_slice(&from[y * W..][..O]);
                }
            }
        }
    }

    /// The reverse of [`gather`](Self::gather): adds every patch cell to its input cell.
    pub(super) fn scatter(self, patches: &[f32], images: usize, input: &mut [f32]) {
        input[..images * IN * W * W].fill(0.0);
        let columns = images * O * O;
        for (row, patch) in patches.chunks_exact(columns).take(IN * TAPS).enumerate() {
            let (channel, ky, kx) = (row / TAPS, row % TAPS / KERNEL, row % KERNEL);
            for (image, cells) in patch.chunks_exact(O * O).enumerate() {
                let into = &mut input[(image * IN + channel) * W * W + ky * W + kx..];
                for (y, line) in cells.chunks_exact(O).enumerate() {
                    let line: &[f32; O] = line.try_into().expect("a chunk of O");
                    into[y * W..][..O].iter_mut().zip(line).for_each(|(to, from)| *to += from);
                }
            }
        }
    }

    /// `result = weights * patches`, `[OUT][image * O * O]`; [`pool`](Self::pool) adds the bias.
    pub(super) fn forward(self, weights: &[f32], patches: &[f32], images: usize, result: &mut [f32]) {
        let columns = images * O * O;
        multiply(result, Matrix::new(weights, OUT, IN * TAPS), Matrix::new(patches, IN * TAPS, columns), false);
    }

    /// Adds the gradient with respect to weights and bias, given the gradient of the result.
    pub(super) fn backward(
        self,
        result: &[f32],
        patches: &[f32],
        images: usize,
        weights: &mut [f32],
        bias: &mut [f32],
    ) {
        let columns = images * O * O;
        let patches = Matrix::new(patches, IN * TAPS, columns);
        multiply(weights, Matrix::new(result, OUT, columns), patches.transposed(), true);
        for (sum, row) in bias.iter_mut().zip(result.chunks_exact(columns)) {
            *sum += row.iter().sum::<f32>();
        }
    }

    /// The gradient with respect to the patches, given the gradient of the result.
    pub(super) fn backward_input(self, weights: &[f32], result: &[f32], images: usize, patches: &mut [f32]) {
        let weights = Matrix::new(weights, OUT, IN * TAPS).transposed();
        multiply(patches, weights, Matrix::new(result, OUT, images * O * O), false);
    }

    /// Fused bias, ReLU and 2x2 max pooling: `pooled[image, channel, y, x]` is the largest of four results plus the
    /// bias, or 0; `choice` records the index of the largest, or [`CLOSED`].
    pub(super) fn pool(self, result: &[f32], bias: &[f32], images: usize, pooled: &mut [f32], choice: &mut [u8]) {
        let half = O / 2;
        for (index, (cells, picked)) in pooled
            .chunks_exact_mut(half * half)
            .zip(choice.chunks_exact_mut(half * half))
            .take(images * OUT)
            .enumerate()
        {
            let (image, channel) = (index / OUT, index % OUT);
            let from = &result[(channel * images + image) * O * O..][..O * O];
            let bias = bias[channel];
            for (y, (line, picks)) in cells.chunks_exact_mut(half).zip(picked.chunks_exact_mut(half)).enumerate() {
                let (upper, lower) = from[2 * y * O..][..2 * O].split_at(O);
                for (x, (cell, pick)) in line.iter_mut().zip(picks).enumerate() {
                    let top = if upper[2 * x + 1] > upper[2 * x] { (upper[2 * x + 1], 1) } else { (upper[2 * x], 0) };
                    let low = if lower[2 * x + 1] > lower[2 * x] { (lower[2 * x + 1], 3) } else { (lower[2 * x], 2) };
                    let (best, which) = if low.0 > top.0 { low } else { top };
                    let open = best + bias > 0.0;
                    *cell = if open { best + bias } else { 0.0 };
                    *pick = if open { which } else { CLOSED };
                }
            }
        }
    }

    /// The gradient with respect to the convolution's result, given that of the pooled cells.
    pub(super) fn unpool(self, pooled: &[f32], choice: &[u8], images: usize, result: &mut [f32]) {
        let half = O / 2;
        result[..images * OUT * O * O].fill(0.0);
        for (index, (cells, picked)) in
            pooled.chunks_exact(half * half).zip(choice.chunks_exact(half * half)).take(images * OUT).enumerate()
        {
            let (image, channel) = (index / OUT, index % OUT);
            let into = &mut result[(channel * images + image) * O * O..][..O * O];
            for (cell, (&slope, &pick)) in cells.iter().zip(picked).enumerate() {
                if pick != CLOSED {
                    let (y, x, pick) = (cell / half, cell % half, usize::from(pick));
                    into[(2 * y + pick / 2) * O + 2 * x + pick % 2] = slope;
                }
            }
        }
    }
}

/// A linear layer: `output[image] = weights * input[image] + bias`; `weights` is `[to][from]`.
pub(super) fn linear(input: &[f32], weights: &[f32], bias: &[f32], images: usize, output: &mut [f32]) {
    let (to, from) = (bias.len(), weights.len() / bias.len());
    for row in output.chunks_exact_mut(to).take(images) {
        row.copy_from_slice(bias);
    }
    multiply(output, Matrix::new(input, images, from), Matrix::new(weights, to, from).transposed(), true);
}

/// Adds the gradient of a linear layer with respect to weights and bias, given the gradient of the output.
pub(super) fn linear_backward(output: &[f32], input: &[f32], images: usize, weights: &mut [f32], bias: &mut [f32]) {
    let (to, from) = (bias.len(), weights.len() / bias.len());
    multiply(weights, Matrix::new(output, images, to).transposed(), Matrix::new(input, images, from), true);
    for row in output.chunks_exact(to).take(images) {
        bias.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
    }
}

/// The gradient of a linear layer with respect to its input, given the gradient of the output, `to` numbers per image.
pub(super) fn linear_backward_input(output: &[f32], weights: &[f32], to: usize, images: usize, input: &mut [f32]) {
    let from = weights.len() / to;
    multiply(input, Matrix::new(output, images, to), Matrix::new(weights, to, from), false);
}

/// ReLU in place.
pub(super) fn relu(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = value.max(0.0));
}

/// The gradient with respect to the input of a ReLU, in place, given its output.
pub(super) fn relu_backward(output: &[f32], slopes: &mut [f32]) {
    slopes.iter_mut().zip(output).for_each(|(slope, &value)| *slope = if value > 0.0 { *slope } else { 0.0 });
}

/// Softmax in place; sums to 1 for finite logits of any size.
pub(super) fn softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|value| *value /= sum);
}

/// Cross-entropy of one image: replaces its logits by their gradient, `weight * (softmax - one_hot(label))`, and
/// returns the loss.
pub(super) fn cross_entropy(logits: &mut [f32], label: usize, weight: f32) -> f64 {
    softmax(logits);
    let loss = -f64::from(logits[label].max(f32::MIN_POSITIVE)).ln();
    logits[label] -= 1.0;
    logits.iter_mut().for_each(|slope| *slope *= weight);
    loss
}
