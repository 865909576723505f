//! Writes to the collections of one node.

use super::Database;
use crate::api::{
    CancellationToken, Deleted, Error, Filter, Item, PayloadUpdate, PayloadsUpdated, PointSelection, Upserted,
    WriteCondition, WriteMode, limits,
};
use crate::collection::embed_input::Absent;
use crate::collection::plan::WriteRequest;
use crate::collection::state::Collection;
use crate::engine::Writes;
use crate::types::{CollectionName, PointId};

impl Writes for Database {
    fn upsert_if(
        &self,
        name: &CollectionName,
        items: Vec<Item>,
        condition: &WriteCondition,
    ) -> Result<Upserted, Error> {
        limits::batch("items", items.len(), limits::MAX_BATCH)?;
        condition.check()?;
        let request = |collection: &Collection| {
            let points = collection.ready_all(items)?;
            Ok(match *condition == WriteCondition::default() {
                true => WriteRequest::Upsert(points),
                false => WriteRequest::UpsertIf { points, condition: condition.clone(), keep_payloads: false },
            })
        };
        self.write(name, request)?.upserted()
    }

    fn update_vectors(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error> {
        limits::batch("items", items.len(), limits::MAX_BATCH)?;
        let condition = WriteCondition::mode(WriteMode::Update);
        let request = |collection: &Collection| {
            Ok(WriteRequest::UpsertIf { points: collection.ready_for_update(items)?, condition, keep_payloads: true })
        };
        self.write(name, request)?.upserted()
    }

    fn upsert_instead(&self, name: &CollectionName, blocks: Vec<Item>, texts: &[PointId]) -> Result<Upserted, Error> {
        limits::batch("blocks", blocks.len(), limits::MAX_BATCH)?;
        self.write(name, |collection| Ok(WriteRequest::UpsertInstead(collection.ready_all(blocks)?, texts.to_vec())))?
            .upserted()
    }

    fn prepare(&self, name: &CollectionName, item: Item) -> Result<Item, Error> {
        let collection = self.inner.get(name)?;
        let mut prepared = collection.prepare_each(vec![item], &|_| "item".into());
        let item = prepared.pop().unwrap_or_else(|| Err(Error::invalid("item", "is missing")))?;
        // Every check of the write: an item that fails one must not fail those written with it.
        collection.ready("item", &item, Absent::Refused)?;
        Ok(item)
    }

    fn delete_points(&self, name: &CollectionName, ids: &[PointId]) -> Result<Deleted, Error> {
        limits::batch("ids", ids.len(), limits::MAX_BATCH)?;
        self.write(name, |_| Ok(WriteRequest::Delete(ids.to_vec())))?.deleted()
    }

    fn delete_all_points(&self, name: &CollectionName) -> Result<Deleted, Error> {
        self.write(name, |_| Ok(WriteRequest::DeleteAll))?.deleted()
    }

    fn delete_matching(
        &self,
        name: &CollectionName,
        filter: &Filter,
        allow_unknown_fields: bool,
    ) -> Result<Deleted, Error> {
        filter.check("filter")?;
        let prepare = |collection: &Collection| {
            // Build missing indexes here, before the write, so that writers do not wait for them.
            collection.noting_damage(|| collection.view_and_selection(Some(filter)))?;
            Ok(WriteRequest::DeleteMatching {
                filter: filter.clone(),
                allow_unknown_fields,
                stop: CancellationToken::current(),
            })
        };
        self.write(name, prepare)?.deleted()
    }

    fn update_payload(
        &self,
        name: &CollectionName,
        points: &PointSelection,
        update: &PayloadUpdate,
    ) -> Result<PayloadsUpdated, Error> {
        update.check("update")?;
        match points {
            PointSelection::Ids(ids) => limits::batch("ids", ids.len(), limits::MAX_BATCH)?,
            PointSelection::Matching { filter, .. } => filter.check("filter")?,
        }
        let prepare = |collection: &Collection| {
            if let PointSelection::Matching { filter, .. } = points {
                // As in `delete_matching`.
                collection.noting_damage(|| collection.view_and_selection(Some(filter)))?;
            }
            let (points, update) = (points.clone(), update.clone());
            Ok(WriteRequest::UpdatePayload { points, update, stop: CancellationToken::current() })
        };
        self.write(name, prepare)?.updated()
    }
}
