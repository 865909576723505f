//! Tensors of a safetensors file, with checked shapes. Allocations are limited by the file's contents.

use crate::Error;
use crate::save::read_bounded;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::{Path, PathBuf};

/// Maximum file size: models must fit into the memory of one machine.
const MAX_BYTES: u64 = 8 << 30;

/// The bytes of a weights file.
pub(super) struct WeightsFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl WeightsFile {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.into(), bytes: read_bounded(path, MAX_BYTES)? })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tensors in the file, on `device`. All names may have one of the `prefixes`.
    pub(super) fn open<'a>(&'a self, device: &'a Device, prefixes: &[&'static str]) -> Result<Weights<'a>, Error> {
        let file = SafeTensors::deserialize(&self.bytes).map_err(|error| Error::Corrupt {
            path: self.path.clone(),
            what: format!("not a whole safetensors file: {error}"),
        })?;
        let names = file.names();
        let prefix = prefixes.iter().find(|prefix| names.iter().any(|name| name.starts_with(**prefix)));
        Ok(Weights { path: &self.path, prefix: prefix.unwrap_or(&""), file, device })
    }
}

/// Access to tensors by name and shape.
pub(super) struct Weights<'a> {
    path: &'a Path,
    prefix: &'static str,
    file: SafeTensors<'a>,
    device: &'a Device,
}

impl Weights<'_> {
    pub(super) fn corrupt(&self, what: String) -> Error {
        Error::Corrupt { path: self.path.into(), what }
    }

    /// The shape of the tensor with that name, if it exists.
    pub(super) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.view(&[name]).ok().map(|(_, view)| view.shape().to_vec())
    }

    fn view(&self, names: &[&str]) -> Result<(String, TensorView<'_>), Error> {
        // The head of a net has no prefix.
        for name in names.iter().flat_map(|name| [format!("{}{name}", self.prefix), (*name).to_owned()]) {
            if let Ok(view) = self.file.tensor(&name) {
                return Ok((name, view));
            }
        }
        Err(self.corrupt(format!("has no tensor {:?}", format!("{}{}", self.prefix, names[0]))))
    }

    /// The tensor with one of these names (current or older), with that shape, as `f32`.
    pub(super) fn get(&self, names: &[&str], shape: &[usize]) -> Result<Tensor, Error> {
        let (name, view) = self.view(names)?;
        if view.shape() != shape {
            let found = view.shape();
            return Err(
                self.corrupt(format!("tensor {name:?} has the shape {found:?}, the settings require {shape:?}"))
            );
        }
        let numbers: Vec<f32> = match view.dtype() {
            Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            Dtype::F16 => {
                view.data().as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
            }
            Dtype::BF16 => {
                view.data().as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()
            }
            other => {
                return Err(self.corrupt(format!("tensor {name:?} is {other:?}; supported: F32, F16 and BF16")));
            }
        };
        if let Some(index) = numbers.iter().position(|number| !number.is_finite()) {
            return Err(self.corrupt(format!("number {index} of tensor {name:?} is not finite")));
        }
        Tensor::from_vec(numbers, shape, self.device)
            .and_then(|tensor| tensor.to_dtype(DType::F32))
            .map_err(|error| self.corrupt(format!("tensor {name:?} cannot be used: {error}")))
    }
}
