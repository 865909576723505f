//! Layouts, and their in-memory cache with LRU eviction.

use super::request::{LayoutKey, LayoutSummary};
use crate::api::Error;
use crate::collection::state::Collection;
use crate::layout::{Frame, Method, Pca};
use crate::types::PointId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// Memory limit of all cached layouts, in bytes.
const MAX_CACHE_BYTES: usize = 256 << 20;

/// A layout, as returned.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) choice: LayoutKey,
    pub(crate) method: Method,
    pub(crate) seed: u64,
    pub(crate) limit: u32,
    /// Sequence number up to which writes are included.
    pub(crate) sequence: u64,
    /// In layout order: ids, checksums of the vectors, coordinates.
    pub(crate) ids: Vec<PointId>,
    pub(crate) prints: Vec<u32>,
    pub(crate) positions: Vec<f32>,
    pub(crate) by_id: HashMap<PointId, u32>,
    /// The projection of vectors to coordinates, where that depends on each vector alone.
    pub(crate) axes: Option<(Pca, Frame)>,
    /// Number of points added, changed or removed since it was computed.
    pub(crate) changed: usize,
    pub(crate) time: Duration,
    /// Measured after the layout is cached.
    pub(crate) neighbors_kept: OnceLock<f32>,
}

impl Layout {
    pub(crate) fn width(&self) -> usize {
        self.choice.width()
    }

    pub(crate) fn position(&self, point: u32) -> &[f32] {
        &self.positions[point as usize * self.width()..][..self.width()]
    }

    pub(crate) fn end(&self, from_cache: bool) -> LayoutSummary {
        let neighbors_kept = self.neighbors_kept.get().copied();
        LayoutSummary { method: self.method, time: self.time, neighbors_kept, from_cache }
    }

    fn bytes(&self) -> usize {
        let ids: usize = self.ids.iter().map(|id| 2 * id.as_str().len()).sum();
        // An id is a fat pointer, stored twice; the hash table has spare capacity.
        ids + self.ids.len() * (4 + 16 + 40 + 4 * self.width())
    }
}

/// The cached layouts of all collections.
#[derive(Default)]
pub(crate) struct LayoutCache {
    /// Least recently used first.
    layouts: Mutex<Vec<(Weak<Collection>, Arc<Layout>)>>,
    /// Allows one computation at a time.
    pub(crate) computing: Mutex<()>,
    pool: OnceLock<Option<rayon::ThreadPool>>,
}

impl LayoutCache {
    /// Returns the cached layout of a collection with this method or, without a method, the most recently used one.
    pub(crate) fn get(&self, collection: &Arc<Collection>, choice: LayoutKey) -> Option<Arc<Layout>> {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |(of, layout): &(Weak<Collection>, Arc<Layout>)| {
            std::ptr::eq(of.as_ptr(), Arc::as_ptr(collection))
                && layout.choice.dimensions == choice.dimensions
                && choice.method.is_none_or(|method| method == layout.method)
        };
        let at = layouts.iter().rposition(wanted)?;
        let found = layouts.remove(at);
        let layout = found.1.clone();
        layouts.push(found);
        Some(layout)
    }

    /// Caches a layout, instead of a previous one of the same kind. One that exceeds the whole limit is not cached.
    pub(crate) fn keep(&self, collection: &Arc<Collection>, layout: Arc<Layout>) {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        layouts.retain(|(of, other)| {
            let same = std::ptr::eq(of.as_ptr(), Arc::as_ptr(collection));
            let kind = (other.choice.dimensions, other.method) == (layout.choice.dimensions, layout.method);
            of.strong_count() > 0 && !(same && kind)
        });
        layouts.push((Arc::downgrade(collection), layout));
        let mut bytes: usize = layouts.iter().map(|(_, layout)| layout.bytes()).sum();
        while bytes > MAX_CACHE_BYTES && !layouts.is_empty() {
            bytes -= layouts.remove(0).1.bytes();
        }
    }

    /// Returns the threads for layouts, which have low priority, because queries and writes come first.
    ///
    /// # Errors
    /// `Exhausted`.
    pub(crate) fn pool(&self) -> Result<&rayon::ThreadPool, Error> {
        let make = || {
            let builder = rayon::ThreadPoolBuilder::new().thread_name(|at| format!("map-{at}"));
            builder.start_handler(|_| crate::disk::lower_thread_priority()).build().ok()
        };
        let pool = self.pool.get_or_init(make).as_ref();
        pool.ok_or_else(|| Error::Exhausted("no threads for layouts could be started".into()))
    }
}
