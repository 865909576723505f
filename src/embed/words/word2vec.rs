//! The formats of word2vec.c: a line `words dimension`, then for each word, in text, a line of the word and its numbers,
//! or, in binary, the word, a space, the numbers as little-endian `f32`, and (from most writers) a newline.
//!
//! Files are read as a stream; nothing is allocated by the header's word before the bytes are there. The formats keep
//! neither counts nor the output layer: an imported model embeds words and finds neighbours, and cannot fill blanks.

use super::{
    MAX_DIMENSION, WordModel,
    data::{MAX_WORD_BYTES, open_unpacked},
    file::le_bytes,
};
use crate::embed::Error;
use crate::embed::save::write_whole;
use std::{
    collections::HashSet,
    io::{BufRead, Read},
    path::{Path, PathBuf},
};

/// Most words of a file: numbers of words are 32 bits.
const MAX_WORDS: u64 = u32::MAX as u64;
/// Longest line of the text format for each component, and for the word.
const MAX_NUMBER_BYTES: u64 = 64;
/// Longest header, bytes.
const MAX_HEADER_BYTES: u64 = 100;

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Numbers written out.
    Text,
    /// Numbers as bytes.
    Binary,
}

/// The two numbers of a line `words dimension`.
pub(super) fn sizes(line: &[u8]) -> Option<(u64, u64)> {
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let sizes = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some(sizes)
}

/// Reads a file word after word. Plain or gzip.
pub struct Reader {
    path: PathBuf,
    input: Box<dyn BufRead>,
    format: Format,
    words: u64,
    dimension: usize,
    read: u64,
}

impl Reader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for a header that is not `words dimension`, or sizes that no file of this
    /// length can have.
    pub fn open(path: &Path, format: Format) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let (mut input, gzip) = open_unpacked(path)?;
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
        // The least that a word takes: a letter and a space, and four bytes, or a space and a digit, for each number.
        let least = match format {
            Format::Binary => words.saturating_mul(2 + 4 * dimension),
            Format::Text => words.saturating_mul(1 + 2 * dimension),
        };
        if !gzip && least > length {
            return Err(corrupt(format!(
                "the header says {words} words of {dimension} components, at least {least} bytes; the file has {length}"
            )));
        }
        Ok(Self { path: path.into(), input, format, words, dimension: dimension as usize, read: 0 })
    }

    /// Opens a file in whichever format it is: binary unless the second line reads as a word and its numbers.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn detect(path: &Path) -> Result<Self, Error> {
        let mut text = Self::open(path, Format::Text).or_else(|_| Self::open(path, Format::Binary))?;
        let format =
            if text.format == Format::Text && text.next_word().is_ok() { Format::Text } else { Format::Binary };
        Self::open(path, format)
    }

    /// Words that the header promises.
    pub fn words(&self) -> u64 {
        self.words
    }

    /// Components of each vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The next word and its finite numbers; `None` after the last.
    fn next_word(&mut self) -> Result<Option<(String, Vec<f32>)>, Error> {
        if self.read == self.words {
            return self.finish().map(|()| None);
        }
        self.read += 1;
        let (word, numbers) = match self.format {
            Format::Text => self.text_word()?,
            Format::Binary => self.binary_word()?,
        };
        if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
            return Err(self.corrupt(&format!("component {at} of {word:?} is not finite")));
        }
        Ok(Some((word, numbers)))
    }

    /// Nothing but white space follows the last word.
    fn finish(&mut self) -> Result<(), Error> {
        let mut rest = Vec::new();
        self.input.by_ref().take(16).read_to_end(&mut rest).map_err(|source| self.failed(source))?;
        if rest.iter().all(u8::is_ascii_whitespace) {
            Ok(())
        } else {
            Err(self.corrupt("more bytes follow the last word that the header counts"))
        }
    }

    fn text_word(&mut self) -> Result<(String, Vec<f32>), Error> {
        let mut line = Vec::new();
        let limit = MAX_WORD_BYTES as u64 + MAX_NUMBER_BYTES * self.dimension as u64;
        self.input.by_ref().take(limit).read_until(b'\n', &mut line).map_err(|source| self.failed(source))?;
        if line.is_empty() {
            return Err(self.corrupt("the file ends here"));
        }
        let Ok(line) = std::str::from_utf8(&line) else { return Err(self.corrupt("not UTF-8")) };
        let mut fields = line.split_ascii_whitespace();
        let word = self.checked(fields.next().unwrap_or_default().as_bytes())?;
        let numbers: Option<Vec<f32>> = fields.map(|field| field.parse().ok()).collect();
        match numbers {
            Some(numbers) if numbers.len() == self.dimension => Ok((word, numbers)),
            Some(numbers) => {
                Err(self.corrupt(&format!("{word:?} has {} numbers, expected {}", numbers.len(), self.dimension)))
            }
            None => Err(self.corrupt(&format!("{word:?} has a field that is not a number"))),
        }
    }

    fn binary_word(&mut self) -> Result<(String, Vec<f32>), Error> {
        let mut word = Vec::new();
        self.input
            .by_ref()
            .take(MAX_WORD_BYTES as u64 + 2)
            .read_until(b' ', &mut word)
            .map_err(|source| self.failed(source))?;
        if word.is_empty() {
            return Err(self.corrupt("the file ends here"));
        }
        if word.pop() != Some(b' ') {
            return Err(self.corrupt(&format!("no space within {MAX_WORD_BYTES} bytes of the word's start")));
        }
        // The newline after the numbers before.
        let start = word.iter().take_while(|&&byte| byte == b'\n').count();
        let word = self.checked(&word[start..])?;
        let mut bytes = vec![0; 4 * self.dimension];
        self.input.read_exact(&mut bytes).map_err(|source| {
            if source.kind() == std::io::ErrorKind::UnexpectedEof {
                self.corrupt(&format!("the file ends among the numbers of {word:?}"))
            } else {
                self.failed(source)
            }
        })?;
        let numbers = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok((word, numbers))
    }

    /// A word of an allowed length; bytes that are not UTF-8 (the Google News file has some) become U+FFFD.
    fn checked(&self, word: &[u8]) -> Result<String, Error> {
        let word = String::from_utf8_lossy(word);
        if word.is_empty() || word.len() > MAX_WORD_BYTES || word.contains(char::is_whitespace) {
            return Err(self.corrupt(&format!("a word has 1 to {MAX_WORD_BYTES} bytes and no space")));
        }
        Ok(word.into_owned())
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::Corrupt { path: self.path.clone(), what: format!("word {} of {}: {what}", self.read, self.words) }
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

impl Iterator for Reader {
    type Item = Result<(String, Vec<f32>), Error>;

    /// The next word and its vector. After an error nothing more is to be had.
    fn next(&mut self) -> Option<Self::Item> {
        if self.read > self.words {
            return None;
        }
        let next = self.next_word();
        if !matches!(next, Ok(Some(_))) {
            self.read = self.words + 1;
        }
        next.transpose()
    }
}

/// All words of a text file, with their vectors.
///
/// # Errors
/// As [`Reader::open`]; [`Error::Corrupt`] naming the word that is damaged.
pub fn read_text(path: &Path) -> Result<Vec<(String, Vec<f32>)>, Error> {
    Reader::open(path, Format::Text)?.collect()
}

/// All words of a binary file, with their vectors.
///
/// # Errors
/// As [`read_text`].
pub fn read_binary(path: &Path) -> Result<Vec<(String, Vec<f32>)>, Error> {
    Reader::open(path, Format::Binary)?.collect()
}

/// Writes the vectors of a model, numbers written out so that they read back to the same bits.
///
/// # Errors
/// [`Error::Io`].
pub fn write_text(model: &WordModel, path: &Path) -> Result<(), Error> {
    write(model, path, true, written_out)
}

/// The same without the first line.
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

/// Writes the vectors of a model as bytes.
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
    /// As [`Reader::open`]; [`Error::Corrupt`] naming the word that is damaged.
    pub fn from_word2vec(path: &Path) -> Result<Self, Error> {
        let reader = Reader::detect(path)?;
        let dimension = reader.dimension();
        let (mut words, mut rows) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for item in reader {
            let (word, numbers) = item?;
            if seen.insert(word.clone()) {
                words.push(word);
                rows.extend_from_slice(&numbers);
            }
        }
        Self::of_vectors(path, "word2vec", words, rows, dimension)
    }
}

#[cfg(test)]
#[path = "word2vec_tests.rs"]
mod tests;
