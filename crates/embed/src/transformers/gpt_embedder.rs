//! GPT-2 as an embedder: the state after the last token of a text, or the embedding of a single token.

use super::folder::{self, CONFIG, FingerprintedFiles, TOKENIZER, WEIGHTS};
use super::gpt::{self, Gpt};
use super::length_batches::by_length;
use super::tokens::Tokens;
use super::weights::WeightsFile;
use crate::capability::{LanguageModel, NextToken};
use crate::{Embedder, Error, Fingerprint, Input, Modality, ModelCard, ModelFiles, OutputLayer};
use rayon::prelude::*;
use std::path::Path;

/// Files that determine the vectors, and thus the fingerprint.
const FILES: &[&str] = &[CONFIG, TOKENIZER, WEIGHTS];
/// Texts per batch.
const BATCH_TEXTS: usize = 16;
/// Tokens per batch, including padding.
const BATCH_TOKENS: usize = 2_048;

/// A language model. Texts longer than the context keep only their end.
pub struct GptEmbedder {
    net: Gpt,
    tokens: Tokens,
    context: usize,
    card: ModelCard,
    fingerprinted: FingerprintedFiles,
    output_layers: [OutputLayer; 2],
}

impl GptEmbedder {
    /// Reads a model folder created by [`import`](super::import) or by [`train`](super::train).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for anything that is missing, truncated, unknown, or does not have the
    /// shape given by the settings.
    pub fn load(folder: &Path, card: ModelCard) -> Result<Self, Error> {
        card.check_name(&folder.join(folder::CARD))?;
        let config = folder::read_config(&folder.join(CONFIG))?;
        let tokenizer = folder::read_tokenizer(&folder.join(TOKENIZER))?;
        let weights = WeightsFile::read(&folder.join(WEIGHTS))?;
        let (net, settings, tokens) = gpt::assemble(folder, &config, &tokenizer, &weights)?;
        let fingerprinted = FingerprintedFiles::new(folder, "gpt/1", FILES, &[&config, &tokenizer, weights.bytes()])?;
        let dimension = net.hidden() as u32;
        let output_layers = [
            OutputLayer { name: "last", dimension, about: "the last hidden state of the last token" },
            OutputLayer { name: "token", dimension, about: "the input embedding of a text that is a single token" },
        ];
        Ok(Self { net, tokens, context: settings.n_positions, card, fingerprinted, output_layers })
    }

    /// The tokens of a text; only the last ones if there are too many.
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut tokens = self.tokens.encode(text, false)?;
        tokens.drain(..tokens.len().saturating_sub(self.context));
        Ok(tokens)
    }
}

impl LanguageModel for GptEmbedder {
    fn next_tokens(&self, text: &str, k: usize) -> Result<Vec<NextToken>, Error> {
        self.net.next(&self.encode(text)?, k, &self.tokens)
    }
}

impl Embedder for GptEmbedder {
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

    fn embed_batch(&self, layer: &OutputLayer, inputs: &[Input<'_>]) -> Vec<Result<Vec<f32>, Error>> {
        let single = layer.name == "token";
        let encode = |input: &Input<'_>| {
            self.output_layer(layer.name)?;
            let tokens = self.encode(input.text_for(self.name())?)?;
            if single && tokens.len() > 1 {
                let what = format!("the output layer \"token\" takes a single token, this text has {}", tokens.len());
                return Err(Error::InvalidInput(what));
            }
            Ok(tokens)
        };
        let tokens: Vec<Result<Vec<u32>, Error>> = inputs.par_iter().map(encode).collect();
        by_length(tokens, BATCH_TEXTS, BATCH_TOKENS, |texts| match single {
            true => texts.iter().map(|text| self.net.token(text[0])).collect(),
            false => self.net.last_states(texts),
        })
    }

    fn language_model(&self) -> Option<&dyn LanguageModel> {
        Some(self)
    }
}
