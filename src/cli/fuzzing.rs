//! Entry points for the fuzz targets in `fuzz/`; compiled for them only.

use super::args::{Cli, Command};
use super::{bench, filter, load, settings};
use crate::auth::Access;
use crate::grpc;
use clap::{Parser, ValueEnum};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

/// Maximum number of records read per file; longer repetitions find nothing new.
const MAX_RECORDS: usize = 10_000;

/// Reads a file as `load` does in the given format, with labels if given. Returns the number of valid records.
///
/// # Errors
/// If the file as a whole is invalid.
pub fn records(path: &Path, format: &str, labels: Option<&Path>, as_vectors: bool) -> Result<usize, String> {
    let format = load::Format::from_str(format, true)?;
    let options = load::ReadOptions { id_prefix: "x".into(), pixels_as_vectors: as_vectors, ..Default::default() };
    let records = load::open(path, format, labels, 0, &options).map_err(|error| format!("{error:#}"))?;
    let mut valid = 0;
    for record in records.take(MAX_RECORDS) {
        match record {
            Ok(item) => {
                valid += 1;
                if let crate::api::PointInput::Vector(of) = item.source {
                    assert!(
                        of.iter().all(|x| x.is_finite()) || matches!(format, load::Format::Jsonl | load::Format::Json)
                    );
                }
            }
            Err(error) => drop(error.to_string()),
        }
    }
    Ok(valid)
}

/// Reads a file of vectors as `bench` does, for any content. Returns the number of valid components.
///
/// # Errors
/// If the file as a whole is invalid.
pub fn vectors(path: &Path) -> Result<usize, String> {
    let mut rows = load::formats::files::open_rows(path).map_err(|error| format!("{error:#}"))?;
    let (dimension, mut numbers, mut valid) = (rows.dimension(), Vec::new(), 0);
    for _ in 0..MAX_RECORDS {
        match rows.next_row(&mut numbers) {
            Some(Ok(())) => {
                assert_eq!(numbers.len(), dimension);
                valid += dimension;
            }
            Some(Err(error)) => drop(error.to_string()),
            None => break,
        }
        numbers.clear();
    }
    Ok(valid)
}

/// Reads an ivecs file as `bench --truth` does.
///
/// # Errors
/// If it is invalid.
pub fn neighbours(path: &Path, queries: usize, k: usize, base: usize) -> Result<(), String> {
    bench::read_truth(path, queries, k, base).map_err(|error| format!("{error:#}"))
}

/// Parses the filter of `--filter` and converts it as a server does.
///
/// # Errors
/// If it is invalid.
pub fn filter(text: &str) -> Result<crate::api::Filter, String> {
    let filter = grpc::fuzzing::filter(filter::parse(text)?).map_err(|error| error.to_string())?;
    filter.ok_or_else(|| "empty".into())
}

/// Reads the access control settings of a configuration file.
///
/// # Errors
/// If it, or a file that it names, is invalid.
pub fn access(config: &Path) -> Result<Arc<Access>, String> {
    let arguments = [OsStr::new("nearness"), OsStr::new("serve"), OsStr::new("--config"), config.as_os_str()];
    let Command::Serve(args) = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?.command else {
        return Err("not serve".into());
    };
    let settings = settings::Settings::resolve(&args).map_err(|error| format!("{error:#}"))?;
    Ok(settings.options.access.get())
}
