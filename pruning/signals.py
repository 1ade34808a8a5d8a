"""Signals: what flows through the linear image of a network.

The linear image of a network is the sum over its paths of the product of the weights on each. It is read off the
network's own `forward`, which is called with signals in place of tensors: every operation on a signal is looked up by
name (`linear_operations`) and replaced by what it does to sums over paths. What signals do to each
other, `signal_arithmetic` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

import torch
from torch import Tensor

from scratchcard.pruning.row_blocks import RowBlocks

_EVERY = -1  # all bits set: what can be said of all paths where there is none

Rule = Callable[..., Any]
"""`(function, *arguments, **keywords)`, of an operation that was called with at least one signal."""


class UnknownOperation(ValueError):
    """An operation that has no linear image; `LinearImage` says where it stands.

    Examples:
        >>> try:
        ...     Signal(torch.ones(2)).relu()
        ... except UnknownOperation as error:
        ...     print(error)
        'relu'
    """


@dataclass(eq=False)
class Run:
    """What the signals of one linear image share.

    Attributes:
        rules: by the operation's name, without the underscore of its in-place form.
        dtype: that signals seem to have, the network's own; the numbers are float64, or float32 where they are cut.
        pooling: `"keep"`: a maximum is a maximum; `"average"`: a mean, so that every path carries something.
        cut: cut numbers of paths back to 0 and 1 behind every weight and product, in both directions.
        begin: `()`, what paths carry that begin at a weight (a table, a constant that is fed to a layer).
        looked_up: the network's own tokens, each with what is fed in place of their one-hot vectors, see
            `linear_layers.embedding`.

    Examples:
        >>> run = Run({"relu": lambda function, signal: signal})
        >>> float(Signal(torch.tensor(2.0), run).relu().value)
        2.0
    """

    rules: Mapping[str, Rule] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    pooling: Literal["keep", "average"] = "keep"
    cut: bool = False
    begin: Tensor = field(default_factory=lambda: torch.ones(()))
    looked_up: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    known: dict[Any, tuple[Rule | None, bool]] = field(default_factory=dict)

    def rule(self, function: Any) -> tuple[Rule | None, bool]:
        """The rule of a function, and whether it changes its first argument in place."""
        found = self.known.get(function)
        if found is None:
            name = name_of(function)
            in_place = name.endswith("_") and not name.endswith("__")
            found = self.known[function] = (self.rules.get(name.removesuffix("_") if in_place else name), in_place)
        return found


class Signal(Tensor):
    """A tensor of sums over paths, from the inputs to here; or a weight, as a factor on them (`weight`).

    It has a shape, a dtype and a device, but no numbers of its own: those are in `value`, where autograd follows them.

    Attributes:
        run: see `Run`; if none is given, one of its own, without rules.
        value: float64, or float32 where numbers are cut; never negative.
        weight: whether it is a weight (or made of weights alone).
        some: bits of the layers that some path has crossed.
        once: bits of the layers that every path has crossed exactly once; all bits where there is no path.
        open: `bool` or 0/1, where it is not shut by a mask; None: everywhere.
        family: `[n]`, shared with its views: how often one of them was changed in place.
        seen: `n` when `value` was made.
        rows: of a large weight, what makes its numbers: they are there only after `now` was asked for them.

    Examples:
        >>> signal = Signal(torch.tensor([1.0, 2.0]), some=1, once=1)
        >>> signal, signal.value
        (Signal((2,), weight=False), tensor([1., 2.]))
    """

    run: Run
    value: Tensor
    weight: bool
    some: int
    once: int
    open: Tensor | None
    family: list[int]
    seen: int
    rows: RowBlocks | None

    @staticmethod
    def __new__(cls: type[Signal], value: Tensor, run: Run | None = None, **_: Any) -> Signal:
        dtype = value.dtype if run is None else run.dtype
        return Tensor._make_wrapper_subclass(cls, value.shape, dtype=dtype, device=value.device)

    def __init__(
        self,
        value: Tensor,
        run: Run | None = None,
        *,
        weight: bool = False,
        some: int = 0,
        once: int = _EVERY,
        open: Tensor | None = None,
        family: list[int] | None = None,
    ) -> None:
        self.run = Run(dtype=value.dtype) if run is None else run
        self.value, self.weight, self.some, self.once, self.open = value, weight, some, once, open
        self.family = [0] if family is None else family
        self.seen = self.family[0]
        self.rows = None

    @property
    def now(self) -> Tensor:
        """Its `value`, if no view of the same memory has been written to since."""
        if self.seen != self.family[0]:
            raise UnknownOperation("a tensor that is used after one of its views was changed in place")
        if self.rows is not None:
            self.rows.make(self.value)
        return self.value

    def like(self, value: Tensor | None = None, *, view: bool = False, open: Tensor | None = None) -> Signal:
        """A new signal with the same paths; with the same numbers if no others are given."""
        return Signal(
            self.now if value is None else value,
            self.run,
            weight=self.weight,
            some=self.some,
            once=self.once,
            open=self.open if value is None else open,
            family=self.family if view else None,
        )

    def reset(self, value: Tensor, bit: int, rows: RowBlocks | None) -> None:
        """Make it a weight of this value again."""
        self.rows = rows
        self.value, self.open, self.some, self.once, self.seen = value, None, bit, bit, self.family[0]

    def begun(self) -> Signal:
        """This signal; of a weight, the paths that begin at it."""
        if not self.weight:
            return self
        return Signal(self.now * self.run.begin, self.run, some=self.some, once=self.once, open=self.open)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Signal({tuple(self.value.shape)}, weight={self.weight})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not args and "input" in kwargs:  # torch's name of the first argument; rules take it by its place
            args, kwargs = (kwargs["input"],), {name: given for name, given in kwargs.items() if name != "input"}
        first = args[0] if args else None
        if not isinstance(first, Signal):
            first = next(iter(signals((*args, *kwargs.values()))), None)
        rule, in_place = (None, False) if first is None else first.run.rule(func)
        if rule is None:
            raise UnknownOperation(repr(name_of(func)))
        if torch.is_grad_enabled():
            result = rule(func, *args, **kwargs)
        else:  # a network's `no_grad` means its training; paths are followed everywhere
            with torch.enable_grad():
                result = rule(func, *args, **kwargs)
        if in_place and result is not args[0]:
            return become(args[0], result)
        return result

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise UnknownOperation(repr(str(func)))


def name_of(function: Any) -> str:
    """An operation's name, whichever of its forms was called; of an attribute, `.name`.

    Examples:
        >>> name_of(torch.relu_), name_of(torch.Tensor.shape.__get__)
        ('relu_', '.shape')
    """
    name = getattr(function, "__name__", str(function))
    return f".{function.__self__.__name__}" if name in ("__get__", "__set__") else name


def is_signal(thing: Any) -> TypeGuard[Signal]:
    """Whether it is one.

    Examples:
        >>> is_signal(Signal(torch.ones(2))), is_signal(torch.ones(2))
        (True, False)
    """
    return isinstance(thing, Signal)


def signals(things: Iterable[Any]) -> Iterable[Signal]:
    """The signals among arguments, also within lists and tuples.

    Examples:
        >>> list(signals([1, [Signal(torch.ones(2)), None]]))
        [Signal((2,), weight=False)]
    """
    for thing in things:
        if isinstance(thing, Signal):
            yield thing
        elif isinstance(thing, list | tuple):
            yield from signals(thing)


def become(target: Tensor, result: Signal) -> Tensor:
    """Let a tensor that is changed in place hold the result; a constant becomes a signal.

    Examples:
        >>> zeros = torch.zeros(2)
        >>> become(zeros, Signal(torch.tensor([1.0, 2.0]))).value is zeros.value
        True
    """
    if not isinstance(target, Signal):
        target.__class__ = Signal
        family = [0]
    else:
        family = target.family
        family[0] += 1
    assert isinstance(target, Signal)  # noqa: S101  (for the type checker)
    vars(target).update(vars(result), family=family, seen=family[0])
    return target


def joined(flows: Iterable[Signal]) -> tuple[int, int]:
    """`(some, once)` where signals meet: bits of some path, and of every path.

    Examples:
        >>> joined([Signal(torch.ones(2), some=0b11, once=0b11), Signal(torch.ones(2), some=0b01, once=0b01)])
        (3, 1)
    """
    some, once = 0, _EVERY
    for flow in flows:
        some |= flow.some
        once &= flow.once
    return some, once
