//! Encoding of a growing point in the key-value file. It has its own checksum, because redb does not verify pages on
//! read.
//!
//! ```text
//! 0   u8   version            1   u8   bytes of the id     2   u16  zero
//! 4   u32  dimension, 0 without a vector          8   u32  CRC-32 of all other bytes
//! 12  id, then the vector as f32, then the body (store/body.rs) to the end
//! ```

use crate::types::{MAX_DIMENSION, MAX_ID_BYTES};

const VERSION: u8 = 1;
const HEADER: usize = 12;
const CRC: std::ops::Range<usize> = 8..12;
const _: () = assert!(MAX_ID_BYTES <= u8::MAX as usize);

/// Encodes a record into `into`, replacing its contents.
///
/// # Errors
/// A message that names the value out of range.
pub fn encode(into: &mut Vec<u8>, id: &str, vector: &[f32], payload: &[u8]) -> Result<(), String> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(format!("an id of {} bytes, not 1 to {MAX_ID_BYTES}", id.len()));
    }
    let dimension = u32::try_from(vector.len()).ok().filter(|dimension| *dimension <= MAX_DIMENSION);
    let Some(dimension) = dimension else {
        return Err(format!("a vector of {} components, more than {MAX_DIMENSION}", vector.len()));
    };
    into.clear();
    into.reserve(HEADER + id.len() + 4 * vector.len() + payload.len());
    into.extend_from_slice(&[VERSION, id.len() as u8, 0, 0]);
    into.extend_from_slice(&dimension.to_le_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(id.as_bytes());
    into.extend(vector.iter().flat_map(|component| component.to_le_bytes()));
    into.extend_from_slice(payload);
    let crc = checksum(into);
    into[CRC].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Decodes a record: returns id and payload, writes the vector to `vector`.
///
/// # Errors
/// A message that describes the damage.
pub fn decode<'a>(bytes: &'a [u8], vector: &mut Vec<f32>) -> Result<(&'a str, &'a [u8]), String> {
    if bytes.len() < HEADER {
        return Err(format!("{} bytes, less than the {HEADER} of its header", bytes.len()));
    }
    if bytes[0] != VERSION {
        return Err(format!("version {}, not {VERSION}", bytes[0]));
    }
    if bytes[CRC] != checksum(bytes).to_le_bytes() {
        return Err("the checksum does not match".into());
    }
    let id_bytes = usize::from(bytes[1]);
    let dimension = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    if id_bytes == 0 || id_bytes > MAX_ID_BYTES || dimension > MAX_DIMENSION || bytes[2..4] != [0, 0] {
        return Err(format!("an id of {id_bytes} bytes and {dimension} components"));
    }
    let body = &bytes[HEADER..];
    let vector_end = id_bytes + 4 * dimension as usize;
    if body.len() < vector_end {
        return Err(format!("{} bytes after the header, less than {vector_end}", body.len()));
    }
    let id = std::str::from_utf8(&body[..id_bytes]).map_err(|_| "the id is not UTF-8".to_owned())?;
    vector.clear();
    let (floats, _) = body[id_bytes..vector_end].as_chunks::<4>();
    vector.extend(floats.iter().map(|float| f32::from_le_bytes(*float)));
    Ok((id, &body[vector_end..]))
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CRC.start]);
    hasher.update(&bytes[CRC.end..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_point_reads_back(
            id in ".{1,30}",
            bits in prop::collection::vec(any::<u32>(), 1..40),
            payload in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let vector: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
            let (mut record, mut read) = (vec![9; 5], vec![1.0; 3]);
            encode(&mut record, &id, &vector, &payload).unwrap();
            let (read_id, read_payload) = decode(&record, &mut read).unwrap();
            prop_assert_eq!((read_id, read_payload), (id.as_str(), payload.as_slice()));
            prop_assert_eq!(read.iter().map(|f| f.to_bits()).collect::<Vec<_>>(), bits);
        }

        #[test]
        fn any_bytes_are_an_error_or_a_point(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut vector = Vec::new();
            let _ = decode(&bytes, &mut vector);
            if bytes.len() >= HEADER {
                // With a valid checksum, the length checks are reached.
                bytes[0] = VERSION;
                bytes[6..8].fill(0);
                let crc = checksum(&bytes).to_le_bytes();
                bytes[CRC].copy_from_slice(&crc);
                let _ = decode(&bytes, &mut vector);
            }
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_found() {
        let (mut record, mut vector) = (Vec::new(), Vec::new());
        encode(&mut record, "ab", &[1.0, -2.5], b"{}").unwrap();
        for cut in 0..record.len() {
            assert!(decode(&record[..cut], &mut vector).is_err(), "cut at {cut}");
        }
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, &mut vector).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn values_out_of_range_are_not_written() {
        let mut record = Vec::new();
        assert!(encode(&mut record, "", &[1.0], b"").is_err());
        assert!(encode(&mut record, &"x".repeat(MAX_ID_BYTES + 1), &[1.0], b"").is_err());
        encode(&mut record, "x", &[], b"{}").unwrap();
        let mut vector = vec![1.0];
        assert_eq!(decode(&record, &mut vector), Ok(("x", &b"{}"[..])));
        assert!(vector.is_empty());
        assert!(encode(&mut record, "x", &vec![0.0; MAX_DIMENSION as usize + 1], b"").is_err());
        encode(&mut record, &"x".repeat(MAX_ID_BYTES), &vec![0.0; MAX_DIMENSION as usize], b"").unwrap();
        decode(&record, &mut Vec::new()).unwrap();
    }
}
