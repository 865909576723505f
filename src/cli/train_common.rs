//! Shared by the commands that create model folders: common arguments, the folder in construction, phases of a
//! training, the model card.

use super::progress::{Progress, Step, count, duration};
use crate::disk;
use crate::embed::{DataSource, digits};
use crate::types::Precision;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Model folder that a command creates.
#[derive(Debug, Args)]
pub(crate) struct ModelOutputArgs {
    /// Model folder to create.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Licence of the training data, for the model card.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) licence: String,
    /// Replace an existing model folder at --out.
    #[arg(long)]
    pub(crate) force: bool,
    /// Print a JSON summary.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Precision of the stored weights of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoragePrecision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers with one scale per row.
    I8,
}

/// Labelled images: class folders, or a pair of IDX files.
#[derive(Debug, Args)]
pub(crate) struct LabelledImageArgs {
    /// Folder with one subfolder of images per class, or a tar archive of one (plain or gzip).
    #[arg(long, value_name = "DIR|TAR", required_unless_present = "images", conflicts_with_all = ["images", "labels"])]
    pub(crate) data: Option<PathBuf>,
    /// IDX file of grey images, plain or gzip.
    #[arg(long, value_name = "FILE", requires = "labels")]
    pub(crate) images: Option<PathBuf>,
    /// IDX file of the labels.
    #[arg(long, value_name = "FILE", requires = "images")]
    pub(crate) labels: Option<PathBuf>,
}

/// Returns the precision of the saved weights.
pub(super) fn precision(store: StoragePrecision) -> Precision {
    match store {
        StoragePrecision::F32 => Precision::F32,
        StoragePrecision::F16 => Precision::F16,
        StoragePrecision::I8 => Precision::I8,
    }
}

/// A model folder in construction.
pub(super) struct ModelFolder {
    out: PathBuf,
    replaces: bool,
}

impl ModelFolder {
    /// Checks before the training that the folder can be published afterwards.
    pub(super) fn plan(out: &Path, force: bool) -> anyhow::Result<Self> {
        let exists = out.symlink_metadata().is_ok();
        let empty = out.is_dir() && fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
        if exists && !empty {
            if !force {
                bail!("--out {}: exists already; --force replaces a model folder", out.display());
            }
            if !out.join("card.json").is_file() {
                bail!("--out {}: is not a model folder, so --force does not replace it", out.display());
            }
        }
        if out.file_name().is_none() {
            bail!("--out {}: has no file name", out.display());
        }
        let parent = Self::parent(out);
        disk::create_private_dirs(parent)
            .with_context(|| format!("--out {}: cannot create its parent folder", out.display()))?;
        Ok(Self { out: out.to_owned(), replaces: exists })
    }

    fn parent(out: &Path) -> &Path {
        out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Returns the parent folder.
    pub(super) fn parent_dir(&self) -> &Path {
        Self::parent(&self.out)
    }

    /// Returns an unused path next to the folder.
    fn sibling(&self, what: &str) -> PathBuf {
        let name = self.out.file_name().unwrap_or_default().to_string_lossy();
        Self::parent(&self.out).join(format!(".{name}.{what}.{}", std::process::id()))
    }

    /// Saves next to the folder, then renames; deletes the old folder last.
    #[allow(clippy::disallowed_methods, reason = "a folder is renamed, its files are durable by then")]
    pub(super) fn publish(self, save: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let fresh = self.sibling("new");
        let named = || format!("--out {}: cannot be written", self.out.display());
        let saved = fs::DirBuilder::new().mode(0o700).create(&fresh).with_context(named).and_then(|()| save(&fresh));
        if let Err(error) = saved {
            let _ = fs::remove_dir_all(&fresh);
            return Err(error);
        }
        let old = self.sibling("old");
        if self.replaces {
            fs::rename(&self.out, &old).with_context(named)?;
        }
        if let Err(error) = fs::rename(&fresh, &self.out) {
            if self.replaces {
                let _ = fs::rename(&old, &self.out);
            }
            return Err(error).with_context(|| format!("{}; the model is in {}", named(), fresh.display()));
        }
        if self.replaces {
            fs::remove_dir_all(&old).with_context(|| format!("{}: cannot be removed", old.display()))?;
        }
        Ok(())
    }
}

/// The phases of a training, each with its own rate.
pub(super) struct PhaseProgress {
    label: &'static str,
    unit: &'static str,
    quiet: bool,
    state: Mutex<State>,
}

/// The current phase and the completed ones.
struct State {
    current: Option<(Phase, Progress)>,
    completed: Vec<Phase>,
    /// Time of the last event; the next phase begins there, not at its own first event.
    last: Instant,
}

/// Measurements of a phase.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) done: u64,
    pub(super) seconds: f64,
    pub(super) loss: Option<f64>,
}

impl PhaseProgress {
    pub(super) fn new(label: &'static str, unit: &'static str, quiet: bool) -> Self {
        let state = State { current: None, completed: Vec::new(), last: Instant::now() };
        Self { label, unit, quiet, state: Mutex::new(state) }
    }

    /// Reports the progress of a training on images; appends `more` to the loss.
    pub(super) fn epoch(&self, seen: &digits::TrainProgress, more: &str) {
        let mut note = format!("epoch {} of {}, loss {:.4}{more}", seen.epoch, seen.epochs, seen.loss);
        if let Some(accuracy) = seen.test_accuracy {
            note += &format!(", {:.2} % of the test images", accuracy * 100.0);
        }
        self.step("training", seen.done_in_all(), Some(seen.total_in_all()), &note, Some(seen.loss));
    }

    pub(super) fn step(&self, name: &'static str, done: u64, total: Option<u64>, note: &str, loss: Option<f64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.current.as_ref().is_none_or(|(phase, _)| phase.name != name) {
            Self::close(&mut state);
            let phase = Phase { name, done: 0, seconds: 0.0, loss: None };
            let progress = Progress::since(state.last, format!("{}, {name}", self.label), self.unit, self.quiet);
            state.current = Some((phase, progress));
        }
        state.last = Instant::now();
        if let Some((phase, progress)) = &mut state.current {
            phase.done = phase.done.max(done);
            phase.seconds = progress.seconds();
            phase.loss = loss.or(phase.loss);
            progress.step(Step { done, total, part: None }, note);
        }
    }

    fn close(state: &mut State) {
        if let Some((phase, progress)) = state.current.take() {
            progress.finish(&format!("{} in {}", count(phase.done), duration(phase.seconds)));
            state.completed.push(phase);
        }
    }

    pub(super) fn finish(self, succeeded: bool) -> Vec<Phase> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if succeeded {
            Self::close(&mut state);
        } else if let Some((_, progress)) = state.current.take() {
            progress.abandon();
        }
        state.completed
    }
}

/// Describes the training files for the model card.
pub(super) fn data_sources(paths: &[PathBuf], licence: &str) -> Result<Vec<DataSource>, crate::embed::Error> {
    paths.iter().map(|path| DataSource::of(path, licence)).collect()
}

/// Returns the command line as typed, with the program by its name alone, quoted for a shell.
pub(super) fn command_line() -> String {
    let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./:=,+@%".contains(c));
    let quote = |word: String| if plain(&word) { word } else { format!("'{}'", word.replace('\'', "'\\''")) };
    let words = std::env::args_os().skip(1).map(|word| quote(word.to_string_lossy().into_owned()));
    std::iter::once("nearness".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Returns the fields of a JSON object.
pub(super) fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_begins_where_the_previous_one_ended() {
        let phases = PhaseProgress::new("train", "images", true);
        let started = phases.state.lock().unwrap().last;
        phases.state.lock().unwrap().last = started.checked_sub(std::time::Duration::from_secs(10)).unwrap_or(started);
        phases.step("training", 80, None, "", None);
        let measured = phases.finish(true);
        assert!(measured[0].seconds >= 10.0, "{measured:?}");
    }

    #[test]
    fn a_model_folder_is_published_atomically() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("deep/model");
        let names = || {
            fs::read_dir(root.path().join("deep")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
        };
        let write = |text: &'static str| {
            move |path: &Path| {
                fs::write(path.join("card.json"), text)?;
                anyhow::Ok(())
            }
        };
        let failed = ModelFolder::plan(&out, false).unwrap().publish(|path| {
            fs::write(path.join("card.json"), "half")?;
            bail!("disk full")
        });
        assert!(failed.is_err() && names().is_empty());
        ModelFolder::plan(&out, false).unwrap().publish(write("1")).unwrap();
        assert!(ModelFolder::plan(&out, false).is_err(), "replaced without --force");
        ModelFolder::plan(&out, true).unwrap().publish(write("2")).unwrap();
        assert_eq!(fs::read_to_string(out.join("card.json")).unwrap(), "2");
        assert_eq!(names(), ["model"]);
        fs::remove_file(out.join("card.json")).unwrap();
        fs::write(out.join("thesis.txt"), "precious").unwrap();
        assert!(ModelFolder::plan(&out, true).is_err(), "a folder that is not a model would be replaced");
    }
}
