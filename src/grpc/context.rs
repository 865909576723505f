//! What is known of a request beside its message: whose it is, its id, and what it turned out to be about.

use super::limits::{DEFAULT_RESPONSE_BYTES, MAX_RESPONSE_BYTES};
use super::queue::Client;
use crate::collection::{Error, Path};
use crate::guard::{Caller, Role, Scope};
use crate::types::CollectionName;
use std::sync::{Arc, OnceLock};
use tonic::codegen::http::HeaderMap;

/// Longest id that a client may give its request, bytes.
const MAX_ID_BYTES: usize = 64;

/// Travels with the request as an extension; the gate puts it there.
pub(super) struct Context {
    pub(super) caller: Arc<Caller>,
    /// Whose turn it is when requests wait.
    pub(super) client: Client,
    /// Bytes of a response that the client can receive.
    pub(super) response_bytes: usize,
    pub(super) collection: OnceLock<CollectionName>,
    /// How its answer was found.
    pub(super) path: OnceLock<Path>,
    /// The recall that it measured.
    pub(super) recall: OnceLock<f64>,
}

impl Context {
    pub(super) fn new(caller: Arc<Caller>, client: Client, response_bytes: usize) -> Self {
        let (collection, path, recall) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { caller, client, response_bytes, collection, path, recall }
    }

    /// Of a request that did not come through the gate: it may do nothing.
    pub(super) fn nobody() -> Self {
        let caller = Caller { name: String::new(), role: Role::Read, scope: Scope::default() };
        Self::new(Arc::new(caller), "".into(), DEFAULT_RESPONSE_BYTES)
    }
}

/// The bytes of a response that the client can receive, if it says so in its metadata.
pub(super) fn response_bytes(headers: &HeaderMap) -> Result<Option<usize>, Error> {
    let mut given = headers.get_all(MAX_RESPONSE_BYTES).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let bytes = digits.and_then(|digits| digits.parse::<u64>().ok()).filter(|bytes| *bytes > 0);
    match (bytes, given.next()) {
        (Some(bytes), None) => Ok(Some(usize::try_from(bytes).unwrap_or(usize::MAX))),
        _ => Err(Error::invalid(MAX_RESPONSE_BYTES, "takes one whole number of bytes, 1 or more, in decimal digits")),
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
    fn clients_say_what_they_can_receive() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(MAX_RESPONSE_BYTES, value.parse().unwrap());
            }
            response_bytes(&headers)
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["1"]).unwrap(), Some(1));
        assert_eq!(of(&["67108864"]).unwrap(), Some(64 << 20));
        for wrong in ["", "0", "-1", "+1", "1e6", "4MiB", "99999999999999999999"] {
            assert!(of(&[wrong]).unwrap_err().to_string().contains(MAX_RESPONSE_BYTES), "{wrong}");
        }
        assert!(of(&["1", "2"]).is_err());
    }

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
