//! A corpus as word numbers with its vocabulary.
//!
//! A sentence is a line (of at most [`SENTENCE`] words; longer ones are cut). The text is read once, as a stream: words are
//! counted (`vocabulary.rs`) and written to a file under provisional numbers (`spool.rs`); when all counts are known, the
//! rare ones are dropped and the rest renumbered by falling frequency. What stays in memory is the vocabulary.

use super::{
    data,
    phrases::{self, Phrases},
    pieces,
    spool::{END, Spool},
    tokenize::Tokenizer,
    train::{TrainProgress, tell},
    vocabulary::Counter,
};
use crate::{DataSource, Error, transformers::Pieces};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Most words of a sentence.
pub(super) const SENTENCE: usize = 1_000;
/// Words of a block of a large corpus.
const BLOCK: u64 = 1 << 15;
/// So many different words are held while counting for each that may stay.
const HELD: usize = 4;

/// How a corpus is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Words that occur less often are left out.
    pub(super) min_count: u64,
    /// At most so many words stay.
    pub(super) most_words: usize,
    /// A text of more bytes, unpacked, is refused.
    pub(super) most_bytes: u64,
    /// Whether words that occur together become one.
    pub(super) phrases: Option<Phrases>,
    /// Words are cut into at most so many different pieces.
    pub(super) pieces: Option<usize>,
}

/// An encoded corpus with its vocabulary, most frequent word first.
pub(super) struct Corpus {
    /// The words, by number.
    pub(super) words: Vec<String>,
    /// How often each occurs, by number.
    pub(super) counts: Vec<u64>,
    /// Word numbers, sentence after sentence.
    pub(super) spool: Spool,
    /// Whole sentences: where each block begins and ends in the spool.
    pub(super) blocks: Vec<Range<u64>>,
    /// What was read from standard input.
    pub(super) standard_input: Option<DataSource>,
    /// How words were cut into those that are here.
    pub(super) pieces: Option<Pieces>,
}

impl Corpus {
    /// Reads the files one after the other into `spool`.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read or unpacked; [`Error::InvalidInput`] when no word remains, or standard
    /// input is named twice.
    pub(super) fn read(
        files: &[PathBuf],
        reading: &Reading,
        mut spool: Spool,
        observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
    ) -> Result<Self, Error> {
        let mut standard_input = None;
        let mut counter = Counter::new(reading.most_words.saturating_mul(HELD));
        // Words and bytes, and how many of each were told of.
        let (mut read, mut reported) = (0_u64, 0_u64);
        let (mut bytes, mut told) = (0_u64, 0_u64);
        for path in files {
            let mut line = |line: &str| {
                let mut length = 0;
                let mut result = Ok(());
                Tokenizer::default().words(line, |word| {
                    if result.is_ok() {
                        result = counter.count(word).and_then(|number| {
                            let Some(number) = number else { return Ok(()) };
                            read += 1;
                            length += 1;
                            spool.push(number)?;
                            if length == SENTENCE {
                                length = 0;
                                spool.push(END)?;
                            }
                            Ok(())
                        });
                    }
                });
                result?;
                if length > 0 {
                    spool.push(END)?;
                }
                bytes += line.len() as u64;
                if bytes > reading.most_bytes {
                    let most = reading.most_bytes;
                    return Err(Error::InvalidInput(format!("the text has more than {most} bytes, unpacked")));
                }
                // A text may have few words, or none.
                if read - reported >= 200_000 || bytes - told >= 8 << 20 {
                    (reported, told) = (read, bytes);
                    tell(observe, TrainProgress::of("counting", read, 0))?;
                }
                Ok(())
            };
            if path.as_os_str() == data::STANDARD_INPUT {
                if standard_input.is_some() {
                    return Err(Error::InvalidInput("standard input can be read only once".into()));
                }
                let seen = Arc::new(Mutex::new((Sha256::new(), 0)));
                let input = Box::new(Hashed { input: io::stdin(), seen: seen.clone() });
                data::for_each_line_of(path, input, &mut line)?;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                standard_input = Some(DataSource {
                    file: "standard input".into(),
                    bytes: seen.1,
                    sha256: seen.0.finalize_reset().iter().map(|byte| format!("{byte:02x}")).collect(),
                    ..DataSource::default()
                });
            } else {
                let file = File::open(path).map_err(|source| Error::Io { path: path.clone(), source })?;
                data::for_each_line_of(path, Box::new(file), &mut line)?;
            }
        }
        spool.flush()?;
        let forgotten = counter.forgotten();
        let vocabulary = match reading.pieces {
            None => counter.finish(reading.min_count, reading.most_words),
            // Pieces of rare words may be frequent.
            Some(_) => counter.finish(1, usize::MAX),
        };
        if vocabulary.words.is_empty() {
            return Err(Error::InvalidInput(format!(
                "no word occurs {} times or more in the corpus of {read} words{}",
                reading.min_count,
                if forgotten > 0 { "; rare ones were forgotten to save memory" } else { "" }
            )));
        }
        spool.rewrite(|sentence| {
            sentence.retain_mut(|number| match vocabulary.numbers.get(number) {
                Some(place) => {
                    *number = *place;
                    true
                }
                None => false,
            });
        })?;
        let mut corpus = Self {
            words: vocabulary.words,
            counts: vocabulary.counts,
            spool,
            blocks: Vec::new(),
            standard_input,
            pieces: None,
        };
        if forgotten > 0 {
            // Of a word that was forgotten once, some occurrences are counted but not written, or the reverse.
            corpus.recount()?;
        }
        if let Some(phrases) = reading.phrases {
            phrases::join(&mut corpus, &phrases, reading, observe)?;
        }
        if let Some(size) = reading.pieces {
            corpus.pieces = Some(pieces::cut(&mut corpus, size, reading, observe)?);
        }
        corpus.blocks = cut(&corpus.spool)?;
        Ok(corpus)
    }

    /// Joins the parts of a corpus that was read before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn of(words: Vec<String>, counts: Vec<u64>, spool: Spool) -> Result<Self, Error> {
        let blocks = cut(&spool)?;
        Ok(Self { words, counts, spool, blocks, standard_input: None, pieces: None })
    }

    /// Occurrences of all words of the vocabulary.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Counts what the spool holds; words keep their numbers.
    pub(super) fn recount(&mut self) -> Result<(), Error> {
        let counts = &mut self.counts;
        counts.fill(0);
        self.spool.sentences(|sentence| {
            sentence.iter().for_each(|&number| counts[number as usize] += 1);
            Ok(())
        })?;
        self.order(1, usize::MAX)
    }

    /// Renumbers the words by falling count, ties by the word; those that occur less often than `min_count`, and those past
    /// the `most`, go.
    pub(super) fn order(&mut self, min_count: u64, most: usize) -> Result<(), Error> {
        let mut order: Vec<u32> =
            (0..self.words.len() as u32).filter(|&number| self.counts[number as usize] >= min_count.max(1)).collect();
        order.sort_unstable_by(|&a, &b| {
            let (a, b) = (a as usize, b as usize);
            self.counts[b].cmp(&self.counts[a]).then_with(|| self.words[a].cmp(&self.words[b]))
        });
        order.truncate(most);
        let mut places = vec![END; self.words.len()];
        (0_u32..).zip(&order).for_each(|(place, &number)| places[number as usize] = place);
        self.counts = order.iter().map(|&number| self.counts[number as usize]).collect();
        self.words = order.iter().map(|&number| std::mem::take(&mut self.words[number as usize])).collect();
        self.spool.rewrite(|sentence| {
            sentence.retain_mut(|number| {
                *number = places[*number as usize];
                *number != END
            });
        })
    }
}

/// Blocks of whole sentences: where each begins and ends.
fn cut(spool: &Spool) -> Result<Vec<Range<u64>>, Error> {
    let size = (spool.len() / 256).clamp(1_000, BLOCK);
    let mut blocks = Vec::new();
    let (mut start, mut at) = (0, 0);
    spool.sentences(|sentence| {
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

/// Standard input, counted and hashed while it is read.
struct Hashed {
    input: io::Stdin,
    seen: Arc<Mutex<(Sha256, u64)>>,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.update(&buffer[..length]);
        seen.1 += length as u64;
        Ok(length)
    }
}

/// Reads a corpus from a text with a scratch file in the folder of temporary files; for tests of what needs one.
#[cfg(test)]
pub(super) fn of_text(text: &[u8], reading: &Reading) -> Result<Corpus, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus");
    std::fs::write(&path, text).unwrap();
    Corpus::read(&[path], reading, Spool::scratch(folder.path())?, &|_| true)
}

/// For tests: the word numbers with their ends.
#[cfg(test)]
pub(super) fn tokens(corpus: &Corpus) -> Vec<u32> {
    let mut tokens = Vec::new();
    corpus.spool.read(&(0..corpus.spool.len()), &mut tokens).unwrap();
    tokens
}

/// For tests: all words from so many occurrences.
#[cfg(test)]
pub(super) fn from(min_count: u64) -> Reading {
    Reading { min_count, most_words: 1_000_000, most_bytes: u64::MAX, phrases: None, pieces: None }
}

/// The path of a spool in a folder of checkpoints.
pub(super) fn spool_in(folder: &Path) -> PathBuf {
    folder.join("tokens.bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], min_count: u64) -> Result<Corpus, Error> {
        of_text(text, &from(min_count))
    }

    const TEXT: &str = "<doc id=\"1\" title=\"Cats\">\nA cat, a Cat.\n\n123\na dog's cat\n</doc>\n";

    #[test]
    fn lines_are_sentences_and_markup_lines_are_left_out() {
        let corpus = read(TEXT.as_bytes(), 1).unwrap();
        assert_eq!(corpus.words, ["a", "cat", "123", "dog's"]);
        assert_eq!(corpus.counts, [3, 3, 1, 1]);
        assert_eq!(tokens(&corpus), [0, 1, 0, 1, END, 2, END, 0, 3, 1, END]);
        assert_eq!(corpus.total(), 8);
    }

    #[test]
    fn rare_words_are_dropped() {
        let corpus = read(TEXT.as_bytes(), 2).unwrap();
        assert_eq!(corpus.words, ["a", "cat"]);
        assert_eq!(tokens(&corpus), [0, 1, 0, 1, END, 0, 1, END]);
    }

    #[test]
    fn odd_corpora_are_handled() {
        assert!(matches!(read(b"", 1), Err(Error::InvalidInput(_))));
        assert!(matches!(read(b"one two", 2), Err(Error::InvalidInput(_))));
        let scratch = Spool::scratch(&std::env::temp_dir()).unwrap();
        assert!(matches!(
            Corpus::read(&["/nowhere/at/all".into()], &from(1), scratch, &|_| true),
            Err(Error::Io { .. })
        ));
        assert_eq!(read(b"caf\xff bar", 1).unwrap().words, ["bar", "caf"]);
        let long = "word ".repeat(SENTENCE * 2 + 1);
        assert_eq!(tokens(&read(long.as_bytes(), 1).unwrap()).iter().filter(|&&token| token == END).count(), 3);
        let letters = "x".repeat(3 << 20);
        assert!(matches!(read(letters.as_bytes(), 1), Err(Error::InvalidInput(_))), "not a word of 3 MB");
    }

    #[test]
    fn a_vocabulary_too_large_is_pruned_and_counts_are_those_of_the_text_that_stays() {
        let mut text = String::new();
        for line in 0..3_000 {
            text += &format!(
                "cat dog {}\n",
                "abcdefghij".chars().map(|c| format!("{c}{}", "xyz".repeat(line % 40))).collect::<String>()
            );
            text += &format!("cat {}\n", word(line));
        }
        let corpus = of_text(text.as_bytes(), &Reading { most_words: 20, ..from(2) }).unwrap();
        assert_eq!(&corpus.words[..2], ["cat", "dog"]);
        assert_eq!(&corpus.counts[..2], [6_000, 3_000]);
        assert!(corpus.words.len() <= 20);
        let mut counted = vec![0; corpus.words.len()];
        tokens(&corpus).iter().filter(|&&token| token != END).for_each(|&token| counted[token as usize] += 1);
        assert_eq!(corpus.counts, counted);
    }

    /// A word for a number.
    fn word(mut number: usize) -> String {
        let mut word = String::from("q");
        loop {
            word.push(char::from(b'a' + (number % 26) as u8));
            number /= 26;
            if number == 0 {
                return word;
            }
        }
    }

    #[test]
    fn blocks_are_whole_sentences_and_cover_all() {
        let text = "a b c d e f\n".repeat(1_500);
        let corpus = read(text.as_bytes(), 1).unwrap();
        let (tokens, blocks) = (tokens(&corpus), &corpus.blocks);
        assert!(blocks.len() > 5);
        assert_eq!((blocks[0].start, blocks[blocks.len() - 1].end), (0, tokens.len() as u64));
        assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start && tokens[pair[0].end as usize - 1] == END));
    }
}
