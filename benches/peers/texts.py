#!/usr/bin/env python3
"""Paragraphs that find those of the same article: TF-IDF, BM25, and means of word vectors, on nearness's own paragraphs and queries.

    nearness eval text --corpus FILE... --queries 2000 --write paragraphs.jsonl
    python3 -m venv venv && venv/bin/pip install numpy scipy scikit-learn bm25s
    venv/bin/python benches/peers/texts.py paragraphs.jsonl --words crates/embed/models/words

TF-IDF is scikit-learn's (sublinear_tf, l2), BM25 that of bm25s (Lucene's variant, k1 1.2, b 0.75). With --words: the plain mean,
SIF (Arora, Liang, Ma 2017) with several weights and more than one component removed, and uSIF (Ethayarajh 2018). The measures are
those of `nearness eval text`. Microseconds are of one core, for a text to become a row, and for a query among all rows.
"""

import argparse
import json
import os
import re
import struct
import time

import numpy as np
import scipy.sparse as sp

WORD = re.compile(r"[^\W\d_]+")
FOUND = 10


def read(path):
    texts, articles, queries = [], [], []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file):
            row = json.loads(line)
            texts.append(row["text"])
            articles.append(row["article"])
            if row["query"]:
                queries.append(number)
    return texts, np.array(articles), np.array(queries)


def best(scores, queries):
    scores[np.arange(len(queries)), queries] = -np.inf
    some = np.argpartition(-scores, FOUND, axis=1)[:, :FOUND]
    order = np.argsort(-np.take_along_axis(scores, some, 1), axis=1, kind="stable")
    return np.take_along_axis(some, order, 1)


def by_rows(rows, asked, queries, step):
    """The best for each query, by products with all rows, dense or sparse."""
    turned = rows.T.tocsr() if sp.issparse(rows) else rows.T
    found = []
    for at in range(0, len(queries), step):
        some = queries[at : at + step]
        scores = asked[some] @ turned
        found.append(best(scores.toarray() if sp.issparse(scores) else scores, some))
    return np.concatenate(found)


def measure(found, queries, articles):
    right = articles[found] == articles[queries][:, None]
    sizes = np.bincount(articles)[articles[queries]] - 1
    any_ = right.any(1)
    return {
        "recall_at_10": round(float((right.sum(1) / np.minimum(FOUND, sizes)).mean()), 4),
        "mrr_at_10": round(float(np.where(any_, 1 / (right.argmax(1) + 1), 0).mean()), 4),
        "success_at_10": round(float(any_.mean()), 4),
    }


def tell(name, found, queries, articles, text_seconds, query_seconds, n):
    row = {"name": name, **measure(found, queries, articles)}
    row["us_text"] = round(text_seconds / n * 1e6, 1)
    row["us_query"] = round(query_seconds / len(queries) * 1e6, 1)
    print(json.dumps(row), flush=True)


def tfidf(texts, articles, queries, words_only):
    from sklearn.feature_extraction.text import TfidfVectorizer

    pattern = {"token_pattern": WORD.pattern} if words_only else {}
    begun = time.perf_counter()
    rows = TfidfVectorizer(sublinear_tf=True, norm="l2", dtype=np.float32, **pattern).fit_transform(texts)
    made = time.perf_counter()
    found = by_rows(rows, rows, queries, 50)
    name = "TF-IDF, words of letters" if words_only else "TF-IDF"
    tell(f"{name} ({rows.shape[1]} terms)", found, queries, articles, made - begun, time.perf_counter() - made, len(texts))


def bm25(texts, articles, queries):
    import bm25s

    begun = time.perf_counter()
    tokens = bm25s.tokenize(texts, stopwords=None, show_progress=False)
    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    index.index(tokens, show_progress=False)
    made = time.perf_counter()
    found = []
    names = {number: word for word, number in tokens.vocab.items()}
    for query in queries:
        scores = index.get_scores([names[number] for number in tokens.ids[query]])
        found.append(best(scores[None, :].copy(), np.array([query]))[0])
    tell("BM25 (bm25s)", np.array(found), queries, articles, made - begun, time.perf_counter() - made, len(texts))


def word_model(folder):
    """Vocabulary, counts and vectors of a model folder of nearness."""
    with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as file:
        pairs = [line.rsplit(" ", 1) for line in file]
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        data = file.read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])

    def tensor(name):
        entry = header[name]
        begin, end = (8 + length + at for at in entry["data_offsets"])
        kind = {"F32": "<f4", "F16": "<f2", "I8": "i1"}[entry["dtype"]]
        return np.frombuffer(data[begin:end], kind).reshape(entry["shape"]).astype(np.float32)

    rows = tensor("input")
    if "input.scale" in header:
        rows = rows * tensor("input.scale")[:, None]
    return [word for word, _ in pairs], np.array([float(count) for _, count in pairs]), rows


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def without(rows, n, weighted=False):
    """Less the parts along the first n right singular vectors, with uSIF's weights if so asked."""
    _, values, axes = np.linalg.svd(rows[:: max(1, len(rows) // 20_000)], full_matrices=False)
    weights = values[:n] ** 2 / (values[:n] ** 2).sum() if weighted else np.ones(n)
    return rows - (rows @ axes[:n].T * weights) @ axes[:n]


def means(texts, articles, queries, folder):
    words, counts, vectors = word_model(folder)
    numbers = {word: number for number, word in enumerate(words)}
    begun = time.perf_counter()
    found = [[numbers[word] for word in WORD.findall(text.lower()) if word in numbers] for text in texts]
    ends = np.cumsum([0] + [len(row) for row in found])
    flat = np.fromiter((number for row in found for number in row), np.int32, ends[-1])
    bags = sp.csr_matrix((np.ones(len(flat), np.float32), flat, ends), shape=(len(texts), len(words)))
    bags.sum_duplicates()
    read_seconds = time.perf_counter() - begun
    share = counts / counts.sum()

    def weighted(name, weights, words_of=vectors, removed=0, by_usif=False):
        begun = time.perf_counter()
        rows = bags @ (words_of * weights[:, None].astype(np.float32))
        if by_usif:
            rows = rows / np.maximum(np.diff(bags.indptr), 1)[:, None]
        rows = unit(without(rows, removed, by_usif) if removed else rows).astype(np.float32)
        made = time.perf_counter()
        hits = by_rows(rows, rows, queries, 200)
        seconds = time.perf_counter() - made
        tell(name, hits, queries, articles, read_seconds + made - begun, seconds, len(texts))

    weighted("mean of words", np.ones(len(words)))
    for a, removed in ((1e-3, 1), (1e-4, 5), (1e-5, 1), (1e-5, 5)):
        weighted(f"SIF, a = {a:g}, {removed} components removed", a / (a + share), removed=removed)
    # uSIF: a from the mean length of a text, word vectors of unit scale a component, 5 components removed by their weights.
    length = float(bags.sum() / bags.shape[0])
    alpha = float((share > 1 - (1 - 1 / len(words)) ** length).mean())
    a = (1 - alpha) / (0.5 * alpha * len(words))
    scaled = vectors / np.sqrt((vectors**2).mean(0))
    weighted(f"uSIF, a = {a:.3g}", a / (a / 2 + share), scaled, removed=5, by_usif=True)
    df = np.bincount(bags.indices, minlength=len(words))
    idf = np.log(len(texts) / np.maximum(df, 1))
    centred = unit(vectors - vectors.mean(0))
    for power in (1, 2):
        weighted(f"idf to the power {power}, unit words less their mean", idf**power, centred)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paragraphs")
    parser.add_argument("--words", help="a word model folder of nearness")
    parser.add_argument("--skip-search", action="store_true", help="no TF-IDF and BM25")
    args = parser.parse_args()
    texts, articles, queries = read(args.paragraphs)
    print(json.dumps({"paragraphs": len(texts), "articles": int(articles.max()) + 1, "queries": len(queries)}), flush=True)
    if not args.skip_search:
        tfidf(texts, articles, queries, False)
        tfidf(texts, articles, queries, True)
        bm25(texts, articles, queries)
    if args.words:
        means(texts, articles, queries, args.words)


if __name__ == "__main__":
    main()
