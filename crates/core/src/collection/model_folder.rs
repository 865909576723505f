//! Loading of an installed model, checked against its recorded fingerprint.

use crate::embed::{self, Embedder, load_folder};
use std::path::Path;
use std::sync::Arc;

/// The file of an installed model with its fingerprint. Weights have no checksum, and one flipped bit makes another
/// model.
pub(crate) const FINGERPRINT: &str = "fingerprint";

/// Loads the embedders of an installed model.
///
/// # Errors
/// `Corrupt` when their fingerprint is not the one recorded at installation.
pub(crate) fn load_installed(folder: &Path) -> Result<Vec<Arc<dyn Embedder>>, embed::Error> {
    let path = folder.join(FINGERPRINT);
    let pinned = std::fs::read_to_string(&path).map_err(|source| embed::Error::Io { path: path.clone(), source })?;
    let embedders = load_folder(folder)?;
    match embedders.first().map(|first| first.fingerprint().to_string()) {
        Some(found) if found == pinned => Ok(embedders),
        found => {
            let what = format!("the files beside it are those of {}, not {pinned:.64}", found.unwrap_or_default());
            Err(embed::Error::Corrupt { path, what })
        }
    }
}
