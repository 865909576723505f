"""BM25 top 10 beside tantivy (pip install tantivy), on the paragraphs of Wikipedia articles.

    python benches/peers/bm25.py --corpus ../shared/data/wikipedia/*.gz --rounds 3

Both index the same words: lower-case runs of letters and digits, separated by spaces. Queries are 2, 5 and 20 words drawn
from random paragraphs. One thread each, in turn; medians of the rounds. Prints one JSON object.
"""
import argparse, gzip, json, os, random, re, statistics, subprocess, tempfile, time

import tantivy


def paragraphs(files):
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("<doc ") or line.startswith("</doc"):
                    continue
                words = re.findall(r"[a-z0-9]+", line.lower())
                if len(words) >= 20:
                    yield " ".join(words)


def run_tantivy(texts, sets, folder):
    schema = tantivy.SchemaBuilder()
    schema.add_text_field("text", stored=False, tokenizer_name="whitespace", index_option="freq")
    schema.add_unsigned_field("id", stored=True)
    index = tantivy.Index(schema.build(), path=folder)
    writer = index.writer(heap_size=1_000_000_000, num_threads=1)
    start = time.time()
    for number, text in enumerate(texts):
        writer.add_document(tantivy.Document(text=text, id=number))
    writer.commit()
    writer.wait_merging_threads()
    build = time.time() - start
    index.reload()
    searcher = index.searcher()
    result = {"build_seconds": build, "segments": searcher.num_segments, "queries": {}}
    result["index_bytes"] = sum(
        os.path.getsize(os.path.join(folder, name))
        for name in os.listdir(folder)
        if name.endswith((".term", ".idx", ".fieldnorm", ".pos"))
    )
    for words, queries in sets.items():
        parsed = [index.parse_query(query, ["text"]) for query in queries]
        scores = [[score for score, _ in searcher.search(query, 10, count=False).hits] for query in parsed]
        rates = []
        for _ in range(3):
            start = time.time()
            for query in parsed:
                searcher.search(query, 10, count=False)
            rates.append(len(parsed) / (time.time() - start))
        result["queries"][words] = {"queries_per_second": statistics.median(rates), "scores": scores}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--bench", help="the compiled benches/keywords.rs [default: cargo bench]")
    args = parser.parse_args()
    texts = list(paragraphs(args.corpus))
    draw = random.Random(1)
    sets = {
        words: [" ".join(draw.sample(draw.choice(texts).split(), words)) for _ in range(args.queries)]
        for words in (2, 5, 20)
    }
    bench = [args.bench] if args.bench else ["cargo", "bench", "-q", "--bench", "keywords", "--"]
    rounds = {"nearness": [], "tantivy": []}
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "texts.txt"), "w") as file:
            file.write("\n".join(texts))
        for words, queries in sets.items():
            with open(os.path.join(folder, f"queries-{words}.txt"), "w") as file:
                file.write("\n".join(queries))
        for _ in range(args.rounds):
            ran = subprocess.run([*bench, folder], check=True, capture_output=True, text=True).stdout
            rounds["nearness"].append(json.loads(ran.strip().splitlines()[-1]))
            with tempfile.TemporaryDirectory() as index:
                rounds["tantivy"].append(run_tantivy(texts, sets, index))
    report = {"texts": len(texts), "tantivy": tantivy.__version__ if hasattr(tantivy, "__version__") else "?"}
    for engine, results in rounds.items():
        report[engine] = {
            "build_seconds": statistics.median(one["build_seconds"] for one in results),
            "index_bytes": results[0]["index_bytes"],
            "queries_per_second": {
                words: statistics.median(one["queries"][str(words) if engine == "nearness" else words]["queries_per_second"] for one in results)
                for words in sets
            },
        }
    worst = 0.0
    for words in sets:
        ours = rounds["nearness"][0]["queries"][str(words)]["scores"]
        theirs = rounds["tantivy"][0]["queries"][words]["scores"]
        for a, b in zip(ours, theirs):
            assert len(a) == len(b), (a, b)
            worst = max([worst, *(abs(x - y) for x, y in zip(a, b))])
    report["largest_difference_of_scores"] = worst
    report["tantivy_segments"] = rounds["tantivy"][0]["segments"]
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
