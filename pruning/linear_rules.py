"""What operations other than layers do to signals; `linear_operations` says which rule is whose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.linear_arithmetic import maximum
from scratchcard.pruning.signal_arithmetic import masked, plus
from scratchcard.pruning.signals import Signal, UnknownOperation, become, is_signal, joined, name_of, signals


def passing(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """Activations, normalisation, softmax, dropout: scales of what passes, and no path."""
    if not is_signal(signal) or any(True for _ in signals((*arguments, *keywords.values()))):
        raise UnknownOperation(f"{name_of(function)!r} with activations for parameters")
    return signal if keywords.get("inplace") else signal.like()


def linear(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """Moves, sums and averages of the entries of one signal: themselves."""
    return _linear(function, signal, arguments, keywords, view=False)


def view(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """The same entries in another shape, often in the same memory."""
    return _linear(function, signal, arguments, keywords, view=True)


def reshape(function: Any, signal: Any, *shape: Any) -> Any:
    """`view`, whose numbers may lie in another order here than the network's would."""
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
    shapes_only = view and signal.open is not None
    if isinstance(value, Tensor):
        held = function(signal.open, *plain, **named) if shapes_only and signal.open is not None else None
        return signal.like(value, view=view, open=held)
    return type(value)(signal.like(part, view=view) for part in value)


def getitem(function: Any, signal: Any, index: Any) -> Any:
    """Indexing."""
    if any(True for _ in signals(index if isinstance(index, tuple) else (index,))):
        raise UnknownOperation("indexing by the values of activations")
    return signal.like(signal.now[index], view=True)


def setitem(function: Any, target: Tensor, index: Any, given: Any) -> None:
    """Writing into a tensor; a constant that signals are written to becomes one."""
    if is_signal(target):
        same = is_signal(given) and given.family is target.family  # `x[i] += y`: written back where it was taken
        base, flows = (target.value if same else target.now), [target]
    else:
        run = next(iter(signals((given,)))).run
        base = torch.zeros(target.shape, dtype=torch.float64, device=target.device)
        flows = [Signal(base, run)]
    if is_signal(given):
        flows.append(given.begun())
    value = base.clone()
    value[index] = flows[1].value if len(flows) > 1 else 0.0
    some, once = joined(flows)
    become(target, Signal(value, flows[0].run, weight=flows[0].weight, some=some, once=once))


def cat(function: Any, tensors: Any, *arguments: Any, **keywords: Any) -> Signal:
    """Concatenating and stacking; constants are on no path."""
    found = list(signals(tensors))
    if any(signal.weight for signal in found) and len({signal.weight for signal in found}) > 1:
        tensors = [tensor.begun() if is_signal(tensor) else tensor for tensor in tensors]
        found = list(signals(tensors))
    zeros = [t.now if is_signal(t) else torch.zeros_like(t, dtype=torch.float64) for t in tensors]
    some, once = joined(found)
    named = {k: a for k, a in keywords.items() if k != "out"}
    return Signal(function(zeros, *arguments, **named), found[0].run, weight=found[0].weight, some=some, once=once)


def where(function: Any, condition: Any, *choices: Any) -> Any:
    """Choosing by a constant condition."""
    if is_signal(condition) or len(choices) != 2:
        raise UnknownOperation("'where' by the values of activations")
    left, right = choices
    if is_signal(left) and is_signal(right) and left.now is right.now:
        return left.like()
    parts = [
        masked(choice.begun(), held) for choice, held in ((left, condition), (right, ~condition)) if is_signal(choice)
    ]
    return parts[0] if len(parts) == 1 else plus(*parts)


def masked_fill(function: Any, signal: Any, mask: Tensor, value: Any) -> Signal:
    """Filling with a constant: no path there."""
    if not is_signal(signal) or is_signal(mask) or is_signal(value):
        raise UnknownOperation("'masked_fill' by the values of activations")
    return masked(signal, ~mask.to(signal.value.device))


def largest(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """The largest over axes: by the rule of pooling."""
    if name_of(function) == "max" and (arguments or keywords):
        other = arguments[0] if arguments else keywords.get("other")
        if isinstance(other, Tensor):
            return maximum(function, signal, other)
        dim, keep = _dim(arguments, keywords)
        value, places = torch.max(signal.now, dim, keep)
        kept = value if signal.run.pooling == "keep" else signal.now.mean(dim, keep)
        return torch.return_types.max((signal.like(kept), places))
    if signal.run.pooling == "keep":
        return signal.like(function(signal.now, *arguments, **keywords))
    return signal.like(torch.mean(signal.now, *arguments, **keywords))


def _dim(arguments: Sequence[Any], keywords: dict[str, Any]) -> tuple[int, bool]:
    dim = arguments[0] if arguments else keywords["dim"]
    return dim, bool(arguments[1] if len(arguments) > 1 else keywords.get("keepdim", False))


def max_pool(function: Any, signal: Signal, *arguments: Any, **keywords: Any) -> Any:
    """Max pooling: by the rule of pooling."""
    if name_of(function).endswith("_with_indices"):
        raise UnknownOperation("pooling that returns indices")
    average = getattr(F, name_of(function).replace("max", "avg"))
    if signal.run.pooling == "keep":
        return signal.like(function(signal.now, *arguments, **keywords))
    if "adaptive" in name_of(function):
        return signal.like(average(signal.now, arguments[0] if arguments else keywords["output_size"]))
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = dict(zip(names, arguments, strict=False)) | {k: v for k, v in keywords.items() if k in names}
    dilation = given.pop("dilation", 1)
    if dilation not in (1, [1], (1,), (1, 1), (1, 1, 1)):
        return signal.like(function(signal.now, *arguments, **keywords))
    return signal.like(average(signal.now, **given))


def interpolate(function: Any, signal: Signal, *arguments: Any, **keywords: Any) -> Signal:
    """Resizing; bicubic weights are partly negative, so bilinear ones stand for them."""
    if keywords.get("mode") == "bicubic":
        keywords["mode"] = "bilinear"
    return signal.like(function(signal.now, *arguments, **keywords))


def pad(function: Any, signal: Signal, padding: Any, mode: str = "constant", value: Any = None) -> Signal:
    """Padding; a constant border is on no path."""
    return signal.like(F.pad(signal.now, padding, mode))


def moved(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """Another device or precision; the numbers stay float64."""
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
    """`zeros_like` and its kind: constants."""
    return function(torch.empty_like(signal.value, dtype=signal.run.dtype), *arguments, **keywords)


def asked(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """Shape, dtype, device and the like."""
    with torch._C.DisableTorchFunctionSubclass():
        return function(*arguments, **keywords)


def unchanged(function: Any, signal: Signal, *_: Any, **__: Any) -> Signal:
    """`requires_grad_` and its kind."""
    return signal


def root_of_sum(function: Any, signal: Signal, *arguments: Any, **keywords: Any) -> Signal:
    """Norms and other roots of sums of powers, of degree one: sums."""
    if "norm" in name_of(function):
        keywords = {k: v for k, v in keywords.items() if k not in ("p", "ord")}
        arguments = arguments[1:]
    return signal.like(signal.now.sum(*_axes(signal.now, arguments, keywords)))


def spread(function: Any, signal: Signal, *arguments: Any, **keywords: Any) -> Any:
    """Standard deviations and variances: means."""
    found = signal.like(signal.now.mean(*_axes(signal.now, arguments, keywords)))
    return (found, found.like()) if name_of(function).endswith("_mean") else found


def _axes(value: Tensor, arguments: Sequence[Any], keywords: dict[str, Any]) -> tuple[Any, bool]:
    given = [argument for argument in arguments if not isinstance(argument, bool)]
    dim = keywords.get("dim", given[0] if given else None)
    return (tuple(range(value.ndim)) if dim is None else dim), bool(keywords.get("keepdim", False))
