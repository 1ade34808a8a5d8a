"""Ranks among weights, all of a layer or those of one unit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from scratchcard.scorers.shelf import parts

_AT_ONCE = 2**22
"""Numbers that are sorted at once; more are ranked in portions: less memory and, in the caches, less time."""
_SAMPLE = 2**14


def ascending(values: np.ndarray) -> np.ndarray | None:
    """Places of `values` `(n,)` in ascending order, for the ranks of one array in several scopes; None of very many.

    Examples:
        >>> ascending(np.array([0.3, 0.1, 0.2]))
        array([1, 2, 0], dtype=int32)
    """
    return None if values.size > _AT_ONCE else np.argsort(values).astype(np.int32)


def share_ranks(values: np.ndarray, order: np.ndarray | None, groups: np.ndarray | None = None) -> np.ndarray:
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
    if not values.size:
        return np.zeros(0, dtype=np.float32)
    if order is None:
        return _in_portions(values, groups)
    return _ranks(values, order, groups, 0, values.size)


def _in_portions(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The same from portions of whole units, or of values between bounds: equal ones are in one portion."""
    count = -(-values.size // _AT_ONCE) + 1
    if groups is None:
        sample = np.sort(values[:: max(1, values.size // _SAMPLE)])
        often, times = np.unique(sample, return_counts=True)
        often = often[times > len(sample) // (2 * count)]  # each a portion of its own, which needs no order
        least = np.nextafter(often, np.array(-np.inf, dtype=values.dtype))
        bounds = np.unique(np.concatenate([sample[len(sample) * np.arange(1, count) // count], often, least]))
        alone = set(np.searchsorted(bounds, often).tolist())
    else:
        units = int(groups.max()) + 1
        held = np.cumsum(sum(np.bincount(groups[part], minlength=units) for part in parts(groups.size)))
        bounds = np.unique(np.searchsorted(held, values.size * np.arange(1, count) // count)).astype(groups.dtype)
    result = np.empty(values.size, dtype=np.float32)

    def rank(number: int) -> None:
        below = bounds[number - 1] if number else None
        if groups is None and number in alone:
            _alike(values, bounds[number], result)
            return
        places, before = _between(values if groups is None else groups, below, bounds[number : number + 1])
        if places.size:
            some = values[places]
            own = None if groups is None else groups[places]
            result[places] = _ranks(some, np.argsort(some).astype(np.int32), own, before, values.size)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # numpy works without the interpreter's lock
        for done in [pool.submit(rank, number) for number in range(len(bounds) + 1)]:
            done.result()
    return result


def _alike(values: np.ndarray, value: np.generic, result: np.ndarray) -> None:
    """Put the rank of all values that are equal to one of them where these are."""
    lower = equal = 0
    for part in parts(values.size):
        lower += int(np.count_nonzero(values[part] < value))
        equal += int(np.count_nonzero(values[part] == value))
    for part in parts(values.size):
        result[part][values[part] == value] = ((equal + 1) / 2 + lower) / values.size


def _between(values: np.ndarray, below: np.generic | None, upto: np.ndarray) -> tuple[np.ndarray, int]:
    """Places of the values that are above the first and not above the second, where given; how many are below."""
    found, before = [], 0
    for part in parts(values.size):
        some = values[part]
        inside = np.ones(some.size, dtype=bool) if below is None else some > below
        before += some.size - int(np.count_nonzero(inside))
        for bound in upto:
            inside &= some <= bound
        found.append(part.start + np.flatnonzero(inside))
    return np.concatenate(found), before


def _ranks(values: np.ndarray, order: np.ndarray, groups: np.ndarray | None, before: int, compared: int) -> np.ndarray:
    """Of some values; without groups they are compared with so many, so many of them lower than all of these."""
    size = values.size
    if groups is not None:
        # Stable, so values stay ascending within a unit; a radix sort for 16-bit units.
        groups = groups.astype(np.uint16) if groups.max() < 2**16 else groups
        order = order[np.argsort(groups[order], kind="stable")]
    ordered = values[order]
    starts_run = np.ones(size, dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=starts_run[1:])
    del ordered
    if groups is None:
        ranks = _average(starts_run)
        ranks += before
        ranks /= compared
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
