//! The names of collections: the collections by name, their aliases, and changes of both.
//!
//! This is the only place where a name becomes a collection. A name is that of a collection or of an alias, never both.

use super::Database;
use super::handle::Handle;
use crate::api::limits::{MAX_ALIAS_ACTIONS, MAX_ALIASES};
use crate::api::{AliasAction, CollectionInfo, Error};
use crate::collection::state::Names;
use crate::types::CollectionName;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};

/// The collections by name, and the aliases.
pub(super) struct Slots {
    collections: BTreeMap<CollectionName, Arc<Handle>>,
    /// Alias -> name of its collection, which exists.
    aliases: BTreeMap<CollectionName, CollectionName>,
}

impl Deref for Slots {
    type Target = BTreeMap<CollectionName, Arc<Handle>>;

    fn deref(&self) -> &Self::Target {
        &self.collections
    }
}

impl DerefMut for Slots {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.collections
    }
}

impl Slots {
    /// Joins the collections and the aliases of a catalog. Leaves out aliases that are invalid: an older version of the
    /// program deletes collections without their aliases.
    pub(super) fn new(collections: BTreeMap<CollectionName, Arc<Handle>>, stored: BTreeMap<String, String>) -> Self {
        let mut slots = Self { collections, aliases: BTreeMap::new() };
        for (alias, name) in stored {
            match (CollectionName::new(&alias), CollectionName::new(&name)) {
                (Ok(alias), Ok(name))
                    if slots.collections.contains_key(&name) && !slots.collections.contains_key(&alias) =>
                {
                    slots.aliases.insert(alias, name);
                }
                _ => tracing::error!(alias, name, "ignoring an alias of a missing collection, or with its name"),
            }
        }
        slots.aliases.values().for_each(|name| slots.set_names(name));
        slots
    }

    /// Returns the name of the collection that an alias refers to, and any other name unchanged.
    pub(super) fn resolve<'a>(&'a self, name: &'a CollectionName) -> &'a CollectionName {
        self.aliases.get(name).unwrap_or(name)
    }

    /// Returns the collection with a name or an alias.
    pub(super) fn get(&self, name: &CollectionName) -> Option<&Arc<Handle>> {
        self.collections.get(self.resolve(name))
    }

    /// Whether a name is an alias.
    pub(super) fn is_alias(&self, name: &CollectionName) -> bool {
        self.aliases.contains_key(name)
    }

    /// Returns the names of a collection.
    pub(super) fn names(&self, name: &CollectionName) -> Names {
        let of = self.aliases.iter().filter(|(_, of)| *of == name);
        Names { name: name.clone(), aliases: of.map(|(alias, _)| alias.clone()).collect() }
    }

    /// Removes a collection with its aliases.
    pub(super) fn remove_with_aliases(&mut self, name: &CollectionName) {
        self.collections.remove(name);
        self.aliases.retain(|_, of| of != name);
    }

    /// Records its present names in a collection.
    fn set_names(&self, name: &CollectionName) {
        if let Some(handle) = self.collections.get(name) {
            handle.set_names(self.names(name));
        }
    }
}

/// Names during a change: all collections by their new name with their present one, and all aliases.
struct Change<'a> {
    slots: &'a Slots,
    collections: BTreeMap<CollectionName, CollectionName>,
    aliases: BTreeMap<CollectionName, CollectionName>,
}

impl Change<'_> {
    fn apply(&mut self, at: &str, action: &AliasAction) -> Result<(), Error> {
        match action {
            AliasAction::Create { alias, collection } => {
                let collection = self.aliases.get(collection).unwrap_or(collection).clone();
                if !self.collections.contains_key(&collection) {
                    return Err(Error::UnknownCollection(collection.to_string()));
                }
                self.check_free(alias)?;
                self.aliases.insert(alias.clone(), collection);
            }
            AliasAction::Delete { alias } => drop(self.take(alias)?),
            AliasAction::Rename { alias, new_alias } => {
                let collection = self.take(alias)?;
                self.check_free(new_alias)?;
                self.aliases.insert(new_alias.clone(), collection);
            }
            AliasAction::RenameCollection { collection, new_name } => {
                if let Some(of) = self.aliases.get(collection) {
                    let why = format!(
                        "is {:?}, an alias of {:?}: rename the alias, or name the collection",
                        collection.as_str(),
                        of.as_str()
                    );
                    return Err(Error::invalid(format!("{at}.rename_collection.collection"), why));
                }
                let present = self.collections.remove(collection);
                let present = present.ok_or_else(|| Error::UnknownCollection(collection.to_string()))?;
                if let Some(Error::Damaged { what }) = self.slots.get(&present).and_then(|handle| handle.failure()) {
                    return Err(Error::Damaged { what: format!("{what}; it cannot be renamed") });
                }
                self.check_free(new_name)?;
                self.aliases.values_mut().filter(|of| *of == collection).for_each(|of| *of = new_name.clone());
                self.collections.insert(new_name.clone(), present);
            }
        }
        Ok(())
    }

    fn take(&mut self, alias: &CollectionName) -> Result<CollectionName, Error> {
        self.aliases.remove(alias).ok_or_else(|| Error::UnknownAlias(alias.to_string()))
    }

    fn check_free(&self, name: &CollectionName) -> Result<(), Error> {
        if self.collections.contains_key(name) {
            return Err(Error::CollectionExists(name.to_string()));
        }
        if self.aliases.contains_key(name) {
            return Err(Error::AliasExists(name.to_string()));
        }
        Ok(())
    }
}

impl Database {
    pub(super) fn resolve_name(&self, name: &CollectionName) -> CollectionName {
        self.inner.slots.read().unwrap_or_else(PoisonError::into_inner).resolve(name).clone()
    }

    /// See [`Admin::update_aliases`](crate::engine::Admin::update_aliases).
    pub(super) fn change_names(&self, actions: &[AliasAction]) -> Result<Vec<CollectionInfo>, Error> {
        if actions.is_empty() || actions.len() > MAX_ALIAS_ACTIONS {
            let why = format!("takes 1 to {MAX_ALIAS_ACTIONS}, got {}", actions.len());
            return Err(Error::invalid("actions", why));
        }
        let inner = &self.inner;
        for action in actions {
            // Whether a collection can be opened must be known. An error is in its state.
            if let AliasAction::RenameCollection { collection, .. } = action
                && let Ok(handle) = inner.handle(collection)
            {
                drop(inner.open(&handle));
            }
        }
        // Excludes all other changes of names, and replacements of collections.
        let _changing = inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (renamed, aliases) = {
            let slots = inner.slots.read().unwrap_or_else(PoisonError::into_inner);
            let collections = slots.keys().map(|name| (name.clone(), name.clone())).collect();
            let mut change = Change { slots: &slots, collections, aliases: slots.aliases.clone() };
            for (index, action) in actions.iter().enumerate() {
                change.apply(&format!("actions[{index}]"), action)?;
            }
            if change.aliases.len() > MAX_ALIASES {
                return Err(Error::Exhausted(format!(
                    "actions: they make {} aliases; the limit is {MAX_ALIASES}; delete some first",
                    change.aliases.len()
                )));
            }
            let renamed: Vec<_> = change
                .collections
                .into_iter()
                .filter(|(new, present)| new != present)
                .map(|(new, old)| (old, new))
                .collect();
            (renamed, change.aliases)
        };
        let text = |(from, to): (&CollectionName, &CollectionName)| (from.to_string(), to.to_string());
        let stored: Vec<(String, String)> = renamed.iter().map(|(from, to)| text((from, to))).collect();
        inner.catalog.rename(&stored, &aliases.iter().map(text).collect())?;

        let mut slots = inner.slots.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut slots.aliases, aliases);
        let mut changed: BTreeSet<CollectionName> = renamed.iter().map(|(_, new)| new.clone()).collect();
        let moved: Vec<_> = renamed.iter().map(|(old, new)| (new.clone(), slots.remove(old))).collect();
        slots.extend(moved.into_iter().filter_map(|(new, slot)| Some((new, slot?))));
        let after = &slots.aliases;
        changed.extend(after.iter().filter(|(alias, of)| before.get(*alias) != Some(*of)).map(|(_, of)| of.clone()));
        let gone = before.iter().filter(|(alias, of)| after.get(*alias) != Some(*of)).map(|(_, of)| of);
        changed.extend(gone.filter(|of| slots.contains_key(*of)).cloned());
        changed.iter().for_each(|name| slots.set_names(name));
        let changed: Vec<Arc<Handle>> = changed.iter().filter_map(|name| slots.get(name)).cloned().collect();
        drop(slots);
        let infos = changed.iter().filter_map(|handle| inner.info(handle)).collect();
        // The background threads work by name: those of a round that has begun do not find a renamed collection.
        inner.notify(true);
        Ok(infos)
    }
}
