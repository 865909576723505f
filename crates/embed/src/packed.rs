//! Decompression of gzip and zstd streams, detected by their first bytes.
//!
//! A gzip file is one or more members. Zeros after a member are padding, as on tapes and block devices; any other
//! trailing bytes are an error, because their meaning is unknown.

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// Largest window of a zstd stream, as a power of two: decompression takes less than 128 MiB.
const MAX_WINDOW_LOG: u32 = 27;
/// Buffer size for decompressed bytes.
const BUFFER: usize = 64 << 10;

/// Compression format of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Uncompressed.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Packing {
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
pub fn unpack<'a, R: BufRead + Send + 'a>(mut packed: R) -> io::Result<(Box<dyn BufRead + Send + 'a>, Packing)> {
    let packing = Packing::of(packed.fill_buf()?);
    let content: Box<dyn BufRead + Send + 'a> = match packing {
        Packing::Plain => Box::new(packed),
        Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER, Gunzip::new(packed))),
        Packing::Zstd => {
            let mut unpacked = zstd::stream::read::Decoder::with_buffer(packed)?;
            unpacked.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(BufReader::with_capacity(BUFFER, unpacked))
        }
    };
    Ok((content, packing))
}

/// The content of a gzip stream, across all members.
pub(crate) struct Gunzip<R>(State<R>);

enum State<R> {
    Member(GzDecoder<R>),
    Between(R),
    Done,
}

impl<R: BufRead> Gunzip<R> {
    /// Starts at the first member.
    pub(crate) fn new(packed: R) -> Self {
        Self(State::Member(GzDecoder::new(packed)))
    }
}

impl<R: BufRead> Read for Gunzip<R> {
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
                State::Between(packed) => {
                    let rest = packed.fill_buf()?;
                    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
                    match rest.get(zeros) {
                        None if rest.is_empty() => self.0 = State::Done,
                        None => packed.consume(zeros),
                        Some(0x1f) => {
                            packed.consume(zeros);
                            if let State::Between(packed) = std::mem::replace(&mut self.0, State::Done) {
                                self.0 = State::Member(GzDecoder::new(packed));
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
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    /// Also reads through a minimal buffer, so that every boundary is tested.
    #[track_caller]
    fn check(packed: &[u8], expected: Result<&str, &str>) {
        for buffer in [1, 4_096] {
            let mut text = String::new();
            let (mut content, _) = unpack(BufReader::with_capacity(buffer.max(4), packed)).unwrap();
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
    fn zstd_and_plain_streams_are_told_apart() {
        check(&zstd::encode_all(&b"one"[..], 1).unwrap(), Ok("one"));
        check(b"one", Ok("one"));
        check(b"", Ok(""));
        check(b"P\x2aM", Ok("P\x2aM"));
    }
}
