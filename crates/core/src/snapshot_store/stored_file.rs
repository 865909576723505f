//! An entry of the list of snapshot files.

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Name of the file.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}
