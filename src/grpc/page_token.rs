//! The opaque token of a scroll: version, checksum and the last id of the page, as hexadecimal digits. In an ordered
//! scroll, the length and the bytes of the last sort key come before the id.
//!
//! The checksum also covers the collection's name, and the order, so that a token of another scroll is refused.

use crate::api::{Error, OrderBy, SortKey, SortPosition};
use crate::types::{CollectionName, MAX_ID_BYTES, PointId};

/// Version of the tokens of scrolls by id.
const BY_ID: u8 = 1;
/// Version of the tokens of ordered scrolls.
const ORDERED: u8 = 2;
const HEAD: usize = 5;
/// Length of the key's length.
const KEY_LENGTH: usize = 2;
/// Maximum length of a position.
const MAX_POSITION: usize = KEY_LENGTH + SortKey::MAX_BYTES + MAX_ID_BYTES;

/// Returns a hasher of all that a token belongs to: its collection and, in an ordered scroll, the order.
fn hasher(collection: &CollectionName, order: Option<&OrderBy>) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(collection.as_str().as_bytes());
    match order {
        None => hasher.update(&[0, BY_ID]),
        Some(order) => {
            hasher.update(&[0, ORDERED, u8::from(order.descending)]);
            hasher.update(order.field.as_bytes());
            hasher.update(&[0]);
        }
    }
    hasher
}

fn checksum(collection: &CollectionName, order: Option<&OrderBy>, position: &[u8]) -> [u8; 4] {
    let mut hasher = hasher(collection, order);
    hasher.update(position);
    hasher.finalize().to_be_bytes()
}

fn write(collection: &CollectionName, order: Option<&OrderBy>, position: &[u8]) -> String {
    use std::fmt::Write;
    let version = order.map_or(BY_ID, |_| ORDERED);
    let bytes = [version].into_iter().chain(checksum(collection, order, position)).chain(position.iter().copied());
    bytes.fold(String::with_capacity(2 * (HEAD + position.len())), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a string cannot fail
        text
    })
}

fn invalid(order: Option<&OrderBy>) -> Error {
    let of = if order.is_some() { "collection in this order" } else { "collection" };
    Error::invalid("page_token", format!("is not a next_page_token of this {of}"))
}

/// Returns the position in a token that is not empty.
fn read(collection: &CollectionName, order: Option<&OrderBy>, token: &str) -> Option<Vec<u8>> {
    let max = if order.is_some() { MAX_POSITION } else { MAX_ID_BYTES };
    if !token.len().is_multiple_of(2) || token.len() > 2 * (HEAD + max) || !token.is_ascii() {
        return None;
    }
    let mut bytes: Vec<u8> = (0..token.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&token[at..at + 2], 16))
        .collect::<Result<_, _>>()
        .ok()?;
    let (head, position) = bytes.split_at_checked(HEAD)?;
    let version = order.map_or(BY_ID, |_| ORDERED);
    if head[0] != version || head[1..] != checksum(collection, order, position) {
        return None;
    }
    Some(bytes.split_off(HEAD))
}

fn id(bytes: &[u8]) -> Option<PointId> {
    std::str::from_utf8(bytes).ok().and_then(|id| PointId::new(id).ok())
}

/// Returns the token of the page after `last`.
pub(super) fn encode(collection: &CollectionName, last: &PointId) -> String {
    write(collection, None, last.as_str().as_bytes())
}

/// Returns the id after which the page begins; none for the empty token.
pub(super) fn decode(collection: &CollectionName, token: &str) -> Result<Option<PointId>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let found = read(collection, None, token).and_then(|position| id(&position));
    found.map(Some).ok_or_else(|| invalid(None))
}

/// Returns the token of the page after `last` in an order.
pub(super) fn encode_ordered(collection: &CollectionName, order: &OrderBy, last: &SortPosition) -> String {
    let (key, id) = (last.0.as_bytes(), last.1.as_str().as_bytes());
    let length = (key.len() as u16).to_be_bytes(); // at most SortKey::MAX_BYTES
    write(collection, Some(order), &[&length, key, id].concat())
}

/// Returns the position after which the page of an order begins; none for the empty token.
pub(super) fn decode_ordered(
    collection: &CollectionName,
    order: &OrderBy,
    token: &str,
) -> Result<Option<SortPosition>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let found = read(collection, Some(order), token).and_then(|position| {
        let (length, rest) = position.split_first_chunk::<KEY_LENGTH>()?;
        let (key, last) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some((SortKey::from_bytes(key)?, id(last)?))
    });
    found.map(Some).ok_or_else(|| invalid(Some(order)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Scalar;

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

    #[test]
    fn a_token_of_an_order_belongs_to_it() {
        let (here, there) = (CollectionName::new("here").unwrap(), CollectionName::new("there").unwrap());
        let order = OrderBy::ascending("year");
        let id = PointId::new("x".repeat(MAX_ID_BYTES)).unwrap();
        for value in ["y".repeat(300).into(), Scalar::from(1_i64), Scalar::from(false)] {
            let last = (SortKey::new(&value), id.clone());
            let token = encode_ordered(&here, &order, &last);
            assert!(token.len() <= crate::grpc::limits::TOKEN_BYTES);
            assert_eq!(decode_ordered(&here, &order, &token).unwrap(), Some(last));
            assert!(decode_ordered(&there, &order, &token).is_err());
            assert!(decode_ordered(&here, &OrderBy::descending("year"), &token).is_err());
            assert!(decode_ordered(&here, &OrderBy::ascending("yea"), &token).is_err());
            assert!(decode(&here, &token).is_err(), "a token of another kind");
            assert!(decode_ordered(&here, &order, &token[..token.len() - 2]).is_err());
        }
        assert!(decode_ordered(&here, &order, &encode(&here, &id)).is_err());
        assert_eq!(decode_ordered(&here, &order, "").unwrap(), None);
        // Valid checksums over positions that no page has.
        for position in [&[][..], &[0], &[0, 9, 1], &[0, 0, b'a'], &[0, 2, 1, 1], &[0, 2, 9, 9, b'a']] {
            assert!(decode_ordered(&here, &order, &write(&here, Some(&order), position)).is_err(), "{position:?}");
        }
    }
}
