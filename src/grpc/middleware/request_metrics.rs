//! Counters of completed requests.

use super::request_context::RequestContext;
use crate::api::Path;
use crate::types::CollectionName;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    call: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct DurationLabels {
    call: &'static str,
    /// How the search was executed; `none` for calls that do not search.
    path: &'static str,
}

pub(crate) type Histograms = Family<DurationLabels, Histogram, fn() -> Histogram>;

/// Request counters. No label has a client-chosen value, except names of existing collections.
#[derive(Clone)]
pub(crate) struct RequestMetrics {
    pub(crate) ended: Family<RequestLabels, Counter>,
    pub(crate) seconds: Histograms,
    /// Latest result of `MeasureRecall` by collection.
    pub(crate) recall: Arc<Mutex<BTreeMap<CollectionName, f64>>>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        // 100 microseconds to 52 seconds.
        let histogram = || Histogram::new(exponential_buckets(1e-4, 2.0, 20));
        Self { ended: Family::default(), seconds: Family::new_with_constructor(histogram), recall: Arc::default() }
    }
}

fn path_name(path: Option<&Path>) -> &'static str {
    match path {
        None => "none",
        Some(Path::Exact) => "exact",
        Some(Path::Graph) => "graph",
        Some(Path::Mixed) => "mixed",
        Some(Path::FilterScan) => "filter_scan",
        Some(Path::Keywords) => "keywords",
        Some(Path::Fusion) => "fusion",
    }
}

impl RequestMetrics {
    /// Records a completed request.
    pub(crate) fn record(
        &self,
        call: &'static str,
        code: &'static str,
        duration: Duration,
        context: Option<&RequestContext>,
    ) {
        self.ended.get_or_create(&RequestLabels { call, code }).inc();
        let path = path_name(context.and_then(|context| context.path.get()));
        self.seconds.get_or_create(&DurationLabels { call, path }).observe(duration.as_secs_f64());
        let measured = context.and_then(|context| Some((context.collection.get()?, *context.recall.get()?)));
        if let Some((name, recall)) = measured {
            self.recall.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), recall);
        }
    }
}
