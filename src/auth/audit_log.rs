//! The audit log: one line of JSON for each administrative call, each write call and each refused call.

use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// An audited call.
#[derive(Clone, Copy, Debug)]
pub struct AuditEntry<'a> {
    /// The caller; none if it could not be authenticated.
    pub caller: Option<&'a str>,
    /// The client's address.
    pub peer: Option<&'a str>,
    /// The method, for example `nearness.v1.Points/Upsert`.
    pub call: &'a str,
    /// The collection, if the request could be parsed that far.
    pub collection: Option<&'a str>,
    /// The status name, for example `OK` or `PERMISSION_DENIED`.
    pub outcome: &'a str,
    /// The request id.
    pub request_id: &'a str,
}

#[derive(Serialize)]
struct AuditLine<'a> {
    /// Milliseconds since 1970, UTC.
    time_ms: u64,
    caller: Option<&'a str>,
    peer: Option<&'a str>,
    call: &'a str,
    collection: Option<&'a str>,
    outcome: &'a str,
    request_id: &'a str,
}

/// An append-only file that only its owner can read.
#[derive(Debug)]
pub struct AuditLog {
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

impl AuditLog {
    /// Opens the file; creates it if it is missing.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Mutex::new(open(path)?) })
    }

    /// Opens the path again, for log rotation.
    ///
    /// # Errors
    /// Those of the file system; writes then continue in the old file.
    pub fn reopen(&self) -> io::Result<()> {
        let fresh = open(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Appends a line. Errors are only logged, because the call has already been answered.
    pub fn write(&self, entry: AuditEntry<'_>) {
        let AuditEntry { caller, peer, call, collection, outcome, request_id } = entry;
        let time_ms =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
        let line = AuditLine { time_ms, caller, peer, call, collection, outcome, request_id };
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            // One write per line, so that lines of several processes do not mix.
            self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
        });
        if let Err(error) = written {
            tracing::error!(path = %self.path.display(), %error, call, outcome, request_id, "cannot write the audit log");
        }
    }
}
