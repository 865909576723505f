//! A file of word numbers: four bytes a word, little-endian, with [`END`] after every sentence. It is read in blocks,
//! so that a corpus may exceed memory.

use crate::Error;
use crate::disk::private_file;
use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// End of a sentence.
pub(super) const END: u32 = u32::MAX;
/// Numbers per read or write.
const CHUNK: usize = 1 << 18;

/// A file of word numbers.
pub(super) struct TokenFile {
    path: PathBuf,
    file: File,
    length: u64,
    /// Bytes not yet written.
    pending: Vec<u8>,
}

impl TokenFile {
    /// Creates an empty, temporary file that has no name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn temporary(folder: &Path) -> Result<Self, Error> {
        let (file, path) = create_unlinked_file(folder)?;
        Ok(Self { path, file, length: 0, pending: Vec::new() })
    }

    /// Creates an empty, persistent file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let file = private_file().read(true).write(true).create(true).truncate(true).open(path).map_err(failed)?;
        Ok(Self { path: path.into(), file, length: 0, pending: Vec::new() })
    }

    /// Opens the file at `path`, of `length` numbers.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] if the file has a different length.
    pub(super) fn open(path: &Path, length: u64) -> Result<Self, Error> {
        let failed = |source| Error::Io { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes != length * 4 {
            let what = format!("{bytes} bytes, expected {}", length * 4);
            return Err(Error::Corrupt { path: path.into(), what });
        }
        Ok(Self { path: path.into(), file, length, pending: Vec::new() })
    }

    /// Returns the number of word numbers in the file.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }

    /// Appends a number.
    ///
    /// # Errors
    /// [`Error::Io`].
    #[inline]
    pub(super) fn push(&mut self, number: u32) -> Result<(), Error> {
        self.pending.extend_from_slice(&number.to_le_bytes());
        if self.pending.len() >= 4 * CHUNK { self.flush() } else { Ok(()) }
    }

    /// Writes the pending bytes to the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.file.write_all_at(&self.pending, self.length * 4).map_err(|source| self.failed(source))?;
        self.length += self.pending.len() as u64 / 4;
        self.pending.clear();
        Ok(())
    }

    /// Makes the file durable (fsync).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(|source| self.failed(source))
    }

    /// Reads the numbers of `range`, which must be in bounds, into `out`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn read(&self, range: &Range<u64>, out: &mut Vec<u32>) -> Result<(), Error> {
        let mut bytes = vec![0; (range.end - range.start) as usize * 4];
        self.file.read_exact_at(&mut bytes, range.start * 4).map_err(|source| self.failed(source))?;
        out.clear();
        out.extend(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        Ok(())
    }

    /// Calls `visit` with every sentence, without its end mark.
    ///
    /// # Errors
    /// [`Error::Io`], and errors of `visit`.
    pub(super) fn sentences(&self, mut visit: impl FnMut(&mut Vec<u32>) -> Result<(), Error>) -> Result<(), Error> {
        let (mut numbers, mut sentence) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < self.length {
            let end = self.length.min(at + CHUNK as u64);
            self.read(&(at..end), &mut numbers)?;
            for &number in &numbers {
                if number == END {
                    visit(&mut sentence)?;
                    sentence.clear();
                } else {
                    sentence.push(number);
                }
            }
            at = end;
        }
        if sentence.is_empty() { Ok(()) } else { visit(&mut sentence) }
    }

    /// Applies `change` to every sentence, in place. `change` must not lengthen a sentence; an empty one is removed.
    ///
    /// # Errors
    /// [`Error::Io`]; the file is then unusable.
    pub(super) fn rewrite(&mut self, mut change: impl FnMut(&mut Vec<u32>)) -> Result<(), Error> {
        let mut written = 0_u64;
        let mut pending: Vec<u8> = Vec::new();
        let mut write = |pending: &mut Vec<u8>| {
            let result = self.file.write_all_at(pending, written * 4).map_err(|source| self.failed(source));
            written += pending.len() as u64 / 4;
            pending.clear();
            result
        };
        // The write position never passes the end of the sentence being rewritten, which has been read.
        self.sentences(|sentence| {
            let before = sentence.len();
            change(sentence);
            debug_assert!(sentence.len() <= before);
            if sentence.is_empty() {
                return Ok(());
            }
            for number in sentence.iter().chain([&END]) {
                pending.extend_from_slice(&number.to_le_bytes());
            }
            if pending.len() >= 4 * CHUNK { write(&mut pending) } else { Ok(()) }
        })?;
        write(&mut pending)?;
        self.file.set_len(written * 4).map_err(|source| self.failed(source))?;
        self.length = written;
        Ok(())
    }

    /// Replaces every sentence by the numbers that `change` writes for it, with end marks. The result may be longer: it
    /// is written to a temporary file first, then copied back.
    ///
    /// # Errors
    /// [`Error::Io`], and errors of `change`; the file is then unusable.
    pub(super) fn replace_sentences(
        &mut self,
        mut change: impl FnMut(&mut Vec<u32>, &mut Vec<u32>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut temporary = Self::temporary(self.path.parent().unwrap_or(Path::new(".")))?;
        let mut changed = Vec::new();
        self.sentences(|sentence| {
            change(sentence, &mut changed)?;
            changed.drain(..).try_for_each(|number| temporary.push(number))
        })?;
        temporary.flush()?;
        self.file.set_len(0).map_err(|source| self.failed(source))?;
        self.length = 0;
        let mut at = 0;
        while at < temporary.length {
            let end = temporary.length.min(at + CHUNK as u64);
            temporary.read(&(at..end), &mut changed)?;
            changed.iter().try_for_each(|&number| self.push(number))?;
            at = end;
        }
        self.flush()
    }
}

/// Creates an empty temporary file in `folder` and unlinks it immediately, so that it disappears however the process
/// ends. Returns the file and its former path, for messages.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn create_unlinked_file(folder: &Path) -> Result<(File, PathBuf), Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".nearness.{}.{number}.tmp", std::process::id()));
    let failed = |source| Error::Io { path: path.clone(), source };
    let file = private_file().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
    fs::remove_file(&path).map_err(failed)?;
    Ok((file, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(token_file: &TokenFile) -> Vec<u32> {
        let mut numbers = Vec::new();
        token_file.read(&(0..token_file.len()), &mut numbers).unwrap();
        numbers
    }

    #[test]
    fn numbers_come_back_and_sentences_are_rewritten_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut token_file = TokenFile::temporary(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no file remains");
        // Longer than a chunk, with sentences across chunk bounds.
        let mut expected = Vec::new();
        for sentence in 0..100_000_u32 {
            for number in (0..sentence % 7).chain([END]) {
                token_file.push(number).unwrap();
            }
            let expected_numbers: Vec<u32> =
                (0..sentence % 7).filter(|number| number % 2 == 0).map(|number| number + 1).collect();
            if !expected_numbers.is_empty() {
                expected.extend(expected_numbers);
                expected.push(END);
            }
        }
        token_file.flush().unwrap();
        assert!(token_file.len() > CHUNK as u64, "the test crosses a chunk");
        token_file
            .rewrite(|sentence| {
                sentence.retain(|number| number % 2 == 0);
                sentence.iter_mut().for_each(|number| *number += 1);
            })
            .unwrap();
        assert_eq!(all(&token_file), expected);
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let mut token_file = TokenFile::create(&path).unwrap();
        [1, 2, END].iter().for_each(|&number| token_file.push(number).unwrap());
        token_file.flush().unwrap();
        token_file.sync().unwrap();
        assert_eq!(all(&TokenFile::open(&path, 3).unwrap()), [1, 2, END]);
        assert!(matches!(TokenFile::open(&path, 4), Err(Error::Corrupt { .. })));
    }
}
