//! Mounted file systems for tests that fill or cut them off. Mounting needs root; without it, tests are skipped.
#![allow(dead_code, clippy::print_stdout, reason = "each test file uses a part; prints that a test is skipped")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted when dropped.
pub(crate) struct Mount {
    folder: tempfile::TempDir,
    image: Option<PathBuf>,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Returns the mount, or prints the reason for skipping the test.
fn or_skip(mounted: Result<Mount, String>) -> Option<Mount> {
    mounted.inspect_err(|why| println!("SKIPPED: cannot mount a file system (are you root?): {why}")).ok()
}

impl Mount {
    /// Mounts a tmpfs of this size.
    pub(crate) fn tmpfs(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let size = format!("size={megabytes}m");
        let path = folder.path().to_str().expect("UTF-8").to_owned();
        or_skip(run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &path]).map(|()| Self { folder, image: None }))
    }

    /// Mounts an ext4 file system in a file, through a loop device.
    pub(crate) fn ext4(megabytes: u64, image: &Path) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = std::fs::File::create(image).expect("an image");
        file.set_len(megabytes << 20).expect("an image");
        let formatted = run("mkfs.ext4", &["-q", "-F", image.to_str().expect("UTF-8")]);
        let mount = Self { folder, image: Some(image.into()) };
        or_skip(formatted.and_then(|()| mount.attach()).map(|()| mount))
    }

    fn attach(&self) -> Result<(), String> {
        let image = self.image.as_ref().ok_or("no image")?;
        run("mount", &["-o", "loop", image.to_str().expect("UTF-8"), self.path().to_str().expect("UTF-8")])
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Resizes a tmpfs.
    pub(crate) fn resize(&self, megabytes: u32) {
        let option = format!("remount,size={megabytes}m");
        run("mount", &["-o", &option, self.path().to_str().expect("UTF-8")]).expect("resized");
    }

    /// Cuts an ext4 off from its device immediately: unwritten data is lost.
    ///
    /// A concurrent sync may report success although its transaction was dropped: the shutdown stops the journal, and
    /// ext4 treats a transaction that is neither running nor committing as committed. A loop of pwrite and fdatasync on
    /// Linux 6.18 shows this in 4 of 300 cuts, always with a reply that arrived after this call began. A power cut has
    /// no such window, so tests must not count writes acknowledged after the call began.
    pub(crate) fn cut_off(&self) {
        use std::os::fd::AsRawFd;
        // _IOR('X', 125, u32), and the flag that skips flushing the journal.
        const SHUTDOWN: libc::c_ulong = 0x8004_587d;
        let without_journal: u32 = 2;
        let root = std::fs::File::open(self.path()).expect("the root of the file system");
        // SAFETY: the call reads one u32.
        let result = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN as _, &raw const without_journal) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }

    /// Unmounts and mounts again: the journal is replayed, as after a power cut.
    pub(crate) fn remount(&self) {
        run("umount", &[self.path().to_str().expect("UTF-8")]).expect("unmounted: no file is open on it");
        self.attach().expect("mounted again");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(run("umount", &["-l", self.path().to_str().unwrap_or_default()]));
    }
}
