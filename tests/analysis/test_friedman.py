"""Friedman and Nemenyi against Demšar's worked example and tables; blocks, ties, failures"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from scratchcard.analysis.friedman import critical_difference, friedman

# Demšar (2006), table 6: AUC of C4.5, with tuned m, tuned cf, and both, on 14 data sets. One 0.975 is written 0.9751:
# the paper ranks it above the other, by digits that it does not print.
C45 = {
    "c4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957],
    "c4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
    "c4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.9751, 0.946],
    "c4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.975, 0.970],
}


def blocks(values: dict[str, list[float]], density: float = 0.01) -> pd.DataFrame:
    """One seed for each value."""
    rows = [
        {"label": label, "network": "mlp", "task": "mnist", "density": density, "seed": seed, "test_accuracy": value}
        for label, row in values.items()
        for seed, value in enumerate(row)
    ]
    return pd.DataFrame(rows)


def random_blocks(methods: int, count: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return blocks({f"method {i}": list(rng.random(count)) for i in range(methods)})


def test_demsars_example() -> None:
    found = friedman(blocks(C45))
    assert list(found.mean_ranks) == ["c4.5+m+cf", "c4.5+m", "c4.5+cf", "c4.5"]
    assert list(found.mean_ranks.values()) == pytest.approx([1.964, 2.000, 2.893, 3.143], abs=5e-4)
    without_ties = 12 * 14 / (4 * 5) * (sum(rank**2 for rank in found.mean_ranks.values()) - 4 * 25 / 4)
    assert without_ties == pytest.approx(9.28, abs=0.01)  # as published
    assert found.statistic == pytest.approx(10.2283, abs=1e-4)  # corrected for ties: R's friedman.test
    assert found.p == pytest.approx(0.01672, abs=1e-5)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert (found.blocks, found.dropped) == (14, 0)


def test_critical_values_of_demsars_table() -> None:
    published = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    for methods, quantile in enumerate(published, 2):
        scale = math.sqrt(methods * (methods + 1) / (6 * 20))
        assert critical_difference(methods, 20) / scale == pytest.approx(quantile, abs=1e-3)


def test_levels_hold_by_simulation() -> None:
    """Equal methods: the tests reject in about 1 of 20 grids."""
    found = [friedman(random_blocks(4, 12, seed)) for seed in range(100)]
    p = [f.p for f in found]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.065)
    assert np.mean(p) == pytest.approx(0.5, abs=0.1)


def test_perfect_agreement_and_none() -> None:
    agreed = friedman(blocks({"a": [0.9, 0.8, 0.7], "b": [0.8, 0.7, 0.6], "c": [0.7, 0.6, 0.5]}))
    assert agreed.statistic == pytest.approx(6.0)  # N (k - 1), its largest
    assert agreed.p == pytest.approx(math.exp(-3))  # chi-squared, 2 degrees of freedom
    tied = friedman(blocks({label: [0.1135, 0.098] for label in "abc"}))
    assert (tied.statistic, tied.p) == (0.0, 1.0)
    assert set(tied.mean_ranks.values()) == {2.0}


def test_the_order_of_rows_and_labels_does_not_matter() -> None:
    frame = random_blocks(5, 6)
    found, other = friedman(frame), friedman(frame.sample(frac=1, random_state=1))
    assert other.statistic == pytest.approx(found.statistic)
    assert dict(other.mean_ranks) == dict(found.mean_ranks)


def test_incomplete_blocks_are_dropped_and_counted() -> None:
    frame = blocks(C45)
    cut = frame[~((frame["label"] == "c4.5") & frame["seed"].isin([2, 5])) & ~(frame["seed"] == 9)]
    found = friedman(cut)
    assert (found.blocks, found.dropped) == (11, 2)
    rest = friedman(frame[~frame["seed"].isin([2, 5, 9])])
    assert (found.statistic, rest.dropped) == (rest.statistic, 0)
    dense = blocks({"dense": [0.98] * 14}, density=1.0)
    with pytest.raises(ValueError, match=r"found 0 of 28; .* has runs in 14"):
        friedman(pd.concat([frame, dense]))


def test_a_run_without_a_value_ranks_last() -> None:
    values = {"a": [0.9, math.nan, 0.9], "b": [0.8, 0.8, 0.8], "c": [0.7, 0.7, math.nan]}
    found = friedman(blocks(values))
    assert (found.blocks, found.dropped) == (3, 0)
    assert dict(found.mean_ranks) == pytest.approx({"a": 5 / 3, "b": 5 / 3, "c": 8 / 3})


def test_what_is_refused() -> None:
    frame = blocks(C45)
    with pytest.raises(ValueError, match="three or more different methods"):
        friedman(frame[frame["label"].isin(["c4.5", "c4.5+m"])])
    with pytest.raises(ValueError, match="found 1 of 1"):
        friedman(frame[frame["seed"] == 0])
