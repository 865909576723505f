//! The engine restricted to what one caller may access.
//!
//! Handlers get this type and never the engine itself, so that no handler can omit the access check. A collection out
//! of reach is refused in the same way whether it exists or not. A model that was trained on the texts of a collection
//! out of reach does not exist for the caller: embedders are looked up among the visible ones and passed to the engine
//! by fingerprint.

use super::middleware::request_context::RequestContext;
use crate::collection::map::{Feed, MapChoice, MapParams, Placed, Tell};
use crate::collection::snapshot::{Listed, SnapshotInfo, SnapshotName};
use crate::collection::{
    Activity, Answer, CheckReport, CollectionInfo, CollectionSpec, Deleted, Engine, Error, Explanation, Fields, Filter,
    Item, ModelInfo, Observe, ObserveTraining, Page, Point, Query, RecallParams, RecallReport, SearchParams, Sources,
    Space, Training, Upload, Upserted,
};
use crate::embed::{Fingerprint, Model, Registry};
use crate::types::{CollectionName, PointId};
use std::sync::Arc;

pub(super) struct AuthorizedEngine<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) context: &'a RequestContext,
}

impl AuthorizedEngine<'_> {
    fn authorize(&self, name: &CollectionName) -> Result<&dyn Engine, Error> {
        // Keeps the first name; a request names one collection.
        let _ = self.context.collection.set(name.clone());
        if self.context.principal.scope.covers(name) { Ok(self.engine) } else { Err(Error::Forbidden) }
    }

    /// Whether the caller may read all collections that a model was trained on.
    fn is_visible(&self, model: &Model) -> bool {
        let scope = &self.context.principal.scope;
        model.trained_on().all(|name| CollectionName::new(name).is_ok_and(|name| scope.covers(&name)))
    }

    /// Returns the unambiguous name of an embedder visible to the caller.
    fn resolve_embedder(&self, embedder: &str) -> Result<String, Error> {
        let registry = self.embedders();
        let found = registry.by_name(embedder);
        let found = found.map_err(|source| Error::Embed { field: "embedder.name".into(), source })?;
        Ok(format!("{}@{}", found.name(), found.fingerprint()))
    }

    /// Returns the engine if the caller may access all collections; required for changes that affect all of them.
    fn authorize_all(&self) -> Result<&dyn Engine, Error> {
        if self.context.principal.scope.is_all() { Ok(self.engine) } else { Err(Error::ForbiddenModels) }
    }
}

impl Engine for AuthorizedEngine<'_> {
    fn embedders(&self) -> Arc<Registry> {
        let all = self.engine.embedders();
        if self.context.principal.scope.is_all() {
            return all;
        }
        let mut visible = Registry::clone(&all);
        visible.retain(|model| self.is_visible(model));
        Arc::new(visible)
    }
    fn models(&self) -> Result<Vec<ModelInfo>, Error> {
        let mut infos = self.engine.models()?;
        let scope = &self.context.principal.scope;
        infos.retain(|info| self.is_visible(&info.model));
        let visible = self.embedders();
        for info in &mut infos {
            info.used_by.retain(|name| scope.covers(name));
            info.current = visible.is_current(&info.model);
        }
        Ok(infos)
    }
    fn upload(&self) -> Result<Upload, Error> {
        self.authorize_all()?.upload()
    }
    fn install_model(&self, upload: Upload) -> Result<ModelInfo, Error> {
        self.authorize_all()?.install_model(upload)
    }
    fn train_model(
        &self,
        training: &Training,
        upload: Upload,
        observe: ObserveTraining<'_>,
    ) -> Result<ModelInfo, Error> {
        let engine = self.authorize_all()?;
        training.texts_of().map_or(Ok(engine), |name| self.authorize(name))?.train_model(training, upload, observe)
    }
    fn delete_model(&self, fingerprint: &Fingerprint) -> Result<(), Error> {
        self.authorize_all()?.delete_model(fingerprint)
    }
    fn activity(&self) -> Activity {
        self.engine.activity()
    }
    fn create_collection(&self, spec: &CollectionSpec) -> Result<CollectionInfo, Error> {
        let engine = self.authorize(&spec.name)?;
        match &spec.space {
            Space::Plain { .. } => engine.create_collection(spec),
            Space::Embedded { embedder, tap } => {
                let space = Space::Embedded { embedder: self.resolve_embedder(embedder)?, tap: tap.clone() };
                engine.create_collection(&CollectionSpec { space, ..spec.clone() })
            }
        }
    }
    fn collection(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        self.authorize(name)?.collection(name)
    }
    fn sequence(&self, name: &CollectionName) -> Result<u64, Error> {
        self.authorize(name)?.sequence(name)
    }
    fn collections(&self) -> Result<Vec<CollectionInfo>, Error> {
        let mut infos = self.engine.collections()?;
        infos.retain(|info| self.context.principal.scope.covers(&info.name));
        Ok(infos)
    }
    fn delete_collection(&self, name: &CollectionName) -> Result<u64, Error> {
        self.authorize(name)?.delete_collection(name)
    }
    fn compact(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        self.authorize(name)?.compact(name)
    }
    fn reembed(
        &self,
        name: &CollectionName,
        embedder: &str,
        tap: &str,
        sources: Sources,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let engine = self.authorize(name)?;
        engine.collection(name)?;
        engine.reembed(name, &self.resolve_embedder(embedder)?, tap, sources, observe)
    }
    fn rollback(&self, name: &CollectionName, observe: Observe<'_>) -> Result<CollectionInfo, Error> {
        self.authorize(name)?.rollback(name, observe)
    }
    fn drop_previous(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        self.authorize(name)?.drop_previous(name)
    }
    fn check(&self, name: &CollectionName) -> Result<CheckReport, Error> {
        self.authorize(name)?.check(name)
    }
    fn upsert(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error> {
        self.authorize(name)?.upsert(name, items)
    }
    fn unknown_fields(&self, name: &CollectionName, filter: &Filter) -> Result<Vec<String>, Error> {
        self.authorize(name)?.unknown_fields(name, filter)
    }
    fn upsert_keeping(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error> {
        self.authorize(name)?.upsert_keeping(name, items)
    }
    fn upsert_instead(&self, name: &CollectionName, blocks: Vec<Item>, texts: &[PointId]) -> Result<Upserted, Error> {
        self.authorize(name)?.upsert_instead(name, blocks, texts)
    }
    fn prepare(&self, name: &CollectionName, item: Item) -> Result<Item, Error> {
        self.authorize(name)?.prepare(name, item)
    }
    fn delete_points(&self, name: &CollectionName, ids: &[PointId]) -> Result<Deleted, Error> {
        self.authorize(name)?.delete_points(name, ids)
    }
    fn delete_matching(
        &self,
        name: &CollectionName,
        filter: &Filter,
        allow_unknown_fields: bool,
    ) -> Result<Deleted, Error> {
        self.authorize(name)?.delete_matching(name, filter, allow_unknown_fields)
    }
    fn get(&self, name: &CollectionName, ids: &[PointId], fields: Fields) -> Result<Vec<Option<Point>>, Error> {
        self.authorize(name)?.get(name, ids, fields)
    }
    fn scroll(
        &self,
        name: &CollectionName,
        after: Option<&PointId>,
        limit: u32,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Page, Error> {
        self.authorize(name)?.scroll(name, after, limit, fields, filter)
    }
    fn count(&self, name: &CollectionName, filter: Option<&Filter>) -> Result<u64, Error> {
        self.authorize(name)?.count(name, filter)
    }
    fn search(&self, name: &CollectionName, queries: &[Query], params: &SearchParams) -> Result<Vec<Answer>, Error> {
        let answers = self.authorize(name)?.search(name, queries, params)?;
        if let Some(answer) = answers.first() {
            let _ = self.context.path.set(answer.stats.path);
        }
        Ok(answers)
    }
    fn explain(
        &self,
        name: &CollectionName,
        query: &Query,
        params: &SearchParams,
        id: &PointId,
    ) -> Result<Explanation, Error> {
        self.authorize(name)?.explain(name, query, params, id)
    }
    fn create_snapshot(&self, name: &CollectionName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        self.authorize(name)?.create_snapshot(name, observe)
    }
    fn snapshots(&self) -> Result<Vec<Listed>, Error> {
        let mut listed = self.engine.snapshots()?;
        // A snapshot that cannot be described is listed by name only, which reveals nothing about a collection.
        listed.retain(|listed| {
            listed.info.as_ref().map_or(true, |info| self.context.principal.scope.covers(&info.collection))
        });
        Ok(listed)
    }
    fn snapshot(&self, snapshot: &SnapshotName) -> Result<SnapshotInfo, Error> {
        let info = self.engine.snapshot(snapshot)?;
        if self.context.principal.scope.covers(&info.collection) { Ok(info) } else { Err(Error::Forbidden) }
    }
    fn verify_snapshot(&self, snapshot: &SnapshotName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let info = self.snapshot(snapshot)?;
        self.authorize(&info.collection)?.verify_snapshot(snapshot, observe)
    }
    fn restore_snapshot(
        &self,
        snapshot: &SnapshotName,
        target: &CollectionName,
        replace: bool,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let engine = self.authorize(target)?;
        self.snapshot(snapshot)?;
        engine.restore_snapshot(snapshot, target, replace, observe)
    }
    fn project(&self, name: &CollectionName, params: &MapParams, tell: Tell<'_>) -> Result<(), Error> {
        self.authorize(name)?.project(name, params, tell)
    }
    fn place(&self, name: &CollectionName, choice: MapChoice, queries: &[Query]) -> Result<Vec<f32>, Error> {
        self.authorize(name)?.place(name, choice, queries)
    }
    fn watch(&self, name: &CollectionName) -> Result<Feed, Error> {
        self.authorize(name)?.watch(name)
    }
    fn placed(
        &self,
        name: &CollectionName,
        choice: MapChoice,
        ids: &[PointId],
        fields: &[String],
    ) -> Result<Placed, Error> {
        self.authorize(name)?.placed(name, choice, ids, fields)
    }
    fn measure_recall(&self, name: &CollectionName, params: &RecallParams) -> Result<RecallReport, Error> {
        let report = self.authorize(name)?.measure_recall(name, params)?;
        let _ = self.context.recall.set(report.recall);
        Ok(report)
    }
}
