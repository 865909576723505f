//! Detection of a file's format from its first bytes and its length; the name only resolves ambiguities. Formats that
//! `load` does not support are refused here, so that they are not read as text.

use super::unsupported::{self, Content};
use crate::cli::load::input_stream::{Fill, HEAD_BYTES, InputStream};
use crate::embed::formats::compressed::Compression;
use crate::embed::formats::word2vec;
use crate::types::MAX_DIMENSION;
use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::de::IgnoredAny;
use std::path::Path;

/// Formats that `load` and `bench` read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text, one item per line.
    Text,
    /// WikiExtractor, one item per paragraph.
    Wiki,
    /// JSON lines.
    Jsonl,
    /// A JSON array of objects, or consecutive objects that span lines.
    Json,
    /// IDX images.
    Idx,
    /// A folder of images, or one image.
    Images,
    /// NumPy.
    Npy,
    /// Vectors of 32-bit floats, each preceded by its dimension.
    Fvecs,
    /// Vectors of bytes, each preceded by its dimension.
    Bvecs,
    /// Vectors of 32-bit floats; header with their number and dimension.
    Fbin,
    /// Vectors of bytes; header with their number and dimension.
    U8bin,
    /// Vectors of signed bytes; header with their number and dimension.
    I8bin,
    /// word2vec, text.
    Word2vec,
    /// word2vec, binary.
    Word2vecBinary,
}

impl Format {
    /// Returns the name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether the ids of the items are only positions: row numbers, or paths in a folder.
    pub(crate) fn ids_are_positions(self) -> bool {
        match self {
            Self::Idx | Self::Images | Self::Npy | Self::Fvecs | Self::Bvecs => true,
            Self::Fbin | Self::U8bin | Self::I8bin => true,
            Self::Text | Self::Wiki | Self::Jsonl | Self::Json | Self::Word2vec | Self::Word2vecBinary => false,
        }
    }

    /// Returns the noun for messages such as "is an npy file".
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Wiki => "a WikiExtractor file",
            Self::Jsonl => "a file of JSON lines",
            Self::Json => "a file of JSON objects",
            Self::Idx => "an IDX file",
            Self::Images => "images",
            Self::Npy => "an npy file",
            Self::Fvecs => "an fvecs file",
            Self::Bvecs => "a bvecs file",
            Self::Fbin => "an fbin file",
            Self::U8bin => "a u8bin file",
            Self::I8bin => "an i8bin file",
            Self::Word2vec => "a word2vec text file",
            Self::Word2vecBinary => "a word2vec binary file",
        }
    }
}

/// Detects the format of a file or folder.
pub(crate) fn detect(path: &Path) -> anyhow::Result<Format> {
    if path.is_dir() {
        return Ok(Format::Images);
    }
    let mut input = InputStream::open(path)?;
    let packing = input.packing();
    let mut length = input.content_bytes();
    let head = match input.head(HEAD_BYTES) {
        Ok(head) => {
            if head.len() < HEAD_BYTES {
                // The whole content was read, so its length is known even for gzip.
                length = Some(head.len() as u64);
            }
            head
        }
        // A stream that ends before the head is complete: its beginning may suffice.
        Err(error) => {
            let mut input = InputStream::open(path)?;
            let mut head = Vec::new();
            let mut byte = [0];
            while matches!(input.fill(&mut byte), Ok(Fill::Full)) {
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
    // A row count may coincide with the magic number of another format.
    if !matches!(name, Some(Name::Vectors(_)))
        && let Some(what) = unsupported::binary(&head)
    {
        bail!("{}: is {what}", path.display());
    }
    if let Some(format) = text(path, &head, length == Some(head.len() as u64), packing)? {
        return Ok(format);
    }
    let candidates = vectors(&head, length);
    let named = match name {
        Some(Name::Vectors(format)) => Some(format),
        _ => None,
    };
    match (candidates.as_slice(), named) {
        ([format], None) => Ok(*format),
        // The name decides between several candidates, and if damage makes the content unrecognizable.
        (_, Some(format)) => {
            Ok(if let ([one], false) = (candidates.as_slice(), candidates.contains(&format)) { *one } else { format })
        }
        ([], None) => bail!("{}: unknown format; name it with --format", path.display()),
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
    /// Parses the file extension, ignoring that of a compressed file.
    fn of(path: &Path) -> Option<Self> {
        match unsupported::ending(path)?.as_str() {
            "fvecs" => Some(Self::Vectors(Format::Fvecs)),
            "bvecs" => Some(Self::Vectors(Format::Bvecs)),
            "fbin" => Some(Self::Vectors(Format::Fbin)),
            "u8bin" => Some(Self::Vectors(Format::U8bin)),
            "i8bin" => Some(Self::Vectors(Format::I8bin)),
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

/// `BM` and zero reserved bytes, to exclude texts that start with BM.
fn is_bmp(head: &[u8]) -> bool {
    head.starts_with(b"BM") && head.get(6..10) == Some(&[0; 4])
}

/// Detects the text formats, and word2vec, which starts with a line of text. `whole`: the head is the whole file.
///
/// # Errors
/// Text data in an unsupported format.
fn text(path: &Path, head: &[u8], whole: bool, packing: Compression) -> anyhow::Result<Option<Format>> {
    let unmarked = head.strip_prefix(b"\xef\xbb\xbf");
    let content = Content { packing, mark: unmarked.is_some() };
    let head = unmarked.unwrap_or(head);
    let end = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    if let Some((words, dimension)) = word2vec::parse_header(&head[..end]) {
        let body = head.get(end + 1..).unwrap_or_default();
        if words > 0 && (1..=u64::from(MAX_DIMENSION)).contains(&dimension) && !body.is_empty() {
            let mut lines = body.split(|byte| *byte == b'\n');
            if lines.next().is_some_and(|line| word2vec::text_line(line, dimension as usize).is_ok()) {
                return Ok(Some(Format::Word2vec));
            }
            if !looks_like_text(body) {
                return Ok(Some(Format::Word2vecBinary));
            }
        }
    }
    if !looks_like_text(head) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(head);
    let begin = text.trim_start();
    if begin.starts_with("<doc ") {
        return Ok(Some(Format::Wiki));
    }
    if begin.starts_with('{') {
        return Ok(Some(if spans_lines(begin, whole) { Format::Json } else { Format::Jsonl }));
    }
    if let Some(elements) = begin.strip_prefix('[') {
        if elements.trim_start().starts_with(['{', ']']) {
            return Ok(Some(Format::Json));
        }
        if let Some(what) = unsupported::array_of_others(begin) {
            bail!("{}: is {what}", path.display());
        }
    }
    match unsupported::table(path, &text, whole, content) {
        Some(what) => bail!("{}: is {what}", path.display()),
        None => Ok(Some(Format::Text)),
    }
}

/// Whether the first object is valid and continues after its line.
fn spans_lines(text: &str, whole: bool) -> bool {
    let first = text.lines().next().unwrap_or_default();
    if !serde_json::from_str::<IgnoredAny>(first).is_err_and(|error| error.is_eof()) || first.len() == text.len() {
        return false;
    }
    match serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>().next() {
        Some(Ok(_)) => true,
        Some(Err(error)) => error.is_eof() && !whole,
        None => false,
    }
}

/// No control characters except those of text, and at most one character in ten that is not UTF-8.
fn looks_like_text(bytes: &[u8]) -> bool {
    let control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x0c | 0x1b);
    if bytes.iter().any(control) {
        return false;
    }
    let text = String::from_utf8_lossy(bytes);
    let invalid = text.chars().filter(|c| *c == '\u{fffd}').count();
    invalid <= 1 || invalid * 10 <= text.chars().count()
}

/// Returns the vector formats whose headers are consistent with the length and with each other.
fn vectors(head: &[u8], length: Option<u64>) -> Vec<Format> {
    let number =
        |position: usize| Some(u64::from(u32::from_le_bytes(head.get(position..position + 4)?.try_into().ok()?)));
    let plausible = |dimension: u64| (1..=u64::from(MAX_DIMENSION)).contains(&dimension);
    let mut found = Vec::new();
    if let Some(dimension) = number(0).filter(|dimension| plausible(*dimension)) {
        for (format, bytes) in [(Format::Fvecs, 4), (Format::Bvecs, 1)] {
            let stride = 4 + dimension * bytes;
            let fits = length.is_none_or(|length| length % stride == 0);
            let repeats =
                (0..).map(|record| (record * stride) as usize).map_while(number).all(|header| header == dimension);
            if fits && repeats {
                found.push(format);
            }
        }
    }
    if let (Some(rows), Some(dimension)) = (number(0), number(4)) {
        for (format, bytes) in [(Format::Fbin, 4), (Format::U8bin, 1), (Format::I8bin, 1)] {
            // Without a length (gzip) these headers cannot be verified: then the name must decide.
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
    use crate::cli::load::formats::fixture::{self, fvecs, gzip, idx, npy};

    #[track_caller]
    fn check(name: &str, bytes: &[u8], expected: Format) {
        for (name, bytes) in [(name.to_owned(), bytes.to_vec()), (format!("{name}.gz"), gzip(bytes))] {
            let file = fixture::file(&name, &bytes);
            assert_eq!(detect(&file.path).map_err(|error| format!("{error:#}")), Ok(expected), "{name}");
        }
    }

    #[test]
    fn the_content_determines_the_format() {
        check("a", b"a line\nanother\n", Format::Text);
        check("a", "é\n".as_bytes(), Format::Text);
        // Only a byte order mark.
        check("a", b"\xef\xbb\xbf", Format::Text);
        check("a", b"BM was a text once\n", Format::Text);
        check("a", b"3 a\n1 2\n", Format::Text);
        check("a", b"<doc id=\"1\" url=\"\" title=\"\">\n", Format::Wiki);
        check("a", b"\n {\"text\": 1}\n", Format::Jsonl);
        check("a", b"\xef\xbb\xbf{\"text\": 1}\n", Format::Jsonl);
        check("a", b"[\n {\"text\": 1},\n {}]", Format::Json);
        check("a", b"[]", Format::Json);
        check("a", b"{\n \"text\": \"a\"\n}\n", Format::Json);
        check("a", b"{\"text\": \"cut\n{\"text\": 1}\n", Format::Jsonl);
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
    fn headers_are_checked_against_the_length() {
        let fbin = [&2_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[1; 24]].concat();
        let file = fixture::file("a", &fbin);
        assert_eq!(detect(&file.path).unwrap(), Format::Fbin);
        let u8bin = [&2_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[1; 6]].concat();
        for (name, format) in [("a.u8bin", Format::U8bin), ("a.I8BIN", Format::I8bin)] {
            assert_eq!(detect(&fixture::file(name, &u8bin).path).unwrap(), format);
        }
        let error = detect(&fixture::file("a", &u8bin).path).unwrap_err().to_string();
        assert!(error.contains("a u8bin file or an i8bin file") && error.contains("--format"), "{error}");
        let file = fixture::file("a", &fbin[..fbin.len() - 1]);
        assert!(detect(&file.path).is_err());
    }

    #[test]
    fn the_name_decides_if_the_content_is_ambiguous_or_damaged() {
        // One vector of one byte-sized component is only valid as fvecs; a single bvecs record of 4 could be fbin.
        let mut bytes = fvecs(&[&[1.0, 2.0], &[1.0, 2.0]]);
        bytes[12] = 9;
        let file = fixture::file("a.fvecs", &bytes);
        assert_eq!(detect(&file.path).unwrap(), Format::Fvecs);
        let file = fixture::file("unnamed", &bytes);
        assert!(detect(&file.path).is_err());
        // A misleading name does not override the content.
        let file = fixture::file("a.fbin", &fvecs(&[&[1.0, 2.0, 3.0], &[1.5, 2.0, 3.0]]));
        assert_eq!(detect(&file.path).unwrap(), Format::Fvecs);
        let file = fixture::file("a.ivecs", &fvecs(&[&[1.0]]));
        assert!(detect(&file.path).unwrap_err().to_string().contains("--truth"));
    }

    #[test]
    fn unsupported_data_is_refused_with_a_conversion() {
        for (bytes, part) in [
            (&b"the 0.1 0.2\nof 0.3 0.4\n"[..], "GloVe"),
            (b"id,text\n1,a\n", "pandas.read_csv"),
            (b"[\"a\", \"b\"]", "JSON array"),
            (b"PAR1\x15\0\x15\0", "Parquet"),
            (b"\xff\xfea\0\n\0", "iconv"),
        ] {
            for bytes in [bytes.to_vec(), gzip(bytes)] {
                let error = detect(&fixture::file("a", &bytes).path).unwrap_err().to_string();
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn empty_files_and_noise_are_refused() {
        for bytes in [&b""[..], &[0xff, 0, 0xfe, 1, 2], &[0; 100]] {
            let file = fixture::file("a", bytes);
            assert!(detect(&file.path).is_err(), "{bytes:?}");
        }
    }
}
