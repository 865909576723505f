//! A layout with the displayed properties of its points.

use anyhow::bail;
use serde_json::Value;

/// A layout with the displayed properties of its points.
#[derive(Default)]
pub(super) struct MapData {
    pub(super) total: u64,
    pub(super) dimensions: usize,
    pub(super) ids: Vec<String>,
    /// Values of the colour field and the label field, as far as requested.
    pub(super) fields: Vec<Vec<Value>>,
    pub(super) coordinates: Vec<f32>,
    pub(super) method: String,
    pub(super) seconds: f64,
    pub(super) neighbors_kept: Option<f32>,
}

impl MapData {
    pub(super) fn coordinates_of(&self, point: usize) -> &[f32] {
        &self.coordinates[point * self.dimensions..][..self.dimensions]
    }

    pub(super) fn add_points(&mut self, ids: impl Iterator<Item = String>, fields: Vec<Vec<Value>>) {
        self.ids.extend(ids);
        self.fields.resize(self.fields.len().max(fields.len()), Vec::new());
        self.fields.iter_mut().zip(fields).for_each(|(all, more)| all.extend(more));
    }

    pub(super) fn check(self) -> anyhow::Result<Self> {
        let complete = self.coordinates.len() == self.ids.len() * self.dimensions
            && self.fields.iter().all(|values| values.len() == self.ids.len())
            && self.coordinates.iter().all(|x| x.is_finite());
        if complete { Ok(self) } else { bail!("the layout is incomplete") }
    }
}

/// Formats a payload value; none for null.
pub(super) fn value_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub(in crate::cli::map) fn sample() -> MapData {
        let ids = ["a", "b, \"quoted\"", "</script><img>", "d"];
        let colours = vec![json!("red"), json!("blue"), json!("red"), Value::Null];
        let mut data = MapData { total: 9, dimensions: 2, method: "tsne".into(), ..MapData::default() };
        data.add_points(ids.iter().map(|id| (*id).to_owned()), vec![colours]);
        data.coordinates = vec![0.0, 0.5, -1.0, 1.0, 0.25, 0.25, 1.0, -1.0];
        data
    }

    #[test]
    fn an_incomplete_layout_is_refused() {
        assert!(sample().check().is_ok());
        assert!(MapData { coordinates: vec![0.0; 6], ..sample() }.check().is_err());
        assert!(MapData { fields: vec![vec![]], ..sample() }.check().is_err());
        assert!(MapData { coordinates: vec![f32::NAN; 8], ..sample() }.check().is_err());
    }
}
