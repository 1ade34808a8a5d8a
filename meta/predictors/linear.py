"""Linear regression by least squares, equal to scikit-learn's LinearRegression."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from scratchcard.meta.arrays import Arrays, Forward, check_array, check_names
from scratchcard.meta.parts import Part
from scratchcard.meta.predictors.family import Family, Objective, Progress
from scratchcard.meta.rows import Rows
from scratchcard.settings import Settings

CHUNK = 65_536
Expand = Callable[[np.ndarray], np.ndarray]
"""Makes the regressors `(n, K)` of features `(n, F)`."""


def linear_forward(arrays: Arrays, features: int, family: str) -> Forward:
    """x · coefficients + intercept, in float64.

    Examples:
        >>> arrays = {"coefficients": np.array([2.0, -1.0]), "intercept": np.array([0.5])}
        >>> linear_forward(arrays, 2, "linear")(np.array([[1.0, 1.0]], np.float32))
        array([1.5])
    """
    check_names(arrays, ("coefficients", "intercept"), family)
    coefficients = check_array(arrays, "coefficients", np.float64, (features,))
    intercept = check_array(arrays, "intercept", np.float64, (1,))

    def forward(x: np.ndarray) -> np.ndarray:
        return np.asarray(x.astype(np.float64) @ coefficients + intercept[0])

    return forward


@dataclass(frozen=True)
class Linear(Settings, Family):
    """Minimises Σ weight · (y - x·c - b)² over c and b.

    Two passes over the table: the means, then a QR factorisation of the centred rows [x - mean, y - mean],
    updated chunk by chunk (R of [R; chunk] is R of everything so far), which keeps the precision that normal
    equations would square away. The small system that is left is solved as scikit-learn solves the large one
    (smallest solution, the same cut of singular values), so columns that depend on others do no harm; a
    constant column gets the coefficient 0. A cluster's workers each make the R of their part of the rows.

    Memory: one row group and one chunk of 65,536 rows.

    Examples:
        >>> rows = np.array([[0.0], [0.5], [1.0]], np.float32)
        >>> arrays = {"coefficients": np.array([2.0]), "intercept": np.array([1.0])}
        >>> Linear.forward(arrays, "regression", 1)(rows)
        array([1., 2., 3.])
    """

    objectives: ClassVar[tuple[Objective, ...]] = ("regression",)
    by_parts: ClassVar[bool] = True

    def fit(
        self, rows: Rows, objective: Objective, *, seed: int, threads: int, progress: Progress | None = None
    ) -> dict[str, np.ndarray]:
        """Arrays `coefficients` (F,) and `intercept` (1,); `seed` and `threads` have nothing to do."""
        coefficients, intercept = least_squares(rows, progress)
        return {"coefficients": coefficients, "intercept": np.array([intercept])}

    @staticmethod
    def forward(arrays: Arrays, objective: Objective, features: int) -> Forward:
        """See `linear_forward`."""
        return linear_forward(arrays, features, "linear")


def least_squares(
    rows: Rows, progress: Progress | None = None, expand: Expand | None = None
) -> tuple[np.ndarray, float]:
    """Coefficients and intercept; see `Linear`. `expand` makes the regressors `(n, K)` of features `(n, F)`.

    Examples:
        >>> from scratchcard.score_tables.schema import Column, TableBlock, TableSchema
        >>> from scratchcard.score_tables.table import ScoreTable
        >>> from scratchcard.score_tables.writer import TableWriter
        >>> columns = Column("magnitude", "feature", "raw", "|w|"), Column("score", "target", "raw", "2 |w| + 1")
        >>> values = {"magnitude": np.array([0.1, 0.4], np.float32), "score": np.array([1.2, 1.8], np.float32)}
        >>> with TableWriter(TableSchema(1, columns), "straight/toy-seed0.parquet", "toy", 0) as writer:
        ...     writer.write(TableBlock("toy", 0, 0, "weight", np.arange(2), values))
        >>> rows = Rows(ScoreTable.open("straight"), ("magnitude",), "score", (("toy", 0),))
        >>> coefficients, intercept = least_squares(rows)
        >>> coefficients.round(3), round(intercept, 3)
        (array([2.]), 1.0)
    """
    weights = 0.0
    sums: np.ndarray | None = None
    for weight, part in rows.over_parts(partial(_means, expand=expand)):
        weights += weight
        sums = part if sums is None else sums + part
    assert sums is not None  # noqa: S101  (Rows refuses to be empty)
    features, mean = len(sums) - 1, sums / weights
    triangle: np.ndarray | None = None
    own = progress if rows.cluster is None else None
    for part in rows.over_parts(partial(_triangle, mean=mean, expand=expand, progress=own), progress=progress):
        both = part if triangle is None else np.concatenate([triangle, part])
        triangle = part if triangle is None else np.asarray(np.linalg.qr(both, mode="r"))
    assert triangle is not None  # noqa: S101
    cut = max(rows.count, features) * np.finfo(np.float64).eps
    coefficients = np.linalg.lstsq(triangle[:, :features], triangle[:, features], rcond=cut)[0]
    # Centring leaves rounding of a constant, and the smallest solution rounding of its coefficient, which is 0.
    spread = np.sqrt((triangle**2).sum(axis=0) / weights)
    coefficients[(spread <= 1e-12 * np.abs(mean))[:features]] = 0.0
    return coefficients, float(mean[features] - mean[:features] @ coefficients)


def _means(rows: Rows, part: Part, *, expand: Expand | None) -> tuple[float, np.ndarray]:
    """Sum of the weights, and weighted sums of regressors and target."""
    weights, sums = 0.0, np.zeros(1)
    for both, weight in _chunks(rows, part, expand):
        weights += float(weight.sum())
        sums = weight @ both if len(sums) == 1 else sums + weight @ both
    return weights, sums


def _triangle(
    rows: Rows, part: Part, *, mean: np.ndarray, expand: Expand | None, progress: Progress | None
) -> np.ndarray:
    """R of the centred rows."""
    triangle, done = np.zeros((0, len(mean))), 0
    for both, weight in _chunks(rows, part, expand):
        centred = (both - mean) * np.sqrt(weight)[:, None]
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, centred]), mode="r"))
        done += len(weight)
        if progress is not None:
            progress(done, rows.count)
    return triangle


def _chunks(rows: Rows, part: Part, expand: Expand | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Regressors and target side by side, and the rows' weights, for some rows at a time."""
    for batch in rows.batches(part.networks, part.groups):
        weights = np.ones(len(batch.y)) if batch.weight is None else batch.weight
        for start in range(0, len(batch.y), CHUNK):
            chunk = slice(start, start + CHUNK)
            x = batch.x[chunk]
            yield np.column_stack([x if expand is None else expand(x), batch.y[chunk]]), weights[chunk]
