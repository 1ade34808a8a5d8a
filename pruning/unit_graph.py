"""UnitGraph: which entries of a network's tensors belong to the same units, as a pass through it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

DEAD, CONSTANT, SIGNAL = 0, 1, 2


class UnitStates(NamedTuple):
    """What is known of the units of one tensor.

    Attributes:
        status: `(units,)`: SIGNAL, an input may reach the unit; CONSTANT, only biases do; DEAD, it is zero and stays
            zero under any training.
        value: `(units,)` float64: what a CONSTANT unit is in evaluation mode, zero for the others.
        closable: `(units,)`: it stays <= 0 under any training if no gradient reaches it, so that a ReLU next, if
            nothing else reads it, makes the unit DEAD.

    Examples:
        >>> UnitStates.signals(2).status.tolist() == [SIGNAL, SIGNAL]
        True
    """

    status: Tensor
    value: Tensor
    closable: Tensor

    @classmethod
    def signals(cls, count: int) -> UnitStates:
        """Units of which nothing is known."""
        none = torch.zeros(count, dtype=torch.float64)
        return cls(torch.full((count,), SIGNAL), none, none.bool())

    @classmethod
    def of(cls, status: Tensor, value: Tensor, closable: Tensor | None = None) -> UnitStates:
        """The states, with the values of all but constants at zero."""
        value = value.masked_fill(status != CONSTANT, 0)
        return cls(status, value, torch.zeros_like(status, dtype=torch.bool) if closable is None else closable)


@dataclass(eq=False)
class Flow:
    """A tensor of the pass, one of whose axes runs over units.

    Attributes:
        shape: of the tensor.
        axis: the axis; None for the network's own inputs, of which it is not known yet.
        labels: `(shape[axis],)`: entries with equal labels can only be removed together.
        readers: the number of operations that read it.
        states: see `UnitStates`.
        needed: `(shape[axis],)`: whether an output depends on the entry.

    Examples:
        >>> Flow((2, 3), 1, torch.arange(3)).spread(torch.tensor([5, 6, 7]))
        tensor([[5, 6, 7],
                [5, 6, 7]])
    """

    shape: tuple[int, ...]
    axis: int | None
    labels: Tensor
    readers: int = 0
    states: UnitStates = field(default_factory=lambda: UnitStates.signals(0))
    needed: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    @property
    def closable(self) -> Tensor:
        """The units that a ReLU behind it may close: nothing else reads it."""
        return self.states.closable if self.readers == 1 else torch.zeros_like(self.states.closable)

    def spread(self, values: Tensor) -> Tensor:
        """One value a unit, in the tensor's shape."""
        places = [1] * len(self.shape)
        places[self.axis or 0] = len(values)
        return values.reshape(places).expand(self.shape)


@dataclass(frozen=True)
class Known:
    """What states of units depend on beside the graph.

    Attributes:
        tensors: the network's parameters and buffers by name.
        kept: whether a unit keeps a weight from another, `(out, in / groups)`, by the weight's name.
        shared: names of parameters and buffers that one pass uses more than once, or in a way that is not followed.
        decay: whether weight decay may move a bias.
        lowest: units of this status and above are needed where they are read: SIGNAL if constants can be folded.

    Examples:
        >>> Known({}, {}).lowest == CONSTANT
        True
    """

    tensors: Mapping[str, Tensor]
    kept: Mapping[str, Tensor]
    shared: frozenset[str] = frozenset()
    decay: bool = False
    lowest: int = CONSTANT

    def value(self, name: str | None) -> Tensor | None:
        """A parameter or buffer, float64."""
        return None if name is None else self.tensors[name].detach().cpu().double()

    def stays_closed(self, name: str) -> Tensor:
        """Whether a bias is never positive as long as this one use of it brings no gradient."""
        bias = self.tensors[name].detach().cpu()
        if name in self.shared:
            return torch.zeros_like(bias, dtype=torch.bool)
        return bias == 0 if self.decay else bias <= 0


class Step:
    """One operation of the pass: what it reads and makes, and what it does to units.

    Attributes:
        numbers: what it was called with; those that a network takes from its own width differ in a small network.

    Examples:
        >>> Step((), None).needs(torch.zeros(0), Known({}, {}))
        []
    """

    numbers: tuple[float, ...] = ()

    def __init__(self, reads: Sequence[Flow], makes: Flow | None) -> None:
        self.reads, self.makes = tuple(reads), makes
        for flow in self.reads:
            flow.readers += 1

    def states(self, known: Known) -> UnitStates:
        """The states of the units that it makes."""
        return UnitStates.signals(0 if self.makes is None else len(self.makes.labels))

    def needs(self, needed: Tensor, known: Known) -> list[Tensor]:
        """Which entries of each flow that it reads are needed, given those of what it makes; here all."""
        return [torch.ones(len(flow.labels), dtype=torch.bool) for flow in self.reads]


class UnitGraph:
    """The flows of a pass, the steps between them, and what must have equal sizes.

    Attributes:
        steps: in their order.
        cuts: by the name of a parameter or buffer: for its first axes the labels along them, None where whole.
        uses: how often one pass uses each.
        groups: by the name of a grouped convolution's weight the labels that enter, `(groups, each)`, and leave.
        inputs: labels of the features that enter the network, and whether they are flattened; None: all are needed.

    Examples:
        >>> graph = UnitGraph()
        >>> first, second = graph.fresh(2), graph.fresh(2)
        >>> graph.join(first, second)
        >>> graph.classes().tolist()
        [0, 1, 0, 1]
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.cuts: dict[str, list[Tensor | None]] = {}
        self.uses: dict[str, int] = {}
        self.groups: dict[str, tuple[Tensor, Tensor]] = {}
        self.inputs: tuple[Tensor, bool] | None = None
        self._labels = 0
        self._uses_now: dict[str, int] = {}
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._frozen: list[Tensor] = []
        self._spoiled: set[str] = set()

    def fresh(self, count: int) -> Tensor:
        """New labels `(count,)`."""
        self._labels += count
        return torch.arange(self._labels - count, self._labels)

    def join(self, left: Tensor, right: Tensor) -> None:
        """What these labels stand for can only be removed together, one by one."""
        if len(left) == len(right):
            self._pairs.append((left, right))
        else:
            self.freeze(left)
            self.freeze(right)

    def freeze(self, labels: Tensor | None) -> None:
        """These units cannot be removed."""
        if labels is not None:
            self._frozen.append(labels.reshape(-1))

    def cut(self, name: str, *axes: Tensor | None) -> None:
        """The first axes of a parameter or buffer run over units with these labels; None: an axis that stays whole."""
        self._uses_now[name] = self._uses_now.get(name, 0) + 1
        self.uses[name] = max(self.uses.get(name, 0), self._uses_now[name])
        before = self.cuts.setdefault(name, list(axes))
        if len(before) != len(axes):
            self.spoil(name)
        for old, new in zip(before, axes, strict=False):
            if old is None or new is None:
                self.freeze(old)
                self.freeze(new)
            elif old is not new:
                self.join(old, new)

    def begin(self) -> None:
        """Another pass of the same network: its layers are the same, and so are their units."""
        self._uses_now = {}

    def shared(self) -> frozenset[str]:
        """What a pass uses more than once, or in a way that is not followed."""
        return frozenset({name for name, uses in self.uses.items() if uses > 1} | self._spoiled)

    def spoil(self, name: str) -> None:
        """The parameter is used in a way that is not followed: it stays whole."""
        self._spoiled.add(name)

    def classes(self) -> Tensor:
        """For each label the least label of those that belong together with it."""
        found = torch.arange(self._labels)
        if not self._pairs:
            return found
        left, right = (torch.cat([pair[side] for pair in self._pairs]) for side in (0, 1))
        while True:  # the least label of a class spreads to all of it
            before = found
            least = torch.minimum(found[left], found[right])
            for side in (left, right):
                found = found.scatter_reduce(0, found[side], least, "amin")
            found = found[found]
            if torch.equal(found, before):
                return found

    def frozen(self) -> Tensor:
        """The labels that cannot be removed."""
        whole = [labels for name in self._spoiled for labels in self.cuts.get(name, ()) if labels is not None]
        for name in self._spoiled & self.groups.keys():
            whole += [labels.reshape(-1) for labels in self.groups[name]]
        return torch.cat([torch.zeros(0, dtype=torch.int64), *self._frozen, *whole])

    def flows(self) -> list[Flow]:
        """All that is made."""
        return [step.makes for step in self.steps if step.makes is not None]
