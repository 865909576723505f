//! One point of a recall/speed curve: a warm-up, then passes over all queries for a minimum time. The pass of median
//! speed is reported.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Minimum total time of the measured passes.
pub(super) const MIN_TOTAL: Duration = Duration::from_millis(500);
/// Maximum number of passes; small sets need no more.
const MAX_PASSES: usize = 1_000;

/// A point of the curve.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) ef: u32,
    pub(super) recall: f64,
    pub(super) recall_tie_aware: f64,
    /// Queries per second, all threads together.
    pub(super) qps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Mean number of distances computed per query.
    pub(super) distances: f64,
    /// Number of measured passes over the queries.
    pub(super) passes: usize,
}

/// Results of one pass: the rows found, and the number of distances computed.
pub(super) struct Answers {
    pub(super) rows: Vec<Vec<u32>>,
    pub(super) distances: u64,
}

/// Times of one pass.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) elapsed: Duration,
    pub(super) latencies: Vec<Duration>,
}

/// Queries per second of several passes, with the median and the 99th percentile of the latency.
pub(super) struct Speed {
    pub(super) qps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) passes: usize,
}

/// Whether the passes so far are enough.
pub(super) fn is_long_enough(passes: &[Pass]) -> bool {
    passes.len() >= MAX_PASSES || passes.iter().map(|pass| pass.elapsed).sum::<Duration>() >= MIN_TOTAL
}

/// Returns the pass of median speed.
pub(super) fn median(mut passes: Vec<Pass>) -> Speed {
    let count = passes.len();
    passes.sort_by_key(|pass| pass.elapsed);
    let Some(pass) = passes.get_mut(count / 2) else { return Speed { qps: 0.0, p50_us: 0.0, p99_us: 0.0, passes: 0 } };
    pass.latencies.sort_unstable();
    let at = |part: f64| {
        let index = (part * pass.latencies.len() as f64).ceil() as usize;
        pass.latencies.get(index.saturating_sub(1)).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    };
    Speed {
        qps: pass.latencies.len() as f64 / pass.elapsed.as_secs_f64().max(1e-9),
        p50_us: at(0.5),
        p99_us: at(0.99),
        passes: count,
    }
}

/// Runs every query once on the given number of threads. `search` returns the rows found and the number of distances
/// computed.
pub(super) fn pass(
    queries: usize,
    threads: usize,
    search: &(dyn Fn(usize) -> (Vec<u32>, u64) + Sync),
) -> (Pass, Answers) {
    let next = AtomicUsize::new(0);
    let parts = Mutex::new(Vec::with_capacity(threads));
    let work = || {
        let mut part = Vec::with_capacity(queries / threads + 1);
        loop {
            let query = next.fetch_add(1, Ordering::Relaxed);
            if query >= queries {
                break part;
            }
            let start = Instant::now();
            let answer = search(query);
            part.push((query, start.elapsed(), answer));
        }
    };
    let start = Instant::now();
    let elapsed = if threads == 1 {
        let part = work();
        let elapsed = start.elapsed();
        parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(part);
        elapsed
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let part = work();
                    parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(part);
                });
            }
        });
        start.elapsed()
    };
    let mut rows = vec![Vec::new(); queries];
    let mut latencies = Vec::with_capacity(queries);
    let mut distances = 0;
    for (query, latency, (found, computed)) in
        parts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_iter().flatten()
    {
        rows[query] = found;
        latencies.push(latency);
        distances += computed;
    }
    (Pass { elapsed, latencies }, Answers { rows, distances })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_runs_once_on_any_number_of_threads() {
        for threads in [1, 3] {
            let (pass, answers) = pass(100, threads, &|query| (vec![query as u32], 2));
            assert_eq!(pass.latencies.len(), 100);
            assert_eq!(answers.distances, 200);
            assert!(answers.rows.iter().enumerate().all(|(query, rows)| *rows == [query as u32]));
        }
    }

    #[test]
    fn the_median_pass_is_reported() {
        let pass = |ms: u64| Pass {
            elapsed: Duration::from_millis(ms),
            latencies: (1..=100).rev().map(|i| Duration::from_micros(i * ms)).collect(),
        };
        let speed = median(vec![pass(30), pass(10), pass(20)]);
        assert_eq!(speed.passes, 3);
        assert!((speed.qps - 5_000.0).abs() < 1e-6, "{}", speed.qps);
        assert!((speed.p50_us - 1_000.0).abs() < 1e-6 && (speed.p99_us - 1_980.0).abs() < 1e-6);
        assert!(!is_long_enough(&[pass(499)]) && is_long_enough(&[pass(250), pass(250)]));
    }
}
