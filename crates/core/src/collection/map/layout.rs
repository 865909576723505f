//! A layout that is kept, and the few of them that are: in memory, the least used go first.

use super::words::{MapChoice, MapEnd};
use crate::collection::Error;
use crate::collection::open::Collection;
use crate::map::{Frame, Method, Pca};
use crate::types::PointId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// Bytes of all layouts that are kept.
const MOST_BYTES: usize = 256 << 20;

/// A layout as it is shown.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) choice: MapChoice,
    pub(super) method: Method,
    pub(super) seed: u64,
    pub(super) limit: u32,
    /// Writes up to this one are in it.
    pub(super) sequence: u64,
    /// In the order of the layout: the ids, a number for the content of each vector, the places.
    pub(super) ids: Vec<PointId>,
    pub(super) prints: Vec<u32>,
    pub(super) places: Vec<f32>,
    pub(super) by_id: HashMap<PointId, u32>,
    /// How vectors become places, where that is a function of each alone.
    pub(super) axes: Option<(Pca, Frame)>,
    /// Points that came or changed since it was made, and that are gone.
    pub(super) changed: usize,
    pub(super) time: Duration,
    /// Measured after the layout is kept.
    pub(super) neighbors_kept: OnceLock<f32>,
}

impl Layout {
    pub(super) fn width(&self) -> usize {
        self.choice.width()
    }

    pub(super) fn place(&self, point: u32) -> &[f32] {
        &self.places[point as usize * self.width()..][..self.width()]
    }

    pub(super) fn end(&self, from_cache: bool) -> MapEnd {
        let neighbors_kept = self.neighbors_kept.get().copied();
        MapEnd { method: self.method, time: self.time, neighbors_kept, from_cache }
    }

    fn bytes(&self) -> usize {
        let ids: usize = self.ids.iter().map(|id| 2 * id.as_str().len()).sum();
        // An id is a fat pointer, twice; the table of ids has room to spare.
        ids + self.ids.len() * (4 + 16 + 40 + 4 * self.width())
    }
}

/// The layouts that are kept, of all collections.
#[derive(Default)]
pub(in crate::collection) struct Maps {
    /// The least used first.
    kept: Mutex<Vec<(Weak<Collection>, Arc<Layout>)>>,
    /// One layout is made at a time.
    pub(super) making: Mutex<()>,
    pool: OnceLock<Option<rayon::ThreadPool>>,
}

impl Maps {
    /// The layout that is kept of a collection: of that method or, without one, the last that was kept or asked for.
    pub(super) fn get(&self, collection: &Arc<Collection>, choice: MapChoice) -> Option<Arc<Layout>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |(of, layout): &(Weak<Collection>, Arc<Layout>)| {
            std::ptr::eq(of.as_ptr(), Arc::as_ptr(collection))
                && layout.choice.dimensions == choice.dimensions
                && choice.method.is_none_or(|method| method == layout.method)
        };
        let at = kept.iter().rposition(wanted)?;
        let found = kept.remove(at);
        let layout = found.1.clone();
        kept.push(found);
        Some(layout)
    }

    /// Keeps a layout in place of the one before of its kind. One that is larger than all that may be kept is not.
    pub(super) fn keep(&self, collection: &Arc<Collection>, layout: Arc<Layout>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, other)| {
            let same = std::ptr::eq(of.as_ptr(), Arc::as_ptr(collection));
            let kind = (other.choice.dimensions, other.method) == (layout.choice.dimensions, layout.method);
            of.strong_count() > 0 && !(same && kind)
        });
        kept.push((Arc::downgrade(collection), layout));
        let mut bytes: usize = kept.iter().map(|(_, layout)| layout.bytes()).sum();
        while bytes > MOST_BYTES && !kept.is_empty() {
            bytes -= kept.remove(0).1.bytes();
        }
    }

    /// Threads for layouts, behind all others of the machine: queries and writes come first.
    ///
    /// # Errors
    /// `Exhausted`.
    pub(super) fn pool(&self) -> Result<&rayon::ThreadPool, Error> {
        let make = || {
            let builder = rayon::ThreadPoolBuilder::new().thread_name(|at| format!("map-{at}"));
            builder.start_handler(|_| crate::disk::run_behind_others()).build().ok()
        };
        let pool = self.pool.get_or_init(make).as_ref();
        pool.ok_or_else(|| Error::Exhausted("no threads for layouts could be started".into()))
    }
}
