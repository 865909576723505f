//! Response size limits, error texts, and integers beyond the precision of a double.

use crate::harness::*;
use http_body_util::{BodyExt, Full};
use nearness::api::{
    AnalyzedToken, Budget, Error, Fields, Item, Meter, Payload, Point, PointInput, Query, SearchParams,
};
use nearness::engine::{Database, Reads, Writes};
use nearness::grpc::payload::{exact_json, from_wire, to_struct};
use nearness::grpc::{Client, ClientOptions, ServerOptions, pb};
use nearness::types::{CollectionName, PointId};
use pb::query::Form;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const LIMIT: &str = "nearness-max-response-bytes";

fn local() -> (Arc<Database>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (Arc::new(Database::options().embedders(crate::registry()).open(folder.path()).expect("an engine")), folder)
}

fn id(number: usize) -> String {
    format!("p{number:04}")
}

/// Creates a thousand points of 6 KB each.
async fn create_thousand(server: &Running) {
    server.client.create_collection(plain("c", 1_536, pb::Metric::L2)).await.unwrap();
    let items = (0..1_000).map(|n| vector_item(&id(n), &[n as f32; 1_536])).collect();
    server.client.upsert(upsert("c", items)).await.unwrap();
}

fn all_fields() -> Option<pb::Fields> {
    Some(pb::Fields { payload: true, vector: true, ..Default::default() })
}

fn all_near() -> pb::SearchRequest {
    let mut request = near("c", Form::Id(id(1)), 1_000);
    request.params.as_mut().unwrap().fields = all_fields();
    request
}

fn all_by_id() -> pb::GetPointsRequest {
    pb::GetPointsRequest {
        collection: "c".into(),
        ids: (0..1_000).map(id).collect(),
        fields: all_fields(),
        min_sequence: 0,
    }
}

fn page(token: String) -> pb::ScrollRequest {
    pb::ScrollRequest {
        collection: "c".into(),
        limit: 1_000,
        page_token: token,
        fields: all_fields(),
        ..Default::default()
    }
}

/// Maximal message size that gRPC libraries receive by default, in bytes.
const DEFAULT_LIMIT: usize = 4 << 20;

/// A client as generated: it receives at most 4 MiB, or `limit`, which it also sends to the server.
struct StockClient {
    points: pb::points_client::PointsClient<Channel>,
    search: pb::search_client::SearchClient<Channel>,
    limit: Option<usize>,
}

impl StockClient {
    async fn new(server: &Running, limit: Option<usize>) -> Self {
        let (points, search) = (
            pb::points_client::PointsClient::new(server.channel().await),
            pb::search_client::SearchClient::new(server.channel().await),
        );
        match limit {
            Some(max) => Self {
                points: points.max_decoding_message_size(max),
                search: search.max_decoding_message_size(max),
                limit,
            },
            None => Self { points, search, limit },
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(limit) = self.limit {
            request.metadata_mut().insert(LIMIT, limit.to_string().parse().unwrap());
        }
        request
    }

    fn checked<M: prost::Message>(&self, page: tonic::Response<M>) -> M {
        let (page, limit) = (page.into_inner(), self.limit.unwrap_or(DEFAULT_LIMIT));
        assert!(page.encoded_len() <= limit, "{} of {limit} bytes", page.encoded_len());
        page
    }

    async fn get(&mut self, request: pb::GetPointsRequest) -> Result<pb::GetPointsResponse, Status> {
        let request = self.request(request);
        self.points.get(request).await.map(|page| self.checked(page))
    }

    async fn search(&mut self, request: pb::SearchRequest) -> Result<pb::SearchResponse, Status> {
        let request = self.request(request);
        self.search.search(request).await.map(|page| self.checked(page))
    }

    async fn batch(&mut self, request: pb::SearchBatchRequest) -> Result<pb::SearchBatchResponse, Status> {
        let request = self.request(request);
        self.search.search_batch(request).await.map(|page| self.checked(page))
    }

    /// Returns all points and missing ids, and the number of pages.
    async fn get_all(&mut self, mut request: pb::GetPointsRequest) -> (Vec<pb::Point>, Vec<String>, usize) {
        let (mut points, mut missing, mut pages) = (Vec::new(), Vec::new(), 0);
        loop {
            let page = self.get(request.clone()).await.expect("a page that the client can receive");
            let requested = std::mem::replace(&mut request.ids, page.remaining);
            assert_eq!(page.points.len() + page.missing.len() + request.ids.len(), requested.len());
            assert!(requested.ends_with(&request.ids) && requested.len() > request.ids.len(), "the rest, in order");
            points.extend(page.points);
            missing.extend(page.missing);
            pages += 1;
            if request.ids.is_empty() {
                return (points, missing, pages);
            }
        }
    }

    /// Returns all hits, and the number of pages.
    async fn search_all(&mut self, mut request: pb::SearchRequest) -> (Vec<pb::Hit>, usize) {
        let (mut hits, mut pages) = (Vec::new(), 0);
        loop {
            let page = self.search(request.clone()).await.expect("a page that the client can receive");
            hits.extend(page.hits);
            pages += 1;
            if page.next_offset == 0 {
                return (hits, pages);
            }
            assert_eq!(page.next_offset as usize, hits.len());
            request.offset = page.next_offset;
        }
    }

    /// Returns the hits of all queries, and the number of pages of the batch.
    async fn batch_all(&mut self, mut request: pb::SearchBatchRequest) -> (Vec<Vec<pb::Hit>>, usize) {
        let (mut all, mut pages) = (Vec::new(), 0);
        loop {
            let page = self.batch(request.clone()).await.expect("a page that the client can receive");
            pages += 1;
            let answered = page.responses.len();
            assert_eq!(page.next_query as usize, if answered < request.queries.len() { answered } else { 0 });
            for (query, response) in request.queries.drain(..answered).zip(page.responses) {
                let mut hits = response.hits;
                if response.next_offset > 0 {
                    assert_eq!((answered, response.next_offset as usize), (1, hits.len()), "the only query");
                    let rest = pb::SearchRequest {
                        collection: request.collection.clone(),
                        query: Some(query),
                        params: request.params.clone(),
                        min_sequence: 0,
                        offset: response.next_offset,
                    };
                    let mut page = self.search(rest.clone()).await.unwrap();
                    hits.append(&mut page.hits);
                    while page.next_offset > 0 {
                        page =
                            self.search(pb::SearchRequest { offset: page.next_offset, ..rest.clone() }).await.unwrap();
                        hits.append(&mut page.hits);
                    }
                }
                all.push(hits);
            }
            if request.queries.is_empty() {
                return (all, pages);
            }
        }
    }
}

fn batch(queries: usize, k: u32) -> pb::SearchBatchRequest {
    let query = |n: usize| pb::Query { form: Some(Form::Id(id(n))) };
    let params = Some(pb::SearchParams { k, fields: all_fields(), ..Default::default() });
    pb::SearchBatchRequest {
        collection: "c".into(),
        queries: (0..queries).map(query).collect(),
        params,
        min_sequence: 0,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_with_the_default_limit_read_everything_in_pages() {
    let server = start(local().0).await;
    create_thousand(&server).await;
    // As generated: it receives at most 4 MiB, and sends no limit.
    let mut stock = StockClient::new(&server, None).await;
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let reply = stock.points.scroll(page(token)).await.expect("a page that the client can receive").into_inner();
        seen.extend(reply.points.into_iter().map(|point| point.id));
        pages += 1;
        token = reply.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (0..1_000).map(id).collect::<Vec<_>>());
    assert_eq!(pages, 2, "6 MB");
    let mut roomy = StockClient::new(&server, Some(64 << 20)).await;
    // Two ids are missing, and one occurs three times.
    let mut request = all_by_id();
    for (index, other) in [(10, "missing".to_owned()), (300, id(7)), (999, id(7)), (1_000, "absent".to_owned())] {
        request.ids.insert(index, other);
    }
    let once = roomy.get(request.clone()).await.unwrap();
    assert_eq!((once.points.len(), once.missing.len(), once.remaining.len()), (1_002, 2, 0));
    assert_eq!(stock.get_all(request.clone()).await, (once.points.clone(), once.missing.clone(), 2));
    assert_eq!(server.client.get_points(request.clone()).await.unwrap(), once);
    let once = roomy.search(all_near()).await.unwrap();
    assert_eq!((once.hits.len(), once.next_offset), (999, 0));
    assert_eq!(stock.search_all(all_near()).await, (once.hits.clone(), 2));
    // 40 answers of 300 KB each, and three of 6 MB.
    for (request, expected) in [(batch(40, 50), 3..=4), (batch(3, 1_000), 3..=3)] {
        let once = roomy.batch(request.clone()).await.unwrap();
        assert_eq!((once.responses.len(), once.next_query), (request.queries.len(), 0));
        let once: Vec<Vec<pb::Hit>> = once.responses.into_iter().map(|response| response.hits).collect();
        let (all, pages) = stock.batch_all(request).await;
        assert!(all == once && expected.contains(&pages), "{pages} pages");
    }
    // Responses within the limit are complete.
    let mut request = all_by_id();
    request.ids.truncate(600);
    let reply = stock.get(request).await.unwrap();
    assert_eq!((reply.points.len(), reply.remaining.len()), (600, 0));
    let reply = stock.search(near("c", Form::Id(id(1)), 1_000)).await.unwrap();
    assert_eq!((reply.hits.len(), reply.next_offset), (999, 0));
    let reply = stock.batch(batch(10, 50)).await.unwrap();
    assert_eq!((reply.responses.len(), reply.next_query), (10, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_library_follows_pages_to_the_end() {
    let server = start(local().0).await;
    create_thousand(&server).await;
    let options = ClientOptions { max_message_bytes: 1_000_000, ..Default::default() };
    let small = Client::connect(&server.url, &options).await.unwrap();
    let mut request = all_by_id();
    request.ids.insert(500, "missing".to_owned());
    assert_eq!(small.get_points(request.clone()).await.unwrap(), server.client.get_points(request).await.unwrap());
    let rest = pb::SearchRequest { offset: 300, ..all_near() };
    for (request, expected) in [(all_near(), 999), (rest, 699)] {
        let (paged, once) =
            (small.search(request.clone()).await.unwrap(), server.client.search(request).await.unwrap());
        assert_eq!((paged.hits.len(), paged.next_offset), (expected, 0));
        assert_eq!(paged.hits, once.hits);
        // The search ran for each of the pages.
        assert!(paged.stats.unwrap().distances_computed >= 4 * once.stats.unwrap().distances_computed);
    }
    for mut request in [batch(40, 50), batch(3, 1_000)] {
        request.params.as_mut().unwrap().group_by = "group".into();
        let paged = small.search_batch(request.clone()).await.unwrap();
        let once = server.client.search_batch(request).await.unwrap();
        assert_eq!((paged.responses.len(), paged.next_query), (once.responses.len(), 0));
        for (paged, once) in paged.responses.iter().zip(&once.responses) {
            assert_eq!((&paged.hits, paged.next_offset), (&once.hits, 0));
            assert_eq!(paged.unknown_fields, once.unknown_fields);
        }
        assert_eq!(once.responses[0].unknown_fields, ["group"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_can_receive_more_get_more() {
    let server = start_with(local().0, ServerOptions { max_message_bytes: 8 << 20, ..options() }).await;
    create_thousand(&server).await;
    let mut roomy = StockClient::new(&server, Some(8 << 20)).await;
    let reply = roomy.search(all_near()).await.expect("the client sends its limit");
    assert_eq!((reply.hits.len(), reply.next_offset), (999, 0));
    assert_eq!(server.client.scroll(page(String::new())).await.unwrap().points.len(), 1_000);
    let mut points = pb::points_client::PointsClient::new(server.channel().await).max_decoding_message_size(usize::MAX);
    let mut get = async |limit: &str| {
        let mut request = Request::new(all_by_id());
        request.metadata_mut().insert(LIMIT, limit.parse().unwrap());
        points.get(request).await.map(|reply| reply.into_inner().points.len())
    };
    assert_eq!(get("7000000").await.unwrap(), 1_000);
    // The server's own limit still applies.
    assert_eq!(get("18446744073709551615").await.unwrap(), 1_000);
    let some = get("5000000").await.unwrap();
    assert!((790..820).contains(&some), "{some} of 6,160 bytes");
    assert_violation(&get("4 MiB").await.unwrap_err(), LIMIT, "decimal digits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_limit_gives_small_pages_and_one_point_that_does_not_fit_is_an_error() {
    let server = start(local().0).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let item = |n: usize, bytes: usize| pb::Item {
        payload: payload(serde_json::json!({ "x": "x".repeat(bytes) })),
        ..vector_item(&id(n), &[n as f32])
    };
    server.client.upsert(upsert("c", vec![item(0, 800), item(1, 800), item(2, 3_000)])).await.unwrap();
    let mut stock = StockClient::new(&server, Some(3_000)).await;
    #[track_caller]
    fn too_large<T: std::fmt::Debug>(reply: Result<T, Status>) {
        let status = reply.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        for part in ["\"p0002\"", "bytes", "the limit is 3000 bytes", "fewer fields", LIMIT, "at most 67108864"] {
            assert!(status.message().contains(part), "{part}: {status}");
        }
        let size: usize = status.message().split(" takes ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((3_000..3_100).contains(&size), "{status}");
    }
    let mut scroll = async |token: String| {
        let request = stock.request(page(token));
        stock.points.scroll(request).await.map(tonic::Response::into_inner)
    };
    let first = scroll(String::new()).await.unwrap();
    assert_eq!(first.points.len(), 2);
    too_large(scroll(first.next_page_token).await);

    let get = |ids: &[&str]| pb::GetPointsRequest { ids: ids.iter().map(|id| (*id).into()).collect(), ..all_by_id() };
    let page = stock.get(get(&["p0000", "p0001", "p0002", "missing"])).await.unwrap();
    assert_eq!((page.points.len(), page.missing.len()), (2, 0));
    assert_eq!(page.remaining, ["p0002", "missing"]);
    let page = stock.get(get(&["missing", "p0002"])).await.unwrap();
    assert_eq!((page.points.len(), page.missing, page.remaining), (0, vec!["missing".into()], vec!["p0002".into()]));
    too_large(stock.get(get(&["p0002", "missing"])).await);

    let near = |x: f32, k: u32, offset: u32| {
        let mut request = near_vector("c", &[x], k);
        request.params.as_mut().unwrap().fields = all_fields();
        pb::SearchRequest { offset, ..request }
    };
    let page = stock.search(near(0.0, 3, 0)).await.unwrap();
    assert_eq!((hit_ids(&page), page.next_offset), (vec!["p0000", "p0001"], 2));
    too_large(stock.search(near(0.0, 3, 2)).await);
    // A skipped hit uses no space.
    let page = stock.search(near(2.0, 3, 1)).await.unwrap();
    assert_eq!((hit_ids(&page), page.next_offset), (vec!["p0001", "p0000"], 0));
    for (offset, part) in [(3, "less than params.k (3), got 3"), (u32::MAX, "got 4294967295")] {
        assert_violation(&stock.search(near(0.0, 3, offset)).await.unwrap_err(), "offset", part);
    }

    let batch = |positions: &[f32]| pb::SearchBatchRequest {
        queries: positions.iter().map(|x| near(*x, 1, 0).query.unwrap()).collect(),
        params: near(0.0, 1, 0).params,
        ..batch(0, 1)
    };
    let page = stock.batch(batch(&[0.0, 1.0, 2.0, 0.0])).await.unwrap();
    assert_eq!((page.responses.len(), page.next_query), (2, 2));
    too_large(stock.batch(batch(&[2.0, 0.0])).await);
    let two = pb::SearchBatchRequest { params: near(0.0, 3, 0).params, ..batch(&[0.0]) };
    let page = stock.batch(two.clone()).await.unwrap();
    assert_eq!((page.responses.len(), page.responses[0].next_offset, page.next_query), (1, 2, 0), "the only query");
    let two = pb::SearchBatchRequest { queries: batch(&[0.0, 1.0]).queries, ..two };
    let page = stock.batch(two).await.unwrap();
    assert_eq!((page.responses.len(), page.responses[0].next_offset, page.next_query), (1, 2, 1));
}

/// Creates a collection with a text field of many stop words, so that it takes at least `bytes` in a list.
async fn create_large(server: &Running, name: &str, bytes: usize) {
    let stop_words = (0..bytes.div_ceil(50)).map(|n| format!("{n:050}")).collect();
    let text = pb::TextField { paths: vec!["body".into()], stop_words, ..Default::default() };
    let fields = vec![pb::Field { name: "body".into(), kind: Some(pb::field::Kind::Text(text)) }];
    let request = pb::CreateCollectionRequest { fields, ..plain(name, 2, pb::Metric::L2) };
    server.client.create_collection(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_are_listed_in_pages() {
    let server = start(local().0).await;
    let names: Vec<String> = (0..30).map(|n| format!("c{n:02}{}", "-".repeat(n))).collect();
    for (n, name) in names.iter().enumerate() {
        create_large(&server, name, n * 37 % 500).await;
    }
    let listed = |all: &[pb::Collection]| all.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let mut stock = pb::collections_client::CollectionsClient::new(server.channel().await);
    let mut page = async |after: &str, limit: u32, bytes: usize| {
        let mut request = Request::new(pb::ListCollectionsRequest { after: after.into(), limit });
        request.metadata_mut().insert(LIMIT, bytes.to_string().parse().unwrap());
        let page = stock.list(request).await?.into_inner();
        assert!(page.encoded_len() <= bytes, "{} of {bytes} bytes", page.encoded_len());
        Ok::<_, Status>((listed(&page.collections), page.next))
    };
    let one = server.client.list_collections(pb::ListCollectionsRequest::default()).await.unwrap();
    assert_eq!((listed(&one.collections), one.next.as_str()), (names.clone(), ""), "all fit");
    // By bytes, and by number; a page that holds the rest is the last.
    for (limit, bytes) in [(0, 900), (0, 1_500), (0, 5_000), (7, 1 << 20), (10, 1 << 20), (10, 3_000), (30, 1 << 20)] {
        let (mut all, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let (found, next) = page(&after, limit, bytes).await.unwrap();
            assert!(!found.is_empty() && (limit == 0 || found.len() <= limit as usize), "{found:?}");
            all.extend(found);
            pages += 1;
            if next.is_empty() {
                break;
            }
            assert_eq!(Some(&next), all.last());
            after = next;
        }
        assert_eq!(all, names, "{limit}, {bytes}");
        match limit {
            7 | 10 | 30 if bytes == 1 << 20 => assert_eq!(pages, 30_usize.div_ceil(limit as usize)),
            _ => assert!(pages > 2, "{pages} pages of {bytes} bytes"),
        }
    }
    // The name to begin after need not exist.
    assert_eq!(page("c15", 1, 1 << 20).await.unwrap(), (names[15..16].to_vec(), names[15].clone()));
    assert_eq!(page("d", 0, 1 << 20).await.unwrap(), (vec![], String::new()));
    assert_violation(&page("", 4_097, 1 << 20).await.unwrap_err(), "limit", "1 to 4096");
    assert_violation(&page("a b", 0, 1 << 20).await.unwrap_err(), "after", "characters");
    let status = page(&names[0], 0, 100).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    for part in [names[1].as_str(), "beside 67 bytes", "the limit is 100 bytes", "after it", LIMIT] {
        assert!(status.message().contains(part), "{part}: {status}");
    }
    // The client library continues up to the end, or up to the number requested.
    let options = ClientOptions { max_message_bytes: 1_500, ..Default::default() };
    let small = Client::connect(&server.url, &options).await.unwrap();
    let all = small.list_collections(pb::ListCollectionsRequest::default()).await.unwrap();
    assert_eq!((&all.collections, all.next.as_str()), (&one.collections, ""));
    let request = pb::ListCollectionsRequest { after: names[2].clone(), limit: 20 };
    let some = small.list_collections(request).await.unwrap();
    assert_eq!((listed(&some.collections), &some.next), (names[3..23].to_vec(), &names[22]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_with_the_default_limit_list_more_collections_than_fit() {
    let server = start(local().0).await;
    let names: Vec<String> = (0..100).map(|n| format!("c{n:03}")).collect();
    for name in &names {
        create_large(&server, name, 60_000).await;
    }
    // As generated: it receives at most 4 MiB, and sends no limit.
    let mut stock = pb::collections_client::CollectionsClient::new(server.channel().await);
    let first = stock.list(pb::ListCollectionsRequest::default()).await.expect("what fits").into_inner();
    assert!((60..80).contains(&first.collections.len()), "{} collections", first.collections.len());
    assert_eq!(first.next, names[first.collections.len() - 1]);
    let rest = pb::ListCollectionsRequest { after: first.next, limit: 0 };
    let rest = stock.list(rest).await.expect("the rest").into_inner();
    let all = first.collections.into_iter().chain(rest.collections).map(|one| one.name);
    assert_eq!((all.collect::<Vec<_>>(), rest.next.as_str()), (names, ""));
}

/// Returns a filter by a field that no point has, with a long name.
fn without_a_field() -> Option<pb::Filter> {
    let exists = pb::Exists { field: "no point has this field".repeat(10) };
    let exists = Box::new(pb::Filter { form: Some(pb::filter::Form::Exists(exists)) });
    Some(pb::Filter { form: Some(pb::filter::Form::Not(exists)) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_fit_at_any_limit() {
    let server = start(local().0).await;
    server.client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let item = |n: usize| pb::Item {
        payload: payload(serde_json::json!({ "x": "x".repeat(n * 37 % 500), "exact": u64::MAX - n as u64 })),
        ..vector_item(&id(n), &[n as f32, 1.0])
    };
    server.client.upsert(upsert("c", (0..40).map(item).collect())).await.unwrap();
    let mut get = all_by_id();
    get.ids = (0..50).map(id).collect();
    let mut search = all_near();
    let params = search.params.as_mut().unwrap();
    (params.k, params.filter) = (30, without_a_field());
    let batch_request = pb::SearchBatchRequest { params: search.params.clone(), ..batch(7, 1) };
    let mut roomy = StockClient::new(&server, Some(1 << 20)).await;
    let (points, hits) = (roomy.get(get.clone()).await.unwrap(), roomy.search(search.clone()).await.unwrap());
    let answers = roomy.batch(batch_request.clone()).await.unwrap();
    assert_eq!((points.points.len(), points.missing.len(), hits.hits.len()), (40, 10, 30));
    assert_eq!((hits.unknown_fields.len(), answers.responses.len()), (1, 7));
    let answers: Vec<Vec<pb::Hit>> = answers.responses.into_iter().map(|response| response.hits).collect();
    for limit in (1_300..30_000).step_by(397) {
        roomy.limit = Some(limit);
        let (found, missing, _) = roomy.get_all(get.clone()).await;
        assert_eq!((&found, &missing), (&points.points, &points.missing), "{limit}");
        assert_eq!(roomy.search_all(search.clone()).await.0, hits.hits, "{limit}");
        assert_eq!(roomy.batch_all(batch_request.clone()).await.0, answers, "{limit}");
        let mut request = pb::ScrollRequest { limit: 40, filter: without_a_field(), ..page(String::new()) };
        let mut scrolled = Vec::new();
        loop {
            let message = roomy.request(request.clone());
            // A page reserves 1 KiB for its token.
            let page = match roomy.points.scroll(message).await {
                Err(status) if limit < 2_300 => break assert_eq!(status.code(), Code::ResourceExhausted),
                page => roomy.checked(page.unwrap()),
            };
            scrolled.extend(page.points);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break assert_eq!(scrolled, points.points, "{limit}");
            }
        }
    }
    // Exact to the byte.
    for (less, remaining) in [(0, 0), (1, 1)] {
        roomy.limit = Some(points.encoded_len() - less);
        assert_eq!(
            roomy.get(get.clone()).await.unwrap().remaining.len(),
            remaining * 11,
            "the last point, and ten missing ids"
        );
    }
}

/// Refuses the points after the first `0`; counts the points.
struct LimitedMeter(usize, AtomicUsize);

impl Meter for LimitedMeter {
    fn charge(&self, _: usize) -> Result<(), nearness::api::Error> {
        Ok(())
    }
    fn add(&self, _: &Point) -> Result<(), Error> {
        // Lets all threads read concurrently.
        std::thread::sleep(std::time::Duration::from_micros(100));
        let added = self.1.fetch_add(1, Ordering::SeqCst) + 1;
        if added > self.0 { Err(Error::ResponseTooLarge("full".into())) } else { Ok(()) }
    }
    fn add_answer(&self, _: usize) -> Result<(), Error> {
        Ok(())
    }
    fn add_token(&self, _: &AnalyzedToken) -> Result<(), Error> {
        let added = self.1.fetch_add(1, Ordering::SeqCst) + 1;
        if added > self.0 { Err(Error::ResponseTooLarge("full".into())) } else { Ok(()) }
    }
    fn left(&self) -> usize {
        self.0.saturating_sub(self.1.load(Ordering::SeqCst))
    }
    fn restart(&self) {
        self.1.store(0, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terms_of_a_text_are_limited_and_charged_to_the_memory_of_requests() {
    let (engine, _folder) = local();
    let options = ServerOptions { max_message_bytes: 16 << 20, max_request_memory_bytes: 32 << 20, ..options() };
    let server = start_with(engine.clone(), options).await;
    let text = pb::TextField { paths: vec!["body".into()], ..Default::default() };
    let fields = vec![pb::Field { name: "body".into(), kind: Some(pb::field::Kind::Text(text)) }];
    let request = pb::CreateCollectionRequest { fields, ..plain("c", 2, pb::Metric::L2) };
    server.client.create_collection(request).await.unwrap();
    let mut stock = pb::search_client::SearchClient::new(server.channel().await).max_decoding_message_size(16 << 20);
    let mut analyze = async |words: usize, limit: Option<usize>| {
        let text = "a ".repeat(words);
        let mut request = Request::new(pb::AnalyzeRequest { collection: "c".into(), text, ..Default::default() });
        if let Some(limit) = limit {
            request.metadata_mut().insert(LIMIT, limit.to_string().parse().unwrap());
        }
        stock.analyze(request).await.map(|found| (found.get_ref().encoded_len(), found.into_inner().tokens.len()))
    };
    let (bytes, terms) = analyze(100_000, None).await.unwrap();
    assert_eq!(terms, 100_000);
    // Exact to the byte.
    assert_eq!(analyze(100_000, Some(bytes)).await.unwrap().1, terms);
    for (words, limit) in [(100_000, Some(bytes - 1)), (1 << 19, None)] {
        let status = analyze(words, limit).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        let bytes = limit.unwrap_or(DEFAULT_LIMIT).to_string();
        for part in ["\"text\"", bytes.as_str(), "in parts", LIMIT, "at most 16777216"] {
            assert!(status.message().contains(part), "{part}: {status}");
        }
    }
    // The client could receive the 9 MB of the terms, which take more memory than all requests may use.
    let status = analyze(1 << 19, Some(16 << 20)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("33554432 bytes of request memory"), "{status}");
    assert_eq!(analyze(200_000, Some(16 << 20)).await.unwrap().1, 200_000, "the memory is free again");
    // The rest of the text is not analyzed.
    let meter = Arc::new(LimitedMeter(1_000, AtomicUsize::new(0)));
    let name = CollectionName::new("c").unwrap();
    let terms = Budget::new(meter.clone()).run(|| engine.analyze(&name, "", &"a ".repeat(1 << 19)));
    assert!(matches!(terms, Err(Error::ResponseTooLarge(_))), "{terms:?}");
    assert_eq!(meter.1.load(Ordering::SeqCst), 1_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_not_read_beyond_its_limit() {
    let (engine, _folder) = local();
    let name = CollectionName::new("c").unwrap();
    let server = start(engine.clone()).await;
    server.client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let point = |n: usize| Item {
        id: PointId::new(id(n)).unwrap(),
        source: PointInput::Vector(vec![n as f32, 1.0]),
        payload: Payload::from_iter([("group".to_owned(), (n % 10).into())]),
        vectors: Default::default(),
    };
    engine.upsert(&name, (0..500).map(point).collect()).unwrap();
    let params = |k: u32, group_by: Option<&str>| {
        let mut params = SearchParams::new(k).fields(Fields { payload: true, vector: true });
        params.group_by = group_by.map(str::to_owned);
        params
    };
    let limited = |limit: usize, call: &dyn Fn() -> Result<usize, Error>| {
        let meter = Arc::new(LimitedMeter(limit, AtomicUsize::new(0)));
        (Budget::new(meter.clone()).run(call), meter.1.load(Ordering::SeqCst))
    };
    let queries: Vec<Query> = (0..200).map(|n| Query::Vector(vec![n as f32, 0.0])).collect();
    let (answers, read) = limited(1_000, &|| engine.search(&name, &queries, &params(100, None)).map(|all| all.len()));
    assert_eq!((answers.unwrap(), read), (10, 1_001), "of 200 answers, 20,000 points");
    let (answer, read) = limited(60, &|| {
        let mut all = engine.search(&name, &queries, &params(100, None))?;
        let answer = all.remove(0);
        assert_eq!((all.len(), answer.next_offset), (0, Some(60)));
        Ok(answer.hits.len())
    });
    assert_eq!((answer.unwrap(), read), (60, 61));
    // Skipped hits are not read.
    let (answer, read) = limited(100, &|| {
        let answer = engine.search(&name, &queries[..1], &params(100, None).offset(60))?.remove(0);
        assert_eq!(answer.next_offset, None);
        Ok(answer.hits.len())
    });
    assert_eq!((answer.unwrap(), read), (40, 40));
    let (answer, read) =
        limited(0, &|| engine.search(&name, &queries[..1], &params(100, None)).map(|all| all[0].hits.len()));
    assert!(matches!(answer, Err(Error::ResponseTooLarge(_))) && read == 1, "{answer:?} {read}");
    let answer = engine.search(&name, &queries[..1], &params(100, None).offset(100));
    assert!(matches!(&answer, Err(Error::Invalid { field, .. }) if field == "offset"), "{answer:?}");
    let ids = vec![PointId::new(id(7)).unwrap(); 10_000];
    let whole = Fields { payload: true, vector: true };
    let (points, read) = limited(50, &|| engine.get(&name, &ids, whole).map(|all| all.len()));
    assert_eq!((points.unwrap(), read), (50, 51));
    // Only returned groups are counted.
    let (groups, read) =
        limited(10, &|| engine.search(&name, &queries[..1], &params(10, Some("group"))).map(|all| all[0].hits.len()));
    assert_eq!((groups.unwrap(), read), (10, 10));
    let (groups, read) = limited(10, &|| {
        let answer = engine.search(&name, &queries[..1], &params(10, Some("group")).offset(4))?;
        Ok(answer[0].hits.len())
    });
    assert_eq!((groups.unwrap(), read), (6, 6));
    let (page, read) = limited(50, &|| {
        let page = engine.scroll(&name, None, 400, whole, None)?;
        assert!(page.more);
        Ok(page.points.len())
    });
    assert_eq!((page.unwrap(), read), (50, 51));
}

/// Returns code and message of a call with this body, from headers or trailers.
async fn status_of(server: &Running, path: &str, encoding: Option<&str>, body: Vec<u8>) -> (String, String) {
    let mut request = http::Request::post(format!("{}/{path}", server.url)).header("content-type", "application/grpc");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request.body(Body::new(Full::from(body))).unwrap();
    let mut channel = server.channel().await;
    std::future::poll_fn(|context| Service::<http::Request<Body>>::poll_ready(&mut channel, context)).await.unwrap();
    let (head, body) = channel.call(request).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let get = |name: &str| {
        let value = head.headers.get(name).or_else(|| trailers.get(name));
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    (get("grpc-status"), get("grpc-message"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_and_malformed_requests_are_invalid_arguments() {
    let server = start(local().0).await;
    let truncated = [&[0, 0, 0, 0, 100][..], &[1; 50]].concat();
    let invalid_gzip = [&[1, 0, 0, 0, 4][..], b"junk"].concat();
    for path in ["nearness.v1.Points/Upsert", "nearness.v1.Points/UpsertStream"] {
        for (encoding, body, part) in [
            (None, truncated.clone(), "within%20its%20message"),
            (None, truncated[..3].to_vec(), "within%20its%20message"),
            (None, vec![7, 0, 0, 0, 0], "first%20byte"),
            (Some("gzip"), invalid_gzip.clone(), "decompressed"),
        ] {
            let (code, message) = status_of(&server, path, encoding, body).await;
            assert_eq!(code, "3", "{path} {part}: {message}");
            assert!(message.contains(part), "{path} {part}: {message}");
        }
    }
    let (code, message) = status_of(&server, "nearness.v1.Points/Upsert", None, Vec::new()).await;
    assert_eq!((code.as_str(), message.contains("no%20message")), ("3", true), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_do_not_see_the_directories_of_the_server() {
    let (engine, folder) = local();
    let running = start(engine).await;
    running.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    running.stop().await.unwrap().unwrap();
    for collection in std::fs::read_dir(folder.path().join("collections")).unwrap() {
        std::fs::write(collection.unwrap().path().join("points.redb"), b"no database").unwrap();
    }
    let engine = Database::options()
        .embedders(crate::registry())
        .open(folder.path())
        .expect("the directory opens with a damaged collection");
    let server = start(Arc::new(engine)).await;
    let directory = folder.path().to_str().unwrap();
    let (code, message) = refused(server.client.search(near_vector("c", &[1.0], 1)).await);
    assert_eq!(code, "DATA_LOSS");
    let info = server.client.collection(pb::GetCollectionRequest { name: "c".into() }).await.unwrap();
    let problems = info.collection.unwrap().problems;
    for text in problems.iter().chain([&message]) {
        assert!(text.contains("points.redb") && !text.contains(directory), "{text}");
    }
}

fn equals(form: pb::filter_value::Form) -> Option<pb::Filter> {
    let equals = pb::Equals { field: "n".into(), value: Some(pb::FilterValue { form: Some(form) }) };
    Some(pb::Filter { form: Some(pb::filter::Form::Equals(equals)) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integers_keep_all_their_digits() {
    use pb::filter_value::Form::{IntegerValue, UnsignedValue};
    let server = start(local().0).await;
    server.client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let payloads = [
        serde_json::json!({ "n": 9_007_199_254_740_992i64 }),
        serde_json::json!({ "n": 9_007_199_254_740_993i64, "a": [i64::MIN, { "b": u64::MAX }] }),
        serde_json::json!({ "n": u64::MAX }),
        serde_json::json!({ "n": -9_223_372_036_854_775_807i64 }),
    ];
    let payloads = payloads.map(|payload| payload.as_object().unwrap().clone());
    let items: Vec<pb::Item> = payloads
        .iter()
        .enumerate()
        .map(|(n, payload)| pb::Item {
            payload: (n % 2 == 0).then(|| to_struct(payload.clone())),
            payload_json: exact_json(payload),
            ..vector_item(&id(n), &[n as f32])
        })
        .collect();
    server.client.upsert(upsert("c", items.clone())).await.unwrap();
    let reply = server.client.scroll(page(String::new())).await.unwrap();
    let returned =
        reply.points.into_iter().map(|point| from_wire(point.payload, &point.payload_json, &"payload").unwrap());
    assert_eq!(returned.collect::<Vec<_>>(), payloads);
    let mut request = near_vector("c", &[1.0], 1);
    request.params.as_mut().unwrap().fields = all_fields();
    let hit = server.client.search(request).await.unwrap().hits.remove(0);
    assert_eq!(from_wire(hit.payload, &hit.payload_json, &"payload").unwrap(), payloads[1]);
    for (form, expected) in [
        (IntegerValue(9_007_199_254_740_992), 1),
        (IntegerValue(9_007_199_254_740_993), 1),
        (IntegerValue(9_007_199_254_740_994), 0),
        (IntegerValue(-9_223_372_036_854_775_807), 1),
        (UnsignedValue(u64::MAX), 1),
        (UnsignedValue(u64::MAX - 1), 0),
    ] {
        let count = pb::CountRequest { collection: "c".into(), filter: equals(form.clone()), min_sequence: 0 };
        assert_eq!(server.client.count(count).await.unwrap().count, expected, "{form:?}");
    }
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let too_large = pb::Item { payload_json: r#"{"n": 18446744073709551616}"#.into(), ..items[0].clone() };
    let status = points.upsert(upsert("c", vec![too_large])).await.unwrap_err();
    assert_violation(&status, "items[0].payload_json", "18446744073709551616");
}
