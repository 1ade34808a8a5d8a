"""Engine: what runs the training steps between two evaluations; the plain one on torch's autograd."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

# Inputs x examples of one evaluation batch at most: 16 MB of float32, so that it stays near the caches.
EVALUATION_ELEMENTS = 2**22
State = dict[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


class Engine(Protocol):
    """Runs training steps on tensors that it holds; one engine trains one network once."""

    name: str

    def run(self, order: Tensor) -> float:
        """Train on the batches `order` `(steps, batch)`, int64 on the CPU; returns the steps' mean loss."""

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Mean loss and accuracy on `split`, in evaluation mode."""

    def state(self) -> State:
        """A copy of the network's state (keys of `state_dict`), sharing no memory with the engine."""


class AutogradEngine:
    """Any network: torch's autograd and optimisers; the gradients of masked weights are masked.

    The network is trained in place. Pruned weights must be zero at the start; they stay exactly zero because
    their gradient and with it every optimiser moment is zero, and weight decay of zero is zero.

    Args:
        network: in training mode, on the device of `train`.
        masks: by parameter name; a float tensor of ones and zeros that the gradient is multiplied with.
        name: recorded as the engine that ran.
    """

    def __init__(
        self,
        network: nn.Module,
        masks: Mapping[str, Tensor],
        loss: Loss,
        recipe: Recipe,
        train: Split,
        name: str = "autograd",
    ) -> None:
        self.name = name
        self._network, self._loss, self._train = network, loss, train
        parameters = {key: p for key, p in network.named_parameters() if p.requires_grad}
        self._masked = [(parameters[key], mask) for key, mask in masks.items() if key in parameters]
        self._optimizer = make_optimizer(list(parameters.values()), recipe)

    def run(self, order: Tensor) -> float:
        """Train on the batches `order`; see `Engine.run`."""
        inputs, targets = self._train.inputs, self._train.targets
        order = order.to(targets.device)
        total = torch.zeros((), dtype=torch.float64, device=targets.device)
        self._network.train()
        for index in order:
            loss = self._loss(self._network(inputs[index]), targets[index])
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for weight, mask in self._masked:
                if weight.grad is not None:
                    weight.grad.mul_(mask)
            self._optimizer.step()
            total += loss.detach()
        return float(total) / len(order)

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Mean loss and accuracy on `split`; see `Engine.evaluate`."""
        return evaluate_split(self._network, split, self._loss)

    def state(self) -> State:
        """A copy of the network's state."""
        return {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}


def make_optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """torch's fused optimiser with the settings of `recipe`."""
    if recipe.optimizer == "adam":
        return torch.optim.Adam(
            parameters,
            lr=recipe.learning_rate,
            betas=recipe.betas,
            eps=recipe.epsilon,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    return torch.optim.SGD(
        parameters,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def evaluate_split(network: nn.Module, split: Split, loss: Loss) -> tuple[float, float]:
    """Mean loss and accuracy of `network` on `split`, in big batches; its mode is restored."""
    inputs, targets, rows = split.inputs, split.targets, evaluation_rows(split)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    total, correct = 0.0, 0
    try:
        with torch.inference_mode():
            for start in range(0, len(targets), rows):
                outputs, wanted = network(inputs[start : start + rows]), targets[start : start + rows]
                total += float(loss(outputs, wanted)) * len(wanted)
                correct += int((outputs.argmax(1) == wanted).sum())
    finally:
        for module, training in modes.items():
            module.training = training
    return total / len(targets), correct / len(targets)


def evaluation_rows(split: Split) -> int:
    """Examples in one evaluation batch."""
    return max(64, EVALUATION_ELEMENTS // max(1, math.prod(split.inputs.shape[1:])))
