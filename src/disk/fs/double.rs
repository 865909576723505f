//! A file system in memory that can fail or crash at any operation, and then show what a disk would hold.
//!
//! Names and contents have two states each: what the running system sees, and what a sync made durable. A crash keeps
//! the durable contents; of the names it may keep the durable ones or the newest ones, because a file system may write
//! them early. [`CrashFs::image`] writes either to a real folder.

use super::{Fs, FsFile};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing.
    Nothing,
    /// The machine stops before the n-th operation (from 0); it and all later ones change nothing and fail.
    CrashAt(u64),
    /// The n-th sync (of a file or a folder, from 0) fails, the rest works.
    FailSync(u64),
    /// The disk is full after that many bytes.
    FullAfter(u64),
}

/// What of the names survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Only what a sync of the folder made durable.
    Durable,
    /// All, though no sync asked for it.
    Newest,
}

#[derive(Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug)]
struct State {
    plan: Plan,
    operations: u64,
    syncs: u64,
    written: u64,
    contents: HashMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct CrashFs(Arc<Mutex<State>>);

struct CrashFile {
    state: Arc<Mutex<State>>,
    inode: u64,
}

impl State {
    fn operation(&mut self) -> io::Result<()> {
        let crashed = matches!(self.plan, Plan::CrashAt(at) if self.operations >= at);
        if crashed {
            return Err(io::Error::other("the machine has stopped"));
        }
        self.operations += 1;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.operation()?;
        self.syncs += 1;
        if self.plan == Plan::FailSync(self.syncs - 1) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }

    fn write(&mut self, bytes: usize) -> io::Result<()> {
        self.operation()?;
        self.written += bytes as u64;
        if matches!(self.plan, Plan::FullAfter(limit) if self.written > limit) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}

impl CrashFs {
    pub(crate) fn new(plan: Plan) -> Self {
        Self(Arc::new(Mutex::new(State {
            plan,
            operations: 0,
            syncs: 0,
            written: 0,
            contents: HashMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
        })))
    }

    /// Counts from here on: what came before is durable.
    pub(crate) fn restart(&self, plan: Plan) {
        let mut state = self.0.lock().unwrap();
        (state.plan, state.operations, state.syncs, state.written) = (plan, 0, 0, 0);
    }

    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    /// File names (without folders) as the running system sees them.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().names.keys().map(|path| path.file_name().unwrap().to_str().unwrap().into()).collect()
    }

    /// Writes what a disk holds after the crash into a real folder.
    pub(crate) fn image(&self, names: Names, into: &Path) {
        let state = self.0.lock().unwrap();
        let kept = if names == Names::Durable { &state.durable_names } else { &state.names };
        for (path, inode) in kept {
            std::fs::write(into.join(path.file_name().unwrap()), &state.contents[inode].durable).unwrap();
        }
    }
}

impl Fs for CrashFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut state = self.0.lock().unwrap();
        state.operation()?;
        let inode = state.contents.len() as u64;
        state.contents.insert(inode, Content::default());
        state.names.insert(path.into(), inode);
        Ok(Box::new(CrashFile { state: self.0.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operation()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.into(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operation()?;
        state.names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.sync()?;
        let State { names, durable_names, .. } = &mut *state;
        durable_names.retain(|path, _| path.parent() != Some(dir));
        durable_names.extend(names.iter().filter(|(p, _)| p.parent() == Some(dir)).map(|(p, i)| (p.clone(), *i)));
        Ok(())
    }
}

impl FsFile for CrashFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.write(bytes.len())?;
        state.contents.get_mut(&self.inode).unwrap().seen.extend_from_slice(bytes);
        Ok(())
    }

    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.write(0)?;
        let at = offset as usize;
        state.contents.get_mut(&self.inode).unwrap().seen[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.sync()?;
        let content = state.contents.get_mut(&self.inode).unwrap();
        content.durable = content.seen.clone();
        Ok(())
    }
}
