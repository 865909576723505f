//! Read-only memory maps of published files. A map covers the whole file, so opening takes the same time at any size.
//!
//! Readers must validate the bytes: the map does not. Page sizes come from the system, never from an assumption.

use super::Error;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of parts of a large file whose resident pages are counted.
const SAMPLES: usize = 64;
/// Size of such a part.
const SAMPLE_BYTES: usize = 1 << 20;

/// Read-only map of a whole file.
#[derive(Debug)]
pub struct Mapping {
    path: PathBuf,
    map: memmap2::Mmap,
}

impl Mapping {
    /// Maps a published file without reading it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for an empty file.
    pub fn open(path: &Path) -> Result<Arc<Self>, Error> {
        let file = File::open(path).map_err(|source| Error::io(path, "open", source))?;
        let length = file.metadata().map_err(|source| Error::io(path, "open", source))?.len();
        if length == 0 {
            return Err(Error::corrupt(path, 0, "the file is empty"));
        }
        // SAFETY: the map is read-only and published files are never written again, only unlinked, which leaves the
        // map whole; the data directory is locked against other nearness processes. Another program that truncates
        // the file causes SIGBUS: docs/FORMAT.md lists that among the assumptions.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|source| Error::io(path, "map", source))?;
        Ok(Arc::new(Self { path: path.into(), map }))
    }

    /// Returns the content of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Returns the length in bytes; never 0.
    #[allow(clippy::len_without_is_empty)] // an empty file is not mapped
    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Advises random access: no read-ahead.
    pub fn advise_random(&self) {
        // Advice only: a refusal has no observable effect.
        let _ = self.map.advise(memmap2::Advice::Random);
    }

    /// Returns the bytes of the file in memory (whole pages, at most the file's length); 0 if unknown. An estimate from
    /// a sample for files above 64 MiB, so that the time is bounded.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_sampled(SAMPLES, SAMPLE_BYTES)
    }

    /// Like [`resident_bytes`](Self::resident_bytes), with at most `samples` parts of `bytes` at equal distances.
    fn resident_sampled(&self, samples: usize, bytes: usize) -> u64 {
        let length = self.map.len();
        let sampled = samples * bytes;
        if length <= sampled {
            return self.resident_in(0..length);
        }
        let step = length / samples;
        let counted = (0..samples).map(|at| self.resident_and_counted(at * step..at * step + bytes));
        let (found, counted) = counted.fold((0, 0), |(found, all), (resident, bytes)| (found + resident, all + bytes));
        (u128::from(found) * length as u128 / u128::from(counted).max(1)) as u64
    }

    /// Like [`resident_bytes`](Self::resident_bytes) for a part of the file, extended to whole pages.
    pub fn resident_in(&self, part: Range<usize>) -> u64 {
        self.resident_and_counted(part).0
    }

    /// Returns the resident bytes of a part, extended to the start of its first page, and its length; (0, 0) if unknown.
    fn resident_and_counted(&self, part: Range<usize>) -> (u64, u64) {
        let Some((page, part)) = self.pages_of(part) else { return (0, 0) };
        const PAGES: usize = 1 << 16;
        let mut states = vec![0u8; PAGES.min(part.len().div_ceil(page))];
        let mut resident = 0u64;
        for chunk in part.chunks(PAGES * page) {
            // SAFETY: `part` begins at a page and `chunks` steps by whole pages, so `chunk` does too; it is mapped
            // for its whole length; `states` has one byte for each of its at most PAGES pages.
            let failed = unsafe { libc::mincore(chunk.as_ptr() as *mut _, chunk.len(), states.as_mut_ptr().cast()) };
            if failed != 0 {
                return (0, 0);
            }
            resident += states[..chunk.len().div_ceil(page)].iter().filter(|state| **state & 1 == 1).count() as u64;
        }
        ((resident * page as u64).min(part.len() as u64), part.len() as u64)
    }

    /// Marks a part of the file as the first to evict under memory pressure. Does nothing on systems without this
    /// advice.
    pub fn advise_cold(&self, part: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Some((_, part)) = self.pages_of(part) {
            // SAFETY: `part` begins at a page and is mapped for its whole length; the advice changes no byte. A refusal
            // has no observable effect.
            let _ = unsafe { libc::madvise(part.as_ptr() as *mut _, part.len(), libc::MADV_COLD) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = part;
    }

    /// Returns the page size, and the bytes of a part from the start of its first page.
    fn pages_of(&self, part: Range<usize>) -> Option<(usize, &[u8])> {
        // SAFETY: sysconf has no preconditions.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok().filter(|page| *page > 0)?;
        let part = self.map.get(part.start / page * page..part.end)?;
        (!part.is_empty()).then_some((page, part))
    }
}

/// The bytes of a file: mapped, or held in memory until it can be published.
pub enum FileBytes {
    /// In memory.
    Memory(Vec<u8>),
    /// Mapped.
    Mapped(Arc<Mapping>),
}

impl FileBytes {
    /// Returns the bytes.
    pub fn get(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Mapped(mapping) => mapping.bytes(),
        }
    }

    /// Returns the mapped bytes.
    pub fn mapped_bytes(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Mapped(mapping) => mapping.len(),
        }
    }

    /// Returns the mapped bytes that are resident in memory, like [`Mapping::resident_bytes`].
    pub fn resident_bytes(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Mapped(mapping) => mapping.resident_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ErrorKind;
    use super::*;

    #[test]
    fn a_file_is_mapped_and_its_resident_part_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![3u8; 300_001]).unwrap();
        let mapping = Mapping::open(&path).unwrap();
        assert_eq!(mapping.bytes().iter().map(|b| u64::from(*b)).sum::<u64>(), 900_003);
        mapping.advise_random();
        mapping.advise_cold(5_000..200_000);
        assert_eq!((mapping.resident_in(0..0), mapping.resident_in(10..300_002)), (0, 0));
        assert_eq!((mapping.len(), mapping.resident_bytes()), (300_001, 300_001), "it was just read");
        assert_eq!(mapping.resident_sampled(3, 4_096), 300_001, "the estimate for a file that is all in memory");
        assert_eq!(mapping.resident_sampled(1, 300_000), 300_001);
        assert_eq!(mapping.path(), path);
    }

    #[test]
    fn an_empty_or_missing_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!(Mapping::open(&path).unwrap_err().kind(), ErrorKind::Internal);
        std::fs::write(&path, b"").unwrap();
        assert_eq!(Mapping::open(&path).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
