//! Reader of word2vec files: `<words> <dimension>` on a line, then each word with its vector, as text or as binary.
//! Lines, words and their spelling are read as by `import words`.

use super::lines::{Lines, MAX_LINE};
use super::rows::check_dimension;
use crate::cli::load::input_stream::{Fill, InputStream};
use crate::cli::load::record::{FilePosition, RecordError, RecordPosition, Records};
use crate::collection::{self, Item};
use crate::embed::words::spelling::{LONGEST, Notes, Spellings};
use crate::embed::words::word2vec::{Format, binary_numbers, is_far_too_short, longest_line, sizes, text_line};
use crate::types::PointId;
use anyhow::{Context, bail};

/// The words of a file; the id is the word.
pub(crate) struct WordRecords {
    body: Body,
    id_prefix: String,
    promised: u64,
    dimension: usize,
    record: u64,
    spellings: Spellings,
    done: bool,
}

enum Body {
    Text(Lines),
    Binary(InputStream),
}

impl WordRecords {
    /// Reads the header.
    pub(crate) fn open(mut source: InputStream, binary: bool, id_prefix: &str) -> anyhow::Result<Self> {
        let path = source.path().clone();
        let line = source.until(b'\n', 64).with_context(|| path.display().to_string())?.unwrap_or_default();
        let Some((promised, dimension)) = sizes(&line) else {
            bail!("{}: its first line is not the number of words and the dimension", path.display());
        };
        let dimension = check_dimension(&path, dimension)?;
        let format = if binary { Format::Binary } else { Format::Text };
        let found = source.content_bytes();
        if is_far_too_short(format, promised, dimension as u64, found) {
            bail!(
                "{}: its first line declares {promised} words of {dimension} numbers; the file has {} bytes, too few \
                 for half of them",
                path.display(),
                found.unwrap_or_default()
            );
        }
        let body = if binary {
            Body::Binary(source)
        } else {
            // Reopened, so that lines are counted from 1; the header is skipped.
            let mut lines = Lines::new(InputStream::open(&path)?, MAX_LINE.max(longest_line(dimension)));
            lines.next_line();
            Body::Text(lines)
        };
        let spellings = Spellings::default();
        Ok(Self { body, id_prefix: id_prefix.into(), promised, dimension, record: 0, spellings, done: false })
    }

    /// Returns the number of vector components.
    #[cfg(test)]
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the next record as written; `None` after the last.
    fn next_binary(
        source: &mut InputStream,
        dimension: usize,
        position: &FilePosition,
    ) -> Result<Option<Vector>, RecordError> {
        let fatal = |what: String| RecordError::fatal(position.clone(), what);
        let mut word = Vec::new();
        loop {
            let mut byte = [0];
            match source.fill(&mut byte).map_err(|error| fatal(error.to_string()))? {
                Fill::Full if byte[0] == b' ' => break,
                // Some writers end a record with a newline, which precedes the next word.
                Fill::Full if byte[0] == b'\n' && word.is_empty() => {}
                Fill::Full if word.len() < LONGEST => word.push(byte[0]),
                Fill::Full => return Err(fatal(format!("no space within {LONGEST} bytes of the word's start"))),
                Fill::End | Fill::Short(_) if word.is_empty() => return Ok(None),
                Fill::End | Fill::Short(_) => return Err(fatal("the file ends within a word".into())),
            }
        }
        let mut bytes = vec![0; dimension * 4];
        if source.fill(&mut bytes).map_err(|error| fatal(error.to_string()))? != Fill::Full {
            return Err(fatal("the file ends within this record".into()));
        }
        let numbers = binary_numbers(&bytes).map_err(|what| RecordError::record(position.clone(), what))?;
        Ok(Some((word, numbers)))
    }

    /// Returns the next line that is not empty.
    fn next_text(lines: &mut Lines, dimension: usize) -> Result<Option<Vector>, RecordError> {
        loop {
            let parsed = match lines.next_line_bytes() {
                None => return Ok(None),
                Some(line) => {
                    let line = line?;
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    text_line(line, dimension).map(|(word, numbers)| (word.to_vec(), numbers))
                }
            };
            return parsed.map(Some).map_err(|what| RecordError::record(lines.file_position(), what));
        }
    }
}

/// A word as written, and its numbers.
type Vector = (Vec<u8>, Vec<f32>);

impl Iterator for WordRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = match &mut self.body {
            Body::Binary(source) => {
                let position = source.file_position(RecordPosition::Record(self.record));
                Self::next_binary(source, self.dimension, &position)
            }
            Body::Text(lines) => Self::next_text(lines, self.dimension),
        };
        let position = match &self.body {
            Body::Text(lines) => lines.file_position(),
            Body::Binary(source) => source.file_position(RecordPosition::Record(self.record)),
        };
        let (word, numbers) = match next {
            Ok(Some(vector)) => vector,
            Ok(None) => {
                self.done = true;
                return None;
            }
            Err(error) => {
                self.record += 1;
                self.done = error.fatal;
                return Some(Err(error));
            }
        };
        self.record += 1;
        Some(
            self.spellings
                .take(&word)
                .map_err(|unfit| unfit.to_string())
                .and_then(|word| {
                    let id = PointId::new(format!("{}{word}", self.id_prefix)).map_err(|error| error.to_string())?;
                    Ok(Item { id, source: collection::Source::Vector(numbers), payload: Default::default() })
                })
                .map_err(|what| RecordError::record(position, what)),
        )
    }
}

impl Records for WordRecords {
    fn bytes_read(&self) -> u64 {
        match &self.body {
            Body::Text(lines) => lines.input().bytes_read(),
            Body::Binary(source) => source.bytes_read(),
        }
    }
    fn bytes_total(&self) -> u64 {
        match &self.body {
            Body::Text(lines) => lines.input().bytes_total(),
            Body::Binary(source) => source.bytes_total(),
        }
    }
    fn file_position(&self) -> FilePosition {
        match &self.body {
            Body::Text(lines) => lines.file_position(),
            Body::Binary(source) => source.file_position(RecordPosition::Record(self.record.saturating_sub(1))),
        }
    }
    fn rows_seen(&self) -> u64 {
        0
    }
    fn note(&self) -> Option<String> {
        let miscounted = (self.done && self.record != self.promised).then_some((self.promised, self.record));
        miscounted.map(|_| Notes { miscounted, ..Notes::default() }.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::formats::fixture::{self, gzip};
    use crate::collection::Source as What;

    fn binary(header: &str, words: &[(&str, &[f32])], newline: bool) -> Vec<u8> {
        let mut bytes = header.as_bytes().to_vec();
        for (word, numbers) in words {
            bytes.extend([word.as_bytes(), b" "].concat());
            bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
            if newline {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    #[track_caller]
    fn check(bytes: &[u8]) {
        let file = fixture::file("vectors.bin", bytes);
        let (items, errors) = fixture::items(&file.path);
        assert!(errors.is_empty(), "{errors:?}");
        let seen = items.iter().map(|item| (item.id.as_str(), item.source.clone())).collect::<Vec<_>>();
        assert_eq!(seen, [("king", What::Vector(vec![0.5, -1.0])), ("queen", What::Vector(vec![2.0, 3.0]))]);
    }

    #[test]
    fn text_and_binary_are_told_apart_and_read() {
        let words: [(&str, &[f32]); 2] = [("king", &[0.5, -1.0]), ("queen", &[2.0, 3.0])];
        check(b"2 2\nking 0.5 -1\nqueen 2 3\n");
        check(&binary("2 2\n", &words, false));
        check(&binary("2 2\n", &words, true));
        check(&gzip(&binary("2 2\n", &words, true)));
    }

    #[test]
    fn broken_lines_are_passed_over_and_missing_ones_reported() {
        let file = fixture::file("v.vec", b"5 2\nking 0.5 -1\nqueen 2\nman 1 nan\nnew york 1 2\n");
        let (items, errors) = fixture::items(&file.path);
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["king", "new_york"]);
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert_eq!(fixture::note(&file.path).unwrap(), "the first line promises 5 words, the file has 4");
        assert!(errors[0].contains("line 3: a word and 2 numbers are needed, it has 1"), "{errors:?}");
        assert!(errors[1].contains("line 4: \"nan\" is not a finite number"), "{errors:?}");
    }

    #[test]
    fn a_word_too_long_for_an_id_is_named_with_its_own_line() {
        let long = "w".repeat(129);
        let file = fixture::file("v.vec", format!("3 2\nking 1 2\n{long} 1 2\nqueen 1 2\n").as_bytes());
        let (items, errors) = fixture::items(&file.path);
        assert_eq!(items.len(), 2);
        assert!(errors.len() == 1 && errors[0].contains("line 3: "), "{errors:?}");
    }

    #[test]
    fn unusual_words_are_spelled_or_passed_over_and_counts_that_are_off_do_no_harm() {
        let ids = |name: &str, bytes: &[u8]| {
            let file = fixture::file(name, bytes);
            let (items, errors) = fixture::items(&file.path);
            (items.iter().map(|item| item.id.as_str().to_owned()).collect::<Vec<_>>(), errors)
        };
        let numbers: &[f32] = &[1.0, 2.0];
        let words: Vec<&str> = vec!["king", "\u{a0}", "", "a\u{3000}b", "\u{85}x", "king"];
        let long = "x".repeat(200);
        let all: Vec<(&str, &[f32])> =
            words.iter().copied().chain([long.as_str()]).map(|word| (word, numbers)).collect();
        let text: String = all.iter().map(|(word, _)| format!("{word} 1 2\r\n")).collect();
        for (name, bytes) in [
            ("v.vec", format!("\u{feff}7 2\r\n{text}").into_bytes()),
            ("v.bin", binary("7 2\n", &all, true)),
            ("v.bin", binary("\u{feff}7 2\n", &all, false)),
        ] {
            let (ids, errors) = ids(name, &bytes);
            assert_eq!(ids, ["king", "_", "a_b", "_x"], "{errors:?}");
            assert_eq!(errors.len(), 3, "{errors:?}");
            assert!(errors[0].contains("the word is empty"), "{errors:?}");
            assert!(errors[1].contains("came before"), "{errors:?}");
            assert!(errors[2].contains("200 bytes, at most 128"), "{errors:?}");
        }
        let two: Vec<(&str, &[f32])> = vec![("king", numbers), ("queen", numbers)];
        for (header, said) in [("1 2\n", true), ("2 2\n", false), ("3 2\n", true)] {
            for bytes in [
                binary(header, &two, true),
                binary(header, &two, false),
                [header.as_bytes(), b"king 1 2\nqueen 1 2\n"].concat(),
            ] {
                assert_eq!(ids("v", &bytes), (vec!["king".to_owned(), "queen".to_owned()], vec![]), "{header}");
                assert_eq!(fixture::note(&fixture::file("v", &bytes).path).is_some(), said, "{header}");
            }
        }
        let (ids, errors) = ids("v.vec", b"3 2\nking 1 2\ncaf\xe9 1 2\nqueen 1 2\n");
        assert_eq!(ids, ["king", "queen"]);
        assert!(errors.len() == 1 && errors[0].contains("line 3: the word is not UTF-8"), "{errors:?}");
    }

    #[test]
    fn a_cut_binary_file_and_lying_headers_are_reported() {
        let words: [(&str, &[f32]); 2] = [("king", &[0.5, -1.0]), ("queen", &[2.0, f32::NAN])];
        let whole = binary("2 2\n", &words, false);
        let file = fixture::file("v.bin", &whole);
        let (items, errors) = fixture::items(&file.path);
        assert!(items.len() == 1 && errors.len() == 1 && errors[0].contains("NaN"), "{errors:?}");
        let file = fixture::file("v.bin.gz", &gzip(&whole[..whole.len() - 3]));
        let (items, errors) = fixture::items(&file.path);
        assert!(items.len() == 1 && errors.len() == 1 && errors[0].contains("ends within"), "{errors:?}");
        for header in ["99999999999 2\n", "2 99999999\n", "2 0\n", "x y\n", "2\n"] {
            let file = fixture::file("v.bin", &binary(header, &words, false));
            assert!(WordRecords::open(InputStream::open(&file.path).unwrap(), true, "").is_err(), "{header:?}");
        }
        let file = fixture::file("v.bin", &whole);
        assert_eq!(WordRecords::open(InputStream::open(&file.path).unwrap(), true, "").unwrap().dimension(), 2);
    }
}
