//! The activations of every layer for one image, to show how the net computes its answer.

use super::model::{BLOCK, DigitNet, FIRST, POOLED1, POOLED2, SECOND, layers_of};
use super::{CLASSES, FEATURES, SIDE, image, layers, layers::Convolution};
use crate::{
    Error,
    capability::{Activation, DigitClassifier},
};

fn feature_maps(name: &'static str, about: &'static str, side: usize, values: Vec<f32>) -> Activation {
    Activation { name, about, channels: values.len() / (side * side), rows: side, columns: side, values }
}

fn vector_layer(name: &'static str, about: &'static str, values: Vec<f32>) -> Activation {
    Activation { name, about, channels: values.len(), rows: 1, columns: 1, values }
}

/// `result` plus the bias of each channel, before and after the ReLU.
fn add_bias(result: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let picture = result.len() / bias.len();
    let feature_maps = result.chunks_exact(picture).zip(bias);
    let before: Vec<f32> = feature_maps.flat_map(|(cells, bias)| cells.iter().map(move |cell| cell + bias)).collect();
    let mut after = before.clone();
    layers::relu(&mut after);
    (before, after)
}

impl DigitNet {
    /// The preprocessed image, then the output of each layer down to the probabilities. The last three are
    /// bit-identical to the vectors of the output layers.
    ///
    /// # Errors
    /// As [`DigitNet::probabilities`].
    pub fn activations(&self, image: &[u8]) -> Result<Vec<Activation>, Error> {
        let pixels = image::prepare(image)?;
        let net = layers_of(self.weights());
        let mut patches = vec![0.0; Convolution::<20, 50, 12, 8>::PATCHES];
        let mut choice = vec![0; POOLED1];

        let mut result1 = vec![0.0; Convolution::<1, 20, 28, 24>::RESULT];
        let mut pooled1 = vec![0.0; POOLED1];
        FIRST.gather(&pixels, 1, &mut patches);
        FIRST.forward(net.convolution1.0, &patches, 1, &mut result1);
        FIRST.pool(&result1, net.convolution1.1, 1, &mut pooled1, &mut choice);
        let (convolution1, ramp1) = add_bias(&result1, net.convolution1.1);

        let mut result2 = vec![0.0; Convolution::<20, 50, 12, 8>::RESULT];
        let mut pooled2 = vec![0.0; BLOCK * POOLED2];
        SECOND.gather(&pooled1, 1, &mut patches);
        SECOND.forward(net.convolution2.0, &patches, 1, &mut result2);
        SECOND.pool(&result2, net.convolution2.1, 1, &mut pooled2, &mut choice);
        let (convolution2, ramp2) = add_bias(&result2, net.convolution2.1);

        // A full block, because a product of another shape differs in the last bits.
        let (mut linear1, mut logits) = (vec![0.0; BLOCK * FEATURES], vec![0.0; BLOCK * CLASSES]);
        layers::linear(&pooled2, net.linear1.0, net.linear1.1, BLOCK, &mut linear1);
        let mut features = linear1.clone();
        layers::relu(&mut features);
        layers::linear(&features, net.linear2.0, net.linear2.1, BLOCK, &mut logits);
        pooled2.truncate(POOLED2);
        linear1.truncate(FEATURES);
        features.truncate(FEATURES);
        logits.truncate(CLASSES);
        let mut probabilities = logits.clone();
        layers::softmax(&mut probabilities);

        Ok(vec![
            feature_maps("image", "28 x 28 numbers, 0 background to 1 ink", SIDE, pixels.to_vec()),
            feature_maps("convolution1", "one feature map per 5 x 5 kernel", 24, convolution1),
            feature_maps("ramp1", "ReLU: negative values become 0", 24, ramp1),
            feature_maps("pool1", "of each 2 x 2 the largest", 12, pooled1),
            feature_maps("convolution2", "one feature map per kernel over all 20 maps before", 8, convolution2),
            feature_maps("ramp2", "ReLU: negative values become 0", 8, ramp2),
            feature_maps("pool2", "of each 2 x 2 the largest", 4, pooled2),
            vector_layer("linear1", "500 sums over all 800 numbers before", linear1),
            vector_layer("features", "after the ReLU; the vector of the digit", features),
            vector_layer("logits", "one number a digit, before the softmax", logits),
            vector_layer("probabilities", "probability of each digit, after the softmax", probabilities),
        ])
    }
}

impl DigitClassifier for DigitNet {
    fn probabilities(&self, image: &[u8]) -> Result<[f32; CLASSES], Error> {
        self.probabilities(image)
    }

    fn activations(&self, image: &[u8]) -> Result<Vec<Activation>, Error> {
        self.activations(image)
    }
}
