//! A map as SVG: coloured points, a legend, and as many labels as fit without overlapping.

use super::colours::Colours;
use super::map_data::MapData;
use serde_json::Value;
use std::fmt::Write;

const WIDTH: f32 = 1_000.0;
const HEIGHT: f32 = 1_000.0;
/// Height of the title and legend.
const TOP: f32 = 48.0;
const MARGIN: f32 = 24.0;
/// Maximum number of labels, and their font size.
const MAX_LABELS: usize = 150;
const FONT_SIZE: f32 = 11.0;
/// Average width of a letter.
const LETTER_WIDTH: f32 = 0.58 * FONT_SIZE;

/// Escapes text for XML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Returns the complete SVG file.
pub(super) fn svg(title: &str, data: &MapData, labels: &[String], values: Option<&[Value]>) -> String {
    let colours = Colours::of(data.ids.len(), values);
    let max = |axis: usize| (0..data.ids.len()).map(|at| data.coordinates_of(at)[axis].abs()).fold(1e-9, f32::max);
    let scale = ((WIDTH - 2.0 * MARGIN) / (2.0 * max(0))).min((HEIGHT - 2.0 * MARGIN) / (2.0 * max(1)));
    let at = |point: usize| {
        let at = data.coordinates_of(point);
        (WIDTH / 2.0 + at[0] * scale, TOP + HEIGHT / 2.0 - at[1] * scale)
    };
    let size = (160.0 / (data.ids.len().max(1) as f32).sqrt()).clamp(1.2, 7.0);
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" font-family=\"sans-serif\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"16\" fill=\"#222222\">{}: {} points by {}</text>\n",
        HEIGHT + TOP,
        escaped(title),
        escaped(title),
        crate::cli::progress::count(data.ids.len() as u64),
        escaped(&data.method),
    );
    for (group, (colour, _)) in colours.legend.iter().enumerate() {
        let _ = write!(
            svg,
            "<path fill=\"none\" stroke=\"{colour}\" stroke-opacity=\"0.7\" stroke-width=\"{size:.1}\" stroke-linecap=\"round\" d=\""
        );
        for point in (0..data.ids.len()).filter(|&point| colours.of[point] == group) {
            let (x, y) = at(point);
            let _ = write!(svg, "M{x:.1} {y:.1}h0");
        }
        svg += "\"/>\n";
    }
    let mut x = MARGIN;
    for (colour, name) in colours.legend.iter().filter(|(_, name)| !name.is_empty()) {
        let name: String = name.chars().take(24).collect();
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.0}\" cy=\"38\" r=\"5\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"42\" font-size=\"12\" fill=\"#444444\">{}</text>",
            x + 5.0,
            x + 14.0,
            escaped(&name)
        );
        x += 30.0 + name.chars().count() as f32 * 7.0;
    }
    svg += "<g font-size=\"11\" fill=\"#111111\" stroke=\"#ffffff\" stroke-width=\"2.5\" paint-order=\"stroke\">\n";
    for (point, label) in placed_labels(labels, &at) {
        let (x, y) = at(point);
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 4.0, y + 4.0, escaped(&label));
    }
    svg += "</g>\n</svg>\n";
    svg
}

/// Selects labels that do not overlap, beginning with the first points, which are a sample of all.
fn placed_labels(labels: &[String], at: &dyn Fn(usize) -> (f32, f32)) -> Vec<(usize, String)> {
    let mut boxes: Vec<[f32; 4]> = Vec::new();
    let mut placed = Vec::new();
    for (point, label) in labels.iter().enumerate().take(40 * MAX_LABELS) {
        if placed.len() == MAX_LABELS {
            break;
        }
        let label: String = label.chars().take(28).collect();
        let (x, y) = at(point);
        let one = [x, y - FONT_SIZE, x + 6.0 + label.chars().count() as f32 * LETTER_WIDTH, y + FONT_SIZE / 2.0];
        let apart = |other: &[f32; 4]| one[2] < other[0] || other[2] < one[0] || one[3] < other[1] || other[3] < one[1];
        if one[2] < WIDTH && boxes.iter().all(apart) {
            boxes.push(one);
            placed.push((point, label));
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::map::map_data::tests::sample;

    #[test]
    fn every_point_is_drawn_and_text_is_escaped() {
        let data = sample();
        let text = svg("a <b>", &data, &data.ids, Some(&data.fields[0]));
        assert_eq!(text.matches("h0").count(), 4);
        assert!(
            text.contains("a &lt;b&gt;: 4 points by tsne") && text.contains("&lt;/script&gt;&lt;img&gt;"),
            "{text}"
        );
        assert!(!text.contains("<img") && !text.contains("<script"));
        assert!(["red", "blue", "other"].iter().all(|name| text.contains(&format!(">{name}<"))));
    }

    #[test]
    fn labels_do_not_overlap() {
        let labels = vec!["word".to_owned(); 5_000];
        let at = |point: usize| ((point * 37 % 900) as f32, (point * 91 % 900) as f32);
        let placed = placed_labels(&labels, &at);
        assert!(placed.len() == MAX_LABELS && placed[0].0 == 0);
        let close = |a: usize, b: usize| (at(a).0 - at(b).0).abs() < 20.0 && (at(a).1 - at(b).1).abs() < 10.0;
        assert!((1..MAX_LABELS).all(|i| (0..i).all(|j| !close(placed[i].0, placed[j].0))));
        assert_eq!(placed_labels(&labels, &|_| (5.0, 5.0)).len(), 1);
    }
}
