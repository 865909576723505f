//! A map as one self-contained HTML page that loads nothing from other hosts.

use super::colours::Colours;
use super::map_data::MapData;
use super::svg::escaped;
use serde_json::{Value, json};

/// The page, with a placeholder for the data.
const PAGE: &str = include_str!("page.html");

/// Returns the complete HTML file.
pub(super) fn page(
    title: &str,
    data: &MapData,
    labels: &[String],
    values: Option<&[Value]>,
    colour: Option<&str>,
) -> String {
    let colours = Colours::of(data.ids.len(), values);
    // Four digits exceed the resolution of a screen.
    let coordinates: Vec<f64> = data.coordinates.iter().map(|x| (f64::from(*x) * 1e4).round() / 1e4).collect();
    let data = json!({
        "title": title,
        "dimensions": data.dimensions,
        "method": data.method,
        "field": colour.unwrap_or_default(),
        "legend": colours.legend,
        "groups": colours.of,
        "labels": labels,
        "coordinates": coordinates,
    });
    // The script must not contain its own end tag.
    let data = data.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    PAGE.replace("{{title}}", &escaped(title)).replace("{{data}}", &data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::map::map_data::tests::sample;

    #[test]
    fn the_page_contains_its_data_and_loads_nothing() {
        let data = sample();
        let page = page("</title><script>x", &data, &data.ids, Some(&data.fields[0]), Some("colour"));
        let start = page.find("application/json\">").unwrap() + "application/json\">".len();
        let end = start + page[start..].find("</script>").unwrap();
        let data: Value = serde_json::from_str(&page[start..end]).unwrap();
        assert_eq!((data["labels"][2].as_str(), &data["groups"]), (Some("</script><img>"), &json!([0, 1, 0, 2])));
        assert_eq!(data["coordinates"], json!([0.0, 0.5, -1.0, 1.0, 0.25, 0.25, 1.0, -1.0]));
        assert!(!page.contains("<script>x") && !page.contains("<img>"));
        assert!(page.contains("default-src 'none'") && !page.contains("http://") && !page.contains("https://"));
        assert!(!page.contains("{{"));
    }
}
