"""Two groups of values compared: Welch's test, the paired test, effect size and intervals."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scratchcard.analysis.effect import (
    NOWHERE,
    RESAMPLES,
    Range,
    Values,
    bootstrap_interval,
    constant,
    hedges_g,
    hedges_g_interval,
    sample,
)


@dataclass(frozen=True)
class Comparison:
    """Two groups of values compared.

    Attributes:
        difference: mean of a - mean of b.
        p: two-sided; NaN where no test is possible, for the reason in `note`.
        degrees_of_freedom: of the t distribution.
        hedges_g: see `analysis.effect.hedges_g`; of a paired comparison too it is in units of the spread over seeds,
            not of the differences, so that both kinds compare.
        low, high: 95 % interval of the difference by Student's t, which excludes 0 exactly where p < 0.05.
        bootstrap_low, bootstrap_high: the same by BCa bootstrap, too short with few seeds.
        hedges_g_low, hedges_g_high: 95 % BCa interval of g.
        n_a, n_b: numbers of values.
        mean_a, mean_b: means.
        note: why there is no test; empty if there is one.
    """

    difference: float
    p: float
    degrees_of_freedom: float
    hedges_g: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    hedges_g_low: float
    hedges_g_high: float
    n_a: int
    n_b: int
    mean_a: float
    mean_b: float
    note: str = ""


def welch(a: Values, b: Values, *, resamples: int = RESAMPLES) -> Comparison:
    """Welch's t test of equal means; variances and numbers may differ. Welch (1947), Biometrika 34.

    `t = (mean(a) - mean(b)) / sqrt(s_a²/n_a + s_b²/n_b)` with Satterthwaite's degrees of freedom.

    Without spread in one group the test is as usual (its variance is 0). Without any in both (networks that collapsed
    to the same class, say) the test is undefined: equal means give p = 1, different ones p = NaN and a note, since
    p = 0 would claim a certainty that a few equal values cannot give. Fewer than two values give p = NaN too.

    Args:
        a, b: finite values, such as test accuracies over seeds.
        resamples: of the bootstrap intervals; 0 leaves them NaN.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    a, b = sample(a, "the first group"), sample(b, "the second group")
    if min(a.size, b.size) < 2:
        return _comparison(a, b, resamples, note="fewer than two values: no spread to test against")
    if constant(a) and constant(b):
        return _without_spread(a, b, resamples, bool(abs(a[0] - b[0]) <= 1e-12 * max(abs(a[0]), abs(b[0]))))
    from scipy import stats

    with warnings.catch_warnings():  # a group without spread: its variance is 0, and that is meant
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        test = stats.ttest_ind(a, b, equal_var=False)
        low, high = test.confidence_interval(0.95)
    interval = bootstrap_interval(a, b, resamples=resamples) if resamples else NOWHERE
    return _comparison(a, b, resamples, float(test.pvalue), float(test.df), (float(low), float(high)), interval)


def paired(a: Values, b: Values, *, resamples: int = RESAMPLES) -> Comparison:
    """Student's t test of the differences a[i] - b[i], for runs that share their seed: initial weights, data order.

    More powerful than Welch's where the shared start makes both good or bad together; the same limits without spread.

    Raises:
        ValueError: different lengths, or a value is NaN or infinite.
    """
    a, b = sample(a, "the first group"), sample(b, "the second group")
    if a.size != b.size:
        raise ValueError(f"a paired test needs as many values in both groups, got {a.size} and {b.size}")
    if a.size < 2:
        return _comparison(a, b, resamples, note="fewer than two pairs of the same seed: no spread to test against")
    differences = a - b
    size = float(np.max(np.abs([a, b])))
    if np.ptp(differences) <= 1e-12 * size:
        return _without_spread(a, b, resamples, bool(np.max(np.abs(differences)) <= 1e-12 * size))
    from scipy import stats

    test = stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    interval = bootstrap_interval(differences, resamples=resamples) if resamples else NOWHERE
    return _comparison(a, b, resamples, float(test.pvalue), float(test.df), (float(low), float(high)), interval)


def _without_spread(a: NDArray[np.float64], b: NDArray[np.float64], resamples: int, equal: bool) -> Comparison:
    if equal:
        return _comparison(a, b, resamples, p=1.0)
    return _comparison(a, b, resamples, note="different means without any spread: no test can say how sure that is")


def _comparison(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    resamples: int,
    p: float = math.nan,
    degrees_of_freedom: float = math.nan,
    interval: Range = NOWHERE,
    bootstrap: Range = NOWHERE,
    note: str = "",
) -> Comparison:
    mean_a, mean_b = (float(np.mean(x)) if x.size else math.nan for x in (a, b))
    g_interval = hedges_g_interval(a, b, resamples=resamples) if resamples else NOWHERE
    return Comparison(
        difference=mean_a - mean_b,
        p=p,
        degrees_of_freedom=degrees_of_freedom,
        hedges_g=hedges_g(a, b),
        low=interval[0],
        high=interval[1],
        bootstrap_low=bootstrap[0],
        bootstrap_high=bootstrap[1],
        hedges_g_low=g_interval[0],
        hedges_g_high=g_interval[1],
        n_a=a.size,
        n_b=b.size,
        mean_a=mean_a,
        mean_b=mean_b,
        note=note,
    )
