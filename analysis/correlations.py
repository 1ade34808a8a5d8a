"""How each feature of a score table goes with a target."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scratchcard.score_tables.table import ScoreTable

if TYPE_CHECKING:
    import pandas as pd


def feature_correlations(
    table: ScoreTable,
    target: str,
    features: Sequence[str] | None = None,
    *,
    rows: int = 500_000,
    seed: int = 0,
    workloads: Collection[str] | None = None,
    seeds: Collection[int] | None = None,
    rounds: Collection[int] | None = None,
    parameters: Collection[str] | None = None,
) -> pd.DataFrame:
    """Pearson's and Spearman's correlation and the ROC AUC of each feature with a target.

    Pearson's `cov(x, y) / (s_x s_y)`; Spearman's is Pearson's of the ranks, ties at their mean rank. ROC AUC is the
    share of pairs of a kept and a pruned weight in which the kept one has the larger feature, ties half: 0.5 says
    nothing, below 0.5 small values are kept. Kept is the target where that is 0 or 1, else the column `kept`.

    Over all rows together, layers and networks mixed: choose `parameters` for one layer.

    Args:
        table: the score table.
        target: one of its columns, such as `kept`, `score` or `rounds_survived`.
        features: which columns; all features by default.
        rows: at most as many are taken: a uniform sample without replacement of all chosen rows.
        seed: of the sample.
        workloads: only these, all by default; likewise `seeds` and `parameters`.
        seeds: of the networks.
        rounds: of the rows; by default the first that there is (0, the dense network).
        parameters: names of weights.

    Returns:
        A row a feature, columns feature, pearson, spearman, roc_auc, rows. NaN where a feature or the target is
        constant. Rows where the target is NaN (not run) don't count.

    Memory: `rows` times the features in float32; of the table one row group at a time.

    Raises:
        ValueError: unknown columns, workloads, seeds, rounds or parameters, or fewer than two rows asked for.
    """
    import pandas as pd

    names = list(table.schema.features if features is None else features)
    if rows < 2:
        raise ValueError(f"a correlation needs at least 2 rows, got rows={rows}")
    table.schema.check([target, *names])
    truth = "kept" if "kept" in table.schema.targets else target
    sample = _sample(
        table,
        list(dict.fromkeys([*names, target, truth])),
        rows,
        np.random.default_rng(seed),
        workloads=workloads,
        seeds=seeds,
        rounds=rounds if rounds is not None else table.rounds[:1],
        parameters=parameters,
    )
    known = ~np.isnan(sample[target])
    y = sample[target][known].astype(np.float64)
    labels = y if np.isin(y, (0.0, 1.0)).all() else sample[truth][known].astype(np.float64)
    kept = labels > 0 if np.isin(labels, (0.0, 1.0)).all() else None
    y_ranks = _ranks(y)
    found = []
    for name in names:
        x = sample[name][known].astype(np.float64)
        ranks = _ranks(x)
        found.append((name, _pearson(x, y), _pearson(ranks, y_ranks), _roc_auc(ranks, kept), len(y)))
    return pd.DataFrame(found, columns=["feature", "pearson", "spearman", "roc_auc", "rows"])


def _sample(
    table: ScoreTable,
    columns: Sequence[str],
    rows: int,
    rng: np.random.Generator,
    *,
    parameters: Collection[str] | None,
    workloads: Collection[str] | None,
    seeds: Collection[int] | None,
    rounds: Collection[int] | None,
) -> dict[str, NDArray[np.float32]]:
    """Columns of a uniform sample without replacement; how many fall into each row group is hypergeometric."""
    groups = table.groups(workloads=workloads, seeds=seeds, rounds=rounds)
    if parameters is not None:
        there = list(dict.fromkeys(group.parameter for group in groups))
        unknown = [name for name in parameters if name not in there]
        if unknown:
            raise ValueError(f"the table has no parameter {', '.join(unknown)}; it has {', '.join(there)}")
        groups = tuple(group for group in groups if group.parameter in parameters)
    sizes = np.array([group.rows for group in groups], dtype=np.int64)
    total = min(rows, int(sizes.sum()))
    counts = rng.multivariate_hypergeometric(sizes, total, method="marginals")
    sample = {name: np.empty(total, dtype=np.float32) for name in columns}
    start = 0
    for group, count in zip(groups, counts, strict=True):
        if not count:
            continue
        places = np.sort(rng.choice(group.rows, size=count, replace=False, shuffle=False))
        block = table.read(group, columns)
        for name, values in sample.items():
            values[start : start + count] = block.columns[name][places]
        start += count
    return sample


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import pandas as pd

    return np.asarray(pd.Series(values).rank(), dtype=np.float64)


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return float("nan")
    # Scaled first, so that squares of tiny scores do not vanish.
    a, b = x - x.mean(), y - y.mean()
    a /= np.abs(a).max()
    b /= np.abs(b).max()
    return float(np.clip((a @ b) / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def _roc_auc(ranks: NDArray[np.float64], kept: NDArray[np.bool_] | None) -> float:
    """Mann and Whitney's U over the number of pairs, from the mean ranks of all; NaN of a constant feature."""
    if kept is None or not len(ranks) or ranks.min() == ranks.max():
        return float("nan")
    positive = int(kept.sum())
    negative = len(kept) - positive
    if not positive or not negative:
        return float("nan")
    return float((ranks[kept].sum() - positive * (positive + 1) / 2) / (positive * negative))
