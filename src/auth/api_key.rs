//! API keys: 256 random bits, shown once. The server stores only their SHA-256.
//!
//! A fast hash is sufficient: slow hashes protect guessable secrets, and 256 random bits cannot be guessed.
//! Comparison is in constant time.

use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// Prefix of all keys, so that leaked keys are recognizable.
const PREFIX: &str = "nrn_";
const SECRET_BYTES: usize = 32;

/// A newly created key; the secret cannot be read later.
pub struct NewKey {
    /// The secret, for the caller only.
    pub secret: String,
    /// The hash, for the server.
    pub hash: KeyHash,
}

impl NewKey {
    /// Creates a key from the system's random numbers.
    ///
    /// # Errors
    /// If the system has no random number generator.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        let secret = format!("{PREFIX}{}", hex(&bytes));
        let hash = KeyHash::of(secret.as_bytes());
        Ok(Self { secret, hash })
    }
}

/// Whether a credential has the form of a key, valid or not.
pub(super) fn is_api_key(credential: &[u8]) -> bool {
    credential.starts_with(PREFIX.as_bytes())
}

/// The error for a hash that is not 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the 64 hexadecimal digits that `nearness key new` prints")]
pub struct InvalidHash;

/// SHA-256 of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Returns the hash of `key`.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Parses 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`InvalidHash`].
    pub fn parse(text: &str) -> Result<Self, InvalidHash> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(InvalidHash);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(InvalidHash);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Ok(Self(bytes))
    }

    /// Compares in constant time.
    pub(super) fn equals(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_has_the_printed_hash() {
        let (one, two) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
        assert!(is_api_key(one.secret.as_bytes()) && one.secret.len() == 68);
        assert_ne!(one.secret, two.secret);
        assert!(KeyHash::parse(&one.hash.to_string()) == Ok(KeyHash::of(one.secret.as_bytes())));
        assert!(bool::from(one.hash.equals(&KeyHash::of(one.secret.as_bytes()))));
        assert!(!bool::from(one.hash.equals(&two.hash)));
        // SHA-256 of "abc", from FIPS 180-2.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::of(b"abc").to_string(), abc);
        for invalid in ["", &abc[1..], &format!("{abc}0"), &abc.replace('b', "g"), &"ä".repeat(32)] {
            assert!(KeyHash::parse(invalid).is_err(), "{invalid}");
        }
    }
}
