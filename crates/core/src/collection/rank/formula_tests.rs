//! Formulas against plain computations.

use crate::api::{
    Decay, DecayShape, Error, ErrorKind, Expression, Filter, Formula, GeoPoint, Item, Query, Range, Reason, Rerank,
    SearchParams, Timestamp,
};
use crate::engine::{Admin, Database, Reads, Writes};
use crate::prelude::{CollectionName, CollectionSpec, Diversity, IndexSettings, Metric, PointId};
use Expression::{Constant, Score};

fn name() -> CollectionName {
    CollectionName::new("c").unwrap()
}

/// Points `p0`, `p1`, ... at these positions on a line, with numbers, times and places; odd ones lack some.
fn filled(count: u32) -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).unwrap();
    let spec = CollectionSpec::vectors(name(), 1).metric(Metric::L2).index(IndexSettings::default().seal_rows(100));
    database.create_collection(&spec).unwrap();
    for number in 0..count {
        let mut item = Item::vector(PointId::new(format!("p{number}")).unwrap(), [number as f32]).field("n", number);
        if number.is_multiple_of(2) {
            let place = serde_json::json!([{ "lat": 91, "lon": 0 }, { "lat": 0, "lon": f64::from(number) / 10.0 }]);
            item = item
                .field("list", serde_json::json!([null, "x", [f64::from(number) + 0.5], 7]))
                .field("at", serde_json::json!(["never", format!("2024-05-01T00:{:02}:00Z", number % 60)]))
                .field("where", place);
        }
        database.upsert(&name(), vec![item]).unwrap();
    }
    (dir, database)
}

fn number(field: &str) -> Expression {
    Expression::Number { field: field.into(), default: None }
}

fn search(database: &Database, params: &SearchParams) -> Result<Vec<(u32, f32)>, Error> {
    let answer = database.search(&name(), &[Query::Vector(vec![100.0])], params)?.remove(0);
    let hit = |hit: &crate::api::Hit| {
        assert_eq!(hit.distance, -hit.score);
        (hit.point.id.as_str()[1..].parse().unwrap(), hit.score)
    };
    Ok(answer.hits.iter().map(hit).collect())
}

#[test]
fn hits_are_ordered_by_the_value_of_the_formula() {
    let (_dir, database) = filled(230);
    let boxed = |expression: Expression| Box::new(expression);
    let list = |default| Expression::Number { field: "list".into(), default: Some(default) };
    let even = |n: f64| n % 2.0 == 0.0;
    let decay = |shape, scale: f64, midpoint: f64| {
        move |distance: f64| -> f64 {
            let units = distance.abs() / scale;
            match shape {
                DecayShape::Linear => (1.0 - (1.0 - midpoint) * units).max(0.0),
                DecayShape::Exponential => (midpoint.ln() * units).exp(),
                DecayShape::Gaussian => (midpoint.ln() * units * units).exp(),
            }
        }
    };
    let range = Filter::range("n", Range { gte: Some(90.into()), lt: Some(110.into()), ..Range::default() });
    let start = Timestamp::parse("2024-05-01T00:20:00Z").unwrap();
    let equator = GeoPoint { lat: 0.0, lon: 10.0 };
    let meters = |degrees: f64| degrees.to_radians().abs() * 6_371_008.8;
    let time_decay = Decay::time("at", start).shape(DecayShape::Linear).scale(600.0).midpoint(0.25).default(-1.0);
    let place_decay = Decay::place("where", equator).shape(DecayShape::Exponential).scale(50_000.0).default(0.0);
    type Reference<'a> = Box<dyn Fn(f64, f64) -> f64 + 'a>;
    let cases: Vec<(Expression, Reference<'_>)> = vec![
        (Score, Box::new(|s, _| s)),
        (Expression::Sum(vec![Score, Constant(-2.5), number("n")]), Box::new(|s, n| s - 2.5 + n)),
        (Expression::Product(vec![number("n"), Constant(3.0), Score]), Box::new(|s, n| 3.0 * n * s)),
        (Expression::Negate(boxed(number("n"))), Box::new(|_, n| -n)),
        (
            Expression::Abs(boxed(Expression::Sum(vec![number("n"), Constant(-105.25)]))),
            Box::new(|_, n| (n - 105.25).abs()),
        ),
        (Expression::Sqrt(boxed(number("n"))), Box::new(|_, n| n.sqrt())),
        (Expression::Ln(boxed(number("n"))), Box::new(|_, n| n.ln())),
        (Expression::Log10(boxed(number("n"))), Box::new(|_, n| n.log10())),
        (Expression::Exp(boxed(Expression::Product(vec![Score, Constant(0.5)]))), Box::new(|s, _| (s * 0.5).exp())),
        (Expression::Power { base: boxed(number("n")), exponent: boxed(Constant(1.5)) }, Box::new(|_, n| n * n.sqrt())),
        (
            Expression::Quotient { dividend: boxed(number("n")), divisor: boxed(Score), if_zero: Some(42.0) },
            Box::new(|s, n| if s == 0.0 { 42.0 } else { n / s }),
        ),
        (Expression::Condition(range.clone()), Box::new(|_, n| if (90.0..110.0).contains(&n) { 1.0 } else { 0.0 })),
        (list(-3.0), Box::new(move |_, n| if even(n) { n + 0.5 } else { -3.0 })),
        (
            Decay::value(number("n"), 97.0).scale(4.0).midpoint(0.2).into(),
            Box::new(move |_, n| decay(DecayShape::Gaussian, 4.0, 0.2)(n - 97.0)),
        ),
        (
            time_decay.into(),
            Box::new(move |_, n| match even(n) {
                true => decay(DecayShape::Linear, 600.0, 0.25)((n % 60.0 - 20.0) * 60.0),
                false => -1.0,
            }),
        ),
        (
            place_decay.into(),
            Box::new(move |_, n| match even(n) {
                true => decay(DecayShape::Exponential, 50_000.0, 0.5)(meters(n / 10.0 - 10.0)),
                false => 0.0,
            }),
        ),
    ];
    for (expression, reference) in cases {
        for (k, candidates) in [(10, 0), (5, 30), (60, 60)] {
            let count = if candidates == 0 { 100 } else { candidates };
            // The nearest, of equal distances those with the smaller id.
            let mut near: Vec<u32> = (0..230).collect();
            near.sort_by_key(|n| (n.abs_diff(100), format!("p{n}")));
            near.truncate(count as usize);
            let mut expected: Vec<(u32, f32)> =
                near.iter().map(|&n| (n, reference(-f64::from(n.abs_diff(100)), f64::from(n)) as f32)).collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| format!("p{}", a.0).cmp(&format!("p{}", b.0))));
            let params = SearchParams::new(k).exact().formula(Formula::new(expression.clone()).candidates(candidates));
            let found = search(&database, &params).unwrap();
            assert_eq!(found.len(), k as usize);
            for ((_, score), (_, other)) in found.iter().zip(&expected) {
                assert!((score - other).abs() <= 1e-5 * other.abs(), "{expression:?}: {score}, not {other}");
            }
            for (n, score) in &found {
                let (_, other) = expected.iter().find(|(other, _)| other == n).expect("a candidate");
                assert!((score - other).abs() <= 1e-5 * other.abs(), "{expression:?}: {n} has {score}, not {other}");
            }
        }
    }
    // After another order, before the threshold and the diversity. 115 is the farthest candidate from 90.
    let params = SearchParams::new(3).exact().rerank(Rerank::new(Query::Vector(vec![90.0])).candidates(30));
    let double = Formula::new(Expression::Product(vec![Score, Constant(2.0)]));
    let found = search(&database, &params.clone().formula(double.clone())).unwrap();
    assert_eq!(found, [(90, 0.0), (89, -2.0), (91, -2.0)]);
    assert_eq!(search(&database, &params.clone().formula(double.clone()).score_threshold(-1.0)).unwrap(), [(90, 0.0)]);
    let varied = search(&database, &params.formula(double).diversity(Diversity::new(0.9))).unwrap();
    assert!(varied[0] == (90, 0.0) && varied[1].0 == 115, "{varied:?}");
    let grouped = SearchParams::new(2).group_by("list").group_size(2).formula(Formula::new(Score));
    let found: Vec<u32> = search(&database, &grouped).unwrap().into_iter().map(|(number, _)| number).collect();
    assert_eq!(found, [100, 102, 101], "the even points are one group");
}

#[test]
fn points_without_a_value_are_named() {
    let (_dir, database) = filled(20);
    let refused = |expression: Expression, parts: &[&str]| {
        let error = search(&database, &SearchParams::new(3).formula(Formula::new(expression))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{error}: no {part:?}"));
    };
    refused(number("list"), &["params.formula", "\"p19\"", "no number at \"list\"", "default"]);
    let time = Timestamp::parse("2024-05-01").unwrap();
    refused(Decay::time("at", time).into(), &["params.formula", "\"p19\"", "no time at \"at\""]);
    let place = GeoPoint { lat: 0.0, lon: 0.0 };
    refused(Decay::place("where", place).into(), &["params.formula", "\"p19\"", "no place at \"where\""]);
    refused(Expression::Sqrt(Box::new(Score)), &["params.formula", "NaN", "\"p19\"", "-81"]);
    refused(Expression::Exp(Box::new(Constant(1e3))), &["params.formula", "inf", "\"p19\""]);
    refused(Constant(1e39), &["params.formula", "\"p19\"", "f32"]);
    let zero =
        Expression::Quotient { dividend: Box::new(Constant(1.0)), divisor: Box::new(Constant(0.0)), if_zero: None };
    refused(zero.clone(), &["params.formula", "inf"]);
    // Parts may be infinite.
    let finite = Expression::Quotient { dividend: Box::new(Constant(1.0)), divisor: Box::new(zero), if_zero: None };
    assert_eq!(search(&database, &SearchParams::new(1).formula(Formula::new(finite))).unwrap()[0].1, 0.0);

    let formula = Formula::new(Expression::Sum(vec![Score, number("n")]));
    let params = SearchParams::new(2).formula(formula);
    let explained =
        database.explain(&name(), &Query::Vector(vec![100.0]), &params, &PointId::new("p4").unwrap()).unwrap();
    assert_eq!((explained.reason, explained.formula, explained.score), (Reason::Beaten, Some(-92.0), Some(-92.0)));
    assert_eq!((explained.parts[0].score, explained.parts[0].rank), (Some(-96.0), Some(16)));
}

#[test]
fn invalid_formulas_are_refused() {
    let (_dir, database) = filled(1);
    let refused = |expression: Expression, parts: &[&str]| {
        let error = search(&database, &SearchParams::new(3).formula(Formula::new(expression))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        parts.iter().for_each(|part| assert!(error.to_string().contains(part), "{error}: no {part:?}"));
    };
    let nested = |levels: usize| (1..levels).fold(Score, |inner, _| Expression::Negate(Box::new(inner)));
    let allowed = [
        nested(16),
        Expression::Sum(vec![Score; 999]),
        Expression::Sum(vec![Expression::Condition(Filter::exists("n")); 64]),
    ];
    for expression in allowed {
        search(&database, &SearchParams::new(1).formula(Formula::new(expression))).unwrap();
    }
    refused(nested(17), &["params.formula.expression", "16 levels"]);
    refused(Expression::Sum(vec![Score; 1_000]), &["params.formula.expression", "1000 parts"]);
    let conditions = Expression::Sum(vec![Expression::Condition(Filter::exists("n")); 65]);
    refused(conditions, &["params.formula.expression.sum[64].condition", "64 conditions"]);
    refused(
        Expression::Product(vec![Score, Expression::Sum(vec![])]),
        &["params.formula.expression.product[1].sum", "empty"],
    );
    refused(Constant(f64::NAN), &["params.formula.expression.constant", "NaN"]);
    refused(number(""), &["params.formula.expression.number.field", "1 to 512"]);
    refused(number("a[0]"), &["params.formula.expression.number.field", "\"a\""]);
    refused(Expression::Condition(Filter::Or(vec![])), &["params.formula.expression.condition.or", "empty"]);
    let decay = || Decay::value(Score, 1.0);
    for scale in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        refused(decay().scale(scale).into(), &["params.formula.expression.decay.scale", "above 0"]);
    }
    for midpoint in [0.0, 1.0, f64::NAN] {
        refused(decay().midpoint(midpoint).into(), &["params.formula.expression.decay.midpoint", "below 1"]);
    }
    refused(decay().default(f64::INFINITY).into(), &["params.formula.expression.decay.default", "inf"]);
    let place = GeoPoint { lat: 91.0, lon: 0.0 };
    refused(Decay::place("a", place).into(), &["params.formula.expression.decay.place.target.lat", "91"]);
    let few = Formula::new(Score).candidates(2);
    let error = search(&database, &SearchParams::new(3).formula(few)).unwrap_err();
    assert!(error.to_string().contains("params.formula.candidates"), "{error}");
}
