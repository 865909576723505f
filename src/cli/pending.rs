//! Compile shims for the parts of other modules that are not in this tree yet; deleted at the merge.
//!
//! The paths mirror the real ones: `crate::cli::pending::index::graph` stands for `crate::index::graph`, and so on.
#![allow(missing_docs, unused, unreachable_pub, clippy::all)]

pub mod collection {
    pub use crate::collection::*;
    use crate::embed::Registry;
    use crate::types::{CollectionName, PointId};
    use std::path::Path;

    pub struct LocalEngine {}

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Job {
        Loading,
        Merging,
        Indexing,
    }
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BulkOutcome {
        pub loaded: u64,
        pub replaced: u64,
        pub refused: u64,
    }
    pub type OnRefused<'a> = &'a mut dyn FnMut(&PointId, Error) -> Result<(), Error>;

    const MISSING: &str = "the local engine is not part of this build";

    impl LocalEngine {
        pub fn open(_data: &Path, _registry: Registry) -> Result<Self, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        pub fn bulk_load(
            &self,
            _name: &CollectionName,
            items: &mut dyn Iterator<Item = Item>,
            _on_refused: OnRefused<'_>,
            observe: &(dyn Fn(Job, u64, u64) -> bool + Sync),
        ) -> Result<BulkOutcome, Error> {
            for _ in items {}
            observe(Job::Loading, 0, 0);
            Err(Error::Unavailable(MISSING.into()))
        }
    }

    impl Engine for LocalEngine {
        fn embedders(&self) -> &Registry {
            unreachable!()
        }
        fn create_collection(&self, _: &CollectionSpec) -> Result<CollectionInfo, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn collection(&self, _: &CollectionName) -> Result<CollectionInfo, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn collections(&self) -> Result<Vec<CollectionInfo>, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn delete_collection(&self, _: &CollectionName) -> Result<u64, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn compact(&self, _: &CollectionName) -> Result<CollectionInfo, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn upsert(&self, _: &CollectionName, _: Vec<Item>) -> Result<Upserted, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn prepare(&self, _: &CollectionName, item: Item) -> Result<Item, Error> {
            Ok(item)
        }
        fn delete_points(&self, _: &CollectionName, _: &[PointId]) -> Result<Deleted, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn get(&self, _: &CollectionName, _: &[PointId], _: Fields) -> Result<Vec<Option<Point>>, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn scroll(&self, _: &CollectionName, _: Option<&PointId>, _: u32, _: Fields) -> Result<Page, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn count(&self, _: &CollectionName) -> Result<u64, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
        fn search(&self, _: &CollectionName, _: &[Query], _: &SearchParams) -> Result<Vec<Answer>, Error> {
            Err(Error::Unavailable(MISSING.into()))
        }
    }
}

pub mod grpc {
    use crate::collection::{Engine, Error};
    use crate::grpc::pb;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use tonic::transport::{Channel, Endpoint};

    #[derive(Clone, Debug, Default)]
    pub struct ClientOptions {}

    #[derive(Debug, thiserror::Error)]
    pub enum ClientError {
        #[error("cannot connect")]
        Connect(#[from] tonic::transport::Error),
        #[error("{message}")]
        Refused { message: String, fields: Vec<(String, String)>, code: &'static str, reason: String },
    }
    impl From<tonic::Status> for ClientError {
        fn from(status: tonic::Status) -> Self {
            Self::Refused { message: status.message().into(), fields: vec![], code: "", reason: String::new() }
        }
    }

    #[derive(Clone)]
    pub struct Client {
        collections: pb::collections_client::CollectionsClient<Channel>,
        points: pb::points_client::PointsClient<Channel>,
        search: pb::search_client::SearchClient<Channel>,
        embedders: pb::embedders_client::EmbeddersClient<Channel>,
    }
    impl Client {
        pub async fn connect(url: &str, _options: &ClientOptions) -> Result<Self, ClientError> {
            let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
            Ok(Self {
                collections: pb::collections_client::CollectionsClient::new(channel.clone()),
                points: pb::points_client::PointsClient::new(channel.clone()),
                search: pb::search_client::SearchClient::new(channel.clone()),
                embedders: pb::embedders_client::EmbeddersClient::new(channel),
            })
        }
        pub async fn upsert_stream(
            &self,
            requests: impl tokio_stream::Stream<Item = pb::UpsertStreamRequest> + Send + 'static,
        ) -> Result<Acks, ClientError> {
            Ok(Acks(self.points.clone().upsert_stream(requests).await?.into_inner()))
        }
    }
    pub struct Acks(tonic::Streaming<pb::UpsertStreamResponse>);
    impl Acks {
        pub async fn next(&mut self) -> Result<Option<Vec<pb::Ack>>, ClientError> {
            Ok(self.0.message().await?.map(|reply| reply.acks))
        }
    }
    macro_rules! calls {
        ($($service:ident { $($name:ident = $method:ident($request:ident) -> $reply:ident;)* })*) => {
            impl Client { $($(
                pub async fn $name(&self, request: pb::$request) -> Result<pb::$reply, ClientError> {
                    Ok(self.$service.clone().$method(request).await?.into_inner())
                }
            )*)* }
        };
    }
    calls! {
        collections {
            create_collection = create(CreateRequest) -> CreateResponse;
            collection = get(GetCollectionRequest) -> GetCollectionResponse;
            list_collections = list(ListRequest) -> ListResponse;
            delete_collection = delete(DeleteCollectionRequest) -> DeleteCollectionResponse;
            compact = compact(CompactRequest) -> CompactResponse;
        }
        points {
            get_points = get(GetPointsRequest) -> GetPointsResponse;
            delete_points = delete(DeletePointsRequest) -> DeletePointsResponse;
            scroll = scroll(ScrollRequest) -> ScrollResponse;
        }
        search {
            search = search(SearchRequest) -> SearchResponse;
        }
        embedders {
            list_embedders = list(ListEmbeddersRequest) -> ListEmbeddersResponse;
            embedder = get(GetEmbedderRequest) -> GetEmbedderResponse;
            embed = embed(EmbedRequest) -> EmbedResponse;
            classify = classify(ClassifyRequest) -> ClassifyResponse;
            nearest_words = nearest_words(NearestWordsRequest) -> NearestWordsResponse;
            fill_blank = fill_blank(FillBlankRequest) -> FillBlankResponse;
        }
    }

    #[derive(Clone, Debug)]
    pub struct ServerOptions {
        pub address: SocketAddr,
        pub max_message_bytes: usize,
    }
    impl Default for ServerOptions {
        fn default() -> Self {
            Self { address: ([127, 0, 0, 1], 50051).into(), max_message_bytes: 64 << 20 }
        }
    }
    pub struct Server {}
    impl Server {
        pub fn bind(_engine: Arc<dyn Engine>, _options: ServerOptions) -> Result<Self, Error> {
            Err(Error::Unavailable("the server is not part of this build".into()))
        }
        pub fn local_addr(&self) -> SocketAddr {
            ([127, 0, 0, 1], 0).into()
        }
        pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
            shutdown.await;
            Ok(())
        }
    }

    pub mod payload {
        use crate::collection::{Error, Payload};
        use prost_types::{ListValue, Struct, Value, value::Kind};
        use serde_json::Value as Json;
        use std::fmt::Display;

        pub fn to_struct(object: Payload) -> Struct {
            Struct { fields: object.into_iter().map(|(key, json)| (key, value(json))).collect() }
        }
        fn value(json: Json) -> Value {
            let kind = match json {
                Json::Null => Kind::NullValue(0),
                Json::Bool(bit) => Kind::BoolValue(bit),
                Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(0.0)),
                Json::String(text) => Kind::StringValue(text),
                Json::Array(list) => Kind::ListValue(ListValue { values: list.into_iter().map(value).collect() }),
                Json::Object(map) => Kind::StructValue(to_struct(map)),
            };
            Value { kind: Some(kind) }
        }
        pub fn from_struct(object: Struct, _field: &dyn Display) -> Result<Payload, Error> {
            Ok(object.fields.into_iter().map(|(key, value)| (key, json(value))).collect())
        }
        fn json(value: Value) -> Json {
            match value.kind {
                None | Some(Kind::NullValue(_)) => Json::Null,
                Some(Kind::BoolValue(bit)) => Json::Bool(bit),
                Some(Kind::NumberValue(number)) => Json::from(number),
                Some(Kind::StringValue(text)) => Json::String(text),
                Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(json).collect()),
                Some(Kind::StructValue(map)) => Json::Object(from_struct(map, &"").unwrap_or_default()),
            }
        }
    }
}

pub mod index {
    use crate::types::{Metric, Neighbor, Ordinal};

    #[derive(Debug, thiserror::Error)]
    pub enum Error {
        #[error("{0}")]
        Parameters(String),
        #[error(transparent)]
        Io(#[from] std::io::Error),
    }

    #[derive(Clone, Copy)]
    pub struct Rows<'a> {
        pub vectors: &'a [f32],
        pub norms: &'a [f32],
        pub dimension: usize,
        pub metric: Metric,
    }

    pub struct Found {
        pub neighbors: Vec<Neighbor>,
        pub distances: u64,
    }

    pub struct GraphParams {
        pub m: u32,
        pub ef_construction: u32,
        pub seed: u64,
        pub threads: usize,
    }
    impl GraphParams {
        pub fn new(m: u32, ef_construction: u32, seed: u64, threads: usize) -> Result<Self, Error> {
            Ok(Self { m, ef_construction, seed, threads })
        }
    }

    pub mod exact {
        use super::{Found, Metric, Neighbor, Ordinal, Rows};

        pub fn distance(rows: Rows<'_>, row: Ordinal, query: &[f32], query_norm: f32) -> f32 {
            let start = row.0 as usize * rows.dimension;
            let vector = &rows.vectors[start..start + rows.dimension];
            let dot: f32 = vector.iter().zip(query).map(|(a, b)| a * b).sum();
            match rows.metric {
                Metric::Cosine => 1.0 - dot / (rows.norms[row.0 as usize] * query_norm),
                Metric::Dot => -dot,
                Metric::L2 => vector.iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt(),
            }
        }

        pub fn search(rows: Rows<'_>, query: &[f32], k: usize, accept: impl Fn(Ordinal) -> bool) -> Found {
            let norm = crate::cli::pending::math::norm(query);
            let mut all = (0..rows.norms.len() as u32)
                .map(Ordinal)
                .filter(|row| accept(*row))
                .map(|row| Neighbor { row, distance: distance(rows, row, query, norm) })
                .collect::<Vec<_>>();
            all.sort_unstable();
            all.truncate(k);
            Found { neighbors: all, distances: rows.norms.len() as u64 }
        }
    }

    pub mod graph {
        use super::{Error, Found, GraphParams, Metric, Ordinal, Rows};
        use std::path::Path;

        pub struct Built;
        pub fn build(
            rows: Rows<'_>,
            _: GraphParams,
            progress: &(dyn Fn(u64, u64) -> bool + Sync),
        ) -> Result<Built, Error> {
            let n = rows.norms.len() as u64;
            progress(n, n);
            Ok(Built)
        }
        impl Built {
            pub fn publish(&self, path: &Path, _tag: u64) -> Result<(), Error> {
                Ok(std::fs::write(path, b"graph")?)
            }
        }
        #[derive(Clone, Copy)]
        pub struct Expected {
            pub rows: u32,
            pub dimension: u32,
            pub metric: Metric,
            pub tag: u64,
        }
        pub struct Graph;
        impl Graph {
            pub fn open(path: &Path, _: Expected) -> Result<Self, Error> {
                std::fs::read(path)?;
                Ok(Self)
            }
            pub fn search(
                &self,
                rows: Rows<'_>,
                query: &[f32],
                k: usize,
                _ef: usize,
                accept: impl Fn(Ordinal) -> bool,
            ) -> Found {
                super::exact::search(rows, query, k, accept)
            }
            pub fn mapped_bytes(&self) -> u64 {
                5
            }
            pub fn resident_bytes(&self) -> u64 {
                5
            }
        }
    }
}

pub mod math {
    pub fn norm(a: &[f32]) -> f32 {
        a.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32
    }
}

pub mod embed {
    pub mod words {
        use crate::embed::{Error, ModelCard};
        use std::path::{Path, PathBuf};

        fn missing<T>() -> Result<T, Error> {
            Err(Error::InvalidInput("training words is not part of this build".into()))
        }
        #[derive(Clone, Copy, Debug, Default)]
        pub enum Precision {
            F32,
            #[default]
            F16,
            I8,
        }
        #[derive(Clone, Debug, Default)]
        pub struct TrainOptions {
            pub dimension: usize,
            pub window: usize,
            pub negative: usize,
            pub min_count: u64,
            pub subsample: f64,
            pub epochs: usize,
            pub threads: usize,
            pub seed: u64,
            pub learning_rate: f32,
            pub store: Precision,
        }
        pub struct TrainProgress {
            pub phase: &'static str,
            pub done: u64,
            pub total: u64,
            pub loss: Option<f64>,
            pub learning_rate: f32,
        }
        pub fn train(_: &[PathBuf], _: &TrainOptions, _: &(dyn Fn(&TrainProgress) + Sync)) -> Result<WordModel, Error> {
            missing()
        }
        pub struct WordModel;
        impl WordModel {
            pub fn default_model() -> Result<Self, Error> {
                missing()
            }
            pub fn load(_: &Path) -> Result<Self, Error> {
                missing()
            }
            pub fn save(&self, _: &Path) -> Result<(), Error> {
                missing()
            }
            pub fn with_card(self, _: ModelCard) -> Self {
                self
            }
            pub fn card(&self) -> &ModelCard {
                unreachable!()
            }
            pub fn vocabulary(&self) -> &[String] {
                &[]
            }
            pub fn dimension(&self) -> usize {
                0
            }
        }
        pub mod word2vec {
            use super::{Error, Path, WordModel, missing};
            pub fn write_text(_: &WordModel, _: &Path) -> Result<(), Error> {
                missing()
            }
            pub fn write_binary(_: &WordModel, _: &Path) -> Result<(), Error> {
                missing()
            }
        }
        pub mod eval {
            use super::{Error, Path, WordModel, missing};
            pub struct Similarity {
                pub file: String,
                pub spearman: f64,
                pub pairs: usize,
                pub missing: usize,
            }
            pub struct Section {
                pub name: String,
                pub correct: u64,
                pub total: u64,
            }
            pub struct Analogies {
                pub sections: Vec<Section>,
                pub accuracy: f64,
            }
            pub fn similarity(_: &WordModel, _: &Path) -> Result<Similarity, Error> {
                missing()
            }
            pub fn analogies(_: &WordModel, _: &Path, _: usize) -> Result<Analogies, Error> {
                missing()
            }
        }
    }
    pub mod digits {
        use crate::embed::{Error, ModelCard};
        use std::path::Path;

        fn missing<T>() -> Result<T, Error> {
            Err(Error::InvalidInput("training digits is not part of this build".into()))
        }
        #[derive(Clone, Debug, Default)]
        pub struct TrainOptions {
            pub epochs: usize,
            pub batch: usize,
            pub seed: u64,
            pub threads: usize,
            pub learning_rate: f32,
            pub augment: bool,
        }
        pub struct TrainProgress {
            pub epoch: usize,
            pub epochs: usize,
            pub done: u64,
            pub total: u64,
            pub loss: f64,
            pub test_accuracy: Option<f64>,
        }
        pub struct LabelledImages {
            pub images: Vec<u8>,
            pub labels: Vec<u8>,
        }
        impl LabelledImages {
            pub fn read(_: &Path, _: &Path) -> Result<Self, Error> {
                missing()
            }
        }
        pub fn train(
            _: &LabelledImages,
            _: Option<&LabelledImages>,
            _: &TrainOptions,
            _: &(dyn Fn(&TrainProgress) + Sync),
        ) -> Result<DigitNet, Error> {
            missing()
        }
        pub struct DigitNet;
        impl DigitNet {
            pub fn default_model() -> Result<Self, Error> {
                missing()
            }
            pub fn load(_: &Path) -> Result<Self, Error> {
                missing()
            }
            pub fn save(&self, _: &Path) -> Result<(), Error> {
                missing()
            }
            pub fn with_card(self, _: ModelCard) -> Self {
                self
            }
            pub fn card(&self) -> &ModelCard {
                unreachable!()
            }
        }
        pub struct Evaluation {
            pub accuracy: f64,
            pub confusion: [[u64; 10]; 10],
        }
        pub fn evaluate(_: &DigitNet, _: &LabelledImages) -> Evaluation {
            Evaluation { accuracy: 0.0, confusion: [[0; 10]; 10] }
        }
    }
}
