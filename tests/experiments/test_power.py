"""Power against statsmodels and simulation; the fewest seeds are the fewest; spreads pooled by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.power import power, power_table, seeds_needed


def frame(values: dict[str, list[float]], density: float = 0.01) -> pd.DataFrame:
    rows = [
        {"label": label, "network": "mlp", "task": "mnist", "density": density, "seed": seed, "test_accuracy": value}
        for label, row in values.items()
        for seed, value in enumerate(row)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("effect", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("seeds", [2, 5, 10, 60])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_power_against_statsmodels(effect: float, seeds: int, alpha: float) -> None:
    from statsmodels.stats.power import TTestIndPower

    expected = both_tails(TTestIndPower(), effect, seeds, alpha)
    assert power(0.01 * effect, 0.01, seeds, alpha=alpha) == pytest.approx(expected, rel=1e-6)
    assert power(-0.01 * effect, 0.01, seeds, alpha=alpha) == pytest.approx(expected, rel=1e-6)


def both_tails(test: Any, effect: float, seeds: int, alpha: float) -> float:
    """statsmodels' two-sided power is NaN where its lower tail is, which vanishes there."""
    tails = [test.power(effect, seeds, alpha / 2, alternative=side) for side in ("larger", "smaller")]
    return float(tails[0] + np.nan_to_num(tails[1]))


def test_seeds_by_the_textbook() -> None:
    """Cohen (1988): 80 % power at d = 0.2, 0.5, 0.8 needs 394, 64, 26 a group."""
    assert [seeds_needed(d, 1.0) for d in (0.2, 0.5, 0.8)] == [394, 64, 26]
    assert seeds_needed(0.5, 1.0, 0.9) == 86


@pytest.mark.parametrize(("seeds", "difference", "short"), [(3, 0.0307, 0.10), (5, 0.02024, 0.02), (12, 0.01197, 0.0)])
def test_power_of_welchs_test_by_simulation(seeds: int, difference: float, short: float) -> None:
    """Short of the formula by what its docstring says, with few seeds."""
    from scipy import stats

    rng = np.random.default_rng(1)
    a, b = rng.normal(difference, 0.01, (20_000, seeds)), rng.normal(0, 0.01, (20_000, seeds))
    rejected = float(np.mean(stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue <= 0.05))
    formula = power(difference, 0.01, seeds)
    assert formula == pytest.approx(0.8, abs=0.01)
    assert rejected == pytest.approx(formula - short, abs=0.015)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 20), st.floats(1e-4, 10), st.sampled_from([0.5, 0.8, 0.95]), st.sampled_from([0.05, 0.01]))
def test_the_fewest_seeds_are_the_fewest(effect: float, spread: float, wanted: float, alpha: float) -> None:
    seeds = seeds_needed(effect * spread, spread, wanted, alpha)
    assert power(effect * spread, spread, seeds, alpha=alpha) >= wanted
    assert seeds == 2 or power(effect * spread, spread, seeds - 1, alpha=alpha) < wanted


def test_seeds_grow_as_they_should() -> None:
    by_difference = [seeds_needed(d, 0.005) for d in (0.002, 0.005, 0.01, 0.02)]
    assert by_difference == sorted(by_difference, reverse=True)
    assert by_difference[1] == seeds_needed(0.5, 0.5) == seeds_needed(-0.005, 0.005) == 17
    assert seeds_needed(0.005, 0.005, alpha=0.0025) > 17
    assert seeds_needed(1.0, 1e-9) == 2


@pytest.mark.parametrize(
    ("difference", "spread"), [(0.01, 0.0), (0.01, -0.1), (0.01, math.nan), (0.0, 1), (math.inf, 1)]
)
def test_without_a_difference_or_a_spread_there_is_no_power(difference: float, spread: float) -> None:
    with pytest.raises(ValueError, match="power needs a difference and a spread"):
        seeds_needed(difference, spread)


def test_the_table_pools_spreads() -> None:
    values = {
        "snip": [0.80, 0.82, 0.84],  # variance 4e-4, two degrees of freedom
        "synflow": [0.90, 0.91],  # 5e-5, one
        "grasp": [0.7, math.nan],
        "collapsed": [0.1135] * 3,
    }
    table = power_table(pd.concat([frame(values), frame({"random": [0.1135] * 2}, 0.1)]))
    row = table.iloc[0]
    pooled = math.sqrt((2 * 4e-4 + 5e-5) / 3)
    assert row["spread"] == pytest.approx(pooled)
    assert (row["methods"], row["runs"]) == (2, 5)
    assert row["smallest_spread"] == pytest.approx(math.sqrt(5e-5))
    assert row["largest_spread"] == pytest.approx(0.02)
    assert row["median_spread"] == pytest.approx((math.sqrt(5e-5) + 0.02) / 2)
    for difference in (0.002, 0.005, 0.01, 0.02):
        assert row[f"seeds for {difference:g}"] == seeds_needed(difference, pooled)
    assert table["density"].tolist() == [0.01, 0.1]
    assert table.iloc[1][["spread", "seeds for 0.01"]].isna().all()
