"""Two groups of values compared: Welch's test, the paired test, Hedges' g; Holm's correction over several."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Two groups of values compared.

    Attributes:
        n_of, n_against: numbers of values.
        mean_of, mean_against: means.
        difference: of the means, the first less the second.
        hedges_g: see `hedges_g`; of a paired comparison too it is in units of the spread over seeds, not of the
            differences, so that both kinds compare.
        low, high: 95 % interval of the difference by Student's t, which excludes 0 exactly where p < 0.05.
        p: two-sided; NaN where no test is possible, for the reason in `note`.
        degrees_of_freedom: of the t distribution.
        note: why there is no test; empty if there is one.

    Examples:
        >>> found = Comparison(3, 3, 0.91, 0.81, difference=0.10, hedges_g=8.0, low=0.08, high=0.12, p=0.0003)
        >>> found.difference, found.low > 0
        (0.1, True)
    """

    n_of: int
    n_against: int
    mean_of: float
    mean_against: float
    difference: float
    hedges_g: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    degrees_of_freedom: float = math.nan
    note: str = ""


def welch(a: Values, b: Values) -> Comparison:
    """Welch's t test of equal means; variances and numbers may differ. Welch (1947), Biometrika 34.

    `t = (mean(a) - mean(b)) / sqrt(s_a²/n_a + s_b²/n_b)` with Satterthwaite's degrees of freedom.

    Without spread in one group the test is as usual (its variance is 0). Without any in both (networks that collapsed
    to the same class, say) the test is undefined: equal means give p = 1, different ones p = NaN and a note, since
    p = 0 would claim a certainty that a few equal values cannot give. Fewer than two values give p = NaN too.

    >>> round(welch([0.90, 0.91, 0.92], [0.80, 0.82, 0.81]).p, 4)
    0.0003

    Args:
        a, b: finite values, such as test accuracies over seeds.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    from scipy import stats

    a, b = _sample(a), _sample(b)
    if min(a.size, b.size) < 2:
        return _comparison(a, b, note="fewer than two values: no spread to test against")
    if constant(a) and constant(b):
        return _without_spread(a, b)
    return _comparison(a, b, lambda: stats.ttest_ind(a, b, equal_var=False))


def paired(a: Values, b: Values) -> Comparison:
    """Student's t test of the differences a[i] - b[i], for runs that share their seed: initial weights, data order.

    More powerful than Welch's where the shared start makes both good or bad together; the same limits without spread.

    >>> round(paired([0.90, 0.80, 0.95], [0.89, 0.78, 0.93]).p, 3)
    0.038

    Raises:
        ValueError: different lengths, or a value is NaN or infinite.
    """
    from scipy import stats

    a, b = _sample(a), _sample(b)
    if a.size != b.size:
        raise ValueError(f"a paired test needs as many values in both groups, got {a.size} and {b.size}")
    if a.size < 2:
        return _comparison(a, b, note="fewer than two pairs of the same seed: no spread to test against")
    if np.ptp(a - b) <= 1e-12 * np.max(np.abs([a, b])):
        return _without_spread(a, b)
    return _comparison(a, b, lambda: stats.ttest_rel(a, b))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: `p_adjusted_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))` over the ascending p.

    Holds the probability of one or more false discoveries in the family, whatever the tests' dependence. NaN are no
    tests: they stay NaN and do not count in m. Holm (1979), Scandinavian Journal of Statistics 6(2).

    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    values = np.asarray(p_values, dtype=np.float64)
    count = int((~np.isnan(values)).sum())
    order = np.argsort(values, kind="stable")[:count]  # NaN is last
    adjusted = np.full(values.shape, math.nan)
    # statsmodels' multipletests gives the same, and runs the garbage collector at every call (0.1 s)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(count, 0, -1) * values[order]))
    return [float(value) for value in adjusted]


def hedges_correction(degrees_of_freedom: float) -> float:
    """Hedges' factor that makes a standardised difference unbiased, in its exact form; of more than one degree.

    `J(m) = Γ(m/2) / (sqrt(m/2) Γ((m - 1)/2))`, about `1 - 3 / (4m - 1)`. Hedges, "Distribution theory for Glass's
    estimator of effect size and related estimators" (1981), Journal of Educational Statistics 6(2).

    >>> round(hedges_correction(4), 4), round(hedges_correction(100), 4)
    (0.7979, 0.9925)
    """
    half = degrees_of_freedom / 2
    return math.exp(math.lgamma(half) - math.lgamma(half - 0.5)) / math.sqrt(half)


def hedges_g(a: Values, b: Values) -> float:
    """Difference of the means in units of the spread over seeds, corrected for small samples.

    `g = J(n_a + n_b - 2) (mean(a) - mean(b)) / s` with the pooled standard deviation
    `s² = ((n_a - 1) s_a² + (n_b - 1) s_b²) / (n_a + n_b - 2)`. NaN with fewer than two values in a group, and where
    neither group has a spread: nothing there to measure with.

    Raises:
        ValueError: a value is not finite.

    Examples:
        >>> round(hedges_g([0.90, 0.91, 0.92], [0.80, 0.82, 0.81]), 2)
        7.98
    """
    a, b = _sample(a), _sample(b)
    if min(a.size, b.size) < 2 or (constant(a) and constant(b)):
        return math.nan
    freedom = a.size + b.size - 2
    squares = (a.size - 1) * np.var(a, ddof=1) + (b.size - 1) * np.var(b, ddof=1)
    return float(hedges_correction(freedom) * (np.mean(a) - np.mean(b)) / np.sqrt(squares / freedom))


def _sample(values: Values) -> NDArray[np.float64]:
    """The values as an array.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    array = np.asarray(values, dtype=np.float64)
    missing = int(np.sum(~np.isfinite(array)))
    if missing:
        raise ValueError(f"the values hold {missing} NaN or infinite of {array.size}: leave such runs out, and say so")
    return array


def constant(values: Values) -> bool:
    """Whether the values are all the same, but for rounding in the last digits.

    >>> constant([0.1 + 0.2, 0.3]), constant([0.3, 0.31])
    (True, False)
    """
    return bool(np.ptp(values) <= 1e-12 * np.max(np.abs(values)))


def _without_spread(a: NDArray[np.float64], b: NDArray[np.float64]) -> Comparison:
    if abs(np.mean(a) - np.mean(b)) <= 1e-12 * np.max(np.abs([a[0], b[0]])):
        return _comparison(a, b, p=1.0)
    return _comparison(a, b, note="different means without any spread: no test can say how sure that is")


def _comparison(a: NDArray[np.float64], b: NDArray[np.float64], test: Any = None, **more: Any) -> Comparison:
    if test is not None:
        with warnings.catch_warnings():  # a group without spread: its variance is 0, and that is meant
            warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
            found = test()
            low, high = found.confidence_interval(0.95)
        more = {"low": float(low), "high": float(high), "p": float(found.pvalue), "degrees_of_freedom": float(found.df)}
    of, against = (float(np.mean(x)) if x.size else math.nan for x in (a, b))
    return Comparison(a.size, b.size, of, against, of - against, hedges_g(a, b), **more)
