//! Fuzz target: credentials of requests (`authorization` headers, tokens, certificate names), and other headers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nearness::auth::{
    Access, KeyGrant, KeyHash, NewKey, Principal, Role, Scope, SigningAlgorithm, TrustedIssuer, TrustedKey,
};
use nearness::grpc::fuzzing::{dns_names, headers};
use nearness_fuzz::{choice, parts};
use std::sync::OnceLock;

const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

fn known_access() -> &'static Access {
    static KNOWN: OnceLock<Access> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let key = NewKey::generate().expect("random bytes");
        let principal = Principal { name: "a".into(), role: Role::Read, scope: Scope::all() };
        let trusted = TrustedKey::from_pem(None, SigningAlgorithm::EdDsa, KEY.as_bytes()).expect("a public key");
        let trust = TrustedIssuer { issuer: "i".into(), audience: "a".into(), keys: vec![trusted] };
        Access::restricted(vec![KeyGrant { hash: key.hash, principal }], Vec::new(), Some(Box::new(trust)))
    })
}

fuzz_target!(|data: &[u8]| {
    let (kind, data) = choice(data);
    match kind % 5 {
        0 => {
            // Random data is never a valid key or a signed token.
            assert!(known_access().authenticate(Some(data), &[]).is_err());
            let token = [b"Bearer ", data].concat();
            assert!(known_access().authenticate(Some(&token), &[]).is_err());
        }
        1 => {
            let [algorithm, pem] = parts(data);
            let algorithm = SigningAlgorithm::ALL[algorithm.len() % 3];
            let _ = TrustedKey::from_pem(None, algorithm, pem);
        }
        2 => {
            let _ = dns_names(data);
        }
        3 => headers(data),
        _ => {
            if let Ok(text) = std::str::from_utf8(data) {
                let _ = (KeyHash::parse(text), SigningAlgorithm::from_name(text), Role::from_name(text));
                let _ = Scope::new(&text.split('\n').map(str::to_owned).collect::<Vec<_>>());
            }
        }
    }
});
