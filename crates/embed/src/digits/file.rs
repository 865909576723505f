//! The model folder (`card.json` and `model.safetensors`), and the built-in default.

use super::{
    DigitNet,
    model::{TENSORS, WEIGHTS},
};
use crate::save::{read_bounded, write_folder};
use crate::{DIGITS, Embedder, Error, ModelCard, ModelFiles};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::Path;

const WEIGHTS_FILE: &str = "model.safetensors";
const CARD_FILE: &str = "card.json";
/// Largest weights file that is read.
const MAX_WEIGHTS_BYTES: u64 = 4 << 20;
const MAX_CARD_BYTES: u64 = 1 << 20;

impl DigitNet {
    /// The built-in net from `models/digits`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the built-in bytes are damaged.
    pub fn default_model() -> Result<Self, Error> {
        let folder = Path::new("models/digits");
        let card = include_bytes!("../../models/digits/card.json");
        parse(folder, card, include_bytes!("../../models/digits/model.safetensors"))
    }

    /// Reads a model folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if a file is too large or truncated, if the tensors differ from this net's
    /// in name, shape or type, or if a number is not finite.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let card = read_bounded(&folder.join(CARD_FILE), MAX_CARD_BYTES)?;
        let weights = read_bounded(&folder.join(WEIGHTS_FILE), MAX_WEIGHTS_BYTES)?;
        parse(folder, &card, &weights)
    }

    /// Writes a model folder that [`load`](Self::load) reads; creates a missing folder. Writes the weights before
    /// the card, each file atomically.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        write_folder(folder, &self.folder())
    }

    /// The files of the model folder, the card last.
    pub(super) fn folder(&self) -> ModelFiles {
        let bytes: Vec<u8> = self.weights().iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let tensors = TENSORS.iter().map(|(name, shape, range)| {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes[range.start * 4..range.end * 4]);
            (*name, view.expect("the shapes of the table multiply to its ranges"))
        });
        let file = safetensors::serialize(tensors, None).expect("a few names and shapes always serialize");
        vec![(WEIGHTS_FILE, file), (CARD_FILE, (self.card().to_json() + "\n").into_bytes())]
    }
}

fn parse(folder: &Path, card: &[u8], weights: &[u8]) -> Result<DigitNet, Error> {
    let path = folder.join(CARD_FILE);
    let card = ModelCard::parse(&path, card)?;
    card.check_name(&path)?;
    if card.family_or_name() != DIGITS {
        return Err(Error::Corrupt { path, what: format!("the card is of {:?}, not of a digit net", card.name) });
    }
    Ok(DigitNet::new(parse_weights(&folder.join(WEIGHTS_FILE), weights)?, card))
}

fn parse_weights(path: &Path, bytes: &[u8]) -> Result<Vec<f32>, Error> {
    let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
    let file = SafeTensors::deserialize(bytes).map_err(|error| corrupt(format!("not a safetensors file: {error}")))?;
    if file.len() != TENSORS.len() {
        return Err(corrupt(format!("holds {} tensors, this net has {}", file.len(), TENSORS.len())));
    }
    let mut weights = Vec::with_capacity(WEIGHTS);
    for (name, shape, _) in TENSORS {
        let tensor = file.tensor(name).map_err(|_| corrupt(format!("has no tensor {name:?}")))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            let (dtype, found) = (tensor.dtype(), tensor.shape());
            return Err(corrupt(format!("tensor {name:?} is {dtype:?} {found:?}, expected F32 {shape:?}")));
        }
        for (index, number) in tensor.data().chunks_exact(4).enumerate() {
            let weight = f32::from_le_bytes(number.try_into().expect("a chunk of 4"));
            if !weight.is_finite() {
                return Err(corrupt(format!("number {index} of tensor {name:?} is not finite")));
            }
            weights.push(weight);
        }
    }
    Ok(weights)
}
