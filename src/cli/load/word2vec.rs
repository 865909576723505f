//! word2vec's files: `<words> <dimension>` on a line, then each word with its vector, as text or as binary.

use super::lines::{Lines, MAX_LINE};
use super::record::{At, Place, RecordError, Records};
use super::rows::check_dimension;
use super::source::{Fill, Source};
use crate::collection::{self, Item};
use crate::types::PointId;
use anyhow::{Context, bail};

/// Longest word, bytes; longer ones mean that the file is something else.
const MAX_WORD: usize = 4 << 10;

/// Words and dimension, if a line is the first of such a file.
pub(crate) fn parse_header(line: &str) -> Option<(u64, u64)> {
    let mut parts = line.split_whitespace();
    let header = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(header)
}

/// A word and its numbers, if a line is one of a text file of that dimension.
pub(crate) fn parse_line(line: &str, dimension: usize) -> Result<(&str, Vec<f32>), String> {
    let line = line.trim_end();
    // From behind, so that a word may hold spaces.
    let mut rest = line;
    let mut numbers = Vec::with_capacity(dimension.min(line.len()));
    for _ in 0..dimension {
        let Some((before, number)) = rest.rsplit_once([' ', '\t']) else {
            return Err(format!("a word and {dimension} numbers are needed, it has {} numbers", numbers.len()));
        };
        let value = number.parse::<f32>().ok().filter(|value| value.is_finite());
        numbers.push(
            value.ok_or_else(|| format!("{:?} is not a finite number", super::super::output::brief(number, 40)))?,
        );
        rest = before.trim_end();
    }
    numbers.reverse();
    if rest.is_empty() { Err("a line without a word".into()) } else { Ok((rest, numbers)) }
}

/// The words of a file; the id is the word.
pub(crate) struct WordRecords {
    body: Body,
    id_prefix: String,
    promised: u64,
    dimension: usize,
    record: u64,
    done: bool,
}

enum Body {
    Text(Lines),
    Binary(Source),
}

impl WordRecords {
    /// Reads the header.
    pub(crate) fn open(mut source: Source, binary: bool, id_prefix: &str) -> anyhow::Result<Self> {
        let path = source.path().clone();
        let line = source.until(b'\n', 64).with_context(|| path.display().to_string())?.unwrap_or_default();
        let header = std::str::from_utf8(&line).ok().and_then(parse_header);
        let Some((promised, dimension)) = header else {
            bail!("{}: its first line is not the number of words and the dimension", path.display());
        };
        let dimension = check_dimension(&path, dimension)?;
        if let Some(found) = source.content_bytes() {
            // The least a word takes: itself, a space, and its numbers (in text a digit and a space each).
            let least = promised.saturating_mul(2 + if binary { 4 } else { 2 } * dimension as u64 - u64::from(!binary));
            if found < least {
                bail!(
                    "{}: its first line promises {promised} words of {dimension} numbers, at least {least} bytes; the file has {found}",
                    path.display()
                );
            }
        }
        let body = if binary {
            Body::Binary(source)
        } else {
            // Again from the start, so that lines are counted from 1; the header is passed over.
            let mut lines = Lines::new(Source::open(&path)?, MAX_LINE);
            lines.next_line();
            Body::Text(lines)
        };
        Ok(Self { body, id_prefix: id_prefix.into(), promised, dimension, record: 0, done: false })
    }

    /// Components of its vectors.
    #[cfg(test)]
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    fn next_binary(source: &mut Source, dimension: usize, place: &Place) -> Result<(String, Vec<f32>), RecordError> {
        let fatal = |what: String| RecordError::fatal(place.clone(), what);
        let Some(word) = source.until(b' ', MAX_WORD).map_err(|error| fatal(error.to_string()))? else {
            return Err(fatal(format!("the file ends here, or the word has more than {MAX_WORD} bytes")));
        };
        let mut bytes = vec![0; dimension * 4];
        if source.fill(&mut bytes).map_err(|error| fatal(error.to_string()))? != Fill::Full {
            return Err(fatal("the file ends within this record".into()));
        }
        let numbers = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>();
        // Some writers end a record with a newline; it comes before the next word.
        let word = String::from_utf8(word).map(|word| word.trim_start_matches('\n').to_owned());
        let broken = |what: String| RecordError::record(place.clone(), what);
        let word = word.map_err(|_| broken("the word is not UTF-8".into()))?;
        if let Some(component) = numbers.iter().position(|x| !x.is_finite()) {
            return Err(broken(format!("component {component} is {}, it must be finite", numbers[component])));
        }
        Ok((word, numbers))
    }
}

impl Iterator for WordRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let place = match &self.body {
            Body::Text(lines) => lines.place(),
            Body::Binary(source) => source.place(At::Record(self.record)),
        };
        let promised = self.promised;
        let parsed = match &mut self.body {
            Body::Binary(_) if self.record == promised => return None,
            Body::Binary(source) => Self::next_binary(source, self.dimension, &place),
            Body::Text(lines) => loop {
                break match lines.next_line() {
                    Some(Ok(line)) if line.trim().is_empty() => continue,
                    Some(Ok(line)) => parse_line(line, self.dimension)
                        .map(|(word, numbers)| (word.to_owned(), numbers))
                        .map_err(|what| (false, what)),
                    Some(Err(error)) => Err((error.fatal, error.what)),
                    None if self.record < promised => {
                        let what =
                            format!("the file ends after {} words, its first line promises {promised}", self.record);
                        Err((true, what))
                    }
                    None => return None,
                }
                .map_err(|(fatal, what)| RecordError { place: lines.place(), what, fatal });
            },
        };
        self.record += 1;
        let place = match &self.body {
            Body::Text(lines) => lines.place(),
            Body::Binary(_) => place,
        };
        if parsed.as_ref().is_err_and(|error| error.fatal) {
            self.done = true;
        }
        Some(parsed.and_then(|(word, numbers)| {
            let id = PointId::new(format!("{}{word}", self.id_prefix))
                .map_err(|error| RecordError::record(place, error.to_string()))?;
            Ok(Item { id, source: collection::Source::Vector(numbers), payload: Default::default() })
        }))
    }
}

impl Records for WordRecords {
    fn bytes_read(&self) -> u64 {
        match &self.body {
            Body::Text(lines) => lines.source().bytes_read(),
            Body::Binary(source) => source.bytes_read(),
        }
    }
    fn bytes_total(&self) -> u64 {
        match &self.body {
            Body::Text(lines) => lines.source().bytes_total(),
            Body::Binary(source) => source.bytes_total(),
        }
    }
    fn place(&self) -> Place {
        match &self.body {
            Body::Text(lines) => lines.place(),
            Body::Binary(source) => source.place(At::Record(self.record.saturating_sub(1))),
        }
    }
    fn rows_seen(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::fixture::{self, gzip};
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
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["king", "new york"]);
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].contains("line 3: a word and 2 numbers are needed, it has 1"), "{errors:?}");
        assert!(errors[1].contains("line 4: \"nan\" is not a finite number"), "{errors:?}");
        assert!(errors[2].contains("ends after 4 words, its first line promises 5"), "{errors:?}");
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
            assert!(WordRecords::open(Source::open(&file.path).unwrap(), true, "").is_err(), "{header:?}");
        }
        let file = fixture::file("v.bin", &whole);
        assert_eq!(WordRecords::open(Source::open(&file.path).unwrap(), true, "").unwrap().dimension(), 2);
    }
}
