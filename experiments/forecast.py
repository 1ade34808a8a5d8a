"""A forecast of when the mask emerges, from what is known before training; and whether it is worth anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PENALTIES = np.logspace(-2, 5, 15)
Array = NDArray[np.float64]


def forecast(rows: Sequence[dict[str, Any]], step: str, left_out: str) -> dict[str, float]:
    """Errors of predictions of a step for what was left out, one value of the key `left_out` after the other.

    The target is `log10(1 + step)`, so that an error of 0.3 is a factor of two. A ridge regression on all that was
    known, its penalty chosen by leaving out the others in the same way, stands beside two that know nothing of scores:
    the mean of all others, and the mean of those that are most alike (of the same `place`, criterion and density; where
    there are none, of the same criterion and density; then of the same criterion).

    Returns:
        Root mean squared errors of `ridge`, `mean` and `alike`, and the number of rows.

    Raises:
        ValueError: fewer than three values to leave out.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs = np.array([list(row["known"].values()) for row in rows])
    target = np.log10(1 + np.array([row[step] for row in rows], dtype=float))
    groups = np.array([str(row[left_out]) for row in rows])
    if len(np.unique(groups)) < 3:
        raise ValueError(
            f"{len(np.unique(groups))} values of {left_out}, expected three: to leave out, to fit, to choose by"
        )
    keys = {name: np.array([str(row[name]) for row in rows]) for name in ("criterion", "density", "place")}
    found: dict[str, Array] = {name: np.zeros(len(rows)) for name in ("ridge", "mean", "alike")}
    for group in np.unique(groups):
        out = groups == group
        search = GridSearchCV(
            make_pipeline(StandardScaler(), Ridge()),
            {"ridge__alpha": PENALTIES},
            scoring="neg_mean_squared_error",
            cv=LeaveOneGroupOut(),
        )
        found["ridge"][out] = search.fit(inputs[~out], target[~out], groups=groups[~out]).predict(inputs[out])
        found["mean"][out] = target[~out].mean()
        for place in np.flatnonzero(out):
            alike = ~out
            for each in keys.values():
                closer = alike & (each == each[place])
                alike = closer if closer.any() else alike
            found["alike"][place] = target[alike].mean()
    errors = {name: float(np.sqrt(np.mean((each - target) ** 2))) for name, each in found.items()}
    return errors | {"rows": float(len(rows))}
