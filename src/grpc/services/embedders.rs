//! The service `Embedders`: direct access to the models, without a collection.

use crate::api::{CancellationToken, Error};
use crate::embed::transformers::NextToken;
use crate::embed::{self, Embedder, Input, embed_in_chunks};
use crate::grpc::authorized_engine::AuthorizedEngine;
use crate::grpc::convert::from_proto::{self, EmbedInput};
use crate::grpc::convert::to_proto;
use crate::grpc::executor::{Executor, Pool, ServiceState};
use crate::grpc::pb;
use crate::grpc::status::{IntoStatus, OrStatus};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct Embedders(pub(crate) Arc<ServiceState>);

#[tonic::async_trait]
impl pb::embedders_server::Embedders for Embedders {
    async fn list(
        &self,
        request: Request<pb::ListEmbeddersRequest>,
    ) -> Result<Response<pb::ListEmbeddersResponse>, Status> {
        let executor = self.0.executor(&request);
        let list = |engine: &AuthorizedEngine<'_>| {
            Ok::<_, Error>(
                engine.embedders().current().iter().map(|one| to_proto::embedder(&one.as_ref().into())).collect(),
            )
        };
        let embedders = executor.run(Pool::Compute, list).await?;
        executor.response(pb::ListEmbeddersResponse { embedders })
    }

    async fn get(&self, request: Request<pb::GetEmbedderRequest>) -> Result<Response<pb::GetEmbedderResponse>, Status> {
        let executor = self.0.executor(&request);
        let name = request.into_inner().name;
        let call = move |engine: &AuthorizedEngine<'_>| {
            Ok::<_, Error>(to_proto::embedder(&named(engine, "name", &name, "")?.as_ref().into()))
        };
        let embedder = executor.run(Pool::Compute, call).await?;
        executor.response(pb::GetEmbedderResponse { embedder: Some(embedder) })
    }

    async fn embed(&self, request: Request<pb::EmbedRequest>) -> Result<Response<pb::EmbedResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let inputs = from_proto::inputs(request.inputs).or_status()?;
        let limit = executor.clone();
        let call =
            move |engine: &AuthorizedEngine<'_>| embed(engine, &limit, &request.embedder, &request.output, &inputs);
        let response = executor.run(Pool::Embed, call).await?;
        executor.response(response)
    }

    async fn classify(&self, request: Request<pb::ClassifyRequest>) -> Result<Response<pb::ClassifyResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let image = from_proto::image(&"image", &request.image).or_status()?;
        let call = move |engine: &AuthorizedEngine<'_>| {
            let embedder = named(engine, "embedder", &request.embedder, "digits")?;
            let net = embedder.digit_net().ok_or_else(|| cannot(embedder.as_ref(), "is not a classifier"))?;
            let probabilities = net.probabilities(&image).map_err(|source| at("image", source))?;
            let class =
                |(class, probability): (usize, f32)| pb::ClassProbability { label: class.to_string(), probability };
            Ok::<_, Error>(pb::ClassifyResponse {
                classes: probabilities.into_iter().enumerate().map(class).collect(),
                embedder_fingerprint: embedder.fingerprint().to_string(),
            })
        };
        let response = executor.run(Pool::Embed, call).await?;
        executor.response(response)
    }

    async fn activations(
        &self,
        request: Request<pb::ActivationsRequest>,
    ) -> Result<Response<pb::ActivationsResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let image = from_proto::image(&"image", &request.image).or_status()?;
        let call = move |engine: &AuthorizedEngine<'_>| {
            let embedder = named(engine, "embedder", &request.embedder, "digits")?;
            let net = embedder.digit_net().ok_or_else(|| cannot(embedder.as_ref(), "has no visible layers"))?;
            let layers = net.activations(&image).map_err(|source| at("image", source))?;
            Ok::<_, Error>(pb::ActivationsResponse {
                layers: layers.into_iter().map(to_proto::layer).collect(),
                embedder_fingerprint: embedder.fingerprint().to_string(),
            })
        };
        let response = executor.run(Pool::Embed, call).await?;
        executor.response(response)
    }

    async fn nearest_words(
        &self,
        request: Request<pb::NearestWordsRequest>,
    ) -> Result<Response<pb::NearestWordsResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let k = from_proto::k("k", request.k).or_status()? as usize;
        let (plus, minus) = from_proto::terms(&"plus", request.plus, request.minus).or_status()?;
        let call = move |engine: &AuthorizedEngine<'_>| {
            let embedder = named(engine, "embedder", &request.embedder, "words")?;
            let model = embedder.word_model().ok_or_else(|| cannot(embedder.as_ref(), "has no words"))?;
            let plus: Vec<&str> = plus.iter().map(String::as_str).collect();
            let minus: Vec<&str> = minus.iter().map(String::as_str).collect();
            let words = model.nearest(&plus, &minus, k).map_err(|source| at("plus", source))?;
            Ok::<_, Error>(pb::NearestWordsResponse {
                words: to_proto::words(words),
                embedder_fingerprint: embedder.fingerprint().to_string(),
            })
        };
        let response = executor.run(Pool::Embed, call).await?;
        executor.response(response)
    }

    async fn fill_blank(
        &self,
        request: Request<pb::FillBlankRequest>,
    ) -> Result<Response<pb::FillBlankResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let k = from_proto::k("k", request.k).or_status()? as usize;
        let pattern = from_proto::text(&"pattern", request.pattern).or_status()?;
        let call = move |engine: &AuthorizedEngine<'_>| {
            let embedder = named(engine, "embedder", &request.embedder, "words")?;
            let model = embedder.word_model().ok_or_else(|| cannot(embedder.as_ref(), "has no words"))?;
            let blanks = model.fill_blank(&pattern, k).map_err(|source| at("pattern", source))?;
            Ok::<_, Error>(pb::FillBlankResponse {
                blanks: blanks.into_iter().map(|words| pb::Blank { words: to_proto::words(words) }).collect(),
                embedder_fingerprint: embedder.fingerprint().to_string(),
            })
        };
        let response = executor.run(Pool::Embed, call).await?;
        executor.response(response)
    }

    async fn next_token(
        &self,
        request: Request<pb::NextTokenRequest>,
    ) -> Result<Response<pb::NextTokenResponse>, Status> {
        let executor = self.0.executor(&request);
        let request = request.into_inner();
        let k = from_proto::k("k", request.k).or_status()? as usize;
        let text = from_proto::text(&"text", request.text).or_status()?;
        let call = move |engine: &AuthorizedEngine<'_>| {
            let embedder = named(engine, "embedder", &request.embedder, "gpt")?;
            let model =
                embedder.language_model().ok_or_else(|| cannot(embedder.as_ref(), "is not a language model"))?;
            let tokens = model.next_tokens(&text, k).map_err(|source| at("text", source))?;
            let token =
                |next: NextToken| pb::Token { text: next.text, token: next.token, probability: next.probability };
            Ok::<_, Error>(pb::NextTokenResponse {
                tokens: tokens.into_iter().map(token).collect(),
                embedder_fingerprint: embedder.fingerprint().to_string(),
            })
        };
        let response = executor.run(Pool::Embed, call).await?;
        executor.response(response)
    }
}

fn at(field: &str, source: crate::embed::Error) -> Error {
    Error::Embed { field: field.into(), source }
}

fn cannot(embedder: &dyn Embedder, what: &str) -> Error {
    Error::invalid("embedder", format!("the embedder {:?} {what}", embedder.name()))
}

/// Returns the embedder with this name, or `default` if the name is empty.
fn named(engine: &AuthorizedEngine<'_>, field: &str, name: &str, default: &str) -> Result<Arc<dyn Embedder>, Error> {
    let name = if name.is_empty() { default } else { name };
    engine.embedders().by_name(name).cloned().map_err(|source| at(field, source))
}

fn embed(
    engine: &AuthorizedEngine<'_>,
    executor: &Executor,
    name: &str,
    output: &str,
    inputs: &[EmbedInput],
) -> Result<pb::EmbedResponse, Status> {
    let embedder = named(engine, "embedder", name, "").or_status()?;
    let output = embedder.output_layer(output).map_err(|source| at("output", source)).or_status()?;
    // Check the size before the work.
    executor.check_size(inputs.len() * output.dimension as usize * size_of::<f32>())?;
    let borrowed: Vec<Input<'_>> = inputs
        .iter()
        .map(|input| match input {
            EmbedInput::Text(text) => Input::Text(text),
            EmbedInput::Image(image) => Input::Image(image),
        })
        .collect();
    let stop = CancellationToken::current();
    let proceed = |last: &[Result<Vec<f32>, embed::Error>]| !stop.is_cancelled() && last.iter().all(Result::is_ok);
    let vectors = embed_in_chunks(embedder.as_ref(), output, &borrowed, proceed);
    let complete = vectors.len() == inputs.len();
    let vectors = vectors.into_iter().zip(&borrowed).enumerate().map(|(index, (vector, input))| {
        let field = || format!("inputs[{index}].{}", input.modality().name());
        vector.map(to_proto::vector).map_err(|source| at(&field(), source))
    });
    let vectors = vectors.collect::<Result<_, _>>().or_status()?;
    if !complete {
        return Err(Error::Abandoned.into_status());
    }
    Ok(pb::EmbedResponse { vectors, embedder_fingerprint: embedder.fingerprint().to_string() })
}
