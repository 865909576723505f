//! The part of a snapshot with the updated payloads of a segment: for each row its number (u32), the length of the
//! payload (u32), both little-endian, and the payload.

use crate::api::{Payload, limits};

/// Encodes the payloads of rows.
pub(crate) fn encode<'p, P: AsRef<[u8]> + 'p>(rows: impl Iterator<Item = (u32, &'p P)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (row, payload) in rows {
        let payload = payload.as_ref();
        bytes.extend_from_slice(&row.to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// Decodes the output of [`encode`].
///
/// # Errors
/// A message that describes the damage.
pub(crate) fn decode(mut bytes: &[u8]) -> Result<impl Iterator<Item = (u32, &[u8])>, String> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let Some(([row, length], rest)) = numbers(bytes) else { return Err("it is cut".into()) };
        if length as usize > limits::MAX_PAYLOAD_BYTES || length as usize > rest.len() {
            return Err(format!("a payload of {length} bytes, at most {}", limits::MAX_PAYLOAD_BYTES.min(rest.len())));
        }
        let (payload, rest) = rest.split_at(length as usize);
        serde_json::from_slice::<Payload>(payload).map_err(|error| format!("the payload of row {row}: {error}"))?;
        rows.push((row, payload));
        bytes = rest;
    }
    Ok(rows.into_iter())
}

fn numbers(bytes: &[u8]) -> Option<([u32; 2], &[u8])> {
    let (row, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    Some(([u32::from_le_bytes(*row), u32::from_le_bytes(*length)], rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_read_back_and_every_cut_is_found() {
        let rows: [(u32, &[u8]); 3] = [(7, b"{}"), (0, br#"{"a":1}"#), (u32::MAX, br#"{"b":[null]}"#)];
        let bytes = encode(rows.iter().map(|(row, payload)| (*row, payload)));
        assert!(decode(&bytes).unwrap().eq(rows));
        let ends = [0, 10, 25];
        for cut in (0..bytes.len()).filter(|cut| !ends.contains(cut)) {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let no_object = encode([(1, &b"[1]"[..])].iter().map(|(row, payload)| (*row, payload)));
        assert!(decode(&no_object).err().unwrap().contains("row 1"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_rows(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes).map(Iterator::count);
        }
    }
}
