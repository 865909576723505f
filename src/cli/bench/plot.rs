//! The curve as SVG: recall to the right, queries a second upwards on a logarithmic axis.

use super::curve::Point;
use anyhow::anyhow;
use plotters::prelude::*;
use std::path::Path;

/// Width and height.
const SIZE: (u32, u32) = (800, 520);
const LINE: RGBColor = RGBColor(31, 119, 180);

/// Writes the file.
pub(super) fn write(path: &Path, title: &str, k: usize, curve: &[Point]) -> anyhow::Result<()> {
    let mut svg = String::new();
    draw(&mut svg, title, k, curve).map_err(|error| anyhow!("--plot {}: {error}", path.display()))?;
    std::fs::write(path, svg).map_err(|error| anyhow!("--plot {}: {error}", path.display()))
}

fn draw(svg: &mut String, title: &str, k: usize, curve: &[Point]) -> Result<(), Box<dyn std::error::Error>> {
    // Without a point an axis would have no end, and its marks no number.
    if curve.is_empty() || curve.iter().any(|point| !point.qps.is_finite() || !point.recall.is_finite()) {
        return Err("the curve has no points, or points that are not finite".into());
    }
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let least = |value: fn(&Point) -> f64| curve.iter().map(value).fold(f64::INFINITY, f64::min);
    let most = |value: fn(&Point) -> f64| curve.iter().map(value).fold(0.0, f64::max);
    // Room to the left of the lowest recall, in steps of 0.05; never an empty axis.
    let left = ((least(|point| point.recall) * 20.0).floor() / 20.0 - 0.01).clamp(0.0, 0.98);
    let bottom = 10_f64.powf(least(|point| point.qps).max(1.0).log10().floor());
    let top = 10_f64.powf(most(|point| point.qps).max(1.0).log10().ceil()).max(bottom * 10.0);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(left..1.002, (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(format!("recall@{k}"))
        .y_desc("queries a second")
        .x_label_formatter(&|recall| format!("{recall:.3}"))
        .y_label_formatter(&|qps| crate::cli::progress::count(*qps as u64))
        .label_style(("sans-serif", 14))
        .draw()?;
    let places = curve.iter().map(|point| (point.recall, point.qps.max(bottom))).collect::<Vec<_>>();
    chart.draw_series(LineSeries::new(places.iter().copied(), LINE.stroke_width(2)))?;
    chart.draw_series(places.iter().map(|place| Circle::new(*place, 4, LINE.filled())))?;
    chart.draw_series(curve.iter().zip(&places).map(|(point, place)| {
        EmptyElement::at(*place) + Text::new(format!("ef {}", point.ef), (-14, -18), ("sans-serif", 12))
    }))?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(ef: u32, recall: f64, qps: f64) -> Point {
        Point { ef, recall, recall_tie_aware: recall, qps, p50_us: 1.0, p99_us: 2.0, distances: 3.0, passes: 1 }
    }

    #[test]
    fn a_curve_becomes_an_svg_with_every_point() {
        let mut svg = String::new();
        draw(&mut svg, "title here", 10, &[point(10, 0.8, 20_000.0), point(40, 0.99, 5_000.0)]).unwrap();
        for part in ["<svg", "title here", "recall@10", "ef 10", "ef 40", "queries a second"] {
            assert!(svg.contains(part), "{part} is missing");
        }
    }

    #[test]
    fn odd_curves_are_drawn_too() {
        for curve in [vec![point(10, 1.0, 0.0)], vec![point(10, 0.0, 1e7); 3]] {
            draw(&mut String::new(), "", 1, &curve).unwrap();
        }
    }

    #[test]
    fn a_curve_that_cannot_be_drawn_is_refused() {
        for curve in [vec![], vec![point(10, 1.0, f64::INFINITY)], vec![point(10, f64::NAN, 1.0)]] {
            assert!(draw(&mut String::new(), "", 1, &curve).is_err());
        }
    }
}
