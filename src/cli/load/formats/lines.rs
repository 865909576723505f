//! Reader of plain text: one item per line. Empty lines are skipped, but counted for the line numbers of messages.

use crate::api::{Item, Payload, PointInput};
use crate::cli::load::input_stream::{InputStream, Line};
use crate::cli::load::record::{FilePosition, RecordError, RecordPosition, Records, content_id};
use crate::types::PointId;

/// Maximum length of a line of text, bytes.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// The lines of a file, numbered, limited in length, and decoded as UTF-8; used by every text format.
pub(crate) struct Lines {
    input: InputStream,
    max: usize,
    number: u64,
    line: Vec<u8>,
    done: bool,
}

impl Lines {
    pub(crate) fn new(input: InputStream, max: usize) -> Self {
        Self { input, max, number: 0, line: Vec::new(), done: false }
    }

    /// Returns the next line, without its end; none after the last, and after a fatal error.
    pub(crate) fn next_line(&mut self) -> Option<Result<&str, RecordError>> {
        if let Err(error) = self.read_line()? {
            return Some(Err(error));
        }
        Some(std::str::from_utf8(self.bytes()).map_err(|error| {
            RecordError::record(self.file_position(), format!("invalid UTF-8 at byte {}", error.valid_up_to()))
        }))
    }

    /// Returns the last line, without a byte order mark.
    fn bytes(&self) -> &[u8] {
        match self.line.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if self.number == 1 => rest,
            _ => &self.line,
        }
    }

    /// Reads the next line into `line`.
    fn read_line(&mut self) -> Option<Result<(), RecordError>> {
        if self.done {
            return None;
        }
        self.number += 1;
        match self.input.line(&mut self.line, self.max) {
            Ok(Line::Text) => {}
            Ok(Line::TooLong) => {
                let what = format!("a line of more than {} bytes", self.max);
                return Some(Err(RecordError::record(self.file_position(), what)));
            }
            Ok(Line::End) => {
                self.done = true;
                self.number -= 1;
                return None;
            }
            Err(error) => {
                self.done = true;
                return Some(Err(RecordError::fatal(self.file_position(), error.to_string())));
            }
        }
        Some(Ok(()))
    }

    /// Returns the position of the last line.
    pub(crate) fn file_position(&self) -> FilePosition {
        self.input.file_position(RecordPosition::Line(self.number))
    }

    /// Returns the underlying stream.
    pub(crate) fn input(&self) -> &InputStream {
        &self.input
    }
}

/// Each line as a text; the id is a prefix with a hash of it.
pub(crate) struct TextRecords {
    lines: Lines,
    id_prefix: String,
}

impl TextRecords {
    pub(crate) fn new(input: InputStream, id_prefix: &str) -> Self {
        Self { lines: Lines::new(input, MAX_LINE), id_prefix: id_prefix.into() }
    }
}

impl Iterator for TextRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let text = match self.lines.next_line()? {
                Ok(line) => line.trim().to_owned(),
                Err(error) => return Some(Err(error)),
            };
            if text.is_empty() {
                continue;
            }
            let (source, payload) = (PointInput::Text(text), Payload::new());
            return Some(match PointId::new(content_id(&self.id_prefix, &source, &payload)) {
                Ok(id) => Ok(Item { id, source, payload, vectors: Default::default() }),
                Err(error) => Err(RecordError::record(self.lines.file_position(), error.to_string())),
            });
        }
    }
}

impl Records for TextRecords {
    fn bytes_read(&self) -> u64 {
        self.lines.input().bytes_read()
    }
    fn bytes_total(&self) -> u64 {
        self.lines.input().bytes_total()
    }
    fn file_position(&self) -> FilePosition {
        self.lines.file_position()
    }
    fn rows_seen(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::load::formats::fixture::{self, gzip};

    #[test]
    fn the_id_of_a_line_depends_only_on_its_text() {
        let of = |text: &str| {
            let file = fixture::file("a.txt", text.as_bytes());
            fixture::items(&file.path).0.into_iter().map(|item| item.id.to_string()).collect::<Vec<_>>()
        };
        let (one, other) = (of("a storm\na ship\n"), of("a lamp\n\n a ship \na storm\n"));
        assert!(one[0].len() == 24 && one[0] != one[1], "{one:?}");
        assert_eq!((&one[0], &one[1]), (&other[2], &other[1]), "on any line");
        assert!(!one.contains(&other[0]));
    }

    #[test]
    fn a_line_is_an_item() {
        let file = fixture::file("a.txt", "\u{feff}first\r\n\n third \n".as_bytes());
        let (items, errors) = fixture::items(&file.path);
        let seen = items.iter().map(fixture::text).collect::<Vec<_>>();
        assert_eq!(seen, ["first", "third"]);
        assert!(errors.is_empty());
    }

    #[test]
    fn invalid_utf8_is_reported_with_its_line_and_skipped() {
        let file = fixture::file("a.txt", b"good\nbad \xff\xfe\ngood again, and long enough to be text\n");
        let (items, errors) = fixture::items(&file.path);
        assert_eq!(items.len(), 2);
        assert!(errors.len() == 1 && errors[0].contains("line 2: invalid UTF-8 at byte 4"), "{errors:?}");
    }

    #[test]
    fn a_truncated_gzip_file_is_read_up_to_its_end() {
        let text = (0..20_000_u32).map(|i| format!("line {}\n", i.wrapping_mul(2_654_435_761))).collect::<String>();
        let whole = gzip(text.as_bytes());
        let file = fixture::file("a.txt.gz", &whole[..whole.len() / 2]);
        let (items, errors) = fixture::items(&file.path);
        assert!(items.len() > 100 && items.len() < 20_000, "{}", items.len());
        assert!(errors.len() == 1 && errors[0].contains("gzip stream is truncated"), "{errors:?}");
    }
}
