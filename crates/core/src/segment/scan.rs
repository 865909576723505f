//! Exact scans of whole segments: in pieces, with a check for cancellation between them; long scans run on all cores.

use crate::api::{CancellationToken, Error};
use crate::index::{Found, Rows, exact};
use crate::math::TopK;
use crate::payload::RowSet;
use crate::types::{Neighbor, Ordinal};
use rayon::prelude::*;
use std::ops::Range;

/// Scans of more components than this run on all cores.
const PARALLEL: usize = 1 << 23;
/// Components between two checks for cancellation: about 1 ms.
const PIECE: usize = 1 << 21;

/// Rows scored between two checks for cancellation.
const SCORED_PIECE: usize = 256;

/// Fails if the vectors of some rows must not be read.
pub(crate) type Verify<'a> = &'a (dyn Fn(Range<u32>) -> Result<(), Error> + Sync);

/// Returns the `k` nearest accepted rows. Rows farther than `bound` may be left out. Calls `verify` before it reads
/// rows.
///
/// # Errors
/// `Abandoned`, or an error of `verify`.
pub(crate) fn scan(
    rows: Rows<'_>,
    query: &[f32],
    k: usize,
    bound: f32,
    accept: &(dyn Fn(Ordinal) -> bool + Sync),
    verify: Verify<'_>,
) -> Result<Found, Error> {
    let piece = |part: Range<usize>, so_far: &Found| {
        verify(part.start as u32..part.end as u32)?;
        let bound = so_far.neighbors.get(k.wrapping_sub(1)).map_or(bound, |kth| bound.min(kth.distance));
        let from = part.start as u32;
        let mut found =
            exact::search_within(rows.part(part.start, part.end), query, k, bound, |row| accept(Ordinal(row.0 + from)));
        found.neighbors.iter_mut().for_each(|neighbor| neighbor.row.0 += from);
        Ok(found)
    };
    let step = (PIECE / rows.dimension.max(1)).max(1);
    in_pieces(rows.len(), step, rows.vectors.len() >= PARALLEL, k, &piece)
}

/// Returns the `k` nearest selected rows.
///
/// # Errors
/// As [`scan`].
pub(crate) fn scan_selected(
    rows: Rows<'_>,
    query: &[f32],
    k: usize,
    selected: &RowSet,
    verify: Verify<'_>,
) -> Result<Found, Error> {
    let components = selected.count() as usize * rows.dimension;
    let words = selected.words();
    let piece = |part: Range<usize>, _: &Found| {
        let part = words.start + part.start..words.start + part.end;
        let mut given = selected.rows_of_words(part.clone());
        given.try_for_each(|row| verify(row.0..row.0.saturating_add(1)))?;
        Ok(exact::search_rows(rows, query, k, selected.rows_of_words(part)))
    };
    // The number of selected rows varies by word; the average piece has the intended size.
    let step = words.len().div_ceil(components.div_ceil(PIECE).max(1)).max(1);
    in_pieces(words.len(), step, components >= PARALLEL, k, &piece)
}

/// Returns the `k` given rows with the smallest distances; `distance` returns none for a row to leave out.
///
/// # Errors
/// `Abandoned`, or an error of `distance`.
pub(crate) fn scan_by(
    rows: Range<u32>,
    k: usize,
    distance: &(dyn Fn(Ordinal) -> Result<Option<f32>, Error> + Sync),
) -> Result<Found, Error> {
    let piece = |part: Range<usize>, _: &Found| {
        let (mut top, mut distances) = (TopK::new(k.min(part.len())), 0);
        for row in part.map(|row| Ordinal(rows.start + row as u32)) {
            if let Some(distance) = distance(row)? {
                distances += 1;
                top.push(Neighbor { row, distance });
            }
        }
        Ok(Found { neighbors: top.into_sorted(), distances })
    };
    in_pieces(rows.len(), SCORED_PIECE, rows.len() >= 4 * SCORED_PIECE, k, &piece)
}

/// Searches a range, given the hits of the ranges before it.
type Piece<'p> = dyn Fn(Range<usize>, &Found) -> Result<Found, Error> + Sync + 'p;

/// Returns the `k` nearest of `0..n`, searched `step` at a time, on all cores or on this one.
fn in_pieces(n: usize, step: usize, parallel: bool, k: usize, piece: &Piece<'_>) -> Result<Found, Error> {
    let stop = CancellationToken::current();
    let share = |of: Range<usize>| {
        let mut found = Found::default();
        for from in of.clone().step_by(step) {
            stop.check()?;
            let more = piece(from..of.end.min(from + step), &found)?;
            found = if from == of.start { more } else { nearest_of([found, more], k) };
        }
        Ok(found)
    };
    if !parallel {
        return share(0..n);
    }
    let width = n.div_ceil(rayon::current_num_threads()).max(1);
    let shares = (0..n).into_par_iter().step_by(width).map(|from| share(from..n.min(from + width)));
    Ok(nearest_of(shares.collect::<Result<Vec<_>, Error>>()?, k))
}

/// Merges the results of the parts of a scan into the `k` nearest.
fn nearest_of(parts: impl IntoIterator<Item = Found>, k: usize) -> Found {
    let mut all = Found::default();
    for part in parts {
        all.neighbors.extend(part.neighbors);
        all.distances += part.distances;
    }
    all.neighbors.sort_unstable_by(Neighbor::cmp);
    all.neighbors.truncate(k);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Components;
    use crate::types::Metric;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    const DIMENSION: usize = 64;
    /// Enough for more than one piece per core.
    const ROWS: usize = 5 * PARALLEL / 4 / DIMENSION;

    fn sample() -> (Vec<f32>, Vec<f32>) {
        let values: Vec<f32> = (0..ROWS * DIMENSION).map(|at| ((at * 2_654_435_761) % 1_009) as f32).collect();
        (values, vec![1.0; ROWS])
    }

    #[test]
    fn pieces_give_the_result_of_one_pass() {
        let (values, norms) = sample();
        let query: Vec<f32> = (0..DIMENSION).map(|at| at as f32 * 7.0).collect();
        let words: Vec<u64> =
            (0..ROWS.div_ceil(64) as u64).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for metric in Metric::ALL {
            let rows = Rows { vectors: Components::F32(&values), norms: &norms, dimension: DIMENSION, metric };
            let accept = |row: Ordinal| !row.0.is_multiple_of(3);
            let whole = exact::search(rows, &query, 50, accept);
            let found = scan(rows, &query, 50, f32::INFINITY, &accept, &|_| Ok(())).unwrap();
            assert_eq!((&found.neighbors, found.distances), (&whole.neighbors, whole.distances), "{metric}");
            // Single-threaded, but in pieces too.
            let first_rows = Rows {
                vectors: Components::F32(&values[..PARALLEL / 2]),
                norms: &norms[..PARALLEL / 2 / DIMENSION],
                ..rows
            };
            let found = scan(first_rows, &query, 50, f32::INFINITY, &accept, &|_| Ok(())).unwrap();
            assert_eq!(found.neighbors, exact::search(first_rows, &query, 50, accept).neighbors, "{metric}");
            let in_range = |row: &Ordinal| (row.0 as usize) < ROWS;
            let selected = RowSet::new(words.clone());
            let given: Vec<Ordinal> = selected.rows().filter(in_range).collect();
            let whole = exact::search_rows(rows, &query, 50, given.into_iter());
            assert_eq!(
                scan_selected(rows, &query, 50, &selected, &|_| Ok(())).unwrap().neighbors,
                whole.neighbors,
                "{metric}"
            );
        }
    }

    #[test]
    fn a_cancelled_scan_ends() {
        let (values, norms) = sample();
        let rows = Rows { vectors: Components::F32(&values), norms: &norms, dimension: DIMENSION, metric: Metric::L2 };
        let (waiting, seen) = (std::sync::Mutex::new(Some(Arc::new(()))), AtomicU32::new(0));
        let stop = CancellationToken::without(waiting.lock().unwrap().as_ref().unwrap());
        let accept = |_: Ordinal| {
            if seen.fetch_add(1, Ordering::Relaxed) == 1_000 {
                *waiting.lock().unwrap() = None;
            }
            true
        };
        let found = stop.run(|| scan(rows, &[0.0; DIMENSION], 5, f32::INFINITY, &accept, &|_| Ok(())));
        assert!(matches!(found, Err(Error::Abandoned)));
        let at_most = rayon::current_num_threads() * PIECE / DIMENSION + 1_000;
        assert!((seen.load(Ordering::Relaxed) as usize) <= at_most, "{seen:?} of {ROWS} rows");
        let all = RowSet::new(vec![u64::MAX; ROWS / 64]);
        let of_all = stop.run(|| scan_selected(rows, &[0.0; DIMENSION], 5, &all, &|_| Ok(())));
        assert!(matches!(of_all, Err(Error::Abandoned)));
    }
}
