//! How often the nearest vectors are of the same class: what an embedder's vectors are worth for search.

use crate::math::gemm::{Matrix, multiply};
use crate::math::normalize;
use rayon::prelude::*;

/// The nearest that are looked at.
pub const NEAREST: usize = 10;
/// Rows whose cosines with all others are computed at once.
const BLOCK: usize = 64;

/// Of the [`NEAREST`] rows nearest to a row by cosine, itself left out, the part that has its label: the mean over all rows. None
/// for fewer than two. Ties go to the earlier row.
pub(super) fn same_class(mut rows: Vec<f32>, width: usize, labels: &[u16]) -> Option<f64> {
    let count = labels.len();
    if count < 2 {
        return None;
    }
    rows.par_chunks_exact_mut(width).for_each(|row| {
        normalize(row);
    });
    let all = Matrix::new(&rows, count, width).transposed();
    let nearest = NEAREST.min(count - 1);
    let blocks: Vec<u64> = rows
        .par_chunks(BLOCK * width)
        .enumerate()
        .map(|(block, rows)| {
            let own = rows.len() / width;
            let mut cosines = vec![0.0; own * count];
            multiply(&mut cosines, Matrix::new(rows, own, width), all, false);
            let mut same = 0;
            for (row, cosines) in cosines.chunks_exact(count).enumerate() {
                let row = block * BLOCK + row;
                let mut order: Vec<u32> = (0..count as u32).filter(|&other| other as usize != row).collect();
                let nearer = |a: &u32, b: &u32| cosines[*b as usize].total_cmp(&cosines[*a as usize]).then(a.cmp(b));
                order.select_nth_unstable_by(nearest - 1, nearer);
                same += order[..nearest].iter().filter(|&&other| labels[other as usize] == labels[row]).count() as u64;
            }
            same
        })
        .collect();
    Some(blocks.iter().sum::<u64>() as f64 / (count * nearest) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_and_of_the_same_class_is_counted() {
        let ring = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        let rows: Vec<f32> = (0..24).flat_map(|i| ring(if i < 12 { i as f32 } else { 90.0 + i as f32 })).collect();
        let labels: Vec<u16> = (0..24).map(|i| u16::from(i >= 12)).collect();
        assert_eq!(same_class(rows.clone(), 2, &labels), Some(1.0));
        let mixed: Vec<u16> = (0..24).map(|i| i % 2).collect();
        let found = same_class(rows, 2, &mixed).unwrap();
        // Of the 11 others in its half 5 have an image's label; the farthest of the 11 is left out.
        assert!((0.4..0.5).contains(&found), "{found}");
        assert_eq!(same_class(vec![1.0, 0.0], 2, &[3]), None);
        assert_eq!(same_class(vec![0.0; 4], 2, &[3, 3]), Some(1.0), "zeros are near to nothing, and to each other");
    }
}
