//! Reading a corpus: plain or gzip text, streamed, into word numbers.
//!
//! A sentence is a line (of at most [`SENTENCE`] words; longer ones are cut). WikiExtractor's `<doc ...>` and
//! `</doc>` lines are left out. The text is read once: words get provisional numbers in order of appearance, and when
//! all counts are known, the rare ones are dropped and the rest renumbered by falling frequency. What stays in memory
//! is four bytes a word.

use super::{tokenize, train::TrainProgress};
use crate::embed::Error;
use flate2::read::MultiGzDecoder;
use rustc_hash::FxHashMap;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Most words of a sentence.
pub const SENTENCE: usize = 1_000;
/// Longest word that a vocabulary takes, bytes; longer runs of letters are left out.
pub const MAX_WORD_BYTES: usize = 128;
/// Longest stretch of a line that is held at once; a longer line is treated as several.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Ends a sentence in [`Corpus::tokens`].
pub(super) const END: u32 = u32::MAX;

/// An encoded corpus with its vocabulary, most frequent word first.
pub struct Corpus {
    /// The words, by number.
    pub words: Vec<String>,
    /// How often each occurs, by number.
    pub counts: Vec<u64>,
    /// Word numbers, every sentence followed by [`END`].
    pub(super) tokens: Vec<u32>,
}

impl Corpus {
    /// Reads the files one after the other and keeps words that occur at least `min_count` times.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read or unpacked; [`Error::InvalidInput`] when no word remains.
    pub fn read(files: &[PathBuf], min_count: u64, observe: &(dyn Fn(&TrainProgress) + Sync)) -> Result<Self, Error> {
        let mut reader = Reader::default();
        for file in files {
            for_each_line(file, &mut |line| reader.line(line, observe))?;
        }
        reader.finish(min_count)
    }

    /// Occurrences of all words of the vocabulary.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Opens a file that is plain or gzip, which its first bytes tell: what is in it, and whether it was packed.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn open_unpacked(path: &Path) -> Result<(Box<dyn BufRead>, bool), Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let gzip = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn BufRead> =
        if gzip { Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))) } else { Box::new(file) };
    Ok((reader, gzip))
}

/// Calls `visit` with every line of a plain or gzip text file that is text; bytes that are not UTF-8 become U+FFFD,
/// which separates words.
///
/// # Errors
/// [`Error::Io`].
pub fn for_each_line(path: &Path, visit: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let (mut reader, _) = open_unpacked(path)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        if !text.starts_with("<doc ") && !text.starts_with("</doc>") {
            visit(&text);
        }
    }
}

#[derive(Default)]
struct Reader {
    numbers: FxHashMap<Box<str>, u32>,
    counts: Vec<u64>,
    tokens: Vec<u32>,
    read: u64,
    reported: u64,
}

impl Reader {
    fn line(&mut self, line: &str, observe: &(dyn Fn(&TrainProgress) + Sync)) {
        let mut length = 0;
        tokenize::words(line, |word| {
            if word.len() > MAX_WORD_BYTES {
                return;
            }
            let number = if let Some(&number) = self.numbers.get(word) {
                number
            } else {
                // The tokens of four thousand million different words would not fit in memory either.
                let number = u32::try_from(self.counts.len()).ok().filter(|&n| n < END).expect("fewer than 2^32 words");
                self.numbers.insert(word.into(), number);
                self.counts.push(0);
                number
            };
            self.counts[number as usize] += 1;
            self.tokens.push(number);
            self.read += 1;
            length += 1;
            if length == SENTENCE {
                self.tokens.push(END);
                length = 0;
            }
        });
        if length > 0 {
            self.tokens.push(END);
        }
        if self.read - self.reported >= 200_000 {
            self.reported = self.read;
            observe(&TrainProgress { phase: "counting", done: self.read, total: 0, loss: None, learning_rate: 0.0 });
        }
    }

    fn finish(mut self, min_count: u64) -> Result<Corpus, Error> {
        let mut kept: Vec<(Box<str>, u32)> =
            self.numbers.drain().filter(|(_, number)| self.counts[*number as usize] >= min_count).collect();
        if kept.is_empty() {
            return Err(Error::InvalidInput(format!(
                "no word occurs {min_count} times or more in the corpus of {} words",
                self.read
            )));
        }
        kept.sort_unstable_by(|(a, a_number), (b, b_number)| {
            let count = |number: &u32| self.counts[*number as usize];
            count(b_number).cmp(&count(a_number)).then_with(|| a.cmp(b))
        });
        let mut renumbered = vec![None; self.counts.len()];
        let mut counts = Vec::with_capacity(kept.len());
        for (new, (_, old)) in (0_u32..).zip(&kept) {
            renumbered[*old as usize] = Some(new);
            counts.push(self.counts[*old as usize]);
        }
        let mut length = 0;
        self.tokens.retain_mut(|token| {
            if *token == END {
                return std::mem::take(&mut length) > 0;
            }
            let Some(new) = renumbered[*token as usize] else { return false };
            *token = new;
            length += 1;
            true
        });
        let words = kept.into_iter().map(|(word, _)| word.into_string()).collect();
        Ok(Corpus { words, counts, tokens: self.tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8], min_count: u64) -> Result<Corpus, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("corpus");
        std::fs::write(&path, bytes).unwrap();
        Corpus::read(&[path], min_count, &|_| {})
    }

    const TEXT: &str = "<doc id=\"1\" title=\"Cats\">\nA cat, a Cat.\n\n123\na dog's cat\n</doc>\n";

    #[test]
    fn lines_are_sentences_and_markup_lines_are_left_out() {
        let corpus = read(TEXT.as_bytes(), 1).unwrap();
        assert_eq!(corpus.words, ["a", "cat", "dog", "s"]);
        assert_eq!(corpus.counts, [3, 3, 1, 1]);
        assert_eq!(corpus.tokens, [0, 1, 0, 1, END, 0, 2, 3, 1, END]);
        assert_eq!(corpus.total(), 8);
    }

    #[test]
    fn gzip_is_told_from_the_content_and_rare_words_are_dropped() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(TEXT.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let corpus = read(&packed, 2).unwrap();
        assert_eq!(corpus.words, ["a", "cat"]);
        assert_eq!(corpus.tokens, [0, 1, 0, 1, END, 0, 1, END]);
        assert!(matches!(read(&packed[..packed.len() / 2], 1), Err(Error::Io { .. })), "a cut gzip file is an error");
    }

    #[test]
    fn odd_corpora_are_handled() {
        assert!(matches!(read(b"", 1), Err(Error::InvalidInput(_))));
        assert!(matches!(read(b"one two", 2), Err(Error::InvalidInput(_))));
        assert!(matches!(Corpus::read(&["/nowhere/at/all".into()], 1, &|_| {}), Err(Error::Io { .. })));
        assert_eq!(read(b"caf\xff bar", 1).unwrap().words, ["bar", "caf"]);
        let long = "word ".repeat(SENTENCE * 2 + 1);
        assert_eq!(read(long.as_bytes(), 1).unwrap().tokens.iter().filter(|&&token| token == END).count(), 3);
        let letters = "x".repeat(3 << 20);
        assert!(matches!(read(letters.as_bytes(), 1), Err(Error::InvalidInput(_))), "not a word of 3 MB");
    }
}
