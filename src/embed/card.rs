//! The model card: what a model was trained on, how, when, how good it is, and under which licence its data stands.

use super::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Stored as `card.json` in a model folder. (A file format of its own, hence serde here.)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelCard {
    /// The embedder's name: `words`, `digits`, or what a user calls it.
    pub name: String,
    /// What kind of net it is, where the name does not say so: `bert`, `gpt`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub family: String,
    /// One sentence.
    pub summary: String,
    /// The command that trained it.
    pub command: String,
    /// The data, each with its size and SHA-256.
    pub data: Vec<DataSource>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Threads that trained it; the result repeats exactly with one.
    pub threads: usize,
    /// Training settings by name.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Day of training, `YYYY-MM-DD`.
    pub date: String,
    /// Measured quality by name.
    pub quality: serde_json::Map<String, serde_json::Value>,
}

/// One file that a model was trained on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataSource {
    /// File name, without folders.
    pub file: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Licence, as far as it is known.
    pub licence: String,
}

impl ModelCard {
    /// Reads a card; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not a card.
    pub fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(json)
            .map_err(|error| Error::Corrupt { path: path.into(), what: format!("not a model card: {error}") })
    }

    /// The card as indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a card has only string keys")
    }
}
