"""Engine: what does the training steps between two evaluations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import Inputs, each, forward, placed, tensors
from scratchcard.workloads.engines.evaluator import Evaluated
from scratchcard.workloads.factory import said
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

State = dict[str, Tensor]


class Engine(Protocol):
    """Does training steps on tensors that it holds, of one network or of K networks at once.

    Attributes:
        name: recorded as the engine that ran.
    """

    name: str

    def run(self, order: Tensor) -> Tensor:
        """Train network k on the batches `order[k]`; `order` is `(K, steps, batch)`, int64 on the CPU.

        Returns:
            Each network's losses, each before its step, summed over the steps: `(K,)`, float64, on the CPU.
        """

    def evaluate(self, split: Split) -> list[Evaluated]:
        """Loss and metrics of each network on `split`, in evaluation mode."""

    def state(self, place: int = 0) -> State:
        """A copy of the state of the network at `place`, sharing no memory with the engine."""

    def select(self, places: Sequence[int]) -> None:
        """Keep only the networks at these places, in this order: the others cost nothing from here on.

        It is never called for an engine of one network.
        """
        raise ValueError(f"the {self.name} engine trains one network and cannot select {list(places)}")


def place_split(split: Split, network: nn.Module, device: torch.device) -> Split:
    """The split on the device, floating inputs in the network's dtype; nothing is copied that is so already."""
    dtype = next((parameter.dtype for parameter in network.parameters()), torch.get_default_dtype())
    inputs: Any = each(placed(split.inputs, device, dtype), Tensor.contiguous)
    return dataclasses.replace(split, inputs=inputs, targets=split.targets.to(device))


def check_runs(network: nn.Module, inputs: Inputs, what: str) -> None:
    """Try a forward pass; the random state is put back.

    Raises:
        ValueError: it fails; one sentence that begins with `what`.
    """
    try:
        with seeded(0, next(iter(tensors(inputs).values())).device), torch.no_grad():
            forward(network, inputs)
    except Exception as error:  # a foreign network can raise anything
        raise ValueError(f"{what}: {said(error)}") from error


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from the seed; the random state of the caller is put back."""
    devices = []
    if device.type == "cuda":
        devices = [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for index in devices:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield


def make_optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """torch's fused optimiser with the settings of `recipe`."""
    settings: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, betas=recipe.betas, eps=recipe.epsilon, **settings)
    return torch.optim.SGD(parameters, momentum=recipe.momentum, **settings)
