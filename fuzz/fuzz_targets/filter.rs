//! Fuzz target: filter expressions on payloads. The payload index must agree with the payloads themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::api::Payload;
use nearness::cli::fuzzing::filter;
use nearness::payload::fuzzing::compare;
use nearness_fuzz::parts;

fuzz_target!(|data: &[u8]| {
    let [text, payloads] = parts(data);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(filter) = filter(text) else { return };
    if filter.check("filter").is_err() {
        return;
    }
    let payloads: Vec<Payload> =
        payloads.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).take(100).collect();
    compare(&filter, &payloads);
});
