//! Nets in the format of transformers: sentence encoders of the BERT family, GPT-2; CLIP, DINOv2 and
//! residual nets for images.
//!
//! Computation uses candle, so that it can run on a GPU (cargo feature `cuda`). Every file is validated before use.
//! Compiled with the cargo feature `transformers`; without it, loading such a folder returns an error that names
//! the feature.
//!
//! | file | contents |
//! | --- | --- |
//! | `folder.rs` | reading of model folders with size limits; import of other formats |
//! | `weights.rs` | tensors of a safetensors file, with checked shapes |
//! | `tokens.rs` | text to token ids and back |
//! | `ops.rs` | operations of all families: linear layers, normalization, attention |
//! | `block.rs` | a layer of GPT-2, CLIP and DINOv2 |
//! | `bert.rs` | the BERT family: settings, forward pass, pooling |
//! | `gpt.rs` | GPT-2: settings, forward pass, next-token prediction |
//! | `gpt_embedder.rs` | GPT-2 as a text embedder |
//! | `train.rs` | training of a small GPT-2 |
//! | `pieces.rs` | subword pieces for word vectors |
//! | `resample.rs` | picture resizing as in Pillow |
//! | `processor.rs` | preprocessing of a picture |
//! | `convolution.rs` | convolutions and pooling |
//! | `vit.rs` | a transformer over the patches of an image |
//! | `clip.rs` | CLIP: an image tower and a text tower |
//! | `dinov2.rs` | DINOv2 |
//! | `resnet.rs` | residual nets |
//! | `image_embedder.rs` | CLIP, DINOv2 and residual nets as embedders |

#[cfg(feature = "transformers")]
mod bert;
#[cfg(feature = "transformers")]
mod block;
#[cfg(feature = "transformers")]
mod clip;
#[cfg(feature = "transformers")]
mod convolution;
#[cfg(feature = "transformers")]
mod dinov2;
#[cfg(feature = "transformers")]
mod folder;
#[cfg(feature = "transformers")]
mod gpt;
#[cfg(feature = "transformers")]
mod gpt_embedder;
#[cfg(feature = "transformers")]
mod image_embedder;
#[cfg(feature = "transformers")]
mod ops;
#[cfg(feature = "transformers")]
mod pieces;
#[cfg(feature = "transformers")]
mod processor;
#[cfg(feature = "transformers")]
mod resample;
#[cfg(feature = "transformers")]
mod resnet;
#[cfg(feature = "transformers")]
mod tokens;
#[cfg(feature = "transformers")]
mod train;
#[cfg(feature = "transformers")]
mod vit;
#[cfg(feature = "transformers")]
mod weights;

#[cfg(feature = "transformers")]
pub use self::{
    bert::BertEmbedder,
    folder::import,
    gpt_embedder::GptEmbedder,
    image_embedder::ImageEmbedder,
    pieces::Pieces,
    train::{TrainOptions, TrainProgress, train},
};

use crate::{Embedder, Error, ModelCard};
use std::{path::Path, sync::Arc};

/// A family of nets that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Sentence encoders: the vector of a text.
    Bert,
    /// Language models: the vector of a text, and next-token prediction.
    Gpt,
    /// Images and texts in one vector space.
    Clip,
    /// Images: a self-supervised transformer.
    Dinov2,
    /// Images: a convolutional residual net.
    Resnet,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 5] = [Self::Bert, Self::Gpt, Self::Clip, Self::Dinov2, Self::Resnet];

    /// `bert`, `gpt`, `clip`, `dinov2` or `resnet`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Gpt => "gpt",
            Self::Clip => "clip",
            Self::Dinov2 => "dinov2",
            Self::Resnet => "resnet",
        }
    }

    /// The family with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// A candidate for the next token, with its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct NextToken {
    /// Its text; bytes that are not valid UTF-8 become the replacement character.
    pub text: String,
    /// Its id.
    pub token: u32,
    /// 0 to 1; the probabilities of all tokens sum to 1.
    pub probability: f32,
}

/// Next-token prediction of a language model.
pub trait LanguageModel: Send + Sync {
    /// The `k` most probable next tokens after `text`, the most probable first.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the text is too long or has no token.
    fn next_tokens(&self, text: &str, k: usize) -> Result<Vec<NextToken>, Error>;
}

/// Loads a model folder of that family.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] for invalid contents; [`Error::NotBuilt`].
#[cfg(feature = "transformers")]
pub fn load(family: Family, folder: &Path, card: ModelCard) -> Result<Arc<dyn Embedder>, Error> {
    Ok(match family {
        Family::Bert => Arc::new(BertEmbedder::load(folder, card)?),
        Family::Gpt => Arc::new(GptEmbedder::load(folder, card)?),
        Family::Clip | Family::Dinov2 | Family::Resnet => Arc::new(ImageEmbedder::load(family, folder, card)?),
    })
}

/// Fails, because the program was built without the feature.
///
/// # Errors
/// [`Error::NotBuilt`].
#[cfg(not(feature = "transformers"))]
pub fn load(family: Family, folder: &Path, _: ModelCard) -> Result<Arc<dyn Embedder>, Error> {
    Err(Error::NotBuilt { path: folder.into(), what: family.name(), feature: "transformers" })
}

/// Subword pieces; uninhabited, because the program was built without the feature.
#[cfg(not(feature = "transformers"))]
pub enum Pieces {}

#[cfg(not(feature = "transformers"))]
impl Pieces {
    /// Fails.
    ///
    /// # Errors
    /// [`Error::InvalidInput`].
    pub fn check(_: usize) -> Result<(), Error> {
        let what = "pieces of words need a program that was built with the cargo feature \"transformers\"";
        Err(Error::InvalidInput(what.into()))
    }
    /// Fails.
    ///
    /// # Errors
    /// [`Error::InvalidInput`].
    pub fn learn(_: &[String], _: &[u64], size: usize) -> Result<Self, Error> {
        Self::check(size).and(Err(Error::Compute("there are no pieces".into())))
    }
    /// Fails.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn parse(path: &Path, _: &[u8]) -> Result<Self, Error> {
        Err(Error::NotBuilt { path: path.into(), what: "words in pieces", feature: "transformers" })
    }
    /// The contents of a `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        match *self {}
    }
    /// The pieces of a word.
    pub fn of(&self, _: &str) -> Vec<String> {
        match *self {}
    }
}

/// The index of a text among the inputs, and its vector.
#[cfg(feature = "transformers")]
type Placed = (usize, Result<Vec<f32>, Error>);

/// Runs `work` on groups of texts of about the same length, on all cores, and returns the results in input order. A
/// group has at most `most_texts` and, including padding, about `most_tokens`.
#[cfg(feature = "transformers")]
fn by_length(
    texts: Vec<Result<Vec<u32>, Error>>,
    most_texts: usize,
    most_tokens: usize,
    work: impl Fn(&[&[u32]]) -> Result<Vec<Vec<f32>>, Error> + Sync,
) -> Vec<Result<Vec<f32>, Error>> {
    use rayon::prelude::*;
    let mut order: Vec<(usize, &[u32])> =
        texts.iter().enumerate().filter_map(|(place, text)| Some((place, text.as_ref().ok()?.as_slice()))).collect();
    // Longest first: they take the most time, and should not start last.
    order.sort_by_key(|(place, text)| (std::cmp::Reverse(text.len()), *place));
    let mut groups: Vec<&[(usize, &[u32])]> = Vec::new();
    let mut rest = order.as_slice();
    while let Some((_, longest)) = rest.first() {
        let (group, more) = rest.split_at((most_tokens / longest.len().max(1)).clamp(1, most_texts).min(rest.len()));
        groups.push(group);
        rest = more;
    }
    let done: Vec<Vec<Placed>> = groups
        .par_iter()
        .map(|group| {
            let texts: Vec<&[u32]> = group.iter().map(|(_, text)| *text).collect();
            match work(&texts) {
                Ok(vectors) if vectors.iter().flatten().any(|x| !x.is_finite()) => group
                    .iter()
                    .map(|(place, _)| (*place, Err(Error::Compute("its vector is not finite".into()))))
                    .collect(),
                Ok(vectors) => group.iter().zip(vectors).map(|((place, _), vector)| (*place, Ok(vector))).collect(),
                Err(error) => {
                    let what = error.to_string();
                    let again = |(place, _): &(usize, &[u32])| (*place, Err(Error::Compute(what.clone())));
                    group.iter().map(again).collect()
                }
            }
        })
        .collect();
    let mut vectors: Vec<Option<Result<Vec<f32>, Error>>> = texts.iter().map(|_| None).collect();
    done.into_iter().flatten().for_each(|(place, vector)| vectors[place] = Some(vector));
    texts
        .into_iter()
        .zip(vectors)
        .map(|(text, vector)| {
            text.and_then(|_| vector.unwrap_or_else(|| Err(Error::Compute("it was left out".into()))))
        })
        .collect()
}

#[cfg(all(test, feature = "transformers"))]
mod tests;

#[cfg(all(test, feature = "transformers"))]
mod image_tests;

#[cfg(all(test, not(feature = "transformers")))]
mod tests_without {
    //! Tests without the feature.
    use super::*;
    use crate::Registry;

    #[test]
    fn a_folder_of_that_kind_is_refused_with_the_name_of_the_feature() {
        let folder = tempfile::tempdir().unwrap();
        for family in Family::ALL.map(Family::name) {
            let card = ModelCard { name: "mine".into(), family: family.into(), ..ModelCard::default() };
            std::fs::write(folder.path().join("card.json"), card.to_json()).unwrap();
            let error = Registry::default().add_folder(folder.path()).unwrap_err().to_string();
            assert!(error.contains(family) && error.contains("the cargo feature \"transformers\""), "{error}");
        }
    }
}
