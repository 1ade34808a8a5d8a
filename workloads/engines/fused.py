"""The fused engine: all training steps between two evaluations in one compiled loop (numba, CPU).

The network is a ReLU perceptron with cross-entropy. Its kept weights form one list of edges (CSR by unit, all
layers in one), its activations one array `(units, batch)`: so each kept weight costs three passes over a row
as wide as the batch (forward, gradient, back-propagation), which the compiler turns into vector
instructions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn

from scratchcard.pruning.mask import Mask
from scratchcard.workloads.engines.engine import State
from scratchcard.workloads.engines.perceptron import relu_perceptron
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

_PLAIN, _MOMENTUM, _ADAM = 0, 1, 2


def _compiled(function: Callable[..., Any]) -> Any:
    """`numba.njit`, kept on disk beside the module or in the user's cache, or nowhere if none can be written.

    Sums may be reordered, but NaN and infinity keep their meaning: a training that diverges must be seen.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


@_compiled
def _gather(x, rows, act):  # type: ignore[no-untyped-def]
    """Put the examples `rows` of `x` `(n, k)` into the first `k` rows of `act`, transposed."""
    for j in range(x.shape[1]):
        for b in range(rows.shape[0]):
            act[j, b] = x[rows[b], j]


@_compiled
def _forward(act, width, zero, hidden, starts, sources, weights, bias):  # type: ignore[no-untyped-def]
    """Fill the units' rows of `act[:, :width]`: weighted sums of their sources, through ReLU if hidden."""
    inputs = act.shape[0] - bias.shape[0]
    for u in range(bias.shape[0]):
        i = inputs + u
        constant = bias[u]
        for b in range(width):
            act[i, b] = constant
        e, end = starts[u], starts[u + 1]
        while e + 4 <= end:
            c0, c1, c2, c3 = sources[e], sources[e + 1], sources[e + 2], sources[e + 3]
            w0, w1, w2, w3 = weights[e], weights[e + 1], weights[e + 2], weights[e + 3]
            for b in range(width):
                act[i, b] += w0 * act[c0, b] + w1 * act[c1, b] + w2 * act[c2, b] + w3 * act[c3, b]
            e += 4
        while e < end:
            c, w = sources[e], weights[e]
            for b in range(width):
                act[i, b] += w * act[c, b]
            e += 1
        if u < hidden:
            for b in range(width):
                if act[i, b] <= zero:
                    act[i, b] = zero


@_compiled
def _softmax(act, width, zero, first, targets, rows, delta, scale):  # type: ignore[no-untyped-def]
    """Summed cross-entropy of the logits `act[first:]`; `scale` times its derivative goes to `delta`."""
    loss = 0.0
    for b in range(width):
        highest = act[first, b]
        for i in range(first + 1, act.shape[0]):
            highest = max(highest, act[i, b])
        total = zero
        for i in range(first, act.shape[0]):
            p = np.exp(act[i, b] - highest)
            delta[i, b] = p
            total += p
        wanted = first + targets[rows[b]]
        loss += math.log(total) + highest - act[wanted, b]
        for i in range(first, act.shape[0]):
            delta[i, b] *= scale / total
        delta[wanted, b] -= scale
    return loss


@_compiled
def _moved(w, g, kind, numbers, first, second, place, c1, c2):  # type: ignore[no-untyped-def]
    """A weight after its update (`Recipe` has the formulas); `c1`, `c2`: Adam's bias corrections."""
    rate, decay, mu, b1, rest1, b2, rest2, epsilon = numbers
    g += decay * w
    if kind == _PLAIN:
        return w - rate * g
    if kind == _MOMENTUM:
        first[place] = mu * first[place] + g
        return w - rate * first[place]
    first[place] = b1 * first[place] + rest1 * g
    second[place] = b2 * second[place] + rest2 * g * g
    return w - rate * (first[place] * c1) / (np.sqrt(second[place] * c2) + epsilon)


@_compiled
def _train(  # type: ignore[no-untyped-def]
    x, targets, order, act, delta, hidden, starts, sources, weights, bias, biased,
    kind, numbers, zero, scale, corrections, first, second, first_bias, second_bias,
):  # fmt: skip
    """Steps on the batches `order` `(steps, batch)`; returns the summed loss of all examples.

    Numbers come in the dtype of the weights (`zero` too): a Python literal would widen a loop to float64.

    `biased` `(units,)` says which units have a bias; `scale` is 1 / batch; `corrections` `(steps, 2)` are
    Adam's 1 / (1 - b^t).
    """
    units, width = bias.shape[0], order.shape[1]
    inputs = act.shape[0] - units
    loss = 0.0
    for step in range(order.shape[0]):
        rows = order[step]
        _gather(x, rows, act)
        _forward(act, width, zero, hidden, starts, sources, weights, bias)
        loss += _softmax(act, width, zero, inputs + hidden, targets, rows, delta, scale)
        delta[inputs : inputs + hidden] = zero
        c1, c2 = corrections[step, 0], corrections[step, 1]
        for u in range(units - 1, -1, -1):
            i = inputs + u
            if u < hidden:
                for b in range(width):
                    if act[i, b] <= zero:
                        delta[i, b] = zero
            for e in range(starts[u], starts[u + 1]):
                c, w = sources[e], weights[e]
                g = zero
                for b in range(width):
                    g += delta[i, b] * act[c, b]
                if c >= inputs:
                    for b in range(width):
                        delta[c, b] += w * delta[i, b]
                weights[e] = _moved(w, g, kind, numbers, first, second, e, c1, c2)
            if biased[u]:
                g = zero
                for b in range(width):
                    g += delta[i, b]
                bias[u] = _moved(bias[u], g, kind, numbers, first_bias, second_bias, u, c1, c2)
    return loss


@_compiled
def _evaluate(x, targets, act, delta, zero, hidden, starts, sources, weights, bias):  # type: ignore[no-untyped-def]
    """Summed cross-entropy and number of right answers on all of `x`, a batch's width at a time."""
    inputs = act.shape[0] - bias.shape[0]
    first = inputs + hidden
    loss, right = 0.0, 0
    rows = np.empty(act.shape[1], np.int64)
    for start in range(0, x.shape[0], act.shape[1]):
        width = min(act.shape[1], x.shape[0] - start)
        for b in range(width):
            rows[b] = start + b
        _gather(x, rows[:width], act)
        _forward(act, width, zero, hidden, starts, sources, weights, bias)
        for b in range(width):
            best = first
            for i in range(first + 1, act.shape[0]):
                if act[i, b] > act[best, b]:
                    best = i
            right += best - first == targets[start + b]
        loss += _softmax(act, width, zero, first, targets, rows, delta, zero)
    return loss, right


class FusedEngine:
    """Trains a ReLU perceptron (`relu_perceptron`) on the CPU in float32 or float64; see the module.

    Raises:
        ValueError: the network is none, or lies on another device, or has another dtype.
    """

    name = "fused"

    def __init__(self, network: nn.Module, mask: Mask | None, recipe: Recipe, train: Split) -> None:
        layers = relu_perceptron(network)
        inputs = train.inputs.flatten(1)
        if not layers or inputs.device.type != "cpu" or inputs.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                "the fused engine takes linear layers with ReLU between them on the CPU, float32 or float64; "
                "use engine='auto' for this network"
            )
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        self._state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self._edges: list[tuple[str, Tensor]] = []  # weight name, flat indices of the kept weights
        self._spans: list[tuple[str, int, int]] = []  # bias name, first and last unit
        starts, sources, weights, bias, biased = [np.zeros(1, np.int64)], [], [], [], []
        offset, units = 0, 0
        for layer in layers:
            name, out = names[id(layer.weight)], layer.out_features
            kept = torch.ones_like(layer.weight, dtype=torch.bool) if mask is None else mask.tensors[name]
            places = kept.reshape(-1).nonzero().reshape(-1)
            self._edges.append((name, places))
            starts.append(kept.sum(1).cumsum(0).numpy() + int(starts[-1][-1]))
            sources.append((places % layer.in_features + offset).numpy())
            weights.append(layer.weight.detach().reshape(-1)[places].numpy())
            values = torch.zeros(out, dtype=inputs.dtype) if layer.bias is None else layer.bias.detach()
            bias.append(values.numpy())
            biased.append(np.full(out, layer.bias is not None))
            if layer.bias is not None:
                self._spans.append((names[id(layer.bias)], units, units + out))
            offset, units = offset + layer.in_features, units + out
        self._weights, self._bias = np.concatenate(weights), np.concatenate(bias)
        hidden = units - layers[-1].out_features
        self._graph = (hidden, np.concatenate(starts), np.concatenate(sources), self._weights, self._bias)
        self._biased = np.concatenate(biased)
        dtype = self._bias.dtype
        self._x, self._targets = inputs.numpy(), train.targets.numpy()
        self._act = np.zeros((inputs.shape[1] + units, recipe.batch_size), dtype)
        self._delta = np.zeros_like(self._act)
        self._configure(recipe, dtype)

    def _configure(self, recipe: Recipe, dtype: np.dtype[Any]) -> None:
        adam = recipe.optimizer == "adam"
        self._kind = _ADAM if adam else _MOMENTUM if recipe.momentum else _PLAIN
        b1, b2 = self._betas = recipe.betas
        settings = (recipe.learning_rate, recipe.weight_decay, recipe.momentum, b1, 1 - b1, b2, 1 - b2)
        self._numbers = tuple(dtype.type(number) for number in (*settings, recipe.epsilon))
        self._zero, self._scale = dtype.type(0), dtype.type(1 / recipe.batch_size)
        # One array for each moment that the optimiser has, empty ones for the others.
        moments = [self._kind != _PLAIN, adam] * 2
        sizes = [self._weights.size, self._weights.size, self._bias.size, self._bias.size]
        self._moments = [np.zeros(n if has else 0, dtype) for n, has in zip(sizes, moments, strict=True)]
        self._steps = 0

    def run(self, order: Tensor) -> float:
        """Train on the batches `order`; see `Engine.run`."""
        steps = np.arange(self._steps + 1, self._steps + len(order) + 1)[:, None]
        corrections = 1 / (1 - np.array(self._betas)[None, :] ** steps)
        loss = _train(
            self._x, self._targets, order.numpy(), self._act, self._delta, *self._graph, self._biased,
            self._kind, self._numbers, self._zero, self._scale, corrections.astype(self._bias.dtype),
            *self._moments,
        )  # fmt: skip
        self._steps += len(order)
        return float(loss) / order.numel()

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Mean loss and accuracy on `split`; see `Engine.evaluate`."""
        x, targets = split.inputs.flatten(1).numpy(), split.targets.numpy()
        loss, right = _evaluate(x, targets, self._act, self._delta, self._zero, *self._graph)
        return float(loss) / len(split), int(right) / len(split)

    def state(self) -> State:
        """A copy of the network's state."""
        state = {name: tensor.clone() for name, tensor in self._state.items()}
        start = 0
        for name, places in self._edges:
            full = state[name].reshape(-1)
            full[places] = torch.from_numpy(self._weights[start : start + len(places)])
            state[name] = full.reshape(state[name].shape)
            start += len(places)
        for name, first, last in self._spans:
            state[name].copy_(torch.from_numpy(self._bias[first:last]))
        return state
