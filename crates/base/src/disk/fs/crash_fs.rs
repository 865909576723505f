//! Test double of the file system: injects failures, and reconstructs the disk content after a crash at any moment.
//!
//! It works on real files, so that they can be mapped, and keeps a journal of every change and every sync.
//! [`CrashFs::image`] builds from the journal the folder that a crash would leave: synced names and contents are
//! present; of the rest nothing, everything, or any part (torn at sectors) may have reached the disk.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use super::{Fs, FsFile, FsRandom, RealFs};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Failure to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// No failure.
    Nothing,
    /// The n-th sync (of a file or a folder, from 0) fails; everything else works.
    FailSync(u64),
    /// The disk is full after this many bytes.
    FullAfter(u64),
}

/// Fate of unsynced changes after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All are lost.
    Lost,
    /// All are kept: the process was killed, the machine kept running.
    Kept,
    /// A random subset of names and sectors is kept, in any order; the number is the seed.
    Torn(u64),
}

/// Unit of a torn write, bytes.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Event {
    Create(PathBuf, u64),
    Write(u64, u64, Vec<u8>),
    Resize(u64, u64),
    Sync(u64),
    /// A failed sync: the writes before it never reach the disk, even if a later sync succeeds.
    FailedSync(u64),
    Rename(PathBuf, PathBuf),
    /// A move into another folder; a folder moves with its content.
    MoveTo(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    MakeDir(PathBuf),
    RemoveDir(PathBuf),
    SyncDir(PathBuf),
}

#[derive(Debug)]
struct State {
    plan: Plan,
    syncs: u64,
    written: u64,
    journal: Vec<Event>,
    inodes: HashMap<PathBuf, u64>,
    next_inode: u64,
}

/// The test double; see the module. Clones share one file system.
#[derive(Clone, Debug)]
pub struct CrashFs {
    root: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct CrashFile<F> {
    state: Arc<Mutex<State>>,
    inode: u64,
    length: u64,
    inner: F,
}

impl State {
    fn sync(&mut self, done: Event, failed: Option<Event>) -> io::Result<()> {
        self.syncs += 1;
        if self.plan == Plan::FailSync(self.syncs - 1) {
            self.journal.extend(failed);
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.journal.push(done);
        Ok(())
    }

    fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if matches!(self.plan, Plan::FullAfter(limit) if self.written + bytes.len() as u64 > limit) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.written += bytes.len() as u64;
        self.journal.push(Event::Write(inode, offset, bytes.to_vec()));
        Ok(())
    }

    fn inode(&mut self, path: &Path) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(path.into(), self.next_inode);
        self.journal.push(Event::Create(path.into(), self.next_inode));
        self.next_inode
    }
}

impl CrashFs {
    /// Creates the file system on a real, empty folder.
    pub fn new(root: &Path, plan: Plan) -> Self {
        let state = State { plan, syncs: 0, written: 0, journal: Vec::new(), inodes: HashMap::new(), next_inode: 0 };
        Self { root: root.into(), state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Resets the counts of syncs and bytes, and sets a new plan.
    pub fn restart(&self, plan: Plan) {
        let mut state = self.lock();
        (state.plan, state.syncs, state.written) = (plan, 0, 0);
    }

    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Describes the changes after a moment, without the bytes written.
    pub fn changes_since(&self, moment: usize) -> Vec<String> {
        let describe = |event: &Event| match event {
            Event::Write(inode, offset, bytes) => format!("Write({inode}, {offset}, {} bytes)", bytes.len()),
            other => format!("{other:?}"),
        };
        self.lock().journal.get(moment..).unwrap_or_default().iter().map(describe).collect()
    }

    /// Returns the number of changes so far: a moment for [`image`](Self::image).
    pub fn now(&self) -> usize {
        self.lock().journal.len()
    }

    /// Flips a bit of a file on the disk, to simulate bit rot.
    pub fn flip_bit(&self, path: &Path, offset: usize) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[offset] ^= 1;
        std::fs::write(path, &bytes).unwrap();
        let mut state = self.lock();
        let inode = state.inodes[path];
        state.journal.extend([Event::Write(inode, offset as u64, vec![bytes[offset]]), Event::Sync(inode)]);
    }

    /// Returns the moments just before and just after each sync, and the last moment.
    pub fn moments(&self) -> Vec<usize> {
        let state = self.lock();
        let sync = |event: &Event| matches!(event, Event::Sync(_) | Event::SyncDir(_));
        let mut all: Vec<usize> = state
            .journal
            .iter()
            .enumerate()
            .filter(|(_, event)| sync(event))
            .flat_map(|(index, _)| [index, index + 1])
            .chain([state.journal.len()])
            .collect();
        all.dedup();
        all
    }

    /// Writes the disk content after a crash at `moment` into a real folder.
    pub fn image(&self, moment: usize, unsynced: Unsynced, into: &Path) {
        let state = self.lock();
        let mut disk = Disk::default();
        state.journal[..moment].iter().for_each(|event| disk.apply(event));
        disk.crash(unsynced);
        for (path, inode) in &disk.durable_names {
            let Ok(relative) = path.strip_prefix(&self.root) else { continue };
            let target = into.join(relative);
            match inode {
                // A lost folder name loses the folder's content.
                _ if relative != Path::new("") && !target.parent().unwrap().exists() => {}
                None => std::fs::create_dir_all(&target).unwrap(),
                Some(inode) => std::fs::write(&target, &disk.contents[inode].durable).unwrap(),
            }
        }
    }
}

/// A disk, rebuilt from the journal. A name maps to an inode, or to None for a folder.
#[derive(Default)]
struct Disk {
    contents: HashMap<u64, Content>,
    names: BTreeMap<PathBuf, Option<u64>>,
    durable_names: BTreeMap<PathBuf, Option<u64>>,
    /// Moves with neither folder synced yet: the file system persists both name changes of a move, or neither.
    moves: Vec<(PathBuf, PathBuf)>,
}

#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    /// (offset, bytes) of a write; (new length, None) of a resize.
    pending: Vec<(u64, Option<Vec<u8>>)>,
}

/// Returns `path` after a move of `from` to `to`.
fn moved(path: PathBuf, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_os_str().is_empty() => to.into(),
        Ok(rest) => to.join(rest),
        Err(_) => path,
    }
}

fn move_names(names: &mut BTreeMap<PathBuf, Option<u64>>, from: &Path, to: &Path) {
    let all = std::mem::take(names);
    *names = all.into_iter().map(|(path, inode)| (moved(path, from, to), inode)).collect();
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    content.resize(content.len().max(offset + bytes.len()), 0);
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Create(path, inode) => {
                self.contents.insert(*inode, Content::default());
                self.names.insert(path.clone(), Some(*inode));
            }
            Event::Write(inode, offset, bytes) => {
                self.contents.get_mut(inode).unwrap().pending.push((*offset, Some(bytes.clone())));
            }
            Event::Resize(inode, length) => self.contents.get_mut(inode).unwrap().pending.push((*length, None)),
            Event::Sync(inode) => {
                let Content { durable, pending } = self.contents.get_mut(inode).unwrap();
                for (offset, bytes) in pending.drain(..) {
                    match bytes {
                        Some(bytes) => put(durable, offset as usize, &bytes),
                        None => durable.resize(offset as usize, 0),
                    }
                }
            }
            Event::FailedSync(inode) => {
                // A resize survives: the length is metadata, which the file system journals.
                self.contents.get_mut(inode).unwrap().pending.retain(|(_, bytes)| bytes.is_none());
            }
            Event::Rename(from, to) => {
                let inode = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), inode);
            }
            Event::MoveTo(from, to) => {
                move_names(&mut self.names, from, to);
                self.moves.push((from.clone(), to.clone()));
            }
            Event::Link(from, to) => _ = self.names.insert(to.clone(), self.names[from]),
            Event::Remove(path) => _ = self.names.remove(path),
            Event::MakeDir(path) => _ = self.names.insert(path.clone(), None),
            Event::RemoveDir(path) => self.names.retain(|name, _| !name.starts_with(path)),
            Event::SyncDir(dir) => {
                let (done, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.moves)
                    .into_iter()
                    .partition(|(from, to)| [from, to].iter().any(|path| path.parent() == Some(dir.as_path())));
                self.moves = open;
                done.iter().for_each(|(from, to)| move_names(&mut self.durable_names, from, to));
                let inside = |path: &Path| path.parent() == Some(dir.as_path());
                let removed: Vec<PathBuf> = self
                    .durable_names
                    .keys()
                    .filter(|path| inside(path) && !self.names.contains_key(*path))
                    .cloned()
                    .collect();
                for removed in removed {
                    self.durable_names.retain(|path, _| !path.starts_with(&removed));
                }
                let names = self.names.iter().filter(|(path, _)| inside(path));
                self.durable_names.extend(names.map(|(path, inode)| (path.clone(), *inode)));
            }
        }
    }

    fn crash(&mut self, unsynced: Unsynced) {
        let mut rng = StdRng::seed_from_u64(match unsynced {
            Unsynced::Torn(seed) => seed,
            Unsynced::Lost | Unsynced::Kept => 0,
        });
        let keeps = |rng: &mut StdRng| match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Torn(_) => rng.random(),
        };
        for (from, to) in std::mem::take(&mut self.moves) {
            if keeps(&mut rng) {
                move_names(&mut self.durable_names, &from, &to);
            } else {
                // Reverts the move.
                move_names(&mut self.names, &to, &from);
            }
        }
        let changed: Vec<PathBuf> = self
            .names
            .keys()
            .chain(self.durable_names.keys())
            .filter(|path| self.names.get(*path) != self.durable_names.get(*path))
            .cloned()
            .collect();
        for path in changed {
            if keeps(&mut rng) {
                match self.names.get(&path) {
                    Some(inode) => _ = self.durable_names.insert(path, *inode),
                    None => _ = self.durable_names.remove(&path),
                }
            }
        }
        let mut inodes: Vec<_> = self.contents.iter_mut().collect();
        inodes.sort_by_key(|(inode, _)| **inode);
        for (_, Content { durable, pending }) in inodes {
            for (offset, bytes) in pending.drain(..) {
                let Some(bytes) = bytes else {
                    if keeps(&mut rng) {
                        durable.resize(offset as usize, 0);
                    }
                    continue;
                };
                let mut at = 0;
                while at < bytes.len() {
                    let end = ((offset as usize + at) / SECTOR + 1) * SECTOR - offset as usize;
                    let end = end.min(bytes.len());
                    if keeps(&mut rng) {
                        put(durable, offset as usize + at, &bytes[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
}

impl Fs for CrashFs {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let inner = RealFs.create(path)?;
        let inode = self.lock().inode(path);
        Ok(Box::new(CrashFile { state: self.state.clone(), inode, length: 0, inner }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)?;
        let mut state = self.lock();
        let inode = state.inodes.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.inodes.insert(to.into(), inode);
        state.journal.push(Event::Rename(from.into(), to.into()));
        Ok(())
    }

    fn move_to(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.move_to(from, to)?;
        let mut state = self.lock();
        let inodes = std::mem::take(&mut state.inodes);
        state.inodes = inodes.into_iter().map(|(path, inode)| (moved(path, from, to), inode)).collect();
        state.journal.push(Event::MoveTo(from.into(), to.into()));
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.link(from, to)?;
        let mut state = self.lock();
        let inode = *state.inodes.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.inodes.insert(to.into(), inode);
        state.journal.push(Event::Link(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)?;
        let mut state = self.lock();
        state.inodes.remove(path);
        state.journal.push(Event::Remove(path.into()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().sync(Event::SyncDir(dir.into()), None)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            self.lock().journal.push(Event::MakeDir(path.into()));
        }
        RealFs.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir(path)?;
        let mut state = self.lock();
        state.inodes.retain(|name, _| !name.starts_with(path));
        state.journal.push(Event::RemoveDir(path.into()));
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsRandom>> {
        let inner = RealFs.open(path)?;
        let mut state = self.lock();
        let inode = match state.inodes.get(path) {
            Some(inode) => *inode,
            None => state.inode(path),
        };
        Ok(Box::new(CrashFile { state: self.state.clone(), inode, length: 0, inner }))
    }
}

impl FsFile for CrashFile<Box<dyn FsFile>> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.state.lock().unwrap().write(self.inode, self.length, bytes)?;
        self.length += bytes.len() as u64;
        self.inner.append(bytes)
    }

    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.state.lock().unwrap().write(self.inode, offset, bytes)?;
        self.inner.overwrite(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.state.lock().unwrap().sync(Event::Sync(self.inode), Some(Event::FailedSync(self.inode)))
    }
}

impl FsRandom for CrashFile<Box<dyn FsRandom>> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.state.lock().unwrap().journal.push(Event::Resize(self.inode, length));
        self.inner.set_len(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.state.lock().unwrap().write(self.inode, offset, bytes)?;
        self.inner.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.state.lock().unwrap().sync(Event::Sync(self.inode), Some(Event::FailedSync(self.inode)))
    }

    fn release(&self) -> io::Result<()> {
        self.inner.release()
    }
}
