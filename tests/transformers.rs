//! Imported models behind a server: insert, query, next token, another model of the same name, a snapshot that carries one.

#![cfg(feature = "transformers")]

#[path = "service/harness.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared: other tests use the rest")]
mod harness;

use harness::*;
use nearness::collection::{Engine, LocalEngine};
use nearness::depot::Depot;
use nearness::embed::transformers::{Family, import};
use nearness::embed::{ModelCard, Registry};
use nearness::grpc::pb;
use nearness::types::CollectionName;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transformers")
}

/// A folder as sentence-transformers saves it, imported as the model `mine`.
fn bert(kind: &str, out: &Path) {
    let folder = tempfile::tempdir().unwrap();
    for from in [fixtures().join("bert/plain"), fixtures().join("bert").join(kind)] {
        for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            fs::copy(&entry, folder.path().join(entry.file_name().unwrap())).unwrap();
        }
    }
    let pooling = fixtures().join("bert").join(kind).join("1_Pooling");
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    fs::copy(pooling.join("config.json"), folder.path().join("1_Pooling/config.json")).unwrap();
    let card = ModelCard { name: "mine".into(), ..ModelCard::default() };
    import(Family::Bert, folder.path(), out, card).unwrap();
}

fn registry(folders: &[&Path]) -> Registry {
    let mut registry = Registry::default();
    folders.iter().for_each(|folder| registry.add_folder(folder).unwrap());
    registry
}

fn create(embedder: &str) -> pb::CreateRequest {
    let embedder = pb::EmbedderRef { name: embedder.into(), tap: String::new() };
    let space = Some(pb::create_request::Space::Embedder(embedder));
    pb::CreateRequest { name: "c".into(), space, ..Default::default() }
}

fn near_text(text: &str) -> pb::SearchRequest {
    near("c", pb::query::Form::Text(text.into()), 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_imported_encoder_serves_and_is_pinned() {
    let (mean, cls, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    bert("mean", mean.path());
    bert("cls", cls.path());
    let open =
        |folders: &[&Path]| -> Arc<dyn Engine> { Arc::new(LocalEngine::open(data.path(), registry(folders)).unwrap()) };
    let server = start(open(&[mean.path()])).await;
    let client = &server.client;
    client.create_collection(create("mine")).await.unwrap();
    let texts = ["A storm destroyed the harbour.", "ships at war", "the lazy dog"];
    let items = texts.iter().map(|text| text_item(text, text)).collect();
    let fingerprint = client.upsert(upsert("c", items)).await.unwrap().embedder_fingerprint;
    for text in texts {
        let found = client.search(near_text(text)).await.unwrap();
        assert_eq!(found.hits[0].id, text);
        assert!(found.hits[0].score > 0.9999 && found.hits[1].score < 0.999, "{:?}", found.hits);
        assert_eq!(found.stats.unwrap().embedder_fingerprint, fingerprint);
    }
    server.stop().await.unwrap().unwrap();

    // Another model of that name: what needs the embedder is refused, the points are not.
    let server = start(open(&[cls.path()])).await;
    let (code, message) = refused(server.client.search(near_text("ships")).await);
    assert!(code == "FAILED_PRECONDITION" && message.contains(&fingerprint[..12]), "{code} {message}");
    let (code, _) = refused(server.client.upsert(upsert("c", vec![text_item("x", "ships")])).await);
    assert_eq!(code, "FAILED_PRECONDITION");
    assert_eq!(count(&server.client, "c").await, 3);
    server.stop().await.unwrap().unwrap();

    // Both: the name is the later one's, the collection goes on with its own.
    let server = start(open(&[mean.path(), cls.path()])).await;
    assert_eq!(server.client.search(near_text(texts[1])).await.unwrap().hits[0].id, texts[1]);
}

#[test]
fn a_snapshot_carries_an_imported_encoder() {
    let [model, data, elsewhere, kept] = [(); 4].map(|()| tempfile::tempdir().unwrap());
    bert("mean", model.path());
    let depot = || Depot::open(kept.path().to_str().unwrap()).unwrap();
    let name = CollectionName::new("c").unwrap();
    let query = nearness::collection::Query::Text("ships at war".into());
    let params = nearness::collection::SearchParams {
        k: 1,
        accuracy: nearness::collection::Accuracy::Exact,
        score_threshold: None,
        fields: Default::default(),
        filter: None,
        group_by: None,
        allow_partial: false,
    };
    let snapshot = {
        let engine = LocalEngine::open(data.path(), registry(&[model.path()])).unwrap().with_depot(depot());
        let spec = nearness::collection::CollectionSpec {
            name: name.clone(),
            space: nearness::collection::Space::Embedded { embedder: "mine".into(), tap: String::new() },
            metric: nearness::types::Metric::Cosine,
            index: Default::default(),
        };
        engine.create_collection(&spec).unwrap();
        let item = nearness::collection::Item {
            id: nearness::types::PointId::new("war").unwrap(),
            source: nearness::collection::Source::Text("ships at war".into()),
            payload: Default::default(),
        };
        engine.upsert(&name, vec![item]).unwrap();
        engine.create_snapshot(&name, &|_, _, _| true).unwrap()
    };
    // Where nobody has the model.
    let engine = LocalEngine::open(elsewhere.path(), Registry::default()).unwrap().with_depot(depot());
    engine.restore_snapshot(&snapshot.snapshot, &name, false, &|_, _, _| true).unwrap();
    let hit = &engine.search(&name, &[query], &params).unwrap()[0].hits[0];
    assert!(hit.point.id.as_str() == "war" && hit.distance < 1e-5, "{hit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_language_model_says_what_comes_next() {
    let (model, encoder, data) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let card = ModelCard { name: "gpt".into(), ..ModelCard::default() };
    import(Family::Gpt, &fixtures().join("gpt"), model.path(), card).unwrap();
    bert("cls", encoder.path());
    let registry = registry(&[model.path(), encoder.path()]);
    let server = start(Arc::new(LocalEngine::open(data.path(), registry).unwrap())).await;
    let client = &server.client;
    let said: serde_json::Value = serde_json::from_slice(&fs::read(fixtures().join("gpt/said.json")).unwrap()).unwrap();
    let ask = |embedder: &str, text: &str, k| pb::NextTokenRequest { embedder: embedder.into(), text: text.into(), k };
    let next = client.next_token(ask("", said["texts"][0].as_str().unwrap(), 3)).await.unwrap();
    for (token, expected) in next.tokens.iter().zip(said["next"][0].as_array().unwrap()) {
        assert_eq!(
            (token.text.as_str(), u64::from(token.token)),
            (expected[0].as_str().unwrap(), expected[1].as_u64().unwrap())
        );
        assert!((f64::from(token.probability) - expected[2].as_f64().unwrap()).abs() < 1e-4);
    }
    assert_eq!(next.tokens.len(), 3);
    for (embedder, text, k, part) in
        [("", "Salt", 0, "k"), ("", "", 3, "text"), ("mine", "Salt", 3, "no language model")]
    {
        let (code, message) = refused(client.next_token(ask(embedder, text, k)).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{code} {message}");
    }
    assert_eq!(refused(client.next_token(ask("nobody", "Salt", 3)).await).0, "NOT_FOUND");
    // And as an embedder of texts.
    client.create_collection(create("gpt")).await.unwrap();
    client.upsert(upsert("c", vec![text_item("a", "ships at war"), text_item("b", "Salt")])).await.unwrap();
    assert_eq!(client.search(near_text("Salt")).await.unwrap().hits[0].id, "b");
}
