//! Authentication and authorization: keys, roles, scopes, the audit log, and limits per client.

use crate::harness::*;
use crate::registry;
use crate::support::memory_engine::MemoryEngine;
use nearness::auth::{Access, AuditLog, KeyGrant, NewKey, Principal, Reloadable, Role, Scope};
use nearness::grpc::{Client, ClientOptions, ServerOptions, pb};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tonic::{Code, Request};
use tonic_types::StatusExt;

pub(crate) fn principal(name: &str, role: Role, collections: &[&str]) -> Principal {
    Principal { name: name.into(), role, scope: Scope::new(collections).unwrap() }
}

pub(crate) fn grant(name: &str, role: Role, collections: &[&str]) -> (String, KeyGrant) {
    let NewKey { secret, hash } = NewKey::generate().unwrap();
    (secret, KeyGrant { hash, principal: principal(name, role, collections) })
}

pub(crate) fn engine() -> Arc<MemoryEngine> {
    Arc::new(MemoryEngine::new(registry()))
}

pub(crate) fn with_access(access: Access) -> ServerOptions {
    ServerOptions { access: Reloadable::new(access), ..options() }
}

/// Returns a client with this credential.
pub(crate) async fn holder(url: &str, credential: &str) -> Client {
    let options = ClientOptions { credential: Some(credential.into()), ..Default::default() };
    Client::connect(url, &options).await.unwrap()
}

pub(crate) fn count(collection: &str) -> pb::CountRequest {
    pb::CountRequest { collection: collection.into(), ..Default::default() }
}

fn named(collection: &str) -> pb::GetCollectionRequest {
    pb::GetCollectionRequest { name: collection.into() }
}

pub(crate) fn one(collection: &str) -> pb::UpsertRequest {
    upsert(collection, vec![vector_item("a", &[1.0, 2.0])])
}

pub(crate) async fn names(client: &Client) -> Vec<String> {
    let list = client.list_collections(pb::ListCollectionsRequest::default()).await.unwrap();
    list.collections.into_iter().map(|collection| collection.name).collect()
}

#[tokio::test]
async fn keys_grant_access_by_role_and_scope() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.jsonl");
    let (admin, admin_grant) = grant("root", Role::Admin, &["*"]);
    let (writer, writer_grant) = grant("ingest", Role::Write, &["films-*"]);
    let (reader, reader_grant) = grant("page", Role::Read, &["films-a"]);
    let access = Access::restricted(vec![admin_grant, writer_grant, reader_grant], vec![], None);
    let options = ServerOptions { audit: Some(Arc::new(AuditLog::open(&log).unwrap())), ..with_access(access) };
    let server = start_with(engine(), options).await;
    let (admin, writer, reader) =
        (holder(&server.url, &admin).await, holder(&server.url, &writer).await, holder(&server.url, &reader).await);
    for name in ["films-a", "films-b", "words"] {
        admin.create_collection(plain(name, 2, pb::Metric::L2)).await.unwrap();
    }
    writer.upsert(one("films-a")).await.unwrap();
    writer.upsert(one("films-b")).await.unwrap();
    assert_eq!(reader.count(count("films-a")).await.unwrap().count, 1);
    assert_eq!(reader.search(near_vector("films-a", &[1.0, 2.0], 1)).await.unwrap().hits.len(), 1);
    assert_eq!(names(&admin).await, ["films-a", "films-b", "words"]);
    assert_eq!(names(&writer).await, ["films-a", "films-b"]);
    assert_eq!(names(&reader).await, ["films-a"]);
    // A page counts the visible collections, and is the last if only others follow.
    let page = pb::ListCollectionsRequest { after: "films-a".into(), limit: 1 };
    let page = writer.list_collections(page).await.unwrap();
    assert_eq!((page.collections.len(), page.collections[0].name.as_str(), page.next.as_str()), (1, "films-b", ""));

    // An insufficient role.
    let role = |call: &str, needed: &str, has: &str| {
        ("PERMISSION_DENIED", format!("{call} needs the role {needed}; this caller has the role {has}"))
    };
    assert_eq!(refused(reader.upsert(one("films-a")).await), role("Points/Upsert", "write", "read"));
    let set = pb::PayloadSet { payload: payload(serde_json::json!({"n": 1})), ..Default::default() };
    let mark = |name: &str| pb::UpdatePayloadRequest {
        collection: name.into(),
        ids: vec!["a".into()],
        actions: vec![pb::PayloadAction { action: Some(pb::payload_action::Action::Set(set.clone())) }],
        ..Default::default()
    };
    let vectors = |name: &str| pb::UpdateVectorsRequest { collection: name.into(), items: one(name).items };
    assert_eq!(writer.update_payload(mark("films-a")).await.unwrap().updated, 1);
    assert_eq!(writer.update_vectors(vectors("films-a")).await.unwrap().updated, 1);
    assert_eq!(refused(reader.update_payload(mark("films-a")).await), role("Points/UpdatePayload", "write", "read"));
    assert_eq!(refused(reader.update_vectors(vectors("films-a")).await), role("Points/UpdateVectors", "write", "read"));
    let create = writer.create_collection(plain("films-c", 2, pb::Metric::L2)).await;
    assert_eq!(refused(create), role("Collections/Create", "admin", "write"));
    let delete = pb::DeleteCollectionRequest { name: "films-a".into() };
    assert_eq!(refused(writer.delete_collection(delete).await), role("Collections/Delete", "admin", "write"));
    // A collection out of scope is refused alike, whether it exists or not.
    let denied = ("PERMISSION_DENIED", "the caller may not access this collection".to_owned());
    for name in ["words", "films", "nowhere"] {
        assert_eq!(refused(writer.upsert(one(name)).await), denied, "{name}");
        assert_eq!(refused(writer.update_payload(mark(name)).await), denied, "{name}");
        assert_eq!(refused(writer.update_vectors(vectors(name)).await), denied, "{name}");
        assert_eq!(refused(reader.count(count(name)).await), denied);
        assert_eq!(refused(reader.search(near_vector(name, &[1.0, 2.0], 1)).await), denied);
        assert_eq!(refused(reader.collection(named(name)).await), denied);
        let stream = tokio_stream::iter(vec![pb::UpsertStreamRequest {
            collection: name.into(),
            item: Some(vector_item("s", &[1.0, 2.0])),
            ..Default::default()
        }]);
        assert_eq!(refused(writer.upsert_stream(stream).await.unwrap().next().await), denied);
    }
    // Invalid credentials.
    for credential in ["nrn_", "nrn_00", "secret", &format!("nrn_{}", "0".repeat(64))] {
        let (code, message) = refused(holder(&server.url, credential).await.count(count("films-a")).await);
        assert_eq!((code, message.as_str()), ("UNAUTHENTICATED", "this server requires a valid credential"));
    }
    assert_eq!(refused(server.client.count(count("films-a")).await).0, "UNAUTHENTICATED");
    assert!(server.client.serving("nearness.v1.Search").await.unwrap(), "health needs no credential");
    assert_eq!(admin.count(count("words")).await.unwrap().count, 0);

    let lines = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let audited = |caller: Value, call: &str, collection: Value, outcome: &str| {
        let same = |line: &&Value| {
            line["caller"] == caller
                && line["call"] == format!("nearness.v1.{call}")
                && line["collection"] == collection
                && line["outcome"] == outcome
        };
        lines.iter().filter(same).count()
    };
    assert_eq!(audited(json!("root"), "Collections/Create", json!("words"), "OK"), 1, "{lines:#?}");
    assert_eq!(audited(json!("ingest"), "Points/Upsert", json!("films-a"), "OK"), 1);
    assert_eq!(audited(json!("ingest"), "Points/Upsert", json!("words"), "PERMISSION_DENIED"), 1);
    assert_eq!(audited(json!("ingest"), "Points/UpsertStream", json!("words"), "PERMISSION_DENIED"), 1, "{lines:#?}");
    assert_eq!(audited(json!("page"), "Points/Upsert", json!(null), "PERMISSION_DENIED"), 1);
    assert_eq!(audited(json!("page"), "Points/Count", json!("words"), "PERMISSION_DENIED"), 1);
    assert_eq!(audited(json!(null), "Points/Count", json!(null), "UNAUTHENTICATED"), 5);
    assert_eq!(audited(json!("page"), "Points/Count", json!("films-a"), "OK"), 0, "reads are not audited");
    assert!(lines.iter().all(|line| line["peer"].as_str().unwrap().starts_with("127.0.0.1:")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn keys_are_replaced_without_a_restart() {
    let (first, first_grant) = grant("first", Role::Read, &["*"]);
    let (second, second_grant) = grant("second", Role::Read, &["*"]);
    let access = Reloadable::new(Access::restricted(vec![first_grant], vec![], None));
    let server = start_with(engine(), ServerOptions { access: access.clone(), ..options() }).await;
    let (first, second) = (holder(&server.url, &first).await, holder(&server.url, &second).await);
    assert!(names(&first).await.is_empty());
    assert_eq!(refused(second.list_collections(pb::ListCollectionsRequest::default()).await).0, "UNAUTHENTICATED");
    access.set(Arc::new(Access::restricted(vec![second_grant], vec![], None)));
    assert_eq!(refused(first.list_collections(pb::ListCollectionsRequest::default()).await).0, "UNAUTHENTICATED");
    assert!(names(&second).await.is_empty());
}

#[tokio::test]
async fn requests_have_ids() {
    let (key, key_grant) = grant("a", Role::Read, &["*"]);
    let server = start_with(engine(), with_access(Access::restricted(vec![key_grant], vec![], None))).await;
    let mut collections = pb::collections_client::CollectionsClient::new(server.channel().await);
    let mut request_id = async |id: Option<&str>, key: Option<&str>| {
        let mut request = Request::new(pb::ListCollectionsRequest::default());
        if let Some(id) = id {
            request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        }
        if let Some(key) = key {
            request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        let metadata = match collections.list(request).await {
            Ok(reply) => reply.metadata().clone(),
            Err(status) => status.metadata().clone(),
        };
        metadata.get("x-request-id").expect("an id").to_str().unwrap().to_owned()
    };
    assert_eq!(request_id(Some("ab-12_.Z"), Some(&key)).await, "ab-12_.Z");
    assert_eq!(request_id(Some("ab-12"), None).await, "ab-12");
    let generated = request_id(None, Some(&key)).await;
    assert!(generated.len() == 32 && generated != request_id(None, Some(&key)).await);
    assert_eq!(request_id(Some("not valid"), Some(&key)).await.len(), 32);

    // Two credentials are refused.
    let mut request = Request::new(pb::ListCollectionsRequest::default());
    for _ in 0..2 {
        request.metadata_mut().append("authorization", format!("Bearer {key}").parse().unwrap());
    }
    assert_eq!(collections.list(request).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_cannot_use_all_permits() {
    let engine = engine();
    let (greedy, greedy_grant) = grant("greedy", Role::Read, &["*"]);
    let (modest, modest_grant) = grant("modest", Role::Admin, &["*"]);
    let access = Access::restricted(vec![greedy_grant, modest_grant], vec![], None);
    let limits =
        ServerOptions { max_concurrent_requests: 3, max_concurrent_requests_per_client: 2, ..with_access(access) };
    let server = start_with(engine.clone(), limits).await;
    let greedy_key = greedy;
    let (greedy, modest) = (holder(&server.url, &greedy_key).await, holder(&server.url, &modest).await);
    modest.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (arrived_sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let released = Mutex::new(released);
    engine.set_hook(move |operation| {
        if operation == "search" {
            arrived_sender.send(()).unwrap();
            let _ = released.lock().unwrap().recv_timeout(Duration::from_secs(30));
        }
        Ok(())
    });
    let search = || near_vector("c", &[1.0, 2.0], 1);
    let searches: Vec<_> = (0..2).map(|_| tokio::spawn(search_once_admitted(greedy.clone(), search()))).collect();
    arrived.recv().await.unwrap();
    let (code, message) = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            // Until the second search is admitted.
            match greedy.count(count("c")).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break (error.code(), error.to_string()),
            }
        }
    })
    .await
    .expect("the third request of one client is refused");
    assert_eq!(code, "RESOURCE_EXHAUSTED");
    assert!(message.contains("2 requests of this client"), "{message}");
    assert_eq!(modest.count(count("c")).await.unwrap().count, 0, "another client has a permit");

    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let mut request = Request::new(count("c"));
    request.metadata_mut().insert("authorization", format!("Bearer {greedy_key}").parse().unwrap());
    let status = points.count(request).await.unwrap_err();
    let delay = status.get_error_details().retry_info().and_then(|info| info.retry_delay).expect("a retry delay");
    assert!((100..=200).contains(&delay.as_millis()), "{delay:?}");
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert_eq!(pushback, delay.as_millis().to_string());
    let unauthenticated = points.count(count("c")).await.unwrap_err();
    assert_eq!(unauthenticated.code(), Code::Unauthenticated, "{unauthenticated}");
    drop(release);
    for task in searches {
        task.await.unwrap().unwrap();
    }
    assert_eq!(greedy.count(count("c")).await.unwrap().count, 0, "the permits are free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_share_a_memory_limit() {
    let engine = engine();
    let limits = ServerOptions { max_message_bytes: 64 << 10, max_request_memory_bytes: 100 << 10, ..options() };
    let server = start_with(engine.clone(), limits).await;
    server.client.create_collection(plain("c", 2_000, pb::Metric::L2)).await.unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (arrived_sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let released = Mutex::new(released);
    engine.set_hook(move |operation| {
        if operation == "upsert" {
            let _ = arrived_sender.send(());
            let _ = released.lock().unwrap().recv_timeout(Duration::from_secs(30));
        }
        Ok(())
    });
    // 56 kB.
    let items = || (0..7).map(|n| vector_item(&format!("p{n}"), &[n as f32; 2_000])).collect();
    let client = server.client.clone();
    let first = tokio::spawn(async move { client.upsert(upsert("c", items())).await });
    arrived.recv().await.unwrap();
    let mut points = pb::points_client::PointsClient::new(server.channel().await);
    let status = points.upsert(upsert("c", items())).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("use all 102400 bytes"), "{status}");
    assert!(status.get_error_details().retry_info().is_some(), "{status:?}");
    // A small request fits, unless it may decompress to a large one.
    points.count(count("c")).await.unwrap();
    let mut zipped = points.clone().send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let status = zipped.count(count("c")).await.unwrap_err();
    assert!(status.message().contains("use all 102400 bytes"), "{status}");
    drop(release);
    first.await.unwrap().unwrap();
    points.upsert(upsert("c", items())).await.expect("the memory is released");
    zipped.count(count("c")).await.unwrap();
}

/// Trains word vectors on the texts of a collection, or on a file; returns their fingerprint.
async fn train(client: &Client, name: &str, collection: &str, text: &str) -> String {
    use pb::train_embedder_request::Part;
    let config = pb::WordTrainingConfig {
        dimension: 4,
        min_count: 1,
        epochs: 1,
        subsample: Some(0.0),
        collection: collection.into(),
        ..Default::default()
    };
    let config = Some(pb::train_settings::Config::Words(config));
    let settings = pb::TrainSettings { config, threads: 1, name: name.into(), ..Default::default() };
    let piece = pb::FilePiece { file: "words.txt".into(), data: text.as_bytes().to_vec().into() };
    let parts = [Some(Part::Settings(settings)), (!text.is_empty()).then_some(Part::Piece(piece))];
    let parts: Vec<_> = parts.into_iter().flatten().map(|part| pb::TrainEmbedderRequest { part: Some(part) }).collect();
    let mut replies = client.train_embedder(tokio_stream::iter(parts)).await.unwrap();
    let mut fingerprint = None;
    while let Some(reply) = replies.next().await.unwrap() {
        if let Some(pb::train_embedder_response::State::Model(model)) = reply.state {
            fingerprint = Some(model.fingerprint);
        }
    }
    fingerprint.expect("the last reply is the model")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_visible_to_callers_that_may_read_its_texts() {
    let (engine, _guard) = crate::local();
    let (root, root_grant) = grant("root", Role::Admin, &["*"]);
    let (other, other_grant) = grant("other", Role::Admin, &["public-*"]);
    let (insider, insider_grant) = grant("insider", Role::Read, &["secret"]);
    let access = Access::restricted(vec![root_grant, other_grant, insider_grant], vec![], None);
    let server = start_with(engine, with_access(access)).await;
    let root = holder(&server.url, &root).await;
    let (other, insider) = (holder(&server.url, &other).await, holder(&server.url, &insider).await);
    root.create_collection(embedded("secret", "")).await.unwrap();
    let texts = (0..50).map(|n| text_item(&format!("t{n}"), "codename albatross flies at midnight")).collect();
    root.upsert(upsert("secret", texts)).await.unwrap();
    // The earlier of two models of one name is visible to all.
    let open = train(&root, "shared", "", &"river boat water\n".repeat(50)).await;
    let hidden = train(&root, "hush", "secret", "").await;
    let shadow = train(&root, "shared", "secret", "codename codename albatross\n").await;

    let by = |collection: &str, name: &str| {
        let space = pb::EmbedderRef { name: name.into(), output: String::new() };
        let space = Some(pb::create_collection_request::Space::Embedder(space));
        pb::CreateCollectionRequest { name: collection.into(), space, ..Default::default() }
    };
    let models = async |client: &Client| -> Vec<(String, bool)> {
        let listed = client.models(pb::ListModelsRequest {}).await.unwrap().models;
        // The card of the hidden model names its collection.
        let text = format!("{listed:?}");
        assert!(text.contains("secret") == text.contains("hush"), "{text}");
        listed.into_iter().map(|model| (model.fingerprint, model.current)).collect()
    };
    let names = async |client: &Client| -> Vec<String> {
        let listed = client.list_embedders(pb::ListEmbeddersRequest {}).await.unwrap().embedders;
        listed.into_iter().map(|one| one.name).collect()
    };
    for client in [&root, &insider] {
        let seen = models(client).await;
        let current =
            |fingerprint: &String| seen.iter().find(|(one, _)| one == fingerprint).map(|(_, current)| *current);
        assert_eq!((current(&open), current(&hidden), current(&shadow)), (Some(false), Some(true), Some(true)));
        assert!(names(client).await.contains(&"hush".to_owned()));
        let near = pb::NearestWordsRequest {
            embedder: "hush".into(),
            plus: vec!["albatross".into()],
            k: 1,
            ..Default::default()
        };
        assert_eq!(client.nearest_words(near).await.unwrap().words.len(), 1);
    }

    // For other callers the model does not exist: the answers equal those for an unknown name.
    let seen = models(&other).await;
    assert!(seen.iter().any(|(one, current)| *one == open && *current), "{seen:?}");
    assert!(!seen.iter().any(|(one, _)| *one == hidden || *one == shadow), "{seen:?}");
    let names = names(&other).await;
    assert!(!names.iter().any(|name| name.contains("hush")) && names.contains(&"shared".to_owned()), "{names:?}");
    other.create_collection(embedded("public-a", "")).await.unwrap();
    for hidden_name in ["hush".to_owned(), "hush-text".to_owned(), format!("hush@{hidden}"), format!("shared@{shadow}")]
    {
        let mut answers = Vec::new();
        for name in [hidden_name.as_str(), "nothing"] {
            let input = pb::EmbedInput { form: Some(pb::embed_input::Form::Text("albatross".into())) };
            let embedder = name.to_owned();
            let refusals = [
                refused(other.embedder(pb::GetEmbedderRequest { name: embedder.clone() }).await),
                refused(
                    other
                        .embed(pb::EmbedRequest {
                            embedder: embedder.clone(),
                            output: String::new(),
                            inputs: vec![input],
                        })
                        .await,
                ),
                refused(
                    other
                        .nearest_words(pb::NearestWordsRequest {
                            embedder: embedder.clone(),
                            plus: vec!["albatross".into()],
                            minus: vec![],
                            k: 3,
                        })
                        .await,
                ),
                refused(
                    other
                        .fill_blank(pb::FillBlankRequest {
                            embedder: embedder.clone(),
                            pattern: "codename ___".into(),
                            k: 3,
                        })
                        .await,
                ),
                refused(
                    other
                        .next_token(pb::NextTokenRequest { embedder: embedder.clone(), text: "codename".into(), k: 3 })
                        .await,
                ),
                refused(
                    other
                        .classify(pb::ClassifyRequest { embedder: embedder.clone(), image: vec![0; 784].into() })
                        .await,
                ),
                refused(
                    other
                        .activations(pb::ActivationsRequest { embedder: embedder.clone(), image: vec![0; 784].into() })
                        .await,
                ),
                refused(other.create_collection(by("public-b", name)).await),
                {
                    let embedder = Some(pb::EmbedderRef { name: embedder.clone(), output: String::new() });
                    let request =
                        pb::ReembedCollectionRequest { name: "public-a".into(), embedder, trust_payload: false };
                    let mut replies = other.reembed(request).await.unwrap();
                    refused(replies.next().await)
                },
            ];
            answers.push(refusals.map(|(code, message)| (code, message.replace(name, "NAME"))));
        }
        assert_eq!(answers[0], answers[1]);
        assert!(answers[0].iter().all(|(code, _)| *code == "NOT_FOUND"), "{answers:?}");
        assert!(answers[0].iter().all(|(_, message)| !message.contains("secret") && !message.contains("hush")));
    }
    let get = |fingerprint: &str| other.model(pb::GetModelRequest { fingerprint: fingerprint.into() });
    let unknown = "0".repeat(64);
    let answer = |(code, message): (&'static str, String), of: &str| (code, message.replace(of, "FINGERPRINT"));
    for fingerprint in [&hidden, &shadow] {
        assert_eq!(
            answer(refused(get(fingerprint).await), fingerprint),
            answer(refused(get(&unknown).await), &unknown)
        );
    }
    // A shared name refers to the model that the caller may see.
    let created = other.create_collection(by("public-c", "shared")).await.unwrap().collection.unwrap();
    assert_eq!(created.embedder_fingerprint, open);
    let created = root.create_collection(by("public-d", "shared")).await.unwrap().collection.unwrap();
    assert_eq!(created.embedder_fingerprint, shadow);
}
