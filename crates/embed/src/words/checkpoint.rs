//! Checkpoints: an interrupted or killed training resumes from the last one.
//!
//! | file | contents |
//! | --- | --- |
//! | `tokens.bin` | the corpus as word numbers (`token_file.rs`) |
//! | `vocab.txt` | a line `word count` for each number |
//! | `plan.json` | the settings and the files; written once the two above are durable, and required for resuming |
//! | `<phase>.state` | progress and matrices of a phase; replaced atomically, with a checksum |
//!
//! With one thread, a resumed training gives the same bytes as an uninterrupted one.

use super::{
    corpus::Corpus,
    corpus::token_file_path,
    file::{self, MAX_PIECES_BYTES, PIECES},
    options::Checkpoints,
    parallel_loop::LoopProgress,
    table::le_bytes,
    token_file::TokenFile,
};
use crate::{
    disk,
    math::train::SharedMatrix,
    {
        DataSource, Error,
        save::{read_bounded, write_file},
        transformers::Pieces,
    },
};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

const PLAN: &str = "plan.json";
const VOCABULARY: &str = "vocab.txt";
/// Magic number of a state file; the last byte is the version.
const MAGIC: [u8; 8] = *b"NRWORDS\x01";
/// Bytes before the matrices: magic, iteration, words, loss, checksum of the plan, number of matrices.
const HEADER: usize = 8 + 8 + 8 + 8 + 4 + 4;

/// The checkpoint folder of one training, whose plan has been compared.
pub(super) struct Checkpoint {
    folder: PathBuf,
    pub(super) interval: Duration,
    plan: Value,
    /// Checksum of the plan, which identifies its state files.
    plan_crc: u32,
}

impl Checkpoint {
    /// Opens the folder for a training with this plan. Returns the corpus too if it is there.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a folder with the checkpoint of another training, or with other files;
    /// [`Error::Io`]; [`Error::Corrupt`].
    pub(super) fn open(options: &Checkpoints, plan: Value) -> Result<(Self, Option<Corpus>), Error> {
        let folder = &options.folder;
        let failed = |source| Error::Io { path: folder.clone(), source };
        crate::disk::create_private_dirs(folder).map_err(failed)?;
        let plan_crc = crc32fast::hash(plan.to_string().as_bytes());
        let this = Self { folder: folder.clone(), interval: options.interval, plan, plan_crc };
        let path = folder.join(PLAN);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                this.check_own_files_only()?;
                return Ok((this, None));
            }
            Err(source) => return Err(Error::Io { path, source }),
        };
        let corrupt = |what: String| Error::Corrupt { path: path.clone(), what };
        let saved: Value = serde_json::from_slice(&bytes).map_err(|error| corrupt(format!("not a plan: {error}")))?;
        if saved["training"] != this.plan {
            return Err(Error::InvalidInput(format!(
                "{} has the checkpoint of another training: {}",
                folder.display(),
                differences(&saved["training"], &this.plan)
            )));
        }
        let length = saved["tokens"].as_u64().ok_or_else(|| corrupt("the number of tokens is missing".into()))?;
        let vocabulary = folder.join(VOCABULARY);
        let bytes = fs::read(&vocabulary).map_err(|source| Error::Io { path: vocabulary.clone(), source })?;
        let (words, counts) = file::parse_vocabulary(&vocabulary, &bytes)?;
        let mut corpus = Corpus::of(words, counts, TokenFile::open(&token_file_path(folder), length)?)?;
        corpus.standard_input = serde_json::from_value(saved["standard_input"].clone())
            .map_err(|error| corrupt(format!("standard input: {error}")))?;
        if !saved["training"]["pieces"].is_null() {
            let path = folder.join(PIECES);
            let json = read_bounded(&path, MAX_PIECES_BYTES)?;
            corpus.pieces = Some(Pieces::parse(&path, &json)?);
        }
        Ok((this, Some(corpus)))
    }

    /// Refuses a folder with files other than those of an interrupted start.
    fn check_own_files_only(&self) -> Result<(), Error> {
        let failed = |source| Error::Io { path: self.folder.clone(), source };
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if ![PLAN, VOCABULARY, PIECES, "tokens.bin"].contains(&name.as_str()) && !is_temporary(&name) {
                return Err(Error::InvalidInput(format!(
                    "{} has the file {name:?} and no checkpoint; a folder for checkpoints is empty at first",
                    self.folder.display()
                )));
            }
        }
        Ok(())
    }

    /// Creates the token file of the corpus.
    pub(super) fn create_token_file(&self) -> Result<TokenFile, Error> {
        TokenFile::create(&token_file_path(&self.folder))
    }

    /// Returns the folder, for other files of the training.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Records that the corpus is written.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Disk`].
    pub(super) fn record_corpus(&self, corpus: &Corpus) -> Result<(), Error> {
        corpus.token_file.sync()?;
        write_file(&self.folder, VOCABULARY, &file::vocabulary_bytes(&corpus.words, &corpus.counts))?;
        if let Some(pieces) = &corpus.pieces {
            write_file(&self.folder, PIECES, pieces.json())?;
        }
        let standard_input: Option<&DataSource> = corpus.standard_input.as_ref();
        let plan = serde_json::json!({
            "training": self.plan, "tokens": corpus.token_file.len(), "standard_input": standard_input,
        });
        write_file(&self.folder, PLAN, format!("{plan:#}\n").as_bytes())
    }

    /// Saves the state of a phase: the next iteration, the progress, and the matrices, which must not change meanwhile.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub(super) fn save(
        &self,
        phase: &str,
        iteration: usize,
        progress: LoopProgress,
        matrices: &[&SharedMatrix],
    ) -> Result<(), Error> {
        disk::publish(&disk::real_fs(), &self.folder, &state(phase), |writer| {
            let mut sum = crc32fast::Hasher::new();
            let mut put = |bytes: &[u8]| {
                sum.update(bytes);
                writer.put(bytes)
            };
            put(&MAGIC)?;
            put(&(iteration as u64).to_le_bytes())?;
            put(&progress.done.to_le_bytes())?;
            put(&progress.loss.unwrap_or(f64::NAN).to_le_bytes())?;
            put(&self.plan_crc.to_le_bytes())?;
            put(&(matrices.len() as u32).to_le_bytes())?;
            for matrix in matrices {
                let mut row = vec![0.0; matrix.dimension()];
                put(&(matrix.rows() as u64).to_le_bytes())?;
                put(&(matrix.dimension() as u64).to_le_bytes())?;
                for number in 0..matrix.rows() {
                    matrix.copy_row(number, &mut row);
                    put(&le_bytes(&row))?;
                }
            }
            let sum = sum.finalize();
            writer.put(&sum.to_le_bytes())
        })?;
        Ok(())
    }

    /// Loads the saved state of a phase into its matrices; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if the file is not a valid state; the matrices are then unusable.
    pub(super) fn load(
        &self,
        phase: &str,
        matrices: &mut [&mut SharedMatrix],
    ) -> Result<Option<(usize, LoopProgress)>, Error> {
        let path = self.folder.join(state(phase));
        let failed = |source| Error::Io { path: path.clone(), source };
        let corrupt = |what: &str| Error::Corrupt { path: path.clone(), what: what.into() };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let numbers: usize = matrices.iter().map(|matrix| 16 + 4 * matrix.rows() * matrix.dimension()).sum();
        if file.metadata().map_err(failed)?.len() != (HEADER + numbers + 4) as u64 {
            return Err(corrupt("not of the length that such a state has"));
        }
        let mut input = BufReader::with_capacity(1 << 20, file);
        let mut sum = crc32fast::Hasher::new();
        let mut header = [0_u8; HEADER];
        input.read_exact(&mut header).map_err(failed)?;
        sum.update(&header);
        let bytes_at = |at: usize| <[u8; 8]>::try_from(&header[at..at + 8]).expect("eight bytes");
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        if header[..8] != MAGIC || u32_at(32) != self.plan_crc || u32_at(36) as usize != matrices.len() {
            return Err(corrupt("not a state of this training"));
        }
        for matrix in matrices.iter_mut() {
            let mut sizes = [0_u8; 16];
            input.read_exact(&mut sizes).map_err(failed)?;
            sum.update(&sizes);
            let (rows, dimension) = (matrix.rows(), matrix.dimension());
            if sizes != *[(rows as u64).to_le_bytes(), (dimension as u64).to_le_bytes()].as_flattened() {
                return Err(corrupt("a matrix has other sizes"));
            }
            let mut bytes = vec![0_u8; 4 * dimension];
            let mut row = vec![0.0; dimension];
            for number in 0..rows {
                input.read_exact(&mut bytes).map_err(failed)?;
                sum.update(&bytes);
                for (x, b) in row.iter_mut().zip(bytes.chunks_exact(4)) {
                    *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
                matrix.set_row(number, &row);
            }
        }
        let mut expected = [0_u8; 4];
        input.read_exact(&mut expected).map_err(failed)?;
        if sum.finalize() != u32::from_le_bytes(expected) {
            return Err(corrupt("the checksum does not match"));
        }
        let iteration = u64::from_le_bytes(bytes_at(8));
        let loss = Some(f64::from_le_bytes(bytes_at(24))).filter(|loss| !loss.is_nan());
        Ok(Some((iteration as usize, LoopProgress { done: u64::from_le_bytes(bytes_at(16)), loss })))
    }
}

/// Removes the checkpoint of a completed training, and the folder if nothing else is in it.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_checkpoint(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { path: folder.into(), source };
    // The plan first: without it the other files are ignored.
    for own in [|name: &str| name == PLAN, is_own_file] {
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if own(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
    }
    let _ = fs::remove_dir(folder);
    Ok(())
}

fn is_own_file(name: &str) -> bool {
    [PLAN, VOCABULARY, PIECES, "tokens.bin"].contains(&name) || name.ends_with(".state") || is_temporary(name)
}

fn is_temporary(name: &str) -> bool {
    name.ends_with(".tmp")
}

fn state(phase: &str) -> String {
    format!("{phase}.state")
}

/// Returns the differences between two plans.
fn differences(saved: &Value, requested: &Value) -> String {
    let none = serde_json::Map::new();
    let (saved, requested) = (saved.as_object().unwrap_or(&none), requested.as_object().unwrap_or(&none));
    let names: std::collections::BTreeSet<&String> = saved.keys().chain(requested.keys()).collect();
    let text = |value: Option<&Value>| value.map_or("not set".into(), Value::to_string);
    let differ: Vec<String> = names
        .into_iter()
        .filter(|name| saved.get(*name) != requested.get(*name))
        .map(|name| format!("{name} was {}, is {}", text(saved.get(name)), text(requested.get(name))))
        .collect();
    differ.join("; ")
}
