//! Vectors of a benchmark: loaded into one array and validated as in a collection.

use crate::cli::load::formats::files;
use crate::cli::progress::{Progress, Step, count};
use crate::index::Rows;
use crate::math::{self, Components};
use crate::types::Metric;
use anyhow::{Context, bail};
use std::path::Path;

/// Vectors and their norms.
pub(super) struct Vectors {
    numbers: Vec<f32>,
    norms: Vec<f32>,
    dimension: usize,
    metric: Metric,
}

impl Vectors {
    /// Reads at most `limit` vectors. An invalid vector is an error: a benchmark does not skip any.
    pub(super) fn read(
        path: &Path,
        flag: &str,
        metric: Metric,
        limit: Option<usize>,
        quiet: bool,
    ) -> anyhow::Result<Self> {
        let mut rows = files::open_rows(path).context(flag.to_owned())?;
        let dimension = rows.dimension();
        let max = limit.unwrap_or(usize::MAX);
        let mut numbers = Vec::new();
        // Known only if it matches the length of the file.
        let known = rows.len().map(|len| usize::try_from(len).unwrap_or(usize::MAX).min(max));
        if let Some(len) = known {
            numbers
                .try_reserve_exact(len.saturating_mul(dimension))
                .with_context(|| format!("{flag}: too large for memory"))?;
        }
        let progress = Progress::start(format!("read {flag}"), "vectors", quiet);
        let mut norms = Vec::new();
        while norms.len() < max {
            let Some(read) = rows.next_row(&mut numbers) else { break };
            read.context(flag.to_owned())?;
            let norm = math::norm(&numbers[numbers.len() - dimension..]);
            if metric == Metric::Cosine && norm == 0.0 {
                bail!("{flag} {}: record {} has norm 0, for which cosine is undefined", path.display(), norms.len());
            }
            norms.push(norm);
            if norms.len() % 4_096 == 0 {
                let (read, total) = rows.bytes();
                let part = Some(read as f64 / total.max(1) as f64);
                progress.step(Step { done: norms.len() as u64, total: known.map(|known| known as u64), part }, "");
            }
        }
        if norms.is_empty() {
            bail!("{flag} {}: contains no vectors", path.display());
        }
        if u32::try_from(norms.len()).is_err() {
            bail!("{flag} {}: {} vectors, at most {} can be indexed", path.display(), norms.len(), u32::MAX);
        }
        progress.finish(&format!("{} x {dimension}", count(norms.len() as u64)));
        Ok(Self { numbers, norms, dimension, metric })
    }

    pub(super) fn len(&self) -> usize {
        self.norms.len()
    }

    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(super) fn vector(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.dimension..(row + 1) * self.dimension]
    }

    pub(super) fn norm(&self, row: usize) -> f32 {
        self.norms[row]
    }

    /// Returns the rows as the index reads them.
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows {
            vectors: Components::F32(&self.numbers),
            norms: &self.norms,
            dimension: self.dimension,
            metric: self.metric,
        }
    }

    /// Returns the memory use, bytes.
    pub(super) fn bytes(&self) -> u64 {
        4 * (self.numbers.len() + self.norms.len()) as u64
    }

    #[cfg(test)]
    pub(super) fn from_components(numbers: &[f32], dimension: usize, metric: Metric) -> Self {
        let norms = numbers.chunks(dimension).map(math::norm).collect();
        Self { numbers: numbers.to_vec(), norms, dimension, metric }
    }
}
