//! Training of a small GPT-2 on plain text: first byte-level BPE, then the net with AdamW, on random
//! windows of the text.

use super::family::Family;
use super::folder::{CARD, CONFIG, TOKENIZER, WEIGHTS};
use super::gpt::{Config, Gpt};
use super::ops::{self, failed};
use crate::save::write_folder;
use crate::words::data::for_each_line;
use crate::{Error, ModelCard};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// Marks the end of each text.
const END_OF_TEXT: &str = "<|endoftext|>";
/// 1 / `HELD_OUT_DIVISOR` of the windows are held out for measurements.
const HELD_OUT_DIVISOR: usize = 50;
/// Maximum windows per measurement.
const MAX_EVAL_WINDOWS: usize = 256;
/// Steps of linear learning rate warm-up.
const WARM_UP: usize = 50;

/// Training settings.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Vocabulary size.
    pub vocabulary: usize,
    /// Dimension of the hidden states.
    pub hidden: usize,
    /// Number of transformer layers.
    pub layers: usize,
    /// Attention heads per layer.
    pub heads: usize,
    /// Context length in tokens.
    pub context: usize,
    /// Windows per step.
    pub batch: usize,
    /// Number of steps.
    pub steps: usize,
    /// Maximum learning rate.
    pub learning_rate: f64,
    /// Maximum bytes of text to read.
    pub max_bytes: usize,
    /// Seed of every random choice.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            vocabulary: 4_096,
            hidden: 128,
            layers: 3,
            heads: 4,
            context: 64,
            batch: 16,
            steps: 1_500,
            learning_rate: 3e-3,
            max_bytes: 20_000_000,
            seed: 1,
        }
    }
}

/// Progress of a training.
#[derive(Clone, Copy, Debug)]
pub struct TrainProgress {
    /// `reading`, `tokens` or `training`.
    pub phase: &'static str,
    /// Bytes read, or tokens trained on.
    pub done: u64,
    /// Total; 0 if unknown.
    pub total: u64,
    /// Mean loss of the last steps, in nats per token.
    pub loss: Option<f64>,
}

/// Trains a net and writes its model folder; adds settings and quality to `card`.
///
/// # Errors
/// [`Error::InvalidInput`] for inconsistent settings or too little text; [`Error::Io`]; [`Error::Disk`].
pub fn train(
    files: &[PathBuf],
    options: &TrainOptions,
    mut card: ModelCard,
    folder: &Path,
    observe: &mut dyn FnMut(&TrainProgress),
) -> Result<ModelCard, Error> {
    check(options)?;
    let lines = read(files, options.max_bytes, observe)?;
    observe(&TrainProgress { phase: "tokens", done: 0, total: 0, loss: None });
    let (tokenizer, tokens) = tokenize(&lines, options)?;
    let windows: Vec<usize> = (0..tokens.len().saturating_sub(options.context)).step_by(options.context).collect();
    let (held_out, trained): (Vec<usize>, Vec<usize>) =
        windows.into_iter().partition(|start| (start / options.context) % HELD_OUT_DIVISOR == HELD_OUT_DIVISOR - 1);
    if held_out.is_empty() {
        return Err(Error::InvalidInput(format!(
            "the text has {} tokens; at least {} are needed",
            tokens.len(),
            HELD_OUT_DIVISOR * options.context + 1
        )));
    }
    let config = config(options, tokenizer.get_vocab_size(true));
    let device = ops::device();
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut variables = Vec::new();
    let net = initial_net(&config, &device, &mut rng, &mut variables)?;
    fit(&net, &variables, &tokens, &trained, options, &mut rng, observe).map_err(failed)?;
    let measured: Vec<usize> = held_out.iter().copied().step_by(held_out.len().div_ceil(MAX_EVAL_WINDOWS)).collect();
    let loss = measure(&net, &tokens, &measured, options.context).map_err(failed)?;
    card.family = Family::Gpt.name().into();
    card.summary = format!(
        "A GPT-2 of {} layers and {} components, trained on {} tokens of text.",
        options.layers,
        options.hidden,
        options.steps * options.batch * options.context
    );
    for (name, value) in [
        ("vocabulary", config.vocab_size),
        ("hidden", options.hidden),
        ("layers", options.layers),
        ("heads", options.heads),
        ("context", options.context),
        ("batch", options.batch),
        ("steps", options.steps),
    ] {
        card.settings.insert(name.into(), value.into());
    }
    card.settings.insert("learning_rate".into(), options.learning_rate.into());
    let round = |x: f64| (x * 1e4).round() / 1e4;
    card.quality.insert("held_out_loss_nats_per_token".into(), round(loss).into());
    card.quality.insert("held_out_perplexity".into(), round(loss.exp()).into());
    card.quality.insert(
        "unigram_loss_nats_per_token".into(),
        round(unigram_loss(&tokens, &trained, &measured, options, config.vocab_size)).into(),
    );
    save(folder, &config, &tokenizer, &variables, &card)?;
    Ok(card)
}

fn check(options: &TrainOptions) -> Result<(), Error> {
    let invalid = |what: String| Err(Error::InvalidInput(what));
    if options.hidden == 0 || options.heads == 0 || !options.hidden.is_multiple_of(options.heads) {
        return invalid(format!("{} components are not a multiple of {} heads", options.hidden, options.heads));
    }
    // Minimum vocabulary: 256 bytes and the end of a text.
    for (name, value, min, max) in [
        ("vocabulary", options.vocabulary, 257, 1 << 20),
        ("hidden", options.hidden, 1, 8_192),
        ("layers", options.layers, 1, 128),
        ("heads", options.heads, 1, 128),
        ("context", options.context, 2, 4_096),
        ("batch", options.batch, 1, 1_024),
        ("steps", options.steps, 1, 100_000_000),
    ] {
        if !(min..=max).contains(&value) {
            return invalid(format!("{name} must be {min} to {max}, got {value}"));
        }
    }
    Ok(())
}

/// Reads the lines of the files, up to `max` bytes.
fn read(files: &[PathBuf], max: usize, observe: &mut dyn FnMut(&TrainProgress)) -> Result<Vec<String>, Error> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    for file in files {
        for_each_line(file, &mut |line| {
            let line = line.trim();
            if bytes < max && !line.is_empty() {
                bytes += line.len();
                lines.push(line.to_owned());
            }
        })?;
        observe(&TrainProgress { phase: "reading", done: bytes as u64, total: 0, loss: None });
    }
    Ok(lines)
}

/// Trains a byte-level BPE on the lines, and encodes them, each with an end marker.
fn tokenize(lines: &[String], options: &TrainOptions) -> Result<(Tokenizer, Vec<u32>), Error> {
    let failed = |error: tokenizers::Error| Error::Compute(format!("the tokenizer could not be trained: {error}"));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(options.vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.train(&mut trainer, lines.iter()).map_err(failed)?;
    let end = tokenizer.token_to_id(END_OF_TEXT).unwrap_or(0);
    let encoded: Vec<Vec<u32>> = lines
        .par_iter()
        .map(|line| {
            let encoding = tokenizer.encode_fast(line.as_str(), false)?;
            Ok(encoding.get_ids().iter().copied().chain([end]).collect())
        })
        .collect::<Result<_, tokenizers::Error>>()
        .map_err(failed)?;
    Ok((tokenizer, encoded.concat()))
}

fn config(options: &TrainOptions, vocabulary: usize) -> Config {
    Config {
        model_type: "gpt2".into(),
        vocab_size: vocabulary,
        n_positions: options.context,
        n_embd: options.hidden,
        n_layer: options.layers,
        n_head: options.heads,
        n_inner: None,
        activation_function: "gelu_new".into(),
        layer_norm_epsilon: 1e-5,
        scale_attn_weights: true,
        scale_attn_by_inverse_layer_idx: false,
        tie_word_embeddings: true,
    }
}

/// An untrained net, initialized as GPT-2; its parameters are added to `variables` by name.
fn initial_net(
    config: &Config,
    device: &Device,
    rng: &mut StdRng,
    variables: &mut Vec<(String, Var)>,
) -> Result<Gpt, Error> {
    // Outputs that are added to the residual stream are scaled down with the number of layers.
    let residual = 0.02 / ((2 * config.n_layer) as f32).sqrt();
    let mut source = |name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        let numbers: Vec<f32> = if name.contains("ln_") {
            vec![if name.ends_with("weight") { 1.0 } else { 0.0 }; count]
        } else if name.ends_with("bias") {
            vec![0.0; count]
        } else {
            let deviation = if name.ends_with("c_proj.weight") { residual } else { 0.02 };
            (0..count).map(|_| normal(rng) * deviation).collect()
        };
        let variable = Var::from_vec(numbers, shape, device).map_err(failed)?;
        let tensor = variable.as_tensor().clone();
        variables.push((name.into(), variable));
        Ok(tensor)
    };
    Gpt::build(Path::new(CONFIG), config, device, &mut source)
}

/// A standard normal random number (Box, Muller 1958).
fn normal(rng: &mut StdRng) -> f32 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    ((-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
}

fn fit(
    net: &Gpt,
    variables: &[(String, Var)],
    tokens: &[u32],
    windows: &[usize],
    options: &TrainOptions,
    rng: &mut StdRng,
    observe: &mut dyn FnMut(&TrainProgress),
) -> candle_core::Result<()> {
    let settings = ParamsAdamW { lr: 0.0, beta2: 0.98, weight_decay: 0.01, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(variables.iter().map(|(_, variable)| variable.clone()).collect(), settings)?;
    let mut recent = None;
    for step in 0..options.steps {
        let part = step as f64 / options.steps as f64;
        let rise = ((step + 1) as f64 / WARM_UP as f64).min(1.0);
        let fall = 0.55 + 0.45 * (std::f64::consts::PI * part).cos();
        optimizer.set_learning_rate(options.learning_rate * rise * fall);
        let starts: Vec<usize> = (0..options.batch).map(|_| windows[rng.random_range(0..windows.len())]).collect();
        let loss = loss(net, tokens, &starts, options.context)?;
        optimizer.backward_step(&loss)?;
        let now = f64::from(loss.to_scalar::<f32>()?);
        let mean = recent.map_or(now, |mean: f64| mean * 0.95 + now * 0.05);
        recent = Some(mean);
        let of = |steps: usize| (steps * options.batch * options.context) as u64;
        observe(&TrainProgress { phase: "training", done: of(step + 1), total: of(options.steps), loss: Some(mean) });
    }
    Ok(())
}

/// Mean of -ln p of the next token, over windows that start at `starts`.
fn loss(net: &Gpt, tokens: &[u32], starts: &[usize], context: usize) -> candle_core::Result<Tensor> {
    let device = net.device();
    let window = |shift: usize| {
        starts.iter().flat_map(move |&start| tokens[start + shift..start + shift + context].iter().copied())
    };
    let ids = Tensor::from_iter(window(0), device)?.reshape((starts.len(), context))?;
    let next = Tensor::from_iter(window(1), device)?;
    candle_nn::loss::cross_entropy(&net.scores(&net.forward(&ids)?)?, &next)
}

fn measure(net: &Gpt, tokens: &[u32], windows: &[usize], context: usize) -> candle_core::Result<f64> {
    let mut sum = 0.0;
    for some in windows.chunks(16) {
        sum += f64::from(loss(net, tokens, some, context)?.to_scalar::<f32>()?) * some.len() as f64;
    }
    Ok(sum / windows.len() as f64)
}

/// Loss of a unigram model, the baseline that a net must beat.
fn unigram_loss(
    tokens: &[u32],
    trained: &[usize],
    measured: &[usize],
    options: &TrainOptions,
    vocabulary: usize,
) -> f64 {
    let next = |start: &usize| tokens[start + 1..start + 1 + options.context].iter();
    let mut counts = vec![1.0_f64; vocabulary];
    trained.iter().flat_map(next).for_each(|&token| counts[token as usize] += 1.0);
    let total: f64 = counts.iter().sum();
    let losses = measured.iter().flat_map(next).map(|&token| -(counts[token as usize] / total).ln());
    losses.sum::<f64>() / (measured.len() * options.context) as f64
}

/// Writes the folder in GPT-2's format, the card last.
fn save(
    folder: &Path,
    config: &Config,
    tokenizer: &Tokenizer,
    variables: &[(String, Var)],
    card: &ModelCard,
) -> Result<(), Error> {
    let tensors: HashMap<String, Tensor> = variables
        .iter()
        .map(|(name, variable)| Ok((name.clone(), variable.as_tensor().to_device(&Device::Cpu)?.to_dtype(DType::F32)?)))
        .collect::<candle_core::Result<_>>()
        .map_err(failed)?;
    let weights = safetensors::serialize(&tensors, None).map_err(|error| Error::Compute(error.to_string()))?;
    let json = |value: serde_json::Result<String>| {
        value.map(String::into_bytes).map_err(|error| Error::Compute(error.to_string()))
    };
    let tokenizer = tokenizer.to_string(false).map_err(|error| Error::Compute(error.to_string()))?;
    let files = [
        (CONFIG, json(serde_json::to_string_pretty(config))?),
        (TOKENIZER, tokenizer.into_bytes()),
        (WEIGHTS, weights),
        (CARD, (card.to_json() + "\n").into_bytes()),
    ];
    write_folder(folder, &files)
}
