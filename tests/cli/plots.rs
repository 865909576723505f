//! Pictures: maps, curves and confusion matrices.

use super::*;

/// Returns 400 points in four groups, with the group and a name in the payload.
fn grouped_points() -> String {
    let noise = numbers(400 * 6, 9);
    let line = |at: usize| {
        let group = at % 4;
        let vector: Vec<f32> = (0..6).map(|i| noise[at * 6 + i] + if i == group { 8.0 } else { 0.0 }).collect();
        let payload = serde_json::json!({"group": format!("group {group}"), "name": format!("<{at}>")});
        serde_json::json!({"id": format!("p{at}"), "vector": vector, "payload": payload}).to_string() + "\n"
    };
    (0..400).map(line).collect()
}

#[test]
fn maps_are_drawn_offline_and_through_a_server() {
    let here = folder();
    fs::write(here.path().join("points.jsonl"), grouped_points()).expect("written");
    let load = ["load", "--data", "data", "--collection", "c", "--metric", "l2", "points.jsonl"];
    run(here.path(), &load);
    let read = |name: &str| fs::read_to_string(here.path().join(name)).expect("the map");

    let report = json(here.path(), &["map", "c", "--data", "data", "--out", "a.csv", "--colour", "group", "--json"]);
    assert_eq!((&report["points"], &report["method"]), (&400.into(), &"tsne".into()), "{report:#}");
    assert!(report["neighbors_kept"].as_f64().is_some_and(|share| share > 0.3), "{report:#}");
    let csv = read("a.csv");
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), rows[0].join(",")), (401, "id,x,y,group".into()));
    let position = |row: &[&str]| [row[1].parse::<f64>().expect("x"), row[2].parse::<f64>().expect("y")];
    // The nearest point on the map is in the same group.
    for row in &rows[1..60] {
        let [x, y] = position(row);
        let distance = |other: &&Vec<&str>| (position(other)[0] - x).hypot(position(other)[1] - y);
        let others = rows[1..].iter().filter(|other| other[0] != row[0]);
        let nearest = others.min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("another");
        assert_eq!(nearest[3], row[3], "{row:?} {nearest:?}");
    }
    let report = run(
        here.path(),
        &["map", "c", "--data", "data", "--out", "a.svg", "--method", "pca", "--colour", "group", "--label", "name"],
    );
    assert!(report.contains("400 of 400 points by pca"), "{report}");
    let svg = read("a.svg");
    assert!(svg.matches("h0").count() == 400 && svg.contains(">group 3<") && svg.contains("&lt;"), "{svg}");

    let server = server::Server::start(&here.path().join("data"), &[]);
    let page = ["map", "c", "--server", &server.url, "--dimensions", "3", "--out", "a.html", "--colour", "group"];
    let report = run(here.path(), &page);
    assert!(report.contains("by umap"), "{report}");
    let html = read("a.html");
    assert!(html.contains("default-src 'none'") && html.contains("\"dimensions\":3") && html.contains("group 3"));
    assert!(!html.contains("http://") && !html.contains("https://"));

    for (arguments, code, part) in [
        (&["map", "c", "--data", "data", "--out", "a.pdf"][..], 2, ".html, .svg, .png or .csv"),
        (&["map", "c", "--data", "data", "--out", "a.svg", "--dimensions", "3"][..], 2, "2 dimensions"),
        (&["map", "c", "--data", "data", "--out", "a.html", "--method", "guess"][..], 2, "pca, tsne and umap"),
        (&["map", "c", "--data", "nowhere", "--out", "a.html"][..], 1, "no such directory"),
        (&["map", "nowhere", "--server", &server.url, "--out", "a.html"][..], 1, "NOT_FOUND"),
        (
            &["map", "c", "--server", &server.url, "--dimensions", "3", "--method", "tsne", "--out", "a.html"][..],
            1,
            "UMAP",
        ),
    ] {
        let error = fails(here.path(), arguments, code);
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
    assert!(!here.path().join("nowhere").exists());
}

#[test]
fn curves_of_several_engines_are_drawn_in_one_plot() {
    let here = folder();
    let own = r#"{"build_seconds": 2.0, "resident_bytes": 5000000, "curve": [{"ef": 10, "recall": 0.9, "qps": 9000}]}"#;
    let rivals = r#"{"curves": {"rival": [[0.8, 7000, 10], [0.95, 2000, 40]]}, "build_seconds": {"rival": 5.5}, "bytes": {"rival": 9000000}}"#;
    fs::write(here.path().join("ours.json"), own).expect("written");
    fs::write(here.path().join("peers.json"), rivals).expect("written");
    let output = run(here.path(), &["plot", "ours.json", "peers.json", "--out", "curves.svg", "--title", "a title"]);
    assert!(output.contains("ours, rival"), "{output}");
    let svg = fs::read_to_string(here.path().join("curves.svg")).expect("the picture");
    for part in ["a title", "ours", "rival", "queries per second", "build, s", "index, MB"] {
        assert!(svg.contains(part), "{part} is missing");
    }
    fs::write(here.path().join("invalid.json"), "{}").expect("written");
    let error = fails(here.path(), &["plot", "invalid.json", "--out", "x.svg"], 1);
    assert!(error.contains("invalid.json") && error.contains("curve"), "{error}");
    fails(here.path(), &["plot", "--out", "x.svg"], 2);
}

#[test]
fn an_evaluation_of_digits_draws_its_matrix() {
    let here = folder();
    let root = env!("CARGO_MANIFEST_DIR");
    let (images, labels) = (
        format!("{root}/data/mnist/t10k-images-idx3-ubyte.gz"),
        format!("{root}/data/mnist/t10k-labels-idx1-ubyte.gz"),
    );
    run(here.path(), &["eval", "digits", "--images", &images, "--labels", &labels, "--plot", "digits.svg"]);
    let svg = fs::read_to_string(here.path().join("digits.svg")).expect("the picture");
    assert!(svg.contains("predicted digit") && svg.contains("error on the test images"), "{svg}");
}
