//! Matrices of a model in their stored precision, and the tensors of a safetensors file that hold them.

use crate::{Error, types::Precision};
use half::f16;
use safetensors::{Dtype, SafeTensors};
use std::{collections::HashMap, path::Path};

/// A matrix in its stored precision.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Table {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I8 { codes: Vec<i8>, scales: Vec<f32> },
}

impl Table {
    /// Encodes rows of `dimension` numbers in the given precision.
    pub(super) fn encode(precision: Precision, rows: Vec<f32>, dimension: usize) -> Self {
        match precision {
            Precision::F32 => Self::F32(rows),
            Precision::F16 => {
                Self::F16(rows.into_iter().map(|x| f16::from_f32(x.clamp(-65_504.0, 65_504.0))).collect())
            }
            Precision::I8 => {
                let mut codes = Vec::with_capacity(rows.len());
                let mut scales = Vec::with_capacity(rows.len() / dimension.max(1));
                for row in rows.chunks_exact(dimension.max(1)) {
                    let scale = row.iter().fold(0.0_f32, |max, x| max.max(x.abs())) / 127.0;
                    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                    codes.extend(row.iter().map(|x| (x * inverse).round() as i8));
                    scales.push(scale);
                }
                Self::I8 { codes, scales }
            }
        }
    }

    /// Decodes rows `first..last` into `out`.
    pub(super) fn decode(&self, dimension: usize, first: usize, last: usize, out: &mut Vec<f32>) {
        out.clear();
        let range = first * dimension..last * dimension;
        match self {
            Self::F32(rows) => out.extend_from_slice(&rows[range]),
            Self::F16(rows) => out.extend(rows[range].iter().map(|x| x.to_f32())),
            Self::I8 { codes, scales } => {
                for (row, &scale) in codes[range].chunks_exact(dimension).zip(&scales[first..last]) {
                    out.extend(row.iter().map(|&code| f32::from(code) * scale));
                }
            }
        }
    }

    /// Returns the number of matrix elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(rows) => rows.len(),
            Self::F16(rows) => rows.len(),
            Self::I8 { codes, .. } => codes.len(),
        }
    }

    pub(super) fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F16(_) => Dtype::F16,
            Self::I8 { .. } => Dtype::I8,
        }
    }

    /// Returns the numbers, little-endian, and the scales, if any.
    pub(super) fn bytes(&self) -> (std::borrow::Cow<'_, [u8]>, Option<std::borrow::Cow<'_, [u8]>>) {
        match self {
            Self::F32(rows) => (le_bytes(rows), None),
            Self::F16(rows) if cfg!(target_endian = "little") => (bytemuck::cast_slice(rows).into(), None),
            Self::F16(rows) => (rows.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>().into(), None),
            Self::I8 { codes, scales } => (bytemuck::cast_slice(codes).into(), Some(le_bytes(scales))),
        }
    }

    pub(super) fn read(
        tensors: &Tensors<'_>,
        name: &str,
        rows: usize,
        dimension: usize,
    ) -> Result<Option<Self>, Error> {
        let Some((dtype, bytes)) = tensors.get(name, &[rows, dimension])? else { return Ok(None) };
        let table = match dtype {
            Dtype::F32 => Self::F32(tensors.floats(name, bytes)?),
            Dtype::F16 => {
                let numbers: Vec<f16> = bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
                if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
                    return Err(tensors.corrupt(format!("the tensor {name:?} has a number that is not finite at {at}")));
                }
                Self::F16(numbers)
            }
            Dtype::I8 => {
                let scale_name = format!("{name}.scale");
                let Some((Dtype::F32, scales)) = tensors.get(&scale_name, &[rows])? else {
                    return Err(
                        tensors.corrupt(format!("there is no F32 tensor {scale_name:?} beside the I8 {name:?}"))
                    );
                };
                let scales = tensors.floats(&scale_name, scales)?;
                if let Some(at) = scales.iter().position(|&scale| scale < 0.0 || !(scale * 128.0).is_finite()) {
                    return Err(
                        tensors.corrupt(format!("the tensor {scale_name:?} has the scale {} at {at}", scales[at]))
                    );
                }
                Self::I8 { codes: bytemuck::cast_slice(bytes).to_vec(), scales }
            }
            other => {
                return Err(tensors.corrupt(format!("the tensor {name:?} is of type {other:?}, not F32, F16 or I8")));
            }
        };
        Ok(Some(table))
    }
}

/// Returns the bytes of `numbers`, little-endian.
pub(super) fn le_bytes(numbers: &[f32]) -> std::borrow::Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        bytemuck::cast_slice(numbers).into()
    } else {
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>().into()
    }
}

/// A safetensors file whose header matches its length.
pub(super) struct Tensors<'a> {
    path: &'a Path,
    pub(super) tensors: SafeTensors<'a>,
    pub(super) metadata: HashMap<String, String>,
}

impl<'a> Tensors<'a> {
    pub(super) fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self, Error> {
        let corrupt = |error: safetensors::SafeTensorError| Error::Corrupt {
            path: path.into(),
            what: format!("not a safetensors file: {error}"),
        };
        let tensors = SafeTensors::deserialize(bytes).map_err(corrupt)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(corrupt)?;
        Ok(Self { path, tensors, metadata: header.metadata().clone().unwrap_or_default() })
    }

    pub(super) fn corrupt(&self, what: String) -> Error {
        Error::Corrupt { path: self.path.into(), what }
    }

    /// Returns the type and bytes of a tensor, whose shape must be `shape`; `None` if there is no tensor of that name.
    pub(super) fn get(&self, name: &str, shape: &[usize]) -> Result<Option<(Dtype, &'a [u8])>, Error> {
        let Ok(view) = self.tensors.tensor(name) else { return Ok(None) };
        if view.shape() != shape {
            return Err(
                self.corrupt(format!("the tensor {name:?} has the shape {:?}, expected {shape:?}", view.shape()))
            );
        }
        Ok(Some((view.dtype(), view.data())))
    }

    /// Decodes F32 numbers, which must be finite.
    pub(super) fn floats(&self, name: &str, bytes: &[u8]) -> Result<Vec<f32>, Error> {
        let numbers: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        match numbers.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(self.corrupt(format!("the tensor {name:?} has a number that is not finite at {at}"))),
            None => Ok(numbers),
        }
    }
}
