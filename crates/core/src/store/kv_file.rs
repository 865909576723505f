//! The file under a key-value database: what is written while it is opened stays in memory until the first transaction.
//!
//! redb marks a file as open, and repairs one that a crash left, by writing to it. A database that is only read needs neither
//! on the disk: [`KvFile`] keeps those writes, with their syncs, in order, and does them when the first transaction begins.
//! A crash then leaves what it would leave if redb had done them at that moment.

use crate::disk::FsRandom;
use redb::StorageBackend;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The first failure of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    /// Of a sync: what is on the disk is unknown. Otherwise nothing was written where it failed.
    pub(super) sync: bool,
}

/// Which failure there was, if any. A failed sync outlasts a failed write.
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

/// Bytes that are written together.
const PIECE: u64 = 4096;

/// See the module. Remembers the first failure of its file. Clones are the same file.
#[derive(Clone, Debug)]
pub(super) struct KvFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Box<dyn FsRandom>,
    cause: Arc<Cause>,
    /// Set once nothing is held back any more.
    direct: AtomicBool,
    over: Mutex<Over>,
}

/// What is written over the file, in memory.
#[derive(Debug)]
struct Over {
    length: u64,
    /// What is beyond this is not the file's.
    of_file: u64,
    pieces: HashMap<u64, Vec<u8>>,
    steps: Vec<Step>,
}

/// A change that was held back.
#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl KvFile {
    /// A file whose writes are held back until [`write_through`](Self::write_through).
    pub(super) fn held_back(file: Box<dyn FsRandom>, cause: Arc<Cause>) -> io::Result<Self> {
        let length = file.len()?;
        let over = Over { length, of_file: length, pieces: HashMap::new(), steps: Vec::new() };
        Ok(Self(Arc::new(Inner { file, cause, direct: AtomicBool::new(false), over: Mutex::new(over) })))
    }

    /// Does what was held back; from then on every write goes to the file.
    ///
    /// # Errors
    /// What the file refuses: it is as after a crash at that moment, and the database must be opened anew.
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

    /// What is held back; none once everything goes to the file.
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
