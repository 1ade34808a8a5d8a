"""Which inputs a registered network takes: declared with its factory, checked before it is built."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

Factory = Callable[..., nn.Module]
Shape = tuple[int, ...]


def takes(
    *examples: Shape, sizes: tuple[int | None, ...] | None = None, tokens: bool = False
) -> Callable[[Factory], Factory]:
    """Declare the input shapes of the factory `(input_shape, outputs, *, generator) -> network`.

    Args:
        examples: shapes of one input that it takes, for which tests build it.
        sizes: what each dimension of one input must be, None for any size, such as `(None, None, None)` for images;
            left out, any shape is taken.
        tokens: whether inputs are tokens of texts; the factory is then given the `vocabulary` too.

    The factory then refuses other shapes, and several inputs by name, with a ValueError.

    >>> @takes((3, 8, 8), sizes=(None, None, None))
    ... def images_only(input_shape, outputs, *, generator):
    ...     return nn.Conv2d(input_shape[0], outputs, 3)
    >>> images_only((64,), 10, generator=None)
    Traceback (most recent call last):
    ValueError: the network 'images_only' takes inputs of shape (any, any, any), and these are of shape (64,)
    """

    def declare(factory: Factory) -> Factory:
        @functools.wraps(factory)
        def checked(input_shape: Shape | Mapping[str, Shape], outputs: int, **settings: Any) -> nn.Module:
            who = f"the network {checked.__name__!r} takes"
            if isinstance(input_shape, Mapping):
                raise ValueError(
                    f"{who} one input, and these are called {', '.join(input_shape)}; name a network of your own, "
                    "package.module:factory"
                )
            wanted = input_shape if sizes is None else sizes
            if len(wanted) != len(input_shape) or any(
                w not in (None, s) for w, s in zip(wanted, input_shape, strict=True)
            ):
                of = ", ".join("any" if size is None else str(size) for size in wanted)
                raise ValueError(f"{who} inputs of shape ({of}), and these are of shape {input_shape}")
            return factory(input_shape, outputs, **settings)

        checked.example_shapes = examples  # type: ignore[attr-defined]
        checked.tokens = tokens  # type: ignore[attr-defined]
        return checked

    return declare


def example_shapes(factory: Factory) -> tuple[Shape, ...]:
    """Shapes that a registered network says it takes; flat and image where it says nothing.

    Examples:
        >>> example_shapes(sc.NETWORKS["lenet_300_100"]), example_shapes(nn.Linear)
        (((1, 28, 28), (64,), (3, 8, 8)), ((64,), (1, 8, 8)))
    """
    found: tuple[Shape, ...] = getattr(factory, "example_shapes", ((64,), (1, 8, 8)))
    return found


def takes_tokens(factory: Factory | None) -> bool:
    """Whether a registered network is one of texts: its inputs are tokens, and its factory takes a vocabulary.

    Examples:
        >>> takes_tokens(sc.NETWORKS["text_cnn"]), takes_tokens(sc.NETWORKS["lenet_5"])
        (True, False)
    """
    return bool(getattr(factory, "tokens", False))
