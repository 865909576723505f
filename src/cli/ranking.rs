//! Flags that rank the candidates of a query, shared by `query` and `explain`.

use super::config::{self, Numbers};
use super::{formula, remote};
use crate::grpc::pb;
use clap::Args;
use pb::query::Form;

#[derive(Debug, Args)]
pub(crate) struct RankingArgs {
    /// Select varied hits: weight of the diversity, 0 to 1 (maximal marginal relevance).
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) diversity: Option<f32>,
    /// Order the candidates by their exact score for another text.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, group = "rerank")]
    pub(crate) rerank_text: Option<String>,
    /// Order the candidates by their exact score for these words.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true, group = "rerank")]
    pub(crate) rerank_keywords: Option<String>,
    /// Order the candidates by their exact score for the vector of a stored point.
    #[arg(long, value_name = "ID", allow_hyphen_values = true, group = "rerank")]
    pub(crate) rerank_id: Option<String>,
    /// Order the candidates by their exact score for a vector: comma-separated numbers.
    #[arg(
        long,
        value_name = "NUMBERS",
        allow_hyphen_values = true,
        value_parser = config::numbers,
        group = "rerank"
    )]
    pub(crate) rerank_vector: Option<Numbers>,
    /// Order the candidates by the value of a formula, as JSON:
    /// a number, "score", {"field": "stars", "default": 0}, {"condition": FILTER},
    /// {"sum": [...]}, {"product": [...]}, {"quotient": [A, B], "if_zero": 0}, {"power": [A, B]},
    /// {"negate": A}, or "abs", "sqrt", "ln", "log10", "exp",
    /// {"decay": "gaussian", "of": A, "target": 3, "scale": 2, "midpoint": 0.5}, or "linear", "exponential";
    /// instead of "of": "time": FIELD with a time as the target, "place": FIELD with {"lat": .., "lon": ..};
    /// "default" for points without it.
    #[arg(long, value_name = "JSON", value_parser = formula::parse, verbatim_doc_comment)]
    pub(crate) formula: Option<pb::Expression>,
    /// Number of candidates for --formula, --diversity and --rerank-* [default: 100, or 4 per hit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) candidates: Option<u32>,
}

impl RankingArgs {
    /// Adds the flags to the parameters of a search.
    pub(super) fn add_to(&self, params: &mut pb::SearchParams) -> anyhow::Result<()> {
        let candidates = self.candidates.unwrap_or_default();
        params.diversity = self.diversity.map(|weight| pb::Diversity { weight: Some(weight), candidates });
        params.rerank = self.rerank_form().map(|form| {
            let query = Some(pb::Query { form: Some(form) });
            pb::Rerank { query, candidates }
        });
        let expression = self.formula.clone();
        params.formula = expression.map(|expression| pb::Formula { expression: Some(expression), candidates });
        let ranks = params.diversity.is_some() || params.rerank.is_some() || params.formula.is_some();
        anyhow::ensure!(
            candidates == 0 || ranks,
            "--candidates is for --formula, --diversity and --rerank-*: give one of them"
        );
        Ok(())
    }

    fn rerank_form(&self) -> Option<Form> {
        let Self { rerank_text, rerank_keywords, rerank_id, rerank_vector, .. } = self;
        let keywords = |text: &String| Form::Keywords(pb::Keywords { text: text.clone(), ..Default::default() });
        let form = rerank_text.clone().map(Form::Text);
        form.or_else(|| rerank_keywords.as_ref().map(keywords))
            .or_else(|| rerank_id.clone().map(Form::Id))
            .or_else(|| rerank_vector.as_ref().map(|numbers| Form::Vector(remote::vector(&numbers.0))))
    }
}
