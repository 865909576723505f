//! Repulsion between all pairs of points in a plane: kernel sums on a grid, by FFT.
//!
//! The repulsion on i is the sum over j of (y_i - y_j) / (1 + |y_i - y_j|^2)^2. As in FIt-SNE (Linderman et al. 2019),
//! points are spread to the nodes of a grid, the grid is convolved with the kernel, and the result is interpolated at
//! the points. Three changes: cubic splines instead of polynomials (they are smooth, and their transform is divided
//! out, as in smooth particle mesh Ewald, Essmann et al. 1995), so that a coarser grid suffices; a vector-valued
//! kernel, so that no near-equal sums are subtracted; and both components in one complex transform. The sum of 1 / (1 +
//! d^2) over all pairs, which normalizes t-SNE, comes from the transforms by Parseval's theorem.

use rayon::prelude::*;
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};
use std::f32::consts::TAU;
use std::sync::Arc;

/// Distance between nodes: half of the kernel width.
const SPACING: f32 = 0.5;
/// Minimum number of nodes across the points: a small layout gets a finer grid.
const MIN_NODES: usize = 96;
/// Maximum number of nodes across the points; the transforms cover 4 times as many cells. A larger layout gets a
/// coarser grid.
const MAX_NODES: usize = 1_000;
/// Number of partial grids, independent of the number of threads, so that the sums are, too.
const PARTS: usize = 4;
/// Nodes beyond the outermost points, for the support of the splines.
const MARGIN: usize = 3;
/// Side of the blocks of the matrix transposition.
const BLOCK: usize = 16;

/// Grid with the transformed kernels.
pub(super) struct Field {
    /// Nodes across the points; the transforms are twice as wide, to prevent wrap-around.
    nodes: usize,
    spacing: f32,
    forward: Arc<dyn Fft<f32>>,
    backward: Arc<dyn Fft<f32>>,
    /// Transform of the repulsion along x plus i times that along y, transposed.
    push: Vec<Complex32>,
    /// Transform of 1 / (1 + d^2), transposed.
    nearness: Vec<f32>,
    /// The cells, and a buffer for their transpose.
    cells: Vec<Complex32>,
    transposed: Vec<Complex32>,
    parts: Vec<Vec<f32>>,
}

/// Returns the smallest number of nodes >= `min` whose prime factors are 2, 3 and 5, for fast transforms of twice the
/// size.
fn good_size(min: usize) -> usize {
    let smooth = |mut n: usize| {
        for factor in [2, 3, 5] {
            while n.is_multiple_of(factor) {
                n /= factor;
            }
        }
        n == 1
    };
    (min.max(2)..).find(|&n| smooth(n)).unwrap_or(min)
}

/// Returns the four weights of a cubic spline at `t`, 0 to 1, between the second and the third node.
#[inline]
fn spline(t: f32) -> [f32; 4] {
    let (s, sixth) = (1.0 - t, 1.0 / 6.0);
    let second = (3.0 * t * t * t - 6.0 * t * t + 4.0) * sixth;
    let third = (3.0 * s * s * s - 6.0 * s * s + 4.0) * sixth;
    [s * s * s * sixth, second, third, t * t * t * sixth]
}

/// Mapping from coordinates to grid nodes.
#[derive(Clone, Copy)]
struct Grid {
    origin: [f32; 2],
    inverse: f32,
    nodes: usize,
}

impl Grid {
    /// Returns the first node of a point's spline along both axes, and the weights.
    #[inline]
    fn at(&self, point: [f32; 2]) -> ([usize; 2], [[f32; 4]; 2]) {
        let along = |axis: usize| {
            let u = ((point[axis] - self.origin[axis]) * self.inverse).clamp(1.0, (self.nodes - 3) as f32);
            let cell = u as usize;
            (cell - 1, spline(u - cell as f32))
        };
        let ((x, wx), (y, wy)) = (along(0), along(1));
        ([x, y], [wx, wy])
    }
}

impl Field {
    /// Creates a grid for points within a square of this side.
    fn new(side: f32) -> Self {
        let wanted = (side / SPACING).ceil() as usize;
        let nodes = good_size((wanted.clamp(MIN_NODES, MAX_NODES) as f32 * 1.1) as usize + 2 * MARGIN);
        let spacing = (side / (nodes - 2 * MARGIN) as f32).max(f32::MIN_POSITIVE);
        let width = 2 * nodes;
        let mut planner = FftPlanner::new();
        let mut field = Self {
            nodes,
            spacing,
            forward: planner.plan_fft_forward(width),
            backward: planner.plan_fft_inverse(width),
            push: Vec::new(),
            nearness: Vec::new(),
            cells: vec![Complex32::default(); width * width],
            transposed: vec![Complex32::default(); width * width],
            parts: vec![vec![0.0; nodes * nodes]; PARTS],
        };
        let signed = |at: usize| if at < nodes { at as f32 } else { at as f32 - width as f32 } * spacing;
        // Squared transform of the spline: it applies when points are spread and again when the grid is read.
        let smoothed = |at: usize| ((2.0 + (TAU * at as f32 / width as f32).cos()) / 3.0).powi(2);
        let cells = 1.0 / (width * width) as f32;
        field.fill(&|x, y| {
            let (x, y) = (signed(x), signed(y));
            let near = 1.0 / (1.0 + x * x + y * y);
            // Opposite edges share a cell, so an odd kernel is 0 there.
            let odd = |d: f32| if d.abs() > (nodes as f32 - 0.5) * spacing { 0.0 } else { d };
            Complex32::new(odd(x), odd(y)) * (near * near)
        });
        field.transform(width);
        field.push = field.transposed.clone();
        field.fill(&|x, y| Complex32::new(1.0 / (1.0 + signed(x).powi(2) + signed(y).powi(2)), 0.0));
        field.transform(width);
        field.nearness = field.transposed.iter().map(|wave| wave.re).collect();
        let push = field.push.par_chunks_mut(width).zip(field.nearness.par_chunks_mut(width));
        push.enumerate().for_each(|(x, (push, nearness))| {
            for (y, (push, nearness)) in push.iter_mut().zip(nearness).enumerate() {
                let whole = smoothed(x) * smoothed(y);
                *push = *push / whole * cells;
                *nearness = *nearness / whole * cells;
            }
        });
        field
    }

    fn fill(&mut self, of: &(dyn Fn(usize, usize) -> Complex32 + Sync)) {
        let width = 2 * self.nodes;
        self.cells.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
            row.iter_mut().enumerate().for_each(|(x, cell)| *cell = of(x, y));
        });
    }

    /// Transforms the cells into `transposed`, transposed; rows from `rows` on are zero.
    fn transform(&mut self, rows: usize) {
        let width = 2 * self.nodes;
        transform_rows(self.forward.as_ref(), &mut self.cells[..rows * width]);
        transpose(&self.cells, &mut self.transposed, width);
        transform_rows(self.forward.as_ref(), &mut self.transposed);
    }

    /// Whether points within a square of this side fit, without need for a much finer grid.
    fn fits(&self, side: f32) -> bool {
        let room = (self.nodes - 2 * MARGIN) as f32 * self.spacing;
        side <= room && (side * 1.5 >= room || self.spacing <= 0.1 * SPACING)
    }

    /// Returns the repulsion on each point, and the sum of 1 / (1 + d^2) over all ordered pairs of distinct points.
    fn push(&mut self, points: &[[f32; 2]], corner: [f32; 2]) -> (Vec<[f32; 2]>, f64) {
        let (nodes, width) = (self.nodes, 2 * self.nodes);
        let margin = MARGIN as f32 * self.spacing;
        let grid = Grid { origin: [corner[0] - margin, corner[1] - margin], inverse: 1.0 / self.spacing, nodes };
        let part = points.len().div_ceil(PARTS).max(1);
        self.parts.par_iter_mut().enumerate().for_each(|(at, cells)| {
            cells.fill(0.0);
            for &point in points.iter().skip(at * part).take(part) {
                let ([x, y], [wx, wy]) = grid.at(point);
                for (row, wy) in wy.into_iter().enumerate() {
                    let cells = &mut cells[(y + row) * nodes + x..][..4];
                    cells.iter_mut().zip(wx).for_each(|(cell, wx)| *cell += wx * wy);
                }
            }
        });
        let parts = &self.parts;
        self.cells.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
            let sum = |x: usize| parts.iter().map(|part| part[y * nodes + x]).sum::<f32>();
            let (inside, rest) = row.split_at_mut(if y < nodes { nodes } else { 0 });
            inside.iter_mut().enumerate().for_each(|(x, cell)| *cell = Complex32::new(sum(x), 0.0));
            rest.fill(Complex32::default());
        });
        self.transform(nodes);
        let nearness = self.transposed.par_chunks_mut(width).zip(self.nearness.par_chunks(width));
        let rows: Vec<f64> = nearness
            .zip(self.push.par_chunks(width))
            .map(|((row, nearness), push)| {
                let mut sum = 0.0_f64;
                for ((wave, nearness), push) in row.iter_mut().zip(nearness).zip(push) {
                    sum += f64::from(wave.norm_sqr() * nearness);
                    *wave *= push;
                }
                sum
            })
            .collect();
        // Removes the pairs of a point with itself.
        let sum = rows.into_iter().sum::<f64>() - points.len() as f64;
        transform_rows(self.backward.as_ref(), &mut self.transposed);
        transpose(&self.transposed, &mut self.cells, width);
        transform_rows(self.backward.as_ref(), &mut self.cells[..nodes * width]);
        let cells = &self.cells;
        let read = |&point: &[f32; 2]| {
            let ([x, y], [wx, wy]) = grid.at(point);
            let mut push = [0.0_f32; 2];
            for (row, wy) in wy.into_iter().enumerate() {
                for (cell, wx) in cells[(y + row) * width + x..][..4].iter().zip(wx) {
                    push[0] += wx * wy * cell.re;
                    push[1] += wx * wy * cell.im;
                }
            }
            push
        };
        (points.par_iter().with_min_len(1_024).map(read).collect(), sum.max(f64::MIN_POSITIVE))
    }
}

fn transform_rows(fft: &dyn Fft<f32>, rows: &mut [Complex32]) {
    let width = fft.len();
    let scratch = || vec![Complex32::default(); fft.get_inplace_scratch_len()];
    rows.par_chunks_mut(width * 8).for_each_init(scratch, |scratch, rows| fft.process_with_scratch(rows, scratch));
}

/// Transposes a square matrix.
fn transpose(from: &[Complex32], to: &mut [Complex32], width: usize) {
    to.par_chunks_mut(width * BLOCK).enumerate().for_each(|(at, rows)| {
        for column in (0..width).step_by(BLOCK) {
            for (row, to) in rows.chunks_exact_mut(width).enumerate() {
                for (x, to) in to[column..(column + BLOCK).min(width)].iter_mut().enumerate() {
                    *to = from[(column + x) * width + at * BLOCK + row];
                }
            }
        }
    });
}

/// Repulsion of a changing layout; reuses the grid while it fits.
#[derive(Default)]
pub(super) struct Fields(Option<Field>);

impl Fields {
    /// Returns the repulsion on each point, and the sum of 1 / (1 + d^2) over all ordered pairs of distinct points.
    pub(super) fn push(&mut self, points: &[[f32; 2]]) -> (Vec<[f32; 2]>, f64) {
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for point in points {
            for axis in 0..2 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        let side = (high[0] - low[0]).max(high[1] - low[1]).max(1e-6);
        let field = match self.0.take() {
            Some(field) if field.fits(side) => field,
            _ => Field::new(side * 1.1),
        };
        self.0.insert(field).push(points, low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn the_grid_agrees_with_all_pairs() {
        let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(3);
        for size in [1e-4_f32, 0.5, 8.0, 60.0] {
            let points: Vec<[f32; 2]> = (0..700)
                .map(|_| [rng.random_range(-size..size) + 5.0, rng.random_range(-size..size) * 0.6 - 3.0])
                .collect();
            let (found, sum) = Fields::default().push(&points);
            let (mut exact, mut all) = (vec![[0.0_f64; 2]; points.len()], 0.0_f64);
            for (a, exact) in points.iter().zip(&mut exact) {
                for b in &points {
                    let (x, y) = (f64::from(a[0]) - f64::from(b[0]), f64::from(a[1]) - f64::from(b[1]));
                    let near = 1.0 / (1.0 + x * x + y * y);
                    exact[0] += x * near * near;
                    exact[1] += y * near * near;
                    all += near;
                }
            }
            all -= points.len() as f64;
            // A large layout has a coarse grid: its mean error is small, but not the error of near pairs.
            let (of_sum, of_mean, of_worst) = if size < 10.0 { (2e-3, 0.02, 0.02) } else { (1e-2, 0.02, 0.3) };
            assert!((sum / all - 1.0).abs() < of_sum, "{size}: {sum} for {all}");
            let length = exact.iter().map(|p| p[0].hypot(p[1])).sum::<f64>() / 700.0;
            let errors: Vec<f64> = found
                .iter()
                .zip(&exact)
                .map(|(found, exact)| (f64::from(found[0]) - exact[0]).hypot(f64::from(found[1]) - exact[1]))
                .collect();
            let (worst, mean) = (errors.iter().copied().fold(0.0, f64::max), errors.iter().sum::<f64>() / 700.0);
            let rounded = 2e-6 * 700.0;
            assert!(mean < of_mean * length + rounded, "{size}: {mean} of {length} in the mean");
            assert!(worst < of_worst * length + rounded, "{size}: {worst} of {length}");
        }
    }

    #[test]
    fn sizes_are_products_of_small_primes() {
        assert_eq!([97, 100, 601, 1001].map(good_size), [100, 100, 625, 1_024]);
        let sum = |t| spline(t).iter().sum::<f32>();
        assert!([0.0, 0.3, 0.99].into_iter().all(|t| (sum(t) - 1.0).abs() < 1e-6));
    }

    #[test]
    fn rows_become_columns() {
        let width = 40;
        let from: Vec<Complex32> = (0..width * width).map(|i| Complex32::new(i as f32, -(i as f32))).collect();
        let mut to = vec![Complex32::default(); from.len()];
        transpose(&from, &mut to, width);
        assert!((0..width * width).all(|i| to[i] == from[i % width * width + i / width]));
    }
}
