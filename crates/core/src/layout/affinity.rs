//! Symmetric graph of attraction weights, computed from the nearest neighbours of each point.

use rayon::prelude::*;

/// Nearest neighbours of each point: `k` entries per point, nearest first.
#[derive(Clone, Debug, Default)]
pub struct Neighbors {
    /// Entries per point.
    pub k: usize,
    /// Indices of the neighbours; [`NO_NEIGHBOR`] pads missing ones.
    pub points: Vec<u32>,
    /// Distances, with any offset: only differences count.
    pub distances: Vec<f32>,
}

/// Index of a missing neighbour.
pub const NO_NEIGHBOR: u32 = u32::MAX;

/// Steps of a bisection.
const STEPS: usize = 40;

impl Neighbors {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.points.len().checked_div(self.k).unwrap_or(0)
    }

    /// Returns whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the neighbours of a point with their distances, without padding.
    pub fn of(&self, point: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let range = point * self.k..(point + 1) * self.k;
        let pairs = self.points[range.clone()].iter().copied().zip(self.distances[range].iter().copied());
        pairs.filter(|(other, _)| *other != NO_NEIGHBOR)
    }
}

/// A symmetric weighted graph in compressed sparse rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Affinities {
    starts: Vec<usize>,
    others: Vec<u32>,
    weights: Vec<f32>,
}

impl Affinities {
    /// Returns the neighbours of a point and the edge weights.
    #[inline]
    pub(super) fn of(&self, point: usize) -> (&[u32], &[f32]) {
        let range = self.starts[point]..self.starts[point + 1];
        (&self.others[range.clone()], &self.weights[range])
    }

    /// Number of points.
    pub(super) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Creates the t-SNE graph: Gaussians with the bandwidth that gives each point the perplexity `perplexity`, p(i, j)
    /// = (p(j|i) + p(i|j)) / 2n (van der Maaten & Hinton 2008, section 2 and 3.1).
    pub(super) fn gaussian(neighbors: &Neighbors, perplexity: f32) -> Self {
        let weigh = |distances: &[f32], out: &mut [f32]| gaussian_row(distances, perplexity, out);
        let mut graph = Self::symmetric(neighbors, &weigh, &|a, b| a + b);
        let sum: f64 = graph.weights.iter().map(|&weight| f64::from(weight)).sum();
        #[allow(clippy::cast_possible_truncation)]
        let scale = (1.0 / sum.max(f64::MIN_POSITIVE)) as f32;
        graph.weights.iter_mut().for_each(|weight| *weight *= scale);
        graph
    }

    /// Creates the UMAP graph: smoothed distances, and the fuzzy union a + b - ab of both directions (McInnes, Healy &
    /// Melville 2018, algorithms 2 and 3).
    pub(super) fn fuzzy(neighbors: &Neighbors) -> Self {
        Self::symmetric(neighbors, &fuzzy_row, &|a, b| a + b - a * b)
    }

    fn symmetric(
        neighbors: &Neighbors,
        weigh: &(dyn Fn(&[f32], &mut [f32]) + Sync),
        join: &(dyn Fn(f32, f32) -> f32 + Sync),
    ) -> Self {
        let (n, k) = (neighbors.len(), neighbors.k);
        let mut directed = vec![0.0_f32; n * k];
        directed.par_chunks_mut(k.max(1)).enumerate().for_each(|(point, out)| {
            let there = neighbors.of(point).count();
            weigh(&neighbors.distances[point * k..][..there], &mut out[..there]);
        });
        let mut sizes = vec![0_usize; n];
        for point in 0..n {
            for (other, _) in neighbors.of(point) {
                sizes[point] += 1;
                sizes[other as usize] += 1;
            }
        }
        let mut ends: Vec<usize> = sizes
            .iter()
            .scan(0, |end, size| {
                let start = *end;
                *end += size;
                Some(start)
            })
            .collect();
        let mut both = vec![(0_u32, 0.0_f32); sizes.iter().sum()];
        for point in 0..n {
            for (position, (other, _)) in neighbors.of(point).enumerate() {
                let weight = directed[point * k + position];
                both[ends[point]] = (other, weight);
                both[ends[other as usize]] = (point as u32, weight);
                ends[point] += 1;
                ends[other as usize] += 1;
            }
        }
        let row = |point: usize| {
            let mut row = both[ends[point] - sizes[point]..ends[point]].to_vec();
            row.sort_unstable_by_key(|pair| pair.0);
            let mut joined: Vec<(u32, f32)> = Vec::with_capacity(row.len());
            for (other, weight) in row {
                match joined.last_mut() {
                    Some(last) if last.0 == other => last.1 = join(last.1, weight),
                    _ => joined.push((other, weight)),
                }
            }
            joined
        };
        let rows: Vec<Vec<(u32, f32)>> = (0..n).into_par_iter().map(row).collect();
        let mut graph = Self { starts: vec![0], ..Self::default() };
        for row in rows {
            graph.others.extend(row.iter().map(|pair| pair.0));
            graph.weights.extend(row.iter().map(|pair| pair.1));
            graph.starts.push(graph.others.len());
        }
        graph
    }
}

/// Computes p(j|i) of one point, from ascending distances.
fn gaussian_row(distances: &[f32], perplexity: f32, out: &mut [f32]) {
    let Some(&first) = distances.first() else { return };
    let wanted = perplexity.min(distances.len() as f32 * 0.9).max(1.0).ln();
    let squares: Vec<f32> = distances.iter().map(|distance| (distance - first) * (distance + first)).collect();
    let size = squares.iter().copied().fold(0.0, f32::max);
    if size <= 0.0 || !size.is_finite() {
        out.fill(1.0 / out.len() as f32);
        return;
    }
    let (mut low, mut high, mut beta) = (0.0_f32, f32::INFINITY, 1.0_f32);
    for _ in 0..STEPS {
        let (mut sum, mut mean) = (0.0, 0.0);
        for (out, square) in out.iter_mut().zip(&squares) {
            let scaled = square / size;
            *out = (-beta * scaled).exp();
            sum += *out;
            mean += *out * scaled;
        }
        let entropy = sum.ln() + beta * mean / sum;
        out.iter_mut().for_each(|out| *out /= sum);
        if entropy > wanted {
            low = beta;
            beta = if high.is_finite() { f32::midpoint(low, high) } else { beta * 2.0 };
        } else {
            high = beta;
            beta = f32::midpoint(low, high);
        }
    }
}

/// Computes the membership strengths of one point, from ascending distances: 1 for the nearest neighbour; the sum is
/// the binary logarithm of their number plus 1.
fn fuzzy_row(distances: &[f32], out: &mut [f32]) {
    let first = distances.iter().copied().find(|&distance| distance > 0.0).unwrap_or(0.0);
    let beyond: Vec<f32> = distances.iter().map(|distance| (distance - first).max(0.0)).collect();
    let mean = beyond.iter().sum::<f32>() / beyond.len().max(1) as f32;
    if mean <= 0.0 || !mean.is_finite() {
        out.fill(1.0);
        return;
    }
    let wanted = (distances.len() as f32 + 1.0).log2();
    let (mut low, mut high, mut sigma) = (0.0_f32, f32::INFINITY, mean);
    for _ in 0..STEPS {
        out.iter_mut().zip(&beyond).for_each(|(out, beyond)| *out = (-beyond / sigma).exp());
        if out.iter().sum::<f32>() > wanted {
            high = sigma;
            sigma = f32::midpoint(low, high);
        } else {
            low = sigma;
            sigma = if high.is_finite() { f32::midpoint(low, high) } else { sigma * 2.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four points: 0 and 1 near each other, 2 near 1, 3 with one neighbour only.
    fn four() -> Neighbors {
        Neighbors {
            k: 2,
            points: vec![1, 2, 0, 2, 1, 0, 2, NO_NEIGHBOR],
            distances: vec![1.0, 3.0, 1.0, 2.0, 2.0, 3.0, 9.0, 0.0],
        }
    }

    #[test]
    fn both_graphs_are_symmetric() {
        for graph in [Affinities::gaussian(&four(), 1.5), Affinities::fuzzy(&four())] {
            assert_eq!(graph.len(), 4);
            for point in 0..4 {
                let (others, weights) = graph.of(point);
                assert!(others.is_sorted() && !others.contains(&(point as u32)), "{others:?}");
                for (&other, weight) in others.iter().zip(weights) {
                    let (back, back_weights) = graph.of(other as usize);
                    let position = back.iter().position(|back| *back as usize == point).unwrap();
                    assert_eq!(back_weights[position], *weight);
                    assert!(*weight > 0.0 && *weight <= 1.0);
                }
            }
            assert_eq!(graph.of(3).0, [2]);
        }
        let sum: f32 = Affinities::gaussian(&four(), 1.5).weights.iter().sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }

    #[test]
    fn bandwidths_give_the_perplexity_and_the_sum_of_strengths() {
        let distances: Vec<f32> = (0..60).map(|i| 5.0 + (i as f32).sqrt()).collect();
        let mut out = vec![0.0; 60];
        gaussian_row(&distances, 12.0, &mut out);
        let entropy: f32 = out.iter().map(|p| -p * p.max(f32::MIN_POSITIVE).ln()).sum();
        assert!((entropy.exp() - 12.0).abs() < 0.05, "{}", entropy.exp());
        assert!(out.is_sorted_by(|a, b| a >= b));
        fuzzy_row(&distances, &mut out);
        assert!((out.iter().sum::<f32>() - 61.0_f32.log2()).abs() < 0.01 && out[0] == 1.0, "{out:?}");
        gaussian_row(&[4.0; 60], 12.0, &mut out);
        assert!(out.iter().all(|p| (p - 1.0 / 60.0).abs() < 1e-6), "duplicates");
        fuzzy_row(&[0.0; 60], &mut out);
        assert!(out.iter().all(|w| *w == 1.0), "duplicates");
        gaussian_row(&[], 12.0, &mut []);
    }
}
