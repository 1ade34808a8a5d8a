"""Rest: what becomes of pruned weights (mask-0 actions): zero, frozen at other values, or trained.

A ticket's pruned weights are zero; with others it is no sparse network. So these are an experiment, and no setting.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from experiments.markdown import markdown_table
from experiments.supermasks.workload import STEP_SECONDS, session, told, workload
from scratchcard.analysis.statistics import interval
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.artefacts.files import written_beside
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.state import load_state
from scratchcard.workloads.engines.training import evaluate, train
from scratchcard.workloads.stored_training import train_once

ACTIONS = ("zero", "frozen at init", "frozen at final", "trained")
DENSITIES = (0.5, 0.2, 0.1, 0.05)


class WithRest(nn.Module):
    """A network whose pruned weights are not zero but given numbers, which no training changes.

    It computes with `w + rest`: w is kept weights alone, which are trained under `mask`; rest is pruned ones.
    """

    def __init__(self, network: nn.Module, mask: Mask, rest: Mapping[str, Tensor]) -> None:
        super().__init__()
        mask.apply_to(network)
        self.network = network
        self.names = {name: f"rest_{place}" for place, name in enumerate(mask.tensors)}
        for name, buffer in self.names.items():
            self.register_buffer(buffer, rest[name].detach().masked_fill(mask.tensors[name], 0))
        self.mask = Mask({f"network.{name}": kept for name, kept in mask.tensors.items()})

    def forward(self, inputs: Tensor) -> Tensor:
        """The network's outputs."""
        weights = prunable(self.network)
        whole = {name: weights[name] + self.get_buffer(buffer) for name, buffer in self.names.items()}
        return functional_call(self.network, whole, (inputs,))  # type: ignore[no-any-return]


def actions(options: argparse.Namespace) -> None:
    """For magnitude after one training, at several densities: test accuracy after each mask-0 action."""
    long = STEP_SECONDS * 1.6 * options.steps
    if options.dry_run:
        told(len(options.seeds) * long * (1 + 3 * 3 * len(DENSITIES)), f"actions, {len(options.seeds)} seeds")
        return
    where, done = workload(options, "lenet_300_100"), session(options)
    method = Method.of("magnitude", regime="ISS", rounds=1)
    found: dict[tuple[str, float], list[float]] = {}
    for seed in options.seeds:
        final = where.build(seed)
        train_once(final, where, done, seed=seed)
        for density in DENSITIES:
            ticket = find_ticket(where, method, density, seed, done, check=False)
            for action in ACTIONS:
                accuracy = _accuracy(action, where, ticket.initial, ticket.mask, prunable(final), seed)
                found.setdefault((action, density), []).append(accuracy)
    rows = [[action, *(interval(found[action, density]).text(2, 100) for density in DENSITIES)] for action in ACTIONS]
    text = f"Test accuracy after mask-0 actions, %, {where.name}, {options.steps} steps, {len(options.seeds)} seeds\n\n"
    text += markdown_table(["pruned weights", *(f"{density:g}" for density in DENSITIES)], rows)
    print(text)
    with written_beside(options.results / "actions.md") as beside:
        beside.write_text(f"{text}\n")


def _accuracy(
    action: str, where: Any, initial: Mapping[str, Tensor], mask: Mask, final: Mapping[str, Tensor], seed: int
) -> float:
    network = where.build(seed)
    load_state(network, initial)
    if action == "trained":
        train(network, where.task, where.recipe, seed=seed)
        return evaluate(network, where.task).accuracy
    begun = {name: weight.detach().clone() for name, weight in prunable(network).items()}
    rest = {"zero": {name: torch.zeros_like(weight) for name, weight in begun.items()}, "frozen at init": begun}
    whole = WithRest(network, mask, rest.get(action, dict(final)))
    train(whole, where.task, where.recipe, mask=whole.mask, seed=seed, engine="autograd", compact=False)
    return evaluate(whole, where.task).accuracy
