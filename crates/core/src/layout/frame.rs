//! Normalization of layouts of all methods: mean 0, and 1 as the 99th percentile of the absolute coordinates.

/// Mapping from the coordinates of a method to normalized coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    centre: Vec<f32>,
    scale: f32,
}

impl Frame {
    /// Computes the mapping from a layout with `dimensions` coordinates per point.
    pub fn around(positions: &[f32], dimensions: usize) -> Self {
        let n = positions.len() / dimensions;
        let mut centre = vec![0.0_f64; dimensions];
        for position in positions.chunks_exact(dimensions) {
            centre.iter_mut().zip(position).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        #[allow(clippy::cast_possible_truncation)]
        let centre: Vec<f32> = centre.into_iter().map(|sum| (sum / n.max(1) as f64) as f32).collect();
        let mut sizes: Vec<f32> = positions
            .chunks_exact(dimensions)
            .flat_map(|position| position.iter().zip(&centre).map(|(x, c)| (x - c).abs()))
            .collect();
        let at = (sizes.len() * 99 / 100).min(sizes.len().saturating_sub(1));
        let size = if sizes.is_empty() { 0.0 } else { *sizes.select_nth_unstable_by(at, f32::total_cmp).1 };
        Self { centre, scale: if size > 0.0 { 1.0 / size } else { 1.0 } }
    }

    /// Normalizes one point.
    pub fn show(&self, position: &mut [f32]) {
        position.iter_mut().zip(&self.centre).for_each(|(x, centre)| *x = (*x - centre) * self.scale);
    }

    /// Returns the normalized layout.
    pub fn shown(positions: &[f32], dimensions: usize) -> Vec<f32> {
        let frame = Self::around(positions, dimensions);
        let mut shown = positions.to_vec();
        shown.chunks_exact_mut(dimensions).for_each(|position| frame.show(position));
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_centred_and_of_size_1() {
        let positions: Vec<f32> = (0..1_000).flat_map(|i| [i as f32 * 3.0 + 1e4, -(i as f32)]).collect();
        let shown = Frame::shown(&positions, 2);
        let mean = |axis: usize| shown.iter().skip(axis).step_by(2).sum::<f32>() / 1_000.0;
        assert!(mean(0).abs() < 1e-3 && mean(1).abs() < 1e-3);
        let beyond = shown.iter().filter(|x| x.abs() > 1.0).count();
        assert!((1..=20).contains(&beyond), "{beyond} of 2,000");
        assert_eq!(Frame::shown(&[5.0, 5.0, 5.0, 5.0], 2), [0.0; 4], "coincident points");
        assert!(Frame::shown(&[], 2).is_empty());
    }
}
