"""Group: K networks of one architecture trained in step, their parameters stacked; on `torch.func.vmap`."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from scratchcard.pruning.mask import Mask
from scratchcard.workloads.engines.engine import Loss, evaluation_rows, make_optimizer
from scratchcard.workloads.engines.training_loop import seeded
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

# How far the stacked losses may be from each network's own: far above rounding (TF32 convolutions too), far below
# what another architecture does.
TOLERANCES = {torch.float64: 1e-6}
LOW_TOLERANCE = 1e-2


class NotTogetherError(ValueError):
    """The networks cannot be trained in step; the message says why in one sentence."""


class Group:
    """K networks whose parameters and buffers are stacked `(K, ...)`; every step is one step of all of them.

    The gradient of the sum of the K losses is, for each network, that of its own loss. Both optimisers work entry by
    entry, so that one optimiser on the stacked parameters does for all. Gradients of masked weights are masked, as in
    `AutogradEngine`.

    Attributes:
        size: K, the networks still in the group.
        parameters, buffers: stacked, by name.

    Args:
        networks: of one architecture, type and device, pruned weights already zero; copied, not changed.
        masks: of each network; None keeps all.
        train: in the networks' dtype and on their device.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        masks: Sequence[Mask | None],
        loss: Loss,
        recipe: Recipe,
        train: Split,
    ) -> None:
        self._loss, self._recipe, self._train = loss, recipe, train
        self.size = len(networks)
        self._base = copy.deepcopy(networks[0])
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

    def _state(self) -> list[dict[str, Tensor]]:
        return [dict(self.parameters), self.buffers]

    def run(self, order: Tensor) -> Tensor:
        """Train network k on the batches `order[k]`; `order` is `(K, steps, batch)`, int64 on the CPU.

        Returns:
            Each network's losses, summed over the steps: `(K,)`, float64, on the CPU.
        """
        device = self._train.targets.device
        order = order.transpose(0, 1).contiguous().to(device)
        total = torch.zeros(self.size, dtype=torch.float64, device=device)
        for rows in order:
            total += self._step(rows)
        return total.cpu()

    def _step(self, rows: Tensor) -> Tensor:
        """One step of every network on the training examples `rows` `(K, batch)`; the losses before it `(K,)`."""
        losses = self._losses(rows)
        self._optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        for name, mask in self._masks.items():
            gradient = self.parameters[name].grad
            if gradient is not None:
                gradient.mul_(mask)
        self._optimizer.step()
        return losses.detach()

    def _losses(self, rows: Tensor) -> Tensor:
        self._base.train()

        def one(state: list[dict[str, Tensor]], inputs: Tensor, targets: Tensor) -> Tensor:
            return self._loss(functional_call(self._base, state, (inputs,)), targets)

        # Buffers that the forward pass changes in place, as batch normalisation does, are changed in the stack.
        losses: Tensor = vmap(one, randomness="error")(
            self._state(), self._train.inputs[rows], self._train.targets[rows]
        )
        return losses

    def _outputs(self, inputs: Tensor) -> Tensor:
        """Logits `(K, n, classes)` of all networks for the same inputs, in evaluation mode."""
        self._base.eval()

        def one(state: list[dict[str, Tensor]]) -> Tensor:
            outputs: Tensor = functional_call(self._base, state, (inputs,))
            return outputs

        outputs: Tensor = vmap(one, randomness="error")(self._state())
        return outputs

    def evaluate(self, split: Split) -> tuple[list[float], list[float]]:
        """Mean losses and accuracies of the K networks on `split`."""
        rows, device = max(64, evaluation_rows(split) // self.size), split.targets.device
        loss = torch.zeros(self.size, dtype=torch.float64, device=device)
        correct = torch.zeros(self.size, dtype=torch.int64, device=device)
        with torch.no_grad():
            for start in range(0, len(split), rows):
                outputs = self._outputs(split.inputs[start : start + rows])
                wanted = split.targets[start : start + rows]
                loss += vmap(self._loss, in_dims=(0, None))(outputs, wanted).double() * len(wanted)
                correct += (outputs.argmax(2) == wanted).sum(1)
        return (loss / len(split)).tolist(), (correct.double() / len(split)).tolist()

    def state(self) -> dict[str, Tensor]:
        """The stacked parameters and buffers themselves, not copies."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()} | self.buffers

    def select(self, places: Sequence[int]) -> None:
        """Keep only the networks at these places, in this order: the others cost nothing from here on."""
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
            NotTogetherError: `vmap` cannot run them, or they have other losses or buffers than on their own (networks
                of other layers whose parameters have the same names).
        """
        kept = {name: buffer.clone() for name, buffer in self.buffers.items()}
        rows = rows.to(self._train.targets.device)
        inputs, targets = self._train.inputs[rows], self._train.targets[rows]
        tolerance = TOLERANCES.get(next(iter(self.parameters.values())).dtype, LOW_TOLERANCE)
        try:
            losses = self._losses(rows.expand(self.size, -1))
            losses.sum().backward()  # type: ignore[no-untyped-call]
        except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
            said = " ".join(str(error).split()).partition(". ")[0]
            raise NotTogetherError(f"{type(networks[0]).__name__} cannot be trained together: {said}") from error
        finally:
            changed, self.buffers = self.buffers, kept
            self._optimizer.zero_grad()
        with seeded(0, rows.device), torch.no_grad():
            for place, network in enumerate(networks):
                alone = copy.deepcopy(network).train()
                found = {"loss": losses[place].detach()} | {name: changed[name][place] for name in kept}
                wanted = {"loss": self._loss(alone(inputs), targets)} | dict(alone.named_buffers())
                for name, tensor in wanted.items():
                    if not torch.allclose(tensor, found[name], rtol=tolerance, atol=tolerance, equal_nan=True):
                        raise NotTogetherError(
                            f"network {place} has another {name} in the stack than alone; networks trained together "
                            "must differ in nothing but their parameters and buffers"
                        )


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.detach() for tensor in tensors])


def _mask(name: str, masks: Sequence[Mask | None], network: nn.Module) -> Tensor | None:
    """Ones and zeros `(K, ...)` that the gradient of the parameter `name` is multiplied with; None if all are kept."""
    like = network.get_parameter(name)
    whole = torch.ones(like.shape, dtype=torch.bool, device=like.device)
    kept = [whole if mask is None else mask.tensors.get(name, whole).to(like.device) for mask in masks]
    stacked = torch.stack(kept)
    return None if bool(stacked.all()) else stacked.to(like.dtype)
