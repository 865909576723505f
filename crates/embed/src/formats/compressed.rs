//! Decompression of gzip and zstd streams, detected by their first bytes.
//!
//! A gzip file is one or more members. Zeros after a member are padding, as on tapes and block devices; any other
//! trailing bytes are an error, because their meaning is unknown.

use crate::Error;
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

/// Largest window of a zstd stream, as a power of two: decompression takes less than 128 MiB.
const MAX_WINDOW_LOG: u32 = 27;
/// Buffer size for decompressed bytes.
const BUFFER: usize = 64 << 10;

/// Compression format of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Uncompressed.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// The format of a stream that begins with these bytes.
    fn of(head: &[u8]) -> Self {
        // A frame, or the skippable frame that some programs write first.
        let zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
            || matches!(head, [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50);
        if head.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if zstd {
            Self::Zstd
        } else {
            Self::Plain
        }
    }

    /// The name of the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The decompressed content of a stream, and its format.
///
/// # Errors
/// Those of the stream.
pub fn decompress<'a, R: BufRead + Send + 'a>(
    mut compressed: R,
) -> io::Result<(Box<dyn BufRead + Send + 'a>, Compression)> {
    let compression = Compression::of(compressed.fill_buf()?);
    let content: Box<dyn BufRead + Send + 'a> = match compression {
        Compression::Plain => Box::new(compressed),
        Compression::Gzip => named(GzipReader::new(compressed), compression),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            named(decoder, compression)
        }
    };
    Ok((content, compression))
}

fn named<'a>(decoder: impl Read + Send + 'a, compression: Compression) -> Box<dyn BufRead + Send + 'a> {
    Box::new(BufReader::with_capacity(BUFFER, NamedErrors { decoder, compression }))
}

/// A decoder whose errors name the compression.
struct NamedErrors<R> {
    decoder: R,
    compression: Compression,
}

impl<R: Read> Read for NamedErrors<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            let name = self.compression.name();
            let what = match error.kind() {
                ErrorKind::Interrupted => return error,
                ErrorKind::UnexpectedEof => format!("the {name} stream is truncated"),
                _ => format!("the {name} stream is damaged: {error}"),
            };
            io::Error::new(error.kind(), what)
        })
    }
}

/// Opens a file, and decompresses it if it is compressed.
///
/// # Errors
/// [`Error::Io`].
pub fn open(path: &Path) -> Result<(Box<dyn BufRead + Send>, Compression), Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    decompress(BufReader::with_capacity(BUFFER, File::open(path).map_err(failed)?)).map_err(failed)
}

/// Fills `buffer` as far as the stream goes; returns the number of bytes.
pub(crate) fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The content of a gzip stream, across all members.
struct GzipReader<R>(State<R>);

enum State<R> {
    Member(GzDecoder<R>),
    Between(R),
    Done,
}

impl<R: BufRead> GzipReader<R> {
    /// Starts at the first member.
    fn new(compressed: R) -> Self {
        Self(State::Member(GzDecoder::new(compressed)))
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.0 {
                State::Done => return Ok(0),
                State::Member(member) => match member.read(buffer)? {
                    0 => {
                        if let State::Member(member) = std::mem::replace(&mut self.0, State::Done) {
                            self.0 = State::Between(member.into_inner());
                        }
                    }
                    count => return Ok(count),
                },
                State::Between(compressed) => {
                    let rest = compressed.fill_buf()?;
                    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
                    match rest.get(zeros) {
                        None if rest.is_empty() => self.0 = State::Done,
                        None => compressed.consume(zeros),
                        Some(0x1f) => {
                            compressed.consume(zeros);
                            if let State::Between(compressed) = std::mem::replace(&mut self.0, State::Done) {
                                self.0 = State::Member(GzDecoder::new(compressed));
                            }
                        }
                        Some(_) => {
                            self.0 = State::Done;
                            let what =
                                "other bytes follow the end of the gzip stream; remove them, or pack the file again";
                            return Err(io::Error::new(ErrorKind::InvalidData, what));
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &str) -> Vec<u8> {
        let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        compressed.write_all(text.as_bytes()).unwrap();
        compressed.finish().unwrap()
    }

    /// Also reads through a minimal buffer, so that every boundary is tested.
    #[track_caller]
    fn check(compressed: &[u8], expected: Result<&str, &str>) {
        for buffer in [1, 4_096] {
            let mut text = String::new();
            let (mut content, _) = decompress(BufReader::with_capacity(buffer.max(4), compressed)).unwrap();
            let read = content.read_to_string(&mut text).map_err(|error| error.to_string());
            match expected {
                Ok(expected) => assert_eq!((read.map(drop), text.as_str()), (Ok(()), expected)),
                Err(part) => assert!(read.as_ref().is_err_and(|error| error.contains(part)), "{read:?}"),
            }
        }
    }

    #[test]
    fn members_are_joined_zeros_passed_over_and_other_bytes_refused() {
        check(&gzip("one"), Ok("one"));
        check(&[gzip("one"), gzip("two")].concat(), Ok("onetwo"));
        check(&[gzip("one"), vec![0; 1_000]].concat(), Ok("one"));
        check(&[gzip("one"), vec![0; 7], gzip("two"), vec![0]].concat(), Ok("onetwo"));
        check(&[gzip("one"), b"x".to_vec()].concat(), Err("other bytes follow"));
        check(&[gzip("one"), vec![0; 9], b"x".to_vec()].concat(), Err("other bytes follow"));
        check(&[gzip("one"), vec![0x1f]].concat(), Err(""));
        check(&gzip("one")[..10], Err(""));
    }

    #[test]
    fn zstd_and_plain_streams_are_distinguished() {
        check(&zstd::encode_all(&b"one"[..], 1).unwrap(), Ok("one"));
        check(b"one", Ok("one"));
        check(b"", Ok(""));
        check(b"P\x2aM", Ok("P\x2aM"));
    }
}
