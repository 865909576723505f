//! Nets from a folder of transformers: sentence encoders of the BERT family, GPT-2; CLIP, DINOv2 and residual nets for images.
//!
//! The arithmetic is candle's, so that a GPU can do it (cargo feature `cuda`); everything in a folder is checked before it
//! is used. Compiled with the cargo feature `transformers`: without it such a folder is refused with an error that says so.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `folder.rs` | the files of a model folder, read within bounds; what is imported from elsewhere |
//! | `weights.rs` | tensors of a safetensors file, of the shapes that the settings ask for |
//! | `tokens.rs` | text to token numbers and back |
//! | `ops.rs` | what all families compute with: linear layers, normalisation, attention |
//! | `block.rs` | a layer of GPT-2, CLIP and DINOv2 |
//! | `bert.rs` | the BERT family: settings, forward pass, pooling |
//! | `gpt.rs` | GPT-2: settings, forward pass, the next token |
//! | `gpt_embedder.rs` | GPT-2 as an embedder of texts |
//! | `train.rs` | trains a small GPT-2 |
//! | `pieces.rs` | words cut into pieces, for word vectors |
//! | `resample.rs` | resizes pictures as Pillow does |
//! | `processor.rs` | from a picture to the numbers that a net sees |
//! | `convolution.rs` | convolutions and pooling |
//! | `vit.rs` | a transformer over an image's patches |
//! | `clip.rs` | CLIP: a tower for images and one for texts |
//! | `dinov2.rs` | DINOv2 |
//! | `resnet.rs` | residual nets |
//! | `image_embedder.rs` | those three as embedders |

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

/// A kind of net that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Sentence encoders: the vector of a whole text.
    Bert,
    /// Language models: the vector of the text so far, and what comes next.
    Gpt,
    /// Images and texts in one space.
    Clip,
    /// Images, by a transformer that was taught without labels.
    Dinov2,
    /// Images, by a residual net of convolutions.
    Resnet,
}

impl Family {
    /// All of them.
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

    /// The family that a card names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// A token, and how probable it is as the next one.
#[derive(Clone, Debug, PartialEq)]
pub struct NextToken {
    /// Its text; what is not UTF-8 on its own shows as the replacement character.
    pub text: String,
    /// Its number.
    pub token: u32,
    /// 0 to 1; those of all tokens add up to 1.
    pub probability: f32,
}

/// What a language model says beside vectors.
pub trait LanguageModel: Send + Sync {
    /// The `k` most probable next tokens after `text`, the most probable first.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the text is too long or has no token.
    fn next_tokens(&self, text: &str, k: usize) -> Result<Vec<NextToken>, Error>;
}

/// Loads a model folder whose card names a family.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] for whatever in the folder is not as it must be; [`Error::NotBuilt`].
#[cfg(feature = "transformers")]
pub fn load(family: Family, folder: &Path, card: ModelCard) -> Result<Arc<dyn Embedder>, Error> {
    Ok(match family {
        Family::Bert => Arc::new(BertEmbedder::load(folder, card)?),
        Family::Gpt => Arc::new(GptEmbedder::load(folder, card)?),
        Family::Clip | Family::Dinov2 | Family::Resnet => Arc::new(ImageEmbedder::load(family, folder, card)?),
    })
}

/// Refuses: the program was built without the feature.
///
/// # Errors
/// [`Error::NotBuilt`].
#[cfg(not(feature = "transformers"))]
pub fn load(family: Family, folder: &Path, _: ModelCard) -> Result<Arc<dyn Embedder>, Error> {
    Err(Error::NotBuilt { path: folder.into(), what: family.name(), feature: "transformers" })
}

/// How words are cut into pieces; the program was built without the feature, so there is none.
#[cfg(not(feature = "transformers"))]
pub enum Pieces {}

#[cfg(not(feature = "transformers"))]
impl Pieces {
    /// Refuses.
    ///
    /// # Errors
    /// [`Error::InvalidInput`].
    pub fn check(_: usize) -> Result<(), Error> {
        let what = "pieces of words need a program that was built with the cargo feature \"transformers\"";
        Err(Error::InvalidInput(what.into()))
    }
    /// Refuses.
    ///
    /// # Errors
    /// [`Error::InvalidInput`].
    pub fn learn(_: &[String], _: &[u64], size: usize) -> Result<Self, Error> {
        Self::check(size).and(Err(Error::Compute("there are no pieces".into())))
    }
    /// Refuses.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn parse(path: &Path, _: &[u8]) -> Result<Self, Error> {
        Err(Error::NotBuilt { path: path.into(), what: "words in pieces", feature: "transformers" })
    }
    /// As a `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        match *self {}
    }
    /// The pieces of a word.
    pub fn of(&self, _: &str) -> Vec<String> {
        match *self {}
    }
}

/// A text's place among those asked, and its vector.
#[cfg(feature = "transformers")]
type Placed = (usize, Result<Vec<f32>, Error>);

/// Runs `work` on groups of texts of about the same length, on all cores, and puts the results in the order of the texts.
/// A group has at most `most_texts` and, padded to its longest, about `most_tokens`.
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
    // The longest first: they take the longest, and nobody should wait for one that was begun last.
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
    //! Without the feature.
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
