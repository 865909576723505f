//! Lengths of the entries of a snapshot file, and its first entry.

use sha2::{Digest, Sha256};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(super) const MAGIC: &str = "nearness snapshot ";
pub(super) const VERSION: u32 = 1;
pub(super) const BLOCK: usize = 512;
/// Length of the zeros at the end of a tar file.
pub(super) const END: usize = 2 * BLOCK;

/// Returns the length of an entry: its header, its content, zeros up to the next block.
pub(super) fn entry_bytes(content: u64) -> Option<u64> {
    content.checked_next_multiple_of(BLOCK as u64)?.checked_add(BLOCK as u64)
}

/// Returns the length of everything besides the parts, given the length of the manifest and the names of the parts.
pub(super) fn frame(manifest: u64, parts: impl Iterator<Item = String>) -> Option<u64> {
    let format = opening(&[]).len() as u64;
    let sums: u64 = parts.map(|name| sum_line([0; 32], &name).len() as u64).sum();
    entry_bytes(format)?.checked_add(entry_bytes(manifest)?)?.checked_add(entry_bytes(sums)?)?.checked_add(END as u64)
}

pub(super) fn sum_line(sum: [u8; 32], name: &str) -> String {
    let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}  {name}\n")
}

/// Returns the content of the first entry: format version, and the checksum of the manifest.
pub(super) fn opening(manifest: &[u8]) -> String {
    format!("{MAGIC}{VERSION}\n{}", sum_line(Sha256::digest(manifest).into(), MANIFEST))
}
