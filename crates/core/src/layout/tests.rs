//! Tests of the layout methods on synthetic clusters: neighbours stay together, and results are deterministic.

use super::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const GROUPS: usize = 6;
const EACH: usize = 60;
const WIDTH: usize = 10;

/// Creates clusters of points, each varying along its own two directions.
fn grouped() -> (Vec<f32>, Neighbors) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
    let mut next = |size: f32| rng.random_range(-size..size);
    let mut vectors = Vec::new();
    for group in 0..GROUPS {
        let centre: Vec<f32> = (0..WIDTH).map(|_| next(20.0)).collect();
        let (a, b): (Vec<f32>, Vec<f32>) = (0..WIDTH).map(|_| (next(1.0), next(1.0))).unzip();
        for _ in 0..EACH {
            let (u, v) = (next(4.0), next(4.0));
            vectors.extend((0..WIDTH).map(|i| centre[i] + u * a[i] + v * b[i] + next(0.05) + group as f32));
        }
    }
    let n = GROUPS * EACH;
    let k = 20;
    let mut neighbors = Neighbors { k, ..Neighbors::default() };
    for point in 0..n {
        let here = &vectors[point * WIDTH..][..WIDTH];
        let mut others: Vec<(f32, u32)> = (0..n)
            .filter(|&other| other != point)
            .map(|other| (crate::math::l2_squared(here, &vectors[other * WIDTH..][..WIDTH]).sqrt(), other as u32))
            .collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0));
        neighbors.points.extend(others[..k].iter().map(|(_, other)| *other));
        neighbors.distances.extend(others[..k].iter().map(|(distance, _)| *distance));
    }
    (vectors, neighbors)
}

fn lay_out(method: Method, dimensions: usize, observe: Observe<'_>) -> Option<Vec<f32>> {
    let (vectors, neighbors) = grouped();
    let vectors = (vectors.as_slice(), WIDTH);
    let start = Pca::fit(&vectors, dimensions).positions(&vectors);
    match method {
        Method::Pca => Some(start),
        Method::Tsne => tsne(&neighbors, &start, observe),
        Method::Umap => umap(&neighbors, &start, dimensions, 3, observe),
    }
}

fn preserved(positions: &[f32], dimensions: usize) -> f32 {
    let neighbors = grouped().1;
    let nearest = |point: usize| neighbors.of(point).take(10).map(|(other, _)| other).collect();
    let sample: Vec<(u32, Vec<u32>)> = (0..GROUPS * EACH).map(|point| (point as u32, nearest(point))).collect();
    neighbors_kept(positions, dimensions, &sample).unwrap()
}

#[test]
fn neighbours_stay_together() {
    for (method, dimensions, min) in [(Method::Tsne, 2, 0.7), (Method::Umap, 2, 0.5), (Method::Umap, 3, 0.5)] {
        let positions = lay_out(method, dimensions, &|_| true).unwrap();
        let share = preserved(&positions, dimensions);
        assert!(share > min, "{method} in {dimensions}: {share}");
        assert!(positions.iter().all(|x| x.is_finite()));
        // The nearest point in the layout is of the same cluster.
        for point in 0..GROUPS * EACH {
            let position = |at: usize| &positions[at * dimensions..][..dimensions];
            let apart = |other: &usize| crate::math::l2_squared(position(point), position(*other));
            let others = (0..GROUPS * EACH).filter(|&other| other != point);
            let nearest = others.min_by(|a, b| apart(a).total_cmp(&apart(b))).unwrap();
            assert_eq!(nearest / EACH, point / EACH, "{method}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for (method, dimensions) in [(Method::Pca, 2), (Method::Tsne, 2), (Method::Umap, 2), (Method::Umap, 3)] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| lay_out(method, dimensions, &|_| true).unwrap())
        };
        assert_eq!(with(1), with(3), "{method} in {dimensions}");
    }
}

#[test]
fn a_layout_is_reported_as_it_improves_and_can_be_cancelled() {
    for method in [Method::Tsne, Method::Umap] {
        let shares = std::sync::Mutex::new(Vec::new());
        let observe = |step: Step<'_>| {
            shares.lock().unwrap().push((step.done, preserved(&(step.positions)(), 2)));
            step.done < 0.6
        };
        assert!(lay_out(method, 2, &observe).is_none(), "{method} was cancelled");
        let shares = shares.into_inner().unwrap();
        assert!(shares.is_sorted_by(|a, b| a.0 < b.0) && shares.last().unwrap().0 < 0.62);
        assert!(shares.last().unwrap().1 > shares[0].1, "{method}: {shares:?}");
    }
}
