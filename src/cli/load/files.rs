//! The files of a load, one after the other, as one stream of items.

use super::detect::{self, Format};
use super::idx::ImageRecords;
use super::images::FolderRecords;
use super::json::JsonRecords;
use super::lines::TextRecords;
use super::record::{At, Place, RecordError, Records};
use super::rows::{self, RowRecords};
use super::source::Source;
use super::wiki::WikiRecords;
use super::word2vec::WordRecords;
use crate::cli::config::Usage;
use crate::collection::{Blocks, Item};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How files become items.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadOptions {
    /// Before every id that the file does not give itself whole.
    pub(crate) id_prefix: String,
    /// Pixels of IDX files as vectors, not as images.
    pub(crate) pixels_as_vectors: bool,
    /// Texts as the blocks they are split into.
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
        Format::Text => Box::new(TextRecords::new(Source::open(path)?, prefix, first_row)),
        Format::Wiki => Box::new(WikiRecords::new(Source::open(path)?, prefix)),
        Format::Jsonl => Box::new(JsonRecords::new(Source::open(path)?, prefix, first_row)),
        Format::Images => Box::new(FolderRecords::open(path, prefix)?),
        Format::Idx => Box::new(ImageRecords::open(path, labels, options.pixels_as_vectors, prefix, first_row)?),
        Format::Word2vec => Box::new(WordRecords::open(Source::open(path)?, false, prefix)?),
        Format::Word2vecBinary => Box::new(WordRecords::open(Source::open(path)?, true, prefix)?),
        Format::Npy | Format::Fvecs | Format::Bvecs | Format::Fbin | Format::U8bin => {
            let rows = rows::open_as(path, format)?.context("a format of bare vectors")?;
            Box::new(RowRecords::new(rows, prefix, first_row))
        }
    })
}

/// A file and what it is.
#[derive(Clone, Debug)]
struct Input {
    path: PathBuf,
    format: Format,
    labels: Option<PathBuf>,
    bytes: u64,
}

/// The items of all files. Row numbers go on from file to file.
pub(crate) struct Files {
    inputs: std::vec::IntoIter<Input>,
    options: ReadOptions,
    current: Option<Box<dyn Records>>,
    /// The rest of the blocks of a text.
    rest: std::vec::IntoIter<Item>,
    place: Place,
    rows_before: u64,
    bytes_before: u64,
    bytes_total: u64,
}

impl Files {
    /// Tells the formats and opens every file once, so that a wrong one is refused before anything is written.
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
            bail!(Usage(format!("--labels {}: there is no IDX file of images left for it", left.display())));
        }
        let bytes_total = inputs.iter().map(|input| input.bytes).sum();
        let place = Place { path: Arc::from(paths.first().map_or(Path::new(""), PathBuf::as_path)), at: At::Whole };
        Ok(Self {
            inputs: inputs.into_iter(),
            options,
            current: None,
            rest: Vec::new().into_iter(),
            place,
            rows_before: 0,
            bytes_before: 0,
            bytes_total,
        })
    }

    /// Part of all bytes that was read, 0 to 1.
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
        let item = match (self.record()?, self.options.blocks) {
            (Ok(item), Some(blocks)) => blocks.items("the record", item).map(|(blocks, _)| blocks),
            (next, _) => return Some(next),
        };
        match item {
            Ok(items) => {
                self.rest = items.into_iter();
                self.rest.next().map(Ok)
            }
            Err(error) => Some(Err(RecordError::record(self.place(), error.to_string()))),
        }
    }
}

impl Files {
    /// The next record of the files, whole.
    fn record(&mut self) -> Option<Result<Item, RecordError>> {
        loop {
            if let Some(records) = &mut self.current {
                let next = records.next();
                self.place = records.place();
                match next {
                    Some(Err(error)) if error.fatal => {
                        self.rows_before += records.rows_seen();
                        self.bytes_before += records.bytes_total();
                        self.current = None;
                        return Some(Err(error));
                    }
                    Some(next) => return Some(next),
                    None => {
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
                    // It could be opened a moment ago.
                    let place = Place { path: Arc::from(input.path.as_path()), at: At::Whole };
                    return Some(Err(RecordError::fatal(place, format!("{error:#}"))));
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
    fn place(&self) -> Place {
        self.place.clone()
    }
    fn rows_seen(&self) -> u64 {
        self.rows_before + self.current.as_ref().map_or(0, |records| records.rows_seen())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::fixture::{self, fvecs};

    #[test]
    fn row_numbers_go_on_from_file_to_file() {
        let a = fixture::file("a.txt", b"one\ntwo\n");
        let b = fixture::file("b.fvecs", &fvecs(&[&[1.0, 2.0], &[3.0, 4.0]]));
        let options = ReadOptions { id_prefix: "x".into(), ..Default::default() };
        let mut files = Files::new(&[a.path.clone(), b.path.clone()], None, &[], options).unwrap();
        let ids = files.by_ref().map(|item| item.unwrap().id.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(ids, ["x0", "x1", "x2", "x3"]);
        assert_eq!(files.part(), 1.0);
        assert_eq!(files.rows_seen(), 4);
    }

    #[test]
    fn a_text_becomes_its_blocks_and_keeps_its_row() {
        let a = fixture::file("a.txt", b"one two three\n\nfour\n");
        let options = ReadOptions { blocks: Some(Blocks { words: 2, overlap: 1 }), ..Default::default() };
        let files = Files::new(std::slice::from_ref(&a.path), None, &[], options).unwrap();
        let items: Vec<Item> = files.map(Result::unwrap).collect();
        let seen: Vec<_> = items.iter().map(|item| (item.id.as_str(), fixture::text(item))).collect();
        assert_eq!(seen, [("0#0", "one two"), ("0#1", "two three"), ("2#0", "four")]);
        assert_eq!((&items[1].payload["parent"], &items[1].payload["start"]), (&"0".into(), &4.into()));
    }

    #[test]
    fn a_wrong_file_is_refused_before_the_first_item() {
        let a = fixture::file("a.txt", b"one\n");
        assert!(Files::new(&[a.path.clone(), "missing".into()], None, &[], ReadOptions::default()).is_err());
        let left = Files::new(std::slice::from_ref(&a.path), None, &["labels".into()], ReadOptions::default());
        assert!(left.err().unwrap().is::<Usage>());
    }
}
