//! `nearness load`: loading of files into a collection, offline into a data directory or through a server.
//!
//! ```text
//! file -> input stream (decompress, count) -> reader of its format -> items
//!   offline: items -> validated, embedded, bulk-loaded
//!   online:  items -> UpsertStream, acknowledged one by one
//! ```
//!
//! | file | contents |
//! | --- | --- |
//! | `record.rs` | interface of the readers: items, errors with positions, progress |
//! | `input_stream.rs` | a file as a stream of bytes |
//! | `formats/` | format detection, and readers, one per format |
//! | `target.rs` | the collection: existing, or to be created |
//! | `report.rs` | outcome of the records |
//! | `offline.rs` `online.rs` | the two ways of loading |

pub(super) mod args;
pub(super) mod formats;
pub(super) mod input_stream;
mod offline;
mod online;
mod record;
mod report;
mod target;

pub(super) use formats::detect::Format;
pub(super) use formats::files::{Files, ReadOptions, open};
pub(super) use formats::images::read as read_image;
pub(super) use online::item_message;
pub(super) use record::Records;

use super::output;
use super::progress::{Progress, duration, in_words, rate};
use args::LoadArgs;
use report::LeftOut;

/// Loads the files.
pub(super) fn run(args: LoadArgs, quiet: bool) -> anyhow::Result<()> {
    let progress = Progress::start(format!("load {}", args.collection), "items", quiet);
    let done = if args.data.is_some() { offline::run(&args, &progress) } else { online::run(&args, &progress) };
    if done.is_err() {
        progress.abandon();
    }
    let report = done?;
    let seconds = progress.seconds();
    let rate = in_words(rate(report.loaded, seconds), "items");
    progress.finish(&format!("{} in {}{rate}", report.line(), duration(seconds)));
    if args.json {
        output::json(&report.json(args.collection.as_str(), seconds))?;
    } else if quiet {
        output::line(&report.line())?;
    }
    if let Some(error) = report.stopped {
        return Err(error);
    }
    if report.cut_files > 0 {
        anyhow::bail!(
            "{} file(s) could not be read to the end; the records before the error are loaded",
            report.cut_files
        );
    }
    if report.loaded == 0 && report.left_out == LeftOut::default() {
        anyhow::bail!("nothing was loaded: the files contain no valid record");
    }
    Ok(())
}
