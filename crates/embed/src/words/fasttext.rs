//! The binary format of fastText (version 12, not quantized): settings, dictionary, the input matrix of words and
//! n-grams, and the output matrix. Files are read as a stream; no allocation relies on a size in a header before the
//! bytes are read.

use super::{
    MAX_DIMENSION, WordModel,
    imported::{Imported, ImportedWords, imported_card},
    model::ModelParts,
    options::Ngrams,
    subwords::Subwords,
    table::Table,
    tokenize::Tokenizer,
};
use crate::{Error, types::Precision};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

const MAGIC: i32 = 793_712_314;
const VERSION: i32 = 12;
/// The loss whose output matrix has one row per word.
const NEGATIVE_SAMPLING: i32 = 2;
const CBOW: i32 = 1;
const SUPERVISED: i32 = 3;
/// Numbers per read.
const CHUNK: usize = 1 << 16;

/// Returns whether a file begins with fastText's magic number.
pub(super) fn is_fasttext(head: &[u8]) -> bool {
    head.starts_with(&MAGIC.to_le_bytes())
}

struct Reader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Bytes remaining.
    remaining: u64,
}

impl Reader<'_> {
    fn corrupt(&self, what: impl Into<String>) -> Error {
        Error::Corrupt { path: self.path.into(), what: what.into() }
    }

    fn bytes(&mut self, bytes: &mut [u8], part: &str) -> Result<(), Error> {
        if (bytes.len() as u64) > self.remaining {
            return Err(self.corrupt(format!("the file ends within {part}")));
        }
        self.remaining -= bytes.len() as u64;
        self.file.read_exact(bytes).map_err(|source| Error::Io { path: self.path.into(), source })
    }

    fn array<const N: usize>(&mut self, part: &str) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.bytes(&mut bytes, part).map(|()| bytes)
    }

    fn i32(&mut self, part: &str) -> Result<i32, Error> {
        self.array(part).map(i32::from_le_bytes)
    }

    fn i64(&mut self, part: &str) -> Result<i64, Error> {
        self.array(part).map(i64::from_le_bytes)
    }

    fn word(&mut self) -> Result<Vec<u8>, Error> {
        let mut word = Vec::new();
        let limit = self.remaining.min(1 << 20);
        let read = (&mut self.file).take(limit).read_until(0, &mut word);
        self.remaining -= read.map_err(|source| Error::Io { path: self.path.into(), source })? as u64;
        if word.pop() != Some(0) {
            return Err(self.corrupt("a word without an end"));
        }
        Ok(word)
    }

    /// Reads a matrix of `rows` rows; its header must match.
    fn matrix(&mut self, rows: u64, columns: u64, part: &str) -> Result<Vec<f32>, Error> {
        if self.array::<1>(part)? != [0] {
            return Err(self.corrupt(format!("{part} is quantized, which is not supported")));
        }
        let declared = (self.i64(part)?, self.i64(part)?);
        if declared != (rows as i64, columns as i64) {
            return Err(
                self.corrupt(format!("{part} declares {declared:?} rows and columns, expected {rows} x {columns}"))
            );
        }
        let bytes = rows.checked_mul(columns).and_then(|n| n.checked_mul(4)).filter(|&bytes| bytes <= self.remaining);
        let Some(bytes) = bytes else {
            return Err(self.corrupt(format!("{part} of {rows} x {columns} numbers is longer than the file")));
        };
        let mut numbers = Vec::with_capacity((bytes / 4) as usize);
        let mut chunk = vec![0; 4 * CHUNK];
        while (numbers.len() as u64) < bytes / 4 {
            let take = (4 * CHUNK).min(bytes as usize - 4 * numbers.len());
            self.bytes(&mut chunk[..take], part)?;
            numbers.extend(chunk[..take].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        }
        match numbers.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(self.corrupt(format!("{part} has a number that is not finite at {at}"))),
            None => Ok(numbers),
        }
    }
}

impl WordModel {
    /// Reads a fastText `.bin` file of word vectors. The output layer is kept if it was trained with negative sampling.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for another version, a classifier, a quantized model or a damaged file.
    pub(crate) fn from_fasttext(path: &Path) -> Result<Imported, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let remaining = file.metadata().map_err(failed)?.len();
        let mut reader = Reader { path, file: BufReader::with_capacity(1 << 16, file), remaining };
        let head = (reader.i32("the header")?, reader.i32("the header")?);
        if head.0 != MAGIC {
            return Err(reader.corrupt("does not start like a fastText file"));
        }
        if head.1 != VERSION {
            return Err(reader.corrupt(format!("version {} of fastText's format; {VERSION} is read", head.1)));
        }
        let mut settings = [0; 12];
        for setting in &mut settings {
            *setting = reader.i32("the settings")?;
        }
        reader.array::<8>("the settings")?;
        let [dimension, window, _, _, _, _, loss, kind, buckets, min, max, _] = settings;
        if kind == SUPERVISED {
            return Err(reader.corrupt("a classifier, not word vectors"));
        }
        if !(1..=MAX_DIMENSION as i32).contains(&dimension) {
            return Err(reader.corrupt(format!("{dimension} components; 1 to {MAX_DIMENSION} are possible")));
        }
        let dimension = dimension as usize;
        let entries = reader.i32("the dictionary")?;
        let (words, labels) = (reader.i32("the dictionary")?, reader.i32("the dictionary")?);
        reader.i64("the dictionary")?;
        let pruned = reader.i64("the dictionary")?;
        // Minimum size of a word: a letter, a terminator, a count and a type.
        if labels != 0 || words != entries || words <= 0 || words as u64 * 11 > reader.remaining {
            return Err(reader.corrupt(format!("a dictionary of {entries} entries, {words} words and {labels} labels")));
        }
        if pruned > 0 {
            return Err(reader.corrupt("its n-grams were pruned, which is not supported"));
        }
        let mut dictionary = Vec::new();
        for _ in 0..words {
            let word = reader.word()?;
            let count = reader.i64("the dictionary")?;
            let count = u64::try_from(count)
                .map_err(|_| reader.corrupt(format!("{:?} occurs {count} times", String::from_utf8_lossy(&word))))?;
            reader.array::<1>("the dictionary")?;
            dictionary.push((word, count));
        }
        let ngrams = (max > 0 && buckets > 0).then_some(Ngrams {
            min: min.max(0) as usize,
            max: max as usize,
            buckets: buckets as u32,
        });
        ngrams.map_or(Ok(()), |ngrams| ngrams.check()).map_err(|error| reader.corrupt(error.to_string()))?;
        let rows = words as u64 + ngrams.map_or(0, |ngrams| u64::from(ngrams.buckets));
        let mut input = reader.matrix(rows, dimension as u64, "the input matrix")?;
        let output = if loss == NEGATIVE_SAMPLING {
            Some(reader.matrix(words as u64, dimension as u64, "the output matrix")?)
        } else {
            None
        };
        let grams = input.split_off(words as usize * dimension);
        let subwords = ngrams.map(|ngrams| Subwords { ngrams, table: Table::encode(Precision::F32, grams, dimension) });
        let objective = if kind == CBOW { "cbow" } else { "skip-gram" };
        Self::from_parts(path, dictionary, input, output, subwords, dimension, (objective, window))
    }

    /// Returns the importable words, most frequent first, with their vectors: the means of their parts.
    fn from_parts(
        path: &Path,
        dictionary: Vec<(Vec<u8>, u64)>,
        input: Vec<f32>,
        output: Option<Vec<f32>>,
        subwords: Option<Subwords>,
        dimension: usize,
        (objective, window): (&str, i32),
    ) -> Result<Imported, Error> {
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
        let mut order: Vec<usize> = (0..dictionary.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(dictionary[at].1));
        let mut accepted = ImportedWords::default();
        order.retain(|&at| accepted.add(&dictionary[at].0, &[]));
        let ImportedWords { words, notes, .. } = accepted;
        if words.is_empty() {
            return Err(corrupt(format!("no words; {notes}")));
        }
        let row = |matrix: &[f32], at: usize| matrix[at * dimension..][..dimension].to_vec();
        let mut vectors = Vec::with_capacity(order.len() * dimension);
        for &at in &order {
            let mut sum = row(&input, at);
            // The original spelling, which the n-grams depend on; it is valid UTF-8, as checked above.
            let word = std::str::from_utf8(&dictionary[at].0).unwrap_or_default();
            // The end-of-line word has no n-grams.
            if let Some(subwords) = subwords.as_ref().filter(|_| word != "</s>") {
                let count = subwords.add(word, dimension, &mut sum);
                sum.iter_mut().for_each(|x| *x /= (count + 1) as f32);
            }
            vectors.append(&mut sum);
        }
        let output = output.map(|output| order.iter().flat_map(|&at| row(&output, at)).collect::<Vec<f32>>());
        let mut card = imported_card(path, "fastText", &notes);
        card.settings.insert("objective".into(), objective.into());
        card.settings.insert("dimension".into(), dimension.into());
        card.settings.insert("window".into(), window.into());
        let model = Self::new(ModelParts {
            words,
            counts: order.iter().map(|&at| dictionary[at].1).collect(),
            dimension,
            input: Table::encode(Precision::F32, vectors, dimension),
            output: output.map(|output| Table::encode(Precision::F32, output, dimension)),
            common: None,
            subwords,
            pieces: None,
            cloze: None,
            tokenizer: Tokenizer::default(),
            card,
        })
        .map_err(|error| corrupt(error.to_string()))?;
        Ok(Imported { model, notes })
    }
}

#[cfg(test)]
#[path = "fasttext_tests.rs"]
mod tests;
