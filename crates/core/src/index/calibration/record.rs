//! Serialized form of a calibration, validated on read: redb does not verify the pages that it reads.
//!
//! ```text
//! 0   u8   version         1   3 bytes zero        4   u32  CRC-32 of all other bytes
//! 8   u32  samples
//! 12  twice, for queries that are not stored and for stored rows: u32 curves, and for each of them
//!     u32 k, u32 points, and for each of them u32 ef, f32 recall, f32 standard error
//! ```

use super::table::{MAX_CURVES, MAX_POINTS};
use super::{Calibration, Curve, CurvePoint};

const VERSION: u8 = 1;
const HEADER: usize = 12;
const CRC: std::ops::Range<usize> = 4..8;

impl Calibration {
    /// Serializes the table; see `docs/FORMAT.md`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&self.samples().to_le_bytes());
        for curves in [self.new_curves(), self.stored_curves()] {
            bytes.extend_from_slice(&(curves.len() as u32).to_le_bytes());
            for Curve { k, points } in curves {
                bytes.extend_from_slice(&k.to_le_bytes());
                bytes.extend_from_slice(&(points.len() as u32).to_le_bytes());
                for CurvePoint { ef, recall, error } in points {
                    bytes.extend_from_slice(&ef.to_le_bytes());
                    bytes.extend_from_slice(&recall.to_le_bytes());
                    bytes.extend_from_slice(&error.to_le_bytes());
                }
            }
        }
        let crc = checksum(&bytes);
        bytes[CRC].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Parses the output of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// A description of the fault in the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < HEADER {
            return Err(format!("{} bytes, less than the {HEADER} of its header", bytes.len()));
        }
        if bytes[0] != VERSION || bytes[1..4] != [0; 3] {
            return Err(format!("version {}, not {VERSION}", bytes[0]));
        }
        if bytes[CRC] != checksum(bytes).to_le_bytes() {
            return Err("the checksum does not match".into());
        }
        let (words, rest) = bytes[8..].as_chunks::<4>();
        if !rest.is_empty() {
            return Err(format!("{} bytes are not whole numbers of 4 bytes", bytes.len()));
        }
        let mut words = words.iter().copied();
        let mut next = || words.next().ok_or_else(|| "it ends early".to_owned());
        let samples = u32::from_le_bytes(next()?);
        let new = curves(&mut next)?;
        let stored = curves(&mut next)?;
        if words.next().is_some() {
            return Err("there are bytes after the last curve".into());
        }
        Self::new(samples, new, stored)
    }
}

type Word<'n> = dyn FnMut() -> Result<[u8; 4], String> + 'n;

/// Parses one list of curves. Allocates nothing for a count out of range.
fn curves(next: &mut Word<'_>) -> Result<Vec<Curve>, String> {
    let count = u32::from_le_bytes(next()?) as usize;
    if count > MAX_CURVES {
        return Err(format!("{count} curves, at most {MAX_CURVES} are allowed"));
    }
    let mut curves = Vec::with_capacity(count);
    for _ in 0..count {
        let (k, count) = (u32::from_le_bytes(next()?), u32::from_le_bytes(next()?) as usize);
        if count > MAX_POINTS {
            return Err(format!("{count} points, at most {MAX_POINTS} are allowed"));
        }
        let mut points = Vec::with_capacity(count);
        for _ in 0..count {
            points.push(CurvePoint {
                ef: u32::from_le_bytes(next()?),
                recall: f32::from_le_bytes(next()?),
                error: f32::from_le_bytes(next()?),
            });
        }
        curves.push(Curve { k, points });
    }
    Ok(curves)
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

    fn table() -> Calibration {
        let point = |ef, recall| CurvePoint { ef, recall, error: 0.01 };
        let of = |k: u32| Curve { k, points: vec![point(k, 0.7), point(4 * k, 0.95)] };
        Calibration::new(200, vec![of(1), of(10)], vec![of(10)]).unwrap()
    }

    #[test]
    fn a_table_reads_back() {
        assert_eq!(Calibration::from_bytes(&table().to_bytes()), Ok(table()));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_found() {
        let bytes = table().to_bytes();
        for cut in 0..bytes.len() {
            assert!(Calibration::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Calibration::from_bytes(&damaged).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_with_a_sound_checksum_are_a_table_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 16..120)) {
            bytes[..4].copy_from_slice(&[VERSION, 0, 0, 0]);
            let crc = checksum(&bytes).to_le_bytes();
            bytes[CRC].copy_from_slice(&crc);
            let _ = Calibration::from_bytes(&bytes);
            // Plausible counts.
            for at in (12..bytes.len() - 3).step_by(4) {
                bytes[at + 1..at + 4].fill(0);
            }
            bytes.truncate(bytes.len() / 4 * 4);
            let crc = checksum(&bytes).to_le_bytes();
            bytes[CRC].copy_from_slice(&crc);
            let _ = Calibration::from_bytes(&bytes);
        }
    }
}
