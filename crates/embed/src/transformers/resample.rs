//! Picture resizing with the same bytes as Pillow (its `Resample.c`): each result is a weighted mean of the pixels
//! under a kernel that grows with the reduction, first along rows, rounded, then along columns.

use crate::image_decode::Picture;
use serde::{Deserialize, Serialize};

/// Fractional bits of the weights.
const BITS: u32 = 22;

/// Resampling kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Filter {
    Bilinear,
    Bicubic,
    Lanczos,
}

impl Filter {
    /// The filter with Pillow's number.
    pub(super) fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Lanczos),
            2 => Some(Self::Bilinear),
            3 => Some(Self::Bicubic),
            _ => None,
        }
    }

    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) };
        let size = x.abs();
        match self {
            Self::Bilinear => (1.0 - size).max(0.0),
            // Keys 1981, a = -1/2.
            Self::Bicubic if size < 1.0 => (1.5 * size - 2.5) * size * size + 1.0,
            Self::Bicubic if size < 2.0 => ((-0.5 * size + 2.5) * size - 4.0) * size + 2.0,
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Bicubic | Self::Lanczos => 0.0,
        }
    }

    /// For `count` of `to` results, starting at `first`: the index of the first source pixel, and the weights.
    fn weights(self, from: usize, to: usize, first: usize, count: usize) -> Vec<(usize, Vec<i32>)> {
        let scale = from as f64 / to as f64;
        let reduction = scale.max(1.0);
        let support = self.support() * reduction;
        let of = |index: usize| {
            let center = (index as f64 + 0.5) * scale;
            let begin = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let exact: Vec<f64> = (begin..end).map(|x| self.at((x as f64 - center + 0.5) / reduction)).collect();
            let sum: f64 = exact.iter().sum();
            let rounded = |weight: f64| {
                let weight = weight * f64::from(1 << BITS);
                (if weight < 0.0 { weight - 0.5 } else { weight + 0.5 }) as i32
            };
            let share = |weight: &f64| rounded(if sum == 0.0 { *weight } else { weight / sum });
            (begin, exact.iter().map(share).collect())
        };
        (first..first + count).map(of).collect()
    }
}

/// A crop of a resized picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Width and height of the resized picture.
    pub(super) whole: (usize, usize),
    /// Left and upper edge of the crop.
    pub(super) at: (usize, usize),
    /// Width and height of the crop.
    pub(super) size: (usize, usize),
}

/// Resizes `picture` to `part.whole` and returns the crop as red, green and blue, row by row. Computes only the crop.
pub(super) fn resize(picture: &Picture, filter: Filter, part: Part) -> Vec<u8> {
    let columns = filter.weights(picture.width, part.whole.0, part.at.0, part.size.0);
    let rows = filter.weights(picture.height, part.whole.1, part.at.1, part.size.1);
    let top = rows.iter().map(|(begin, _)| *begin).min().unwrap_or(0);
    let bottom = rows.iter().map(|(begin, weights)| begin + weights.len()).max().unwrap_or(0);
    let byte = |sum: i32| (sum >> BITS).clamp(0, 255) as u8;
    let half = 1 << (BITS - 1);
    let mut narrow = Vec::with_capacity((bottom - top) * part.size.0 * 3);
    for line in picture.rgb[top * picture.width * 3..bottom * picture.width * 3].chunks_exact(picture.width * 3) {
        for (begin, weights) in &columns {
            let mut sums = [half; 3];
            for (pixel, weight) in line[begin * 3..].as_chunks::<3>().0.iter().zip(weights) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &byte)| *sum += i32::from(byte) * weight);
            }
            narrow.extend(sums.map(byte));
        }
    }
    let line = part.size.0 * 3;
    let mut out = Vec::with_capacity(part.size.1 * line);
    let mut sums = vec![0; line];
    for (begin, weights) in &rows {
        sums.fill(half);
        for (line, weight) in narrow[(begin - top) * line..].chunks_exact(line).zip(weights) {
            sums.iter_mut().zip(line).for_each(|(sum, &byte)| *sum += i32::from(byte) * weight);
        }
        out.extend(sums.iter().map(|&sum| byte(sum)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize) -> Picture {
        Picture { width, height, rgb: (0..width * height * 3).map(|i| (i * 89 % 251) as u8).collect() }
    }

    #[test]
    fn a_crop_equals_that_part_of_the_whole_and_the_same_size_changes_nothing() {
        let picture = picture(31, 17);
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            let all = |whole| Part { whole, at: (0, 0), size: whole };
            assert_eq!(resize(&picture, filter, all((31, 17))), picture.rgb);
            for whole in [(9, 5), (40, 60), (31, 4)] {
                let large = resize(&picture, filter, all(whole));
                let part = Part { whole, at: (3, 1), size: (5, 2) };
                let lines = large.chunks_exact(whole.0 * 3).skip(1).take(2);
                let expected: Vec<u8> = lines.flat_map(|line| line[9..24].to_vec()).collect();
                assert_eq!(resize(&picture, filter, part), expected, "{filter:?} {whole:?}");
            }
        }
    }
}
