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

#[test]
fn loads_write_what_their_mode_and_condition_permit_and_vectors_are_updated() {
    let here = folder();
    let points = |from: u32, to: u32, x: u32| -> String {
        (from..to).map(|n| format!("{{\"id\":\"p{n}\",\"vector\":[{x},1],\"open\":{}}}\n", n % 2 == 0)).collect()
    };
    fs::write(here.path().join("first.jsonl"), points(0, 4, 1)).expect("written");
    fs::write(here.path().join("later.jsonl"), points(2, 8, 2)).expect("written");
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let load = |more: &[&str], file: &str| {
        json(
            here.path(),
            &[&["load", "--collection", "c", "--metric", "l2", "--json"][..], &at, more, &[file]].concat(),
        )
    };
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &at, &["--json"]].concat());
    let count = || call(&["count", "c"])["count"].clone();
    let vector = |id: &str| call(&["get", "c", id, "--vector-out"])["points"][0]["vector"].clone();
    assert_eq!(load(&[], "first.jsonl")["inserted"], 4);

    let done = load(&["--mode", "update"], "later.jsonl");
    assert_eq!((&done["loaded"], &done["missing"], &done["replaced"]), (&2.into(), &4.into(), &2.into()), "{done:#}");
    assert_eq!((count(), vector("p2")), (4.into(), serde_json::json!([2.0, 1.0])));
    let done = load(&["--mode", "insert"], "later.jsonl");
    assert_eq!((&done["inserted"], &done["existing"]), (&4.into(), &2.into()), "{done:#}");
    let done = load(&["--only-if", r#"{"field":"open","equals":true}"#], "first.jsonl");
    assert_eq!((&done["loaded"], &done["unmatched"]), (&2.into(), &2.into()), "{done:#}");
    let nothing = load(&["--mode", "insert"], "first.jsonl");
    assert_eq!((&nothing["loaded"], &nothing["existing"]), (&0.into(), &4.into()), "leaving out all items is no error");
    let insert =
        [&["load", "--collection", "c", "--mode", "insert", "--only-if", r#"{"ids":["a"]}"#, "first.jsonl"], &at[..]];
    fails(here.path(), &insert.concat(), 2);

    let done = call(&["update-vectors", "c", "p1", "--vector", "7,8"]);
    assert_eq!((&done["updated"], &done["missing"]), (&1.into(), &serde_json::json!([])), "{done:#}");
    assert_eq!(vector("p1"), serde_json::json!([7.0, 8.0]));
    fs::write(here.path().join("v.jsonl"), "{\"id\":\"p1\",\"vector\":[9,9]}\n{\"id\":\"no\",\"vector\":[9,9]}\n")
        .expect("written");
    let printed = run(here.path(), &[&["update-vectors", "c", "--file", "v.jsonl"], &at[..]].concat());
    assert_eq!(printed, "updated 1, of which unchanged 0\nnot there: no\n");
    assert_eq!(
        call(&["get", "c", "p1", "--vector-out"])["points"][0],
        serde_json::json!({"id": "p1", "payload": {"open": false}, "vector": [9.0, 9.0]})
    );
    let error = fails(here.path(), &[&["update-vectors", "c", "--file", "first.jsonl"], &at[..]].concat(), 1);
    assert!(error.contains("first.jsonl, line 1") && error.contains("(open)"), "{error}");
}
