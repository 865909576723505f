//! The model folder: `card.json`, `config.json` (the architecture) and `model.safetensors`.

use super::architecture::Architecture;
use super::net::{Folded, Net};
use super::settings::{FAMILY, Settings, settings};
use super::{PictureNet, data};
use crate::save::{read_bounded, write_folder};
use crate::{Embedder, Error, ModelCard, ModelFiles};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::Path;

const WEIGHTS_FILE: &str = "model.safetensors";
const SETTINGS_FILE: &str = "config.json";
const CARD_FILE: &str = "card.json";
/// Largest `config.json` that is read. (10,000 names of 255 bytes, each byte escaped, fit.)
const MAX_SETTINGS_BYTES: u64 = 16 << 20;
/// Size limit of the weights file in addition to the weights: its header.
const MAX_HEADER_BYTES: u64 = 1 << 20;

impl PictureNet {
    /// Reads a model folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if a file is too large or truncated, if settings are out of bounds, if the
    /// tensors do not match the settings in name, shape or type, or if a number is not finite.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(CARD_FILE);
        let card = ModelCard::parse(&path, &read_bounded(&path, MAX_SETTINGS_BYTES)?)?;
        if card.family != FAMILY {
            let what = format!("the card is of the family {:?}, not {FAMILY:?}", card.family);
            return Err(Error::Corrupt { path, what });
        }
        card.check_name(&path)?;
        let path = folder.join(SETTINGS_FILE);
        let corrupt = |what: String| Error::Corrupt { path: path.clone(), what };
        let settings: Settings = serde_json::from_slice(&read_bounded(&path, MAX_SETTINGS_BYTES)?)
            .map_err(|error| corrupt(format!("not the settings of a net for images: {error}")))?;
        let Settings { side, channels, width, blocks, mean, deviation, classes } = settings;
        let shape = Architecture { side, channels, width, blocks, classes: classes.len() };
        shape.check().and_then(|()| data::check_classes(&classes)).map_err(|error| corrupt(error.to_string()))?;
        let usable = |numbers: &[f32], min: f32| {
            numbers.len() == channels && numbers.iter().all(|number| (min..=1.0).contains(number))
        };
        if !usable(&mean, 0.0) || !usable(&deviation, 1e-3) {
            return Err(corrupt(format!("mean and deviation must be {channels} numbers, 0 to 1 and 0.001 to 1")));
        }
        let path = folder.join(WEIGHTS_FILE);
        let numbers: u64 = shape.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
        let folded = parse_weights(&path, &read_bounded(&path, 4 * numbers + MAX_HEADER_BYTES)?, &shape)?;
        let net = Net::new(shape, folded, mean, deviation);
        let net = net.map_err(|error| Error::Corrupt { path: path.clone(), what: error.to_string() })?;
        Self::new(net, classes, card)
    }

    /// Writes a model folder that [`load`](Self::load) reads; creates a missing folder. Writes the card last, each
    /// file atomically.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Disk`].
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        write_folder(folder, &self.folder()?)
    }

    /// The files of the model folder, the card last.
    pub(super) fn folder(&self) -> Result<ModelFiles, Error> {
        let net = self.net();
        let bytes: Vec<Vec<u8>> = net
            .folded()
            .tensors()
            .map(|tensor| tensor.iter().flat_map(|number| number.to_le_bytes()).collect())
            .collect();
        let tensors = net.shape().tensors();
        let views = tensors
            .iter()
            .zip(&bytes)
            .map(|((name, shape), bytes)| TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view)));
        let file = views.collect::<Result<Vec<_>, _>>().and_then(|views| safetensors::serialize(views, None));
        let file = file.map_err(|error| Error::Compute(format!("the weights cannot be put into a file: {error}")))?;
        Ok(vec![
            (WEIGHTS_FILE, file),
            (SETTINGS_FILE, settings(net, self.classes())),
            (CARD_FILE, (self.card().to_json() + "\n").into_bytes()),
        ])
    }
}

fn parse_weights(path: &Path, bytes: &[u8], shape: &Architecture) -> Result<Folded, Error> {
    let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
    let file = SafeTensors::deserialize(bytes).map_err(|error| corrupt(format!("not a safetensors file: {error}")))?;
    let wanted = shape.tensors();
    if file.len() != wanted.len() {
        return Err(corrupt(format!("holds {} tensors, this net has {}", file.len(), wanted.len())));
    }
    let mut tensors = wanted.iter().map(|(name, shape)| {
        let tensor = file.tensor(name).map_err(|_| corrupt(format!("has no tensor {name:?}")))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            let (dtype, found) = (tensor.dtype(), tensor.shape());
            return Err(corrupt(format!("tensor {name:?} is {dtype:?} {found:?}, expected F32 {shape:?}")));
        }
        Ok(tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>())
    });
    let mut pair = || {
        Ok::<_, Error>((
            tensors.next().unwrap_or_else(|| Ok(Vec::new()))?,
            tensors.next().unwrap_or_else(|| Ok(Vec::new()))?,
        ))
    };
    let convolutions = (0..wanted.len() / 2 - 1).map(|_| pair()).collect::<Result<_, _>>()?;
    Ok(Folded { convolutions, linear: pair()? })
}
