//! Vectors that survive a crash.
use std::path::PathBuf;
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {what}", path = path.display())]
    Corrupt { path: PathBuf, what: String },
}
pub enum ErrorKind {
    Corrupt,
    Incompatible,
    Exhausted,
    Busy,
    Internal,
}
impl Error {
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Corrupt
    }
}
