//! Import of folders of sentence-transformers and transformers as model folders.

use super::bert::Pooling;
use super::family::Family;
use super::folder::{CARD, CONFIG, POOLING, PREPROCESSOR, TOKENIZER, WEIGHTS, parse, read_config, read_tokenizer};
use super::{bert, gpt, image_embedder, processor, tokens};
use crate::save::write_folder;
use crate::{Error, ModelCard};
use serde::Deserialize;
use std::path::Path;

/// Imports a folder of sentence-transformers or transformers as a model folder at `to`, after a trial load.
///
/// # Errors
/// [`Error::Io`], [`Error::Disk`]; [`Error::Corrupt`] for anything missing, damaged, or of an unknown kind.
pub fn import(family: Family, from: &Path, to: &Path, mut card: ModelCard) -> Result<(), Error> {
    card.check_name(&to.join(CARD))?;
    card.family = family.name().into();
    let config = read_config(&from.join(CONFIG))?;
    let tokenizer = match (family, from.join(TOKENIZER)) {
        (Family::Dinov2 | Family::Resnet, _) => None,
        (Family::Gpt, path) if !path.exists() => {
            let vocabulary = read_tokenizer(&from.join("vocab.json"))?;
            Some(tokens::from_vocabulary(from, &vocabulary, &read_tokenizer(&from.join("merges.txt"))?)?)
        }
        (_, path) => Some(read_tokenizer(&path)?),
    };
    let weights = super::weights::WeightsFile::read(&from.join(WEIGHTS))?;
    let mut files: Vec<(&str, &[u8])> = vec![(CONFIG, &config), (WEIGHTS, weights.bytes())];
    files.extend(tokenizer.as_deref().map(|tokenizer| (TOKENIZER, tokenizer)));
    let settings;
    match (family, &tokenizer) {
        (Family::Bert, Some(tokenizer)) => {
            let pooling = sentence_settings(from)?;
            bert::check(from, &config, &pooling, tokenizer, &weights)?;
            settings = pooling.to_json();
            files.push((POOLING, &settings));
        }
        (Family::Gpt, Some(tokenizer)) => gpt::check(from, &config, tokenizer, &weights)?,
        (_, tokenizer) => {
            let path = from.join("preprocessor_config.json");
            let processor = processor::from_transformers(&path, &read_config(&path)?)?;
            let parts = image_embedder::Parts {
                config: &config,
                processor: &processor,
                tokenizer: tokenizer.as_deref(),
                weights: &weights,
            };
            image_embedder::assemble(family, from, &parts)?;
            settings = processor.to_json();
            files.push((PREPROCESSOR, &settings));
        }
    }
    let card = (card.to_json() + "\n").into_bytes();
    files.push((CARD, &card));
    write_folder(to, &files)
}

#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

/// The settings in `modules.json`, `sentence_bert_config.json`, `1_Pooling/config.json` and `tokenizer_config.json`
/// of sentence-transformers. Mean pooling if none of them exists, as in sentence-transformers.
fn sentence_settings(folder: &Path) -> Result<Pooling, Error> {
    let optional = |path: &Path| path.exists().then(|| read_config(path)).transpose();
    let mut settings = Pooling::default();
    let path = folder.join("modules.json");
    if let Some(json) = optional(&path)? {
        let modules: Vec<Module> = parse(&path, &json)?;
        settings.normalize = false;
        for (index, module) in modules.iter().enumerate() {
            match (index, module.r#type.rsplit('.').next().unwrap_or_default()) {
                (0, "Transformer") if module.path.is_empty() => {}
                (1, "Pooling") => {
                    settings.pooling = pooling_kind(&folder.join(relative_path(&path, &module.path)?).join(CONFIG))?
                }
                (2, "Normalize") => settings.normalize = true,
                (index, kind) => {
                    let kind: String = kind.chars().take(40).collect();
                    let what = format!(
                        "module {index} is {kind:?}; supported: a Transformer in the folder itself, Pooling, then Normalize"
                    );
                    return Err(Error::Corrupt { path, what });
                }
            }
        }
    }
    #[derive(Default, Deserialize)]
    struct Sentence {
        max_seq_length: Option<usize>,
        #[serde(default)]
        do_lower_case: bool,
    }
    let path = folder.join("sentence_bert_config.json");
    if let Some(json) = optional(&path)? {
        let sentence: Sentence = parse(&path, &json)?;
        settings.max_tokens = sentence.max_seq_length;
        settings.lower_case = sentence.do_lower_case;
    }
    #[derive(Default, Deserialize)]
    struct TokenizerConfig {
        /// Often larger than any integer, meaning "no limit".
        model_max_length: Option<f64>,
    }
    let path = folder.join("tokenizer_config.json");
    if settings.max_tokens.is_none()
        && let Some(json) = optional(&path)?
    {
        let max = parse::<TokenizerConfig>(&path, &json)?.model_max_length;
        settings.max_tokens = max.filter(|max| (1.0..1e6).contains(max)).map(|max| max as usize);
    }
    Ok(settings)
}

/// Refuses a path that leaves the folder.
fn relative_path<'a>(file: &Path, path: &'a str) -> Result<&'a Path, Error> {
    let relative = Path::new(path);
    if relative.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
        Ok(relative)
    } else {
        Err(Error::Corrupt { path: file.into(), what: format!("{path:?} is not a folder below it") })
    }
}

fn pooling_kind(path: &Path) -> Result<bert::PoolingKind, Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Config {
        pooling_mode: Option<serde_json::Value>,
        pooling_mode_cls_token: bool,
        pooling_mode_mean_tokens: bool,
        pooling_mode_max_tokens: bool,
        pooling_mode_mean_sqrt_len_tokens: bool,
        pooling_mode_weightedmean_tokens: bool,
        pooling_mode_lasttoken: bool,
    }
    let config: Config = parse(path, &read_config(path)?)?;
    let others = config.pooling_mode_max_tokens
        || config.pooling_mode_mean_sqrt_len_tokens
        || config.pooling_mode_weightedmean_tokens
        || config.pooling_mode_lasttoken;
    // Newer files have a name instead of the flags.
    let named = config.pooling_mode.as_ref().and_then(serde_json::Value::as_str);
    match (named, config.pooling_mode_cls_token, config.pooling_mode_mean_tokens, others) {
        (Some("cls"), ..) | (None, true, false, false) => Ok(bert::PoolingKind::Cls),
        (Some("mean"), ..) | (None, false, true, false) => Ok(bert::PoolingKind::Mean),
        _ => Err(Error::Corrupt { path: path.into(), what: "pools otherwise than by mean or by CLS".into() }),
    }
}
