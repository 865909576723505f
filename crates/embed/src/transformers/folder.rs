//! Reading of model folders with size limits.
//!
//! A model folder is flat: `card.json`, `config.json`, `tokenizer.json`, `model.safetensors`; for sentence encoders
//! `pooling.json`, which combines the settings that sentence-transformers spreads over four files; for image nets
//! `preprocessor.json`.

use crate::save::read_bounded;
use crate::{Error, Fingerprint, Fingerprinter, ModelCard, ModelFiles};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

pub(super) const CARD: &str = "card.json";
pub(super) const CONFIG: &str = "config.json";
pub(super) const POOLING: &str = "pooling.json";
pub(super) const PREPROCESSOR: &str = "preprocessor.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const WEIGHTS: &str = "model.safetensors";
const MAX_CONFIG_BYTES: u64 = 1 << 20;
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// Reads a small settings file.
pub(super) fn read_config(path: &Path) -> Result<Vec<u8>, Error> {
    read_bounded(path, MAX_CONFIG_BYTES)
}

pub(super) fn read_tokenizer(path: &Path) -> Result<Vec<u8>, Error> {
    read_bounded(path, MAX_TOKENIZER_BYTES)
}

/// Parses JSON into a type.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json)
        .map_err(|error| Error::Corrupt { path: path.into(), what: format!("not understood: {error}") })
}

/// The files that determine the vectors of a model, by name, and their fingerprint.
pub(super) struct FingerprintedFiles {
    folder: PathBuf,
    names: &'static [&'static str],
    family: &'static str,
    pub(super) fingerprint: Fingerprint,
}

impl FingerprintedFiles {
    /// `contents` are those of `names`, in the same order.
    pub(super) fn new(
        folder: &Path,
        family: &'static str,
        names: &'static [&'static str],
        contents: &[&[u8]],
    ) -> Result<Self, Error> {
        let fingerprint = fingerprint(family, names, contents);
        // Absolute, because a server may change its working directory.
        let folder = std::path::absolute(folder).map_err(|source| Error::Io { path: folder.into(), source })?;
        Ok(Self { folder, names, family, fingerprint })
    }

    /// The files on disk, verified to be the loaded ones, followed by the card.
    pub(super) fn files(&self, card: &ModelCard) -> Result<ModelFiles, Error> {
        let mut files = ModelFiles::new();
        for name in self.names {
            files.push((*name, read_bounded(&self.folder.join(name), u64::MAX - 1)?));
        }
        let contents: Vec<&[u8]> = files.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        if fingerprint(self.family, self.names, &contents) != self.fingerprint {
            let what = "its files are not those that were loaded".into();
            return Err(Error::Corrupt { path: self.folder.clone(), what });
        }
        files.push((CARD, (card.to_json() + "\n").into_bytes()));
        Ok(files)
    }
}

fn fingerprint(family: &str, names: &[&str], contents: &[&[u8]]) -> Fingerprint {
    let mut parts = Fingerprinter::new(family);
    names.iter().zip(contents).for_each(|(name, bytes)| parts.part(name, bytes));
    parts.finish()
}
