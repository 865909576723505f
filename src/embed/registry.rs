//! The embedders that a process knows: the defaults in the binary, model folders given by the user, and what was installed.

use super::{
    Embedder, Error, Fingerprint,
    digits::DigitNet,
    images::{self, PictureNet},
    save::read_bounded,
    text::{self, TextEmbedder, TextEncoder},
    transformers::{self, Family},
    words::WordModel,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a model comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program carries it.
    Program,
    /// A folder named at the start.
    Folder,
    /// The data directory, under this number.
    Installed(u64),
}

/// A model: what one model folder gives.
pub struct Model {
    /// Where it comes from.
    pub origin: Origin,
    /// Its embedders, at least one. All of them share its card and its files.
    pub embedders: Vec<Arc<dyn Embedder>>,
}

impl Model {
    /// The fingerprint of its first embedder, which stands for the whole.
    pub fn fingerprint(&self) -> Fingerprint {
        self.embedders[0].fingerprint()
    }

    /// Whether an embedder of that name and fingerprint is one of its own.
    pub fn has(&self, name: &str, fingerprint: &Fingerprint) -> bool {
        self.embedders.iter().any(|one| one.name() == name && one.fingerprint() == *fingerprint)
    }
}

/// Embedders by name (the latest added wins) and by fingerprint (all of them stay reachable, so that
/// collections made with an earlier model can still embed).
#[derive(Clone, Default)]
pub struct Registry {
    models: Vec<Arc<Model>>,
}

impl Registry {
    /// The defaults that the binary carries: `words`, `text`, `digits`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the bytes in the binary are damaged.
    pub fn with_defaults() -> Result<Self, Error> {
        let mut registry = Self::default();
        let mut carry = |embedders| registry.add_model(Arc::new(Model { origin: Origin::Program, embedders }));
        carry(of_words(WordModel::default_model()?)?);
        carry(vec![Arc::new(DigitNet::default_model()?)]);
        Ok(registry)
    }

    /// Adds the embedders of a model folder made by `nearness train` or `nearness import`.
    ///
    /// # Errors
    /// [`Error`] when the folder holds no model, or a damaged one.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), Error> {
        let embedders = load_folder(folder)?;
        self.add_model(Arc::new(Model { origin: Origin::Folder, embedders }));
        Ok(())
    }

    /// Adds one embedder.
    pub fn add(&mut self, embedder: Arc<dyn Embedder>) {
        self.add_model(Arc::new(Model { origin: Origin::Folder, embedders: vec![embedder] }));
    }

    /// Adds a model of at least one embedder.
    pub fn add_model(&mut self, model: Arc<Model>) {
        self.models.push(model);
    }

    /// Forgets the model of that origin.
    pub fn remove(&mut self, origin: Origin) {
        self.models.retain(|model| model.origin != origin);
    }

    /// The models in the order they were added.
    pub fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    fn embedders(&self) -> impl DoubleEndedIterator<Item = &Arc<dyn Embedder>> {
        self.models.iter().flat_map(|model| &model.embedders)
    }

    /// The embedder of that name that was added last.
    ///
    /// # Errors
    /// [`Error::UnknownEmbedder`] naming those there are.
    pub fn by_name(&self, name: &str) -> Result<&Arc<dyn Embedder>, Error> {
        self.embedders().rev().find(|embedder| embedder.name() == name).ok_or_else(|| Error::UnknownEmbedder {
            name: name.chars().take(80).collect(),
            known: self.current().iter().map(|embedder| embedder.name()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The embedder of that name and fingerprint, whenever it was added.
    pub fn by_fingerprint(&self, name: &str, fingerprint: &Fingerprint) -> Option<&Arc<dyn Embedder>> {
        self.embedders().rev().find(|embedder| embedder.name() == name && embedder.fingerprint() == *fingerprint)
    }

    /// The embedders that names stand for, in the order they were added.
    pub fn current(&self) -> Vec<&Arc<dyn Embedder>> {
        let all: Vec<_> = self.embedders().collect();
        let is_last = |place: usize| !all[place + 1..].iter().any(|later| later.name() == all[place].name());
        (0..all.len()).filter(|&place| is_last(place)).map(|place| all[place]).collect()
    }
}

/// Largest model card, bytes.
const MAX_CARD_BYTES: u64 = 1 << 20;

/// The embedders of a model folder.
///
/// # Errors
/// As [`Registry::add_folder`].
pub fn load_folder(folder: &Path) -> Result<Vec<Arc<dyn Embedder>>, Error> {
    let path = folder.join("card.json");
    if !path.exists() && folder.join("config.json").exists() {
        let what = "is missing; a folder of another program becomes a model folder by `nearness import`".into();
        return Err(Error::Corrupt { path, what });
    }
    let json = read_bounded(&path, MAX_CARD_BYTES)?;
    let card = super::ModelCard::parse(&path, &json)?;
    if card.family == images::FAMILY {
        return Ok(vec![Arc::new(PictureNet::load(folder)?)]);
    }
    if card.family == text::CONTRAST {
        return Ok(vec![Arc::new(TextEncoder::load(folder, card)?)]);
    }
    if !card.family.is_empty() {
        let Some(family) = Family::from_name(&card.family) else {
            return Err(unknown_family(path, &card.family));
        };
        return Ok(vec![transformers::load(family, folder, card)?]);
    }
    match card.name.as_str() {
        "words" => of_words(WordModel::load(folder)?),
        "digits" => Ok(vec![Arc::new(DigitNet::load(folder)?)]),
        other => Err(unknown_family(path, other)),
    }
}

/// A word model gives two embedders: `words` and, by weighting them, `text`.
///
/// # Errors
/// As [`TextEmbedder::new`].
pub fn of_words(words: WordModel) -> Result<Vec<Arc<dyn Embedder>>, Error> {
    let words = Arc::new(words);
    Ok(vec![words.clone(), Arc::new(TextEmbedder::new(words)?)])
}

fn unknown_family(path: PathBuf, family: &str) -> Error {
    let family: String = family.chars().take(40).collect();
    Error::Corrupt {
        path,
        what: format!(
            "a model of the unknown family {family:?}; known: words, digits, images, text-contrast, {}",
            Family::ALL.map(Family::name).join(", ")
        ),
    }
}
