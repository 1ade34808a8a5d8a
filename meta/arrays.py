"""Checks of the plain arrays that a predictor is made of: names, dtypes, shapes, finite and bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from scratchcard.words import shortened

Arrays = Mapping[str, np.ndarray]
"""Arrays by name, as stored in a bundle."""

Forward = Callable[[np.ndarray], np.ndarray]
"""Features `(n, F)` float32, C-ordered, to predictions `(n,)` float64; higher = keep."""

LIMIT = 1e60
"""Largest magnitude of a stored number. With features up to 3.4e38, standard deviations of at least
1/LIMIT and three layers of at most WIDTH units, no sum of products can leave float64 (1.8e308)."""

WIDTH = 10_000
"""Most features, or units of one layer."""


def check_names(arrays: Arrays, expected: tuple[str, ...], family: str) -> None:
    """Refuse arrays other than the expected ones.

    Raises:
        ValueError: naming the missing and the unknown arrays.

    Examples:
        >>> check_names({"coefficients": np.zeros(3)}, ("coefficients", "intercept"), "linear")
        Traceback (most recent call last):
            ...
        ValueError: the arrays of a linear predictor are coefficients, intercept; missing: intercept, ...
    """
    missing = [name for name in expected if name not in arrays]
    unknown = [shortened(str(name), 60) for name in arrays if name not in expected]
    if missing or unknown:
        raise ValueError(
            f"the arrays of a {family} predictor are {', '.join(expected)}; "
            f"missing: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown[:5]) or 'none'}"
        )


def check_array(arrays: Arrays, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> np.ndarray:
    """The array called `name`, after dtype, shape (None: any length) and magnitude were checked.

    Raises:
        ValueError: it is not what was expected, or holds NaN, infinity or a number beyond `LIMIT`.

    Examples:
        >>> check_array({"intercept": np.array([0.5])}, "intercept", np.float64, (1,))
        array([0.5])
        >>> check_array({"intercept": np.array([0.5])}, "intercept", np.float64, (2,))
        Traceback (most recent call last):
            ...
        ValueError: array 'intercept' has shape (1,), expected (2)
    """
    array = arrays[name]
    if array.dtype != np.dtype(dtype):
        raise ValueError(f"array {name!r} is {array.dtype}, expected {np.dtype(dtype)}")
    fits = len(array.shape) == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"array {name!r} has shape {tuple(array.shape)}, expected ({wanted})")
    if array.dtype.kind == "f":
        check_finite(array, name)
    return array


def check_finite(array: np.ndarray, name: str) -> None:
    """Refuse NaN, infinity and magnitudes beyond `LIMIT`.

    Raises:
        ValueError: there is one.

    Examples:
        >>> check_finite(np.array([1.0, np.nan]), "intercept")
        Traceback (most recent call last):
            ...
        ValueError: array 'intercept' holds NaN, infinity or a number beyond 1e+60
    """
    limit = min(LIMIT, float(np.finfo(array.dtype).max))
    # NaN fails the comparison too.
    if array.size and not bool((np.abs(array) <= limit).all()):
        raise ValueError(f"array {name!r} holds NaN, infinity or a number beyond {LIMIT:g}")


def plain(value: Any) -> Any:
    """Numbers, tuples and mappings as JSON has them; numbers that are not finite become None.

    Examples:
        >>> plain({"leaves": np.int64(8), "loss": float("nan"), "sizes": (2, 3)})
        {'leaves': 8, 'loss': None, 'sizes': [2, 3]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
