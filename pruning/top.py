"""The highest numbers of several vectors, exactly and without copies: a pass for the threshold, one for the cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    chosen = [np.zeros(vector.size, dtype=bool) for vector in vectors]
    if keep == 0:
        return chosen
    threshold = _threshold(vectors, keep, allowed, total)
    ties = []
    for vector, room, found in zip(vectors, allowed, chosen, strict=True):
        places = []
        for start in range(0, vector.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            values, out = vector[part], found[part]
            np.greater(values, threshold, out=out)
            equal = values == threshold
            if room is not None:
                out &= room[part]
                equal &= room[part]
            if equal.any():
                places.append(np.flatnonzero(equal) + start)
        ties.append(np.concatenate(places) if places else np.zeros(0, dtype=np.int64))
    missing = keep - sum(int(np.count_nonzero(found)) for found in chosen)
    drawn = np.sort(generator.choice(sum(map(len, ties)), size=missing, replace=False))
    begin = 0
    for found, own in zip(chosen, ties, strict=True):
        first, last = np.searchsorted(drawn, [begin, begin + len(own)])
        found[own[drawn[first:last] - begin]] = True
        begin += len(own)
    return chosen


def _threshold(
    vectors: Sequence[np.ndarray], keep: int, allowed: Sequence[np.ndarray | None], total: int
) -> np.ndarray:
    """The `keep`-th highest number. A sample says between which two it lies; if it does not, all are looked at."""
    dtype = np.result_type(*vectors)
    ends = [(dtype.type(-np.inf), dtype.type(np.inf))]
    if total > _FEW:
        ends.insert(0, _bracket(vectors, keep / total, allowed, dtype))
    for low, high in ends:
        above, between, count = 0, [], 0
        for values, room in _parts(vectors, allowed):
            # Where a mask leaves few, comparing all and joining costs less than picking out what it leaves.
            higher, inside = values > high, values >= low
            inside &= values <= high
            if room is not None:
                higher &= room
                inside &= room
            above += int(np.count_nonzero(higher))
            if low == high:
                count += int(np.count_nonzero(inside))
            else:
                between.append(values[inside])
        if low == high:
            if above < keep <= above + count:
                return np.asarray(low)
            continue
        candidates = np.concatenate(between).astype(dtype, copy=False)
        del between
        place = candidates.size - (keep - above)
        if 0 <= place < candidates.size:
            candidates.partition(place)
            return np.asarray(candidates[place])
    raise ValueError("the numbers hold NaN, so that none is the highest")


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


def _parts(
    vectors: Sequence[np.ndarray], allowed: Sequence[np.ndarray | None]
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for vector, room in zip(vectors, allowed, strict=True):
        for start in range(0, vector.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            yield vector[part], None if room is None else room[part]
