"""Steps of layers: linear, convolution, embedding, batch normalisation; see `unit_steps` for the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchcard.pruning.unit_graph import CONSTANT, DEAD, SIGNAL, Flow, Known, Step, UnitStates


class Table(Step):
    """An embedding: units of which the table keeps nothing are DEAD.

    Examples:
        >>> made = Flow((1, 2), 1, torch.arange(2))
        >>> kept = {"weight": torch.tensor([[True, False], [True, False]])}
        >>> Table(made, "weight").states(Known({}, kept)).status.tolist() == [SIGNAL, DEAD]
        True
    """

    def __init__(self, made: Flow, weight: str) -> None:
        super().__init__((), made)
        self._weight = weight

    def states(self, known: Known) -> UnitStates:
        """See above."""
        found = UnitStates.signals(0 if self.makes is None else len(self.makes.labels))
        kept = known.kept.get(self._weight)
        return found if kept is None else UnitStates.of(torch.where(kept.any(0), SIGNAL, DEAD), found.value)


class Normalisation(Step):
    """Batch normalisation, each unit alone, in training and in evaluation.

    In training a constant becomes the bias b exactly, as its own mean is taken from it; but only a zero is its mean
    without rounding. In evaluation a zero becomes `b - g m / sqrt(v + eps)` with the running mean m and variance v,
    which both go to zero by the same factor in each training step, so that this goes to b from one side. A DEAD unit is
    thus closable if b and this value are not positive and will not be; with weight decay, which moves b and the gain g,
    if b and m are zero.

    Examples:
        >>> read, made = Flow((1, 2), 1, torch.arange(2)), Flow((1, 2), 1, torch.arange(2))
        >>> read.states = UnitStates.of(torch.tensor([DEAD, SIGNAL]), torch.zeros(2))
        >>> tensors = {"m": torch.zeros(2), "v": torch.ones(2), "g": torch.ones(2), "b": torch.zeros(2)}
        >>> Normalisation(read, made, ("m", "v", "g", "b"), 1e-5).states(Known(tensors, {})).closable
        tensor([ True, False])
    """

    def __init__(self, read: Flow, made: Flow, names: tuple[str | None, ...], epsilon: float) -> None:
        super().__init__((read,), made)
        self._names, self._epsilon = names, epsilon

    def states(self, known: Known) -> UnitStates:
        """See above."""
        (read,) = self.reads
        status, value, _ = read.states
        if bool((status == SIGNAL).all()):
            return UnitStates.signals(len(status))
        mean, variance, gain, bias = (known.value(name) for name in self._names)
        zero = (status == DEAD) | (read.closable & (value == 0))
        resting = torch.ones_like(zero)
        found = torch.zeros_like(value)
        if mean is not None and variance is not None:
            resting = mean == 0 if self._names[0] not in known.shared else torch.zeros_like(zero)
            found = (value - mean) / (variance + self._epsilon).sqrt()
        status = torch.where((status == DEAD) & ~resting, CONSTANT, status)
        if gain is not None:
            found = found * gain
        name = self._names[3]
        if bias is None or name is None:
            return UnitStates.of(status, found, zero & resting)
        found = found + bias
        status = torch.where(status == DEAD, CONSTANT, status)
        alone = not known.decay and known.shared.isdisjoint(each for each in self._names if each)
        settled = resting | (found <= 0) if alone else resting
        return UnitStates.of(status, found, zero & settled & known.stays_closed(name))

    def needs(self, needed: Tensor, known: Known) -> list[Tensor]:
        """The same."""
        return [needed]


class Layer(Step):
    """A linear layer or convolution: new units, each a sum over kept weights.

    Attributes:
        weight, bias: their names.
        groups: of a convolution.
        padded: it pads with zeros, so that a constant is none at the border.
        transposed: its weight is `(in, out, ...)`.
        folds: whether a constant that enters can be added to the bias.

    Examples:
        >>> read, made = Flow((1, 2), 1, torch.arange(2)), Flow((1, 2), 1, torch.arange(2))
        >>> kept = {"weight": torch.tensor([[True, False], [False, False]])}
        >>> read.states = UnitStates.signals(2)
        >>> layer = Layer(read, made, "weight", None)
        >>> layer.states(Known({}, kept)).status.tolist() == [SIGNAL, DEAD]
        True
        >>> layer.needs(torch.tensor([True, True]), Known({}, kept))
        [tensor([ True, False])]
    """

    def __init__(
        self,
        read: Flow | None,
        made: Flow,
        weight: str,
        bias: str | None,
        *,
        groups: int = 1,
        padded: bool = False,
        transposed: bool = False,
    ) -> None:
        super().__init__(() if read is None else (read,), made)
        self.weight, self.bias, self.groups, self.padded, self.transposed = weight, bias, groups, padded, transposed
        self.folds = False

    def states(self, known: Known) -> UnitStates:
        """SIGNAL where a kept weight brings one; without, CONSTANT by the bias, or DEAD."""
        kept = known.kept[self.weight]
        entering = self.reads[0].states if self.reads else UnitStates.signals(kept.shape[1] * self.groups)
        sides = entering.status.reshape(self.groups, 1, -1)
        by_group = kept.reshape(self.groups, -1, kept.shape[1])
        values = entering.value
        brings = sides == SIGNAL
        if self.padded:
            brings = brings | (values != 0).reshape(sides.shape)
        signal = (by_group & brings).any(2).reshape(-1) if bool(brings.any()) else torch.zeros(len(kept)).bool()
        constant = (by_group & (sides == CONSTANT)).any(2).reshape(-1)
        value = self.sent(values, known)
        unfed = ~signal & ~constant
        status = torch.where(signal, SIGNAL, CONSTANT)
        bias = known.value(self.bias)
        if bias is None or self.bias is None:
            return UnitStates.of(status.masked_fill(unfed, DEAD), value, unfed)
        return UnitStates.of(status, value + bias, unfed & known.stays_closed(self.bias))

    def sent(self, values: Tensor, known: Known) -> Tensor:
        """What constants `(in,)` add to the units, `(out,)` float64, without the bias."""
        found = torch.zeros(len(known.kept[self.weight]), dtype=torch.float64)
        if not bool(values.any()):
            return found
        weight: Any = known.tensors[self.weight].detach()
        weight = weight.transpose(0, 1) if self.transposed else weight
        weight = weight.flatten(2).double().sum(2).cpu() if weight.dim() > 2 else weight.cpu()
        by_group = weight.reshape(self.groups, -1, weight.shape[1])
        parts = values.reshape(self.groups, -1)
        for group in parts.any(1).nonzero().reshape(-1).tolist():
            some = parts[group] != 0
            rows = by_group.shape[1]
            found[group * rows : (group + 1) * rows] = by_group[group][:, some].double() @ parts[group][some]
        return found

    def needs(self, needed: Tensor, known: Known) -> list[Tensor]:
        """What has a kept weight to a needed unit, and is not DEAD (nor a constant that the bias can hold)."""
        if not self.reads:
            return []
        kept = known.kept[self.weight]
        wanted = needed.reshape(self.groups, -1, 1)
        used = (kept.reshape(self.groups, -1, kept.shape[1]) & wanted).any(1).reshape(-1)
        status, value, _ = self.reads[0].states
        alive = status >= known.lowest
        if self.padded or not self.folds:
            alive |= (status == CONSTANT) & (value != 0)
        return [used & alive]
