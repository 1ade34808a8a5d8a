"""Steps of training, dense and of a ticket, against a plain loop over the same tensors; one thread.

    python -m benchmarks.training_networks                        # five kinds of networks, some minutes
    python -m benchmarks.training_networks resnet_20 vgg_16       # others
    python -m benchmarks.training_networks --batch 128 --json     # machine-readable

Every figure is processor time of a step on noise of CIFAR's shape (perceptrons: MNIST's). The plain loop indexes the
tensors, goes forward and backward and lets torch's default SGD step; for a ticket it sets the pruned weights to zero
after each step. Rounds of all cases are interleaved, and the fastest of each is taken. `channels last` is `train`,
dense, with that setting.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.networks import build_network
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split, Task

NETWORKS = ("mlp_300_100_50", "lenet_5", "conv_4", "resnet_20", "vit_small")
WARM = 2
"""Steps before those that are measured."""


def noise(network: str, examples: int = 1024) -> Task:
    """Noise of the shape that the network is for."""
    shape = (1, 28, 28) if network.startswith(("mlp", "lenet")) else (3, 32, 32)
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(examples, *shape, generator=generator), torch.arange(examples) % 10)
    few = Split(split.tensor[:10], split.targets[:10])
    return Task("noise", split, few, few, 10, "noise")


def ticket_of(network: nn.Module, density: float) -> Mask:
    """A random mask of one density in each layer."""
    generator = torch.Generator().manual_seed(1)
    return Mask({n: torch.rand(w.shape, generator=generator) < density for n, w in prunable(network).items()})


def plain(network: nn.Module, task: Task, recipe: Recipe, mask: Mask | None) -> float:
    """Seconds of a step of the plain loop."""
    network, inputs, targets = copy.deepcopy(network).train(), task.train.tensor, task.train.targets
    weights = {} if mask is None else {n: w for n, w in network.named_parameters() if n in mask.tensors}
    optimizer = torch.optim.SGD(network.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
    generator, begin = torch.Generator().manual_seed(0), 0.0
    for step in range(recipe.max_steps):
        if step == WARM:
            begin = time.process_time()
        rows = torch.randint(len(targets), (recipe.batch_size,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(network(inputs[rows]), targets[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            for name, weight in weights.items():
                weight.mul_(mask.tensors[name])  # type: ignore[union-attr]
    return (time.process_time() - begin) / (recipe.max_steps - WARM)


def ours(network: nn.Module, task: Task, recipe: Recipe, mask: Mask | None) -> tuple[float, str]:
    """Seconds of a step of `train`, and its engine."""
    times = []

    def note(step: int, most: int) -> None:
        times.append(time.process_time())

    # One step more, so that the evaluation at the end comes after what is measured.
    ends, longer = (WARM, recipe.max_steps), replace(recipe, max_steps=recipe.max_steps + 1)
    record = train(copy.deepcopy(network), task, longer, mask=mask, snapshot_steps=ends, progress=note)
    return (times[1] - times[0]) / (recipe.max_steps - WARM), record.engine


def measured(name: str, options: argparse.Namespace) -> dict[str, float | str]:
    """The fastest seconds of a step of each case."""
    task = noise(name)
    network = build_network(name, task.train.shapes, 10, seed=0)
    mask = ticket_of(network, options.density)
    recipe = Recipe(momentum=0.9, learning_rate=0.01, batch_size=options.batch, max_steps=WARM + options.steps)
    engines: dict[str, str] = {}

    def by_train(which: str, mask: Mask | None) -> Callable[[], float]:
        def run() -> float:
            seconds, engines[which] = ours(network, task, recipe, mask)
            return seconds

        return run

    cases: dict[str, Callable[[], float]] = {
        "plain": lambda: plain(network, task, recipe, None),
        "ours": by_train("engine", None),
        "plain ticket": lambda: plain(network, task, recipe, mask),
        "our ticket": by_train("ticket engine", mask),
    }
    if task.train.tensor.shape[1] == 3:
        cases["channels last"] = lambda: ours(network, task, replace(recipe, channels_last=True), None)[0]
    times: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(options.rounds):
        for case, run in cases.items():
            times[case].append(run())
    return {case: min(found) for case, found in times.items()} | engines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="registered names")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = {}
    if not options.json:
        print(f"milliseconds of a step of {options.batch}, one thread; tickets of density {options.density:g}\n")
        heads = (("", 16), ("plain", 9), ("ours", 9), ("ratio", 7), ("plain ticket", 14), ("ours", 9), ("ratio", 7))
        print("".join(f"{head:>{width}}" for head, width in (*heads, ("channels last", 15))))
    for name in options.networks:
        found[name] = case = measured(name, options)
        ratios = {"dense": case["plain"] / case["ours"], "ticket": case["plain ticket"] / case["our ticket"]}  # type: ignore[operator]
        case |= {f"{which}: plain / ours": ratio for which, ratio in ratios.items()}
        if not options.json:
            print(_row(name, case, ratios), flush=True)
    if options.json:
        print(json.dumps(found, indent=1))
    return 0


def _row(name: str, case: dict[str, float | str], ratios: dict[str, float]) -> str:
    def ms(which: str, width: int) -> str:
        return f"{1000 * float(case[which]):{width}.2f}" if which in case else f"{'':{width}}"

    dense = f"{ms('plain', 9)}{ms('ours', 9)}{ratios['dense']:7.2f}"
    ticket = f"{ms('plain ticket', 14)}{ms('our ticket', 9)}{ratios['ticket']:7.2f}"
    return f"{name:16}{dense}{ticket}{ms('channels last', 15)}   {case['engine']}, {case['ticket engine']}"


if __name__ == "__main__":
    sys.exit(main())
