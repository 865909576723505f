//! The log of who did what: a line of JSON for each administrative and write call, and for each that was refused.

use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Who; none if it could not prove that.
    pub caller: Option<&'a str>,
    /// From which address.
    pub peer: Option<&'a str>,
    /// For example `nearness.v1.Points/Upsert`.
    pub call: &'a str,
    /// On which collection, as far as the request was understood.
    pub collection: Option<&'a str>,
    /// The status by name, for example `OK` or `PERMISSION_DENIED`.
    pub outcome: &'a str,
    /// The request's id.
    pub request_id: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970, UTC.
    time_ms: u64,
    caller: Option<&'a str>,
    peer: Option<&'a str>,
    call: &'a str,
    collection: Option<&'a str>,
    outcome: &'a str,
    request_id: &'a str,
}

/// A file that only grows. Only its owner can read it.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: Mutex<File>,
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Audit {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Mutex::new(open(path)?) })
    }

    /// Opens the file by its name again: it may have been moved away to begin a new one.
    ///
    /// # Errors
    /// Those of the file system; the old file is written on.
    pub fn reopen(&self) -> io::Result<()> {
        let fresh = open(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Adds a line. A failure goes to the log: the call has been answered already.
    pub fn write(&self, entry: Entry<'_>) {
        let Entry { caller, peer, call, collection, outcome, request_id } = entry;
        let time_ms =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
        let line = Line { time_ms, caller, peer, call, collection, outcome, request_id };
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            // One write a line: lines of several processes do not mix.
            self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
        });
        if let Err(error) = written {
            tracing::error!(path = %self.path.display(), %error, call, outcome, request_id, "the audit log is not written");
        }
    }
}
