//! Recognition of unsupported formats, and of tables that are not texts. Each message names the format and a way to
//! convert it.

use super::tables::{self, Table, is_number};
use crate::embed::formats::compressed::Compression;
use serde::de::IgnoredAny;
use std::path::Path;

/// Number of lines inspected.
const MAX_SAMPLED_LINES: usize = 64;

/// Encoding of a file, for the conversion commands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) packing: Compression,
    /// It begins with a byte order mark.
    pub(crate) mark: bool,
}

impl Content {
    /// Returns a command that outputs the content as plain text.
    fn command(self) -> String {
        let read = match self.packing {
            Compression::Plain => "cat FILE",
            Compression::Gzip => "zcat < FILE",
            Compression::Zstd => "zstdcat < FILE",
        };
        if self.mark { format!("{read} | tail -c +4") } else { read.to_owned() }
    }

    /// Adds the decompression step to a description.
    fn unpacked_first(self, what: &str) -> String {
        let tool = match self.packing {
            Compression::Plain => return what.to_owned(),
            Compression::Gzip => "gunzip",
            Compression::Zstd => "unzstd",
        };
        what.replacen("; ", &format!("; unpack it first ({tool}), then "), 1)
    }
}

/// Describes a binary file and its conversion; none if the format is unknown.
pub(crate) fn binary(head: &[u8]) -> Option<String> {
    let numpy = "save it with numpy.save('x.npy', array) and load that";
    let lines = "write its rows as JSON lines ({\"id\", \"text\" or \"vector\", ...})";
    let png = "convert it to PNG or JPEG";
    let known: &[(&[u8], &str, &str)] = &[
        (
            b"\x89HDF\r\n\x1a\n",
            "an HDF5 file",
            "in Python: numpy.save('x.npy', h5py.File('FILE')['train'][:]), then load x.npy",
        ),
        (
            b"PAR1",
            "a Parquet file",
            "in Python: pandas.read_parquet('FILE').to_json('x.jsonl', orient='records', lines=True), then load x.jsonl",
        ),
        (
            b"ARROW1",
            "an Arrow (Feather) file",
            "in Python: pandas.read_feather('FILE').to_json('x.jsonl', orient='records', lines=True), then load x.jsonl",
        ),
        (
            b"PK\x03\x04",
            "a zip archive (also .npz, .docx, .xlsx)",
            "unpack it, save a document as plain text or a sheet as CSV; an .npz in Python: import numpy; numpy.save('x.npy', \
             numpy.load('FILE')['NAME']), then load x.npy",
        ),
        (b"Obj\x01", "an Avro file", lines),
        (b"ORC", "an ORC file", lines),
        (b"SQLite format 3\0", "an SQLite database", lines),
        (b"PGDMP", "a PostgreSQL dump", lines),
        (b"GGUF", "a GGUF model", numpy),
        (b"\xba\x16\x4f\x2f", "a fastText model", "import it with `nearness import words`"),
        (b"MATLAB 5.0", "a MATLAB file", numpy),
        (b"%PDF", "a PDF file", "extract its text (pdftotext) and load that"),
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
    // Texts may begin with these letters, but then have no zero byte soon after.
    let letters = |magic: &[u8]| magic.len() <= 3 && magic.iter().all(u8::is_ascii_alphanumeric);
    let binary = head.iter().take(512).any(|byte| *byte == 0 || *byte > 0xf4);
    // Vectors may begin with the bytes of a pickle, but then the next byte is 0.
    let pickle = |magic: &[u8]| magic[0] == 0x80 && head.get(2).is_none_or(|byte| *byte == 0);
    if let Some((_, what, remedy)) =
        known.iter().find(|(magic, ..)| head.starts_with(magic) && (binary || !letters(magic)) && !pickle(magic))
    {
        return Some(format!("{what}, which `load` does not support; {remedy}"));
    }
    let at = |position: usize, magic: &[u8]| head.get(position..).is_some_and(|rest| rest.starts_with(magic));
    if at(257, b"ustar") {
        return Some("a tar archive, which `load` does not support; unpack it and load the folder".into());
    }
    if at(4, b"ftypheic") || at(4, b"ftypheix") || at(4, b"ftypavif") || at(4, b"ftypmif1") {
        return Some(format!("a HEIF or AVIF image, which `load` does not support; {png}"));
    }
    if at(8, b"{\"") && head.get(4..8) == Some(&[0; 4]) {
        return Some(format!("a safetensors file, which `load` does not support; {numpy}"));
    }
    wide(head).map(|encoding| {
        format!(
            "text in UTF-16 or UTF-32, which `load` does not support; convert it: iconv -f {encoding} -t UTF-8 FILE > \
             NEW"
        )
    })
}

/// Returns the encoding of text with two or four bytes per character, by its byte order mark or by the zeros of Latin
/// letters.
fn wide(head: &[u8]) -> Option<&'static str> {
    let marked = match head {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] if head.len().is_multiple_of(4) => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ => None,
    };
    if marked.is_some() {
        // Data follows the byte order mark, and few of its bytes are controls other than zero.
        let controls = head.iter().take(512).filter(|byte| (1..9).contains(*byte)).count();
        let fits = head.len() >= 4 && head.len().is_multiple_of(2) && controls * 20 <= head.len().min(512);
        return marked.filter(|_| fits);
    }
    let letter = |byte: u8| byte == b'\n' || byte == b'\r' || byte == b'\t' || (b' '..=b'~').contains(&byte);
    // Position of the letter among the bytes of a character.
    [("UTF-16LE", 2, 0), ("UTF-16BE", 2, 1), ("UTF-32LE", 4, 0), ("UTF-32BE", 4, 3)].into_iter().find_map(
        |(encoding, bytes, position)| {
            let is_letter = |character: &&[u8]| {
                character.iter().enumerate().all(|(at, byte)| if at == position { letter(*byte) } else { *byte == 0 })
            };
            let inspected = (head.len() / bytes).min(256);
            let letters = head.chunks_exact(bytes).take(256).filter(is_letter).count();
            (inspected >= 4 && letters * 10 >= inspected * 9).then_some(encoding)
        },
    )
}

/// Explains why a text file is not one text per line, with a conversion; none if it may be. `whole`: the head is the
/// whole file.
pub(crate) fn table(path: &Path, head: &str, whole: bool, content: Content) -> Option<String> {
    let complete = if whole { head } else { head.rfind('\n').map_or(head, |end| &head[..=end]) };
    let text = "or --format text to load each line as a text";
    let start = complete.trim_start().get(..64).unwrap_or(complete.trim_start()).to_ascii_lowercase();
    for (prefix, what) in [
        ("<?xml", "an XML file; extract its texts first (WikiExtractor for a Wikipedia dump)"),
        ("<!doctype html", "an HTML page; extract its text first"),
        ("<html", "an HTML page; extract its text first"),
        ("%%matrixmarket", "a Matrix Market file; save it with numpy.save('x.npy', array) and load that"),
        ("@relation", "an ARFF file; convert it to JSON lines"),
    ] {
        if start.starts_with(prefix) {
            return Some(format!("{what}, {text}"));
        }
    }
    let lines: Vec<&str> = complete.lines().filter(|line| !line.trim().is_empty()).take(MAX_SAMPLED_LINES).collect();
    if let Some(what) = json_values(&lines).or_else(|| sql(&lines)) {
        return Some(format!("{what}, {text}"));
    }
    let data = tables::without_copy_end(complete).0.lines().filter(|line| !line.trim().is_empty());
    let rows: Vec<&str> = data.take(MAX_SAMPLED_LINES).filter(|line| !line.starts_with('#')).collect();
    if let Some(what) = numbers(&rows, content).or_else(|| sparse(&rows)) {
        return Some(content.unpacked_first(&format!("{what}, {text}")));
    }
    if let Some(what) = words_with_vectors(&rows, content) {
        return Some(format!("{what}, {text}"));
    }
    if ruled(&lines) {
        return Some(format!("a table formatted for reading; export it as CSV or JSON instead, {text}"));
    }
    let ending = ending(path);
    let named = |separator: char| match ending.as_deref() {
        Some("tsv" | "tab") => separator == '\t',
        Some("csv") => separator == ',',
        _ => false,
    };
    let mut separators = ['\t', ';', ',', '|'];
    // The name decides only if the content does not.
    separators.sort_by_key(|separator| named(*separator) && Table::of(complete, whole, *separator, false).is_none());
    let table = separators.iter().find_map(|separator| Table::of(complete, whole, *separator, named(*separator)))?;
    Some(content.unpacked_first(&format!("{}, {text}", table.recognized())))
}

/// Returns the file extension, ignoring that of a compressed file.
pub(crate) fn ending(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    Some(name.rsplit_once('.')?.1.to_owned())
}

/// Describes a JSON array whose elements are not objects.
pub(crate) fn array_of_others(head: &str) -> Option<String> {
    let mut values = serde_json::Deserializer::from_str(head).into_iter::<IgnoredAny>();
    let whole = match values.next()? {
        Ok(_) => {
            let rest = &head[values.byte_offset()..];
            rest.lines().next().is_none_or(|line| line.trim().is_empty())
        }
        Err(error) => error.is_eof(),
    };
    whole.then(|| {
        "a JSON array whose elements are not objects; write {\"text\": ...} or {\"vector\": [...]} for each".into()
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

/// Recognizes lines of SQL: a dump, or input for COPY.
fn sql(lines: &[&str]) -> Option<String> {
    let statement = |line: &&str| {
        let line = line.trim().to_ascii_lowercase();
        let words = |begin: &str, part: &str| line.strip_prefix(begin).is_some_and(|rest| rest.contains(part));
        let values = |line: &str| {
            line.split_once(" values").is_some_and(|(_, rest)| {
                let rest = rest.trim_start();
                rest.is_empty() || rest.starts_with('(')
            })
        };
        // One name, then the columns.
        let table = |line: &str| {
            let rest = line.strip_prefix("if not exists ").unwrap_or(line);
            rest.split_once('(').is_some_and(|(name, _)| !name.is_empty() && !name.trim().contains(char::is_whitespace))
        };
        line.strip_prefix("insert into ").is_some_and(values)
            || line.strip_prefix("create table ").is_some_and(table)
            || words("copy ", " from stdin")
            || words("-- ", "database dump")
            || words("-- mysql dump", "")
            || words("-- mariadb dump", "")
            || words("pragma foreign_keys", "=")
    };
    lines.iter().any(statement).then(|| {
        "an SQL dump, or COPY input; restore it and write its rows as JSON: psql -At -c 'SELECT row_to_json(t) FROM TABLE t' DB > \
         x.jsonl, or sqlite3 -json DB 'SELECT * FROM TABLE' > x.json, then load that"
            .into()
    })
}

/// Whether the head of a table is underlined, as by psql, mysql and Markdown.
fn ruled(lines: &[&str]) -> bool {
    let rule = |line: &&str| {
        line.contains("--") && line.contains(['+', '|']) && line.trim().chars().all(|c| "-+|: ".contains(c))
    };
    lines.len() >= 3 && lines.iter().take(2).any(rule) && lines.iter().filter(|line| line.contains('|')).count() >= 2
}

fn fields(line: &str) -> impl DoubleEndedIterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|field| !field.is_empty())
}

fn numbers(rows: &[&str], content: Content) -> Option<String> {
    let all = rows.iter().all(|row| fields(row).all(is_number));
    let several = rows.len() >= 2 || rows.first().is_some_and(|row| fields(row).count() >= 2);
    (all && several).then(|| {
        let between = |separator: char| rows.iter().all(|row| row.contains(separator));
        let delimiter = match [',', ';'].into_iter().find(|separator| between(*separator)) {
            Some(separator) => format!(", delimiter='{separator}'"),
            None => String::new(),
        };
        let encoding = if content.mark { ", encoding='utf-8-sig'" } else { "" };
        format!(
            "a table of numbers (as written by numpy.savetxt); in Python: import numpy; numpy.save('x.npy', \
             numpy.loadtxt('FILE'{delimiter}{encoding}, ndmin=2)), then load x.npy"
        )
    })
}

/// Recognizes LIBSVM: a label, then `index:value` pairs.
fn sparse(rows: &[&str]) -> Option<String> {
    let pair = |field: &str| {
        field.split_once(':').is_some_and(|(position, value)| position.parse::<u64>().is_ok() && is_number(value))
    };
    let row = |row: &&str| {
        let mut fields = row.split_whitespace();
        fields.next().is_some_and(is_number) && fields.clone().next().is_some() && fields.all(pair)
    };
    (!rows.is_empty() && rows.iter().all(row))
        .then(|| "a LIBSVM file of sparse vectors; save it with numpy.save('x.npy', array) and load that".into())
}

/// Recognizes GloVe: a word and its numbers on each line, equally many on each.
fn words_with_vectors(rows: &[&str], content: Content) -> Option<String> {
    let trailing = |row: &&str| {
        let numbers = row.split_whitespace().rev().take_while(|field| is_number(field)).count();
        (numbers, row.split_whitespace().count())
    };
    let counts: Vec<(usize, usize)> = rows.iter().map(trailing).collect();
    let dimension = counts.iter().map(|(numbers, _)| *numbers).min()?;
    // A word may itself be a number, or contain spaces.
    let fits = counts.iter().all(|(numbers, fields)| *fields > dimension && *numbers <= dimension + 1);
    let alone = counts.iter().filter(|(numbers, fields)| (*numbers, *fields) == (dimension, dimension + 1)).count();
    let enough = dimension >= 2 && (rows.len() >= 2 || dimension >= 8);
    (fits && enough && alone * 2 >= rows.len()).then(|| {
        let read = content.command();
        format!(
            "word vectors without a first line of counts (GloVe); import them with `nearness import words`, or put the \
             number of words and the dimension before them: (echo \"$({read} | wc -l) {dimension}\"; {read}) > NEW"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Content = Content { packing: Compression::Plain, mark: false };

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let found = table(Path::new("file"), text, true, PLAIN);
        assert!(found.as_ref().is_some_and(|what| what.contains(part)), "{text:?} gave {found:?}, not {part:?}");
    }

    #[test]
    fn tables_are_distinguished_from_texts() {
        refused("id,text,year\n1,\"a storm, at sea\",1990\n2,\"two\nlines\",1991\n", "CSV");
        refused("a;b\n1;2 x\n", "CSV");
        refused("id\ttext\n1\ta storm\n", "TSV");
        refused("7\ta storm\t\\N\n8\ta ship\t{}\n", "COPY");
        refused("1\ta storm at sea\n2\ta ship in harbour\n3\tthe king\n\\.\n", "COPY");
        refused("1\t2\n3\t4\n\\.\n", "numbers");
        refused("COPY t (id, text, v) FROM stdin;\n1\ta storm\t[1,2]\n2\ta ship\t[3,4]\n\\.\n", "psql -At");
        refused("--\n-- PostgreSQL database dump\n--\n\nSET x = 0;\n", "SQL");
        refused("INSERT INTO t VALUES (1,'a storm');\nINSERT INTO t VALUES (2,'a ship');\n", "SQL");
        refused("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(id, text);\n", "SQL");
        refused("id|title|text\n1|Storm|a storm at sea\n2|Ship|a ship, a harbour\n", "sep='|'");
        refused("1\ta storm, at sea\t[1,2]\n", "COPY");
        refused(" id | title \n----+-------\n  1 | a storm\n  2 | a ship\n(2 rows)\n", "formatted for reading");
        refused("| a | b |\n|---|:--|\n| 1 | x |\n", "formatted for reading");
        refused("1,2,3\n4,5,6\n", "delimiter=','");
        refused("# a b\n1.0e+00 2.0e+00\n3.0e+00 nan\n", "numpy.savetxt");
        refused("1\n2\n3\n", "numbers");
        refused("the 0.1 0.2 0.3\nNew York 0.1 0.2 0.3\n2019 1 2 3\n, 1 2 3\n", "GloVe");
        refused("1 3:0.5 7:1\n-1 2:1\n", "LIBSVM");
        refused("\"a\"\n\"b\"\n", "JSON strings");
        refused("[1, 2]\n[3, 4]\n", "JSON arrays");
        refused("<?xml version=\"1.0\"?>\n<a/>\n", "XML");
        assert!(table(Path::new("x.csv.gz"), "just one line", true, PLAIN).unwrap().contains("CSV"));
    }

    #[test]
    fn texts_are_accepted() {
        for text in [
            "a storm at sea\na ship, a harbour\n",
            "Hello, world\nGoodbye, world\n",
            "\"Hello,\" she said.\n\"Yes,\" he said.\n",
            "\"One quoted line\"\n",
            "In 1990 there were 3\nIn 1991 there were 4 4\nnone\n",
            "[1] Smith et al.\n[2] Jones\n",
            "a\tb\nc\n",
            "\tA storm came up at night.\n\tThe ship was lost, the crew was not.\n",
            "Chapter 1\tThe storm\n",
            "He wrote: insert into the slot a coin.\nInsert into the text what values you like\n",
            "Copy it from the book\nCreate table and chair (of wood)\n",
            "The end\n\\.\n",
            "yes | no\nsink | swim\n",
            "-- a remark\n--- and a line ---\nover | under\n",
            "10\tThe storm\n",
            "line 1\nline 2\n",
            "# Title\n\nSome text.\n",
            "42\n",
            "",
        ] {
            assert_eq!(table(Path::new("notes.txt"), text, true, PLAIN), None, "{text:?}");
        }
        assert_eq!(array_of_others("[1] Smith et al.\n"), None);
        assert!(array_of_others("[\"a\",\n \"b\"]\n").is_some());
        assert!(array_of_others("[1, 2, 3").is_some());
    }

    #[test]
    fn the_remedy_depends_on_the_compression() {
        let recognized = |text: &str, packing, mark| {
            table(Path::new("file"), text, true, Content { packing, mark }).expect("a table")
        };
        let glove = "the 0.1 0.2\nof 0.3 0.4\n";
        for (packing, mark, line) in [
            (Compression::Plain, false, "(echo \"$(cat FILE | wc -l) 2\"; cat FILE) > NEW"),
            (Compression::Gzip, false, "(echo \"$(zcat < FILE | wc -l) 2\"; zcat < FILE) > NEW"),
            (Compression::Plain, true, "(echo \"$(cat FILE | tail -c +4 | wc -l) 2\"; cat FILE | tail -c +4) > NEW"),
        ] {
            let recognized = recognized(glove, packing, mark);
            assert!(recognized.contains(line), "{recognized}");
        }
        let packed = recognized("id,text\n1,a storm\n", Compression::Zstd, false);
        assert!(packed.contains("(CSV); unpack it first (unzstd), then in Python: "), "{packed}");
        assert!(
            recognized("1,2\n3,4\n", Compression::Plain, true).contains("delimiter=',', encoding='utf-8-sig', ndmin=2")
        );
    }

    #[test]
    fn binary_formats_are_refused_with_a_conversion() {
        let wide: Vec<u8> = "a storm at sea\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let wide_by =
            |character: fn(u8) -> Vec<u8>| b"a storm at sea\n".iter().copied().flat_map(character).collect::<Vec<u8>>();
        for (head, part) in [
            (&b"\x89HDF\r\n\x1a\n\0\0"[..], "HDF5"),
            (b"PAR1\x15\x04\0", "Parquet"),
            (b"PK\x03\x04\x14\0", ".npz"),
            (b"\x80\x04\x95", "pickle"),
            (&[&b"\xff\xfe"[..], &wide].concat(), "iconv"),
            (&wide, "UTF-16LE"),
            (&wide_by(|letter| vec![0, 0, 0, letter]), "UTF-32BE"),
            (&[&b"\xff\xfe\0\0"[..], &wide_by(|letter| vec![letter, 0, 0, 0])].concat(), "iconv -f UTF-32 "),
        ] {
            assert!(binary(head).is_some_and(|what| what.contains(part)), "{head:?}");
        }
        for text in [&b"ORCHIDS and roses\n"[..], b"BZh was a word\n", b"a text", b"\x03\0\0\0\x01\x02\x03"] {
            assert_eq!(binary(text), None, "{text:?}");
        }
    }
}
