"""Power against statsmodels and simulation; the fewest seeds are the fewest; spreads pooled by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchcard.analysis.power import detectable_difference, power, power_table, seeds_needed


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
    from statsmodels.stats.power import TTestIndPower, TTestPower

    expected = both_tails(TTestIndPower(), effect, seeds, alpha)
    assert power(0.01 * effect, 0.01, seeds, alpha=alpha) == pytest.approx(expected, rel=1e-6)
    assert power(-0.01 * effect, (0.01, 0.01), seeds, alpha=alpha) == pytest.approx(expected, rel=1e-6)
    one = both_tails(TTestPower(), effect, seeds, alpha)
    assert power(0.01 * effect, 0.01, seeds, alpha=alpha, paired=True) == pytest.approx(one, rel=1e-6)


def both_tails(test: Any, effect: float, seeds: int, alpha: float) -> float:
    """statsmodels' two-sided power is NaN where its lower tail is, which vanishes there."""
    tails = [test.power(effect, seeds, alpha / 2, alternative=side) for side in ("larger", "smaller")]
    return float(tails[0] + np.nan_to_num(tails[1]))


def test_seeds_by_the_textbook() -> None:
    """Cohen (1988): 80 % power at d = 0.2, 0.5, 0.8 needs 394, 64, 26 a group."""
    assert [seeds_needed(d, 1.0) for d in (0.2, 0.5, 0.8)] == [394, 64, 26]
    assert seeds_needed(0.5, 1.0, paired=True) == 34
    assert seeds_needed(0.5, 1.0, 0.9) == 86


@pytest.mark.parametrize(
    ("spread", "seeds", "short"),
    [((0.01, 0.01), 3, 0.10), ((0.01, 0.01), 5, 0.02), ((0.01, 0.01), 12, 0.0), ((0.002, 0.02), 5, 0.0)],
)
def test_power_of_welchs_test_by_simulation(spread: tuple[float, float], seeds: int, short: float) -> None:
    """Short of the formula by what its docstring says, with few seeds and equal spreads."""
    from scipy import stats

    rng = np.random.default_rng(1)
    difference = detectable_difference(spread, seeds)
    a = rng.normal(difference, spread[0], (20_000, seeds))
    b = rng.normal(0, spread[1], (20_000, seeds))
    rejected = float(np.mean(stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue <= 0.05))
    assert power(difference, spread, seeds) == pytest.approx(0.8)
    assert rejected == pytest.approx(0.8 - short, abs=0.012)


def test_power_of_the_paired_test_by_simulation() -> None:
    from scipy import stats

    rng = np.random.default_rng(2)
    differences = rng.normal(0.01, 0.01, (20_000, 8))
    rejected = float(np.mean(stats.ttest_1samp(differences, 0.0, axis=1).pvalue <= 0.05))
    assert power(0.01, 0.01, 8, paired=True) == pytest.approx(rejected, abs=0.015)


settings_of_tests = st.fixed_dictionaries(
    {"power": st.sampled_from([0.5, 0.8, 0.95]), "alpha": st.sampled_from([0.05, 0.01]), "paired": st.booleans()}
)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 20), st.floats(1e-4, 10), settings_of_tests, st.integers(1, 20))
def test_the_fewest_seeds_are_the_fewest(effect: float, spread: float, wanted: dict[str, Any], tests: int) -> None:
    seeds = seeds_needed(effect * spread, spread, **wanted, tests=tests)
    level = {"alpha": wanted["alpha"] / tests, "paired": wanted["paired"]}
    assert power(effect * spread, spread, seeds, **level) >= wanted["power"]
    assert seeds == 2 or power(effect * spread, spread, seeds - 1, **level) < wanted["power"]
    detectable = detectable_difference(spread, seeds, **wanted, tests=tests)
    assert detectable <= effect * spread * (1 + 1e-6)
    assert power(detectable, spread, seeds, **level) == pytest.approx(wanted["power"], abs=1e-6)


def test_seeds_grow_as_they_should() -> None:
    by_difference = [seeds_needed(d, 0.005) for d in (0.002, 0.005, 0.01, 0.02)]
    assert by_difference == sorted(by_difference, reverse=True)
    assert by_difference[1] == seeds_needed(0.5, 0.5) == seeds_needed(-0.005, 0.005) == 17
    assert seeds_needed(0.005, 0.005, tests=20) == seeds_needed(0.005, 0.005, alpha=0.0025) > 17
    assert seeds_needed(0.005, (0.005, 0.0)) < 17
    assert seeds_needed(1.0, 1e-9) == 2
    assert detectable_difference((0.005, 0.005), 17) == pytest.approx(0.00496, abs=1e-5)
    assert detectable_difference(1e-200, 3) / 1e-200 == pytest.approx(detectable_difference(1.0, 3))


def test_what_is_refused() -> None:
    for spread in (0.0, -0.1, math.nan, (0.0, 0.0)):
        with pytest.raises(ValueError, match="spread must be above 0"):
            seeds_needed(0.01, spread)
    for difference in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="other than 0"):
            seeds_needed(difference, 0.01)
    for wanted in (0.05, 1.0, 80):
        with pytest.raises(ValueError, match="between alpha"):
            seeds_needed(0.01, 0.01, wanted)
    with pytest.raises(ValueError, match="two seeds"):
        power(0.01, 0.01, 1)
    with pytest.raises(ValueError, match="one spread, that of the differences"):
        power(0.01, (0.01, 0.02), 5, paired=True)
    with pytest.raises(ValueError, match="alpha must lie"):
        power(0.01, 0.01, 5, alpha=0.0)
    with pytest.raises(ValueError, match="at least one test"):
        seeds_needed(0.01, 0.01, tests=0)
    with pytest.raises(ValueError, match="more than 1,000,000,000 seeds"):
        seeds_needed(1e-6, 1.0)


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
    best = power_table(frame(values), (0.01,), based_on="smallest_spread", tests=3)
    assert best["seeds for 0.01"].tolist() == [seeds_needed(0.01, row["smallest_spread"], tests=3)]
    only = power_table(frame(values), (0.01,), labels=["synflow"])
    assert only["spread"].tolist() == pytest.approx([math.sqrt(5e-5)])
    with pytest.raises(ValueError, match="no runs of 'snp'"):
        power_table(frame(values), labels=["snp"])
    with pytest.raises(ValueError, match="based_on must be one of"):
        power_table(frame(values), based_on="variance")  # type: ignore[arg-type]


def test_the_paired_table_pools_differences_of_common_seeds() -> None:
    shared = np.array([0.80, 0.90, 0.70, 0.85])
    values = {
        "a": list(shared),
        "b": list(shared + np.array([0.01, 0.02, 0.03, 0.02])),
        "c": list(shared[:3] - np.array([0.01, 0.03, 0.02])),
    }
    row = power_table(frame(values), (0.01,), paired=True).iloc[0]
    variances = [np.var(d, ddof=1) for d in ([0.01, 0.02, 0.03, 0.02], [0.01, 0.03, 0.02], [0.02, 0.05, 0.05])]
    pooled = math.sqrt((3 * variances[0] + 2 * variances[1] + 2 * variances[2]) / 7)
    assert row["spread"] == pytest.approx(pooled)
    assert (row["methods"], row["runs"]) == (3, 11)
    assert row["seeds for 0.01"] == seeds_needed(0.01, pooled, paired=True)
    assert row["seeds for 0.01"] < power_table(frame(values), (0.01,))["seeds for 0.01"].iloc[0] / 10
