//! Memory limit tests: a server in a memory cgroup too small for its jobs is not killed, and reports skipped jobs.
#![allow(clippy::print_stdout, reason = "prints that a test is skipped")]

use nearness::grpc::{Client, ClientOptions, pb};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DIMENSION: usize = 128;
const BATCH: u64 = 5_000;

/// A memory cgroup, removed when dropped.
struct Group(PathBuf);

impl Group {
    /// Creates the cgroup, or returns the reason for not being able to.
    fn new(limit: u64) -> Result<Self, String> {
        let name = format!("nearness-test-{}-{limit}", std::process::id());
        let (root, file) = match Path::new("/sys/fs/cgroup/memory").is_dir() {
            true => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            false => ("/sys/fs/cgroup", "memory.max"),
        };
        let folder = Path::new(root).join(name);
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let group = Self(folder);
        let limited = std::fs::write(group.0.join(file), limit.to_string());
        limited.map_err(|error| format!("{}: {error}", group.0.join(file).display()))?;
        Ok(group)
    }

    /// Returns the peak memory use, if the kernel reports it.
    fn peak(&self) -> Option<u64> {
        let files = ["memory.max_usage_in_bytes", "memory.peak"];
        let read = |name| std::fs::read_to_string(self.0.join(name)).ok()?.trim().parse().ok();
        files.into_iter().find_map(read)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.0));
    }
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(group: &Group, data: &Path) -> Self {
        let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$1\" serve --data \"$2\" --listen 127.0.0.1:0 --web none";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .args([&group.0, Path::new(env!("CARGO_BIN_EXE_nearness")), data])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut lines = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        let line = lines.next().expect("the server prints its address").expect("UTF-8");
        let address = line.rsplit_once("http://").expect("an address").1.to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://{address}") }
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Returns the current anonymous memory and the peak of all memory, in bytes.
    fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
        };
        (kilobytes("RssAnon:"), kilobytes("VmHWM:"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns a pseudo-random number from -0.5 to 0.5.
fn random(number: u64) -> f32 {
    let mut x = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x >> 40) as f32 / (1 << 24) as f32 - 0.5
}

/// Returns a point of 8 intrinsic dimensions: recall is measured quickly on such data.
fn item(number: u64) -> pb::Item {
    let hidden: [f32; 8] = std::array::from_fn(|at| random(number * 8 + at as u64));
    let component = |axis: u64| {
        let mixed = hidden.iter().enumerate().map(|(at, x)| x * random(u64::MAX / 2 + axis * 8 + at as u64));
        mixed.sum::<f32>().to_le_bytes()
    };
    let bytes: Vec<u8> = (0..DIMENSION as u64).flat_map(component).collect();
    let vector = pb::Vector { form: Some(pb::vector::Form::LeF32(bytes.into())) };
    pb::Item { id: format!("p{number}"), source: Some(pb::item::Source::Vector(vector)), ..Default::default() }
}

async fn collection(client: &Client) -> pb::Collection {
    let request = pb::GetCollectionRequest { name: "c".into() };
    client.collection(request).await.expect("the server runs").collection.expect("a collection")
}

/// Returns the number of segments without a graph.
fn without_graph(info: &pb::Collection) -> usize {
    info.segments.iter().filter(|segment| !segment.graph).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: minutes; creates memory cgroups"]
async fn a_load_in_a_small_memory_cgroup_does_not_kill_the_server() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let rows = number("NEARNESS_TEST_ROWS", 250_000);
    let limits = std::env::var("NEARNESS_TEST_LIMITS").unwrap_or_else(|_| "450,200".into());
    for mib in limits.split(',').map(|limit| limit.parse::<u64>().expect("MiB")) {
        let group = match Group::new(mib << 20) {
            Ok(group) => group,
            Err(why) => {
                println!("SKIPPED: cannot create a memory cgroup: {why}");
                return;
            }
        };
        let data = tempfile::tempdir().expect("a folder");
        let mut server = Server::start(&group, data.path());
        let client = Client::connect(&server.url, &ClientOptions::default()).await.expect("a client");
        let space = Some(pb::create_collection_request::Space::Dimension(DIMENSION as u32));
        let create = pb::CreateCollectionRequest {
            name: "c".into(),
            space,
            metric: pb::Metric::L2.into(),
            ..Default::default()
        };
        client.create_collection(create).await.expect("created");
        let started = Instant::now();
        for from in (0..rows).step_by(BATCH as usize) {
            let items = (from..rows.min(from + BATCH)).map(item).collect();
            let request = pb::UpsertRequest { collection: "c".into(), items, ..Default::default() };
            client.upsert(request).await.unwrap_or_else(|error| panic!("{mib} MiB, at {from}: {error}"));
        }
        println!("{mib} MiB: {rows} rows written after {:?}, memory {:?}", started.elapsed(), server.memory());
        // Waits until the collection is stable. A long merge changes nothing for a while, so each segment without a
        // graph must also have a reported reason.
        let (mut before, mut same, mut explained) = (String::new(), 0, false);
        while (same < 12 || !explained) && started.elapsed() < Duration::from_secs(1_200) {
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(server.is_alive(), "{mib} MiB: the server was killed");
            let mut now = collection(&client).await;
            explained = without_graph(&now) <= now.problems.len();
            // These values change constantly.
            (now.resident_bytes, now.queries) = (0, 0);
            now.problems.iter_mut().for_each(|problem| problem.truncate(20));
            let now = format!("{now:?}");
            same = if now == before { same + 1 } else { 0 };
            before = now;
        }
        let info = collection(&client).await;
        let graphs = info.segments.iter().filter(|segment| segment.graph).count();
        println!(
            "{mib} MiB: stable after {:?}, {} segments, {graphs} graphs, memory {:?}, peak of the group {:?}, problems {:?}",
            started.elapsed(),
            info.segments.len(),
            server.memory(),
            group.peak(),
            info.problems
        );
        assert_eq!(info.points, rows);
        assert!(without_graph(&info) <= info.problems.len(), "a missing graph has a reported reason");
        let query = pb::query::Form::Id("p7".into());
        let search = pb::SearchRequest {
            collection: "c".into(),
            query: Some(pb::Query { form: Some(query) }),
            params: Some(pb::SearchParams { k: 10, ..Default::default() }),
            min_sequence: 0,
            offset: 0,
        };
        assert_eq!(client.search(search).await.expect("an answer").hits.len(), 10);
        drop(server);
        let mut server = Server::start(&group, data.path());
        let client = Client::connect(&server.url, &ClientOptions::default()).await.expect("a client");
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(server.is_alive(), "{mib} MiB: the server was killed after a restart");
        }
        assert_eq!(collection(&client).await.points, rows);
    }
}
