#!/usr/bin/env python3
"""The net of `nearness train images` and the same net in PyTorch: images a second in training, both in turn.

    python3 -m venv venv && venv/bin/pip install torch
    venv/bin/python benches/peers/images.py --data cifar10-jpeg-train.tar.gz --rounds 3 --json out.json

One epoch of nearness, decoding left out; as many steps of PyTorch as --steps says, on random pixels, which are ready as tensors:
3x3 convolutions, normalisation over the batch, residual blocks, SGD with Nesterov's momentum, batches of 128, the same threads.
PyTorch does not move or mirror its images.
"""
import argparse
import json
import statistics
import subprocess
import tempfile
import time

import torch
from torch import nn

CLASSES, SIDE, WIDTH, BATCH = 10, 32, 32, 128


def unit(before, after):
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one, self.two = unit(width, width), unit(width, width)

    def forward(self, x):
        return torch.relu(x + self.two(torch.relu(self.one(x))))


def net():
    layers = [unit(3, WIDTH // 2), nn.ReLU(), nn.MaxPool2d(2)]
    for stage in range(3):
        before, after = WIDTH << stage >> 1, WIDTH << stage
        layers += [unit(before, after), nn.ReLU(), Residual(after)] + ([nn.MaxPool2d(2)] if stage < 2 else [])
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH << 2, CLASSES))


def pytorch(args, channels_last):
    torch.manual_seed(1)
    model, loss = net(), nn.CrossEntropyLoss(label_smoothing=0.1)
    images, labels = torch.randn(16 * BATCH, 3, SIDE, SIDE), torch.randint(CLASSES, (16 * BATCH,))
    if channels_last:
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    steps = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    for step in range(args.steps + 5):
        if step == 5:
            begun = time.perf_counter()
        at = step % 16 * BATCH
        steps.zero_grad(set_to_none=True)
        loss(model(images[at : at + BATCH]), labels[at : at + BATCH]).backward()
        steps.step()
    return args.steps * BATCH / (time.perf_counter() - begun)


def nearness(args, folder):
    command = [args.nearness, "train", "images", "--data", args.data, "--out", folder + "/net", "--force", "--epochs", "1", "--threads", str(args.threads)]
    made = json.loads(subprocess.run([*command, "--quiet", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    return made["quality"]["images_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nearness", default="target/release/nearness")
    parser.add_argument("--data", required=True, help="50,000 images of 32 x 32 in ten classes")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="where the numbers go")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            rounds.append({"nearness": nearness(args, folder), "pytorch": pytorch(args, False), "pytorch, channels last": pytorch(args, True)})
            print(json.dumps(rounds[-1]), flush=True)
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    result = {"torch": torch.__version__, "weights": sum(p.numel() for p in net().parameters()), "images_per_second": rounds, "medians": medians}
    print(json.dumps(result, indent=1))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
