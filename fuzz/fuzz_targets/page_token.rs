//! Fuzz target: page tokens, with any text, and with a valid checksum. An accepted token must encode to the same text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::grpc::fuzzing::{make_page_token, page_token};
use nearness::types::{CollectionName, PointId};

fuzz_target!(|data: &[u8]| {
    let name = CollectionName::new("words").expect("a name");
    if let Some(id) = std::str::from_utf8(data).ok().and_then(|text| page_token(&name, text).ok().flatten()) {
        assert_eq!(page_token(&name, &make_page_token(&name, &id)).expect("its own token"), Some(id));
    }
    let mut token = vec![1, 0, 0, 0, 0];
    token.extend(data);
    let covered = [b"words\0\x01".as_slice(), data].concat();
    token[1..5].copy_from_slice(&crc32fast::hash(&covered).to_be_bytes());
    let text: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
    if let Ok(found) = page_token(&name, &text) {
        let found: PointId = found.expect("an id");
        assert_eq!(found.as_str().as_bytes(), data);
        assert_eq!(make_page_token(&name, &found), text);
    }
});
