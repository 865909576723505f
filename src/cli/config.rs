//! Value parsers of the arguments, and the defaults that are not plain constants.
//!
//! The parsers give a usage error (exit code 2) that names the flag; see `args.rs`.

use crate::api::FieldVector;
use crate::auth::Role;
use crate::types::{CollectionName, Metric, Precision};

/// Default server of client commands, if neither a flag nor the environment names one.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";
/// Environment variable of the server's address.
pub(crate) const SERVER_VARIABLE: &str = "NEARNESS_SERVER";
/// Environment variable of the client's API key or token.
pub(crate) const KEY_VARIABLE: &str = "NEARNESS_KEY";

/// A vector given on the command line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbers(pub(crate) Vec<f32>);

/// Candidate list sizes of a curve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EfList(pub(crate) Vec<u32>);

/// An embedder with an output; an empty output is the embedder's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EmbedderSpec {
    pub(crate) embedder: String,
    pub(crate) output: String,
}

/// A usage error that the parser could not detect; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Parses `1,2,3`, separated by commas or spaces; finite numbers.
pub(crate) fn numbers(text: &str) -> Result<Numbers, String> {
    let parts =
        text.trim().trim_start_matches('[').trim_end_matches(']').split([',', ' ']).filter(|part| !part.is_empty());
    let numbers = parts
        .enumerate()
        .map(|(index, part)| match part.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("component {index} is {part:?}, not a finite number")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if numbers.is_empty() { Err("contains no number".into()) } else { Ok(Numbers(numbers)) }
}

/// Parses `10,20,40`: 1 to 65,536 each; returns them sorted and without duplicates.
pub(crate) fn ef_list(text: &str) -> Result<EfList, String> {
    let mut list = text
        .split(',')
        .map(|part| match part.trim().parse::<u32>() {
            Ok(ef) if (1..=65_536).contains(&ef) => Ok(ef),
            _ => Err(format!("{part:?} is not a number from 1 to 65536")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    list.sort_unstable();
    list.dedup();
    Ok(EfList(list))
}

/// Parses `cosine`, `dot` or `l2`.
pub(crate) fn metric(text: &str) -> Result<Metric, String> {
    Metric::from_name(&text.to_ascii_lowercase())
        .ok_or_else(|| format!("known: {}", Metric::ALL.map(Metric::name).join(", ")))
}

/// Parses a vector of a vector field, as JSON.
pub(crate) fn field_vector(text: &str) -> Result<FieldVector, String> {
    serde_json::from_str(text).map_err(|_| {
        "give a list of numbers, {\"indices\": [...], \"values\": [...]}, or a list of lists of numbers".into()
    })
}

/// Parses the precision of stored components.
pub(crate) fn precision(text: &str) -> Result<Precision, String> {
    Precision::from_name(&text.to_ascii_lowercase())
        .ok_or_else(|| format!("known: {}", Precision::ALL.map(Precision::name).join(", ")))
}

/// Parses `read`, `write` or `admin`.
pub(crate) fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| format!("known: {}", Role::ALL.map(Role::name).join(", ")))
}

/// Parses a collection name.
pub(crate) fn collection_name(text: &str) -> Result<CollectionName, String> {
    CollectionName::new(text).map_err(|error| error.to_string())
}

/// Parses an embedder name. The rules are those of collection names, so that it can precede `:OUTPUT`.
pub(crate) fn embedder_name(text: &str) -> Result<String, String> {
    CollectionName::new(text).map(|name| name.as_str().to_owned()).map_err(|error| error.to_string())
}

/// Parses `EMBEDDER` or `EMBEDDER:OUTPUT`.
pub(crate) fn embedder_spec(text: &str) -> Result<EmbedderSpec, String> {
    let (embedder, output) = text.split_once(':').unwrap_or((text, ""));
    if embedder.is_empty() || (output.is_empty() && text.contains(':')) {
        return Err("expected EMBEDDER or EMBEDDER:OUTPUT".into());
    }
    Ok(EmbedderSpec { embedder: embedder.into(), output: output.into() })
}

/// Parses a whole number above zero.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse::<usize>().ok().filter(|number| *number > 0).ok_or_else(|| "not a whole number above 0".into())
}

/// Parses a number from 0 to 1.
pub(crate) fn fraction(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| (0.0..=1.0).contains(number))
        .ok_or_else(|| "not a number from 0 to 1".into())
}

/// Parses two whole numbers, `3-6`.
pub(crate) fn range(text: &str) -> Result<(usize, usize), String> {
    text.split_once('-')
        .and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)))
        .ok_or_else(|| "not two whole numbers, such as 3-6".into())
}

/// Parses a target recall.
pub(crate) fn target_recall(text: &str) -> Result<f32, String> {
    use crate::api::limits::TARGET_RECALL;
    let invalid = || format!("not a number from {} to {}", TARGET_RECALL.start(), TARGET_RECALL.end());
    text.parse::<f32>().ok().filter(|number| TARGET_RECALL.contains(number)).ok_or_else(invalid)
}

/// Parses a finite number above zero.
pub(crate) fn positive(text: &str) -> Result<f32, String> {
    text.parse::<f32>()
        .ok()
        .filter(|number| *number > 0.0 && number.is_finite())
        .ok_or_else(|| "not a finite number above 0".into())
}

/// Returns the server's address, or the default; prepends `http://` to a bare address.
pub(crate) fn server_url(given: Option<&str>) -> String {
    let url = given.filter(|url| !url.is_empty()).unwrap_or(DEFAULT_SERVER);
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Returns the number of threads: all cores for 0.
pub(crate) fn threads(requested: usize) -> usize {
    if requested == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { requested }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_numbers_with_commas_or_spaces() {
        assert_eq!(numbers("1,-2.5, 3e1"), Ok(Numbers(vec![1.0, -2.5, 30.0])));
        assert_eq!(numbers("[1 2]"), Ok(Numbers(vec![1.0, 2.0])));
        for invalid in ["", "1,nan", "inf", "1;2", "1e99"] {
            assert!(numbers(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn ef_lists_are_sorted_and_bounded() {
        assert_eq!(ef_list("40,10,10"), Ok(EfList(vec![10, 40])));
        for invalid in ["", "0", "10,", "65537", "-1"] {
            assert!(ef_list(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn embedders_may_name_an_output() {
        assert_eq!(embedder_spec("digits:features").map(|t| t.output), Ok("features".into()));
        assert_eq!(embedder_spec("text").map(|t| t.output), Ok(String::new()));
        assert!(embedder_spec(":x").is_err() && embedder_spec("x:").is_err());
    }

    #[test]
    fn a_bare_address_becomes_a_url() {
        assert_eq!(server_url(Some("localhost:1")), "http://localhost:1");
        assert_eq!(server_url(Some("https://h")), "https://h");
    }
}
