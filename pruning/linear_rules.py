"""What operations other than layers do to signals; `linear_operations` says which rule is whose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.signal_arithmetic import masked, plus
from scratchcard.pruning.signals import Signal, UnknownOperation, become, is_signal, joined, name_of, signals


def passing(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """Activations, normalisation, softmax, dropout: scales of what passes, and no path.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> passing(torch.sigmoid, x).value
        tensor([1., 2.])
    """
    if not is_signal(signal) or any(True for _ in signals((*arguments, *keywords.values()))):
        raise UnknownOperation(f"{name_of(function)!r} with activations for parameters")
    return signal if keywords.get("inplace") else signal.like()


def linear(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """Moves, sums and averages of the entries of one signal: themselves.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> linear(torch.mean, x).value
        tensor(1.5000)
    """
    return _linear(function, signal, arguments, keywords, view=False)


def view(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """The same entries in another shape, often in the same memory.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> view(torch.unsqueeze, x, 0).value
        tensor([[1., 2.]])
    """
    return _linear(function, signal, arguments, keywords, view=True)


def reshape(function: Any, signal: Any, *shape: Any) -> Any:
    """`view`, whose numbers may lie in another order here than the network's would.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> reshape(torch.Tensor.view, x, 2, 1).value
        tensor([[1.],
                [2.]])
    """
    if any(isinstance(size, torch.dtype) for size in shape):
        raise UnknownOperation("'view' as another dtype")
    return _linear(Tensor.reshape, signal, shape, {}, view=True)


def _linear(function: Any, signal: Any, arguments: Sequence[Any], keywords: dict[str, Any], *, view: bool) -> Any:
    if not is_signal(signal):
        raise UnknownOperation(f"{name_of(function)!r} by the values of activations")
    # Other signals can only stand for a shape here (`view_as`).
    plain = [argument.value if is_signal(argument) else argument for argument in arguments]
    named = {k: a.value if is_signal(a) else a for k, a in keywords.items() if k != "dtype"}
    value = function(signal.now, *plain, **named)
    held = function(signal.open, *plain, **named) if view and signal.open is not None else None
    if isinstance(value, Tensor):
        return signal.like(value, view=view, open=held)
    opens = [None] * len(value) if held is None else held
    return type(value)(signal.like(part, view=view, open=each) for part, each in zip(value, opens, strict=True))


def getitem(function: Any, signal: Any, index: Any) -> Any:
    """Indexing.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> getitem(torch.Tensor.__getitem__, x, -1).value
        tensor(2.)
    """
    if any(True for _ in signals(index if isinstance(index, tuple) else (index,))):
        raise UnknownOperation("indexing by the values of activations")
    return signal.like(signal.now[index], view=True, open=None if signal.open is None else signal.open[index])


def setitem(function: Any, target: Tensor, index: Any, given: Any) -> None:
    """Writing into a tensor; a constant that signals are written to becomes one.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> zeros = torch.zeros(3)
        >>> setitem(torch.Tensor.__setitem__, zeros, slice(1, 3), x)
        >>> zeros.value
        tensor([0., 1., 2.])
    """
    if is_signal(target):
        same = is_signal(given) and given.family is target.family  # `x[i] += y`: written back where it was taken
        base, flows = (target.value if same else target.now), [target]
    else:
        run = next(iter(signals((given,)))).run
        base = torch.zeros(target.shape, dtype=given.now.dtype, device=target.device)
        flows = [Signal(base, run)]
    if is_signal(given):
        flows.append(given.begun())
    value = base.clone()
    value[index] = flows[1].value if len(flows) > 1 else 0.0
    some, once = joined(flows)
    become(target, Signal(value, flows[0].run, weight=flows[0].weight, some=some, once=once))


def cat(function: Any, tensors: Any, *arguments: Any, **keywords: Any) -> Signal:
    """Concatenating and stacking; constants are on no path.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> cat(torch.cat, [x, torch.ones(1)]).value
        tensor([1., 2., 0.])
    """
    found = list(signals(tensors))
    if any(signal.weight for signal in found) and len({signal.weight for signal in found}) > 1:
        tensors = [tensor.begun() if is_signal(tensor) else tensor for tensor in tensors]
        found = list(signals(tensors))
    zeros = [t.now if is_signal(t) else torch.zeros_like(t, dtype=found[0].now.dtype) for t in tensors]
    some, once = joined(found)
    named = {k: a for k, a in keywords.items() if k != "out"}
    return Signal(function(zeros, *arguments, **named), found[0].run, weight=found[0].weight, some=some, once=once)


def where(function: Any, condition: Any, *choices: Any) -> Any:
    """Choosing by a constant condition.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> where(torch.where, torch.tensor([True, False]), x, 7.0).value
        tensor([1., 0.])
    """
    if is_signal(condition) or len(choices) != 2:
        raise UnknownOperation("'where' by the values of activations")
    left, right = choices
    if is_signal(left) and is_signal(right) and left.now is right.now:
        return left.like()
    things = [thing.now if is_signal(thing) else thing for thing in (condition, *choices)]
    condition = condition.expand(torch.broadcast_shapes(*(getattr(thing, "shape", ()) for thing in things)))  # type: ignore[no-untyped-call]
    parts = [
        masked(choice.begun(), held) for choice, held in ((left, condition), (right, ~condition)) if is_signal(choice)
    ]
    return parts[0] if len(parts) == 1 else plus(*parts)


def masked_fill(function: Any, signal: Any, mask: Tensor, value: Any) -> Signal:
    """Filling with a constant: no path there.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> masked_fill(torch.masked_fill, x, torch.tensor([True, False]), -1.0).value
        tensor([0., 2.])
    """
    if not is_signal(signal) or is_signal(mask) or is_signal(value):
        raise UnknownOperation("'masked_fill' by the values of activations")
    return masked(signal, ~mask.to(signal.value.device))


def interpolate(function: Any, signal: Signal, *arguments: Any, **keywords: Any) -> Signal:
    """Resizing; bicubic weights are partly negative, so bilinear ones stand for them.

    Examples:
        >>> interpolate(F.interpolate, Signal(torch.tensor([[[1.0, 2.0]]])), scale_factor=2).value
        tensor([[[1., 1., 2., 2.]]])
    """
    if keywords.get("mode") == "bicubic":
        keywords["mode"] = "bilinear"
    return signal.like(function(signal.now, *arguments, **keywords))


def pad(function: Any, signal: Signal, padding: Any, mode: str = "constant", value: Any = None) -> Signal:
    """Padding; a constant border is on no path.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> pad(F.pad, x, (0, 1), value=9.0).value
        tensor([1., 2., 0.])
    """
    return signal.like(F.pad(signal.now, padding, mode))


def moved(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """Another device or precision; the numbers stay float64.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> moved(torch.Tensor.half, x).value
        tensor([1., 2.])
    """
    if not is_signal(signal):
        like = [torch.empty(0, dtype=a.run.dtype, device=a.value.device) if is_signal(a) else a for a in arguments]
        return function(signal, *like, **keywords)
    run, value = signal.run, signal.now
    like = [torch.empty(0, dtype=run.dtype, device=a.value.device) if is_signal(a) else a for a in arguments]
    known = function(torch.empty(0, dtype=run.dtype, device=value.device), *like, **keywords)
    if not isinstance(known, Tensor):
        return known  # `type()` asks
    if not known.is_floating_point():
        raise UnknownOperation(f"{name_of(function)!r} to whole numbers")
    return signal.like() if known.device == value.device else signal.like(value.to(known.device))


def fresh(function: Any, signal: Signal, *arguments: Any, **keywords: Any) -> Any:
    """`zeros_like` and its kind: constants.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> fresh(torch.zeros_like, x)
        tensor([0., 0.])
    """
    return function(torch.empty_like(signal.value, dtype=signal.run.dtype), *arguments, **keywords)


def asked(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """Shape, dtype, device and the like.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> asked(torch.Tensor.dim, x)
        1
    """
    with torch._C.DisableTorchFunctionSubclass():
        return function(*arguments, **keywords)


def unchanged(function: Any, signal: Signal, *_: Any, **__: Any) -> Signal:
    """`requires_grad_` and its kind.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> unchanged(torch.Tensor.requires_grad_, x) is x
        True
    """
    return signal
