//! Convolutions and pooling over images stored with one pixel per row: `[images * height * width, channels]`.
//!
//! In this layout, a convolution is a product of gathered patches with a matrix, like a linear layer; a 1x1
//! convolution is a linear layer.

use super::ops::{Activation, Kernel, Linear, MIN_ROWS, failed, numbers_of, plain};
use super::weights::Weights;
use crate::Error;
use crate::math;
use crate::math::gemm::Matrix;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Maximum patch values that one thread gathers together.
const MAX_GATHERED_NUMBERS: usize = 1 << 18;

/// Layout of the rows of a tensor as pixels of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) images: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Grid {
    pub(super) fn rows(self) -> usize {
        self.images * self.height * self.width
    }
}

/// A sliding square window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Side length.
    pub(super) side: usize,
    pub(super) stride: usize,
    /// Zero pixels around the image.
    pub(super) padding: usize,
}

impl Window {
    /// The grid of window positions.
    pub(super) fn over(self, grid: Grid) -> Result<Grid> {
        let output = |side: usize| match (side + 2 * self.padding).checked_sub(self.side) {
            Some(room) if self.stride > 0 => Ok(room / self.stride + 1),
            _ => candle_core::bail!("a window of {self:?} over {grid:?}"),
        };
        Ok(Grid { images: grid.images, height: output(grid.height)?, width: output(grid.width)? })
    }

    /// The image pixels under the window along one side at position `position`: offset of the first in the window, its
    /// index in the image, and their number.
    fn covered(self, position: usize, side: usize) -> (usize, usize, usize) {
        let begin = position * self.stride;
        let before = self.padding.saturating_sub(begin).min(self.side);
        let first = (begin + before).saturating_sub(self.padding);
        (before, first, (self.side - before).min(side.saturating_sub(first)))
    }
}

/// A convolution with its bias.
pub(super) struct Convolution {
    /// `[side * side * channels, outputs]`
    linear: Linear,
    window: Window,
}

impl Convolution {
    /// Reads `NAME.weight`, stored `[outputs, channels, side, side]`, with this bias.
    pub(super) fn read(
        weights: &Weights<'_>,
        name: &str,
        channels: usize,
        bias: Tensor,
        window: Window,
    ) -> std::result::Result<Self, Error> {
        let outputs = bias.elem_count();
        let weight = weights.get(&[&format!("{name}.weight")], &[outputs, channels, window.side, window.side])?;
        let weight = || weight.permute((2, 3, 1, 0))?.contiguous()?.flatten(0, 2);
        Ok(Self { linear: Linear { weight: weight().map_err(failed)?, bias }, window })
    }

    /// The device of the weights.
    pub(super) fn device(&self) -> &Device {
        self.linear.bias.device()
    }

    /// Multiplies each output, including the bias, by a factor.
    pub(super) fn scaled(self, factors: &Tensor) -> Result<Self> {
        Ok(Self { linear: self.linear.scaled(factors)?, ..self })
    }

    /// Adds `by` to the bias.
    pub(super) fn shifted(self, by: &Tensor) -> Result<Self> {
        Ok(Self { linear: Linear { bias: (self.linear.bias + by)?, ..self.linear }, ..self })
    }

    /// `x` is `[images * height * width, channels]`.
    pub(super) fn forward(&self, x: &Tensor, grid: Grid, then: Option<Activation>) -> Result<(Tensor, Grid)> {
        let output = self.window.over(grid)?;
        let kernel = then.and_then(Activation::kernel);
        let out = if (self.window.side, self.window.stride, self.window.padding) == (1, 1, 0) {
            match then {
                Some(then) => self.linear.forward_with_activation(x, then)?,
                None => self.linear.forward(x)?,
            }
        } else if plain(x) && kernel.is_some() == then.is_some() {
            let gather = Gather { grid, output, window: self.window, kernel };
            x.apply_op3_no_bwd(&self.linear.weight, &self.linear.bias, &gather)?
        } else {
            let out = self.by_candle(x, grid)?;
            then.map_or(Ok(out.clone()), |then| then.forward(&out))?
        };
        Ok((out, output))
    }

    fn by_candle(&self, x: &Tensor, grid: Grid) -> Result<Tensor> {
        let (channels, outputs, side) = (x.dim(1)?, self.linear.bias.elem_count(), self.window.side);
        let x = x.reshape((grid.images, grid.height, grid.width, channels))?.permute((0, 3, 1, 2))?.contiguous()?;
        let weight =
            self.linear.weight.reshape((side, side, channels, outputs))?.permute((3, 2, 0, 1))?.contiguous()?;
        let out = x.conv2d(&weight, self.window.padding, self.window.stride, 1, 1)?;
        out.permute((0, 2, 3, 1))?.contiguous()?.flatten(0, 2)?.broadcast_add(&self.linear.bias)
    }
}

/// Fused operation: each thread gathers the patches of some positions, multiplies them while they are in the cache,
/// and applies the activation.
struct Gather {
    grid: Grid,
    output: Grid,
    window: Window,
    kernel: Option<Kernel>,
}

impl Gather {
    /// Copies the patch under the window at one position of an image, pixel by pixel.
    fn patch(&self, image: &[f32], channels: usize, (row, column): (usize, usize), patch: &mut [f32]) {
        let (left, x, width) = self.window.covered(column, self.grid.width);
        let (above, y, height) = self.window.covered(row, self.grid.height);
        if width < self.window.side || height < self.window.side {
            patch.fill(0.0);
        }
        for inside in 0..height {
            let from = ((y + inside) * self.grid.width + x) * channels;
            let to = ((above + inside) * self.window.side + left) * channels;
            patch[to..to + width * channels].copy_from_slice(&image[from..from + width * channels]);
        }
    }
}

impl CustomOp3 for Gather {
    fn name(&self) -> &'static str {
        "convolution"
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
        let ((rows, channels), (inner, outputs)) = (x_layout.shape().dims2()?, weight_layout.shape().dims2()?);
        let size = self.window.side * self.window.side * channels;
        if rows != self.grid.rows() || inner != size || bias_layout.shape().dims1()? != outputs || size * outputs == 0 {
            candle_core::bail!("{rows} pixels of {channels} channels, {:?}, {inner} x {outputs} weights", self.grid);
        }
        let (x, weight, bias) =
            (numbers_of(x, x_layout)?, numbers_of(weight, weight_layout)?, numbers_of(bias, bias_layout)?);
        let output = self.output.rows();
        let image = self.grid.height * self.grid.width * channels;
        let own = self.output.height * self.output.width;
        let mut out = vec![0.0; output * outputs];
        let share = output.div_ceil(rayon::current_num_threads());
        let some = share.min(MAX_GATHERED_NUMBERS / size).max(MIN_ROWS);
        out.par_chunks_mut(some * outputs).enumerate().for_each_init(
            || vec![0.0; some * size],
            |patches, (piece, out)| {
                let count = out.len() / outputs;
                for (position, patch) in (piece * some..).zip(patches.chunks_exact_mut(size)).take(count) {
                    let at = (position % own / self.output.width, position % self.output.width);
                    self.patch(&x[position / own * image..][..image], channels, at, patch);
                }
                out.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(bias));
                math::gemm::multiply(out, Matrix::new(patches, count, size), Matrix::new(weight, size, outputs), true);
                if let Some(kernel) = self.kernel {
                    kernel(out);
                }
            },
        );
        Ok((CpuStorage::F32(out), Shape::from((output, outputs))))
    }
}

/// Max pooling for each channel, for non-negative values: padding counts as 0.
pub(super) fn max_pool(x: &Tensor, grid: Grid, window: Window) -> Result<(Tensor, Grid)> {
    let output = window.over(grid)?;
    if plain(x) {
        return Ok((x.apply_op1_no_bwd(&MaxPool { grid, output, window })?, output));
    }
    let channels = x.dim(1)?;
    let x = x.reshape((grid.images, grid.height, grid.width, channels))?.permute((0, 3, 1, 2))?;
    let x = x.pad_with_zeros(2, window.padding, window.padding)?.pad_with_zeros(3, window.padding, window.padding)?;
    let x = x.contiguous()?.max_pool2d_with_stride(window.side, window.stride)?;
    Ok((x.permute((0, 2, 3, 1))?.contiguous()?.flatten(0, 2)?, output))
}

struct MaxPool {
    grid: Grid,
    output: Grid,
    window: Window,
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, channels) = layout.shape().dims2()?;
        if rows != self.grid.rows() || channels == 0 {
            candle_core::bail!("{rows} pixels of {channels} channels are not {:?}", self.grid);
        }
        let x = numbers_of(x, layout)?;
        let line = self.output.width * channels;
        let mut out = vec![0.0_f32; self.output.rows() * channels];
        out.par_chunks_exact_mut(line).enumerate().for_each(|(number, out)| {
            let (image, row) = (number / self.output.height, number % self.output.height);
            let (_, y, height) = self.window.covered(row, self.grid.height);
            for (column, max) in out.chunks_exact_mut(channels).enumerate() {
                let (_, left, width) = self.window.covered(column, self.grid.width);
                for pixel in (y..y + height).flat_map(|y| (left..left + width).map(move |x| (y, x))) {
                    let at = (image * self.grid.height + pixel.0) * self.grid.width + pixel.1;
                    let pixel = &x[at * channels..][..channels];
                    max.iter_mut().zip(pixel).for_each(|(max, &x)| *max = if x > *max { x } else { *max });
                }
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((self.output.rows(), channels))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    fn numbers(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + salt * 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn same(ours: &Tensor, by_candle: &Tensor, what: &str) {
        assert_eq!(ours.dims(), by_candle.dims(), "{what}");
        let off = (ours - by_candle).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(off < 1e-4, "{what}: off by {off}");
    }

    /// A tensor with gradients takes candle's implementation.
    fn by_candle(x: &Tensor) -> Tensor {
        Var::from_tensor(x).unwrap().as_tensor().clone()
    }

    #[test]
    fn convolutions_and_pools_are_those_of_candle() {
        for (side, stride, padding, height, width, channels, outputs) in [
            (3, 1, 1, 7, 5, 4, 6),
            (3, 2, 1, 8, 9, 2, 3),
            (7, 2, 3, 20, 17, 3, 8),
            (1, 2, 0, 6, 7, 5, 4),
            (4, 4, 0, 8, 12, 3, 9),
            (3, 1, 1, 1, 1, 2, 2),
            (5, 3, 2, 2, 40, 1, 1),
        ] {
            let window = Window { side, stride, padding };
            let grid = Grid { images: 3, height, width };
            let what = format!("{window:?} over {grid:?}");
            let x =
                Tensor::from_vec(numbers(grid.rows() * channels, 1), (grid.rows(), channels), &Device::Cpu).unwrap();
            let size = side * side * channels;
            let weight = Tensor::from_vec(numbers(size * outputs, 2), (size, outputs), &Device::Cpu).unwrap();
            let bias = Tensor::from_vec(numbers(outputs, 3), outputs, &Device::Cpu).unwrap();
            let convolution = Convolution { linear: Linear { weight, bias }, window };
            for then in [None, Some(Activation::Relu), Some(Activation::GeluTanh)] {
                let (ours, output) = convolution.forward(&x, grid, then).unwrap();
                let (other, _) = convolution.forward(&by_candle(&x), grid, then).unwrap();
                assert_eq!(ours.dim(0).unwrap(), output.rows());
                same(&ours, &other, &what);
            }
            let x = x.abs().unwrap();
            if height + 2 * padding >= side && width + 2 * padding >= side {
                same(&max_pool(&x, grid, window).unwrap().0, &max_pool(&by_candle(&x), grid, window).unwrap().0, &what);
            }
        }
    }

    #[test]
    fn a_window_that_is_larger_than_the_image_is_refused() {
        let grid = Grid { images: 1, height: 3, width: 3 };
        assert!(Window { side: 4, stride: 1, padding: 0 }.over(grid).is_err());
        assert!(Window { side: 2, stride: 0, padding: 0 }.over(grid).is_err());
        assert_eq!(
            Window { side: 3, stride: 2, padding: 1 }.over(grid).unwrap(),
            Grid { images: 1, height: 2, width: 2 }
        );
    }
}
