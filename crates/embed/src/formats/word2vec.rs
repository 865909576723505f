//! The formats of word2vec.c: a line `words dimension`, then for each word, in text, a line of the word and its
//! numbers, or, in binary, the word, a space, the numbers as little-endian `f32`, and (from most writers) a newline.
//!
//! Files are read as a stream, to their end, regardless of the word count in the header. A reader holds one word.

use super::compressed::{self, Compression, read_up_to};
use crate::Error;
use crate::words::MAX_DIMENSION;
use crate::words::data::strip_bom;
use crate::words::spelling::MAX_RAW_WORD_BYTES;
use std::{
    io::{self, BufRead, ErrorKind, Read},
    path::{Path, PathBuf},
};

/// Maximum words of a file: word numbers are 32 bits.
const MAX_WORDS: u64 = u32::MAX as u64;
/// Maximum bytes per component in a line of the text format.
const MAX_NUMBER_BYTES: usize = 64;
/// Maximum length of the header, in bytes.
const MAX_HEADER_BYTES: u64 = 100;

/// Format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Decimal numbers.
    Text,
    /// Little-endian `f32`.
    Binary,
}

/// Parses a line `words dimension`.
pub fn parse_header(line: &[u8]) -> Option<(u64, u64)> {
    let mut fields = std::str::from_utf8(strip_bom(line)).ok()?.split_ascii_whitespace();
    let sizes = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some(sizes)
}

/// Returns the maximum length of a line of the text format, in bytes.
pub(crate) fn max_line_bytes(dimension: usize) -> usize {
    MAX_RAW_WORD_BYTES + MAX_NUMBER_BYTES * dimension
}

/// Returns whether a file of `bytes` bytes, if known, is far too short for its header. Being off by one word is common.
fn is_far_too_short(format: Format, words: u64, dimension: u64, bytes: Option<u64>) -> bool {
    // Minimum size of a word: a letter and a space, and for each number four bytes, or a space and a digit.
    let min = match format {
        Format::Binary => 2 + 4 * dimension,
        Format::Text => 1 + 2 * dimension,
    };
    bytes.is_some_and(|bytes| (words / 2).saturating_mul(min) > bytes)
}

/// Parses a line of text into the word, which may be empty or contain spaces, and its numbers: the last `dimension`
/// fields between spaces and tabs, which must be finite. Other white space, such as a no-break space, is part of the
/// word.
pub fn text_line(line: &[u8], dimension: usize) -> Result<(&[u8], Vec<f32>), String> {
    let mut rest = line.trim_ascii_end();
    let mut numbers = Vec::with_capacity(dimension.min(line.len()));
    for _ in 0..dimension {
        let Some(space) = rest.iter().rposition(u8::is_ascii_whitespace) else {
            return Err(format!("a word and {dimension} numbers are needed, it has {} numbers", numbers.len()));
        };
        let field = &rest[space + 1..];
        let number = std::str::from_utf8(field).ok().and_then(|field| field.parse::<f32>().ok());
        numbers.push(number.filter(|number| number.is_finite()).ok_or_else(|| {
            let field: String = String::from_utf8_lossy(field).chars().take(40).collect();
            format!("{field:?} is not a finite number")
        })?);
        rest = rest[..space].trim_ascii_end();
    }
    numbers.reverse();
    Ok((rest.trim_ascii_start(), numbers))
}

/// Parses the numbers of a binary vector, which must be finite.
pub(crate) fn binary_numbers(bytes: &[u8]) -> Result<Vec<f32>, String> {
    let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    match numbers.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(format!("component {at} is {}, it must be finite", numbers[at])),
        None => Ok(numbers),
    }
}

/// Reason why a word cannot be read.
#[derive(Debug)]
pub enum WordError {
    /// The word is malformed; the next one may be valid.
    Malformed(String),
    /// The rest of the file cannot be read.
    Fatal(String),
    /// The stream failed.
    Io(io::Error),
}

/// A word in the file's spelling, which may be empty or contain spaces, and its finite numbers.
pub type WordVector = (Vec<u8>, Vec<f32>);

/// A reader of a decompressed stream, word by word.
pub struct Reader<R> {
    path: PathBuf,
    input: R,
    format: Format,
    words: u64,
    dimension: usize,
    read: u64,
    line: u64,
    ended: bool,
}

impl Reader<Box<dyn BufRead + Send>> {
    /// Opens a file, plain or compressed, and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`]; as [`new`](Self::new).
    pub fn open(path: &Path, format: Format) -> Result<Self, Error> {
        let (input, compression) = compressed::open(path)?;
        let length = std::fs::metadata(path).map_err(|source| Error::Io { path: path.into(), source })?.len();
        Self::new(path, input, format, (compression == Compression::Plain).then_some(length), MAX_DIMENSION)
    }

    /// Opens a file after detecting its format: binary unless the second line parses as a word and its numbers.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn detect(path: &Path) -> Result<Self, Error> {
        let mut text = Self::open(path, Format::Text).or_else(|_| Self::open(path, Format::Binary))?;
        let is_text = text.format == Format::Text && text.next_word().is_ok();
        Self::open(path, if is_text { Format::Text } else { Format::Binary })
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads the header. `content_bytes` is the length of the whole stream, if it is known.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for a header that is not `words dimension`, that exceeds a limit, or that
    /// declares far more words than a file of this length can contain.
    pub fn new(
        path: &Path,
        mut input: R,
        format: Format,
        content_bytes: Option<u64>,
        max_dimension: usize,
    ) -> Result<Self, Error> {
        let mut header = Vec::new();
        let read = input.by_ref().take(MAX_HEADER_BYTES).read_until(b'\n', &mut header);
        read.map_err(|source| Error::Io { path: path.into(), source })?;
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
        let Some((words, dimension)) = parse_header(&header).filter(|_| header.ends_with(b"\n")) else {
            return Err(corrupt("the first line is not `words dimension`, as word2vec files begin".into()));
        };
        if words == 0 || words >= MAX_WORDS {
            return Err(corrupt(format!("the header declares {words} words; 1 to {} are possible", MAX_WORDS - 1)));
        }
        if dimension == 0 || dimension > max_dimension as u64 {
            return Err(corrupt(format!(
                "the header declares {dimension} components; 1 to {max_dimension} are possible"
            )));
        }
        if is_far_too_short(format, words, dimension, content_bytes) {
            return Err(corrupt(format!(
                "the header declares {words} words of {dimension} components; the file has {} bytes, too few for half of them",
                content_bytes.unwrap_or_default()
            )));
        }
        let dimension = dimension as usize;
        Ok(Self { path: path.into(), input, format, words, dimension, read: 0, line: 1, ended: false })
    }

    /// Returns the format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the number of words in the header.
    pub fn words(&self) -> u64 {
        self.words
    }

    /// Returns the number of components of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the number of valid words read so far.
    pub(crate) fn words_read(&self) -> u64 {
        self.read
    }

    /// Returns the number of the last line in the text format, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Returns the stream.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Returns the next word and its numbers; `None` after the last.
    ///
    /// # Errors
    /// [`WordError`].
    pub fn next_word(&mut self) -> Result<Option<WordVector>, WordError> {
        let word = match self.format {
            Format::Text => self.text_word()?,
            Format::Binary => self.binary_word()?,
        };
        self.read += u64::from(word.is_some());
        if self.read >= MAX_WORDS {
            return Err(WordError::Fatal(format!("more than {} words", MAX_WORDS - 1)));
        }
        Ok(word)
    }

    fn text_word(&mut self) -> Result<Option<WordVector>, WordError> {
        let max = max_line_bytes(self.dimension);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = read_line(&mut self.input, &mut line, max).map_err(WordError::Io)?;
            if length == 0 {
                return Ok(None);
            }
            self.line += 1;
            if length > max {
                return Err(WordError::Malformed(format!("a line of more than {max} bytes")));
            }
            if !line.trim_ascii().is_empty() {
                break;
            }
        }
        let (word, numbers) = text_line(&line, self.dimension).map_err(WordError::Malformed)?;
        // An extra number may be part of a word ("area 51"); in the first word of a file it is an error.
        let last = word.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
        if self.read == 0
            && last.len() < word.len()
            && std::str::from_utf8(last).is_ok_and(|last| last.parse::<f32>().is_ok())
        {
            let what = format!("more than the {} numbers that the header declares", self.dimension);
            return Err(WordError::Malformed(what));
        }
        Ok(Some((word.to_vec(), numbers)))
    }

    fn binary_word(&mut self) -> Result<Option<WordVector>, WordError> {
        let mut word = Vec::new();
        let limit = MAX_RAW_WORD_BYTES as u64 + 2;
        self.input.by_ref().take(limit).read_until(b' ', &mut word).map_err(WordError::Io)?;
        if word.iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
            return Ok(None);
        }
        if word.pop() != Some(b' ') {
            let what =
                format!("the file ends within a word, or no space within {MAX_RAW_WORD_BYTES} bytes of its start");
            return Err(WordError::Fatal(what));
        }
        // Skips the newline after the previous vector.
        let start = word.iter().take_while(|&&byte| byte == b'\n').count();
        word.drain(..start);
        let mut bytes = vec![0; 4 * self.dimension];
        if read_up_to(&mut self.input, &mut bytes).map_err(WordError::Io)? < bytes.len() {
            let what = format!("the file ends within the numbers of {:?}", String::from_utf8_lossy(&word));
            return Err(WordError::Fatal(what));
        }
        let numbers = binary_numbers(&bytes).map_err(WordError::Malformed)?;
        Ok(Some((word, numbers)))
    }
}

/// Reads a line with its end; returns its length. Of a longer line than `max`, only its first part is kept.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    let mut length = input.take(max as u64 + 1).read_until(b'\n', line)?;
    while length > max && !line.ends_with(b"\n") {
        line.clear();
        let skipped = input.take(max as u64 + 1).read_until(b'\n', line)?;
        if skipped == 0 {
            break;
        }
        length += skipped;
    }
    Ok(length)
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<WordVector, Error>;

    /// Returns the next word and its vector; `None` after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_word();
        self.ended = !matches!(next, Ok(Some(_)));
        let corrupt = |what: String| Error::Corrupt {
            path: self.path.clone(),
            what: format!("word {} of {}: {what}", self.read + 1, self.words),
        };
        next.map_err(|error| match error {
            WordError::Malformed(what) | WordError::Fatal(what) => corrupt(what),
            WordError::Io(source) if source.kind() == ErrorKind::UnexpectedEof => corrupt(source.to_string()),
            WordError::Io(source) => Error::Io { path: self.path.clone(), source },
        })
        .transpose()
    }
}
