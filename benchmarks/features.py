"""Time and memory of the features: `python -m benchmarks.features [--json]`.

- Seconds for all features, and for the source thesis' four, of LeNet-300-100 with a batch of 2,560 on one
  thread.
- Peak memory above the network itself while all features of a 3000-2500-900-10 network (9.8 million weights)
  are computed block by block and a predictor of 200 trees of 31 leaves scores every block.

Data and trees are random: neither time nor memory depends on what they hold. Linux only (/proc/self).
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scratchcard.dataset_builder.features import FEATURES, compute_features
from scratchcard.meta.predictor import Predictor
from scratchcard.pruning.parameters import count, prunable
from scratchcard.score_tables.schema import THESIS_FEATURES
from scratchcard.scorers.scorer import Batch

TREES = 200
LEAVES = 31
LARGE = (3000, 2500, 900, 10)
MEGABYTE = 2**20


def make_network(*sizes: int) -> nn.Sequential:
    """A chain of linear layers and ReLUs."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def make_batch(examples: int, inputs: int, classes: int = 10) -> Batch:
    """Inputs of which four in five are zero, as in images of digits."""
    values = torch.rand(examples, inputs)
    values[values < 0.8] = 0.0
    return values, torch.randint(0, classes, (examples,))


def make_predictor(seed: int = 0) -> Predictor:
    """Random trees over all features."""
    rng = np.random.default_rng(seed)
    inner = LEAVES - 1
    nodes = inner + LEAVES
    feature = np.full((TREES, nodes), -1, dtype=np.int32)
    feature[:, :inner] = rng.integers(0, len(FEATURES), (TREES, inner))
    left = np.full((TREES, nodes), -1, dtype=np.int32)
    right = left.copy()
    left[:, :inner] = 2 * np.arange(inner) + 1
    right[:, :inner] = 2 * np.arange(inner) + 2
    arrays = {
        "feature": feature.reshape(-1),
        "threshold": rng.normal(size=TREES * nodes).astype(np.float32),
        "left": left.reshape(-1),
        "right": right.reshape(-1),
        "value": rng.normal(size=TREES * nodes),
        "offsets": np.arange(TREES + 1, dtype=np.int64) * nodes,
    }
    return Predictor("gbm", "classification", "kept", FEATURES, arrays)


def memory(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def measure_time(repeats: int) -> dict[str, float]:
    """Best seconds for LeNet-300-100."""
    network, batch = make_network(784, 300, 100, 10), make_batch(2560, 784)
    best = {}
    for label, names in {"all": None, "thesis": THESIS_FEATURES}.items():
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            for _ in compute_features(network, batch, F.cross_entropy, density=0.01, names=names):
                pass
            seconds.append(time.perf_counter() - start)
        best[label] = min(seconds)
    return best


def measure_memory(rows: int, examples: int) -> dict[str, float]:
    """Peak MiB above the large network, and seconds of features and prediction."""
    predictor = make_predictor()
    # Imports, compiled kernels and thread pools belong to no network.
    for block in compute_features(make_network(8, 6, 4), make_batch(8, 8, 4), F.cross_entropy, density=0.01):
        predictor.predict(block)
    network, batch = make_network(*LARGE), make_batch(examples, LARGE[0])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("VmRSS")
    start, predicting = time.perf_counter(), 0.0
    scores = []
    for block in compute_features(network, batch, F.cross_entropy, density=0.01, rows=rows):
        since = time.perf_counter()
        scores.append(predictor.predict(block))
        predicting += time.perf_counter() - since
    total = time.perf_counter() - start
    weights = count(prunable(network))
    if sum(map(len, scores)) != weights:
        raise RuntimeError("not every weight has a score")
    return {
        "weights": weights,
        "network_mib": 4 * weights / MEGABYTE,
        "peak_above_mib": memory("VmHWM") - before,
        "features_seconds": total - predicting,
        "prediction_seconds": predicting,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="timings of which the best counts (default 5)")
    parser.add_argument("--rows", type=int, default=2**18, help="weights a block (default 262144)")
    parser.add_argument("--examples", type=int, default=64, help="batch for the large network (default 64)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # Memory first: what the timings leave in the allocator would be taken for the network's.
    large = measure_memory(options.rows, options.examples)
    lenet = measure_time(options.repeats)
    if options.json:
        print(json.dumps({"lenet_seconds": lenet, "large": large}))
        return
    print(f"LeNet-300-100, 266,200 weights, batch 2,560: all {len(FEATURES)} features {lenet['all']:.2f} s,")
    print(f"  the thesis' {len(THESIS_FEATURES)} {lenet['thesis']:.2f} s")
    print(f"{large['weights']:,} weights ({large['network_mib']:.0f} MiB), batch {options.examples:,}:")
    print(f"  peak {large['peak_above_mib']:.0f} MiB above the network (aim: below 1 GB = 953 MiB)")
    print(f"  features {large['features_seconds']:.1f} s, {TREES} trees {large['prediction_seconds']:.1f} s")


if __name__ == "__main__":
    main()
