//! What finds near rows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("x")]
    X,
}
