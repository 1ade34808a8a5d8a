"""Power: how many seeds a difference needs to be seen, and what difference given seeds could have shown."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from scratchcard.analysis.cells import Cell, cells
from scratchcard.analysis.effect import constant

if TYPE_CHECKING:
    import pandas as pd

Spread = float | tuple[float, float]
Based = Literal["spread", "smallest_spread", "median_spread", "largest_spread"]

SPREADS = get_args(Based)
DIFFERENCES = (0.002, 0.005, 0.01, 0.02)
MOST = 10**9  # seeds; nobody runs more, and the search must end


def power(difference: float, spread: Spread, seeds: int, *, alpha: float = 0.05, paired: bool = False) -> float:
    """Probability that the two-sided t test rejects at level alpha, for normal values and `seeds` a method.

    Welch: noncentrality `δ / sqrt((σ_a² + σ_b²) / n)` and Satterthwaite's
    `(n - 1) (σ_a² + σ_b²)² / (σ_a⁴ + σ_b⁴)` degrees of freedom: for equal spreads `2 (n - 1)`, Student's exact power.
    Welch's test must estimate them, which costs power with few seeds: where this says 80 %, it has 70 % with three
    seeds, 76 % with four, 78 % with five, 79 % with eight (tests/analysis/test_power.py).
    Paired: `δ / (σ / sqrt(n))` and n - 1, σ the standard deviation of the differences.

    Args:
        difference: δ between the means.
        spread: standard deviation over seeds, one for both methods or one for each; paired: of the differences.
        seeds: n, a method.
        alpha: level of the test; divide by the number of tests for the first step of Holm's correction.
        paired: the paired test.

    Raises:
        ValueError: a difference or level that is not usable, no spread, fewer than two seeds.
    """
    first, second = _spreads(difference, spread, alpha, paired)
    if seeds < 2:
        raise ValueError(f"a test needs at least two seeds a method, got {seeds}")
    from scipy import stats

    if paired:
        freedom, error = seeds - 1.0, first / math.sqrt(seeds)
    else:
        share = first**2 / (first**2 + second**2)  # scale-free: tiny spreads do not underflow
        freedom = (seeds - 1) / (share**2 + (1 - share) ** 2)
        error = math.hypot(first, second) / math.sqrt(seeds)
    limit = float(stats.t.isf(alpha / 2, freedom))
    shift = abs(difference) / error
    if shift > 100 * limit:  # 1 but for less than 10⁻¹⁰⁰; scipy's series do not converge there
        return 1.0
    # The wrong tail is at most Φ(-shift). By symmetry P(T < -t; δ) = P(T > t; -δ): scipy's `nct.cdf` is NaN out there.
    wrong = float(stats.nct.sf(limit, freedom, -shift)) if shift < 8 else 0.0
    return float(stats.nct.sf(limit, freedom, shift)) + wrong


def seeds_needed(
    difference: float,
    spread: Spread,
    power: float = 0.8,
    alpha: float = 0.05,
    *,
    paired: bool = False,
    tests: int = 1,
) -> int:
    """Fewest seeds a method with which the test sees the difference with at least this power.

    Args:
        difference, spread, paired: see `power`.
        power: wanted, more than alpha.
        alpha: level of the whole family.
        tests: size of the family; each test is then taken at alpha / tests, as Holm's first step does, so that the
            number is on the safe side.

    Raises:
        ValueError: see `power`; or the number would be above 10⁹.
    """
    level = _level(power, alpha, tests)
    reached = _power_at(difference, spread, level, paired)
    high = 2
    while reached(high) < power:
        high *= 2
        if high > MOST:
            raise ValueError(f"a difference of {difference:g} at a spread of {spread} needs more than {MOST:,} seeds")
    low = high // 2  # too few, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return high


def detectable_difference(
    spread: Spread,
    seeds: int,
    power: float = 0.8,
    alpha: float = 0.05,
    *,
    paired: bool = False,
    tests: int = 1,
) -> float:
    """Smallest difference that `seeds` a method see with this power: what to say beside "not significant".

    Args and errors as of `seeds_needed`.
    """
    level = _level(power, alpha, tests)
    first, second = _spreads(1.0, spread, level, paired)
    from scipy import optimize

    scale = max(first, second)
    relative: Spread = (first / scale, second / scale) if not paired else 1.0

    def lacking(difference: float) -> float:
        return _power_at(difference, relative, level, paired)(seeds) - power

    high = 1.0
    while lacking(high) < 0:
        high *= 2
    low = high / 2
    while lacking(low) > 0:
        low /= 2
    return scale * float(optimize.brentq(lacking, low, high, xtol=1e-12, rtol=1e-10))


def power_table(
    frame: pd.DataFrame,
    differences: Sequence[float] = DIFFERENCES,
    *,
    labels: Sequence[str] | None = None,
    metric: str = "test_accuracy",
    based_on: Based = "spread",
    power: float = 0.8,
    alpha: float = 0.05,
    paired: bool = False,
    tests: int = 1,
) -> pd.DataFrame:
    """Seeds needed at each density, from the spread over seeds that the runs show.

    `spread` pools the methods: `s² = Σ (n_i - 1) s_i² / Σ (n_i - 1)`; paired, it pools the differences of every two
    methods on their common seeds. Methods spread differently, often by more than tenfold at low densities: the pooled
    spread is then that of the worst, and the smallest, median and largest stand beside it. All are rough with few
    seeds. Methods with fewer than two finite values or without any spread (collapsed networks) are left out.

    Args:
        frame: runs, from `analysis.results.frame`.
        differences: to be seen, in the metric's units: 0.01 is one point of accuracy.
        labels: the methods; all by default.
        metric: the column.
        based_on: the column whose spread the numbers of seeds are for.
        power, alpha, paired, tests: see `seeds_needed`.

    Returns:
        One row a network, task and density: these three, methods, runs, the four spreads, then a column `seeds for D`
        for each difference D. Missing where no method has a spread.

    Raises:
        ValueError: see `seeds_needed` and `analysis.cells.cells`; or a label without runs.
    """
    import pandas as pd

    if based_on not in SPREADS:
        raise ValueError(f"based_on must be one of {', '.join(SPREADS)}, got {based_on!r}")
    found = cells(frame, metric)
    unknown = [label for label in labels or () if label not in found.labels]
    if unknown:
        raise ValueError(f"no runs of {', '.join(map(repr, unknown))}; the frame has {', '.join(found.labels)}")
    kept = {key: cell for key, cell in found.cells.items() if labels is None or key[0] in labels}
    rows = []
    for place, density in sorted({(place, density) for _, place, density in kept}):
        group = [cell for (_, where, at), cell in kept.items() if (where, at) == (place, density)]
        parts, methods, runs = _paired_variances(group) if paired else _variances(group)
        row: dict[str, Any] = {**place._asdict(), "density": density, "methods": methods, "runs": runs}
        row |= _pooled(parts)
        for difference in differences:
            needed = (
                seeds_needed(difference, row[based_on], power, alpha, paired=paired, tests=tests) if parts else None
            )
            row[f"seeds for {difference:g}"] = needed
        rows.append(row)
    numbers = [f"seeds for {difference:g}" for difference in differences]
    names = ["network", "task", "density", "methods", "runs", *SPREADS, *numbers]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(numbers, "Int64"))


def _pooled(parts: Sequence[tuple[float, int]]) -> dict[str, float]:
    if not parts:
        return dict.fromkeys(SPREADS, math.nan)
    spreads = sorted(math.sqrt(variance) for variance, _ in parts)
    pooled = math.fsum(variance * weight for variance, weight in parts) / sum(weight for _, weight in parts)
    values = (math.sqrt(pooled), spreads[0], statistics.median(spreads), spreads[-1])
    return dict(zip(SPREADS, values, strict=True))


def _variances(group: Sequence[Cell]) -> tuple[list[tuple[float, int]], int, int]:
    """(variance, degrees of freedom) of each usable method; numbers of methods and runs."""
    samples = [list(cell.values.values()) for cell in group]
    used = [values for values in samples if len(values) > 1 and not constant(np.asarray(values))]
    return [(_variance(values), len(values) - 1) for values in used], len(used), sum(map(len, used))


def _paired_variances(group: Sequence[Cell]) -> tuple[list[tuple[float, int]], int, int]:
    """The same of the differences of every two methods on their common seeds."""
    parts: list[tuple[float, int]] = []
    used: set[int] = set()
    for (i, one), (j, other) in itertools.combinations(enumerate(group), 2):
        common = one.values.keys() & other.values.keys()
        if any(len({cell.values[seed] for seed in common}) < 2 for cell in (one, other)):
            continue
        differences = [one.values[seed] - other.values[seed] for seed in sorted(common)]
        if max(differences) - min(differences) > 1e-12 * max(abs(value) for value in one.values.values()):
            parts.append((_variance(differences), len(differences) - 1))
            used |= {i, j}
    return parts, len(used), sum(len(group[i].values) for i in used)


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _power_at(difference: float, spread: Spread, alpha: float, paired: bool) -> Callable[[int], float]:
    return lambda seeds: power(difference, spread, seeds, alpha=alpha, paired=paired)


def _level(wanted: float, alpha: float, tests: int) -> float:
    if tests < 1:
        raise ValueError(f"a family has at least one test, got {tests}")
    if not alpha < wanted < 1:
        raise ValueError(f"the power must lie between alpha ({alpha:g}) and 1, got {wanted:g}")
    return alpha / tests


def _spreads(difference: float, spread: Spread, alpha: float, paired: bool) -> tuple[float, float]:
    if not math.isfinite(difference) or difference == 0:
        raise ValueError(f"the difference must be a number other than 0, got {difference:g}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha:g}")
    if paired and isinstance(spread, tuple):
        raise ValueError("a paired test has one spread, that of the differences; got two")
    first, second = spread if isinstance(spread, tuple) else (spread, spread)
    if not (math.isfinite(first) and math.isfinite(second) and min(first, second) >= 0 and max(first, second) > 0):
        raise ValueError(f"the spread must be above 0, got {spread}: without spread any difference is seen")
    return float(first), float(second)
