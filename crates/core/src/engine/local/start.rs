//! Parallel opening of the collections of a data directory, one per core at a time.

use super::Slot;
use crate::api::Error;
use crate::collection::embedder_pin::Lineage;
use crate::collection::meters::Meters;
use crate::collection::open::unopened;
use crate::collection::state::Collection;
use crate::disk::Fs;
use crate::embed::Registry;
use crate::store::Catalog;
use crate::types::CollectionName;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Opens all collections in the catalogue; one that cannot be opened is listed as damaged. Records the identities of
/// collections without one.
///
/// # Errors
/// Those of the catalogue.
pub(crate) fn open_all(
    fs: &Arc<dyn Fs>,
    catalog: &Catalog,
    registry: &Registry,
    meters: &Arc<Meters>,
) -> Result<BTreeMap<CollectionName, Slot>, Error> {
    let mut listed = Vec::new();
    for (name, entry) in catalog.list()? {
        match CollectionName::new(name.as_str()) {
            Ok(name) => listed.push((name, entry)),
            Err(_) => tracing::error!(name, "skipping a collection with an invalid name"),
        }
    }
    let opened: Vec<_> = listed
        .into_par_iter()
        .map(|(name, entry)| {
            let record = entry.as_ref().ok().map(|entry| entry.record.clone());
            let opened = entry.map_err(Error::from).and_then(|entry| {
                let dir = catalog.collection_dir(&entry);
                let collection = Collection::open(fs, &entry.record, &dir, registry, meters.clone())?;
                collection.set_lineage(Lineage::of(&entry));
                let new = entry.identity.is_none() && collection.db.is_owned();
                Ok((collection, new.then_some(entry.folder)))
            });
            (name, record, opened)
        })
        .collect();
    let (mut slots, mut identified) = (BTreeMap::new(), Vec::new());
    for (name, record, opened) in opened {
        let slot = match opened {
            Ok((collection, folder)) => {
                identified.extend(folder.map(|folder| (name.to_string(), folder, collection.identity)));
                Slot::Open(Arc::new(collection))
            }
            Err(error) => {
                tracing::error!(collection = %name, %error, "a collection cannot be opened");
                Slot::Damaged(Box::new(unopened(record.as_ref(), name.clone(), &error.to_string())))
            }
        };
        slots.insert(name, slot);
    }
    if !identified.is_empty() {
        match catalog.identify(&identified) {
            Err(error) if error.kind() == crate::store::ErrorKind::Exhausted => {
                tracing::warn!(%error, "the identities of collections could not be recorded; the next start records them");
            }
            done => done?,
        }
    }
    Ok(slots)
}
