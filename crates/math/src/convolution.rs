//! 3x3 convolutions over images, forward and backward, without im2col copies.
//!
//! Layout of an image: `[y][x][channel]`. The input has a border of one zero pixel on each side, so that every pixel
//! has eight neighbours; the output has no border. Layout of the weights: `[ky][kx][from][to]`.
//!
//! The three pixels of a row under the kernel are contiguous, so the kernel covers three runs of `3 * from` numbers. A
//! tile of the output (8 pixels x 32 channels) stays in registers during these runs: each input number is broadcast to
//! a register and multiplied by the weights of 32 channels, packed in that order beforehand. The gradient of the input
//! is the same convolution with rotated and transposed weights. For the gradient of the weights, a tile of it stays in
//! registers during the pass over all pixels. (Direct convolution as in Georganas et al. 2018, "Anatomy of
//! High-Performance Deep Learning Convolutions on SIMD Architectures".)
//!
//! Every call runs on the calling thread. The order of additions depends only on the shape.

use super::train::{
    LANES,
    simd::{self, Loop, Simd},
};

/// Channels of a packed panel; the last panel may have half of them.
const PANEL: usize = 2 * LANES;
/// Numbers in a group of images whose weight gradients are summed together, so that the group stays in the L2 cache.
const GROUP_NUMBERS: usize = 96 * 1024;

/// Output channels must be a multiple of this.
pub const CHANNELS: usize = LANES;

/// Shape of a convolution over square images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Height and width of an image.
    pub side: usize,
    /// Input channels.
    pub from: usize,
    /// Output channels: a multiple of [`CHANNELS`].
    pub to: usize,
}

/// Length of an image without border.
pub const fn unpadded_len(side: usize, channels: usize) -> usize {
    side * side * channels
}

/// Length of an image with border.
pub const fn padded_len(side: usize, channels: usize) -> usize {
    (side + 2) * (side + 2) * channels
}

/// Index ranges of the rows of a bordered image, border excluded.
pub fn rows(side: usize, channels: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (1..=side).map(move |y| {
        let first = (y * (side + 2) + 1) * channels;
        first..first + side * channels
    })
}

impl Convolution {
    /// Number of weights.
    pub const fn weights(self) -> usize {
        9 * self.from * self.to
    }

    /// The convolution with `from` and `to` exchanged.
    pub const fn adjoint(self) -> Self {
        Self { side: self.side, from: self.to, to: self.from }
    }

    /// Packs weights for [`forward`](Self::forward).
    ///
    /// # Panics
    /// If a slice is shorter than [`weights`](Self::weights), or `to` is not a multiple of [`CHANNELS`].
    pub fn pack(self, weights: &[f32], panels: &mut [f32]) {
        self.check();
        let mut panels = &mut panels[..self.weights()];
        for first in (0..self.to).step_by(PANEL) {
            let width = PANEL.min(self.to - first);
            let (panel, rest) = panels.split_at_mut(9 * self.from * width);
            panels = rest;
            for (row, into) in panel.chunks_exact_mut(width).enumerate() {
                into.copy_from_slice(&weights[row * self.to + first..][..width]);
            }
        }
    }

    /// Packs rotated weights, with which the [`adjoint`](Self::adjoint) convolution maps the output gradient to the
    /// input gradient.
    ///
    /// # Panics
    /// If a slice is shorter than [`weights`](Self::weights), or `from` is not a multiple of [`CHANNELS`].
    pub fn pack_adjoint(self, weights: &[f32], panels: &mut [f32]) {
        self.adjoint().check();
        let mut panels = &mut panels[..self.weights()];
        for first in (0..self.from).step_by(PANEL) {
            let width = PANEL.min(self.from - first);
            let (panel, rest) = panels.split_at_mut(9 * self.to * width);
            panels = rest;
            for (row, into) in panel.chunks_exact_mut(width).enumerate() {
                let (tap, to) = (8 - row / self.to, row % self.to);
                for (index, number) in into.iter_mut().enumerate() {
                    *number = weights[(tap * self.from + first + index) * self.to + to];
                }
            }
        }
    }

    /// Convolves one bordered image into an output without border. Adds to the output if `accumulate`.
    ///
    /// # Panics
    /// If a slice is too short for the shape.
    pub fn forward(self, input: &[f32], panels: &[f32], output: &mut [f32], accumulate: bool) {
        self.check();
        let input = &input[..padded_len(self.side, self.from)];
        let panels = &panels[..self.weights()];
        let output = &mut output[..unpadded_len(self.side, self.to)];
        // SAFETY: the slices have just been cut to the lengths of the shape; the loop stays within that shape.
        unsafe { simd::run(Forward { shape: self, input, panels, output, accumulate }) }
    }

    /// Adds the gradient of the weights to `gradient`, from bordered images and bordered output gradients, each
    /// contiguous.
    ///
    /// # Panics
    /// If a slice is too short for the shape.
    pub fn backward(self, input: &[f32], result: &[f32], images: usize, gradient: &mut [f32]) {
        self.check();
        let (of_input, of_result) = (padded_len(self.side, self.from), padded_len(self.side, self.to));
        let (input, result) = (&input[..images * of_input], &result[..images * of_result]);
        let gradient = &mut gradient[..self.weights()];
        let group = (GROUP_NUMBERS / (of_input + of_result)).max(1);
        for (input, result) in input.chunks(group * of_input).zip(result.chunks(group * of_result)) {
            // SAFETY: the slices hold whole images of the shape, equally many of both.
            unsafe { simd::run(Backward { shape: self, input, result, gradient }) }
        }
    }

    fn check(self) {
        assert!(self.side > 0 && self.from > 0 && self.to > 0, "an empty image: {self:?}");
        assert!(self.to.is_multiple_of(CHANNELS), "{} channels are not a multiple of {CHANNELS}", self.to);
    }
}

struct Forward<'a> {
    shape: Convolution,
    input: &'a [f32],
    panels: &'a [f32],
    output: &'a mut [f32],
    accumulate: bool,
}

impl Loop for Forward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let Convolution { to, from, .. } = self.shape;
        for first in (0..to).step_by(PANEL) {
            let width = PANEL.min(to - first);
            let panel = &self.panels[9 * from * first..][..9 * from * width];
            // SAFETY: the panel holds `width` weights for each of the rows, `first + width` is at most `to`.
            unsafe {
                if S::HAS_32_REGISTERS && width == PANEL {
                    self.panel::<S, 8, 2>(panel.as_ptr(), width, first);
                } else if S::HAS_32_REGISTERS {
                    self.panel::<S, 8, 1>(panel.as_ptr(), width, first);
                } else {
                    for part in (0..width).step_by(LANES) {
                        self.panel::<S, 4, 1>(panel.as_ptr().add(part), width, first + part);
                    }
                }
            }
        }
    }
}

impl Forward<'_> {
    /// Computes all pixels of `Q` x 16 channels from channel `first` on, `P` pixels at a time.
    ///
    /// # Safety
    /// `panel` points to the weights of these channels, with `stride` numbers per row.
    #[inline(always)]
    unsafe fn panel<S: Simd, const P: usize, const Q: usize>(
        &mut self,
        panel: *const f32,
        stride: usize,
        first: usize,
    ) {
        let Convolution { side, from, to } = self.shape;
        let (line, pixels) = ((side + 2) * from, side * side);
        let input = self.input.as_ptr();
        for start in (0..pixels).step_by(P) {
            // Past the end, repeats the last pixel; the sums of the repeats are not written.
            let at = |index: usize| {
                let pixel = (start + index).min(pixels - 1);
                (pixel / side) * line + (pixel % side) * from
            };
            let offsets: [usize; P] = std::array::from_fn(at);
            // SAFETY: the caller has what `S` needs.
            let mut sums = [[unsafe { S::zero() }; Q]; P];
            let mut weights = panel;
            for ky in 0..3 {
                // SAFETY: the 3x3 window of a pixel lies within the bordered image; the panel has one row of weights
                // for each of the 9 * from numbers of the window.
                unsafe {
                    let pixel: [*const f32; P] = std::array::from_fn(|p| input.add(offsets[p] + ky * line));
                    for index in 0..3 * from {
                        let factors: [S; Q] = std::array::from_fn(|q| S::read(weights.add(q * LANES)));
                        weights = weights.add(stride);
                        for p in 0..P {
                            let number = S::splat(*pixel[p].add(index));
                            for q in 0..Q {
                                sums[p][q] = number.mul_add(factors[q], sums[p][q]);
                            }
                        }
                    }
                }
            }
            for (p, sums) in sums.iter().enumerate().take(pixels - start) {
                for (q, &sum) in sums.iter().enumerate() {
                    // SAFETY: pixel `start + p` is inside the image, the channels are below `to`.
                    unsafe {
                        let cell = self.output.as_mut_ptr().add((start + p) * to + first + q * LANES);
                        let one = S::splat(1.0);
                        let sum = if self.accumulate { sum.mul_add(one, S::read(cell)) } else { sum };
                        sum.write(cell);
                    }
                }
            }
        }
    }
}

struct Backward<'a> {
    shape: Convolution,
    input: &'a [f32],
    result: &'a [f32],
    gradient: &'a mut [f32],
}

impl Loop for Backward<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let rows = 3 * self.shape.from;
        for first in (0..self.shape.to).step_by(PANEL) {
            let width = PANEL.min(self.shape.to - first);
            for ky in 0..3 {
                let mut row = 0;
                while row < rows {
                    let left = rows - row;
                    // SAFETY: rows up to `row + P` are below `rows`, channels below `to`.
                    unsafe {
                        row += match (S::HAS_32_REGISTERS, width == PANEL, left) {
                            (true, true, 8..) => self.tile::<S, 8, 2>(ky, row, first),
                            (true, true, 3..) => self.tile::<S, 3, 2>(ky, row, first),
                            (true, true, _) => self.tile::<S, 1, 2>(ky, row, first),
                            (true, false, 8..) => self.tile::<S, 8, 1>(ky, row, first),
                            (true, false, 3..) => self.tile::<S, 3, 1>(ky, row, first),
                            (true, false, _) => self.tile::<S, 1, 1>(ky, row, first),
                            (false, _, _) => {
                                let four = left >= 4;
                                for part in (first..first + width).step_by(LANES) {
                                    if four {
                                        self.tile::<S, 4, 1>(ky, row, part);
                                    } else {
                                        self.tile::<S, 1, 1>(ky, row, part);
                                    }
                                }
                                if four { 4 } else { 1 }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Backward<'_> {
    /// Computes the weight gradients of `P` numbers of kernel row `ky` (from `row` on) for `Q` x 16 channels (from
    /// `first` on). Returns `P`.
    ///
    /// # Safety
    /// `row + P` is at most `3 * from`, `first + Q * 16` at most `to`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "unrolled: P is a constant of a tile")]
    unsafe fn tile<S: Simd, const P: usize, const Q: usize>(&mut self, ky: usize, row: usize, first: usize) -> usize {
        let Convolution { side, from, to } = self.shape;
        // SAFETY: the caller has what `S` needs.
        let mut sums = [[unsafe { S::zero() }; Q]; P];
        let pictures =
            self.input.chunks_exact(padded_len(side, from)).zip(self.result.chunks_exact(padded_len(side, to)));
        for (input, result) in pictures {
            for y in 0..side {
                // SAFETY: row y + ky of the input and row y + 1 of the result are rows of bordered images; the last
                // pixel's run of 3 * from numbers ends with the row.
                unsafe {
                    let mut numbers = input.as_ptr().add((y + ky) * (side + 2) * from + row);
                    let mut slopes = result.as_ptr().add(((y + 1) * (side + 2) + 1) * to + first);
                    for _ in 0..side {
                        let factors: [S; Q] = std::array::from_fn(|q| S::read(slopes.add(q * LANES)));
                        for p in 0..P {
                            let number = S::splat(*numbers.add(p));
                            for q in 0..Q {
                                sums[p][q] = number.mul_add(factors[q], sums[p][q]);
                            }
                        }
                        numbers = numbers.add(from);
                        slopes = slopes.add(to);
                    }
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (q, &sum) in sums.iter().enumerate() {
                // SAFETY: the row is below 9 * from, the channels below `to`.
                unsafe {
                    let cell = self.gradient.as_mut_ptr().add((ky * 3 * from + row + p) * to + first + q * LANES);
                    sum.mul_add(S::splat(1.0), S::read(cell)).write(cell);
                }
            }
        }
        P
    }
}

/// Runs `work` compiled for the widest registers of this processor. Results are bit-identical on all processors: the
/// compiler does not fuse operations.
pub fn with_wide_simd<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx2")]
        fn avx512<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        #[target_feature(enable = "avx2")]
        fn avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the feature.
            return unsafe { avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            return unsafe { avx2(work) };
        }
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::super::train::simd::Portable;
    #[cfg(target_arch = "x86_64")]
    use super::super::train::simd::x86;
    use super::*;

    /// Small integers: every order of additions gives the same sum.
    fn numbers(n: usize, salt: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7 + i / 5 + salt * 13) % 11) as f32 - 5.0).collect()
    }

    fn bordered_numbers(side: usize, channels: usize, salt: usize) -> Vec<f32> {
        let mut picture = vec![0.0; padded_len(side, channels)];
        let inside = numbers(unpadded_len(side, channels), salt);
        for (row, from) in rows(side, channels).zip(inside.chunks(side * channels)) {
            picture[row].copy_from_slice(from);
        }
        picture
    }

    fn each_kernel(mut check: impl FnMut(&str, &dyn Fn(&mut dyn FnMut(Width)))) {
        check("portable", &|work| work(Width::Portable));
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                check("avx2", &|work| work(Width::Avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                check("avx512", &|work| work(Width::Avx512));
            }
        }
    }

    #[derive(Clone, Copy)]
    enum Width {
        Portable,
        #[cfg(target_arch = "x86_64")]
        Avx2,
        #[cfg(target_arch = "x86_64")]
        Avx512,
    }

    fn run(width: Width, work: impl Loop) {
        // SAFETY: slices of the shape, features checked.
        unsafe {
            match width {
                Width::Portable => work.run::<Portable>(),
                #[cfg(target_arch = "x86_64")]
                Width::Avx2 => x86::avx2(work),
                #[cfg(target_arch = "x86_64")]
                Width::Avx512 => x86::avx512(work),
            }
        }
    }

    #[test]
    fn every_shape_and_width_agrees_with_the_definition() {
        for (side, from, to) in [(1, 1, 16), (2, 3, 16), (5, 3, 32), (4, 16, 48), (8, 32, 32), (3, 48, 64)] {
            let shape = Convolution { side, from, to };
            let (input, weights) = (bordered_numbers(side, from, 1), numbers(shape.weights(), 2));
            let slopes = bordered_numbers(side, to, 3);
            let at = |picture: &[f32], channels, y, x, channel| picture[(y * (side + 2) + x) * channels + channel];
            let mut expected = vec![1.0; unpadded_len(side, to)];
            let mut by_weight = vec![2.0; shape.weights()];
            let mut by_input = vec![0.0; padded_len(side, from)];
            for (index, result) in expected.iter_mut().enumerate() {
                let (y, x, channel) = (index / to / side, index / to % side, index % to);
                let slope = at(&slopes, to, y + 1, x + 1, channel);
                for (tap, ci) in (0..9).flat_map(|tap| (0..from).map(move |ci| (tap, ci))) {
                    let (weight, ky, kx) = ((tap * from + ci) * to + channel, tap / 3, tap % 3);
                    let cell = ((y + ky) * (side + 2) + x + kx) * from + ci;
                    *result += weights[weight] * input[cell];
                    by_weight[weight] += slope * input[cell] * 2.0;
                    by_input[cell] += slope * weights[weight];
                }
            }
            let by_input: Vec<f32> = rows(side, from).flat_map(|row| by_input[row].to_vec()).collect();
            let mut panels = vec![0.0; shape.weights()];
            each_kernel(|name, with| {
                let name = format!("{name}, {shape:?}");
                shape.pack(&weights, &mut panels);
                let mut output = vec![1.0; unpadded_len(side, to)];
                let mut forward = |width, accumulate| {
                    run(width, Forward { shape, input: &input, panels: &panels, output: &mut output, accumulate });
                };
                with(&mut |width| forward(width, true));
                assert_eq!(output, expected, "{name}");
                let mut gradient = vec![2.0; shape.weights()];
                let (twice, slopes) = ([&input[..], &input].concat(), [&slopes[..], &slopes].concat());
                with(&mut |width| {
                    run(width, Backward { shape, input: &twice, result: &slopes, gradient: &mut gradient });
                });
                assert_eq!(gradient, by_weight, "{name}, by the weights");
                if from.is_multiple_of(CHANNELS) {
                    shape.pack_adjoint(&weights, &mut panels);
                    let mut slope = vec![9.0; unpadded_len(side, from)];
                    with(&mut |width| {
                        let (shape, input, output) = (shape.adjoint(), &slopes[..slopes.len() / 2], &mut slope[..]);
                        run(width, Forward { shape, input, panels: &panels, output, accumulate: false });
                    });
                    assert_eq!(slope, by_input, "{name}, by the input");
                }
            });
        }
    }

    #[test]
    fn the_public_functions_check_their_arguments() {
        let shape = Convolution { side: 4, from: 16, to: 32 };
        let (input, weights) = (bordered_numbers(4, 16, 1), numbers(shape.weights(), 2));
        let (mut panels, mut out) = (vec![0.0; shape.weights()], vec![5.0; unpadded_len(4, 32)]);
        shape.pack(&weights, &mut panels);
        shape.forward(&input, &panels, &mut out, false);
        let once = out.clone();
        shape.forward(&input, &panels, &mut out, true);
        assert!(out.iter().zip(&once).all(|(two, one)| *two == 2.0 * one));
        let slopes = bordered_numbers(4, 32, 3);
        let mut gradient = vec![0.0; shape.weights()];
        shape.backward(&input, &slopes, 1, &mut gradient);
        assert!(gradient.iter().any(|&slope| slope != 0.0));
    }

    #[test]
    #[should_panic(expected = "not a multiple")]
    fn channels_that_are_not_a_multiple_are_refused() {
        Convolution { side: 4, from: 3, to: 20 }.pack(&[0.0; 540], &mut [0.0; 540]);
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_short_image_is_refused() {
        let shape = Convolution { side: 4, from: 16, to: 16 };
        shape.forward(&[0.0; 100], &[0.0; 9 * 256], &mut [0.0; 256], false);
    }
}
