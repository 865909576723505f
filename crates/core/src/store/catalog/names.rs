//! Aliases of collections, and changes of names.

use super::{COLLECTIONS, Catalog, Error, record};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;

/// Alias -> name of its collection. Absent in directories that never had an alias.
const ALIASES: TableDefinition<'_, &str, &str> = TableDefinition::new("aliases");

impl Catalog {
    /// Returns all aliases, each with the name of its collection. Does not check whether the collections exist.
    ///
    /// # Errors
    /// `Internal`.
    pub fn aliases(&self) -> Result<BTreeMap<String, String>, Error> {
        self.kv.read(|read| {
            let table = match read.open_table(ALIASES) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
                Err(error) => return Err(self.kv.failed("open a table")(error)),
            };
            let entries = table.iter().map_err(self.kv.failed("read"))?;
            let each = entries.map(|entry| {
                let (alias, name) = entry.map_err(self.kv.failed("read"))?;
                Ok((alias.value().to_owned(), name.value().to_owned()))
            });
            each.collect()
        })
    }

    /// Renames collections, from the first to the second name of each pair, and replaces all aliases, durably, in one
    /// transaction. A collection may get a name that another one gives up.
    ///
    /// # Errors
    /// `Internal` (`Refused`) if a collection does not exist, or a new name remains taken; `Corrupt` for an unreadable
    /// record; any disk error. Nothing is changed then.
    pub fn rename(&self, renamed: &[(String, String)], aliases: &BTreeMap<String, String>) -> Result<(), Error> {
        self.write(|transaction| {
            let mut table = transaction.open_table(COLLECTIONS).map_err(self.kv.failed("open a table"))?;
            let mut moved = Vec::new();
            for (from, to) in renamed {
                let json = table.remove(from.as_str()).map_err(self.kv.failed("write"))?;
                let json = json.map(|json| json.value().to_vec()).ok_or_else(|| self.missing(from))?;
                moved.push((to, self.decode(from, &json)?.renamed(to, self.kv.path())?));
            }
            for (to, entry) in moved {
                if table.get(to.as_str()).map_err(self.kv.failed("read"))?.is_some() {
                    return Err(Error::refused(self.kv.path(), format!("there is a collection named {to:?}")));
                }
                table.insert(to.as_str(), record::encode(&entry).as_slice()).map_err(self.kv.failed("write"))?;
            }
            let mut table = transaction.open_table(ALIASES).map_err(self.kv.failed("open a table"))?;
            table
                .retain(|alias, name| aliases.get(alias).is_some_and(|kept| kept == name))
                .map_err(self.kv.failed("write"))?;
            for (alias, name) in aliases {
                table.insert(alias.as_str(), name.as_str()).map_err(self.kv.failed("write"))?;
            }
            Ok(())
        })
    }

    /// Removes the aliases of a collection.
    pub(super) fn remove_aliases(&self, transaction: &WriteTransaction, name: &str) -> Result<(), Error> {
        let mut table = transaction.open_table(ALIASES).map_err(self.kv.failed("open a table"))?;
        table.retain(|_, of| of != name).map_err(self.kv.failed("write"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{create, open, record as settings, remove};
    use super::*;

    fn names(catalog: &Catalog) -> Vec<String> {
        catalog
            .list()
            .unwrap()
            .into_iter()
            .map(|(name, entry)| {
                assert_eq!(entry.unwrap().record.name.as_str(), name);
                name
            })
            .collect()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        map(pairs).into_iter().collect()
    }

    #[test]
    fn names_and_aliases_survive_a_reopen_and_aliases_are_removed_with_their_collection() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = open(dir.path()).unwrap();
        assert_eq!(catalog.aliases().unwrap(), BTreeMap::new());
        let (a, b) = (create(&catalog, "a"), create(&catalog, "b"));
        // A swap, in one transaction.
        let aliases = map(&[("x", "a"), ("y", "b"), ("z", "b")]);
        catalog.rename(&pairs(&[("a", "b"), ("b", "a")]), &aliases).unwrap();
        drop(catalog);
        let catalog = open(dir.path()).unwrap();
        assert_eq!((names(&catalog), catalog.aliases().unwrap()), (vec!["a".into(), "b".into()], aliases));
        assert_eq!(catalog.dir_of(&catalog.entry("a").unwrap().unwrap()), b);
        assert_eq!(catalog.dir_of(&catalog.entry("b").unwrap().unwrap()), a);
        remove(&catalog, "b");
        assert_eq!(catalog.aliases().unwrap(), map(&[("x", "a")]));
    }

    #[test]
    fn an_invalid_change_of_names_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = open(dir.path()).unwrap();
        create(&catalog, "a");
        create(&catalog, "b");
        let aliases = map(&[("x", "a")]);
        catalog.rename(&[], &aliases).unwrap();
        for invalid in [pairs(&[("a", "b")]), pairs(&[("a", "c"), ("missing", "d")]), pairs(&[("a", "not a name")])] {
            catalog.rename(&invalid, &BTreeMap::new()).unwrap_err();
            assert_eq!((names(&catalog), catalog.aliases().unwrap()), (vec!["a".into(), "b".into()], aliases.clone()));
        }
        let taken = catalog.create(&settings("a")).unwrap_err();
        assert!(taken.to_string().contains("\"a\""), "{taken}");
    }
}
