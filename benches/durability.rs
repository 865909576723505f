//! Costs of durability, snapshots and access control, over the real server: upserts per second with 1, 16 and 64
//! clients next to the plain syncs of the disk, writing and restoring a snapshot, and queries per second with and
//! without keys.
//!
//! The variants alternate within each round, and the output is medians, because other programs share the disk and
//! the cores. `cargo bench --bench durability -- [syncs|snapshots|guard]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "prints tables; any failure may end the program")]

#[path = "../tests/support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with tests, which use the rest")]
mod server;

use nearness::grpc::{Client, ClientOptions, pb};
use server::Server;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const LENGTH: Duration = Duration::from_secs(4);
const DIMENSION: usize = 128;

fn vector(number: u64) -> Vec<f32> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..DIMENSION)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32
        })
        .collect()
}

fn proto(values: Vec<f32>) -> pb::Vector {
    pb::Vector { form: Some(pb::vector::Form::Values(pb::Values { values })) }
}

fn item(number: u64) -> pb::Item {
    pb::Item {
        id: format!("p{number}"),
        source: Some(pb::item::Source::Vector(proto(vector(number)))),
        ..Default::default()
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(what: &str, unit: &str, values: &[f64]) {
    let all: Vec<String> = values.iter().map(|value| format!("{value:.1}")).collect();
    println!("{what:<44} {:>9.1} {unit:<10} of {}", median(&mut values.to_vec()), all.join(" "));
}

/// Returns the syncs per second of a file that grows by one page per sync: the limit of the disk for one writer.
fn sync_rate(folder: &Path) -> f64 {
    let mut file = tempfile::tempfile_in(folder).unwrap();
    let (start, mut syncs) = (Instant::now(), 0_u32);
    while start.elapsed() < LENGTH {
        file.write_all(&[7; 4_096]).unwrap();
        file.sync_data().unwrap();
        syncs += 1;
    }
    f64::from(syncs) / start.elapsed().as_secs_f64()
}

async fn create(client: &Client, name: &str) {
    let space = Some(pb::create_collection_request::Space::Dimension(DIMENSION as u32));
    let request =
        pb::CreateCollectionRequest { name: name.into(), space, metric: pb::Metric::L2.into(), ..Default::default() };
    client.create_collection(request).await.unwrap();
}

/// Returns the calls per second of `clients` clients, each with one call at a time.
async fn rate<F: Future<Output = ()> + Send>(
    clients: u64,
    call: impl Fn(u64, u64) -> F + Clone + Send + 'static,
) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (call, done) = (call.clone(), done.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    if start.elapsed() >= LENGTH {
                        break;
                    }
                    call(client, number).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

async fn syncs(folder: &Path) {
    let server = Server::start(&folder.join("syncs"), &[]);
    let client = server::client(&server.url).await.unwrap();
    create(&client, "c").await;
    let cases = [1, 16, 64];
    let (mut sync_rates, mut rates) = (Vec::new(), vec![Vec::new(); cases.len()]);
    for _ in 0..ROUNDS {
        sync_rates.push(sync_rate(folder));
        for (index, clients) in cases.into_iter().enumerate() {
            let client = client.clone();
            let call = move |who: u64, number: u64| {
                let client = client.clone();
                async move {
                    // Ids repeat, so that the collection stays small.
                    let items = vec![item(who * 1_000 + number % 1_000)];
                    client
                        .upsert(pb::UpsertRequest { collection: "c".into(), items, ..Default::default() })
                        .await
                        .unwrap();
                }
            };
            rates[index].push(rate(clients, call).await);
        }
    }
    report("write 4 KiB and fdatasync, one file", "/s", &sync_rates);
    for (clients, rates) in cases.iter().zip(&rates) {
        report(&format!("durable upserts of one point, {clients} clients"), "/s", rates);
    }
}

async fn load(client: &Client, name: &str, count: u64) {
    create(client, name).await;
    let collection = name.to_owned();
    let requests = (0..count).map(move |n| pb::UpsertStreamRequest {
        collection: collection.clone(),
        item: Some(item(n)),
        ..Default::default()
    });
    let mut acks = client.upsert_stream(tokio_stream::iter(requests)).await.unwrap();
    while let Some(some) = acks.next().await.unwrap() {
        assert!(some.iter().all(|ack| ack.error.is_empty()));
    }
    client.compact(pb::CompactCollectionRequest { name: name.into() }).await.unwrap();
}

async fn snapshots(folder: &Path) {
    const POINTS: u64 = 200_000;
    let snapshot_dir = folder.join("kept");
    std::fs::create_dir(&snapshot_dir).unwrap();
    let server = Server::start(&folder.join("snapshots"), &["--snapshots", snapshot_dir.to_str().unwrap()]);
    let client = server::client(&server.url).await.unwrap();
    load(&client, "c", POINTS).await;
    let (mut makes, mut verifies, mut restores, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        use pb::create_snapshot_response::State;
        let start = Instant::now();
        let mut responses = client.create_snapshot(pb::CreateSnapshotRequest { collection: "c".into() }).await.unwrap();
        let mut snapshot = None;
        while let Some(response) = responses.next().await.unwrap() {
            if let Some(State::Snapshot(created)) = response.state {
                snapshot = Some(created);
            }
        }
        makes.push(start.elapsed().as_secs_f64());
        let snapshot = snapshot.unwrap();
        bytes = snapshot.bytes;
        let start = Instant::now();
        let request = pb::VerifySnapshotRequest { snapshot: snapshot.name.clone() };
        let mut responses = client.verify_snapshot(request).await.unwrap();
        while responses.next().await.unwrap().is_some() {}
        verifies.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let request =
            pb::RestoreSnapshotRequest { snapshot: snapshot.name, collection: format!("r{round}"), replace: false };
        let mut responses = client.restore_snapshot(request).await.unwrap();
        while responses.next().await.unwrap().is_some() {}
        restores.push(start.elapsed().as_secs_f64());
        client.delete_collection(pb::DeleteCollectionRequest { name: format!("r{round}") }).await.unwrap();
    }
    println!("snapshot of {POINTS} x {DIMENSION}: {:.1} MB", bytes as f64 / 1e6);
    for (what, times) in [("create", &makes), ("verify", &verifies), ("restore, checked", &restores)] {
        let speeds: Vec<f64> = times.iter().map(|time| bytes as f64 / 1e6 / time).collect();
        report(what, "MB/s", &speeds);
    }
}

async fn guard(folder: &Path) {
    const POINTS: u64 = 20_000;
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nearness"))
        .args(["key", "new", "--name", "bench", "--role", "admin", "--collection", "*"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    let key = text.split_whitespace().find(|word| word.starts_with("nrn_")).unwrap().to_owned();
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("[[")).collect();
    let config = folder.join("nearness.toml");
    std::fs::write(&config, lines.join("\n")).unwrap();
    let open = Server::start(&folder.join("open"), &[]);
    let guarded = Server::start(&folder.join("guarded"), &["--config", config.to_str().unwrap()]);
    let with_key = ClientOptions { credential: Some(key), ..ClientOptions::default() };
    let sides = [
        ("open access", Client::connect(&open.url, &ClientOptions::default()).await.unwrap()),
        ("one key", Client::connect(&guarded.url, &with_key).await.unwrap()),
    ];
    for (_, client) in &sides {
        load(client, "c", POINTS).await;
    }
    for clients in [1, 16] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (index, (_, client)) in sides.iter().enumerate() {
                let client = client.clone();
                let call = move |who: u64, number: u64| {
                    let client = client.clone();
                    async move {
                        let form = pb::query::Form::Vector(proto(vector(who << 32 | number)));
                        let request = pb::SearchRequest {
                            collection: "c".into(),
                            query: Some(pb::Query { form: Some(form) }),
                            params: Some(pb::SearchParams { k: 10, ..Default::default() }),
                            min_sequence: 0,
                            offset: 0,
                        };
                        client.search(request).await.unwrap();
                    }
                };
                rates[index].push(rate(clients, call).await);
            }
        }
        for ((what, _), rates) in sides.iter().zip(&rates) {
            report(&format!("queries, {clients} clients, {what}"), "/s", rates);
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    // A temporary folder in the build's target folder, which is on disk, not in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let selected = |part: &str| parts.is_empty() || parts.iter().any(|one| one == part);
    if selected("syncs") {
        syncs(folder.path()).await;
    }
    if selected("snapshots") {
        snapshots(folder.path()).await;
    }
    if selected("guard") {
        guard(folder.path()).await;
    }
}
