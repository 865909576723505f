//! `--filter`: times, areas, lists, nulls and ids on the command line.

use super::*;

/// Loads lines into the collection `c` of a new server, and returns a function that counts: the ids of the matches of a
/// filter, in order.
fn matches(here: &Path, lines: &[&str]) -> (server::Server, impl Fn(&str) -> Vec<String>) {
    fs::write(here.join("points.jsonl"), lines.join("\n")).expect("written");
    let server = server::Server::start(&here.join("data"), &[]);
    let url = server.url.clone();
    run(here, &["load", "-q", "--collection", "c", "--metric", "l2", "--server", &url, "points.jsonl"]);
    let here = here.to_owned();
    let found = move |filter: &str| {
        let out = run(&here, &["scroll", "c", "--json", "--limit", "0", "--filter", filter, "--server", &url]);
        let id =
            |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned();
        out.lines().map(id).collect()
    };
    (server, found)
}

#[test]
fn times_are_compared_in_utc() {
    let here = folder();
    let (server, found) = matches(
        here.path(),
        &[
            r#"{"id":"utc","vector":[1,0],"at":"2023-06-01T00:30:00Z"}"#,
            r#"{"id":"plus2","vector":[1,0],"at":"2023-06-01T02:15:00+02:00"}"#,
            r#"{"id":"minus5","vector":[1,0],"at":"2023-05-31T19:45:00-05:00"}"#,
            r#"{"id":"millis","vector":[1,0],"at":"2023-06-01T00:30:00.500Z"}"#,
            r#"{"id":"space","vector":[1,0],"at":"2023-06-01 00:40:00"}"#,
            r#"{"id":"day","vector":[1,0],"at":"2023-06-01"}"#,
            r#"{"id":"epoch","vector":[1,0],"at":1685579400}"#,
            r#"{"id":"before","vector":[1,0],"at":"2023-05-31T23:59:59Z"}"#,
        ],
    );
    let hour = ["day", "millis", "minus5", "plus2", "space", "utc"];
    for (range, expected) in [
        (r#""gte":"2023-06-01T00:00:00Z","lt":"2023-06-01T01:00:00Z""#, &hour[..]),
        (r#""gte":"2023-06-01","lt":"2023-06-02""#, &hour),
        (r#""gte":"2023-06-01T02:30:00+02:00","lte":"2023-06-01T00:30Z""#, &["utc"]),
        (r#""gt":"2023-06-01T00:30:00Z""#, &["millis", "minus5", "space"]),
        (r#""lt":"2023-06-01""#, &["before"]),
    ] {
        assert_eq!(found(&format!("{{\"field\":\"at\",\"time_range\":{{{range}}}}}")), expected, "{range}");
    }
    let error = fails(
        here.path(),
        &["count", "c", "--filter", r#"{"field":"at","time_range":{"gt":"1685579400"}}"#, "--server", &server.url],
        1,
    );
    assert!(error.contains("filter.time_range.gt") && error.contains("RFC 3339"), "{error}");
}

#[test]
fn lists_nulls_areas_and_ids_select_points() {
    let here = folder();
    let (server, found) = matches(
        here.path(),
        &[
            r#"{"id":"a","vector":[1,0],"tags":["x","y"],"note":null,"at":{"lat":-17.7,"lon":178.0}}"#,
            r#"{"id":"b","vector":[1,0],"tags":[],"note":"n","at":{"lat":-16.9,"lon":-179.9}}"#,
            r#"{"id":"c","vector":[1,0],"crew":[{"role":"diver","name":"Ann"},{"role":"cook"}],"at":{"lat":52.5,"lon":13.4}}"#,
            r#"{"id":"d","vector":[1,0],"crew":[{"role":"diver"},{"role":"cook","name":"Bo"}],"at":{"lat":52.4,"lon":13.1}}"#,
        ],
    );
    let berlin = r#"[{"lat":52.3,"lon":13.2},{"lat":52.7,"lon":13.2},{"lat":52.7,"lon":13.8},{"lat":52.3,"lon":13.8}]"#;
    for (filter, expected) in [
        (r#"{"ids":["d","a","nobody"]}"#, &["a", "d"][..]),
        (r#"{"not":{"ids":["d","a"]}}"#, &["b", "c"]),
        (r#"{"field":"note","is_null":true}"#, &["a"]),
        (r#"{"field":"note","is_null":false}"#, &["b", "c", "d"]),
        (r#"{"field":"note","is_empty":true}"#, &["a", "c", "d"]),
        (r#"{"field":"tags","values_count":{"gte":2}}"#, &["a"]),
        (r#"{"field":"tags","values_count":{"lt":1}}"#, &["b", "c", "d"]),
        (
            r#"{"field":"crew","nested":{"and":[{"field":"role","equals":"diver"},{"field":"name","exists":true}]}}"#,
            &["c"],
        ),
        (r#"{"field":"crew.role","text":{"prefix":"DIV"}}"#, &["c", "d"]),
        (r#"{"not":{"field":"crew.name","text":{"any":"ann bob"}}}"#, &["a", "b", "d"]),
        (r#"{"field":"at","geo_box":{"north":-15,"south":-20,"west":177,"east":-179}}"#, &["a", "b"]),
        (&format!("{{\"field\":\"at\",\"geo_polygon\":{{\"exterior\":{berlin}}}}}"), &["c"]),
    ] {
        assert_eq!(found(filter), expected, "{filter}");
    }
    let misspelt = r#"{"field":"crew","nested":{"field":"rule","exists":true}}"#;
    let output = nearness(here.path(), &["count", "c", "--filter", misspelt, "--server", &server.url]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("no point of c has the field \"crew.rule\""), "{errors}");
}

#[test]
fn a_collection_is_created_with_a_tenant() {
    let here = folder();
    let lines = [
        r#"{"id":"n1","vector":[1,0],"customer":{"id":"acme"},"year":2021}"#,
        r#"{"id":"n2","vector":[0,1],"customer":{"id":"acme"},"year":2018}"#,
        r#"{"id":"n3","vector":[1,1],"customer":{"id":7},"year":2021}"#,
    ];
    fs::write(here.path().join("notes.jsonl"), lines.join("\n")).expect("written");
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &["--json"], &at].concat());
    let create = ["collections", "create", "notes", "--dimension", "2", "--tenant"];
    fails(here.path(), &[&create[..], &["customer[0].id"], &at].concat(), 1);
    assert_eq!(call(&[&create[..], &["customer.id"]].concat())["tenant"], "customer.id");
    call(&["collections", "create", "plain", "--dimension", "2"]);
    assert!(call(&["collections", "get", "plain"])["tenant"].is_null());
    let described = run(here.path(), &[&["collections", "get", "notes"][..], &at].concat());
    assert!(described.contains("tenant") && described.contains("customer.id"), "{described}");
    call(&["load", "--collection", "notes", "notes.jsonl"]);
    let acme = r#"{"field": "customer.id", "equals": "acme"}"#;
    assert_eq!(call(&["count", "notes", "--filter", acme])["count"], 2);
    assert_eq!(call(&["delete", "notes", "--filter", acme])["deleted"], 2);
    assert_eq!(call(&["count", "notes"])["count"], 1);
}
