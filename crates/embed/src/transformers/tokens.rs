//! Text to token ids and back, with the `tokenizers` crate.
//!
//! A tokenizer file is a small program, so it is parsed and run behind a guard against panics, the growth of texts
//! is limited, and token ids are checked against the size of the net's table.

use crate::Error;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

/// Longest text, bytes.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;
/// Maximum factor by which all replacements of a tokenizer together may grow a text.
const MAX_GROWTH: usize = 64;

/// A validated tokenizer.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    lower_case: bool,
}

impl Tokens {
    /// Parses `tokenizer.json`. Token ids are below `vocabulary`; with `max`, longer texts are truncated to that
    /// many tokens, including special ones.
    pub(super) fn parse(
        path: &Path,
        json: &[u8],
        vocabulary: usize,
        max: Option<usize>,
        lower_case: bool,
    ) -> Result<Self, Error> {
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
        let value: Value = serde_json::from_slice(json).map_err(|error| corrupt(format!("not JSON: {error}")))?;
        let growth = growth(&value);
        if growth > MAX_GROWTH {
            return Err(corrupt(format!("its replacements make texts more than {MAX_GROWTH} times as long")));
        }
        drop(value);
        let parsed = catch_panic(|| {
            let mut tokenizer = Tokenizer::from_bytes(json)?;
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None)?;
            if let Some(max) = max {
                let special = tokenizer.encode_fast("", true)?.len();
                if max <= special {
                    return Err(format!("a text has {special} special tokens, and only {max} are allowed").into());
                }
                tokenizer.with_truncation(Some(TruncationParams {
                    direction: TruncationDirection::Right,
                    max_length: max,
                    strategy: TruncationStrategy::LongestFirst,
                    stride: 0,
                }))?;
            }
            Ok(tokenizer)
        });
        let tokenizer = parsed.map_err(|error| corrupt(format!("not a usable tokenizer: {error}")))?;
        if let Some((token, id)) = tokenizer.get_vocab(true).into_iter().find(|(_, id)| *id as usize >= vocabulary) {
            let token: String = token.chars().take(40).collect();
            return Err(corrupt(format!("token {token:?} has the number {id}, the net has {vocabulary} tokens")));
        }
        Ok(Self { tokenizer, lower_case })
    }

    /// The tokens of a text, with special tokens if the tokenizer adds them; each id is valid for the net.
    pub(super) fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, Error> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::InvalidInput(format!(
                "a text has at most {MAX_TEXT_BYTES} bytes, this one has {}",
                text.len()
            )));
        }
        let lowered = self.lower_case.then(|| text.to_lowercase());
        let encoding = catch_panic(|| self.tokenizer.encode_fast(lowered.as_deref().unwrap_or(text), special))
            .map_err(|error| Error::InvalidInput(format!("the text cannot be split into tokens: {error}")))?;
        let ids = encoding.get_ids();
        if encoding.get_special_tokens_mask().iter().all(|&special| special == 1) {
            return Err(Error::InvalidInput("the text has no token".into()));
        }
        Ok(ids.to_vec())
    }

    /// The text of one token.
    pub(super) fn text(&self, token: u32) -> String {
        catch_panic(|| self.tokenizer.decode(&[token], false)).unwrap_or_default()
    }
}

/// Builds a `tokenizer.json` from `vocab.json` and `merges.txt`, the older files of GPT-2.
pub(super) fn from_vocabulary(folder: &Path, vocabulary: &[u8], merges: &[u8]) -> Result<Vec<u8>, Error> {
    let corrupt = |name: &str, what: String| Error::Corrupt { path: folder.join(name), what };
    let numbers: std::collections::HashMap<String, u32> = serde_json::from_slice(vocabulary)
        .map_err(|error| corrupt("vocab.json", format!("not a vocabulary: {error}")))?;
    let merges = std::str::from_utf8(merges).map_err(|error| corrupt("merges.txt", format!("not UTF-8: {error}")))?;
    let mut pairs = Vec::new();
    for (number, line) in merges.lines().enumerate() {
        if line.starts_with("#version") || line.is_empty() {
            continue;
        }
        let Some((left, right)) = line.split_once(' ') else {
            return Err(corrupt("merges.txt", format!("line {}: not two tokens", number + 1)));
        };
        pairs.push((left.to_owned(), right.to_owned()));
    }
    let tokenizer_json = catch_panic(|| {
        let bpe = BPE::builder()
            .vocab_and_merges(numbers.into_iter().collect::<tokenizers::models::bpe::Vocab>(), pairs)
            .build()?;
        let mut tokenizer = Tokenizer::new(bpe);
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        tokenizer.to_string(false)
    });
    tokenizer_json
        .map(String::into_bytes)
        .map_err(|error| corrupt("merges.txt", format!("building its tokenizer failed: {error}")))
}

/// Upper bound of the bytes that replacements and prefixes make of one byte.
fn growth(value: &Value) -> usize {
    match value {
        Value::Object(map) => {
            let own = match map.get("type").and_then(Value::as_str) {
                Some("Replace") => map.get("content").and_then(Value::as_str).map_or(1, str::len),
                Some("Prepend") => map.get("prepend").and_then(Value::as_str).map_or(1, |text| text.len() + 1),
                _ => 1,
            };
            map.iter()
                .filter(|(key, _)| *key != "vocab" && *key != "merges")
                .map(|(_, value)| growth(value))
                .fold(own.max(1), usize::saturating_mul)
        }
        Value::Array(list) => list.iter().map(growth).fold(1, usize::saturating_mul),
        _ => 1,
    }
}

/// Runs the tokenizer. A panic in it, which only an invalid file can cause, becomes an error.
pub(super) fn catch_panic<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the tokenizer failed".into()),
    }
}
