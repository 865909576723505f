//! What redb reads and writes: a file of the data directory, or one that is only looked at.

use crate::disk::FsRandom;
use redb::StorageBackend;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

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

/// A file that remembers how it failed.
#[derive(Debug)]
pub(super) struct KvFile {
    file: Box<dyn FsRandom>,
    cause: Arc<Cause>,
}

impl KvFile {
    pub(super) fn new(file: Box<dyn FsRandom>, cause: Arc<Cause>) -> Self {
        Self { file, cause }
    }
}

impl StorageBackend for KvFile {
    fn len(&self) -> io::Result<u64> {
        self.cause.watch(false, self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.cause.watch(false, self.file.read_at(offset, out))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.cause.watch(false, self.file.set_len(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.cause.watch(true, self.file.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.cause.watch(false, self.file.write_at(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.release()
    }
}

/// Bytes that are written together.
const PIECE: u64 = 4096;

/// A file that is read; what is written over it stays in memory.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Box<dyn FsRandom>,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    length: u64,
    /// What is beyond this is not the file's.
    of_file: u64,
    pieces: HashMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn new(file: Box<dyn FsRandom>) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self { file, over: Mutex::new(Over { length, of_file: length, pieces: HashMap::new() }) })
    }

    fn piece(&self, over: &Over, number: u64) -> io::Result<Vec<u8>> {
        if let Some(piece) = over.pieces.get(&number) {
            return Ok(piece.clone());
        }
        let mut piece = vec![0; PIECE as usize];
        let begin = number * PIECE;
        let there = over.of_file.saturating_sub(begin).min(PIECE) as usize;
        if there > 0 {
            self.file.read_at(begin, &mut piece[..there])?;
        }
        Ok(piece)
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over.lock().unwrap_or_else(PoisonError::into_inner).length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset + out.len() as u64;
        if end > over.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let pieces = offset / PIECE..end.div_ceil(PIECE);
        if end <= over.of_file && pieces.clone().all(|piece| !over.pieces.contains_key(&piece)) {
            return self.file.read_at(offset, out);
        }
        for number in pieces {
            let piece = self.piece(&over, number)?;
            let begin = (number * PIECE).max(offset);
            let until = ((number + 1) * PIECE).min(end);
            let from = (begin - number * PIECE) as usize;
            let length = (until - begin) as usize;
            out[(begin - offset) as usize..][..length].copy_from_slice(&piece[from..from + length]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if length < over.length {
            over.pieces.retain(|number, _| number * PIECE < length);
            if let Some(last) = over.pieces.get_mut(&(length / PIECE)) {
                last[(length % PIECE) as usize..].fill(0);
            }
        }
        over.of_file = over.of_file.min(length);
        over.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
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
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.release()
    }
}
