//! Files that `load` recognises in order to refuse them: formats that it does not read, and tables that are no texts. Each
//! answer names the format and a way to convert it.

use serde::de::IgnoredAny;
use std::path::Path;

/// Lines that are looked at.
const LINES: usize = 64;
/// Records of a table that are looked at.
const RECORDS: usize = 200;

/// What a binary file is and what to do with it; none when it is none of those known.
pub(super) fn binary(head: &[u8]) -> Option<String> {
    let numpy = "save it with numpy.save('x.npy', array) and load that";
    let lines = "write its rows as JSON lines ({\"id\", \"text\" or \"vector\", ...})";
    let png = "convert it to PNG or JPEG";
    let known: &[(&[u8], &str, &str)] = &[
        (
            b"\x89HDF\r\n\x1a\n",
            "an HDF5 file",
            "in Python: numpy.save('x.npy', h5py.File(FILE)['train'][:]), then load x.npy",
        ),
        (
            b"PAR1",
            "a Parquet file",
            "in Python: pandas.read_parquet(FILE).to_json('x.jsonl', orient='records', lines=True), then load x.jsonl",
        ),
        (
            b"ARROW1",
            "an Arrow (Feather) file",
            "in Python: pandas.read_feather(FILE).to_json('x.jsonl', orient='records', lines=True), then load x.jsonl",
        ),
        (
            b"PK\x03\x04",
            "a zip archive (an .npz of NumPy is one)",
            "unpack it; an .npz in Python: numpy.save('x.npy', numpy.load(FILE)['NAME']), then load x.npy",
        ),
        (b"Obj\x01", "an Avro file", lines),
        (b"ORC", "an ORC file", lines),
        (b"SQLite format 3\0", "an SQLite database", lines),
        (b"PGDMP", "a PostgreSQL dump", lines),
        (b"GGUF", "a GGUF model", numpy),
        (b"\xba\x16\x4f\x2f", "a fastText model", "make a model of it with `nearness import words`"),
        (b"MATLAB 5.0", "a MATLAB file", numpy),
        (b"%PDF", "a PDF file", "take its text out (pdftotext) and load that"),
        (b"{\\rtf", "an RTF document", "save it as plain text"),
        (b"\xd0\xcf\x11\xe0", "an Office document", "save it as plain text"),
        (b"BZh", "a bzip2 file", "unpack it (bunzip2); gzip and zstd are read as they are"),
        (b"\xfd7zXZ\0", "an xz file", "unpack it (unxz); gzip and zstd are read as they are"),
        (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
        (b"Rar!", "a RAR archive", "unpack it"),
        (b"\x04\x22\x4d\x18", "an lz4 file", "unpack it (unlz4); gzip and zstd are read as they are"),
        (b"GIF8", "a GIF image", png),
        (b"II*\0", "a TIFF image", png),
        (b"MM\0*", "a TIFF image", png),
        (b"\x80\x02", "a Python pickle", numpy),
        (b"\x80\x03", "a Python pickle", numpy),
        (b"\x80\x04", "a Python pickle", numpy),
        (b"\x80\x05", "a Python pickle", numpy),
    ];
    // Texts may begin with these letters; then they have no byte 0 soon.
    let letters = |magic: &[u8]| magic.len() <= 3 && magic.iter().all(u8::is_ascii_alphanumeric);
    let binary = head.iter().take(512).any(|byte| *byte == 0 || *byte > 0xf4);
    // Vectors may begin with the bytes of a pickle: then the byte behind them is 0.
    let pickle = |magic: &[u8]| magic[0] == 0x80 && head.get(2).is_none_or(|byte| *byte == 0);
    if let Some((_, what, remedy)) =
        known.iter().find(|(magic, ..)| head.starts_with(magic) && (binary || !letters(magic)) && !pickle(magic))
    {
        return Some(format!("{what}, which `load` does not read; {remedy}"));
    }
    let at = |place: usize, magic: &[u8]| head.get(place..).is_some_and(|rest| rest.starts_with(magic));
    if at(257, b"ustar") {
        return Some("a tar archive, which `load` does not read; unpack it and load the folder".into());
    }
    if at(4, b"ftypheic") || at(4, b"ftypheix") || at(4, b"ftypavif") || at(4, b"ftypmif1") {
        return Some(format!("a HEIF or AVIF image, which `load` does not read; {png}"));
    }
    if at(8, b"{\"") && head.get(4..8) == Some(&[0; 4]) {
        return Some(format!("a safetensors file, which `load` does not read; {numpy}"));
    }
    utf16(head).then(|| {
        "text in UTF-16 or UTF-32, which `load` does not read; convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW".into()
    })
}

/// Whether bytes are text of two or four bytes a character: by its mark, or by the zeros of Latin letters.
fn utf16(head: &[u8]) -> bool {
    if matches!(head, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 0, 0xfe, 0xff, ..]) {
        // Something follows the mark, and few of its bytes are controls other than zero.
        let controls = head.iter().take(512).filter(|byte| (1..9).contains(*byte)).count();
        return head.len() >= 4 && head.len().is_multiple_of(2) && controls * 20 <= head.len().min(512);
    }
    let pairs = head.as_chunks::<2>().0;
    let letter = |byte: u8| byte == b'\n' || byte == b'\r' || byte == b'\t' || (b' '..=b'~').contains(&byte);
    let share = |wide: &dyn Fn(&[u8; 2]) -> bool| pairs.iter().take(256).filter(|pair| wide(pair)).count();
    let looked_at = pairs.len().min(256);
    looked_at >= 4
        && (share(&|pair| letter(pair[0]) && pair[1] == 0) * 10 >= looked_at * 9
            || share(&|pair| pair[0] == 0 && letter(pair[1])) * 10 >= looked_at * 9)
}

/// Why a file of text is not one text a line, with a way to convert it; none when it may be. `whole`: the head is all of it.
pub(super) fn table(path: &Path, head: &str, whole: bool) -> Option<String> {
    let head = head.strip_prefix('\u{feff}').unwrap_or(head);
    let complete = if whole { head } else { head.rfind('\n').map_or(head, |end| &head[..=end]) };
    let text = "or --format text to load each line as a text";
    let start = complete.trim_start().get(..64).unwrap_or(complete.trim_start()).to_ascii_lowercase();
    for (prefix, what) in [
        ("<?xml", "an XML file; take its texts out first (WikiExtractor for a Wikipedia dump)"),
        ("<!doctype html", "an HTML page; take its text out first"),
        ("<html", "an HTML page; take its text out first"),
        ("%%matrixmarket", "a Matrix Market file; save it with numpy.save('x.npy', array) and load that"),
        ("@relation", "an ARFF file; convert it to JSON lines"),
    ] {
        if start.starts_with(prefix) {
            return Some(format!("{what}, {text}"));
        }
    }
    let lines: Vec<&str> = complete.lines().filter(|line| !line.trim().is_empty()).take(LINES).collect();
    if let Some(what) = json_values(&lines) {
        return Some(format!("{what}, {text}"));
    }
    let rows: Vec<&str> = lines.iter().copied().filter(|line| !line.starts_with('#')).collect();
    if let Some(what) = numbers(&rows).or_else(|| sparse(&rows)).or_else(|| words_with_vectors(&rows)) {
        return Some(format!("{what}, {text}"));
    }
    let (tabs, commas) = match ending(path).as_deref() {
        Some("tsv" | "tab") => (true, false),
        Some("csv") => (false, true),
        _ => (false, false),
    };
    if tabs || is_table(complete, whole, '\t') {
        return Some(format!(
            "a table with tabs between columns (TSV, or COPY output of PostgreSQL); in Python: pandas.read_csv(FILE, sep='\\t').to_json('x.jsonl', orient='records', lines=True), then load x.jsonl, {text}"
        ));
    }
    let semicolons = is_table(complete, whole, ';');
    if commas || semicolons || is_table(complete, whole, ',') {
        let separator = if semicolons { ", sep=';'" } else { "" };
        return Some(format!(
            "a table with commas between columns (CSV); in Python: pandas.read_csv(FILE{separator}).to_json('x.jsonl', orient='records', lines=True), then load x.jsonl, {text}"
        ));
    }
    None
}

/// The ending of a name, that of a packed file set aside.
pub(super) fn ending(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    Some(name.rsplit_once('.')?.1.to_owned())
}

/// What an array of JSON is, if its elements are no objects.
pub(super) fn array_of_others(head: &str) -> Option<String> {
    let mut values = serde_json::Deserializer::from_str(head).into_iter::<IgnoredAny>();
    let whole = match values.next()? {
        Ok(_) => {
            let rest = &head[values.byte_offset()..];
            rest.lines().next().is_none_or(|line| line.trim().is_empty())
        }
        Err(error) => error.is_eof(),
    };
    whole.then(|| {
        "a JSON array whose elements are no objects; write {\"text\": ...} or {\"vector\": [...]} for each".into()
    })
}

fn json_values(lines: &[&str]) -> Option<String> {
    let all = |first: char| {
        lines
            .iter()
            .all(|line| line.trim_start().starts_with(first) && serde_json::from_str::<IgnoredAny>(line).is_ok())
    };
    if lines.len() >= 2 && all('"') {
        Some("lines of JSON strings; write {\"text\": ...} for each".into())
    } else if !lines.is_empty() && all('[') {
        Some("lines of JSON arrays; write {\"vector\": [...]} for each".into())
    } else {
        None
    }
}

fn is_number(field: &str) -> bool {
    field.parse::<f64>().is_ok()
}

fn fields(line: &str) -> impl DoubleEndedIterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|field| !field.is_empty())
}

fn numbers(rows: &[&str]) -> Option<String> {
    let all = rows.iter().all(|row| fields(row).all(is_number));
    let several = rows.len() >= 2 || rows.first().is_some_and(|row| fields(row).count() >= 2);
    (all && several).then(|| {
        "a table of numbers (numpy.savetxt writes such); in Python: numpy.save('x.npy', numpy.loadtxt(FILE)), then load x.npy"
            .into()
    })
}

/// LIBSVM: a label, then `place:value` pairs.
fn sparse(rows: &[&str]) -> Option<String> {
    let pair = |field: &str| {
        field.split_once(':').is_some_and(|(place, value)| place.parse::<u64>().is_ok() && is_number(value))
    };
    let row = |row: &&str| {
        let mut fields = row.split_whitespace();
        fields.next().is_some_and(is_number) && fields.clone().next().is_some() && fields.all(pair)
    };
    (!rows.is_empty() && rows.iter().all(row))
        .then(|| "a LIBSVM file of sparse vectors; save it with numpy.save('x.npy', array) and load that".into())
}

/// GloVe: a word and its numbers on each line, as many on each.
fn words_with_vectors(rows: &[&str]) -> Option<String> {
    let trailing = |row: &&str| {
        let numbers = row.split_whitespace().rev().take_while(|field| is_number(field)).count();
        (numbers, row.split_whitespace().count())
    };
    let counts: Vec<(usize, usize)> = rows.iter().map(trailing).collect();
    let dimension = counts.iter().map(|(numbers, _)| *numbers).min()?;
    // A word may be a number itself, or hold spaces.
    let fits = counts.iter().all(|(numbers, fields)| *fields > dimension && *numbers <= dimension + 1);
    let alone = counts.iter().filter(|(numbers, fields)| (*numbers, *fields) == (dimension, dimension + 1)).count();
    let enough = dimension >= 2 && (rows.len() >= 2 || dimension >= 8);
    (fits && enough && alone * 2 >= rows.len()).then(|| {
        format!(
            "word vectors without a first line of counts (GloVe); make a model of them with `nearness import words`, or put the number of words and the dimension before them: (echo \"$(wc -l < FILE) {dimension}\"; cat FILE) > NEW"
        )
    })
}

/// Whether all records have as many fields, at least two, and none begins with a space, as after a comma of prose.
fn is_table(text: &str, whole: bool, separator: char) -> bool {
    let mut records: Vec<usize> = Vec::new();
    let (mut count, mut quoted, mut empty) = (1, false, true);
    let mut chars = text.chars().peekable();
    let mut field_start = true;
    while let Some(c) = chars.next() {
        if c == '"' && (quoted || field_start) {
            if quoted && chars.peek() == Some(&'"') {
                chars.next();
            } else {
                quoted = !quoted;
            }
            (empty, field_start) = (false, false);
        } else if quoted {
            continue;
        } else if c == separator {
            count += 1;
            (empty, field_start) = (false, true);
            if separator != '\t' && chars.peek() == Some(&' ') {
                return false;
            }
        } else if c == '\n' {
            if !empty {
                records.push(count);
            }
            (count, empty, field_start) = (1, true, true);
            if records.len() == RECORDS {
                break;
            }
        } else if c != '\r' {
            (empty, field_start) = (false, false);
        }
    }
    if whole && !empty && !quoted && records.len() < RECORDS {
        records.push(count);
    }
    records.len() >= 2 && records[0] >= 2 && records.iter().all(|count| *count == records[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let found = table(Path::new("file"), text, true);
        assert!(found.as_ref().is_some_and(|what| what.contains(part)), "{text:?} gave {found:?}, not {part:?}");
    }

    #[test]
    fn tables_are_told_from_texts() {
        refused("id,text,year\n1,\"a storm, at sea\",1990\n2,\"two\nlines\",1991\n", "CSV");
        refused("a;b\n1;2 x\n", "CSV");
        refused("id\ttext\n1\ta storm\n", "TSV");
        refused("7\ta storm\t\\N\n8\ta ship\t{}\n", "COPY");
        refused("# a b\n1.0e+00 2.0e+00\n3.0e+00 nan\n", "numpy.savetxt");
        refused("1\n2\n3\n", "numbers");
        refused("the 0.1 0.2 0.3\nNew York 0.1 0.2 0.3\n2019 1 2 3\n, 1 2 3\n", "GloVe");
        refused("1 3:0.5 7:1\n-1 2:1\n", "LIBSVM");
        refused("\"a\"\n\"b\"\n", "JSON strings");
        refused("[1, 2]\n[3, 4]\n", "JSON arrays");
        refused("<?xml version=\"1.0\"?>\n<a/>\n", "XML");
        assert!(table(Path::new("x.csv.gz"), "just one line", true).unwrap().contains("CSV"));
    }

    #[test]
    fn texts_stay_texts() {
        for text in [
            "a storm at sea\na ship, a harbour\n",
            "Hello, world\nGoodbye, world\n",
            "\"Hello,\" she said.\n\"Yes,\" he said.\n",
            "\"One quoted line\"\n",
            "In 1990 there were 3\nIn 1991 there were 4 4\nnone\n",
            "[1] Smith et al.\n[2] Jones\n",
            "a\tb\nc\n",
            "line 1\nline 2\n",
            "# Title\n\nSome text.\n",
            "42\n",
            "",
        ] {
            assert_eq!(table(Path::new("notes.txt"), text, true), None, "{text:?}");
        }
        assert_eq!(array_of_others("[1] Smith et al.\n"), None);
        assert!(array_of_others("[\"a\",\n \"b\"]\n").is_some());
        assert!(array_of_others("[1, 2, 3").is_some());
    }

    #[test]
    fn binary_formats_are_named_with_a_way_out() {
        let wide: Vec<u8> = "a storm at sea\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (head, part) in [
            (&b"\x89HDF\r\n\x1a\n\0\0"[..], "HDF5"),
            (b"PAR1\x15\x04\0", "Parquet"),
            (b"PK\x03\x04\x14\0", ".npz"),
            (b"\x80\x04\x95", "pickle"),
            (&[&b"\xff\xfe"[..], &wide].concat(), "iconv"),
            (&wide, "iconv"),
        ] {
            assert!(binary(head).is_some_and(|what| what.contains(part)), "{head:?}");
        }
        for text in [&b"ORCHIDS and roses\n"[..], b"BZh was a word\n", b"a text", b"\x03\0\0\0\x01\x02\x03"] {
            assert_eq!(binary(text), None, "{text:?}");
        }
    }
}
