//! Full-disk tests of a server: reads continue, writes fail with RESOURCE_EXHAUSTED, no data is damaged, and writes
//! resume once there is space.
#![allow(clippy::print_stdout, reason = "prints that a test is skipped")]

#[path = "support/mount.rs"]
mod mount;
#[path = "support/server.rs"]
mod server;

use nearness::collection::check_directory;
use nearness::grpc::{Client, ClientError, pb};
use server::Server;
use std::time::{Duration, Instant};

const DIMENSION: usize = 64;
const BATCH: u64 = 100;

fn item(number: u64) -> pb::Item {
    let values = (0..DIMENSION as u64).map(|axis| ((number * 31 + axis * 7) % 97) as f32 + 1.0).collect();
    let vector = pb::Vector { form: Some(pb::vector::Form::Values(pb::Values { values })) };
    let payload = serde_json::json!({ "number": number, "text": "x".repeat(1_000) });
    pb::Item {
        id: format!("p{number:06}"),
        source: Some(pb::item::Source::Vector(vector)),
        payload: payload.as_object().cloned().map(nearness::grpc::payload::to_struct),
        ..Default::default()
    }
}

async fn upsert(client: &Client, batch: u64) -> Result<(), ClientError> {
    let items = (batch * BATCH..(batch + 1) * BATCH).map(item).collect();
    client.upsert(pb::UpsertRequest { collection: "c".into(), items, ..Default::default() }).await.map(drop)
}

/// Checks that reads work and return the acknowledged batches.
async fn check(client: &Client, batches: u64) {
    let count = client.count(pb::CountRequest { collection: "c".into(), ..Default::default() }).await.expect("a count");
    assert_eq!(count.count, batches * BATCH);
    for batch in 0..batches {
        let ids = (batch * BATCH..(batch + 1) * BATCH).step_by(9).map(|number| item(number).id).collect();
        let fields = Some(pb::Fields { payload: true, vector: true, ..Default::default() });
        let request = pb::GetPointsRequest { collection: "c".into(), ids, fields, min_sequence: 0 };
        let reply = client.get_points(request).await.expect("points");
        assert!(reply.missing.is_empty(), "{:?}", reply.missing);
        for point in reply.points {
            let expected = item(point.id[1..].parse().expect("a number"));
            assert_eq!(
                (point.payload, point.vector.map(pb::item::Source::Vector)),
                (expected.payload, expected.source)
            );
        }
    }
    let query = pb::query::Form::Id(item(1).id);
    let request = pb::SearchRequest {
        collection: "c".into(),
        query: Some(pb::Query { form: Some(query) }),
        params: Some(pb::SearchParams { k: 10, ..Default::default() }),
        min_sequence: 0,
        offset: 0,
    };
    assert_eq!(client.search(request).await.expect("an answer").hits.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_recovers() {
    let Some(mount) = mount::Mount::tmpfs(20) else { return };
    let server = Server::start(mount.path(), &[]);
    let client = server::client(&server.url).await.expect("a connection");
    let create = pb::CreateCollectionRequest {
        name: "c".into(),
        space: Some(pb::create_collection_request::Space::Dimension(DIMENSION as u32)),
        metric: pb::Metric::L2.into(),
        index: Some(pb::IndexSettings { seal_rows: 1_000, ..Default::default() }),
        ..Default::default()
    };
    client.create_collection(create).await.expect("a collection");
    let mut batches = 0;
    let mut megabytes = 20;
    for _ in 0..3 {
        let started = Instant::now();
        let refusal = loop {
            match upsert(&client, batches).await {
                Ok(()) => batches += 1,
                Err(refusal) => break refusal,
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{batches} batches fit into {megabytes} MB");
        };
        let exhausted = |refusal: &ClientError| {
            let ClientError::Refused { code, message, .. } = refusal else { panic!("{refusal}") };
            assert_eq!(*code, "RESOURCE_EXHAUSTED", "{message}");
        };
        exhausted(&refusal);
        check(&client, batches).await;
        if let Err(refusal) = upsert(&client, batches).await {
            exhausted(&refusal);
        } else {
            batches += 1; // a flush has freed space
        }
        check(&client, batches).await;

        megabytes += 16;
        mount.resize(megabytes);
        let started = Instant::now();
        while let Err(refusal) = upsert(&client, batches).await {
            exhausted(&refusal);
            assert!(started.elapsed() < Duration::from_secs(20), "refused despite free space: {refusal}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        batches += 1;
        check(&client, batches).await;
    }
    println!("{batches} batches in {megabytes} MB");
    server.kill();
    let report = check_directory(mount.path()).expect("checked");
    assert!(report.findings.iter().all(|finding| finding.damage.name() != "data"), "{report:?}");
    let server = Server::start(mount.path(), &[]);
    check(&server::client(&server.url).await.expect("a connection"), batches).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_snapshots() {
    let Some(mount) = mount::Mount::tmpfs(1) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let location = mount.path().to_str().expect("UTF-8");
    let server = Server::start(&folder.path().join("data"), &["--snapshots", location]);
    let client = server::client(&server.url).await.expect("a connection");
    let create = pb::CreateCollectionRequest {
        name: "c".into(),
        space: Some(pb::create_collection_request::Space::Dimension(DIMENSION as u32)),
        metric: pb::Metric::L2.into(),
        ..Default::default()
    };
    client.create_collection(create).await.expect("a collection");
    for batch in 0..20 {
        upsert(&client, batch).await.expect("there is space for points");
    }
    let mut replies =
        client.create_snapshot(pb::CreateSnapshotRequest { collection: "c".into() }).await.expect("a stream");
    let refusal = loop {
        match replies.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a snapshot of 2 MB fits into 1 MB"),
            Err(refusal) => break refusal,
        }
    };
    let ClientError::Refused { code, message, .. } = refusal else { panic!("{refusal}") };
    assert_eq!(code, "RESOURCE_EXHAUSTED", "{message}");
    assert!(!message.contains(location), "{message}");
    check(&client, 20).await;
    assert!(client.list_snapshots(pb::ListSnapshotsRequest {}).await.expect("a list").snapshots.is_empty());
    server.kill();
}
