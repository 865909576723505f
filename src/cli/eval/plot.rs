//! Plots of a digit net: the confusion matrix, and the learning curve from the model card.

use crate::cli::picture;
use anyhow::anyhow;
use plotters::prelude::*;
use serde_json::Value;
use std::path::Path;

const SIDE: u32 = 560;
const CURVE: u32 = 300;
const INK: RGBColor = RGBColor(68, 119, 170);
const LOSS: RGBColor = RGBColor(238, 102, 119);

type Failure = Box<dyn std::error::Error>;

/// Measurements after each epoch.
#[derive(Default)]
pub(super) struct LearningCurve {
    /// Mean cross-entropy of the training images.
    loss: Vec<f64>,
    /// Error rate on the test images.
    error: Vec<f64>,
}

impl LearningCurve {
    /// Reads the measurements of a model card.
    pub(super) fn of(quality: &serde_json::Map<String, Value>) -> Self {
        let numbers = |name: &str| -> Vec<f64> {
            let list = quality.get(name).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_f64).filter(|x| x.is_finite() && *x >= 0.0).collect()
        };
        let accuracy = numbers("test_accuracy_after_each_epoch");
        let error = accuracy.iter().map(|accuracy| (1.0 - accuracy).max(0.0)).collect();
        Self { loss: numbers("training_loss_after_each_epoch"), error }
    }

    fn is_empty(&self) -> bool {
        self.loss.is_empty() && self.error.is_empty()
    }
}

/// Writes the plot.
pub(super) fn write(
    path: &Path,
    title: &str,
    confusion: &[[u64; 10]; 10],
    learned: &LearningCurve,
) -> anyhow::Result<()> {
    let mut svg = String::new();
    draw(&mut svg, title, confusion, learned).map_err(|error| anyhow!("--plot {}: {error}", path.display()))?;
    picture::write(path, &svg)
}

fn draw(svg: &mut String, title: &str, confusion: &[[u64; 10]; 10], learned: &LearningCurve) -> Result<(), Failure> {
    let height = SIDE + if learned.is_empty() { 0 } else { CURVE };
    let root = SVGBackend::with_string(svg, (SIDE, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(SIDE);
    let mut chart = ChartBuilder::on(&above)
        .caption(title, ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..10.0, 0.0..10.0)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc("predicted digit")
        .y_desc("true digit")
        .x_labels(0)
        .y_labels(0)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (digit, row) in confusion.iter().enumerate() {
        let all = row.iter().sum::<u64>().max(1) as f64;
        let bottom = 9.0 - digit as f64;
        for (predicted, &count) in row.iter().enumerate() {
            let (left, share) = (predicted as f64, count as f64 / all);
            // Even a rate of 1/1000 must be visible.
            let shade = if count == 0 { 0.02 } else { 0.12 + 0.88 * share.sqrt() };
            let cell = [(left + 0.03, bottom + 0.03), (left + 0.97, bottom + 0.97)];
            chart.draw_series([Rectangle::new(cell, INK.mix(shade).filled())])?;
            if count > 0 {
                let text = count.to_string();
                let aside = -(text.len() as i32 * 7) / 2;
                let style = ("sans-serif", 13).into_font().color(if shade > 0.55 { &WHITE } else { &BLACK });
                let middle = (left + 0.5, bottom + 0.5);
                chart.draw_series([EmptyElement::at(middle) + Text::new(text, (aside, -6), style)])?;
            }
        }
        let name = |x: f64, y: f64, aside: (i32, i32)| {
            EmptyElement::at((x, y)) + Text::new(digit.to_string(), aside, ("sans-serif", 14))
        };
        chart.draw_series([name(0.0, bottom + 0.5, (-14, -7)), name(digit as f64 + 0.5, 0.0, (-4, 5))])?;
    }
    if !learned.is_empty() {
        curve(&below, learned)?;
    }
    root.present()?;
    Ok(())
}

fn curve(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, learned: &LearningCurve) -> Result<(), Failure> {
    let epochs = learned.loss.len().max(learned.error.len());
    let all = || learned.loss.iter().chain(&learned.error).copied();
    let min = all().filter(|x| *x > 0.0).fold(f64::INFINITY, f64::min).clamp(1e-6, 1.0);
    let (bottom, top) = (min / 1.5, (all().fold(0.0, f64::max) * 1.5).max(min * 2.0));
    // 1, 2 and 5 of every power of ten: an error that only halves also needs ticks.
    let marks = (-7..=6).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    let marks = marks.filter(|mark| (bottom..top).contains(mark)).collect();
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.8..epochs as f64 + 0.2, (bottom..top).log_scale().with_key_points(marks))?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_labels(epochs.min(12))
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .y_label_formatter(&|y| format!("{y:.4}"))
        .label_style(("sans-serif", 14))
        .light_line_style(BLACK.mix(0.0))
        .bold_line_style(BLACK.mix(0.14))
        .draw()?;
    for (name, values, colour) in
        [("loss on the training images", &learned.loss, LOSS), ("error on the test images", &learned.error, INK)]
    {
        if values.is_empty() {
            continue;
        }
        let points = || (1..).map(f64::from).zip(values.iter().map(|value| value.max(bottom)));
        chart
            .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3)));
        chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_matrix_and_the_curves_are_drawn() {
        let mut confusion = [[0_u64; 10]; 10];
        (0..10).for_each(|digit| confusion[digit][digit] = 900 + digit as u64);
        confusion[4][9] = 7;
        let card = json!({"test_accuracy_after_each_epoch": [0.9, 0.99, 1.0], "training_loss_after_each_epoch": [0.5, 0.1, 0.05]});
        let learned = LearningCurve::of(card.as_object().unwrap());
        assert_eq!((learned.loss.len(), learned.error.len()), (3, 3));
        let mut svg = String::new();
        draw(&mut svg, "99.9 %", &confusion, &learned).unwrap();
        for part in
            ["99.9 %", "904", ">\n7\n<", "predicted digit", "error on the test images", "loss on the training images"]
        {
            assert!(svg.contains(part), "{part} is missing in {svg}");
        }
        let mut without = String::new();
        draw(&mut without, "", &[[0; 10]; 10], &LearningCurve::default()).unwrap();
        assert!(!without.contains("epoch"));
        let zero = LearningCurve { error: vec![0.0], loss: vec![] };
        draw(&mut String::new(), "", &confusion, &zero).unwrap();
    }
}
