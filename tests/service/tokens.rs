//! JSON Web Tokens: accepted and refused ones. Requires the feature `jwt`.

use crate::auth::{count, engine, holder, one, with_access};
use crate::harness::*;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use nearness::auth::{Access, SigningAlgorithm, TrustedIssuer, TrustedKey};
use nearness::engine::Admin;
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::time::SystemTime;

/// A key pair for this test only: `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`. rcgen cannot generate
/// RSA keys with ring.
const RSA_KEY: &[u8] = include_bytes!("../data/rsa_test_key.pem");
const RSA_PUBLIC_KEY: &[u8] = include_bytes!("../data/rsa_test_key.pub.pem");

#[tokio::test]
async fn only_valid_tokens_are_accepted() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = |change: Value| {
        let mut claims = json!({"sub": "someone", "iss": "https://issuer", "aud": "nearness", "exp": now + 60,
            "nearness_role": "read", "nearness_collections": ["films"]});
        for (key, value) in change.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(key),
                value => claims.as_object_mut().unwrap().insert(key.clone(), value.clone()),
            };
        }
        claims
    };
    let ec = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let trusted =
        |id: Option<&str>, algorithm, pem: &[u8]| TrustedKey::from_pem(id.map(str::to_owned), algorithm, pem).unwrap();
    let trust = TrustedIssuer {
        issuer: "https://issuer".into(),
        audience: "nearness".into(),
        keys: vec![
            trusted(None, SigningAlgorithm::Rs256, RSA_PUBLIC_KEY),
            trusted(None, SigningAlgorithm::Es256, ec.public_key_pem().as_bytes()),
            trusted(Some("now"), SigningAlgorithm::EdDsa, ed.public_key_pem().as_bytes()),
        ],
    };
    let engine = engine();
    let server =
        start_with(engine.clone(), with_access(Access::restricted(vec![], vec![], Some(Box::new(trust))))).await;
    engine
        .create_collection(
            &nearness::api::CollectionSpec::vectors(nearness::types::CollectionName::new("films").unwrap(), 2)
                .metric(nearness::types::Metric::L2),
        )
        .unwrap();
    let with_id = |algorithm, id: &str| Header { kid: Some(id.into()), ..Header::new(algorithm) };
    let rs = |claims: Value| {
        let key = EncodingKey::from_rsa_pem(RSA_KEY).unwrap();
        encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap()
    };
    let es = |claims: Value, key: &KeyPair| {
        let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
        encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap()
    };
    let eddsa = |claims: Value, header: Header| {
        encode(&header, &claims, &EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).unwrap()).unwrap()
    };
    let critical = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Header { crit: Some(names), ..with_id(Algorithm::EdDSA, "now") }
    };
    // jsonwebtoken's `Header` cannot represent a null `crit`.
    let critical_null = {
        let header = base64(r#"{"alg":"EdDSA","typ":"JWT","kid":"now","crit":null}"#);
        let signed = format!("{header}.{}", base64(&claims(json!({})).to_string()));
        let key = EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).unwrap();
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::EdDSA).unwrap();
        format!("{signed}.{signature}")
    };
    let code = async |token: &str| {
        let client = holder(&server.url, token).await;
        client.count(count("films")).await.map_or_else(|error| error.code(), |_| "OK")
    };
    let list = json!({"aud": ["other", "nearness"], "nearness_role": "admin", "nearness_collections": ["*"]});
    for valid in [
        rs(claims(json!({}))),
        es(claims(json!({})), &ec),
        eddsa(claims(list), with_id(Algorithm::EdDSA, "now")),
        // Clocks may differ slightly.
        rs(claims(json!({"exp": now - 5}))),
    ] {
        assert_eq!(code(&valid).await, "OK");
    }
    let hs = |secret: &[u8]| {
        encode(&Header::new(Algorithm::HS256), &claims(json!({})), &EncodingKey::from_secret(secret)).unwrap()
    };
    let none = |signature: &str| {
        let header = base64(&json!({"alg": "none", "typ": "JWT"}).to_string());
        format!("{header}.{}.{signature}", base64(&claims(json!({})).to_string()))
    };
    let tampered = {
        let valid = rs(claims(json!({})));
        let parts: Vec<&str> = valid.split('.').collect();
        let changed = base64(&claims(json!({"nearness_role": "admin"})).to_string());
        format!("{}.{changed}.{}", parts[0], parts[2])
    };
    let der = {
        let pem = std::str::from_utf8(RSA_PUBLIC_KEY).unwrap();
        BASE64_STANDARD.decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
    };
    let untrusted = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    for (problem, token) in [
        ("expired", rs(claims(json!({"exp": now - 120})))),
        ("no exp", rs(claims(json!({"exp": null})))),
        ("an exp that is no number", rs(claims(json!({"exp": "never"})))),
        ("not yet", rs(claims(json!({"nbf": now + 600})))),
        ("another audience", rs(claims(json!({"aud": "other"})))),
        ("no audience", rs(claims(json!({"aud": null})))),
        ("another issuer", rs(claims(json!({"iss": "https://other"})))),
        ("no issuer", rs(claims(json!({"iss": null})))),
        ("no subject", rs(claims(json!({"sub": null})))),
        ("an empty subject", rs(claims(json!({"sub": ""})))),
        ("no role", rs(claims(json!({"nearness_role": null})))),
        ("an unknown role", rs(claims(json!({"nearness_role": "root"})))),
        ("no collections", rs(claims(json!({"nearness_collections": null})))),
        ("an invalid pattern", rs(claims(json!({"nearness_collections": ["a*b"]})))),
        ("no algorithm", none("")),
        ("no algorithm, with a signature", none("AAAA")),
        ("the public key as a shared secret, PEM", hs(RSA_PUBLIC_KEY)),
        ("the public key as a shared secret, DER", hs(&der)),
        ("an empty shared secret", hs(b"")),
        ("another key", es(claims(json!({})), &untrusted)),
        ("an extension", eddsa(claims(json!({})), critical(&["exp"]))),
        ("an unknown extension", eddsa(claims(json!({})), critical(&["urn:example:must-be-understood"]))),
        ("an empty list of extensions", eddsa(claims(json!({})), critical(&[]))),
        ("no list of extensions", critical_null),
        ("a key by another id", eddsa(claims(json!({})), with_id(Algorithm::EdDSA, "then"))),
        ("a key without its id", eddsa(claims(json!({})), Header::new(Algorithm::EdDSA))),
        ("changed after signing", tampered),
        ("not a token", "a.b.c".into()),
        ("nothing", ".".into()),
    ] {
        assert_eq!(code(&token).await, "UNAUTHENTICATED", "{problem}");
    }
    let elsewhere = rs(claims(json!({"nearness_collections": ["words"]})));
    assert_eq!(code(&elsewhere).await, "PERMISSION_DENIED");
    let reader = holder(&server.url, &rs(claims(json!({})))).await;
    assert_eq!(refused(reader.upsert(one("films")).await).0, "PERMISSION_DENIED");
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        out.extend((0..=chunk.len()).map(|digit| DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char));
    }
    out
}
