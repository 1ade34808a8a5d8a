"""What reductions of signals are in the linear image: maxima, pooling, norms, spreads; see `linear_operations`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.linear_arithmetic import maximum
from scratchcard.pruning.signals import Signal, UnknownOperation, name_of


def largest(function: Any, signal: Any, *arguments: Any, **keywords: Any) -> Any:
    """The largest over axes: by the rule of pooling.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> largest(torch.amax, x).value
        tensor(2.)
    """
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
    """Max pooling: by the rule of pooling.

    Examples:
        >>> x = Signal(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> max_pool(F.max_pool1d, x, 2).value
        tensor([[2.],
                [4.]])
    """
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


def root_of_sum(function: Any, signal: Signal, *arguments: Any, **keywords: Any) -> Signal:
    """Norms and other roots of sums of powers, of degree one: sums.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> root_of_sum(torch.norm, x).value
        tensor(3.)
    """
    if "norm" in name_of(function):
        keywords = {k: v for k, v in keywords.items() if k not in ("p", "ord")}
        arguments = arguments[1:]
    return signal.like(signal.now.sum(*_axes(signal.now, arguments, keywords)))


def spread(function: Any, signal: Signal, *arguments: Any, **keywords: Any) -> Any:
    """Standard deviations and variances: means.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> spread(torch.std, x).value
        tensor(1.5000)
    """
    found = signal.like(signal.now.mean(*_axes(signal.now, arguments, keywords)))
    return (found, found.like()) if name_of(function).endswith("_mean") else found


def _axes(value: Tensor, arguments: Sequence[Any], keywords: dict[str, Any]) -> tuple[Any, bool]:
    given = [argument for argument in arguments if not isinstance(argument, bool)]
    dim = keywords.get("dim", given[0] if given else None)
    return (tuple(range(value.ndim)) if dim is None else dim), bool(keywords.get("keepdim", False))
