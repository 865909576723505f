//! The IDX format of MNIST: an array of bytes with its dimensions, plain or compressed.
//!
//! Layout, big-endian: two zero bytes, the element type (8: unsigned byte, the only one supported), the number of
//! dimensions, each dimension as u32, then the elements, the last dimension varying fastest.

use super::compressed::{self, read_up_to};
use crate::Error;
use std::{
    io::{ErrorKind, Read},
    path::Path,
};

/// Maximum bytes of elements per file that is read whole.
pub const MAX_BYTES: u64 = 1 << 30;
/// Maximum number of dimensions: images with channels have four.
const MAX_DIMENSIONS: usize = 4;
const UNSIGNED_BYTE: u8 = 8;

/// The dimensions of an array, slowest first: count, rows, columns for images; count for labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The dimensions; at least one.
    pub dimensions: Vec<u32>,
}

impl Header {
    /// Reads the header of a decompressed stream, which is then at the first element; `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for a header that is cut, of another element type, or of too many dimensions.
    pub fn read(path: &Path, from: &mut impl Read) -> Result<Self, Error> {
        let corrupt = |what: String| Err(Error::Corrupt { path: path.into(), what });
        let mut head = [0; 4];
        let length = read_up_to(from, &mut head).map_err(|source| stream_error(path, source))?;
        let [0, 0, element, count] = head else { return corrupt(NOT_IDX.into()) };
        if length < head.len() {
            return corrupt(NOT_IDX.into());
        }
        if element != UNSIGNED_BYTE {
            return corrupt(format!("{NOT_IDX}; its elements are of type {element:#04x}"));
        }
        if !(1..=MAX_DIMENSIONS).contains(&usize::from(count)) {
            return corrupt(format!("{NOT_IDX}; it has {count} dimensions, 1 to {MAX_DIMENSIONS} are read"));
        }
        let mut dimensions = Vec::with_capacity(usize::from(count));
        for index in 1..=count {
            let mut size = [0; 4];
            if read_up_to(from, &mut size).map_err(|source| stream_error(path, source))? < size.len() {
                return corrupt(format!("ends within its header, at size {index} of {count}"));
            }
            dimensions.push(u32::from_be_bytes(size));
        }
        Ok(Self { dimensions })
    }

    /// Returns the number of elements; `None` if it exceeds 64 bits.
    pub fn elements(&self) -> Option<u64> {
        self.dimensions.iter().try_fold(1_u64, |product, &size| product.checked_mul(size.into()))
    }

    /// Checks the length of the whole content, header included, where it is known before it is read.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn check_length(&self, path: &Path, content_bytes: u64) -> Result<(), Error> {
        let header = 4 + 4 * self.dimensions.len() as u64;
        if self.elements().and_then(|elements| elements.checked_add(header)) == Some(content_bytes) {
            return Ok(());
        }
        let (sizes, found) = (&self.dimensions, content_bytes.saturating_sub(header));
        let what = match self.elements() {
            Some(elements) => format!("{elements} bytes of elements, the file holds {found}"),
            None => format!("more than 2^64 bytes of elements, the file holds {found}"),
        };
        Err(Error::Corrupt { path: path.into(), what: format!("the sizes {sizes:?} declare {what}") })
    }
}

const NOT_IDX: &str = "not an IDX file of unsigned bytes: it must begin with the bytes 0, 0, 8, number of sizes";

/// An array of unsigned bytes: `bytes.len()` is the product of `dimensions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// The dimensions, slowest first: count, rows, columns for images; count for labels.
    pub dimensions: Vec<u32>,
    /// The elements.
    pub bytes: Vec<u8>,
}

/// Reads a file, plain or compressed.
///
/// # Errors
/// [`Error::Io`], or [`Error::Corrupt`] if the header is invalid, if the number of elements does not match the
/// dimensions, or if the dimensions exceed [`MAX_BYTES`]. Memory grows with the bytes actually read.
pub fn read(path: &Path) -> Result<Idx, Error> {
    read_within(path, MAX_BYTES)
}

/// As [`read`], with a limit of `max_bytes` bytes of elements.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_within(path: &Path, max_bytes: u64) -> Result<Idx, Error> {
    let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
    let (mut from, _) = compressed::open(path)?;
    let header = Header::read(path, &mut from)?;
    let dimensions = &header.dimensions;
    let expected = header.elements().filter(|&bytes| bytes <= max_bytes).ok_or_else(|| {
        corrupt(format!("the sizes {dimensions:?} declare more than the {max_bytes} bytes that are read"))
    })?;
    let mut bytes = Vec::new();
    from.take(expected + 1).read_to_end(&mut bytes).map_err(|source| stream_error(path, source))?;
    let found = bytes.len() as u64;
    if found != expected {
        let found = if found > expected { "more".to_owned() } else { format!("only {found}") };
        return Err(corrupt(format!(
            "the sizes {dimensions:?} declare {expected} bytes of elements, the file holds {found}"
        )));
    }
    Ok(Idx { dimensions: header.dimensions, bytes })
}

/// Returns the error of a stream: damage if the stream is cut or is not valid in its compression format.
fn stream_error(path: &Path, source: std::io::Error) -> Error {
    match source.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            Error::Corrupt { path: path.into(), what: source.to_string() }
        }
        _ => Error::Io { path: path.into(), source },
    }
}
