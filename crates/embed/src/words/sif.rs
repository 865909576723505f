//! Smooth inverse frequency (Arora, Liang, Ma 2017, "A Simple but Tough-to-Beat Baseline for Sentence Embeddings"):
//! word weights and the weighted mean of a text.

/// The paper's `a`: a word with this share of the corpus has weight 1/2. The paper uses 1e-3, for sentences; for
/// retrieval of paragraphs of the same article, smaller values are better (`benches/results/2026-11-28-texts`).
pub(crate) const SMOOTHING: f64 = 1e-5;
/// Returns the weight of a word that occurs `count` times among `total`.
pub(crate) fn weight(count: u64, total: u64) -> f32 {
    (SMOOTHING / (SMOOTHING + count as f64 / total.max(1) as f64)) as f32
}

/// Returns the weighted mean of the vectors of `words`; `vector` returns a word's vector and weight.
pub(crate) fn mean<'a>(
    words: impl Iterator<Item = u32>,
    dimension: usize,
    vector: impl Fn(u32) -> (&'a [f32], f32),
) -> Vec<f32> {
    let mut sum = vec![0.0_f64; dimension];
    let mut n = 0_u64;
    for word in words {
        let (numbers, weight) = vector(word);
        for (sum, &number) in sum.iter_mut().zip(numbers) {
            *sum += f64::from(number) * f64::from(weight);
        }
        n += 1;
    }
    sum.into_iter().map(|sum| (sum / n.max(1) as f64) as f32).collect()
}

/// Returns 1 / norm, or 0 for a vector of zero norm.
pub(crate) fn inverse_norm(vector: &[f32]) -> f32 {
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if norm > 0.0 { (1.0 / norm) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_words_have_low_weights() {
        assert!(weight(1, 1_000_000_000) > 0.99);
        assert!((weight(10, 1_000_000) - 0.5).abs() < 1e-6);
        assert!(weight(60_000, 1_000_000) < 0.001);
        assert!(weight(5, 0).is_finite());
    }
}
