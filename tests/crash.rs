//! Crash tests of a server under load: after a restart, every acknowledged write is present, and every other write is
//! present or absent as a whole.
//!
//! Each round starts the server on the same data; runs writers that upsert, replace and delete over gRPC during
//! flushes, merges, compactions, snapshots and restores; stops the server at a random moment drawn from the seed; and
//! compares ids, values and the order of writes. The server is stopped by kill -9, or by cutting off its file system.
//! `NEARNESS_SEED` replays a seed; `NEARNESS_ROUNDS` sets the number of rounds.
#![allow(clippy::print_stdout, reason = "prints the seed of a failure")]

#[path = "support/mount.rs"]
mod mount;
#[path = "support/server.rs"]
mod server;

use nearness::grpc::{ClientError, ResponseStream, pb};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use server::Server;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const WRITERS: u64 = 4;
const BATCH: u64 = 20;
const DIMENSION: usize = 16;
/// Number of ids that all writers write concurrently.
const SHARED: u64 = 24;

/// Whether the server is being stopped: later acknowledgements do not count, see [`mount::Mount::cut_off`].
type Ending = Arc<AtomicBool>;

/// A writer's view of an id: the last acknowledged version (0 if deleted), and the version in flight when the server
/// died.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: Option<u64>,
    in_flight: Option<u64>,
}

/// Acknowledged and in-flight writes of the shared ids; a version belongs to one writer and is never reused.
#[derive(Clone, Debug, Default)]
struct Shared {
    /// Sequence number, id, version.
    acknowledged: Vec<(u64, String, u64)>,
    in_flight: Vec<(String, u64)>,
}

/// Writes shared ids, one at a time, until the server has stopped.
async fn write_shared(url: String, ending: Ending, writer: u64, round: u64, seed: u64) -> Shared {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut shared = Shared::default();
    let Ok(client) = server::client(&url).await else { return shared };
    for count in 0.. {
        let version = (round * WRITERS + writer) * 1_000_000 + count + 1;
        let id = format!("s{}", rng.random_range(0..SHARED));
        shared.in_flight = vec![(id.clone(), version)];
        let request = pb::UpsertRequest {
            collection: "crash".into(),
            items: vec![item(id.clone(), version)],
            ..Default::default()
        };
        let Ok(reply) = client.upsert(request).await else { break };
        if ending.load(Ordering::SeqCst) {
            break;
        }
        shared.in_flight.clear();
        if let Some((last, ..)) = shared.acknowledged.last() {
            assert!(*last < reply.sequence, "writer {writer}: {} after {last}", reply.sequence);
        }
        if count % 8 == 0 {
            // A read with this minimum sequence returns the write or a later one.
            let request = pb::GetPointsRequest {
                collection: "crash".into(),
                ids: vec![id.clone()],
                fields: None,
                min_sequence: reply.sequence,
            };
            match client.get_points(request).await {
                Ok(reply) => assert!(reply.missing.is_empty(), "{id} is never deleted"),
                Err(_) => {
                    shared.acknowledged.push((reply.sequence, id, version));
                    break;
                }
            }
        }
        shared.acknowledged.push((reply.sequence, id, version));
    }
    shared
}

/// Checks that each shared id has the acknowledged write with the greatest sequence number, or an in-flight write.
async fn check_shared(url: &str, stored: &mut BTreeMap<String, u64>, all: &[Shared], round: usize) -> usize {
    let client = server::client(url).await.expect("a connection");
    let mut sequences = BTreeSet::new();
    let mut last: BTreeMap<String, (u64, u64)> =
        stored.iter().map(|(id, version)| (id.clone(), (0, *version))).collect();
    let mut greatest = 0;
    for (sequence, id, version) in all.iter().flat_map(|shared| &shared.acknowledged) {
        assert!(sequences.insert(*sequence), "round {round}: two writes have the sequence number {sequence}");
        greatest = greatest.max(*sequence);
        let entry = last.entry(id.clone()).or_default();
        *entry = (*entry).max((*sequence, *version));
    }
    let info = client.collection(pb::GetCollectionRequest { name: "crash".into() }).await.expect("a collection");
    let sequence = info.collection.expect("a collection").sequence;
    assert!(sequence >= greatest, "round {round}: sequence {sequence}, but {greatest} was acknowledged");
    let request = pb::GetPointsRequest {
        collection: "crash".into(),
        ids: (0..SHARED).map(|number| format!("s{number}")).collect(),
        fields: Some(pb::Fields { payload: true, vector: false, ..Default::default() }),
        min_sequence: greatest,
    };
    let reply = client.get_points(request).await.expect("points");
    for id in &reply.missing {
        assert!(!last.contains_key(id), "round {round}: {id} was acknowledged, and is missing");
    }
    stored.clear();
    for point in reply.points {
        let version = version_of(&point);
        let expected = last.get(&point.id).map_or(0, |(_, version)| *version);
        let in_flight = all.iter().flat_map(|shared| &shared.in_flight).any(|(id, v)| (id, *v) == (&point.id, version));
        assert!(
            version == expected || in_flight,
            "round {round}: {} is at {version}; the last acknowledged was {expected}",
            point.id
        );
        stored.insert(point.id, version);
    }
    stored.len()
}

fn version_of(point: &pb::Point) -> u64 {
    let payload = point.payload.clone().unwrap_or_default();
    let payload = nearness::grpc::payload::from_struct(payload, &"payload").expect("a payload");
    payload["version"].as_u64().expect("a whole number")
}

/// Compacts in a loop, so that merges and graph builds are in progress.
async fn compact(url: String) {
    let Ok(client) = server::client(&url).await else { return };
    while client.compact(pb::CompactCollectionRequest { name: "crash".into() }).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

/// Creates snapshots and restores them into another collection until the server has stopped. Returns the acknowledged
/// snapshots.
async fn snapshots(url: String, ending: Ending) -> Vec<pb::Snapshot> {
    let mut taken = Vec::new();
    let Ok(client) = server::client(&url).await else { return taken };
    loop {
        let request = pb::CreateSnapshotRequest { collection: "crash".into() };
        let Some(snapshot) = outcome(client.create_snapshot(request).await).await else { return taken };
        if ending.load(Ordering::SeqCst) {
            return taken;
        }
        let snapshot = snapshot_of(snapshot.state.expect("a state"));
        let request = pb::RestoreSnapshotRequest {
            snapshot: snapshot.name.clone(),
            collection: "restored".into(),
            replace: true,
        };
        taken.push(snapshot);
        if outcome(client.restore_snapshot(request).await).await.is_none() {
            return taken;
        }
    }
}

fn snapshot_of(state: pb::create_snapshot_response::State) -> pb::Snapshot {
    match state {
        pb::create_snapshot_response::State::Snapshot(snapshot) => snapshot,
        pb::create_snapshot_response::State::Progress(progress) => panic!("ended with {progress:?}"),
    }
}

/// Returns the last reply of a stream, or `None` if the stream broke off.
async fn outcome<M>(replies: Result<ResponseStream<M>, ClientError>) -> Option<M>
where
    M: prost::Message + Default + 'static,
{
    let mut replies = replies.ok()?;
    let mut last = None;
    while let Some(reply) = replies.next().await.ok()? {
        last = Some(reply);
    }
    last
}

/// Checks that every acknowledged snapshot is intact, and that the restored collection is absent or has one of the
/// point counts in `ever`.
async fn check_snapshots(
    url: &str,
    folder: &Path,
    taken: &[pb::Snapshot],
    ever: &mut BTreeSet<u64>,
    round: usize,
) -> usize {
    let client = server::client(url).await.expect("a connection");
    let listed = client.list_snapshots(pb::ListSnapshotsRequest {}).await.expect("a list").snapshots;
    ever.extend(listed.iter().map(|snapshot| snapshot.points));
    for snapshot in taken {
        let name = &snapshot.name;
        let found = listed.iter().find(|other| other.name == *name);
        let found =
            found.unwrap_or_else(|| panic!("round {round}: the snapshot {name} was acknowledged, and is missing"));
        assert_eq!(found, snapshot, "round {round}");
        let request = pb::VerifySnapshotRequest { snapshot: name.clone() };
        assert!(outcome(client.verify_snapshot(request).await).await.is_some(), "round {round}: {name} is damaged");
    }
    let info = client.collection(pb::GetCollectionRequest { name: "restored".into() }).await;
    if let Ok(info) = info {
        let points = info.collection.expect("a collection").points;
        assert!(
            ever.contains(&points),
            "round {round}: {points} points were restored, but no snapshot has this number"
        );
        let report = client.check(pb::CheckCollectionRequest { name: "restored".into() }).await.expect("a report");
        assert!(report.findings.is_empty(), "round {round}: {:?}", report.findings);
    }
    for entry in std::fs::read_dir(folder).expect("a folder") {
        std::fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
    taken.len()
}

/// Versions with this difference have the same vector.
const SAME_VECTOR: u64 = 1 << 32;

fn item(id: String, version: u64) -> pb::Item {
    let vector = version % SAME_VECTOR;
    let values = (0..DIMENSION as u64).map(|axis| (vector * 31 + axis * 7 + 1) as f32 % 97.0 + 1.0).collect();
    let vector = pb::Vector { form: Some(pb::vector::Form::Values(pb::Values { values })) };
    let payload = serde_json::json!({ "version": version }).as_object().cloned().expect("an object");
    pb::Item {
        id,
        source: Some(pb::item::Source::Vector(vector)),
        payload: Some(nearness::grpc::payload::to_struct(payload)),
        vectors: field_vectors(version),
        ..Default::default()
    }
}

/// Returns the fields of the collection.
fn fields() -> Vec<pb::Field> {
    use pb::vector_field::Kind;
    let field = |(name, kind, dimension): (&str, Kind, u32)| {
        let vector = pb::VectorField { kind: kind.into(), dimension, ..Default::default() };
        pb::Field { name: name.into(), kind: Some(pb::field::Kind::Vector(vector)) }
    };
    [("dense", Kind::Dense, 3), ("sparse", Kind::Sparse, 0), ("multi", Kind::Multi, 2)].map(field).into()
}

/// Returns the vectors of a version in the fields; every third version has none.
fn field_vectors(version: u64) -> HashMap<String, pb::FieldVector> {
    use pb::field_vector::Form;
    let version = version % SAME_VECTOR;
    if version.is_multiple_of(3) {
        return HashMap::new();
    }
    let vector = |values: Vec<f32>| pb::Vector { form: Some(pb::vector::Form::Values(pb::Values { values })) };
    let part = |divisor: u64| (version % divisor) as f32 + 1.0;
    let sparse = pb::SparseVector { indices: vec![3, version as u32 | 1 << 31], values: vec![part(89), -0.5] };
    let multi = pb::MultiVector { vectors: vec![vector(vec![part(83), 1.0]), vector(vec![0.3, part(79)])] };
    let forms = [
        ("dense", Form::Dense(vector(vec![part(101), part(97), 0.1]))),
        ("sparse", Form::Sparse(sparse)),
        ("multi", Form::Multi(multi)),
    ];
    forms.into_iter().map(|(field, form)| (field.to_owned(), pb::FieldVector { form: Some(form) })).collect()
}

/// Writes batches of ids that only this writer uses, until the server has stopped.
async fn write(
    url: String,
    ending: Ending,
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
        let kind = rng.random_range(0..6);
        let written: Vec<u64> = known.values().filter_map(|known| known.acknowledged).filter(|old| *old > 0).collect();
        if kind == 1 && !written.is_empty() {
            // The payloads of one batch; their vector belongs to the new version, too.
            let old = written[rng.random_range(0..written.len())];
            let new = old + SAME_VECTOR;
            let ids: Vec<String> =
                known.iter().filter(|(_, known)| known.acknowledged == Some(old)).map(|(id, _)| id.clone()).collect();
            for id in &ids {
                known.entry(id.clone()).or_default().in_flight = Some(new);
            }
            let payload_json = serde_json::json!({ "version": new }).to_string();
            let set = pb::PayloadSet { payload_json, ..Default::default() };
            let request = pb::UpdatePayloadRequest {
                collection: "crash".into(),
                ids: ids.clone(),
                actions: vec![pb::PayloadAction { action: Some(pb::payload_action::Action::Set(set)) }],
                ..Default::default()
            };
            if client.update_payload(request).await.is_err() || ending.load(Ordering::SeqCst) {
                return (known, version);
            }
            for id in ids {
                known.insert(id, Known { acknowledged: Some(new), in_flight: None });
            }
        } else if kind == 0 {
            for id in &ids {
                known.entry(id.clone()).or_default().in_flight = Some(0);
            }
            let request = pb::DeletePointsRequest {
                collection: "crash".into(),
                ids: ids.iter().cloned().collect(),
                ..Default::default()
            };
            if client.delete_points(request).await.is_err() || ending.load(Ordering::SeqCst) {
                return (known, version);
            }
            for id in &ids {
                known.insert(id.clone(), Known { acknowledged: Some(0), in_flight: None });
            }
        } else {
            version += 1;
            for id in &ids {
                known.entry(id.clone()).or_default().in_flight = Some(version);
            }
            let items = ids.iter().map(|id| item(id.clone(), version)).collect();
            if client
                .upsert(pb::UpsertRequest { collection: "crash".into(), items, ..Default::default() })
                .await
                .is_err()
                || ending.load(Ordering::SeqCst)
            {
                return (known, version);
            }
            for id in &ids {
                known.insert(id.clone(), Known { acknowledged: Some(version), in_flight: None });
            }
        }
    }
}

/// Compares the server's points with the writers' records. Returns the number of acknowledged ids checked.
async fn check(url: &str, known: &mut [BTreeMap<String, Known>], shared: usize, round: usize) -> usize {
    let client = server::client(url).await.expect("a connection");
    let mut checked = 0;
    let mut present = shared as u64;
    for map in known.iter_mut() {
        let ids: Vec<String> = map.keys().cloned().collect();
        if ids.is_empty() {
            continue;
        }
        let request = pb::GetPointsRequest {
            collection: "crash".into(),
            ids,
            fields: Some(pb::Fields { payload: true, vector: true, ..Default::default() }),
            min_sequence: 0,
        };
        let reply = client.get_points(request).await.expect("points");
        let mut found: BTreeMap<String, u64> = reply.missing.into_iter().map(|id| (id, 0)).collect();
        for point in reply.points {
            let version = version_of(&point);
            assert_eq!(
                point.vector,
                item(String::new(), version).source.map(|source| match source {
                    pb::item::Source::Vector(vector) => vector,
                    _ => unreachable!(),
                }),
                "round {round}: the vector of {} is not the one of its version {version}",
                point.id
            );
            assert_eq!(
                point.vectors,
                field_vectors(version),
                "round {round}: the vectors in the fields of {} are not those of its version {version}",
                point.id
            );
            present += 1;
            found.insert(point.id, version);
        }
        // An in-flight batch is present or absent as a whole.
        let mut torn: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for (id, entry) in map.iter_mut() {
            let version = found[id];
            let acknowledged = entry.acknowledged.unwrap_or(0);
            match entry.in_flight {
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
            *entry = Known { acknowledged: Some(version), in_flight: None };
            checked += 1;
        }
        for (version, (there, absent)) in torn {
            assert!(
                there == 0 || absent == 0,
                "round {round}: batch {version} is torn: {there} present, {absent} absent"
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

/// The way to stop the server.
#[derive(Clone, Copy)]
enum End<'a> {
    Kill,
    /// By cutting off its file system first.
    CutOff(&'a mount::Mount),
}

async fn rounds(dir: &Path, count: usize, seed: u64, end: End<'_>) {
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut known: Vec<BTreeMap<String, Known>> = vec![BTreeMap::new(); WRITERS as usize];
    let (mut stored, mut shared) = (BTreeMap::new(), Vec::new());
    let (mut version, mut checked, mut ordered_writes) = (0, 0, 0);
    let (data, folder) = (dir.join("data"), dir.join("snapshots"));
    let (mut taken, mut ever, mut intact_snapshots) = (Vec::new(), BTreeSet::new(), 0);
    for round in 0..=count {
        let server = Server::start(&data, &["--snapshots", folder.to_str().expect("UTF-8")]);
        if round == 0 {
            let client = server::client(&server.url).await.expect("a connection");
            let request = pb::CreateCollectionRequest {
                name: "crash".into(),
                space: Some(pb::create_collection_request::Space::Dimension(DIMENSION as u32)),
                metric: pb::Metric::L2.into(),
                // Small segments, for constant flushes and merges.
                index: Some(pb::IndexSettings { seal_rows: 200, ..Default::default() }),
                fields: fields(),
                ..Default::default()
            };
            client.create_collection(request).await.expect("a collection");
        } else {
            let present = check_shared(&server.url, &mut stored, &shared, round).await;
            checked += check(&server.url, &mut known, present, round).await + present;
            intact_snapshots += check_snapshots(&server.url, &folder, &taken, &mut ever, round).await;
            ordered_writes += shared.iter().map(|shared: &Shared| shared.acknowledged.len()).sum::<usize>();
        }
        if round == count {
            break;
        }
        let ending = Ending::default();
        let writers: Vec<_> = known
            .iter()
            .enumerate()
            .map(|(writer, map)| {
                tokio::spawn(write(
                    server.url.clone(),
                    ending.clone(),
                    writer as u64,
                    version,
                    map.clone(),
                    rng.random(),
                ))
            })
            .collect();
        let sharers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                tokio::spawn(write_shared(server.url.clone(), ending.clone(), writer, round as u64, rng.random()))
            })
            .collect();
        let compactor = tokio::spawn(compact(server.url.clone()));
        let snapshotter = tokio::spawn(snapshots(server.url.clone(), ending.clone()));
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..900))).await;
        if let End::CutOff(mount) = end {
            ending.store(true, Ordering::SeqCst);
            mount.cut_off();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let late = pb::UpsertRequest {
                collection: "crash".into(),
                items: vec![item("late".into(), 1)],
                ..Default::default()
            };
            let client = server::client(&server.url).await.expect("a connection");
            assert!(client.upsert(late).await.is_err(), "round {round}: acknowledged without a disk");
        }
        server.kill();
        for (writer, handle) in writers.into_iter().enumerate() {
            let (map, last) = handle.await.expect("a writer");
            known[writer] = map;
            version = version.max(last);
        }
        shared.clear();
        for handle in sharers {
            shared.push(handle.await.expect("a writer of shared ids"));
        }
        compactor.await.expect("the compactor");
        taken = snapshotter.await.expect("the snapshotter");
        if let End::CutOff(mount) = end {
            mount.remount();
        }
    }
    println!(
        "{count} stops, {version} versions, {checked} ids compared, {ordered_writes} writes in order, {intact_snapshots} snapshots intact, nothing lost"
    );
    assert!(version > count as u64 && ordered_writes > count && intact_snapshots > 0, "too few writes");
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_three_times_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    rounds(dir.path(), 3, number("NEARNESS_SEED", 7), End::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: 20 rounds, or NEARNESS_ROUNDS"]
async fn a_server_killed_many_times_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    rounds(dir.path(), number("NEARNESS_ROUNDS", 20) as usize, number("NEARNESS_SEED", 8), End::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_cut_off_from_its_disk_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mount) = mount::Mount::ext4(256, &dir.path().join("image")) else { return };
    rounds(mount.path(), 2, number("NEARNESS_SEED", 7), End::CutOff(&mount)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: 20 rounds, or NEARNESS_ROUNDS"]
async fn a_server_cut_off_many_times_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(mount) = mount::Mount::ext4(512, &dir.path().join("image")) else { return };
    let rounds_of = number("NEARNESS_ROUNDS", 20) as usize;
    rounds(mount.path(), rounds_of, number("NEARNESS_SEED", 8), End::CutOff(&mount)).await;
}
