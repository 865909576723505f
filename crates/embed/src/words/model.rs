//! The word model: word vectors, nearest words, and the embedder `words`.

use super::{
    cloze_layer::ClozeLayer,
    options::Objective,
    sif,
    subwords::Subwords,
    table::{Table, le_bytes},
    tokenize::{self, Tokenizer},
};
use crate::capability::WordVectors;
use crate::{
    Embedder, Error, Fingerprint, Fingerprinter, Input, Modality, ModelCard, ModelFiles, OutputLayer, WORDS,
    math::train::{dot_rows, multiply},
    transformers::Pieces,
    types::Precision,
};
use rustc_hash::FxHashMap;
use std::borrow::Cow;

/// Maximum number of neighbours, or of words for a blank, per call.
pub(crate) const MAX_NEIGHBOURS: usize = 1_000;
/// Maximum number of terms in word arithmetic.
const MAX_TERMS: usize = 100;
/// Rows scored together, so that decoded rows stay in the cache.
const BLOCK: usize = 512;
/// Maximum number of segments that a vocabulary word may have in unspaced text.
const MAX_SEGMENTS: usize = 16;

/// A word of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term<'a> {
    /// The word's number in the vocabulary.
    Known(usize),
    /// A word that is not in the vocabulary.
    Unknown(&'a str),
}

/// Word vectors with their vocabulary and, if trained here, the output layer. Immutable.
pub struct WordModel {
    pub(super) words: Vec<String>,
    pub(super) counts: Vec<u64>,
    pub(super) total: u64,
    pub(super) dimension: usize,
    pub(super) input: Table,
    pub(super) output: Option<Table>,
    pub(super) common: Option<Vec<f32>>,
    pub(super) subwords: Option<Subwords>,
    pub(super) pieces: Option<Pieces>,
    pub(super) cloze: Option<ClozeLayer>,
    pub(super) tokenizer: Tokenizer,
    pub(super) card: ModelCard,
    numbers: FxHashMap<Box<str>, u32>,
    /// Whether a word of the vocabulary has capitals.
    has_capitals: bool,
    /// The input table as `f32`; empty if the table is F32 already.
    decoded: Vec<f32>,
    inverse_norms: Vec<f32>,
    fingerprint: Fingerprint,
    output_layers: [OutputLayer; 1],
}

/// The components of a model.
pub(super) struct ModelParts {
    pub(super) words: Vec<String>,
    pub(super) counts: Vec<u64>,
    pub(super) dimension: usize,
    pub(super) input: Table,
    pub(super) output: Option<Table>,
    pub(super) common: Option<Vec<f32>>,
    pub(super) subwords: Option<Subwords>,
    pub(super) pieces: Option<Pieces>,
    pub(super) cloze: Option<ClozeLayer>,
    pub(super) tokenizer: Tokenizer,
    pub(super) card: ModelCard,
}

impl WordModel {
    /// Assembles a model; the caller has checked the sizes.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if a word occurs twice.
    pub(super) fn new(parts: ModelParts) -> Result<Self, Error> {
        let ModelParts {
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
            mut card,
        } = parts;
        debug_assert_eq!(input.len(), words.len() * dimension);
        let mut numbers = FxHashMap::with_capacity_and_hasher(words.len(), rustc_hash::FxBuildHasher);
        for (number, word) in (0_u32..).zip(&words) {
            if numbers.insert(word.as_str().into(), number).is_some() {
                return Err(Error::InvalidInput(format!("the word {word:?} is twice in the vocabulary")));
            }
        }
        if tokenizer == Tokenizer::Uax29 {
            // Words of texts are normalized to NFC before lookup.
            for (number, word) in (0_u32..).zip(&words) {
                if let Cow::Owned(normal) = tokenize::normal(word) {
                    numbers.entry(normal.into()).or_insert(number);
                }
            }
        }
        let has_capitals = words.iter().any(|word| word.chars().any(char::is_uppercase));
        tokenizer.note_in(&mut card);
        let mut decoded = Vec::new();
        if !matches!(input, Table::F32(_)) {
            decoded.reserve_exact(input.len());
            input.decode(dimension, 0, words.len(), &mut decoded);
        }
        let rows = if let Table::F32(rows) = &input { rows } else { &decoded };
        let inverse_norms = rows.chunks_exact(dimension).map(sif::inverse_norm).collect();
        let fingerprint = fingerprint(
            &words,
            &counts,
            dimension,
            [Some(&input), output.as_ref()],
            common.as_deref(),
            (subwords.as_ref(), pieces.as_ref(), cloze.as_ref()),
            tokenizer,
        );
        let layer =
            OutputLayer { name: "vector", dimension: dimension as u32, about: "the word's vector in the input layer" };
        let total = counts.iter().sum();
        Ok(Self {
            words,
            counts,
            total,
            dimension,
            input,
            output,
            common,
            subwords,
            pieces,
            cloze,
            tokenizer,
            card,
            numbers,
            has_capitals,
            decoded,
            inverse_norms,
            fingerprint,
            output_layers: [layer],
        })
    }

    /// Returns the same model with another card.
    #[must_use]
    pub fn with_card(mut self, card: ModelCard) -> Self {
        self.card = card;
        self.tokenizer.note_in(&mut self.card);
        self
    }

    /// Returns a model of the same words with other vectors, row by row, and no other parts.
    ///
    /// # Panics
    /// If the number of rows differs from the number of words.
    pub(crate) fn with_vectors(
        &self,
        rows: Vec<f32>,
        dimension: usize,
        store: Precision,
        card: ModelCard,
    ) -> Result<Self, Error> {
        assert_eq!(rows.len(), self.words.len() * dimension, "a row for each word");
        Self::new(ModelParts {
            words: self.words.clone(),
            counts: self.counts.clone(),
            dimension,
            input: Table::encode(store, rows, dimension),
            output: None,
            common: None,
            subwords: None,
            pieces: None,
            cloze: None,
            tokenizer: self.tokenizer,
            card,
        })
    }

    /// Returns the tokenizer for texts.
    pub fn tokenizer(&self) -> Tokenizer {
        self.tokenizer
    }

    /// Returns the number of components of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the words, most frequent first; a word's index is its number.
    pub fn vocabulary(&self) -> &[String] {
        &self.words
    }

    /// Returns the count of word `number` in the corpus; 0 in models of formats without counts, and for unknown
    /// numbers.
    pub fn count(&self, number: usize) -> u64 {
        self.counts.get(number).copied().unwrap_or(0)
    }

    /// Returns the number of a word, in the vocabulary's spelling.
    pub fn number(&self, word: &str) -> Option<usize> {
        self.numbers.get(word).map(|&number| number as usize)
    }

    /// Returns the vector of a word, in the vocabulary's spelling; it has [`dimension`](Self::dimension) components.
    pub fn vector(&self, word: &str) -> Option<&[f32]> {
        self.number(word).map(|number| self.row(number))
    }

    /// Returns the vector of a word in the vocabulary's spelling or, if the model has vectors of n-grams or pieces, one
    /// composed of these.
    pub(crate) fn vector_of_any(&self, word: &str) -> Option<Cow<'_, [f32]>> {
        if let Some(number) = self.number(word) {
            return Some(self.row(number).into());
        }
        if let Some(subwords) = &self.subwords {
            return subwords.vector(word, self.dimension).map(Cow::from);
        }
        let pieces = self.pieces_of(word);
        if pieces.is_empty() {
            return None;
        }
        let mut sum = vec![0.0_f32; self.dimension];
        for piece in &pieces {
            sum.iter_mut().zip(self.row(*piece)).for_each(|(sum, x)| *sum += x / pieces.len() as f32);
        }
        Some(sum.into())
    }

    /// Returns whether the model has vectors of pieces of words.
    pub(crate) fn is_of_pieces(&self) -> bool {
        self.pieces.is_some()
    }

    /// Returns the numbers of a word's pieces that are in the vocabulary; empty in a model of whole words.
    pub(crate) fn pieces_of(&self, word: &str) -> Vec<usize> {
        let pieces = self.pieces.as_ref().map_or(Vec::new(), |pieces| pieces.of(word));
        pieces.iter().filter_map(|piece| self.number(piece)).collect()
    }

    /// Returns the training objective from the card; skip-gram by default.
    pub(super) fn objective(&self) -> Objective {
        let objective = self.card.settings.get("objective").and_then(|value| value.as_str());
        objective.and_then(Objective::from_name).unwrap_or_default()
    }

    /// Returns whether the model has an output layer, which filling blanks requires.
    pub(crate) fn has_output_layer(&self) -> bool {
        self.output.is_some()
    }

    /// Returns all vectors, row by row.
    pub(crate) fn rows(&self) -> &[f32] {
        if let Table::F32(rows) = &self.input { rows } else { &self.decoded }
    }

    /// Returns the vector of a word by its number; panics for an unknown number.
    pub fn row(&self, number: usize) -> &[f32] {
        &self.rows()[number * self.dimension..][..self.dimension]
    }

    /// Returns 1 / norm of each row; 0 for a norm of 0.
    pub(crate) fn inverse_norms(&self) -> &[f32] {
        &self.inverse_norms
    }

    /// Returns the number of occurrences of all words in the corpus.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Returns the common component of texts (`sif.rs`).
    pub(crate) fn common(&self) -> Option<&[f32]> {
        self.common.as_deref()
    }

    /// Returns the words nearest to the sum of the unit vectors of `plus` minus those of `minus`, by cosine, nearest
    /// first, excluding the terms themselves. Example: `nearest(&["king", "woman"], &["man"], 1)`.
    ///
    /// # Errors
    /// [`Error::OutOfVocabulary`] naming every unknown term; [`Error::InvalidInput`] for no term, a term that is not a
    /// single word, more than 100 terms, terms that cancel out, or `k` of 0 or above 1,000.
    pub fn nearest(&self, plus: &[&str], minus: &[&str], k: usize) -> Result<Vec<(String, f32)>, Error> {
        check_k(k)?;
        if plus.is_empty() && minus.is_empty() {
            return Err(Error::InvalidInput("no word to find neighbours of".into()));
        }
        if plus.len() + minus.len() > MAX_TERMS {
            return Err(Error::InvalidInput(format!(
                "at most {MAX_TERMS} words can be added, got {}",
                plus.len() + minus.len()
            )));
        }
        let (mut terms, mut unknown) = (Vec::new(), Vec::new());
        for (word, sign) in plus.iter().map(|word| (word, 1.0)).chain(minus.iter().map(|word| (word, -1.0))) {
            let word = self.single_word(word)?;
            match self.vector_of_any(&word) {
                Some(vector) => terms.push((self.number(&word), vector, sign)),
                None => unknown.push(word),
            }
        }
        if !unknown.is_empty() {
            return Err(out_of_vocabulary(self.name(), &unknown));
        }
        let mut query = vec![0.0_f32; self.dimension];
        for (_, vector, sign) in &terms {
            let factor = sign * sif::inverse_norm(vector);
            query.iter_mut().zip(vector.iter()).for_each(|(sum, x)| *sum += factor * x);
        }
        let inverse = sif::inverse_norm(&query);
        if inverse == 0.0 || inverse > 1e5 {
            return Err(Error::InvalidInput("the words cancel each other out".into()));
        }
        query.iter_mut().for_each(|x| *x *= inverse);
        let mut scores = vec![0.0; self.words.len()];
        dot_rows(&query, self.rows(), &mut scores);
        for (score, inverse) in scores.iter_mut().zip(&self.inverse_norms) {
            *score = if *inverse > 0.0 { *score * inverse } else { f32::NEG_INFINITY };
        }
        terms.iter().filter_map(|(number, ..)| *number).for_each(|number| scores[number] = f32::NEG_INFINITY);
        Ok(self.top_k(&scores, k).into_iter().map(|(word, score)| (word, score.clamp(-1.0, 1.0))).collect())
    }

    /// Returns the highest scores with their words; ties by word number, minus infinity excluded.
    pub(super) fn top_k(&self, scores: &[f32], k: usize) -> Vec<(String, f32)> {
        let mut order: Vec<u32> =
            (0..scores.len() as u32).filter(|&number| scores[number as usize] > f32::NEG_INFINITY).collect();
        let by_score = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
        if k < order.len() {
            order.select_nth_unstable_by(k, by_score);
            order.truncate(k);
        }
        order.sort_unstable_by(by_score);
        order.into_iter().map(|number| (self.words[number as usize].clone(), scores[number as usize])).collect()
    }

    /// Returns the dot products of each query with every row of the output layer, concatenated; `None` without an
    /// output layer.
    pub(super) fn output_scores(&self, queries: &[f32]) -> Option<Vec<f32>> {
        let output = self.output.as_ref()?;
        let (n, words) = (queries.len() / self.dimension, self.words.len());
        let mut scores = vec![0.0; n * words];
        let (mut rows, mut block) = (Vec::new(), Vec::new());
        for first in (0..words).step_by(BLOCK) {
            let last = words.min(first + BLOCK);
            output.decode(self.dimension, first, last, &mut rows);
            block.resize(n * (last - first), 0.0);
            multiply(queries, n, &rows, last - first, self.dimension, &mut block);
            for (scores, block) in scores.chunks_exact_mut(words).zip(block.chunks_exact(last - first)) {
                scores[first..last].copy_from_slice(block);
            }
        }
        Some(scores)
    }

    /// Calls `visit` with each word of a text, in order.
    ///
    /// A word is looked up as written, then in lower case. In text without spaces between words, the longest match in
    /// the vocabulary is used. An unknown word is split at apostrophes, dots and the like, unless the model can compose
    /// vectors of unknown words.
    pub fn terms(&self, text: &str, mut visit: impl FnMut(Term<'_>)) {
        match self.tokenizer {
            Tokenizer::Letters => self.tokenizer.words(text, |word| {
                visit(self.number(word).map_or(Term::Unknown(word), Term::Known));
            }),
            Tokenizer::Uax29 => {
                let text = tokenize::normal(text);
                // Adjacent segments.
                let mut run: Vec<(usize, usize)> = Vec::new();
                tokenize::segments(&text, |at, segment| {
                    if run.last().is_some_and(|&(_, end)| end != at) {
                        self.run_of_terms(&text, &run, &mut visit);
                        run.clear();
                    }
                    run.push((at, at + segment.len()));
                });
                self.run_of_terms(&text, &run, &mut visit);
            }
        }
    }

    fn run_of_terms(&self, text: &str, run: &[(usize, usize)], visit: &mut impl FnMut(Term<'_>)) {
        let mut at = 0;
        // Start of a run of letters of an unspaced script without a known word.
        let mut unknown_from = None;
        while at < run.len() {
            let from = run[at].0;
            let unspaced = |at: usize| tokenize::is_unspaced(&text[run[at].0..run[at].1]);
            let longest = (at + 1..=run.len().min(at + MAX_SEGMENTS)).rev().find_map(|until| {
                // A single letter of a longer word of an unspaced script is not a word.
                let is_letter = until == at + 1
                    && unspaced(at)
                    && (at > 0 && unspaced(at - 1) || until < run.len() && unspaced(until));
                self.find(&text[from..run[until - 1].1]).filter(|_| !is_letter).map(|number| (number, until))
            });
            if longest.is_none() && unspaced(at) {
                unknown_from.get_or_insert(from);
                at += 1;
                continue;
            }
            if let Some(from) = unknown_from.take() {
                self.unknown_terms(&text[from..run[at].0], visit);
            }
            match longest {
                Some((number, until)) => {
                    visit(Term::Known(number));
                    at = until;
                }
                None => {
                    self.unknown_terms(&text[from..run[at].1], visit);
                    at += 1;
                }
            }
        }
        if let (Some(from), Some((_, end))) = (unknown_from, run.last()) {
            self.unknown_terms(&text[from..*end], visit);
        }
    }

    /// Visits the parts of an unknown word, or the word itself.
    fn unknown_terms(&self, word: &str, visit: &mut impl FnMut(Term<'_>)) {
        let mut any = false;
        if self.subwords.is_none() && self.pieces.is_none() {
            for part in tokenize::parts(word) {
                any = true;
                visit(self.find(part).map_or(Term::Unknown(&self.spelling(part)), Term::Known));
            }
        }
        if !any {
            visit(Term::Unknown(&self.spelling(word)));
        }
    }

    /// Returns the number of a word as written, or else in lower case.
    pub(super) fn find(&self, word: &str) -> Option<usize> {
        self.number(word).or_else(|| self.number(tokenize::lower(word, &mut String::new())))
    }

    /// Returns the spelling of an unknown word: lower case, unless the vocabulary has capitals.
    fn spelling<'a>(&self, word: &'a str) -> Cow<'a, str> {
        if self.has_capitals { word.into() } else { tokenize::lower(word, &mut String::new()).to_owned().into() }
    }

    /// Returns the single word of `text`, by the tokenizer, in the vocabulary's spelling if it is known. Text that is
    /// itself a vocabulary word is returned unchanged (imported models may have other tokenization rules).
    pub(super) fn single_word(&self, text: &str) -> Result<String, Error> {
        if let Some(number) = self.number(text) {
            return Ok(self.words[number].clone());
        }
        if text.len() > 1_024 {
            return Err(Error::InvalidInput(format!("a word of at most 1024 bytes is expected, got {}", text.len())));
        }
        let mut words = Vec::new();
        match self.tokenizer {
            Tokenizer::Letters => words = self.tokenizer.list(text),
            Tokenizer::Uax29 => {
                let text = tokenize::normal(text.trim());
                if let Some(number) = self.find(&text) {
                    return Ok(self.words[number].clone());
                }
                tokenize::written(&text, |word| {
                    words.push(
                        self.find(word).map_or_else(|| self.spelling(word).into_owned(), |n| self.words[n].clone()),
                    );
                });
            }
        }
        match (words.pop(), words.len()) {
            (Some(word), 0) => Ok(word),
            (None, _) => Err(Error::InvalidInput(format!("no word in {text:?}"))),
            (Some(_), more) => Err(Error::InvalidInput(format!(
                "one word is expected, {text:?} has {}; the embedder \"text\" reads sentences and blocks of text",
                more + 1
            ))),
        }
    }
}

pub(super) fn check_k(k: usize) -> Result<(), Error> {
    if (1..=MAX_NEIGHBOURS).contains(&k) {
        Ok(())
    } else {
        Err(Error::InvalidInput(format!("k must be 1 to {MAX_NEIGHBOURS}, got {k}")))
    }
}

/// Returns an error naming the first ten unknown words, truncated.
pub(crate) fn out_of_vocabulary(embedder: &str, words: &[String]) -> Error {
    let mut names: Vec<String> = words.iter().take(10).map(|word| word.chars().take(60).collect()).collect();
    if words.len() > 10 {
        names.push(format!("and {} more", words.len() - 10));
    }
    Error::OutOfVocabulary { embedder: embedder.into(), words: names.join(", ") }
}

fn fingerprint(
    words: &[String],
    counts: &[u64],
    dimension: usize,
    layers: [Option<&Table>; 2],
    common: Option<&[f32]>,
    (subwords, pieces, cloze): (Option<&Subwords>, Option<&Pieces>, Option<&ClozeLayer>),
    tokenizer: Tokenizer,
) -> Fingerprint {
    let mut parts = Fingerprinter::new("words/1");
    parts.part("tokenizer", tokenizer.rule().as_bytes());
    parts.part("dimension", &(dimension as u64).to_le_bytes());
    let mut vocabulary = Vec::new();
    for (word, count) in words.iter().zip(counts) {
        vocabulary.extend_from_slice(word.as_bytes());
        vocabulary.push(b'\n');
        vocabulary.extend_from_slice(&count.to_le_bytes());
    }
    parts.part("vocabulary", &vocabulary);
    let [input, output] = layers;
    let tables = [
        ("input", input),
        ("output", output),
        ("subwords", subwords.map(|subwords| &subwords.table)),
        ("around", cloze.map(|cloze| &cloze.around)),
    ];
    for (label, table) in tables {
        let Some(table) = table else { continue };
        let (numbers, scales) = table.bytes();
        parts.part(label, &numbers);
        parts.part("scales", &scales.unwrap_or_default());
    }
    if let Some(common) = common {
        parts.part("common", &le_bytes(common));
    }
    if let Some(Subwords { ngrams, .. }) = subwords {
        let [min, max] = [ngrams.min, ngrams.max].map(|length| length as u64);
        parts.part("n-grams", &[min.to_le_bytes(), max.to_le_bytes()].concat());
    }
    if let Some(pieces) = pieces {
        parts.part("pieces", pieces.json());
    }
    if let Some(cloze) = cloze {
        parts.part("places", &le_bytes(&cloze.positions));
    }
    parts.finish()
}

impl Embedder for WordModel {
    fn name(&self) -> &str {
        self.card.name_or(WORDS)
    }

    fn modality(&self) -> Modality {
        Modality::Text
    }

    fn output_layers(&self) -> &[OutputLayer] {
        &self.output_layers
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn files(&self) -> Result<ModelFiles, Error> {
        self.folder()
    }

    /// A frequent word, a middle one, and a rare one.
    fn reference_inputs(&self) -> Vec<Vec<u8>> {
        let words = self.vocabulary();
        let indexes = [0, words.len() / 2, words.len().saturating_sub(1)];
        indexes.iter().filter_map(|&index| words.get(index)).map(|word| word.as_bytes().to_vec()).collect()
    }

    /// Returns the vector of one word.
    fn embed(&self, layer: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        self.output_layer(layer.name)?;
        let word = self.single_word(input.text_for(self.name())?)?;
        let vector =
            self.vector_of_any(&word).ok_or_else(|| out_of_vocabulary(self.name(), std::slice::from_ref(&word)))?;
        if sif::inverse_norm(&vector) == 0.0 {
            return Err(Error::InvalidInput(format!("the vector of {word:?} is zero in this model")));
        }
        Ok(vector.into_owned())
    }

    fn embed_batch(&self, layer: &OutputLayer, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        // A lookup is too short for a second thread.
        inputs.iter().map(|input| self.embed(layer, input)).collect()
    }

    fn word_model(&self) -> Option<&dyn WordVectors> {
        Some(self)
    }
}

impl WordModel {
    /// Builds a model of only words and vectors; `rows` are the concatenated vectors.
    pub(super) fn from_vectors(
        words: Vec<String>,
        rows: Vec<f32>,
        dimension: usize,
        card: ModelCard,
    ) -> Result<Self, Error> {
        Self::new(ModelParts {
            counts: vec![0; words.len()],
            words,
            dimension,
            input: Table::encode(Precision::F32, rows, dimension),
            output: None,
            common: None,
            subwords: None,
            pieces: None,
            cloze: None,
            tokenizer: Tokenizer::default(),
            card,
        })
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
pub(crate) mod tests;
