//! Tests of imported models behind a server: insert, query, next token, another model of the same name, a snapshot with
//! an embedder, image search by text.

#![cfg(feature = "transformers")]

#[path = "service/harness.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared: other tests use the rest")]
mod harness;

#[path = "support/server.rs"]
#[allow(dead_code, reason = "shared: other tests use the rest")]
mod server;

use harness::*;
use nearness::api::Sources;
use nearness::embed::transformers::{Family, import};
use nearness::embed::{Input, ModelCard, Registry};
use nearness::engine::{Admin, Database, Generations, ModelHost, Node, Reads, Snapshots, Writes};
use nearness::grpc::pb;
use nearness::snapshot_store::SnapshotStore;
use nearness::types::CollectionName;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transformers")
}

/// Imports a folder in sentence-transformers format as the model `mine`.
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

fn create(embedder: &str) -> pb::CreateCollectionRequest {
    let embedder = pb::EmbedderRef { name: embedder.into(), output: String::new() };
    let space = Some(pb::create_collection_request::Space::Embedder(embedder));
    pb::CreateCollectionRequest { name: "c".into(), space, ..Default::default() }
}

fn near_text(text: &str) -> pb::SearchRequest {
    near("c", pb::query::Form::Text(text.into()), 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_imported_encoder_serves_and_is_pinned() {
    let (mean, cls, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    bert("mean", mean.path());
    bert("cls", cls.path());
    let open = |folders: &[&Path]| -> Arc<dyn Node> {
        Arc::new(Database::options().embedders(registry(folders)).open(data.path()).unwrap())
    };
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

    // Another model of that name: requests that embed are refused, the points remain readable.
    let server = start(open(&[cls.path()])).await;
    let (code, message) = refused(server.client.search(near_text("ships")).await);
    assert!(code == "FAILED_PRECONDITION" && message.contains(&fingerprint[..12]), "{code} {message}");
    let (code, _) = refused(server.client.upsert(upsert("c", vec![text_item("x", "ships")])).await);
    assert_eq!(code, "FAILED_PRECONDITION");
    assert_eq!(count(&server.client, "c").await, 3);
    server.stop().await.unwrap().unwrap();

    // Both models: refused, because the name would not be unique. With its own model, the collection embeds again.
    let mut both = registry(&[mean.path()]);
    let error = both.add_folder(cls.path()).unwrap_err().to_string();
    assert!(error.contains("\"mine\""), "{error}");
    let server = start(open(&[mean.path()])).await;
    assert_eq!(server.client.search(near_text(texts[1])).await.unwrap().hits[0].id, texts[1]);
}

#[test]
fn a_snapshot_carries_an_imported_encoder() {
    let [model, data, elsewhere, snapshot_dir] = [(); 4].map(|()| tempfile::tempdir().unwrap());
    bert("mean", model.path());
    let store = || SnapshotStore::open(snapshot_dir.path().to_str().unwrap()).unwrap();
    let name = CollectionName::new("c").unwrap();
    let query = nearness::api::Query::Text("ships at war".into());
    let params =
        nearness::api::SearchParams::new(1).accuracy(nearness::api::Accuracy::Exact).fields(Default::default());
    let snapshot = {
        let engine =
            Database::options().embedders(registry(&[model.path()])).snapshots(store()).open(data.path()).unwrap();
        let spec = nearness::api::CollectionSpec::embedded(name.clone(), "mine")
            .metric(nearness::types::Metric::Cosine)
            .index(Default::default());
        engine.create_collection(&spec).unwrap();
        let item = nearness::api::Item {
            id: nearness::types::PointId::new("war").unwrap(),
            source: nearness::api::PointInput::Text("ships at war".into()),
            payload: Default::default(),
            vectors: Default::default(),
        };
        engine.upsert(&name, vec![item]).unwrap();
        engine.create_snapshot(&name, &|_, _, _| true).unwrap()
    };
    // An engine without the model.
    let engine = Database::options().snapshots(store()).open(elsewhere.path()).unwrap();
    engine.restore_snapshot(&snapshot.snapshot, &name, false, &|_, _, _| true).unwrap();
    let hit = &engine.search(&name, &[query], &params).unwrap()[0].hits[0];
    assert!(hit.point.id.as_str() == "war" && hit.distance < 1e-5, "{hit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_language_model_predicts_the_next_token() {
    let (model, encoder, data) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let card = ModelCard { name: "gpt".into(), ..ModelCard::default() };
    import(Family::Gpt, &fixtures().join("gpt"), model.path(), card).unwrap();
    bert("cls", encoder.path());
    let registry = registry(&[model.path(), encoder.path()]);
    let server = start(Arc::new(Database::options().embedders(registry).open(data.path()).unwrap())).await;
    let client = &server.client;
    let reference: serde_json::Value =
        serde_json::from_slice(&fs::read(fixtures().join("gpt/reference.json")).unwrap()).unwrap();
    let request =
        |embedder: &str, text: &str, k| pb::NextTokenRequest { embedder: embedder.into(), text: text.into(), k };
    let next = client.next_token(request("", reference["texts"][0].as_str().unwrap(), 3)).await.unwrap();
    for (token, expected) in next.tokens.iter().zip(reference["next"][0].as_array().unwrap()) {
        assert_eq!(
            (token.text.as_str(), u64::from(token.token)),
            (expected[0].as_str().unwrap(), expected[1].as_u64().unwrap())
        );
        assert!((f64::from(token.probability) - expected[2].as_f64().unwrap()).abs() < 1e-4);
    }
    assert_eq!(next.tokens.len(), 3);
    for (embedder, text, k, part) in
        [("", "Salt", 0, "k"), ("", "", 3, "text"), ("mine", "Salt", 3, "not a language model")]
    {
        let (code, message) = refused(client.next_token(request(embedder, text, k)).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{code} {message}");
    }
    assert_eq!(refused(client.next_token(request("missing", "Salt", 3)).await).0, "NOT_FOUND");
    // The model also works as an embedder of texts.
    client.create_collection(create("gpt")).await.unwrap();
    client.upsert(upsert("c", vec![text_item("a", "ships at war"), text_item("b", "Salt")])).await.unwrap();
    assert_eq!(client.search(near_text("Salt")).await.unwrap().hits[0].id, "b");
}

/// Imports an image model under this name.
fn images(family: Family, fixture: &str, name: &str, out: &Path) {
    let card = ModelCard { name: name.into(), ..ModelCard::default() };
    import(family, &fixtures().join(fixture), out, card).unwrap();
}

fn picture(name: &str) -> Vec<u8> {
    fs::read(fixtures().join("pictures").join(name)).unwrap()
}

fn picture_item(id: &str, stored: serde_json::Value) -> pb::Item {
    let source = Some(pb::item::Source::Image(picture(id).into()));
    pb::Item { id: id.into(), source, payload: payload(stored), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_found_by_text_in_a_shared_embedding_space() {
    let [clip, other, dino, data] = [(); 4].map(|()| tempfile::tempdir().unwrap());
    images(Family::Clip, "clip", "clip", clip.path());
    images(Family::Dinov2, "dinov2/plain", "dino", dino.path());
    let server = start(Arc::new(
        Database::options().embedders(registry(&[clip.path(), dino.path()])).open(data.path()).unwrap(),
    ))
    .await;
    let client = &server.client;
    client.create_collection(create("clip")).await.unwrap();
    let stored = |name: &str| {
        use base64::Engine as _;
        serde_json::json!({ "image": base64::engine::general_purpose::STANDARD.encode(picture(name)), "text": "about it" })
    };
    let names = ["wide.png", "tall.jpg"];
    let mut items: Vec<pb::Item> = names.iter().map(|name| picture_item(name, stored(name))).collect();
    items.push(text_item("words", "a red ball"));
    client.upsert(upsert("c", items)).await.unwrap();
    // Queries by text and by image; scores are cosines of the reference vectors.
    let reference: serde_json::Value =
        serde_json::from_slice(&fs::read(fixtures().join("clip/reference.json")).unwrap()).unwrap();
    let vector = |value: &serde_json::Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let words = vector(&reference["texts"]["a red ball"]);
    let wide = vector(&reference["pictures"]["wide.png"]["vector"]);
    let cosine: f64 = words.iter().zip(&wide).map(|(a, b)| a * b).sum();
    let score = |reply: &pb::SearchResponse, id: &str| {
        f64::from(reply.hits.iter().find(|hit| hit.id == id).expect("among the hits").score)
    };
    let by_text = client.search(near("c", pb::query::Form::Text("a red ball".into()), 3)).await.unwrap();
    assert_eq!(by_text.hits[0].id, "words");
    assert!((score(&by_text, "wide.png") - cosine).abs() < 1e-3, "{by_text:?} {cosine}");
    let by_picture = client.search(near("c", pb::query::Form::Image(picture("wide.png").into()), 3)).await.unwrap();
    assert!(by_picture.hits[0].id == "wide.png" && by_picture.hits[0].score > 0.9999, "{by_picture:?}");
    assert!((score(&by_picture, "words") - cosine).abs() < 1e-3, "{by_picture:?} {cosine}");
    // Another image model still refuses texts.
    let input = pb::EmbedInput { form: Some(pb::embed_input::Form::Text("a red ball".into())) };
    let request = pb::EmbedRequest { embedder: "dino".into(), inputs: vec![input], ..Default::default() };
    let (code, message) = refused(client.embed(request).await);
    assert!(code == "INVALID_ARGUMENT" && message.contains("\"dino\" reads image, not text"), "{code} {message}");
    server.stop().await.unwrap().unwrap();

    // Re-embedded with another model: images from images, the text from its text.
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(fixtures().join("clip").join(file), folder.path().join(file)).unwrap();
    }
    let config = fs::read_to_string(folder.path().join("config.json")).unwrap().replace("quick_gelu", "gelu");
    fs::write(folder.path().join("config.json"), config).unwrap();
    let card = ModelCard { name: "other".into(), ..ModelCard::default() };
    import(Family::Clip, folder.path(), other.path(), card).unwrap();
    let engine =
        Database::options().embedders(registry(&[clip.path(), other.path(), dino.path()])).open(data.path()).unwrap();
    let name = CollectionName::new("c").unwrap();
    let refused = engine.reembed(&name, "dino", "", Sources::Proved, &|_, _, _| true).unwrap_err().to_string();
    assert!(refused.contains("words") && refused.contains("image"), "{refused}");
    assert_eq!(engine.reembed(&name, "other", "", Sources::Proved, &|_, _, _| true).unwrap().points, 3);
    let fields = nearness::api::Fields { payload: false, vector: true };
    for (id, input) in [("words", Input::Text("a red ball")), ("tall.jpg", Input::Image(&picture("tall.jpg")))] {
        let id = nearness::types::PointId::new(id).unwrap();
        let point = engine.get(&name, &[id], fields).unwrap().remove(0).unwrap();
        let embedder = engine.embedders().by_name("other").unwrap().clone();
        let vector = embedder.embed(embedder.output_layer("").unwrap(), &input).unwrap();
        let deviation = point.vector.unwrap().iter().zip(vector).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(deviation < 1e-5, "deviation {deviation}");
    }
}

#[test]
fn images_are_loaded_and_found_by_text_on_the_command_line() {
    let here = tempfile::tempdir().unwrap();
    let nearness = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nearness"));
        let output = command.args(arguments).current_dir(here.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (family, fixture) in [("clip", "clip"), ("dinov2", "dinov2/gated"), ("resnet", "resnet/basic")] {
        let from = fixtures().join(fixture);
        let output = nearness(&["import", family, from.to_str().unwrap(), "--out", family, "--name", family]);
        assert!(output.contains("components, fingerprint"), "{output}");
    }
    let pictures = fixtures().join("pictures");
    let load = ["load", pictures.to_str().unwrap(), "--data", "data", "--collection", "photos"];
    nearness(&[&load[..], &["--embedder", "clip", "--model", "clip"]].concat());
    let server =
        server::Server::start(&here.path().join("data"), &["--model", here.path().join("clip").to_str().unwrap()]);
    let at = ["--server", server.url.as_str(), "--json"];
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&nearness(&[arguments, &at[..]].concat())).unwrap()
    };
    let found = json(&["query", "photos", "--text", "a red ball", "-k", "2"]);
    assert_eq!(found["hits"].as_array().map(Vec::len), Some(2), "{found}");
    let wide = pictures.join("wide.png");
    let found = json(&["query", "photos", "--image", wide.to_str().unwrap(), "-k", "1"]);
    assert!(found["hits"][0]["id"].as_str().is_some_and(|id| id.contains("wide")), "{found}");
    for family in ["dinov2", "resnet"] {
        let model = json(&["models", "install", family, "--quiet"]);
        assert_eq!(model["embedders"][0]["name"], family, "{model}");
        let vectors = json(&["embed", family, "--image", wide.to_str().unwrap()]);
        assert!(vectors["vectors"][0].as_array().is_some_and(|vector| vector.len() > 7), "{vectors}");
    }
}
