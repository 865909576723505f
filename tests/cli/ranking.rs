//! Groups, other orders, formulas, varied hits and examples on the command line.

use super::*;

#[test]
fn candidates_are_ranked_on_the_command_line() {
    let here = folder();
    let lines: String = (0..20)
        .map(|n| format!("{{\"id\": \"p{n:02}\", \"vector\": [{n}, 0], \"half\": {}, \"n\": {n}}}\n", n / 2))
        .collect();
    fs::write(here.path().join("points.jsonl"), lines).expect("written");
    run(here.path(), &["load", "--data", "data", "--collection", "c", "--metric", "l2", "points.jsonl"]);
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let ids = |arguments: &[&str]| -> Vec<String> {
        let near = ["query", "c", "-k", "2", "--json"];
        let found = json(here.path(), &[&near, arguments, &at[..]].concat());
        let hits = found["hits"].as_array().expect("hits").iter();
        hits.map(|hit| hit["id"].as_str().expect("an id").to_owned()).collect()
    };
    let near = ["--vector", "6.2,0"];
    let with = |arguments: &[&str]| ids(&[&near, arguments].concat());
    assert_eq!(with(&["--group-by", "half", "--group-size", "2"]), ["p06", "p07", "p05", "p04"]);
    assert_eq!(with(&["--rerank-vector", "0,0", "--candidates", "4"]), ["p05", "p06"]);
    assert_eq!(with(&["--rerank-id", "p19", "--candidates", "4"]), ["p08", "p07"]);
    assert_eq!(with(&["--diversity", "0"]), ["p06", "p07"]);
    assert_eq!(with(&["--diversity", "1", "--candidates", "4"]), ["p06", "p08"]);
    let formula = r#"{"sum": ["score", {"product": [100, {"condition": {"field": "n", "gte": 15}}]}]}"#;
    assert_eq!(with(&["--formula", formula]), ["p15", "p16"]);
    assert_eq!(ids(&["--like", "p03", "--like", "p05"]), ["p04", "p02"]);
    assert_eq!(ids(&["--like", "p03", "--unlike", "p05", "--best-score"]), ["p02", "p01"]);

    let explain = ["explain", "--collection", "c", "--id", "p06", "--vector", "6,0", "-k", "2", "--formula", formula];
    let explained = json(here.path(), &[&explain[..], &["--json"], &at].concat());
    assert_eq!((&explained["formula"], &explained["reason"]), (&0.0.into(), &"beaten".into()), "{explained:#}");
    assert!(run(here.path(), &[&explain[..], &at].concat()).contains("the formula is"));
    let explain = ["explain", "--collection", "c", "--id", "p04", "--like", "p03", "--unlike", "p05", "--best-score"];
    let explained = json(here.path(), &[&explain[..], &["--json"], &at].concat());
    assert_eq!(explained["parts"][1]["query"], "negative[0]", "{explained:#}");

    let query =
        |arguments: &[&str], code| fails(here.path(), &[&["query", "c"], &near[..], arguments, &at].concat(), code);
    assert!(query(&["--candidates", "5"], 1).contains("--diversity"));
    assert!(query(&["--formula", "{\"sum\": 1}"], 2).contains("list of expressions"));
    query(&["--group-size", "2"], 2);
    query(&["--rerank-id", "p01", "--rerank-text", "x"], 2);
    assert!(query(&["--diversity", "2"], 1).contains("params.diversity.weight"));
}
