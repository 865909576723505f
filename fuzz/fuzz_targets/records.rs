//! Fuzz target: values of key-value files (growing points, collections, calibrations), unchanged, and with
//! corrected checksums.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::index::calibration::Calibration;
use nearness::store::{CollectionRecord, decode_point, encode_point};
use nearness_fuzz::{choice, fix_record};
use std::path::Path;

fn point(bytes: &[u8]) {
    let mut vector = Vec::new();
    if let Ok((id, payload)) = decode_point(bytes, &mut vector) {
        let mut again = Vec::new();
        encode_point(&mut again, id, &vector, payload).expect("a decoded record can be encoded");
        assert_eq!(again, bytes);
    }
}

fn calibration(bytes: &[u8]) {
    if let Ok(calibration) = Calibration::from_bytes(bytes) {
        // Reading makes curves monotone, so reading again must not change them.
        let again = Calibration::from_bytes(&calibration.to_bytes()).expect("a decoded record can be encoded");
        assert_eq!(again, calibration);
    }
}

fuzz_target!(|data: &[u8]| {
    let (kind, data) = choice(data);
    let mut fixed = data.to_vec();
    match kind % 3 {
        0 => {
            point(data);
            fix_record(&mut fixed, 8);
            point(&fixed);
        }
        1 => {
            calibration(data);
            fix_record(&mut fixed, 4);
            calibration(&fixed);
        }
        _ => {
            let path = Path::new("catalog");
            if let Ok(record) = CollectionRecord::from_json(path, "a", data) {
                let again = CollectionRecord::from_json(path, "a", &record.to_json());
                assert_eq!(again.expect("a decoded record can be encoded"), record);
            }
        }
    }
});
