//! The IDX format of MNIST: an array of bytes with its dimensions, plain or gzip.
//!
//! Layout, big-endian: two zero bytes, the element type (8: unsigned byte, the only one supported), the number of
//! dimensions, each dimension as u32, then the elements, the last dimension varying fastest.

use crate::Error;
use crate::packed::Gunzip;
use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

/// Maximum bytes of elements per file.
pub const MAX_BYTES: u64 = 1 << 30;
/// Maximum number of dimensions.
const MAX_DIMENSIONS: usize = 8;
const UNSIGNED_BYTE: u8 = 8;

/// An array of unsigned bytes: `bytes.len()` is the product of `dimensions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// The dimensions, slowest first: count, rows, columns for images; count for labels.
    pub dimensions: Vec<u32>,
    /// The elements.
    pub bytes: Vec<u8>,
}

/// Whether a file with this beginning (after decompression) can be an IDX file of bytes.
pub fn looks_like(beginning: &[u8]) -> bool {
    matches!(beginning, [0, 0, UNSIGNED_BYTE, n, ..] if (1..=MAX_DIMENSIONS).contains(&usize::from(*n)))
}

/// Reads a file, decompressing it if it starts as gzip does.
///
/// # Errors
/// [`Error::Io`], or [`Error::Corrupt`] if the header is invalid, if the number of elements does not match the
/// dimensions, or if the dimensions exceed `most`, or [`MAX_BYTES`]. Memory grows with the bytes actually read.
pub fn read(path: &Path) -> Result<Idx, Error> {
    read_within(path, MAX_BYTES)
}

/// As [`read`], with a limit of `most` bytes of elements.
///
/// # Errors
/// As [`read`].
pub fn read_within(path: &Path, most: u64) -> Result<Idx, Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut magic = [0; 2];
    let got = read_up_to(&mut file, &mut magic).map_err(io)?;
    let whole = (&magic[..got]).chain(file);
    if magic == [0x1f, 0x8b] { parse(path, Gunzip::new(whole), most) } else { parse(path, whole, most) }
}

/// Parses an array from a stream that contains nothing else; `path` is for error messages.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, mut from: impl Read, most: u64) -> Result<Idx, Error> {
    let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
    let broken = |source: std::io::Error| match source.kind() {
        // Error kinds of a truncated or damaged gzip stream.
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
            Error::Corrupt { path: path.into(), what: format!("not a whole gzip stream: {source}") }
        }
        _ => Error::Io { path: path.into(), source },
    };
    let mut head = [0; 4];
    if read_up_to(&mut from, &mut head).map_err(broken)? < head.len() || !looks_like(&head) {
        return Err(corrupt(
            "not an IDX file of unsigned bytes: it must begin with the bytes 0, 0, 8, number of sizes".into(),
        ));
    }
    let mut dimensions = Vec::with_capacity(usize::from(head[3]));
    for index in 0..head[3] {
        let mut size = [0; 4];
        if read_up_to(&mut from, &mut size).map_err(broken)? < size.len() {
            return Err(corrupt(format!("ends within its header, at size {} of {}", index + 1, head[3])));
        }
        dimensions.push(u32::from_be_bytes(size));
    }
    let expected = dimensions
        .iter()
        .try_fold(1u64, |product, &size| product.checked_mul(size.into()))
        .filter(|&bytes| bytes <= most)
        .ok_or_else(|| corrupt(format!("the sizes {dimensions:?} promise more than the {most} bytes that are read")))?;
    let mut bytes = Vec::new();
    from.take(expected + 1).read_to_end(&mut bytes).map_err(broken)?;
    let found = bytes.len() as u64;
    if found != expected {
        let found = if found > expected { "more".to_owned() } else { format!("only {found}") };
        return Err(corrupt(format!(
            "the sizes {dimensions:?} promise {expected} bytes of elements, the file holds {found}"
        )));
    }
    Ok(Idx { dimensions, bytes })
}

/// Fills `into` as far as the stream allows; returns the number of bytes.
fn read_up_to(from: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match from.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
