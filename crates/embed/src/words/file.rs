//! The model folder: `card.json`, `model.safetensors`, `vocab.txt`, and `tokenizer.json` in models of pieces.
//!
//! | tensor | shape | type | contents |
//! | --- | --- | --- | --- |
//! | `input` | words x dimension | F32, F16 or I8 | the word vectors |
//! | `input.scale` | words | F32 | with I8: the scale of each row |
//! | `output`, `output.scale` | | as `input` | the output layer; absent in imported models |
//! | `common` | dimension | F32 | the common component of texts (`sif.rs`); absent in imported models |
//! | `subwords`, `subwords.scale` | buckets x dimension | as `input` | the n-gram vectors (`subwords.rs`), if any |
//! | `around`, `around.scale` | words x dimension | as `input` | the context vectors (`cloze_train.rs`), if any |
//! | `places` | 10 x dimension | F32 | with `around`: the vector of each position around a blank |
//!
//! With `subwords`, the metadata of the file have `subwords.min` and `subwords.max`: the range of n-gram lengths, in
//! characters.
//!
//! `vocab.txt` has a line `word count` for each row, most frequent first. Files are written under another name and
//! renamed, `card.json` last, so that an interrupted save leaves no folder that appears complete.

use super::{
    MAX_DIMENSION, WordModel,
    cloze_layer::{ClozeLayer, POSITIONS},
    data::MAX_WORD_BYTES,
    model::ModelParts,
    options::Ngrams,
    subwords::Subwords,
    table::{Table, Tensors, le_bytes},
    tokenize::Tokenizer,
};
use crate::save::{read_bounded, write_folder};
use crate::{Error, ModelCard, ModelFiles, WORDS, transformers::Pieces};
use safetensors::{Dtype, tensor::TensorView};
use std::{collections::HashMap, fs, io::Read as _, path::Path};

pub(crate) const CARD: &str = "card.json";
pub(crate) const TENSORS: &str = "model.safetensors";
pub(crate) const VOCABULARY: &str = "vocab.txt";
/// File name of the subword tokenizer.
pub(super) const PIECES: &str = "tokenizer.json";
/// Maximum size of that file, in bytes.
pub(super) const MAX_PIECES_BYTES: u64 = 256 << 20;

/// Parses a model from the bytes of its files; `folder` is for messages.
pub(super) fn parse(
    folder: &Path,
    card: &[u8],
    tensors: &[u8],
    vocabulary: &[u8],
    pieces: Option<&[u8]>,
) -> Result<WordModel, Error> {
    let card_path = folder.join(CARD);
    let card = ModelCard::parse(&card_path, card)?;
    if card.family_or_name() != WORDS {
        return Err(Error::Corrupt { path: card_path, what: format!("the card of {:?}, not of \"words\"", card.name) });
    }
    card.check_name(&card_path)?;
    assemble(folder, card, tensors, vocabulary, pieces)
}

/// Builds a model from its card and the bytes of its other files; `folder` is for messages.
pub(crate) fn assemble(
    folder: &Path,
    card: ModelCard,
    tensors: &[u8],
    vocabulary: &[u8],
    pieces: Option<&[u8]>,
) -> Result<WordModel, Error> {
    let tokenizer = Tokenizer::of_card(&card).map_err(|what| Error::Corrupt { path: folder.join(CARD), what })?;
    let (words, counts) = parse_vocabulary(&folder.join(VOCABULARY), vocabulary)?;
    let path = folder.join(TENSORS);
    let tensors = Tensors::open(&path, tensors)?;
    let input = tensors.tensors.tensor("input").map_err(|_| tensors.corrupt("there is no tensor \"input\"".into()))?;
    let &[rows, dimension] = input.shape() else {
        return Err(
            tensors.corrupt(format!("the tensor \"input\" has the shape {:?}, not words x dimension", input.shape()))
        );
    };
    if rows != words.len() {
        return Err(
            tensors.corrupt(format!("the tensor \"input\" has {rows} rows for {} words of {VOCABULARY}", words.len()))
        );
    }
    if !(1..=MAX_DIMENSION).contains(&dimension) {
        return Err(tensors.corrupt(format!("vectors of {dimension} components; 1 to {MAX_DIMENSION} are possible")));
    }
    let input = Table::read(&tensors, "input", rows, dimension)?
        .ok_or_else(|| tensors.corrupt("there is no tensor \"input\"".into()))?;
    let output = Table::read(&tensors, "output", rows, dimension)?;
    let common = match tensors.get("common", &[dimension])? {
        None => None,
        Some((Dtype::F32, bytes)) => Some(tensors.floats("common", bytes)?),
        Some((other, _)) => return Err(tensors.corrupt(format!("the tensor \"common\" is of type {other:?}, not F32"))),
    };
    if let Some(norm) =
        common.as_ref().map(|common| common.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt())
        && (norm - 1.0).abs() > 1e-3
        && norm != 0.0
    {
        return Err(tensors.corrupt(format!("the tensor \"common\" has the norm {norm}, neither 1 nor 0")));
    }
    let subwords = subwords(&tensors, dimension)?;
    let pieces = pieces.map(|json| Pieces::parse(&folder.join(PIECES), json)).transpose()?;
    let cloze = match Table::read(&tensors, "around", rows, dimension)? {
        None => None,
        Some(around) => match tensors.get("places", &[POSITIONS, dimension])? {
            Some((Dtype::F32, bytes)) if output.is_some() => {
                Some(ClozeLayer { around, positions: tensors.floats("places", bytes)? })
            }
            _ => {
                let what = "there is a tensor \"around\", but no tensor \"output\" and F32 tensor \"places\"";
                return Err(tensors.corrupt(what.into()));
            }
        },
    };
    WordModel::new(ModelParts {
        words,
        counts,
        dimension,
        input,
        output,
        common,
        subwords,
        pieces,
        cloze,
        tokenizer,
        card,
    })
    .map_err(|error| Error::Corrupt { path: folder.join(VOCABULARY), what: error.to_string() })
}

/// Reads the n-gram vectors, if any.
fn subwords(tensors: &Tensors<'_>, dimension: usize) -> Result<Option<Subwords>, Error> {
    let Ok(view) = tensors.tensors.tensor("subwords") else { return Ok(None) };
    let rows = view.shape().first().copied().unwrap_or(0);
    let length = |name: &str| {
        let value = tensors.metadata.get(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| {
            tensors.corrupt(format!("there is a tensor \"subwords\", and the metadata have no number {name:?}"))
        })
    };
    let (min, max) = (length("subwords.min")?, length("subwords.max")?);
    let ngrams = Ngrams { min, max, buckets: u32::try_from(rows).unwrap_or(u32::MAX) };
    ngrams.check().map_err(|error| tensors.corrupt(error.to_string()))?;
    Ok(Table::read(tensors, "subwords", rows, dimension)?.map(|table| Subwords { ngrams, table }))
}

/// Parses lines of `word count`, with counts falling.
pub(super) fn parse_vocabulary(path: &Path, bytes: &[u8]) -> Result<(Vec<String>, Vec<u64>), Error> {
    let corrupt = |line: usize, what: &str| Error::Corrupt { path: path.into(), what: format!("line {line}: {what}") };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        corrupt(line, "not UTF-8")
    })?;
    let (mut words, mut counts) = (Vec::new(), Vec::new());
    let mut total = 0_u64;
    for (at, line) in text.lines().enumerate() {
        let (word, count) = line.rsplit_once(' ').ok_or_else(|| corrupt(at + 1, "not `word count`"))?;
        let count: u64 = count.parse().map_err(|_| corrupt(at + 1, "the count is not a whole number"))?;
        if word.is_empty() || word.len() > MAX_WORD_BYTES || word.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(corrupt(at + 1, &format!("a word has 1 to {MAX_WORD_BYTES} bytes and no space")));
        }
        if counts.last().is_some_and(|&before| count > before) {
            return Err(corrupt(at + 1, "the counts do not fall"));
        }
        total = total.checked_add(count).ok_or_else(|| corrupt(at + 1, "the counts add up to 2^64 or more"))?;
        words.push(word.to_owned());
        counts.push(count);
    }
    if words.is_empty() {
        return Err(Error::Corrupt { path: path.into(), what: "no words".into() });
    }
    Ok((words, counts))
}

/// Returns the lines that [`parse_vocabulary`] reads.
pub(super) fn vocabulary_bytes(words: &[String], counts: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (word, count) in words.iter().zip(counts) {
        bytes.extend_from_slice(format!("{word} {count}\n").as_bytes());
    }
    bytes
}

/// The name, type, shape and bytes of a tensor to write.
type Part<'a> = (String, Dtype, Vec<usize>, std::borrow::Cow<'a, [u8]>);

impl WordModel {
    /// Reads a model folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] when the files contradict each other.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| Error::Io { path, source })
        };
        let pieces = folder.join(PIECES);
        let pieces = pieces.exists().then(|| read_bounded(&pieces, MAX_PIECES_BYTES)).transpose()?;
        parse(folder, &read(CARD)?, &read(TENSORS)?, &read(VOCABULARY)?, pieces.as_deref())
    }

    /// Returns the model embedded in the binary (`models/words`).
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the embedded bytes are damaged.
    pub fn default_model() -> Result<Self, Error> {
        let folder = Path::new("the default model of words");
        let packed = include_bytes!(concat!(env!("OUT_DIR"), "/vocab.txt.gz"));
        let mut vocabulary = Vec::new();
        let read = flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut vocabulary);
        read.map_err(|source| Error::Io { path: folder.join(VOCABULARY), source })?;
        let card = include_bytes!("../../models/words/card.json");
        parse(folder, card, include_bytes!("../../models/words/model.safetensors"), &vocabulary, None)
    }

    /// Writes the model folder, creating it if needed; existing files of these names are replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        write_folder(folder, &self.folder()?)
    }

    /// Returns the files of the model folder, the card last.
    pub(crate) fn folder(&self) -> Result<ModelFiles, Error> {
        self.folder_with(&self.card)
    }

    /// Returns the same files with another card.
    pub(crate) fn folder_with(&self, card: &ModelCard) -> Result<ModelFiles, Error> {
        let vocabulary = vocabulary_bytes(&self.words, &self.counts);
        let mut card = card.clone();
        self.tokenizer.note_in(&mut card);
        let card = (card.to_json() + "\n").into_bytes();
        let pieces = self.pieces.iter().map(|pieces| (PIECES, pieces.json().to_vec()));
        let files = [(VOCABULARY, vocabulary), (TENSORS, self.tensors(Path::new(TENSORS))?)];
        Ok(files.into_iter().chain(pieces).chain([(CARD, card)]).collect())
    }

    fn tensors(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let mut parts = Vec::<Part<'_>>::new();
        let subwords = self.subwords.as_ref().map(|subwords| &subwords.table);
        let around = self.cloze.as_ref().map(|cloze| &cloze.around);
        let tables = [
            ("input", Some(&self.input)),
            ("output", self.output.as_ref()),
            ("subwords", subwords),
            ("around", around),
        ];
        for (name, table) in tables {
            let Some(table) = table else { continue };
            let rows = table.len() / self.dimension;
            let (numbers, scales) = table.bytes();
            parts.push((name.into(), table.dtype(), vec![rows, self.dimension], numbers));
            if let Some(scales) = scales {
                parts.push((format!("{name}.scale"), Dtype::F32, vec![rows], scales));
            }
        }
        let metadata = self.subwords.as_ref().map(|Subwords { ngrams, .. }| {
            HashMap::from(
                [("min", ngrams.min), ("max", ngrams.max)].map(|(n, v)| (format!("subwords.{n}"), v.to_string())),
            )
        });
        if let Some(common) = &self.common {
            parts.push(("common".into(), Dtype::F32, vec![self.dimension], le_bytes(common)));
        }
        if let Some(cloze) = &self.cloze {
            parts.push(("places".into(), Dtype::F32, vec![POSITIONS, self.dimension], le_bytes(&cloze.positions)));
        }
        let failed =
            |error: safetensors::SafeTensorError| Error::Io { path: path.into(), source: std::io::Error::other(error) };
        let views = parts
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        safetensors::serialize(views, metadata).map_err(failed)
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
