//! Tests of the program in a new directory: help, usage errors, loading, queries, measurements.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared: other tests use the rest")]
mod server;

#[path = "cli/aliases.rs"]
mod aliases;
#[path = "cli/filters.rs"]
mod filters;
#[path = "cli/load.rs"]
mod load;
#[path = "cli/plots.rs"]
mod plots;
#[path = "cli/ranking.rs"]
mod ranking;
#[path = "cli/summaries.rs"]
mod summaries;
#[path = "cli/updates.rs"]
mod updates;
#[path = "cli/vector_fields.rs"]
mod vector_fields;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn nearness(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearness"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("NEARNESS_SERVER")
        .output()
        .expect("the program starts")
}

/// Returns standard output of a run that must succeed.
#[track_caller]
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = nearness(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nearness {} failed:\n{errors}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn json(folder: &Path, arguments: &[&str]) -> Value {
    let text = run(folder, arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Returns standard error of a run that must fail with `code`.
#[track_caller]
fn fails(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = nearness(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "nearness {}:\n{errors}", arguments.join(" "));
    errors
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Returns pseudo-random numbers from 0 to 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}

fn fvecs(numbers: &[f32], dimension: usize) -> Vec<u8> {
    let record = |row: &[f32]| {
        let mut bytes = (dimension as u32).to_le_bytes().to_vec();
        bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
        bytes
    };
    numbers.chunks(dimension).flat_map(record).collect()
}

#[test]
fn every_command_has_help_with_an_example() {
    let here = folder();
    let text = run(here.path(), &["--help"]);
    let commands = [
        "quickstart",
        "serve",
        "query",
        "embed",
        "load",
        "train",
        "eval",
        "bench",
        "plot",
        "map",
        "collections",
        "scroll",
        "get",
        "count",
        "facet",
        "fields",
        "sample",
        "delete",
    ];
    for command in commands {
        assert!(text.contains(command), "{command} is not in the help:\n{text}");
        let help = run(here.path(), &[command, "--help"]);
        // Nested commands have their examples one level down.
        if !["train", "eval", "collections"].contains(&command) {
            assert!(help.contains("Example") && help.contains(&format!("nearness {command}")), "{command}:\n{help}");
        }
    }
    for inner in [
        ["train", "words"],
        ["train", "digits"],
        ["train", "images"],
        ["eval", "words"],
        ["eval", "digits"],
        ["eval", "images"],
        ["collections", "create"],
    ] {
        let help = run(here.path(), &[inner[0], inner[1], "--help"]);
        assert!(help.contains("Example"), "{inner:?}:\n{help}");
    }
    assert!(run(here.path(), &["--version"]).starts_with("nearness "));
    assert_eq!(fs::read_dir(here.path()).expect("the folder").count(), 0, "help wrote files");
}

#[test]
fn usage_errors_exit_with_2_and_failures_with_1() {
    let here = folder();
    fs::write(here.path().join("base.fvecs"), fvecs(&numbers(40, 1), 4)).expect("written");
    fails(here.path(), &[], 2);
    fails(here.path(), &["dance"], 2);
    fails(here.path(), &["query", "c"], 2);
    fails(here.path(), &["bench", "--base", "base.fvecs", "--queries", "base.fvecs", "--metric", "l2", "--k", "11"], 2);
    let error =
        fails(here.path(), &["bench", "--base", "missing.fvecs", "--queries", "base.fvecs", "--metric", "l2"], 1);
    assert!(error.contains("--base") && error.contains("missing.fvecs"), "{error}");
    let error = fails(here.path(), &["query", "c", "--text", "x", "--server", "http://127.0.0.1:1"], 1);
    assert!(error.contains("127.0.0.1:1"), "{error}");
    let error = fails(here.path(), &["load", "--data", "d", "--collection", "c", "missing.txt"], 1);
    assert!(error.contains("missing.txt"), "{error}");
    assert!(!here.path().join("d").exists(), "a data directory was created although the file is missing");
}

#[test]
fn filters_select_on_the_command_line() {
    let here = folder();
    let lines: String = (0..60)
        .map(|n| {
            let kind = ["animal", "plant", "stone"][n % 3];
            format!("{{\"id\": \"p{n:02}\", \"vector\": [{n}, 0], \"kind\": \"{kind}\", \"n\": {n}}}\n")
        })
        .collect();
    fs::write(here.path().join("points.jsonl"), lines).expect("written");
    run(here.path(), &["load", "--data", "data", "--collection", "c", "--metric", "l2", "points.jsonl"]);
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &at, &["--json"]].concat());
    let both = r#"{"and": [{"field": "n", "gte": 20, "lt": 40}, {"field": "kind", "equals": "animal"}]}"#;
    let found = call(&["query", "c", "--vector", "0,0", "-k", "3", "--filter", both]);
    let ids = found["hits"].as_array().expect("hits").iter().map(|hit| hit["id"].as_str()).collect::<Vec<_>>();
    assert_eq!(ids, [Some("p21"), Some("p24"), Some("p27")], "{found:#}");
    assert_eq!((&found["stats"]["path"], &found["stats"]["filter_matches"]), (&"filter_scan".into(), &7.into()));
    let table = run(here.path(), &[&["query", "c", "--vector", "0,0", "--filter", both], &at[..]].concat());
    assert!(table.contains("by scan of the matches") && table.contains("7 points match"), "{table}");
    assert_eq!(call(&["count", "c"])["count"], 60);
    assert_eq!(call(&["count", "c", "--filter", both])["count"], 7);
    let lines = run(here.path(), &[&["scroll", "c", "--limit", "0", "--json", "--filter", both], &at[..]].concat());
    assert!(lines.lines().count() == 7 && lines.starts_with("{\"id\":\"p21\""), "{lines}");
    let deleted = call(&["delete", "c", "--filter", both]);
    assert_eq!(deleted["deleted"], 7, "{deleted:#}");
    assert_eq!(call(&["count", "c"])["count"], 53);
    let error = fails(here.path(), &[&["count", "c", "--filter", r#"{"and": []}"#], &at[..]].concat(), 1);
    assert!(error.contains("filter.and") && error.contains("empty"), "{error}");
    let error = fails(here.path(), &["count", "c", "--filter", r#"{"field": "n", "like": 1}"#], 2);
    assert!(error.contains("unknown field `like`"), "{error}");
}

#[test]
fn a_broken_pipe_is_not_an_error() {
    let here = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_nearness"))
        .arg("--help")
        .current_dir(here.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("the exit status").success());
}

#[test]
fn paths_that_the_quickstart_prints_cannot_control_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let data = "a\u{1b}[2Jb\u{202e}";
    fs::create_dir_all(folder.path().join(data).join("models/words")).unwrap();
    fs::write(folder.path().join(data).join("models/words/card.json"), "{").unwrap();
    let output = nearness(folder.path(), &["quickstart", "--once", "--data", data]);
    assert!(!output.status.success(), "the model is damaged");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(text, "using the model in a\\u{1b}[2Jb\\u{202e}/models/words\n");
}

#[test]
fn bench_reports_the_documented_figures() {
    let here = folder();
    let (rows, dimension) = (2_000, 16);
    fs::write(here.path().join("base.fvecs"), fvecs(&numbers(rows * dimension, 7), dimension)).expect("written");
    fs::write(here.path().join("queries.fvecs"), fvecs(&numbers(50 * dimension, 8), dimension)).expect("written");
    let arguments =
        ["bench", "--base", "base.fvecs", "--queries", "queries.fvecs", "--metric", "l2", "--k", "10", "--m", "16"];
    let more = [
        "--ef-construction",
        "100",
        "--ef",
        "10,400",
        "--threads",
        "2",
        "--query-threads",
        "1",
        "--plot",
        "curve.svg",
        "--json",
    ];
    let found = json(here.path(), &[arguments.as_slice(), &more].concat());
    for key in ["build_seconds", "resident_bytes", "index_bytes"] {
        assert!(found[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {found:#}");
    }
    let curve = found["curve"].as_array().expect("a curve");
    assert_eq!(curve.iter().map(|point| point["ef"].as_u64()).collect::<Vec<_>>(), [Some(10), Some(400)]);
    for point in curve {
        for key in ["recall", "recall_tie_aware", "qps", "p50_us", "p99_us", "distances"] {
            assert!(point[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {point:#}");
        }
        assert!(point["recall_tie_aware"].as_f64() >= point["recall"].as_f64());
        assert!(point["p99_us"].as_f64() >= point["p50_us"].as_f64());
    }
    assert!(curve[1]["recall"].as_f64() >= Some(0.998), "{found:#}");
    assert!(curve[1]["distances"].as_f64() < Some(2_000.0), "a graph search compares fewer than all: {found:#}");
    assert!(fs::read_to_string(here.path().join("curve.svg")).expect("the plot").contains("<svg"));

    // An invalid ground truth lowers the recall: row 0 is not the nearest of every query.
    let invalid = (0..50).flat_map(|_| [1_i32, 0]).flat_map(i32::to_le_bytes).collect::<Vec<_>>();
    fs::write(here.path().join("invalid.ivecs"), invalid).expect("written");
    let one =
        ["bench", "--base", "base.fvecs", "--queries", "queries.fvecs", "--metric", "l2", "--k", "1", "--ef", "100"];
    let found = json(here.path(), &[one.as_slice(), &["--truth", "invalid.ivecs", "--json"]].concat());
    assert!(found["curve"][0]["recall"].as_f64() < Some(0.1), "{found:#}");
    let rival = r#"{"curves": {"rival": [[0.8, 7000, 10]]}, "build_seconds": {"rival": 5.5}}"#;
    fs::write(here.path().join("other.json"), rival).expect("written");
    let table = run(here.path(), &[one.as_slice(), &["--plot", "both.svg", "--beside", "other.json"]].concat());
    assert!(table.contains("queries/s") && table.contains("built in"), "{table}");
    let both = fs::read_to_string(here.path().join("both.svg")).expect("the plot");
    for part in [">\nnearness\n<", ">\nrival\n<", "build, s"] {
        assert!(both.contains(part), "{part} is missing in {both}");
    }
    assert!(fails(here.path(), &[one.as_slice(), &["--plot", "curve.pdf"]].concat(), 2).contains(".svg or .png"));
    assert!(
        fails(here.path(), &[one.as_slice(), &["--plot", "c.svg", "--beside", "none.json"]].concat(), 1)
            .contains("none.json")
    );
}

#[test]
fn vectors_are_loaded_offline_and_found_over_a_server() {
    let here = folder();
    let base = numbers(500 * 8, 3);
    fs::write(here.path().join("base.fvecs"), fvecs(&base, 8)).expect("written");
    let load = [
        "load",
        "--data",
        "data",
        "--collection",
        "points",
        "--metric",
        "l2",
        "--id-prefix",
        "p",
        "--json",
        "base.fvecs",
    ];
    let report = json(here.path(), &load);
    assert_eq!((report["loaded"].as_u64(), report["skipped"].as_u64()), (Some(500), Some(0)), "{report:#}");
    // Repeating the load with the same ids gives the same state.
    let again = json(here.path(), &load);
    assert_eq!((&again["loaded"], &again["inserted"], &again["unchanged"]), (&500.into(), &0.into(), &500.into()));
    let error =
        fails(here.path(), &["load", "--data", "data", "--collection", "points", "--metric", "dot", "base.fvecs"], 2);
    assert!(error.contains("--metric dot"), "{error}");

    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &at, &["--json"]].concat());
    let error = fails(here.path(), &load, 1);
    assert!(error.contains("data"), "the server has the directory open: {error}");

    let state = call(&["collections", "get", "points"]);
    assert_eq!((state["points"].as_u64(), state["metric"].as_str()), (Some(500), Some("l2")), "{state:#}");
    let vector = base[8 * 123..8 * 124].iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    let found = call(&["query", "points", "--vector", &vector, "-k", "3"]);
    assert_eq!(found["hits"][0]["id"], "p123", "{found:#}");
    assert_eq!(found["hits"].as_array().map(Vec::len), Some(3));
    let found = call(&["query", "points", "--id", "p123", "-k", "3", "--exact"]);
    assert!(found["hits"].as_array().is_some_and(|hits| hits.iter().all(|hit| hit["id"] != "p123")), "{found:#}");
    assert_eq!(found["stats"]["path"], "exact");

    let target = ["query", "points", "--vector", &vector, "-k", "3", "--target-recall", "0.9"];
    assert_eq!(call(&target)["stats"]["expected_recall"], 1.0, "a few points are scanned");
    let explanation = call(&["explain", "--collection", "points", "--id", "p123", "--vector", &vector]);
    assert_eq!(
        (explanation["reason"].as_str(), explanation["true_rank"].as_u64()),
        (Some("hit"), Some(1)),
        "{explanation:#}"
    );
    let red = "{\"field\": \"colour\", \"equals\": \"red\"}";
    let explanation =
        call(&["explain", "--collection", "points", "--id", "p123", "--vector", &vector, "--filter", red]);
    assert_eq!(explanation["reason"], "filtered", "{explanation:#}");
    let explanation =
        run(here.path(), &[&["explain", "--collection", "points", "--id", "p", "--near", "p1"], &at[..]].concat());
    assert_eq!(explanation, "p is not a point of this collection\n");
    let measured = call(&["recall", "--collection", "points", "--target", "0.95", "--samples", "50"]);
    assert_eq!((measured["samples"].as_u64(), measured["recall"].as_f64()), (Some(50), Some(1.0)), "{measured:#}");
    let table = run(here.path(), &[&["recall", "--collection", "points"], &at[..]].concat());
    assert!(table.contains("of 200 stored points") && table.contains("expected of new queries: 1.0000"), "{table}");
    fails(here.path(), &["recall", "--collection", "points", "--target", "0.4"], 2);
    fails(here.path(), &[target.as_slice(), &["--ef", "20"]].concat(), 2);

    // Over the stream: invalid records are reported with file and line; the others are loaded.
    let lines = "{\"id\": \"a\", \"vector\": [1,2,3,4,5,6,7,8], \"colour\": \"red\"}\n{\"id\": \"b\", \"vector\": [1,2]}\nnot json\n";
    fs::write(here.path().join("more.jsonl"), lines).expect("written");
    let output =
        nearness(here.path(), &[&["load", "--collection", "points", "--json"], &at[..], &["more.jsonl"]].concat());
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((report["loaded"].as_u64(), report["skipped"].as_u64()), (Some(1), Some(2)), "{report:#}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("more.jsonl, line 2") && errors.contains("more.jsonl, line 3"), "{errors}");
    let error =
        fails(here.path(), &[&["load", "--strict", "--collection", "points"], &at[..], &["more.jsonl"]].concat(), 1);
    assert!(error.contains("--strict") && error.contains("more.jsonl, line "), "{error}");

    let got = call(&["get", "points", "a"]);
    assert_eq!(got["points"][0]["payload"]["colour"], "red", "{got:#}");
    let deleted = call(&["delete", "points", "a", "missing"]);
    assert_eq!((deleted["deleted"].as_u64(), deleted["missing"][0].as_str()), (Some(1), Some("missing")));
    fails(here.path(), &[&["get", "points", "a"], &at[..]].concat(), 1);

    // The output of scroll can be loaded again.
    let lines = run(here.path(), &[&["scroll", "points", "--limit", "0", "--vector-out", "--json"], &at[..]].concat());
    assert_eq!(lines.lines().count(), 500);
    fs::write(here.path().join("all.jsonl"), &lines).expect("written");
    let copied = call(&["load", "--collection", "copy", "--metric", "l2", "all.jsonl"]);
    assert_eq!(copied["loaded"], 500);
    assert_eq!(call(&["query", "copy", "--vector", &vector, "-k", "1"])["hits"][0]["id"], "p123");

    let list = call(&["collections", "list"]);
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list:#}");
    assert_eq!(call(&["collections", "delete", "copy"])["points"], 500);
    fails(here.path(), &[&["collections", "get", "copy"], &at[..]].concat(), 1);
}

#[test]
fn bench_measures_a_server() {
    let here = folder();
    fs::write(here.path().join("base.fvecs"), fvecs(&numbers(1_500 * 8, 3), 8)).expect("written");
    fs::write(here.path().join("queries.fvecs"), fvecs(&numbers(20 * 8, 4), 8)).expect("written");
    run(here.path(), &["load", "--data", "data", "--collection", "points", "--metric", "l2", "--quiet", "base.fvecs"]);
    let server = server::Server::start(&here.path().join("data"), &[]);
    let arguments = [
        "bench",
        "--base",
        "base.fvecs",
        "--queries",
        "queries.fvecs",
        "--metric",
        "l2",
        "--ef",
        "300",
        "--query-threads",
        "2",
    ];
    let found = json(
        here.path(),
        &[arguments.as_slice(), &["--server", &server.url, "--collection", "points", "--json"]].concat(),
    );
    assert!(found["curve"][0]["recall_tie_aware"].as_f64() >= Some(0.99), "{found:#}");
    assert!(found["build_seconds"].is_null());
}

#[test]
fn texts_are_embedded_and_found_by_meaning() {
    let here = folder();
    let lines = "The king sat on his throne in the castle.\nA dog and a cat played in the garden.\nxqzzyv\n";
    fs::write(here.path().join("notes.txt"), lines).expect("written");
    let output = nearness(here.path(), &["load", "--data", "data", "--collection", "notes", "--json", "notes.txt"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((report["loaded"].as_u64(), report["skipped"].as_u64()), (Some(2), Some(1)), "{report:#}");
    assert!(errors.contains("notes.txt, line 3") && errors.contains("xqzzyv"), "{errors}");
    let server = server::Server::start(&here.path().join("data"), &[]);
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &["--server", &server.url, "--json"]].concat());
    let found = call(&["query", "notes", "--text", "a queen in her palace", "-k", "1"]);
    assert_eq!(
        (found["hits"][0]["id"].as_str().map(str::len), found["hits"][0]["payload"]["text"].as_str()),
        (Some(24), lines.lines().next()),
        "{found:#}"
    );
    let vectors = call(&["embed", "text", "one sentence", "another one"]);
    assert_eq!(vectors["vectors"].as_array().map(Vec::len), Some(2));
    assert!(call(&["words", "king", "-k", "5"])["words"].as_array().is_some_and(|words| words.len() == 5));
    assert_eq!(call(&["fill", "___ black ___", "-k", "2"])["blanks"].as_array().map(Vec::len), Some(2));
    let names = call(&["embedders"]);
    let names = names.as_array().expect("a list").iter().map(|one| one["name"].as_str()).collect::<Vec<_>>();
    assert!(["words", "text", "digits"].iter().all(|name| names.contains(&Some(name))), "{names:?}");
}

#[test]
fn integers_keep_all_their_digits_through_a_server() {
    let here = folder();
    let lines = [
        r#"{"id":"a","vector":[1,0],"n":9007199254740993}"#,
        r#"{"id":"b","vector":[0,1],"n":9007199254740992}"#,
        r#"{"id":"c","vector":[1,1],"n":18446744073709551615,"deep":[{"m":-9223372036854775808}]}"#,
    ];
    fs::write(here.path().join("points.jsonl"), lines.join("\n")).expect("written");
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    run(here.path(), &[&["load", "-q", "--collection", "c", "--metric", "l2", "points.jsonl"][..], &at].concat());
    let scroll = |filter: &str| {
        let flags = ["scroll", "c", "--json", "--filter", filter];
        run(here.path(), &[&flags[..], &at].concat())
    };
    for (filter, id, n) in [
        (r#"{"field":"n","equals":9007199254740993}"#, "a", r#""n":9007199254740993"#),
        (r#"{"field":"n","gte":9007199254740992,"lt":9007199254740993}"#, "b", r#""n":9007199254740992"#),
        (r#"{"field":"n","in":[18446744073709551615]}"#, "c", r#""m":-9223372036854775808"#),
    ] {
        let found = scroll(filter);
        assert_eq!(found.lines().count(), 1, "{filter}: {found}");
        assert!(found.contains(&format!("\"id\":\"{id}\"")) && found.contains(n), "{filter}: {found}");
    }
    let near = ["query", "c", "--vector", "1,0", "-k", "1", "--json"];
    assert!(run(here.path(), &[&near[..], &at].concat()).contains("9007199254740993"));
    let got = run(here.path(), &[&["get", "c", "c"][..], &at].concat());
    assert!(got.contains("18446744073709551615"), "{got}");
    let too_large = r#"{"field":"n","equals":18446744073709551616}"#;
    let error = fails(here.path(), &[&["count", "c", "--filter", too_large][..], &at].concat(), 2);
    assert!(error.contains("more than 64 bits"), "{error}");
}

#[test]
fn training_writes_a_model_folder_that_other_commands_read() {
    let here = folder();
    let sentences =
        ["the cat sat on the mat and the dog lay on the rug", "a king and a queen ruled the land and the people"];
    let corpus = sentences.iter().cycle().take(400).copied().collect::<Vec<_>>().join("\n");
    fs::write(here.path().join("corpus.txt"), corpus).expect("written");
    fs::write(here.path().join("pairs.txt"), "cat dog 9.0\nking queen 9.0\ncat queen 1.0\ndog king 1.5\n")
        .expect("written");
    let train = [
        "train",
        "words",
        "--corpus",
        "corpus.txt",
        "--out",
        "model",
        "--dim",
        "8",
        "--epochs",
        "2",
        "--threads",
        "1",
        "--subsample",
        "0",
    ];
    let report = json(here.path(), &[train.as_slice(), &["--json"]].concat());
    assert!(report["quality"]["vocabulary"].as_u64() > Some(5), "{report:#}");
    let card: Value =
        serde_json::from_slice(&fs::read(here.path().join("model/card.json")).expect("a model card")).expect("JSON");
    assert_eq!(card["name"], "words");
    assert!(
        card["command"].as_str().is_some_and(|command| command.starts_with("nearness train words --corpus corpus.txt")),
        "{card:#}"
    );
    assert_eq!(card["data"][0]["file"], "corpus.txt");
    assert_eq!(card["date"].as_str().map(str::len), Some(10));
    let error = fails(here.path(), &train, 1);
    assert!(error.contains("--force"), "{error}");
    let found = json(here.path(), &["eval", "words", "--model", "model", "--similarity", "pairs.txt", "--json"]);
    assert_eq!(found["similarity"][0]["pairs"], 4, "{found:#}");
    assert!(found["accuracy"].is_null());
}

/// Writes images of horizontal or vertical stripes, with varying position and colours, into class folders.
fn striped_folders(root: &Path, images: u32) {
    for (class, standing) in [("standing", true), ("lying", false)] {
        fs::create_dir_all(root.join(class)).expect("a folder");
        for number in 0..images {
            let light = image::Rgb([200, (number * 17 % 200) as u8, 90]);
            let picture = image::RgbImage::from_fn(20, 20, |x, y| {
                let along = if standing { x } else { y } + number;
                if along / 3 % 2 == 0 { light } else { image::Rgb([20, 20, 60]) }
            });
            picture.save(root.join(class).join(format!("{number:02}.png"))).expect("written");
        }
    }
}

#[test]
fn an_image_model_is_trained_evaluated_installed_and_queried() {
    let here = folder();
    striped_folders(&here.path().join("train"), 24);
    striped_folders(&here.path().join("test"), 6);
    fs::write(here.path().join("train/lying/broken.jpg"), "no image").expect("written");
    let train = [
        ["train", "images", "--data", "train", "--test", "test", "--out", "model", "--name", "stripes"],
        ["--size", "16", "--epochs", "8", "--batch", "16", "--threads", "1", "--licence", "CC0"],
    ]
    .concat();
    let train = [&train[..], &["--learning-rate", "0.1", "--no-augment", "--json"]].concat();
    let output = nearness(here.path(), &train);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.contains("broken.jpg"), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["quality"]["test_accuracy"].as_f64() > Some(0.8), "{report:#}");
    let card: Value =
        serde_json::from_slice(&fs::read(here.path().join("model/card.json")).expect("a model card")).expect("JSON");
    assert_eq!((&card["name"], &card["family"]), (&"stripes".into(), &"images".into()));
    assert_eq!(card["settings"]["classes"], serde_json::json!(["lying", "standing"]));
    assert_eq!((&card["settings"]["skipped_images"], &card["data"][0]["licence"]), (&1.into(), &"CC0".into()));
    assert!(fails(here.path(), &train, 1).contains("--force"));

    let found = json(here.path(), &["eval", "images", "--model", "model", "--data", "test", "--json"]);
    assert_eq!(found["accuracy"], report["quality"]["test_accuracy"], "{found:#}");
    assert!(found["same_class_at_10"].as_f64() > Some(0.4), "{found:#}");
    let error = fails(here.path(), &["eval", "images", "--model", "model", "--data", "model"], 1);
    assert!(error.contains("no images in class folders"), "{error}");
    fails(here.path(), &["train", "images", "--out", "other"], 2);

    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &at, &["--json"]].concat());
    call(&["models", "install", "model", "--quiet"]);
    let loaded = call(&["load", "--collection", "pictures", "--embedder", "stripes", "--quiet", "test"]);
    assert_eq!(loaded["loaded"], 12, "{loaded:#}");
    let hits = call(&["query", "pictures", "--image", "test/lying/03.png", "-k", "2"]);
    assert_eq!(hits["hits"][0]["id"], "lying/03.png", "{hits:#}");
    assert_eq!(
        call(&["embed", "stripes:probabilities", "--image", "test/lying/03.png"])["vectors"][0]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[test]
fn commands_with_a_data_directory_ignore_the_server_variable() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("notes.txt"), "the cat sat on the mat\n").expect("a file");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nearness"));
        command.current_dir(dir.path()).env("NEARNESS_SERVER", "http://127.0.0.1:1").args(arguments);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["load", "--data", "mine", "--collection", "notes", "notes.txt"]);
    run(&["check", "--data", "mine"]);
    run(&["snapshot", "create", "--collection", "notes", "--data", "mine", "--to", "snaps"]);
    run(&["snapshot", "list", "--from", "snaps"]);
}

#[test]
fn models_are_installed_and_deleted_while_a_server_runs() {
    let here = TempDir::new().expect("a folder");
    let text: String = (0..400).map(|n| if n % 2 == 0 { "river boat water\n" } else { "piano song music\n" }).collect();
    fs::write(here.path().join("text.txt"), text).expect("written");
    let small = ["--dim", "8", "--min-count", "1", "--epochs", "3", "--subsample", "0", "--threads", "1", "--quiet"];
    run(here.path(), &[&["train", "words", "--corpus", "text.txt", "--out", "mine"], &small[..]].concat());
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &at, &["--json"]].concat());
    let names = |model: &Value| model["embedders"][0]["name"].as_str().map(str::to_owned);
    assert_eq!(call(&["models", "list"]).as_array().map(Vec::len), Some(2), "the built-in models");

    let installed = call(&["models", "install", "mine", "--quiet"]);
    assert_eq!((names(&installed).as_deref(), &installed["origin"]), (Some("words"), &"installed".into()));
    let fingerprint = installed["fingerprint"].as_str().expect("a fingerprint").to_owned();
    assert_eq!(installed["current"], false, "the name refers to the built-in model");
    assert_ne!(call(&["embed", "words", "boat"])["embedder_fingerprint"], fingerprint.as_str());
    let exact = format!("words@{}", &fingerprint[..12]);
    assert_eq!(call(&["embed", exact.as_str(), "boat"])["embedder_fingerprint"], fingerprint.as_str());
    let error = fails(here.path(), &[&["models", "install", "mine"], &at[..]].concat(), 1);
    assert!(error.contains("exists already"), "{error}");
    call(&["collections", "create", "notes", "--embedder", exact.as_str()]);
    let error = fails(here.path(), &[&["models", "delete", &fingerprint[..8]], &at[..]].concat(), 1);
    assert!(error.contains("notes"), "{error}");

    let train = ["models", "train-words", "text.txt", "--seed", "9"];
    let error = fails(here.path(), &[&train[..], &small[..], &at[..]].concat(), 2);
    assert!(error.contains("--name"), "{error}");
    let trained = call(&[&train[..], &["--name", "mine"], &small[..]].concat());
    assert_eq!(names(&trained).as_deref(), Some("mine"));
    assert!(trained["warnings"][0].as_str().is_some_and(|warning| warning.contains("6 words")), "{trained}");
    assert_ne!(trained["fingerprint"], installed["fingerprint"]);
    let card =
        run(here.path(), &[&["models", "get", trained["fingerprint"].as_str().expect("text")], &at[..]].concat());
    assert!(
        card.contains("\"seed\": 9") && card.contains("\"file\": \"text.txt\"") && card.contains("sha256"),
        "{card}"
    );
    let mut listed = run(here.path(), &[&["models", "list"], &at[..]].concat());
    assert!(listed.contains("notes") && listed.contains("program"), "{listed}");
    call(&["models", "delete", trained["fingerprint"].as_str().expect("text")]);
    listed = run(here.path(), &[&["models", "list"], &at[..]].concat());
    assert_eq!(listed.matches("installed").count(), 1, "{listed}");
}

#[test]
fn a_second_file_adds_to_the_first() {
    let here = folder();
    fs::write(here.path().join("first.txt"), "a storm at sea\na ship in the harbour\n").expect("written");
    fs::create_dir(here.path().join("other")).expect("created");
    fs::write(here.path().join("other/first.txt"), "the king and the queen\na storm at sea\na black cat\n")
        .expect("written");
    let load = |file: &str| json(here.path(), &["load", "--data", "d", "--collection", "c", "--json", file]);
    let counts =
        |report: &Value| ["inserted", "replaced", "unchanged"].map(|name| report[name].as_u64().expect("a count"));
    let report = load("first.txt");
    assert_eq!(counts(&report), [2, 0, 0], "{report:#}");
    assert_eq!((&report["formats"][0], &report["embedder"]["name"]), (&"text".into(), &"text".into()));
    assert_eq!(report["dimension"], 100);
    assert_eq!(counts(&load("other/first.txt")), [2, 0, 1], "one line is in both files");
    assert_eq!(counts(&load("first.txt")), [0, 0, 2], "the same file again changes nothing");

    let rows = |name: &str, seed| fs::write(here.path().join(name), fvecs(&numbers(20 * 4, seed), 4)).expect("written");
    rows("base.fvecs", 1);
    rows("more.fvecs", 2);
    let vectors = ["load", "--data", "d", "--collection", "v", "--metric", "l2", "--json"];
    let load = |more: &[&str]| json(here.path(), &[&vectors, more].concat());
    assert_eq!(counts(&load(&["base.fvecs"])), [20, 0, 0]);
    assert_eq!(counts(&load(&["base.fvecs"])), [0, 0, 20]);
    let error = fails(here.path(), &[&vectors[..], &["more.fvecs"]].concat(), 1);
    assert!(error.contains("more.fvecs, record 0") && error.contains("--id-prefix"), "{error}");
    assert_eq!(counts(&load(&["--id-prefix", "more-", "more.fvecs"])), [20, 0, 0]);

    let server = server::Server::start(&here.path().join("d"), &[]);
    let at = ["--server", server.url.as_str()];
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &at, &["--json"]].concat());
    assert_eq!(call(&["count", "c"])["count"], 4);
    assert_eq!(counts(&call(&["load", "--collection", "c", "first.txt"])), [0, 0, 2]);
    fs::write(here.path().join("third.txt"), "a lamp\na storm at sea\n").expect("written");
    assert_eq!(counts(&call(&["load", "--collection", "c", "third.txt"])), [1, 0, 1]);
    assert_eq!(counts(&call(&["load", "--collection", "v", "base.fvecs"])), [0, 0, 20]);
    let error = fails(here.path(), &[&["load", "--collection", "v", "more.fvecs"], &at[..]].concat(), 1);
    assert!(error.contains("more.fvecs, record ") && error.contains("--replace"), "{error}");
    assert_eq!(call(&["count", "v"])["count"], 40);
    assert_eq!(counts(&call(&["load", "--collection", "v", "--replace", "more.fvecs"])), [0, 20, 0]);
}

#[test]
fn ids_and_messages_contain_no_control_characters() {
    let here = folder();
    let hostile = "a\u{1b}]0;x\u{7}\n\u{202e}b";
    let point = serde_json::json!({ "id": hostile, "vector": [1, 0], "note": "\u{9b}31m\u{2066}" });
    let minus = serde_json::json!({ "id": -5, "vector": [0, 1] });
    fs::write(here.path().join("p\n\u{1b}[1m.jsonl"), format!("{point}\n{minus}\nbroken\n")).expect("written");
    let load = ["load", "--data", "d", "--collection", "c", "--metric", "l2", "p\n\u{1b}[1m.jsonl"];
    let mut printed = vec![String::from_utf8(nearness(here.path(), &load).stderr).expect("UTF-8")];
    assert!(printed[0].contains("p\\n\\u{1b}[1m.jsonl, line 3"), "{printed:?}");
    let server = server::Server::start(&here.path().join("d"), &[]);
    let at = ["--server", server.url.as_str()];
    for (command, code) in [
        (&["scroll", "c"][..], 0),
        (&["scroll", "c", "--json"], 0),
        (&["get", "c", hostile], 0),
        (&["get", "c", "missing\u{1b}[2J"], 1),
        (&["query", "c", "--vector", "1,0", "--payload"], 0),
        (&["query", "c", "--vector", "1,0", "--json"], 0),
        (&["query", "c", "--id", "missing\u{1b}[2J\u{9b}"], 1),
        (&["explain", "--collection", "c", "--id", hostile, "--vector", "1,0"], 0),
        (&["count", "c", "--filter", "{\"field\": \"\u{202e}\u{9b}\", \"exists\": true}"], 0),
        (&["delete", "c", "missing\u{1b}[2J"], 0),
    ] {
        let output = nearness(here.path(), &[command, &at[..]].concat());
        assert_eq!(output.status.code(), Some(code), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        printed.push(String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8"));
    }
    for text in &printed {
        let is_control = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}".contains(c);
        assert!(!text.contains(is_control), "{text:?}");
    }
    let lines = run(here.path(), &[&["scroll", "c", "--json", "--after", "-5"], &at[..]].concat());
    let value: Value = serde_json::from_str(&lines).expect("one line of JSON");
    assert_eq!((&value["id"], &value["payload"]["note"]), (&hostile.into(), &"\u{9b}31m\u{2066}".into()));
    let found = json(here.path(), &[&["query", "c", "--id", "-5", "--json"], &at[..]].concat());
    assert_eq!(found["hits"][0]["id"], hostile);
    let output = nearness(
        here.path(),
        &[&["count", "c", "--filter", "{\"field\": \"nte\", \"exists\": true}"], &at[..]].concat(),
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "note: no point of c has the field \"nte\"\n");
}

#[test]
fn data_files_are_not_loaded_as_text_and_an_empty_evaluation_fails() {
    let here = folder();
    let load = |file: &str, content: &[u8]| {
        fs::write(here.path().join(file), content).expect("written");
        fails(here.path(), &["load", "--data", "d", "--collection", "c", file], 1)
    };
    let glove = load("glove.txt", b"the 0.1 0.2 0.3\nof 0.4 0.5 0.6\n");
    assert!(glove.contains("GloVe") && glove.contains("--format text"), "{glove}");
    assert!(load("table.csv", b"id,text\n1,a storm\n").contains("CSV"));
    assert!(load("pipe", b"\x89HDF\r\n\x1a\n\0").contains("HDF5"));
    assert!(!here.path().join("d").exists(), "a data directory was created although nothing was loaded");

    fs::write(here.path().join("pairs.txt"), "qqxx yyzz 1\nzzqq xxyy 2\n").expect("written");
    let error = fails(here.path(), &["eval", "words", "--similarity", "pairs.txt", "--json"], 1);
    assert!(error.contains("both words of 0 of 2 pairs"), "{error}");
    fs::write(here.path().join("questions.txt"), ": none\nqq ww ee rr\n").expect("written");
    let error = fails(here.path(), &["eval", "words", "--analogies", "questions.txt"], 1);
    assert!(error.contains("no question"), "{error}");
}
