"""Sparse vectors, top 10 by dot product, beside SINDI (pip install pyvsag) and Seismic (pip install pyseismic-lsr).

    python benches/peers/sparse.py --corpus ../shared/data/wikipedia/*.gz --rounds 3

The vectors are derived from counts, not learned: no model is needed. Their statistics are those of SPLADE: 30,000
dimensions, about 120 non-zeros per paragraph and 25 to 45 per query, weights up to 3. A word of a paragraph weighs
log(1 + BM25); words that occur together with those of the paragraph (pointwise mutual information, and frequent) are
added with lower weights. Queries are made in the same way from single sentences, which are removed from their paragraphs.

nearness is asked for exact results and for target recalls of 0.95 and 0.99, which it reaches by its own calibration,
without the queries. For the others, the fastest setting is reported that reaches a recall@10 of 0.95, 0.99 and 1 on a
tenth of the queries. One thread each, in turn; medians of the rounds. Prints one JSON object.
"""
import argparse, gzip, json, os, random, re, statistics, subprocess, sys, tempfile, time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.sparse as sp

DIMENSIONS, NEIGHBORS, K, TARGETS = 30_000, 30, 10, (0.95, 0.99, 1.0)


def paragraphs(files):
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith(("<doc ", "</doc")) and len(re.findall(r"[A-Za-z0-9]+", line)) >= 20:
                    yield line.strip()


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def split(texts, queries, draw):
    """Takes one sentence out of `queries` paragraphs. Returns the words of all paragraphs, and of the sentences."""
    taken = {}
    for number in draw.sample(range(len(texts)), len(texts)):
        sentences = re.split(r"(?<=[.!?])\s+", texts[number])
        fit = [at for at, sentence in enumerate(sentences) if 8 <= len(words(sentence)) <= 30]
        if len(sentences) >= 3 and fit:
            at = draw.choice(fit)
            taken[number] = words(sentences[at])
            texts[number] = " ".join(sentences[:at] + sentences[at + 1 :])
            if len(taken) == queries:
                break
    return [words(text) for text in texts], list(taken.values())


def counts(texts, vocabulary):
    rows, columns = [], []
    for row, text in enumerate(texts):
        found = [vocabulary[word] for word in text if word in vocabulary]
        rows.extend([row] * len(found))
        columns.extend(found)
    ones = np.ones(len(rows), np.float32)
    return sp.csr_matrix((ones, (rows, columns)), shape=(len(texts), DIMENSIONS), dtype=np.float32)


def related(present, frequency):
    """For each word, the words that occur with it, as weights up to 1: frequent ones with a high PMI."""
    documents = present.shape[0]
    transposed = present.T.tocsr()
    data, indices, ends = [], [], [0]
    for begin in range(0, DIMENSIONS, 1_000):
        together = (transposed[begin : begin + 1_000] @ present).tocsr()
        for row in range(together.shape[0]):
            word = begin + row
            part = slice(together.indptr[row], together.indptr[row + 1])
            other, count = together.indices[part], together.data[part]
            keep = (count >= 4) & (other != word)
            other, count = other[keep], count[keep]
            pmi = np.log(count * documents / (max(frequency[word], 1) * np.maximum(frequency[other], 1)))
            score = np.maximum(pmi, 0) * np.log(count)
            best = np.argsort(-score)[:NEIGHBORS]
            best = best[score[best] > 0]
            data.extend(score[best] / max(score[best].max(initial=0), 1e-9))
            indices.extend(other[best])
            ends.append(len(data))
    return sp.csr_matrix((np.array(data, np.float32), indices, ends), shape=(DIMENSIONS, DIMENSIONS))


def weigh(counted, idf, average, expansion, totals):
    """Weights of the words of each row, and of words related to them, until it has its total of non-zeros."""
    length = np.asarray(counted.sum(axis=1)).ravel()
    weights = counted.copy()
    row_of = np.repeat(np.arange(counted.shape[0]), np.diff(counted.indptr))
    norm = 1.2 * (0.25 + 0.75 * length[row_of] / average)
    weights.data = np.log1p(2.2 * weights.data / (weights.data + norm) * idf[weights.indices]).astype(np.float32)
    weights.data[weights.data < 0.15] = 0  # such as "the"
    weights.eliminate_zeros()
    indices, values, ends = [], [], [0]
    for begin in range(0, counted.shape[0], 10_000):
        own = weights[begin : begin + 10_000]
        more = (own @ expansion).tocsr()
        for row in range(own.shape[0]):
            mine = slice(own.indptr[row], own.indptr[row + 1])
            others = slice(more.indptr[row], more.indptr[row + 1])
            have, other, score = own.indices[mine], more.indices[others], more.data[others]
            fresh = ~np.isin(other, have)
            other, score = other[fresh], score[fresh]
            add = max(int(totals[begin + row]) - len(have), 0)
            if add < len(other):
                best = np.argpartition(-score, add)[:add] if add else np.array([], int)
                other, score = other[best], score[best]
            low, high = score.min(initial=np.inf), score.max(initial=-np.inf)
            added = 0.05 + 1.15 * (score - low) / max(high - low, 1e-9)
            value = np.concatenate([own.data[mine], added])
            index = np.concatenate([have, other])
            order = np.argsort(index)
            indices.append(index[order])
            values.append(np.minimum(value[order], 3.0))
            ends.append(ends[-1] + len(index))
    return sp.csr_matrix(
        (np.concatenate(values).astype(np.float32), np.concatenate(indices), ends), shape=counted.shape
    )


def derive(corpus, queries):
    draw = random.Random(1)
    texts, sentences = split(list(paragraphs(corpus)), queries, draw)
    frequency = {}
    for text in texts:
        for word in set(text):
            frequency[word] = frequency.get(word, 0) + 1
    common = sorted(frequency, key=lambda word: (-frequency[word], word))[:DIMENSIONS]
    vocabulary = {word: number for number, word in enumerate(common)}
    df = np.array([frequency[word] for word in common], np.float64)
    idf = np.log1p((len(texts) - df + 0.5) / (df + 0.5))
    counted = counts(texts, vocabulary)
    # Words of more than a tenth of the paragraphs relate to all others; a third of the paragraphs suffices.
    present = counted[::3].copy()
    present.data[:] = 1
    present.data[df[present.indices] > len(texts) / 10] = 0
    present.eliminate_zeros()
    expansion = related(present, np.asarray(present.sum(axis=0)).ravel())
    average = counted.sum() / len(texts)
    random_totals = np.random.default_rng(1)
    distinct = np.diff(counted.indptr)
    documents = weigh(counted, idf, average, expansion, 58 + 0.85 * distinct)
    asked = counts(sentences, vocabulary)
    found = weigh(asked, idf, average, expansion, random_totals.integers(25, 46, asked.shape[0]))
    return documents, found


def write(path, matrix):
    with open(path, "wb") as file:
        np.array([matrix.shape[0]], np.uint32).tofile(file)
        matrix.indptr.astype(np.uint32).tofile(file)
        matrix.indices.astype(np.uint32).tofile(file)
        matrix.data.astype(np.float32).tofile(file)


def read(path):
    with open(path, "rb") as file:
        rows = int(np.fromfile(file, np.uint32, 1)[0])
        ends = np.fromfile(file, np.uint32, rows + 1)
        indices = np.fromfile(file, np.uint32, ends[-1])
        values = np.fromfile(file, np.float32, ends[-1])
    return sp.csr_matrix((values, indices.astype(np.int32), ends.astype(np.int64)), shape=(rows, DIMENSIONS))


def truth(documents, queries):
    """The scores of the ten best, and their rows."""
    transposed, result = documents.astype(np.float64).T.tocsr(), []
    for begin in range(0, queries.shape[0], 50):
        for row in (queries[begin : begin + 50].astype(np.float64) @ transposed).toarray():
            best = np.argpartition(-row, K)[:K]
            best = best[np.argsort(-row[best])]
            result.append((row[best], best))
    return result


def recall(results, exact, documents, queries):
    """The share of the hits that score at least the tenth best score; ties count."""
    hits = 0
    for number, found in enumerate(results):
        query = queries[number]
        scores = documents[np.array(found, int)] @ query.T if len(found) else sp.csr_matrix((0, 1))
        hits += int((scores.toarray() >= exact[number][0][-1] - 1e-4).sum())
    return hits / (K * len(results))


def recall_of_scores(results, exact):
    """The same, for results that are scores."""
    hits = sum(sum(score >= best[-1] - 1e-4 for score in scores) for scores, (best, _) in zip(results, exact, strict=True))
    return hits / (K * len(results))


def ours(ran, exact):
    """The results of `benches/sparse.rs` by target recall; checks the scores of the exact search."""
    ran = json.loads(ran)
    made = {key: value for key, value in ran.items() if key not in ("exact", "targets")}
    worst = 0.0
    for found, (best, _) in zip(ran["exact"]["scores"], exact, strict=True):
        assert len(found) == K
        worst = max([worst, *(abs(a - b) for a, b in zip(found, best))])
    searches = {1.0: ran["exact"], **{round(target["target"], 4): target["found"] for target in ran["targets"]}}
    for found in searches.values():
        found["recall"] = recall_of_scores(found.pop("scores"), exact)
    searches[1.0].update(made, largest_difference_of_scores=worst)
    return {f"nearness {target}": found for target, found in searches.items()}


def timed(search, queries):
    start, cpu = time.perf_counter(), time.process_time()
    results = [search(query) for query in queries]
    return results, len(queries) / (time.perf_counter() - start), len(queries) / (time.process_time() - cpu)


class Sindi:
    name = "SINDI"
    settings = [
        {"query_prune_ratio": query, "term_prune_ratio": term, "n_candidate": candidates}
        for query in (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)
        for term in (0.0, 0.3)
        for candidates in (20, 50, 100)
    ]
    builds = [{"doc_prune_ratio": 0.0, "use_reorder": False}] + [
        {"doc_prune_ratio": prune, "use_reorder": True, "use_quantization": True} for prune in (0.1, 0.2, 0.4)
    ]

    def build(self, documents, setting, folder):
        import pyvsag

        pyvsag.set_logger_off()
        parameters = {
            "dtype": "sparse", "dim": 1_024, "metric_type": "ip",
            "index_param": {"term_id_limit": DIMENSIONS, "window_size": 50_000, **setting},
        }
        index = pyvsag.Index("sindi", json.dumps(parameters))
        arrays = documents.indptr.astype(np.uint32), documents.indices.astype(np.uint32), documents.data
        start, cpu = time.perf_counter(), time.process_time()
        index.build(*arrays, np.arange(documents.shape[0], dtype=np.int64))
        seconds = time.perf_counter() - start, time.process_time() - cpu
        path = os.path.join(folder, "sindi")
        index.save(path)
        return index, seconds, os.path.getsize(path)

    def prepare(self, queries):
        ends = [np.array([0, end], np.uint32) for end in np.diff(queries.indptr)]
        parts = zip(ends, np.split(queries.indices.astype(np.uint32), queries.indptr[1:-1]), np.split(queries.data, queries.indptr[1:-1]))
        return list(parts)

    def searcher(self, index, setting):
        text = json.dumps({"sindi": setting})
        return lambda query: np.ravel(index.knn_search(*query, K, text)[0])


class Seismic:
    name = "Seismic"
    settings = [
        {"query_cut": cut, "heap_factor": factor} for cut in (6, 10, 16, 45) for factor in (0.7, 0.8, 0.9, 1.0)
    ]
    builds = [{"n_postings": n, "summary_energy": e} for n, e in ((2_000, 0.4), (6_000, 0.5))]

    def build(self, documents, setting, folder):
        import seismic

        data = seismic.SeismicDataset(DIMENSIONS)
        names = [str(row) for row in range(documents.shape[0])]
        arrays = documents.indices.astype(np.int64), documents.data, documents.indptr.astype(np.int64)
        start, cpu = time.perf_counter(), time.process_time()
        data.add_documents_by_id(names, *arrays)
        index = seismic.SeismicIndex.build_from_dataset(data, centroid_fraction=0.1, doc_cut=30, **setting)
        seconds = time.perf_counter() - start, time.process_time() - cpu
        path = os.path.join(folder, "seismic")
        index.save(path)
        return index, seconds, os.path.getsize(path + ".index.seismic")

    def prepare(self, queries):
        import seismic

        names = np.array([str(index) for index in queries.indices], dtype=seismic.get_seismic_string())
        return list(zip(np.split(names, queries.indptr[1:-1]), np.split(queries.data, queries.indptr[1:-1])))

    def searcher(self, index, setting):
        cut, factor = setting["query_cut"], setting["heap_factor"]
        search = index.search
        return lambda query: [int(hit[2]) for hit in search("q", *query, K, cut, factor)]


def tune(engine, documents, queries, exact, folder):
    """Returns the fastest setting for each recall, by CPU time, with its index; and all that were tried."""
    best, tried = {}, []
    prepared = engine.prepare(queries)
    for build in engine.builds:
        index, seconds, size = engine.build(documents, build, folder)
        made = {"build_seconds": seconds[0], "build_cpu_seconds": seconds[1], "index_bytes": size}
        for setting in engine.settings:
            results, _, rate = timed(engine.searcher(index, setting), prepared)
            reached = recall(results, exact, documents, queries)
            tried.append({"build": build, "search": setting, "recall": reached, "queries_per_cpu_second": rate, **made})
            for target in TARGETS:
                if reached >= target and (target not in best or rate > best[target][1]["queries_per_cpu_second"]):
                    best[target] = index, tried[-1]
    return best, tried


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--bench", help="the compiled benches/sparse.rs [default: cargo bench]")
    parser.add_argument("--folder", help="keep the vectors here, and use those that are there")
    args = parser.parse_args()
    bench = [args.bench] if args.bench else ["cargo", "bench", "-q", "--bench", "sparse", "--"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or temporary
        paths = [os.path.join(folder, name) for name in ("points.bin", "queries.bin")]
        if not all(map(os.path.exists, paths)):
            for path, matrix in zip(paths, derive(args.corpus, args.queries)):
                write(path, matrix)
        documents, queries = map(read, paths)
        lengths, lists = np.diff(documents.indptr), np.bincount(documents.indices, minlength=DIMENSIONS)
        report = {
            "points": documents.shape[0],
            "nonzeros_per_point": float(lengths.mean()),
            "queries": queries.shape[0],
            "nonzeros_per_query": float(np.diff(queries.indptr).mean()),
            "largest_weight": float(documents.data.max()),
            "longest_list": int(lists.max()),
            "postings_per_query": float(lists[queries.indices].sum() / queries.shape[0]),
        }
        exact = truth(documents, queries)
        print(json.dumps(report), file=sys.stderr, flush=True)
        engines = [Sindi(), Seismic()]
        # Tuned on a tenth of the queries, measured on all.
        few = queries[: queries.shape[0] // 10]
        tuned = {engine.name: tune(engine, documents, few, exact, temporary) for engine in engines}
        rounds = []
        for _ in range(args.rounds):
            ran = subprocess.run([*bench, folder], check=True, capture_output=True, text=True).stdout
            one = ours(ran.strip().splitlines()[-1], exact)
            for engine in engines:
                for target, (index, setting) in tuned[engine.name][0].items():
                    results, rate, cpu = timed(engine.searcher(index, setting["search"]), engine.prepare(queries))
                    one[f"{engine.name} {target}"] = {
                        "recall": recall(results, exact, documents, queries),
                        "queries_per_second": rate,
                        "queries_per_cpu_second": cpu,
                        **{key: setting[key] for key in ("build_seconds", "build_cpu_seconds", "index_bytes")},
                    }
            rounds.append(one)
        report["medians"] = {
            name: {key: statistics.median(one[name][key] for one in rounds) for key in rounds[0][name]}
            for name in rounds[0]
        }
        report["settings"] = {
            name: {target: setting for target, (_, setting) in best.items()} for name, (best, _) in tuned.items()
        }
        report["rounds"] = rounds
        report["tried"] = {name: tried for name, (_, tried) in tuned.items()}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
