//! Temporary folders of measurements.

use crate::disk::create_private_dirs;
use anyhow::Context;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A temporary folder of this user only, removed on drop.
pub(super) struct WorkFolder(PathBuf);

impl WorkFolder {
    /// Creates a folder in `parent`, or in the temporary folder of the system.
    pub(super) fn create(parent: Option<&Path>) -> anyhow::Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let start =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = parent.join(format!("nearness-bench-{}-{start:x}", std::process::id()));
        create_private_dirs(&parent)
            // Fails if somebody else has created it.
            .and_then(|()| DirBuilder::new().mode(0o700).create(&path))
            .with_context(|| format!("--work-dir {}: cannot be used", parent.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // A remaining folder only wastes space.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_folder_is_private_to_its_owner_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let parent = dir.path().join("a/b");
        let folder = WorkFolder::create(Some(&parent)).unwrap();
        let path = folder.path().to_owned();
        assert!(path.starts_with(&parent));
        for path in [&path, &parent, &dir.path().join("a")] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
        }
        drop(folder);
        assert!(!path.exists() && parent.exists());
    }
}
