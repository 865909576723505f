//! Per-request context: caller, request id, and details recorded while the request runs.

use super::fair_queue::Client;
use crate::api::{Error, Path};
use crate::auth::{Principal, Role, Scope};
use crate::grpc::limits::{DEFAULT_RESPONSE_BYTES, MAX_RESPONSE_BYTES};
use crate::types::CollectionName;
use std::sync::{Arc, OnceLock};
use tonic::codegen::http::HeaderMap;

/// Maximum length of a client-supplied request id, bytes.
const MAX_ID_BYTES: usize = 64;

/// An extension of the request, set by the request layer.
pub(crate) struct RequestContext {
    pub(crate) principal: Arc<Principal>,
    /// Client for fair queueing.
    pub(crate) client: Client,
    /// Maximum response size that the client can receive, bytes.
    pub(crate) response_bytes: usize,
    pub(crate) collection: OnceLock<CollectionName>,
    /// How the search was executed.
    pub(crate) path: OnceLock<Path>,
    /// The measured recall.
    pub(crate) recall: OnceLock<f64>,
}

impl RequestContext {
    pub(crate) fn new(principal: Arc<Principal>, client: Client, response_bytes: usize) -> Self {
        let (collection, path, recall) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { principal, client, response_bytes, collection, path, recall }
    }

    /// Creates the context of a request that did not pass the request layer: it has no permissions.
    pub(crate) fn unauthenticated() -> Self {
        let principal = Principal { name: String::new(), role: Role::Read, scope: Scope::default() };
        Self::new(Arc::new(principal), "".into(), DEFAULT_RESPONSE_BYTES)
    }
}

/// Returns the maximum response size from the request metadata, if present.
pub(crate) fn response_bytes(headers: &HeaderMap) -> Result<Option<usize>, Error> {
    let mut given = headers.get_all(MAX_RESPONSE_BYTES).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let bytes = digits.and_then(|digits| digits.parse::<u64>().ok()).filter(|bytes| *bytes > 0);
    match (bytes, given.next()) {
        (Some(bytes), None) => Ok(Some(usize::try_from(bytes).unwrap_or(usize::MAX))),
        _ => Err(Error::invalid(MAX_RESPONSE_BYTES, "takes one whole number of bytes, 1 or more, in decimal digits")),
    }
}

/// Returns the client-supplied request id if it is valid; the id is logged and sent back.
pub(crate) fn client_request_id(value: &[u8]) -> Option<&str> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let fits = (1..=MAX_ID_BYTES).contains(&value.len()) && value.iter().all(valid);
    if fits { std::str::from_utf8(value).ok() } else { None }
}

/// Generates a request id.
pub(crate) fn generate_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_limit_is_one_whole_number() {
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
        for invalid in ["", "0", "-1", "+1", "1e6", "4MiB", "99999999999999999999"] {
            assert!(of(&[invalid]).unwrap_err().to_string().contains(MAX_RESPONSE_BYTES), "{invalid}");
        }
        assert!(of(&["1", "2"]).is_err());
    }

    #[test]
    fn only_valid_request_ids_are_accepted() {
        for valid in ["a", "6f9b2c1e-0d53-4a8e", &"x".repeat(64)] {
            assert_eq!(client_request_id(valid.as_bytes()), Some(valid));
        }
        for invalid in ["", "a b", "a\n", "ä", "\"", &"x".repeat(65)] {
            assert_eq!(client_request_id(invalid.as_bytes()), None, "{invalid}");
        }
        assert!(client_request_id(generate_id().as_bytes()).is_some() && generate_id() != generate_id());
    }
}
