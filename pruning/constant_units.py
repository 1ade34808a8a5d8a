"""UnitStates: which units of a masked chain no input reaches, and what they put out instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scratchcard.pruning.chain import CONVOLUTIONS, NORMALISATIONS, Link, by_unit
from scratchcard.pruning.elementwise import ELEMENTWISE

DEAD, CONSTANT, SIGNAL = 0, 1, 2
# With these, an input <= 0 gives output 0 *and* derivative 0.
_CLOSING = (nn.ReLU, nn.ReLU6)


class UnitStates:
    """What is known of the units at one place of the chain.

    Attributes:
        status: `(units,)`: SIGNAL, an input reaches the unit; CONSTANT, only biases do; DEAD, it is zero and
            stays zero under any training.
        value: `(units,)` float64: what a CONSTANT unit puts out in evaluation mode, zero for the others.
        closable: `(units,)`: a ReLU next would make the unit dead, as it stays <= 0 under any training.

    Examples:
        >>> found = UnitStates.of_inputs(2, torch.device("cpu"))
        >>> found.status.tolist() == [SIGNAL, SIGNAL]
        True
    """

    def __init__(self, status: Tensor, value: Tensor, closable: Tensor) -> None:
        self.status, self.value, self.closable = status, value, closable

    @classmethod
    def of_inputs(cls, count: int, device: torch.device) -> UnitStates:
        """The inputs: all of them signals."""
        status = torch.full((count,), SIGNAL, device=device)
        none = torch.zeros(count, device=device)
        return cls(status, none.double(), none.bool())

    def through(self, link: Link, kept: Mapping[str, Tensor], decay: bool) -> UnitStates:
        """The same behind the next layer."""
        layer = link.layer
        if link.prunable:
            return self._through_weights(link, kept[link.parameter("weight")], decay)
        if isinstance(layer, NORMALISATIONS):
            return self._through_normalisation(layer, link.block, decay)
        if isinstance(layer, ELEMENTWISE):
            return self._through_activation(layer)
        if "AvgPool" in type(layer).__name__ and padded(layer):
            # A padded zero is the same everywhere.
            uneven = (self.status == CONSTANT) & (self.value != 0)
            return UnitStates(self.status.masked_fill(uneven, SIGNAL), self.value, self.closable)
        return self

    def _through_weights(self, link: Link, kept: Tensor, decay: bool) -> UnitStates:
        layer = link.layer
        from_units = by_unit(kept, link.block)
        signal = from_units[:, self.status == SIGNAL].any(1)
        constant = from_units[:, self.status == CONSTANT].any(1)
        if isinstance(layer, CONVOLUTIONS) and padded(layer):
            signal |= from_units[:, (self.status == CONSTANT) & (self.value != 0)].any(1)
        value = summed(layer, kept) @ self._outgoing().repeat_interleave(link.block)
        stays = torch.ones_like(signal)
        bias: Tensor | None = layer.bias  # type: ignore[assignment]
        if bias is not None:
            value = value + bias.detach().double()
            stays = _stays_closed(bias, decay)
        unfed = ~signal & ~constant
        status = torch.where(signal, SIGNAL, CONSTANT)
        if bias is None:
            status[unfed] = DEAD
        return UnitStates(status, value, unfed & stays)

    def _through_normalisation(self, layer: Any, block: int, decay: bool) -> UnitStates:
        if block > 1:  # the places of one unit are normalised apart
            return UnitStates(torch.full_like(self.status, SIGNAL), self.value, torch.zeros_like(self.closable))
        zero = (self.status == DEAD) | (self.closable & (self.value == 0))
        value = self._outgoing()
        mean, variance = layer.running_mean, layer.running_var
        if isinstance(mean, Tensor) and isinstance(variance, Tensor):
            zero &= mean == 0
            value = (value - mean.double()) / (variance.double() + layer.eps).sqrt()
        else:
            value = torch.zeros_like(value)
        status = torch.where((self.status == DEAD) & ~zero, CONSTANT, self.status)
        if isinstance(layer.weight, Tensor) and isinstance(layer.bias, Tensor):
            value = value * layer.weight.detach().double() + layer.bias.detach().double()
            status = torch.where(status == DEAD, CONSTANT, status)
            zero &= _stays_closed(layer.bias, decay)
        return UnitStates(status, value, zero)

    def _through_activation(self, layer: nn.Module) -> UnitStates:
        with torch.no_grad():
            # Out of place, whatever the layer does to its own input.
            value = layer(self._outgoing().clone())
        status = torch.where((self.status == DEAD) & (value != 0), CONSTANT, self.status)
        if isinstance(layer, _CLOSING):
            status = torch.where(self.closable, DEAD, status)
        return UnitStates(status, value.masked_fill(status != CONSTANT, 0), status == DEAD)

    def _outgoing(self) -> Tensor:
        return self.value.masked_fill(self.status != CONSTANT, 0)


def follow(links: Sequence[Link], kept: Mapping[str, Tensor], decay: bool) -> list[UnitStates]:
    """The states of the units that enter each prunable layer, in order.

    Args:
        links: of the chain.
        kept: the mask's tensors, on the network's device.
        decay: whether weight decay may move a bias.

    Examples:
        >>> from scratchcard.pruning.chain import chain
        >>> network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
        >>> kept = {"0.weight": torch.tensor([[True, True], [False, False]]), "2.weight": torch.tensor([[True, True]])}
        >>> follow(chain(network), kept, decay=False)[1].status.tolist() == [SIGNAL, DEAD]
        True
    """
    first = next(link for link in links if link.prunable)
    weight = kept[first.parameter("weight")]
    entering: list[UnitStates] = []
    current = UnitStates.of_inputs(weight.shape[1], weight.device)
    for link in links:
        if link.prunable:
            entering.append(current)
        if link.space or link.prunable:
            current = current.through(link, kept, decay)
    return entering


def summed(layer: nn.Module, kept: Tensor) -> Tensor:
    """The kept weights `(out, in)`, float64, summed over a kernel's places: what a constant map meets.

    Examples:
        >>> layer = nn.Linear(2, 1)
        >>> layer.weight.data = torch.tensor([[3.0, 4.0]])
        >>> summed(layer, torch.tensor([[True, False]]))
        tensor([[3., 0.]], dtype=torch.float64)
    """
    full: Any = layer.weight
    weight: Tensor = full.detach().double().masked_fill(~kept, 0)
    return weight.flatten(2).sum(2) if weight.dim() > 2 else weight


def _stays_closed(bias: Tensor, decay: bool) -> Tensor:
    return bias.detach() == 0 if decay else bias.detach() <= 0


def padded(layer: nn.Module) -> bool:
    """Whether a convolution or pooling layer pads its input, so that a constant differs at the border.

    Examples:
        >>> padded(nn.Conv2d(1, 1, 3, padding=1)), padded(nn.Conv2d(1, 1, 3))
        (True, False)
    """
    padding = getattr(layer, "padding", 0)
    return padding not in ("valid", 0) and any(padding if isinstance(padding, tuple | list) else (padding,))
