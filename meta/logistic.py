"""The logistic function, bit-equal to LightGBM's."""

from __future__ import annotations

import numpy as np


def logistic(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float64, with the C library's exp.

    NumPy's own exp uses vector code that may differ in the last bit, LightGBM calls the C library. exp of a
    large number is infinity there, so that very negative x give exactly 0 and nothing overflows.

    Examples:
        >>> logistic(np.array([0.0, 2.0])).round(3)
        array([0.5  , 0.881])
    """
    # numba takes a second to import: only where it is used.
    from scratchcard.meta import kernels

    return np.asarray(kernels.logistic(np.ascontiguousarray(values, dtype=np.float64)))
