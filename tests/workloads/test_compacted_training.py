"""Trainings of compacted networks of every kind go as those of the masked ones, to 1e-9 in float64."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.workloads.engines import training
from scratchcard.workloads.engines.engine import Engine
from scratchcard.workloads.engines.selection import EngineName, make_engine
from scratchcard.workloads.engines.training import Recipe, evaluate, train
from scratchcard.workloads.task import Task
from tests.pruning.unit_networks import UNIT_NETWORKS, lived_in, thinned, unit_network
from tests.workloads.training_toys import toy_task

TASK = toy_task()
PLAIN = Recipe(batch_size=30, max_steps=12, evaluation_interval=6, learning_rate=0.05, momentum=0.9, patience=99)
DECAY = dataclasses.replace(PLAIN, weight_decay=0.01)


def trained(network: nn.Module, mask: Mask, recipe: Recipe, compacted: bool) -> tuple[torch.Tensor, nn.Module]:
    record = train(network, TASK, recipe, mask=mask, compact=compacted, engine="autograd", restore_best=False)
    losses = [(entry.train_loss, entry.validation_loss) for entry in record.history]
    return torch.tensor(losses, dtype=torch.float64), network


@pytest.mark.parametrize("name", UNIT_NETWORKS)
@pytest.mark.parametrize(
    ("recipe", "old"),
    [
        pytest.param(PLAIN, True, id="lived in"),
        pytest.param(DECAY, False, id="decay", marks=pytest.mark.slow),
        pytest.param(PLAIN, False, id="plain", marks=pytest.mark.slow),
        pytest.param(DECAY, True, id="lived in, decay", marks=pytest.mark.slow),
    ],
)
def test_a_whole_training(name: str, recipe: Recipe, old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def sized(engine: EngineName, network: nn.Module, *rest: Any) -> Engine:
        sizes.append(sum(parameter.numel() for parameter in network.parameters()))
        return make_engine(engine, network, *rest)

    monkeypatch.setattr(training, "make_engine", sized)

    def made() -> nn.Module:
        return lived_in(unit_network(name)) if old else unit_network(name)

    mask = thinned(made(), 0.15)
    (wanted, full), (found, ours) = (trained(made(), mask, recipe, compacted) for compacted in (False, True))
    assert sizes[-1] < sizes[0] == sum(parameter.numel() for parameter in full.parameters())  # it was the small one
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)
    parameters = dict(full.named_parameters())
    for key, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, parameters[key], rtol=1e-7, atol=1e-10, msg=lambda m, n=key: f"{n}: {m}")
    losses = [evaluate(network, TASK).loss for network in (ours, full)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


class Tied(nn.Module):
    """Two names for one matrix, as of an encoder and its decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.a, self.b, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.b.weight = self.a.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.first(inputs.flatten(1)).relu()
        return self.last(self.b(self.a(hidden).relu()).relu())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_was_removed_of_a_tied_weight_decays_under_both_names(optimizer: str) -> None:
    torch.manual_seed(0)
    task = Task.of(torch.randn(60, 4), torch.arange(60) % 3)
    found = []
    for compacted in (True, False):
        torch.manual_seed(1)
        network = Tied().double()
        kept = {name: torch.ones_like(weight).bool() for name, weight in prunable(network).items()}
        kept["a.weight"][:, 4:] = kept["last.weight"][:, 4:] = False  # units 4 and 5 lead nowhere
        recipe = Recipe(optimizer=optimizer, batch_size=30, max_steps=12, weight_decay=0.05, learning_rate=0.05)
        found.append(trained_on(task, network, Mask(kept), recipe, compacted))
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], rtol=0, atol=1e-12, msg=name)


def trained_on(task: Task, network: nn.Module, mask: Mask, recipe: Recipe, compacted: bool) -> dict[str, torch.Tensor]:
    train(network, task, recipe, mask=mask, compact=compacted, engine="autograd", restore_best=False)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
