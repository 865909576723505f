//! The embedders that a process knows: the defaults in the binary, and model folders given by the user.

use super::{
    Embedder, Error, Fingerprint,
    digits::DigitNet,
    text::TextEmbedder,
    transformers::{self, Family},
    words::WordModel,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Embedders by name (the latest added wins) and by fingerprint (all of them stay reachable, so that
/// collections made with an earlier model can still embed).
#[derive(Clone, Default)]
pub struct Registry {
    entries: Vec<Arc<dyn Embedder>>,
}

impl Registry {
    /// The defaults that the binary carries: `words`, `text`, `digits`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes in the binary are damaged.
    pub fn with_defaults() -> Result<Self, Error> {
        let mut registry = Self::default();
        registry.add_words(WordModel::default_model()?)?;
        registry.add(Arc::new(DigitNet::default_model()?));
        Ok(registry)
    }

    /// Adds the embedders of a model folder made by `nearness train` or `nearness import`.
    ///
    /// # Errors
    /// [`Error`] when the folder holds no model, or a damaged one.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), Error> {
        let path = folder.join("card.json");
        if !path.exists() && folder.join("config.json").exists() {
            let what = "is missing; a folder of another program becomes a model folder by `nearness import`".into();
            return Err(Error::Corrupt { path, what });
        }
        let json = std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let card = super::ModelCard::parse(&path, &json)?;
        if !card.family.is_empty() {
            let Some(family) = Family::from_name(&card.family) else {
                return Err(unknown_family(path, &card.family));
            };
            self.add(transformers::load(family, folder, card)?);
            return Ok(());
        }
        match card.name.as_str() {
            "words" => self.add_words(WordModel::load(folder)?),
            "digits" => {
                self.add(Arc::new(DigitNet::load(folder)?));
                Ok(())
            }
            other => Err(unknown_family(path, other)),
        }
    }

    /// A word model gives two embedders: `words` and, by weighting them, `text`.
    fn add_words(&mut self, words: WordModel) -> Result<(), Error> {
        let words = Arc::new(words);
        self.add(words.clone());
        self.add(Arc::new(TextEmbedder::new(words)?));
        Ok(())
    }

    /// Adds one embedder.
    pub fn add(&mut self, embedder: Arc<dyn Embedder>) {
        self.entries.push(embedder);
    }

    /// The embedder of that name that was added last.
    ///
    /// # Errors
    /// [`Error::UnknownEmbedder`] naming those there are.
    pub fn by_name(&self, name: &str) -> Result<&Arc<dyn Embedder>, Error> {
        self.entries.iter().rev().find(|entry| entry.name() == name).ok_or_else(|| Error::UnknownEmbedder {
            name: name.chars().take(80).collect(),
            known: self.current().map(|entry| entry.name().to_owned()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The embedder of that name and fingerprint, whenever it was added.
    pub fn by_fingerprint(&self, name: &str, fingerprint: &Fingerprint) -> Option<&Arc<dyn Embedder>> {
        self.entries.iter().rev().find(|entry| entry.name() == name && entry.fingerprint() == *fingerprint)
    }

    /// The embedders that names stand for, in the order they were added.
    pub fn current(&self) -> impl Iterator<Item = &Arc<dyn Embedder>> {
        self.entries.iter().enumerate().filter_map(|(place, entry)| {
            (!self.entries[place + 1..].iter().any(|later| later.name() == entry.name())).then_some(entry)
        })
    }
}

fn unknown_family(path: PathBuf, family: &str) -> Error {
    let family: String = family.chars().take(40).collect();
    Error::Corrupt { path, what: format!("a model of the unknown family {family:?}; known: words, digits, bert, gpt") }
}
