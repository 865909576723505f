//! Aliases and renamed collections on the command line.

use super::{fails, folder, json, run, server};

#[test]
fn aliases_are_set_moved_listed_and_deleted() {
    let here = folder();
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let text = |arguments: &[&str]| run(here.path(), &[arguments, &at[..]].concat());
    let call = |arguments: &[&str]| json(here.path(), &[arguments, &at, &["--json"]].concat());
    for name in ["films-1", "films-2"] {
        text(&["collections", "create", name, "--dimension", "2"]);
    }
    text(&["alias", "set", "films", "films-1"]);
    assert_eq!(call(&["collections", "get", "films"])["name"], "films-1");
    text(&["alias", "set", "films", "films-2"]);
    assert_eq!(call(&["alias", "list"]), serde_json::json!([{"alias": "films", "collection": "films-2"}]));
    text(&["alias", "rename", "films", "movies"]);
    text(&["collections", "rename", "films-2", "films-3", "--keep-alias"]);
    let table = text(&["collections", "get", "movies"]);
    assert!(table.contains("films-3") && table.contains("films-2, movies"), "{table}");
    let error = fails(here.path(), &[&["alias", "set", "films-1", "films-3"], &at[..]].concat(), 1);
    assert!(error.contains("a collection named \"films-1\" exists already"), "{error}");
    text(&["alias", "delete", "movies"]);
    assert!(text(&["alias", "list"]).contains("films-2"));
    assert_eq!(call(&["count", "films-2"])["count"], 0);
}
