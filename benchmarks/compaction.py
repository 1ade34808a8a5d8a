"""What compaction saves: `python -m benchmarks.compaction [--density 0.01] [--batch 16] [--repeats 3] [--json]`.

ResNet-18 and VGG-16 for 10 classes of 32 x 32 images, at their initialisation, one thread, one run. Tickets of one
density by three rules: SynFlow in 20 rounds, the largest weights of all layers, and the largest of each layer with
densities by Erdos-Renyi-Kernel. For each ticket:

- the share of weights that are kept and on a path from inputs to outputs: 0 after layer collapse;
- what is left of all parameters, for training, and for inference, where constants are folded;
- one training step (SGD with momentum) and one inference pass of the masked network at full size, over the same of
  the compacted one: medians of interleaved repeats;
- how many training steps the compaction itself takes, of the network at full size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from scratchcard.pruning.compaction import compact
from scratchcard.pruning.connectivity import effective_density
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.schedules import exponential
from scratchcard.scorers import make_scorer
from scratchcard.workloads.engines.autograd import AutogradEngine
from scratchcard.workloads.networks import build_network
from scratchcard.workloads.objective import Classification
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

ROUNDS = 20
RULES = ("synflow", "magnitude", "magnitude by erk")


def resnet_18() -> nn.Module:
    """torchvision's, with the stem that pruning studies use for small images."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-18": resnet_18,
    "VGG-16": lambda: build_network("vgg_16", (3, 32, 32), 10, 0),
    "VGG-16, batch norm": lambda: build_network("vgg_16_bn", (3, 32, 32), 10, 0),
}


def ticket(rule: str, network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], density: float) -> Mask:
    """The mask of one rule; batch norm as it is in evaluation."""
    scorer = make_scorer(rule.split()[0])
    network.eval()
    if rule != "synflow":
        scores = scorer(network, batch, F.cross_entropy)
        return keep_top(scores, density, scope="erk" if rule.endswith("erk") else "global")
    mask = None
    for target in exponential(density, ROUNDS):
        mask = keep_top(scorer(network, batch, F.cross_entropy, mask=mask), target, within=mask)
    return mask if mask is not None else Mask.dense(network)


def seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median of each call, all interleaved."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if repeat:
                found[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in found.items()}


def measure(name: str, rule: str, density: float, batch: int, repeats: int) -> dict[str, float | str]:
    """One row of the table."""
    network = NETWORKS[name]()
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(batch, 3, 32, 32, generator=generator), torch.arange(batch) % 10)
    mask = ticket(rule, network, (split.tensor, split.targets), density)
    mask.apply_to(network)
    started = time.perf_counter()
    small = compact(network, mask, split.tensor)
    compaction = time.perf_counter() - started
    folded = compact(network, mask, split.tensor, constants="fold").network.eval()
    recipe = Recipe(batch_size=batch, max_steps=100, momentum=0.9)
    order = torch.arange(batch).reshape(1, 1, -1)
    engines = [
        AutogradEngine(each.train(), kept, Classification(), recipe, split)
        for each, kept in ((network, mask), (small.network, small.mask))
    ]
    trained = seconds({f"{k}": lambda e=e: e.run(order) for k, e in enumerate(engines)}, repeats)
    network.eval()
    with torch.no_grad():
        passes = {"0": lambda: network(split.tensor), "1": lambda: folded(split.tensor)}
        inferred = seconds(passes, repeats)
    sizes = [sum(p.numel() for p in each.parameters()) for each in (network, small.network, folded)]
    return {
        "network": name,
        "ticket": rule,
        "path_weights": effective_density(network, mask, (3, 32, 32)),
        "left_for_training": sizes[1] / sizes[0],
        "left_for_inference": sizes[2] / sizes[0],
        "training": trained["0"] / trained["1"],
        "inference": inferred["0"] / inferred["1"],
        "steps_to_compact": compaction / trained["0"],
    }


def main() -> int:
    """Print a row for each network and rule as it comes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compaction", description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS][:2])
    parser.add_argument("--density", type=float, default=0.01)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="a JSON object a row")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.json:
        print(f"density {given.density:g}, batches of {given.batch}, one thread")
        print("| network | ticket by | path weights | left | folded | training | inference | steps to compact |")
        print("|---|---|---|---|---|---|---|---|")
    for name in given.networks:
        for rule in RULES:
            row = measure(name, rule, given.density, given.batch, given.repeats)
            if given.json:
                print(json.dumps(row), flush=True)
                continue
            shares = f"{row['path_weights']:.4f} | {row['left_for_training']:.3f} | {row['left_for_inference']:.3f}"
            times = f"{row['training']:.2f} | {row['inference']:.2f} | {row['steps_to_compact']:.1f}"
            print(f"| {name} | {rule} | {shares} | {times} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
