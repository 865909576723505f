//! `add-field` of vector fields, `load` of vectors in them, and `query --using`.

use super::*;

#[test]
fn vector_fields_are_added_loaded_and_searched() {
    let here = folder();
    let lines = [
        r#"{"id":"a","vector":[1,0],"vectors":{"title":[1,0,0],"words":{"indices":[1,5],"values":[2,1]}},"n":1}"#,
        r#"{"id":"b","vector":[0,1],"vectors":{"title":[0,1,0],"tokens":[[1,0],[0,1]]}}"#,
        r#"{"id":"c","vector":[1,1],"vectors":"a payload field"}"#,
    ];
    fs::write(here.path().join("points.jsonl"), lines.join("\n")).expect("written");
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &["--json"], &at].concat());
    call(&["collections", "create", "c", "--dimension", "2", "--metric", "l2"]);
    for added in
        [&["title", "--dense", "3"][..], &["words", "--sparse"], &["tokens", "--multi", "2", "--precision", "f16"]]
    {
        call(&[&["collections", "add-field", "c"][..], added].concat());
    }
    fails(here.path(), &[&["collections", "add-field", "c", "x"][..], &at].concat(), 2);
    fails(here.path(), &[&["collections", "add-field", "c", "x", "--sparse", "--metric", "l2"][..], &at].concat(), 2);
    let described = run(here.path(), &[&["collections", "get", "c"][..], &at].concat());
    assert!(described.contains("title: dense vectors of 3, cosine, f32"), "{described}");
    assert!(
        described.contains("words: sparse vectors") && described.contains("tokens: multi vectors of 2, cosine, f16")
    );
    call(&["load", "--collection", "c", "points.jsonl"]);
    let found = |arguments: &[&str]| -> Vec<String> {
        let answer = call(&[&["query", "c"][..], arguments].concat());
        answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found(&["--using", "title", "--vector", "0,2,0"]), ["b", "a"]);
    assert_eq!(found(&["--using", "words", "--vector-json", r#"{"indices": [5], "values": [1]}"#]), ["a"]);
    assert_eq!(found(&["--using", "tokens", "--vector-json", "[[0, 1]]"]), ["b"]);
    assert_eq!(found(&["--using", "title", "--id", "a"]), ["b"]);
    fails(here.path(), &[&["query", "c", "--using", "title", "--text", "x"][..], &at].concat(), 2);
    fails(here.path(), &[&["query", "c", "--vector-json", "[1, 2]"][..], &at].concat(), 2);
    let point = &call(&["get", "c", "a", "--vector-out"])["points"][0];
    assert_eq!(point["vectors"]["words"], serde_json::json!({"indices": [1, 5], "values": [2.0, 1.0]}));
    assert_eq!(call(&["get", "c", "c"])["points"][0]["payload"]["vectors"], "a payload field");
    let lines = "{\"id\":\"d\",\"vector\":null,\"n\":1}\n{\"id\":\"e\",\"vectors\":{\"x\":[1,2]}}\n";
    fs::write(here.path().join("without.jsonl"), lines).expect("written");
    fails(here.path(), &[&["load", "--collection", "c", "without.jsonl"][..], &at].concat(), 1);
    call(&["collections", "create", "d", "--no-vectors"]);
    call(&["collections", "add-field", "d", "x", "--dense", "2"]);
    call(&["load", "--collection", "d", "without.jsonl"]);
    assert_eq!(call(&["count", "d"])["count"], 2);
    assert_eq!(call(&["query", "d", "--using", "x", "--vector", "1,2"])["hits"][0]["id"], "e");
    fails(here.path(), &[&["query", "d", "--vector", "1,2"][..], &at].concat(), 1);
    call(&["collections", "drop-field", "c", "words"]);
    fails(here.path(), &[&["query", "c", "--using", "words", "--vector-json", "{}"][..], &at].concat(), 2);
}
