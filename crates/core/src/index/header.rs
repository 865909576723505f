//! Header of the files of indexes that are rebuilt when they are damaged.
//!
//! All begin with a magic number of 8 bytes, the version (u32), and the CRC-32 of the header with this field as zeros. See
//! docs/FORMAT.md.

use std::ops::Range;

/// Position of the checksum.
const CRC: Range<usize> = 12..16;

/// A verified header of `N` bytes.
pub(crate) struct Header<'f, const N: usize>(&'f [u8; N]);

impl<'f, const N: usize> Header<'f, N> {
    /// Reads and verifies the header of a file. Returns it with the rest of the file. `kind` names the file in errors.
    ///
    /// # Errors
    /// A description of the failed check.
    pub(crate) fn read(file: &'f [u8], magic: [u8; 8], version: u32, kind: &str) -> Result<(Self, &'f [u8]), String> {
        let Some((bytes, rest)) = file.split_first_chunk::<N>() else {
            return Err(format!("the file ends inside its header of {N} bytes"));
        };
        if bytes[..8] != magic {
            return Err(format!("not {kind}"));
        }
        let header = Self(bytes);
        if header.u32_at(8) != version {
            return Err(format!("has version {}; this program reads version {version}", header.u32_at(8)));
        }
        let mut hashed = *bytes;
        hashed[CRC].fill(0);
        if crc32fast::hash(&hashed) != header.u32_at(CRC.start) {
            return Err("the header's checksum does not match".into());
        }
        Ok((header, rest))
    }

    /// Returns the number at a position.
    pub(crate) fn u32_at(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// Returns the number at a position.
    pub(crate) fn u64_at(&self, at: usize) -> u64 {
        u64::from(self.u32_at(at)) | u64::from(self.u32_at(at + 4)) << 32
    }
}

/// Whether a file of a kind of index has an earlier version: it is rebuilt, and not damaged.
pub(crate) fn is_outdated(file: &[u8], magic: [u8; 8], version: u32) -> bool {
    let Some((found, rest)) = file.split_first_chunk::<8>() else { return false };
    *found == magic && rest.first_chunk().is_some_and(|found| u32::from_le_bytes(*found) < version)
}

/// Writes magic number, version and checksum into a header whose other fields are complete.
pub(crate) fn seal(header: &mut [u8], magic: [u8; 8], version: u32) {
    header[..8].copy_from_slice(&magic);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    header[CRC].fill(0);
    let crc = crc32fast::hash(header);
    header[CRC].copy_from_slice(&crc.to_le_bytes());
}
