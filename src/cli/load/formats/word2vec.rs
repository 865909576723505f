//! Reader of word2vec files: `<words> <dimension>` on a line, then each word with its vector, as text or as binary.
//! Lines, words and their spelling are read as by `import words`.

use crate::api::{Item, PointInput};
use crate::cli::load::input_stream::InputStream;
use crate::cli::load::record::{FilePosition, RecordError, RecordPosition, Records};
use crate::embed::formats::word2vec::{Format, Reader, WordError};
use crate::embed::words::spelling::{AcceptedWords, Notes};
use crate::types::{MAX_DIMENSION, PointId};

/// The words of a file; the id is the word.
pub(crate) struct WordRecords {
    reader: Reader<InputStream>,
    id_prefix: String,
    record: u64,
    accepted: AcceptedWords,
    done: bool,
}

impl WordRecords {
    /// Reads the header.
    pub(crate) fn open(input: InputStream, binary: bool, id_prefix: &str) -> anyhow::Result<Self> {
        let (path, bytes) = (input.path().clone(), input.content_bytes());
        let format = if binary { Format::Binary } else { Format::Text };
        let reader = Reader::new(&path, input, format, bytes, MAX_DIMENSION as usize)?;
        Ok(Self { reader, id_prefix: id_prefix.into(), record: 0, accepted: AcceptedWords::default(), done: false })
    }

    /// Returns the number of vector components.
    #[cfg(test)]
    pub(crate) fn dimension(&self) -> usize {
        self.reader.dimension()
    }

    /// Returns the position of a record: its line in a text file.
    fn position_of(&self, record: u64) -> FilePosition {
        let at = match self.reader.format() {
            Format::Text => RecordPosition::Line(self.reader.line()),
            Format::Binary => RecordPosition::Record(record),
        };
        self.reader.input().file_position(at)
    }
}

impl Iterator for WordRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.reader.next_word();
        let position = self.position_of(self.record);
        self.done = !matches!(next, Ok(Some(_)) | Err(WordError::Malformed(_)));
        let (word, numbers) = match next {
            Ok(vector) => vector?,
            Err(error) => {
                self.record += 1;
                return Some(Err(match error {
                    WordError::Malformed(what) => RecordError::record(position, what),
                    WordError::Fatal(what) => RecordError::fatal(position, what),
                    WordError::Io(error) => RecordError::fatal(position, error.to_string()),
                }));
            }
        };
        self.record += 1;
        Some(
            self.accepted
                .accept(&word)
                .map_err(|reason| reason.to_string())
                .and_then(|word| {
                    let id = PointId::new(format!("{}{word}", self.id_prefix)).map_err(|error| error.to_string())?;
                    Ok(Item {
                        id,
                        source: PointInput::Vector(numbers),
                        payload: Default::default(),
                        vectors: Default::default(),
                    })
                })
                .map_err(|what| RecordError::record(position, what)),
        )
    }
}

impl Records for WordRecords {
    fn bytes_read(&self) -> u64 {
        self.reader.input().bytes_read()
    }
    fn bytes_total(&self) -> u64 {
        self.reader.input().bytes_total()
    }
    fn file_position(&self) -> FilePosition {
        self.position_of(self.record.saturating_sub(1))
    }
    fn rows_seen(&self) -> u64 {
        0
    }
    fn note(&self) -> Option<String> {
        let words = self.reader.words();
        let word_counts = (self.done && self.record != words).then_some((words, self.record));
        word_counts.map(|_| Notes { word_counts, ..Notes::default() }.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PointInput;
    use crate::cli::load::formats::fixture::{self, gzip};

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
        assert_eq!(
            seen,
            [("king", PointInput::Vector(vec![0.5, -1.0])), ("queen", PointInput::Vector(vec![2.0, 3.0]))]
        );
    }

    #[test]
    fn text_and_binary_are_detected_and_read() {
        let words: [(&str, &[f32]); 2] = [("king", &[0.5, -1.0]), ("queen", &[2.0, 3.0])];
        check(b"2 2\nking 0.5 -1\nqueen 2 3\n");
        check(&binary("2 2\n", &words, false));
        check(&binary("2 2\n", &words, true));
        check(&gzip(&binary("2 2\n", &words, true)));
    }

    #[test]
    fn invalid_lines_are_skipped_and_missing_ones_reported() {
        let file = fixture::file("v.vec", b"5 2\nking 0.5 -1\nqueen 2\nman 1 nan\nnew york 1 2\n");
        let (items, errors) = fixture::items(&file.path);
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["king", "new_york"]);
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert_eq!(fixture::note(&file.path).unwrap(), "the first line declares 5 words, the file has 4");
        assert!(errors[0].contains("line 3: a word and 2 numbers are needed, it has 1"), "{errors:?}");
        assert!(errors[1].contains("line 4: \"nan\" is not a finite number"), "{errors:?}");
    }

    #[test]
    fn a_word_too_long_for_an_id_is_reported_with_its_line() {
        let long = "w".repeat(129);
        let file = fixture::file("v.vec", format!("3 2\nking 1 2\n{long} 1 2\nqueen 1 2\n").as_bytes());
        let (items, errors) = fixture::items(&file.path);
        assert_eq!(items.len(), 2);
        assert!(errors.len() == 1 && errors[0].contains("line 3: "), "{errors:?}");
    }

    #[test]
    fn unusual_words_are_normalized_or_skipped_and_a_false_count_is_noted() {
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
        for (header, noted) in [("1 2\n", true), ("2 2\n", false), ("3 2\n", true)] {
            for bytes in [
                binary(header, &two, true),
                binary(header, &two, false),
                [header.as_bytes(), b"king 1 2\nqueen 1 2\n"].concat(),
            ] {
                assert_eq!(ids("v", &bytes), (vec!["king".to_owned(), "queen".to_owned()], vec![]), "{header}");
                assert_eq!(fixture::note(&fixture::file("v", &bytes).path).is_some(), noted, "{header}");
            }
        }
        let (ids, errors) = ids("v.vec", b"3 2\nking 1 2\ncaf\xe9 1 2\nqueen 1 2\n");
        assert_eq!(ids, ["king", "queen"]);
        assert!(errors.len() == 1 && errors[0].contains("line 3: the word is not UTF-8"), "{errors:?}");
    }

    #[test]
    fn a_truncated_binary_file_and_false_headers_are_reported() {
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
