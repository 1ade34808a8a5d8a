"""How features go together with a target, over a sample of a score table's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scratchcard.score_tables.table import ScoreTable

if TYPE_CHECKING:
    import pandas as pd

ROWS = 500_000
"""Rows that are looked at, at most."""


def feature_correlations(table: ScoreTable, target: str, *, rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Pearson's and Spearman's correlation and the ROC AUC of each feature with a target.

    Pearson's `cov(x, y) / (s_x s_y)`; Spearman's is Pearson's of the ranks, ties at their mean rank. ROC AUC is the
    share of pairs of a kept and a pruned weight in which the kept one has the larger feature, ties half: 0.5 says
    nothing, below 0.5 small values are kept. Kept is the target where that is 0 or 1, else the column `kept`.

    Over all rows of the first round that there is (0, the dense network) together, layers and networks mixed.

    Args:
        table: the score table.
        target: one of its columns, such as `kept`, `score` or `rounds_survived`.
        rows: at most as many are taken: a uniform sample without replacement.
        seed: of the sample.

    Returns:
        A row a feature, columns feature, pearson, spearman, roc_auc, rows. NaN where a feature or the target is
        constant. Rows where the target is NaN (not run) don't count.

    Memory: `rows` times the features in float32; of the table one row group at a time.

    Raises:
        ValueError: an unknown target.

    Examples:
        >>> import pathlib, tempfile
        >>> from scratchcard.score_tables.schema import Column, TableBlock, TableSchema
        >>> from scratchcard.score_tables.writer import TableWriter
        >>> columns = Column("magnitude", "feature", "raw", "|w|"), Column("kept", "target", "raw", "1 if kept")
        >>> values = {"magnitude": np.array([0.1, 0.2, 0.9, 0.3]), "kept": np.array([0, 0, 1, 1])}
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "toy-seed0.parquet"
        >>> with TableWriter(TableSchema(1, columns), path, "toy", 0) as writer:
        ...     block = {name: array.astype(np.float32) for name, array in values.items()}
        ...     writer.write(TableBlock("toy", 0, 0, "weight", np.arange(4), block))
        >>> feature_correlations(ScoreTable.open(path), "kept").round(3).values.tolist()
        [['magnitude', 0.723, 0.894, 1.0, 4]]
    """
    import pandas as pd

    names = list(table.schema.features)
    table.schema.check([target])
    truth = "kept" if "kept" in table.schema.targets else target
    sample = _sample(table, list(dict.fromkeys([*names, target, truth])), rows, seed)
    sample = sample[sample[target].notna()]
    labels = sample[target] if sample[target].isin((0, 1)).all() else sample[truth]
    kept = labels > 0
    positive = int(kept.sum())
    pairs = positive * (len(kept) - positive) if labels.isin((0, 1)).all() else 0
    y = _varying(sample[target])
    found = []
    for name in names:
        x = _varying(sample[name])
        ranks = x.rank()
        # Mann and Whitney's U over the number of pairs, from the mean ranks of all.
        above = ranks[kept].sum(min_count=1) - positive * (positive + 1) / 2
        found.append((name, x.corr(y), ranks.corr(y.rank()), above / pairs if pairs else np.nan, len(x)))
    return pd.DataFrame(found, columns=["feature", "pearson", "spearman", "roc_auc", "rows"])


def _varying(values: pd.Series) -> pd.Series:
    """In double precision; NaN where all are the same."""
    exact = values.astype("float64")
    return exact if exact.min() < exact.max() else exact * np.nan


def _sample(table: ScoreTable, columns: list[str], rows: int, seed: int) -> pd.DataFrame:
    """A uniform sample without replacement; how many fall into each row group is hypergeometric."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    groups = table.groups(rounds=table.rounds[:1])
    sizes = np.array([group.rows for group in groups], dtype=np.int64)
    counts = rng.multivariate_hypergeometric(sizes, min(rows, int(sizes.sum())), method="marginals")
    parts = []
    for group, count in zip(groups, counts, strict=True):
        if count:
            places = np.sort(rng.choice(group.rows, size=count, replace=False, shuffle=False))
            block = table.read(group, columns)
            parts.append(pd.DataFrame({name: block.columns[name][places] for name in columns}))
    return pd.concat(parts, ignore_index=True)
