//! Searches, counts and deletes under a tenant's filter, beside a collection of the tenant's own. Prints JSON.
//!
//! `cargo bench --bench tenants -- [TENANTS]` (2,000 by default). Tenants have 100 to 10,000 points, log-uniform, of 32
//! random components; their points arrive in random order. Each of the measured tenants is asked once, so that no filter
//! is cached. All on one thread.
//!
//! The graph of the shared collection has few links, so that it is built quickly: so few matches are scanned, and the
//! graph is not searched. The collections of one tenant have the default settings.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use nearness::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use std::time::Instant;

const DIMENSION: usize = 32;
/// Tenants that are asked.
const ASKED: usize = 1_000;
/// Of these, tenants that get a collection of their own.
const ALONE: usize = 200;
/// Tenants that are deleted.
const DELETED: usize = 50;

/// Returns the number of points of each tenant.
fn sizes(tenants: usize) -> Vec<u32> {
    let mut rng = StdRng::seed_from_u64(1);
    (0..tenants).map(|_| (100.0 * 100_f64.powf(rng.random_range(0.0..1.0))) as u32).collect()
}

/// Returns the item of a row: the vector depends on the row only.
fn item(row: usize, tenant: u32) -> Item {
    Item::vector(PointId::new(row.to_string()).expect("an id"), vector(row as u64))
        .field("tenant", format!("tenant-{tenant}"))
        .field("price", (row % 1_000) as i64)
}

fn vector(seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..DIMENSION).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn of(tenant: u32) -> Filter {
    Filter::equals("tenant", format!("tenant-{tenant}"))
}

fn load(database: &Database, spec: &CollectionSpec, mut items: impl Iterator<Item = Item> + Send) {
    database.create_collection(spec).expect("created");
    let replace = OnConflict::Replace;
    database.bulk_load(&spec.name, &mut items, replace, &mut |_, error| Err(error), &|_, _, _| true).expect("loaded");
    database.build_indexes(&spec.name, &|_, _, _| true).expect("built");
}

/// Returns percentiles of the microseconds of each call.
fn times<T>(of: impl Iterator<Item = T>, mut call: impl FnMut(T)) -> Value {
    let micros = |item| {
        let start = Instant::now();
        call(item);
        start.elapsed().as_secs_f64() * 1e6
    };
    let mut all: Vec<f64> = of.map(micros).collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| (all[((all.len() - 1) as f64 * share) as usize] * 10.0).round() / 10.0;
    json!({ "calls": all.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0) })
}

fn measure(tenant: Option<&str>, tenants: usize) -> Value {
    let data = tempfile::tempdir_in(std::env::var("TENANTS_DIR").unwrap_or_else(|_| ".".into())).expect("a folder");
    let database = Database::open(data.path()).expect("a database");
    let sizes = sizes(tenants);
    let mut order: Vec<u32> =
        (0..).zip(&sizes).flat_map(|(tenant, size)| std::iter::repeat_n(tenant, *size as usize)).collect();
    let mut rng = StdRng::seed_from_u64(2);
    order.shuffle(&mut rng);
    let index = IndexSettings::default().m(4).ef_construction(16);
    let name = CollectionName::new("all").expect("a name");
    let spec = CollectionSpec::vectors(name.clone(), DIMENSION as u32).metric(Metric::L2).index(index);
    let spec = tenant.iter().fold(spec, with_tenant);
    let start = Instant::now();
    load(&database, &spec, order.iter().enumerate().map(|(row, tenant)| item(row, *tenant)));
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{} points in {seconds:.0} s", order.len());
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let search = |name: &CollectionName, seed: u64, filter: Option<Filter>| {
        let mut params = SearchParams::new(10);
        params.filter = filter.map(Into::into);
        let query = [Query::Vector(vector(u64::MAX - seed))];
        let answer = one.install(|| database.search(name, &query, &params)).expect("an answer").remove(0);
        assert_eq!(answer.hits.len(), 10);
    };
    let mut asked: Vec<u32> = (0..tenants as u32).collect();
    asked.shuffle(&mut rng);
    asked.truncate(ASKED);
    let cheap = || Filter::range("price", Range { lt: Some(Scalar::from(500)), ..Range::default() });
    let both = |tenant: u32| Filter::And(vec![cheap(), of(tenant)]);
    // Warms up: every page that the measured searches read is in memory.
    asked.iter().for_each(|tenant| search(&name, 0, Some(of(*tenant))));
    let with_filter = times(asked.iter(), |tenant| search(&name, u64::from(*tenant), Some(of(*tenant))));
    let with_two = times(asked.iter(), |tenant| search(&name, u64::from(*tenant), Some(both(*tenant))));
    let count = times(asked.iter(), |tenant| {
        let found = one.install(|| database.count(&name, Some(&of(*tenant)))).expect("a number");
        assert_eq!(found, u64::from(sizes[*tenant as usize]));
    });
    // The same points alone.
    let own = |tenant: u32| CollectionName::new(&format!("own-{tenant}")).expect("a name");
    let mut points: Vec<Vec<usize>> = vec![Vec::new(); tenants];
    order.iter().enumerate().for_each(|(row, tenant)| points[*tenant as usize].push(row));
    for tenant in &asked[..ALONE] {
        let spec = CollectionSpec::vectors(own(*tenant), DIMENSION as u32).metric(Metric::L2);
        load(&database, &spec, points[*tenant as usize].iter().map(|row| item(*row, *tenant)));
    }
    let alone = || asked[..ALONE].iter();
    alone().for_each(|tenant| search(&own(*tenant), 0, None));
    let own_collection = times(alone(), |tenant| search(&own(*tenant), u64::from(*tenant), None));
    alone().for_each(|tenant| search(&name, 0, Some(of(*tenant))));
    let same_tenants = times(alone(), |tenant| search(&name, u64::from(*tenant), Some(of(*tenant))));
    let delete = times(asked[..DELETED].iter(), |tenant| {
        let deleted = database.delete_matching(&name, &of(*tenant), false).expect("deleted").deleted;
        assert_eq!(deleted, u64::from(sizes[*tenant as usize]));
    });
    json!({
        "points": order.len(),
        "load_seconds": seconds.round(),
        "segments": database.collection(&name).expect("a collection").segments.len(),
        "microseconds": {
            "search_of_tenant": with_filter,
            "search_of_tenant_and_price": with_two,
            "count_of_tenant": count,
            "delete_of_tenant": delete,
            "sampled_tenants": { "own_collection": own_collection, "shared_collection": same_tenants },
        },
    })
}

fn with_tenant(spec: CollectionSpec, path: &&str) -> CollectionSpec {
    spec.tenant(*path)
}

fn main() {
    let tenants = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(2_000);
    let without = measure(None, tenants);
    eprintln!("{without}");
    let with = measure(Some("tenant"), tenants);
    println!("{}", json!({ "tenants": tenants, "without_setting": without, "with_setting": with }));
}
