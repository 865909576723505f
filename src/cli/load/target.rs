//! Target collection of a load: an existing one, or the specification of a new one.

use super::args::LoadArgs;
use super::record::FilePosition;
use crate::api::{CollectionSpec, IndexSettings, Item, PointInput, VectorSource};
use crate::cli::config::UsageError;
use crate::collection::Blocks;
use crate::types::Metric;
use anyhow::bail;

/// Properties of an existing collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ExistingCollection {
    /// Its embedder and output; none for plain vectors.
    pub(crate) embedder: Option<(String, String)>,
    pub(crate) metric: Option<Metric>,
    /// Number of components of its vectors.
    pub(crate) dimension: u32,
}

/// Default embedder of images.
const DIGITS: &str = "digits";

/// Command-line value for "no embedder".
const NONE: &str = "none";

/// Whether pixels are stored as vectors: the collection has, or will have, no embedder.
pub(crate) fn reads_pixels_as_vectors(args: &LoadArgs, existing: Option<&ExistingCollection>) -> bool {
    match existing {
        Some(existing) => existing.embedder.is_none(),
        None => args.embedder.as_deref() == Some(NONE),
    }
}

/// Whether only images that may be digits are accepted: the collection has, or will have, the digit net by default.
pub(crate) fn accepts_digits_only(args: &LoadArgs, existing: Option<&ExistingCollection>) -> bool {
    let embedder = match existing {
        Some(existing) => existing.embedder.as_ref().map(|(embedder, _)| embedder.as_str()),
        None => Some(args.embedder.as_deref().unwrap_or(DIGITS)),
    };
    embedder == Some(DIGITS) && args.embedder.is_none()
}

/// Error of a load whose ids are row numbers or paths, and which would change an existing point.
pub(crate) fn id_conflict(position: &FilePosition, reason: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{position}: {reason}. The ids of this load are row numbers or paths, which another file may have used: give \
         --id-prefix to keep the points of both files, or --replace to replace them"
    )
}

/// Checks the arguments against the existing collection.
pub(crate) fn check(args: &LoadArgs, existing: &ExistingCollection) -> Result<(), UsageError> {
    let name = args.collection.as_str();
    if let (Some(requested), Some(current)) = (args.metric, existing.metric)
        && requested != current
    {
        return Err(UsageError(format!(
            "--metric {requested}: the collection {name} exists, and its metric is {current}"
        )));
    }
    if let Some(requested) = &args.embedder {
        let current = existing.embedder.as_ref().map_or(NONE, |(embedder, _)| embedder);
        if requested != current {
            return Err(UsageError(format!(
                "--embedder {requested}: the collection {name} exists, and its embedder is {current}"
            )));
        }
    }
    if let (Some(requested), Some((_, current))) = (&args.output, &existing.embedder)
        && requested != current
    {
        return Err(UsageError(format!(
            "--output {requested}: the collection {name} exists, and its output is {current}"
        )));
    }
    Ok(())
}

/// Returns the specification of the new collection, from the flags and the first item.
pub(crate) fn spec(args: &LoadArgs, first: &Item) -> Result<CollectionSpec, UsageError> {
    let requested = args.embedder.as_deref().filter(|name| *name != NONE);
    let default = match first.source {
        PointInput::Text(_) => Some("text"),
        PointInput::Image(_) => Some(DIGITS),
        PointInput::Vector(_) | PointInput::Embedded { .. } | PointInput::None => None,
    };
    let embedder = match (requested, default, args.embedder.is_some()) {
        (Some(requested), _, _) => Some(requested),
        (None, Some(default), false) => Some(default),
        (None, Some(_), true) => return Err(UsageError("--embedder none: texts and images need an embedder".into())),
        (None, None, _) => None,
    };
    let space = match (embedder, &first.source) {
        (Some(embedder), _) => {
            VectorSource::Embedded { embedder: embedder.into(), output: args.output.clone().unwrap_or_default() }
        }
        (None, PointInput::Vector(vector) | PointInput::Embedded { vector, .. }) => {
            if args.output.is_some() {
                return Err(UsageError("--output: these are plain vectors, without an embedder".into()));
            }
            VectorSource::Plain { dimension: u32::try_from(vector.len()).unwrap_or(u32::MAX) }
        }
        (None, PointInput::None) => return Err(UsageError(
                "the first record has no vector, text or image: create the collection first, with --optional-vectors or --no-vectors".into(),
            )),
        (None, PointInput::Text(_) | PointInput::Image(_)) => {
            return Err(UsageError("texts and images need an embedder".into()));
        }
    };
    let spec = CollectionSpec::new(args.collection.clone(), space).metric(args.metric.unwrap_or(Metric::Cosine)).index(
        IndexSettings::default()
            .m(args.m.unwrap_or(0))
            .ef_construction(args.ef_construction.unwrap_or(0))
            .precision(args.precision.unwrap_or_default()),
    );
    Ok(if args.no_keywords { spec.text_fields([]) } else { spec })
}

/// Returns the text splitting settings, if any.
pub(super) fn blocks(args: &LoadArgs) -> anyhow::Result<Option<Blocks>> {
    let blocks = args.block_words.map(|words| Blocks::new(words).overlap(args.block_overlap));
    if let Some(Blocks { words, overlap, .. }) = blocks.filter(|blocks| blocks.overlap >= blocks.words) {
        bail!(UsageError(format!("--block-overlap {overlap}: must be less than --block-words {words}")));
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::types::PointId;
    use clap::Parser;

    fn args(flags: &str) -> LoadArgs {
        let line = format!("nearness load --data d --collection c f {flags}");
        let Command::Load(args) = Cli::parse_from(line.split_whitespace()).command else { panic!("not load") };
        args
    }

    fn space(flags: &str, source: PointInput) -> Result<VectorSource, String> {
        let item =
            Item { id: PointId::new("a").unwrap(), source, payload: Default::default(), vectors: Default::default() };
        spec(&args(flags), &item).map(|spec| spec.space).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_item_determines_the_vector_source() {
        let embedded = |embedder: &str, output: &str| {
            Ok(VectorSource::Embedded { embedder: embedder.into(), output: output.into() })
        };
        assert_eq!(space("", PointInput::Text("a".into())), embedded("text", ""));
        assert_eq!(space("--embedder words", PointInput::Text("a".into())), embedded("words", ""));
        assert_eq!(space("--output logits", PointInput::Image(vec![])), embedded("digits", "logits"));
        assert_eq!(space("", PointInput::Vector(vec![0.0; 3])), Ok(VectorSource::Plain { dimension: 3 }));
        assert!(space("--embedder none", PointInput::Text("a".into())).is_err());
        assert!(space("--output x", PointInput::Vector(vec![0.0])).is_err());
    }

    #[test]
    fn flags_that_contradict_an_existing_collection_are_refused() {
        let existing = ExistingCollection {
            embedder: Some(("text".into(), "sif".into())),
            metric: Some(Metric::Cosine),
            dimension: 100,
        };
        assert!(check(&args(""), &existing).is_ok());
        assert!(check(&args("--embedder text --metric cosine --output sif"), &existing).is_ok());
        for flags in ["--embedder words", "--embedder none", "--metric l2", "--output other"] {
            assert!(check(&args(flags), &existing).is_err(), "{flags}");
        }
        assert!(reads_pixels_as_vectors(&args("--embedder none"), None));
        assert!(!reads_pixels_as_vectors(&args("--embedder none"), Some(&existing)));
        let digits = ExistingCollection { embedder: Some((DIGITS.into(), "features".into())), ..Default::default() };
        assert!(accepts_digits_only(&args(""), None) && accepts_digits_only(&args(""), Some(&digits)));
        assert!(!accepts_digits_only(&args("--embedder digits"), None));
        assert!(!accepts_digits_only(&args("--embedder clip"), None));
        assert!(!accepts_digits_only(&args(""), Some(&existing)));
    }
}
