//! The opaque token of a scroll: version, checksum and the last id of the page, as hexadecimal digits.
//!
//! The checksum also covers the collection's name, so that a token of another collection is refused.

use crate::api::Error;
use crate::types::{CollectionName, MAX_ID_BYTES, PointId};

const VERSION: u8 = 1;
const HEAD: usize = 5;

fn checksum(collection: &CollectionName, id: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(collection.as_str().as_bytes());
    hasher.update(&[0, VERSION]);
    hasher.update(id);
    hasher.finalize().to_be_bytes()
}

/// Returns the token of the page after `last`.
pub(super) fn encode(collection: &CollectionName, last: &PointId) -> String {
    use std::fmt::Write;
    let id = last.as_str().as_bytes();
    let bytes = [VERSION].into_iter().chain(checksum(collection, id)).chain(id.iter().copied());
    bytes.fold(String::with_capacity(2 * (HEAD + id.len())), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a string cannot fail
        text
    })
}

/// Returns the id after which the page begins; none for the empty token.
pub(super) fn decode(collection: &CollectionName, token: &str) -> Result<Option<PointId>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let invalid = || Error::invalid("page_token", "is not a next_page_token of this collection");
    if !token.len().is_multiple_of(2) || token.len() > 2 * (HEAD + MAX_ID_BYTES) || !token.is_ascii() {
        return Err(invalid());
    }
    let bytes: Vec<u8> = (0..token.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&token[at..at + 2], 16))
        .collect::<Result<_, _>>()
        .map_err(|_| invalid())?;
    let Some((head, id)) = bytes.split_at_checked(HEAD) else { return Err(invalid()) };
    if head[0] != VERSION || head[1..] != checksum(collection, id) {
        return Err(invalid());
    }
    let id = std::str::from_utf8(id).map_err(|_| invalid())?;
    PointId::new(id).map(Some).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_decodes_to_its_id_and_others_are_refused() {
        let (here, there) = (CollectionName::new("here").unwrap(), CollectionName::new("there").unwrap());
        let id = PointId::new("ägg/1").unwrap();
        let token = encode(&here, &id);
        assert_eq!(decode(&here, &token).unwrap(), Some(id));
        assert_eq!(decode(&here, "").unwrap(), None);
        assert!(decode(&there, &token).is_err());
        for at in 0..token.len() {
            let digit = if &token[at..=at] == "0" { "1" } else { "0" };
            let changed = format!("{}{digit}{}", &token[..at], &token[at + 1..]);
            assert!(decode(&here, &changed).is_err(), "{changed}");
            assert!(decode(&here, &token[..at]).is_err() || at == 0);
        }
        for invalid in ["zz", "ää", "+1+1+1+1+1", &"00".repeat(500)] {
            assert!(decode(&here, invalid).is_err());
        }
    }
}
