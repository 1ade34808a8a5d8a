"""What flows through the layers of a network, example by example: the numbers that pairs of units are compared by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable_layers
from scratchcard.scorers.gradients import loss_gradients
from scratchcard.scorers.scorer import Batch, Loss

SAMPLES = 4096
"""Of a layer, at most about so many: more positions of a map than these are left out, evenly."""

_ELEMENTS = 2**24


@dataclass(frozen=True, eq=False)
class Samples:
    """One layer as a matrix: output = weight @ input, a sample for each example (and position of a map).

    A convolution is the linear layer that it applies to every patch of its input (Grosse & Martens 2016, arXiv
    1602.01407, say so for curvature). `g` groups, O outputs, P inputs (channels x kernel) and S samples of a group.

    Attributes:
        inputs: `(g, P, S)`.
        outputs: `(g, O, S)`, before any activation function.
        slopes: `(g, O, S)`: of one example's loss with respect to the outputs.

    Examples:
        >>> samples = Samples(torch.ones(1, 3, 5), torch.ones(1, 2, 5), torch.zeros(1, 2, 5))
        >>> samples.inputs.shape  # one group, three inputs, five examples
        torch.Size([1, 3, 5])
    """

    inputs: Tensor
    outputs: Tensor
    slopes: Tensor


def take_samples(network: nn.Module, batch: Batch, loss: Loss, mask: Mask | None) -> dict[str, Samples]:
    """One forward and backward pass at `w * mask`; by weight name.

    Of a layer that is called several times the samples of all calls.

    Raises:
        ValueError: a layer other than linear or 1d or 2d convolution, one that is never called as a module, so that
            nothing is seen of it, or what `loss_gradients` raises.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
        >>> batch = torch.rand(5, 1, 4, 4), torch.arange(5) % 2
        >>> found = take_samples(network, batch, nn.functional.cross_entropy, None)
        >>> found["0.weight"].inputs.shape  # nine weights a channel; four positions of each of five images
        torch.Size([1, 9, 20])
        >>> found["2.weight"].inputs.shape
        torch.Size([1, 8, 5])
    """
    watch = SampleWatch(network, len(batch[1]))
    loss_gradients(network, batch, loss, mask, in_one_piece=True, watched=watch)
    return watch.samples()


class SampleWatch:
    """Takes samples of the passes inside: one forward, one backward with the gradient of the mean loss.

    Called it is a context; what an earlier one saw is forgotten.

    Args:
        network: its layers are watched.
        examples: of the batch.

    Attributes:
        complete: whether passes were watched to their end.

    Raises:
        ValueError: a layer other than linear or 1d or 2d convolution.

    Examples:
        >>> network = nn.Linear(3, 2)
        >>> watch = SampleWatch(network, examples=5)
        >>> with watch():
        ...     network(torch.ones(5, 3)).mean().backward()
        >>> watch.samples()["weight"].inputs.shape
        torch.Size([1, 3, 5])
    """

    def __init__(self, network: nn.Module, examples: int) -> None:
        self.complete = False
        self._examples = examples
        self._layers = prunable_layers(network)
        self._found: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}
        for name, layer in self._layers.items():
            if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
                raise ValueError(
                    f"features of pairs are defined for linear and 1d and 2d convolution layers, {name} belongs to "
                    f"{type(layer).__name__}; use a predictor without them, or a criterion such as synflow_l2_data"
                )

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Watch what happens inside."""
        self._found, self.complete = {name: [] for name in self._layers}, False
        with ExitStack() as watching:
            for name, layer in self._layers.items():
                hook = _hook(self._found[name], self._examples, watching)
                watching.enter_context(layer.register_forward_hook(hook, with_kwargs=True))
            yield
        self.complete = True

    def samples(self) -> dict[str, Samples]:
        """What was seen, by weight name.

        Raises:
            ValueError: a layer was not called.
        """
        unseen = next((name for name, calls in self._found.items() if not calls), None)
        if unseen is not None:
            raise ValueError(
                f"features of pairs need what flows through each layer, and that of {unseen} is not called as a "
                "module: it is unused, or a function takes its weight; use a predictor without them, or a criterion "
                "such as synflow_l2_data"
            )
        joined = {name: zip(*calls, strict=True) for name, calls in self._found.items()}
        return {name: Samples(*(torch.cat(parts, dim=2) for parts in each)) for name, each in joined.items()}


def _hook(calls: list[tuple[Tensor, Tensor, Tensor]], examples: int, watching: ExitStack) -> Callable[..., None]:
    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        given: Tensor = (args[0] if args else kwargs["input"]).detach()
        inputs, choice = _patches(layer, given)
        # A copy: an activation function in place (`nn.ReLU(inplace=True)`) would change a view of the outputs.
        outputs = _columns(layer, output.detach(), choice).clone()

        def backward(gradient: Tensor) -> None:
            calls.append((inputs, outputs, _columns(layer, gradient.detach() * examples, choice)))

        if output.requires_grad:
            watching.callback(output.register_hook(backward).remove)  # type: ignore[no-untyped-call]

    return hook


def _patches(layer: nn.Module, given: Tensor) -> tuple[Tensor, Tensor | None]:
    """Inputs as `(g, P, S)`, and the positions of each example that were taken, `(taken,)`."""
    if isinstance(layer, nn.Linear):
        return given.reshape(-1, given.shape[-1]).T[None], None
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)  # noqa: S101  (checked by take_samples)
    maps = given if given.ndim == len(layer.kernel_size) + 2 else given[None]
    kernel, stride, dilation = (_plane(size) for size in (layer.kernel_size, layer.stride, layer.dilation))
    maps = F.pad(maps, layer._reversed_padding_repeated_twice, "constant" if _zeros(layer) else layer.padding_mode)
    maps = maps if maps.ndim == 4 else maps[:, :, None]
    chunk = max(1, _ELEMENTS // (maps[0].numel() * kernel[0] * kernel[1]))
    parts, choice = [], None
    for start in range(0, len(maps), chunk):
        columns = F.unfold(maps[start : start + chunk], kernel, dilation, 0, stride)
        if choice is None:
            places = columns.shape[2]
            wanted = min(places, max(1, SAMPLES // len(maps)))
            choice = torch.arange(wanted, device=given.device) * places // wanted
        parts.append(columns[:, :, choice])
    columns = torch.cat(parts).movedim(0, 2)  # (C k, places, n)
    return columns.reshape(layer.groups, columns.shape[0] // layer.groups, -1), choice


def _columns(layer: nn.Module, values: Tensor, choice: Tensor | None) -> Tensor:
    """Numbers at a layer's outputs as `(g, O, S)`, in the order of `_patches`."""
    if choice is None:
        return values.reshape(-1, values.shape[-1]).T[None]
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)  # noqa: S101
    maps = values if values.ndim == len(layer.kernel_size) + 2 else values[None]
    columns = maps.flatten(2)[:, :, choice].movedim(0, 2)
    return columns.reshape(layer.groups, columns.shape[0] // layer.groups, -1)


def _zeros(layer: nn.Conv1d | nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros"


def _plane(size: tuple[int, ...]) -> tuple[int, int]:
    return (1, size[0]) if len(size) == 1 else (size[0], size[1])


def by_pair(weight: Tensor, layer: Samples) -> Tensor:
    """A tensor in the layout of the layer's weight as `(g, O, P)`.

    Examples:
        >>> layer = Samples(torch.zeros(1, 9, 20), torch.zeros(1, 2, 20), torch.zeros(1, 2, 20))
        >>> by_pair(torch.zeros(2, 1, 3, 3), layer).shape
        torch.Size([1, 2, 9])
    """
    return weight.reshape(layer.outputs.shape[0], layer.outputs.shape[1], layer.inputs.shape[1])
