"""The plan of a large table follows from the rates: what workers share, and what they do not."""

from __future__ import annotations

import pytest

from benchmarks.plan import Rates, plan
from scratchcard.meta.parts import PART_ROWS

RATES = Rates(
    features=2e-6, write=1e-6, disk_bytes=80, linear=4e-6, bin=1e-6, boost=1e-8, evaluate=3e-6, columns=46, targets=5
)


def test_seeds_are_built_one_by_a_worker_and_rows_are_read_a_part_by_a_worker() -> None:
    weights = 8 * PART_ROWS
    one, ten, forty = (plan(RATES, 10, weights, 100, workers) for workers in (1, 10, 40))
    assert one["features"] == pytest.approx(10 * weights * 2e-6)
    assert ten["features"] == forty["features"] == pytest.approx(weights * 2e-6)
    assert one["linear"] == pytest.approx(10 * weights * 4e-6)
    assert forty["linear"] == pytest.approx(one["linear"] / 40)
    assert ten["gbm"] == pytest.approx(weights * (1e-6 + 100 * 1e-8))
    assert one["gbm_bytes"] == pytest.approx(10 * weights * (46 * 5 + 8))
    assert forty["gbm_bytes"] == pytest.approx(one["gbm_bytes"] / 40)


def test_more_workers_than_parts_are_not_used() -> None:
    assert plan(RATES, 2, 1000, 100, 100)["linear"] == plan(RATES, 2, 1000, 100, 2)["linear"]
