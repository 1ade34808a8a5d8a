"""Scoring speed, single-threaded, as ratios measured in one run: `python -m benchmarks.scoring [--json]`.

- SNIP and GraSP against one plain forward and backward pass of the same batch (256 and 2,560 MNIST images).
- SynFlow with 100 rounds against a loop as published code has it: in every round a batch is drawn from a
  torch `DataLoader` that normalises item by item, the network's weights are made absolute in place and put
  back, and the threshold is the k-th value of all scores.

Of MNIST (`SCRATCHCARD_DATA` or `--data-dir`); without it, or with `--synthetic`, of noise of the same shape.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.data import images_or_noise
from benchmarks.reference import MaskedLinear, RawImages
from benchmarks.reference import masked as masked_network
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.schedules import exponential
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.scorers import SNIP, GraSP, SynFlow
from scratchcard.scorers.scorer import Batch
from scratchcard.workloads.networks import build_network

ROUNDS = 100
DENSITY = 0.005


def reference_synflow(network: nn.Sequential, loader: DataLoader[Any] | list[Batch]) -> dict[str, Tensor]:
    """100 rounds of SynFlow as published code does it; returns the masks by layer."""
    masked = masked_network(network, Mask.dense(network)).double()
    layers = {name: m for name, m in masked.named_modules() if isinstance(m, MaskedLinear)}
    total = sum(layer.weight.numel() for layer in layers.values())
    for density in exponential(DENSITY, ROUNDS):
        signs = {}
        with torch.no_grad():
            for name, tensor in masked.state_dict().items():
                signs[name] = torch.sign(tensor)
                tensor.abs_()
        inputs, _ = next(iter(loader))
        masked.zero_grad()
        # Biases would enter this sum; those of the network measured here are zero.
        torch.sum(masked(torch.ones(1, *inputs.shape[1:], dtype=torch.float64))).backward()
        scores = {}
        with torch.no_grad():
            for name, layer in layers.items():
                scores[name] = (layer.weight.grad * layer.weight * layer.kept).abs()
            for name, tensor in masked.state_dict().items():
                tensor.mul_(signs[name])
            flat = torch.cat([tensor.flatten() for tensor in scores.values()])
            threshold = torch.kthvalue(flat, total - round(density * total)).values
            for name, layer in layers.items():
                layer.kept.copy_((scores[name] > threshold).double())
    return {name: layer.kept for name, layer in layers.items()}


def our_synflow(network: nn.Sequential, batch: Batch) -> Mask:
    """100 rounds of SynFlow as `regimes` runs them."""
    return prune_upfront(network, batch, F.cross_entropy, SynFlow(), DENSITY, rounds=ROUNDS)[0]


def compare(ours: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The shortest of `repeats` runs of each, in seconds, taken in turns so that all see the same machine."""
    best = dict.fromkeys(ours, float("inf"))
    for run in ours.values():
        run()
    for _ in range(repeats):
        for name, run in ours.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def gradient_scorers(images: Tensor, labels: Tensor, size: int, repeats: int) -> list[dict[str, Any]]:
    """SNIP and GraSP beside one forward and backward pass of the same batch, in float32."""
    network = build_network("lenet_300_100", (1, 28, 28), 10, seed=0)
    inputs = images[:size].unsqueeze(1).float().div(255).sub(0.1307).div(0.3081)
    batch = (inputs, labels[:size])

    def plain() -> None:
        network.zero_grad()
        F.cross_entropy(network(batch[0]), batch[1]).backward()

    seconds = compare(
        {
            "plain": plain,
            "snip": lambda: SNIP()(network, batch, F.cross_entropy),
            "grasp": lambda: GraSP()(network, batch, F.cross_entropy),
        },
        repeats,
    )
    goals = {"snip": 1.3, "grasp": 3.0}
    return [
        {
            "comparison": f"{name}, batch of {size}, / one forward and backward pass",
            "seconds": seconds[name],
            "reference_seconds": seconds["plain"],
            "ratio": seconds[name] / seconds["plain"],
            "goal": f"<= {goal}",
            "met": seconds[name] / seconds["plain"] <= goal,
        }
        for name, goal in goals.items()
    ]


def synflow_rounds(images: Tensor, labels: Tensor, repeats: int) -> list[dict[str, Any]]:
    """SynFlow-100 beside the published kind of loop, with and without its data loader."""
    network = build_network("lenet_300_100", (1, 28, 28), 10, seed=0)
    loader = DataLoader(RawImages(images, labels), batch_size=256, shuffle=True)
    batch = (images[:256].unsqueeze(1).float(), labels[:256])
    expected, found = reference_synflow(network, [batch]), our_synflow(network, batch)
    agree = sum(
        int((expected[name.removesuffix(".weight")].bool() & tensor).sum()) for name, tensor in found.tensors.items()
    )
    seconds = compare(
        {
            "ours": lambda: our_synflow(network, batch),
            "loader": lambda: reference_synflow(network, loader),
            "memory": lambda: reference_synflow(network, [batch]),
        },
        repeats,
    )
    return [
        {
            "comparison": f"the loop {text} / synflow, {ROUNDS} rounds to density {DENSITY}",
            "seconds": seconds["ours"],
            "reference_seconds": seconds[name],
            "ratio": seconds[name] / seconds["ours"],
            "goal": ">= 4" if name == "loader" else "",
            "met": seconds[name] / seconds["ours"] >= 4 if name == "loader" else None,
            "same_kept_weights": f"{agree} of {found.kept}",
        }
        for name, text in (
            ("loader", "that draws its batch each round"),
            ("memory", "with its batch in memory"),
        )
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of text")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder with an mnist folder in it")
    parser.add_argument("--synthetic", action="store_true", help="noise instead of MNIST")
    parser.add_argument(
        "--repeats",
        type=int,
        default=15,
        help="runs at batch 2,560; 4 times as many at 256, a third for SynFlow",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = images_or_noise(arguments.data_dir, synthetic=arguments.synthetic)
    results = [
        *gradient_scorers(images, labels, 256, 4 * arguments.repeats),
        *gradient_scorers(images, labels, 2560, arguments.repeats),
        *synflow_rounds(images, labels, max(1, arguments.repeats // 3)),
    ]
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for row in results:
        goal = f"  (goal {row['goal']}: {'met' if row['met'] else 'MISSED'})" if row["goal"] else ""
        times = f"{1e3 * row['seconds']:.1f} ms, reference {1e3 * row['reference_seconds']:.1f} ms"
        print(f"{row['ratio']:6.2f}  {row['comparison']}: {times}{goal}")


if __name__ == "__main__":
    main()
