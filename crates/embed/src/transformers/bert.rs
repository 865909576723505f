//! The BERT family (Devlin et al. 2019; Reimers, Gurevych 2019): self-attention over the tokens of a text; the
//! pooled last hidden states are the vector of the text.

use super::folder::{self, CONFIG, FingerprintedFiles, POOLING, TOKENIZER, WEIGHTS};
use super::length_batches::by_length;
use super::ops::{self, Activation, Attention, Linear, Norm, failed};
use super::tokens::Tokens;
use super::weights::{Weights, WeightsFile};
use crate::{Embedder, Error, Fingerprint, Input, Modality, ModelCard, ModelFiles, OutputLayer};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Files that determine the vectors, and thus the fingerprint.
const FILES: &[&str] = &[CONFIG, POOLING, TOKENIZER, WEIGHTS];
/// Maximum tokens per text; longer texts are truncated.
const MAX_TOKENS: usize = 8_192;
/// Maximum attention scores per text: heads times tokens squared.
const MAX_SCORES: usize = 1 << 28;
/// Texts per batch; they have about the same length and are padded to the longest.
const BATCH_TEXTS: usize = 16;
/// Tokens per batch, including padding.
const BATCH_TOKENS: usize = 2_048;

/// Pooling of the token states into the vector of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PoolingKind {
    /// The mean over all tokens.
    #[default]
    Mean,
    /// The state of the first token.
    Cls,
}

/// `pooling.json`: the pooling settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pooling {
    pub(super) pooling: PoolingKind,
    /// Whether to normalize to length 1.
    pub(super) normalize: bool,
    /// Token limit; longer texts are truncated.
    pub(super) max_tokens: Option<usize>,
    /// Whether to convert to lower case before the tokenizer.
    pub(super) lower_case: bool,
}

impl Pooling {
    pub(super) fn to_json(&self) -> Vec<u8> {
        (serde_json::to_string_pretty(self).expect("a few plain settings") + "\n").into_bytes()
    }
}

/// The fields of `config.json` in use.
#[derive(Deserialize)]
struct Config {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "epsilon")]
    layer_norm_eps: f64,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

fn two() -> usize {
    2
}

fn gelu() -> String {
    "gelu".into()
}

fn epsilon() -> f64 {
    1e-12
}

struct Layer {
    /// Queries, keys and values, concatenated.
    qkv: Linear,
    out: Linear,
    norm: Norm,
    up: Linear,
    down: Linear,
    norm_after: Norm,
}

/// The BERT net.
struct Bert {
    words: Tensor,
    /// Position embeddings plus the embedding of token type 0.
    positions: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
    activation: Activation,
    device: Device,
}

impl Bert {
    /// Builds the net. Settings must agree with the shapes of the tensors.
    fn read(path: &Path, json: &[u8], file: &WeightsFile) -> Result<(Self, Config), Error> {
        let config: Config = folder::parse(path, json)?;
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
        if config.model_type != "bert" {
            let found: String = config.model_type.chars().take(40).collect();
            return Err(corrupt(format!("model_type is {found:?}; supported: \"bert\"")));
        }
        if config.is_decoder || config.position_embedding_type.as_ref().is_some_and(|kind| kind != "absolute") {
            return Err(corrupt(
                "supported: encoders with absolute positions (is_decoder, position_embedding_type)".into(),
            ));
        }
        let hidden = config.hidden_size;
        let heads = config.num_attention_heads;
        if hidden == 0 || heads == 0 || !hidden.is_multiple_of(heads) {
            return Err(corrupt(format!("hidden_size {hidden} is not a multiple of num_attention_heads {heads}")));
        }
        if hidden > crate::types::MAX_DIMENSION as usize {
            return Err(corrupt(format!(
                "hidden_size {hidden}: vectors have at most {} components",
                crate::types::MAX_DIMENSION
            )));
        }
        if !(config.layer_norm_eps > 0.0 && config.layer_norm_eps < 1.0) {
            return Err(corrupt(format!("layer_norm_eps is {}, not between 0 and 1", config.layer_norm_eps)));
        }
        let activation = Activation::from_name(&config.hidden_act).ok_or_else(|| {
            let found: String = config.hidden_act.chars().take(40).collect();
            corrupt(format!("hidden_act is {found:?}; supported: gelu, gelu_new and relu"))
        })?;
        let device = ops::device();
        let weights = file.open(&device, &["bert."])?;
        let epsilon = config.layer_norm_eps;
        let words = weights.get(&["embeddings.word_embeddings.weight"], &[config.vocab_size, hidden])?;
        let positions =
            weights.get(&["embeddings.position_embeddings.weight"], &[config.max_position_embeddings, hidden])?;
        let types = weights.get(&["embeddings.token_type_embeddings.weight"], &[config.type_vocab_size, hidden])?;
        let first = types.get(0).map_err(|_| corrupt("type_vocab_size is 0".into()))?;
        let positions = positions.broadcast_add(&first).map_err(failed)?;
        let norm = Norm::read(&weights, "embeddings.LayerNorm", hidden, epsilon)?;
        let mut layers = Vec::new();
        for number in 0..config.num_hidden_layers {
            layers.push(Layer::read(&weights, number, hidden, config.intermediate_size, epsilon)?);
        }
        Ok((Self { words, positions, norm, layers, heads, activation, device: device.clone() }, config))
    }

    /// The last hidden states of texts padded to the longest, `[texts * length, hidden]`, and the padded length.
    fn forward(&self, texts: &[&[u32]]) -> candle_core::Result<(Tensor, usize)> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let length = lengths.iter().copied().max().unwrap_or(0);
        let padded =
            texts.iter().flat_map(|text| text.iter().copied().chain(std::iter::repeat_n(0, length - text.len())));
        let ids = Tensor::from_iter(padded, &self.device)?;
        let hidden = self.words.dim(1)?;
        let words = self.words.index_select(&ids, 0)?.reshape((texts.len(), length, hidden))?;
        let x = words.broadcast_add(&self.positions.narrow(0, 0, length)?)?;
        let mut x = self.norm.forward(&x.reshape((texts.len() * length, hidden))?)?;
        let attention = Attention { heads: self.heads, lengths: &lengths, length, causal: false };
        for layer in &self.layers {
            let attended = attention.forward(&layer.qkv.forward(&x)?)?;
            x = layer.norm.forward(&(layer.out.forward(&attended)? + x)?)?;
            let inner = layer.up.forward_with_activation(&x, self.activation)?;
            x = layer.norm_after.forward(&(layer.down.forward(&inner)? + x)?)?;
        }
        Ok((x, length))
    }
}

impl Layer {
    fn read(weights: &Weights<'_>, number: usize, hidden: usize, inner: usize, epsilon: f64) -> Result<Self, Error> {
        let name = |part: &str| format!("encoder.layer.{number}.{part}");
        let linear = |part: &str, inputs, outputs| Linear::read(weights, &name(part), inputs, outputs);
        let qkv = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Ok(Self {
            qkv: Linear::read_concatenated(weights, &qkv, hidden, hidden)?,
            out: linear("attention.output.dense", hidden, hidden)?,
            norm: Norm::read(weights, &name("attention.output.LayerNorm"), hidden, epsilon)?,
            up: linear("intermediate.dense", hidden, inner)?,
            down: linear("output.dense", inner, hidden)?,
            norm_after: Norm::read(weights, &name("output.LayerNorm"), hidden, epsilon)?,
        })
    }
}

/// A sentence encoder.
pub struct BertEmbedder {
    net: Bert,
    tokens: Tokens,
    pooling: Pooling,
    card: ModelCard,
    fingerprinted: FingerprintedFiles,
    output_layers: [OutputLayer; 1],
}

/// Builds the net and the tokenizer, and checks that they match.
fn assemble(
    path: &Path,
    config: &[u8],
    pooling: &Pooling,
    tokenizer: &[u8],
    weights: &WeightsFile,
) -> Result<(Bert, Tokens), Error> {
    let (net, config) = Bert::read(&path.join(CONFIG), config, weights)?;
    let positions = config.max_position_embeddings;
    let max = pooling.max_tokens.unwrap_or(positions).min(positions).min(MAX_TOKENS);
    if max.saturating_mul(max).saturating_mul(net.heads) > MAX_SCORES {
        let what = format!(
            "texts of {max} tokens with {} heads of attention need too much memory; max_tokens is too large",
            net.heads
        );
        return Err(Error::Corrupt { path: path.join(CONFIG), what });
    }
    let tokens = Tokens::parse(&path.join(TOKENIZER), tokenizer, config.vocab_size, Some(max), pooling.lower_case)?;
    Ok((net, tokens))
}

/// Checks that the files form a valid sentence encoder.
pub(super) fn check(
    folder: &Path,
    config: &[u8],
    pooling: &Pooling,
    tokenizer: &[u8],
    weights: &WeightsFile,
) -> Result<(), Error> {
    assemble(folder, config, pooling, tokenizer, weights).map(drop)
}

impl BertEmbedder {
    /// Reads a model folder created by [`import`](super::import).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for anything that is missing, truncated, unknown, or does not have the
    /// shape given by the settings.
    pub fn load(folder: &Path, card: ModelCard) -> Result<Self, Error> {
        card.check_name(&folder.join(folder::CARD))?;
        let config = folder::read_config(&folder.join(CONFIG))?;
        let settings = folder::read_config(&folder.join(POOLING))?;
        let tokenizer = folder::read_tokenizer(&folder.join(TOKENIZER))?;
        let weights = WeightsFile::read(&folder.join(WEIGHTS))?;
        let pooling: Pooling = folder::parse(&folder.join(POOLING), &settings)?;
        let (net, tokens) = assemble(folder, &config, &pooling, &tokenizer, &weights)?;
        let fingerprinted =
            FingerprintedFiles::new(folder, "bert/1", FILES, &[&config, &settings, &tokenizer, weights.bytes()])?;
        let dimension = net.words.dim(1).map_err(failed)? as u32;
        let about = match (pooling.pooling, pooling.normalize) {
            (PoolingKind::Mean, true) => "the mean of the tokens' last states, a unit vector",
            (PoolingKind::Mean, false) => "the mean of the tokens' last states",
            (PoolingKind::Cls, true) => "the last state of the first token, a unit vector",
            (PoolingKind::Cls, false) => "the last state of the first token",
        };
        Ok(Self {
            net,
            tokens,
            pooling,
            card,
            fingerprinted,
            output_layers: [OutputLayer { name: "vector", dimension, about }],
        })
    }

    /// The vectors of one batch of texts.
    fn vectors(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, Error> {
        let pooled = || {
            let (states, length) = self.net.forward(texts)?;
            let states = ops::numbers(&states)?;
            let of = |index: usize| &states[index * length..index * length + texts[index].len()];
            candle_core::Result::Ok((0..texts.len()).map(|index| self.pool(of(index))).collect::<Vec<_>>())
        };
        pooled().map_err(failed)
    }

    fn pool(&self, states: &[Vec<f32>]) -> Vec<f32> {
        let mut vector = states.first().cloned().unwrap_or_default();
        if self.pooling.pooling == PoolingKind::Mean {
            for state in states.iter().skip(1) {
                vector.iter_mut().zip(state).for_each(|(sum, x)| *sum += x);
            }
            let share = 1.0 / states.len() as f32;
            vector.iter_mut().for_each(|x| *x *= share);
        }
        if self.pooling.normalize {
            let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
        vector
    }
}

impl Embedder for BertEmbedder {
    fn name(&self) -> &str {
        &self.card.name
    }

    fn modality(&self) -> Modality {
        Modality::Text
    }

    fn output_layers(&self) -> &[OutputLayer] {
        &self.output_layers
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprinted.fingerprint
    }

    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn files(&self) -> Result<ModelFiles, Error> {
        self.fingerprinted.files(&self.card)
    }

    fn embed(&self, layer: &OutputLayer, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        self.embed_batch(layer, std::slice::from_ref(input)).pop().expect("one result for one input")
    }

    /// Groups texts of about the same length into batches, to reduce padding.
    fn embed_batch(&self, layer: &OutputLayer, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        let tokens: Vec<Result<Vec<u32>, Error>> = inputs
            .par_iter()
            .map(|input| {
                self.output_layer(layer.name)?;
                self.tokens.encode(input.text_for(self.name())?, true)
            })
            .collect();
        by_length(tokens, BATCH_TEXTS, BATCH_TOKENS, |texts| self.vectors(texts))
    }
}
