//! A caller sees only the snapshots of collections in its scope.

use crate::auth::{grant, holder, with_access};
use crate::harness::*;
use nearness::auth::{Access, Role};
use nearness::engine::Database;
use nearness::grpc::{Client, ClientError, pb};
use nearness::snapshot_store::SnapshotStore;
use std::sync::Arc;

/// Creates a snapshot and returns its name.
async fn take(client: &Client, collection: &str) -> Result<String, ClientError> {
    use pb::create_snapshot_response::State;
    let request = pb::CreateSnapshotRequest { collection: collection.into() };
    let mut replies = client.create_snapshot(request).await?;
    let mut taken = None;
    while let Some(reply) = replies.next().await? {
        if let Some(State::Snapshot(snapshot)) = reply.state {
            taken = Some(snapshot.name);
        }
    }
    Ok(taken.expect("the last reply names it"))
}

async fn verify(client: &Client, snapshot: &str) -> Result<(), ClientError> {
    let mut replies = client.verify_snapshot(pb::VerifySnapshotRequest { snapshot: snapshot.into() }).await?;
    while replies.next().await?.is_some() {}
    Ok(())
}

async fn restore(client: &Client, snapshot: &str, collection: &str, replace: bool) -> Result<(), ClientError> {
    let request = pb::RestoreSnapshotRequest { snapshot: snapshot.into(), collection: collection.into(), replace };
    let mut replies = client.restore_snapshot(request).await?;
    while replies.next().await?.is_some() {}
    Ok(())
}

async fn listed(client: &Client) -> Vec<String> {
    let reply = client.list_snapshots(pb::ListSnapshotsRequest {}).await.unwrap();
    reply.snapshots.into_iter().map(|snapshot| snapshot.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_limited_to_the_scope_of_the_caller() {
    let (data, snapshot_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = SnapshotStore::open(snapshot_dir.path().to_str().unwrap()).unwrap();
    let engine = Database::options().embedders(crate::registry()).snapshots(store).open(data.path()).unwrap();
    let engine = Arc::new(engine);
    let (root, root_grant) = grant("root", Role::Admin, &["*"]);
    let (films, films_grant) = grant("films", Role::Admin, &["films-*"]);
    let (writer, writer_grant) = grant("ingest", Role::Write, &["*"]);
    let access = Access::restricted(vec![root_grant, films_grant, writer_grant], vec![], None);
    let server = start_with(engine, with_access(access)).await;
    let root = holder(&server.url, &root).await;
    let films = holder(&server.url, &films).await;
    let writer = holder(&server.url, &writer).await;
    for name in ["films-a", "words"] {
        root.create_collection(plain(name, 2, pb::Metric::L2)).await.unwrap();
        root.upsert(upsert(name, vec![vector_item(name, &[1.0, 2.0])])).await.unwrap();
    }
    let of_films = take(&films, "films-a").await.unwrap();
    let of_words = take(&root, "words").await.unwrap();
    let mut all = listed(&root).await;
    all.sort();
    let mut both = vec![of_films.clone(), of_words.clone()];
    both.sort();
    assert_eq!(all, both);
    assert_eq!(listed(&films).await, std::slice::from_ref(&of_films));

    let denied = |result: Result<(), ClientError>| assert_eq!(refused(result).0, "PERMISSION_DENIED");
    denied(take(&films, "words").await.map(drop));
    denied(take(&films, "nowhere").await.map(drop));
    denied(verify(&films, &of_words).await);
    for replace in [false, true] {
        denied(restore(&films, &of_words, "films-b", replace).await);
        denied(restore(&films, &of_films, "words", replace).await);
        denied(restore(&films, &of_words, "words", replace).await);
    }
    // Its scope contains all collections, but its role is insufficient.
    denied(take(&writer, "films-a").await.map(drop));
    denied(verify(&writer, &of_films).await);
    denied(restore(&writer, &of_films, "films-b", true).await);
    assert_eq!(refused(writer.list_snapshots(pb::ListSnapshotsRequest {}).await).0, "PERMISSION_DENIED");

    let names = root.list_collections(pb::ListCollectionsRequest::default()).await.unwrap().collections;
    assert_eq!(names.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["films-a", "words"]);
    let of = |id: &str| pb::GetPointsRequest { collection: "words".into(), ids: vec![id.into()], ..Default::default() };
    assert_eq!(root.get_points(of("words")).await.unwrap().points.len(), 1, "words is unchanged");

    verify(&films, &of_films).await.unwrap();
    restore(&films, &of_films, "films-b", false).await.unwrap();
    assert_eq!(count(&root, "films-b").await, 1);
    assert_eq!(refused(restore(&films, &of_films, "films-b", false).await).0, "ALREADY_EXISTS");
    restore(&films, &of_films, "films-b", true).await.unwrap();
    assert_eq!(refused(verify(&films, "001795530660-42-0f3a9c1b.nearness.tar").await).0, "NOT_FOUND");
}
