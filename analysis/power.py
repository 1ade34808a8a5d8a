"""Power: how many seeds a difference needs to be seen."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchcard.analysis.groups import MEASURE, Group, methods
from scratchcard.analysis.two_samples import constant

if TYPE_CHECKING:
    import pandas as pd

SPREADS = ("spread", "smallest_spread", "median_spread", "largest_spread")
DIFFERENCES = (0.002, 0.005, 0.01, 0.02)
MOST = 10**9
"""Seeds; nobody runs more, and the search must end."""


def power(difference: float, spread: float, seeds: int, *, alpha: float = 0.05) -> float:
    """Probability that a two-sided t test of two methods rejects at level alpha, for normal values of one spread.

    Noncentrality `δ / (σ sqrt(2 / n))` and `2 (n - 1)` degrees of freedom, Student's exact power. Welch's test must
    estimate both spreads, which costs power with few seeds: where this says 80 %, it has 70 % with three seeds, 76 %
    with four, 78 % with five, 79 % with eight (tests/analysis/test_power.py).

    >>> round(power(0.01, 0.01, 17), 2)
    0.81

    Args:
        difference: δ between the means.
        spread: σ, standard deviation over seeds.
        seeds: n, a method.
        alpha: level of the test.

    Raises:
        ValueError: a difference or level that is not usable, no spread, fewer than two seeds.
    """
    if not math.isfinite(difference) or difference == 0:
        raise ValueError(f"the difference must be a number other than 0, got {difference:g}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha:g}")
    if not (math.isfinite(spread) and spread > 0):
        raise ValueError(f"the spread must be above 0, got {spread}: without spread any difference is seen")
    if seeds < 2:
        raise ValueError(f"a test needs at least two seeds a method, got {seeds}")
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
    """Fewest seeds a method with which the test sees the difference with at least this power.

    >>> seeds_needed(0.5, 1.0)  # Cohen (1988)
    64

    Args:
        difference, spread, alpha: see `power`.
        wanted: the power, more than alpha.

    Raises:
        ValueError: see `power`; or the number would be above 10⁹.
    """
    if not alpha < wanted < 1:
        raise ValueError(f"the power must lie between alpha ({alpha:g}) and 1, got {wanted:g}")

    def reached(seeds: int) -> bool:
        return power(difference, spread, seeds, alpha=alpha) >= wanted

    high = 2
    while not reached(high):
        high *= 2
        if high > MOST:
            raise ValueError(f"a difference of {difference:g} at a spread of {spread} needs more than {MOST:,} seeds")
    low = high // 2  # too few, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def power_table(
    frame: pd.DataFrame, differences: Sequence[float] = DIFFERENCES, *, label: str = "label", measure: str = MEASURE
) -> pd.DataFrame:
    """Seeds needed at each density, from the spread over seeds that the runs show.

    The spread pools the methods: `s² = Σ (n_i - 1) s_i² / Σ (n_i - 1)`. Methods spread differently, often by more than
    tenfold at low densities: the pooled spread is then that of the worst, and the smallest, median and largest stand
    beside it. All are rough with few seeds. Methods with fewer than two finite values or without any spread (collapsed
    networks) are left out.

    Args:
        frame: runs, from `analysis.results.frame`.
        differences: to be seen, in the measure's units: 0.01 is one point of accuracy.
        label: the column that names the methods.
        measure: the column.

    Returns:
        One row a network, task and density: these three, methods, runs, the four spreads, then a column `seeds for D`
        for each difference D. Missing where no method has a spread.

    Raises:
        ValueError: see `power` and `analysis.groups.methods`.
    """
    import pandas as pd

    found = methods(frame, measure, label).groups
    rows = []
    for place, density in sorted({(place, density) for _, place, density in found}):
        here = [group for (_, where, at), group in found.items() if (where, at) == (place, density)]
        used = [group for group in here if len(group.values) > 1 and not constant(np.asarray(group.values))]
        row: dict[str, Any] = {**place._asdict(), "density": density, "methods": len(used)}
        row |= {"runs": sum(len(group.values) for group in used)} | _pooled(used)
        for difference in differences:
            row[f"seeds for {difference:g}"] = seeds_needed(difference, row["spread"]) if used else None
        rows.append(row)
    numbers = [f"seeds for {difference:g}" for difference in differences]
    names = ["network", "task", "density", "methods", "runs", *SPREADS, *numbers]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(numbers, "Int64"))


def _pooled(groups: Sequence[Group]) -> dict[str, float]:
    if not groups:
        return dict.fromkeys(SPREADS, math.nan)
    variances = [_variance(group.values) for group in groups]
    weights = [len(group.values) - 1 for group in groups]
    pooled = math.fsum(v * w for v, w in zip(variances, weights, strict=True)) / sum(weights)
    spreads = [math.sqrt(variance) for variance in variances]
    values = (math.sqrt(pooled), min(spreads), statistics.median(spreads), max(spreads))
    return dict(zip(SPREADS, values, strict=True))


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
