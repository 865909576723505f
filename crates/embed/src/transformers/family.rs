//! The families of nets in the format of transformers.

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
