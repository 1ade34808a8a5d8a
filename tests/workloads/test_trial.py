"""Engines that a network's layers speak for, and that its outputs do not: a trial finds them, whatever it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.scorers import make_scorer
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Task

TASK = Task.of(torch.randn(90, 20, generator=torch.Generator().manual_seed(0)), torch.arange(90) % 3)
SHORT = Recipe(max_steps=6, batch_size=16, evaluation_interval=3)


class Own(nn.Module):
    """Two layers, and a way from the first one's outputs to the second one's inputs."""

    def __init__(self, between: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(20, 60), nn.Linear(60, 3), between

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.second(self.between(self.first, inputs).relu())
        return found


def trying(layer: nn.Module, inputs: Tensor) -> Tensor:
    try:
        return F.linear(inputs, 2 * layer.get_parameter("weight"))
    except AttributeError:
        found: Tensor = layer(inputs)
        return found


class Tripled(nn.ReLU):
    def forward(self, inputs: Tensor) -> Tensor:
        return 3 * inputs


class Doubled(nn.Sequential):
    def __call__(self, inputs: Tensor) -> Tensor:
        return 2 * super().__call__(inputs)  # type: ignore[no-any-return]


class DoubledForward(nn.Sequential):
    def forward(self, inputs: Any) -> Tensor:
        found: Tensor = 2 * super().forward(inputs)
        return found


def layers(kind: Callable[..., nn.Module] = nn.Sequential, between: type[nn.Module] = nn.ReLU) -> nn.Module:
    return kind(nn.Linear(20, 60), between(), nn.Linear(60, 3))


def with_hook(what: str, place: str, hook: Callable[..., Any]) -> nn.Module:
    network = layers()
    getattr(network.get_submodule(place), what)(hook)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "functional": lambda: Own(lambda layer, x: F.linear(x, layer.get_parameter("weight"))),
    "by type": lambda: Own(lambda layer, x: layer(x) * (2 if isinstance(layer, nn.Linear) else 1)),
    "by attribute": lambda: Own(lambda layer, x: layer(x) * (2 if hasattr(layer, "weight") else 1)),
    "trying": lambda: Own(trying),
    "functional in evaluation": lambda: Own(
        lambda m, x: m(x) if m.training else F.linear(x, m.get_parameter("weight"))
    ),
    "weight in the output": lambda: Own(
        lambda layer, x: layer(x) * (1 + layer.get_parameter("weight").square().mean())
    ),
    "subclass of a function": lambda: layers(between=Tripled),
    "subclass of a sequence": lambda: layers(Doubled),
    "subclass with a forward": lambda: layers(DoubledForward),
    "hook of a layer": lambda: with_hook("register_forward_hook", "0", lambda m, i, out: 2 * out),
    "hook of the network": lambda: with_hook("register_forward_hook", "", lambda m, i, out: 2 * out),
    "hook before the network": lambda: with_hook("register_forward_pre_hook", "", lambda m, i: (2 * i[0],)),
    "hook of gradients": lambda: with_hook("register_full_backward_pre_hook", "0", lambda m, g: (2 * g[0],)),
    "weight norm": lambda: nn.Sequential(
        nn.Linear(20, 60), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(60, 60)), nn.Linear(60, 3)
    ),
}


@pytest.mark.parametrize("density", [0.015, 0.1, None])
@pytest.mark.parametrize("name", NETWORKS)
def test_auto_trains_what_the_plain_way_trains(name: str, density: float | None) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    mask = None
    if density is not None:
        if name == "weight norm":
            pytest.skip("a computed weight cannot be pruned")
        batch = TASK.train.tensor, TASK.train.targets
        mask = keep_top(make_scorer("random")(network, batch, F.cross_entropy), density, scope="layer")
    plain, auto = copy.deepcopy(network), copy.deepcopy(network)
    settings: dict[str, Any] = {"mask": mask, "restore_best": False}
    expected = train(plain, TASK, SHORT, engine="autograd", compact=False, **settings)
    found = train(auto, TASK, SHORT, **settings)
    assert found.history[-1].validation_loss == pytest.approx(expected.history[-1].validation_loss, rel=1e-4)
    for parameter, wanted in zip(auto.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(parameter, wanted, atol=1e-5)


def test_a_hook_of_all_modules_is_seen() -> None:
    network = layers()
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, _, outputs: 2 * outputs if isinstance(module, nn.Linear) else None
    )
    try:
        plain, together = copy.deepcopy(network), copy.deepcopy(network)
        assert train(network, TASK, SHORT).engine == "autograd"
        train(plain, TASK, SHORT, engine="autograd")
        train_stacked([together], TASK, SHORT, masks=[None], seeds=[0])
        for parameter, wanted in zip(together.parameters(), plain.parameters(), strict=True):
            assert torch.allclose(parameter, wanted, atol=1e-5)
    finally:
        handle.remove()
    assert train(network, TASK, SHORT).engine == "dense"


def test_an_engine_that_was_asked_for_and_computes_something_else_is_refused() -> None:
    torch.manual_seed(0)
    network = NETWORKS["by type"]()
    mask = Mask({"first.weight": torch.rand(60, 20) < 0.01, "second.weight": torch.ones(3, 60, dtype=torch.bool)})
    mask.tensors["first.weight"][0, 0] = True
    with pytest.raises(ValueError, match="the sparse engine does not compute what this network computes"):
        train(network, TASK, SHORT, mask=mask, engine="sparse")
    assert train(network, TASK, SHORT, mask=mask).engine == "autograd"
