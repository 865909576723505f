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
    corpus::spool_in,
    file::{self, MAX_PIECES_BYTES, PIECES},
    options::Checkpoints,
    parallel_loop::Report,
    table::le_bytes,
    token_file::Spool,
};
use crate::{
    disk,
    math::train::SharedMatrix,
    {
        DataSource, Error,
        save::{read_bounded, write_whole},
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
/// Bytes before the matrices: magic, turn, words, loss, checksum of the plan, number of matrices.
const HEADER: usize = 8 + 8 + 8 + 8 + 4 + 4;

/// The checkpoint folder of one training, whose plan has been compared.
pub(super) struct Checkpoint {
    folder: PathBuf,
    pub(super) every: Duration,
    plan: Value,
    /// Checksum of the plan, which identifies its state files.
    plan_sum: u32,
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
        let plan_sum = crc32fast::hash(plan.to_string().as_bytes());
        let this = Self { folder: folder.clone(), every: options.every, plan, plan_sum };
        let path = folder.join(PLAN);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                this.only_ours()?;
                return Ok((this, None));
            }
            Err(source) => return Err(Error::Io { path, source }),
        };
        let corrupt = |what: String| Error::Corrupt { path: path.clone(), what };
        let kept: Value = serde_json::from_slice(&bytes).map_err(|error| corrupt(format!("not a plan: {error}")))?;
        if kept["training"] != this.plan {
            return Err(Error::InvalidInput(format!(
                "{} has the checkpoint of another training: {}",
                folder.display(),
                differences(&kept["training"], &this.plan)
            )));
        }
        let length = kept["tokens"].as_u64().ok_or_else(|| corrupt("the number of tokens is missing".into()))?;
        let vocabulary = folder.join(VOCABULARY);
        let bytes = fs::read(&vocabulary).map_err(|source| Error::Io { path: vocabulary.clone(), source })?;
        let (words, counts) = file::parse_vocabulary(&vocabulary, &bytes)?;
        let mut corpus = Corpus::of(words, counts, Spool::open(&spool_in(folder), length)?)?;
        corpus.standard_input = serde_json::from_value(kept["standard_input"].clone())
            .map_err(|error| corrupt(format!("standard input: {error}")))?;
        if !kept["training"]["pieces"].is_null() {
            let path = folder.join(PIECES);
            let json = read_bounded(&path, MAX_PIECES_BYTES)?;
            corpus.pieces = Some(Pieces::parse(&path, &json)?);
        }
        Ok((this, Some(corpus)))
    }

    /// Refuses a folder with files other than those of an interrupted start.
    fn only_ours(&self) -> Result<(), Error> {
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

    /// Creates the spool for the corpus.
    pub(super) fn spool(&self) -> Result<Spool, Error> {
        Spool::create(&spool_in(&self.folder))
    }

    /// Returns the folder, for other files of the training.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Records that the corpus is written.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Disk`].
    pub(super) fn has_corpus(&self, corpus: &Corpus) -> Result<(), Error> {
        corpus.spool.sync()?;
        write_whole(&self.folder, VOCABULARY, &file::vocabulary_bytes(&corpus.words, &corpus.counts))?;
        if let Some(pieces) = &corpus.pieces {
            write_whole(&self.folder, PIECES, pieces.json())?;
        }
        let standard_input: Option<&DataSource> = corpus.standard_input.as_ref();
        let plan = serde_json::json!({
            "training": self.plan, "tokens": corpus.spool.len(), "standard_input": standard_input,
        });
        write_whole(&self.folder, PLAN, format!("{plan:#}\n").as_bytes())
    }

    /// Saves the state of a phase: the next turn, the report, and the matrices, which must not change meanwhile.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub(super) fn save(
        &self,
        phase: &str,
        turn: usize,
        report: Report,
        matrices: &[&SharedMatrix],
    ) -> Result<(), Error> {
        disk::publish(&disk::real_fs(), &self.folder, &state(phase), |writer| {
            let mut sum = crc32fast::Hasher::new();
            let mut put = |bytes: &[u8]| {
                sum.update(bytes);
                writer.put(bytes)
            };
            put(&MAGIC)?;
            put(&(turn as u64).to_le_bytes())?;
            put(&report.done.to_le_bytes())?;
            put(&report.loss.unwrap_or(f64::NAN).to_le_bytes())?;
            put(&self.plan_sum.to_le_bytes())?;
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
    ) -> Result<Option<(usize, Report)>, Error> {
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
        let eight = |at: usize| <[u8; 8]>::try_from(&header[at..at + 8]).expect("eight bytes");
        let four = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        if header[..8] != MAGIC || four(32) != self.plan_sum || four(36) as usize != matrices.len() {
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
            return Err(corrupt("the checksum is wrong"));
        }
        let turn = u64::from_le_bytes(eight(8));
        let loss = Some(f64::from_le_bytes(eight(24))).filter(|loss| !loss.is_nan());
        Ok(Some((turn as usize, Report { done: u64::from_le_bytes(eight(16)), loss })))
    }
}

/// Removes the checkpoint of a completed training, and the folder if nothing else is in it.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_checkpoint(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { path: folder.into(), source };
    // The plan first: without it the other files are ignored.
    for ours in [|name: &str| name == PLAN, is_ours] {
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if ours(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
    }
    let _ = fs::remove_dir(folder);
    Ok(())
}

fn is_ours(name: &str) -> bool {
    [PLAN, VOCABULARY, PIECES, "tokens.bin"].contains(&name) || name.ends_with(".state") || is_temporary(name)
}

fn is_temporary(name: &str) -> bool {
    name.ends_with(".tmp")
}

fn state(phase: &str) -> String {
    format!("{phase}.state")
}

/// Returns the differences between two plans.
fn differences(kept: &Value, asked: &Value) -> String {
    let none = serde_json::Map::new();
    let (kept, asked) = (kept.as_object().unwrap_or(&none), asked.as_object().unwrap_or(&none));
    let names: std::collections::BTreeSet<&String> = kept.keys().chain(asked.keys()).collect();
    let text = |value: Option<&Value>| value.map_or("not set".into(), Value::to_string);
    let differ: Vec<String> = names
        .into_iter()
        .filter(|name| kept.get(*name) != asked.get(*name))
        .map(|name| format!("{name} was {}, is {}", text(kept.get(name)), text(asked.get(name))))
        .collect();
    differ.join("; ")
}
