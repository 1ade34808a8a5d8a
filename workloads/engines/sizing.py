"""Sizing: from the state of a compacted network that was trained to that of the full-size network."""

from __future__ import annotations

from torch import nn

from scratchcard.pruning.compaction import Compacted
from scratchcard.pruning.state import copy_state
from scratchcard.workloads.engines.engine import State
from scratchcard.workloads.learning_rates import learning_rates
from scratchcard.workloads.recipe import Recipe


class Sizing:
    """From the state of the network that was trained to the state of the full-size network.

    What compaction removed has a zero gradient, so that weight decay alone would move it. Under SGD that is
    one factor `f` for all of it, from `f = 1` and `v = 0`, with the learning rate of each step:

        v = momentum * v + weight_decay * f;    f -= learning_rate * v
                                 with nesterov  f -= learning_rate * (weight_decay * f + momentum * v)
        adamw                                   f -= learning_rate * weight_decay * f

    Under Adam it would be another way for each weight; there what was removed keeps its value.

    Args:
        network: of full size, as it was before the training.
        compacted: what was trained of it; None trained the network itself.
        recipe: of the training.

    Examples:
        >>> from scratchcard.pruning.compaction import compact
        >>> network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
        >>> first, second = torch.tensor([[True, True], [False, False]]), torch.tensor([[True, False]])
        >>> small = compact(network, sc.Mask({"0.weight": first, "2.weight": second}), decay=True)
        >>> sizing = Sizing(network, small, Recipe(learning_rate=0.5, weight_decay=0.1))
        >>> full = sizing.full(small.network.state_dict(), step=1)  # the unit that was removed has decayed
        >>> torch.allclose(full["0.weight"][1], 0.95 * network[0].weight[1])
        True
    """

    def __init__(self, network: nn.Module, compacted: Compacted | None, recipe: Recipe) -> None:
        self._compacted, self._recipe = compacted, recipe
        self._before = copy_state(network) if compacted is not None else {}
        self._parameters = {
            name for name, parameter in network.named_parameters(remove_duplicate=False) if parameter.requires_grad
        }

    def full(self, state: State, step: int) -> State:
        """The full-size state on the CPU, after `step` steps; shares no memory with `state`."""
        if self._compacted is None:
            return {name: tensor.to("cpu", copy=True) for name, tensor in state.items()}
        factor = self._factor(step)
        full = {
            name: tensor * factor if name in self._parameters else tensor.clone()
            for name, tensor in self._before.items()
        }
        self._compacted.expand_state(full, state)
        return full

    def _factor(self, step: int) -> float:
        recipe, decay = self._recipe, self._recipe.weight_decay
        factor, velocity = 1.0, 0.0
        if recipe.optimizer == "adam" or not decay:
            return factor
        for rate in learning_rates(recipe, 0, step):
            velocity = recipe.momentum * velocity + decay * factor
            along = decay * factor + recipe.momentum * velocity if recipe.nesterov else velocity
            factor -= rate * (decay * factor if recipe.optimizer == "adamw" else along)
        return factor
