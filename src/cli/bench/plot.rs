//! Plots of recall (x axis) against queries per second (y axis, logarithmic), with one colour and marker per engine.
//! With several engines, bars below the curves show the build time and the memory of each.

use super::results::Engine;
use crate::cli::picture;
use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// Width, and heights of the curves and of the bars, pixels.
const WIDTH: u32 = 860;
const CURVES: u32 = 540;
const BARS: u32 = 240;
/// Colour-blind safe colours (Tol 2021, "bright" and "muted").
const COLOURS: [RGBColor; 8] = [
    RGBColor(68, 119, 170),
    RGBColor(238, 102, 119),
    RGBColor(34, 136, 51),
    RGBColor(170, 51, 119),
    RGBColor(204, 153, 0),
    RGBColor(61, 165, 196),
    RGBColor(85, 85, 85),
    RGBColor(224, 123, 57),
];

type Failure = Box<dyn std::error::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes the plot.
pub(in crate::cli) fn write(path: &Path, title: &str, k: usize, engines: &[Engine]) -> anyhow::Result<()> {
    let mut svg = String::new();
    draw(&mut svg, title, k, engines).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    picture::write(path, &svg)
}

fn draw(svg: &mut String, title: &str, k: usize, engines: &[Engine]) -> Result<(), Failure> {
    let points = || engines.iter().flat_map(|engine| &engine.curve);
    // Without a finite point the axes would have no range.
    if points().next().is_none() || points().any(|point| !point.qps.is_finite() || !point.recall.is_finite()) {
        return Err("the curve has no points, or points that are not finite".into());
    }
    let bars: Vec<(&str, Vec<(usize, f64)>)> = [
        ("build, s", values(engines, |engine| engine.build_seconds)),
        ("index, MB", values(engines, |engine| engine.bytes.map(|bytes| bytes as f64 / 1e6))),
    ]
    .into_iter()
    .filter(|(_, values)| values.len() > 1)
    .collect();
    let height = CURVES + if bars.is_empty() { 0 } else { BARS };
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(CURVES);
    curves(&above, title, k, engines)?;
    for ((what, values), area) in bars.iter().zip(below.split_evenly((1, bars.len().max(1)))) {
        bar_chart(&area, what, engines, values)?;
    }
    root.present()?;
    Ok(())
}

fn values(engines: &[Engine], value: impl Fn(&Engine) -> Option<f64>) -> Vec<(usize, f64)> {
    let finite = |value: &f64| value.is_finite() && *value >= 0.0;
    engines.iter().enumerate().filter_map(|(at, engine)| Some((at, value(engine).filter(finite)?))).collect()
}

fn colour(at: usize) -> RGBColor {
    COLOURS[at % COLOURS.len()]
}

fn curves(area: &Area<'_>, title: &str, k: usize, engines: &[Engine]) -> Result<(), Failure> {
    let points = || engines.iter().flat_map(|engine| &engine.curve);
    let min = |value: fn(&super::results::Point) -> f64| points().map(value).fold(f64::INFINITY, f64::min);
    // Margin to the left of the lowest recall, in steps of 0.05; the axis is never empty.
    let left = ((min(|point| point.recall) * 20.0).floor() / 20.0 - 0.01).clamp(0.0, 0.98);
    let bottom = 10_f64.powf(min(|point| point.qps).max(1.0).log10().floor());
    let max = points().map(|point| point.qps).fold(0.0, f64::max);
    let top = 10_f64.powf(max.max(1.0).log10().ceil()).max(bottom * 10.0);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(left..1.002, (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(format!("recall@{k}"))
        .y_desc("queries per second")
        .x_label_formatter(&|recall| format!("{recall:.3}"))
        .y_label_formatter(&|qps| crate::cli::progress::count(*qps as u64))
        .label_style(("sans-serif", 14))
        .light_line_style(BLACK.mix(0.06))
        .bold_line_style(BLACK.mix(0.14))
        .draw()?;
    for (at, engine) in engines.iter().enumerate() {
        let line = colour(at);
        let points: Vec<(f64, f64)> = engine.curve.iter().map(|point| (point.recall, point.qps.max(bottom))).collect();
        let drawn = chart.draw_series(LineSeries::new(points.iter().copied(), line.stroke_width(2)))?;
        if !engine.name.is_empty() {
            let name = drawn.label(engine.name.as_str());
            name.legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], line.stroke_width(3)));
        }
        // One marker per engine, for greyscale prints.
        match at % 3 {
            0 => chart.draw_series(points.iter().map(|point_at| Circle::new(*point_at, 4, line.filled())))?,
            1 => chart.draw_series(points.iter().map(|point_at| TriangleMarker::new(*point_at, 5, line.filled())))?,
            _ => chart.draw_series(points.iter().map(|point_at| Cross::new(*point_at, 4, line.stroke_width(2))))?,
        };
        if engines.len() == 1 {
            let named = engine.curve.iter().zip(&points).filter_map(|(point, point_at)| Some((point.ef?, *point_at)));
            chart.draw_series(named.map(|(ef, point_at)| {
                EmptyElement::at(point_at) + Text::new(format!("ef {ef}"), (-14, -18), ("sans-serif", 12))
            }))?;
        }
    }
    if engines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.2))
            .label_font(("sans-serif", 14))
            .draw()?;
    }
    Ok(())
}

fn bar_chart(area: &Area<'_>, what: &str, engines: &[Engine], values: &[(usize, f64)]) -> Result<(), Failure> {
    let max = values.iter().map(|(_, value)| *value).fold(1e-9, f64::max);
    let rows = values.len();
    let mut chart = ChartBuilder::on(area)
        .caption(what, ("sans-serif", 16))
        .margin(12)
        .margin_right(70)
        .x_label_area_size(24)
        .y_label_area_size(96)
        .build_cartesian_2d(0.0..max * 1.02, 0.0..rows as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_labels(4)
        .x_label_formatter(&|x| crate::cli::progress::count(*x as u64))
        .label_style(("sans-serif", 12))
        .light_line_style(BLACK.mix(0.0))
        .bold_line_style(BLACK.mix(0.14))
        .draw()?;
    // The first engine on top.
    let row = |at: usize| (rows - 1 - at) as f64;
    chart.draw_series(values.iter().enumerate().map(|(at, (engine, value))| {
        Rectangle::new([(0.0, row(at) + 0.15), (*value, row(at) + 0.85)], colour(*engine).filled())
    }))?;
    chart.draw_series(values.iter().enumerate().map(|(at, (_, value))| {
        let text = if *value < 10.0 { format!("{value:.1}") } else { crate::cli::progress::count(*value as u64) };
        EmptyElement::at((*value, row(at) + 0.5)) + Text::new(text, (5, -6), ("sans-serif", 12))
    }))?;
    chart.draw_series(values.iter().enumerate().map(|(at, (engine, _))| {
        let name: String = engines[*engine].name.chars().take(14).collect();
        let aside = -(name.chars().count() as i32) * 7 - 6;
        EmptyElement::at((0.0, row(at) + 0.5)) + Text::new(name, (aside, -6), ("sans-serif", 12))
    }))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::results::Point;
    use super::*;

    fn engine(name: &str, curve: &[(u32, f64, f64)]) -> Engine {
        let curve = curve.iter().map(|&(ef, recall, qps)| Point { ef: Some(ef), recall, qps }).collect();
        Engine { name: name.into(), curve, build_seconds: None, bytes: None }
    }

    #[test]
    fn a_curve_becomes_an_svg_with_every_point() {
        let mut svg = String::new();
        draw(&mut svg, "title here", 10, &[engine("", &[(10, 0.8, 20_000.0), (40, 0.99, 5_000.0)])]).unwrap();
        for part in ["<svg", "title here", "recall@10", "ef 10", "ef 40", "queries per second"] {
            assert!(svg.contains(part), "{part} is missing");
        }
        assert!(!svg.contains("build"), "one engine has nothing to be compared with");
    }

    #[test]
    fn engines_are_drawn_beside_each_other_with_bars() {
        let ours = Engine { build_seconds: Some(12.5), bytes: Some(40_000_000), ..engine("ours", &[(10, 0.9, 900.0)]) };
        let other = Engine { build_seconds: Some(31.0), ..engine("other <x>", &[(10, 0.8, 2_000.0)]) };
        let mut svg = String::new();
        draw(&mut svg, "t", 10, &[ours, other]).unwrap();
        for part in ["ours", "other &lt;x&gt;", "build, s", "31", "12"] {
            assert!(svg.contains(part), "{part} is missing in {svg}");
        }
        assert!(!svg.contains("index, MB"), "one number makes no bars");
        assert!(!svg.contains("ef 10"), "marks of several curves would hide each other");
    }

    #[test]
    fn extreme_curves_are_drawn() {
        for curve in [vec![(10, 1.0, 0.0)], vec![(10, 0.0, 1e7); 3]] {
            draw(&mut String::new(), "", 1, &[engine("", &curve)]).unwrap();
        }
    }

    #[test]
    fn a_curve_that_cannot_be_drawn_is_refused() {
        for curve in [vec![], vec![(10, 1.0, f64::INFINITY)], vec![(10, f64::NAN, 1.0)]] {
            assert!(draw(&mut String::new(), "", 1, &[engine("", &curve)]).is_err());
        }
        assert!(draw(&mut String::new(), "", 1, &[]).is_err());
    }
}
