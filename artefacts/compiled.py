"""Loops compiled by numba; their machine code is a file that lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with `options`; its code is kept beside the module or in the user's cache, where one can be written.

    A compiled loop checks no index: who calls one makes sure that it stays inside the arrays.

    Examples:
        >>> @compiled(nogil=True)
        ... def total(values):
        ...     found = 0.0
        ...     for value in values:
        ...         found += value
        ...     return found
        >>> total(np.array([1.0, 2.0, 3.0]))
        6.0
    """

    def compile_(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no writable place for the cache
            return numba.njit(**options)(function)

    return compile_
