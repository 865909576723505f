//! Iterator over the set bits of a bitmap.

use std::iter::FusedIterator;

/// Iterator over the positions of set bits in 64-bit words, ascending.
#[derive(Clone, Debug)]
pub struct Ones<'a> {
    words: &'a [u64],
    /// Unvisited bits of the current word.
    remaining: u64,
    index: usize,
}

/// Returns the positions of the set bits: bit `b` of word `w` has position `64 w + b`.
pub fn ones(words: &[u64]) -> Ones<'_> {
    Ones { words, remaining: words.first().copied().unwrap_or(0), index: 0 }
}

impl Iterator for Ones<'_> {
    type Item = u32;

    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    fn next(&mut self) -> Option<u32> {
        while self.remaining == 0 {
            self.index += 1;
            self.remaining = *self.words.get(self.index)?;
        }
        let bit = self.index as u32 * 64 + self.remaining.trailing_zeros();
        self.remaining &= self.remaining - 1;
        Some(bit)
    }
}

impl FusedIterator for Ones<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_bit_is_returned() {
        assert_eq!(ones(&[1 << 63 | 5, 0, 2]).collect::<Vec<_>>(), [0, 2, 63, 129]);
        assert_eq!(ones(&[0, 0]).count() + ones(&[]).count(), 0);
        assert!(ones(&[u64::MAX; 3]).eq(0..192));
    }
}
