"""Trainings of compacted networks of every kind go as those of the masked ones, to 1e-9 in float64."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.workloads.engines import training
from scratchcard.workloads.engines.engine import Engine
from scratchcard.workloads.engines.selection import EngineName, make_engine
from scratchcard.workloads.engines.training import Recipe, evaluate, train
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
