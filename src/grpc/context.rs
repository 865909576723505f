//! What is known of a request beside its message: whose it is, its id, and what it turned out to be about.

use super::queue::Client;
use crate::collection::Path;
use crate::guard::{Caller, Role, Scope};
use crate::types::CollectionName;
use std::sync::{Arc, OnceLock};

/// Longest id that a client may give its request, bytes.
const MAX_ID_BYTES: usize = 64;

/// Travels with the request as an extension; the gate puts it there.
pub(super) struct Context {
    pub(super) caller: Arc<Caller>,
    /// Whose turn it is when requests wait.
    pub(super) client: Client,
    pub(super) collection: OnceLock<CollectionName>,
    /// How its answer was found.
    pub(super) path: OnceLock<Path>,
    /// The recall that it measured.
    pub(super) recall: OnceLock<f64>,
}

impl Context {
    pub(super) fn new(caller: Arc<Caller>, client: Client) -> Self {
        Self { caller, client, collection: OnceLock::new(), path: OnceLock::new(), recall: OnceLock::new() }
    }

    /// Of a request that did not come through the gate: it may do nothing.
    pub(super) fn nobody() -> Self {
        let caller = Caller { name: String::new(), role: Role::Read, scope: Scope::default() };
        Self::new(Arc::new(caller), "".into())
    }
}

/// The id that the client gave, if it is sound: it goes into logs, and back.
pub(super) fn given_id(value: &[u8]) -> Option<&str> {
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let fits = (1..=MAX_ID_BYTES).contains(&value.len()) && value.iter().all(sound);
    if fits { std::str::from_utf8(value).ok() } else { None }
}

/// A new id.
pub(super) fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_when_sound() {
        for sound in ["a", "6f9b2c1e-0d53-4a8e", &"x".repeat(64)] {
            assert_eq!(given_id(sound.as_bytes()), Some(sound));
        }
        for wrong in ["", "a b", "a\n", "ä", "\"", &"x".repeat(65)] {
            assert_eq!(given_id(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(given_id(new_id().as_bytes()).is_some() && new_id() != new_id());
    }
}
