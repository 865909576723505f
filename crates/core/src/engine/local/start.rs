//! The list of the collections of a data directory, all closed.

use super::handle::Handle;
use crate::api::Error;
use crate::store::Catalog;
use crate::types::CollectionName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lists the collections in the catalogue. Opens none; one whose record cannot be read is listed as damaged.
///
/// # Errors
/// Those of the catalogue.
pub(super) fn list(catalog: &Catalog) -> Result<BTreeMap<CollectionName, Arc<Handle>>, Error> {
    let (mut slots, mut summaries) = (BTreeMap::new(), catalog.summaries()?);
    for (name, entry) in catalog.list()? {
        let Ok(name) = CollectionName::new(name.as_str()) else {
            tracing::error!(name, "skipping a collection with an invalid name");
            continue;
        };
        let handle = match entry {
            Ok(entry) => {
                let dir = catalog.dir_of(&entry);
                let summary = summaries.remove(&dir);
                Handle::closed(&entry, dir, summary)
            }
            Err(error) => {
                tracing::error!(collection = %name, %error, "a collection cannot be opened");
                Handle::unreadable(name.clone(), &error.into())
            }
        };
        slots.insert(name, Arc::new(handle));
    }
    Ok(slots)
}
