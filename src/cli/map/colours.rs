//! Colours of points: up to ten named groups, or a scale for numbers with many values.

use super::map_data::value_text;
use serde_json::Value;
use std::collections::BTreeMap;

/// Ten colour-blind safe colours (after Okabe & Ito 2008 and Tol 2021), for light and dark backgrounds.
const GROUPS: [&str; 10] =
    ["#4477aa", "#ee6677", "#228833", "#aa8f1e", "#3da5c4", "#aa3377", "#e07b39", "#7a6fd0", "#5f8f6b", "#8c564b"];
/// Colour of points without a value, or in a group beyond the ten largest.
const OTHER: &str = "#999999";
/// Colours from the smallest to the largest value (viridis).
const SCALE: [&str; 9] =
    ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];

/// Colours of points, and the legend.
pub(super) struct Colours {
    /// Each colour with its meaning.
    pub(super) legend: Vec<(&'static str, String)>,
    /// Index into the legend for each point.
    pub(super) of: Vec<usize>,
}

impl Colours {
    /// Assigns colours; a single colour if there are no values.
    pub(super) fn of(points: usize, values: Option<&[Value]>) -> Self {
        let Some(values) = values else {
            return Self { legend: vec![(GROUPS[0], String::new())], of: vec![0; points] };
        };
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        values.iter().filter_map(value_text).for_each(|value| *sizes.entry(value).or_default() += 1);
        let numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
        if sizes.len() > GROUPS.len() && numbers.len() == values.iter().filter(|value| !value.is_null()).count() {
            return Self::scaled(values, &numbers);
        }
        let mut groups: Vec<(usize, String)> = sizes.into_iter().map(|(value, size)| (size, value)).collect();
        groups.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        groups.truncate(GROUPS.len());
        groups.sort_by(|a, b| (a.1.len(), &a.1).cmp(&(b.1.len(), &b.1)));
        let index_of: BTreeMap<&str, usize> =
            groups.iter().enumerate().map(|(at, (_, value))| (value.as_str(), at)).collect();
        let other = groups.len();
        let of: Vec<usize> = values
            .iter()
            .map(|value| value_text(value).and_then(|value| index_of.get(value.as_str()).copied()).unwrap_or(other))
            .collect();
        let mut legend: Vec<(&'static str, String)> =
            GROUPS.into_iter().zip(groups.iter().map(|(_, value)| value.clone())).collect();
        if of.contains(&other) {
            legend.push((OTHER, "other".into()));
        }
        Self { legend, of }
    }

    fn scaled(values: &[Value], numbers: &[f64]) -> Self {
        let min = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let max = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let steps = SCALE.len() as f64;
        let step = |number: f64| (((number - min) / (max - min) * steps) as usize).min(SCALE.len() - 1);
        let of = values.iter().map(|value| value.as_f64().map_or(SCALE.len(), step)).collect::<Vec<_>>();
        let from = |at: usize| format!("from {:.4}", min + (max - min) * at as f64 / steps);
        let mut legend: Vec<(&'static str, String)> = SCALE.into_iter().zip((0..).map(from)).collect();
        if of.contains(&SCALE.len()) {
            legend.push((OTHER, "other".into()));
        }
        Self { legend, of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn groups_are_named_and_numbers_scaled() {
        let plain = Colours::of(3, None);
        assert_eq!((plain.legend.len(), plain.of), (1, vec![0, 0, 0]));
        let values = [json!("b"), json!("a"), json!("b"), Value::Null];
        let named = Colours::of(4, Some(&values));
        assert_eq!(named.legend.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["a", "b", "other"]);
        assert_eq!(named.of, [1, 0, 1, 2]);
        let digits: Vec<Value> = (0..10).rev().map(|digit| json!(digit)).collect();
        assert_eq!(Colours::of(10, Some(&digits)).legend[9].1, "9");
        let many: Vec<Value> = (0..90).map(|at| json!(at as f64 / 2.0)).collect();
        let scaled = Colours::of(90, Some(&many));
        assert_eq!((scaled.of[0], scaled.of[89], scaled.legend.len()), (0, 8, 9));
        let words: Vec<Value> = (0..40).map(|at| json!(format!("w{}", at % 20))).collect();
        let cut = Colours::of(40, Some(&words));
        assert_eq!((cut.legend.len(), cut.of.iter().filter(|at| **at == 10).count()), (11, 20));
    }
}
