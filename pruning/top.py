"""The highest numbers of several vectors, exactly, in one pass: of many, a sample says which few to look at twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_CHUNK = 2**17
_FEW = 2**21
"""Up to so many numbers are partitioned at once."""
_SAMPLE = 2**17
_SPREADS = 8.0


def top(
    vectors: Sequence[np.ndarray],
    keep: int,
    allowed: Sequence[np.ndarray | None],
    generator: np.random.Generator,
) -> list[np.ndarray]:
    """Where the `keep` highest numbers stand, by vector: boolean, exactly so many (all that are allowed, if fewer).

    Equal numbers at the threshold are drawn by the generator, in one draw over all vectors.

    Args:
        vectors: `(n,)` each, floating, finite.
        keep: how many.
        allowed: for each vector, where numbers count; None: everywhere.
        generator: of the order of ties.

    Examples:
        >>> first, second = np.array([0.1, 0.9, 0.5]), np.array([0.7, 0.2])
        >>> top([first, second], 2, [None, None], np.random.default_rng(0))
        [array([False,  True, False]), array([ True, False])]
        >>> top([first, second], 2, [None, np.array([False, True])], np.random.default_rng(0))
        [array([False,  True,  True]), array([False, False])]
    """
    total = sum(v.size if a is None else int(np.count_nonzero(a)) for v, a in zip(vectors, allowed, strict=True))
    if keep >= total:
        return [np.ones(v.size, bool) if a is None else a.copy() for v, a in zip(vectors, allowed, strict=True)]
    dtype = np.result_type(*vectors)
    ends = [(dtype.type(-np.inf), dtype.type(np.inf))]
    if total > _FEW:
        ends.insert(0, _bracket(vectors, keep / total, allowed, dtype))
    for low, high in ends:
        chosen = [np.zeros(vector.size, dtype=bool) for vector in vectors]
        places = _sort_out(vectors, allowed, chosen, low, high)
        missing = keep - sum(int(np.count_nonzero(found)) for found in chosen)
        if 0 <= missing <= sum(map(len, places)):
            if missing and low < high:
                places, missing = _highest(vectors, chosen, places, missing)
            if missing:
                _draw(chosen, places, missing, generator)
            return chosen
    raise ValueError("the numbers hold NaN, so that none is the highest")


def _sort_out(
    vectors: Sequence[np.ndarray],
    allowed: Sequence[np.ndarray | None],
    chosen: Sequence[np.ndarray],
    low: np.floating,
    high: np.floating,
) -> list[np.ndarray]:
    """Choose what is above the second number; the places of what is between both, these included, by vector."""
    places = []
    for vector, room, found in zip(vectors, allowed, chosen, strict=True):
        here = []
        for start in range(0, vector.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            values, out = vector[part], found[part]
            # Where a mask leaves few, comparing all and joining costs less than picking out what it leaves.
            np.greater(values, high, out=out)
            inside = values >= low
            inside &= values <= high
            if room is not None:
                out &= room[part]
                inside &= room[part]
            if inside.any():
                here.append(np.flatnonzero(inside) + start)
        places.append(np.concatenate(here) if here else np.zeros(0, dtype=np.int64))
    return places


def _highest(
    vectors: Sequence[np.ndarray],
    chosen: Sequence[np.ndarray],
    places: Sequence[np.ndarray],
    missing: int,
) -> tuple[list[np.ndarray], int]:
    """Choose the highest at some places, so many but for those at the threshold; their places, how many still lack."""
    values = [vector[there] for vector, there in zip(vectors, places, strict=True)]
    candidates = np.concatenate(values)
    candidates.partition(candidates.size - missing)
    threshold = candidates[candidates.size - missing]
    ties = []
    for found, there, own in zip(chosen, places, values, strict=True):
        higher = there[own > threshold]
        found[higher] = True
        missing -= higher.size
        ties.append(there[own == threshold])
    return ties, missing


def _draw(
    chosen: Sequence[np.ndarray], places: Sequence[np.ndarray], missing: int, generator: np.random.Generator
) -> None:
    """Choose so many of these places by lot."""
    drawn = np.sort(generator.choice(sum(map(len, places)), size=missing, replace=False))
    begin = 0
    for found, own in zip(chosen, places, strict=True):
        first, last = np.searchsorted(drawn, [begin, begin + len(own)])
        found[own[drawn[first:last] - begin]] = True
        begin += len(own)


def _bracket(
    vectors: Sequence[np.ndarray], share: float, allowed: Sequence[np.ndarray | None], dtype: np.dtype
) -> tuple[np.floating, np.floating]:
    """Two numbers between which the one lies that a share of all is above, almost surely."""
    generator = np.random.default_rng(0)
    rate = min(1.0, _SAMPLE / sum(vector.size for vector in vectors))
    drawn = []
    for vector, room in zip(vectors, allowed, strict=True):
        places = generator.integers(0, max(1, vector.size), round(rate * vector.size))
        drawn.append(vector[places] if room is None else vector[places[room[places]]])
    sample = np.sort(np.concatenate(drawn)).astype(dtype, copy=False)
    around = (1.0 - share) * sample.size
    margin = _SPREADS * (1.0 + np.sqrt(sample.size * share * (1.0 - share)))
    low, high = int(around - margin), int(around + margin)
    return (
        sample[low] if low >= 0 else dtype.type(-np.inf),
        sample[high] if high < sample.size else dtype.type(np.inf),
    )
