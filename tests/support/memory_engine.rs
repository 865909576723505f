//! An in-memory engine with exact search, simple enough to verify by reading.
//!
//! The oracle of the model tests, and the second engine of the service tests. It is one file because it
//! implements one trait over one map.

use super::naive;
use nearness::api::*;
use nearness::embed::{Embedder, Fingerprint, Input, Registry};
use nearness::engine::*;
use nearness::types::{CollectionName, Metric, PointId};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

/// Called with the name of every operation before it runs, to inject faults and delays.
pub(crate) type Hook = Arc<dyn Fn(&str) -> Result<(), Error> + Send + Sync>;

pub(crate) struct MemoryEngine {
    registry: Arc<Registry>,
    collections: RwLock<BTreeMap<CollectionName, Collection>>,
    hook: Mutex<Option<Hook>>,
}

#[derive(Clone)]
struct Collection {
    aliases: BTreeSet<CollectionName>,
    dimension: u32,
    metric: Metric,
    pin: Option<EmbedderPin>,
    index: IndexSettings,
    points: BTreeMap<PointId, (Vec<f32>, Payload)>,
    sequence: u64,
    queries_answered: Arc<AtomicU64>,
}

impl MemoryEngine {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry: Arc::new(registry), collections: RwLock::default(), hook: Mutex::new(None) }
    }

    pub(crate) fn set_hook(&self, hook: impl Fn(&str) -> Result<(), Error> + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(hook));
    }

    fn before(&self, operation: &str) -> Result<(), Error> {
        let hook = self.hook.lock().unwrap().clone();
        hook.map_or(Ok(()), |hook| hook(operation))
    }

    fn read<T>(&self, name: &CollectionName, read: impl FnOnce(&Collection) -> Result<T, Error>) -> Result<T, Error> {
        let name = &self.resolve(name);
        let collections = self.collections.read().unwrap();
        read(collections.get(name).ok_or_else(|| Error::UnknownCollection(name.to_string()))?)
    }

    fn write<T>(
        &self,
        name: &CollectionName,
        write: impl FnOnce(&mut Collection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let name = &self.resolve(name);
        let mut collections = self.collections.write().unwrap();
        write(collections.get_mut(name).ok_or_else(|| Error::UnknownCollection(name.to_string()))?)
    }

    fn embedder(&self, collection: &Collection, field: &str) -> Result<(&dyn Embedder, String), Error> {
        let Some(pin) = &collection.pin else {
            return Err(Error::invalid(field, "the collection has no embedder; give a vector"));
        };
        let embedder = self.registry.by_fingerprint(&pin.name, &pin.fingerprint).expect("pinned at creation");
        Ok((embedder.as_ref(), pin.output.clone()))
    }

    fn embed(&self, collection: &Collection, field: &str, input: &Input<'_>) -> Result<Vec<f32>, Error> {
        let (embedder, output) = self.embedder(collection, field)?;
        let embed_error = |source| Error::Embed { field: field.into(), source };
        embedder.embed(embedder.output_layer(&output).map_err(embed_error)?, input).map_err(embed_error)
    }

    fn checked(&self, collection: &Collection, field: &str, item: Item) -> Result<Item, Error> {
        let Item { id, source, mut payload, vectors } = item;
        if let Some(name) = vectors.keys().next() {
            return Err(no_field(&format!("{field}.vectors[{name:?}]"), name));
        }
        let vector = match source {
            PointInput::Vector(vector) | PointInput::Embedded { vector, .. } => vector,
            PointInput::Text(text) => {
                let vector = self.embed(collection, &format!("{field}.text"), &Input::Text(&text))?;
                if *payload.entry("text").or_insert(text.clone().into()) != *text {
                    return Err(Error::invalid(format!("{field}.payload.text"), "is another text"));
                }
                vector
            }
            PointInput::Image(image) => self.embed(collection, &format!("{field}.image"), &Input::Image(&image))?,
            PointInput::None => return Err(Error::invalid(field, "give a vector, a text or an image")),
        };
        check(collection, &format!("{field}.vector"), &vector)?;
        Ok(Item { id, source: PointInput::Vector(vector), payload, vectors: Default::default() })
    }

    fn search_one(
        &self,
        collection: &Collection,
        field: &str,
        query: &Query,
        params: &SearchParams,
    ) -> Result<Answer, Error> {
        let stored = |id: &str| collection.points.get(id).map(|(vector, _)| vector.clone());
        let mut excluded: Vec<&str> = Vec::new();
        let vector = match query {
            Query::Vector(vector) => vector.clone(),
            Query::Text(text) => self.embed(collection, &format!("{field}.text"), &Input::Text(text))?,
            Query::Image(image) => self.embed(collection, &format!("{field}.image"), &Input::Image(image))?,
            Query::Id(id) => {
                excluded.push(id.as_str());
                stored(id.as_str())
                    .ok_or_else(|| Error::UnknownPoint { collection: field.into(), id: id.to_string() })?
            }
            Query::Arithmetic { plus, minus } => {
                let mut sum = vec![0.0; collection.dimension as usize];
                for (terms, sign) in [(plus, 1.0), (minus, -1.0)] {
                    for term in terms {
                        excluded.push(term);
                        let vector = match stored(term) {
                            Some(vector) => vector,
                            None => self.embed(collection, &format!("{field}.arithmetic"), &Input::Text(term))?,
                        };
                        let length = norm(&vector);
                        sum.iter_mut().zip(&vector).for_each(|(sum, x)| *sum += sign * (f64::from(*x) / length) as f32);
                    }
                }
                sum
            }
            Query::Recommend(_) => return Err(Error::invalid(field, "this engine has no recommendations")),
            Query::Keywords(_) | Query::Hybrid(_) | Query::Fusion(_) | Query::Field(_) => return Err(no_text_fields()),
        };
        check(collection, &format!("{field}.vector"), &vector)?;
        let mut found: Vec<(f32, &PointId)> = collection
            .points
            .iter()
            .filter(|(id, (_, payload))| {
                !excluded.contains(&id.as_str()) && matches(params.filter.as_deref(), id, payload)
            })
            .map(|(id, (point, _))| (distance(collection.metric, &vector, point), id))
            .collect();
        let distances_computed = found.len() as u64;
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
        let mut seen = Vec::new();
        let hits = found
            .into_iter()
            .filter(|(_, id)| {
                let group = params.group_by.as_ref().and_then(|field| collection.points[*id].1.get(field));
                let is_new = group.is_none_or(|group| !seen.contains(&group));
                seen.extend(group);
                is_new
            })
            .map(|(distance, id)| Hit {
                point: point(id, &collection.points[id], params.fields),
                distance,
                score: collection.metric.score(distance),
            })
            .filter(|hit| params.score_threshold.is_none_or(|minimum| hit.score >= minimum))
            .take(params.k as usize)
            .skip(params.offset as usize)
            .collect();
        let stats = SearchStats {
            path: if params.filter.is_some() { Path::FilterScan } else { Path::Exact },
            ef_used: 0,
            distances_computed,
            growing_distances: distances_computed,
            segments_by_graph: 0,
            segments_by_scan: 0,
            expected_recall: Some(1.0),
            recall_unmeasured: false,
            lost_segments: 0,
            filter_matches: params.filter.as_deref().map(|filter| count(collection, filter)),
            embed_time: Duration::ZERO,
            search_time: Duration::ZERO,
            fingerprint: collection.pin.as_ref().map(|pin| pin.fingerprint),
            parts: Vec::new(),
        };
        Ok(Answer { hits, stats, next_offset: None })
    }
}

type Collections = BTreeMap<CollectionName, Collection>;

fn resolve(collections: &Collections, name: &CollectionName) -> CollectionName {
    let of = collections.iter().find(|(_, collection)| collection.aliases.contains(name));
    of.map_or(name, |(of, _)| of).clone()
}

fn check_free(collections: &Collections, name: &CollectionName) -> Result<(), Error> {
    if collections.contains_key(name) {
        return Err(Error::CollectionExists(name.to_string()));
    }
    if resolve(collections, name) != *name {
        return Err(Error::AliasExists(name.to_string()));
    }
    Ok(())
}

fn matches(filter: Option<&Filter>, id: &PointId, payload: &Payload) -> bool {
    filter.is_none_or(|filter| filter.matches(id, payload))
}

fn count(collection: &Collection, filter: &Filter) -> u64 {
    collection.points.iter().filter(|(id, (_, payload))| filter.matches(id, payload)).count() as u64
}

/// Whether a value has a field. Names contain no dots here.
fn has(value: &Value, path: &str) -> bool {
    match (value, path.split_once('.')) {
        (Value::Array(items), _) => items.iter().any(|item| has(item, path)),
        (Value::Object(fields), Some((first, rest))) => fields.get(first).is_some_and(|inner| has(inner, rest)),
        (Value::Object(fields), None) => fields.contains_key(path),
        _ => false,
    }
}

/// Returns the fields of a filter that no point has.
fn unknown_fields(collection: &Collection, filter: &Filter) -> Vec<String> {
    let known =
        |field: &String| collection.points.values().any(|(_, payload)| has(&Value::Object(payload.clone()), field));
    match collection.points.is_empty() {
        true => Vec::new(),
        false => filter.fields().into_iter().filter(|field| !known(field)).collect(),
    }
}

fn matching<'a>(collection: &'a Collection, filter: Option<&Filter>) -> Vec<(&'a PointId, &'a Payload)> {
    let all = collection.points.iter().map(|(id, (_, payload))| (id, payload));
    all.filter(|(id, payload)| matches(filter, id, payload)).collect()
}

fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    match metric {
        Metric::Cosine => (1.0 - dot / (norm(a) * norm(b))) as f32,
        Metric::Dot => -dot as f32,
        Metric::L2 => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt() as f32,
    }
}

fn check(collection: &Collection, field: &str, vector: &[f32]) -> Result<(), Error> {
    let (expected, found) = (collection.dimension as usize, vector.len());
    if expected != found {
        return Err(Error::invalid(field, format!("has {found} components, the collection has {expected}")));
    }
    if let Some(index) = vector.iter().position(|x| !x.is_finite()) {
        return Err(Error::invalid(format!("{field}[{index}]"), "is not finite"));
    }
    if collection.metric == Metric::Cosine && norm(vector) == 0.0 {
        return Err(Error::invalid(field, "has the norm zero, which has no cosine"));
    }
    Ok(())
}

fn point(id: &PointId, stored: &(Vec<f32>, Payload), fields: Fields) -> Point {
    let (vector, payload) = stored;
    Point {
        id: id.clone(),
        vector: fields.vector.then(|| vector.clone()),
        payload: fields.payload.then(|| payload.clone()),
        vectors: Default::default(),
    }
}

fn info(name: &CollectionName, collection: &Collection) -> CollectionInfo {
    let points = collection.points.len() as u64;
    CollectionInfo {
        name: name.clone(),
        aliases: collection.aliases.iter().cloned().collect(),
        dimension: collection.dimension,
        metric: collection.metric,
        embedder: collection.pin.clone(),
        generation: 1,
        previous: None,
        index: collection.index,
        text_fields: Vec::new(),
        ttl: None,
        tenant: None,
        points,
        growing_points: points,
        deleted_rows: 0,
        segments: Vec::new(),
        mapped_bytes: 0,
        resident_bytes: 0,
        sequence: collection.sequence,
        queries: collection.queries_answered.load(Ordering::Relaxed),
        state: CollectionState::Serving,
        problems: Vec::new(),
        vector_fields: Vec::new(),
        optional_vectors: false,
    }
}

fn no_text_fields() -> Error {
    Error::invalid("query", "this engine has no text fields")
}

fn no_field(path: &str, name: &str) -> Error {
    Error::invalid(path, format!("there is no vector field {name:?}: this engine has none"))
}

fn no_models() -> Error {
    Error::Unavailable("this engine has no models".into())
}

impl Reads for MemoryEngine {
    fn collection(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        self.before("collection")?;
        let name = &self.resolve(name);
        self.read(name, |collection| Ok(info(name, collection)))
    }

    fn sequence(&self, name: &CollectionName) -> Result<u64, Error> {
        self.read(name, |collection| Ok(collection.sequence))
    }

    fn get(&self, name: &CollectionName, ids: &[PointId], fields: Fields) -> Result<Vec<Option<Point>>, Error> {
        self.before("get")?;
        self.read(name, |collection| {
            Ok(ids.iter().map(|id| collection.points.get(id).map(|stored| point(id, stored, fields))).collect())
        })
    }

    fn scroll(
        &self,
        name: &CollectionName,
        after: Option<&PointId>,
        limit: u32,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Page, Error> {
        self.before("scroll")?;
        self.read(name, |collection| {
            let wanted = |id: &PointId, payload| after.is_none_or(|after| id > after) && matches(filter, id, payload);
            let mut rest = collection.points.iter().filter(|(id, (_, payload))| wanted(id, payload));
            let points = rest.by_ref().take(limit as usize).map(|(id, stored)| point(id, stored, fields)).collect();
            Ok(Page { points, more: rest.next().is_some() })
        })
    }

    fn count(&self, name: &CollectionName, filter: Option<&Filter>) -> Result<u64, Error> {
        self.before("count")?;
        self.read(name, |collection| {
            Ok(filter.map_or(collection.points.len() as u64, |filter| count(collection, filter)))
        })
    }

    fn search(&self, name: &CollectionName, queries: &[Query], params: &SearchParams) -> Result<Vec<Answer>, Error> {
        self.before("search")?;
        self.read(name, |collection| {
            let field = |index| if queries.len() == 1 { "query".into() } else { format!("queries[{index}]") };
            let one = |(index, query)| self.search_one(collection, &field(index), query, params);
            let answers = queries.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
            collection.queries_answered.fetch_add(queries.len() as u64, Ordering::Relaxed);
            Ok(answers)
        })
    }

    fn explain(
        &self,
        name: &CollectionName,
        query: &Query,
        params: &SearchParams,
        id: &PointId,
    ) -> Result<Explanation, Error> {
        self.before("explain")?;
        self.read(name, |collection| {
            let mut all = params.clone();
            (all.k, all.score_threshold) = (u32::MAX, None);
            let ranked = self.search_one(collection, "query", query, &all)?.hits;
            let index = ranked.iter().position(|hit| hit.point.id == *id);
            let hit = index.map(|index| &ranked[index]);
            let reason = match index {
                None if collection.points.get(id).is_some_and(|(_, p)| !matches(params.filter.as_deref(), id, p)) => {
                    Reason::Filtered
                }
                None if collection.points.contains_key(id) => Reason::Excluded,
                None => Reason::UnknownPoint,
                Some(index) if index >= params.k as usize => Reason::Beaten,
                Some(index) if params.score_threshold.is_some_and(|minimum| ranked[index].score < minimum) => {
                    Reason::BelowThreshold
                }
                Some(_) => Reason::Hit,
            };
            Ok(Explanation {
                reason,
                rank: index.filter(|index| *index < params.k as usize).map(|index| index as u32 + 1),
                true_rank: index.map(|index| index as u64 + 1),
                distance: hit.map(|hit| hit.distance),
                score: hit.map(|hit| hit.score),
                kth_distance: ranked.get(params.k as usize - 1).map(|hit| hit.distance),
                residence: collection.points.contains_key(id).then_some(PointLocation::Growing),
                ef_used: 0,
                ef_needed: None,
                walked: Vec::new(),
                parts: Vec::new(),
                formula: None,
            })
        })
    }

    fn analyze(&self, _: &CollectionName, _: &str, _: &str) -> Result<Vec<AnalyzedToken>, Error> {
        Err(no_text_fields())
    }

    fn unknown_fields(&self, name: &CollectionName, filter: &Filter) -> Result<Vec<String>, Error> {
        self.read(name, |collection| Ok(unknown_fields(collection, filter)))
    }

    fn facet(&self, name: &CollectionName, field: &str, limit: u32, filter: Option<&Filter>) -> Result<Facet, Error> {
        self.before("facet")?;
        self.read(name, |collection| Ok(naive::facet(&matching(collection, filter), field, limit as usize)))
    }

    fn describe_fields(&self, name: &CollectionName, filter: Option<&Filter>) -> Result<FieldReport, Error> {
        self.before("describe_fields")?;
        self.read(name, |collection| Ok(naive::describe_fields(&matching(collection, filter))))
    }

    fn scroll_ordered(
        &self,
        name: &CollectionName,
        order: &OrderBy,
        after: Option<&SortPosition>,
        limit: u32,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<OrderedPage, Error> {
        self.before("scroll_ordered")?;
        self.read(name, |collection| {
            let mut rows = naive::ordered(&matching(collection, filter), order, after);
            let more = rows.len() > limit as usize;
            rows.truncate(limit as usize);
            let points = rows.iter().map(|(_, id)| point(id, &collection.points[id], fields)).collect();
            Ok(OrderedPage { points, next: rows.pop().filter(|_| more) })
        })
    }

    fn sample(
        &self,
        name: &CollectionName,
        limit: u32,
        seed: u64,
        fields: Fields,
        filter: Option<&Filter>,
    ) -> Result<Vec<Point>, Error> {
        self.before("sample")?;
        self.read(name, |collection| {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut points = matching(collection, filter);
            let mut sampled = Vec::new();
            while sampled.len() < limit as usize && !points.is_empty() {
                let (id, _) = points.swap_remove(rng.random_range(0..points.len()));
                sampled.push(point(id, &collection.points[id], fields));
            }
            Ok(sampled)
        })
    }

    fn measure_recall(&self, name: &CollectionName, params: &RecallParams) -> Result<RecallReport, Error> {
        self.before("measure_recall")?;
        self.read(name, |collection| {
            Ok(RecallReport {
                samples: params.samples.min(collection.points.len() as u32),
                recall: 1.0,
                low: 0.0,
                high: 1.0,
                stored_expected: Some(1.0),
                expected: Some(1.0),
                search_time: Duration::ZERO,
                exact_time: Duration::ZERO,
                recalibrating: false,
                segments: Vec::new(),
            })
        })
    }
}

impl MemoryEngine {
    fn put(
        &self,
        name: &CollectionName,
        items: Vec<Item>,
        condition: &WriteCondition,
        keep_payloads: bool,
    ) -> Result<Upserted, Error> {
        self.write(name, |collection| {
            let items = items
                .into_iter()
                .enumerate()
                .map(|(index, item)| self.checked(collection, &format!("items[{index}]"), item))
                .collect::<Result<Vec<_>, _>>()?;
            let mut done = Upserted {
                sequence: collection.sequence + 1,
                inserted: 0,
                replaced: 0,
                unchanged: 0,
                removed: 0,
                fingerprint: collection.pin.as_ref().map(|pin| pin.fingerprint),
                skipped: SkippedItems::default(),
            };
            let before = collection.points.clone();
            for Item { id, source, payload, .. } in items {
                let PointInput::Vector(vector) = source else { unreachable!("checked items are vectors") };
                let mut new = (vector, payload);
                let Some(old) = collection.points.get(&id) else {
                    if condition.mode == WriteMode::Update {
                        done.skipped.missing.push(id);
                    } else {
                        collection.points.insert(id, new);
                        done.inserted += 1;
                    }
                    continue;
                };
                if keep_payloads {
                    new.1 = old.1.iter().map(|(name, value)| (name.clone(), value.clone())).chain(new.1).collect();
                }
                match condition.mode {
                    WriteMode::Insert => done.skipped.existing.push(id),
                    WriteMode::Keep if before.contains_key(&id) && *old != new => {
                        collection.points = before;
                        return Err(Error::PointTaken { collection: name.to_string(), id: id.to_string() });
                    }
                    _ if !matches(condition.only_if.as_ref(), &id, &old.1) => done.skipped.unmatched.push(id),
                    _ => {
                        done.replaced += 1;
                        done.unchanged += u64::from(*old == new);
                        collection.points.insert(id, new);
                    }
                }
            }
            collection.sequence += 1;
            Ok(done)
        })
    }
}

impl Writes for MemoryEngine {
    fn upsert_if(
        &self,
        name: &CollectionName,
        items: Vec<Item>,
        condition: &WriteCondition,
    ) -> Result<Upserted, Error> {
        self.before("upsert")?;
        self.put(name, items, condition, false)
    }

    fn update_vectors(&self, name: &CollectionName, items: Vec<Item>) -> Result<Upserted, Error> {
        self.before("update_vectors")?;
        self.put(name, items, &WriteCondition::mode(WriteMode::Update), true)
    }

    fn upsert_instead(&self, name: &CollectionName, blocks: Vec<Item>, texts: &[PointId]) -> Result<Upserted, Error> {
        self.before("upsert_instead")?;
        let written: Vec<PointId> = blocks.iter().map(|item| item.id.clone()).collect();
        let mut done = self.upsert(name, blocks)?;
        self.write(name, |collection| {
            let before = collection.points.len();
            collection.points.retain(|id, (_, payload)| {
                let parent = nearness::collection::chunking::parent_of(id, payload);
                written.contains(id) || !parent.is_some_and(|parent| texts.iter().any(|one| one.as_str() == parent))
            });
            done.removed = (before - collection.points.len()) as u64;
            Ok(done)
        })
    }

    fn prepare(&self, name: &CollectionName, item: Item) -> Result<Item, Error> {
        self.before("prepare")?;
        self.read(name, |collection| self.checked(collection, "item", item))
    }

    fn delete_points(&self, name: &CollectionName, ids: &[PointId]) -> Result<Deleted, Error> {
        self.before("delete_points")?;
        self.write(name, |collection| {
            collection.sequence += 1;
            let missing: Vec<PointId> =
                ids.iter().filter(|id| collection.points.remove(*id).is_none()).cloned().collect();
            let deleted = (ids.len() - missing.len()) as u64;
            Ok(Deleted { sequence: collection.sequence, deleted, missing })
        })
    }

    fn update_payload(
        &self,
        name: &CollectionName,
        points: &PointSelection,
        update: &PayloadUpdate,
    ) -> Result<PayloadsUpdated, Error> {
        self.before("update_payload")?;
        self.write(name, |collection| {
            let ids = match points {
                PointSelection::Ids(ids) => ids.clone(),
                PointSelection::Matching { filter, allow_unknown_fields } => {
                    filter.check("filter")?;
                    if !allow_unknown_fields && !unknown_fields(collection, filter).is_empty() {
                        return Err(Error::invalid("filter", "no point has the field: allow_unknown_fields"));
                    }
                    let matching = collection.points.iter().filter(|(id, (_, payload))| filter.matches(id, payload));
                    matching.map(|(id, _)| id.clone()).collect()
                }
            };
            let mut points = collection.points.clone();
            let (mut updated, mut unchanged, mut missing) = (0, 0, Vec::new());
            for id in ids {
                let Some((_, payload)) = points.get_mut(&id) else {
                    missing.push(id);
                    continue;
                };
                let before = payload.clone();
                update.apply(payload).map_err(|why| Error::invalid("payload", why))?;
                if *payload == before { unchanged += 1 } else { updated += 1 }
            }
            collection.points = points;
            collection.sequence += 1;
            Ok(PayloadsUpdated { sequence: collection.sequence, updated, unchanged, missing })
        })
    }

    fn delete_all_points(&self, name: &CollectionName) -> Result<Deleted, Error> {
        self.before("delete_all_points")?;
        self.write(name, |collection| {
            collection.sequence += 1;
            let deleted = std::mem::take(&mut collection.points).len() as u64;
            Ok(Deleted { sequence: collection.sequence, deleted, missing: Vec::new() })
        })
    }

    fn delete_matching(&self, name: &CollectionName, filter: &Filter, allow: bool) -> Result<Deleted, Error> {
        self.before("delete_matching")?;
        filter.check("filter")?;
        self.write(name, |collection| {
            let (matches, unknown) = (count(collection, filter), unknown_fields(collection, filter));
            if !allow && matches > 0 && !unknown.is_empty() {
                let problem = format!("no point has {unknown:?}, and {matches} points match: see allow_unknown_fields");
                return Err(Error::invalid("filter", problem));
            }
            collection.sequence += 1;
            let before = collection.points.len();
            collection.points.retain(|id, (_, payload)| !filter.matches(id, payload));
            let deleted = (before - collection.points.len()) as u64;
            Ok(Deleted { sequence: collection.sequence, deleted, missing: Vec::new() })
        })
    }
}

impl Admin for MemoryEngine {
    fn create_collection(&self, spec: &CollectionSpec) -> Result<CollectionInfo, Error> {
        self.before("create_collection")?;
        let (dimension, pin) = match &spec.space {
            VectorSource::None => return Err(Error::invalid("space", "this engine has vectors only")),
            VectorSource::Plain { dimension } => (*dimension, None),
            VectorSource::Embedded { embedder, output } => {
                let embed_error = |source| Error::Embed { field: "embedder".into(), source };
                let embedder = self.registry.by_name(embedder).map_err(embed_error)?;
                let output = embedder.output_layer(output).map_err(embed_error)?;
                let (name, fingerprint) = (embedder.name().to_owned(), embedder.fingerprint());
                (output.dimension, Some(EmbedderPin { name, output: output.name.to_owned(), fingerprint }))
            }
        };
        let or = |given, default| if given == 0 { default } else { given };
        let index = IndexSettings::default()
            .m(or(spec.index.m, 16))
            .ef_construction(or(spec.index.ef_construction, 200))
            .ef_search(or(spec.index.ef_search, 64))
            .seal_rows(or(spec.index.seal_rows, 50_000))
            .precision(spec.index.precision);
        let collection = Collection {
            dimension,
            metric: spec.metric,
            pin,
            index,
            points: BTreeMap::new(),
            sequence: 0,
            queries_answered: Arc::default(),
            aliases: BTreeSet::new(),
        };
        let mut collections = self.collections.write().unwrap();
        check_free(&collections, &spec.name)?;
        let created = info(&spec.name, &collection);
        collections.insert(spec.name.clone(), collection);
        Ok(created)
    }

    fn visit_collections(&self, after: Option<&CollectionName>, visit: &mut VisitCollection<'_>) -> Result<(), Error> {
        self.before("collections")?;
        let all = self.collections.read().unwrap();
        for (name, collection) in all.iter().filter(|(name, _)| after.is_none_or(|after| *name > after)) {
            if !visit(name, info(name, collection))? {
                break;
            }
        }
        Ok(())
    }

    fn delete_collection(&self, name: &CollectionName) -> Result<u64, Error> {
        self.before("delete_collection")?;
        if self.resolve(name) != *name {
            return Err(Error::invalid("name", "is an alias"));
        }
        let removed = self.collections.write().unwrap().remove(name);
        removed.map(|it| it.points.len() as u64).ok_or_else(|| Error::UnknownCollection(name.to_string()))
    }

    fn resolve(&self, name: &CollectionName) -> CollectionName {
        resolve(&self.collections.read().unwrap(), name)
    }

    fn update_aliases(&self, actions: &[AliasAction]) -> Result<Vec<CollectionInfo>, Error> {
        self.before("update_aliases")?;
        let mut present = self.collections.write().unwrap();
        let mut next = present.clone();
        let take = |all: &mut Collections, alias: &CollectionName| {
            let name = resolve(all, alias);
            let found = all.get_mut(&name).is_some_and(|collection| collection.aliases.remove(alias));
            if found { Ok(name) } else { Err(Error::UnknownAlias(alias.to_string())) }
        };
        for action in actions {
            match action {
                AliasAction::Create { alias, collection } => {
                    let name = resolve(&next, collection);
                    if !next.contains_key(&name) {
                        return Err(Error::UnknownCollection(name.to_string()));
                    }
                    check_free(&next, alias)?;
                    next.get_mut(&name).expect("checked").aliases.insert(alias.clone());
                }
                AliasAction::Delete { alias } => drop(take(&mut next, alias)?),
                AliasAction::Rename { alias, new_alias } => {
                    let name = take(&mut next, alias)?;
                    check_free(&next, new_alias)?;
                    next.get_mut(&name).expect("found").aliases.insert(new_alias.clone());
                }
                AliasAction::RenameCollection { collection, new_name } => {
                    if resolve(&next, collection) != *collection {
                        return Err(Error::invalid("actions", "renames a collection by its alias"));
                    }
                    let unknown = || Error::UnknownCollection(collection.to_string());
                    let renamed = next.remove(collection).ok_or_else(unknown)?;
                    check_free(&next, new_name)?;
                    if renamed.aliases.contains(new_name) {
                        return Err(Error::AliasExists(new_name.to_string()));
                    }
                    next.insert(new_name.clone(), renamed);
                }
                _ => unreachable!("no other action"),
            }
        }
        let same = |name: &CollectionName, collection: &Collection| {
            present.get(name).is_some_and(|before| before.aliases == collection.aliases)
        };
        let changed = next.iter().filter(|(name, collection)| !same(name, collection));
        let infos = changed.map(|(name, collection)| info(name, collection)).collect();
        *present = next;
        Ok(infos)
    }

    fn add_field(&self, _: &CollectionName, _: Field) -> Result<CollectionInfo, Error> {
        Err(no_text_fields())
    }

    fn drop_field(&self, _: &CollectionName, _: &str) -> Result<CollectionInfo, Error> {
        Err(no_text_fields())
    }

    fn set_ttl(&self, _: &CollectionName, _: Option<Ttl>) -> Result<CollectionInfo, Error> {
        Err(Error::invalid("ttl", "points of this engine do not expire"))
    }

    fn compact(&self, name: &CollectionName) -> Result<CollectionInfo, Error> {
        self.before("compact")?;
        let name = &self.resolve(name);
        self.read(name, |collection| Ok(info(name, collection)))
    }

    fn check(&self, name: &CollectionName) -> Result<CheckReport, Error> {
        self.before("check")?;
        self.read(name, |_| Ok(CheckReport::default()))
    }

    fn activity(&self) -> nearness::api::Activity {
        let open_collections = self.collections.read().unwrap().len() as u64;
        nearness::api::Activity { open_collections, ..Default::default() }
    }

    fn models(&self) -> Result<Vec<ModelInfo>, Error> {
        Err(no_models())
    }

    fn delete_model(&self, _: &Fingerprint) -> Result<(), Error> {
        Err(no_models())
    }
}

impl Generations for MemoryEngine {}

impl Snapshots for MemoryEngine {}

impl ModelHost for MemoryEngine {
    fn embedders(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    fn upload(&self) -> Result<Upload, Error> {
        Err(no_models())
    }

    fn install_model(&self, _: Upload) -> Result<ModelInfo, Error> {
        Err(no_models())
    }

    fn train_model(&self, _: &Training, _: Upload, _: ObserveTraining<'_>) -> Result<ModelInfo, Error> {
        Err(no_models())
    }
}

impl Layouts for MemoryEngine {}
