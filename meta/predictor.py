"""Predictor: a fitted family as plain arrays, with the features that it was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from scratchcard.artefacts.digest import canonical, sha256
from scratchcard.meta.arrays import WIDTH, Arrays, Forward
from scratchcard.meta.predictors import PREDICTORS
from scratchcard.meta.predictors.family import OBJECTIVES, Objective
from scratchcard.registry import lookup
from scratchcard.score_tables.schema import Column, FeatureBlock

ROWS = 65_536
"""Rows predicted at a time: bounds what a prediction takes beside the features and the result."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """What was learned: features of a weight to a score; higher = keep.

    Attributes:
        family: its name in `PREDICTORS`.
        objective: what it was fitted for: regression, classification or ranking.
        target: the column that it was fitted to.
        columns: the ordered features with their transforms, as the table had them.
        arrays: all that was learned, by name; only the family knows their meaning.
        options, training, metrics: plain JSON for the record: the family's options, the training table's
            digest with the rows and seeds used, and what `evaluate_predictor` found.

    Raises:
        ValueError: an unknown family or objective, no features, or arrays that are not the family's.

    Examples:
        >>> from scratchcard.score_tables.schema import Column
        >>> columns = (Column("magnitude", "feature", "raw", "|w|"),)
        >>> arrays = {"coefficients": np.array([2.0]), "intercept": np.array([1.0])}
        >>> predictor = Predictor("linear", "regression", "score", columns, arrays)
        >>> predictor.predict(FeatureBlock("weight", np.arange(1), ("magnitude",), np.array([[0.5]], np.float32)))
        array([2.])
    """

    family: str
    objective: Objective
    target: str
    columns: tuple[Column, ...]
    arrays: Arrays
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= len(self.columns) <= WIDTH or len(set(self.features)) != len(self.columns):
            raise ValueError(f"a predictor needs 1 to {WIDTH} features, each under a name of its own")
        _ = self._forward

    @cached_property
    def _forward(self) -> Forward:
        family = lookup(PREDICTORS, "predictors", self.family)
        objective = check_objective(self.family, self.objective)
        return family.forward(self.arrays, objective, len(self.columns))

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The features' names in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def digest(self) -> str:
        """sha256 of what decides the predictions: family, objective, features and arrays."""
        columns = [asdict(column) for column in self.columns]
        parts: list[str | bytes] = [canonical([self.family, self.objective, columns])]
        for name in sorted(self.arrays):
            array = self.arrays[name]
            parts += [f"\n{name} {array.dtype.str} {array.shape}\n", array.tobytes()]
        return sha256(parts)

    def __repr__(self) -> str:
        return (
            f"Predictor({self.family!r}, {self.objective!r} of {self.target!r}, "
            f"{len(self.columns)} features, {self.digest[:12]})"
        )

    def predict(self, block: FeatureBlock) -> np.ndarray:
        """Scores of the block's weights, `(n,)` float64; higher = keep.

        A probability (classification), a target's value (regression) or a number without unit (ranking).

        Raises:
            ValueError: the block's features are not exactly the predictor's, in its order, or not finite.
        """
        self.check_features(block.names)
        scores = np.empty(len(block.values), dtype=np.float64)
        for start in range(0, len(scores), ROWS):
            x = np.ascontiguousarray(block.values[start : start + ROWS], dtype=np.float32)
            if not np.isfinite(x).all():
                column = int(np.flatnonzero(~np.isfinite(x).all(axis=0))[0])
                raise ValueError(
                    f"feature {self.features[column]!r} of {block.parameter!r} holds NaN or infinity "
                    "(in float32); check the network's weights and the scoring batch"
                )
            scores[start : start + ROWS] = self._forward(x)
        return scores

    def check_features(self, names: tuple[str, ...]) -> None:
        """Refuse features other than the predictor's own, by name.

        Raises:
            ValueError: missing, unknown or reordered ones.
        """
        names = tuple(names)
        if names == self.features:
            return
        missing = [name for name in self.features if name not in names]
        extra = [name for name in names if name not in self.features]
        if missing or extra or len(names) != len(self.features):
            raise ValueError(
                f"this predictor takes the {len(self.features)} features {', '.join(self.features)}; "
                f"missing: {', '.join(missing) or 'none'}, not its own: {', '.join(extra) or 'none'}"
            )
        place = next(place for place, name in enumerate(names) if name != self.features[place])
        raise ValueError(
            f"the features come in another order than this predictor's: number {place + 1} is "
            f"{names[place]!r}, expected {self.features[place]!r}"
        )


def check_objective(family: str, objective: str | None) -> Objective:
    """The objective if the family can be fitted for it; by default the first of `OBJECTIVES` that it has.

    Raises:
        ValueError: the family lacks it.

    Examples:
        >>> check_objective("gbm", None)
        'classification'
        >>> check_objective("linear", "ranking")
        Traceback (most recent call last):
            ...
        ValueError: the family 'linear' has no objective 'ranking'; it can be fitted for regression
    """
    known = lookup(PREDICTORS, "predictors", family).objectives
    if objective is None:
        return next(item for item in OBJECTIVES if item in known)
    if objective not in known:
        raise ValueError(
            f"the family {family!r} has no objective {objective!r}; it can be fitted for {', '.join(known)}"
        )
    return objective
