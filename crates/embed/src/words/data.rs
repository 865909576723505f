//! Text input: plain, gzip or zstd files, or standard input, streamed line by line.
//!
//! WikiExtractor's `<doc ...>` and `</doc>` lines are skipped, unless the caller requests them.

use crate::Error;
use crate::formats::{compressed, wiki::is_tag};
use std::{
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

/// Maximum length of a vocabulary word, in bytes; longer runs of letters are skipped.
pub(crate) const MAX_WORD_BYTES: usize = 128;
/// The path that denotes standard input.
pub const STANDARD_INPUT: &str = "-";
/// Maximum part of a line held in memory; a longer line is split.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// A file counts as text while at most 1/4 of its characters are control characters or not UTF-8.
const MIN_CHARACTERS_PER_INVALID: usize = 4;
/// Characters read before a file is judged.
const MIN_CHARACTERS_TO_JUDGE: usize = 4_096;
/// Bytes per read.
const BUFFER: usize = 1 << 16;

/// Calls `visit` with every line of a text file (plain, gzip or zstd); invalid UTF-8 becomes U+FFFD, which separates
/// words.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] for a file that is not UTF-8 text.
pub fn for_each_line(path: &Path, visit: &mut dyn FnMut(&str)) -> Result<(), Error> {
    lines(path, compressed::open(path)?.0, &mut |line| {
        if !is_tag(line) {
            visit(line);
        }
        Ok(())
    })
}

/// Like [`for_each_line`], including the lines `<doc ...>` and `</doc>`.
///
/// # Errors
/// [`Error::Io`], and errors of `visit`.
pub(crate) fn for_each_line_or_tag(path: &Path, visit: &mut dyn FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
    lines(path, compressed::open(path)?.0, visit)
}

/// Strips a leading byte order mark.
pub(crate) fn strip_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Skips a byte order mark.
pub(super) fn skip_bom(input: &mut dyn BufRead) -> io::Result<()> {
    let mark = input.fill_buf()?.starts_with(b"\xef\xbb\xbf");
    input.consume(if mark { 3 } else { 0 });
    Ok(())
}

/// Character statistics of a file, which determine whether it is text.
#[derive(Default)]
struct CharacterStats {
    characters: usize,
    /// Control characters and invalid UTF-8.
    invalid: usize,
}

impl CharacterStats {
    /// Counts the characters of a line.
    fn line(&mut self, bytes: &[u8], text: &str) {
        self.characters += text.chars().count();
        self.invalid += bytes.iter().filter(|byte| is_control(**byte)).count();
        if !text.is_ascii() {
            self.invalid += text.matches('\u{fffd}').count();
        }
    }

    /// Returns whether the file is text. Text in single-byte Latin encodings, with few invalid characters, is accepted.
    fn is_text(&self) -> bool {
        self.invalid * MIN_CHARACTERS_PER_INVALID <= self.characters
    }
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1b)
}

/// Returns the error for a file that is not UTF-8 text.
fn not_text(path: &Path, what: &str) -> Error {
    Error::Corrupt {
        path: path.into(),
        what: format!("{what}; text must be UTF-8, plain, gzip or zstd (convert it: iconv -f UTF-16 -t UTF-8)"),
    }
}

/// Like [`for_each_line_or_tag`], for a stream, compressed or not; `path` is for messages.
///
/// # Errors
/// [`Error::Io`], and errors of `visit`.
pub(super) fn for_each_line_of(
    path: &Path,
    compressed: impl Read + Send,
    visit: &mut dyn FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let input = BufReader::with_capacity(BUFFER, compressed);
    let (content, _) = compressed::decompress(input).map_err(|source| Error::Io { path: path.into(), source })?;
    lines(path, content, &mut |line| if is_tag(line) { Ok(()) } else { visit(line) })
}

fn lines(path: &Path, mut reader: impl BufRead, visit: &mut dyn FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let head = reader.fill_buf().map_err(failed)?;
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return Err(not_text(path, "the text is UTF-16"));
    }
    skip_bom(&mut reader).map_err(failed)?;
    let (mut line, mut stats) = (Vec::new(), CharacterStats::default());
    loop {
        line.clear();
        let end = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(failed)? == 0;
        let text = String::from_utf8_lossy(&line);
        stats.line(&line, &text);
        if (end || stats.characters >= MIN_CHARACTERS_TO_JUDGE) && !stats.is_text() {
            let CharacterStats { characters, invalid } = stats;
            let what = format!("{invalid} of its first {characters} characters are control characters or not UTF-8");
            return Err(not_text(path, &what));
        }
        if end {
            return Ok(());
        }
        visit(&text)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8]) -> Result<String, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, bytes).unwrap();
        let mut text = String::new();
        for_each_line(&path, &mut |line| text.push_str(line))?;
        Ok(text)
    }

    #[test]
    fn text_that_is_not_utf_8_is_refused_with_the_remedy() {
        let text = "alpha beta gamma\nδέλτα übermut\n".repeat(500);
        let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let mut random = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        })
        .take(50_000)
        .collect();
        let late = [&b"plain words\n".repeat(2_000)[..], &noise].concat();
        let utf16_le = utf16(u16::to_le_bytes);
        for (what, bytes) in [
            ("UTF-16 with a mark", [&[0xff, 0xfe][..], &utf16_le].concat()),
            ("UTF-16 with a mark", [&[0xfe, 0xff][..], &utf16(u16::to_be_bytes)].concat()),
            ("UTF-16", utf16_le.clone()),
            ("UTF-16, short", utf16_le[..20].to_vec()),
            ("noise", noise.clone()),
            ("noise, short", noise[..200].to_vec()),
            ("noise after text", late),
            ("noise, packed", zstd::encode_all(&noise[..], 1).unwrap()),
        ] {
            let error = read(&bytes).expect_err(what).to_string();
            assert!(error.contains("UTF-8") && error.contains("iconv"), "{what}: {error}");
        }
        // Text in a Western encoding has few characters of invalid UTF-8.
        assert!(read(&b"les \xe9l\xe8ves fran\xe7ais \xe9coutent la musique\n".repeat(500)).is_ok());
        assert!(read("漢字 かな\n".repeat(2_000).as_bytes()).is_ok());
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn compression_is_detected_from_the_content() {
        let text = "<doc id=\"1\">\nA cat\n\na dog</doc>\n</doc>\nthe end\n";
        let expected = "A cat\n\na dog</doc>\nthe end\n";
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        for packed in [text.as_bytes().to_vec(), gzip(text), zstd.clone()] {
            assert_eq!(read(&packed).unwrap(), expected);
        }
        // Concatenated streams are one text; skippable frames are skipped.
        assert_eq!(read(&[gzip("one\n"), gzip("two")].concat()).unwrap(), "one\ntwo");
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9][..], &zstd, &zstd].concat();
        assert_eq!(read(&skipped).unwrap(), expected.repeat(2));
        for whole in [gzip(text), zstd] {
            assert!(matches!(read(&whole[..whole.len() - 5]), Err(Error::Io { .. })), "a cut file is an error");
        }
        assert_eq!(read(&[gzip("one"), vec![0; 512]].concat()).unwrap(), "one");
        assert!(
            read(&[gzip("one"), b"more".to_vec()].concat())
                .is_err_and(|error| format!("{error:?}").contains("other bytes"))
        );
        assert_eq!(read(b"").unwrap(), "");
        assert_eq!(read("\u{feff}one\r\ntwo".as_bytes()).unwrap(), "one\r\ntwo", "the byte order mark is skipped");
        assert_eq!(read(b"caf\xff bar").unwrap(), "caf\u{fffd} bar");
    }
}
