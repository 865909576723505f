//! Fuzz target: the configuration file and its access list. The key and certificate files that it may name exist.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::cli::fuzzing::access;
use nearness_fuzz::{file, parts, scratch};

fuzz_target!(|data: &[u8]| {
    let [header, pem, text] = parts(data);
    // Only files of this folder: a configuration may name any file, because the operator writes it.
    if text.windows(2).any(|two| two == b"..") || text.windows(5).any(|five| five == b"/dev/" || five == b"/proc") {
        return;
    }
    let config = file("nearness.toml", text);
    file("key.pem", pem);
    file("certificate.pem", pem);
    assert_eq!(config.parent(), Some(scratch()));
    if let Ok(access) = access(&config) {
        let _ = (access.authenticate(Some(header), &[]), access.authenticate(None, &["a".into()]));
    }
});
