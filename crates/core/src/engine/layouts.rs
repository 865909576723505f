//! The [`Layouts`] trait: 2-D/3-D layouts of a collection, and its change feed.

use crate::api::{Error, Query};
use crate::collection::change_feed::ChangeFeed;
use crate::collection::layout::{LayoutKey, LayoutParams, LocatedPoints, ObserveLayout};
use crate::types::{CollectionName, PointId};

/// Layouts of a collection, and its change feed. The default methods are those of an engine without layouts.
pub trait Layouts: Send + Sync {
    /// Streams the layout of a collection as it improves. Uses the cached layout, updated with later writes, if there
    /// is one. Engines without layouts return [`Error::NoLayout`].
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` naming the limit; `Abandoned` if `observe` returns false.
    fn compute_layout(
        &self,
        name: &CollectionName,
        params: &LayoutParams,
        observe: ObserveLayout<'_>,
    ) -> Result<(), Error> {
        let _ = (params, observe);
        Err(Error::NoLayout { collection: name.to_string() })
    }
    /// Returns the positions of queries on the cached layout, `dimensions` coordinates each, computed from the
    /// positions of their nearest points.
    ///
    /// # Errors
    /// Those of [`Reads::search`](super::Reads::search); `Conflict` if no layout is cached.
    fn locate_queries(&self, name: &CollectionName, choice: LayoutKey, queries: &[Query]) -> Result<Vec<f32>, Error> {
        let _ = (choice, queries);
        Err(Error::NoLayout { collection: name.to_string() })
    }
    /// Returns points by id, with their positions on the cached layout and the values of some payload fields.
    ///
    /// # Errors
    /// `NotFound` for the collection; `InvalidInput` naming the limit.
    fn located_points(
        &self,
        name: &CollectionName,
        choice: LayoutKey,
        ids: &[PointId],
        fields: &[String],
    ) -> Result<LocatedPoints, Error> {
        let _ = (choice, ids, fields);
        Err(Error::NoLayout { collection: name.to_string() })
    }
    /// Returns a feed of the points written from now on.
    ///
    /// # Errors
    /// `NotFound`.
    fn watch(&self, name: &CollectionName) -> Result<Box<dyn ChangeFeed>, Error> {
        Err(Error::NoLayout { collection: name.to_string() })
    }
}
