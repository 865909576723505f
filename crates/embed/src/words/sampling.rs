//! Random sampling for training: a small generator, words by frequency, subsampling of frequent words; and a hash.

/// Returns, for each word, the largest random number that keeps an occurrence; `u32::MAX` always keeps it. The share
/// kept is sqrt(t/f) + t/f, as in word2vec.c (the formula of Mikolov et al. 2013, section 2.3, is close to it).
pub(super) fn keep_thresholds(counts: &[u64], subsample: f64) -> Vec<u32> {
    let total = counts.iter().sum::<u64>() as f64;
    let threshold = |&count: &u64| {
        let ratio = subsample / (count as f64 / total);
        let share = ratio.sqrt() + ratio;
        if subsample == 0.0 || share >= 1.0 { u32::MAX } else { (share * f64::from(u32::MAX)) as u32 }
    };
    counts.iter().map(threshold).collect()
}

/// Samples words in proportion to a power of their counts with two memory reads (Walker's alias method).
pub(super) struct AliasTable {
    cells: Vec<(u32, u32)>,
}

impl AliasTable {
    /// Builds the table for a vocabulary of at least one word.
    pub(super) fn new(counts: &[u64], power: f64) -> Self {
        let mut shares: Vec<f64> = counts.iter().map(|&count| (count as f64).powf(power)).collect();
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        shares.iter_mut().for_each(|share| *share /= mean);
        let mut cells: Vec<(u32, u32)> = (0..counts.len() as u32).map(|word| (u32::MAX, word)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..shares.len()).partition(|&at| shares[at] < 1.0);
        while let (Some(&less), Some(&more)) = (small.last(), large.last()) {
            small.pop();
            cells[less] = ((shares[less] * f64::from(u32::MAX)) as u32, more as u32);
            shares[more] -= 1.0 - shares[less];
            if shares[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        Self { cells }
    }

    /// Returns a random word number.
    #[inline]
    pub(super) fn sample(&self, random: &mut Random) -> u32 {
        let bits = random.next();
        let at = ((bits >> 32) * self.cells.len() as u64) >> 32;
        let (limit, other) = self.cells[at as usize];
        if bits as u32 <= limit { at as u32 } else { other }
    }
}

/// 64-bit FNV-1a: among a million n-grams, one in ten million pairs of corpora has two n-grams with the same hash.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and two multiplications per number.
pub(crate) struct Random(u64);

impl Random {
    /// Returns a generator; every stream has a different sequence.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut start = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        Self(start.next())
    }

    /// Returns 64 random bits.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number in [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 16_777_216.0
    }

    /// Returns a number in [0, `bound`).
    #[inline]
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_the_counts() {
        let counts = [1_000_u64, 100, 10, 1];
        for power in [0.75, 1.0] {
            let alias = AliasTable::new(&counts, power);
            let mut random = Random::new(3, 0);
            let mut sampled = [0_u64; 4];
            (0..1_000_000).for_each(|_| sampled[alias.sample(&mut random) as usize] += 1);
            let total: f64 = counts.iter().map(|&count| (count as f64).powf(power)).sum();
            for (&count, &sampled) in counts.iter().zip(&sampled) {
                let expected = (count as f64).powf(power) / total * 1e6;
                assert!((sampled as f64 - expected).abs() < 6.0 * expected.sqrt(), "{count}: {sampled}, {expected}");
            }
        }
        let keep = keep_thresholds(&counts, 0.01);
        assert!(keep[0] < keep[1] && keep[2] == u32::MAX && keep[3] == u32::MAX);
        assert!(keep_thresholds(&counts, 0.0).iter().all(|&keep| keep == u32::MAX));
    }
}
