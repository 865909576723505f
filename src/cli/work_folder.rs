//! Temporary folders of measurements.

use anyhow::Context;
use std::path::{Path, PathBuf};

/// A temporary folder, removed on drop.
pub(super) struct WorkFolder(PathBuf);

impl WorkFolder {
    /// Creates a folder in `parent`, or in the temporary folder of the system.
    pub(super) fn create(parent: Option<&Path>) -> anyhow::Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let start =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = parent.join(format!("nearness-bench-{}-{start:x}", std::process::id()));
        std::fs::create_dir_all(&parent)
            .and_then(|()| std::fs::create_dir(&path))
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
