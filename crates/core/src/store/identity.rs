//! Random identities of a data directory and of its collections: they show which files belong together.
//!
//! The catalogue holds the identity of the data directory and that of each collection; `points.redb` holds both, too. A
//! collection of a version without identities gets one at its first open.

use super::Error;
use crate::types::Identity;
use std::path::{Path, PathBuf};

/// The collection that a `points.redb` belongs to, and its data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The data directory.
    pub directory: Identity,
    /// The generation of the collection.
    pub collection: Identity,
}

/// Folder of a collection, with its data from the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionDir {
    /// The folder.
    pub path: PathBuf,
    /// Destination of unrecorded files that hold points.
    pub orphans: PathBuf,
    /// The identity of the data directory.
    pub directory: Identity,
    /// The identity of the collection; none in a record of a version without identities.
    pub collection: Option<Identity>,
    /// The catalogue file, for error messages.
    pub catalog: PathBuf,
}

/// Creates a random identity. `path` is for the error message.
///
/// # Errors
/// `Internal` if the system has no random bytes.
pub(super) fn random(path: &Path) -> Result<Identity, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::refused(path, format!("no random bytes for an identity: {error}")))?;
    Ok(Identity(bytes))
}

/// Parses 32 hexadecimal digits.
pub(super) fn parse(text: &str) -> Option<Identity> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(Identity(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_and_is_unique() {
        let (a, b) = (random(Path::new("x")).unwrap(), random(Path::new("x")).unwrap());
        assert_ne!(a, b);
        assert_eq!(parse(&a.to_string()), Some(a));
        for invalid in ["", "00", &"g".repeat(32), &"0".repeat(33), &"é".repeat(16)] {
            assert_eq!(parse(invalid), None, "{invalid:?}");
        }
    }
}
