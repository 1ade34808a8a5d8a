"""The logistic function, bit-equal to LightGBM's."""

from __future__ import annotations

import math

import numpy as np

from scratchcard.meta.trees import kernels


def logistic(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float64, with the C library's exp.

    NumPy's own exp uses vector code that may differ in the last bit, LightGBM calls the C library. exp of a
    large number is infinity there, so that very negative x give exactly 0 and nothing overflows.

    Examples:
        >>> logistic(np.array([0.0, 2.0])).round(3)
        array([0.5  , 0.881])
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    fast = kernels()
    if fast is not None:
        out: np.ndarray = fast.logistic(values)
        return out
    return np.fromiter(map(_one, values.tolist()), dtype=np.float64, count=len(values))


def _one(value: float) -> float:
    try:
        return 1.0 / (1.0 + math.exp(-value))
    except OverflowError:
        return 0.0
