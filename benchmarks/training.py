"""Training speed on MNIST, one thread, one run: the engines against the plain reference loop and each other.

    python -m benchmarks.training                       # everything, about two minutes
    python -m benchmarks.training --ticket FILE         # with a real ticket in place of the built one
    python -m benchmarks.training --json                # machine-readable

Every figure is the time of one epoch (859 steps of 64) and one evaluation of the 5,000 validation images, with
the preparations of `train` (compaction, gathering of inputs); the reference does not evaluate. The repeats of all
cases are interleaved, and medians are compared, as other processes may share the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.data import images_or_noise, mnist_or_noise
from benchmarks.reference import reference_epoch
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.engines.training import Recipe, train
from scratchcard.workloads.networks import build_network
from scratchcard.workloads.task import Task

STEPS = 859
RECIPE = Recipe(max_steps=STEPS, evaluation_interval=STEPS)
DENSITIES = (0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def network(seed: int = 0) -> torch.nn.Sequential:
    return build_network("lenet_300_100", (1, 28, 28), 10, seed)


def ticket_like(seed: int = 0) -> Mask:
    """A mask as iterative magnitude pruning leaves at density 0.005: 1,331 weights, 450 + 570 + 311.

    About 250 inputs, 170 and 85 hidden units are live; every live unit has an incoming and an outgoing weight.
    """
    generator = torch.Generator().manual_seed(seed)

    def some(total: int, count: int) -> torch.Tensor:
        return torch.randperm(total, generator=generator)[:count]

    def connected(rows: torch.Tensor, columns: torch.Tensor, kept: int) -> torch.Tensor:
        # Every row and column once, in random pairs; the rest of the pairs at random.
        chosen = torch.zeros(len(rows), len(columns), dtype=torch.bool)
        pairs = torch.arange(max(len(rows), len(columns)))
        chosen[pairs % len(rows), some(len(columns), len(columns))[pairs % len(columns)]] = True
        free = (~chosen).flatten().nonzero().flatten()
        chosen.view(-1)[free[some(len(free), max(0, kept - int(chosen.sum())))]] = True
        return chosen

    weights = prunable(network())
    lives = [some(784, 250), some(300, 170), some(100, 85), torch.arange(10)]
    tensors = {}
    for (name, weight), columns, rows, kept in zip(weights.items(), lives, lives[1:], (450, 570, 311), strict=False):
        tensors[name] = torch.zeros(weight.shape, dtype=torch.bool)
        tensors[name][rows[:, None], columns] = connected(rows, columns, kept)
    return Mask(tensors)


def uniform(density: float) -> Mask:
    """A random mask of one density in every layer, the last one dense: little to compact."""
    generator = torch.Generator().manual_seed(1)
    return Mask(
        {
            name: torch.rand(weight.shape, generator=generator) < (density if len(weight) > 10 else 1)
            for name, weight in prunable(network()).items()
        }
    )


def epoch(task: Task, mask: Mask | None, engine: str, compact: bool = True) -> Callable[[], float]:
    def run() -> float:
        return train(network(), task, RECIPE, mask=mask, engine=engine, compact=compact).seconds

    return run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder with mnist/ (default: SCRATCHCARD_DATA)")
    parser.add_argument("--ticket", type=Path, help="a ticket of lenet_300_100 on mnist")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    task, (images, labels) = mnist_or_noise(options.data_dir), images_or_noise(options.data_dir)
    images, labels = images[:55_000], labels[:55_000]
    ticket = Ticket.load(options.ticket).mask if options.ticket else ticket_like()
    dense = Mask.dense(network())
    cases: dict[str, Callable[[], float]] = {
        "reference, dense": lambda: reference_epoch(network(), dense, images, labels),
        "reference, ticket": lambda: reference_epoch(network(), ticket, images, labels),
        "ours, dense": epoch(task, None, "auto"),
        "ours, ticket": epoch(task, ticket, "auto"),
        "ticket, masked dense, not compacted": epoch(task, ticket, "autograd", compact=False),
        "ticket, masked dense, compacted": epoch(task, ticket, "dense"),
        "ticket, sparse, not compacted": epoch(task, ticket, "sparse", compact=False),
    }
    for density in DENSITIES:
        for engine in ("fused", "dense"):
            cases[f"density {density:g}, {engine}"] = epoch(task, uniform(density), engine)
    epoch(task, ticket, "fused")()  # compiles
    times: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(options.repeats):
        for name, case in cases.items():
            # The reference is slow and steady: two repeats serve.
            if repeat < 2 or not name.startswith("reference"):
                times[name].append(case())
    seconds = {name: statistics.median(found) for name, found in times.items()}
    ratios = {
        "dense: reference / ours (goal 5)": seconds["reference, dense"] / seconds["ours, dense"],
        "ticket: reference / ours (goal 20)": seconds["reference, ticket"] / seconds["ours, ticket"],
    }
    if options.json:
        print(json.dumps({"density": ticket.density, "seconds": seconds, "ratios": ratios, "times": times}, indent=1))
        return 0
    print(f"one MNIST epoch, LeNet-300-100, one thread; ticket of density {ticket.density:.4f}\n")
    for name, value in seconds.items():
        print(f"{name:40s} {value:8.3f} s   ({min(times[name]):.3f} to {max(times[name]):.3f})")
    print()
    for name, value in ratios.items():
        print(f"{name:40s} {value:8.1f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
