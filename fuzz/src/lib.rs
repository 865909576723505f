//! Helpers of the fuzz targets: files in memory, splitting of the input, and correction of checksums, so that inputs
//! pass them. Offsets are those of `docs/FORMAT.md`.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Returns the folder of this process, in memory if possible. `fuzz/run` creates its parent and removes it.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let parent = std::env::var_os("NEARNESS_FUZZ_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = parent.join(format!("nearness-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for files");
        folder
    })
}

/// Creates an empty folder in [`scratch`].
pub fn folder(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Creates a file in [`scratch`]. An existing file is unlinked first, because it may be mapped.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes).expect("a file");
    path
}

/// Splits the input into its first byte and the rest.
pub fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// Splits the input into parts. The length of a part precedes it as u16; the last part extends to the end.
pub fn parts<const N: usize>(mut data: &[u8]) -> [&[u8]; N] {
    std::array::from_fn(|index| match data.split_first_chunk::<2>() {
        Some((length, rest)) if index + 1 < N => {
            let (part, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
            data = rest;
            part
        }
        _ => std::mem::take(&mut data),
    })
}

/// Applies patches to bytes: each is an offset as u32, a length of one byte, and that many bytes.
pub fn patched(base: &[u8], mut patches: &[u8]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    while let Some(([a, b, c, d, length], rest)) = patches.split_first_chunk::<5>() {
        let at = u32::from_le_bytes([*a, *b, *c, *d]) as usize % bytes.len().max(1);
        let (patch, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let end = (at + patch.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&patch[..end - at]);
        patches = rest;
    }
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |four| u32::from_le_bytes(four.try_into().expect("four bytes")))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(target) = bytes.get_mut(at..at + value.len()) {
        target.copy_from_slice(value);
    }
}

/// Returns the checksum of a section, or `None` if the section is not within the file.
fn section(bytes: &[u8], offset: u64, length: u64) -> Option<u32> {
    let end = usize::try_from(offset.checked_add(length)?).ok()?;
    bytes.get(usize::try_from(offset).ok()?..end).map(crc32fast::hash)
}

/// Corrects the checksums, the tag, the length and the copy of the header of a segment file. In a file of version 3
/// also the block checksums, if the first sections are at the offsets in the header.
pub fn fix_segment(bytes: &mut [u8]) {
    const ENTRIES: usize = 64;
    const SUMS: usize = 8;
    let with_sums = u32_at(bytes, 8) == 3 && bytes.len() >= 2 * 320;
    let header = if with_sums { 320 } else { 256 };
    let narrow = u32_at(bytes, 48) == 3;
    if with_sums {
        fix_sums(bytes);
    }
    let mut hash = Sha256::new();
    hash.update(&bytes[16..24]);
    hash.update(&bytes[32..40]);
    if u32_at(bytes, 48) != 0 || with_sums {
        hash.update(&bytes[48..52]);
    }
    if with_sums {
        hash.update(&bytes[280..296]);
        hash.update(&bytes[52..56]);
    }
    let present = (0..SUMS + 1).filter(|section_index| match *section_index {
        7 => narrow,
        SUMS => with_sums,
        _ => true,
    });
    for section_index in present {
        let at = ENTRIES + 24 * section_index;
        let (offset, length) = (u64_at(bytes, at), u64_at(bytes, at + 8));
        if let Some(crc) = section(bytes, offset, length) {
            put(bytes, at + 16, &crc.to_le_bytes());
        }
        hash.update(length.to_le_bytes());
        hash.update(&bytes[at + 16..at + 20]);
    }
    put(bytes, 24, &hash.finalize()[..8]);
    let length = bytes.len() as u64;
    put(bytes, 40, &length.to_le_bytes());
    put(bytes, 12, &[0; 4]);
    let crc = crc32fast::hash(&bytes[..header]);
    put(bytes, 12, &crc.to_le_bytes());
    if with_sums {
        let (first, copy) = bytes.split_at_mut(length as usize - header);
        copy.copy_from_slice(&first[..header]);
    }
}

/// Corrects the block checksums of sections within the file.
fn fix_sums(bytes: &mut [u8]) {
    /// Limits the time of one input.
    const MAX_BLOCKS: u64 = 64;
    let (rows, block_rows) = (u64::from(u32_at(bytes, 32)), u64::from(u32_at(bytes, 52)).max(1));
    let width = u64::from(u32_at(bytes, 36)) * [4, 2, 1, 1].get(u32_at(bytes, 48) as usize).copied().unwrap_or(4);
    // Limits offsets to values that fit into usize; they are beyond any file.
    let in_file = |at: u64| at.min(1 << 40) as usize;
    let offset = |bytes: &[u8], section: usize| u64_at(bytes, 64 + 24 * section);
    let end = |bytes: &[u8], section: usize, row: u64| match section {
        3 => u64::from(u32_at(bytes, in_file(offset(bytes, 2).saturating_add(4 * row)))),
        _ => u64_at(bytes, in_file(offset(bytes, 4).saturating_add(8 * row))),
    };
    for block in 0..rows.div_ceil(block_rows).min(MAX_BLOCKS) {
        let (from, until) = (block * block_rows, rows.min((block + 1) * block_rows));
        for section_index in 0..8 {
            let (begin, end) = match section_index {
                0 => (from.saturating_mul(width), until.saturating_mul(width)),
                2 => (from * 4, (until + 1) * 4),
                4 => (from * 8, (until + 1) * 8),
                3 | 5 => (end(bytes, section_index, from), end(bytes, section_index, until)),
                _ => (from * 4, until * 4),
            };
            let start = offset(bytes, section_index).saturating_add(begin);
            let crc = if section_index == 7 && u32_at(bytes, 48) != 3 {
                Some(0)
            } else {
                section(bytes, start, end.saturating_sub(begin))
            };
            let at = offset(bytes, 8).saturating_add((block * 8 + section_index as u64) * 4);
            if let Some(crc) = crc {
                put(bytes, in_file(at), &crc.to_le_bytes());
            }
        }
    }
}

/// Corrects the length of a graph file (from its counts, within a limit), the offsets of its sections, and its
/// checksums.
pub fn fix_graph(bytes: &mut Vec<u8>) {
    const HEADER: usize = 512;
    const LEVELS: usize = 88;
    const SECTIONS: usize = 152;
    const MAX_BYTES: u64 = 1 << 18;
    // Larger numbers exceed the length limit anyway.
    let number = |at: usize| u64::from(u32_at(bytes, at)).min(MAX_BYTES);
    let (rows, dimension, m, components) = (number(32), number(36), number(44), number(84));
    let upper: u64 = (0..number(52).min(16) as usize).map(|level| number(LEVELS + 4 * level) * 4 * (2 + m)).sum();
    let width = dimension + u64::from(number(40) == 1);
    let basis = if components == 0 { 0 } else { 4 * width + components * width.next_multiple_of(64) };
    let (groups, duplicates) = (number(76), number(80));
    let lengths = [rows * number(60), rows * 8 * m, upper, 4 * (groups + 1), 4 * duplicates, 4 * groups, basis];
    let mut end = HEADER as u64;
    let offsets = lengths.map(|length| {
        let offset = end;
        end = end.saturating_add(length).min(u64::MAX / 2).next_multiple_of(64);
        offset
    });
    if end <= MAX_BYTES {
        bytes.resize(end as usize, 0);
        for (index, (offset, length)) in offsets.iter().zip(lengths).enumerate() {
            put(bytes, SECTIONS + 24 * index, &offset.to_le_bytes());
            put(bytes, SECTIONS + 24 * index + 8, &length.to_le_bytes());
            let (from, until) = ((offset + length) as usize, (offset + length).next_multiple_of(64) as usize);
            bytes[from..until].fill(0);
        }
    }
    for index in 0..7 {
        let at = SECTIONS + 24 * index;
        if let Some(crc) = section(bytes, u64_at(bytes, at), u64_at(bytes, at + 8)) {
            put(bytes, at + 16, &crc.to_le_bytes());
        }
    }
    let crc = crc32fast::hash(&bytes[..HEADER - 4]);
    put(bytes, HEADER - 4, &crc.to_le_bytes());
}

/// Corrects the checksums and the length of a payload index.
pub fn fix_payloads(bytes: &mut [u8]) {
    const HEADER: usize = 128;
    let length = bytes.len() as u64;
    put(bytes, 40, &length.to_le_bytes());
    let body = crc32fast::hash(&bytes[HEADER..]);
    put(bytes, 52, &body.to_le_bytes());
    put(bytes, 12, &[0; 4]);
    let header = crc32fast::hash(&bytes[..HEADER]);
    put(bytes, 12, &header.to_le_bytes());
}

/// Corrects the checksums and the length of an inverted index. Returns false if the header is incomplete.
pub fn fix_terms(bytes: &mut [u8]) -> bool {
    const HEADER: usize = 128;
    if bytes.len() < HEADER {
        return false;
    }
    let length = bytes.len() as u64;
    put(bytes, 0, b"NEARTERM");
    put(bytes, 8, &1_u32.to_le_bytes());
    put(bytes, 40, &length.to_le_bytes());
    let body = crc32fast::hash(&bytes[HEADER..]);
    put(bytes, 28, &body.to_le_bytes());
    put(bytes, 12, &[0; 4]);
    let header = crc32fast::hash(&bytes[..HEADER]);
    put(bytes, 12, &header.to_le_bytes());
    true
}

/// Corrects the checksums and the length of an index of sparse vectors. Returns false if the header is incomplete.
pub fn fix_sparse(bytes: &mut [u8]) -> bool {
    const HEADER: usize = 64;
    if bytes.len() < HEADER {
        return false;
    }
    let length = bytes.len() as u64;
    put(bytes, 0, b"NEARSPRS");
    put(bytes, 8, &2_u32.to_le_bytes());
    put(bytes, 32, &length.to_le_bytes());
    let body = crc32fast::hash(&bytes[HEADER..]);
    put(bytes, 28, &body.to_le_bytes());
    put(bytes, 12, &[0; 4]);
    let header = crc32fast::hash(&bytes[..HEADER]);
    put(bytes, 12, &header.to_le_bytes());
    true
}

/// Corrects the checksum at `at` of a growing point or a calibration. It covers all other bytes.
pub fn fix_record(bytes: &mut [u8], at: usize) {
    if bytes.len() < at + 4 {
        return;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..at]);
    hasher.update(&bytes[at + 4..]);
    put(bytes, at, &hasher.finalize().to_le_bytes());
}

/// Returns a snapshot file of these parts, with valid headers and checksums.
pub fn snapshot(manifest: &[u8], parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let line = |content: &[u8], name: &str| {
        let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{hex}  {name}\n")
    };
    let mut file = Vec::new();
    let format = format!("nearness snapshot 1\n{}", line(manifest, "manifest.json"));
    entry(&mut file, "FORMAT", format.as_bytes());
    entry(&mut file, "manifest.json", manifest);
    let mut sums = String::new();
    for (name, content) in parts {
        entry(&mut file, name, content);
        sums += &line(content, name);
    }
    entry(&mut file, "SHA256SUMS", sums.as_bytes());
    file.extend([0; 1024]);
    file
}

/// Appends a tar entry in GNU format.
fn entry(file: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut header = [0; 512];
    let length = name.len().min(100);
    header[..length].copy_from_slice(&name.as_bytes()[..length]);
    put(&mut header, 100, b"0000644\0");
    put(&mut header, 108, b"0000000\0");
    put(&mut header, 116, b"0000000\0");
    put(&mut header, 124, format!("{:011o}\0", content.len()).as_bytes());
    put(&mut header, 136, b"00000000000\0");
    put(&mut header, 148, b"        ");
    header[156] = b'0';
    put(&mut header, 257, b"ustar  \0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
    file.extend(header);
    file.extend(content);
    file.resize(file.len().next_multiple_of(512), 0);
}

/// Ignores panics inside redb that the engine turns into errors (`crates/core/src/store/kv/db.rs`); any other panic
/// still ends the run.
pub fn allow_panics_of_redb() {
    let previous_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let inside = panic.location().is_some_and(|at| at.file().contains("/redb-"));
        if !inside {
            previous_hook(panic);
        }
    }));
}
