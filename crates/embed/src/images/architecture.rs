//! The shape of a net: its convolutions, their sizes, and the layout of its parameters.

use crate::Error;
use crate::math::convolution::{CHANNELS, Convolution, padded_len, unpadded_len};
use std::ops::Range;

/// Allowed sides of the input pictures, pixels.
pub(super) const SIDES: std::ops::RangeInclusive<usize> = 16..=256;
/// Allowed widths (channels of the first stage), multiples of 32.
pub(super) const WIDTHS: std::ops::RangeInclusive<usize> = 32..=256;
/// Allowed residual blocks per stage.
pub(super) const BLOCKS: std::ops::RangeInclusive<usize> = 1..=8;
/// Allowed numbers of classes.
pub(super) const CLASSES: std::ops::RangeInclusive<usize> = 2..=10_000;
/// Number of stages. Each halves the side and doubles the channels.
const STAGES: usize = 3;

/// The hyperparameters that determine the architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Rows and columns of the pictures.
    pub side: usize,
    /// 1 for grey, 3 for red, green, blue.
    pub channels: usize,
    /// Channels of the first stage; the second has twice as many, the third four times.
    pub width: usize,
    /// Residual blocks per stage.
    pub blocks: usize,
    /// Number of classes.
    pub classes: usize,
}

/// A convolution with its normalization, the skip connection at the end of a residual block, the ReLU, and 2x2 max
/// pooling where the side is halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) convolution: Convolution,
    /// Whether the input of the previous unit is added before the ReLU.
    pub(super) adds: bool,
    /// Whether the result is pooled.
    pub(super) pools: bool,
}

impl Unit {
    /// Side of the output.
    pub(super) fn side_out(&self) -> usize {
        if self.pools { self.convolution.side / 2 } else { self.convolution.side }
    }
}

impl Architecture {
    /// Refuses a shape that is out of bounds, naming the number.
    ///
    /// # Errors
    /// [`Error::InvalidInput`].
    pub fn check(&self) -> Result<(), Error> {
        let within = |what: &str, number: usize, bounds: std::ops::RangeInclusive<usize>| {
            let (min, max) = (bounds.start(), bounds.end());
            if bounds.contains(&number) {
                Ok(())
            } else {
                Err(Error::InvalidInput(format!("{what} is {number}; it must be {min} to {max}")))
            }
        };
        within("the side of the images", self.side, SIDES)?;
        within("width", self.width, WIDTHS)?;
        within("the number of residual blocks per stage", self.blocks, BLOCKS)?;
        within("the number of classes", self.classes, CLASSES)?;
        if !self.width.is_multiple_of(2 * CHANNELS) {
            return Err(Error::InvalidInput(format!(
                "width is {}; it must be a multiple of {}",
                self.width,
                2 * CHANNELS
            )));
        }
        if ![1, 3].contains(&self.channels) {
            return Err(Error::InvalidInput(format!("{} colours; images have 1 or 3", self.channels)));
        }
        Ok(())
    }

    /// The convolutions in order.
    pub(super) fn units(&self) -> Vec<Unit> {
        let mut side = self.side;
        let first = Convolution { side, from: self.channels, to: self.width / 2 };
        let mut units = vec![Unit { convolution: first, adds: false, pools: true }];
        for stage in 0..STAGES {
            side /= 2;
            let (from, to) = (self.width << stage >> 1, self.width << stage);
            units.push(Unit { convolution: Convolution { side, from, to }, adds: false, pools: false });
            for index in 0..2 * self.blocks {
                let last = index + 1 == 2 * self.blocks;
                let convolution = Convolution { side, from: to, to };
                units.push(Unit { convolution, adds: index % 2 == 1, pools: last && stage + 1 < STAGES });
            }
        }
        units
    }

    /// Dimension of the output layer `features`: the channels of the last stage.
    pub fn features(&self) -> usize {
        self.width << (STAGES - 1)
    }

    /// Bytes of a picture with 8 bits per colour.
    pub fn pixels(&self) -> usize {
        unpadded_len(self.side, self.channels)
    }

    /// Values of the first convolution's input, with border.
    pub(super) fn input(&self) -> usize {
        padded_len(self.side, self.channels)
    }

    /// Names and shapes of the tensors of a trained net, in order: for each unit the kernel, `[ky][kx][from][to]`,
    /// and the bias; for the linear layer the weight, `[class][feature]`, and the bias.
    pub(super) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = Vec::new();
        for (index, unit) in self.units().iter().enumerate() {
            let Convolution { from, to, .. } = unit.convolution;
            tensors.push((format!("convolution{index}.weight"), vec![3, 3, from, to]));
            tensors.push((format!("convolution{index}.bias"), vec![to]));
        }
        tensors.push(("linear.weight".into(), vec![self.classes, self.features()]));
        tensors.push(("linear.bias".into(), vec![self.classes]));
        tensors
    }
}

/// Ranges of the trainable parameters in one array.
#[derive(Clone, Debug)]
pub(super) struct ParameterLayout {
    pub(super) units: Vec<UnitParameters>,
    pub(super) linear: Range<usize>,
    pub(super) bias: Range<usize>,
    pub(super) total: usize,
}

/// Ranges of the parameters of one unit.
#[derive(Clone, Debug)]
pub(super) struct UnitParameters {
    pub(super) weights: Range<usize>,
    /// Factor of each normalized channel.
    pub(super) scale: Range<usize>,
    /// Term of each normalized channel.
    pub(super) shift: Range<usize>,
}

impl ParameterLayout {
    pub(super) fn of(shape: &Architecture) -> Self {
        let mut total = 0;
        let mut take = |count: usize| {
            total += count;
            total - count..total
        };
        let units = shape.units().into_iter().map(|unit| UnitParameters {
            weights: take(unit.convolution.weights()),
            scale: take(unit.convolution.to),
            shift: take(unit.convolution.to),
        });
        let units = units.collect();
        let (linear, bias) = (take(shape.classes * shape.features()), take(shape.classes));
        Self { units, linear, bias, total }
    }
}
