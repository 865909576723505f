//! Reader of files of vectors of one dimension, row by row: as numbers for `bench`, or as items for `load`.

use crate::api::{Item, PointInput};
use crate::cli::load::input_stream::{Fill, InputStream};
use crate::cli::load::record::{FilePosition, RecordError, RecordPosition, Records};
use crate::types::{MAX_DIMENSION, PointId};
use anyhow::bail;
use std::path::Path;

/// Number type of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// Unsigned bytes.
    U8,
    /// Signed bytes.
    I8,
    /// Little-endian 16-bit floats.
    F16,
    /// Little-endian 32-bit floats.
    F32,
    /// Little-endian 64-bit floats.
    F64,
}

impl Number {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Rows after a header that the module of the format has read and checked.
pub(crate) struct Rows {
    source: InputStream,
    dimension: usize,
    number: Number,
    /// Number of rows according to the header.
    declared: Option<u64>,
    /// Every row is preceded by its dimension (fvecs, bvecs).
    each_has_header: bool,
    row: u64,
    done: bool,
    bytes: Vec<u8>,
}

impl Rows {
    /// Creates a reader of the rows from the current position. `declared` was verified against the length of the file,
    /// if that is known.
    pub(crate) fn new(source: InputStream, dimension: usize, number: Number, declared: Option<u64>) -> Self {
        Self { source, dimension, number, declared, each_has_header: false, row: 0, done: false, bytes: Vec::new() }
    }

    /// As [`new`](Self::new), with the dimension as a 32-bit number before every row.
    pub(crate) fn with_headers(source: InputStream, dimension: usize, number: Number, declared: Option<u64>) -> Self {
        Self { each_has_header: true, ..Self::new(source, dimension, number, declared) }
    }

    /// Returns the number of components of a row.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the number of rows, if it is known and the file is long enough for them.
    pub(crate) fn len(&self) -> Option<u64> {
        self.source.content_bytes().and(self.declared)
    }

    /// Returns the bytes of the file read so far, and its size.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.source.bytes_read(), self.source.bytes_total())
    }

    /// Appends the next row to `out`; none after the last, and after a fatal error.
    pub(crate) fn next_row(&mut self, out: &mut Vec<f32>) -> Option<Result<(), RecordError>> {
        if self.done {
            return None;
        }
        let result = self.raw();
        let position = self.file_position();
        match result {
            Ok(true) => self.row += 1,
            Ok(false) => {
                self.done = true;
                return None;
            }
            Err(what) => {
                self.done = true;
                return Some(Err(RecordError::fatal(position, what)));
            }
        }
        let bytes = if self.each_has_header { &self.bytes[4..] } else { self.bytes.as_slice() };
        let start = out.len();
        match self.number {
            Number::U8 => out.extend(bytes.iter().map(|byte| f32::from(*byte))),
            Number::I8 => out.extend(bytes.iter().map(|byte| f32::from(byte.cast_signed()))),
            Number::F16 => {
                out.extend(bytes.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()));
            }
            Number::F32 => out.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            Number::F64 => out.extend(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32)),
        }
        if let Some(component) = out[start..].iter().position(|x| !x.is_finite()) {
            let what = format!("component {component} is {}, it must be finite", out[start + component]);
            out.truncate(start);
            return Some(Err(RecordError::record(position, what)));
        }
        Some(Ok(()))
    }

    /// Returns the bytes of the next row, if its numbers are single bytes.
    pub(crate) fn raw_bytes(&self) -> Option<&[u8]> {
        (self.number == Number::U8 && !self.each_has_header).then_some(&self.bytes)
    }

    fn file_position(&self) -> FilePosition {
        self.source.file_position(RecordPosition::Record(self.row))
    }

    /// Reads the bytes of a row; false at a proper end.
    fn raw(&mut self) -> Result<bool, String> {
        let truncated = || match self.declared {
            Some(declared) => format!("the file ends here, but its header declares {declared} records"),
            None => "the file ends within this record".to_owned(),
        };
        if self.declared == Some(self.row) {
            let mut byte = [0];
            return match self.source.fill(&mut byte) {
                Ok(Fill::End) => Ok(false),
                Ok(Fill::Full | Fill::Short(_)) => {
                    Err("the file has data after the records declared in its header".into())
                }
                Err(error) => Err(error.to_string()),
            };
        }
        let header = if self.each_has_header { 4 } else { 0 };
        self.bytes.resize(header + self.dimension * self.number.bytes(), 0);
        if self.each_has_header {
            // The header first: after an invalid one, the rest of the row would be misread.
            match self.source.fill(&mut self.bytes[..4]).map_err(|error| error.to_string())? {
                Fill::Full => {}
                Fill::End if self.declared.is_none() => return Ok(false),
                Fill::End | Fill::Short(_) => return Err(truncated()),
            }
            let found = u32::from_le_bytes([self.bytes[0], self.bytes[1], self.bytes[2], self.bytes[3]]);
            if found as usize != self.dimension {
                return Err(format!("it has {found} components, the previous records have {}", self.dimension));
            }
        }
        match self.source.fill(&mut self.bytes[header..]).map_err(|error| error.to_string())? {
            Fill::Full => Ok(true),
            Fill::End if self.declared.is_none() && !self.each_has_header => Ok(false),
            Fill::End | Fill::Short(_) => Err(truncated()),
        }
    }
}

/// Checks the dimension in a header against the limits.
pub(crate) fn check_dimension(path: &Path, dimension: u64) -> anyhow::Result<usize> {
    if dimension == 0 || dimension > u64::from(MAX_DIMENSION) {
        bail!("{}: its vectors have {dimension} components, 1 to {MAX_DIMENSION} are allowed", path.display());
    }
    Ok(dimension as usize)
}

/// Rows as items: the id is a prefix with the row number.
pub(crate) struct RowRecords {
    rows: Rows,
    id_prefix: String,
    first_row: u64,
    position: FilePosition,
}

impl RowRecords {
    pub(crate) fn new(rows: Rows, id_prefix: &str, first_row: u64) -> Self {
        let position = rows.file_position();
        Self { rows, id_prefix: id_prefix.into(), first_row, position }
    }
}

impl Iterator for RowRecords {
    type Item = Result<Item, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.position = self.rows.file_position();
        let id = format!("{}{}", self.id_prefix, self.first_row + self.rows.row);
        let mut vector = Vec::with_capacity(self.rows.dimension);
        let read = self.rows.next_row(&mut vector)?;
        Some(read.and_then(|()| {
            let id = PointId::new(id).map_err(|error| RecordError::record(self.position.clone(), error.to_string()))?;
            Ok(Item {
                id,
                source: PointInput::Vector(vector),
                payload: Default::default(),
                vectors: Default::default(),
            })
        }))
    }
}

impl Records for RowRecords {
    fn bytes_read(&self) -> u64 {
        self.rows.bytes().0
    }
    fn bytes_total(&self) -> u64 {
        self.rows.bytes().1
    }
    fn file_position(&self) -> FilePosition {
        self.position.clone()
    }
    fn rows_seen(&self) -> u64 {
        self.rows.row
    }
}
