"""The fused engine: all training steps between two evaluations in one compiled loop (numba, CPU).

The network is a ReLU perceptron with cross-entropy. Its kept weights form one list of edges (CSR by unit, all
layers in one), its activations one array `(units, batch)`: so each kept weight costs three passes over a row
as wide as the batch (forward, gradient, back-propagation), which the compiler turns into vector
instructions.

The compiled loops check no index: numba reads and writes past an array's end without a word. So `FusedEngine` checks,
before any loop runs, all that indices are made of: the layers' widths, the mask, the targets, and every order.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable
from scratchcard.workloads.engines.engine import Engine, State
from scratchcard.workloads.engines.evaluator import Evaluated, evaluate_split
from scratchcard.workloads.engines.fused_loops import ADAM, MOMENTUM, PLAIN, fill_outputs, train_steps
from scratchcard.workloads.engines.perceptron import fused_lacks, perceptron_layers
from scratchcard.workloads.learning_rates import learning_rates
from scratchcard.workloads.objective import Objective
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split


class FusedEngine(Engine):
    """Trains a ReLU perceptron (`perceptron_layers`) on the CPU in float32 or float64; see the module.

    Raises:
        ValueError: the network, the data or the recipe is none that it can train, a mask of another layout, or targets
            that are no class index of the network.

    Examples:
        >>> network, mask = nn.Linear(2, 2), Mask({"weight": torch.eye(2, dtype=torch.bool)})
        >>> mask.apply_to(network)
        >>> split = Split(torch.eye(2), torch.tensor([0, 1]))
        >>> engine = FusedEngine(network, mask, sc.Classification(), Recipe(batch_size=2), split)
        >>> _ = engine.run(torch.tensor([[[0, 1]] * 200]))
        >>> engine.evaluate(split)[0].accuracy, engine.state()["weight"] != 0
        (1.0, tensor([[ True, False],
                [False,  True]]))
    """

    name = "fused"

    def __init__(
        self, network: nn.Module, mask: Mask | None, objective: Objective, recipe: Recipe, train: Split
    ) -> None:
        layers = perceptron_layers(network, objective, train)
        if not layers or not on_fused_device(train):
            raise ValueError(
                "the fused engine takes linear layers with ReLU between them, on the CPU in float32 or float64, for "
                "the classification of inputs that fit them; use engine='auto' for this network and task"
            )
        lacking = fused_lacks(recipe)
        if lacking:
            raise ValueError(f"the fused engine does not know {lacking}; use engine='auto' for this recipe")
        self._classes, self._objective = layers[-1].out_features, objective
        objective.check_targets(train.targets, outputs=self._classes, what="the training targets")
        if mask is not None:
            check_same_layout(prunable(network), mask.tensors, "the mask")
        inputs = train.tensor.flatten(1)
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
        hidden = units - self._classes
        self._graph = (hidden, np.concatenate(starts), np.concatenate(sources), self._weights, self._bias)
        self._biased = np.concatenate(biased)
        self._dtype, dtype = inputs.dtype, self._bias.dtype
        self._x, self._targets = inputs.numpy(), train.targets.numpy()
        self._act = np.zeros((inputs.shape[1] + units, recipe.batch_size), dtype)
        self._delta = np.zeros_like(self._act)
        self._configure(recipe, dtype)

    def _configure(self, recipe: Recipe, dtype: np.dtype[Any]) -> None:
        adam, self._recipe = recipe.optimizer == "adam", recipe
        self._kind = ADAM if adam else MOMENTUM if recipe.momentum else PLAIN
        b1, b2 = self._betas = recipe.betas
        settings = (recipe.weight_decay, recipe.momentum, b1, 1 - b1, b2, 1 - b2)
        self._numbers = tuple(dtype.type(number) for number in (*settings, recipe.epsilon))
        self._zero, self._scale = dtype.type(0), dtype.type(1 / recipe.batch_size)
        # One array for each moment that the optimiser has, empty ones for the others.
        moments = [self._kind != PLAIN, adam] * 2
        sizes = [self._weights.size, self._weights.size, self._bias.size, self._bias.size]
        self._moments = [np.zeros(n if has else 0, dtype) for n, has in zip(sizes, moments, strict=True)]
        self._steps = 0

    def run(self, order: Tensor) -> Tensor:
        """Train on the batches `order` `(1, steps, batch)`; see `Engine.run`.

        Raises:
            ValueError: an order of another shape, or one that names examples that are none.
        """
        last, width = len(self._x) - 1, self._act.shape[1]
        if order.dtype != torch.int64 or order.ndim != 3 or order.shape[::2] != (1, width) or not order.numel():
            raise ValueError(
                f"the order is {order.dtype} of shape {tuple(order.shape)}, expected int64 of shape (1, steps, {width})"
            )
        if int(order.min()) < 0 or int(order.max()) > last:
            raise ValueError(f"the order names examples {int(order.min())} to {int(order.max())}, expected 0 to {last}")
        numbers = np.arange(self._steps + 1, self._steps + order.shape[1] + 1)[:, None]
        corrections = (1 / (1 - np.array(self._betas)[None, :] ** numbers)).astype(self._bias.dtype)
        rates = learning_rates(self._recipe, self._steps, order.shape[1])
        loss, first = 0.0, 0
        for rate, equal in itertools.groupby(rates):  # one call for all steps of one rate
            steps = slice(first, first + len(list(equal)))
            loss += train_steps(
                self._x, self._targets, order[0, steps].numpy(), self._act, self._delta, *self._graph, self._biased,
                self._kind, (self._bias.dtype.type(rate), *self._numbers), self._zero, self._scale, corrections[steps],
                *self._moments,
            )  # fmt: skip
            first = steps.stop
        self._steps += order.shape[1]
        return torch.tensor([float(loss) / order.shape[2]], dtype=torch.float64)

    def outputs(self, inputs: Any) -> Tensor:
        """Logits `(n, classes)`.

        Raises:
            ValueError: inputs of another size, device or dtype.
        """
        flat = inputs.flatten(1)
        if flat.shape[1] != self._x.shape[1] or inputs.device.type != "cpu" or inputs.dtype != self._dtype:
            raise ValueError(
                f"the inputs are {inputs.dtype} with {flat.shape[1]} numbers an example on {inputs.device}, expected "
                f"{self._dtype} with {self._x.shape[1]} on the CPU"
            )
        out = torch.empty(len(flat), self._classes, dtype=self._dtype)
        fill_outputs(flat.numpy(), self._act, self._zero, *self._graph, out.numpy())
        return out

    def evaluate(self, split: Split) -> list[Evaluated]:
        """Loss and metrics on `split`; see `Engine.evaluate`."""
        return evaluate_split(self.outputs, split, self._objective)

    def state(self, place: int = 0) -> State:
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

    def standing(self) -> State:
        """See `Engine.standing`."""
        return {name: torch.tensor(array) for name, array in self._arrays().items()}

    def restore(self, standing: State, steps: int) -> None:
        """See `Engine.restore`."""
        for name, array in self._arrays().items():
            array[...] = standing[name].numpy()
        self._steps = steps

    def _arrays(self) -> dict[str, Any]:
        return {"weights": self._weights, "bias": self._bias} | {f"moment/{n}": m for n, m in enumerate(self._moments)}


def on_fused_device(split: Split) -> bool:
    """Whether the compiled loops know the inputs' device and dtype.

    Examples:
        >>> on_fused_device(Split(torch.zeros(1, 2), torch.tensor([0])))
        True
        >>> on_fused_device(Split(torch.zeros(1, 2).half(), torch.tensor([0])))
        False
    """
    inputs = split.tensor
    return inputs.device.type == "cpu" and inputs.dtype in (torch.float32, torch.float64)
