//! Retrieval measures: how well vectors of paragraphs, or other scores, find the paragraphs of the same article.

use super::paragraphs::Paragraphs;
use crate::{knn::NEIGHBOURS, words::sampling::Random};

/// Means over the queries, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetrievalMetrics {
    /// The share of the article's other paragraphs that are among the ten found; the denominator is at most ten.
    pub recall: f64,
    /// 1 / rank of the first paragraph of the same article; 0 when none is among the ten.
    pub mrr: f64,
    /// 1 if a paragraph of the same article is among the ten, else 0.
    pub success: f64,
}

/// Samples `n` paragraphs, or all if there are fewer, of held-out articles with at least two paragraphs; in rising
/// order.
pub fn sample_queries(paragraphs: &Paragraphs, n: usize, seed: u64) -> Vec<u32> {
    let sizes = paragraphs.sizes();
    let mut candidates: Vec<u32> = (0_u32..)
        .zip(paragraphs.articles())
        .filter(|&(number, &article)| sizes[article as usize] >= 2 && paragraphs.is_held_out(number as usize))
        .map(|(number, _)| number)
        .collect();
    let (n, mut random) = (n.min(candidates.len()), Random::new(seed, 0));
    for index in 0..n {
        let other = index + random.below((candidates.len() - index) as u32) as usize;
        candidates.swap(index, other);
    }
    candidates.truncate(n);
    candidates.sort_unstable();
    candidates
}

/// Computes the measures of the results for the queries, best first, without the query itself.
///
/// # Panics
/// If the number of lists differs from the number of queries.
pub fn retrieval_metrics(paragraphs: &Paragraphs, queries: &[u32], found: &[Vec<u32>]) -> RetrievalMetrics {
    assert_eq!(queries.len(), found.len(), "a list for each query");
    let (articles, sizes) = (paragraphs.articles(), paragraphs.sizes());
    let mut sum = RetrievalMetrics::default();
    for (&query, found) in queries.iter().zip(found) {
        let article = articles[query as usize];
        let right = |&&paragraph: &&u32| articles[paragraph as usize] == article;
        let first = found.iter().take(NEIGHBOURS).position(|paragraph| right(&paragraph));
        let of = (sizes[article as usize] as usize - 1).min(NEIGHBOURS);
        sum.recall += found.iter().take(NEIGHBOURS).filter(right).count() as f64 / of.max(1) as f64;
        sum.mrr += first.map_or(0.0, |index| 1.0 / (index + 1) as f64);
        sum.success += f64::from(u8::from(first.is_some()));
    }
    let n = queries.len().max(1) as f64;
    RetrievalMetrics { recall: sum.recall / n, mrr: sum.mrr / n, success: sum.success / n }
}

#[cfg(test)]
mod tests {
    use super::super::paragraphs;
    use super::*;

    fn three_articles() -> Paragraphs {
        paragraphs::of(&[("A", &["1", "2", "3"]), ("B", &["4", "5"]), ("C", &["6"])])
    }

    #[test]
    fn measures_of_hand_written_lists() {
        let all = three_articles();
        // Both others at ranks 2 and 4; the only other at rank 1; nothing.
        let found = [vec![3, 1, 5, 2], vec![4, 0], vec![0, 1, 2]];
        let measured = retrieval_metrics(&all, &[0, 3, 4], &found);
        assert!((measured.recall - (1.0 + 1.0 + 0.0) / 3.0).abs() < 1e-12, "{measured:?}");
        assert!((measured.mrr - (0.5 + 1.0 + 0.0) / 3.0).abs() < 1e-12, "{measured:?}");
        assert!((measured.success - 2.0 / 3.0).abs() < 1e-12, "{measured:?}");
        // The eleventh result does not count; of twelve others, ten can be found.
        let texts: Vec<String> = (0..13).map(|n| n.to_string()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let large = paragraphs::of(&[("A", &texts), ("B", &["x"])]);
        let measured = retrieval_metrics(&large, &[0], &[(1..=12).collect()]);
        assert_eq!(measured, RetrievalMetrics { recall: 1.0, mrr: 1.0, success: 1.0 });
        let late: Vec<u32> = std::iter::repeat_n(13, 10).chain([1]).collect();
        assert_eq!(retrieval_metrics(&large, &[0], &[late]), RetrievalMetrics::default());
    }

    #[test]
    fn queries_come_from_held_out_articles_only() {
        let names: Vec<String> = (0..200).map(|n| format!("article {n}")).collect();
        let articles: Vec<(&str, &[&str])> = names
            .iter()
            .map(|name| (name.as_str(), if name.ends_with('7') { &["a"][..] } else { &["a", "b"][..] }))
            .collect();
        let all = paragraphs::of(&articles);
        let (queries, sizes) = (sample_queries(&all, 1_000, 1), all.sizes());
        assert!(queries.len() > 10 && queries.is_sorted());
        assert!(
            queries.iter().all(|&query| {
                all.is_held_out(query as usize) && sizes[all.articles()[query as usize] as usize] == 2
            })
        );
        let some = sample_queries(&all, 5, 2);
        assert_eq!((some.len(), &some), (5, &sample_queries(&all, 5, 2)));
        assert_ne!(some, sample_queries(&all, 5, 3));
    }
}
