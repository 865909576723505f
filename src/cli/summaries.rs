//! `nearness facet`, `fields` and `sample`: summaries of payloads, and random points.

use super::common_args::ReadCollectionArgs;
use super::output::{self, Table, brief};
use super::points;
use super::remote::{self, refusal};
use crate::grpc::pb;
use clap::Args;
use serde_json::{Value, json};

/// `facet`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nearness facet films --field kind\n  \
                  nearness facet films --field kind --filter '{\"field\": \"year\", \"gte\": 1990}' --limit 3")]
pub(crate) struct FacetArgs {
    #[command(flatten)]
    pub(crate) from: ReadCollectionArgs,
    /// Payload field, for example author.name.
    #[arg(long, value_name = "PATH")]
    pub(crate) field: String,
    /// Number of values, 1 to 10000.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

/// `fields`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nearness fields films")]
pub(crate) struct FieldsArgs {
    #[command(flatten)]
    pub(crate) from: ReadCollectionArgs,
}

/// `sample`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nearness sample paragraphs --limit 5 --seed 1\n\nWith --json: one JSON object per line, in \
        the format of `load`."
)]
pub(crate) struct SampleArgs {
    #[command(flatten)]
    pub(crate) from: ReadCollectionArgs,
    /// Number of points, 1 to 10000.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    /// The same seed selects the same points; random if it is not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Print the vectors.
    #[arg(long)]
    pub(crate) vector_out: bool,
}

/// Prints the most frequent values of a field.
pub(super) fn facet(args: FacetArgs) -> anyhow::Result<()> {
    let request = pb::FacetRequest {
        collection: args.from.collection.as_str().into(),
        field: args.field,
        limit: args.limit,
        filter: args.from.read.filter.filter,
        min_sequence: args.from.read.consistency.min_sequence,
    };
    let response = remote::block_on(async {
        let client = remote::connect(&args.from.read.server).await?;
        client.facet(request).await.map_err(refusal)
    })?;
    remote::note_unknown_fields(args.from.collection.as_str(), &response.unknown_fields);
    let values: Vec<(Value, u64)> =
        response.values.into_iter().map(|counted| (value(counted.value), counted.count)).collect();
    if args.from.read.json {
        let values: Vec<Value> = values.iter().map(|(value, count)| json!({"value": value, "count": count})).collect();
        output::json(&json!({
            "values": values,
            "distinct": response.distinct,
            "points": response.points,
            "unknown_fields": response.unknown_fields,
        }))?;
        return Ok(());
    }
    let mut table = Table::new(&["value", "points"]);
    for (value, count) in &values {
        table.row(vec![brief(&value.to_string(), 80), count.to_string()]);
    }
    table.print()?;
    let (shown, distinct, points) = (values.len(), response.distinct, response.points);
    output::line(&format!("{shown} of {distinct} distinct values; {points} points have the field"))?;
    Ok(())
}

/// Prints the fields of the payloads with their types and values.
pub(super) fn fields(args: FieldsArgs) -> anyhow::Result<()> {
    let request = pb::DescribeFieldsRequest {
        collection: args.from.collection.as_str().into(),
        filter: args.from.read.filter.filter,
        min_sequence: args.from.read.consistency.min_sequence,
    };
    let response = remote::block_on(async {
        let client = remote::connect(&args.from.read.server).await?;
        client.describe_fields(request).await.map_err(refusal)
    })?;
    remote::note_unknown_fields(args.from.collection.as_str(), &response.unknown_fields);
    if args.from.read.json {
        let fields: Vec<Value> = response.fields.iter().map(field_json).collect();
        output::json(&json!({
            "points": response.points,
            "fields": fields,
            "truncated": response.truncated,
            "unknown_fields": response.unknown_fields,
        }))?;
        return Ok(());
    }
    let mut table = Table::new(&["field", "points", "types", "distinct", "min", "max"]);
    for field in &response.fields {
        let counts = type_counts(field).into_iter().filter(|(_, count)| *count > 0);
        let types = counts.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ");
        let more = if field.distinct_is_lower_bound { "+" } else { "" };
        let numbers = (field.min_number.clone(), field.max_number.clone());
        let (min, max) = (extreme(numbers.0, &field.min_string), extreme(numbers.1, &field.max_string));
        let distinct = format!("{}{more}", field.distinct);
        table.row(vec![brief(&field.path, 60), field.points.to_string(), types, distinct, min, max]);
    }
    table.print()?;
    if response.truncated {
        remote::note("there are more fields than are shown, or paths of more than 512 bytes");
    }
    Ok(())
}

/// Prints random points.
pub(super) fn sample(args: SampleArgs) -> anyhow::Result<()> {
    let request = pb::SampleRequest {
        collection: args.from.collection.as_str().into(),
        limit: args.limit,
        seed: args.seed,
        fields: Some(pb::Fields { payload: true, vector: args.vector_out, ..Default::default() }),
        filter: args.from.read.filter.filter,
        min_sequence: args.from.read.consistency.min_sequence,
    };
    let response = remote::block_on(async {
        let client = remote::connect(&args.from.read.server).await?;
        client.sample(request).await.map_err(refusal)
    })?;
    remote::note_unknown_fields(args.from.collection.as_str(), &response.unknown_fields);
    points::print(response.points, args.from.read.json, args.vector_out)
}

/// Converts a value to JSON.
fn value(value: Option<pb::FilterValue>) -> Value {
    use pb::filter_value::Form;
    match value.and_then(|value| value.form) {
        None => Value::Null,
        Some(Form::BoolValue(value)) => value.into(),
        Some(Form::NumberValue(value)) => value.into(),
        Some(Form::IntegerValue(value)) => value.into(),
        Some(Form::UnsignedValue(value)) => value.into(),
        Some(Form::StringValue(value)) => value.into(),
    }
}

fn type_counts(field: &pb::FieldDescription) -> [(&'static str, u64); 8] {
    let types = field.types.unwrap_or_default();
    [
        ("null", types.null),
        ("boolean", types.boolean),
        ("integer", types.integer),
        ("float", types.float),
        ("string", types.string),
        ("list", types.list),
        ("object", types.object),
        ("geo_point", types.geo_point),
    ]
}

fn field_json(field: &pb::FieldDescription) -> Value {
    let string = |string: &Option<pb::BoundingString>| {
        string.as_ref().map(|string| json!({"text": string.text, "truncated": string.truncated}))
    };
    let counts = type_counts(field).into_iter().filter(|(_, count)| *count > 0);
    json!({
        "path": field.path,
        "points": field.points,
        "types": counts.map(|(name, count)| (name.to_owned(), count.into())).collect::<serde_json::Map<_, _>>(),
        "min_number": value(field.min_number.clone()),
        "max_number": value(field.max_number.clone()),
        "min_string": string(&field.min_string),
        "max_string": string(&field.max_string),
        "distinct": field.distinct,
        "distinct_is_lower_bound": field.distinct_is_lower_bound,
    })
}

/// Formats the smallest or greatest number and string of a field.
fn extreme(number: Option<pb::FilterValue>, string: &Option<pb::BoundingString>) -> String {
    let number = number.map(|number| value(Some(number)).to_string());
    let string = string.as_ref().map(|string| {
        let text = brief(&string.text, 30);
        if string.truncated { format!("{text:?}…") } else { format!("{text:?}") }
    });
    number.into_iter().chain(string).collect::<Vec<_>>().join(", ")
}
