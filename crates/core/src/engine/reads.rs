//! The [`Reads`] trait: points, queries and the state of a collection.

use crate::api::{
    AnalyzedToken, Answer, CollectionInfo, Error, Explanation, Facet, FieldReport, Fields, Filter, OrderBy,
    OrderedPage, Page, Point, Query, RecallParams, RecallReport, SearchParams, SortPosition,
};
use crate::types::{CollectionName, PointId};

/// Reads of one collection.
pub trait Reads: Send + Sync {
    /// Returns the state of a collection, even if it could not be opened.
    ///
    /// # Errors
    /// `NotFound`.
    fn collection(&self, name: &CollectionName) -> Result<CollectionInfo, Error>;
    /// Returns the sequence number of the last acknowledged write; reads see all writes up to it.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if the collection could not be opened.
    fn sequence(&self, name: &CollectionName) -> Result<u64, Error>;
    /// Returns the points with these ids, in that order; none for an id without a point. The list ends early if the
    /// [`Budget`](crate::api::Budget) of the call has no room for the next point.
    ///
    /// # Errors
    /// `NotFound` for the collection; `ResponseTooLarge` if the first point exceeds the budget.
    fn get(&self, name: &CollectionName, ids: &[PointId], fields: Fields) -> Result<Vec<Option<Point>>, Error>;
    /// Returns points in the order of their ids, starting after `after`; with a filter, only those that match.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a limit out of range or a malformed filter.
    fn scroll(
        &self,
        name: &CollectionName,
        after: Option<&PointId>,
        limit: u32,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Page, Error>;
    /// Counts the live points; with a filter, those that match.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a malformed filter.
    fn count(&self, name: &CollectionName, filter: Option<&Filter>) -> Result<u64, Error>;
    /// Returns the nearest points to each query, one answer per query.
    ///
    /// ```
    /// use nearness_core::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let database = Database::open(folder.path())?;
    /// # let name = CollectionName::new("c")?;
    /// # database.create_collection(&CollectionSpec::vectors(name.clone(), 2).metric(Metric::L2))?;
    /// # let item = |id: &str, x: f32| PointId::new(id).map(|id| Item::vector(id, [x, 0.0]).field("x", x));
    /// # database.upsert(&name, vec![item("a", 1.0)?, item("b", 2.0)?, item("c", 3.0)?])?;
    /// // Points a, b and c have the vectors [1, 0], [2, 0] and [3, 0].
    /// let queries = [Query::Vector(vec![1.1, 0.0]), Query::Id(PointId::new("c")?)];
    /// let params = SearchParams::new(2).fields(Fields::PAYLOAD).target_recall(0.95);
    /// let answers = database.search(&name, &queries, &params)?;
    /// let ids = |answer: &Answer| answer.hits.iter().map(|hit| hit.point.id.to_string()).collect::<Vec<_>>();
    /// assert_eq!(ids(&answers[0]), ["a", "b"]);
    /// assert_eq!(ids(&answers[1]), ["b", "a"], "a query point is not a hit");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Validates all queries before it runs the first. If the
    /// [`Budget`](crate::api::Budget) of the call has no room for all answers, the list ends after the last that fits;
    /// if the first does not fit, that answer is truncated (see [`Answer::next_offset`]) and the only one.
    ///
    /// # Errors
    /// `InvalidInput` naming the query and the limit; `ResponseTooLarge` if the first hit exceeds the budget.
    fn search(&self, name: &CollectionName, queries: &[Query], params: &SearchParams) -> Result<Vec<Answer>, Error>;
    /// Explains why a point is, or is not, among the hits of a query. A point that does not exist is a
    /// [`Reason`](crate::api::Reason), not an error.
    ///
    /// # Errors
    /// Those of [`search`](Self::search).
    fn explain(
        &self,
        name: &CollectionName,
        query: &Query,
        params: &SearchParams,
        id: &PointId,
    ) -> Result<Explanation, Error>;
    /// Returns the terms of a text, as a text field of the collection indexes and searches it; an empty `field` is the
    /// only one.
    ///
    /// # Errors
    /// `NotFound` for the collection; `InvalidInput` for the field, or a text of more than 1 MiB.
    fn analyze(&self, name: &CollectionName, field: &str, text: &str) -> Result<Vec<AnalyzedToken>, Error>;
    /// Returns the fields of a filter that no point has, which are usually misspelt. Omits fields that the engine
    /// cannot check.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    fn unknown_fields(&self, name: &CollectionName, filter: &Filter) -> Result<Vec<String>, Error>;
    /// Measures recall on sampled points. If it has drifted from the calibration tables, the graphs are calibrated
    /// again in the background.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` naming the limit.
    fn measure_recall(&self, name: &CollectionName, params: &RecallParams) -> Result<RecallReport, Error>;
    /// Counts the values of a payload field: the `limit` most frequent ones, with the number of points of each. Always
    /// exact; computed from the payload indexes where these hold the field.
    ///
    /// ```
    /// use nearness_core::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let database = Database::open(folder.path())?;
    /// # let name = CollectionName::new("c")?;
    /// # database.create_collection(&CollectionSpec::vectors(name.clone(), 2))?;
    /// # let item = |id: &str, kind: &str| PointId::new(id).map(|id| Item::vector(id, [1.0, 0.0]).field("kind", kind));
    /// database.upsert(&name, vec![item("a", "fruit")?, item("b", "nut")?, item("c", "fruit")?])?;
    /// let facet = database.facet(&name, "kind", 1, None)?;
    /// assert_eq!((facet.values[0].count, facet.distinct), (2, 2), "the most frequent of two values is \"fruit\"");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for an invalid path, limit or filter; `Exhausted` if the field has too many values
    /// that no index holds.
    fn facet(&self, name: &CollectionName, field: &str, limit: u32, filter: Option<&Filter>) -> Result<Facet, Error>;
    /// Returns statistics of all payload fields: types, extremes, numbers of distinct values. Reads every payload.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a malformed filter.
    fn describe_fields(&self, name: &CollectionName, filter: Option<&Filter>) -> Result<FieldReport, Error>;
    /// Returns points in the order of a payload field, starting after a position. Points without a value that can be
    /// compared are left out.
    ///
    /// # Errors
    /// Those of [`scroll`](Self::scroll).
    fn scroll_ordered(
        &self,
        name: &CollectionName,
        order: &OrderBy,
        after: Option<&SortPosition>,
        limit: u32,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<OrderedPage, Error>;
    /// Returns a uniform random sample of the points without replacement, in random order: `limit` points, or all that
    /// match if they are fewer. The same seed selects the same points as long as the ids of the matching points are the
    /// same.
    ///
    /// # Errors
    /// Those of [`scroll`](Self::scroll); `ResponseTooLarge` if the sample exceeds the budget of the call.
    fn sample(
        &self,
        name: &CollectionName,
        limit: u32,
        seed: u64,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Vec<Point>, Error>;
}
