//! Splitter for JSON values that are not one per line: elements of an array, or consecutive values.

use crate::cli::load::input_stream::InputStream;
use crate::cli::load::record::{FilePosition, RecordError, RecordPosition};

/// The values of a stream; holds one at a time.
pub(crate) struct Values {
    input: InputStream,
    max: usize,
    value: Vec<u8>,
    /// Line of the byte read next, from 1.
    line: u64,
    /// Line on which the last value begins.
    begin: u64,
    /// Lookahead: a byte that was read and belongs to the next value.
    ahead: Option<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Within an array; whether a comma must precede the next element.
    Array {
        comma: bool,
    },
    /// Consecutive values.
    Sequence,
    /// After the array.
    After,
    Done,
}

impl Values {
    /// Creates a splitter for values of at most `max` bytes each.
    pub(crate) fn new(input: InputStream, max: usize) -> Self {
        Self { input, max, value: Vec::new(), line: 1, begin: 1, ahead: None, state: State::Start }
    }

    /// Returns the position where the last value begins.
    pub(crate) fn file_position(&self) -> FilePosition {
        self.input.file_position(RecordPosition::Line(self.begin))
    }

    /// Returns the underlying stream.
    pub(crate) fn input(&self) -> &InputStream {
        &self.input
    }

    /// Returns the bytes of the next value; none after the last, and after a fatal error.
    pub(crate) fn next_value(&mut self) -> Option<Result<&[u8], RecordError>> {
        match self.advance() {
            Ok(true) if self.value.len() > self.max => {
                let what = format!("an object of more than {} bytes", self.max);
                Some(Err(RecordError::record(self.file_position(), what)))
            }
            Ok(true) => Some(Ok(&self.value)),
            Ok(false) => {
                self.state = State::Done;
                None
            }
            Err(what) => {
                self.state = State::Done;
                Some(Err(RecordError::fatal(self.input.file_position(RecordPosition::Line(self.line)), what)))
            }
        }
    }

    fn byte(&mut self) -> Result<Option<u8>, String> {
        let byte = match self.ahead.take() {
            Some(byte) => Some(byte),
            None => self.input.byte().map_err(|error| error.to_string())?,
        };
        self.line += u64::from(byte == Some(b'\n'));
        Ok(byte)
    }

    fn put_back(&mut self, byte: u8) {
        self.line -= u64::from(byte == b'\n');
        self.ahead = Some(byte);
    }

    /// Reads the next value; false at a proper end.
    fn advance(&mut self) -> Result<bool, String> {
        self.value.clear();
        loop {
            if self.state == State::Done {
                return Ok(false);
            }
            let Some(byte) = self.byte()? else {
                return match self.state {
                    State::Array { .. } => Err("the file ends within its array: a ] is missing".into()),
                    _ => Ok(false),
                };
            };
            // A byte order mark is white space at the start.
            let mark = self.state == State::Start && matches!(byte, 0xef | 0xbb | 0xbf);
            if byte.is_ascii_whitespace() || mark {
                continue;
            }
            match (self.state, byte) {
                (State::After, _) => return Err("text follows the end of the array".into()),
                (State::Start, b'[') => self.state = State::Array { comma: false },
                (State::Array { .. }, b']') => self.state = State::After,
                (State::Array { comma: true }, b',') => self.state = State::Array { comma: false },
                (State::Array { comma: true }, _) => return Err("a comma is missing between two elements".into()),
                (State::Array { comma: false }, b',') => return Err("an element is missing before a comma".into()),
                (state, byte) => {
                    self.begin = self.line;
                    self.state = match state {
                        State::Array { .. } => State::Array { comma: true },
                        _ => State::Sequence,
                    };
                    self.take(byte)?;
                    return Ok(true);
                }
            }
        }
    }

    /// Appends a byte to the value, or only records that the value is too long.
    fn keep(&mut self, byte: u8) {
        if self.value.len() <= self.max {
            self.value.push(byte);
        }
    }

    /// Reads the rest of the value that begins with `first`.
    fn take(&mut self, first: u8) -> Result<(), String> {
        self.keep(first);
        let (mut depth, mut in_string, mut escaped) = (u64::from(matches!(first, b'{' | b'[')), first == b'"', false);
        let scalar = depth == 0 && !in_string;
        loop {
            if depth == 0 && !in_string && !scalar {
                return Ok(());
            }
            let Some(byte) = self.byte()? else {
                return if scalar {
                    Ok(())
                } else {
                    Err(format!("the file ends within the value of line {}", self.begin))
                };
            };
            if scalar && (byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}' | b'{' | b'[' | b'"')) {
                self.put_back(byte);
                return Ok(());
            }
            self.keep(byte);
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
            } else if !scalar {
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::formats::fixture;

    /// Returns the values with their lines, and the errors.
    fn read(text: &str) -> Vec<Result<(u64, String), String>> {
        let file = fixture::file("a.json", text.as_bytes());
        let mut values = Values::new(InputStream::open(&file.path).unwrap(), 20);
        let mut all = Vec::new();
        while let Some(next) = values.next_value() {
            let next = next.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).map_err(|error| error.to_string());
            all.push(next.map(|text| (values.begin, text)));
        }
        all
    }

    fn value(line: u64, text: &str) -> Result<(u64, String), String> {
        Ok((line, text.to_owned()))
    }

    #[test]
    fn elements_of_an_array_are_returned_with_their_lines() {
        let found = read("\u{feff}[\n {\"a\": \"]},\\\"\"},\n\n {\"b\":\n [1]}, 7 ]\n");
        assert_eq!(found, [value(2, "{\"a\": \"]},\\\"\"}"), value(4, "{\"b\":\n [1]}"), value(5, "7")]);
        assert_eq!(read("[]"), []);
        assert_eq!(read("{\"a\":1}\n{\n}{}"), [value(1, "{\"a\":1}"), value(2, "{\n}"), value(3, "{}")]);
    }

    #[test]
    fn a_syntax_error_ends_the_file_and_a_long_element_is_skipped() {
        for (text, part) in [
            ("[{}", "a ] is missing"),
            ("[{} {}]", "a comma is missing"),
            ("[{},,{}]", "an element is missing"),
            ("[{}] x", "follows the end"),
            ("[{\"a\": 1", "ends within the value of line 1"),
        ] {
            let last = read(text).pop().unwrap().unwrap_err();
            assert!(last.contains(part), "{text}: {last}");
        }
        let found = read(&format!("[{{\"a\": \"{}\"}}, {{}}]", "x".repeat(50)));
        assert!(found[0].as_ref().unwrap_err().contains("more than 20 bytes"), "{found:?}");
        assert_eq!(found[1], value(1, "{}"));
    }
}
