//! Saved curves in JSON: output of `nearness bench --json`, and files with the curves of several engines.
//!
//! The second format is `{"curves": {NAME: [[recall, qps, ef], ...]}, "build_seconds": {NAME: s}, "bytes": {NAME: b}}`.
//! Other fields are ignored in both.

use super::curve;
use super::measured::Measured;
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// An engine and its curve.
#[derive(Debug)]
pub(in crate::cli) struct Engine {
    pub(in crate::cli) name: String,
    pub(in crate::cli) curve: Vec<Point>,
    pub(in crate::cli) build_seconds: Option<f64>,
    pub(in crate::cli) bytes: Option<u64>,
}

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) struct Point {
    pub(in crate::cli) ef: Option<u32>,
    pub(in crate::cli) recall: f64,
    pub(in crate::cli) qps: f64,
}

impl Engine {
    /// Converts the current measurement.
    pub(super) fn measured(name: &str, measured: &Measured) -> Self {
        let point = |point: &curve::Point| Point { ef: Some(point.ef), recall: point.recall, qps: point.qps };
        Self {
            name: name.into(),
            curve: measured.curve.iter().map(point).collect(),
            build_seconds: measured.build_seconds,
            bytes: Some(measured.resident_bytes).filter(|bytes| *bytes > 0),
        }
    }
}

/// Reads the engines of all files.
pub(in crate::cli) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Engine>> {
    let read: Vec<Vec<Engine>> = paths.iter().map(|path| read(path)).collect::<anyhow::Result<_>>()?;
    Ok(read.into_iter().flatten().collect())
}

fn read(path: &Path) -> anyhow::Result<Vec<Engine>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    parse(&text, &stem).with_context(|| path.display().to_string())
}

fn parse(text: &str, name: &str) -> anyhow::Result<Vec<Engine>> {
    let json: Value = serde_json::from_str(text).context("it is not JSON")?;
    let engines = if let Some(curves) = json["curves"].as_object() {
        let engine = |(name, points): (&String, &Value)| {
            Ok(Engine {
                name: name.clone(),
                curve: points_of(points).with_context(|| format!("the curve of {name}"))?,
                build_seconds: json["build_seconds"][name].as_f64(),
                bytes: json["bytes"][name].as_u64(),
            })
        };
        curves.iter().map(engine).collect::<anyhow::Result<Vec<_>>>()?
    } else {
        let bytes = json["resident_bytes"].as_u64().filter(|bytes| *bytes > 0);
        let curve = points_of(&json["curve"]).context("it has neither \"curves\" nor a valid \"curve\"")?;
        vec![Engine { name: name.into(), curve, build_seconds: json["build_seconds"].as_f64(), bytes }]
    };
    if engines.is_empty() {
        bail!("it has no curve");
    }
    Ok(engines)
}

/// Parses points and sorts them by recall.
fn points_of(list: &Value) -> anyhow::Result<Vec<Point>> {
    let list = list.as_array().context("it is not a list")?;
    let mut points = Vec::with_capacity(list.len());
    for (index, point) in list.iter().enumerate() {
        let part = |name: &str, at: usize| if point.is_array() { &point[at] } else { &point[name] };
        let number = |name: &str, at: usize| {
            part(name, at).as_f64().with_context(|| format!("point {index} has no number for its {name}"))
        };
        let ef = part("ef", 2).as_u64().and_then(|ef| u32::try_from(ef).ok());
        points.push(Point { ef, recall: number("recall", 0)?, qps: number("qps", 1)? });
    }
    points.sort_by(|a, b| a.recall.total_cmp(&b.recall));
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let own = r#"{"build_seconds": 3.5, "resident_bytes": 7, "curve": [{"ef": 20, "recall": 0.9, "qps": 100}, {"ef": 10, "recall": 0.8, "qps": 200.5}]}"#;
        let own = parse(own, "mine").unwrap();
        assert_eq!((own[0].name.as_str(), own[0].build_seconds, own[0].bytes), ("mine", Some(3.5), Some(7)));
        assert_eq!(own[0].curve[0], Point { ef: Some(10), recall: 0.8, qps: 200.5 });
        let several = r#"{"curves": {"a": [[0.5, 10, 4]], "b": [[0.6, 5.0, 8]]}, "build_seconds": {"a": 1.5}, "bytes": {"a": null, "b": 9}}"#;
        let several = parse(several, "x").unwrap();
        assert_eq!(several.iter().map(|engine| engine.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((several[0].build_seconds, several[0].bytes, several[1].bytes), (Some(1.5), None, Some(9)));
        for (invalid, why) in [
            ("nonsense", "not JSON"),
            ("{}", "neither"),
            (r#"{"curves": {}}"#, "no curve"),
            (r#"{"curves": {"a": [[1]]}}"#, "curve of a"),
            (r#"{"curve": [{"recall": 1}]}"#, "neither"),
        ] {
            let error = format!("{:#}", parse(invalid, "x").unwrap_err());
            assert!(error.contains(why), "{invalid}: {error}");
        }
    }
}
