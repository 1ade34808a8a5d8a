"""Ranks of methods over many blocks: Friedman's test, and Nemenyi's critical difference after it.

Demšar, "Statistical comparisons of classifiers over multiple data sets" (2006), JMLR 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scratchcard.analysis.groups import MEASURE, density_key, methods

if TYPE_CHECKING:
    import pandas as pd

BLOCKS = ("network", "task", "density", "seed")
ALPHA = 0.05


@dataclass(frozen=True)
class Friedman:
    """Whether methods rank alike, and which pairs differ.

    Attributes:
        statistic: Friedman's chi-squared, corrected for ties.
        p: by the chi-squared distribution with k - 1 degrees of freedom; rough for fewer than ten blocks.
        mean_ranks: of each label, best first; 1 is the best rank.
        critical_difference: mean ranks further apart than this differ at 5 % (Nemenyi). Read it after `p` only: with
            a larger p no pair differs.
        blocks: number N of complete blocks.
        dropped: blocks left out because a label has no run there.

    Examples:
        >>> found = Friedman(8.0, 0.018, {"synflow": 1.0, "snip": 2.0, "random": 3.0}, critical_difference(3, 4), 4, 0)
        >>> found.mean_ranks["random"] - found.mean_ranks["synflow"] > found.critical_difference
        True
    """

    statistic: float
    p: float
    mean_ranks: Mapping[str, float]
    critical_difference: float
    blocks: int
    dropped: int


def critical_difference(methods: int, blocks: int) -> float:
    """`q sqrt(k (k + 1) / (6 N))`, q = the studentized range's 95 % quantile for k groups / sqrt(2).

    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    from scipy import stats

    quantile = float(stats.studentized_range.ppf(1 - ALPHA, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * blocks))


def friedman(frame: pd.DataFrame, label: str = "label") -> Friedman:
    """Friedman's test over complete blocks of network, task, density and seed.

    Methods are ranked in each block, the highest value first; ties share their mean rank. A run whose value is NaN or
    infinite ranks last in its block: leaving it out would flatter a method that diverges.

    Blocks should be independent. Those of one seed at several densities share their initial weights, and seeds of one
    task say nothing of other tasks: p speaks of this frame's tasks and densities.

    Args:
        frame: runs, from `analysis.results.frame`.
        label: the column that names the methods.

    Raises:
        ValueError: fewer than three methods, or fewer than two complete blocks.

    Examples:
        >>> import pandas as pd
        >>> accuracies = {"snip": [0.9, 0.8, 0.9, 0.9], "grasp": [0.8, 0.7, 0.8, 0.7], "random": [0.3, 0.2, 0.3, 0.1]}
        >>> runs = pd.DataFrame([(m, s, a) for m, values in accuracies.items() for s, a in enumerate(values)])
        >>> runs = runs.set_axis(["label", "seed", "test_accuracy"], axis=1)
        >>> runs = runs.assign(network="lenet", task="digits", density=0.1)
        >>> found = friedman(runs)
        >>> found.mean_ranks, round(found.p, 3)
        ({'snip': 1.0, 'grasp': 2.0, 'random': 3.0}, 0.018)
    """
    import numpy as np
    from scipy import stats

    labels = methods(frame, label).labels
    if len(labels) < 3:
        raise ValueError(f"Friedman's test ranks three or more different methods, got {', '.join(labels) or 'none'}")
    scores = -frame[MEASURE].astype(float).where(lambda values: np.isfinite(values), -math.inf)  # lower is better
    blocks = frame.assign(score=scores, density=frame["density"].map(density_key))
    table = blocks.pivot(index=list(BLOCKS), columns=label, values="score")[labels]
    complete = table.dropna()
    count = len(complete)
    if count < 2:
        runs = table.notna().sum()
        raise ValueError(
            f"Friedman's test needs two or more blocks ({', '.join(BLOCKS)}) with runs of all {len(labels)} methods, "
            f"found {count} of {len(table)}; {runs.idxmin()!r} has runs in {runs.min()}: leave it out, or run it"
        )
    ranks = complete.rank(axis=1)  # 1 = the lowest score = the best
    statistic, p = 0.0, 1.0
    if ranks.nunique(axis=1).max() > 1:  # else every block is one tie: scipy divides 0 by 0
        test = stats.friedmanchisquare(*ranks.to_numpy().T)
        statistic, p = float(test.statistic), float(test.pvalue)
    named = {str(name): float(rank) for name, rank in ranks.mean().sort_values(kind="stable").items()}
    return Friedman(statistic, p, named, critical_difference(len(labels), count), count, len(table) - count)
