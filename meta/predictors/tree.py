"""One decision tree: scikit-learn's DecisionTreeRegressor and DecisionTreeClassifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from scratchcard.meta.arrays import Arrays, Forward
from scratchcard.meta.predictors.family import Family, Objective, Progress
from scratchcard.meta.rows import Rows
from scratchcard.meta.trees import Trees, check_size, joined, round_down
from scratchcard.setting import setting
from scratchcard.settings import Settings


class Grown(Settings, Family):
    """What scikit-learn grows: one tree, or several whose mean is taken.

    Examples:
        >>> issubclass(Tree, Grown)
        True
    """

    leaves: int
    balanced: bool

    def estimator(self, objective: Objective, seed: int, threads: int = 1) -> Any:
        """The scikit-learn object that is trained."""
        raise NotImplementedError

    def fit(
        self, rows: Rows, objective: Objective, *, seed: int, threads: int, progress: Progress | None = None
    ) -> dict[str, np.ndarray]:
        """The arrays of `meta.trees.Trees`."""
        count = getattr(self, "trees", 1)
        check_size(count, self.leaves)
        estimator = self.estimator(objective, seed, threads)
        batch = rows.whole()
        estimator.fit(batch.x, batch.y, sample_weight=rows.weights(batch, self.balanced))
        if progress is not None:
            progress(count, count)
        return averaged_trees(getattr(estimator, "estimators_", [estimator]), len(rows.features)).arrays


@dataclass(frozen=True)
class Tree(Grown):
    """Splits that lower the squared error (regression) or the Gini impurity (classification) most.

    Options:
        leaves: most leaves; bounded by the size of the saved file.
        depth: most splits on a path; None for any.
        leaf_rows: fewest rows in a leaf (1, as in the source thesis, learns the rows by heart).
        balanced: kept and pruned rows weigh the same in all.

    Memory: scikit-learn holds all its rows, so at most 500,000 are sampled by default (80 MB for 40
    features).

    Examples:
        >>> estimator = Tree(leaves=2).estimator("classification", seed=0)
        >>> estimator.fit([[0.1], [0.9]] * 20, [0, 1] * 20).predict([[0.8]])
        array([1])
    """

    leaves: int = setting(4096, help="Leaves at most", example=256, low=2)
    depth: int | None = setting(None, help="Depth at most", example=8, low=1)
    leaf_rows: int = setting(20, help="Fewest rows in a leaf", example=100, low=1)
    balanced: bool = setting(False, help="Kept and pruned rows weigh the same in all", example=True)

    sample: ClassVar[int | None] = 500_000

    def estimator(self, objective: Objective, seed: int, threads: int = 1) -> Any:
        """The scikit-learn object that is trained."""
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        kind = DecisionTreeRegressor if objective == "regression" else DecisionTreeClassifier
        grown = {"max_leaf_nodes": self.leaves, "max_depth": self.depth, "min_samples_leaf": self.leaf_rows}
        return kind(random_state=seed, **grown)

    @staticmethod
    def forward(arrays: Arrays, objective: Objective, features: int) -> Forward:
        """The leaf's mean target, or its share of kept rows."""
        return averaged_forward(arrays, features, "tree")


def averaged_trees(estimators: list[Any], features: int) -> Trees:
    """The plain arrays of fitted scikit-learn trees.

    Examples:
        >>> from sklearn.tree import DecisionTreeRegressor
        >>> tree = DecisionTreeRegressor(max_leaf_nodes=2).fit([[0.0], [1.0]], [3.0, 5.0])
        >>> averaged_trees([tree], features=1).sum(np.array([[0.2], [0.8]], np.float32))
        array([3., 5.])
    """
    parts = []
    for estimator in estimators:
        tree = estimator.tree_
        # A classifier's leaf holds the shares of the classes 0 and 1, a regressor's its mean.
        value = np.asarray(tree.value, dtype=np.float64)[:, 0, -1]
        leaf = np.asarray(tree.children_left) < 0
        parts.append(
            {
                "feature": np.where(leaf, -1, tree.feature),
                "threshold": round_down(np.where(leaf, 0.0, tree.threshold)),
                "left": np.where(leaf, -1, tree.children_left),
                "right": np.where(leaf, -1, tree.children_right),
                "value": np.where(leaf, value, 0.0),
            }
        )
    return joined(parts, features)


def averaged_forward(arrays: Arrays, features: int, family: str) -> Forward:
    """The mean over the trees.

    Examples:
        >>> leaf = {"feature": np.array([-1, -1], np.int32), "threshold": np.zeros(2, np.float32)}
        >>> leaf |= {"left": np.array([-1, -1], np.int32), "right": np.array([-1, -1], np.int32)}
        >>> two = leaf | {"value": np.array([1.0, 4.0]), "offsets": np.array([0, 1, 2])}
        >>> averaged_forward(two, 1, "forest")(np.zeros((1, 1), np.float32))  # of two trees of one leaf each
        array([2.5])
    """
    trees = Trees.from_arrays(arrays, features, family)
    return lambda x: trees.sum(x) / trees.trees
