"""Ranks among weights, all of a layer or those of one unit."""

from __future__ import annotations

import numpy as np


def ascending(values: np.ndarray) -> np.ndarray:
    """Places of `values` `(n,)` in ascending order; shared by the ranks of one array in several scopes.

    Examples:
        >>> ascending(np.array([0.3, 0.1, 0.2]))
        array([1, 2, 0], dtype=int32)
    """
    order = np.argsort(values)
    return order.astype(np.int32) if values.size < 2**31 else order


def share_ranks(values: np.ndarray, order: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Rank divided by the number of compared weights, in (0, 1], float32 `(n,)`; the largest is near 1.

    Equal values share the average of their ranks, so the result does not depend on positions: if all
    are equal, each has `(n + 1) / 2n`.

    Args:
        values: `(n,)`.
        order: `ascending(values)`.
        groups: `(n,)` unit of each value; values are compared within their unit only. None compares all.

    Examples:
        >>> values = np.array([0.3, 0.1, 0.2, 0.2])
        >>> share_ranks(values, ascending(values))
        array([1.   , 0.25 , 0.625, 0.625], dtype=float32)
    """
    size = values.size
    if not size:
        return np.zeros(0, dtype=np.float32)
    if groups is not None:
        # Stable, so values stay ascending within a unit; a radix sort for 16-bit units.
        groups = groups.astype(np.uint16) if groups.max() < 2**16 else groups
        order = order[np.argsort(groups[order], kind="stable")]
    ordered = values[order]
    starts_run = np.ones(size, dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=starts_run[1:])
    del ordered
    if groups is None:
        ranks = _average(starts_run) / size
    else:
        ordered_groups = groups[order]
        starts_group = np.ones(size, dtype=bool)
        np.not_equal(ordered_groups[1:], ordered_groups[:-1], out=starts_group[1:])
        del ordered_groups
        starts_run |= starts_group
        starts = np.flatnonzero(starts_group)
        sizes = np.diff(starts, append=size)
        ranks = _average(starts_run)
        # The order's type, as these are as long as the layer: half the memory of int64.
        ranks -= np.repeat(starts.astype(order.dtype), sizes)
        ranks /= np.repeat(sizes.astype(order.dtype), sizes)
    result = np.empty(size, dtype=np.float32)
    result[order] = ranks
    return result


def _average(starts_run: np.ndarray) -> np.ndarray:
    """Places 1 ... n, float64, averaged over each run of equal values."""
    size = starts_run.size
    if starts_run.all():
        return np.arange(1, size + 1, dtype=np.float64)
    starts = np.flatnonzero(starts_run)
    lengths = np.diff(starts, append=size)
    return np.repeat(starts + (lengths + 1) / 2, lengths)
