//! The engine restricted to the access rights of one caller.
//!
//! Handlers get this type and never the engine itself, so that no handler can omit the access check. An inaccessible
//! collection is refused in the same way whether it exists or not. A model trained on the texts of an inaccessible
//! collection is invisible to the caller: embedders are resolved among the visible ones and passed to the engine
//! by fingerprint.
//!
//! Each method of [`Reads`], [`Writes`] and [`Layouts`] is about one collection, so a handler gets these traits after one
//! check, together with the name of the collection that was checked: an alias that is moved meanwhile cannot lead to
//! another collection. `tests/tidy.rs` checks that handlers use this name. The other traits have methods about all
//! collections. Those are not passed on; their methods are here, with the check or filter that each needs.

use super::middleware::request_context::RequestContext;
use crate::api::{
    AliasAction, CheckReport, CollectionInfo, CollectionSpec, Error, Field, Observe, Sources, Ttl, VectorSource,
};
use crate::embed::{Fingerprint, ModelCard, Registry};
use crate::engine::{Layouts, ModelInfo, Node, ObserveTraining, Reads, Training, Upload, VisitCollection, Writes};
use crate::snapshot::{Listed, SnapshotInfo, SnapshotName};
use crate::types::CollectionName;
use std::sync::Arc;

pub(super) struct AuthorizedEngine<'a> {
    engine: &'a dyn Node,
    context: &'a RequestContext,
}

impl<'a> AuthorizedEngine<'a> {
    pub(super) fn new(engine: &'a dyn Node, context: &'a RequestContext) -> Self {
        Self { engine, context }
    }

    /// Returns the engine, and the name of the collection with this name or alias, if the caller may access it. An alias
    /// grants no access: the collection that it refers to decides.
    fn authorize(&self, name: &CollectionName) -> Result<(&'a dyn Node, CollectionName), Error> {
        let name = self.engine.resolve(name);
        Ok((self.authorize_new(&name)?, name))
    }

    /// Returns the engine if the caller may create a collection with this name.
    fn authorize_new(&self, name: &CollectionName) -> Result<&'a dyn Node, Error> {
        // Keeps the first name; a request names one collection.
        let _ = self.context.collection.set(name.clone());
        if self.context.principal.scope.covers(name) { Ok(self.engine) } else { Err(Error::Forbidden) }
    }

    /// Returns the engine if the caller may access all collections; required for changes that affect all of them.
    fn authorize_all(&self) -> Result<&'a dyn Node, Error> {
        if self.context.principal.scope.is_all() { Ok(self.engine) } else { Err(Error::ForbiddenModels) }
    }

    /// Whether the caller may read all collections that the model with this card was trained on.
    fn is_visible(&self, card: &ModelCard) -> bool {
        let scope = &self.context.principal.scope;
        card.trained_on().all(|name| CollectionName::new(name).is_ok_and(|name| scope.covers(&name)))
    }

    /// Returns the unambiguous name of an embedder visible to the caller.
    fn resolve_embedder(&self, embedder: &str) -> Result<String, Error> {
        let registry = self.embedders();
        let found = registry.by_name(embedder);
        let found = found.map_err(|source| Error::Embed { field: "embedder.name".into(), source })?;
        Ok(format!("{}@{}", found.name(), found.fingerprint()))
    }

    /// Calls a method of the reads of a collection, with its name.
    pub(super) fn reads<T>(
        &self,
        name: &CollectionName,
        call: impl FnOnce(&dyn Reads, &CollectionName) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (engine, name) = self.authorize(name)?;
        call(engine, &name)
    }

    /// Calls a method of the writes of a collection, with its name.
    pub(super) fn writes<T>(
        &self,
        name: &CollectionName,
        call: impl FnOnce(&dyn Writes, &CollectionName) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (engine, name) = self.authorize(name)?;
        call(engine, &name)
    }

    /// Calls a method of the layouts of a collection, with its name.
    pub(super) fn layouts<T>(
        &self,
        name: &CollectionName,
        call: impl FnOnce(&dyn Layouts, &CollectionName) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (engine, name) = self.authorize(name)?;
        call(engine, &name)
    }

    pub(super) fn create_collection(&self, spec: &CollectionSpec) -> Result<CollectionInfo, Error> {
        let engine = self.authorize_new(&spec.name)?;
        match &spec.space {
            VectorSource::None | VectorSource::Plain { .. } => engine.create_collection(spec),
            VectorSource::Embedded { embedder, output } => {
                let space =
                    VectorSource::Embedded { embedder: self.resolve_embedder(embedder)?, output: output.clone() };
                engine.create_collection(&spec.clone().space(space))
            }
        }
    }

    /// Calls `visit` with each collection that the caller may access and whose name comes after `after`, until it
    /// returns false.
    pub(super) fn visit_collections(
        &self,
        after: Option<&CollectionName>,
        visit: &mut VisitCollection<'_>,
    ) -> Result<(), Error> {
        let scope = &self.context.principal.scope;
        self.engine.visit_collections(after, &mut |name, info| {
            // A collection that is renamed meanwhile has two names.
            if scope.covers(name) && scope.covers(&info.name) { visit(name, info) } else { Ok(true) }
        })
    }

    /// Deletes a collection. The engine gets the name of the request, because it refuses an alias. The caller must have
    /// access to this name too, which may be that of a collection by then.
    pub(super) fn delete_collection(&self, name: &CollectionName) -> Result<u64, Error> {
        self.authorize(name)?;
        self.authorize_new(name)?.delete_collection(name)
    }

    /// Changes names. The caller must have access to every name in the actions, so that it neither takes nor probes names
    /// of others, and to the collections that aliases among them refer to.
    pub(super) fn update_aliases(&self, actions: &[AliasAction]) -> Result<Vec<CollectionInfo>, Error> {
        let scope = &self.context.principal.scope;
        let allowed = actions.iter().flat_map(AliasAction::names).all(|name| {
            let _ = self.context.collection.set(name.clone());
            scope.covers(name) && scope.covers(&self.engine.resolve(name))
        });
        if allowed { self.engine.update_aliases(actions) } else { Err(Error::Forbidden) }
    }

    pub(super) fn add_field(&self, name: &CollectionName, field: Field) -> Result<CollectionInfo, Error> {
        let (engine, name) = self.authorize(name)?;
        engine.add_field(&name, field)
    }

    pub(super) fn drop_field(&self, name: &CollectionName, field: &str) -> Result<CollectionInfo, Error> {
        let (engine, name) = self.authorize(name)?;
        engine.drop_field(&name, field)
    }

    pub(super) fn set_ttl(&self, name: &CollectionName, ttl: Option<Ttl>) -> Result<CollectionInfo, Error> {
        let (engine, name) = self.authorize(name)?;
        engine.set_ttl(&name, ttl)
    }

    pub(super) fn compact(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        let (engine, name) = self.authorize(name)?;
        engine.compact(&name)
    }

    pub(super) fn check(&self, name: &CollectionName) -> Result<CheckReport, Error> {
        let (engine, name) = self.authorize(name)?;
        engine.check(&name)
    }

    /// Returns the embedders visible to the caller.
    pub(super) fn embedders(&self) -> Arc<Registry> {
        let all = self.engine.embedders();
        if self.context.principal.scope.is_all() {
            return all;
        }
        let mut visible = Registry::clone(&all);
        visible.retain(|model| self.is_visible(model.embedders[0].card()));
        Arc::new(visible)
    }

    /// Returns the models visible to the caller.
    pub(super) fn models(&self) -> Result<Vec<ModelInfo>, Error> {
        let mut infos = self.engine.models()?;
        let scope = &self.context.principal.scope;
        infos.retain(|info| self.is_visible(&info.embedders[0].card));
        let visible = self.embedders();
        for info in &mut infos {
            info.used_by.retain(|name| scope.covers(name));
            let mut same = visible.models().iter().filter(|model| model.origin == info.origin);
            info.current = same.any(|model| model.fingerprint() == info.fingerprint() && visible.is_current(model));
        }
        Ok(infos)
    }

    pub(super) fn upload(&self) -> Result<Upload, Error> {
        self.authorize_all()?.upload()
    }

    pub(super) fn install_model(&self, upload: Upload) -> Result<ModelInfo, Error> {
        self.authorize_all()?.install_model(upload)
    }

    pub(super) fn train_model(
        &self,
        training: &Training,
        upload: Upload,
        observe: ObserveTraining<'_>,
    ) -> Result<ModelInfo, Error> {
        let engine = self.authorize_all()?;
        // A caller with access to all collections: it does not matter which one the name refers to by then.
        training.texts_of().map_or(Ok(engine), |name| self.authorize_new(name))?.train_model(training, upload, observe)
    }

    pub(super) fn delete_model(&self, fingerprint: &Fingerprint) -> Result<(), Error> {
        self.authorize_all()?.delete_model(fingerprint)
    }

    pub(super) fn reembed(
        &self,
        name: &CollectionName,
        embedder: &str,
        output: &str,
        sources: Sources,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let (engine, name) = self.authorize(name)?;
        engine.collection(&name)?;
        engine.reembed(&name, &self.resolve_embedder(embedder)?, output, sources, observe)
    }

    pub(super) fn rollback(&self, name: &CollectionName, observe: Observe<'_>) -> Result<CollectionInfo, Error> {
        let (engine, name) = self.authorize(name)?;
        engine.rollback(&name, observe)
    }

    pub(super) fn delete_previous_generation(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        let (engine, name) = self.authorize(name)?;
        engine.delete_previous_generation(&name)
    }

    pub(super) fn create_snapshot(&self, name: &CollectionName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let (engine, name) = self.authorize(name)?;
        engine.create_snapshot(&name, observe)
    }

    /// Returns the snapshots of collections that the caller may access.
    pub(super) fn snapshots(&self) -> Result<Vec<Listed>, Error> {
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

    pub(super) fn verify_snapshot(&self, snapshot: &SnapshotName, observe: Observe<'_>) -> Result<SnapshotInfo, Error> {
        let info = self.snapshot(snapshot)?;
        self.authorize_new(&info.collection)?.verify_snapshot(snapshot, observe)
    }

    pub(super) fn restore_snapshot(
        &self,
        snapshot: &SnapshotName,
        target: &CollectionName,
        replace: bool,
        observe: Observe<'_>,
    ) -> Result<CollectionInfo, Error> {
        let engine = self.authorize_new(target)?;
        self.snapshot(snapshot)?;
        engine.restore_snapshot(snapshot, target, replace, observe)
    }
}
