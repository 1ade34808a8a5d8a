"""Linear regression by least squares, equal to scikit-learn's LinearRegression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scratchcard.meta.arrays import Arrays, Forward, check_array, check_names
from scratchcard.meta.predictors.family import Objective, Progress
from scratchcard.meta.rows import Rows
from scratchcard.settings import Settings

CHUNK = 65_536


def linear_forward(arrays: Arrays, features: int, family: str) -> Forward:
    """x · coefficients + intercept, in float64."""
    check_names(arrays, ("coefficients", "intercept"), family)
    coefficients = check_array(arrays, "coefficients", np.float64, (features,))
    intercept = check_array(arrays, "intercept", np.float64, (1,))

    def forward(x: np.ndarray) -> np.ndarray:
        out: np.ndarray = x.astype(np.float64) @ coefficients + intercept[0]
        return out

    return forward


@dataclass(frozen=True)
class Linear(Settings):
    """Minimises Σ weight · (y - x·c - b)² over c and b.

    Two passes over the table: the means, then a QR factorisation of the centred rows [x - mean, y - mean],
    updated chunk by chunk (R of [R; chunk] is R of everything so far), which keeps the precision that normal
    equations would square away. The small system that is left is solved as scikit-learn solves the large one
    (smallest solution, the same cut of singular values), so columns that depend on others do no harm; a
    constant column gets the coefficient 0.

    Memory: one row group and one chunk of 65,536 rows.

    Examples:
        >>> rows = np.array([[0.0], [0.5], [1.0]], np.float32)
        >>> arrays = {"coefficients": np.array([2.0]), "intercept": np.array([1.0])}
        >>> Linear.forward(arrays, "regression", 1)(rows)
        array([1., 2., 3.])
    """

    objectives: ClassVar[tuple[Objective, ...]] = ("regression",)
    sample: ClassVar[int | None] = None

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
    rows: Rows, progress: Progress | None = None, expand: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[np.ndarray, float]:
    """Coefficients and intercept; see `Linear`. `expand` makes the regressors `(n, K)` of features `(n, F)`."""
    weights, done = 0.0, 0
    sums: np.ndarray | None = None
    for batch in rows.batches():
        for x, y, weight in _chunks(batch.x, batch.y, batch.weight):
            both = np.column_stack([x if expand is None else expand(x), y])
            weights += float(weight.sum())
            sums = weight @ both if sums is None else sums + weight @ both
    assert sums is not None  # noqa: S101  (Rows refuses to be empty)
    features, mean = len(sums) - 1, sums / weights
    triangle = np.zeros((0, features + 1))
    for batch in rows.batches():
        for x, y, weight in _chunks(batch.x, batch.y, batch.weight):
            both = np.column_stack([x if expand is None else expand(x), y])
            centred = (both - mean) * np.sqrt(weight)[:, None]
            triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, centred]), mode="r"))
        done += len(batch.y)
        if progress is not None:
            progress(done, rows.count)
    cut = max(rows.count, features) * np.finfo(np.float64).eps
    coefficients = np.linalg.lstsq(triangle[:, :features], triangle[:, features], rcond=cut)[0]
    # Centring leaves rounding of a constant, and the smallest solution rounding of its coefficient, which is 0.
    spread = np.sqrt((triangle**2).sum(axis=0) / weights)
    coefficients[(spread <= 1e-12 * np.abs(mean))[:features]] = 0.0
    return coefficients, float(mean[features] - mean[:features] @ coefficients)


def _chunks(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    weight = np.ones(len(y)) if weight is None else weight
    places = [slice(start, start + CHUNK) for start in range(0, len(y), CHUNK)]
    return [(x[place], y[place], weight[place]) for place in places]
