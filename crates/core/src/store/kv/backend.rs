//! Storage backend of redb that keeps writes in memory until the first transaction.
//!
//! redb writes to a file to mark it as open and to repair it after a crash. A database that is only read needs neither
//! on disk. [`KvFile`] buffers these writes and syncs in order, and executes them when the first transaction begins. A
//! crash then leaves the same state as if redb had executed them at that moment.

use crate::disk::FsRandom;
use redb::StorageBackend;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The first failure of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    /// Whether a sync failed: then the state on disk is unknown. Otherwise nothing was written by the failed operation.
    pub(super) sync: bool,
}

/// The failure of a file, if any. A failed sync takes precedence over a failed write.
#[derive(Debug, Default)]
pub(super) struct Cause(Mutex<Option<Failure>>);

impl Cause {
    pub(super) fn failure(&self) -> Option<Failure> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch<T>(&self, sync: bool, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            let mut failure = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let sync = sync || failure.is_some_and(|before| before.sync);
            *failure = Some(Failure { sync });
        }
        result
    }
}

/// Bytes of a page of the overlay.
const PIECE: u64 = 4096;

/// A file with an in-memory overlay; see the module docs. Records the first failure. Clones share the file.
#[derive(Clone, Debug)]
pub(super) struct KvFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Box<dyn FsRandom>,
    cause: Arc<Cause>,
    /// Whether all buffered writes are in the file.
    direct: AtomicBool,
    over: Mutex<Over>,
}

/// In-memory overlay of the file.
#[derive(Debug)]
struct Over {
    length: u64,
    /// Length of the prefix that is read from the file where `pieces` has no entry.
    of_file: u64,
    pieces: HashMap<u64, Vec<u8>>,
    steps: Vec<Step>,
}

/// A buffered operation.
#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl KvFile {
    /// Wraps a file whose writes are buffered until [`write_through`](Self::write_through).
    pub(super) fn held_back(file: Box<dyn FsRandom>, cause: Arc<Cause>) -> io::Result<Self> {
        let length = file.len()?;
        let over = Over { length, of_file: length, pieces: HashMap::new(), steps: Vec::new() };
        Ok(Self(Arc::new(Inner { file, cause, direct: AtomicBool::new(false), over: Mutex::new(over) })))
    }

    /// Executes the buffered operations. Later writes go directly to the file.
    ///
    /// # Errors
    /// Errors of the file. Its state is then that after a crash at this moment, and the database must be reopened.
    pub(super) fn write_through(&self) -> io::Result<()> {
        let Inner { file, cause, direct, .. } = &*self.0;
        if direct.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut over = self.over();
        for step in std::mem::take(&mut over.steps) {
            match step {
                Step::Write(offset, data) => cause.watch(false, file.write_at(offset, &data))?,
                Step::SetLen(length) => cause.watch(false, file.set_len(length))?,
                Step::Sync => cause.watch(true, file.sync())?,
            }
        }
        over.pieces = HashMap::new();
        direct.store(true, Ordering::Release);
        Ok(())
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        self.0.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the overlay; none if writes go directly to the file.
    fn held(&self) -> Option<MutexGuard<'_, Over>> {
        let direct = || self.0.direct.load(Ordering::Acquire);
        if direct() {
            return None;
        }
        let over = self.over();
        (!direct()).then_some(over)
    }

    fn piece(&self, over: &Over, number: u64) -> io::Result<Vec<u8>> {
        if let Some(piece) = over.pieces.get(&number) {
            return Ok(piece.clone());
        }
        let mut piece = vec![0; PIECE as usize];
        let begin = number * PIECE;
        let there = over.of_file.saturating_sub(begin).min(PIECE) as usize;
        if there > 0 {
            self.0.file.read_at(begin, &mut piece[..there])?;
        }
        Ok(piece)
    }

    fn read_over(&self, over: &Over, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > over.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let pieces = offset / PIECE..end.div_ceil(PIECE);
        if end <= over.of_file && pieces.clone().all(|piece| !over.pieces.contains_key(&piece)) {
            return self.0.file.read_at(offset, out);
        }
        for number in pieces {
            let piece = self.piece(over, number)?;
            let begin = (number * PIECE).max(offset);
            let until = ((number + 1) * PIECE).min(end);
            let from = (begin - number * PIECE) as usize;
            let length = (until - begin) as usize;
            out[(begin - offset) as usize..][..length].copy_from_slice(&piece[from..from + length]);
        }
        Ok(())
    }
}

impl StorageBackend for KvFile {
    fn len(&self) -> io::Result<u64> {
        match self.held() {
            Some(over) => Ok(over.length),
            None => self.0.cause.watch(false, self.0.file.len()),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = match self.held() {
            Some(over) => self.read_over(&over, offset, out),
            None => self.0.file.read_at(offset, out),
        };
        self.0.cause.watch(false, read)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let Some(mut over) = self.held() else {
            return self.0.cause.watch(false, self.0.file.set_len(length));
        };
        if length < over.length {
            over.pieces.retain(|number, _| number * PIECE < length);
            if let Some(last) = over.pieces.get_mut(&(length / PIECE)) {
                last[(length % PIECE) as usize..].fill(0);
            }
        }
        over.of_file = over.of_file.min(length);
        over.length = length;
        over.steps.push(Step::SetLen(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let Some(mut over) = self.held() else { return self.0.cause.watch(true, self.0.file.sync()) };
        if !matches!(over.steps.last(), None | Some(Step::Sync)) {
            over.steps.push(Step::Sync);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Some(mut over) = self.held() else {
            return self.0.cause.watch(false, self.0.file.write_at(offset, data));
        };
        let end = offset + data.len() as u64;
        if end > over.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for number in offset / PIECE..end.div_ceil(PIECE) {
            let mut piece = self.piece(&over, number)?;
            let begin = (number * PIECE).max(offset);
            let until = ((number + 1) * PIECE).min(end);
            let from = (begin - number * PIECE) as usize;
            let length = (until - begin) as usize;
            piece[from..from + length].copy_from_slice(&data[(begin - offset) as usize..][..length]);
            over.pieces.insert(number, piece);
        }
        over.steps.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.release()
    }
}
