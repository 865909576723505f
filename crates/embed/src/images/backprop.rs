//! A shard of a batch: forward pass, loss and backward pass of its images, on one thread.
//!
//! The normalization is over the images of the shard, not of the whole batch (Hoffer, Hubara, Soudry 2017, "Train
//! longer, generalize better", section 4: ghost batch normalization), so that threads do not wait for each other
//! within a step.

use super::architecture::{Architecture, ParameterLayout, Unit};
use super::layers::{self, Moments, Sums, padded_zeros};
use crate::math::convolution::{Convolution, padded_len, unpadded_len};
use crate::math::gemm::{Matrix, multiply};

/// Gradient values per product with the weights; sized for the L2 cache.
const GROUP_NUMBERS: usize = 64 * 1024;

/// The weights in the layout of the convolutions, for both passes.
pub(super) struct Packed {
    forward: Vec<Vec<f32>>,
    adjoint: Vec<Vec<f32>>,
}

impl Packed {
    pub(super) fn new(units: &[Unit]) -> Self {
        let room = |unit: &Unit| vec![0.0; unit.convolution.weights()];
        Self {
            forward: units.iter().map(room).collect(),
            // The gradient with respect to the images is not needed.
            adjoint: units
                .iter()
                .enumerate()
                .map(|(index, unit)| if index == 0 { Vec::new() } else { room(unit) })
                .collect(),
        }
    }

    /// Packs the weights of all units.
    pub(super) fn pack(&mut self, units: &[Unit], layout: &ParameterLayout, numbers: &[f32]) {
        use rayon::prelude::*;
        let packed = self.forward.par_iter_mut().zip(&mut self.adjoint);
        packed.zip(units).zip(&layout.units).for_each(|(((forward, adjoint), unit), layout)| {
            let weights = &numbers[layout.weights.clone()];
            unit.convolution.pack(weights, forward);
            if !adjoint.is_empty() {
                unit.convolution.pack_adjoint(weights, adjoint);
            }
        });
    }
}

/// The intermediate results of one unit, image by image.
struct UnitCache {
    /// The convolution's results, without border.
    result: Vec<f32>,
    /// The output after normalization, addition and ReLU, with border.
    out: Vec<f32>,
    /// The pooled output, with border; empty without pooling.
    pooled: Vec<f32>,
    moments: Moments,
    inverse: Vec<f32>,
}

/// Loss and accuracy sums over images.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BatchStats {
    pub(super) loss: f64,
    pub(super) right: u64,
    pub(super) images: u64,
}

impl BatchStats {
    pub(super) fn merged(self, other: Self) -> Self {
        Self { loss: self.loss + other.loss, right: self.right + other.right, images: self.images + other.images }
    }
}

/// Images, intermediate results and gradient of one shard; reused between batches.
pub(super) struct ShardState {
    shape: Architecture,
    units: Vec<Unit>,
    /// `[image]`, with border.
    pub(super) input: Vec<f32>,
    pub(super) labels: Vec<u16>,
    caches: Vec<UnitCache>,
    features: Vec<f32>,
    /// The logits, then their gradient.
    logits: Vec<f32>,
    slopes: Vec<f32>,
    next: Vec<f32>,
    skipped: Vec<f32>,
    group: Vec<f32>,
    /// Gradient of all parameters, summed over the shard.
    pub(super) gradient: Vec<f32>,
    pub(super) stats: BatchStats,
}

impl ShardState {
    pub(super) fn new(shape: Architecture, images: usize) -> Self {
        let units = shape.units();
        let widest =
            units.iter().map(|unit| unpadded_len(unit.convolution.side, unit.convolution.to)).max().unwrap_or(0);
        let group =
            |unit: &Unit| Self::group(unit.convolution) * padded_len(unit.convolution.side, unit.convolution.to);
        let caches = units.iter().map(|unit| {
            let Convolution { side, to, .. } = unit.convolution;
            UnitCache {
                result: vec![0.0; images * unpadded_len(side, to)],
                out: padded_zeros(images, side, to),
                pooled: if unit.pools { padded_zeros(images, unit.side_out(), to) } else { Vec::new() },
                moments: Moments::default(),
                inverse: Vec::new(),
            }
        });
        Self {
            caches: caches.collect(),
            input: vec![0.0; images * shape.input()],
            labels: vec![0; images],
            features: vec![0.0; images * shape.features()],
            logits: vec![0.0; images * shape.classes],
            slopes: vec![0.0; images * widest],
            next: vec![0.0; images * widest],
            skipped: vec![0.0; images * widest],
            group: vec![0.0; units.iter().map(group).max().unwrap_or(0)],
            gradient: vec![0.0; ParameterLayout::of(&shape).total],
            stats: BatchStats::default(),
            units,
            shape,
        }
    }

    /// Approximate memory of a worker in bytes.
    pub(super) fn bytes(shape: &Architecture, images: usize) -> u64 {
        let units = shape.units();
        let caches = |unit: &Unit| {
            let Convolution { side, to, .. } = unit.convolution;
            unpadded_len(side, to) + padded_len(side, to) + if unit.pools { padded_len(unit.side_out(), to) } else { 0 }
        };
        let widest =
            units.iter().map(|unit| unpadded_len(unit.convolution.side, unit.convolution.to)).max().unwrap_or(0);
        let of_image =
            shape.input() + units.iter().map(caches).sum::<usize>() + 3 * widest + shape.features() + shape.classes;
        4 * (images as u64 * of_image as u64 + ParameterLayout::of(shape).total as u64)
    }

    /// Images per group in the backward pass of a convolution.
    fn group(convolution: Convolution) -> usize {
        (GROUP_NUMBERS / padded_len(convolution.side, convolution.to)).max(1)
    }

    /// Forward and backward pass over the images: fills `gradient` with the gradient of `weight` times the sum of
    /// their losses, and updates `stats`.
    pub(super) fn step(
        &mut self,
        layout: &ParameterLayout,
        numbers: &[f32],
        packed: &Packed,
        smoothing: f32,
        weight: f32,
    ) {
        self.forward(layout, numbers, packed);
        let (classes, images) = (self.shape.classes, self.labels.len());
        let mut stats = BatchStats { images: images as u64, ..BatchStats::default() };
        for (logits, &label) in self.logits.chunks_exact_mut(classes).zip(&self.labels) {
            let label = usize::from(label);
            let best = (0..classes).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            stats.right += u64::from(best == Some(label));
            stats.loss += layers::cross_entropy(logits, label, smoothing, weight);
        }
        self.stats = stats;
        self.backward(layout, numbers, packed);
    }

    /// Forward pass from images to logits.
    fn forward(&mut self, layout: &ParameterLayout, numbers: &[f32], packed: &Packed) {
        let images = self.labels.len();
        for (index, unit) in self.units.iter().enumerate() {
            let Convolution { side, from, to } = unit.convolution;
            let (before, rest) = self.caches.split_at_mut(index);
            let cache = &mut rest[0];
            let input = input_of(&self.input, before);
            let mut sums = Sums::new(to);
            let results = cache.result.chunks_exact_mut(unpadded_len(side, to)).take(images);
            for (input, result) in input.chunks_exact(padded_len(side, from)).zip(results) {
                unit.convolution.forward(input, &packed.forward[index], result, false);
                sums.add_squares(result);
            }
            cache.moments = sums.moments(images * side * side);
            cache.inverse = cache.moments.inverse();
            let layout = &layout.units[index];
            let (scale, shift) = (&numbers[layout.scale.clone()], &numbers[layout.shift.clone()]);
            let factor: Vec<f32> = scale.iter().zip(&cache.inverse).map(|(scale, inverse)| scale * inverse).collect();
            let term: Vec<f32> = (0..to).map(|c| shift[c] - cache.moments.mean[c] * factor[c]).collect();
            // The previous unit's input has the same layout as this unit's result.
            let skip = unit.adds.then(|| input_of(&self.input, &before[..index - 1]));
            for image in 0..images {
                let of = |numbers: usize| image * numbers..(image + 1) * numbers;
                let out = &mut cache.out[of(padded_len(side, to))];
                let skip = skip.map(|skip| &skip[of(padded_len(side, to))]);
                layers::normalize_relu(side, &cache.result[of(unpadded_len(side, to))], (&factor, &term), skip, out);
                if unit.pools {
                    layers::pool(side, to, out, &mut cache.pooled[of(padded_len(side / 2, to))]);
                }
            }
        }
        let (last, unit) = (&self.caches[self.units.len() - 1], self.units[self.units.len() - 1]);
        let Convolution { side, to, .. } = unit.convolution;
        for (out, features) in
            last.out.chunks_exact(padded_len(side, to)).zip(self.features.chunks_exact_mut(to)).take(images)
        {
            layers::average(side, to, out, features);
        }
        let classes = self.shape.classes;
        for logits in self.logits.chunks_exact_mut(classes).take(images) {
            logits.copy_from_slice(&numbers[layout.bias.clone()]);
        }
        let weights = Matrix::new(&numbers[layout.linear.clone()], classes, to).transposed();
        multiply(&mut self.logits, Matrix::new(&self.features, images, to), weights, true);
    }

    fn backward(&mut self, layout: &ParameterLayout, numbers: &[f32], packed: &Packed) {
        let (images, classes) = (self.labels.len(), self.shape.classes);
        self.gradient.fill(0.0);
        let width = self.shape.features();
        let logits = &self.logits[..images * classes];
        let by_weight = &mut self.gradient[layout.linear.clone()];
        multiply(
            by_weight,
            Matrix::new(logits, images, classes).transposed(),
            Matrix::new(&self.features, images, width),
            false,
        );
        for slopes in logits.chunks_exact(classes) {
            self.gradient[layout.bias.clone()].iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
        }
        let mut features = vec![0.0; images * width];
        let weights = Matrix::new(&numbers[layout.linear.clone()], classes, width);
        multiply(&mut features, Matrix::new(logits, images, classes), weights, false);
        let side = self.units[self.units.len() - 1].convolution.side;
        for (slopes, into) in features.chunks_exact(width).zip(self.slopes.chunks_exact_mut(side * side * width)) {
            layers::average_backward(side, slopes, into);
        }
        for index in (0..self.units.len()).rev() {
            self.unit_backward(index, &layout.units[index], numbers, packed);
        }
    }

    /// Replaces `slopes`, the gradient of the unit's output, by the gradient of its input.
    fn unit_backward(
        &mut self,
        index: usize,
        layout: &super::architecture::UnitParameters,
        numbers: &[f32],
        packed: &Packed,
    ) {
        let images = self.labels.len();
        let unit = self.units[index];
        let Convolution { side, from, to } = unit.convolution;
        let (before, rest) = self.caches.split_at(index);
        let cache = &rest[0];
        let mut sums = Sums::new(to);
        if unit.pools {
            std::mem::swap(&mut self.slopes, &mut self.next);
        }
        for image in 0..images {
            let of = |numbers: usize| image * numbers..(image + 1) * numbers;
            let slopes = &mut self.slopes[of(unpadded_len(side, to))];
            let out = &cache.out[of(padded_len(side, to))];
            if unit.pools {
                let pooled = &cache.pooled[of(padded_len(side / 2, to))];
                layers::pool_backward(side, to, out, pooled, &self.next[of(unpadded_len(side / 2, to))], slopes);
            } else {
                layers::relu_backward(side, to, out, slopes);
            }
            sums.add_products(slopes, &cache.result[of(unpadded_len(side, to))], &cache.moments.mean, &cache.inverse);
        }
        let totals = sums.totals();
        for (range, sums) in [(&layout.shift, &totals[0]), (&layout.scale, &totals[1])] {
            self.gradient[range.clone()].iter_mut().zip(sums).for_each(|(slope, &sum)| *slope = sum as f32);
        }
        if unit.adds {
            // The gradient also reaches the block's input through the skip connection.
            self.skipped[..images * unpadded_len(side, to)]
                .copy_from_slice(&self.slopes[..images * unpadded_len(side, to)]);
        }
        let adds_to_skipped = self.units.get(index + 1).is_some_and(|after| after.adds);
        let by_input = if adds_to_skipped { &mut self.skipped } else { &mut self.next };
        let input = input_of(&self.input, before);
        let together = Self::group(unit.convolution);
        let group = &mut self.group[..together * padded_len(side, to)];
        group.fill(0.0);
        let scale = &numbers[layout.scale.clone()];
        for first in (0..images).step_by(together) {
            let count = together.min(images - first);
            for (image, into) in (first..first + count).zip(group.chunks_exact_mut(padded_len(side, to))) {
                let of = image * unpadded_len(side, to)..(image + 1) * unpadded_len(side, to);
                let (slopes, result) = (&self.slopes[of.clone()], &cache.result[of]);
                let moments = (&cache.moments, &cache.inverse[..], scale);
                layers::normalize_backward(side, slopes, result, moments, (totals, images * side * side), into);
            }
            let inputs = &input[first * padded_len(side, from)..];
            unit.convolution.backward(inputs, group, count, &mut self.gradient[layout.weights.clone()]);
            if index > 0 {
                let results = by_input[first * unpadded_len(side, from)..].chunks_exact_mut(unpadded_len(side, from));
                for (slopes, by_input) in group.chunks_exact(padded_len(side, to)).zip(results).take(count) {
                    unit.convolution.adjoint().forward(slopes, &packed.adjoint[index], by_input, adds_to_skipped);
                }
            }
        }
        std::mem::swap(&mut self.slopes, by_input);
    }

    /// Mean and variance of each unit's results.
    pub(super) fn moments(&self) -> impl Iterator<Item = &Moments> {
        self.caches.iter().map(|cache| &cache.moments)
    }
}

/// The input of a unit, given the previous units: the output of the last of them, or the images.
fn input_of<'a>(images: &'a [f32], before: &'a [UnitCache]) -> &'a [f32] {
    match before.last() {
        None => images,
        Some(cache) if cache.pooled.is_empty() => &cache.out,
        Some(cache) => &cache.pooled,
    }
}
