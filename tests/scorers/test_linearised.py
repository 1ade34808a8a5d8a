"""Gauss-Newton steps where no graph is kept are those of kept graphs."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.clock import counted_reads
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import linearised as module
from scratchcard.scorers import shelf as shelf_module
from scratchcard.scorers.gauss_newton import gauss_newton_step
from scratchcard.scorers.pieces import scoring_memory
from tests.scorers.toys import random_mask


class Cube(torch.autograd.Function):
    """`x^3`, of which torch is told no derivative in forward mode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return slope * 3 * x**2


class Cubing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Cube.apply(x)  # type: ignore[no-untyped-call]
        return found


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.again.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.tanh(self.again(torch.tanh(self.first(x)))))
        return found


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.norm, self.last = (
            nn.MultiheadAttention(6, 2, batch_first=True),
            nn.LayerNorm(6),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, 1, 6) * torch.arange(1, 4, dtype=x.dtype)[:, None]
        found: Tensor = self.last(self.norm(x + self.attention(x, x, x)[0]).mean(1))
        return found


class Remembering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.cells(x.reshape(-1, 3, 2))[0][:, -1])
        return found


class Reading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.EmbeddingBag(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.tanh(self.words((x.abs() * 2).long().clamp(0, 4))))
        return found


def perceptron(*more: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), *more, nn.Tanh(), nn.Linear(8, 3))


def images(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )


NETWORKS = {
    "a perceptron": perceptron,
    "dropout": lambda: perceptron(nn.Dropout(0.4)),
    "batch statistics": lambda: images(nn.BatchNorm2d(4)),
    "running statistics": lambda: images(nn.BatchNorm2d(4)).eval(),
    "shared weights": Tied,
    "attention": Attending,
    "a recurrent network": Remembering,
    "a bag of words": Reading,
    "no derivative in forward mode": lambda: perceptron(Cubing()),
    "no derivative in forward mode, and dropout": lambda: perceptron(nn.Dropout(0.4), Cubing(), nn.Dropout(0.4)),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_steps_without_graphs_are_those_of_kept_graphs(
    name: str, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    network = NETWORKS[name]().double()
    batch = torch.randn(12, 6, dtype=torch.float64), torch.arange(12) % 3
    mask = random_mask(network) if masked else None
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    kept = step_of(network, batch, mask)
    monkeypatch.setattr(shelf_module, "LARGE", 1)
    anew = step_of(network, batch, mask)
    assert set(anew) == set(prunable(network))
    for key, step in kept.items():
        assert step.any()
        torch.testing.assert_close(anew[key], step, rtol=1e-9, atol=1e-12)
    assert all(tensor.equal(state[key]) for key, tensor in network.state_dict().items())


def step_of(network: nn.Module, batch: tuple[Tensor, Tensor], mask: Mask | None = None) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return gauss_newton_step(network, batch, F.cross_entropy, mask, damping=0.01)[1]


def test_a_loss_that_is_linear_in_the_outputs_has_no_curvature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "LARGE", 1)
    network = nn.Sequential(nn.Linear(2, 1, bias=False)).double()
    batch = torch.ones(1, 2, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    _, step = gauss_newton_step(network, batch, lambda outputs, targets: -outputs.sum(1).mean(), damping=0.5)
    assert step["0.weight"].tolist() == [[2.0, 2.0]]


def test_pieces_take_seven_passes_and_no_graph_of_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient (3 units of a forward pass), and three times a pass with derivatives (3) and a gradient (3)."""
    network = perceptron().double()
    batch = torch.randn(40, 6, dtype=torch.float64), torch.arange(40) % 3
    step_of(network, batch)
    monkeypatch.setattr(module._MadeAnew, "_pushed_by_graph", None)
    with counted_reads() as whole:
        step_of(network, batch)
    assert whole.examples == 40 * (3 + 3 * 4)
    with counted_reads() as reads, scoring_memory(4000):
        step_of(network, batch)
    looks = reads.examples - 40 * (3 + 3 * 6)
    assert 0 < looks <= 40 + 12  # the pass that did not fit, and what the few examples took
