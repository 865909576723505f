//! kill -9 of a real server under load: every write that was acknowledged is there after the restart, every other is wholly there or wholly absent.
//!
//! Each round starts the server on the same data, runs writers that upsert, replace and delete over gRPC, kills the
//! process at a moment drawn from the seed, and compares. `NEARNESS_SEED` replays a seed.
#![allow(clippy::print_stdout, reason = "the seed of a failure must be seen")]

#[path = "support/server.rs"]
mod server;

use nearness::grpc::pb;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use server::Server;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const WRITERS: u64 = 4;
const BATCH: u64 = 20;
const DIMENSION: usize = 16;

/// What a writer knows of an id: the last version acknowledged (0: acknowledged as deleted), and the one under way when the server died.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: Option<u64>,
    under_way: Option<u64>,
}

fn item(id: String, version: u64) -> pb::Item {
    let values = (0..DIMENSION as u64).map(|place| (version * 31 + place * 7 + 1) as f32 % 97.0 + 1.0).collect();
    let vector = pb::Vector { form: Some(pb::vector::Form::Values(pb::Values { values })) };
    let payload = serde_json::json!({ "version": version }).as_object().cloned().expect("an object");
    pb::Item {
        id,
        source: Some(pb::item::Source::Vector(vector)),
        payload: Some(nearness::grpc::payload::to_struct(payload)),
    }
}

/// One writer: batches of its own ids until the server is gone.
async fn write(
    url: String,
    writer: u64,
    mut version: u64,
    mut known: BTreeMap<String, Known>,
    seed: u64,
) -> (BTreeMap<String, Known>, u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let Ok(client) = server::client(&url).await else { return (known, version) };
    loop {
        let ids: std::collections::BTreeSet<String> =
            (0..BATCH).map(|_| format!("w{writer}-{}", rng.random_range(0..400))).collect();
        if rng.random_range(0..5) == 0 {
            for id in &ids {
                known.entry(id.clone()).or_default().under_way = Some(0);
            }
            let request = pb::DeletePointsRequest {
                collection: "crash".into(),
                ids: ids.iter().cloned().collect(),
                ..Default::default()
            };
            if client.delete_points(request).await.is_err() {
                return (known, version);
            }
            for id in &ids {
                known.insert(id.clone(), Known { acknowledged: Some(0), under_way: None });
            }
        } else {
            version += 1;
            for id in &ids {
                known.entry(id.clone()).or_default().under_way = Some(version);
            }
            let items = ids.iter().map(|id| item(id.clone(), version)).collect();
            if client.upsert(pb::UpsertRequest { collection: "crash".into(), items }).await.is_err() {
                return (known, version);
            }
            for id in &ids {
                known.insert(id.clone(), Known { acknowledged: Some(version), under_way: None });
            }
        }
    }
}

/// Compares what the server holds with what the writers know. Returns how many acknowledged ids were checked.
async fn check(url: &str, known: &mut [BTreeMap<String, Known>], round: usize) -> usize {
    let client = server::client(url).await.expect("a connection");
    let mut checked = 0;
    let mut present = 0;
    for map in known.iter_mut() {
        let ids: Vec<String> = map.keys().cloned().collect();
        if ids.is_empty() {
            continue;
        }
        let request = pb::GetPointsRequest {
            collection: "crash".into(),
            ids,
            fields: Some(pb::Fields { payload: true, vector: true }),
            min_sequence: 0,
        };
        let reply = client.get_points(request).await.expect("points");
        let mut found: BTreeMap<String, u64> = reply.missing.into_iter().map(|id| (id, 0)).collect();
        for point in reply.points {
            let payload =
                nearness::grpc::payload::from_struct(point.payload.unwrap_or_default(), &"payload").expect("a payload");
            let version = payload["version"].as_u64().expect("a whole number");
            assert_eq!(
                point.vector,
                item(String::new(), version).source.map(|source| match source {
                    pb::item::Source::Vector(vector) => vector,
                    _ => unreachable!(),
                }),
                "round {round}: the vector of {} is not the one of its version {version}",
                point.id
            );
            present += 1;
            found.insert(point.id, version);
        }
        // A batch under way is wholly there or wholly absent.
        let mut torn: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for (id, knowledge) in map.iter_mut() {
            let version = found[id];
            let acknowledged = knowledge.acknowledged.unwrap_or(0);
            match knowledge.under_way {
                None => assert_eq!(
                    version, acknowledged,
                    "round {round}: {id} was acknowledged at version {acknowledged}, found {version}"
                ),
                Some(next) => {
                    assert!(
                        version == acknowledged || version == next,
                        "round {round}: {id} is at {version}, neither {acknowledged} nor {next}"
                    );
                    if next != acknowledged {
                        let counts = torn.entry(next).or_default();
                        if version == next { counts.0 += 1 } else { counts.1 += 1 }
                    }
                }
            }
            *knowledge = Known { acknowledged: Some(version), under_way: None };
            checked += 1;
        }
        for (version, (there, absent)) in torn {
            assert!(
                there == 0 || absent == 0,
                "round {round}: batch {version} is torn: {there} there, {absent} absent"
            );
        }
    }
    let count = client
        .count(pb::CountRequest { collection: "crash".into(), ..Default::default() })
        .await
        .expect("a count")
        .count;
    assert_eq!(count, present, "round {round}: the count");
    checked
}

async fn rounds(count: usize, seed: u64) {
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("a folder");
    let mut known: Vec<BTreeMap<String, Known>> = vec![BTreeMap::new(); WRITERS as usize];
    let mut version = 0;
    let mut checked = 0;
    for round in 0..count {
        let server = start(dir.path());
        if round == 0 {
            let client = server::client(&server.url).await.expect("a connection");
            let request = pb::CreateRequest {
                name: "crash".into(),
                space: Some(pb::create_request::Space::Dimension(DIMENSION as u32)),
                metric: pb::Metric::L2.into(),
                // Small segments: seals and merges run all the time.
                index: Some(pb::IndexSettings { seal_rows: 200, ..Default::default() }),
            };
            client.create_collection(request).await.expect("a collection");
        } else {
            checked += check(&server.url, &mut known, round).await;
        }
        let writers: Vec<_> = known
            .iter()
            .enumerate()
            .map(|(writer, map)| {
                tokio::spawn(write(server.url.clone(), writer as u64, version, map.clone(), rng.random()))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..900))).await;
        server.kill();
        for (writer, handle) in writers.into_iter().enumerate() {
            let (map, last) = handle.await.expect("a writer");
            known[writer] = map;
            version = version.max(last);
        }
    }
    let server = start(dir.path());
    checked += check(&server.url, &mut known, count).await;
    println!("{count} kills, {version} versions, {checked} ids compared, nothing lost");
    assert!(version > count as u64, "the writers hardly wrote");
}

fn start(dir: &Path) -> Server {
    Server::start(dir, &[])
}

fn seed() -> u64 {
    std::env::var("NEARNESS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_three_times_it_loses_nothing() {
    rounds(3, seed()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: 20 rounds"]
async fn killed_twenty_times_it_loses_nothing() {
    rounds(20, seed() + 1).await;
}
