"""The stacked engine: K networks of one architecture trained in step, on `torch.func.vmap`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from scratchcard.pruning.inputs import Inputs, forward
from scratchcard.pruning.inputs import rows as at
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.state import copied_module
from scratchcard.workloads.engines.engine import (
    Engine,
    State,
    load_optimizer_state,
    make_optimizer,
    optimizer_state,
    seeded,
    set_learning_rate,
)
from scratchcard.workloads.engines.evaluator import Evaluated, evaluate_split
from scratchcard.workloads.learning_rates import learning_rates
from scratchcard.workloads.objective import Objective, training_loss
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

# How far the stacked losses may be from each network's own: far above rounding (TF32 convolutions too), far below
# what another architecture does.
TOLERANCES = {torch.float64: 1e-6}
LOW_TOLERANCE = 1e-2


Masks = Sequence[Mask | None]
"""By network; None keeps all weights."""


class NotStackableError(ValueError):
    """The networks cannot be trained in step; the message says why in one sentence.

    Examples:
        >>> issubclass(NotStackableError, ValueError)
        True
    """


class StackedEngine(Engine):
    """K networks whose parameters and buffers are stacked `(K, ...)`; every step is one step of all of them.

    The gradient of the sum of the K losses is, for each network, that of its own loss. Both optimisers work entry by
    entry, so that one optimiser on the stacked parameters does for all. Gradients of masked weights are masked, as in
    `AutogradEngine`.

    Attributes:
        size: K, the networks still in the stack.
        parameters, buffers: stacked, by name.

    Args:
        networks: of one architecture, type and device, pruned weights already zero; copied, not changed.
        masks: of each network; None keeps all.
        train: in the networks' dtype and on their device.

    Examples:
        >>> split = Split(torch.eye(2), torch.tensor([0, 1]))
        >>> networks = [nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(3)]
        >>> engine = StackedEngine(networks, [None] * 3, sc.Classification(), Recipe(batch_size=2), split)
        >>> engine.run(torch.tensor([[[0, 1], [1, 0]]] * 3)).shape
        torch.Size([3])
        >>> engine.select([2])
        >>> engine.size, len(engine.evaluate(split))
        (1, 1)
    """

    name = "together"

    def __init__(
        self, networks: Sequence[nn.Module], masks: Masks, objective: Objective, recipe: Recipe, train: Split
    ) -> None:
        self._objective, self._recipe, self._train = objective, recipe, train
        self.device = train.targets.device
        self._loss = training_loss(objective, recipe.label_smoothing)
        self._steps = 0
        self.size = len(networks)
        self._base = copied_module(networks[0])
        self.parameters = {
            name: nn.Parameter(_stacked([network.get_parameter(name) for network in networks]), like.requires_grad)
            for name, like in networks[0].named_parameters()
        }
        self.buffers = {
            name: _stacked([network.get_buffer(name) for network in networks])
            for name, _ in networks[0].named_buffers()
        }
        self._masks = {name: kept for name in self.parameters if (kept := _mask(name, masks, networks[0])) is not None}
        self._optimizer = make_optimizer(self._trained(), recipe)

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters.values() if parameter.requires_grad]

    def _state(self) -> list[State]:
        return [dict(self.parameters), self.buffers]

    def run(self, order: Tensor) -> Tensor:
        """Train network k on the batches `order[k]`; see `Engine.run`."""
        device = self._train.targets.device
        order = order.transpose(0, 1).contiguous().to(device)
        total = torch.zeros(self.size, dtype=torch.float64, device=device)
        rates = learning_rates(self._recipe, self._steps, len(order))
        for rows, targets, rate in zip(order, self._train.targets[order], rates, strict=True):
            set_learning_rate(self._optimizer, rate)
            total += self._step(rows, targets, rate)
        self._steps += len(rates)
        return total.cpu()

    def _step(self, rows: Tensor, targets: Tensor, rate: float) -> Tensor:
        """One step of every network on the training examples `rows` `(K, batch)`; the losses before it `(K,)`."""
        losses = self._losses(rows, targets)
        self._optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        for name, mask in self._masks.items():
            gradient = self.parameters[name].grad
            if gradient is not None:
                gradient.mul_(mask)
        self._optimizer.step()
        return losses.detach()

    def _losses(self, rows: Tensor, targets: Tensor) -> Tensor:
        self._base.train()

        def one(state: list[State], inputs: Inputs, targets: Tensor) -> Tensor:
            return self._loss(forward(self._base, inputs, state), targets)

        # Buffers that the forward pass changes in place, as batch normalisation does, are changed in the stack.
        losses: Tensor = vmap(one, randomness="error")(self._state(), at(self._train.inputs, rows), targets)
        return losses

    def _outputs(self, inputs: Any) -> Tensor:
        """Outputs `(K, n, ...)` of all networks for the same inputs, in evaluation mode."""
        self._base.eval()
        outputs: Tensor = vmap(lambda state: forward(self._base, inputs, state), randomness="error")(self._state())
        return outputs

    def evaluate(self, split: Split) -> list[Evaluated]:
        """Loss and metrics of each network on `split`; see `Engine.evaluate`."""
        return evaluate_split(self._outputs, split, self._objective, networks=self.size)

    def state(self, place: int = 0) -> State:
        """A copy of the parameters and buffers of the network at `place`."""
        return {
            name: tensor.detach()[place].clone() for name, tensor in [*self.parameters.items(), *self.buffers.items()]
        }

    def standing(self) -> State:
        """See `Engine.standing`."""
        held = {f"network/{n}": t.detach().clone() for state in self._state() for n, t in state.items()}
        return held | optimizer_state(self._optimizer)

    def restore(self, standing: State, steps: int) -> None:
        """See `Engine.restore`; of as many networks."""
        with torch.no_grad():
            for name, tensor in [(n, t) for state in self._state() for n, t in state.items()]:
                tensor.copy_(standing[f"network/{name}"])
        load_optimizer_state(self._optimizer, standing)
        self._steps = steps

    def select(self, places: Sequence[int]) -> None:
        """Keep only the networks at these places; see `Engine.select`."""
        index = torch.tensor(places, dtype=torch.int64, device=self._train.targets.device)
        before = self.parameters
        self.size = len(places)
        self.parameters = {
            name: nn.Parameter(parameter.detach()[index], requires_grad=parameter.requires_grad)
            for name, parameter in before.items()
        }
        self.buffers = {name: buffer[index] for name, buffer in self.buffers.items()}
        self._masks = {name: mask[index] for name, mask in self._masks.items()}
        moments = self._optimizer.state
        self._optimizer = make_optimizer(self._trained(), self._recipe)
        for name, parameter in before.items():
            # Moments have the parameter's shape; Adam's count of steps is one number for all.
            if moments.get(parameter):
                self._optimizer.state[self.parameters[name]] = {
                    key: value[index] if isinstance(value, Tensor) and value.shape == parameter.shape else value
                    for key, value in moments[parameter].items()
                }

    def check(self, networks: Sequence[nn.Module], rows: Tensor) -> None:
        """Make sure, on the training examples `rows` `(batch,)`, that the stack computes what the networks compute.

        Raises:
            NotStackableError: `vmap` cannot run them, or they have other losses or buffers than on their own (networks
                of other layers whose parameters have the same names).
        """
        kept = {name: buffer.clone() for name, buffer in self.buffers.items()}
        rows = rows.to(self._train.targets.device)
        inputs: Any = at(self._train.inputs, rows)
        targets = self._train.targets[rows]
        tolerance = TOLERANCES.get(next(iter(self.parameters.values())).dtype, LOW_TOLERANCE)
        try:
            losses = self._losses(rows.expand(self.size, -1), targets.expand(self.size, *targets.shape))
            losses.sum().backward()  # type: ignore[no-untyped-call]
            self.evaluate(replace(self._train, inputs=inputs, targets=targets))
        except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
            said = " ".join(str(error).split()).partition(". ")[0]
            raise NotStackableError(f"{type(networks[0]).__name__} cannot be trained together: {said}") from error
        finally:
            changed, self.buffers = self.buffers, kept
            self._optimizer.zero_grad()
        with seeded(0, rows.device), torch.no_grad():
            for place, network in enumerate(networks):
                alone = copied_module(network).train()
                found = {"loss": losses[place].detach()} | {name: changed[name][place] for name in kept}
                wanted = {"loss": self._loss(forward(alone, inputs), targets)} | dict(alone.named_buffers())
                for name, tensor in wanted.items():
                    if not torch.allclose(tensor, found[name], rtol=tolerance, atol=tolerance, equal_nan=True):
                        raise NotStackableError(
                            f"network {place} has another {name} in the stack than alone; networks trained together "
                            "must differ in nothing but their parameters and buffers"
                        )


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.detach() for tensor in tensors])


def _mask(name: str, masks: Masks, network: nn.Module) -> Tensor | None:
    """Ones and zeros `(K, ...)` that the gradient of the parameter `name` is multiplied with; None if all are kept."""
    like = network.get_parameter(name)
    whole = torch.ones(like.shape, dtype=torch.bool, device=like.device)
    kept = [whole if mask is None else mask.tensors.get(name, whole).to(like.device) for mask in masks]
    stacked = torch.stack(kept)
    return None if bool(stacked.all()) else stacked.to(like.dtype)
