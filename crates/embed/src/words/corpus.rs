//! A corpus as word numbers with its vocabulary.
//!
//! A sentence is a line; lines of more than [`MAX_SENTENCE_WORDS`] words are split. The text is read once, as a stream:
//! words are counted (`vocabulary.rs`) and written to a file under provisional numbers (`token_file.rs`). Then the rare
//! words are dropped and the rest renumbered by falling frequency. Only the vocabulary stays in memory.

use super::{
    options::Phrases,
    token_file::{END, TokenFile},
};
use crate::{DataSource, Error, transformers::Pieces};
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// Maximum words of a sentence.
pub(super) const MAX_SENTENCE_WORDS: usize = 1_000;
/// Words per block of a large corpus.
const MAX_BLOCK_TOKENS: u64 = 1 << 15;
/// Options for reading a corpus.
#[derive(Clone, Copy, Debug)]
pub(super) struct CorpusOptions {
    /// Minimum count; rarer words are dropped.
    pub(super) min_count: u64,
    /// Maximum vocabulary size.
    pub(super) max_words: usize,
    /// Maximum size of the uncompressed text, in bytes; a larger text is refused.
    pub(super) max_bytes: u64,
    /// Phrase detection, if enabled.
    pub(super) phrases: Option<Phrases>,
    /// Maximum number of distinct pieces, if words are segmented.
    pub(super) pieces: Option<usize>,
}

/// An encoded corpus with its vocabulary, most frequent word first.
pub(super) struct Corpus {
    /// The words, by number.
    pub(super) words: Vec<String>,
    /// How often each occurs, by number.
    pub(super) counts: Vec<u64>,
    /// Word numbers, sentence by sentence.
    pub(super) token_file: TokenFile,
    /// The bounds of each block in the token file; blocks hold whole sentences.
    pub(super) blocks: Vec<Range<u64>>,
    /// Description of the standard input, if it was read.
    pub(super) standard_input: Option<DataSource>,
    /// The segmentation of words into the pieces of this vocabulary.
    pub(super) pieces: Option<Pieces>,
}

impl Corpus {
    /// Assembles a corpus from parts that were read before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn of(words: Vec<String>, counts: Vec<u64>, token_file: TokenFile) -> Result<Self, Error> {
        let blocks = blocks(&token_file)?;
        Ok(Self { words, counts, token_file, blocks, standard_input: None, pieces: None })
    }

    /// Returns the number of occurrences of all words in the vocabulary.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Recounts the words from the token file; words keep their numbers.
    pub(super) fn recount(&mut self) -> Result<(), Error> {
        let counts = &mut self.counts;
        counts.fill(0);
        self.token_file.sentences(|sentence| {
            sentence.iter().for_each(|&number| counts[number as usize] += 1);
            Ok(())
        })?;
        self.order(1, usize::MAX)
    }

    /// Renumbers the words by falling count, ties by the word. Drops words rarer than `min_count` and those beyond the
    /// `max_words` most frequent.
    pub(super) fn order(&mut self, min_count: u64, max_words: usize) -> Result<(), Error> {
        let mut order: Vec<u32> =
            (0..self.words.len() as u32).filter(|&number| self.counts[number as usize] >= min_count.max(1)).collect();
        order.sort_unstable_by(|&a, &b| {
            let (a, b) = (a as usize, b as usize);
            self.counts[b].cmp(&self.counts[a]).then_with(|| self.words[a].cmp(&self.words[b]))
        });
        order.truncate(max_words);
        let mut new_numbers = vec![END; self.words.len()];
        (0_u32..).zip(&order).for_each(|(index, &number)| new_numbers[number as usize] = index);
        self.counts = order.iter().map(|&number| self.counts[number as usize]).collect();
        self.words = order.iter().map(|&number| std::mem::take(&mut self.words[number as usize])).collect();
        self.token_file.rewrite(|sentence| {
            sentence.retain_mut(|number| {
                *number = new_numbers[*number as usize];
                *number != END
            });
        })
    }
}

/// Returns the bounds of blocks of whole sentences.
pub(super) fn blocks(token_file: &TokenFile) -> Result<Vec<Range<u64>>, Error> {
    let size = (token_file.len() / 256).clamp(1_000, MAX_BLOCK_TOKENS);
    let mut blocks = Vec::new();
    let (mut start, mut at) = (0, 0);
    token_file.sentences(|sentence| {
        at += sentence.len() as u64 + 1;
        if at - start >= size {
            blocks.push(start..at);
            start = at;
        }
        Ok(())
    })?;
    if start < at {
        blocks.push(start..at);
    }
    Ok(blocks)
}

/// For tests: the word numbers, with end marks.
#[cfg(test)]
pub(super) fn tokens(corpus: &Corpus) -> Vec<u32> {
    let mut tokens = Vec::new();
    corpus.token_file.read(&(0..corpus.token_file.len()), &mut tokens).unwrap();
    tokens
}

/// Returns the path of the token file in a checkpoint folder.
pub(super) fn token_file_path(folder: &Path) -> PathBuf {
    folder.join("tokens.bin")
}
