//! Fuzz target: payload index files, unchanged, and with corrected checksums; queried for fields and filters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::api::{Bounds, Filter, GeoBox, Timestamp};
use nearness::types::PointId;
use nearness::payload::fuzzing::query_index;
use nearness_fuzz::fix_payloads;

fn read(bytes: Vec<u8>, filters: &[Filter]) {
    let number =
        |at: usize| bytes.get(at..at + 4).map_or(0, |four| u32::from_le_bytes(four.try_into().expect("four bytes")));
    // The tag and row count of the file itself instead of those of a segment, because the index refuses other values.
    let (tag, rows) = (u64::from(number(16)) | u64::from(number(20)) << 32, number(24).min(100_000));
    for filter in filters {
        let _ = query_index(bytes.clone(), tag, rows, filter);
    }
}

fuzz_target!(|data: &[u8]| {
    let filters = [
        Filter::equals("kind", "animal"),
        Filter::not(Filter::exists("n")),
        Filter::And(vec![Filter::exists("a"), Filter::among("n", (0..3_i64).map(Into::into))]),
        Filter::range("n", nearness::api::Range { gte: Some(1_i64.into()), ..Default::default() }),
        Filter::ids([PointId::new("p").expect("short")]),
        Filter::IsNull { field: "a".into() },
        Filter::IsEmpty { field: "a".into() },
        Filter::ValuesCount { field: "n".into(), count: Bounds { lt: Some(3), ..Default::default() } },
        Filter::TimeRange {
            field: "kind".into(),
            range: Bounds { gt: Timestamp::parse("2024-05-01"), ..Default::default() },
        },
        Filter::nested("a", Filter::exists("b")),
        Filter::GeoBox { field: "a".into(), area: GeoBox { north: 1.0, south: 0.0, west: 179.0, east: -179.0 } },
    ];
    read(data.to_vec(), &filters);
    if data.len() >= 128 {
        let mut fixed = data.to_vec();
        fix_payloads(&mut fixed);
        read(fixed, &filters);
    }
});
