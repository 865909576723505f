//! Facets, fields, ordered scrolls and samples on the command line.

use super::{fails, folder, json, run, server};
use std::fs;

#[test]
fn payloads_are_summarized_ordered_and_sampled() {
    let here = folder();
    let lines: String = (0..30)
        .map(|n| {
            let kind = if n % 3 == 0 { "animal" } else { "plant" };
            format!("{{\"id\": \"p{n:02}\", \"vector\": [{n}, 0], \"kind\": \"{kind}\", \"rank\": {}}}\n", 29 - n)
        })
        .collect();
    fs::write(here.path().join("points.jsonl"), lines).expect("written");
    run(here.path(), &["load", "--data", "data", "--collection", "c", "--metric", "l2", "points.jsonl"]);
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let text = |arguments: &[&str]| run(here.path(), &[arguments, &at[..]].concat());
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &at, &["--json"]].concat());
    let ids = |lines: String| -> Vec<String> {
        let id = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["id"].as_str().map(str::to_owned)
        };
        lines.lines().filter_map(id).collect()
    };

    let facet = call(&["facet", "c", "--field", "kind"]);
    assert_eq!(facet["values"], serde_json::json!([{"value": "plant", "count": 20}, {"value": "animal", "count": 10}]));
    let filter = r#"{"field": "rank", "lt": 3}"#;
    let table = text(&["facet", "c", "--field", "kind", "--filter", filter, "--limit", "1"]);
    assert!(table.contains("\"plant\"") && table.contains("1 of 2 distinct values; 3 points"), "{table}");
    fails(here.path(), &[&["facet", "c", "--field", "kind", "--limit", "0"], &at[..]].concat(), 2);

    let fields = call(&["fields", "c"]);
    assert_eq!((&fields["points"], &fields["fields"][1]["max_number"]), (&30.into(), &29.into()), "{fields:#}");
    let table = text(&["fields", "c"]);
    assert!(table.contains("string 30") && table.contains("\"animal\""), "{table}");

    let first = ids(text(&["scroll", "c", "--order-by", "rank", "--limit", "3", "--json"]));
    assert_eq!(first, ["p29", "p28", "p27"]);
    let last = ids(text(&["scroll", "c", "--order-by", "rank", "--descending", "--limit", "0", "--json"]));
    assert_eq!((last.len(), last[0].as_str()), (30, "p00"));
    fails(here.path(), &[&["scroll", "c", "--descending"], &at[..]].concat(), 2);

    let sample = |seed: &str| ids(text(&["sample", "c", "--limit", "5", "--seed", seed, "--json"]));
    assert_eq!(sample("1").len(), 5);
    assert_eq!(sample("1"), sample("1"));
    assert_ne!(sample("1"), sample("2"));
}
