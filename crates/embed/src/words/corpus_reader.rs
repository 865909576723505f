//! Reads text files as a [`Corpus`]: counts, encodes, drops rare words, joins phrases, segments words.

use super::{
    bpe,
    corpus::{Corpus, CorpusOptions, MAX_SENTENCE_WORDS, blocks},
    data,
    options::{TrainProgress, report_progress},
    phrases,
    token_file::{END, TokenFile},
    tokenize::Tokenizer,
    vocabulary::WordCounter,
};
use crate::{DataSource, Error};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// Distinct words held while counting, per word of the final vocabulary.
const COUNTER_OVERSIZE: usize = 4;

impl Corpus {
    /// Reads the files in order into `token_file`.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read or decompressed; [`Error::InvalidInput`] if no word remains, or
    /// standard input is named twice.
    pub(super) fn read(
        files: &[PathBuf],
        corpus_options: &CorpusOptions,
        mut token_file: TokenFile,
        observe: &(dyn Fn(&TrainProgress) -> bool + Sync),
    ) -> Result<Self, Error> {
        let mut standard_input = None;
        let mut counter = WordCounter::new(corpus_options.max_words.saturating_mul(COUNTER_OVERSIZE));
        // Words and bytes read, and those last reported.
        let (mut read, mut reported) = (0_u64, 0_u64);
        let (mut bytes, mut reported_bytes) = (0_u64, 0_u64);
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
                            token_file.push(number)?;
                            if length == MAX_SENTENCE_WORDS {
                                length = 0;
                                token_file.push(END)?;
                            }
                            Ok(())
                        });
                    }
                });
                result?;
                if length > 0 {
                    token_file.push(END)?;
                }
                bytes += line.len() as u64;
                if bytes > corpus_options.max_bytes {
                    let max_bytes = corpus_options.max_bytes;
                    return Err(Error::InvalidInput(format!("the text has more than {max_bytes} bytes, unpacked")));
                }
                // The byte condition covers texts with few or no words.
                if read - reported >= 200_000 || bytes - reported_bytes >= 8 << 20 {
                    (reported, reported_bytes) = (read, bytes);
                    report_progress(observe, TrainProgress::of("counting", read, 0))?;
                }
                Ok(())
            };
            if path.as_os_str() == data::STANDARD_INPUT {
                if standard_input.is_some() {
                    return Err(Error::InvalidInput("standard input can be read only once".into()));
                }
                let digest = Arc::new(Mutex::new((Sha256::new(), 0)));
                let input = Box::new(HashingStdin { input: io::stdin(), digest: digest.clone() });
                data::for_each_line_of(path, input, &mut line)?;
                let mut digest = digest.lock().unwrap_or_else(PoisonError::into_inner);
                standard_input = Some(DataSource {
                    file: "standard input".into(),
                    bytes: digest.1,
                    sha256: digest.0.finalize_reset().iter().map(|byte| format!("{byte:02x}")).collect(),
                    ..DataSource::default()
                });
            } else {
                let file = File::open(path).map_err(|source| Error::Io { path: path.clone(), source })?;
                data::for_each_line_of(path, Box::new(file), &mut line)?;
            }
        }
        token_file.flush()?;
        let pruned_count = counter.pruned_count();
        let vocabulary = match corpus_options.pieces {
            None => counter.finish(corpus_options.min_count, corpus_options.max_words),
            // Pieces of rare words may be frequent, so every word is kept.
            Some(_) => counter.finish(1, usize::MAX),
        };
        if vocabulary.words.is_empty() {
            return Err(Error::InvalidInput(format!(
                "no word occurs {} times or more in the corpus of {read} words{}",
                corpus_options.min_count,
                if pruned_count > 0 { "; rare words were discarded to save memory" } else { "" }
            )));
        }
        token_file.rewrite(|sentence| {
            sentence.retain_mut(|number| match vocabulary.numbers.get(number) {
                Some(index) => {
                    *number = *index;
                    true
                }
                None => false,
            });
        })?;
        let mut corpus = Self {
            words: vocabulary.words,
            counts: vocabulary.counts,
            token_file,
            blocks: Vec::new(),
            standard_input,
            pieces: None,
        };
        if pruned_count > 0 {
            // The count and the written occurrences of a word differ if the counter ever discarded it.
            corpus.recount()?;
        }
        if let Some(phrases) = corpus_options.phrases {
            phrases::join(&mut corpus, &phrases, corpus_options, observe)?;
        }
        if let Some(size) = corpus_options.pieces {
            corpus.pieces = Some(bpe::segment_corpus(&mut corpus, size, corpus_options, observe)?);
        }
        corpus.blocks = blocks(&corpus.token_file)?;
        Ok(corpus)
    }
}

/// A reader of standard input that counts and hashes the bytes.
struct HashingStdin {
    input: io::Stdin,
    digest: Arc<Mutex<(Sha256, u64)>>,
}

impl Read for HashingStdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        let mut digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        digest.0.update(&buffer[..length]);
        digest.1 += length as u64;
        Ok(length)
    }
}

/// For tests: reads a corpus from a text, with a scratch file in the temporary directory.
#[cfg(test)]
pub(super) fn of_text(text: &[u8], corpus_options: &CorpusOptions) -> Result<Corpus, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus");
    std::fs::write(&path, text).unwrap();
    Corpus::read(&[path], corpus_options, TokenFile::temporary(folder.path())?, &|_| true)
}

/// For tests: reads all words with the given minimum count.
#[cfg(test)]
pub(super) fn from(min_count: u64) -> CorpusOptions {
    CorpusOptions { min_count, max_words: 1_000_000, max_bytes: u64::MAX, phrases: None, pieces: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::corpus::tokens;

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
        let token_file = TokenFile::temporary(&std::env::temp_dir()).unwrap();
        assert!(matches!(
            Corpus::read(&["/nowhere/at/all".into()], &from(1), token_file, &|_| true),
            Err(Error::Io { .. })
        ));
        assert_eq!(read(b"caf\xff bar", 1).unwrap().words, ["bar", "caf"]);
        let long = "word ".repeat(MAX_SENTENCE_WORDS * 2 + 1);
        assert_eq!(tokens(&read(long.as_bytes(), 1).unwrap()).iter().filter(|&&token| token == END).count(), 3);
        let letters = "x".repeat(3 << 20);
        assert!(matches!(read(letters.as_bytes(), 1), Err(Error::InvalidInput(_))), "not a word of 3 MB");
    }

    #[test]
    fn a_vocabulary_too_large_is_pruned_and_counts_are_those_of_the_remaining_text() {
        let mut text = String::new();
        for line in 0..3_000 {
            text += &format!(
                "cat dog {}\n",
                "abcdefghij".chars().map(|c| format!("{c}{}", "xyz".repeat(line % 40))).collect::<String>()
            );
            text += &format!("cat {}\n", word(line));
        }
        let corpus = of_text(text.as_bytes(), &CorpusOptions { max_words: 20, ..from(2) }).unwrap();
        assert_eq!(&corpus.words[..2], ["cat", "dog"]);
        assert_eq!(&corpus.counts[..2], [6_000, 3_000]);
        assert!(corpus.words.len() <= 20);
        let mut counted = vec![0; corpus.words.len()];
        tokens(&corpus).iter().filter(|&&token| token != END).for_each(|&token| counted[token as usize] += 1);
        assert_eq!(corpus.counts, counted);
    }

    /// Returns a distinct word for a number.
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
