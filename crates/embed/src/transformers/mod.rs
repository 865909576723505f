//! Nets in the format of transformers: sentence encoders of the BERT family, GPT-2; CLIP, DINOv2 and
//! residual nets for images.
//!
//! Computation uses candle, so that it can run on a GPU (cargo feature `cuda`). Every file is validated before use.
//! Compiled with the cargo feature `transformers`; without it, loading such a folder returns an error that names
//! the feature.
//!
//! | file | contents |
//! | --- | --- |
//! | `family.rs` | the families |
//! | `folder.rs` | reading of model folders with size limits |
//! | `import.rs` | import of folders of other programs |
//! | `weights.rs` | tensors of a safetensors file, with checked shapes |
//! | `tokens.rs` | text to token ids and back |
//! | `ops.rs` | operations of all families: linear layers, normalization, attention |
//! | `block.rs` | a layer of GPT-2, CLIP and DINOv2 |
//! | `bert.rs` | the BERT family: settings, forward pass, pooling |
//! | `gpt.rs` | GPT-2: settings, forward pass, next-token prediction |
//! | `gpt_embedder.rs` | GPT-2 as a text embedder |
//! | `train.rs` | training of a small GPT-2 |
//! | `length_batches.rs` | batches of texts of about the same length |
//! | `pieces.rs` | subword pieces for word vectors; `pieces_unavailable.rs` without the feature |
//! | `resample.rs` | picture resizing as in Pillow |
//! | `processor.rs` | preprocessing of a picture |
//! | `convolution.rs` | convolutions and pooling |
//! | `vit.rs` | a transformer over the patches of an image |
//! | `clip.rs` | CLIP: an image tower and a text tower |
//! | `dinov2.rs` | DINOv2 |
//! | `resnet.rs` | residual nets |
//! | `image_net.rs` | the interface of the image nets |
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
mod family;
#[cfg(feature = "transformers")]
mod folder;
#[cfg(feature = "transformers")]
mod gpt;
#[cfg(feature = "transformers")]
mod gpt_embedder;
#[cfg(feature = "transformers")]
mod image_embedder;
#[cfg(feature = "transformers")]
mod image_net;
#[cfg(feature = "transformers")]
mod import;
#[cfg(feature = "transformers")]
mod length_batches;
#[cfg(feature = "transformers")]
mod ops;
#[cfg(feature = "transformers")]
mod pieces;
#[cfg(not(feature = "transformers"))]
mod pieces_unavailable;
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
    gpt_embedder::GptEmbedder,
    image_embedder::ImageEmbedder,
    import::import,
    pieces::Pieces,
    train::{TrainOptions, TrainProgress, train},
};

pub use crate::capability::{LanguageModel, NextToken};
pub use family::Family;
#[cfg(not(feature = "transformers"))]
pub use pieces_unavailable::Pieces;

use crate::{Embedder, Error, ModelCard};
use std::{path::Path, sync::Arc};

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
    fn a_folder_of_such_a_family_is_refused_with_the_name_of_the_feature() {
        let folder = tempfile::tempdir().unwrap();
        for family in Family::ALL.map(Family::name) {
            let card = ModelCard { name: "mine".into(), family: family.into(), ..ModelCard::default() };
            std::fs::write(folder.path().join("card.json"), card.to_json()).unwrap();
            let error = Registry::default().add_folder(folder.path()).unwrap_err().to_string();
            assert!(error.contains(family) && error.contains("the cargo feature \"transformers\""), "{error}");
        }
    }
}
