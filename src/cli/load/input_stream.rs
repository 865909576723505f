//! Byte stream of a file: decompresses gzip and zstd, counts bytes, limits line lengths.

use super::record::{FilePosition, RecordPosition};
use crate::embed::formats::compressed::{self, Compression};
use anyhow::{Context, bail};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of leading bytes used to detect the format.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// An open file, decompressed.
pub(crate) struct InputStream {
    reader: Box<dyn BufRead + Send>,
    path: Arc<Path>,
    read: Arc<AtomicU64>,
    file_bytes: u64,
    packing: Compression,
}

/// Counts the bytes read from the file itself.
struct CountingReader {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for CountingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Result of [`InputStream::fill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// The buffer is full.
    Full,
    /// The stream ended before the first byte.
    End,
    /// The stream ended after this many bytes.
    Short(usize),
}

/// Result of [`InputStream::line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its end.
    Text,
    /// A line that exceeds the limit; it was skipped.
    TooLong,
    /// End of the stream.
    End,
}

impl InputStream {
    /// Opens a regular file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            bail!("-: standard input is not read here; write it to a file first (a file of this name is ./-)");
        }
        let named = || format!("{}: cannot be opened", path.display());
        let file = File::open(path).with_context(named)?;
        let meta = file.metadata().with_context(named)?;
        if !meta.is_file() {
            bail!("{}: not a regular file; write a pipe or standard input to a file first", path.display());
        }
        let read = Arc::new(AtomicU64::new(0));
        let file = BufReader::with_capacity(256 << 10, CountingReader { file, read: read.clone() });
        let unpacked = compressed::decompress(file).with_context(|| format!("{}: cannot be read", path.display()));
        let (reader, packing) = unpacked?;
        Ok(Self { reader, path: path.into(), read, file_bytes: meta.len(), packing })
    }

    /// Returns the compression of the file.
    pub(crate) fn packing(&self) -> Compression {
        self.packing
    }

    /// Returns the length of the content, if it is known without reading it: unknown for a compressed file.
    pub(crate) fn content_bytes(&self) -> Option<u64> {
        (self.packing == Compression::Plain).then_some(self.file_bytes)
    }

    /// Returns up to `max` bytes of the content from the current position.
    pub(crate) fn head(&mut self, max: usize) -> io::Result<Vec<u8>> {
        let mut head = vec![0; max];
        let length = match self.fill(&mut head)? {
            Fill::Full => max,
            Fill::End => 0,
            Fill::Short(length) => length,
        };
        head.truncate(length);
        Ok(head)
    }

    /// Fills the buffer, as far as the stream goes.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<Fill> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => return Ok(if filled == 0 { Fill::End } else { Fill::Short(filled) }),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Fill::Full)
    }

    /// Returns the next byte; none at the end.
    pub(crate) fn byte(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.reader.fill_buf() {
                Ok(buffer) => {
                    let byte = buffer.first().copied();
                    self.reader.consume(usize::from(byte.is_some()));
                    return Ok(byte);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the next line, of at most `max` bytes, into `line`.
    pub(crate) fn line(&mut self, line: &mut Vec<u8>, max: usize) -> io::Result<Line> {
        line.clear();
        let mut any = false;
        let mut too_long = false;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if line.len() + part.len() > max {
                too_long = true;
            } else if !too_long {
                line.extend_from_slice(part);
            }
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(if too_long {
            Line::TooLong
        } else if any {
            Line::Text
        } else {
            Line::End
        })
    }

    /// Returns the bytes of the file read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Returns the size of the file, bytes.
    pub(crate) fn bytes_total(&self) -> u64 {
        self.file_bytes
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Returns a position in the file.
    pub(crate) fn file_position(&self, at: RecordPosition) -> FilePosition {
        FilePosition { path: self.path.clone(), at }
    }
}

impl Read for InputStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl BufRead for InputStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::formats::fixture::{self, gzip};

    #[test]
    fn lines_are_bounded_and_the_next_one_is_found() {
        let file = fixture::file("t.txt", b"ab\r\n0123456789\nlast");
        let mut input = InputStream::open(&file.path).unwrap();
        let mut line = Vec::new();
        assert_eq!((input.line(&mut line, 5).unwrap(), line.as_slice()), (Line::Text, b"ab".as_slice()));
        assert_eq!(input.line(&mut line, 5).unwrap(), Line::TooLong);
        assert_eq!((input.line(&mut line, 5).unwrap(), line.as_slice()), (Line::Text, b"last".as_slice()));
        assert_eq!(input.line(&mut line, 5).unwrap(), Line::End);
    }

    #[test]
    fn gzip_is_decompressed_and_truncation_is_an_error() {
        let whole = gzip(&b"one line\n".repeat(5_000));
        let file = fixture::file("t.gz", &whole);
        let mut input = InputStream::open(&file.path).unwrap();
        assert_eq!(input.head(8).unwrap(), b"one line");
        let file = fixture::file("t.gz", &whole[..whole.len() - 12]);
        let mut input = InputStream::open(&file.path).unwrap();
        let mut line = Vec::new();
        let error = loop {
            match input.line(&mut line, 100) {
                Ok(Line::End) => panic!("the truncation was not detected"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("gzip"), "{error}");
    }

    #[test]
    fn zstd_is_decompressed_and_only_zeros_may_follow_gzip() {
        let file = fixture::file("t.zst", &fixture::zstd(b"one line\n"));
        assert_eq!(InputStream::open(&file.path).unwrap().head(100).unwrap(), b"one line\n");
        let file = fixture::file("t.gz", &[gzip(b"one line\n"), vec![0; 512]].concat());
        assert_eq!(InputStream::open(&file.path).unwrap().head(100).unwrap(), b"one line\n");
        let file = fixture::file("t.gz", &[gzip(b"one line\n"), b"more".to_vec()].concat());
        let error = InputStream::open(&file.path).unwrap().head(100).unwrap_err().to_string();
        assert!(error.contains("gzip") && error.contains("other bytes follow"), "{error}");
    }

    #[test]
    fn folders_and_missing_files_are_refused() {
        assert!(InputStream::open(Path::new("/")).is_err());
        assert!(InputStream::open(Path::new("/nonexistent/file")).is_err());
        assert!(InputStream::open(Path::new("-")).err().unwrap().to_string().contains("standard input"));
    }
}
