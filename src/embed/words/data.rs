//! Reading text: files that are plain, gzip or zstd, or standard input, line after line, as a stream.
//!
//! WikiExtractor's `<doc ...>` and `</doc>` lines are left out, unless they are asked for.

use crate::embed::Error;
use crate::embed::packed::{self, Packing};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

/// Longest word that a vocabulary takes, bytes; longer runs of letters are left out.
pub const MAX_WORD_BYTES: usize = 128;
/// The path that means standard input.
pub const STANDARD_INPUT: &str = "-";
/// Longest stretch of a line that is held at once; a longer line is treated as several.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Bytes read at once.
const BUFFER: usize = 1 << 16;

/// Opens a file that is plain, gzip or zstd, which its first bytes tell: what is in it, and whether it was packed.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn open_unpacked(path: &Path) -> Result<(Box<dyn BufRead>, bool), Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    unpack(Box::new(File::open(path).map_err(failed)?)).map_err(failed)
}

/// What is in a stream that is plain, gzip or zstd, and whether it was packed.
fn unpack(packed: Box<dyn Read + Send>) -> io::Result<(Box<dyn BufRead>, bool)> {
    let (content, packing) = packed::unpack(BufReader::with_capacity(BUFFER, packed))?;
    Ok((content, packing != Packing::Plain))
}

/// Calls `visit` with every line of a text file (plain, gzip or zstd) that is text; bytes that are not UTF-8 become
/// U+FFFD, which separates words.
///
/// # Errors
/// [`Error::Io`], and what `visit` gives.
pub fn for_each_line(path: &Path, visit: &mut dyn FnMut(&str)) -> Result<(), Error> {
    lines(path, open_unpacked(path)?.0, &mut |line| {
        if !is_tag(line) {
            visit(line);
        }
        Ok(())
    })
}

/// The same with the lines `<doc ...>` and `</doc>`.
///
/// # Errors
/// [`Error::Io`], and what `visit` gives.
pub(in crate::embed) fn for_each_line_or_tag(
    path: &Path,
    visit: &mut dyn FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    lines(path, open_unpacked(path)?.0, visit)
}

fn is_tag(line: &str) -> bool {
    line.starts_with("<doc ") || line.starts_with("</doc>")
}

/// What a line `<doc id="..." url="..." title="...">` says of `key`.
pub fn attribute(line: &str, key: &str) -> Option<String> {
    let start = line.find(&format!(" {key}=\""))? + key.len() + 3;
    let rest = &line[start..];
    // A title may hold a bare quotation mark: its value goes up to the end of the tag.
    let end = if key == "title" { rest.rfind("\">").or_else(|| rest.find('"'))? } else { rest.find('"')? };
    Some(unescape(&rest[..end]))
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The same for a stream, packed or not; `path` is for messages.
///
/// # Errors
/// [`Error::Io`], and what `visit` gives.
pub(super) fn for_each_line_of(
    path: &Path,
    packed: Box<dyn Read + Send>,
    visit: &mut dyn FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let (unpacked, _) = unpack(packed).map_err(|source| Error::Io { path: path.into(), source })?;
    lines(path, unpacked, &mut |line| if is_tag(line) { Ok(()) } else { visit(line) })
}

fn lines(
    path: &Path,
    mut reader: Box<dyn BufRead>,
    visit: &mut dyn FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        visit(&String::from_utf8_lossy(&line))?;
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

    fn gzip(text: &str) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn how_a_file_is_packed_is_told_from_its_content() {
        let text = "<doc id=\"1\">\nA cat\n\na dog</doc>\n</doc>\nthe end\n";
        let expected = "A cat\n\na dog</doc>\nthe end\n";
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        for packed in [text.as_bytes().to_vec(), gzip(text), zstd.clone()] {
            assert_eq!(read(&packed).unwrap(), expected);
        }
        // Several streams in one file are one text; a frame that is to be skipped is.
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
        assert_eq!(read(b"caf\xff bar").unwrap(), "caf\u{fffd} bar");
    }
}
