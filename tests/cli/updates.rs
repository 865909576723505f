//! `update-payload` and `delete --all`.

use super::*;

#[test]
fn payloads_are_updated_and_all_points_deleted() {
    let here = folder();
    let lines: String = (0..5).map(|n| format!("{{\"id\":\"p{n}\",\"vector\":[{n},1],\"n\":{n}}}\n")).collect();
    fs::write(here.path().join("points.jsonl"), lines).expect("written");
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &["--json"], &at].concat());
    call(&["load", "--collection", "c", "--metric", "l2", "points.jsonl"]);
    let done = call(&["update-payload", "c", "p1", "missing", "--set", r#"{"name":"x"}"#, "--path", "author"]);
    assert_eq!((&done["updated"], &done["unchanged"], &done["missing"][0]), (&1.into(), &0.into(), &"missing".into()));
    let payload = |id: &str| call(&["get", "c", id])["points"][0]["payload"].clone();
    assert_eq!(payload("p1"), serde_json::json!({"n": 1, "author": {"name": "x"}}));
    let filter = r#"{"field":"n","gte":3}"#;
    let done = call(&["update-payload", "c", "--filter", filter, "--clear", "--set", r#"{"big":9007199254740993}"#]);
    assert_eq!(done["updated"], 2, "{done:#}");
    assert_eq!(payload("p4"), serde_json::json!({"big": 9_007_199_254_740_993_u64}));
    let printed =
        run(here.path(), &[&["update-payload", "c", "p1", "--unset", "author", "--unset", "n"][..], &at].concat());
    assert_eq!(printed, "updated 1, unchanged 0\n");
    assert_eq!(payload("p1"), serde_json::json!({}));
    fails(here.path(), &[&["update-payload", "c", "p1"][..], &at].concat(), 2);
    fails(here.path(), &[&["update-payload", "c", "p1", "--set", "[1]"][..], &at].concat(), 2);
    fails(here.path(), &[&["update-payload", "c", "--set", "{}"][..], &at].concat(), 2);
    fails(here.path(), &[&["delete", "c", "p1", "--all"][..], &at].concat(), 2);
    assert_eq!(call(&["delete", "c", "--all"])["deleted"], 5);
    assert_eq!(call(&["count", "c"])["count"], 0);
}
