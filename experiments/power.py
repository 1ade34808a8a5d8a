"""Power: how many seeds a difference needs to be seen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchcard.analysis.groups import methods
from scratchcard.analysis.two_samples import constant

if TYPE_CHECKING:
    import pandas as pd

DIFFERENCES = (0.002, 0.005, 0.01, 0.02)
"""In the metric's units: 0.01 is one point of accuracy."""


def power(difference: float, spread: float, seeds: int, *, alpha: float = 0.05) -> float:
    """Probability that a two-sided t test of two methods rejects at level alpha, for normal values of one spread.

    Noncentrality `δ / (σ sqrt(2 / n))` and `2 (n - 1)` degrees of freedom, Student's exact power. Welch's test must
    estimate both spreads, which costs power with few seeds: where this says 80 %, it has 70 % with three seeds, 76 %
    with four, 78 % with five, 79 % with eight (tests/analysis/test_power.py).

    >>> round(power(0.01, 0.01, 17), 2)
    0.81

    Args:
        difference: δ between the means, other than 0.
        spread: σ, standard deviation over seeds.
        seeds: n, a method; two or more.
        alpha: level of the test.

    Raises:
        ValueError: no difference or no spread.
    """
    if not (difference and math.isfinite(difference) and math.isfinite(spread) and spread > 0):
        raise ValueError(f"power needs a difference and a spread above 0, got {difference:g} and {spread:g}")
    from scipy import stats

    freedom = 2.0 * (seeds - 1)
    limit = float(stats.t.isf(alpha / 2, freedom))
    shift = abs(difference) / (spread * math.sqrt(2 / seeds))
    if shift > 100 * limit:  # 1 but for less than 10⁻¹⁰⁰; scipy's series do not converge there
        return 1.0
    # The wrong tail is at most Φ(-shift). By symmetry P(T < -t; δ) = P(T > t; -δ): scipy's `nct.cdf` is NaN out there.
    wrong = float(stats.nct.sf(limit, freedom, -shift)) if shift < 8 else 0.0
    return float(stats.nct.sf(limit, freedom, shift)) + wrong


def seeds_needed(difference: float, spread: float, wanted: float = 0.8, alpha: float = 0.05) -> int:
    """Fewest seeds a method with which the test sees the difference with at least this power, more than alpha.

    >>> seeds_needed(0.5, 1.0)  # Cohen (1988)
    64

    Raises:
        ValueError: see `power`.
    """
    low, high = 1, 2  # too few; perhaps enough
    while power(difference, spread, high, alpha=alpha) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(difference, spread, middle, alpha=alpha) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def power_table(frame: pd.DataFrame, *, label: str = "label") -> pd.DataFrame:
    """Seeds needed at each density for each of `DIFFERENCES`, from the spread over seeds that the runs show.

    The spread pools the methods: `s² = Σ (n_i - 1) s_i² / Σ (n_i - 1)`. Methods spread differently, often by more than
    tenfold at low densities: the pooled spread is then that of the worst, and the smallest, median and largest stand
    beside it. All are rough with few seeds. Methods with fewer than two finite values or without any spread (collapsed
    networks) are left out.

    Args:
        frame: runs, from `analysis.results.frame`.
        label: the column that names the methods.

    Returns:
        One row a network, task and density: these three, methods, runs, the four spreads, then a column `seeds for D`
        for each difference D. Missing where no method has a spread.

    Raises:
        ValueError: see `analysis.groups.methods`.
    """
    import pandas as pd

    used: dict[tuple[Any, ...], list[tuple[float, ...]]] = {}
    for (_, place, density), group in methods(frame, label).groups.items():
        there = used.setdefault((*place, density), [])
        if len(group.values) > 1 and not constant(group.values):
            there.append(group.values)
    rows = []
    for key, values in sorted(used.items()):
        row: list[Any] = [*key, len(values), sum(map(len, values)), *[math.nan] * 4]
        if values:
            spreads = [float(np.std(some, ddof=1)) for some in values]
            pooled = np.average(np.square(spreads), weights=[len(some) - 1 for some in values]) ** 0.5
            row[-4:] = [float(pooled), min(spreads), float(np.median(spreads)), max(spreads)]
        rows.append([*row, *(seeds_needed(difference, row[-4]) if values else None for difference in DIFFERENCES)])
    numbers = [f"seeds for {difference:g}" for difference in DIFFERENCES]
    names = ["network", "task", "density", "methods", "runs", "spread"]
    names += ["smallest_spread", "median_spread", "largest_spread", *numbers]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(numbers, "Int64"))
