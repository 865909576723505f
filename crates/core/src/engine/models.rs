//! The models of a server: those named on the command line, and those installed, trained and deleted at run time.
//!
//! An installed model is a folder in the data directory, written atomically. Every start loads the installed models
//! after those of the command line, which take precedence when names clash. Deleting a model checks whether a
//! collection uses it, under the lock that also guards the creation of collections.

use crate::api::{Error, limits};
use crate::collection::model_folder::{FINGERPRINT, load_installed};
use crate::disk::{self, Fs};
use crate::embed::digits::{self, LabelledImages};
use crate::embed::words::{self, TrainOptions as WordOptions};
use crate::embed::{
    self, DIGITS, DataSource, Embedder, Fingerprint, MODEL_FILES, Model, ModelCard, Origin, Registry, WORDS,
    load_folder, text::TEXT_SUFFIX, today, word_embedders,
};
use crate::store::{self, Entry};
use crate::types::CollectionName;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

/// File names of an upload for [`Lesson::Digits`]: images and labels, for training and for test accuracy.
pub const DIGIT_FILES: [&str; 4] = ["images", "labels", "test_images", "test_labels"];
/// File name, in the model card, of the texts of a collection.
const TEXTS: &str = "texts";

/// A model of this server.
pub struct ModelInfo {
    /// Origin and embedders.
    pub model: Arc<Model>,
    /// Whether a name resolves to one of its embedders; false when another model has taken all of its names.
    pub current: bool,
    /// The collections whose current or previous generation is pinned to one of its embedders.
    pub used_by: Vec<CollectionName>,
}

/// What to train, and its settings.
#[derive(Clone, Debug)]
pub enum Lesson {
    /// Word vectors, from text files or from the texts of a collection.
    Words {
        /// Training settings. The server sets files and checkpoints.
        options: Box<WordOptions>,
        /// The collection whose texts are also trained on.
        texts_of: Option<CollectionName>,
    },
    /// The digit net, from files named as in [`DIGIT_FILES`].
    Digits(digits::TrainOptions),
}

/// A request for a training.
#[derive(Clone, Debug)]
pub struct Training {
    /// What to train, and its settings.
    pub lesson: Lesson,
    /// Name of the embedder.
    pub name: String,
    /// Licence of the training data, for the model card.
    pub licence: String,
}

impl Training {
    /// Returns the names of the embedders to be trained.
    pub fn names(&self) -> Vec<String> {
        match &self.lesson {
            Lesson::Words { .. } => vec![self.name.clone(), format!("{}{TEXT_SUFFIX}", self.name)],
            Lesson::Digits(_) => vec![self.name.clone()],
        }
    }

    /// Returns the collection whose texts are trained on.
    pub fn texts_of(&self) -> Option<&CollectionName> {
        match &self.lesson {
            Lesson::Words { texts_of, .. } => texts_of.as_ref(),
            Lesson::Digits(_) => None,
        }
    }
}

/// Progress of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainStep {
    /// The phase: for words as in [`words::TrainProgress`], for digits `training`.
    pub phase: &'static str,
    /// Words or images done in this phase.
    pub done: u64,
    /// Total of this phase; 0 if unknown.
    pub total: u64,
    /// The loss, if computed.
    pub loss: Option<f64>,
    /// Accuracy on the test images, if just measured.
    pub test_accuracy: Option<f64>,
}

/// Progress callback of a training. Returns false to cancel it.
pub type ObserveTraining<'a> = &'a (dyn Fn(TrainStep) -> bool + Sync);

/// An upload of model files or training data. The files are removed on drop.
pub struct Upload {
    files: store::Upload,
    /// Limit of the total size in bytes.
    most: u64,
    /// Names as sent, with their paths.
    named: Vec<(String, PathBuf)>,
}

impl Upload {
    /// Begins a file of a model folder. Later calls of `append` write to it.
    ///
    /// # Errors
    /// `InvalidInput` for a name that no model file has, or a repeated one; `Exhausted`, `Internal`.
    pub fn begin_model_file(&mut self, name: &str) -> Result<(), Error> {
        let Some(known) = MODEL_FILES.into_iter().find(|known| *known == name) else {
            let name: String = name.chars().take(80).collect();
            return Err(Error::invalid(
                "file",
                format!("{name:?} is no file of a model folder: {}", MODEL_FILES.join(", ")),
            ));
        };
        self.most = limits::MAX_MODEL_BYTES;
        self.begin(name, known)
    }

    /// Begins a training data file, under any name.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty, too long or repeated, or one file too many; `Exhausted`, `Internal`.
    pub fn begin_data_file(&mut self, name: &str) -> Result<(), Error> {
        let (most, count) = (limits::MAX_FILE_NAME_BYTES, limits::MAX_UPLOAD_FILES);
        if name.is_empty() || name.len() > most {
            return Err(Error::invalid("file", format!("a name has 1 to {most} bytes, got {}", name.len())));
        }
        if self.named.len() == count {
            return Err(Error::invalid("file", format!("at most {count} files are taken")));
        }
        self.begin(name, &format!("data-{}", self.named.len()))
    }

    fn begin(&mut self, name: &str, stored: &str) -> Result<(), Error> {
        if self.named.iter().any(|(other, _)| other == name) {
            return Err(Error::invalid(
                "file",
                format!("{name:?} came before; a file's pieces come one after the other"),
            ));
        }
        self.files.begin(stored)?;
        self.named.push((name.into(), self.files.dir().join(stored)));
        Ok(())
    }

    /// Appends to the file begun last.
    ///
    /// # Errors
    /// `InvalidInput` before the first file, or for too many bytes; `Exhausted`, `Internal`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.named.is_empty() {
            return Err(Error::invalid("file", "is missing: the first piece names its file"));
        }
        let most = self.most;
        if self.files.bytes() + bytes.len() as u64 > most {
            return Err(Error::invalid("data", format!("at most {most} bytes are taken in one call")));
        }
        self.room()?;
        Ok(self.files.append(bytes)?)
    }

    /// Fails when the disk has less than [`limits::MIN_FREE_BYTES`] free, which are reserved for the collections.
    fn room(&self) -> Result<(), Error> {
        let free = disk::free_bytes(self.files.dir()).map_err(store::Error::from)?;
        if free < limits::MIN_FREE_BYTES {
            let least = limits::MIN_FREE_BYTES;
            return Err(Error::Exhausted(format!(
                "{free} bytes are free on the disk, and {least} are left to the collections"
            )));
        }
        Ok(())
    }

    fn file(&self, name: &str) -> Option<&Path> {
        self.named.iter().find(|(other, _)| other == name).map(|(_, path)| path.as_path())
    }

    /// Returns the data sources for the model card.
    fn sources(&self, licence: &str) -> Result<Vec<DataSource>, embed::Error> {
        let source =
            |(name, path): &(String, PathBuf)| Ok(DataSource { file: name.clone(), ..DataSource::of(path, licence)? });
        self.named.iter().map(source).collect()
    }
}

/// The registry of models, and the folders of the installed ones.
pub(crate) struct Models {
    folders: store::Models,
    registry: RwLock<Arc<Registry>>,
}

impl Models {
    /// Adds the models installed in the data directory to `registry`. A model that does not load is logged and its
    /// folder kept; the others are still loaded.
    pub(crate) fn open(fs: &Arc<dyn Fs>, data_dir: &Path, mut registry: Registry) -> Result<Self, Error> {
        let (folders, numbers) = store::Models::open(fs, data_dir)?;
        for number in numbers {
            let folder = folders.dir(number);
            match load_installed(&folder) {
                Ok(embedders) => registry.add_model(Arc::new(Model { origin: Origin::Installed(number), embedders })),
                Err(error) => {
                    tracing::error!(folder = %folder.display(), %error, "an installed model cannot be used; install it anew, and remove this folder");
                }
            }
        }
        Ok(Self { folders, registry: RwLock::new(Arc::new(registry)) })
    }

    /// Refuses a training whose embedder would have the name of one that the server was started with: the name would
    /// not resolve to the new one.
    pub(crate) fn check_names(&self, training: &Training) -> Result<(), Error> {
        let registry = self.registry();
        match training.names().into_iter().find(|name| registry.has_startup_name(name)) {
            None => Ok(()),
            Some(name) => Err(Error::invalid(
                "settings.name",
                format!("{name:?} is the name of an embedder that the server was started with; give another name"),
            )),
        }
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Registry)) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Registry::clone(&registry);
        change(&mut next);
        *registry = Arc::new(next);
    }

    pub(crate) fn upload(&self) -> Result<Upload, Error> {
        Ok(Upload { files: self.folders.upload()?, most: limits::MAX_UPLOAD_BYTES, named: Vec::new() })
    }

    /// Writes a model durably, reads it back, and registers it. Not for concurrent calls.
    pub(crate) fn keep(&self, embedders: Vec<Arc<dyn Embedder>>) -> Result<Arc<Model>, Error> {
        let failed = |source| Error::Embed { field: "data".into(), source };
        let first = embedders.first().ok_or_else(|| Error::invalid("data", "the model has no embedder"))?;
        let (name, fingerprint) = (first.name().to_owned(), first.fingerprint());
        if self.registry().models().iter().any(|model| model.has(&name, &fingerprint)) {
            return Err(Error::ModelExists { name, fingerprint: fingerprint.to_string() });
        }
        let mut files = first.files().map_err(failed)?;
        files.push((FINGERPRINT, fingerprint.to_string().into_bytes()));
        // At most two copies of a model are in memory.
        drop(embedders);
        let number = self.folders.add(&files)?;
        drop(files);
        let kept = load_installed(&self.folders.dir(number)).map_err(failed);
        let kept = kept.map(|embedders| Arc::new(Model { origin: Origin::Installed(number), embedders }));
        match kept {
            Ok(model) => {
                self.change(|registry| registry.add_model(model.clone()));
                Ok(model)
            }
            Err(error) => {
                // The next start logs a folder that could not be removed.
                let _ = self.folders.remove(number);
                Err(error)
            }
        }
    }

    /// Unregisters an installed model, then removes its folder.
    pub(crate) fn delete(&self, model: &ModelInfo) -> Result<(), Error> {
        let stays = |why: String| Error::ModelStays { name: model.model.embedders[0].name().into(), why };
        let Origin::Installed(number) = model.model.origin else {
            return Err(stays("it was not installed; the server was started with it".into()));
        };
        if let Some(first) = model.used_by.first() {
            let others = model.used_by.len() - 1;
            let more = if others > 0 { format!(" and {others} more") } else { String::new() };
            return Err(stays(format!(
                "the collection {:?}{more} is pinned to it, or keeps a generation that is",
                first.as_str()
            )));
        }
        // First, so that no collection is created with a model that the next start does not have.
        self.change(|registry| registry.remove(model.model.origin));
        Ok(self.folders.remove(number)?)
    }

    /// Lists all models, with their users among `entries`, the entries of the catalogue.
    pub(crate) fn list(&self, entries: &[(CollectionName, Entry)]) -> Vec<ModelInfo> {
        let registry = self.registry();
        let info = |model: &Arc<Model>| {
            let uses = |entry: &Entry| {
                std::iter::successors(Some(entry), |entry| entry.previous.as_deref()).any(|entry| {
                    let pin = entry.record.embedder.as_ref();
                    pin.is_some_and(|pin| model.has(&pin.name, &Fingerprint(pin.fingerprint)))
                })
            };
            let used_by = entries.iter().filter(|(_, entry)| uses(entry)).map(|(name, _)| name.clone()).collect();
            ModelInfo { model: model.clone(), current: registry.is_current(model), used_by }
        };
        registry.models().iter().map(info).collect()
    }
}

/// Loads the embedders of an uploaded model folder.
pub(crate) fn load(upload: &Upload) -> Result<Vec<Arc<dyn Embedder>>, Error> {
    if upload.file("card.json").is_none() {
        return Err(Error::invalid(
            "file",
            "card.json is missing: a model folder is made by `nearness train` or `nearness import`",
        ));
    }
    load_folder(upload.files.dir()).map_err(|error| blamed(error, upload, "data"))
}

/// Trains on the uploaded files, at low thread priority.
pub(crate) fn train(
    training: &Training,
    upload: &Upload,
    observe: ObserveTraining<'_>,
) -> Result<Vec<Arc<dyn Embedder>>, Error> {
    let full = Mutex::new(None);
    let observe = |step| match upload.room() {
        Ok(()) => observe(step),
        Err(error) => {
            *full.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            false
        }
    };
    let threads = match &training.lesson {
        Lesson::Words { options, .. } => options.threads,
        Lesson::Digits(options) => options.threads,
    };
    let work = || {
        disk::lower_thread_priority();
        // A pool of its own: the shared pool would delay queries, or have its priority lowered.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| embed::Error::Compute(error.to_string()))?;
        pool.install(|| match &training.lesson {
            Lesson::Words { options, texts_of } => train_words(training, options, texts_of.as_ref(), upload, &observe),
            Lesson::Digits(options) => train_digits(training, options, upload, &observe),
        })
    };
    let trained = std::thread::scope(|scope| scope.spawn(work).join());
    let trained = trained.unwrap_or_else(|_| Err(embed::Error::Compute("the training panicked".into())));
    if let Some(error) = full.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    trained.map_err(|error| blamed(error, upload, "settings"))
}

/// Maps an error of the input: damage becomes `InvalidInput`, a full disk does not, and files have the names of the
/// upload.
fn blamed(error: embed::Error, upload: &Upload, field: &str) -> Error {
    use std::io::ErrorKind as Io;
    let short = |path: &Path| {
        let named = upload.named.iter().find(|(_, other)| other == path);
        named.map_or(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), |(name, _)| name.clone())
    };
    let source = match error {
        embed::Error::Corrupt { path, what } => embed::Error::InvalidInput(format!("{}: {what}", short(&path))),
        embed::Error::Io { path, source } => match source.kind() {
            Io::NotFound => embed::Error::InvalidInput(format!("{} is missing", short(&path))),
            Io::UnexpectedEof | Io::InvalidData | Io::InvalidInput => {
                embed::Error::InvalidInput(format!("{}: cannot be unpacked: {source}", short(&path)))
            }
            Io::StorageFull | Io::QuotaExceeded => return Error::Exhausted(format!("{}: {source}", short(&path))),
            _ => embed::Error::Io { path: short(&path).into(), source },
        },
        embed::Error::Disk(error) => return Error::Store(error.into()),
        embed::Error::NotBuilt { what, feature, .. } => {
            embed::Error::NotBuilt { path: "the uploaded model".into(), what, feature }
        }
        other => other,
    };
    Error::Embed { field: field.into(), source }
}

fn card(family: &str, training: &Training, upload: &Upload, seed: u64) -> Result<ModelCard, embed::Error> {
    Ok(ModelCard {
        command: "Training.TrainEmbedder".into(),
        data: upload.sources(&training.licence)?,
        seed,
        date: today(),
        ..ModelCard::named(family, &training.name)
    })
}

fn train_words(
    training: &Training,
    options: &WordOptions,
    texts_of: Option<&CollectionName>,
    upload: &Upload,
    observe: ObserveTraining<'_>,
) -> Result<Vec<Arc<dyn Embedder>>, embed::Error> {
    let most = limits::MAX_TRAINED_NUMBERS / options.dimension.max(1);
    let options = WordOptions {
        max_words: options.max_words.min(most).min(limits::MAX_TRAINED_WORDS),
        max_bytes: limits::MAX_UPLOAD_BYTES,
        scratch: upload.files.dir().into(),
        checkpoints: None,
        ..options.clone()
    };
    let files: Vec<PathBuf> = upload.named.iter().map(|(_, path)| path.clone()).collect();
    let begun = Instant::now();
    let model = words::train(&files, &options, &|seen| {
        observe(TrainStep {
            phase: seen.phase,
            done: seen.done,
            total: seen.total,
            loss: seen.loss,
            test_accuracy: None,
        })
    })?;
    let mut card = card(WORDS, training, upload, options.seed)?;
    card.threads = options.resolved_threads();
    card.quality.insert("training_seconds".into(), seconds(begun).into());
    card.quality.insert("vocabulary".into(), model.vocabulary().len().into());
    if let Some(name) = texts_of {
        let texts = card.data.iter_mut().filter(|source| source.file == TEXTS);
        texts.for_each(|source| *source = std::mem::take(source).of_collection(name.as_str()));
    }
    let card = card.completed_by(model.card());
    word_embedders(model.with_card(card))
}

fn train_digits(
    training: &Training,
    options: &digits::TrainOptions,
    upload: &Upload,
    observe: ObserveTraining<'_>,
) -> Result<Vec<Arc<dyn Embedder>>, embed::Error> {
    if let Some((name, _)) = upload.named.iter().find(|(name, _)| !DIGIT_FILES.contains(&name.as_str())) {
        let known = DIGIT_FILES.join(", ");
        return Err(embed::Error::InvalidInput(format!("the file {name:?} is none of those of digits: {known}")));
    }
    let [images, labels, test_images, test_labels] = DIGIT_FILES.map(|name| upload.file(name));
    let (Some(images), Some(labels)) = (images, labels) else {
        return Err(embed::Error::InvalidInput("the files \"images\" and \"labels\" are needed".into()));
    };
    let images = LabelledImages::read(images, labels)?;
    let test = match (test_images, test_labels) {
        (Some(images), Some(labels)) => Some(LabelledImages::read(images, labels)?),
        (None, None) => None,
        _ => return Err(embed::Error::InvalidInput("the test images and their labels are needed together".into())),
    };
    let begun = Instant::now();
    let net = digits::train(&images, test.as_ref(), options, &|seen| {
        observe(TrainStep {
            phase: "training",
            done: seen.done_in_all(),
            total: seen.total_in_all(),
            loss: Some(seen.loss),
            test_accuracy: seen.test_accuracy,
        })
    })?;
    let mut card = card(DIGITS, training, upload, options.seed)?;
    card.threads = net.card().threads;
    card.quality.insert("training_seconds".into(), seconds(begun).into());
    let card = card.completed_by(net.card());
    Ok(vec![Arc::new(net.with_card(card))])
}

fn seconds(begun: Instant) -> f64 {
    (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0
}

/// Adds texts to an upload as one more file, one text per line.
pub(crate) fn add_texts(upload: &mut Upload, texts: impl Iterator<Item = Result<String, Error>>) -> Result<(), Error> {
    const PIECE: usize = 1 << 20;
    upload.begin_data_file(TEXTS)?;
    let mut piece = String::new();
    for text in texts {
        // A text is one paragraph: line ends become spaces.
        piece.extend(text?.chars().map(|c| if c.is_control() { ' ' } else { c }));
        piece.push('\n');
        if piece.len() >= PIECE {
            upload.append(piece.as_bytes())?;
            piece.clear();
        }
    }
    upload.append(piece.as_bytes())
}
