//! Repository rules that the compiler does not check: layers, confined crates, module docs, paths in the docs, README
//! commands.

use std::path::{Path, PathBuf};

/// Modules of the same crate that each module may import; the compiler checks imports between crates. A new folder
/// needs a row here.
const LAYERS: &[(&str, &[&str])] = &[
    ("crates/core/src/store", &["text"]),
    ("crates/core/src/index", &[]),
    ("crates/core/src/text", &["index"]),
    ("crates/core/src/snapshot_store", &[]),
    ("crates/core/src/layout", &[]),
    ("crates/core/src/api", &["store", "index", "snapshot_store", "text"]),
    ("crates/core/src/payload", &["api", "index"]),
    ("crates/core/src/segment", &["payload", "api", "store", "index", "text"]),
    ("crates/core/src/collection", &["segment", "payload", "api", "layout", "store", "index", "text"]),
    ("crates/core/src/snapshot", &["collection", "segment", "payload", "api", "store", "index", "snapshot_store"]),
    (
        "crates/core/src/engine",
        &["snapshot", "collection", "segment", "payload", "api", "layout", "snapshot_store", "store", "index"],
    ),
    ("src/auth", &[]),
    ("src/web", &[]),
    ("src/training", &[]),
    ("src/grpc", &["auth", "training", "web"]),
    ("src/cli", &["auth", "grpc", "training", "web"]),
];

/// Source folders.
const SOURCES: [&str; 5] = ["src", "crates/base/src", "crates/math/src", "crates/embed/src", "crates/core/src"];

/// External crates, each with a path that may name it; a crate may have several rows.
const CONFINED: &[(&str, &str)] = &[
    ("hnsw_rs", "crates/core/src/index/growing.rs"),
    ("memmap2", "crates/base/src/disk/"),
    ("libc", "crates/base/src/disk/"),
    ("redb", "crates/core/src/store/"),
    ("object_store", "crates/core/src/snapshot_store/"),
    ("url", "crates/core/src/snapshot_store/"),
    ("tar", "crates/core/src/snapshot/"),
    ("tar", "crates/embed/src/images/archive.rs"),
    ("roaring", "crates/core/src/payload/"),
    ("roaring", "crates/core/src/segment/payload_index.rs"),
    ("roaring", "crates/core/src/segment/text_index.rs"),
    ("rust_stemmers", "crates/core/src/text/"),
    ("bitpacking", "crates/core/src/index/inverted/"),
    ("rustfft", "crates/core/src/layout/fft_repulsion.rs"),
    ("gemm_f32", "crates/math/src/gemm.rs"),
    ("gemm_common", "crates/math/src/gemm.rs"),
    ("candle_core", "crates/embed/src/transformers/"),
    ("candle_nn", "crates/embed/src/transformers/"),
    ("tokenizers", "crates/embed/src/transformers/"),
    ("safetensors", "crates/embed/src/"),
    ("zstd", "crates/embed/src/formats/compressed.rs"),
    ("zstd", "crates/embed/src/words/data.rs"),
    ("jsonwebtoken", "src/auth/jwt.rs"),
    ("subtle", "src/auth/"),
    ("getrandom", "src/auth/api_key.rs"),
    ("getrandom", "crates/core/src/store/identity.rs"),
    ("tokio_rustls", "src/grpc/"),
    ("webpki", "src/grpc/transport/connection.rs"),
    ("http_body", "src/grpc/"),
    ("hyper", "src/grpc/metrics_endpoint.rs"),
    ("prometheus_client", "src/grpc/metrics.rs"),
    ("prometheus_client", "src/grpc/middleware/request_metrics.rs"),
    ("opentelemetry", "src/cli/log/"),
    ("opentelemetry_sdk", "src/cli/log/"),
    ("opentelemetry_otlp", "src/cli/log/"),
    ("tracing_opentelemetry", "src/cli/log/"),
    ("tracing_subscriber", "src/cli/log/"),
    ("toml", "src/cli/"),
    ("tonic", "src/grpc/"),
    ("tonic_health", "src/grpc/"),
    ("tonic_reflection", "src/grpc/"),
    ("tonic_types", "src/grpc/"),
    ("shuttle", "crates/base/src/sync.rs"),
    ("tonic_web", "src/grpc/web_ui.rs"),
    ("tower_layer", "src/grpc/web_ui.rs"),
    ("base64", "crates/core/src/collection/embed_input.rs"),
    ("base64", "src/auth/jwt.rs"),
    ("clap", "src/cli/"),
    ("anyhow", "src/cli/"),
    ("indicatif", "src/cli/"),
    ("plotters", "src/cli/"),
];

/// Paths with unsafe code. The training of word vectors shares matrices between threads without locks.
const UNSAFE: [&str; 5] = [
    "crates/math/src/",
    "crates/base/src/disk/",
    "crates/embed/src/words/cloze_train.rs",
    "crates/embed/src/words/glove_train.rs",
    "crates/embed/src/words/negative_sampling.rs",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|other| other == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns every source file: its path relative to the root, and its text.
fn sources() -> Vec<(String, String)> {
    let all = SOURCES.iter().flat_map(|folder| files(&root().join(folder), "rs"));
    all.map(|path| {
        let text = std::fs::read_to_string(&path).expect("UTF-8 source");
        (path.strip_prefix(root()).expect("below the root").to_str().expect("UTF-8 path").to_owned(), text)
    })
    .collect()
}

/// Returns the code of a line, without line comments.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// Returns the modules that a line of code imports from its own crate.
fn imported(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                names.extend(list.split([',', '}']).map(|part| part.trim().split("::").next().unwrap_or("")));
            }
            None => names.extend(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()),
        }
    }
    names
}

#[test]
fn no_module_imports_upwards() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        let layer = LAYERS.iter().find(|(module, _)| path.starts_with(&format!("{module}/")));
        let Some((module, allowed)) = layer else {
            // Each lower crate is one layer; the others have only lib.rs and main.rs outside modules.
            if ["crates/core/src", "src"].iter().any(|crate_| folders.starts_with(crate_) && folders != *crate_) {
                problems.push(format!("{path}: its module has no row in LAYERS"));
            }
            continue;
        };
        let (of_crate, name) = module.rsplit_once('/').expect("a folder");
        let others = LAYERS.iter().filter_map(|(module, _)| module.strip_prefix(of_crate)?.strip_prefix('/'));
        let forbidden: Vec<&str> = others.filter(|other| *other != name && !allowed.contains(other)).collect();
        // Tests may use the whole crate.
        let tested = match path.ends_with("tests.rs") {
            true => 0,
            false => text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len()),
        };
        for (number, line) in text[..tested].lines().enumerate() {
            for other in imported(code(line)).into_iter().filter(|other| forbidden.contains(other)) {
                problems.push(format!("{path}:{}: {name} must not import {other}", number + 1));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Returns whether a line of code names an external crate: its name starts a path and is not a module of this crate.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::"))
        .chain(line.match_indices(&format!("use {name};")))
        .any(|(at, _)| !line[..at].ends_with(|c: char| c == ':' || c == '_' || c.is_alphanumeric()))
}

#[test]
fn external_crates_are_used_only_in_their_modules() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for (name, folder) in CONFINED {
                let allowed = CONFINED.iter().any(|(other, folder)| other == name && path.starts_with(folder));
                if !allowed && !path.ends_with("tests.rs") && names_crate(code(line), name) {
                    problems.push(format!("{path}:{}: {name} belongs in {folder}", number + 1));
                }
            }
            let allowed = UNSAFE.iter().any(|folder| path.starts_with(folder));
            if code(line).contains("unsafe ") && !allowed {
                problems.push(format!("{path}:{}: unsafe code belongs in {UNSAFE:?}", number + 1));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Returns the first argument of a call, given the code after its opening parenthesis, without spaces.
fn first_argument(code: &str) -> &str {
    code.split([',', ')']).next().unwrap_or(code)
}

#[test]
fn a_handler_uses_the_collection_that_it_was_authorized_for() {
    let (mut problems, mut seen) = (Vec::new(), 0);
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("src/grpc/services/")) {
        let text: String = text.lines().map(code).flat_map(str::chars).filter(|c| !c.is_whitespace()).collect();
        for of in ["reads", "writes", "layouts"] {
            let part = format!("engine.{of}(");
            for (at, _) in text.match_indices(&part) {
                let authorized = first_argument(&text[at + part.len()..]);
                let rest = &text[at + part.len() + authorized.len()..];
                // A closure must follow that calls one method, with the name that it gets.
                let call =
                    rest.strip_prefix(&format!(",|{of},name|")).map(|rest| rest.strip_prefix('{').unwrap_or(rest));
                let call = call.and_then(|rest| rest.strip_prefix(&format!("{of}."))?.split_once('('));
                if call.is_none_or(|(_, arguments)| first_argument(arguments) != "name") {
                    let shown: String = rest.chars().take(40).collect();
                    problems.push(format!(
                        "{path}: {part}{authorized}{shown}: call one method in the closure, with the name it gets"
                    ));
                }
                seen += 1;
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen >= 20, "only {seen} calls were found");
}

#[test]
fn every_file_has_a_module_doc() {
    let mut problems: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| format!("{path}: has no module doc on its first line"))
        .collect();
    for folder in ["tests", "benches"] {
        for path in files(&root().join(folder), "rs") {
            if !std::fs::read_to_string(&path).expect("UTF-8 source").starts_with("//!") {
                problems.push(format!("{}: has no module doc on its first line", path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn files_of_over_800_lines_give_a_reason() {
    let problems: Vec<String> = sources()
        .iter()
        .filter(|(path, text)| text.lines().count() > 800 && !path.ends_with("tests.rs"))
        .filter(|(_, text)| {
            !text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains("one file because"))
        })
        .map(|(path, text)| {
            format!("{path}: {} lines, and its module doc does not say \"one file because\"", text.lines().count())
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Returns the texts between backticks in the documents.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn paths_in_the_docs_exist() {
    let mut problems = Vec::new();
    let mut documents = files(&root().join("docs"), "md");
    documents.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("a document");
        for word in quoted(&text) {
            let inside = ["src/", "crates/", "tests/", "docs/", "data/", "proto/", "benches/", ".ci/", "fuzz/"];
            let plain = !word.contains([' ', '*', '<', '{', '\n']);
            if plain && inside.iter().any(|start| word.starts_with(start)) && !root().join(word).exists() {
                problems.push(format!("{}: `{word}` does not exist", document.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn tests_that_the_limits_name_exist() {
    let text = std::fs::read_to_string(root().join("docs/LIMITS.md")).expect("docs/LIMITS.md");
    let mut seen = 0;
    let is_file = |word: &str| ["tests/", "crates/", "src/"].iter().any(|folder| word.starts_with(folder));
    for row in text.lines().filter(|line| line.starts_with('|') && quoted(line).iter().any(|word| is_file(word))) {
        let words = quoted(row);
        let files: Vec<&str> = words.iter().copied().filter(|word| is_file(word)).collect();
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let source: String = files.iter().map(|file| std::fs::read_to_string(root().join(file)).expect(file)).collect();
        for test in quoted(tests) {
            assert!(source.contains(&format!("fn {test}(")), "docs/LIMITS.md: there is no test `{test}` in {files:?}");
            seen += 1;
        }
    }
    assert!(seen >= 25, "only {seen} tests are named");
}

#[test]
fn every_module_is_in_the_architecture() {
    let text = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("docs/ARCHITECTURE.md");
    for (module, _) in LAYERS {
        assert!(text.contains(&format!("`{module}/`")), "docs/ARCHITECTURE.md does not name {module}");
    }
}

/// Returns the README, the other root documents and the guides, concatenated.
fn manual() -> String {
    let mut paths = files(&root().join("docs/guides"), "md");
    paths
        .extend(["README.md", "CONTRIBUTING.md", "docs/README.md", "docs/BENCHMARKS.md"].map(|name| root().join(name)));
    paths.iter().map(|path| std::fs::read_to_string(path).expect("a document") + "\n").collect()
}

#[test]
fn commands_in_the_manual_parse() {
    let text = manual();
    let mut seen = 0;
    let joined = text.replace("\\\n", " ");
    let blocks = joined.split("```").skip(1).step_by(2).filter(|block| block.starts_with("sh\n"));
    for line in blocks.flat_map(str::lines).map(str::trim) {
        let Some(arguments) = line.strip_prefix("nearness ").or_else(|| line.strip_prefix("cargo run --release -- "))
        else {
            continue;
        };
        let words = shell_words(arguments);
        if let Err(error) = nearness::cli::parses(&words) {
            panic!("`{line}` does not parse: {error}");
        }
        seen += 1;
    }
    assert!(seen >= 60, "the manual shows only {seen} commands");
}

#[test]
fn commands_in_the_manual_that_need_a_feature_name_it() {
    let text = manual();
    let needs = [
        "nearness import bert ",
        "nearness import gpt ",
        "nearness import clip ",
        "nearness import dinov2 ",
        "nearness import resnet ",
        "nearness train gpt ",
        "nearness next-token ",
        "nearness embed gpt:",
        " --pieces ",
    ];
    let mut seen = 0;
    for block in text.split("```").skip(1).step_by(2) {
        let in_block = block.lines().any(|line| line.starts_with('#') && line.contains("--features transformers"));
        for line in block.lines().filter(|line| needs.iter().any(|needed| line.contains(needed))) {
            assert!(in_block || line.contains("--features transformers"), "`{line}` does not name its feature");
            seen += 1;
        }
    }
    assert!(seen >= 8, "the manual shows only {seen} commands of that feature");
}

/// Splits a line as a shell does: quotes, comments, pipes. Enough for the README.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#' | '|' | '>' | '&') if word.is_none() => return words,
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_fuzz_target_is_built_and_has_seeds() {
    let folder = root().join("fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("fuzz/Cargo.toml");
    let targets = files(&folder.join("fuzz_targets"), "rs");
    for path in &targets {
        let target = path.file_stem().and_then(|name| name.to_str()).expect("a plain name");
        assert!(manifest.contains(&format!("name = \"{target}\"")), "fuzz/Cargo.toml does not name {target}");
        assert!(std::fs::read_dir(folder.join("seeds").join(target)).is_ok(), "{target} has no seeds");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), targets.len());
}
