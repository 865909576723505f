//! The payload index against its definition: for any payloads and filters it selects what `Filter::matches` matches.

use super::builder::{BUDGET, Builder, MAX_PATHS};
use super::index::PayloadIndex;
use super::select::RowAccess;
use crate::api::{Bounds, Error, Filter, GeoBox, GeoPoint, GeoPolygon, Number, Payload, Range, Scalar, Timestamp};
use crate::disk::FileBytes;
use crate::types::PointId;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

fn index(payloads: &[Payload], budget: usize) -> Vec<u8> {
    let mut builder = Builder::new(budget);
    for (row, payload) in payloads.iter().enumerate() {
        builder.add(row as u32, payload);
    }
    builder.finish(7, payloads.len() as u32)
}

fn open(bytes: &[u8], rows: usize) -> Result<PayloadIndex, String> {
    PayloadIndex::open(FileBytes::Memory(bytes.to_vec()), 7, rows as u32)
}

/// Returns the id of a row.
fn id(row: u32) -> PointId {
    PointId::new(format!("p{row}")).expect("an id")
}

fn row(id: &PointId) -> Option<u32> {
    id.as_str()[1..].parse().ok()
}

fn selected(index: &PayloadIndex, payloads: &[Payload], filter: &Filter) -> Vec<u32> {
    let payload = |row: u32| -> Result<Payload, Error> { Ok(payloads[row as usize].clone()) };
    let find = |id: &PointId| row(id).filter(|row| (*row as usize) < payloads.len());
    index.select(filter, RowAccess { payload: &payload, find: &find }).expect("rows").iter().collect()
}

/// As [`selected`], by index alone.
fn answered(index: &PayloadIndex, filter: &Filter) -> Vec<u32> {
    let unread = |row: u32| -> Result<Payload, Error> { panic!("the index answers {filter:?}; row {row} was read") };
    index.select(filter, RowAccess { payload: &unread, find: &row }).expect("rows").iter().collect()
}

fn matching(payloads: &[Payload], filter: &Filter) -> Vec<u32> {
    (0..payloads.len() as u32).filter(|&row| filter.matches(&id(row), &payloads[row as usize])).collect()
}

fn object(value: Value) -> Payload {
    value.as_object().expect("an object").clone()
}

/// Texts with common prefixes; some just short enough to be stored as keys, some too long; some are times.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![2 => "[ab]{0,2}", 2 => times(), 1 => prop::sample::select(vec![256, 257, 300]).prop_map(|n| "a".repeat(n))]
}

/// Times around two midnights and at the ends of the years with four digits, and texts that are almost times.
fn times() -> impl Strategy<Value = String> {
    let date = prop::sample::select(vec!["2023-12-31", "2024-01-01", "0000-01-01", "9999-12-31", "2024-01-32"]);
    let time = prop::sample::select(vec!["", "T00:00:00", " 23:59", "T23:59:59.999999", "t12:00:00.5"]);
    let offset = prop::sample::select(vec!["", "Z", "+00:30", "-23:59", "+23:59", "x"]);
    (date, time, offset).prop_map(|(date, time, offset)| format!("{date}{time}{offset}"))
}

fn numbers() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3..4_i64).prop_map(Value::from),
        (-6..7_i32).prop_map(|n| Value::from(f64::from(n) / 2.0)),
        prop_oneof![Just(1_i64 << 53), Just((1 << 53) + 1), Just(i64::MIN)].prop_map(Value::from),
        Just(Value::from(u64::MAX)),
    ]
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[abc]", 1 => Just("a.b".to_owned()), 1 => Just(String::new()), 1 => Just("lat".to_owned()), 1 => Just("lon".to_owned())]
}

fn values() -> impl Strategy<Value = Value> {
    let place = (-3..4_i32, longitudes()).prop_map(|(lat, lon)| json!({"lat": lat, "lon": lon}));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        numbers(),
        texts().prop_map(Value::String),
        place
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(names(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn longitudes() -> impl Strategy<Value = f64> {
    prop_oneof![(-3..4_i32).prop_map(f64::from), prop::sample::select(vec![179.5, 180.0, -180.0, -179.5])]
}

fn payloads() -> impl Strategy<Value = Vec<Payload>> {
    let one = prop::collection::btree_map(names(), values(), 0..5).prop_map(|map| map.into_iter().collect());
    prop::collection::vec(one, 0..90)
}

fn scalars() -> impl Strategy<Value = Scalar> {
    let number = |value: Value| Number::from_json(value.as_number().expect("a number")).expect("finite");
    prop_oneof![
        any::<bool>().prop_map(Scalar::Bool),
        numbers().prop_map(move |value| Scalar::Number(number(value))),
        texts().prop_map(Scalar::String)
    ]
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]?", 1..4)
        .prop_map(|parts| parts.join("."))
        .prop_filter("not empty", |path| !path.is_empty())
}

fn bounds<T: Clone + std::fmt::Debug>(values: impl Strategy<Value = T> + Clone) -> impl Strategy<Value = Bounds<T>> {
    (values.clone(), values, 0..9_u8).prop_map(|(low, high, form)| {
        let low_bound = |wanted: bool| wanted.then(|| low.clone());
        let high_bound = |wanted: bool| wanted.then(|| high.clone());
        Bounds {
            gt: low_bound(form % 3 == 1),
            gte: low_bound(form % 3 == 2),
            lt: high_bound(form / 3 == 1),
            lte: high_bound(form / 3 == 2),
        }
    })
}

fn boxes() -> impl Strategy<Value = GeoBox> {
    (-3..4_i32, 0..4_i32, longitudes(), longitudes()).prop_map(|(south, height, west, east)| {
        let (north, south) = (f64::from(south + height), f64::from(south));
        GeoBox { north, south, west, east }
    })
}

fn polygons() -> impl Strategy<Value = GeoPolygon> {
    let points = (-4..5_i32, longitudes()).prop_map(|(lat, lon)| GeoPoint { lat: f64::from(lat), lon });
    let ring = prop::collection::vec(points, 3..6).boxed();
    (ring.clone(), prop::collection::vec(ring, 0..2)).prop_map(|(exterior, holes)| GeoPolygon { exterior, holes })
}

fn filters() -> impl Strategy<Value = Filter> {
    let time = times().prop_filter_map("a time", |text| Timestamp::parse(&text)).boxed();
    let leaf = prop_oneof![
        paths().prop_map(|field| Filter::Exists { field }),
        (paths(), scalars()).prop_map(|(field, value)| Filter::Equals { field, value }),
        (paths(), prop::collection::vec(scalars(), 1..6)).prop_map(|(field, values)| Filter::among(field, values)),
        (paths(), bounds(scalars().boxed())).prop_map(|(field, range)| Filter::Range { field, range }),
        (paths(), -3.0..3.0, prop_oneof![-3.0..3.0, Just(179.0)], 1.0..800_000.0)
            .prop_map(|(field, lat, lon, meters)| Filter::GeoRadius { field, lat, lon, meters }),
        prop::collection::btree_set(0..100_u32, 1..40).prop_map(|rows| Filter::ids(rows.into_iter().map(id))),
        paths().prop_map(|field| Filter::IsNull { field }),
        paths().prop_map(|field| Filter::IsEmpty { field }),
        (paths(), bounds(0..5_u64)).prop_map(|(field, count)| Filter::ValuesCount { field, count }),
        (paths(), boxes()).prop_map(|(field, area)| Filter::GeoBox { field, area }),
        (paths(), polygons()).prop_map(|(field, area)| Filter::GeoPolygon { field, area }),
        (paths(), bounds(time)).prop_map(|(field, range)| Filter::TimeRange { field, range }),
    ];
    let tree = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::Or),
            (paths(), inner.clone()).prop_map(|(field, filter)| Filter::nested(field, filter)),
            inner.prop_map(Filter::not),
        ]
    });
    tree.prop_filter("allowed", |filter| filter.check("filter").is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn an_index_selects_the_matching_rows(payloads in payloads(), filters in prop::collection::vec(filters(), 1..8)) {
        // With a smaller budget fields are dropped, and the payloads decide.
        for budget in [BUDGET, 2_000, 0] {
            let index = open(&index(&payloads, budget), payloads.len()).expect("sound");
            for filter in &filters {
                prop_assert_eq!(selected(&index, &payloads, filter), matching(&payloads, filter), "{:?}", filter);
            }
        }
    }
}

/// Payloads of one shape, so that most filters of [`filters_of_records`] match some of them.
fn records() -> impl Strategy<Value = Vec<Payload>> {
    fn list(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<Value>> {
        prop::collection::vec(values, 0..3)
    }
    let place = || (-3..4_i32, longitudes()).prop_map(|(lat, lon)| json!({"lat": lat, "lon": lon}));
    let small = || prop_oneof![3 => (0..3_i32).prop_map(Value::from), 1 => Just(Value::Null)];
    let fields = move || {
        (list(times().prop_map(Value::from)), list(place()), list(small()))
            .prop_map(|(at, place, n)| json!({"at": at, "where": place, "n": n}))
    };
    let one = (fields(), list(fields())).prop_map(|(mut record, items)| {
        record["items"] = items.into();
        object(record)
    });
    prop::collection::vec(one, 40)
}

fn filters_of_records() -> impl Strategy<Value = Filter> {
    fn field(name: &str) -> impl Strategy<Value = String> {
        prop::sample::select(vec![name.to_owned(), format!("items.{name}")])
    }
    let time = times().prop_filter_map("a time", |text| Timestamp::parse(&text)).boxed();
    let leaf = prop_oneof![
        (field("at"), bounds(time)).prop_map(|(field, range)| Filter::TimeRange { field, range }),
        (field("where"), boxes()).prop_map(|(field, area)| Filter::GeoBox { field, area }),
        (field("where"), polygons()).prop_map(|(field, area)| Filter::GeoPolygon { field, area }),
        (field("where"), -3.0..3.0, longitudes(), 1.0..300_000.0)
            .prop_map(|(field, lat, lon, meters)| Filter::GeoRadius { field, lat, lon, meters }),
        (field("n"), bounds(0..4_u64)).prop_map(|(field, count)| Filter::ValuesCount { field, count }),
        field("n").prop_map(|field| Filter::IsNull { field }),
        field("n").prop_map(|field| Filter::IsEmpty { field }),
        (field("n"), 0..3_i64).prop_map(|(field, value)| Filter::equals(field, value)),
    ];
    let tree = leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::Or),
            inner.prop_map(Filter::not),
        ]
    });
    let tree =
        (tree, any::<bool>()).prop_map(|(filter, one)| if one { Filter::nested("items", filter) } else { filter });
    tree.prop_filter("allowed", |filter| filter.check("filter").is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn an_index_selects_times_areas_counts_and_elements(
        payloads in records(), filters in prop::collection::vec(filters_of_records(), 40),
    ) {
        let index = open(&index(&payloads, BUDGET), payloads.len()).expect("sound");
        for filter in &filters {
            prop_assert_eq!(selected(&index, &payloads, filter), matching(&payloads, filter), "{:?}", filter);
        }
    }
}

/// Enough rows for bitmaps, and for ranges collected in bit sets.
fn many_payloads() -> Vec<Payload> {
    let one = |n: u32| {
        let kind = ["animal", "plant", "stone"][n as usize % 3];
        object(json!({
            "n": n,
            "kind": kind,
            "tags": [n % 5, n % 7, n % 5],
            "where": {"lat": f64::from(n % 180) - 89.5, "lon": 179.9},
            "note": if n.is_multiple_of(9) { Value::Null } else { json!("x") },
            "at": format!("2024-{:02}-{:02}T01:00:00+02:00", n % 8 + 1, n % 28 + 1),
            "parts": [{"size": n % 11, "colour": "red"}, {"size": n % 13, "colour": "blue"}],
        }))
    };
    (0..5_000).map(one).collect()
}

#[test]
fn large_values_and_wide_ranges_are_found() {
    let payloads = many_payloads();
    let bytes = index(&payloads, BUDGET);
    let index = open(&bytes, payloads.len()).expect("sound");
    let number = |value: i64| Some(Scalar::from(value));
    let time = |text: &str| Some(Timestamp::parse(text).expect(text));
    let no_value = Filter::equals("no.such.field", 1);
    for filter in [
        Filter::equals("kind", "plant"),
        Filter::equals("tags", 4),
        Filter::exists("where"),
        no_value.clone(),
        Filter::range("n", Range { gte: number(100), lt: number(4_100), ..Default::default() }),
        Filter::range("n", Range { gt: number(4_990), ..Default::default() }),
        Filter::range("kind", Range { lte: Some("b".into()), ..Default::default() }),
        Filter::not(Filter::And(vec![Filter::equals("kind", "stone"), Filter::among("tags", [0.into(), 6.into()])])),
        Filter::ids((4_000..6_000).map(id)),
        Filter::not(Filter::Or(vec![Filter::ids((0..4_000).map(id)), Filter::equals("kind", "plant")])),
        Filter::IsNull { field: "note".into() },
        Filter::IsEmpty { field: "note".into() },
        Filter::IsEmpty { field: "no.such.field".into() },
        Filter::ValuesCount { field: "tags".into(), count: Bounds { gte: Some(3), ..Default::default() } },
        Filter::ValuesCount { field: "n".into(), count: Bounds { lt: Some(2), ..Default::default() } },
        Filter::ValuesCount { field: "note".into(), count: Bounds { lt: Some(1), ..Default::default() } },
        Filter::TimeRange {
            field: "at".into(),
            range: Bounds { gte: time("2024-01-02T01:00:00+01:00"), lt: time("2024-03-01"), ..Default::default() },
        },
        Filter::TimeRange { field: "at".into(), range: Bounds { gt: time("2024-07-01"), ..Default::default() } },
    ] {
        let found = answered(&index, &filter);
        assert_eq!(found, matching(&payloads, &filter), "{filter:?}");
        assert!(filter == no_value || !found.is_empty(), "{filter:?}");
    }
    // One element fulfils both conditions: only the payloads that the index leaves are read.
    let both = Filter::And(vec![Filter::equals("size", 3), Filter::equals("colour", "red")]);
    let (filter, read) = (Filter::nested("parts", both), AtomicU32::new(0));
    let payload = |row: u32| -> Result<Payload, Error> {
        read.fetch_add(1, Ordering::Relaxed);
        Ok(payloads[row as usize].clone())
    };
    let found = index.select(&filter, RowAccess { payload: &payload, find: &row }).expect("rows");
    assert_eq!(found.iter().collect::<Vec<u32>>(), matching(&payloads, &filter));
    assert!(!found.is_empty() && read.into_inner() < 1_000);
    for (lat, lon, meters) in [(10.0, 179.9, 300_000.0), (10.0, -179.9, 300_000.0), (90.0, 0.0, 2e6), (0.0, 0.0, 2.1e7)]
    {
        let filter = Filter::GeoRadius { field: "where".into(), lat, lon, meters };
        let found = selected(&index, &payloads, &filter);
        assert_eq!(found, matching(&payloads, &filter), "{filter:?}");
        assert!(!found.is_empty());
    }
    let counts = Bounds { gte: Some(u64::from(u32::MAX) + 1), ..Default::default() };
    assert!(answered(&index, &Filter::ValuesCount { field: "tags".into(), count: counts }).is_empty());
    assert!(bytes.len() < 5_000 * 55, "{} bytes", bytes.len());
}

#[test]
fn fields_beyond_the_limit_are_left_out_and_still_found() {
    let payloads: Vec<Payload> =
        (0..MAX_PATHS as u32 + 50).map(|n| object(json!({format!("f{n:04}"): n, "all": 1}))).collect();
    let index = open(&index(&payloads, BUDGET), payloads.len()).expect("sound");
    assert!(!index.is_complete());
    assert!(index.values("f0005").is_some() && index.values("f1060").is_none());
    for filter in [
        Filter::equals("f0005", 5),
        Filter::equals("f1060", 1_060),
        Filter::And(vec![Filter::exists("f1060"), Filter::equals("all", 1)]),
        Filter::not(Filter::exists("f1060")),
        Filter::exists("f9999"),
    ] {
        assert_eq!(selected(&index, &payloads, &filter), matching(&payloads, &filter), "{filter:?}");
    }
}

#[test]
fn damaged_bytes_are_refused() {
    let payloads = [json!({"a": 1, "b": ["x", true]}), json!({"a": {"b": "long".repeat(100)}})].map(object);
    let bytes = index(&payloads, BUDGET);
    assert!(open(&bytes, 2).is_ok());
    assert!(open(&bytes, 3).is_err(), "another number of rows");
    assert!(PayloadIndex::open(FileBytes::Memory(bytes.clone()), 8, 2).is_err(), "another segment");
    for cut in 0..bytes.len() {
        assert!(open(&bytes[..cut], 2).is_err(), "cut at {cut}");
    }
    assert!(open(&[bytes.as_slice(), &[0]].concat(), 2).is_err(), "a byte too many");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&flipped, 2).is_err(), "bit {bit}");
    }
}

#[test]
fn invalid_content_with_valid_checksums_does_no_harm() {
    let payloads = many_payloads()[..200].to_vec();
    let bytes = index(&payloads, BUDGET);
    let filters = [
        Filter::equals("kind", "plant"),
        Filter::range("n", Range { gte: Some(3.into()), ..Default::default() }),
        Filter::not(Filter::exists("tags")),
    ];
    let mut opened = 0;
    for at in 0..bytes.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut invalid = bytes.clone();
            invalid[at] = byte;
            let body = crc32fast::hash(&invalid[128..]);
            invalid[52..56].copy_from_slice(&body.to_le_bytes());
            invalid[12..16].fill(0);
            let header = crc32fast::hash(&invalid[..128]);
            invalid[12..16].copy_from_slice(&header.to_le_bytes());
            let Ok(index) = open(&invalid, payloads.len()) else { continue };
            opened += 1;
            for filter in &filters {
                let rows = selected(&index, &payloads, filter);
                assert!(rows.iter().all(|&row| row < 200), "byte {at} as {byte}: a row out of range");
            }
        }
    }
    assert!(opened > 1_000, "{opened}");
}
