//! The embedders of a process: built-in defaults, model folders of the user, and installed models.

use super::{
    DIGITS, Embedder, Error, Fingerprint, WORDS,
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

/// Origin of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built into the program.
    Program,
    /// A folder given at start-up.
    Folder,
    /// Installed in the data directory, with this number.
    Installed(u64),
}

/// The contents of one model folder.
pub struct Model {
    /// The origin.
    pub origin: Origin,
    /// The embedders, at least one. All share the card and the files.
    pub embedders: Vec<Arc<dyn Embedder>>,
}

impl Model {
    /// The fingerprint of the first embedder, which identifies the model.
    pub fn fingerprint(&self) -> Fingerprint {
        self.embedders[0].fingerprint()
    }

    fn is_installed(&self) -> bool {
        matches!(self.origin, Origin::Installed(_))
    }

    /// Whether the model contains an embedder with that name and fingerprint.
    pub fn has(&self, name: &str, fingerprint: &Fingerprint) -> bool {
        self.embedders.iter().any(|one| one.name() == name && one.fingerprint() == *fingerprint)
    }
}

/// The names of the built-in embedders.
pub const BUILT_IN: [&str; 3] = [WORDS, "text", DIGITS];
/// Minimum fingerprint digits in `NAME@FINGERPRINT`.
const MIN_FINGERPRINT_DIGITS: usize = 8;

/// Embedders by name and by fingerprint. Superseded embedders stay reachable by fingerprint, so that collections
/// of an earlier model can still embed.
///
/// A name resolves to an embedder from the start of the process, the last one added if there are several; otherwise
/// to the last one installed. So an installation never changes the meaning of a known name. `NAME@FINGERPRINT`,
/// with the first 8 digits or more, always resolves to the same embedder.
#[derive(Clone, Default)]
pub struct Registry {
    models: Vec<Arc<Model>>,
    folders: Vec<Folder>,
}

/// A model folder that was added.
#[derive(Clone)]
struct Folder {
    /// The path as given.
    given: PathBuf,
    /// The canonical path.
    real: PathBuf,
    model: Arc<Model>,
}

impl Registry {
    /// The built-in embedders: `words`, `text`, `digits`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the built-in bytes are damaged.
    pub fn with_defaults() -> Result<Self, Error> {
        let mut registry = Self::default();
        let mut add_built_in = |embedders| registry.add_model(Arc::new(Model { origin: Origin::Program, embedders }));
        add_built_in(word_embedders(WordModel::default_model()?)?);
        add_built_in(vec![Arc::new(DigitNet::default_model()?)]);
        Ok(registry)
    }

    /// Adds the embedders of a model folder created by `nearness train` or `nearness import`. A folder that was added
    /// before is not loaded again.
    ///
    /// # Errors
    /// [`Error::NameTaken`] if another folder has an embedder of the same name; [`Error`] if the folder holds no model,
    /// or a damaged one.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), Error> {
        let real = folder.canonicalize().map_err(|source| Error::Io { path: folder.into(), source })?;
        if self.folders.iter().any(|other| other.real == real) {
            return Ok(());
        }
        let model = Arc::new(Model { origin: Origin::Folder, embedders: load_folder(folder)? });
        for one in &model.embedders {
            let same = |other: &&Folder| other.model.embedders.iter().any(|other| other.name() == one.name());
            if let Some(other) = self.folders.iter().find(same) {
                return Err(Error::NameTaken {
                    name: one.name().to_owned(),
                    folder: folder.into(),
                    other: other.given.clone(),
                });
            }
        }
        self.add_model(model.clone());
        self.folders.push(Folder { given: folder.into(), real, model });
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

    /// Removes the models with that origin.
    pub fn remove(&mut self, origin: Origin) {
        self.models.retain(|model| model.origin != origin);
    }

    /// The models in insertion order.
    pub fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    fn embedders(&self) -> impl DoubleEndedIterator<Item = &Arc<dyn Embedder>> {
        self.models.iter().flat_map(|model| &model.embedders)
    }

    /// Removes the models for which `keep` returns false.
    pub fn retain(&mut self, keep: impl Fn(&Model) -> bool) {
        self.models.retain(|model| keep(model));
    }

    /// Resolves `NAME` or `NAME@FINGERPRINT`.
    ///
    /// # Errors
    /// [`Error::UnknownEmbedder`] with the available names.
    pub fn by_name(&self, name: &str) -> Result<&Arc<dyn Embedder>, Error> {
        let found = match name.split_once('@') {
            Some((name, digits)) => self.by_fingerprint_prefix(name, digits),
            None => self.resolve_name(name),
        };
        found.ok_or_else(|| Error::UnknownEmbedder {
            name: name.chars().take(80).collect(),
            known: self.current().iter().map(|embedder| embedder.name()).collect::<Vec<_>>().join(", "),
        })
    }

    fn resolve_name(&self, name: &str) -> Option<&Arc<dyn Embedder>> {
        let last = |installed: bool| {
            let models = self.models.iter().rev().filter(move |model| model.is_installed() == installed);
            models.flat_map(|model| &model.embedders).find(|embedder| embedder.name() == name)
        };
        last(false).or_else(|| last(true))
    }

    /// Resolves a fingerprint prefix; none if it is ambiguous.
    fn by_fingerprint_prefix(&self, name: &str, digits: &str) -> Option<&Arc<dyn Embedder>> {
        if digits.len() < MIN_FINGERPRINT_DIGITS {
            return None;
        }
        let digits = digits.to_ascii_lowercase();
        let has_prefix =
            |one: &&Arc<dyn Embedder>| one.name() == name && one.fingerprint().to_string().starts_with(&digits);
        let mut found = self.embedders().filter(has_prefix);
        let first = found.next()?;
        found.all(|other| other.fingerprint() == first.fingerprint()).then_some(first)
    }

    /// Whether an embedder with that name existed at the start of the process.
    pub fn has_startup_name(&self, name: &str) -> bool {
        let mut started = self.models.iter().filter(|model| !model.is_installed()).flat_map(|model| &model.embedders);
        started.any(|embedder| embedder.name() == name)
    }

    /// Whether a name resolves to an embedder of this model.
    pub fn is_current(&self, model: &Model) -> bool {
        let is_resolved =
            |one: &Arc<dyn Embedder>| self.resolve_name(one.name()).is_some_and(|resolved| Arc::ptr_eq(resolved, one));
        model.embedders.iter().any(is_resolved)
    }

    /// The embedder with that name and fingerprint, also a superseded one.
    pub fn by_fingerprint(&self, name: &str, fingerprint: &Fingerprint) -> Option<&Arc<dyn Embedder>> {
        self.embedders().rev().find(|embedder| embedder.name() == name && embedder.fingerprint() == *fingerprint)
    }

    /// The embedders that names resolve to, in insertion order.
    pub fn current(&self) -> Vec<&Arc<dyn Embedder>> {
        let is_resolved =
            |one: &&Arc<dyn Embedder>| self.resolve_name(one.name()).is_some_and(|resolved| Arc::ptr_eq(resolved, one));
        self.embedders().filter(is_resolved).collect()
    }
}

/// Maximum size of a model card in bytes.
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
    match card.family_or_name() {
        WORDS => return word_embedders(WordModel::load(folder)?),
        DIGITS => return Ok(vec![Arc::new(DigitNet::load(folder)?)]),
        _ => {}
    }
    if card.family == images::FAMILY {
        return Ok(vec![Arc::new(PictureNet::load(folder)?)]);
    }
    if card.family == text::FAMILY {
        return Ok(vec![Arc::new(TextEncoder::load(folder, card)?)]);
    }
    if !card.family.is_empty() {
        let Some(family) = Family::from_name(&card.family) else {
            return Err(unknown_family(path, &card.family));
        };
        return Ok(vec![transformers::load(family, folder, card)?]);
    }
    Err(unknown_family(path, &card.name))
}

/// The two embedders of a word model: one for words and one for texts, which weights the words. They are named
/// `words` and `text`, or `NAME` and `NAME-text`.
///
/// # Errors
/// As [`TextEmbedder::new`].
pub fn word_embedders(words: WordModel) -> Result<Vec<Arc<dyn Embedder>>, Error> {
    let words = Arc::new(words);
    Ok(vec![words.clone(), Arc::new(TextEmbedder::new(words)?)])
}

fn unknown_family(path: PathBuf, family: &str) -> Error {
    let family: String = family.chars().take(40).collect();
    Error::Corrupt {
        path,
        what: format!(
            "a model of the unknown family {family:?}; supported: words, digits, images, text-contrast, {}",
            Family::ALL.map(Family::name).join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fingerprinter, Input, Modality, ModelCard, OutputLayer};

    struct Named(ModelCard, Fingerprint);

    impl Embedder for Named {
        fn name(&self) -> &str {
            &self.0.name
        }
        fn modality(&self) -> Modality {
            Modality::Text
        }
        fn output_layers(&self) -> &[OutputLayer] {
            &[]
        }
        fn fingerprint(&self) -> Fingerprint {
            self.1
        }
        fn card(&self) -> &ModelCard {
            &self.0
        }
        fn embed(&self, _: &OutputLayer, _: &Input<'_>) -> Result<Vec<f32>, Error> {
            Err(Error::InvalidInput("it embeds nothing".into()))
        }
    }

    fn model(origin: Origin, name: &str, what: &str) -> Arc<Model> {
        let card = ModelCard { name: name.into(), ..Default::default() };
        let embedder: Arc<dyn Embedder> = Arc::new(Named(card, Fingerprinter::new(what).finish()));
        Arc::new(Model { origin, embedders: vec![embedder] })
    }

    #[test]
    fn an_installed_model_replaces_no_startup_name() {
        let mut registry = Registry::default();
        let models = [
            model(Origin::Program, "words", "program"),
            model(Origin::Folder, "text", "first folder"),
            model(Origin::Folder, "text", "second folder"),
            model(Origin::Installed(0), "words", "installed"),
            model(Origin::Installed(1), "mine", "older"),
            model(Origin::Installed(2), "mine", "newer"),
        ];
        models.iter().for_each(|model| registry.add_model(model.clone()));
        let resolved = |name: &str| registry.by_name(name).ok().map(|embedder| embedder.fingerprint());
        for (name, index) in [("words", 0), ("text", 2), ("mine", 5)] {
            assert_eq!(resolved(name), Some(models[index].fingerprint()), "{name}");
        }
        let current: Vec<bool> = models.iter().map(|model| registry.is_current(model)).collect();
        assert_eq!(current, [true, false, true, false, false, true]);
        assert_eq!(registry.current().iter().map(|one| one.name()).collect::<Vec<_>>(), ["words", "text", "mine"]);
        assert!(registry.has_startup_name("words") && !registry.has_startup_name("mine"));
        // Each can still be found by its fingerprint.
        for model in &models {
            let (name, digits) = (model.embedders[0].name(), model.fingerprint().to_string());
            for digits in [&digits[..], &digits[..8], &digits[..20].to_ascii_uppercase()] {
                assert_eq!(resolved(&format!("{name}@{digits}")), Some(model.fingerprint()));
            }
            assert_eq!(resolved(&format!("{name}@{}", &digits[..7])), None, "too few digits");
            assert_eq!(resolved(&format!("other@{digits}")), None);
        }
        let error = registry.by_name("none").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("words, text, mine"), "{error}");
    }

    #[test]
    fn two_folders_of_one_name_are_refused_and_a_repeated_folder_is_added_once() {
        let here = tempfile::tempdir().unwrap();
        let (one, two) = (here.path().join("one"), here.path().join("two"));
        for folder in [&one, &two] {
            DigitNet::default_model().unwrap().save(folder).unwrap();
        }
        // A folder may replace a built-in name.
        let mut registry = Registry::with_defaults().unwrap();
        let before = registry.models().len();
        registry.add_folder(&one).unwrap();
        registry.add_folder(&two.join("../one")).unwrap();
        assert_eq!(registry.models().len(), before + 1);
        let error = registry.add_folder(&two).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
        for part in [one.to_str().unwrap(), two.to_str().unwrap(), "\"digits\"", "another name"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(registry.models().len(), before + 1);
    }
}
