//! Tests of the program's errors and notes, and their wording: usage errors, directories in use, incompatible
//! flags, unknown fields.

#[path = "support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared: other tests use the rest")]
mod server;

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn nearness(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nearness"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("NEARNESS_SERVER")
        .output()
        .expect("the program starts")
}

/// Returns standard output and standard error of a run that must exit with `code`.
#[track_caller]
fn exits(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let output = nearness(folder, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "nearness {}:\n{out}\n{errors}", arguments.join(" "));
    (out, errors)
}

#[track_caller]
fn fails(folder: &Path, arguments: &[&str], code: i32) -> String {
    exits(folder, arguments, code).1
}

/// Loads four points into the collection c of ./d.
fn load(here: &Path) {
    let point = |n: u32| format!("{{\"id\": \"p{n}\", \"vector\": [1, {n}], \"n\": {n}, \"none\": null}}\n");
    fs::write(here.join("p.jsonl"), (0..4).map(point).collect::<String>()).expect("written");
    exits(here, &["load", "--data", "d", "--collection", "c", "--metric", "l2", "--quiet", "p.jsonl"], 0);
}

#[test]
fn usage_errors_escape_control_characters() {
    let here = folder();
    let hostile = "x\u{9b}31m\u{202e}\u{1b}[2J\nerror: y";
    let flag = format!("--{hostile}");
    let filter = format!("{{\"{}\": 1}}", "x\u{9b}\u{202e}\\ny");
    for arguments in [
        ["count", hostile].as_slice(),
        &["count", "c", hostile],
        &["count", "c", &flag],
        &["serve", "--listen", hostile],
        &["count", "c", "--filter", &filter],
        &["map", "c", "--out", "a.svg", "--dimensions", hostile],
        &["map", "c", "--out", "a.svg", "--method", hostile],
        &[hostile],
    ] {
        let errors = fails(here.path(), arguments, 2);
        let raw = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!errors.contains(raw), "{errors:?}");
        assert!(errors.contains("\\u{9b}"), "{errors:?}");
        assert!(!errors.contains("\nerror: y") && !errors.contains("\ny"), "{errors}");
    }
}

#[test]
fn a_directory_in_use_is_explained() {
    let here = folder();
    load(here.path());
    let _server = server::Server::start(&here.path().join("d"), &[]);
    for arguments in [
        &["repair", "--data", "d"][..],
        &["check", "--data", "d"],
        &["load", "--data", "d", "--collection", "c", "p.jsonl"],
        &["serve", "--data", "d", "--listen", "127.0.0.1:0"],
    ] {
        let (out, errors) = exits(here.path(), arguments, 1);
        assert_eq!(out, "", "{arguments:?}: no output");
        for part in ["another process has this directory open", "stop it", "--server"] {
            assert!(errors.contains(part), "{arguments:?}: {errors}");
        }
    }
}

#[test]
fn unusable_flags_are_named() {
    let here = folder();
    let serve = ["serve", "--data", "d", "--listen", "127.0.0.1:0", "--default-embedder", "nosuch"];
    let errors = fails(here.path(), &serve, 1);
    assert!(
        errors.contains("--default-embedder") && errors.contains("nosuch") && !errors.contains("listen"),
        "{errors}"
    );
    fs::write(here.path().join("file"), "").expect("written");
    let errors = fails(here.path(), &["snapshot", "list", "--from", "file"], 1);
    assert!(errors.contains("\"file\" is not a snapshot location: it is a file"), "{errors}");
}

#[test]
fn two_models_of_one_name_are_refused_and_a_repeated_one_is_loaded_once() {
    let here = folder();
    load(here.path());
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/embed/models/digits");
    let copy = here.path().join("copy");
    fs::create_dir(&copy).expect("created");
    for file in fs::read_dir(&digits).expect("the model") {
        let file = file.expect("readable");
        fs::copy(file.path(), copy.join(file.file_name())).expect("copied");
    }
    let digits = digits.to_str().expect("UTF-8");
    let map = ["map", "c", "--out", "c.svg", "--data", "d", "--quiet", "--model", digits, "--model", "copy"];
    let errors = fails(here.path(), &map, 1);
    assert!(
        errors.contains("--model copy")
            && errors.contains(&format!("{digits} and copy"))
            && errors.contains("\"digits\""),
        "{errors}"
    );

    let again = copy.join("../copy");
    let server = server::Server::start(
        &here.path().join("d"),
        &["--model", copy.to_str().expect("UTF-8"), "--model", again.to_str().expect("UTF-8")],
    );
    let call = |arguments: &[&str]| exits(here.path(), &[arguments, &["--server", &server.url]].concat(), 0).0;
    let listed = call(&["models", "list"]);
    assert_eq!(listed.matches("--model").count(), 1, "{listed}");
    // A model is identified by the fingerprint of each of its embedders.
    let text: Value = serde_json::from_str(&call(&["embedders", "text", "--json"])).expect("JSON");
    let fingerprint = &text["fingerprint"].as_str().expect("a fingerprint")[..12];
    assert!(listed.contains(&format!(", {fingerprint}")), "{listed}");
    assert!(call(&["models", "get", fingerprint]).contains("words, text"));
}

#[test]
fn fields_that_no_point_has_are_noted() {
    let here = folder();
    load(here.path());
    let server = server::Server::start(&here.path().join("d"), &[]);
    let call = |arguments: &[&str], code| exits(here.path(), &[arguments, &["--server", &server.url]].concat(), code);
    let note = "note: no point of c has the field \"nope\"\n";
    let misspelt = "{\"not\": {\"field\": \"nope\", \"equals\": 1}}";
    assert_eq!(call(&["query", "c", "--vector", "1,0", "--group-by", "nope"], 0).1, note);
    assert_eq!(call(&["query", "c", "--vector", "1,0", "--group-by", "none"], 0).1, "");
    assert!(call(&["query", "c", "--vector", "1,0", "--group-by", "a[0]"], 1).1.contains("write \"a\""));
    let explain = ["explain", "--collection", "c", "--id", "p0", "--vector", "1,0", "--filter", misspelt];
    assert_eq!(call(&explain, 0).1, note);
    let of_null = "{\"field\": \"none\", \"exists\": true}";
    assert_eq!(call(&["count", "c", "--filter", of_null], 0), ("0\n".into(), String::new()));
    let map = ["map", "c", "--out", "c.svg", "--quiet", "--colour"];
    let note_of_map = call(&[&map[..], &["nope"]].concat(), 0).1;
    assert_eq!(note_of_map, "note: none of the 4 points shown has the field \"nope\"\n");
    assert_eq!(call(&[&map[..], &["n"]].concat(), 0).1, "");

    let error = call(&["delete", "c", "--filter", misspelt], 1).1;
    assert!(error.contains("4 points match") && error.contains("--allow-unknown-fields"), "{error}");
    assert_eq!(call(&["count", "c"], 0).0, "4\n");
    let (out, errors) = call(&["delete", "c", "--filter", misspelt, "--allow-unknown-fields"], 0);
    assert_eq!((out.as_str(), errors.as_str()), ("deleted 4\n", note));
}
