"""Array trees: the validator, and the compiled loops against a plain recursion and NumPy."""

from __future__ import annotations

import math
from fractions import Fraction

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchcard.meta.logistic import logistic
from scratchcard.meta.predictors.gbm import boosted_trees
from scratchcard.meta.trees import FILE_LIMIT, NODE_BYTES, Trees, check_size, joined, round_down


def random_tree(generator: np.random.Generator, leaves: int, features: int) -> dict[str, np.ndarray]:
    """Grown by splitting a random leaf, as LightGBM does; thresholds on a coarse grid that x can equal."""
    feature, threshold, left, right, value = [-1], [0.0], [-1], [-1], [generator.normal()]
    for _ in range(leaves - 1):
        node = generator.choice([i for i, f in enumerate(feature) if f < 0])
        feature[node] = int(generator.integers(features))
        threshold[node] = generator.integers(-4, 5) / 4
        left[node], right[node] = len(feature), len(feature) + 1
        for column, item in ((feature, -1), (threshold, 0.0), (left, -1), (right, -1)):
            column += [item, item]
        value += list(generator.normal(size=2))
    names = ("feature", "threshold", "left", "right", "value")
    return {name: np.array(c) for name, c in zip(names, (feature, threshold, left, right, value), strict=True)}


def ensemble(seed: int, leaves: list[int], features: int = 3) -> Trees:
    generator = np.random.default_rng(seed)
    return joined([random_tree(generator, count, features) for count in leaves], features)


def recursion(trees: Trees, row: np.ndarray) -> float:
    """The definition, one row."""
    total = 0.0
    for first in trees.offsets[:-1]:
        node = 0
        while trees.feature[first + node] >= 0:
            at = first + node
            node = (trees.left if row[trees.feature[at]] <= trees.threshold[at] else trees.right)[at]
        total += trees.value[first + node]
    return total


def by_levels(trees: Trees, x: np.ndarray) -> np.ndarray:
    """The same with NumPy, a level of one tree at a time: the reference where rows are many."""
    out = np.zeros(len(x), dtype=np.float64)
    for first in trees.offsets[:-1]:
        node = np.full(len(x), first, dtype=np.int64)
        rows = np.arange(len(x))
        while len(rows):
            at = node[rows]
            inner = trees.feature[at] >= 0
            rows, at = rows[inner], at[inner]
            goes_left = x[rows, trees.feature[at]] <= trees.threshold[at]
            node[rows] = first + np.where(goes_left, trees.left[at], trees.right[at])
        out += trees.value[node]
    return out


def grid(seed: int, rows: int, features: int = 3) -> np.ndarray:
    return (np.random.default_rng(seed).integers(-5, 6, (rows, features)) / 4).astype(np.float32)


@pytest.mark.parametrize("leaves", [[1], [2, 1, 5], [32] * 3, [33, 2, 64], [65, 1, 3], [200]])
def test_all_kernels_give_the_recursion_to_the_bit(leaves: list[int]) -> None:
    trees, x = ensemble(1, leaves), grid(2, 1100)
    expected = np.array([recursion(trees, row) for row in x])
    assert np.array_equal(trees.sum(x), expected)
    assert np.array_equal(by_levels(trees, x), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 70), min_size=1, max_size=4), st.integers(0, 30))
def test_kernels_agree(seed: int, leaves: list[int], rows: int) -> None:
    trees, x = ensemble(seed, leaves), grid(seed, rows)
    assert np.array_equal(trees.sum(x), by_levels(trees, x))


def test_rows_do_not_depend_on_their_neighbours() -> None:
    trees, x = ensemble(3, [31] * 5), grid(4, 1500)
    whole = trees.sum(x)
    for start, stop in ((0, 1), (511, 513), (1499, 1500), (7, 7)):
        assert np.array_equal(trees.sum(x[start:stop]), whole[start:stop])


def test_logistic_is_that_of_the_c_library() -> None:
    values = np.array([-1e308, -800.0, -745.1, -1.5, 0.0, 1e-9, 40.0, 800.0])
    found = logistic(values)
    assert found[:3].tolist() == [0.0] * 3  # exp overflows to infinity
    assert found[-1] == 1.0
    assert found[3:].tolist() == [1 / (1 + math.exp(-value)) for value in values[3:]]


@settings(max_examples=300, deadline=None)
@given(
    st.floats(-3e38, 1e300),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(-2, 2),
)
def test_a_rounded_threshold_decides_alike(t: float, x: float, steps: int) -> None:
    rounded = float(round_down(np.array([t]))[0])
    near = np.float32(rounded)
    for _ in range(abs(steps)):
        with np.errstate(over="ignore"):
            near = np.nextafter(near, np.float32(np.sign(steps) * np.inf))
    for value in (x, float(near)):
        if math.isfinite(value):
            assert (Fraction(value) <= Fraction(t)) == (np.float32(value) <= np.float32(rounded))


def test_round_down_refuses_what_no_split_can_be() -> None:
    for t in (-1e39, float("nan"), -np.inf):
        with pytest.raises(ValueError, match="below the lowest float32"):
            round_down(np.array([t]))


def tampered(trees: Trees, name: str, place: int, value: float) -> dict[str, np.ndarray]:
    arrays = {key: array.copy() for key, array in trees.arrays.items()}
    arrays[name][place] = value
    return arrays


# Nodes of the tree below: 0 -> (1, 2), 1 -> (3, 4), leaves 2, 3, 4.
FAULTS = [
    ("left", 0, 5, "outside its tree"),
    ("right", 0, 2**31 - 1, "outside its tree"),
    ("left", 1, -1, "outside its tree"),
    ("left", 1, -(2**31), "outside its tree"),
    ("left", 1, 0, "cycle"),
    ("left", 1, 1, "cycle"),
    ("left", 1, 2, "child of two nodes or of none"),
    ("left", 2, 3, "a leaf has a child"),
    ("feature", 0, 3, "outside the 3 features"),
    ("feature", 0, -2, "outside the 3 features"),
    ("feature", 0, -1, "a leaf has a child"),
    ("feature", 2, 0, "outside its tree"),
    ("threshold", 0, np.nan, "NaN"),
    ("threshold", 0, np.inf, "infinity"),
    ("value", 3, np.nan, "NaN"),
    ("value", 3, -np.inf, "infinity"),
    ("value", 3, 1e61, "beyond"),
    ("offsets", 0, 1, "must rise"),
    ("offsets", 1, 4, "must rise"),
    ("offsets", 1, 6, "must rise"),
    ("offsets", 1, -(2**63), "must rise"),
]


@pytest.mark.parametrize(("name", "place", "value", "message"), FAULTS)
def test_the_validator_refuses(name: str, place: int, value: float, message: str) -> None:
    tree = {
        "feature": np.array([0, 1, -1, -1, -1]),
        "threshold": np.zeros(5),
        "left": np.array([1, 3, -1, -1, -1]),
        "right": np.array([2, 4, -1, -1, -1]),
        "value": np.arange(5.0),
    }
    with pytest.raises(ValueError, match=message):
        Trees.from_arrays(tampered(joined([tree], 3), name, place, value), 3, "gbm")


def test_the_validator_refuses_other_names_dtypes_and_shapes() -> None:
    arrays = ensemble(1, [3, 4]).arrays
    with pytest.raises(ValueError, match="missing: value"):
        Trees.from_arrays({key: array for key, array in arrays.items() if key != "value"}, 3, "gbm")
    with pytest.raises(ValueError, match="unknown: extra"):
        Trees.from_arrays(arrays | {"extra": arrays["value"]}, 3, "gbm")
    for name in arrays:
        with pytest.raises(ValueError, match=f"'{name}' is float16"):
            Trees.from_arrays(arrays | {name: arrays[name].astype(np.float16)}, 3, "gbm")
        with pytest.raises(ValueError, match=r"has shape|must rise|outside|leaf"):
            Trees.from_arrays(arrays | {name: arrays[name][:-1]}, 3, "gbm")
        with pytest.raises(ValueError, match="has shape"):
            Trees.from_arrays(arrays | {name: arrays[name][:, None]}, 3, "gbm")


def test_a_chain_is_walked_up_to_a_bound() -> None:
    def chain(depth: int) -> Trees:
        place = np.arange(2 * depth + 1)
        inner = (place % 2 == 0) & (place < 2 * depth)
        feature, left, right = (
            np.where(inner, 0, -1),
            np.where(inner, place + 1, -1),
            np.where(inner, place + 2, -1),
        )
        return joined(
            [
                {
                    "feature": feature,
                    "threshold": place / 8,
                    "left": left,
                    "right": right,
                    "value": place * 1.0,
                }
            ],
            1,
        )

    x = np.array([[-1.0], [10.3], [1e9]], dtype=np.float32)
    trees = chain(4096)
    assert trees.depths.tolist() == [4096]
    assert trees.sum(x).tolist() == by_levels(trees, x).tolist() == [1.0, 85.0, 8192.0]
    with pytest.raises(ValueError, match="deeper than 4096"):
        chain(4097)


def test_a_second_tree_reached_from_the_first_is_refused() -> None:
    trees = ensemble(1, [2, 2])
    with pytest.raises(ValueError, match="outside its tree"):
        Trees.from_arrays(tampered(trees, "right", 0, 4), 3, "gbm")


def test_the_size_bound_is_that_of_the_arrays() -> None:
    trees = ensemble(1, [50] * 20)
    stored = sum(array.nbytes for array in trees.arrays.values())
    assert stored == 20 * 99 * NODE_BYTES + 21 * 8
    check_size(100, 4096)
    assert 100 * (2 * 4096 - 1) * NODE_BYTES < FILE_LIMIT
    with pytest.raises(ValueError, match="take up to 98 MB"):
        check_size(100, 20_480)
    with pytest.raises(ValueError, match="at least 1 tree"):
        check_size(0, 5)


def boosted(x: np.ndarray, y: np.ndarray, trees: int = 40, **parameters: object) -> lightgbm.Booster:
    settings = {"verbosity": -1, "num_threads": 1, "use_missing": False, "min_data_in_leaf": 5} | parameters
    return lightgbm.train(settings, lightgbm.Dataset(x, y), trees)


@pytest.mark.parametrize("leaves", [2, 31, 64, 100])
@pytest.mark.parametrize("objective", ["regression", "binary"])
def test_bit_equal_to_lightgbm(leaves: int, objective: str) -> None:
    generator = np.random.default_rng(leaves)
    x = generator.normal(size=(3000, 5)).astype(np.float32)
    x[:, 3] = np.round(x[:, 3])  # values that thresholds lie between, zero among them
    y = x[:, 0] * x[:, 1] + x[:, 3] + 0.3 * generator.normal(size=3000)
    booster = boosted(x, y > 1 if objective == "binary" else y, num_leaves=leaves, objective=objective)
    # Rows that lie exactly on the rounded thresholds and beside them.
    trees = boosted_trees(booster, 5)
    edges = np.repeat(trees.threshold[trees.feature >= 0][:600, None], 5, axis=1)
    # LightGBM takes |x| <= 1e-35 for 0.
    zero = np.float32(1e-35)
    tiny = np.repeat(np.array([-2, -1, -0.5, -0.0, 0.5, 1, 2], np.float32)[:, None] * zero, 5, axis=1)
    tiny = np.concatenate([tiny, np.nextafter(tiny, np.float32(np.inf)), np.nextafter(tiny, -zero * 3)])
    new = np.concatenate([x, edges, np.nextafter(edges, np.float32(np.inf)), tiny, 1e30 * x[:50]])
    ours = trees.sum(new)
    assert np.array_equal(ours, booster.predict(new, raw_score=True))
    assert np.array_equal(ours, by_levels(trees, new))
    if objective == "binary":
        assert np.array_equal(logistic(ours), booster.predict(new))


def test_lightgbm_that_found_no_split() -> None:
    x = np.zeros((100, 2), dtype=np.float32)
    booster = boosted(x, np.arange(100.0))
    trees = boosted_trees(booster, 2)
    assert np.array_equal(trees.sum(x), booster.predict(x))
    assert trees.leaves == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"use_missing": True}, "missing"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "one sum"),
        ({"objective": "multiclass", "num_class": 3}, "one sum"),
        ({"linear_tree": True}, "linear"),
        ({"categorical_feature": [1], "min_data_per_group": 1, "cat_smooth": 0.0}, "categorical"),
    ],
)
def test_lightgbm_trees_of_other_kinds_are_refused(parameters: dict[str, object], message: str) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(500, 2))
    x[:, 1] = generator.integers(0, 3, 500)
    y = np.where(x[:, 1] == 1, 2, 0) + 0 * x[:, 0]
    if "use_missing" in parameters:
        x[:250, 0] = np.nan
        y = np.isnan(x[:, 0]) * 1
    categorical = parameters.pop("categorical_feature", "auto")
    settings = {"verbosity": -1, "num_threads": 1, "use_missing": False} | parameters
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y, categorical_feature=categorical), 3)
    with pytest.raises(ValueError, match=message):
        boosted_trees(booster, 2)
