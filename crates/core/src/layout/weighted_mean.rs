//! Coordinates of a new point, from those of its nearest neighbours.

/// Steps to the median; further steps hardly move it.
const STEPS: usize = 24;

/// Returns the weighted geometric median (Weiszfeld 1937) of the neighbours' coordinates, with the inverse squared
/// distances as weights. The median is near most of the neighbours, while their mean could lie between two clusters. A
/// neighbour at distance 0 determines the result alone. `neighbors` has distances of at least 0 and coordinates of
/// equal length, nearest first. Returns None if it is empty.
pub fn between(neighbors: &[(f32, &[f32])]) -> Option<Vec<f32>> {
    let &(first, nearest) = neighbors.first()?;
    let min = first.max(f32::MIN_POSITIVE);
    if first <= 0.0 || neighbors.len() == 1 {
        return Some(nearest.to_vec());
    }
    let weights: Vec<f32> = neighbors.iter().map(|(distance, _)| (min / distance.max(min)).powi(2)).collect();
    let mean = |weights: &mut dyn Iterator<Item = f32>| {
        let (mut sum, mut all) = (vec![0.0_f32; nearest.len()], 0.0);
        for (weight, (_, position)) in weights.zip(neighbors) {
            sum.iter_mut().zip(*position).for_each(|(sum, x)| *sum += weight * x);
            all += weight;
        }
        sum.iter_mut().for_each(|x| *x /= all);
        sum
    };
    let mut position = mean(&mut weights.iter().copied());
    for _ in 0..STEPS {
        let near = |other: &[f32]| crate::math::l2_squared(&position, other).sqrt().max(1e-6);
        let pulls: Vec<f32> = weights.iter().zip(neighbors).map(|(weight, (_, other))| weight / near(other)).collect();
        position = mean(&mut pulls.into_iter());
    }
    Some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_near_the_majority_and_equals_a_neighbour_at_distance_0() {
        let (a, b, c, far) = ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [90.0, 90.0]);
        let found = between(&[(1.0, &a), (1.1, &b), (1.2, &c), (1.3, &far)]).unwrap();
        assert!(found.iter().all(|x| (-0.1..1.0).contains(x)), "{found:?}");
        assert_eq!(between(&[(0.0, &b), (1.0, &a)]).unwrap(), b);
        assert_eq!(between(&[(3.0, &far)]).unwrap(), far);
        assert!(between(&[]).is_none());
        let near_b = between(&[(1e-3, &b), (1.0, &a), (1.0, &c)]).unwrap();
        assert!((near_b[0] - 1.0).abs() < 0.01 && near_b[1].abs() < 0.01, "{near_b:?}");
        let same = between(&[(1.0, &b), (1.0, &b)]).unwrap();
        assert!((same[0] - 1.0).abs() < 1e-5 && same.iter().all(|x| x.is_finite()));
    }
}
