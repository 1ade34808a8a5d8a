"""Gradient-boosted trees: LightGBM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from scratchcard.meta.arrays import Arrays, Forward
from scratchcard.meta.batch import Batch
from scratchcard.meta.logistic import logistic
from scratchcard.meta.parts import Part
from scratchcard.meta.predictors.family import Family, Objective, Progress
from scratchcard.meta.rows import Rows
from scratchcard.meta.trees import Trees, check_size, joined, round_down
from scratchcard.setting import setting
from scratchcard.settings import Settings

ZERO = np.float32(1e-35)
"""LightGBM's kZeroThreshold."""

QUERY_ROWS = 10_000
"""LightGBM's own bound on the rows of one ranking query."""


@dataclass(frozen=True)
class GBM(Settings, Family):
    """Trees added one at a time, each fitted to the gradient of the loss of the sum so far.

    Squared error (regression), logistic loss (classification), or a listwise ranking loss. A query to rank is
    a random part, of at most 10,000 rows, of one network, as LightGBM takes no larger ones; its grades are
    `grades` equal steps of the target, which must lie in [0, 1] (1 step for kept).

    Options:
        trees, leaves, learning_rate, leaf_rows, l2, bins: number of trees, leaves of each (up to 64 predict
            fastest), shrinkage, fewest rows in a leaf, L2 penalty, histogram bins of a feature.
        leaf_weight: for classification, least sum of p (1 - p) over the rows of a leaf. Where few weights are kept,
            LightGBM's own 0.001 lets leaves of hardly any evidence take huge values, and boosting goes astray
            (docs/findings.md).
        feature_share: share of the features that each tree may use.
        balanced: kept and pruned rows weigh the same in all (not for ranking).
        ranking, grades: the ranking loss, and see above.

    Memory: LightGBM's binned table (a byte a row and feature), the targets, and one row group; for ranking
    the rows of one network instead. On a cluster the workers together hold all rows besides, four bytes a feature.

    Examples:
        >>> GBM(trees=100, learning_rate=0.1).leaves
        31
        >>> GBM.objectives
        ('classification', 'regression', 'ranking')
    """

    trees: int = setting(300, help="Number of trees", example=500, low=1)
    leaves: int = setting(31, help="Leaves of each; up to 64 predict fastest", example=63, low=2)
    learning_rate: float = setting(0.05, help="Shrinkage", example=0.1, above=0)
    leaf_rows: int = setting(20, help="Fewest rows in a leaf", example=100, low=1)
    leaf_weight: float = setting(
        5.0, help="For classification, least sum of p (1 - p) over the rows of a leaf", example=1.0, low=0
    )
    l2: float = setting(0.0, help="L2 penalty", example=1.0, low=0)
    bins: int = setting(255, help="Histogram bins of a feature", example=63, low=2)
    feature_share: float = setting(
        0.5, help="Share of the features that each tree may use", example=1.0, above=0, high=1
    )
    balanced: bool = setting(False, help="Kept and pruned rows weigh the same in all (not for ranking)", example=True)
    ranking: Literal["rank_xendcg", "lambdarank"] = setting(
        "rank_xendcg", help="Loss of a ranking", example="lambdarank"
    )
    grades: int = setting(10, help="Steps of the target in a ranking", example=5, low=1)

    objectives: ClassVar[tuple[Objective, ...]] = ("classification", "regression", "ranking")
    by_parts: ClassVar[bool] = True

    def fit(self, rows: Rows, objective: Objective, **how: Any) -> dict[str, np.ndarray]:
        """The arrays of `meta.trees.Trees`."""
        return boosted_trees(self.train(rows, objective, **how), len(rows.features)).arrays

    def train(
        self, rows: Rows, objective: Objective, *, seed: int, threads: int, progress: Progress | None = None
    ) -> Any:
        """The LightGBM Booster, trained on the table streamed row group by row group."""
        import lightgbm

        from scratchcard.meta.lightgbm_rows import sequences

        check_size(self.trees, self.leaves)
        if objective == "ranking" and self.balanced:
            raise ValueError("ranking compares rows with each other: leave out `balanced`")
        parameters = {
            "objective": {"regression": "regression", "classification": "binary"}.get(objective, self.ranking),
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.leaf_rows,
            "min_sum_hessian_in_leaf": self.leaf_weight if objective == "classification" else 1e-3,
            "lambda_l2": self.l2,
            "max_bin": self.bins,
            "feature_fraction": self.feature_share,
            "use_missing": False,
            "num_threads": threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        if rows.cluster is not None:
            from scratchcard.meta.lightgbm_cluster import train_on_cluster

            prepared = partial(_prepared, family=self, objective=objective, seed=seed)
            ranked = [_queries(count) for count in rows.counts] if objective == "ranking" else None
            weighted = ranked is None and (self.balanced or rows.weight is not None)
            return train_on_cluster(rows, parameters, self.trees, prepared, weighted=weighted, groups=ranked)
        orders = _orders(rows, seed) if objective == "ranking" else None
        y, weight = _targets(rows, self.balanced, orders)
        group = None
        if orders is not None:
            y, weight = self._graded(y, rows), None
            group = [size for count in rows.counts for size in _queries(count)]
        dataset = lightgbm.Dataset(sequences(rows, orders), label=y, weight=weight, group=group, params=parameters)
        callbacks = [] if progress is None else [lambda state: progress(state.iteration + 1, self.trees)]
        return lightgbm.train(parameters, dataset, num_boost_round=self.trees, callbacks=callbacks)

    def _graded(self, y: np.ndarray, rows: Rows) -> np.ndarray:
        summary = rows.summary
        if summary.minimum < 0 or summary.maximum > 1 or not 1 <= self.grades <= 30:
            raise ValueError(
                f"ranking needs a target in [0, 1] and 1 to 30 grades; {rows.target!r} lies in "
                f"[{summary.minimum:g}, {summary.maximum:g}] and grades is {self.grades}"
            )
        return np.round(y * (1 if summary.binary else self.grades))

    @staticmethod
    def forward(arrays: Arrays, objective: Objective, features: int) -> Forward:
        """The sum of the trees; for classification the probability of the logistic function of it."""
        trees = Trees.from_arrays(arrays, features, "gbm")
        return trees.sum if objective != "classification" else lambda x: logistic(trees.sum(x))


def boosted_trees(booster: Any, features: int) -> Trees:
    """The plain arrays of a LightGBM Booster, from its text form, which holds every float64 exactly.

    LightGBM numbers inner nodes from 0 in the order in which they were split and leaves apart; here inner
    nodes come first, so children always follow their parents.

    Raises:
        ValueError: trees of a kind that this project does not fit: categorical or linear ones, averaged
            ones, several classes, or missing values treated apart.

    Examples:
        >>> import lightgbm
        >>> x, y = np.linspace(0, 1, 100)[:, None], np.repeat([0.0, 1.0], 50)
        >>> settings = {"num_leaves": 2, "verbose": -1, "use_missing": False, "learning_rate": 1.0}
        >>> booster = lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=1)
        >>> boosted_trees(booster, features=1).sum(np.array([[0.2], [0.8]], np.float32)).round(3)
        array([0.  , 0.98])
    """
    text = booster.model_to_string(num_iteration=-1)
    head, *sections = text.split("\nTree=")
    if "\nnum_tree_per_iteration=1\n" not in head or "\naverage_output" in head:
        raise ValueError("only boosted trees with one sum of all trees can be stored")
    return joined((_tree(section) for section in sections), features)


def _tree(section: str) -> dict[str, np.ndarray]:
    lines = section.split("\n\n\n")[0].splitlines()[1:]
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    leaves = int(fields["num_leaves"])
    if int(fields["num_cat"]) or int(fields.get("is_linear", "0")):
        raise ValueError("categorical splits and linear trees cannot be stored")
    value = _numbers(fields["leaf_value"], np.float64)
    if leaves == 1:
        return _columns([], [], [], [], value[:1])
    # Bit 0: categorical; bits 2 and 3: how missing values go (0: as any number).
    if any(int(kind) & 0b1101 for kind in fields["decision_type"].split()):
        raise ValueError("splits that treat missing values apart cannot be stored: fit with use_missing=False")
    inner = leaves - 1
    left, right = (_numbers(fields[name], np.int64) for name in ("left_child", "right_child"))
    left, right = (np.where(child >= 0, child, inner + ~child) for child in (left, right))
    thresholds = _about_zero(round_down(_numbers(fields["threshold"], np.float64)))
    return _columns(_numbers(fields["split_feature"], np.int64), thresholds, left, right, value)


def _about_zero(thresholds: np.ndarray) -> np.ndarray:
    """LightGBM predicts every x in [-ZERO, ZERO] as if it were 0: a threshold in there moves to the edge.

    0 is on the right of a threshold t < 0, so is then all of [-ZERO, ZERO]; and on the left of t >= 0.
    """
    negative = (thresholds >= -ZERO) & (thresholds < 0)
    positive = (thresholds >= 0) & (thresholds < ZERO)
    below = np.nextafter(-ZERO, np.float32(-np.inf))
    return np.where(negative, below, np.where(positive, ZERO, thresholds))


def _numbers(text: str, dtype: type[np.generic]) -> np.ndarray:
    return np.array([float(item) for item in text.split()], dtype=np.float64).astype(dtype)


def _columns(feature: Any, threshold: Any, left: Any, right: Any, value: np.ndarray) -> dict[str, np.ndarray]:
    """Inner nodes, then leaves."""
    leaf = np.full(len(value), -1, dtype=np.int64)
    return {
        "feature": np.concatenate([feature, leaf]),
        "threshold": np.concatenate([threshold, np.zeros(len(value))]),
        "left": np.concatenate([left, leaf]),
        "right": np.concatenate([right, leaf]),
        "value": np.concatenate([np.zeros(len(feature)), value]),
    }


def _orders(rows: Rows, seed: int) -> list[np.ndarray]:
    """A random order of each network's rows, so that every query holds rows of all layers."""
    return [_order(rows, seed, place) for place in range(len(rows.counts))]


def _prepared(rows: Rows, part: Part, batch: Batch, *, family: GBM, objective: Objective, seed: int) -> Batch:
    """The rows of a part as they are trained on: in the order of the queries and with grades for a ranking."""
    if objective != "ranking":
        return Batch(batch.x, batch.y, rows.weights(batch, family.balanced))
    order = _order(rows, seed, rows.networks.index(part.networks[0]))
    return Batch(batch.x[order], family._graded(batch.y[order], rows), None)


def _order(rows: Rows, seed: int, place: int) -> np.ndarray:
    return np.random.default_rng([seed, 2, place]).permutation(rows.counts[place])


def _queries(count: int) -> list[int]:
    """Sizes of nearly equal queries of at most `QUERY_ROWS` rows."""
    return [len(part) for part in np.array_split(np.empty(count), -(-count // QUERY_ROWS))] if count else []


def _targets(rows: Rows, balanced: bool, orders: list[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Target and weight of all rows; reads no feature."""
    y, weights = np.empty(rows.count, dtype=np.float32), np.ones(rows.count, dtype=np.float32)
    bare = replace(rows, features=())
    start = 0
    for place, network in enumerate(rows.networks):
        first = start
        for batch in bare.batches([network]):
            part = slice(start, start + len(batch.y))
            y[part] = batch.y
            weight = rows.weights(batch, balanced)
            if weight is not None:
                weights[part] = weight
            start = part.stop
        if orders is not None:
            y[first:start] = y[first:start][orders[place]]
    return y, weights if balanced or rows.weight is not None else None
