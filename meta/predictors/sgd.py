"""Linear predictors by stochastic gradient descent: scikit-learn's SGDRegressor and SGDClassifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from scratchcard.meta.arrays import Arrays, Forward
from scratchcard.meta.logistic import logistic
from scratchcard.meta.predictors.family import Family, Objective, Progress
from scratchcard.meta.predictors.linear import linear_forward
from scratchcard.meta.rows import Rows
from scratchcard.setting import setting
from scratchcard.settings import Settings


@dataclass(frozen=True)
class SGD(Settings, Family):
    """Squared loss (regression) or logistic loss (classification), L2 penalty, one example a step.

    Options:
        epochs: passes over the rows.
        alpha: weight of the penalty.
        step, step_schedule: scikit-learn's `eta0` and `learning_rate`.
        standardise: bring features to mean 0 and deviation 1 before fitting; the scaling is folded into the
            coefficients. False takes them as stored (the source thesis: scores scaled to [0, 1]).
        balanced: kept and pruned rows weigh the same in all.

    Memory: one shuffling pool, at most 3M rows.

    Examples:
        >>> arrays = {"coefficients": np.array([2.0]), "intercept": np.array([-1.0])}
        >>> SGD.forward(arrays, "classification", 1)(np.array([[0.5]], np.float32))
        array([0.5])
    """

    epochs: int = setting(5, help="Passes over the rows", example=10, low=1)
    alpha: float = setting(1e-4, help="L2 penalty", example=1e-3, low=0)
    step: float = setting(0.01, help="First step size", example=0.1, above=0)
    step_schedule: Literal["invscaling", "constant", "optimal", "adaptive"] = setting(
        "invscaling", help="How the step size goes on", example="constant"
    )
    standardise: bool = setting(True, help="Features are standardised first", example=False)
    balanced: bool = setting(False, help="Kept and pruned rows weigh the same in all", example=True)

    def fit(
        self, rows: Rows, objective: Objective, *, seed: int, threads: int, progress: Progress | None = None
    ) -> dict[str, np.ndarray]:
        """Arrays `coefficients` (F,) and `intercept` (1,); one thread."""
        features = len(rows.features)
        mean, scale = rows.moments if self.standardise else (np.zeros(features), np.ones(features))
        estimator = self.estimator(objective, seed)
        first = {"classes": np.array([0.0, 1.0])} if objective == "classification" else {}
        generator = np.random.default_rng(seed)
        done = 0
        for _ in range(self.epochs):
            for batch in rows.shuffled(65_536, generator):
                x = (batch.x - mean) / scale
                weight = rows.weights(batch, self.balanced)
                estimator.partial_fit(x, batch.y, sample_weight=weight, **first)
                done += len(batch.y)
                if progress is not None:
                    progress(done, self.epochs * rows.count)
        return folded(estimator, mean, scale, rows)

    def estimator(self, objective: Objective, seed: int) -> Any:
        """The scikit-learn object that is trained."""
        from sklearn.linear_model import SGDClassifier, SGDRegressor

        common = {"alpha": self.alpha, "eta0": self.step, "learning_rate": self.step_schedule, "random_state": seed}
        return SGDRegressor(**common) if objective == "regression" else SGDClassifier(loss="log_loss", **common)

    @staticmethod
    def forward(arrays: Arrays, objective: Objective, features: int) -> Forward:
        """The linear function; for classification the probability of the logistic function of it."""
        line = linear_forward(arrays, features, "sgd")
        return line if objective == "regression" else lambda x: logistic(line(x))


def folded(estimator: Any, mean: np.ndarray, scale: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
    """c·(x - mean)/scale + b = (c/scale)·x + (b - Σ c·mean/scale).

    A feature that was constant in training adds its constant part to the intercept and has no coefficient, so that it
    changes nothing elsewhere.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "folded", recording)
        >>> from types import SimpleNamespace
        >>> rows = Rows(table, ("magnitude",), "kept", (("Linear-own", 0),))
        >>> fitted = SimpleNamespace(coef_=[6.0], intercept_=[1.0])  # on (x - 0.5) / 2
        >>> folded(fitted, np.array([0.5]), np.array([2.0]), rows)
        {'coefficients': array([3.]), 'intercept': array([-0.5])}
    """
    coefficients = np.asarray(estimator.coef_, dtype=np.float64).reshape(-1) / scale
    intercept = np.asarray(estimator.intercept_, dtype=np.float64).reshape(1) - coefficients @ mean
    constant = rows.constant
    intercept = intercept + coefficients[constant] @ rows.moments[0][constant]
    return {"coefficients": np.where(constant, 0.0, coefficients), "intercept": intercept}
