//! Aliases and renamed collections over gRPC: over each engine, and the access rights of callers.

use crate::auth::{count, engine, grant, holder, names, one, with_access};
use crate::harness::*;
use nearness::auth::{Access, Role};
use nearness::engine::Node;
use nearness::grpc::{Client, ClientError, pb};
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
