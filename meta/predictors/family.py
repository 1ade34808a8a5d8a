"""What every family of predictors offers: fitting from rows, and predicting from plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import numpy as np

from scratchcard.meta.arrays import Arrays, Forward
from scratchcard.meta.rows import Rows

Objective = Literal["regression", "classification", "ranking"]
OBJECTIVES: tuple[Objective, ...] = ("classification", "regression", "ranking")

Progress = Callable[[int, int], None]
"""Called with the steps done and their number."""


class Family(Protocol):
    """A frozen dataclass whose fields are the family's options; its `repr` is its provenance.

    Attributes:
        objectives: what it can be fitted for.
        sample: the rows it is fitted on unless `max_rows` says otherwise (None: all of them); what a family
            holds in memory is written in its docstring.
        by_parts: whether `fit` leaves the rows to a cluster's workers where there is one; otherwise one of them fits.

    Examples:
        >>> from scratchcard.meta.predictors.tree import Tree
        >>> family: Family = Tree(leaves=8)
        >>> family, family.objectives
        (Tree(leaves=8, depth=None, leaf_rows=20, balanced=False), ('classification', 'regression'))
    """

    objectives: ClassVar[tuple[Objective, ...]] = ("classification", "regression")
    sample: ClassVar[int | None] = None
    by_parts: ClassVar[bool] = False

    def fit(
        self, rows: Rows, objective: Objective, *, seed: int, threads: int, progress: Progress | None = None
    ) -> dict[str, np.ndarray]:
        """Fit to the rows; the same seed gives the same arrays (with one thread)."""
        ...

    @staticmethod
    def forward(arrays: Arrays, objective: Objective, features: int) -> Forward:
        """Check the arrays and return what predicts from them, without the library that fitted them.

        Raises:
            ValueError: the arrays are not this family's; no array that passes can make the prediction crash,
                run for ever, or give NaN or infinity.
        """
        ...
