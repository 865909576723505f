//! Expiry of points over gRPC: the setting at creation and on a live collection.

use crate::harness::*;
use nearness::engine::Database;
use nearness::grpc::pb;
use nearness::prelude::{Clock, Timestamp};
use pb::update_collection_request::Expiry;
use serde_json::json as j;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_expire_by_the_setting_of_their_collection() {
    let folder = tempfile::tempdir().expect("a folder");
    let seconds = Arc::new(AtomicI64::new(1_000));
    let time = seconds.clone();
    let clock = Clock::new(move || Timestamp::from_micros(time.load(Ordering::SeqCst) * 1_000_000));
    let engine = Database::options().clock(clock).open(folder.path()).expect("an engine");
    let server = start(Arc::new(engine)).await;
    let client = &server.client;
    let ttl = pb::Ttl { path: "at".into(), seconds: 60, stamp: true };
    let create = pb::CreateCollectionRequest { ttl: Some(ttl.clone()), ..plain("c", 1, pb::Metric::L2) };
    assert_eq!(client.create_collection(create).await.unwrap().collection.unwrap().ttl, Some(ttl.clone()));
    let timed = pb::Item { payload: payload(j!({"at": "1970-01-01T00:16:30Z"})), ..vector_item("old", &[1.0]) };
    let items = vec![vector_item("stamped", &[0.0]), timed];
    client.upsert(upsert("c", items)).await.unwrap();
    let ids = async || {
        let page = client.scroll(pb::ScrollRequest { collection: "c".into(), ..Default::default() }).await.unwrap();
        page.points.into_iter().map(|point| point.id).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, ["old", "stamped"]);
    seconds.store(1_050, Ordering::SeqCst);
    assert_eq!(ids().await, ["stamped"]);
    let found = client.search(near_vector("c", &[1.0], 10)).await.unwrap();
    assert_eq!(hit_ids(&found), ["stamped"]);

    let update = |expiry| pb::UpdateCollectionRequest { name: "c".into(), expiry };
    let longer = pb::Ttl { seconds: 600, ..ttl.clone() };
    let changed = client.update_collection(update(Some(Expiry::Ttl(longer.clone())))).await.unwrap();
    assert_eq!(changed.collection.unwrap().ttl, Some(longer));
    seconds.store(1_100, Ordering::SeqCst);
    assert!(ids().await.contains(&"stamped".to_owned()), "the lifetime is longer now");
    let changed = client.update_collection(update(Some(Expiry::NoTtl(true)))).await.unwrap();
    assert_eq!(changed.collection.unwrap().ttl, None);
    for (expiry, part) in [
        (None, "expiry"),
        (Some(Expiry::NoTtl(false)), "no_ttl"),
        (Some(Expiry::Ttl(pb::Ttl { path: String::new(), ..ttl.clone() })), "ttl.path"),
        (Some(Expiry::Ttl(pb::Ttl { path: "a[0]".into(), ..ttl.clone() })), "ttl.path"),
        (Some(Expiry::Ttl(pb::Ttl { seconds: 0, ..ttl.clone() })), "ttl.seconds"),
        (Some(Expiry::Ttl(pb::Ttl { seconds: 3_155_760_001, ..ttl.clone() })), "3155760000"),
    ] {
        let (code, message) = refused(client.update_collection(update(expiry)).await);
        assert!(code == "INVALID_ARGUMENT" && message.contains(part), "{message} should contain {part}");
    }
    let bad = pb::Ttl { seconds: 0, ..ttl.clone() };
    let create = pb::CreateCollectionRequest { ttl: Some(bad), ..plain("d", 1, pb::Metric::L2) };
    assert_eq!(refused(client.create_collection(create).await).0, "INVALID_ARGUMENT");
    let missing = pb::UpdateCollectionRequest { name: "none".into(), expiry: Some(Expiry::Ttl(ttl.clone())) };
    assert_eq!(refused(client.update_collection(missing).await).0, "NOT_FOUND");
    client.update_collection(update(Some(Expiry::Ttl(ttl)))).await.unwrap();
    let item = pb::Item { payload: payload(j!({"at": {"x": 1}})), ..vector_item("object", &[2.0]) };
    client.upsert(upsert("c", vec![item])).await.unwrap();
    assert!(ids().await.contains(&"object".to_owned()), "a value that is no time never expires");
}
