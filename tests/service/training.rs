//! Models are trained, installed and deleted over gRPC while the server runs.

use crate::auth::{grant, holder, with_access};
use crate::harness::*;
use nearness::auth::{Access, Role};
use nearness::embed::Registry;
use nearness::engine::Database;
use nearness::grpc::{Client, ClientError, pb};
use pb::train_embedder_response::State;
use std::path::Path;
use std::sync::Arc;

/// Returns a text with two topics, so that word vectors can be learned.
fn text() -> String {
    let topics = [["river", "boat", "water", "fish"], ["piano", "song", "music", "choir"]];
    let line = |n: usize| (0..12).map(|at| topics[n % 2][(n * 7 + at * 5 + n / 3) % 4]).collect::<Vec<_>>();
    (0..600).map(|n| line(n).join(" ") + "\n").collect()
}

fn piece(file: &str, data: impl Into<Vec<u8>>) -> pb::FilePiece {
    pb::FilePiece { file: file.into(), data: data.into().into() }
}

fn words(config: pb::WordTrainingConfig) -> pb::TrainSettings {
    let config = pb::WordTrainingConfig { dimension: 8, min_count: 1, epochs: 4, subsample: Some(0.0), ..config };
    let config = Some(pb::train_settings::Config::Words(config));
    pb::TrainSettings { config, seed: 5, threads: 1, licence: "CC0".into(), name: "topics".into() }
}

/// Sends settings, then pieces; returns the progress, and the model.
async fn train(
    client: &Client,
    settings: Option<pb::TrainSettings>,
    pieces: Vec<pb::FilePiece>,
) -> Result<(Vec<pb::TrainProgress>, pb::Model), ClientError> {
    use pb::train_embedder_request::Part;
    let parts = settings.map(Part::Settings).into_iter().chain(pieces.into_iter().map(Part::Piece));
    let parts: Vec<_> = parts.map(|part| pb::TrainEmbedderRequest { part: Some(part) }).collect();
    let mut replies = client.train_embedder(tokio_stream::iter(parts)).await?;
    let (mut progress, mut trained) = (Vec::new(), None);
    while let Some(reply) = replies.next().await? {
        match reply.state.expect("a state") {
            State::Progress(at) => progress.push(at),
            State::Model(model) => trained = Some(model),
        }
    }
    Ok((progress, trained.expect("the last reply is the model")))
}

async fn install(client: &Client, pieces: Vec<pb::FilePiece>) -> Result<pb::Model, ClientError> {
    let pieces: Vec<_> = pieces.into_iter().map(|piece| pb::InstallModelRequest { piece: Some(piece) }).collect();
    let reply = client.install_model(tokio_stream::iter(pieces)).await?;
    Ok(reply.model.expect("a model"))
}

/// Returns the built-in digit model in pieces, which split its files anywhere.
fn digit_folder() -> Vec<pb::FilePiece> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/embed/models/digits");
    let mut pieces = Vec::new();
    for file in ["card.json", "model.safetensors"] {
        let bytes = std::fs::read(folder.join(file)).expect("the digit model");
        for (index, data) in bytes.chunks(300_001).enumerate() {
            pieces.push(piece(if index == 0 { file } else { "" }, data));
        }
    }
    pieces
}

async fn list(client: &Client) -> Vec<pb::Model> {
    client.models(pb::ListModelsRequest {}).await.expect("the models").models
}

fn folders(data: &Path) -> usize {
    std::fs::read_dir(data.join("models")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_trained_on_a_stream_used_and_deleted_once_unused() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(Arc::new(Database::open(folder.path()).unwrap())).await;
    let client = &server.client;
    let text = text();
    let (first, second) = text.split_at(text.len() / 3);
    let pieces = vec![piece("topics.txt", first), piece("", second), piece("more.txt", "river boat\n")];
    let (progress, model) = train(client, Some(words(pb::WordTrainingConfig::default())), pieces).await.unwrap();
    assert!(!progress.is_empty() && progress.iter().all(|at| at.total == 0 || at.done <= at.total), "{progress:?}");
    assert_eq!(model.origin(), pb::ModelOrigin::Installed);
    assert_eq!(model.embedders.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["topics", "topics-text"]);
    assert!(model.current && model.used_by.is_empty() && model.fingerprint == model.embedders[0].fingerprint);
    let card: serde_json::Value = serde_json::from_str(&model.embedders[0].card_json).unwrap();
    assert_eq!((&card["seed"], &card["settings"]["epochs"]), (&5.into(), &4.into()), "{card}");
    let data = &card["data"];
    assert_eq!((&data[0]["file"], &data[1]["file"]), (&"topics.txt".into(), &"more.txt".into()));
    assert_eq!((&data[0]["bytes"], &data[0]["licence"]), (&text.len().into(), &"CC0".into()));
    assert_eq!(data[0]["sha256"].as_str().unwrap().len(), 64);
    assert!(card["quality"]["vocabulary"] == 8 && card["date"].as_str().unwrap().len() == 10, "{card}");

    // It is usable immediately. Training it again gives the same model, which is refused.
    let spec = pb::EmbedderRef { name: "topics".into(), output: String::new() };
    let spec = pb::create_collection_request::Space::Embedder(spec);
    client
        .create_collection(pb::CreateCollectionRequest { name: "c".into(), space: Some(spec), ..Default::default() })
        .await
        .unwrap();
    client.upsert(upsert("c", vec![text_item("a", "boat"), text_item("b", "song")])).await.unwrap();
    let found = client.search(near("c", pb::query::Form::Text("fish".into()), 1)).await.unwrap();
    assert_eq!(found.hits[0].id, "a");
    let pieces = vec![piece("topics.txt", text.clone()), piece("more.txt", "river boat\n")];
    let again = train(client, Some(words(pb::WordTrainingConfig::default())), pieces).await;
    assert_eq!(refused(again).0, "ALREADY_EXISTS");

    let get = pb::GetModelRequest { fingerprint: model.fingerprint.clone() };
    assert_eq!(client.model(get.clone()).await.unwrap().model.unwrap().used_by, ["c"]);
    let delete = || client.delete_model(pb::DeleteModelRequest { fingerprint: model.fingerprint.clone() });
    let (code, message) = refused(delete().await);
    assert!(code == "FAILED_PRECONDITION" && message.contains("\"c\""), "{code}: {message}");
    client.delete_collection(pb::DeleteCollectionRequest { name: "c".into() }).await.unwrap();
    delete().await.unwrap();
    assert_eq!((list(client).await.len(), folders(folder.path())), (0, 0));
    for refusal in [refused(delete().await), refused(client.model(get).await)] {
        assert!(refusal.0 == "NOT_FOUND" && refusal.1.contains(&model.fingerprint), "{refusal:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_trained_on_the_texts_of_a_collection() {
    let (engine, _guard) = crate::local();
    let server = start(engine).await;
    let client = &server.client;
    client.create_collection(embedded("notes", "counts")).await.unwrap();
    let items =
        text().lines().enumerate().map(|(n, line)| text_item(&format!("p{n}"), &line.replace(' ', "\n"))).collect();
    client.upsert(upsert("notes", items)).await.unwrap();
    let config = pb::WordTrainingConfig { collection: "notes".into(), ..Default::default() };
    let (_, model) = train(client, Some(words(config)), vec![]).await.unwrap();
    let card: serde_json::Value = serde_json::from_str(&model.embedders[0].card_json).unwrap();
    assert_eq!(card["data"][0]["file"], "the texts of the collection notes");
    assert_eq!((&card["quality"]["vocabulary"], &card["data"][0]["bytes"]), (&8.into(), &text().len().into()));
    let request =
        pb::NearestWordsRequest { embedder: "topics".into(), plus: vec!["river".into()], k: 3, ..Default::default() };
    let near = client.nearest_words(request).await.unwrap().words;
    assert_eq!(near.iter().filter(|one| ["boat", "water", "fish"].contains(&one.word.as_str())).count(), 3, "{near:?}");
}

/// Returns images with a bar at a position given by the label, and the labels, as IDX files.
fn bars(count: usize) -> (Vec<u8>, Vec<u8>) {
    let size = (count as u32).to_be_bytes();
    let mut images = [&[0, 0, 8, 3][..], &size, &28_u32.to_be_bytes(), &28_u32.to_be_bytes()].concat();
    let mut labels = [&[0, 0, 8, 1][..], &size].concat();
    for n in 0..count {
        let label = n % 10;
        let bar = 4 + 2 * label..6 + 2 * label;
        images.extend(
            (0..28 * 28).map(|at| if bar.contains(&(at / 28)) && (4..24).contains(&(at % 28)) { 255 } else { 0 }),
        );
        labels.push(label as u8);
    }
    (images, labels)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digits_are_trained_and_measured() {
    let (engine, _guard) = crate::local();
    let server = start(engine).await;
    let client = &server.client;
    let config = pb::DigitTrainingConfig { epochs: 2, batch: 20, no_augment: true, ..Default::default() };
    let config = Some(pb::train_settings::Config::Digits(config));
    let settings =
        || Some(pb::TrainSettings { config: config.clone(), name: "my-digits".into(), ..Default::default() });
    let ((images, labels), (test, test_labels)) = (bars(400), bars(50));
    let files = vec![
        piece("images", images.clone()),
        piece("labels", labels.clone()),
        piece("test_images", test),
        piece("test_labels", test_labels.clone()),
    ];
    let (progress, model) = train(client, settings(), files).await.unwrap();
    assert!(progress.iter().all(|at| at.phase == "training" && at.total == 800 && at.loss.is_some()), "{progress:?}");
    let card: serde_json::Value = serde_json::from_str(&model.embedders[0].card_json).unwrap();
    assert!(card["quality"]["test_accuracy"].as_f64().unwrap() > 0.9, "{card}");
    assert!(model.embedders[0].name == "my-digits" && model.current && model.warnings.is_empty(), "{model:?}");
    assert_eq!((&card["seed"], card["data"].as_array().unwrap().len()), (&1.into(), 4));
    for (files, part) in [
        (vec![piece("images", images.clone())], "\"labels\" are needed"),
        (vec![piece("images", images.clone()), piece("labels", test_labels)], "labels"),
        (vec![piece("images", images.clone()), piece("labels", labels.clone()), piece("test_images", "")], "together"),
        (vec![piece("images", images[..900].to_vec()), piece("labels", labels.clone())], "images"),
        (vec![piece("card.json", "{}")], "card.json"),
    ] {
        let (code, message) = refused(train(client, settings(), files).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{code}: {message}");
        assert!(!message.contains("/models/"), "a path of the server: {message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installed_model_serves_collections_that_lacked_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut with_model = Registry::default();
    with_model.add_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/embed/models/digits")).unwrap();
    let server = start(Arc::new(Database::options().embedders(with_model).open(folder.path()).unwrap())).await;
    let spec = pb::create_collection_request::Space::Embedder(pb::EmbedderRef {
        name: "digits".into(),
        output: String::new(),
    });
    let create = pb::CreateCollectionRequest { name: "d".into(), space: Some(spec), ..Default::default() };
    server.client.create_collection(create).await.unwrap();
    let built_in = list(&server.client).await;
    let (code, message) = refused(
        server.client.delete_model(pb::DeleteModelRequest { fingerprint: built_in[0].fingerprint.clone() }).await,
    );
    assert!(code == "FAILED_PRECONDITION" && message.contains("not installed"), "{code}: {message}");
    assert_eq!(refused(install(&server.client, digit_folder()).await).0, "ALREADY_EXISTS");
    server.stop().await.unwrap().unwrap();

    // Without the model, the collection cannot embed until the model is installed.
    let server = start(Arc::new(Database::open(folder.path()).unwrap())).await;
    let picture = || {
        let mut image = std::io::Cursor::new(Vec::new());
        let drawn = image::GrayImage::from_fn(28, 28, |x, y| image::Luma([if x == y { 255 } else { 0 }]));
        drawn.write_to(&mut image, image::ImageFormat::Png).unwrap();
        let source = Some(pb::item::Source::Image(image.into_inner().into()));
        upsert("d", vec![pb::Item { id: "a".into(), source, ..Default::default() }])
    };
    let (code, message) = refused(server.client.upsert(picture()).await);
    assert!(code == "FAILED_PRECONDITION" && message.contains("models install"), "{code}: {message}");
    let model = install(&server.client, digit_folder()).await.unwrap();
    assert_eq!(
        (model.fingerprint.as_str(), model.used_by.as_slice()),
        (built_in[0].fingerprint.as_str(), &["d".to_owned()][..])
    );
    server.client.upsert(picture()).await.unwrap();
    server.stop().await.unwrap().unwrap();

    let server = start(Arc::new(Database::open(folder.path()).unwrap())).await;
    assert_eq!(list(&server.client).await, [model]);
    server.client.upsert(picture()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_model_is_detected_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Arc::new(Database::open(folder.path()).unwrap());
    let server = start(open()).await;
    let spec = pb::create_collection_request::Space::Embedder(pb::EmbedderRef {
        name: "digits".into(),
        output: String::new(),
    });
    install(&server.client, digit_folder()).await.unwrap();
    let create = pb::CreateCollectionRequest { name: "d".into(), space: Some(spec), ..Default::default() };
    server.client.create_collection(create).await.unwrap();
    server.stop().await.unwrap().unwrap();
    let check = || nearness::collection::check_directory(folder.path()).unwrap().findings;
    assert_eq!(check(), []);
    // One bit of one weight: a valid model, but a different one.
    let installed = std::fs::read_dir(folder.path().join("models")).unwrap().next().unwrap().unwrap();
    let weights = installed.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let at = bytes.len() - 1_001;
    bytes[at] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let found = check();
    assert!(found.len() == 1 && found[0].what.contains("not "), "{found:?}");
    let server = start(open()).await;
    assert!(list(&server.client).await.is_empty());
    let input = pb::EmbedInput { form: Some(pb::embed_input::Form::Image(vec![0; 784].into())) };
    let request = pb::EmbedRequest { embedder: "digits".into(), inputs: vec![input], ..Default::default() };
    assert_eq!(refused(server.client.embed(request).await).0, "NOT_FOUND");
    // Installed again, it serves the collection.
    let model = install(&server.client, digit_folder()).await.unwrap();
    assert_eq!(model.used_by, ["d"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_models_leave_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(Arc::new(Database::open(folder.path()).unwrap())).await;
    let client = &server.client;
    let (card, weights) = (digit_folder()[0].clone(), digit_folder()[1].clone());
    for (pieces, code, part) in [
        (vec![], "INVALID_ARGUMENT", "card.json is missing"),
        (vec![piece("", "abc")], "INVALID_ARGUMENT", "the first piece names its file"),
        (vec![piece("../x", "abc")], "INVALID_ARGUMENT", "is not a file of a model folder"),
        (vec![card.clone(), weights.clone(), card.clone()], "INVALID_ARGUMENT", "was sent before"),
        (vec![card.clone()], "INVALID_ARGUMENT", "model.safetensors is missing"),
        (
            vec![card.clone(), piece("model.safetensors", weights.data[..200_000].to_vec())],
            "INVALID_ARGUMENT",
            "model.safetensors",
        ),
        (vec![piece("card.json", "{}")], "INVALID_ARGUMENT", "unknown family"),
        (vec![piece("card.json", "no")], "INVALID_ARGUMENT", "not a model card"),
    ] {
        let (found, message) = refused(install(client, pieces).await);
        assert!(found == code && message.contains(part), "{found}: {message}");
        assert!(!message.contains("/models/"), "a path of the server: {message}");
        assert_eq!((list(client).await.len(), folders(folder.path())), (0, 0), "{message}");
    }

    let default = || Some(words(pb::WordTrainingConfig::default()));
    let changed = |change: fn(&mut pb::WordTrainingConfig)| {
        let mut settings = words(pb::WordTrainingConfig::default());
        if let Some(pb::train_settings::Config::Words(config)) = &mut settings.config {
            change(config);
        }
        Some(settings)
    };
    let before = folders(folder.path());
    for (settings, pieces, part) in [
        (None, vec![piece("a", "b")], "settings"),
        (Some(pb::TrainSettings { name: "x".into(), ..Default::default() }), vec![], "settings.config"),
        (Some(pb::TrainSettings { threads: 5_000, ..default().unwrap() }), vec![], "settings.threads"),
        (Some(pb::TrainSettings { licence: "x".repeat(2_000), ..default().unwrap() }), vec![], "settings.licence"),
        (changed(|config| config.dimension = 1_025), vec![], "settings.words.dimension"),
        (changed(|config| config.learning_rate = f32::NAN), vec![], "learning rate"),
        (changed(|config| config.window = 1_000), vec![], "window"),
        (changed(|config| config.objective = 9), vec![], "objective"),
        (changed(|config| config.subsample = Some(7.0)), vec![], "subsampling"),
        (default(), vec![], "words"),
        (default(), vec![piece("", "abc")], "the first piece names its file"),
        (default(), vec![piece(&"n".repeat(300), "abc")], "255"),
        (default(), vec![piece("a", "x y"), piece("b", "z"), piece("a", "x")], "was sent before"),
    ] {
        let (code, message) = refused(train(client, settings, pieces).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{part}: {code}: {message}");
        assert_eq!(folders(folder.path()), before, "{message}");
    }
    let config = pb::WordTrainingConfig { collection: "none".into(), ..Default::default() };
    assert_eq!(refused(train(client, Some(words(config)), vec![]).await).0, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn training_ends_when_its_client_leaves() {
    use pb::train_embedder_request::Part;
    let folder = tempfile::tempdir().unwrap();
    let server = start(Arc::new(Database::open(folder.path()).unwrap())).await;
    // Hours of training.
    let mut settings = words(pb::WordTrainingConfig::default());
    if let Some(pb::train_settings::Config::Words(config)) = &mut settings.config {
        config.epochs = 10_000;
    }
    let parts = vec![Part::Settings(settings), Part::Piece(piece("a", text().repeat(20)))];
    let parts: Vec<_> = parts.into_iter().map(|part| pb::TrainEmbedderRequest { part: Some(part) }).collect();
    let mut replies = server.client.train_embedder(tokio_stream::iter(parts)).await.unwrap();
    let first = replies.next().await.unwrap().expect("progress");
    assert!(matches!(first.state, Some(State::Progress(_))), "{first:?}");
    assert_eq!(folders(folder.path()), 1);
    drop(replies);
    let removed = async {
        while folders(folder.path()) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), removed).await.expect("the training ends");
    assert!(list(&server.client).await.is_empty());
    // The next training runs.
    train(&server.client, Some(words(pb::WordTrainingConfig::default())), vec![piece("a", text())]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_administrators_of_all_collections_change_models() {
    let (engine, _guard) = crate::local();
    let (root, root_grant) = grant("root", Role::Admin, &["*"]);
    let (some, some_grant) = grant("some", Role::Admin, &["some-*"]);
    let (writer, writer_grant) = grant("writer", Role::Write, &["*"]);
    let (reader, reader_grant) = grant("reader", Role::Read, &["some-*"]);
    let grants = vec![root_grant, some_grant, writer_grant, reader_grant];
    let server = start_with(engine, with_access(Access::restricted(grants, vec![], None))).await;
    let root = holder(&server.url, &root).await;
    let default = || Some(words(pb::WordTrainingConfig::default()));
    let (_, model) = train(&root, default(), vec![piece("a", text())]).await.unwrap();
    for name in ["some-words", "other-words"] {
        let spec = pb::create_collection_request::Space::Embedder(pb::EmbedderRef {
            name: "topics".into(),
            output: String::new(),
        });
        root.create_collection(pb::CreateCollectionRequest {
            name: name.into(),
            space: Some(spec),
            ..Default::default()
        })
        .await
        .unwrap();
    }
    for key in [some, writer] {
        let client = holder(&server.url, &key).await;
        assert_eq!(refused(train(&client, default(), vec![piece("a", text())]).await).0, "PERMISSION_DENIED");
        assert_eq!(refused(install(&client, digit_folder()).await).0, "PERMISSION_DENIED");
        let delete = pb::DeleteModelRequest { fingerprint: model.fingerprint.clone() };
        assert_eq!(refused(client.delete_model(delete).await).0, "PERMISSION_DENIED");
    }
    let reader = holder(&server.url, &reader).await;
    let seen =
        list(&reader).await.into_iter().find(|one| one.fingerprint == model.fingerprint).expect("the model is listed");
    assert_eq!(seen.used_by, ["some-words"], "collections out of scope are not listed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trained_model_needs_its_own_name_and_changes_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = Registry::with_defaults().unwrap();
    registry.add(Arc::new(crate::support::letters::Letters::new()));
    let server = start(Arc::new(Database::options().embedders(registry).open(folder.path()).unwrap())).await;
    let client = &server.client;
    let before = client.list_embedders(pb::ListEmbeddersRequest {}).await.unwrap().embedders;
    let named = |name: &str| pb::TrainSettings { name: name.into(), ..words(pb::WordTrainingConfig::default()) };
    let long = "n".repeat(nearness::types::MAX_NAME_BYTES);
    for (name, part) in [
        ("", "is missing"),
        ("words", "\"words\""),
        ("text", "\"text\""),
        ("digits", "\"digits\""),
        ("letters", "\"letters\""),
        ("a:b", "characters"),
        ("a@b", "characters"),
        (&long, "bytes"),
    ] {
        let (code, message) = refused(train(client, Some(named(name)), vec![piece("a", text())]).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains("settings.name"), "{name}: {code}: {message}");
        assert!(message.contains(part), "{name}: {message}");
    }
    let (_, model) = train(client, Some(named("topics")), vec![piece("a", text())]).await.unwrap();
    let after = client.list_embedders(pb::ListEmbeddersRequest {}).await.unwrap().embedders;
    assert_eq!(after[..before.len()], before, "every name refers to the same embedder as before");
    assert_eq!(after[before.len()..], model.embedders[..]);
    let by = |collection: &str, name: &str| {
        let space = pb::EmbedderRef { name: name.into(), output: String::new() };
        let space = Some(pb::create_collection_request::Space::Embedder(space));
        pb::CreateCollectionRequest { name: collection.into(), space, ..Default::default() }
    };
    let of = |name: &str| after.iter().find(|one| one.name == name).unwrap().fingerprint.clone();
    let exact = format!("topics-text@{}", &of("topics-text")[..8]);
    for (collection, name, expected) in
        [("a", "", "text"), ("b", "words", "words"), ("c", "topics", "topics"), ("d", &exact, "topics-text")]
    {
        let created = client.create_collection(by(collection, name)).await.unwrap().collection.unwrap();
        assert_eq!(created.embedder.unwrap().name, expected);
        assert_eq!(created.embedder_fingerprint, of(expected));
    }
    for name in ["topics@", "topics@00000000", "topics-text@1", "nothing@00000000"] {
        assert_eq!(refused(client.create_collection(by("e", name)).await).0, "NOT_FOUND", "{name}");
    }
    server.stop().await.unwrap().unwrap();

    // After a restart too. The configured default embedder applies.
    let mut registry = Registry::with_defaults().unwrap();
    registry.add(Arc::new(crate::support::letters::Letters::new()));
    let engine = Arc::new(Database::options().embedders(registry).open(folder.path()).unwrap());
    let options = nearness::grpc::ServerOptions { default_embedder: ("letters".into(), "vowels".into()), ..options() };
    let server = start_with(engine.clone(), options.clone()).await;
    let listed = server.client.list_embedders(pb::ListEmbeddersRequest {}).await.unwrap().embedders;
    assert_eq!(listed, after);
    let created = server.client.create_collection(by("f", "")).await.unwrap().collection.unwrap();
    let embedder = created.embedder.unwrap();
    assert_eq!((embedder.name.as_str(), embedder.output.as_str()), ("letters", "vowels"));
    for default in [("none", ""), ("letters", "consonants")] {
        let default_embedder = (default.0.to_owned(), default.1.to_owned());
        let options = nearness::grpc::ServerOptions { default_embedder, ..options.clone() };
        let error = nearness::grpc::Server::bind(engine.clone(), options).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("default embedder") && error.contains("letters"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn useless_models_are_marked() {
    let (engine, _guard) = crate::local();
    let server = start(engine).await;
    let (_, model) = train(
        &server.client,
        Some(words(pb::WordTrainingConfig::default())),
        vec![piece("a", "tick tock\n".repeat(200))],
    )
    .await
    .unwrap();
    assert!(model.warnings.iter().any(|warning| warning.contains("2 words")), "{:?}", model.warnings);
    assert!(model.warnings.iter().any(|warning| warning.contains("8 components for 2 words")), "{:?}", model.warnings);
    let card: serde_json::Value = serde_json::from_str(&model.embedders[0].card_json).unwrap();
    assert_eq!(card["warnings"].as_array().map(Vec::len), Some(model.warnings.len()), "{card}");
    assert_eq!(list(&server.client).await[0].warnings.len() + list(&server.client).await[1].warnings.len(), 2);
}
