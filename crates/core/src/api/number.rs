//! Numbers of payloads and filters: integers and floats in one exact order, encoded as key bytes.
//!
//! A double cannot represent every 64-bit integer. A number is therefore the nearest double plus a remainder:
//!
//! ```text
//! | double, bits transformed so that bytes sort like numbers: 8 | remainder + 2^15: 2 |   big-endian
//! ```

use std::fmt;

/// A finite number. 1 equals 1.0, 0.0 equals -0.0, and 2^53 + 1 does not equal 2^53.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number([u8; Self::BYTES]);

const SIGN: u64 = 1 << 63;
/// Offset of the remainder (at most 2^10 either way), which makes it non-negative.
const MIDDLE: i128 = 1 << 15;

impl Number {
    /// Length of a key, in bytes.
    pub(crate) const BYTES: usize = 10;

    /// Converts a double; `None` for NaN and infinities.
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then(|| Self::new(value, 0))
    }

    /// Converts a JSON number; `None` if it is not finite.
    pub(crate) fn from_json(value: &serde_json::Number) -> Option<Self> {
        match (value.as_i64(), value.as_u64()) {
            (Some(value), _) => Some(value.into()),
            (None, Some(value)) => Some(value.into()),
            (None, None) => value.as_f64().and_then(Self::from_f64),
        }
    }

    /// Returns its key. Keys sort like numbers.
    pub(crate) fn key(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Returns the number with this key.
    pub(crate) const fn from_key(key: [u8; Self::BYTES]) -> Self {
        Self(key)
    }

    /// Returns its value: an integer if it is one of 64 bits, otherwise a double.
    pub fn to_json(self) -> serde_json::Number {
        let nearest = self.nearest();
        // A double of this size is an integer; the conversion of a larger one saturates, and it is no integer of 64 bits.
        let integer = (nearest as i128).saturating_add(self.missing());
        if nearest.fract() == 0.0 {
            if let Ok(value) = i64::try_from(integer) {
                return value.into();
            }
            if let Ok(value) = u64::try_from(integer) {
                return value.into();
            }
        }
        serde_json::Number::from_f64(nearest).unwrap_or_else(|| 0.into())
    }

    /// Returns the remainder beyond the nearest double.
    fn missing(self) -> i128 {
        (i128::from(self.0[8]) << 8 | i128::from(self.0[9])) - MIDDLE
    }

    fn new(nearest: f64, missing: i128) -> Self {
        let bits = if nearest == 0.0 { 0 } else { nearest.to_bits() };
        let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
        let mut key = [0; Self::BYTES];
        key[..8].copy_from_slice(&ordered.to_be_bytes());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 2^15 +- 2^10
        key[8..].copy_from_slice(&((missing + MIDDLE) as u16).to_be_bytes());
        Self(key)
    }

    /// Returns the nearest double.
    fn nearest(self) -> f64 {
        let ordered = self.0.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        f64::from_bits(if ordered & SIGN == 0 { !ordered } else { ordered ^ SIGN })
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        let nearest = value as f64;
        Self::new(nearest, i128::from(value) - nearest as i128)
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        let nearest = value as f64;
        Self::new(nearest, i128::from(value) - nearest as i128)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing();
        if missing == 0 { write!(f, "{}", self.nearest()) } else { write!(f, "{}", self.nearest() as i128 + missing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_numbers() {
        let double = |value| Number::from_f64(value).expect("finite");
        let ascending = [
            double(f64::MIN),
            Number::from(i64::MIN),
            Number::from(i64::MIN + 1),
            double(-1.5),
            Number::from(-1_i64),
            double(-f64::MIN_POSITIVE),
            Number::from(0_i64),
            double(f64::MIN_POSITIVE),
            Number::from(1_i64),
            double(1.0 + f64::EPSILON),
            double(9_007_199_254_740_992.0),
            Number::from(9_007_199_254_740_993_i64),
            Number::from(9_007_199_254_740_994_i64),
            Number::from(i64::MAX),
            double(9_223_372_036_854_775_808.0),
            Number::from(u64::MAX - 1),
            Number::from(u64::MAX),
            double(18_446_744_073_709_551_616.0),
            double(f64::MAX),
        ];
        for pair in ascending.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
        assert_eq!(format!("{:?}", ascending[11]), "9007199254740993");
    }

    #[test]
    fn equal_numbers_are_equal_in_every_notation() {
        for value in [0_i64, 1, -7, 1 << 53, -(1 << 60)] {
            assert_eq!(Some(Number::from(value)), Number::from_f64(value as f64), "{value}");
        }
        assert_eq!(Number::from_f64(-0.0), Number::from_f64(0.0));
        assert_eq!(Number::from(5_u64), Number::from(5_i64));
        assert_ne!(Some(Number::from((1_i64 << 53) + 1)), Number::from_f64(((1_i64 << 53) + 1) as f64));
        assert!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].into_iter().all(|x| Number::from_f64(x).is_none()));
    }

    #[test]
    fn a_number_becomes_the_json_number_that_it_was() {
        for text in ["0", "-7", "1.5", "9007199254740993", "-9223372036854775808", "18446744073709551615", "1e300"] {
            let json: serde_json::Number = serde_json::from_str(text).unwrap();
            let number = Number::from_json(&json).unwrap();
            assert_eq!(Number::from_key(*number.key()).to_json(), json, "{text}");
        }
        assert_eq!(Number::from_f64(2.0).unwrap().to_json(), 2.into());
    }
}
