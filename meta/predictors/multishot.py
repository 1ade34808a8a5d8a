"""Multishot: linear in the features, with coefficients that change from round to round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from scratchcard.meta.arrays import Arrays, Forward, check_array, check_names
from scratchcard.meta.predictors.family import Family, Objective, Progress
from scratchcard.meta.predictors.linear import least_squares
from scratchcard.meta.rows import Rows
from scratchcard.settings import Settings

CLOCK = "progress"
"""The feature that tells the rounds apart: 0 before the first, near 1 before the last."""


@dataclass(frozen=True)
class Multishot(Settings, Family):
    """`x . (coefficients + t * drift)` with t = the feature `progress`, for pruning in several rounds.

    With features that are logarithms this is a product of powers, as SNIP's `|w|^1 |g|^1` and SynFlow's path products
    are, whose exponents are learned and shift between the first round, where the network is dense, and the last.

    Fitted to a table it is least squares on the features and on their products with `progress` (on the features alone
    where the table has none of that name); memory as `Linear`. A table shows only the slow
    regime's own masks, not those that the predictor's choices lead to: `apply.policy_search` starts from such arrays,
    or from none, and improves them by the accuracy of the tickets that they find.

    Examples:
        >>> found = arrays(np.array([1.0, 0.0]), np.array([0.0, 0.0]), clock=1)
        >>> Multishot.forward(found, "regression", 2)(np.array([[0.7, 0.5]], np.float32)).round(3)
        array([0.7])
    """

    objectives: ClassVar[tuple[Objective, ...]] = ("regression",)
    by_parts: ClassVar[bool] = True

    def fit(
        self, rows: Rows, objective: Objective, *, seed: int, threads: int, progress: Progress | None = None
    ) -> dict[str, np.ndarray]:
        """Arrays `coefficients` and `drift` (F,), `clock` (1,): the place of `progress`, or -1; `seed` is not used."""
        features = len(rows.features)
        if CLOCK not in rows.features:
            found, _ = least_squares(rows, progress)
            return arrays(found, np.zeros(features), -1)
        clock = rows.features.index(CLOCK)
        found, _ = least_squares(rows, progress, partial(_with_products, clock=clock))
        return arrays(found[:features], found[features:], clock)

    @staticmethod
    def forward(arrays: Arrays, objective: Objective, features: int) -> Forward:
        """See `Family.forward`."""
        check_names(arrays, ("clock", "coefficients", "drift"), "multishot")
        coefficients = check_array(arrays, "coefficients", np.float64, (features,))
        drift = check_array(arrays, "drift", np.float64, (features,))
        clock = int(check_array(arrays, "clock", np.int64, (1,))[0])
        if not -1 <= clock < features:
            raise ValueError(f"array 'clock' names the feature {clock}, expected -1 (none) to {features - 1}")

        def forward(x: np.ndarray) -> np.ndarray:
            wide = x.astype(np.float64)
            out: np.ndarray = wide @ coefficients
            if clock >= 0:
                # Bounded, so that no stored number can take the product out of float64.
                out = out + np.clip(wide[:, clock], -1.0, 1.0) * (wide @ drift)
            return out

        return forward


def _with_products(x: np.ndarray, *, clock: int) -> np.ndarray:
    return np.column_stack([x, x * x[:, clock : clock + 1]])


def arrays(coefficients: np.ndarray, drift: np.ndarray, clock: int) -> dict[str, np.ndarray]:
    """The family's arrays.

    Examples:
        >>> arrays(np.array([1.0, 0.5]), np.array([0.0, -0.1]), clock=1)
        {'clock': array([1]), 'coefficients': array([1. , 0.5]), 'drift': array([ 0. , -0.1])}
    """
    return {
        "clock": np.array([clock], dtype=np.int64),
        "coefficients": np.ascontiguousarray(coefficients, dtype=np.float64),
        "drift": np.ascontiguousarray(drift, dtype=np.float64),
    }
