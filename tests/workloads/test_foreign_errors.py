"""What networks and losses of the user's own raise, wherever it happens: one sentence, and its cause is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import scratchcard as sc

INPUTS = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
TASK = sc.Task.of(INPUTS, torch.arange(60) % 3)
SHORT = sc.Recipe(max_steps=4, batch_size=8, evaluation_interval=2)


class Own(nn.Module):
    """Fit in evaluation, where a workload looks; in training a function decides."""

    def __init__(self, training_outputs: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body, self.head, self.function = nn.Linear(4, 3), nn.Linear(3, 3), training_outputs

    def forward(self, inputs: Tensor) -> Any:
        outputs = self.head(self.body(inputs))
        return self.function(outputs) if self.training else outputs


class Cast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(inputs.bfloat16()))
        return found


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: Any) -> Any:
        raise error

    return function


def late(outputs: Tensor, targets: Tensor) -> Tensor:
    """Fit for two examples, with which a workload tries it."""
    if len(outputs) > 2:
        raise KeyError("examples")
    return F.mse_loss(outputs, targets)


def flow(network: nn.Module, task: sc.Task, method: str, **placement: Any) -> None:
    ticket = sc.prune(network, task, 0.5, method=method, recipe=SHORT, **placement)
    ticket, _ = sc.train(ticket, network, task, recipe=SHORT, **placement)
    sc.evaluate(ticket, network, task, **placement)


@pytest.mark.parametrize("method", ["magnitude", "snip", "grasp", "gauss_newton"])
@pytest.mark.parametrize(
    ("outputs", "sentence", "cause"),
    [
        (lambda found: {"logits": found}, "Own returns dict, expected one tensor", None),
        (lambda found: (found, 1), "Own returns tuple, expected one tensor", None),
        (raising(ZeroDivisionError("zero")), "Own cannot be called with .*ZeroDivisionError: zero", ZeroDivisionError),
        (raising(KeyError("a")), "Own cannot be called with .*KeyError", KeyError),
        (raising(SystemExit(0)), "Own cannot be called with .*SystemExit", SystemExit),
        (lambda found: nn.Linear(9, 3)(found), "torch.float32 of shape", RuntimeError),
        (lambda found: found[:, :2], "the loss cross_entropy cannot take outputs", IndexError),
        (lambda found: found[:2], "the loss cross_entropy cannot take outputs", ValueError),
        (lambda found: found.detach(), "outputs without a gradient", None),
        (lambda found: found.long(), "outputs without a gradient", None),
    ],
)
def test_networks_that_fail_in_training(
    outputs: Callable[[Tensor], Any], sentence: str, cause: type[BaseException] | None, method: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        flow(Own(outputs), TASK, method)
    assert isinstance(caught.value.__cause__, cause or type(None))


def test_the_layer_is_named() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3)))
    recipe = sc.Recipe(max_steps=2, batch_size=1, evaluation_interval=2)
    ticket = sc.prune(network, TASK, 0.5, method="magnitude", recipe=recipe)
    with pytest.raises(ValueError, match=r"cannot be called .* in the layer '1\.0': ValueError: Expected more"):
        sc.train(ticket, network, TASK, recipe=recipe)


@pytest.mark.parametrize("method", ["magnitude", "snip", "gauss_newton"])
@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda outputs, targets: torch.tensor(1.0), "has no gradient"),
        (lambda outputs, targets: outputs.argmax().float(), "has no gradient"),
        (late, "the loss late cannot take outputs .*KeyError: 'examples'"),
    ],
)
def test_losses(loss: Callable[[Tensor, Tensor], Tensor], sentence: str, method: str) -> None:
    task = sc.Task.of(INPUTS, INPUTS[:, :3], objective=sc.OwnObjective(loss))
    with pytest.raises(ValueError, match=sentence):
        flow(nn.Sequential(nn.Linear(4, 3)), task, method)


def test_a_network_that_cannot_be_copied() -> None:
    network = nn.Sequential(nn.Linear(4, 3))
    network.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"Sequential cannot be copied; give a factory of it.*TypeError") as caught:
        sc.prune(network, TASK, 0.5)
    assert isinstance(caught.value.__cause__, TypeError)


def test_complex_weights() -> None:
    with pytest.raises(ValueError, match=r"'0\.weight' is torch\.complex64"):
        sc.prune(nn.Sequential(nn.Linear(4, 3, dtype=torch.complex64)), TASK, 0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("between", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("density", [0.015, 0.1])
def test_half_precision_is_pruned_trained_and_evaluated(
    dtype: torch.dtype, between: type[nn.Module], density: float
) -> None:
    network = nn.Sequential(nn.Linear(4, 100), between(), nn.Linear(100, 100), between(), nn.Linear(100, 3))
    flow(network, TASK, "random", dtype=dtype)


def test_a_network_that_casts_to_half_precision_by_itself() -> None:
    with pytest.raises(ValueError, match="in the layer 'body': RuntimeError"):
        flow(Cast(), TASK, "snip", dtype=torch.bfloat16)
