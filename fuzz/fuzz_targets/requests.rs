//! Fuzz target: every request, as protobuf bytes, converted to domain types.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::grpc::fuzzing::request;
use nearness_fuzz::choice;

fuzz_target!(|data: &[u8]| {
    let (kind, data) = choice(data);
    let _ = request(kind, data);
});
