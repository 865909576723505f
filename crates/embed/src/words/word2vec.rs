//! The formats of word2vec.c: a line `words dimension`, then for each word, in text, a line of the word and its
//! numbers, or, in binary, the word, a space, the numbers as little-endian `f32`, and (from most writers) a newline.
//!
//! Files are read as a stream, to their end, regardless of the word count in the header. `spelling.rs` determines which
//! words are imported, and how they are spelled. The formats contain neither counts nor the output layer: an imported
//! model embeds words and finds neighbours, but cannot fill blanks.

use super::{
    MAX_DIMENSION, WordModel,
    data::{open_decompressed, strip_bom},
    imported::{Imported, ImportedWords},
    spelling::MAX_RAW_WORD_BYTES,
    table::le_bytes,
};
use crate::Error;
use crate::save::write_whole;
use std::{
    io::{BufRead, Read},
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
pub fn sizes(line: &[u8]) -> Option<(u64, u64)> {
    let mut fields = std::str::from_utf8(strip_bom(line)).ok()?.split_ascii_whitespace();
    let sizes = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some(sizes)
}

/// Returns the maximum length of a line of the text format, in bytes.
pub fn longest_line(dimension: usize) -> usize {
    MAX_RAW_WORD_BYTES + MAX_NUMBER_BYTES * dimension
}

/// Returns whether a file of `bytes` bytes, if known, is far too short for its header. Being off by one word is common.
pub fn is_far_too_short(format: Format, words: u64, dimension: u64, bytes: Option<u64>) -> bool {
    // Minimum size of a word: a letter and a space, and for each number four bytes, or a space and a digit.
    let least = match format {
        Format::Binary => 2 + 4 * dimension,
        Format::Text => 1 + 2 * dimension,
    };
    bytes.is_some_and(|bytes| (words / 2).saturating_mul(least) > bytes)
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
pub fn binary_numbers(bytes: &[u8]) -> Result<Vec<f32>, String> {
    let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    match numbers.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(format!("component {at} is {}, it must be finite", numbers[at])),
        None => Ok(numbers),
    }
}

/// A reader of a plain, gzip or zstd file, word by word, in the file's spelling.
pub struct Reader {
    path: PathBuf,
    input: Box<dyn BufRead>,
    format: Format,
    words: u64,
    dimension: usize,
    read: u64,
    ended: bool,
}

/// A word in the file's spelling, and its numbers.
type Vector = (Vec<u8>, Vec<f32>);

impl Reader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for a header that is not `words dimension`, or that declares far more words
    /// than a file of this length can contain.
    pub fn open(path: &Path, format: Format) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let (mut input, packed) = open_decompressed(path)?;
        let length = std::fs::metadata(path).map_err(failed)?.len();
        let mut header = Vec::new();
        input.by_ref().take(MAX_HEADER_BYTES).read_until(b'\n', &mut header).map_err(failed)?;
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
        let Some((words, dimension)) = sizes(&header).filter(|_| header.ends_with(b"\n")) else {
            return Err(corrupt("the first line is not `words dimension`, as word2vec files begin".into()));
        };
        if words == 0 || words >= MAX_WORDS {
            return Err(corrupt(format!("the header says {words} words; 1 to {} are possible", MAX_WORDS - 1)));
        }
        if dimension == 0 || dimension > MAX_DIMENSION as u64 {
            return Err(corrupt(format!("the header says {dimension} components; 1 to {MAX_DIMENSION} are possible")));
        }
        if is_far_too_short(format, words, dimension, (!packed).then_some(length)) {
            return Err(corrupt(format!(
                "the header says {words} words of {dimension} components; the file has {length} bytes, too few for half of them"
            )));
        }
        Ok(Self { path: path.into(), input, format, words, dimension: dimension as usize, read: 0, ended: false })
    }

    /// Opens a file after detecting its format: binary unless the second line parses as a word and its numbers.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn detect(path: &Path) -> Result<Self, Error> {
        let mut text = Self::open(path, Format::Text).or_else(|_| Self::open(path, Format::Binary))?;
        let format =
            if text.format == Format::Text && text.next_word().is_ok() { Format::Text } else { Format::Binary };
        Self::open(path, format)
    }

    /// Returns the number of words in the header.
    pub fn words(&self) -> u64 {
        self.words
    }

    /// Returns the number of components of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the next word and its finite numbers; `None` after the last.
    fn next_word(&mut self) -> Result<Option<Vector>, Error> {
        let word = match self.format {
            Format::Text => self.text_word()?,
            Format::Binary => self.binary_word()?,
        };
        self.read += u64::from(word.is_some());
        if self.read >= MAX_WORDS {
            return Err(self.corrupt(&format!("more than {} words", MAX_WORDS - 1)));
        }
        Ok(word)
    }

    fn text_word(&mut self) -> Result<Option<Vector>, Error> {
        let longest = longest_line(self.dimension);
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = longest as u64 + 1;
            self.input.by_ref().take(limit).read_until(b'\n', &mut line).map_err(|source| self.failed(source))?;
            if line.is_empty() {
                return Ok(None);
            }
            if line.len() > longest {
                return Err(self.corrupt(&format!("a line of more than {longest} bytes")));
            }
            if !line.trim_ascii().is_empty() {
                break;
            }
        }
        let (word, numbers) = text_line(&line, self.dimension).map_err(|what| self.corrupt(&what))?;
        // An extra number may be part of a word ("area 51"); in the first word of a file it is an error.
        let last = word.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
        if self.read == 0
            && last.len() < word.len()
            && std::str::from_utf8(last).is_ok_and(|last| last.parse::<f32>().is_ok())
        {
            return Err(self.corrupt(&format!("more than the {} numbers that the header says", self.dimension)));
        }
        Ok(Some((word.to_vec(), numbers)))
    }

    fn binary_word(&mut self) -> Result<Option<Vector>, Error> {
        // Skips the newline after the previous vector.
        let mut word = Vec::new();
        let limit = MAX_RAW_WORD_BYTES as u64 + 2;
        self.input.by_ref().take(limit).read_until(b' ', &mut word).map_err(|source| self.failed(source))?;
        if word.iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
            return Ok(None);
        }
        if word.pop() != Some(b' ') {
            return Err(self.corrupt(&format!(
                "the file ends here, or no space within {MAX_RAW_WORD_BYTES} bytes of the word's start"
            )));
        }
        let start = word.iter().take_while(|&&byte| byte == b'\n').count();
        word.drain(..start);
        let mut bytes = vec![0; 4 * self.dimension];
        self.input.read_exact(&mut bytes).map_err(|source| {
            if source.kind() == std::io::ErrorKind::UnexpectedEof {
                self.corrupt(&format!("the file ends among the numbers of {:?}", String::from_utf8_lossy(&word)))
            } else {
                self.failed(source)
            }
        })?;
        let numbers = binary_numbers(&bytes).map_err(|what| self.corrupt(&what))?;
        Ok(Some((word, numbers)))
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::Corrupt { path: self.path.clone(), what: format!("word {} of {}: {what}", self.read + 1, self.words) }
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }

    /// Reads all importable words.
    fn read_all(mut self) -> Result<ImportedWords, Error> {
        let mut accepted = ImportedWords::default();
        for item in &mut self {
            let (word, numbers) = item?;
            accepted.add(&word, &numbers);
        }
        accepted.notes.word_counts = (self.read != self.words).then_some((self.words, self.read));
        Ok(accepted)
    }
}

impl Iterator for Reader {
    type Item = Result<(Vec<u8>, Vec<f32>), Error>;

    /// Returns the next word and its vector; `None` after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_word();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// Reads the importable words of a text file, with their vectors.
///
/// # Errors
/// As [`Reader::open`]; [`Error::Corrupt`] naming the damaged word.
pub fn read_text(path: &Path) -> Result<Vec<(String, Vec<f32>)>, Error> {
    read(path, Format::Text)
}

/// Reads the importable words of a binary file, with their vectors.
///
/// # Errors
/// As [`read_text`].
pub fn read_binary(path: &Path) -> Result<Vec<(String, Vec<f32>)>, Error> {
    read(path, Format::Binary)
}

fn read(path: &Path, format: Format) -> Result<Vec<(String, Vec<f32>)>, Error> {
    let reader = Reader::open(path, format)?;
    let dimension = reader.dimension();
    let ImportedWords { words, rows, .. } = reader.read_all()?;
    Ok(words.into_iter().zip(rows.chunks_exact(dimension).map(<[f32]>::to_vec)).collect())
}

/// Writes the vectors of a model as text; the numbers round-trip exactly.
///
/// # Errors
/// [`Error::Io`].
pub fn write_text(model: &WordModel, path: &Path) -> Result<(), Error> {
    write(model, path, true, written_out)
}

/// Like [`write_text`], without the first line.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write_lines(model: &WordModel, path: &Path) -> Result<(), Error> {
    write(model, path, false, written_out)
}

fn written_out(bytes: &mut Vec<u8>, row: &[f32]) {
    for number in row {
        bytes.extend_from_slice(format!(" {number}").as_bytes());
    }
}

/// Writes the vectors of a model in binary.
///
/// # Errors
/// [`Error::Io`].
pub fn write_binary(model: &WordModel, path: &Path) -> Result<(), Error> {
    write(model, path, true, |bytes, row| {
        bytes.push(b' ');
        bytes.extend_from_slice(&le_bytes(row));
    })
}

fn write(model: &WordModel, path: &Path, sizes: bool, numbers: impl Fn(&mut Vec<u8>, &[f32])) -> Result<(), Error> {
    let mut bytes = Vec::new();
    if sizes {
        bytes.extend_from_slice(format!("{} {}\n", model.vocabulary().len(), model.dimension()).as_bytes());
    }
    for (number, word) in model.vocabulary().iter().enumerate() {
        bytes.extend_from_slice(word.as_bytes());
        numbers(&mut bytes, model.row(number));
        bytes.push(b'\n');
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy()).ok_or_else(|| Error::Io {
        path: path.into(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file's name"),
    })?;
    write_whole(folder, &name, &bytes)
}

impl WordModel {
    /// Reads a word2vec file, text or binary, as a model without counts and without an output layer. A word that
    /// occurs twice keeps its first vector.
    ///
    /// # Errors
    /// As [`Reader::open`]; [`Error::Corrupt`] naming the damaged word, or for no words.
    pub fn from_word2vec(path: &Path) -> Result<Imported, Error> {
        let reader = Reader::detect(path)?;
        let dimension = reader.dimension();
        reader.read_all()?.into_model(path, "word2vec", dimension)
    }
}

#[cfg(test)]
#[path = "word2vec_tests.rs"]
mod tests;
