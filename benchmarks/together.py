"""K tickets trained together, on stacked parameters, against one after another, on one device.

    python -m benchmarks.together                           # on the GPU where there is one, else on the CPU
    python -m benchmarks.together --device cuda --steps 859 --tickets 1 8 32 128
    python -m benchmarks.together --network convolutional   # the vmap path; LeNet-300-100 takes batched products
    python -m benchmarks.together --synthetic               # noise in the shape of MNIST, where there is no MNIST

For each K the same K tickets (their own initial weights, masks and data orders, density 0.005 on LeNet-300-100) are
trained for the same steps with one evaluation of the validation split, the data on the device beforehand:

- together: `train_stacked`;
- the same work one after another: `train(engine="autograd", compact=False)`;
- as a sweep does it: `train`, which compacts the tickets and takes the engine that is fastest on the device.

Repeats are interleaved, medians compared. On a CPU one network keeps a core busy already, and the compacted tickets of
the third case are the fastest; what is gained there is only the overhead of small operations.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.data import mnist_or_noise
from benchmarks.training import ticket_like
from scratchcard.artefacts.version import machine
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.workloads.device import choose_device
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import Recipe, train
from scratchcard.workloads.networks import build_network
from scratchcard.workloads.networks.mlp import initialise
from scratchcard.workloads.task import Task

CASES = ("together", "one after another", "as a sweep does it")


def convolutional(seed: int) -> nn.Module:
    """Two convolutions with batch normalisation and a linear layer: 28,000 weights."""
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, 10)),
    )
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def ticket(name: str, seed: int) -> tuple[nn.Module, Mask]:
    """A network and a mask: as iterative magnitude pruning leaves LeNet-300-100, or 5 % of each layer at random."""
    if name == "lenet_300_100":
        return build_network(name, (1, 28, 28), 10, seed), ticket_like(seed)
    network, generator = convolutional(seed), torch.Generator().manual_seed(seed)
    kept = {key: torch.rand(weight.shape, generator=generator) < 0.05 for key, weight in prunable(network).items()}
    return network, Mask(kept)


def trainings(network: str, count: int, task: Task, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """For each case, a function that trains `count` fresh tickets and returns the seconds and the engine."""

    def case(trained: Callable[[list[nn.Module], list[Mask]], list[Any]]) -> Callable[[], tuple[float, str]]:
        def run() -> tuple[float, str]:
            networks, masks = zip(*(ticket(network, seed) for seed in range(count)), strict=True)
            started = time.perf_counter()
            records = trained(list(networks), list(masks))
            return time.perf_counter() - started, records[0].engine

        return run

    def one_by_one(networks: list[nn.Module], masks: list[Mask], **settings: Any) -> list[Any]:
        tickets = enumerate(zip(networks, masks, strict=True))
        return [train(n, task, recipe, mask=m, seed=seed, device=device, **settings) for seed, (n, m) in tickets]

    return {
        "together": case(
            lambda networks, masks: train_stacked(
                networks, task, recipe, masks=masks, seeds=range(count), device=device
            )
        ),
        "one after another": case(lambda n, m: one_by_one(n, m, engine="autograd", compact=False)),
        "as a sweep does it": case(one_by_one),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (the default)")
    parser.add_argument("--network", choices=("lenet_300_100", "convolutional"), default="lenet_300_100")
    parser.add_argument("--tickets", type=int, nargs="+", default=[1, 8, 32], help="how many at once")
    parser.add_argument("--steps", type=int, default=200, help="of each training; 859 are an epoch of MNIST")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data-dir", help="folder with mnist/ (default: SCRATCHCARD_DATA)")
    parser.add_argument("--synthetic", action="store_true", help="noise instead of MNIST")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = choose_device(options.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"one thread of {machine()}"
    task = mnist_or_noise(options.data_dir, synthetic=options.synthetic).to(device)
    recipe = Recipe(max_steps=options.steps, evaluation_interval=options.steps)
    # Compiles the fused engine, loads the GPU's libraries.
    for run in trainings(options.network, 2, task, Recipe(max_steps=5), device).values():
        run()
    rows = []
    for count in options.tickets:
        cases = trainings(options.network, count, task, recipe, device)
        times: dict[str, list[float]] = {name: [] for name in CASES}
        engines: dict[str, str] = {}
        for _ in range(options.repeats):
            for name, run in cases.items():
                seconds, engines[name] = run()
                times[name].append(seconds)
        medians = {name: statistics.median(found) for name, found in times.items()}
        ratios = {name: medians[name] / medians["together"] for name in CASES[1:]}
        rows.append({"tickets": count, "seconds": medians, "ratios": ratios, "engines": engines, "times": times})
    if options.json:
        about = {"device": where, "network": options.network, "task": task.name, "steps": options.steps}
        print(json.dumps(about | {"rows": rows}, indent=1))
        return 0
    print(f"{options.network}, {task.name}, {options.steps} steps of 64 and one evaluation, on {where}\n")
    for row in rows:
        steps = row["tickets"] * options.steps / row["seconds"]["together"]
        print(f"{row['tickets']} tickets together: {row['seconds']['together']:.3f} s ({steps:,.0f} network steps / s)")
        for name, ratio in row["ratios"].items():
            text = f"{name} ({row['engines'][name]}) / together"
            print(f"  {text:45s} {row['seconds'][name]:8.3f} s {ratio:8.2f} x")
    if device.type == "cpu":
        print(
            "\nOn a CPU a ratio below 1 means that training together is slower; it is meant for a GPU (--device cuda)."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
