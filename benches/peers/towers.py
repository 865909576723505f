#!/usr/bin/env python3
"""Nets of images by nearness and by transformers on PyTorch: the same vectors? and how many pictures a second?

    python3 -m venv venv && venv/bin/pip install torch torchvision transformers pillow
    venv/bin/python benches/peers/towers.py --json out.json                    # random weights of the true sizes
    venv/bin/python benches/peers/towers.py --model dinov2=./dinov2-small

Pictures of 480 x 360 pixels, as JPEG and as PNG; from files to vectors, rounds of both in turn, the same threads each; medians.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import torch
import transformers
from bert import built
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATISTICS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
PROCESSORS = {"clip": CLIPImageProcessorPil, "dinov2": BitImageProcessorPil, "resnet": ConvNextImageProcessorPil}
NETS = {"clip": transformers.CLIPModel, "dinov2": transformers.Dinov2Model, "resnet": transformers.ResNetModel}


def pictures(folder, count):
    """Waves and noise of many kinds, so that no two are alike."""
    random = numpy.random.default_rng(1)
    y, x = numpy.mgrid[0:360, 0:480]
    paths = {"jpg": [], "png": []}
    for number in range(count):
        waves = [128 + 90 * numpy.sin(x / a + y / b + c) for a, b, c in random.uniform(-40, 40, (3, 3))]
        noise = random.normal(0, 8, (360, 480, 3))
        image = Image.fromarray((numpy.stack(waves, -1) + noise).clip(0, 255).astype(numpy.uint8))
        for kind in paths:
            paths[kind].append(folder / f"{number}.{kind}")
            image.save(paths[kind][-1], **({"quality": 90} if kind == "jpg" else {"compress_level": 1}))
    return paths


def random_model(name, folder):
    torch.manual_seed(1)
    folder.mkdir()
    if name == "clip":
        net = transformers.CLIPModel(transformers.CLIPConfig(text_config={}, vision_config={}))
        tokenizer = json.loads((ROOT / "tests/fixtures/transformers/clip/tokenizer.json").read_text())
        # Any tokenizer that fits does: pictures are measured.
        tokens = {token["content"]: token["id"] + 49_407 - 553 for token in tokenizer["added_tokens"]}
        for token in tokenizer["added_tokens"]:
            token["id"] = tokens[token["content"]]
        tokenizer["model"]["vocab"] |= tokens
        ends = tokenizer["post_processor"]
        ends["sep"][1], ends["cls"][1] = tokens["<|endoftext|>"], tokens["<|startoftext|>"]
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        CLIPImageProcessorPil().save_pretrained(folder)
    elif name == "dinov2":
        net = transformers.Dinov2Model(transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518))
        size = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
        BitImageProcessorPil(**size, resample=3, **STATISTICS).save_pretrained(folder)
    else:
        sizes = {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
        net = transformers.ResNetModel(transformers.ResNetConfig(**(sizes if name == "resnet-18" else {})))
        ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875, resample=3, **STATISTICS).save_pretrained(folder)
    net.save_pretrained(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", action="append", default=[], metavar="FAMILY=FOLDER")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nearness", help="the program [default: built here]")
    parser.add_argument("--bench", help="the program of benches/embedders.rs [default: built here]")
    parser.add_argument("--json", help="write raw numbers here")
    args = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(args.threads)
    torch.set_num_threads(args.threads)
    nearness = args.nearness or built(["--bin", "nearness"])
    bench = args.bench or built(["--bench", "embedders"])
    work = pathlib.Path(tempfile.mkdtemp())
    models = [(name.split("-")[0], name, work / name) for name in ["clip", "dinov2", "resnet-18", "resnet-50"]]
    for _, name, folder in models if not args.model else []:
        random_model(name, folder)
    if args.model:
        given = [model.split("=", 1) for model in args.model]
        models = [(family, pathlib.Path(folder).name, pathlib.Path(folder)) for family, folder in given]
    files = pictures(work, args.pictures)
    results = {"torch": torch.__version__, "transformers": transformers.__version__, "threads": args.threads, "models": {}}
    for family, name, folder in models:
        net = NETS[family].from_pretrained(folder, dtype=torch.float32).eval()
        processor = PROCESSORS[family].from_pretrained(folder)

        def vectors(paths):
            pixels = processor([Image.open(path).convert("RGB") for path in paths], return_tensors="pt")["pixel_values"]
            with torch.no_grad():
                if family == "clip":
                    seen = net.visual_projection(net.vision_model(pixels).pooler_output)
                    return (seen / seen.norm(dim=-1, keepdim=True)).numpy()
                states = net(pixels)
                return (states.pooler_output.flatten(1) if family == "resnet" else states.last_hidden_state[:, 0]).numpy()

        def theirs(paths, at_once):
            begun = time.perf_counter()
            for start in range(0, len(paths), at_once or 16):
                vectors(paths[start : start + (at_once or 16)])
            return time.perf_counter() - begun

        out = work / f"{name}-imported"
        subprocess.run([nearness, "import", family, folder, "--out", out, "--name", "peer"], check=True)
        result = results["models"][name] = {}
        for kind, paths in files.items():
            (work / "paths.json").write_text(json.dumps([str(path) for path in paths]))
            command = [bench, out, work / "paths.json", work / "vectors"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            load_seconds = float(process.stdout.readline())

            def ours(at_once):
                process.stdin.write(f"{at_once}\n")
                process.stdin.flush()
                return float(process.stdout.readline())

            expected = numpy.concatenate([vectors(paths[start : start + 16]) for start in range(0, len(paths), 16)])
            got = numpy.fromfile(work / "vectors", dtype="<f4").reshape(expected.shape)
            lengths = numpy.linalg.norm(expected, axis=1)
            off = numpy.linalg.norm(expected - got, axis=1) / lengths
            cosine = (expected * got).sum(1) / lengths / numpy.linalg.norm(got, axis=1)
            result[kind] = {
                "load_seconds": load_seconds,
                "largest_difference": float(abs(expected - got).max()),
                "largest_difference_of_length": float(off.max()),
                "least_cosine": float(cosine.min()),
            }
            print(f"{name}, {kind}: off by at most {off.max():.1e} of a vector's length, {abs(expected - got).max():.1e} of a component")
            for what, at_once in [("all at once", 0), ("1 a call", 1)] if kind == "jpg" else []:
                some = paths if at_once == 0 else paths[:16]
                ours(at_once), theirs(some, at_once)
                rounds = [(ours(at_once), theirs(some, at_once)) for _ in range(args.rounds)]
                result[kind][what] = {"nearness": [a for a, _ in rounds], "pytorch": [b for _, b in rounds], "of": [len(paths), len(some)]}
                a, b = statistics.median(a for a, _ in rounds), statistics.median(b for _, b in rounds)
                a, b = len(paths) / a, len(some) / b
                print(f"{name}, {what}: nearness {a:.1f} pictures/s, PyTorch {b:.1f} pictures/s, {a / b:.2f} times", flush=True)
            process.stdin.close()
            process.wait()
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
