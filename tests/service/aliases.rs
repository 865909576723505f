//! Aliases and renamed collections over gRPC: over each engine, and the access rights of callers.

use crate::auth::{count, engine, grant, holder, names, one, with_access};
use crate::harness::*;
use nearness::api::AliasAction;
use nearness::auth::{Access, Role};
use nearness::engine::{Admin, Node};
use nearness::grpc::{Client, ClientError, pb};
use nearness::types::CollectionName;
use pb::alias_action::Form;
use std::sync::Arc;

fn create(alias: &str, collection: &str) -> Form {
    Form::CreateAlias(pb::CreateAlias { alias: alias.into(), collection: collection.into() })
}

fn delete(alias: &str) -> Form {
    Form::DeleteAlias(pb::DeleteAlias { alias: alias.into() })
}

fn rename(collection: &str, new_name: &str) -> Form {
    Form::RenameCollection(pb::RenameCollection { collection: collection.into(), new_name: new_name.into() })
}

fn request(forms: Vec<Form>) -> pb::UpdateAliasesRequest {
    pb::UpdateAliasesRequest { actions: forms.into_iter().map(|form| pb::AliasAction { form: Some(form) }).collect() }
}

async fn update(client: &Client, forms: Vec<Form>) -> Result<Vec<(String, Vec<String>)>, ClientError> {
    let response = client.update_aliases(request(forms)).await?;
    Ok(response.collections.into_iter().map(|collection| (collection.name, collection.aliases)).collect())
}

fn listed(name: &str, aliases: &[&str]) -> (String, Vec<String>) {
    (name.into(), aliases.iter().map(|alias| (*alias).to_owned()).collect())
}

pub(crate) async fn names_change_in_atomic_lists(engine: Arc<dyn Node>) {
    let server = start(engine).await;
    let client = &server.client;
    for name in ["a", "b"] {
        client.create_collection(plain(name, 2, pb::Metric::L2)).await.unwrap();
    }
    assert_eq!(update(client, vec![create("x", "a"), create("y", "x")]).await.unwrap(), [listed("a", &["x", "y"])]);
    client.upsert(one("x")).await.unwrap();
    assert_eq!((count_of(client, "a").await, count_of(client, "y").await, count_of(client, "b").await), (1, 1, 0));
    let got = client.collection(pb::GetCollectionRequest { name: "y".into() }).await.unwrap().collection.unwrap();
    assert_eq!((got.name.as_str(), got.aliases.len()), ("a", 2));
    let mut stream = client
        .upsert_stream(tokio_stream::iter(vec![pb::UpsertStreamRequest {
            collection: "y".into(),
            item: Some(vector_item("s", &[1.0, 2.0])),
            ..Default::default()
        }]))
        .await
        .unwrap();
    assert_eq!(stream.next().await.unwrap().expect("an ack")[0].error, "");
    assert_eq!(count_of(client, "a").await, 2);

    let moved = update(client, vec![delete("x"), create("x", "b"), rename("a", "c")]).await.unwrap();
    assert_eq!(moved, [listed("b", &["x"]), listed("c", &["y"])]);
    assert_eq!((count_of(client, "x").await, count_of(client, "y").await), (0, 2));
    assert_eq!(refused(client.count(count("a")).await).0, "NOT_FOUND");

    let refuse = async |forms| refused(update(client, forms).await);
    assert_eq!(refuse(vec![delete("y"), create("x", "c")]).await.0, "ALREADY_EXISTS");
    assert_eq!(refuse(vec![create("b", "c")]).await.0, "ALREADY_EXISTS");
    assert_eq!(refuse(vec![delete("z")]).await, ("NOT_FOUND", "there is no alias named \"z\"".into()));
    assert_eq!(refused(client.create_collection(plain("y", 2, pb::Metric::L2)).await).0, "ALREADY_EXISTS");
    let mut raw = pb::collections_client::CollectionsClient::new(server.channel().await);
    let mut violation = async |forms, field: &str, part: &str| {
        assert_violation(&raw.update_aliases(request(forms)).await.unwrap_err(), field, part);
    };
    violation(vec![], "actions", "1 to 1000").await;
    violation(vec![delete("x"), create("not a name", "b")], "actions[1].create_alias.alias", "not a name").await;
    let empty = pb::UpdateAliasesRequest { actions: vec![pb::AliasAction { form: None }] };
    assert_violation(&raw.update_aliases(empty).await.unwrap_err(), "actions[0]", "rename_collection");
    let of_alias = pb::DeleteCollectionRequest { name: "y".into() };
    assert_violation(&raw.delete(of_alias).await.unwrap_err(), "name", "is an alias");
    assert_eq!(count_of(client, "y").await, 2, "nothing changed");

    client.delete_collection(pb::DeleteCollectionRequest { name: "c".into() }).await.unwrap();
    assert_eq!(refused(client.count(count("y")).await).0, "NOT_FOUND");
    client.create_collection(plain("y", 2, pb::Metric::L2)).await.unwrap();
}

#[tokio::test]
async fn an_alias_that_moves_during_a_call_does_not_lead_to_another_collection() {
    let (root, root_grant) = grant("root", Role::Admin, &["*"]);
    let (reader, reader_grant) = grant("reader", Role::Write, &["films"]);
    let engine = engine();
    let access = Access::restricted(vec![root_grant, reader_grant], vec![], None);
    let server = start_with(engine.clone(), with_access(access)).await;
    let (root, reader) = (holder(&server.url, &root).await, holder(&server.url, &reader).await);
    for name in ["films", "secret"] {
        root.create_collection(plain(name, 2, pb::Metric::L2)).await.unwrap();
    }
    root.upsert(one("secret")).await.unwrap();
    update(&root, vec![create("x", "films")]).await.unwrap();
    // Moves the alias after the check of the access, before the engine uses the name.
    let moves = Arc::downgrade(&engine);
    engine.set_hook(move |operation| {
        let engine = moves.upgrade().expect("an engine");
        let name = |name: &str| CollectionName::new(name).expect("a name");
        if ["count", "upsert"].contains(&operation) && engine.resolve(&name("x")) == name("films") {
            let (alias, collection) = (name("x"), name("secret"));
            let actions = [AliasAction::Delete { alias: alias.clone() }, AliasAction::Create { alias, collection }];
            engine.update_aliases(&actions)?;
        }
        Ok(())
    });
    assert_eq!(count_of(&reader, "x").await, 0, "the count of the collection that was checked");
    assert_eq!(refused(reader.count(count("x")).await).0, "PERMISSION_DENIED", "the alias was moved");
    update(&root, vec![delete("x"), create("x", "films")]).await.unwrap();
    reader.upsert(one("x")).await.unwrap();
    assert_eq!(refused(reader.count(count("x")).await).0, "PERMISSION_DENIED", "the alias was moved again");
    assert_eq!(count_of(&reader, "films").await, 1, "the point is in the collection that was checked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_and_keyword_queries_by_alias_are_checked_against_the_collection() {
    let (root, root_grant) = grant("root", Role::Admin, &["*"]);
    let (tenant, tenant_grant) = grant("tenant", Role::Admin, &["films", "mine"]);
    let access = Access::restricted(vec![root_grant, tenant_grant], vec![], None);
    let (engine, _guard) = crate::local();
    let server = start_with(engine, with_access(access)).await;
    let (root, tenant) = (holder(&server.url, &root).await, holder(&server.url, &tenant).await);
    for name in ["films", "secret"] {
        root.create_collection(plain(name, 2, pb::Metric::L2)).await.unwrap();
        root.upsert(one(name)).await.unwrap();
    }
    update(&root, vec![create("x", "films"), create("mine", "secret")]).await.unwrap();

    let add = |collection: &str| {
        let text = pb::TextField { paths: vec!["title".into()], ..Default::default() };
        let field = pb::Field { name: "title".into(), kind: Some(pb::field::Kind::Text(text)) };
        pb::AddFieldRequest { collection: collection.into(), field: Some(field) }
    };
    let set = |collection: &str| {
        let payload_json = r#"{"title": "northern lights"}"#.into();
        let set = pb::PayloadSet { payload_json, ..Default::default() };
        let actions = vec![pb::PayloadAction { action: Some(pb::payload_action::Action::Set(set)) }];
        pb::UpdatePayloadRequest { collection: collection.into(), ids: vec!["a".into()], actions, ..Default::default() }
    };
    let replace = |collection: &str| pb::UpdateVectorsRequest {
        collection: collection.into(),
        items: vec![vector_item("a", &[5.0, 5.0])],
    };
    let analyze = |collection: &str| pb::AnalyzeRequest {
        collection: collection.into(),
        field: String::new(),
        text: "a b".into(),
    };
    let words = |collection: &str| {
        let words = pb::Keywords { text: "lights".into(), ..Default::default() };
        let query = Some(pb::Query { form: Some(pb::query::Form::Keywords(words)) });
        let params = Some(pb::SearchParams { k: 3, ..Default::default() });
        pb::SearchRequest { collection: collection.into(), query, params, ..Default::default() }
    };
    let drop = |collection: &str| pb::DropFieldRequest { collection: collection.into(), field: "title".into() };

    let fields = tenant.add_field(add("x")).await.unwrap().collection.unwrap().fields;
    assert_eq!(fields.len(), 1);
    assert_eq!(tenant.update_payload(set("x")).await.unwrap().updated, 1);
    assert_eq!(tenant.update_vectors(replace("x")).await.unwrap().updated, 1);
    assert_eq!(tenant.analyze(analyze("x")).await.unwrap().tokens.len(), 2);
    assert_eq!(tenant.search(words("x")).await.unwrap().hits.len(), 1);
    let facet = pb::FacetRequest { collection: "x".into(), field: "title".into(), ..Default::default() };
    assert_eq!(tenant.facet(facet).await.unwrap().points, 1);
    assert_eq!(tenant.drop_field(drop("x")).await.unwrap().collection.unwrap().fields.len(), 0);

    let denied = ("PERMISSION_DENIED", "the caller may not access this collection".to_owned());
    assert_eq!(refused(tenant.add_field(add("mine")).await), denied, "the alias of an inaccessible collection");
    assert_eq!(refused(tenant.update_payload(set("mine")).await), denied);
    assert_eq!(refused(tenant.update_vectors(replace("mine")).await), denied);
    assert_eq!(refused(tenant.analyze(analyze("mine")).await), denied);
    assert_eq!(refused(tenant.search(words("mine")).await), denied);
    assert_eq!(refused(tenant.drop_field(drop("mine")).await), denied);
    let delete = pb::DeleteCollectionRequest { name: "mine".into() };
    assert_eq!(refused(tenant.delete_collection(delete).await), denied);
}

async fn count_of(client: &Client, collection: &str) -> u64 {
    client.count(count(collection)).await.unwrap().count
}

#[tokio::test]
async fn an_alias_grants_no_access_and_reveals_nothing() {
    let (root, root_grant) = grant("root", Role::Admin, &["*"]);
    let (tenant, tenant_grant) = grant("tenant", Role::Admin, &["films-*"]);
    let (reader, reader_grant) = grant("reader", Role::Read, &["films-a"]);
    let access = Access::restricted(vec![root_grant, tenant_grant, reader_grant], vec![], None);
    let server = start_with(engine(), with_access(access)).await;
    let (root, tenant, reader) =
        (holder(&server.url, &root).await, holder(&server.url, &tenant).await, holder(&server.url, &reader).await);
    for name in ["films-a", "films-b", "secret"] {
        root.create_collection(plain(name, 2, pb::Metric::L2)).await.unwrap();
    }
    // Aliases whose names say nothing about the access to their collections.
    update(&root, vec![create("public", "films-a"), create("films-x", "secret"), create("z", "secret")]).await.unwrap();
    assert_eq!(count_of(&reader, "public").await, 0, "the collection that an alias refers to decides");
    let denied = ("PERMISSION_DENIED", "the caller may not access this collection".to_owned());
    for name in ["films-x", "z", "secret", "nowhere"] {
        assert_eq!(refused(reader.count(count(name)).await), denied, "{name}");
    }
    for name in ["films-x", "z", "nowhere"] {
        assert_eq!(refused(tenant.upsert(one(name)).await), denied, "{name}");
        let deleted = pb::DeleteCollectionRequest { name: name.into() };
        assert_eq!(refused(tenant.delete_collection(deleted).await), denied, "{name}");
    }
    assert_eq!(names(&tenant).await, ["films-a", "films-b"]);

    // Every name in a list must be in scope, and so must the collections of the aliases.
    for forms in [
        vec![create("films-y", "secret")],
        vec![create("films-y", "nowhere")],
        vec![create("y", "films-a")],
        vec![create("films-y", "films-x")],
        vec![delete("films-x")],
        vec![delete("z")],
        vec![rename("films-a", "mine")],
        vec![rename("secret", "films-y")],
        vec![create("films-y", "films-a"), delete("public")],
    ] {
        assert_eq!(refused(update(&tenant, forms.clone()).await), denied, "{forms:?}");
    }
    assert_eq!(
        update(&tenant, vec![create("films-y", "films-a")]).await.unwrap(),
        [listed("films-a", &["films-y", "public"])]
    );
    assert_eq!(update(&tenant, vec![rename("films-a", "films-c")]).await.unwrap().len(), 1);
    assert_eq!(refused(reader.count(count("public")).await), denied, "the reader may not access the new name");
    let (code, message) = refused(update(&reader, vec![delete("films-y")]).await);
    assert!(code == "PERMISSION_DENIED" && message.contains("role admin"), "{message}");
    // A name that is taken by the alias of an inaccessible collection.
    assert_eq!(refused(tenant.create_collection(plain("films-x", 2, pb::Metric::L2)).await).0, "ALREADY_EXISTS");
}
