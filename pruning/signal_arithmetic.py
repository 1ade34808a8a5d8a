"""What sums and products of signals are in the linear image: the rules that all operations rest on.

**Factors.** A *weight* on the path multiplies it. A *constant* that multiplies a signal lets it pass where it is not
zero: masks block, scales do not count. What is trained (a layer scale, a gate that starts at zero) always lets pass.

**Summands.** A constant that is added is on no path (biases), but one of -1e4 or less shuts its place: this is how
attention is masked. Two signals that are added are added.

**Products.** A product of two signals is on the paths through *both* factors: `a * b` becomes `a + b`, and every
operation `f` that is linear in each of its factors becomes `f(a, 1) + f(1, b)`. This rule is ours;
docs/linear_image.md derives it. Left as it is, `a * b` would have degree two in the input and in every weight before
it: `R` would be no sum over paths, and k gates one behind the other would weigh the first layer 2^k times.

A function of one signal alone, element by element, is an activation and passes, however it is composed: `x *
sigmoid(x)` is `x`, as `F.silu(x)` is. What divides is a scale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scratchcard.pruning.signals import Signal, is_signal, joined

NOTHING = 1e-9
"""Below it, the number of paths is none: counts are whole numbers, over pooled places at most, up to rounding."""
SHUT = -1e4
"""A constant summand of this or less shuts its place."""


def pattern(constant: Any, like: Tensor) -> Tensor:
    """A constant factor as 0 and 1, on the device and in the precision of `like`.

    Examples:
        >>> pattern(torch.tensor([3.0, 0.0]), torch.ones(1))
        tensor([1., 0.])
    """
    if not isinstance(constant, Tensor):
        return like.new_tensor(float(constant != 0))
    if _trained(constant):
        return like.new_ones(constant.shape)
    return (constant != 0).to(like)


def _trained(constant: Tensor) -> bool:
    return constant.requires_grad or isinstance(constant, nn.Parameter)


def product(apply: Callable[..., Tensor], *factors: Any) -> Signal:
    """The image of an operation that is linear in each of its factors: signals, weights or constants.

    Examples:
        >>> weight = Signal(torch.tensor([[2.0, 3.0]]), weight=True)
        >>> product(torch.nn.functional.linear, Signal(torch.tensor([[1.0, 10.0]])), weight).value
        tensor([[32.]])
    """
    found = [factor for factor in factors if is_signal(factor)]
    run, flows = found[0].run, [factor for factor in found if not factor.weight]
    some, once = joined(flows) if flows else (0, 0)
    for factor in found:
        if factor.weight:
            # A layer crossed twice is in `some`, but no longer in `once`.
            once = (once & ~factor.some) | (factor.once & ~some)
            some |= factor.some
    total = None
    each: list[Signal | None] = [*flows] or [None]
    for flow in each:
        part = apply(*(_factor(factor, flow, found[0].value) for factor in factors))
        total = part if total is None else total + part
    assert total is not None  # noqa: S101  (for the type checker)
    if run.cut and (len(flows) > 1 or len(found) > len(flows)):
        total = Cut.apply(total)
    return Signal(total, run, weight=not flows, some=some, once=once)


def _factor(factor: Any, flow: Signal | None, like: Tensor) -> Tensor:
    if not is_signal(factor):
        return pattern(factor, like)
    if factor is flow or factor.weight:
        return factor.now
    return torch.ones_like(factor.now) if factor.open is None else factor.open.to(factor.value)


def times(left: Any, right: Any) -> Signal:
    """The image of `left * right`, element by element.

    Examples:
        >>> left, right = Signal(torch.tensor([1.0, 2.0])), Signal(torch.tensor([10.0, 20.0]))
        >>> times(left, right).value  # the paths through both
        tensor([11., 22.])
        >>> times(left, torch.tensor([0.0, 7.0])).value
        tensor([0., 2.])
    """
    if is_signal(left) and is_signal(right):
        if left.now is right.now:
            return left.like()
        if left.weight or right.weight or left.open is not None or right.open is not None:
            return product(torch.mul, left, right)
        some, once = joined((left, right))
        total = left.now + right.now
        if left.run.cut:
            total = Cut.apply(total)
        return Signal(total, left.run, some=some, once=once)
    signal, constant = (left, right) if is_signal(left) else (right, left)
    if not isinstance(constant, Tensor):
        return signal.like() if constant != 0 else signal.like(signal.now * 0.0)
    if _trained(constant) or bool((constant != 0).all()):
        return _spread(signal, constant.shape)
    held = pattern(constant, signal.now)
    value = signal.now * held
    return signal.like(value, open=(held if signal.open is None else held * signal.open).expand(value.shape))


def plus(left: Any, right: Any) -> Signal:
    """The image of `left + right` and of `left - right`.

    Examples:
        >>> signal = Signal(torch.tensor([1.0, 2.0]))
        >>> plus(signal, torch.tensor([5.0, float("-inf")])).value
        tensor([1., 0.])
    """
    if is_signal(left) and is_signal(right):
        if left.now is right.now:
            return left.like()
        if left.weight != right.weight:
            left, right = left.begun(), right.begun()
        some, once = joined((left, right))
        return Signal(left.now + right.now, left.run, weight=left.weight, some=some, once=once)
    signal, constant = (left, right) if is_signal(left) else (right, left)
    if not isinstance(constant, Tensor):
        return signal.like()
    result = _spread(signal, constant.shape)
    if constant.is_floating_point() and constant.numel() > 1 and not _trained(constant):
        shut = (constant <= SHUT).to(signal.value.device)
        if bool(shut.any()):
            return masked(result, ~shut)
    return result


def masked(signal: Signal, held: Tensor) -> Signal:
    """The signal where `held` is true.

    Examples:
        >>> masked(Signal(torch.tensor([1.0, 2.0])), torch.tensor([True, False])).value
        tensor([1., 0.])
    """
    value = torch.where(held, signal.now, 0.0)
    return signal.like(value, open=(held if signal.open is None else held & signal.open.bool()).expand(value.shape))


def _spread(signal: Signal, shape: torch.Size) -> Signal:
    whole = torch.broadcast_shapes(signal.value.shape, shape)  # type: ignore[no-untyped-call]
    return signal.like() if whole == signal.value.shape else signal.like(signal.now.expand(whole))


class Cut(torch.autograd.Function):
    """1 where positive, else 0, in both directions: how many paths there are does not matter.

    Examples:
        >>> Cut.apply(torch.tensor([3.0, 0.0]))
        tensor([1., 0.])
    """

    @staticmethod
    def forward(ctx: Any, counts: Tensor) -> Tensor:
        return (counts > NOTHING).to(counts.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return (gradients[0] > NOTHING).to(gradients[0].dtype)
