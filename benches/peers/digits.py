#!/usr/bin/env python3
"""The digit net by nearness and by PyTorch, with the same weights: the same vectors? how many images a second? and how often
the nearest images show the same digit.

    python3 -m venv venv && venv/bin/pip install torch numpy
    cargo bench --bench embedders --no-run
    venv/bin/python benches/peers/digits.py --bench target/release/deps/embedders-... --json out.json

The 10,000 test images of data/mnist; rounds of both in turn, two threads each; medians.
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


def idx(name, header):
    import numpy as np

    return np.frombuffer(gzip.open(ROOT / "data/mnist" / name).read(), dtype=np.uint8, offset=header)


def tensors(path):
    import numpy as np

    bytes_ = path.read_bytes()
    length = int.from_bytes(bytes_[:8], "little")
    for name, tensor in json.loads(bytes_[8 : 8 + length]).items():
        first, last = tensor["data_offsets"]
        yield name, np.frombuffer(bytes_[8 + length + first : 8 + length + last], dtype="<f4").reshape(tensor["shape"])


def same_digit(vectors, labels, k=10):
    """The share of the k nearest by cosine that have the same digit."""
    import numpy as np

    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    share = 0.0
    for first in range(0, len(unit), 1000):
        near = unit[first : first + 1000] @ unit.T
        near[np.arange(len(near)), np.arange(first, first + len(near))] = -2
        best = np.argpartition(-near, k, axis=1)[:, :k]
        share += (labels[best] == labels[first : first + 1000, None]).mean(axis=1).sum()
    return share / len(unit)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "crates/embed/models/digits")
    parser.add_argument("--bench", required=True, help="the program of benches/embedders.rs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="write raw numbers here")
    args = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(args.threads)

    import numpy as np
    import torch

    torch.set_num_threads(args.threads)
    images, labels = idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784), idx("t10k-labels-idx1-ubyte.gz", 8)
    net = torch.nn.Sequential()
    for name, layer in [
        ("convolution1", torch.nn.Conv2d(1, 20, 5)), ("ramp1", torch.nn.ReLU()), ("pool1", torch.nn.MaxPool2d(2)),
        ("convolution2", torch.nn.Conv2d(20, 50, 5)), ("ramp2", torch.nn.ReLU()), ("pool2", torch.nn.MaxPool2d(2)),
        ("flatten", torch.nn.Flatten()), ("linear1", torch.nn.Linear(800, 500)), ("ramp3", torch.nn.ReLU()),
    ]:
        net.add_module(name, layer)
    last = torch.nn.Linear(500, 10)
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors(args.model / "model.safetensors")}
    last.load_state_dict({part: state.pop(f"linear2.{part}") for part in ("weight", "bias")})
    net.load_state_dict(state)
    pixels = torch.from_numpy(images.astype(np.float32) / 255).reshape(-1, 1, 28, 28)

    work = pathlib.Path(tempfile.mkdtemp())
    names = []
    for number, image in enumerate(images):
        names.append(str(work / f"{number}.raw"))
        pathlib.Path(names[-1]).write_bytes(image.tobytes())
    (work / "images.json").write_text(json.dumps(names))
    process = subprocess.Popen(
        [args.bench, args.model, work / "images.json", work / "vectors"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()

    def ours(at_once):
        process.stdin.write(f"{at_once}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    @torch.inference_mode()
    def theirs(at_once):
        begun = time.perf_counter()
        for start in range(0, len(pixels), at_once or len(pixels)):
            net(pixels[start : start + (at_once or len(pixels))])
        return time.perf_counter() - begun

    with torch.inference_mode():
        features = net(pixels)
        logits = last(features).numpy()
    got = np.fromfile(work / "vectors", dtype="<f4").reshape(len(images), -1)
    result = {
        "torch": torch.__version__,
        "threads": args.threads,
        "largest_difference": float(abs(features.numpy() - got).max()),
        "accuracy": float((logits.argmax(1) == labels).mean()),
        "same_digit_of_10_nearest": {
            "features": same_digit(got, labels), "logits": same_digit(logits, labels), "pixels": same_digit(images.astype(np.float32), labels),
        },
        "seconds": {},
    }
    print(json.dumps(result))
    for name, at_once in [("all at once", 0), ("64 a call", 64), ("1 a call", 1)]:
        ours(at_once), theirs(at_once)
        rounds = [(ours(at_once), theirs(at_once)) for _ in range(args.rounds)]
        result["seconds"][name] = {"nearness": [a for a, _ in rounds], "torch": [b for _, b in rounds]}
        a, b = (len(images) / statistics.median(side) for side in zip(*rounds))
        print(f"{name}: nearness {a:.0f} images/s, torch {b:.0f} images/s, {a / b:.2f} times", flush=True)
    process.stdin.close()
    process.wait()
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    if result["largest_difference"] >= 1e-3:
        sys.exit("the vectors differ")


main()
