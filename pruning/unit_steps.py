"""Steps: what each kind of operation does to units, and which units it needs; `unit_rules` says which are whose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from scratchcard.pruning.unit_graph import CONSTANT, DEAD, SIGNAL, Flow, Known, Step, UnitStates

_CLOSED = (-1e6, -1e3, -10.0, -3.0, -1.0, -0.1, -1e-3, -1e-6, 0.0)


def closing(function: Callable[[Tensor], Tensor]) -> bool:
    """Whether an activation's value *and* derivative are zero wherever its input is not positive.

    Examples:
        >>> closing(torch.relu), closing(torch.nn.functional.hardswish), closing(torch.nn.ReLU6())
        (True, False, True)
    """
    points = torch.tensor(_CLOSED, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        found = function(points * 1)
        if not found.requires_grad:
            return False
        (slope,) = torch.autograd.grad(found.sum(), points)
    return not bool(found.any()) and not bool(slope.any())


class Elementwise(Step):
    """An activation, or an operation with a number: `function` of each entry alone.

    Examples:
        >>> read, made = Flow((1, 2), 1, torch.arange(2)), Flow((1, 2), 1, torch.arange(2))
        >>> read.states = UnitStates.of(torch.tensor([DEAD, SIGNAL]), torch.zeros(2))
        >>> Elementwise(read, made, torch.sigmoid).states(Known({}, {})).status.tolist() == [CONSTANT, SIGNAL]
        True
    """

    def __init__(
        self,
        read: Flow,
        made: Flow,
        function: Callable[[Tensor], Tensor] | None = None,
        numbers: tuple[float, ...] = (),
    ) -> None:
        super().__init__((read,), made)
        self._function, self.numbers = function, numbers

    def states(self, known: Known) -> UnitStates:
        """Of an activation, see `closing`; None passes all."""
        (read,) = self.reads
        status, value, _ = read.states
        if self._function is None:
            return UnitStates(status, value, read.closable)
        if bool((status == SIGNAL).all()):
            return UnitStates.signals(len(status))
        found = self._function(value.clone()).detach().double()
        status = torch.where((status == DEAD) & (found != 0), CONSTANT, status)
        if bool(read.closable.any()) and closing(self._function):
            status = status.masked_fill(read.closable, DEAD)
        return UnitStates.of(status, found, status == DEAD)

    def needs(self, needed: Tensor, known: Known) -> list[Tensor]:
        """The same."""
        return [needed]


class Move(Step):
    """Entries at other places: entry k of what is made is entry `places[k]` of what is read, or, at -1, `filling`.

    Examples:
        >>> read, made = Flow((1, 2), 1, torch.arange(2)), Flow((1, 3), 1, torch.arange(3))
        >>> Move(read, made, torch.tensor([-1, 1, 0])).needs(torch.tensor([True, True, False]), Known({}, {}))
        [tensor([False,  True])]
    """

    def __init__(self, read: Flow, made: Flow, places: Tensor, filling: float = 0.0) -> None:
        super().__init__((read,), made)
        self.places, self._filling = places, filling

    def states(self, known: Known) -> UnitStates:
        """At their new places."""
        (read,) = self.reads
        status, value, closable = (part[self.places] for part in (read.states[0], read.states[1], read.closable))
        new = self.places < 0
        status = status.masked_fill(new, CONSTANT if self._filling else DEAD)
        value = value.masked_fill(new, self._filling)
        return UnitStates.of(status, value, closable & ~new)

    def needs(self, needed: Tensor, known: Known) -> list[Tensor]:
        """At their old places."""
        (read,) = self.reads
        found = torch.zeros(len(read.labels), dtype=torch.bool)
        found[self.places[needed & (self.places >= 0)]] = True
        return [found]


class Spatial(Step):
    """Pooling, resizing, padding, means: `function` over the other axes, each unit alone.

    A constant stays one if the function makes the same of it everywhere.

    Examples:
        >>> read, made = Flow((1, 1, 4), 1, torch.arange(1)), Flow((1, 1, 6), 1, torch.arange(1))
        >>> read.states = UnitStates.of(torch.tensor([CONSTANT]), torch.tensor([5.0]))
        >>> pad = lambda x: torch.nn.functional.pad(x, (1, 1))
        >>> Spatial(read, made, pad).states(Known({}, {})).status.tolist() == [SIGNAL]
        True
    """

    def __init__(self, read: Flow, made: Flow, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__((read,), made)
        self._function = function

    def states(self, known: Known) -> UnitStates:
        """See above."""
        (read,) = self.reads
        status, value, _ = read.states
        if self.makes is None or not bool((status != SIGNAL).any()):
            return UnitStates.signals(len(status))
        try:
            found = self._function(read.spread(value).contiguous()).double()
        except RuntimeError:  # not in float64
            return UnitStates.signals(len(status))
        found = found.movedim(self.makes.axis or 0, 0).unsqueeze(-1).flatten(1)
        value = found[:, 0]
        even = (found == value[:, None]).all(1) if found.shape[1] else torch.ones_like(status, dtype=torch.bool)
        even |= (found - value[:, None]).abs().amax(1) <= 1e-12 * value.abs()
        status = torch.where((status == DEAD) & (value != 0), CONSTANT, status).masked_fill(~even, SIGNAL)
        # A mean or maximum of what is never positive is not either.
        return UnitStates.of(status, value, read.closable & even)

    def needs(self, needed: Tensor, known: Known) -> list[Tensor]:
        """The same."""
        return [needed]


Kind = Literal["add", "sub", "mul", "other"]


class Join(Step):
    """Two tensors, entry by entry; None stands for one of which nothing is known.

    Examples:
        >>> flows = [Flow((1, 2), 1, torch.arange(2)) for _ in range(3)]
        >>> flows[0].states = UnitStates.of(torch.tensor([DEAD, DEAD]), torch.zeros(2))
        >>> flows[1].states = UnitStates.of(torch.tensor([DEAD, SIGNAL]), torch.zeros(2))
        >>> step = Join(flows[:2], flows[2], torch.add, "add")
        >>> step.states(Known({}, {})).status.tolist() == [DEAD, SIGNAL]
        True
    """

    def __init__(
        self, operands: Sequence[Flow | None], made: Flow, function: Callable[[Tensor, Tensor], Tensor], kind: Kind
    ) -> None:
        super().__init__([flow for flow in operands if flow is not None], made)
        self._operands, self._function, self._kind = tuple(operands), function, kind

    def states(self, known: Known) -> UnitStates:
        """Of a product: DEAD where a factor is; of a sum where all are."""
        unknown = UnitStates.signals(1)
        (one, left, _), (two, right, _) = (unknown if f is None else f.states for f in self._operands)
        status = torch.maximum(one, two)
        value = self._function(left, right).detach().double().expand(len(status))
        status = torch.where((status == DEAD) & (value != 0), CONSTANT, status)
        shut = [torch.zeros(1, dtype=torch.bool) if f is None else f.closable for f in self._operands]
        if self._kind == "mul":
            status = status.masked_fill((one == DEAD) | (two == DEAD), DEAD)
        closable = status == DEAD
        if self._kind == "add":
            closable = (shut[0] | (one == DEAD)) & (shut[1] | (two == DEAD))
        elif self._kind == "sub":
            closable = (shut[0] | (one == DEAD)) & (two == DEAD)
        return UnitStates.of(status, value, closable)

    def needs(self, needed: Tensor, known: Known) -> list[Tensor]:
        """The same; of a tensor with one entry for all, that."""
        return [needed if len(f.labels) == len(needed) else needed.any().expand(len(f.labels)) for f in self.reads]


class Concatenation(Step):
    """Tensors behind each other, along the axis of units, or (`along` False) along another.

    Examples:
        >>> flows = [Flow((1, count), 1, torch.arange(count)) for count in (1, 2, 3)]
        >>> step = Concatenation(flows[:2], flows[2], along=True)
        >>> step.needs(torch.tensor([True, False, True]), Known({}, {}))
        [tensor([True]), tensor([False,  True])]
    """

    def __init__(self, reads: Sequence[Flow], made: Flow, *, along: bool) -> None:
        super().__init__(reads, made)
        self._along = along

    def states(self, known: Known) -> UnitStates:
        """Along the axis their own."""
        if self._along:
            parts = [(*flow.states[:2], flow.closable) for flow in self.reads]
            return UnitStates(*(torch.cat([part[k] for part in parts]) for k in range(3)))
        dead = torch.stack([flow.states.status == DEAD for flow in self.reads]).all(0)
        shut = torch.stack([flow.closable | (flow.states.status == DEAD) for flow in self.reads]).all(0)
        return UnitStates.of(torch.where(dead, DEAD, SIGNAL), torch.zeros(len(dead), dtype=torch.float64), shut)

    def needs(self, needed: Tensor, known: Known) -> list[Tensor]:
        """Their own parts."""
        if not self._along:
            return [needed] * len(self.reads)
        return list(torch.split(needed, [len(flow.labels) for flow in self.reads]))
