//! GPT-2 (Radford et al. 2019): causal self-attention; the last state predicts the next token.

use super::block::Block;
use super::folder::{self, CONFIG, TOKENIZER};
use super::ops::{self, Activation, Attention, Linear, Norm, failed};
use super::tokens::Tokens;
use super::weights::WeightsFile;
use crate::Error;
use crate::capability::NextToken;
use candle_core::{D, Device, Tensor};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Maximum attention scores per text: heads times tokens squared.
const MAX_SCORES: usize = 1 << 28;

/// The fields of `config.json` in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) model_type: String,
    pub(super) vocab_size: usize,
    pub(super) n_positions: usize,
    pub(super) n_embd: usize,
    pub(super) n_layer: usize,
    pub(super) n_head: usize,
    #[serde(default)]
    pub(super) n_inner: Option<usize>,
    #[serde(default = "gelu_new")]
    pub(super) activation_function: String,
    #[serde(default = "epsilon")]
    pub(super) layer_norm_epsilon: f64,
    #[serde(default = "yes")]
    pub(super) scale_attn_weights: bool,
    #[serde(default)]
    pub(super) scale_attn_by_inverse_layer_idx: bool,
    #[serde(default = "yes")]
    pub(super) tie_word_embeddings: bool,
}

fn gelu_new() -> String {
    "gelu_new".into()
}

fn epsilon() -> f64 {
    1e-5
}

fn yes() -> bool {
    true
}

impl Config {
    fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        let config: Self = folder::parse(path, json)?;
        let corrupt = |what: String| Err(Error::Corrupt { path: path.into(), what });
        if config.model_type != "gpt2" {
            let found: String = config.model_type.chars().take(40).collect();
            return corrupt(format!("model_type is {found:?}; supported: \"gpt2\""));
        }
        let (hidden, heads, positions) = (config.n_embd, config.n_head, config.n_positions);
        if hidden == 0 || heads == 0 || !hidden.is_multiple_of(heads) {
            return corrupt(format!("n_embd {hidden} is not a multiple of n_head {heads}"));
        }
        if hidden > crate::types::MAX_DIMENSION as usize {
            return corrupt(format!(
                "n_embd {hidden}: vectors have at most {} components",
                crate::types::MAX_DIMENSION
            ));
        }
        if positions == 0 || positions.saturating_mul(positions).saturating_mul(heads) > MAX_SCORES {
            return corrupt(format!(
                "n_positions {positions} with {heads} heads of attention: none, or too much for memory"
            ));
        }
        if !(config.layer_norm_epsilon > 0.0 && config.layer_norm_epsilon < 1.0) {
            return corrupt(format!("layer_norm_epsilon is {}, not between 0 and 1", config.layer_norm_epsilon));
        }
        if !config.scale_attn_weights || config.scale_attn_by_inverse_layer_idx {
            return corrupt("scale_attn_weights and scale_attn_by_inverse_layer_idx must be as in GPT-2".into());
        }
        Ok(config)
    }

    /// The activation of the feed-forward layers.
    pub(super) fn activation(&self) -> Option<Activation> {
        Activation::from_name(&self.activation_function)
    }

    /// Hidden width of the feed-forward layers.
    pub(super) fn inner(&self) -> Option<usize> {
        self.n_inner.or(self.n_embd.checked_mul(4))
    }
}

/// The GPT-2 net. Its linear layers are stored `[in, out]`.
pub(super) struct Gpt {
    tokens: Tensor,
    positions: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    /// `[tokens, hidden]`; usually the same tensor as the token embeddings.
    head: Tensor,
    heads: usize,
    activation: Activation,
    device: Device,
}

/// Returns the tensor with a name and shape.
pub(super) type Source<'a> = dyn FnMut(&str, &[usize]) -> Result<Tensor, Error> + 'a;

impl Gpt {
    /// Builds a net from the tensors of `source`; `path` is that of the settings, for error messages.
    pub(super) fn build(path: &Path, config: &Config, device: &Device, source: &mut Source<'_>) -> Result<Self, Error> {
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
        let activation = config.activation().ok_or_else(|| {
            let found: String = config.activation_function.chars().take(40).collect();
            corrupt(format!("activation_function is {found:?}; supported: gelu, gelu_new and relu"))
        })?;
        let hidden = config.n_embd;
        let inner = config.inner().ok_or_else(|| corrupt(format!("n_embd {hidden} is too large")))?;
        let tokens = source("wte.weight", &[config.vocab_size, hidden])?;
        let positions = source("wpe.weight", &[config.n_positions, hidden])?;
        let epsilon = config.layer_norm_epsilon;
        let norm = |source: &mut Source<'_>, name: String| {
            let weight = source(&format!("{name}.weight"), &[hidden])?;
            Ok::<_, Error>(Norm { weight, bias: source(&format!("{name}.bias"), &[hidden])?, epsilon })
        };
        let linear = |source: &mut Source<'_>, name: String, inputs: usize, outputs: usize| {
            let weight = source(&format!("{name}.weight"), &[inputs, outputs])?;
            Ok::<_, Error>(Linear { weight, bias: source(&format!("{name}.bias"), &[outputs])? })
        };
        let mut blocks = Vec::new();
        for number in 0..config.n_layer {
            let name = |part: &str| format!("h.{number}.{part}");
            blocks.push(Block {
                norm: norm(source, name("ln_1"))?,
                qkv: linear(source, name("attn.c_attn"), hidden, 3 * hidden)?,
                out: linear(source, name("attn.c_proj"), hidden, hidden)?,
                norm_after: norm(source, name("ln_2"))?,
                up: linear(source, name("mlp.c_fc"), hidden, inner)?,
                down: linear(source, name("mlp.c_proj"), inner, hidden)?,
            });
        }
        let norm = norm(source, "ln_f".into())?;
        let head = match config.tie_word_embeddings {
            true => tokens.clone(),
            false => source("lm_head.weight", &[config.vocab_size, hidden])?,
        };
        Ok(Self { tokens, positions, blocks, norm, head, heads: config.n_head, activation, device: device.clone() })
    }

    /// Reads the net. Settings must agree with the shapes of the tensors.
    fn read(path: &Path, json: &[u8], file: &WeightsFile) -> Result<(Self, Config), Error> {
        let config = Config::parse(path, json)?;
        let device = ops::device();
        let weights = file.open(&device, &["transformer."])?;
        let mut source = |name: &str, shape: &[usize]| weights.get(&[name], shape);
        Ok((Self::build(path, &config, &device, &mut source)?, config))
    }

    /// The last hidden states, `[texts * length, hidden]`, of texts of one length: `ids` is `[texts, length]`.
    /// Attention is causal, so texts may be padded at the end.
    pub(super) fn forward(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        let (texts, length) = ids.dims2()?;
        let hidden = self.tokens.dim(1)?;
        let words = self.tokens.index_select(&ids.flatten_all()?, 0)?.reshape((texts, length, hidden))?;
        let mut x = words.broadcast_add(&self.positions.narrow(0, 0, length)?)?.reshape((texts * length, hidden))?;
        let lengths = vec![length; texts];
        let attention = Attention { heads: self.heads, lengths: &lengths, length, causal: true };
        for block in &self.blocks {
            x = block.forward(x, &attention, self.activation)?;
        }
        self.norm.forward(&x)
    }

    /// Next-token scores (logits) of all tokens, for rows of last hidden states.
    pub(super) fn scores(&self, states: &Tensor) -> candle_core::Result<Tensor> {
        states.matmul(&self.head.t()?)
    }

    /// The state of each text's last token.
    pub(super) fn last_states(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, Error> {
        self.last(texts).and_then(|states| ops::numbers(&states)).map_err(failed)
    }

    fn last(&self, texts: &[&[u32]]) -> candle_core::Result<Tensor> {
        let length = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let padded =
            texts.iter().flat_map(|text| text.iter().copied().chain(std::iter::repeat_n(0, length - text.len())));
        let ids = Tensor::from_iter(padded, &self.device)?.reshape((texts.len(), length))?;
        let rows = texts.iter().enumerate().map(|(index, text)| (index * length + text.len() - 1) as u32);
        self.forward(&ids)?.index_select(&Tensor::from_iter(rows, &self.device)?, 0)
    }

    /// The embedding of one token.
    pub(super) fn token(&self, token: u32) -> Result<Vec<f32>, Error> {
        self.tokens.get(token as usize).and_then(|row| row.to_vec1()).map_err(failed)
    }

    /// The `k` most probable tokens after a text, with their probabilities.
    pub(super) fn next(&self, text: &[u32], k: usize, tokens: &Tokens) -> Result<Vec<NextToken>, Error> {
        let scores = || self.scores(&self.last(&[text])?)?.squeeze(0)?.to_vec1::<f32>();
        let scores = scores().map_err(failed)?;
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shares: Vec<f64> = scores.iter().map(|&score| f64::from(score - max).exp()).collect();
        let sum: f64 = shares.iter().sum();
        if !sum.is_finite() {
            return Err(Error::Compute("the scores of the next token are not finite".into()));
        }
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]).then(a.cmp(&b)));
        let next_token = |token: usize| NextToken {
            text: tokens.text(token as u32),
            token: token as u32,
            probability: (shares[token] / sum) as f32,
        };
        Ok(order.into_iter().take(k).map(next_token).collect())
    }

    /// The device of the net.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Dimension of the vectors.
    pub(super) fn hidden(&self) -> usize {
        self.tokens.dim(D::Minus1).unwrap_or(0)
    }
}

/// Builds the net, the settings and the tokenizer, and checks that they match.
pub(super) fn assemble(
    folder: &Path,
    config: &[u8],
    tokenizer: &[u8],
    weights: &WeightsFile,
) -> Result<(Gpt, Config, Tokens), Error> {
    let (net, config) = Gpt::read(&folder.join(CONFIG), config, weights)?;
    let tokens = Tokens::parse(&folder.join(TOKENIZER), tokenizer, config.vocab_size, None, false)?;
    Ok((net, config, tokens))
}

/// Checks that the files form a valid GPT-2.
pub(super) fn check(folder: &Path, config: &[u8], tokenizer: &[u8], weights: &WeightsFile) -> Result<(), Error> {
    assemble(folder, config, tokenizer, weights).map(drop)
}
