//! The files of a load as one stream of items.

use super::detect::{self, Format};
use super::idx::{self, ImageRecords};
use super::images::{self, FolderRecords};
use super::json::JsonRecords;
use super::lines::TextRecords;
use super::rows::{Number, RowRecords, Rows};
use super::wiki::WikiRecords;
use super::word2vec::WordRecords;
use super::{fbin, npy, vecs};
use crate::api::{Item, PointInput};
use crate::cli::config::UsageError;
use crate::cli::load::input_stream::InputStream;
use crate::cli::load::record::{FilePosition, RecordError, RecordPosition, Records};
use crate::collection::Blocks;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Conversion of files to items.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadOptions {
    /// Prefix of every generated id.
    pub(crate) id_prefix: String,
    /// Refuse images that are not digits; set if the digit net was not chosen explicitly.
    pub(crate) digits_only: bool,
    /// Pixels of IDX files become vectors instead of images.
    pub(crate) pixels_as_vectors: bool,
    /// Split texts into these blocks.
    pub(crate) blocks: Option<Blocks>,
}

/// Opens a file of a known format; `first_row` is the number of its first row.
pub(crate) fn open(
    path: &Path,
    format: Format,
    labels: Option<&Path>,
    first_row: u64,
    options: &ReadOptions,
) -> anyhow::Result<Box<dyn Records>> {
    let prefix = options.id_prefix.as_str();
    Ok(match format {
        Format::Text => Box::new(TextRecords::new(InputStream::open(path)?, prefix)),
        Format::Wiki => Box::new(WikiRecords::new(InputStream::open(path)?, prefix)),
        Format::Jsonl => Box::new(JsonRecords::lines(InputStream::open(path)?, prefix)),
        Format::Json => Box::new(JsonRecords::values(InputStream::open(path)?, prefix)),
        Format::Images => Box::new(FolderRecords::open(path, prefix)?),
        Format::Idx => Box::new(ImageRecords::open(path, labels, options.pixels_as_vectors, prefix, first_row)?),
        Format::Word2vec => Box::new(WordRecords::open(InputStream::open(path)?, false, prefix)?),
        Format::Word2vecBinary => Box::new(WordRecords::open(InputStream::open(path)?, true, prefix)?),
        Format::Npy | Format::Fvecs | Format::Bvecs | Format::Fbin | Format::U8bin | Format::I8bin => {
            let rows = open_rows_as(path, format)?.context("a format of bare vectors")?;
            Box::new(RowRecords::new(rows, prefix, first_row))
        }
    })
}

/// Opens a file of vectors, for `bench`.
pub(crate) fn open_rows(path: &Path) -> anyhow::Result<Rows> {
    let format = detect::detect(path)?;
    open_rows_as(path, format)?.with_context(|| {
        format!(
            "{}: is {}, not a file of vectors (fvecs, bvecs, fbin, u8bin, i8bin, npy, IDX)",
            path.display(),
            format.about()
        )
    })
}

/// Opens a file of vectors of a known format; none if it is not a format of plain vectors.
fn open_rows_as(path: &Path, format: Format) -> anyhow::Result<Option<Rows>> {
    let source = InputStream::open(path)?;
    Ok(Some(match format {
        Format::Npy => npy::open(source)?,
        Format::Fvecs => vecs::open(source, Number::F32)?,
        Format::Bvecs => vecs::open(source, Number::U8)?,
        Format::Fbin => fbin::open(source, Number::F32)?,
        Format::U8bin => fbin::open(source, Number::U8)?,
        Format::I8bin => fbin::open(source, Number::I8)?,
        Format::Idx => idx::open(source)?.rows,
        Format::Text
        | Format::Wiki
        | Format::Jsonl
        | Format::Json
        | Format::Images
        | Format::Word2vec
        | Format::Word2vecBinary => return Ok(None),
    }))
}

/// A file and its format.
#[derive(Clone, Debug)]
struct Input {
    path: PathBuf,
    format: Format,
    labels: Option<PathBuf>,
    bytes: u64,
}

/// The items of all files. Row numbers of vectors continue from file to file.
pub(crate) struct Files {
    inputs: std::vec::IntoIter<Input>,
    options: ReadOptions,
    formats: Vec<Format>,
    current: Option<Box<dyn Records>>,
    /// Remaining blocks of a text.
    rest: std::vec::IntoIter<Item>,
    position: FilePosition,
    rows_before: u64,
    bytes_before: u64,
    bytes_total: u64,
    notes: Vec<String>,
}

impl Files {
    /// Detects the formats and opens every file once, so that an invalid one is refused before anything is written.
    pub(crate) fn new(
        paths: &[PathBuf],
        format: Option<Format>,
        labels: &[PathBuf],
        options: ReadOptions,
    ) -> anyhow::Result<Self> {
        let mut labels = labels.iter();
        let mut inputs = Vec::new();
        for path in paths {
            let format = match format {
                Some(format) => format,
                None => detect::detect(path)?,
            };
            let labels = if format == Format::Idx { labels.next().cloned() } else { None };
            let bytes = open(path, format, labels.as_deref(), 0, &options)?.bytes_total();
            inputs.push(Input { path: path.clone(), format, labels, bytes });
        }
        if let Some(left) = labels.next() {
            bail!(UsageError(format!(
                "--labels {}: there are fewer IDX files of images than label files",
                left.display()
            )));
        }
        let mut formats: Vec<Format> = Vec::new();
        for input in &inputs {
            if !formats.contains(&input.format) {
                formats.push(input.format);
            }
        }
        let bytes_total = inputs.iter().map(|input| input.bytes).sum();
        let position = FilePosition {
            path: Arc::from(paths.first().map_or(Path::new(""), PathBuf::as_path)),
            at: RecordPosition::Whole,
        };
        Ok(Self {
            inputs: inputs.into_iter(),
            options,
            formats,
            current: None,
            rest: Vec::new().into_iter(),
            position,
            rows_before: 0,
            bytes_before: 0,
            bytes_total,
            notes: Vec::new(),
        })
    }

    /// Returns the distinct formats of the files.
    pub(crate) fn formats(&self) -> &[Format] {
        &self.formats
    }

    /// Whether the ids are positions in a file, not properties of the items.
    pub(crate) fn ids_are_positions(&self) -> bool {
        self.formats.iter().any(|format| format.ids_are_positions())
    }

    /// Returns notes on inconsistencies in the files that were read completely, each preceded by the file name.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Returns the fraction of all bytes read, 0 to 1.
    pub(crate) fn part(&self) -> f64 {
        self.bytes_read() as f64 / self.bytes_total.max(1) as f64
    }
}

impl Iterator for Files {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(block) = self.rest.next() {
            return Some(Ok(block));
        }
        let record = self.record()?.and_then(|item| match &item.source {
            PointInput::Image(image) if self.options.digits_only => match images::unlike_a_digit(image) {
                Some(what) => Err(RecordError::record(self.file_position(), what)),
                None => Ok(item),
            },
            _ => Ok(item),
        });
        let item = match (record, self.options.blocks) {
            (Ok(item), Some(blocks)) => blocks.items("the record", item).map(|(blocks, _)| blocks),
            (next, _) => return Some(next),
        };
        match item {
            Ok(items) => {
                self.rest = items.into_iter();
                self.rest.next().map(Ok)
            }
            Err(error) => Some(Err(RecordError::record(self.file_position(), error.to_string()))),
        }
    }
}

impl Files {
    /// Returns the next unsplit record of the files.
    fn record(&mut self) -> Option<Result<Item, RecordError>> {
        loop {
            if let Some(records) = &mut self.current {
                let next = records.next();
                self.position = records.file_position();
                match next {
                    Some(Err(error)) if error.fatal => {
                        self.rows_before += records.rows_seen();
                        self.bytes_before += records.bytes_total();
                        self.current = None;
                        return Some(Err(error));
                    }
                    Some(next) => return Some(next),
                    None => {
                        let file = FilePosition { at: RecordPosition::Whole, ..self.position.clone() };
                        self.notes.extend(records.note().map(|note| format!("{file}: {note}")));
                        self.rows_before += records.rows_seen();
                        self.bytes_before += records.bytes_total();
                        self.current = None;
                    }
                }
            }
            let input = self.inputs.next()?;
            match open(&input.path, input.format, input.labels.as_deref(), self.rows_before, &self.options) {
                Ok(records) => self.current = Some(records),
                Err(error) => {
                    // Opening succeeded a moment ago.
                    let position = FilePosition { path: Arc::from(input.path.as_path()), at: RecordPosition::Whole };
                    return Some(Err(RecordError::fatal(position, format!("{error:#}"))));
                }
            }
        }
    }
}

impl Records for Files {
    fn bytes_read(&self) -> u64 {
        self.bytes_before + self.current.as_ref().map_or(0, |records| records.bytes_read())
    }
    fn bytes_total(&self) -> u64 {
        self.bytes_total
    }
    fn file_position(&self) -> FilePosition {
        self.position.clone()
    }
    fn rows_seen(&self) -> u64 {
        self.rows_before + self.current.as_ref().map_or(0, |records| records.rows_seen())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::formats::fixture::{self, fvecs};

    #[test]
    fn row_numbers_continue_from_file_to_file() {
        let a = fixture::file("a.fvecs", &fvecs(&[&[1.0, 2.0], &[3.0, 4.0]]));
        let text = fixture::file("a.txt", b"one\n");
        let b = fixture::file("b.fvecs", &fvecs(&[&[1.0, 2.0], &[3.0, 4.0]]));
        let options = ReadOptions { id_prefix: "x".into(), ..Default::default() };
        let mut files = Files::new(&[a.path.clone(), text.path.clone(), b.path.clone()], None, &[], options).unwrap();
        assert!(files.ids_are_positions() && files.formats() == [Format::Fvecs, Format::Text]);
        let mut ids = files.by_ref().map(|item| item.unwrap().id.as_str().to_owned()).collect::<Vec<_>>();
        assert!(ids.remove(2).len() > 20, "a text has no row number");
        assert_eq!(ids, ["x0", "x1", "x2", "x3"]);
        assert_eq!(files.part(), 1.0);
        assert_eq!(files.rows_seen(), 4);
    }

    #[test]
    fn a_text_becomes_its_blocks() {
        let a = fixture::file("a.txt", b"one two three\n\nfour\n");
        let options = ReadOptions { blocks: Some(Blocks::new(2).overlap(1)), ..Default::default() };
        let files = Files::new(std::slice::from_ref(&a.path), None, &[], options).unwrap();
        let items: Vec<Item> = files.map(Result::unwrap).collect();
        let seen: Vec<_> = items.iter().map(fixture::text).collect();
        assert_eq!(seen, ["one two", "two three", "four"]);
        let parent = items[1].payload["parent"].as_str().unwrap();
        assert_eq!((items[0].id.as_str(), items[1].id.as_str()), (&*format!("{parent}#0"), &*format!("{parent}#1")));
        assert!(items[2].id.as_str().ends_with("#0") && !items[2].id.as_str().starts_with(parent));
        assert_eq!(items[1].payload["start"], 4);
    }

    #[test]
    fn a_wrong_file_is_refused_before_the_first_item() {
        let a = fixture::file("a.txt", b"one\n");
        assert!(Files::new(&[a.path.clone(), "missing".into()], None, &[], ReadOptions::default()).is_err());
        let left = Files::new(std::slice::from_ref(&a.path), None, &["labels".into()], ReadOptions::default());
        assert!(left.err().unwrap().is::<UsageError>());
    }
}
