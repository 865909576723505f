#!/usr/bin/env python3
"""Word vectors by nearness and by gensim: words a second, quality, and blanks told.

    python3 -m venv venv && venv/bin/pip install gensim
    venv/bin/python benches/peers/words.py speed FILE... --rounds 3
    venv/bin/python benches/peers/words.py speed FILE... --pword2vec PROGRAM    # github.com/IntelLabs/pWord2Vec, built beside it
    venv/bin/python benches/peers/words.py blanks --train FILE --held FILE

`speed` trains all for one epoch in turn, with the same settings, and prints the rate of the training phase alone. `blanks`
trains both on FILE (gensim: CBOW, on nearness's own vocabulary), writes gensim's net as a model folder, and has
`nearness eval words --blanks` ask both for the same hidden words.
"""

import argparse
import gzip
import json
import logging
import os
import re
import struct
import subprocess
import sys
import tempfile
import time

WORD = re.compile(r"[^\W\d_]+")


def sentences(paths, known=None):
    """Lines of lower-case words, as nearness reads them."""
    for path in paths:
        opened = gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")
        with opened as file:
            for line in file:
                if line.startswith(("<doc ", "</doc>")):
                    continue
                words = [word for word in WORD.findall(line.lower()) if known is None or word in known]
                for at in range(0, len(words), 1000):
                    yield words[at : at + 1000]


def nearness(args, *command):
    output = subprocess.run([args.nearness, *command], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output)


def gensim_model(args, path, **settings):
    from gensim.models import Word2Vec

    model = Word2Vec(
        vector_size=100, window=5, negative=5, sample=args.subsample, workers=args.threads, seed=args.seed, **settings
    )
    model.build_vocab(corpus_file=path)
    begun = time.perf_counter()
    model.train(
        corpus_file=path,
        total_words=model.corpus_total_words,
        total_examples=model.corpus_count,
        epochs=args.epochs,
    )
    return model, time.perf_counter() - begun


def pword2vec(args, path, out):
    """Words a second, as it says them at the end."""
    command = [args.pword2vec, "-train", path, "-output", out, "-size", "100", "-window", "5", "-negative", "5", "-binary", "1", "-min-count", "5"]
    command += ["-sample", str(args.subsample), "-threads", str(args.threads), "-iter", str(args.epochs)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return round(float(re.findall(r"Words/sec: ([0-9.]+)k", output)[-1]) * 1000)


def speed(args, folder):
    path = os.path.join(folder, "corpus.txt")
    words = 0
    with open(path, "w", encoding="utf-8") as file:
        for sentence in sentences(args.files):
            words += len(sentence)
            file.write(" ".join(sentence) + "\n")
    rounds = []
    for number in range(args.rounds):
        found = nearness(
            args, "train", "words", "--corpus", path, "--out", os.path.join(folder, f"n{number}"), "--epochs", str(args.epochs),
            "--subsample", str(args.subsample), "--threads", str(args.threads), "--seed", str(args.seed), "--blank-epochs", "0", "--json",
            "--window", "5", "--negative", "5",
        )
        _, seconds = gensim_model(args, path, sg=1, min_count=5)
        rounds.append({"nearness": found["quality"]["words_per_second"], "gensim": round(words * args.epochs / seconds)})
        if args.pword2vec:
            rounds[-1]["pWord2Vec"] = pword2vec(args, path, os.path.join(folder, "pword2vec.bin"))
        print(json.dumps(rounds[-1]), flush=True)
    return {"words": words, "words_per_second": rounds}


def write_folder(model, words, counts, folder):
    """gensim's CBOW as a model folder of nearness."""
    import numpy as np

    # What Python's expression cuts otherwise (words with combining marks) is not in gensim's vocabulary: zeros.
    order = [model.wv.key_to_index.get(word, -1) for word in words]
    print(f"{order.count(-1)} of {len(words)} words are not in gensim's vocabulary", file=sys.stderr)
    tensors = {
        "input": np.vstack([model.wv.vectors, np.zeros((1, 100), np.float32)])[order],
        "output": np.vstack([model.syn1neg, np.zeros((1, 100), np.float32)])[order],
    }
    header, data = {}, b""
    for name, tensor in tensors.items():
        numbers = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(folder)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
        file.writelines(f"{word} {count}\n" for word, count in zip(words, counts))
    with open(os.path.join(folder, "card.json"), "w", encoding="utf-8") as file:
        json.dump({"name": "words", "settings": {"objective": "cbow"}}, file)


def blanks(args, folder):
    own = os.path.join(folder, "nearness")
    nearness(
        args, "train", "words", "--corpus", args.train, "--out", own, "--epochs", str(args.epochs),
        "--subsample", str(args.subsample), "--threads", str(args.threads), "--seed", str(args.seed), "--json",
    )
    with open(os.path.join(own, "vocab.txt"), encoding="utf-8") as file:
        pairs = [line.rsplit(" ", 1) for line in file]
    words, counts = [pair[0] for pair in pairs], [int(pair[1]) for pair in pairs]
    path = os.path.join(folder, "corpus.txt")
    known = set(words)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(" ".join(sentence) + "\n" for sentence in sentences([args.train], known))
    model, _ = gensim_model(args, path, sg=0, min_count=1)
    theirs = os.path.join(folder, "gensim")
    write_folder(model, words, counts, theirs)
    asked = ["--blanks", args.held, "--blank-count", str(args.count), "--json"]
    return {name: nearness(args, "eval", "words", "--model", path, *asked)["blanks"] for name, path in [("nearness", own), ("gensim CBOW", theirs)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nearness", default="target/release/nearness", help="the program")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--subsample", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", help="folder for files that are removed afterwards")
    parser.add_argument("--json", help="where the numbers go")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("speed")
    one.add_argument("files", nargs="+")
    one.add_argument("--rounds", type=int, default=3)
    one.add_argument("--pword2vec", help="the program pWord2Vec")
    two = commands.add_parser("blanks")
    two.add_argument("--train", required=True)
    two.add_argument("--held", required=True)
    two.add_argument("--count", type=int, default=10_000)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        result = speed(args, folder) if args.command == "speed" else blanks(args, folder)
    print(json.dumps(result, indent=1))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
