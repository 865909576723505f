//! The text fields of a collection: looked up by queries, changed while it serves.

use super::job_memory::MIN_CAPACITY;
use super::state::Collection;
use super::vector_fields::IndexBuild;
use crate::api::{Error, Job, Observe, TextField};
use crate::segment::sealed::{JobOn, Sealed};
use crate::segment::text_index::IndexedField;
use crate::store::SegmentId;
use std::sync::{Arc, PoisonError};

impl Collection {
    /// Returns the text fields, in the order in which they were added.
    pub(crate) fn text_fields(&self) -> Arc<Vec<Arc<IndexedField>>> {
        self.text_fields.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the text fields, and removes the indexes of those that are gone. Indexes of new ones are built in the
    /// background, or by the first query.
    pub(super) fn set_text_fields(&self, specs: &[TextField]) {
        let before = self.text_fields();
        let fields: Vec<Arc<IndexedField>> = specs
            .iter()
            .map(|spec| match before.iter().find(|field| field.spec == *spec) {
                Some(field) => field.clone(),
                None => Arc::new(IndexedField::new(spec.clone())),
            })
            .collect();
        *self.text_fields.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fields.clone());
        let view = self.view();
        view.sealed.iter().for_each(|sealed| sealed.texts.retain(&fields));
        view.growing_newest_first().for_each(|growing| growing.texts.retain(&fields));
        self.remove_text_files(|name| !fields.iter().any(|field| field.owns_file(name)));
    }

    /// Removes index files of text fields whose name passes the test. A file that stays is removed at the next open.
    pub(crate) fn remove_text_files(&self, is_obsolete: impl Fn(&str) -> bool) {
        self.remove_field_files(|name| name.ends_with(".terms") && is_obsolete(name));
    }

    /// Removes index files of fields whose name passes the test. A file that stays is removed at the next open.
    pub(super) fn remove_field_files(&self, is_obsolete: impl Fn(&str) -> bool) {
        let Ok(names) = crate::disk::list_files(&self.dir) else { return };
        for name in names.iter().filter(|name| SegmentId::is_field_index(name) && is_obsolete(name)) {
            self.remove(&self.dir.join(name));
        }
    }

    /// Returns the memory of a build of an index of texts or of sparse vectors, bytes: at most 128 MiB, less if memory is
    /// short. A file with texts holds about as many bytes of payloads.
    pub(crate) fn index_build_bytes(&self) -> u64 {
        (self.meters.memory.capacity() / 2).clamp(MIN_CAPACITY, 128 << 20)
    }

    /// Opens or builds the indexes of a sealed segment, if there is memory. Logs a failure, which a query returns too.
    pub(crate) fn prepare_texts(&self, sealed: &Sealed, observe: Observe<'_>) {
        let fields = self.text_fields();
        if fields.iter().all(|field| sealed.has_text(field)) {
            return;
        }
        let build = IndexBuild { sealed, job: Job::Indexing, on: JobOn::Texts, name: "text" };
        let bytes = self.index_build_bytes();
        // None after a cancellation too.
        let Ok(Some(memory)) = self.reserve_for(build, bytes, bytes, observe) else { return };
        for field in fields.iter() {
            match sealed.text(field, memory.bytes()) {
                Ok(_) | Err(Error::Abandoned) => {}
                Err(error) => {
                    let path = sealed.segment.path().display();
                    tracing::error!(%path, field = field.spec.name, %error, "the texts of a segment cannot be indexed");
                }
            }
        }
    }

    /// Returns a sealed segment with an index that is not open.
    pub(crate) fn without_text(&self) -> Option<Arc<Sealed>> {
        let fields = self.text_fields();
        let lacks = |sealed: &&Arc<Sealed>| fields.iter().any(|field| !sealed.has_text(field));
        self.view().sealed.iter().find(lacks).cloned()
    }
}
