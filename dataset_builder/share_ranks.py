"""Ranks among weights, all of a layer or those of one unit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from scratchcard.scorers.shelf import parts

MANY = 2**22
"""Numbers from which on they are ranked in portions: less memory and, in the caches, less time."""
_AT_ONCE = 2**20
"""Of a portion."""
_SAMPLE = 2**14


def ascending(values: np.ndarray) -> np.ndarray | None:
    """Places of `values` `(n,)` in ascending order, for the ranks of one array in several scopes; None of very many.

    Examples:
        >>> ascending(np.array([0.3, 0.1, 0.2]))
        array([1, 2, 0], dtype=int32)
    """
    return None if values.size > MANY else np.argsort(values).astype(np.int32)


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


def unit_ranks(values: np.ndarray, axis: int) -> np.ndarray:
    """The same within the units of a whole layer: no unit of a value need be told, and no place be looked for.

    Args:
        values: `(first, second, kernel)`.
        axis: 0 or 1, of the units.

    Returns:
        float32 `(n,)`.

    Examples:
        >>> unit_ranks(np.array([[[0.3], [0.1]], [[0.2], [0.2]]]), axis=0)
        array([1.  , 0.5 , 0.75, 0.75], dtype=float32)
    """
    result = np.empty(values.shape, dtype=np.float32)
    size = values.size // values.shape[axis]
    step = max(1, _AT_ONCE // max(1, size))

    def rank(start: int) -> None:
        chosen = (slice(None),) * axis + (slice(start, start + step),)
        units = np.moveaxis(values[chosen], axis, 0)
        rows = units.reshape(len(units), size)
        order = np.argsort(rows, axis=1)
        ordered = np.take_along_axis(rows, order, axis=1)
        starts_run = np.ones(rows.shape, dtype=bool)
        np.not_equal(ordered[:, 1:], ordered[:, :-1], out=starts_run[:, 1:])
        del ordered
        ranks = _average(starts_run.reshape(-1)).reshape(rows.shape)
        ranks -= size * np.arange(len(rows))[:, None]
        ranks /= size
        found = np.empty(rows.shape, dtype=np.float32)
        np.put_along_axis(found, order, ranks.astype(np.float32), axis=1)
        result[chosen] = np.moveaxis(found.reshape(units.shape), 0, axis)

    _each(rank, range(0, values.shape[axis], step))
    return result.reshape(-1)


def _in_portions(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The same from portions of whole units, or of values between bounds: equal ones are in one portion."""
    count = -(-values.size // _AT_ONCE) + 1
    alone: set[int] = set()
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
    keys, chunks = values if groups is None else groups, [*parts(values.size)]
    portions = np.empty(values.size, dtype=np.uint8 if len(bounds) < 2**8 else np.int32)
    held_by = np.zeros((len(chunks), len(bounds) + 1), dtype=np.int64)

    def sort_out(number: int) -> None:
        part = chunks[number]
        portions[part] = np.searchsorted(bounds, keys[part])
        held_by[number] = np.bincount(portions[part], minlength=len(bounds) + 1)

    _each(sort_out, range(len(chunks)))
    sizes = held_by.sum(axis=0)
    befores = np.cumsum(sizes) - sizes
    result = np.empty(values.size, dtype=np.float32)

    def rank(number: int) -> None:
        if number in alone:
            for part in chunks:
                result[part][portions[part] == number] = ((sizes[number] + 1) / 2 + befores[number]) / values.size
        elif sizes[number]:
            found = ((part.start + np.flatnonzero(portions[part] == number)).astype(np.int32) for part in chunks)
            places = np.concatenate([*found])
            some = values[places]
            own = None if groups is None else groups[places]
            result[places] = _ranks(some, np.argsort(some).astype(np.int32), own, int(befores[number]), values.size)

    _each(rank, range(len(sizes)))
    return result


def _each(work: Callable[[int], None], numbers: range) -> None:
    """On torch's threads: numpy works without the interpreter's lock."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for _ in pool.map(work, numbers):
            pass


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
