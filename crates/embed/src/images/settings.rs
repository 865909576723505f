//! `config.json` of the model folder: the architecture, the colour statistics and the class names.

use super::architecture::Architecture;
use super::net::Net;
use serde::{Deserialize, Serialize};

/// The family in the model card.
pub(crate) const FAMILY: &str = "images";

/// `config.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) side: usize,
    pub(super) channels: usize,
    pub(super) width: usize,
    pub(super) blocks: usize,
    /// Per colour, for pixels scaled to 0..1.
    pub(super) mean: Vec<f32>,
    pub(super) deviation: Vec<f32>,
    pub(super) classes: Vec<String>,
}

/// Serializes `config.json`.
pub(super) fn settings(net: &Net, classes: &[String]) -> Vec<u8> {
    let Architecture { side, channels, width, blocks, .. } = net.shape();
    let (mean, deviation) = net.colours();
    let (mean, deviation, classes) = (mean.to_vec(), deviation.to_vec(), classes.to_vec());
    let settings = Settings { side, channels, width, blocks, mean, deviation, classes };
    serde_json::to_vec_pretty(&settings).expect("numbers and names always serialize")
}
