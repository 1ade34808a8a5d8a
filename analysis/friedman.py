"""Ranks of methods over many blocks: Friedman's test and Nemenyi's critical difference.

Demšar, "Statistical comparisons of classifiers over multiple data sets" (2006), JMLR 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scratchcard.analysis.groups import MEASURE, methods

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

    Raises:
        ValueError: fewer than two methods or no block.
    """
    if methods < 2 or blocks < 1:
        raise ValueError(f"a critical difference needs two methods and a block, got {methods} and {blocks}")
    from scipy import stats

    quantile = float(stats.studentized_range.ppf(1 - ALPHA, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * blocks))


def friedman(frame: pd.DataFrame, label: str = "label", measure: str = MEASURE) -> Friedman:
    """Friedman's test over complete blocks of network, task, density and seed.

    Methods are ranked in each block, the highest value first; ties share their mean rank. A run whose value is NaN or
    infinite ranks last in its block: leaving it out would flatter a method that diverges.

    Blocks should be independent. Those of one seed at several densities share their initial weights, and seeds of one
    task say nothing of other tasks: p speaks of this frame's tasks and densities.

    Args:
        frame: runs, from `analysis.results.frame`.
        label: the column that names the methods.
        measure: the column to rank by.

    Raises:
        ValueError: fewer than three methods, or fewer than two complete blocks.
    """
    import numpy as np
    import pandas as pd
    from scipy import stats

    scores, dropped = _scores(frame, label, measure)
    count, k = scores.shape
    ranks = stats.rankdata(scores.to_numpy(), axis=1)  # 1 = the smallest score = the best
    mean_ranks = pd.Series(ranks.mean(axis=0), index=scores.columns).sort_values(kind="stable")
    if np.all(ranks == ranks[0, 0]):  # every block one tie: scipy divides 0 by 0
        statistic, p = 0.0, 1.0
    else:
        test = stats.friedmanchisquare(*ranks.T)
        statistic, p = float(test.statistic), float(test.pvalue)
    named = {str(name): float(rank) for name, rank in mean_ranks.items()}
    return Friedman(statistic, p, named, critical_difference(k, count), count, dropped)


def _scores(frame: pd.DataFrame, label: str, measure: str) -> tuple[pd.DataFrame, int]:
    """Complete blocks × labels, lower = better, infinite where a run has no finite value; and how many were dropped."""
    import pandas as pd

    found = methods(frame, measure, label)
    wanted = found.labels
    if len(wanted) < 3:
        raise ValueError(f"Friedman's test ranks three or more different methods, got {', '.join(wanted) or 'none'}")
    rows = []
    for (name, place, density), group in found.groups.items():
        values = dict(zip(group.seeds, (-value for value in group.values), strict=True))
        values |= dict.fromkeys(group.missing, math.inf)
        rows += [(name, *place, density, seed, value) for seed, value in values.items()]
    long = pd.DataFrame(rows, columns=["label", *BLOCKS, "score"])
    table = long.set_index([*BLOCKS, "label"])["score"].unstack("label")[wanted]
    complete = table.dropna()
    if len(complete) < 2:
        runs = {name: int(count) for name, count in table.notna().sum().items()}
        fewest = min(wanted, key=runs.__getitem__)
        raise ValueError(
            f"Friedman's test needs two or more blocks ({', '.join(BLOCKS)}) with runs of all {len(wanted)} methods, "
            f"found {len(complete)} of {len(table)}; {fewest!r} has runs in {runs[fewest]}: leave it out, or run it"
        )
    return complete, len(table) - len(complete)
