//! `load`: stored and refused records, the records that errors name, and counts.

use super::*;

/// Returns points of two components, an id and a line each; a line that `other` returns replaces the point's.
fn points(count: u32, other: impl Fn(u32) -> Option<String>) -> String {
    let line = |n: u32| other(n).unwrap_or_else(|| format!("{{\"id\":\"p{n}\",\"vector\":[{n},1]}}"));
    (1..=count).map(|n| line(n) + "\n").collect()
}

/// Returns the JSON report and standard error of a run that must fail.
#[track_caller]
fn fails_with_report(folder: &Path, arguments: &[&str]) -> (Value, String) {
    let output = nearness(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "nearness {}:\n{errors}", arguments.join(" "));
    let text = String::from_utf8_lossy(&output.stdout);
    (serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}, {errors}")), errors)
}

#[test]
fn payloads_survive_a_round_trip_or_are_refused() {
    let here = folder();
    let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let accepted = [
        format!("{{\"id\":\"deep\",\"vector\":[1,2],\"x\":{}}}\n", lists(32)),
        "{\"id\":\"whole\",\"vector\":[3,4],\"x\":[1.0,-0.0,1e3,7]}\n".to_owned(),
        "{\"id\":\"names\",\"vector\":[5,6],\"\":{\"\":null},\"n\":9007199254740993}\n".to_owned(),
    ];
    let refused =
        [33, 40].map(|depth| format!("{{\"id\":\"d{depth}\",\"vector\":[1,2],\"x\":{}}}\n", lists(depth))).concat();
    fs::write(here.path().join("accepted.jsonl"), accepted.concat()).expect("written");
    fs::write(here.path().join("refused.jsonl"), &refused).expect("written");
    let load = ["load", "--collection", "c", "--metric", "l2", "--json", "accepted.jsonl", "refused.jsonl"];
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    for target in [&at[..], &["--data", "own"]] {
        let report = json(here.path(), &[&load[..], target].concat());
        assert_eq!((&report["inserted"], &report["skipped"]), (&3.into(), &2.into()), "{report:#}");
        let errors = report["errors"].to_string();
        assert_eq!(errors.matches("nests deeper than 32 levels").count(), 2, "{errors}");
    }
    let near = ["query", "c", "--vector", "1,2", "-k", "3", "--payload", "--json"];
    for command in [&["scroll", "c", "--limit", "0", "--json"][..], &["get", "c", "deep", "whole", "names"], &near] {
        let printed = run(here.path(), &[command, &at].concat()).replace(char::is_whitespace, "");
        for part in [lists(32).as_str(), "[1.0,-0.0,1000.0,7]", "9007199254740993"] {
            assert!(printed.contains(part), "{command:?} without {part}: {printed}");
        }
    }
    // Export and load again.
    let all = run(here.path(), &[&["scroll", "c", "--limit", "0", "--vector-out", "--json"][..], &at].concat());
    fs::write(here.path().join("all.jsonl"), all).expect("written");
    for target in [&at[..], &["--data", "own"]] {
        let again = json(here.path(), &[&["load", "--collection", "c", "--json", "all.jsonl"][..], target].concat());
        assert_eq!(again["unchanged"], 3, "{again:#}");
    }
}

#[test]
fn a_strict_load_stops_at_the_first_invalid_record_and_counts_the_stored_ones() {
    let here = folder();
    // Line 777 is refused by the engine, 999 by the reader, which is ahead.
    let invalid = |n| match n {
        777 => Some("{\"id\":\"short\",\"vector\":[1]}".to_owned()),
        999 => Some(format!("{{\"id\":\"{}\",\"vector\":[1,2]}}", "x".repeat(200))),
        _ => None,
    };
    fs::write(here.path().join("ln.jsonl"), points(1_200, invalid)).expect("written");
    fs::write(here.path().join("late.jsonl"), points(20, |n| (n == 17).then(|| "{".to_owned()))).expect("written");
    let load = ["load", "--strict", "--metric", "l2", "--collection"];
    let (report, errors) =
        fails_with_report(here.path(), &[&load[..], &["c", "--data", "data", "--json", "ln.jsonl"]].concat());
    assert!(errors.contains("--strict") && errors.contains("ln.jsonl, line 777: "), "{errors}");
    assert_eq!((&report["inserted"], &report["loaded"]), (&776.into(), &776.into()), "{report:#}");
    assert!(report["errors"][0].as_str().is_some_and(|error| error.contains("line 777")), "{report:#}");

    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let count = |name: &str| json(here.path(), &[&["count", name, "--json"][..], &at].concat())["count"].clone();
    assert_eq!(count("c"), 776, "later records of its batch are not loaded");
    for name in ["a", "b"] {
        let (report, errors) =
            fails_with_report(here.path(), &[&load[..], &[name, "--json", "ln.jsonl"], &at].concat());
        assert!(errors.contains("ln.jsonl, line 777: ") && !errors.contains("line 999"), "{errors}");
        assert_eq!((&report["inserted"], &report["loaded"]), (&count(name), &count(name)), "{report:#}");
        assert!(report["inserted"].as_u64() >= Some(776), "{report:#}");
        assert!(report["errors"][0].as_str().is_some_and(|error| error.contains("line 777")), "{report:#}");
        assert_eq!(report["skipped"], 1);
    }
    let late = nearness(here.path(), &[&load[..], &["late", "late.jsonl"], &at].concat());
    let errors = String::from_utf8_lossy(&late.stderr);
    assert!(errors.contains("late.jsonl, line 17") && errors.contains("16 inserted"), "{errors}");
    let output = format!("{}{errors}", String::from_utf8_lossy(&late.stdout));
    assert_eq!(output.matches(" inserted").count(), 1, "the summary is printed once: {output}");
    assert_eq!(count("late"), 16);
}

#[test]
fn a_load_names_the_record_whose_id_belongs_to_another_point() {
    let here = folder();
    fs::write(here.path().join("one.jsonl"), "{\"id\":\"1500\",\"vector\":[9,9]}\n").expect("written");
    fs::write(here.path().join("base.fvecs"), fvecs(&numbers(2_000 * 2, 1), 2)).expect("written");
    let load = ["load", "--metric", "l2", "--collection", "c", "--json"];
    run(here.path(), &[&load[..], &["--data", "data", "one.jsonl"]].concat());
    let (report, errors) = fails_with_report(here.path(), &[&load[..], &["--data", "data", "base.fvecs"]].concat());
    assert!(errors.contains("base.fvecs, record 1500: ") && errors.contains("--id-prefix"), "{errors}");
    assert_eq!(report["inserted"], 0, "{report:#}");
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let (report, errors) = fails_with_report(here.path(), &[&load[..], &["base.fvecs"], &at].concat());
    assert!(errors.contains("base.fvecs, record 1500: ") && errors.contains("--id-prefix"), "{errors}");
    let count = json(here.path(), &[&["count", "c", "--json"][..], &at].concat())["count"].as_u64().expect("a count");
    assert_eq!((report["inserted"].as_u64(), report["loaded"].as_u64()), (Some(count - 1), Some(count - 1)));
    let errors = report["errors"].as_array().map(Vec::len);
    assert_eq!((errors, &report["skipped"]), (Some(0), &0.into()), "other items of its batch are not reported");
}

#[test]
fn two_images_with_one_path_are_reported_as_duplicates_in_the_load() {
    let here = folder();
    for (name, stroke) in [("x", 6..9), ("y", 14..20)] {
        fs::create_dir_all(here.path().join(name)).expect("a folder");
        let ink = |x, y| image::Luma([if stroke.contains(&x) && (4..24).contains(&y) { 255_u8 } else { 0 }]);
        image::GrayImage::from_fn(28, 28, ink).save(here.path().join(name).join("1.png")).expect("written");
    }
    let error = fails(here.path(), &["load", "--data", "data", "--collection", "c", "x", "y"], 1);
    assert!(error.contains("y/1.png: the id \"1.png\" came before in this load"), "{error}");
    assert!(error.contains("--id-prefix") && !error.contains("the collection \"c\" has another point"), "{error}");
    let server = server::Server::start(&here.path().join("data"), &[]);
    let at = ["--server", server.url.as_str()];
    let list = json(here.path(), &[&["collections", "list", "--json"][..], &at].concat());
    assert_eq!(list.as_array().map(Vec::len), Some(0), "no empty collection is created: {list:#}");
    let error = fails(here.path(), &[&["load", "--collection", "c", "x", "y"][..], &at].concat(), 1);
    assert!(error.contains("error: y/1.png: ") && error.contains("1 inserted"), "{error}");
}
