//! The payload index against its definition: for any payloads and filters it selects what `Filter::matches` matches.

use super::builder::{BUDGET, Builder, MAX_PATHS};
use super::index::PayloadIndex;
use crate::api::{Error, Filter, Number, Payload, Range, Scalar};
use crate::disk::FileBytes;
use proptest::prelude::*;
use serde_json::{Value, json};

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

fn selected(index: &PayloadIndex, payloads: &[Payload], filter: &Filter) -> Vec<u32> {
    let payload = |row: u32| -> Result<Payload, Error> { Ok(payloads[row as usize].clone()) };
    index.select(filter, &payload).expect("rows").iter().collect()
}

fn matching(payloads: &[Payload], filter: &Filter) -> Vec<u32> {
    (0..payloads.len() as u32).filter(|&row| filter.matches(&payloads[row as usize])).collect()
}

fn object(value: Value) -> Payload {
    value.as_object().expect("an object").clone()
}

/// Texts with common prefixes; some just short enough to be stored as keys, some too long.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![2 => "[ab]{0,2}", 1 => prop::sample::select(vec![256, 257, 300]).prop_map(|n| "a".repeat(n))]
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
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::Bool), numbers(), texts().prop_map(Value::String)];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(names(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
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

fn filters() -> impl Strategy<Value = Filter> {
    let bounds = (scalars(), scalars(), 0..9_u8).prop_map(|(low, high, form)| {
        let low_bound = |wanted: bool| wanted.then(|| low.clone());
        let high_bound = |wanted: bool| wanted.then(|| high.clone());
        Range {
            gt: low_bound(form % 3 == 1),
            gte: low_bound(form % 3 == 2),
            lt: high_bound(form / 3 == 1),
            lte: high_bound(form / 3 == 2),
        }
    });
    let leaf = prop_oneof![
        paths().prop_map(|field| Filter::Exists { field }),
        (paths(), scalars()).prop_map(|(field, value)| Filter::Equals { field, value }),
        (paths(), prop::collection::vec(scalars(), 1..6)).prop_map(|(field, values)| Filter::among(field, values)),
        (paths(), bounds).prop_map(|(field, range)| Filter::Range { field, range }),
        (paths(), -3.0..3.0, prop_oneof![-3.0..3.0, Just(179.0)], 1.0..800_000.0)
            .prop_map(|(field, lat, lon, meters)| Filter::GeoRadius { field, lat, lon, meters }),
    ];
    let tree = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::Or),
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

/// Enough rows for bitmaps, and for ranges collected in bit sets.
fn many_payloads() -> Vec<Payload> {
    let one = |n: u32| {
        let kind = ["animal", "plant", "stone"][n as usize % 3];
        object(
            json!({"n": n, "kind": kind, "tags": [n % 5, n % 7, n % 5], "where": {"lat": f64::from(n % 180) - 89.5, "lon": 179.9}}),
        )
    };
    (0..5_000).map(one).collect()
}

#[test]
fn large_values_and_wide_ranges_are_found() {
    let payloads = many_payloads();
    let bytes = index(&payloads, BUDGET);
    let index = open(&bytes, payloads.len()).expect("sound");
    let number = |value: i64| Some(Scalar::from(value));
    let unread = |row: u32| -> Result<Payload, Error> { panic!("the index answers this; row {row} was read") };
    for filter in [
        Filter::equals("kind", "plant"),
        Filter::equals("tags", 4),
        Filter::exists("where"),
        Filter::equals("no.such.field", 1),
        Filter::range("n", Range { gte: number(100), lt: number(4_100), ..Default::default() }),
        Filter::range("n", Range { gt: number(4_990), ..Default::default() }),
        Filter::range("kind", Range { lte: Some("b".into()), ..Default::default() }),
        Filter::not(Filter::And(vec![Filter::equals("kind", "stone"), Filter::among("tags", [0.into(), 6.into()])])),
    ] {
        let found: Vec<u32> = index.select(&filter, &unread).expect("rows").iter().collect();
        assert_eq!(found, matching(&payloads, &filter), "{filter:?}");
        assert!(filter == Filter::equals("no.such.field", 1) || !found.is_empty());
    }
    for (lat, lon, meters) in [(10.0, 179.9, 300_000.0), (10.0, -179.9, 300_000.0), (90.0, 0.0, 2e6), (0.0, 0.0, 2.1e7)]
    {
        let filter = Filter::GeoRadius { field: "where".into(), lat, lon, meters };
        let found = selected(&index, &payloads, &filter);
        assert_eq!(found, matching(&payloads, &filter), "{filter:?}");
        assert!(!found.is_empty());
    }
    assert!(bytes.len() < 5_000 * 45, "{} bytes", bytes.len());
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
