//! Measures a graph by rows that are asked as if they were new ([`Absent`](crate::index::graph::Absent)).
//!
//! (A second graph without those rows measures the same, and costs a build as long as the first.) Time is bounded: scans of
//! [`BUDGET`] multiplications, and searches.

use super::Calibration;
use super::answers::{Accept, Asked, STEPS, Subject};
use crate::index::graph::Graph;
use crate::index::{Error, Rows};
use crate::types::Ordinal;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Fewest rows that are measured.
const LEAST_ROWS: usize = 200;
/// Rows that are asked as new ones, within limits; and as stored ones.
const NEW: (usize, usize) = (100, 1_000);
const STORED: (usize, usize) = (100, 500);
/// Multiplications of the scans for each of the two, where the limits allow: seconds.
const BUDGET: usize = 60_000_000_000;

/// Measures `graph` over the accepted rows of `rows`, on which it was built. The same seed draws the same rows.
/// `progress` is told of steps done and of all steps; returning false cancels. None for fewer than 200 rows.
///
/// # Errors
/// [`Error::Cancelled`]; [`Error::Corrupt`] when what is measured is no curve.
#[allow(clippy::cast_possible_truncation)]
pub fn measure(
    rows: Rows<'_>,
    graph: &Graph,
    accept: Accept<'_>,
    seed: u64,
    progress: &(dyn Fn(u64, u64) -> bool + Sync),
) -> Result<Option<Calibration>, Error> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let live = (0..rows.len()).filter(|&row| accept(Ordinal(row as u32))).count();
    if live < LEAST_ROWS || rows.dimension == 0 {
        return Ok(None);
    }
    let affordable = BUDGET / (rows.len() * rows.dimension);
    let mut draw = |limits: (usize, usize)| {
        let count = affordable.min(live / 2).clamp(limits.0, limits.1);
        sample_rows(rows.len() as u32, count, &mut rng, accept)
    };
    let asked = |own: Ordinal, absent| Asked { vector: rows.row(own).to_floats().into_owned(), own, absent };
    let new: Vec<Asked> = draw(NEW).into_iter().filter_map(|row| Some(asked(row, Some(graph.absent(row)?)))).collect();
    let stored: Vec<Asked> = draw(STORED).into_iter().map(|row| asked(row, None)).collect();
    if new.len() < NEW.0 / 2 {
        return Ok(None);
    }
    let total = ((new.len() + stored.len()) * STEPS) as u64;
    let mut done = 0;
    let mut step = |count: usize| {
        done += count as u64;
        if progress(done.min(total), total) { Ok(()) } else { Err(Error::Cancelled { done, total }) }
    };
    step(0)?;
    let subject = Subject { rows, graph, accept };
    let of_new = subject.curves(&new, &mut step)?;
    let of_stored = subject.curves(&stored, &mut step)?;
    let samples = u32::try_from(new.len()).unwrap_or(u32::MAX);
    let damaged = |what| Error::Corrupt { path: graph.path().into(), what };
    Calibration::new(samples, of_new, of_stored).map(Some).map_err(damaged)
}

/// `count` different accepted rows of `0..rows` by chance, fewer where there are fewer (or where nearly none is accepted).
pub fn sample_rows(
    rows: u32,
    count: usize,
    rng: &mut Xoshiro256PlusPlus,
    accept: impl Fn(Ordinal) -> bool,
) -> Vec<Ordinal> {
    let mut chosen = std::collections::BTreeSet::new();
    let mut order = Vec::with_capacity(count.min(rows as usize));
    // Twenty draws a row: enough unless most rows are refused.
    for _ in 0..count.saturating_mul(20) {
        if order.len() >= count || rows == 0 {
            break;
        }
        let row = Ordinal(rng.random_range(0..rows));
        if accept(row) && chosen.insert(row) {
            order.push(row);
        }
    }
    order
}
