"""ReLU perceptrons with cross-entropy: recognising them, and the dense engine with written-out derivatives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.chain import NotAChainError, chain
from scratchcard.settings import settings_of
from scratchcard.workloads.engines.engine import State
from scratchcard.workloads.engines.evaluator import Evaluated, evaluate_split
from scratchcard.workloads.engines.vmap import Masks, StackedEngine
from scratchcard.workloads.objective import Classification, Objective
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split


def perceptron_layers(network: nn.Module, objective: Objective, split: Split) -> tuple[nn.Linear, ...]:
    """The linear layers of a network that is `[Flatten] Linear (ReLU Linear)*` and fits the data; () of any other.

    Dropout that drops nothing and Identity may stand anywhere; nested `nn.Sequential`s are taken apart. All parameters
    are trained, the objective is plain classification, and the inputs are one floating tensor of the layers' dtype.

    Examples:
        >>> split = Split(torch.rand(5, 4), torch.arange(5) % 2)
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> len(perceptron_layers(network, Classification(), split))
        2
        >>> perceptron_layers(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), Classification(), split)
        ()
    """
    try:
        layers = [link.layer for link in chain(network)]
    except NotAChainError:
        return ()
    layers = [layer for layer in layers if not isinstance(layer, nn.Identity)]
    layers = [layer for layer in layers if not (isinstance(layer, nn.Dropout) and layer.p == 0)]
    inputs, flattened = split.inputs, isinstance(layers[0], nn.Flatten)
    layers = layers[flattened:]
    linear = tuple(layer for layer in layers[::2] if type(layer) is nn.Linear)
    gates = [layer for layer in layers[1::2] if type(layer) is nn.ReLU]
    if len(linear) + len(gates) < len(layers) or len(linear) != len(gates) + 1:
        return ()
    if not isinstance(objective, Classification) or objective.loss is not F.cross_entropy:
        return ()
    if not isinstance(inputs, Tensor) or not (flattened or inputs.ndim == 2):
        return ()
    widths = [(math.prod(inputs.shape[1:]), linear[0].in_features)]
    widths += [(layer.out_features, later.in_features) for layer, later in itertools.pairwise(linear)]
    fits = all(p.requires_grad and p.dtype == inputs.dtype for p in network.parameters())
    return linear if fits and all(given == taken for given, taken in widths) else ()


def fused_lacks(recipe: Recipe) -> str:
    """What of a recipe the fused engine's compiled loops do not know, in words; empty where they know all.

    Examples:
        >>> fused_lacks(Recipe(momentum=0.9, learning_rate_schedule="cosine")), fused_lacks(Recipe(optimizer="adamw"))
        ('', 'the optimizer adamw')
    """
    lacking = {
        "the optimizer adamw": recipe.optimizer == "adamw",
        "nesterov": recipe.nesterov,
        "label_smoothing": recipe.label_smoothing > 0,
    }
    return ", ".join(name for name in (*(name for name, lacks in lacking.items() if lacks), *plain_only(recipe)))


def plain_only(recipe: Recipe) -> tuple[str, ...]:
    """The settings of a recipe that only the autograd engine knows.

    Examples:
        >>> plain_only(Recipe(nesterov=True, momentum=0.9)), plain_only(Recipe(precision="bfloat16"))
        ((), ('precision',))
    """
    usual = settings_of(Recipe)
    names = ("augmentation", "precision", "channels_last")
    return tuple(name for name in names if getattr(recipe, name) != usual[name].default)


class PerceptronEngine(StackedEngine):
    """K ReLU perceptrons with cross-entropy: written-out derivatives, into buffers that are made once.

    With activations `H_l` `(K, batch, units)`, `H_0` the inputs, and `D_l` the derivative of the mean loss by the
    layer's output before ReLU:

        D_L = (softmax(H_L) - T) / batch;    D_{l-1} = (D_l W_l) * [H_{l-1} > 0]
        dW_l = D_l' H_{l-1};    db_l = sum over the batch of D_l

    where `T` is one for the right class, or with label smoothing `e` and `C` classes `1 - e + e / C` for it and `e / C`
    for the others.

    Plain SGD adds the product `D' H` straight into the weights and then zeroes the pruned ones again, which is the same
    as masking the gradient; with momentum and with Adam the gradient itself is masked. The number of kernels of a step
    does not depend on K. One network goes without the dimension K, by plain products.

    Raises:
        ValueError: targets that are no class index of the networks.

    Examples:
        >>> split, recipe = Split(torch.eye(2), torch.tensor([0, 1])), Recipe(batch_size=2)
        >>> networks = [nn.Linear(2, 2), nn.Linear(2, 2)]
        >>> engine = PerceptronEngine(networks, [None, None], Classification(), recipe, split)
        >>> _ = engine.run(torch.tensor([[[0, 1]] * 200] * 2))
        >>> [found.accuracy for found in engine.evaluate(split)]
        [1.0, 1.0]
    """

    name = "dense"

    def __init__(
        self, networks: Sequence[nn.Module], masks: Masks, objective: Objective, recipe: Recipe, train: Split
    ) -> None:
        super().__init__(networks, masks, objective, recipe, train)
        self._plain = recipe.optimizer == "sgd" and recipe.momentum == 0
        self._inputs = train.tensor.flatten(1)
        names = {id(parameter): name for name, parameter in networks[0].named_parameters()}
        layers = perceptron_layers(networks[0], objective, train)
        self._names = [(names[id(layer.weight)], names.get(id(layer.bias), "")) for layer in layers]
        objective.check_targets(train.targets, outputs=layers[-1].out_features, what="the training targets")
        self._prepare()

    def _prepare(self) -> None:
        """The tensors of the layers, and buffers for what a step computes."""
        single = self.size == 1
        self._mm: Callable[..., Tensor] = torch.mm if single else torch.bmm
        self._addmm: Callable[..., Tensor] = torch.addmm if single else torch.baddbmm
        self._shape = (self._recipe.batch_size,) if single else (self.size, self._recipe.batch_size)
        if not self._plain:
            for parameter in self.parameters.values():
                parameter.grad = torch.zeros_like(parameter)

        def of_layers(tensors: State, part: int) -> list[Tensor | None]:
            found = [tensors.get(names[part]) for names in self._names]
            return [tensor[0] if single and tensor is not None else tensor for tensor in found]

        parameters = {name: parameter.detach() for name, parameter in self.parameters.items()}
        gradients = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        self._weights = [weight for weight in of_layers(parameters, 0) if weight is not None]
        biases = of_layers(parameters, 1)
        self._biases = [bias if bias is None or single else bias[:, None] for bias in biases]
        self._weight_masks = of_layers(self._masks, 0)
        self._gradients, self._bias_gradients = of_layers(gradients, 0), of_layers(gradients, 1)
        sizes = [self._inputs.shape[1], *(weight.shape[-2] for weight in self._weights)]
        self._units = [self._inputs.new_empty(*self._shape, size) for size in sizes]
        # No derivative by the inputs is needed.
        self._deltas = [self._inputs.new_empty(*self._shape, size if level else 0) for level, size in enumerate(sizes)]
        self._minus_right = self._inputs.new_full((*self._shape, 1), self._recipe.label_smoothing - 1.0)

    def select(self, places: Sequence[int]) -> None:
        """Keep only the networks at these places; see `Engine.select`."""
        super().select(places)
        self._prepare()

    def run(self, order: Tensor) -> Tensor:
        """Train network k on the batches `order[k]`; see `Engine.run`."""
        with torch.no_grad():
            return super().run(order)

    def _step(self, rows: Tensor, targets: Tensor, rate: float) -> Tensor:
        units = self._units
        torch.index_select(self._inputs, 0, rows.reshape(-1), out=units[0].view(-1, units[0].shape[-1]))
        for level, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            if level:
                units[level].relu_()
            if bias is None:
                self._mm(units[level], weight.mT, out=units[level + 1])
            else:
                self._addmm(bias, units[level], weight.mT, out=units[level + 1])
        losses = self._softmax(targets.view(self._shape))
        self._backward(rate)
        return losses

    def _softmax(self, targets: Tensor) -> Tensor:
        """The mean losses; their derivatives by the logits go to the last deltas."""
        delta, wanted = self._deltas[-1], targets[..., None]
        torch.log_softmax(self._units[-1], -1, out=delta)
        losses = F.nll_loss(delta, targets) if self.size == 1 else -delta.gather(2, wanted).mean((1, 2))
        smoothing = self._recipe.label_smoothing
        if smoothing:
            losses = (1 - smoothing) * losses - smoothing * delta.mean((-2, -1))
        delta.exp_().scatter_add_(-1, wanted, self._minus_right)
        if smoothing:
            delta.sub_(smoothing / delta.shape[-1])
        delta.div_(self._recipe.batch_size)
        return losses

    def _backward(self, rate: float) -> None:
        units, deltas, recipe, several = self._units, self._deltas, self._recipe, self.size > 1
        for level in range(len(self._weights) - 1, -1, -1):
            weight, bias, mask = self._weights[level], self._biases[level], self._weight_masks[level]
            delta, entering = deltas[level + 1], units[level]
            if level:
                self._mm(delta, weight, out=deltas[level])
                torch.ops.aten.threshold_backward.grad_input(deltas[level], entering, 0, grad_input=deltas[level])
            if self._plain:
                shrink = 1 - rate * recipe.weight_decay
                self._addmm(weight, delta.mT, entering, beta=shrink, alpha=-rate, out=weight)
                if mask is not None:
                    weight.mul_(mask)
                if bias is not None:
                    if shrink != 1:
                        bias.mul_(shrink)
                    bias.sub_(delta.sum(-2, keepdim=several), alpha=rate)
                continue
            gradient, bias_gradient = self._gradients[level], self._bias_gradients[level]
            if gradient is not None:
                self._mm(delta.mT, entering, out=gradient)
                if mask is not None:
                    gradient.mul_(mask)
            if bias_gradient is not None:
                torch.sum(delta, -2, out=bias_gradient)
        if not self._plain:
            self._optimizer.step()

    def _outputs(self, inputs: Any) -> Tensor:
        units: Tensor = inputs.flatten(1)
        if self.size > 1:
            units = units.expand(self.size, *units.shape)
        for level, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            if level:
                units.relu_()
            units = self._mm(units, weight.mT) if bias is None else self._addmm(bias, units, weight.mT)
        return units

    def evaluate(self, split: Split) -> list[Evaluated]:
        """Loss and metrics of each network on `split`; see `Engine.evaluate`."""
        networks = self.size if self.size > 1 else None
        return evaluate_split(self._outputs, split, self._objective, networks=networks)
