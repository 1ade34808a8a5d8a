"""Tree ensembles as plain arrays: a validator, and two ways to sum them that agree to the bit.

Up to 64 leaves a tree is evaluated with bit vectors (Lucchese et al., "QuickScorer: a fast algorithm to rank
documents with additive ensembles of regression trees", SIGIR 2015): every leaf is a bit, every inner node
whose condition x <= t is false clears the leaves of its left subtree, and the lowest bit that is left is the
leaf. No branch depends on the data, so that rows are taken many at a time. Deviation: whole trees over blocks
of rows, not nodes sorted over the ensemble for one row. Larger trees are walked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scratchcard.meta.arrays import Arrays, check_array, check_names

NODES: dict[str, type[np.generic]] = {
    "feature": np.int32,
    "threshold": np.float32,
    "left": np.int32,
    "right": np.int32,
    "value": np.float64,
}
"""Arrays of one number a node."""
NAMES = (*NODES, "offsets")
NODE_BYTES = 4 + 4 + 4 + 4 + 8
"""Stored bytes of one node."""

FILE_LIMIT = 50_000_000
"""Most bytes of a saved predictor."""

LEAF = -1
WORD_LEAVES = 64
MAX_DEPTH = 4096


def round_down(thresholds: np.ndarray) -> np.ndarray:
    """Float64 thresholds as float32, rounded towards minus infinity.

    For every float32 x: x <= t exactly when x <= round_down(t), as round_down(t) is the largest float32 that
    is not above t. Thresholds above the largest float32 become that; every finite x goes left there.

    Raises:
        ValueError: NaN, or below the lowest float32, which no split of float32 features can be.

    Examples:
        >>> bool(round_down(np.array([0.1]))[0] <= 0.1)
        True
    """
    thresholds = np.asarray(thresholds, dtype=np.float64)
    largest = float(np.finfo(np.float32).max)
    if not bool((thresholds >= -largest).all()):
        raise ValueError("a threshold is NaN or below the lowest float32 number: features must be float32")
    rounded: np.ndarray = np.minimum(thresholds, largest).astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


def check_size(trees: int, leaves: int) -> None:
    """Refuse an ensemble whose file could exceed `FILE_LIMIT`: trees · (2·leaves - 1) nodes · 24 bytes.

    Raises:
        ValueError: with the arithmetic, or for less than one tree or two leaves.

    Examples:
        >>> check_size(trees=200, leaves=31)
        >>> check_size(trees=200_000, leaves=31)
        Traceback (most recent call last):
            ...
        ValueError: 200000 trees of up to 31 leaves take up to 294 MB, more than the 50 MB of a saved ...
    """
    if trees < 1 or leaves < 2:
        raise ValueError(f"expected at least 1 tree of 2 leaves, got {trees} of {leaves}")
    size = trees * (2 * leaves - 1) * NODE_BYTES + (trees + 1) * 8 + 4096
    if size > FILE_LIMIT:
        raise ValueError(
            f"{trees} trees of up to {leaves} leaves take up to {size / 1e6:.0f} MB, more than the "
            f"{FILE_LIMIT / 1e6:.0f} MB of a saved predictor; ask for fewer trees or leaves"
        )


@dataclass(frozen=True, eq=False)
class Trees:
    """T trees of N nodes in all; node i of tree t lies at `offsets[t] + i`, its root at i = 0.

    Attributes:
        feature: `(N,)` int32, the column that an inner node looks at; -1 in a leaf.
        threshold: `(N,)` float32; `x <= threshold` goes left.
        left, right: `(N,)` int32, children as numbers within the tree, above their parent's; -1 in a leaf.
        value: `(N,)` float64, a leaf's addend; ignored in inner nodes.
        offsets: `(T + 1,)` int64, from 0 to N.
        features: F, the number of columns.

    Raises:
        ValueError: the arrays are no such trees (see `check`).

    Examples:
        >>> root = {"feature": [0, -1, -1], "threshold": [0.5, 0.0, 0.0], "left": [1, -1, -1], "right": [2, -1, -1]}
        >>> root["value"] = [0.0, 10.0, 20.0]
        >>> stump = {name: np.array(values) for name, values in root.items()}
        >>> trees = joined([stump, stump], features=1)
        >>> trees.trees, trees.leaves, trees.sum(np.array([[0.4], [0.6]], np.float32))
        (2, 2, array([20., 40.]))
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    offsets: np.ndarray
    features: int

    def __post_init__(self) -> None:
        self.check()

    @classmethod
    def from_arrays(cls, arrays: Arrays, features: int, family: str) -> Trees:
        """The trees in a bundle's arrays."""
        check_names(arrays, NAMES, family)
        return cls(**{name: arrays[name] for name in NAMES}, features=features)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """As stored."""
        return {name: getattr(self, name) for name in NAMES}

    @property
    def trees(self) -> int:
        """T."""
        return len(self.offsets) - 1

    def check(self) -> None:
        """Prove that walking ends, stays inside the arrays and gives finite sums.

        Every node but the roots is the child of exactly one earlier node of its own tree, so each tree is a
        tree: no cycle, nothing shared, nothing out of reach.

        Raises:
            ValueError: the first thing that is wrong.
        """
        arrays: dict[str, Any] = self.arrays
        nodes = check_array(arrays, "feature", np.int32, (None,)).shape[0]
        for name, dtype in NODES.items():
            check_array(arrays, name, dtype, (nodes,))
        offsets = check_array(arrays, "offsets", np.int64, (None,))
        # Compared, not subtracted: differences of tampered int64 could wrap around.
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != nodes or not (offsets[1:] > offsets[:-1]).all():
            raise ValueError(f"array 'offsets' must rise from 0 to the number of nodes, {nodes}")
        sizes = np.diff(offsets)
        base = np.repeat(offsets[:-1], sizes)
        size = np.repeat(sizes, sizes)
        place = np.arange(nodes, dtype=np.int64) - base
        leaf = self.feature == LEAF
        if bool((self.feature[~leaf] < 0).any()) or bool((self.feature >= self.features).any()):
            raise ValueError(f"array 'feature' holds an index outside the {self.features} features")
        if bool((self.left[leaf] != LEAF).any()) or bool((self.right[leaf] != LEAF).any()):
            raise ValueError(f"a leaf has a child: expected {LEAF} in 'left' and 'right'")
        inner = ~leaf
        seen = np.zeros(nodes, dtype=np.int64)
        for name in ("left", "right"):
            child = arrays[name][inner].astype(np.int64)
            if bool((child >= size[inner]).any()) or bool((child < 0).any()):
                raise ValueError(f"array {name!r} holds a child outside its tree")
            if bool((child <= place[inner]).any()):
                raise ValueError(f"array {name!r} holds a child that is not after its parent (a cycle)")
            seen += np.bincount(child + base[inner], minlength=nodes)
        if bool((seen[place > 0] != 1).any()):
            raise ValueError("a node is the child of two nodes or of none: these are no trees")
        _ = self.depths

    @cached_property
    def _children(self) -> np.ndarray:
        """`(N, 2)` int32: left and right child as places in the arrays; a leaf is its own."""
        base = np.repeat(self.offsets[:-1], np.diff(self.offsets))
        own, leaf = np.arange(len(self.feature)), self.feature == LEAF
        sides = [np.where(leaf, own, side + base) for side in (self.left, self.right)]
        return np.ascontiguousarray(np.stack(sides, axis=1), dtype=np.int32)

    @cached_property
    def depths(self) -> np.ndarray:
        """`(T,)` int64, most splits on a path of each tree.

        Raises:
            ValueError: more than `MAX_DEPTH`; a chain of a million nodes would take minutes to predict from.
        """
        depths = np.zeros(self.trees, dtype=np.int64)
        nodes, level = self.offsets[:-1], 0
        while len(nodes := nodes[self.feature[nodes] != LEAF]):
            level += 1
            if level > MAX_DEPTH:
                raise ValueError(f"a tree is deeper than {MAX_DEPTH} splits")
            depths[np.searchsorted(self.offsets, nodes, side="right") - 1] = level
            nodes = self._children[nodes].reshape(-1)
        return depths

    @cached_property
    def _nodes(self) -> tuple[np.ndarray, ...]:
        """Arrays of the walking kernel; leaves look at column 0 and stay where they are."""
        feature = np.maximum(self.feature, 0)
        return feature, self.threshold, self._children, self.value, self.offsets, self.depths

    @cached_property
    def leaves(self) -> int:
        """Most leaves of one tree."""
        return int(np.add.reduceat(self.feature == LEAF, self.offsets[:-1]).max())

    @cached_property
    def _vectors(self) -> tuple[Any, ...]:
        """Arrays of the bit vector kernel: inner nodes padded to its step, leaf values from left to right."""
        step = 4
        dtype = np.uint32 if self.leaves <= 32 else np.uint64
        ones = int(np.iinfo(dtype).max)
        feature, threshold, mask, nodes = list[int](), list[float](), list[int](), [0]
        value, leaves = list[float](), [0]
        for first, last in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            columns = self.feature[first:last].tolist()
            left, right = self.left[first:last].tolist(), self.right[first:last].tolist()
            below = _leaves_below(left, right)
            start = [0] * len(columns)
            own = [0.0] * below[0]
            for node, column in enumerate(columns):
                if column == LEAF:
                    own[start[node]] = float(self.value[first + node])
                    continue
                start[left[node]] = start[node]
                start[right[node]] = start[node] + below[left[node]]
                cleared = ((1 << below[left[node]]) - 1) << start[node]
                feature.append(column)
                threshold.append(float(self.threshold[first + node]))
                mask.append(ones & ~cleared)
            padding = -len(feature) % step
            feature += [0] * padding
            threshold += [0.0] * padding
            mask += [ones] * padding
            nodes.append(len(feature))
            value += own
            leaves.append(len(value))
        return (
            np.array(feature, np.int64),
            np.array(threshold, np.float32),
            np.array(mask, dtype),
            np.array(nodes, np.int64),
            np.array(value, np.float64),
            np.array(leaves, np.int64),
            dtype(ones),
        )

    def sum(self, x: np.ndarray) -> np.ndarray:
        """The trees' values added in their order: `(n, F)` float32, C-ordered, to `(n,)` float64."""
        if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"expected float32 features (n, {self.features}), got {x.dtype} {x.shape}")
        # numba takes a second to import: only where it is used.
        from scratchcard.meta import kernels

        out = np.empty(len(x), dtype=np.float64)
        if self.leaves <= WORD_LEAVES:
            kernels.bit_vectors(x, *self._vectors, out)
        else:
            kernels.walk(x, *self._nodes, out)
        return out


def _leaves_below(left: list[int], right: list[int]) -> list[int]:
    """Number of leaves under each node; children come after their parents, so one pass from the end."""
    below = [1] * len(left)
    for node in range(len(left) - 1, -1, -1):
        if left[node] != LEAF:
            below[node] = below[left[node]] + below[right[node]]
    return below


def joined(trees: Iterable[dict[str, np.ndarray]], features: int) -> Trees:
    """One ensemble of single trees, each given by its arrays without `offsets`.

    Examples:
        >>> leaf = {"feature": [-1], "threshold": [0.0], "left": [-1], "right": [-1]}
        >>> parts = [{name: np.array(v) for name, v in leaf.items()} | {"value": np.array([x])} for x in (1.0, 2.0)]
        >>> joined(parts, features=3).offsets
        array([0, 1, 2])
    """
    parts = list(trees)
    sizes = [len(part["feature"]) for part in parts]
    whole = {name: np.concatenate([part[name] for part in parts]).astype(dtype) for name, dtype in NODES.items()}
    return Trees(**whole, offsets=np.cumsum([0, *sizes], dtype=np.int64), features=features)
