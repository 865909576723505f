//! Embedder fingerprints: SHA-256 of weights, preprocessing and settings. They bind vectors to their embedder.

use sha2::{Digest, Sha256};
use std::fmt;

/// The SHA-256 of an embedder; displayed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Parses 64 hexadecimal digits; none for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, index) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[index..index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes the parts of a fingerprint. Each part is preceded by its label and length, so that different lists of
/// parts cannot collide.
pub struct Fingerprinter(Sha256);

impl Fingerprinter {
    /// Starts with the family and its preprocessing version, for example `words/1`.
    pub fn new(family: &str) -> Self {
        let mut this = Self(Sha256::new());
        this.part("family", family.as_bytes());
        this
    }

    /// Adds one labelled part.
    pub fn part(&mut self, label: &str, bytes: &[u8]) {
        for piece in [label.as_bytes(), bytes] {
            self.0.update((piece.len() as u64).to_le_bytes());
            self.0.update(piece);
        }
    }

    /// The fingerprint of all parts.
    pub fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_parses_its_own_output() {
        let fingerprint = Fingerprinter::new("test/1").finish();
        assert_eq!(Fingerprint::from_hex(&fingerprint.to_string()), Some(fingerprint));
        let long = "0".repeat(65);
        for invalid in ["", "ab", &long, &format!("{}g", &long[..63]), &format!("+{}", &long[..63]), &"é".repeat(32)] {
            assert_eq!(Fingerprint::from_hex(invalid), None, "{invalid}");
        }
    }
}
