//! Which format a file has: told from its first bytes and its length; the name only breaks ties.

use super::source::{Fill, HEAD_BYTES, Source};
use crate::embed::words::word2vec;
use crate::types::MAX_DIMENSION;
use anyhow::{Context, bail};
use clap::ValueEnum;
use std::path::Path;

/// The formats that `load` and `bench` read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text, one item a line.
    Text,
    /// WikiExtractor, one item a paragraph.
    Wiki,
    /// JSON lines.
    Jsonl,
    /// IDX images.
    Idx,
    /// A folder of images, or one image.
    Images,
    /// NumPy.
    Npy,
    /// Vectors of 32-bit floats, each behind its dimension.
    Fvecs,
    /// Vectors of bytes, each behind its dimension.
    Bvecs,
    /// Vectors of 32-bit floats behind their number and dimension.
    Fbin,
    /// Vectors of bytes behind their number and dimension.
    U8bin,
    /// word2vec, text.
    Word2vec,
    /// word2vec, binary.
    Word2vecBinary,
}

impl Format {
    /// For messages: "is ...".
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Wiki => "a WikiExtractor file",
            Self::Jsonl => "a file of JSON lines",
            Self::Idx => "an IDX file",
            Self::Images => "images",
            Self::Npy => "an npy file",
            Self::Fvecs => "an fvecs file",
            Self::Bvecs => "a bvecs file",
            Self::Fbin => "an fbin file",
            Self::U8bin => "a u8bin file",
            Self::Word2vec => "a word2vec text file",
            Self::Word2vecBinary => "a word2vec binary file",
        }
    }
}

/// The format of a file or folder.
pub(crate) fn detect(path: &Path) -> anyhow::Result<Format> {
    if path.is_dir() {
        return Ok(Format::Images);
    }
    let mut source = Source::open(path)?;
    let mut length = source.content_bytes();
    let head = match source.head(HEAD_BYTES) {
        Ok(head) => {
            if head.len() < HEAD_BYTES {
                // All of it was seen, so its length is known behind gzip too.
                length = Some(head.len() as u64);
            }
            head
        }
        // A stream that is cut before the head ends: what there is of it may do.
        Err(error) => {
            let mut source = Source::open(path)?;
            let mut head = Vec::new();
            let mut byte = [0];
            while matches!(source.fill(&mut byte), Ok(Fill::Full)) {
                head.push(byte[0]);
            }
            if head.is_empty() {
                return Err(error).with_context(|| format!("{}: cannot be read", path.display()));
            }
            head
        }
    };
    if head.is_empty() {
        bail!("{}: the file is empty", path.display());
    }
    let name = Name::of(path);
    if name == Some(Name::Neighbours) {
        bail!("{}: a list of neighbours, not of vectors; `bench --truth` reads it", path.display());
    }
    if let Some(format) = by_magic(&head) {
        return Ok(format);
    }
    if let Some(format) = text(&head) {
        return Ok(format);
    }
    let candidates = vectors(&head, length);
    let named = match name {
        Some(Name::Vectors(format)) => Some(format),
        _ => None,
    };
    match (candidates.as_slice(), named) {
        ([format], None) => Ok(*format),
        // The name decides between several, and where damage hides what the content is.
        (_, Some(format)) => {
            Ok(if let ([one], false) = (candidates.as_slice(), candidates.contains(&format)) { *one } else { format })
        }
        ([], None) => bail!("{}: the content does not tell its format; name it with --format", path.display()),
        (several, None) => bail!(
            "{}: could be {}; name it with --format",
            path.display(),
            several.iter().map(|format| format.about()).collect::<Vec<_>>().join(" or ")
        ),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Vectors(Format),
    Neighbours,
}

impl Name {
    /// What the ending says, an outer `.gz` set aside.
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "fvecs" => Some(Self::Vectors(Format::Fvecs)),
            "bvecs" => Some(Self::Vectors(Format::Bvecs)),
            "fbin" => Some(Self::Vectors(Format::Fbin)),
            "u8bin" => Some(Self::Vectors(Format::U8bin)),
            "npy" => Some(Self::Vectors(Format::Npy)),
            "ivecs" | "ibin" => Some(Self::Neighbours),
            _ => None,
        }
    }
}

fn by_magic(head: &[u8]) -> Option<Format> {
    let image = head.starts_with(b"\x89PNG\r\n\x1a\n")
        || head.starts_with(&[0xff, 0xd8, 0xff])
        || (head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP"))
        || is_bmp(head);
    if image {
        Some(Format::Images)
    } else if head.starts_with(b"\x93NUMPY") {
        Some(Format::Npy)
    } else if let [0, 0, 0x08 | 0x09 | 0x0b..=0x0e, 1..=4, ..] = head {
        Some(Format::Idx)
    } else {
        None
    }
}

/// `BM`, and reserved bytes of zero, so that a text that starts with BM is none.
fn is_bmp(head: &[u8]) -> bool {
    head.starts_with(b"BM") && head.get(6..10) == Some(&[0; 4])
}

/// The text formats, and word2vec, which starts with a line of text.
fn text(head: &[u8]) -> Option<Format> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let end = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    if let Some((words, dimension)) = word2vec::sizes(&head[..end]) {
        let body = head.get(end + 1..).unwrap_or_default();
        if words > 0 && (1..=u64::from(MAX_DIMENSION)).contains(&dimension) && !body.is_empty() {
            let mut lines = body.split(|byte| *byte == b'\n');
            if lines.next().is_some_and(|line| word2vec::text_line(line, dimension as usize).is_ok()) {
                return Some(Format::Word2vec);
            }
            if !looks_like_text(body) {
                return Some(Format::Word2vecBinary);
            }
        }
    }
    if !looks_like_text(head) {
        return None;
    }
    let start = head.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    if head[start..].starts_with(b"<doc ") {
        Some(Format::Wiki)
    } else if head.get(start) == Some(&b'{') {
        Some(Format::Jsonl)
    } else {
        Some(Format::Text)
    }
}

/// No control characters but those of text, and at most one character in ten that is not UTF-8.
fn looks_like_text(bytes: &[u8]) -> bool {
    let control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x0c | 0x1b);
    if bytes.iter().any(control) {
        return false;
    }
    let text = String::from_utf8_lossy(bytes);
    let broken = text.chars().filter(|c| *c == '\u{fffd}').count();
    broken <= 1 || broken * 10 <= text.chars().count()
}

/// The vector formats whose headers fit the length and one another.
fn vectors(head: &[u8], length: Option<u64>) -> Vec<Format> {
    let number = |place: usize| Some(u64::from(u32::from_le_bytes(head.get(place..place + 4)?.try_into().ok()?)));
    let plausible = |dimension: u64| (1..=u64::from(MAX_DIMENSION)).contains(&dimension);
    let mut found = Vec::new();
    if let Some(dimension) = number(0).filter(|dimension| plausible(*dimension)) {
        for (format, bytes) in [(Format::Fvecs, 4), (Format::Bvecs, 1)] {
            let stride = 4 + dimension * bytes;
            let fits = length.is_none_or(|length| length % stride == 0);
            let again =
                (0..).map(|record| (record * stride) as usize).map_while(number).all(|header| header == dimension);
            if fits && again {
                found.push(format);
            }
        }
    }
    if let (Some(rows), Some(dimension)) = (number(0), number(4)) {
        for (format, bytes) in [(Format::Fbin, 4), (Format::U8bin, 1)] {
            // Without a length (gzip) there is nothing to hold these headers against: then the name must say it.
            if plausible(dimension) && length == Some(8 + rows * dimension * bytes) {
                found.push(format);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::fixture::{self, fvecs, gzip, idx, npy};

    #[track_caller]
    fn check(name: &str, bytes: &[u8], expected: Format) {
        for (name, bytes) in [(name.to_owned(), bytes.to_vec()), (format!("{name}.gz"), gzip(bytes))] {
            let file = fixture::file(&name, &bytes);
            assert_eq!(detect(&file.path).map_err(|error| format!("{error:#}")), Ok(expected), "{name}");
        }
    }

    #[test]
    fn the_content_tells() {
        check("a", b"a line\nanother\n", Format::Text);
        check("a", "é\n".as_bytes(), Format::Text);
        // Nothing behind a byte order mark.
        check("a", b"\xef\xbb\xbf", Format::Text);
        check("a", b"BM was a text once\n", Format::Text);
        check("a", b"3 4\n1 2\n", Format::Text);
        check("a", b"<doc id=\"1\" url=\"\" title=\"\">\n", Format::Wiki);
        check("a", b"\n {\"text\": 1}\n", Format::Jsonl);
        check("a", b"\xef\xbb\xbf{\"text\": 1}\n", Format::Jsonl);
        check("a", &npy(1, "<f4", "(1, 1)", &[0; 4]), Format::Npy);
        check("a", &idx(&[1, 2, 2], &[1, 2, 3, 4]), Format::Idx);
        check("a", b"\x89PNG\r\n\x1a\n....", Format::Images);
        check("a", b"RIFF....WEBPVP8 ", Format::Images);
        check("a", b"2 3\nking 1 2 3\nqueen 1 2 3\n", Format::Word2vec);
        check("a", b"1 2\nking \x00\x00\x80\x3f\x00\x00\x80\x3f", Format::Word2vecBinary);
        check("a", &fvecs(&[&[1.0, 2.0, 3.0], &[1.5, 2.0, 3.0]]), Format::Fvecs);
        check("a", &[3, 0, 0, 0, 1, 2, 3, 3, 0, 0, 0, 4, 5, 6], Format::Bvecs);
    }

    #[test]
    fn headers_are_held_against_the_length() {
        let fbin = [&2_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[1; 24]].concat();
        let file = fixture::file("a", &fbin);
        assert_eq!(detect(&file.path).unwrap(), Format::Fbin);
        let u8bin = [&2_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[1; 6]].concat();
        let file = fixture::file("a", &u8bin);
        assert_eq!(detect(&file.path).unwrap(), Format::U8bin);
        let file = fixture::file("a", &fbin[..fbin.len() - 1]);
        assert!(detect(&file.path).is_err());
    }

    #[test]
    fn the_name_breaks_ties_and_names_what_is_damaged() {
        // One vector of one byte-sized component is an fvecs and nothing else; a single bvecs record of 4 could be fbin.
        let mut bytes = fvecs(&[&[1.0, 2.0], &[1.0, 2.0]]);
        bytes[12] = 9;
        let file = fixture::file("a.fvecs", &bytes);
        assert_eq!(detect(&file.path).unwrap(), Format::Fvecs);
        let file = fixture::file("unnamed", &bytes);
        assert!(detect(&file.path).is_err());
        // A wrong name does not win over what fits.
        let file = fixture::file("a.fbin", &fvecs(&[&[1.0, 2.0, 3.0], &[1.5, 2.0, 3.0]]));
        assert_eq!(detect(&file.path).unwrap(), Format::Fvecs);
        let file = fixture::file("a.ivecs", &fvecs(&[&[1.0]]));
        assert!(detect(&file.path).unwrap_err().to_string().contains("--truth"));
    }

    #[test]
    fn nothing_and_noise_are_refused() {
        for bytes in [&b""[..], &[0xff, 0, 0xfe, 1, 2], &[0; 100]] {
            let file = fixture::file("a", bytes);
            assert!(detect(&file.path).is_err(), "{bytes:?}");
        }
    }
}
