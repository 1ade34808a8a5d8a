"""Group of ReLU perceptrons: batched matrix products with written-out derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scratchcard.pruning.mask import Mask
from scratchcard.workloads.engines.engine import Loss
from scratchcard.workloads.engines.group import Group
from scratchcard.workloads.engines.perceptron import relu_perceptron
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split


class PerceptronGroup(Group):
    """K ReLU perceptrons with cross-entropy: batched products and written-out derivatives, as `PerceptronEngine`.

    Activations are `(K, batch, units)`, weights `(K, out, in)`; the number of kernels of a step does not depend on K.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        masks: Sequence[Mask | None],
        loss: Loss,
        recipe: Recipe,
        train: Split,
    ) -> None:
        super().__init__(networks, masks, loss, recipe, train)
        self._plain = recipe.optimizer == "sgd" and recipe.momentum == 0
        self._inputs = train.inputs.flatten(1)
        names = {id(parameter): name for name, parameter in networks[0].named_parameters()}
        layers = relu_perceptron(networks[0])
        self._names = [(names[id(layer.weight)], names.get(id(layer.bias), "")) for layer in layers]
        self._prepare()

    def _prepare(self) -> None:
        """The tensors of the layers, and buffers for what a step computes."""
        self._weights = [self.parameters[weight].detach() for weight, _ in self._names]
        self._biases = [
            self.parameters[bias].detach()[:, None] if bias in self.parameters else None for _, bias in self._names
        ]
        if not self._plain:
            for parameter in self.parameters.values():
                parameter.grad = torch.zeros_like(parameter)
        sizes = [self._inputs.shape[1], *(weight.shape[1] for weight in self._weights)]
        shape = (self.size, self._recipe.batch_size)
        self._units = [self._inputs.new_empty(*shape, size) for size in sizes]
        # No derivative by the inputs is needed.
        self._deltas = [self._inputs.new_empty(*shape, size if level else 0) for level, size in enumerate(sizes)]
        self._minus_one = self._inputs.new_full((*shape, 1), -1.0)

    def select(self, places: Sequence[int]) -> None:
        """Keep only the networks at these places; see `Group.select`."""
        super().select(places)
        self._prepare()

    def _step(self, rows: Tensor) -> Tensor:
        with torch.no_grad():
            units = self._units
            torch.index_select(self._inputs, 0, rows.reshape(-1), out=units[0].view(-1, units[0].shape[2]))
            for level, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
                if level:
                    units[level].relu_()
                if bias is None:
                    torch.bmm(units[level], weight.mT, out=units[level + 1])
                else:
                    torch.baddbmm(bias, units[level], weight.mT, out=units[level + 1])
            losses = self._softmax(self._train.targets[rows][..., None])
            self._backward()
        return losses

    def _softmax(self, wanted: Tensor) -> Tensor:
        """The mean losses `(K,)`; their derivatives by the logits go to the last deltas."""
        delta = self._deltas[-1]
        torch.log_softmax(self._units[-1], 2, out=delta)
        losses = -delta.gather(2, wanted).mean((1, 2))
        delta.exp_().scatter_add_(2, wanted, self._minus_one).div_(wanted.shape[1])
        return losses

    def _backward(self) -> None:
        units, deltas, recipe = self._units, self._deltas, self._recipe
        for level in range(len(self._weights) - 1, -1, -1):
            weight, bias, delta, entering = self._weights[level], self._biases[level], deltas[level + 1], units[level]
            mask = self._masks.get(self._names[level][0])
            if level:
                torch.bmm(delta, weight, out=deltas[level])
                torch.ops.aten.threshold_backward.grad_input(deltas[level], entering, 0, grad_input=deltas[level])
            if self._plain:
                rate, shrink = recipe.learning_rate, 1 - recipe.learning_rate * recipe.weight_decay
                weight.baddbmm_(delta.mT, entering, beta=shrink, alpha=-rate)
                if mask is not None:
                    weight.mul_(mask)
                if bias is not None:
                    if shrink != 1:
                        bias.mul_(shrink)
                    bias.sub_(delta.sum(1, keepdim=True), alpha=rate)
                continue
            gradient, bias_gradient = (self._gradient(name) for name in self._names[level])
            if gradient is not None:
                torch.bmm(delta.mT, entering, out=gradient)
                if mask is not None:
                    gradient.mul_(mask)
            if bias_gradient is not None:
                torch.sum(delta, 1, out=bias_gradient)
        if not self._plain:
            self._optimizer.step()

    def _gradient(self, name: str) -> Tensor | None:
        return self.parameters[name].grad if name in self.parameters else None

    def _outputs(self, inputs: Tensor) -> Tensor:
        units = inputs.flatten(1).expand(self.size, -1, math.prod(inputs.shape[1:]))
        for level, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            units = units.relu() if level else units
            units = torch.bmm(units, weight.mT) if bias is None else torch.baddbmm(bias, units, weight.mT)
        return units
