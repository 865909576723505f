//! Soak test: a server under mixed load for minutes or hours; its resource use must not grow after warm-up.
//!
//! Writers replace and delete points of a fixed range of ids, by calls and by streams; readers run plain, filtered and
//! 1 ms-deadline searches, and scrolls; other loads compact, create and restore snapshots, and create and
//! delete collections. Every sample prints the server's resource use. `NEARNESS_MINUTES` sets the duration;
//! `NEARNESS_SEED` replays a seed:
//!
//! ```text
//! NEARNESS_MINUTES=60 cargo test --release --test soak -- --ignored --nocapture
//! ```
#![allow(clippy::print_stdout, reason = "prints the measurements")]

#[path = "support/server.rs"]
mod server;

use nearness::grpc::{Client, ClientError, pb};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use server::Server;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DIMENSION: usize = 64;
/// Number of ids; the number of live points stays below it.
const IDS: u32 = 20_000;
const KINDS: u32 = 20;
/// Number of snapshots to keep.
const SNAPSHOTS: usize = 3;
/// Allowed growth from the middle to the last third: a factor, plus the variation of allocators and open files.
const SHARE: f64 = 1.2;
const SLACK_BYTES: f64 = 48e6;
const SLACK_FILES: f64 = 24.0;

/// State shared by all loads.
struct Load {
    client: Client,
    url: String,
    over: AtomicBool,
    queries_answered: AtomicU64,
    points_written: AtomicU64,
    /// Unexpected refusals, by operation and code.
    errors: Mutex<BTreeMap<String, u64>>,
    /// Requests that exceeded their deadline, as intended.
    late: AtomicU64,
}

impl Load {
    fn is_running(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Returns the result of a call; records a refusal and returns `None`.
    fn ok_or_record<T>(&self, what: &str, result: Result<T, ClientError>) -> Option<T> {
        result
            .inspect_err(|error| {
                let mut errors = self.errors.lock().expect("no poisoned lock");
                let key = format!("{what}: {error}");
                println!("refused: {key}");
                *errors.entry(key).or_default() += 1;
            })
            .ok()
    }
}

fn vector(rng: &mut StdRng) -> Vec<f32> {
    // Clusters, as in embeddings.
    let center = rng.random_range(0..50_u32);
    (0..DIMENSION as u32)
        .map(|axis| ((center * 37 + axis * 11) % 101) as f32 / 50.0 + rng.random_range(-0.3..0.3))
        .collect()
}

fn item(rng: &mut StdRng) -> pb::Item {
    let id = rng.random_range(0..IDS);
    let values = vector(rng);
    let payload = serde_json::json!({ "kind": format!("k{}", id % KINDS), "number": id });
    pb::Item {
        id: format!("p{id}"),
        source: Some(pb::item::Source::Vector(pb::Vector {
            form: Some(pb::vector::Form::Values(pb::Values { values })),
        })),
        payload: Some(nearness::grpc::payload::to_struct(payload.as_object().cloned().expect("an object"))),
        ..Default::default()
    }
}

fn of_kind(kind: u32) -> pb::Filter {
    use pb::{filter::Form, filter_value};
    let value = pb::FilterValue { form: Some(filter_value::Form::StringValue(format!("k{kind}"))) };
    pb::Filter { form: Some(Form::Equals(pb::Equals { field: "kind".into(), value: Some(value) })) }
}

fn near(
    rng: &mut StdRng,
    filter: Option<pb::Filter>,
    accuracy: Option<pb::search_params::Accuracy>,
) -> pb::SearchRequest {
    let form = pb::vector::Form::Values(pb::Values { values: vector(rng) });
    pb::SearchRequest {
        collection: "soak".into(),
        query: Some(pb::Query { form: Some(pb::query::Form::Vector(pb::Vector { form: Some(form) })) }),
        params: Some(pb::SearchParams { k: 10, filter, accuracy, ..Default::default() }),
        min_sequence: 0,
        offset: 0,
    }
}

async fn write(load: Arc<Load>, mut rng: StdRng) {
    while load.is_running() {
        let mut items: BTreeMap<String, pb::Item> = BTreeMap::new();
        while items.len() < 40 {
            let item = item(&mut rng);
            items.insert(item.id.clone(), item);
        }
        let items: Vec<_> = items.into_values().collect();
        load.points_written.fetch_add(items.len() as u64, Ordering::Relaxed);
        load.ok_or_record(
            "upsert",
            load.client.upsert(pb::UpsertRequest { collection: "soak".into(), items, ..Default::default() }).await,
        );
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..30))).await;
    }
}

async fn write_streams(load: Arc<Load>, mut rng: StdRng) {
    while load.is_running() {
        let count = rng.random_range(1..2_000);
        let items: Vec<_> = (0..count).map(|_| item(&mut rng)).collect();
        let requests = items.into_iter().map(|item| pb::UpsertStreamRequest {
            collection: "soak".into(),
            item: Some(item),
            ..Default::default()
        });
        if let Some(mut acks) =
            load.ok_or_record("stream", load.client.upsert_stream(tokio_stream::iter(requests)).await)
        {
            // One client in four disconnects early.
            let disconnects = rng.random_range(0..4) == 0;
            while let Some(Some(batch)) = load.ok_or_record("stream", acks.next().await) {
                load.points_written.fetch_add(batch.len() as u64, Ordering::Relaxed);
                if disconnects {
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(200..2_000))).await;
    }
}

async fn delete(load: Arc<Load>, mut rng: StdRng) {
    while load.is_running() {
        let request = if rng.random_range(0..200) == 0 {
            pb::DeletePointsRequest {
                collection: "soak".into(),
                filter: Some(of_kind(rng.random_range(0..KINDS))),
                ..Default::default()
            }
        } else {
            let ids = (0..20).map(|_| format!("p{}", rng.random_range(0..IDS))).collect();
            pb::DeletePointsRequest { collection: "soak".into(), ids, ..Default::default() }
        };
        load.ok_or_record("delete", load.client.delete_points(request).await);
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..80))).await;
    }
}

async fn search(load: Arc<Load>, mut rng: StdRng) {
    use pb::search_params::Accuracy;
    while load.is_running() {
        let (request, filtered) = match rng.random_range(0..10) {
            0..6 => (near(&mut rng, None, None), None),
            6 => (near(&mut rng, None, Some(Accuracy::Exact(true))), None),
            _ => {
                let kind = rng.random_range(0..KINDS);
                (near(&mut rng, Some(of_kind(kind)), None), Some(kind))
            }
        };
        if let Some(reply) = load.ok_or_record("search", load.client.search(request).await) {
            assert!(reply.hits.is_sorted_by(|a, b| a.distance <= b.distance), "hits out of order");
            if let Some(kind) = filtered {
                let matches = |id: &str| id[1..].parse::<u32>().expect("a number") % KINDS == kind;
                assert!(reply.hits.iter().all(|hit| matches(&hit.id)), "a hit does not match the filter");
            }
            load.queries_answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Searches, scrolls and counts, some of which are abandoned midway.
async fn read(load: Arc<Load>, mut rng: StdRng) {
    let channel = tonic::transport::Channel::from_shared(load.url.clone()).expect("a URL").connect().await;
    let mut raw = pb::search_client::SearchClient::new(channel.expect("a connection"));
    while load.is_running() {
        let mut late = tonic::Request::new(near(&mut rng, None, Some(pb::search_params::Accuracy::Exact(true))));
        late.set_timeout(Duration::from_millis(1));
        match raw.search(late).await {
            Err(status) => {
                let code = status.code();
                assert!(matches!(code, tonic::Code::DeadlineExceeded | tonic::Code::Cancelled), "{status}");
                load.late.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => drop(load.queries_answered.fetch_add(1, Ordering::Relaxed)),
        }
        let filter = (rng.random_range(0..2) == 0).then(|| of_kind(rng.random_range(0..KINDS)));
        let page =
            pb::ScrollRequest { collection: "soak".into(), limit: 500, filter: filter.clone(), ..Default::default() };
        load.ok_or_record("scroll", load.client.scroll(page).await);
        let count = pb::CountRequest { collection: "soak".into(), filter, min_sequence: 0 };
        load.ok_or_record("count", load.client.count(count).await);
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..200))).await;
    }
}

/// Creates and restores snapshots, compacts, and creates and deletes collections.
async fn manage(load: Arc<Load>, mut rng: StdRng, snapshots: std::path::PathBuf) {
    use pb::create_snapshot_response::State;
    while load.is_running() {
        let request = pb::CreateSnapshotRequest { collection: "soak".into() };
        let mut taken = None;
        if let Some(mut replies) = load.ok_or_record("snapshot", load.client.create_snapshot(request).await) {
            while let Some(Some(reply)) = load.ok_or_record("snapshot", replies.next().await) {
                if let Some(State::Snapshot(snapshot)) = reply.state {
                    taken = Some(snapshot.name);
                }
            }
        }
        if let Some(snapshot) = taken.filter(|_| rng.random_range(0..2) == 0) {
            let request = pb::RestoreSnapshotRequest { snapshot, collection: "copy".into(), replace: true };
            if let Some(mut replies) = load.ok_or_record("restore", load.client.restore_snapshot(request).await) {
                while load.ok_or_record("restore", replies.next().await).flatten().is_some() {}
            }
        }
        let mut files: Vec<_> = std::fs::read_dir(&snapshots).expect("the snapshots").flatten().collect();
        files.sort_by_key(|file| file.metadata().and_then(|data| data.modified()).ok());
        for old in files.iter().rev().skip(SNAPSHOTS) {
            drop(std::fs::remove_file(old.path()));
        }
        if rng.random_range(0..3) == 0 {
            load.ok_or_record(
                "compact",
                load.client.compact(pb::CompactCollectionRequest { name: "soak".into() }).await,
            );
        }
        for number in 0..3 {
            let name = format!("passing-{number}");
            let space = Some(pb::create_collection_request::Space::Dimension(DIMENSION as u32));
            let create = pb::CreateCollectionRequest {
                name: name.clone(),
                space,
                metric: pb::Metric::L2.into(),
                ..Default::default()
            };
            load.ok_or_record("create", load.client.create_collection(create).await);
            let items = vec![pb::Item { id: "only".into(), ..item(&mut rng) }];
            load.ok_or_record(
                "upsert",
                load.client.upsert(pb::UpsertRequest { collection: name.clone(), items, ..Default::default() }).await,
            );
            load.ok_or_record("delete", load.client.delete_collection(pb::DeleteCollectionRequest { name }).await);
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(1_000..6_000))).await;
    }
}

/// Resource use of the server.
#[derive(Clone, Copy)]
struct Sample {
    anonymous: f64,
    mapped: f64,
    files: f64,
    disk: f64,
}

impl Sample {
    fn take(pid: u32, data: &Path) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of /proc/PID/status");
            line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the server runs").count();
        Self { anonymous: bytes("RssAnon"), mapped: bytes("RssFile"), files: files as f64, disk: disk_bytes(data) }
    }
}

/// Returns the disk use of a folder; files may disappear meanwhile.
fn disk_bytes(folder: &Path) -> f64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0.0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
        Ok(data) => std::os::unix::fs::MetadataExt::blocks(&data) as f64 * 512.0,
        Err(_) => 0.0,
    };
    entries.flatten().map(size).sum()
}

/// Fails if the last third holds more than the middle third, by medians, so that a single merge or snapshot does not
/// count as growth. The first third is the warm-up.
fn assert_no_growth(what: &str, values: &[f64], slack: f64) {
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        part[part.len() / 2]
    };
    let third = values.len() / 3;
    assert!(third >= 2, "too few samples");
    let (middle, last) = (median(&values[third..2 * third]), median(&values[2 * third..]));
    println!("{what}: median of the middle third {middle:.0}, of the last {last:.0}");
    assert!(last <= middle * SHARE + slack, "{what} grows: {middle:.0} in the middle third, {last:.0} in the last");
}

#[test]
fn growth_is_distinguished_from_fluctuation() {
    let fluctuating: Vec<f64> = (0..60).map(|n| 1e9 + f64::from(n % 7) * 3e7).collect();
    assert_no_growth("fluctuating", &fluctuating, SLACK_BYTES);
    let growing: Vec<f64> = (0..60).map(|n| 2e8 + f64::from(n) * 1e7).collect();
    assert!(std::panic::catch_unwind(|| assert_no_growth("growing", &growing, SLACK_BYTES)).is_err());
    let files: Vec<f64> = (0..60).map(|n| 40.0 + 4.0 * f64::from(n)).collect();
    assert!(std::panic::catch_unwind(|| assert_no_growth("files", &files, SLACK_FILES)).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: a minute, or NEARNESS_MINUTES"]
async fn resource_use_does_not_grow_under_load() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default);
    let (minutes, seed) = (number("NEARNESS_MINUTES", 1), number("NEARNESS_SEED", 11));
    println!("seed {seed}, {minutes} minutes");
    let mut seeds = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let (data, snapshots) = (folder.path().join("data"), folder.path().join("snapshots"));
    std::fs::create_dir(&snapshots).expect("a folder");
    let server = Server::start(&data, &["--snapshots", snapshots.to_str().expect("UTF-8")]);
    let client = server::client(&server.url).await.expect("a connection");
    let space = Some(pb::create_collection_request::Space::Dimension(DIMENSION as u32));
    // Small segments, for constant flushes, merges and graph builds.
    let index = Some(pb::IndexSettings { seal_rows: 2_000, ..Default::default() });
    let create = pb::CreateCollectionRequest {
        name: "soak".into(),
        space,
        metric: pb::Metric::L2.into(),
        index,
        ..Default::default()
    };
    client.create_collection(create).await.expect("a collection");
    let load = Arc::new(Load {
        client,
        url: server.url.clone(),
        over: AtomicBool::new(false),
        queries_answered: AtomicU64::new(0),
        points_written: AtomicU64::new(0),
        errors: Mutex::default(),
        late: AtomicU64::new(0),
    });
    let mut rng = || StdRng::seed_from_u64(seeds.random());
    let loads = [
        tokio::spawn(write(load.clone(), rng())),
        tokio::spawn(write(load.clone(), rng())),
        tokio::spawn(write_streams(load.clone(), rng())),
        tokio::spawn(delete(load.clone(), rng())),
        tokio::spawn(search(load.clone(), rng())),
        tokio::spawn(search(load.clone(), rng())),
        tokio::spawn(read(load.clone(), rng())),
        tokio::spawn(manage(load.clone(), rng(), snapshots)),
    ];

    let length = Duration::from_secs(60 * minutes);
    let every = Duration::from_secs(10).min(length / 12);
    let started = Instant::now();
    let mut samples = Vec::new();
    let (mut queries_answered, mut points_written) = (0, 0);
    println!("seconds  anonymous MB  mapped MB  files  disk MB  queries/s  points written/s  late  errors");
    while started.elapsed() < length && !loads.iter().any(|load| load.is_finished()) {
        let since = Instant::now();
        tokio::time::sleep(every).await;
        let sample = Sample::take(server.pid(), folder.path());
        let rate = |counter: &AtomicU64, before: &mut u64| {
            let now = counter.load(Ordering::Relaxed);
            (now - std::mem::replace(before, now)) as f64 / since.elapsed().as_secs_f64()
        };
        println!(
            "{:>7}  {:>12.1}  {:>9.1}  {:>5}  {:>7.1}  {:>9.0}  {:>16.0}  {:>4}  {:>6}",
            started.elapsed().as_secs(),
            sample.anonymous / 1e6,
            sample.mapped / 1e6,
            sample.files,
            sample.disk / 1e6,
            rate(&load.queries_answered, &mut queries_answered),
            rate(&load.points_written, &mut points_written),
            load.late.load(Ordering::Relaxed),
            load.errors.lock().expect("no poisoned lock").values().sum::<u64>(),
        );
        samples.push(sample);
    }
    load.over.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.expect("a load that did not panic");
    }
    let errors = load.errors.lock().expect("no poisoned lock").clone();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(queries_answered > 100 && points_written > 1_000, "the loads did too little");
    let of = |part: fn(&Sample) -> f64| samples.iter().map(part).collect::<Vec<_>>();
    assert_no_growth("anonymous memory", &of(|sample| sample.anonymous), SLACK_BYTES);
    assert_no_growth("open files", &of(|sample| sample.files), SLACK_FILES);
    assert_no_growth("disk", &of(|sample| sample.disk), 4.0 * SLACK_BYTES);

    server.kill();
    let check =
        std::process::Command::new(env!("CARGO_BIN_EXE_nearness")).args(["check", "--data"]).arg(&data).output();
    let check = check.expect("the check runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}
