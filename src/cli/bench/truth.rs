//! Ground truth: true neighbours, read or computed exactly, and the recall of search results.
//!
//! By id, a hit counts if it is among the true k. With ties, a hit counts if its true distance exceeds that of the k-th
//! true neighbour by at most a thousandth: equal points are interchangeable, and a ground truth computed elsewhere may
//! round differently.

use super::data::Vectors;
use crate::cli::load::input_stream::{Fill, InputStream};
use crate::cli::progress::{Progress, Step};
use crate::index::exact;
use crate::types::Ordinal;
use anyhow::{Context, bail};
use rayon::prelude::*;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Relative tolerance of the distance of a tie.
const DISTANCE_TOLERANCE: f32 = 1e-3;
/// Maximum number of neighbours per row of a ground-truth file.
const MAX_ROW: u32 = 1 << 20;

/// The true neighbours of every query.
pub(super) struct Truth {
    k: usize,
    /// `k` rows per query, in ascending order.
    rows: Vec<u32>,
    /// Largest distance that counts as a hit, per query.
    bounds: Vec<f32>,
}

impl Truth {
    /// Reads an ivecs file: for every query its neighbours, nearest first.
    pub(super) fn read(path: &Path, queries: usize, k: usize, base: usize) -> anyhow::Result<Self> {
        let named = || format!("--truth {}", path.display());
        let mut input = InputStream::open(path).with_context(named)?;
        let mut rows = Vec::new();
        let mut bytes = Vec::new();
        for query in 0..queries {
            let mut header = [0; 4];
            match input.fill(&mut header).with_context(named)? {
                Fill::Full => {}
                Fill::End => bail!("{}: it has {query} rows for {queries} queries", named()),
                Fill::Short(_) => bail!("{}: truncated in row {query}", named()),
            }
            let length = u32::from_le_bytes(header);
            if (length as usize) < k || length > MAX_ROW {
                bail!("{}: row {query} has {length} neighbours, {k} to {MAX_ROW} are needed", named());
            }
            bytes.resize(length as usize * 4, 0);
            if input.fill(&mut bytes).with_context(named)? != Fill::Full {
                bail!("{}: truncated in row {query}", named());
            }
            let start = rows.len();
            rows.extend(bytes.as_chunks().0.iter().take(k).map(|bytes| u32::from_le_bytes(*bytes)));
            if let Some(invalid) = rows[start..].iter().find(|row| **row as usize >= base) {
                bail!("{}: row {query} names the vector {}, the base has {base}", named(), invalid.cast_signed());
            }
            rows[start..].sort_unstable();
        }
        Ok(Self { k, rows, bounds: Vec::new() })
    }

    /// Compares every query with every vector, on all threads of the current pool.
    pub(super) fn exact(base: &Vectors, queries: &Vectors, k: usize, progress: &Progress) -> Self {
        let done = AtomicU64::new(0);
        let rows = (0..queries.len())
            .into_par_iter()
            .flat_map_iter(|query| {
                let found = exact::search(base.rows(), queries.vector(query), k, |_| true);
                let mut rows = found.neighbors.into_iter().map(|neighbor| neighbor.row.0).collect::<Vec<_>>();
                rows.sort_unstable();
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                progress.step(Step { done, total: Some(queries.len() as u64), part: None }, "");
                rows
            })
            .collect();
        Self { k, rows, bounds: Vec::new() }
    }

    /// Computes the largest distance that counts as a tie.
    pub(super) fn with_bounds(mut self, base: &Vectors, queries: &Vectors) -> Self {
        self.bounds = (0..queries.len())
            .into_par_iter()
            .map(|query| {
                let distance =
                    |row: &u32| exact::distance(base.rows(), Ordinal(*row), queries.vector(query), queries.norm(query));
                let farthest = self.of(query).iter().map(distance).max_by(f32::total_cmp).unwrap_or(f32::NEG_INFINITY);
                farthest + DISTANCE_TOLERANCE * farthest.abs()
            })
            .collect();
        self
    }

    /// Returns the true neighbours of a query, in ascending order of rows.
    pub(super) fn of(&self, query: usize) -> &[u32] {
        &self.rows[query * self.k..(query + 1) * self.k]
    }

    /// Returns the memory use, bytes.
    pub(super) fn bytes(&self) -> u64 {
        4 * (self.rows.len() + self.bounds.len()) as u64
    }

    /// Returns the mean recall by id and with ties; `answers` holds the rows found for each query.
    pub(super) fn recall(&self, answers: &[Vec<u32>], base: &Vectors, queries: &Vectors) -> (f64, f64) {
        let (mut by_id, mut with_ties) = (0_u64, 0_u64);
        for (query, answer) in answers.iter().enumerate() {
            let truth = self.of(query);
            let mut distinct = answer.clone();
            distinct.sort_unstable();
            distinct.dedup();
            for row in distinct.into_iter().take(self.k) {
                let hit = truth.binary_search(&row).is_ok();
                by_id += u64::from(hit);
                let near = || {
                    let norm = queries.norm(query);
                    exact::distance(base.rows(), Ordinal(row), queries.vector(query), norm) <= self.bounds[query]
                };
                with_ties += u64::from(hit || near());
            }
        }
        let all = (self.k * answers.len()).max(1) as f64;
        (by_id as f64 / all, with_ties as f64 / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Metric;

    fn vectors(numbers: &[f32]) -> Vectors {
        Vectors::from_components(numbers, 1, Metric::L2)
    }

    fn ivecs(rows: &[&[i32]]) -> Vec<u8> {
        let record = |row: &&[i32]| [&[row.len() as i32][..], row].concat();
        rows.iter().flat_map(record).flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn ties_count_only_with_ties() {
        let base = vectors(&[1.0, 2.0, 2.0, 2.0, 9.0]);
        let queries = vectors(&[0.0]);
        let progress = Progress::start("truth", "queries", true);
        let truth = Truth::exact(&base, &queries, 2, &progress).with_bounds(&base, &queries);
        assert_eq!(truth.of(0), [0, 1]);
        assert_eq!(truth.recall(&[vec![0, 1]], &base, &queries), (1.0, 1.0));
        assert_eq!(truth.recall(&[vec![0, 3]], &base, &queries), (0.5, 1.0));
        assert_eq!(truth.recall(&[vec![0, 4]], &base, &queries), (0.5, 0.5));
        assert_eq!(truth.recall(&[vec![]], &base, &queries), (0.0, 0.0));
        // A duplicate row is one hit.
        assert_eq!(truth.recall(&[vec![0, 0]], &base, &queries), (0.5, 0.5));
    }

    #[test]
    fn truth_files_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.ivecs");
        let read = |bytes: &[u8], queries: usize| {
            std::fs::write(&path, bytes).unwrap();
            Truth::read(&path, queries, 2, 10).map(|truth| truth.rows).map_err(|error| format!("{error:#}"))
        };
        let good = ivecs(&[&[3, 1, 7], &[2, 0, 1]]);
        assert_eq!(read(&good, 2), Ok(vec![1, 3, 0, 2]));
        assert!(read(&good, 3).unwrap_err().contains("2 rows for 3 queries"));
        assert!(read(&good[..good.len() - 1], 2).unwrap_err().contains("truncated in row 1"));
        assert!(read(&ivecs(&[&[1, 10]]), 1).unwrap_err().contains("names the vector 10"));
        assert!(read(&ivecs(&[&[1, -1]]), 1).unwrap_err().contains("names the vector -1"));
        assert!(read(&ivecs(&[&[1]]), 1).unwrap_err().contains("has 1 neighbours"));
        assert!(read(&[0xff, 0xff, 0xff, 0x7f], 1).unwrap_err().contains("neighbours"));
    }
}
