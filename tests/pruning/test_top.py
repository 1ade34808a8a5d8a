"""The highest numbers of several vectors: exactly those of a sort, whichever way they are found."""

from __future__ import annotations

import numpy as np
import pytest

from scratchcard.pruning import top as module
from scratchcard.pruning.top import top


def by_sorting(
    vectors: list[np.ndarray], keep: int, allowed: list[np.ndarray], generator: np.random.Generator
) -> np.ndarray:
    """All in one vector: what is above the threshold, and a draw among what equals it, in the order of places."""
    whole, room = np.concatenate(vectors), np.concatenate(allowed)
    keep = min(keep, int(room.sum()))
    if keep in (0, int(room.sum())):
        return room if keep else np.zeros_like(room)
    threshold = np.sort(whole[room])[-keep]
    chosen = room & (whole > threshold)
    ties = np.flatnonzero(room & (whole == threshold))
    chosen[generator.choice(ties, size=keep - int(chosen.sum()), replace=False)] = True
    return chosen


KINDS = {
    "distinct": lambda x: x,
    "many ties": lambda x: np.round(2 * x),
    "mostly zero": lambda x: np.where(x > 1.0, x, 0.0),
    "all alike": lambda x: np.zeros_like(x),
    "sorted": np.sort,
}


@pytest.mark.parametrize("few", [10**9, 50], ids=["at once", "by a sample"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_highest_are_those_of_a_sort(kind: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW", few)
    monkeypatch.setattr(module, "_SAMPLE", 1000)
    monkeypatch.setattr(module, "_CHUNK", 77)
    random = np.random.default_rng(3)
    for dtype in (np.float32, np.float64):
        vectors = [KINDS[kind](random.normal(size=size)).astype(dtype) for size in (1, 900, 4000)]
        for rooms in ([np.ones(v.size, bool) for v in vectors], [random.random(v.size) < 0.5 for v in vectors]):
            for keep in (0, 1, 7, 500, 2400, 4900, 10_000):
                given = [None if room.all() else room for room in rooms]
                found = top(vectors, keep, given, np.random.default_rng(keep))
                wanted = by_sorting(vectors, keep, rooms, np.random.default_rng(keep))
                assert np.array_equal(np.concatenate(found), wanted)


def test_a_sample_that_misleads_costs_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW", 50)
    monkeypatch.setattr(module, "_bracket", lambda *_: (np.float64(5.0), np.float64(6.0)))
    values = np.random.default_rng(0).normal(size=1000)
    (found,) = top([values], 100, [None], np.random.default_rng(0))
    assert np.array_equal(found, values >= np.sort(values)[-100])
