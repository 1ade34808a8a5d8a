"""A forecast of when the mask emerges, from what is known before training; and whether it is worth anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PENALTIES = np.logspace(-2, 3, 16)
Array = NDArray[np.float64]


def forecast(rows: Sequence[dict[str, Any]], step: str, left_out: str) -> dict[str, float]:
    """Errors of predictions of a step for what was left out, one value of the key `left_out` after the other.

    The target is `log10(1 + step)`, so that an error of 0.3 is a factor of two. A ridge regression on all that was
    known, its penalty chosen within what it was fitted on, stands beside two that know nothing of the network: the mean
    of all others, and the mean of the others of the same criterion and density (of the same criterion where there is
    none).

    Returns:
        Root mean squared errors of `ridge`, `mean` and `same`, and the number of rows.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs = np.array([list(row["known"].values()) for row in rows])
    target = np.log10(1 + np.array([row[step] for row in rows], dtype=float))
    groups = np.array([str(row[left_out]) for row in rows])
    kinds = np.array([row["criterion"] for row in rows])
    densities = np.array([row["density"] for row in rows])
    found: dict[str, Array] = {name: np.zeros(len(rows)) for name in ("ridge", "mean", "same")}
    for group in np.unique(groups):
        out = groups == group
        ridge = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(inputs[~out], target[~out])
        found["ridge"][out] = ridge.predict(inputs[out])
        found["mean"][out] = target[~out].mean()
        for place in np.flatnonzero(out):
            alike = ~out & (kinds == kinds[place])
            exact = alike & (densities == densities[place])
            found["same"][place] = target[exact if exact.any() else alike].mean()
    errors = {name: float(np.sqrt(np.mean((each - target) ** 2))) for name, each in found.items()}
    return errors | {"rows": float(len(rows))}
