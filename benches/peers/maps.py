#!/usr/bin/env python3
"""Layouts in two dimensions by nearness, umap-learn and openTSNE: seconds, and how many of the 10 nearest stay among the 10 nearest.

    python3 -m venv venv && venv/bin/pip install umap-learn openTSNE
    venv/bin/python benches/peers/maps.py --set mnist --nearness target/release/nearness --json mnist.json

Sets: mnist and fashion (70,000 x 784, L2, from ../shared/data), words (the vectors of crates/embed/models/words, cosine). Each engine gets the same
vectors, finds its own neighbours, and runs with its defaults on all cores; --only names some of them. Seconds are from vectors in memory
(nearness: from a loaded collection, its graph built before; that time is told apart) to the layout. Neighbours are counted here, for all in
the same way: the exact 10 nearest of 1,000 points among all.
"""
import argparse
import csv
import gzip
import json
import os
import pathlib
import subprocess
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]


def images(folder):
    parts = []
    for name in ["train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"]:
        with gzip.open(ROOT.parent / "shared/data" / folder / name) as file:
            parts.append(np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784))
    return np.concatenate(parts).astype(np.float32), "l2"


def words():
    raw = (ROOT / "crates/embed/models/words/model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    head, body = json.loads(raw[8:8 + size]), raw[8 + size:]

    def tensor(name, kind):
        start, end = head[name]["data_offsets"]
        return np.frombuffer(body[start:end], kind).reshape(head[name]["shape"])

    vectors = tensor("input", np.int8).astype(np.float32) * tensor("input.scale", np.float32)[:, None]
    return vectors, "cosine"


def kept(x, metric, layout, count=1000, k=10):
    if metric == "cosine":
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    sample = np.random.default_rng(5).choice(len(x), count, replace=False)
    squares, hits = (x * x).sum(1), 0
    for part in np.array_split(sample, max(1, count // 50)):
        far = squares[None] - 2 * (x[part] @ x.T)
        far[np.arange(len(part)), part] = np.inf
        true = np.argpartition(far, k, axis=1)[:, :k]
        for at, near in zip(part, true):
            here = ((layout - layout[at]) ** 2).sum(1)
            here[at] = np.inf
            hits += len(set(np.argpartition(here, k)[:k]) & set(near))
    return hits / (count * k)


def nearness(program, x, metric, method):
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", x)
        data = ["--data", f"{folder}/data"]
        start = time.perf_counter()
        subprocess.run([program, "load", "--collection", "x", "--metric", metric, *data, "-q", f"{folder}/x.npy"], check=True, stdout=subprocess.DEVNULL)
        loaded = time.perf_counter() - start
        out = subprocess.run([program, "map", "x", *data, "--method", method, "--limit", "200000", "--out", f"{folder}/x.csv", "--json", "-q"],
                             check=True, capture_output=True, text=True).stdout
        layout = np.zeros((len(x), 2), np.float32)
        with open(f"{folder}/x.csv", newline="") as file:
            for row in csv.DictReader(file):
                layout[int(row["id"])] = float(row["x"]), float(row["y"])
        told = json.loads(out)
        return layout, told["seconds"], {"load_and_graph_seconds": loaded, "told_kept": told["neighbors_kept"]}


def umap_learn(x, metric):
    import umap

    start = time.perf_counter()
    layout = umap.UMAP(metric="euclidean" if metric == "l2" else metric, n_jobs=os.cpu_count()).fit_transform(x)
    return layout, time.perf_counter() - start, {}


def open_tsne(x, metric):
    import openTSNE

    start = time.perf_counter()
    layout = openTSNE.TSNE(metric="euclidean" if metric == "l2" else metric, n_jobs=os.cpu_count(), random_state=1).fit(x)
    return np.asarray(layout), time.perf_counter() - start, {}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--set", choices=["mnist", "fashion", "words"], default="mnist")
    arguments.add_argument("--nearness", required=True)
    arguments.add_argument("--only", default="nearness-tsne,nearness-umap,umap-learn,openTSNE")
    arguments.add_argument("--limit", type=int)
    arguments.add_argument("--json")
    given = arguments.parse_args()
    x, metric = words() if given.set == "words" else images("mnist" if given.set == "mnist" else "fashion-mnist")
    x = x[:given.limit]
    engines = {
        "nearness-tsne": lambda: nearness(given.nearness, x, metric, "tsne"),
        "nearness-umap": lambda: nearness(given.nearness, x, metric, "umap"),
        "umap-learn": lambda: umap_learn(x, metric),
        "openTSNE": lambda: open_tsne(x, metric),
    }
    found = {}
    for name in given.only.split(","):
        load = os.getloadavg()[0]
        before = os.times()
        layout, seconds, more = engines[name]()
        after = os.times()
        cpu = sum(after[:4]) - sum(before[:4])
        found[name] = {"seconds": seconds, "cpu_seconds": cpu, "neighbors_kept": kept(x, metric, layout), "load_before": load, **more}
        print(f"{given.set} {len(x)} x {x.shape[1]} {name}: {found[name]}", flush=True)
    if given.json:
        json.dump({"set": given.set, "points": len(x), "dimension": x.shape[1], "metric": metric, "engines": found}, open(given.json, "w"), indent=1)


if __name__ == "__main__":
    main()
