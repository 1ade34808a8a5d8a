"""Random forests: scikit-learn's RandomForestRegressor and RandomForestClassifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from scratchcard.meta.arrays import Arrays, Forward
from scratchcard.meta.predictors.family import Objective
from scratchcard.meta.predictors.tree import Grown, averaged_forward
from scratchcard.setting import setting


@dataclass(frozen=True)
class Forest(Grown):
    """The mean of trees, each grown on a bootstrap sample with a random choice of features at each split.

    Options:
        trees, leaves: their number and most leaves of each; trees · (2·leaves - 1) · 24 bytes under 50 MB.
        depth: most splits on a path; None for any.
        leaf_rows: fewest rows in a leaf.
        split_features: share of the features that a split chooses from; None for the square root's share.
        balanced: kept and pruned rows weigh the same in all.

    Memory: scikit-learn holds all its rows, so at most 200,000 are sampled by default (32 MB for 40
    features).

    Examples:
        >>> estimator = Forest(trees=3, leaves=2).estimator("classification", seed=0, threads=1)
        >>> estimator.fit([[0.1], [0.9]] * 20, [0, 1] * 20).predict([[0.8]])
        array([1])
    """

    trees: int = setting(100, help="Number of trees", example=500, low=1)
    leaves: int = setting(4096, help="Leaves of each at most", example=256, low=2)
    depth: int | None = setting(None, help="Depth at most", example=8, low=1)
    leaf_rows: int = setting(5, help="Fewest rows in a leaf", example=100, low=1)
    split_features: float | None = setting(
        None,
        help="Share of the features tried at each split",
        example=0.5,
        above=0,
        high=1,
        unset="the square root's share",
    )
    balanced: bool = setting(False, help="Kept and pruned rows weigh the same in all", example=True)

    sample: ClassVar[int | None] = 200_000

    def estimator(self, objective: Objective, seed: int, threads: int = 1) -> Any:
        """The scikit-learn object that is trained."""
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        kind = RandomForestRegressor if objective == "regression" else RandomForestClassifier
        grown = {"max_leaf_nodes": self.leaves, "max_depth": self.depth, "min_samples_leaf": self.leaf_rows}
        tried = "sqrt" if self.split_features is None else self.split_features
        return kind(n_estimators=self.trees, max_features=tried, n_jobs=threads, random_state=seed, **grown)

    @staticmethod
    def forward(arrays: Arrays, objective: Objective, features: int) -> Forward:
        """The mean of the leaves' mean targets, or of their shares of kept rows."""
        return averaged_forward(arrays, features, "forest")
