//! Metrics in the Prometheus text format: completed requests, and the current state of the server and its engine.

use super::executor::ServiceState;
use super::middleware::concurrency_limit::ConcurrencyLimit;
use super::middleware::memory_limit::MemoryLimit;
use super::middleware::server_state::ServerState;
use crate::api::{BOUNDS_MICROS, CollectionInfo, CollectionState};
use crate::engine::Engine;
use crate::types::CollectionName;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// All metrics of a server.
pub(super) struct Metrics(Registry);

impl Metrics {
    pub(super) fn new(
        state: &ServerState,
        engine: Arc<dyn Engine>,
        service_state: Arc<ServiceState>,
        connections: Arc<ConcurrencyLimit>,
    ) -> Self {
        let requests = state.logger.metrics.clone();
        let (concurrency_limit, memory_limit, watches) =
            (state.concurrency_limit.clone(), state.memory_limit.clone(), state.health.watches.clone());
        let mut registry = Registry::with_prefix("nearness");
        registry.register("requests", "Completed requests, by call and status", requests.ended.clone());
        let help = "Duration of requests, by call and search path";
        registry.register_with_unit("request", help, Unit::Seconds, requests.seconds.clone());
        registry.register_collector(Box::new(LiveGauges {
            recall: requests.recall,
            engine,
            service_state,
            concurrency_limit,
            memory_limit,
            watches,
            connections,
        }));
        Self(registry)
    }

    /// Returns the metrics as text. Reads the state of every collection, and opens none: not for async threads.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok(text)
    }
}

/// Gauges that are read on each scrape.
struct LiveGauges {
    recall: Arc<Mutex<BTreeMap<CollectionName, f64>>>,
    engine: Arc<dyn Engine>,
    service_state: Arc<ServiceState>,
    concurrency_limit: Arc<ConcurrencyLimit>,
    memory_limit: Arc<MemoryLimit>,
    watches: Arc<ConcurrencyLimit>,
    connections: Arc<ConcurrencyLimit>,
}

impl fmt::Debug for LiveGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveGauges")
    }
}

/// Returns the resident bytes of the mapped files of this process, which the kernel counts; none on systems that do not
/// report them.
fn resident_file_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssFile:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

type ReadGauge = fn(&CollectionInfo) -> u64;

/// Gauges per collection: name, description, and how to read the value.
const COLLECTION_GAUGES: [(&str, &str, ReadGauge); 8] = [
    ("points", "Live points", |info| info.points),
    ("growing_points", "Points that are not sealed yet", |info| info.growing_points),
    ("deleted_rows", "Dead rows in sealed segments", |info| info.deleted_rows),
    ("segments", "Sealed segments", |info| info.segments.len() as u64),
    ("segments_without_graph", "Sealed segments without a graph, searched by scan", |info| {
        info.segments.iter().filter(|segment| !segment.graph).count() as u64
    }),
    ("mapped_bytes", "Bytes mapped", |info| info.mapped_bytes),
    ("state", "1 serving, 2 read only, 3 damaged, 4 cannot be opened", |info| match info.state {
        CollectionState::Serving => 1,
        CollectionState::ReadOnly => 2,
        CollectionState::Damaged => 3,
        CollectionState::Unavailable => 4,
    }),
    ("problems", "Number of problems", |info| info.problems.len() as u64),
];

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

impl Collector for LiveGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        gauge(out, "requests_in_flight", "Requests in progress", self.concurrency_limit.count() as u64)?;
        gauge(out, "request_memory_bytes", "Memory of requests in progress", self.memory_limit.used() as u64)?;
        gauge(out, "health_watches", "Open health watches", self.watches.count() as u64)?;
        gauge(out, "connections", "Open connections", self.connections.count() as u64)?;
        let help = "Requests waiting for a permit";
        let mut waiting = out.encode_descriptor("queue_depth", help, None, MetricType::Gauge)?;
        for (queue, depth) in self.service_state.waiting() {
            waiting.encode_family(&[("queue", queue)])?.encode_gauge(&(depth as u64))?;
        }

        let activity = self.engine.activity();
        counter(out, "seals", "Growing segments sealed", activity.flushes)?;
        counter(out, "merges", "Merges of sealed segments", activity.merges)?;
        counter(out, "graphs_built", "Graphs built in the background", activity.graphs)?;
        counter(out, "calibrations", "Graphs calibrated", activity.calibrations)?;
        let help = "Background jobs not started because memory was insufficient";
        counter(out, "jobs_refused_for_memory", help, activity.jobs_refused)?;
        let help = "Bytes reserved by running background jobs";
        gauge(out, "job_memory_reserved_bytes", help, activity.job_memory_reserved)?;
        let help = "Memory limit of all background jobs";
        gauge(out, "job_memory_capacity_bytes", help, activity.job_memory_capacity)?;
        gauge(out, "orphans", "Unreferenced files and folders, moved to orphans/", activity.orphans)?;
        let scrub = activity.scrub;
        counter(out, "scrub_bytes", "Bytes verified by the scrubber", scrub.bytes)?;
        counter(out, "scrub_passes", "Passes of the scrubber over all collections", scrub.passes)?;
        counter(out, "damaged_blocks", "Damaged blocks found, by the scrubber or by readers", scrub.damaged_blocks)?;
        gauge(out, "scrub_position_bytes", "Bytes verified in the current pass of the scrubber", scrub.position)?;
        gauge(out, "scrub_total_bytes", "Total bytes of the current pass of the scrubber", scrub.total)?;
        let help = "End of the last scrubber pass, seconds since 1970; 0 before the first";
        gauge(out, "scrub_last_pass_seconds", help, scrub.last_pass)?;
        let bounds = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(activity.commits.counts).collect();
        let count = activity.commits.counts.iter().sum();
        let help = "Duration of a write transaction, including its fsync";
        out.encode_descriptor("commit", help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(activity.commits.sum.as_secs_f64(), count, &buckets, None)?;

        gauge(out, "collections_open", "Open collections; the others are closed", activity.open_collections)?;
        if let Some(bytes) = resident_file_bytes() {
            gauge(out, "resident_file_bytes", "Resident bytes of mapped files, of the whole process", bytes)?;
        }
        let infos = self.engine.known_collections().map_err(|error| {
            tracing::error!(%error, "cannot list the collections for the metrics");
            fmt::Error
        })?;
        for (name, help, read) in COLLECTION_GAUGES {
            let name = format!("collection_{name}");
            let mut family = out.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for info in &infos {
                family.encode_family(&[("collection", info.name.as_str())])?.encode_gauge(&read(info))?;
            }
        }
        let mut recall = self.recall.lock().unwrap_or_else(PoisonError::into_inner);
        recall.retain(|name, _| infos.iter().any(|info| info.name == *name));
        let help = "Most recently measured recall";
        let mut family: MetricEncoder<'_> = out.encode_descriptor("recall_measured", help, None, MetricType::Gauge)?;
        for (name, recall) in recall.iter() {
            family.encode_family(&[("collection", name.as_str())])?.encode_gauge(recall)?;
        }
        Ok(())
    }
}
