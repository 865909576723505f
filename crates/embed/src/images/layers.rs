//! Forward and backward passes of the layers between the convolutions: batch normalization, ReLU, pooling, loss.
//!
//! All tensors are `[image][y][x][channel]`. Sums over pixels of one image are in `f32`, sums over images in `f64`.

use crate::math::convolution::{padded_len, rows, unpadded_len, with_wide_simd};

/// Added to a variance before its square root.
const EPSILON: f64 = 1e-5;

/// Mean and variance of each channel over a batch (Ioffe, Szegedy 2015, "Batch Normalization", algorithm 1).
#[derive(Clone, Debug, Default)]
pub(super) struct Moments {
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

/// Sums per channel, accumulated image by image.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    here: [Vec<f32>; 2],
    all: [Vec<f64>; 2],
}

impl Sums {
    pub(super) fn new(channels: usize) -> Self {
        Self { here: [vec![0.0; channels], vec![0.0; channels]], all: [vec![0.0; channels], vec![0.0; channels]] }
    }

    /// Adds the values and the squares of one image.
    pub(super) fn add_squares(&mut self, image: &[f32]) {
        let [sum, square] = &mut self.here;
        with_wide_simd(|| {
            for pixel in image.chunks_exact(sum.len()) {
                for ((sum, square), &number) in sum.iter_mut().zip(square.iter_mut()).zip(pixel) {
                    *sum += number;
                    *square += number * number;
                }
            }
        });
        self.flush();
    }

    /// Adds the gradient of one image, and its products with the normalized values `(number - mean) * inverse`.
    pub(super) fn add_products(&mut self, slopes: &[f32], image: &[f32], mean: &[f32], inverse: &[f32]) {
        let [sum, product] = &mut self.here;
        let channels = sum.len();
        with_wide_simd(|| {
            for (slopes, pixel) in slopes.chunks_exact(channels).zip(image.chunks_exact(channels)) {
                let sums = sum.iter_mut().zip(product.iter_mut());
                let normal =
                    pixel.iter().zip(mean).zip(inverse).map(|((number, mean), inverse)| (number - mean) * inverse);
                for (((sum, product), &slope), normal) in sums.zip(slopes).zip(normal) {
                    *sum += slope;
                    *product += slope * normal;
                }
            }
        });
        self.flush();
    }

    fn flush(&mut self) {
        for (here, all) in self.here.iter_mut().zip(&mut self.all) {
            for (here, all) in here.iter_mut().zip(all) {
                *all += f64::from(std::mem::take(here));
            }
        }
    }

    /// Mean and variance over `pixels` pixels, from the sums of [`add_squares`](Self::add_squares).
    pub(super) fn moments(&self, pixels: usize) -> Moments {
        let [sum, square] = &self.all;
        let mean = |sum: f64| sum / pixels as f64;
        let variance = |(sum, square): (&f64, &f64)| (mean(*square) - mean(*sum).powi(2)).max(0.0) as f32;
        Moments {
            mean: sum.iter().map(|&sum| mean(sum) as f32).collect(),
            variance: sum.iter().zip(square).map(variance).collect(),
        }
    }

    /// Both sums per channel.
    pub(super) fn totals(&self) -> &[Vec<f64>; 2] {
        &self.all
    }
}

impl Moments {
    /// `1 / sqrt(variance)` of each channel.
    pub(super) fn inverse(&self) -> Vec<f32> {
        self.variance.iter().map(|&variance| (1.0 / (f64::from(variance) + EPSILON).sqrt()) as f32).collect()
    }
}

/// `out = relu(image * factor + term + skip)`, from a picture without border to one with border.
pub(super) fn normalize_relu(
    side: usize,
    image: &[f32],
    (factor, term): (&[f32], &[f32]),
    skip: Option<&[f32]>,
    out: &mut [f32],
) {
    let channels = factor.len();
    with_wide_simd(|| {
        for (row, numbers) in rows(side, channels).zip(image.chunks_exact(side * channels)) {
            let out = &mut out[row.clone()];
            match skip {
                Some(skip) => {
                    let pixels = out.chunks_exact_mut(channels).zip(skip[row].chunks_exact(channels));
                    for ((out, skip), pixel) in pixels.zip(numbers.chunks_exact(channels)) {
                        let affine =
                            pixel.iter().zip(factor).zip(term).map(|((number, factor), term)| number * factor + term);
                        for ((out, skip), number) in out.iter_mut().zip(skip).zip(affine) {
                            *out = (number + skip).max(0.0);
                        }
                    }
                }
                None => {
                    for (out, pixel) in out.chunks_exact_mut(channels).zip(numbers.chunks_exact(channels)) {
                        let affine =
                            pixel.iter().zip(factor).zip(term).map(|((number, factor), term)| number * factor + term);
                        for (out, number) in out.iter_mut().zip(affine) {
                            *out = number.max(0.0);
                        }
                    }
                }
            }
        }
    });
}

/// The gradient with respect to the input of the normalization, given that of its output, from a picture without
/// border to one with border. `sums` are those of [`Sums::add_products`] over all `pixels` of the batch.
pub(super) fn normalize_backward(
    side: usize,
    slopes: &[f32],
    image: &[f32],
    (moments, inverse, scale): (&Moments, &[f32], &[f32]),
    (sums, pixels): (&[Vec<f64>; 2], usize),
    out: &mut [f32],
) {
    let channels = scale.len();
    // input gradient = a * output gradient + b * number + c, for each channel.
    let a: Vec<f32> = scale.iter().zip(inverse).map(|(scale, inverse)| scale * inverse).collect();
    let b: Vec<f32> = (0..channels).map(|c| -a[c] * inverse[c] * (sums[1][c] / pixels as f64) as f32).collect();
    let c: Vec<f32> =
        (0..channels).map(|c| -a[c] * (sums[0][c] / pixels as f64) as f32 - b[c] * moments.mean[c]).collect();
    with_wide_simd(|| {
        let lines = slopes.chunks_exact(side * channels).zip(image.chunks_exact(side * channels));
        for (row, (slopes, numbers)) in rows(side, channels).zip(lines) {
            let pixels = out[row].chunks_exact_mut(channels).zip(slopes.chunks_exact(channels));
            for ((out, slopes), pixel) in pixels.zip(numbers.chunks_exact(channels)) {
                let line = a.iter().zip(&b).zip(&c);
                for (((out, slope), number), ((a, b), c)) in out.iter_mut().zip(slopes).zip(pixel).zip(line) {
                    *out = a * slope + b * number + c;
                }
            }
        }
    });
}

/// The gradient with respect to the input of a ReLU, in place, given its output with border.
pub(super) fn relu_backward(side: usize, channels: usize, out: &[f32], slopes: &mut [f32]) {
    with_wide_simd(|| {
        for (row, slopes) in rows(side, channels).zip(slopes.chunks_exact_mut(side * channels)) {
            for (slope, &out) in slopes.iter_mut().zip(&out[row]) {
                *slope = if out > 0.0 { *slope } else { 0.0 };
            }
        }
    });
}

/// 2x2 max pooling from a picture with border to one of half the side, with border; ignores an odd last row or column.
pub(super) fn pool(side: usize, channels: usize, from: &[f32], to: &mut [f32]) {
    let line = (side + 2) * channels;
    with_wide_simd(|| {
        for (y, row) in rows(side / 2, channels).enumerate() {
            let upper = &from[(2 * y + 1) * line + channels..][..side * channels];
            let lower = &from[(2 * y + 2) * line + channels..][..side * channels];
            let pairs = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
            for (out, (upper, lower)) in to[row].chunks_exact_mut(channels).zip(pairs) {
                let ((a, b), (c, d)) = (upper.split_at(channels), lower.split_at(channels));
                for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *out = a.max(*b).max(c.max(*d));
                }
            }
        }
    });
}

/// The gradient with respect to the input of a ReLU followed by pooling, given that of the pooled picture (without
/// border). It goes to the pixel that was the maximum (to each one in a tie) if the ReLU was open there.
pub(super) fn pool_backward(
    side: usize,
    channels: usize,
    from: &[f32],
    pooled: &[f32],
    slopes: &[f32],
    to: &mut [f32],
) {
    let half = side / 2;
    with_wide_simd(|| {
        if half * 2 < side {
            to[..unpadded_len(side, channels)].fill(0.0);
        }
        for (y, (row, to)) in rows(side, channels).zip(to.chunks_exact_mut(side * channels)).enumerate().take(2 * half)
        {
            let largest = &pooled[((y / 2 + 1) * (half + 2) + 1) * channels..][..half * channels];
            let slopes = &slopes[y / 2 * half * channels..][..half * channels];
            let pixels = from[row].chunks_exact(2 * channels).zip(to.chunks_exact_mut(2 * channels));
            let pooled = largest.chunks_exact(channels).zip(slopes.chunks_exact(channels));
            for ((from, to), (largest, slopes)) in pixels.zip(pooled) {
                for (from, to) in from.chunks_exact(channels).zip(to.chunks_exact_mut(channels)) {
                    for (((to, &from), &largest), &slope) in to.iter_mut().zip(from).zip(largest).zip(slopes) {
                        *to = if from > 0.0 && from == largest { slope } else { 0.0 };
                    }
                }
            }
        }
    });
}

/// The mean of each channel over a picture with border.
pub(super) fn average(side: usize, channels: usize, from: &[f32], to: &mut [f32]) {
    to.fill(0.0);
    for row in rows(side, channels) {
        for pixel in from[row].chunks_exact(channels) {
            to.iter_mut().zip(pixel).for_each(|(to, from)| *to += from);
        }
    }
    let part = 1.0 / (side * side) as f32;
    to.iter_mut().for_each(|to| *to *= part);
}

/// The gradient with respect to a picture without border, given that of its mean.
pub(super) fn average_backward(side: usize, slopes: &[f32], to: &mut [f32]) {
    let part = 1.0 / (side * side) as f32;
    for pixel in to.chunks_exact_mut(slopes.len()).take(side * side) {
        pixel.iter_mut().zip(slopes).for_each(|(to, slope)| *to = slope * part);
    }
}

/// Cross-entropy of one image with label smoothing (Szegedy et al. 2016, "Rethinking the Inception Architecture",
/// section 7): replaces its logits by their gradient, times `weight`, and returns the loss.
pub(super) fn cross_entropy(logits: &mut [f32], label: usize, smoothing: f32, weight: f32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    let log_sum = f64::from(largest) + sum.ln();
    let even = smoothing / logits.len() as f32;
    let mut loss = 0.0;
    for (class, logit) in logits.iter_mut().enumerate() {
        let wanted = even + if class == label { 1.0 - smoothing } else { 0.0 };
        let log = f64::from(*logit) - log_sum;
        loss -= f64::from(wanted) * log;
        *logit = (log.exp() as f32 - wanted) * weight;
    }
    loss
}

/// Zeros: a picture with border for each of `images`.
pub(super) fn padded_zeros(images: usize, side: usize, channels: usize) -> Vec<f32> {
    vec![0.0; images * padded_len(side, channels)]
}
