"""Sums, products, quotients and powers in the linear image; `linear_operations` says which rule is whose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from scratchcard.pruning.signal_arithmetic import plus, product, times
from scratchcard.pruning.signals import Rule, Signal, UnknownOperation, is_signal, joined, name_of


def add(function: Any, left: Any, right: Any, **_: Any) -> Signal:
    """Sums and differences.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> add(torch.add, x, 5.0).value, add(torch.add, x, x.like(2 * x.value)).value
        (tensor([1., 2.]), tensor([3., 6.]))
    """
    return plus(left, right)


def mul(function: Any, left: Any, right: Any, **_: Any) -> Signal:
    """Products, element by element.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> mul(torch.mul, x, 5.0).value, mul(torch.mul, x, x.like(2 * x.value)).value
        (tensor([1., 2.]), tensor([3., 6.]))
    """
    return times(left, right)


def div(function: Any, left: Any, right: Any, *, rounding_mode: str | None = None, **_: Any) -> Any:
    """Quotients: what divides is a scale.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> div(torch.div, x, 5.0).value
        tensor([1., 2.])
    """
    if rounding_mode is not None:
        raise UnknownOperation("rounding division")
    if not is_signal(left):
        return _ones(right, getattr(left, "shape", ()))
    whole = torch.broadcast_shapes(left.value.shape, getattr(right, "shape", ()))  # type: ignore[no-untyped-call]
    return left.like() if whole == left.value.shape else left.like(left.now.expand(whole))


def reversed_div(function: Any, divisor: Any, dividend: Any) -> Any:
    """`dividend / divisor`.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> reversed_div(torch.Tensor.__rdiv__, x, 5.0)
        tensor([1., 1.])
    """
    return div(function, dividend, divisor)


def reciprocal(function: Any, signal: Signal) -> Tensor:
    """A scale.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> reciprocal(torch.rsqrt, x)
        tensor([1., 1.])
    """
    return _ones(signal, ())


def _ones(signal: Signal, shape: Sequence[int]) -> Tensor:
    whole = torch.broadcast_shapes(signal.value.shape, shape)  # type: ignore[no-untyped-call]
    return torch.ones(whole, dtype=signal.run.dtype, device=signal.value.device)


def power(function: Any, base: Any, exponent: Any) -> Any:
    """Powers of signals are activations; those with a negative exponent are divisors.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> power(torch.pow, x, 2).value, power(torch.pow, x, -0.5)
        (tensor([1., 2.]), tensor([1., 1.]))
    """
    if is_signal(base) and is_signal(exponent):
        raise UnknownOperation(f"{name_of(function)!r} of two activations")
    if is_signal(exponent):
        return exponent.like()
    negative = exponent < 0 if not isinstance(exponent, Tensor) else bool((exponent < 0).all())
    return _ones(base, ()) if negative else base.like()


def reversed_power(function: Any, exponent: Signal, base: Any) -> Signal:
    """`base ** exponent`.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> reversed_power(torch.Tensor.__rpow__, x, 2).value
        tensor([1., 2.])
    """
    return exponent.like()


def maximum(function: Any, left: Any, right: Any, **_: Any) -> Signal:
    """The larger of two: by the rule of pooling.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> maximum(torch.maximum, x, x.like(3 - x.value)).value
        tensor([2., 2.])
    """
    if not (is_signal(left) and is_signal(right)):
        signal, constant = (left, right) if is_signal(left) else (right, left)
        return plus(signal, constant.clamp_min(0) if isinstance(constant, Tensor) else 0)
    if left.now is right.now:
        return left.like()
    left, right = left.begun(), right.begun()
    some, once = joined((left, right))
    value = torch.maximum(left.now, right.now) if left.run.pooling == "keep" else (left.now + right.now) / 2
    return Signal(value, left.run, some=some, once=once)


def multilinear(function: Any, left: Any, right: Any, *arguments: Any, **keywords: Any) -> Signal:
    """Matrix products and others that are linear in each of two factors.

    Examples:
        >>> left, right = Signal(torch.tensor([[1.0, 2.0]])), Signal(torch.tensor([[10.0], [20.0]]))
        >>> multilinear(torch.matmul, left, right).value  # (1 + 10) + (2 + 20)
        tensor([[33.]])
    """
    simple = is_signal(left) and is_signal(right) and not left.weight and not right.weight and not arguments
    simple = simple and name_of(function) in ("matmul", "__matmul__", "mm", "bmm")
    if simple and left.open is None and right.open is None and left.value.ndim > 1 and right.value.ndim > 1:
        return times(left.like(left.now.sum(-1, keepdim=True)), right.like(right.now.sum(-2, keepdim=True)))
    return product(lambda a, b: function(a, b, *arguments, **keywords), left, right)


def reversed_matmul(function: Any, right: Signal, left: Any) -> Signal:
    """`left @ right`.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> reversed_matmul(torch.Tensor.__rmatmul__, x, torch.tensor([[3.0, 0.0]])).value
        tensor([1.])
    """
    return product(torch.matmul, left, right)


def einsum(function: Any, equation: str, *operands: Any) -> Signal:
    """Any number of factors.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> einsum(torch.einsum, "i,i->", x, x.like(10 * x.value)).value
        tensor(33.)
    """
    factors = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    return product(lambda *values: torch.einsum(equation, *values), *factors)


def plus_product(inner: Callable[..., Tensor]) -> Rule:
    """`summand + left @ right` and its kind.

    Examples:
        >>> left, right = Signal(torch.tensor([[1.0, 2.0]])), Signal(torch.tensor([[10.0], [20.0]]))
        >>> plus_product(torch.matmul)(torch.addmm, torch.ones(1), left, right).value
        tensor([[33.]])
    """

    def rule(function: Any, summand: Any, left: Any, right: Any, **_: Any) -> Signal:
        if not (is_signal(left) or is_signal(right)):
            return plus(summand, 0.0)
        found = product(inner, left, right) if inner is not torch.mul else times(left, right)
        return plus(found, summand)

    return rule


def lerp(function: Any, start: Any, end: Any, weight: Any) -> Signal:
    """`(1 - weight) start + weight end`.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> lerp(torch.lerp, x, x.like(10 * x.value), 0.3).value
        tensor([11., 22.])
    """
    parts = [times(weight, part) if is_signal(weight) or is_signal(part) else None for part in (start, end)]
    held = [part for part in parts if part is not None]
    return held[0] if len(held) == 1 else plus(*held)


def glu(function: Any, signal: Signal, dim: int = -1) -> Signal:
    """One half is a gate for the other.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> glu(torch.nn.functional.glu, x).value
        tensor([3.])
    """
    left, right = signal.now.chunk(2, dim)
    return times(signal.like(left), signal.like(right))


def cosine_similarity(function: Any, left: Any, right: Any, dim: int = 1, eps: float = 0.0) -> Signal:
    """A sum of products, scaled.

    Examples:
        >>> x = Signal(torch.tensor([1.0, 2.0]))
        >>> cosine_similarity(torch.cosine_similarity, x, x.like(10 * x.value), dim=0).value
        tensor(33.)
    """
    both = times(left, right)
    return both.like(both.now.sum(dim))
