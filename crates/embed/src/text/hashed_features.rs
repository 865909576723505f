//! Hashed features: the words of a text, known to a net or not, in a few hundred numbers. Each word adds its weight,
//! with a sign, to a few numbers selected by the hash of its spelling. Cosines of these vectors approximate those of
//! the sparse vectors with one number per word, as in TF-IDF: a sparse Johnson-Lindenstrauss transform (Kane, Nelson
//! 2014, "Sparser Johnson-Lindenstrauss Transforms", section 1; for texts: Weinberger and others 2009, "Feature Hashing
//! for Large Scale Multitask Learning", section 2).

use crate::words::sampling::{Random, fnv1a};

/// Components that each word adds to; two of them may coincide. More reduce the variance of a cosine and take time in
/// proportion; measured with 8 (`benches/results/2026-11-28-texts`). Part of the format of trained models.
const HASHES: usize = 8;

/// Adds a word to the features, which may be empty.
pub(super) fn add(word: &str, weight: f32, features: &mut [f32]) {
    if features.is_empty() {
        return;
    }
    let mut random = Random::new(fnv1a(word.as_bytes()), 0);
    for _ in 0..HASHES {
        let bits = random.next();
        let index = (u64::from(bits as u32) * features.len() as u64) >> 32;
        features[index as usize] += if bits >> 63 == 0 { weight } else { -weight };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(words: &[(String, f32)], size: usize) -> Vec<f32> {
        let mut features = vec![0.0; size];
        words.iter().for_each(|(word, weight)| add(word, *weight, &mut features));
        features
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    #[test]
    fn cosines_are_those_of_the_words() {
        // Of 40 words of weight 1, `shared` are the same.
        let mut errors = Vec::new();
        for pair in 0..100 {
            let shared = pair % 41;
            let text = |other: usize| -> Vec<(String, f32)> {
                (0..40).map(|n| (format!("{pair}-{}-{n}", if n < shared { 0 } else { other }), 1.0)).collect()
            };
            errors.push(cosine(&features(&text(1), 512), &features(&text(2), 512)) - shared as f64 / 40.0);
        }
        let mean = errors.iter().sum::<f64>() / 100.0;
        let deviation = (errors.iter().map(|error| error * error).sum::<f64>() / 100.0).sqrt();
        // For texts without common words, 1 / sqrt(512) is 0.044.
        assert!(mean.abs() < 0.015 && deviation < 0.05 && deviation > 0.01, "{mean} {deviation}");
    }

    #[test]
    fn a_word_is_spread_evenly_with_its_weight() {
        let mut sums = vec![0.0_f32; 64];
        for n in 0..4_000 {
            let one = features(&[(format!("word{n}"), 2.0)], 64);
            assert!(one.iter().map(|x| x.abs()).sum::<f32>() <= 16.0);
            one.iter().zip(&mut sums).for_each(|(x, sum)| *sum += x.abs());
        }
        // 4,000 words at 8 positions each, minus collisions.
        assert!(sums.iter().all(|&sum| (750.0..1_150.0).contains(&sum)), "{sums:?}");
    }
}
