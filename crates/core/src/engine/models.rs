//! The models of a server: those named on the command line, and those installed, trained and deleted at run time.
//!
//! An installed model is a folder in the data directory, written atomically. Every start loads the installed models
//! after those of the command line, which take precedence when names clash. Deleting a model checks whether a
//! collection uses it, under the lock that also guards the creation of collections.

use crate::api::{Error, limits};
use crate::collection::model_folder::{FINGERPRINT, load_installed};
use crate::disk::{self, Fs};
use crate::embed::{
    self, DataSource, Embedder, EmbedderInfo, Fingerprint, MODEL_FILES, Model, Origin, Registry, load_folder,
};
use crate::store::{self, Entry};
use crate::types::CollectionName;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A model of this server.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The origin.
    pub origin: Origin,
    /// The embedders, at least one. All share the card.
    pub embedders: Vec<EmbedderInfo>,
    /// Whether a name resolves to one of its embedders; false when another model has taken all of its names.
    pub current: bool,
    /// The collections whose current or previous generation is pinned to one of its embedders.
    pub used_by: Vec<CollectionName>,
}

impl ModelInfo {
    /// Returns the fingerprint of the first embedder, which identifies the model.
    pub fn fingerprint(&self) -> Fingerprint {
        self.embedders[0].fingerprint
    }
}

/// Produces the embedders of a new model.
pub trait Trainer: Send + Sync {
    /// Trains on the uploaded files. Called at low thread priority, in a separate thread pool.
    ///
    /// # Errors
    /// Those of the training; a path in an error is that of an uploaded file.
    fn train(&self, upload: &Upload, observe: ObserveTraining<'_>) -> Result<Vec<Arc<dyn Embedder>>, embed::Error>;
}

/// A request for a training.
pub struct Training {
    /// Names of the embedders to be trained.
    pub names: Vec<String>,
    /// The collection whose texts are trained on, in addition to the uploaded files.
    pub texts_of: Option<CollectionName>,
    /// Number of threads; 0 for all cores.
    pub threads: usize,
    /// The training.
    pub trainer: Box<dyn Trainer>,
}

impl Training {
    /// Returns the collection whose texts are trained on.
    pub fn texts_of(&self) -> Option<&CollectionName> {
        self.texts_of.as_ref()
    }
}

/// Progress of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainStep {
    /// The phase, for example `training`.
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
    max_bytes: u64,
    /// Names as sent, with their paths.
    named: Vec<(String, PathBuf)>,
}

impl Upload {
    /// Name of the file with the texts of a collection.
    pub const TEXTS: &str = "texts";

    /// Begins a file of a model folder. Later calls of `append` write to it.
    ///
    /// # Errors
    /// `InvalidInput` for a name that no model file has, or a repeated one; `Exhausted`, `Internal`.
    pub fn begin_model_file(&mut self, name: &str) -> Result<(), Error> {
        let Some(known) = MODEL_FILES.into_iter().find(|known| *known == name) else {
            let name: String = name.chars().take(80).collect();
            return Err(Error::invalid(
                "file",
                format!("{name:?} is not a file of a model folder: {}", MODEL_FILES.join(", ")),
            ));
        };
        self.max_bytes = limits::MAX_MODEL_BYTES;
        self.begin(name, known)
    }

    /// Begins a training data file, under any name.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty, too long or repeated, or one file too many; `Exhausted`, `Internal`.
    pub fn begin_data_file(&mut self, name: &str) -> Result<(), Error> {
        let (max_bytes, count) = (limits::MAX_FILE_NAME_BYTES, limits::MAX_UPLOAD_FILES);
        if name.is_empty() || name.len() > max_bytes {
            return Err(Error::invalid("file", format!("a name has 1 to {max_bytes} bytes, got {}", name.len())));
        }
        if self.named.len() == count {
            return Err(Error::invalid("file", format!("at most {count} files are accepted")));
        }
        self.begin(name, &format!("data-{}", self.named.len()))
    }

    fn begin(&mut self, name: &str, stored: &str) -> Result<(), Error> {
        if self.named.iter().any(|(other, _)| other == name) {
            return Err(Error::invalid(
                "file",
                format!("{name:?} was sent before; send the pieces of a file consecutively"),
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
        let max_bytes = self.max_bytes;
        if self.files.bytes() + bytes.len() as u64 > max_bytes {
            return Err(Error::invalid("data", format!("at most {max_bytes} bytes are accepted per call")));
        }
        self.room()?;
        Ok(self.files.append(bytes)?)
    }

    /// Fails when the disk has less than [`limits::MIN_FREE_BYTES`] free, which are reserved for the collections.
    fn room(&self) -> Result<(), Error> {
        let free = disk::free_bytes(self.files.dir()).map_err(store::Error::from)?;
        if free < limits::MIN_FREE_BYTES {
            let min = limits::MIN_FREE_BYTES;
            return Err(Error::Exhausted(format!(
                "{free} bytes are free on the disk, and {min} are reserved for the collections"
            )));
        }
        Ok(())
    }

    /// Returns the names of the files as sent, with their paths.
    pub fn files(&self) -> &[(String, PathBuf)] {
        &self.named
    }

    /// Returns the folder of the upload, for temporary files.
    pub fn dir(&self) -> &Path {
        self.files.dir()
    }

    /// Returns the path of a file by its name.
    pub fn file(&self, name: &str) -> Option<&Path> {
        self.named.iter().find(|(other, _)| other == name).map(|(_, path)| path.as_path())
    }

    /// Returns the data sources for the model card.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn sources(&self, licence: &str) -> Result<Vec<DataSource>, embed::Error> {
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
                    tracing::error!(folder = %folder.display(), %error, "an installed model cannot be loaded; install it again and remove this folder");
                }
            }
        }
        Ok(Self { folders, registry: RwLock::new(Arc::new(registry)) })
    }

    /// Refuses a training whose embedder would have the name of one that the server was started with: the name would
    /// not resolve to the new one.
    pub(crate) fn check_names(&self, training: &Training) -> Result<(), Error> {
        let registry = self.registry();
        match training.names.iter().find(|name| registry.has_startup_name(name)) {
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
        Ok(Upload { files: self.folders.upload()?, max_bytes: limits::MAX_UPLOAD_BYTES, named: Vec::new() })
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
        let loaded = load_installed(&self.folders.dir(number)).map_err(failed);
        let loaded = loaded.map(|embedders| Arc::new(Model { origin: Origin::Installed(number), embedders }));
        match loaded {
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
        let stays = |why: String| Error::ModelStays { name: model.embedders[0].name.clone(), why };
        let Origin::Installed(number) = model.origin else {
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
        self.change(|registry| registry.remove(model.origin));
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
            ModelInfo {
                origin: model.origin,
                embedders: model.embedders.iter().map(|one| one.as_ref().into()).collect(),
                current: registry.is_current(model),
                used_by,
            }
        };
        registry.models().iter().map(info).collect()
    }
}

/// Loads the embedders of an uploaded model folder.
pub(crate) fn load(upload: &Upload) -> Result<Vec<Arc<dyn Embedder>>, Error> {
    if upload.file("card.json").is_none() {
        return Err(Error::invalid(
            "file",
            "card.json is missing: a model folder is created by `nearness train` or `nearness import`",
        ));
    }
    load_folder(upload.files.dir()).map_err(|error| as_input_error(error, upload, "data"))
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
    let work = || {
        disk::lower_thread_priority();
        // A separate pool: the shared pool would delay queries, or have its priority lowered.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(training.threads).build();
        let pool = pool.map_err(|error| embed::Error::Compute(error.to_string()))?;
        pool.install(|| training.trainer.train(upload, &observe))
    };
    let trained = std::thread::scope(|scope| scope.spawn(work).join());
    let trained = trained.unwrap_or_else(|_| Err(embed::Error::Compute("the training panicked".into())));
    if let Some(error) = full.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    trained.map_err(|error| as_input_error(error, upload, "settings"))
}

/// Maps an error of the input: damage becomes `InvalidInput`, a full disk does not, and files have the names of the
/// upload.
fn as_input_error(error: embed::Error, upload: &Upload, field: &str) -> Error {
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

/// Adds texts to an upload as one more file, one text per line.
pub(crate) fn add_texts(upload: &mut Upload, texts: impl Iterator<Item = Result<String, Error>>) -> Result<(), Error> {
    const PIECE: usize = 1 << 20;
    upload.begin_data_file(Upload::TEXTS)?;
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
