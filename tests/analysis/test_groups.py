"""The one grouping of runs: what has one method and metric is together, and nothing else."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchcard.analysis.groups import Group, groups, methods
from scratchcard.analysis.statistics import Headline

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "label": st.sampled_from(["snip", "grasp"]),
            "network": st.just("mlp"),
            "task": st.sampled_from(["mnist", "digits"]),
            "density": st.sampled_from([0.1, 0.1 + 1e-17, 0.3]),
            "seed": st.integers(0, 5),
            "metric": st.sampled_from([None, "accuracy", "r2"]),
            "test_accuracy": st.floats(0, 1) | st.just(math.nan),
        }
    ),
    min_size=1,
    max_size=30,
)


@given(ROWS)
def test_every_run_is_in_the_group_of_its_method_and_metric(rows: list[dict[str, object]]) -> None:
    expected: dict[object, list[float]] = defaultdict(list)
    for row in rows:
        key = (row["label"], row["task"], round(float(str(row["density"])), 10), row["metric"] or "accuracy")
        expected[key].append(float(str(row["test_accuracy"])))
    found = groups(pd.DataFrame(rows))
    assert len(found) == len(expected)
    for group in found:
        label, _, task, density = group.key
        values = expected[label, task, density, group.metric]
        assert sorted(group.values) == sorted(value for value in values if value == value)
        assert len(group.rows) == len(values)
        if group.values:
            assert group.interval.mean == pytest.approx(np.mean(group.values))


def test_missing_keys_are_a_key_and_missing_columns_are_refused() -> None:
    runs = pd.DataFrame({"label": ["a", None, "a"], "seed": [0, 1, 0], "test_accuracy": [0.1, 0.2, 0.3]})
    first, second = groups(runs, ["label"])
    assert (first.key, second.key) == (("a",), (None,))
    assert (first.repeated, second.repeated) == (True, False)
    with pytest.raises(ValueError, match="no column density"):
        groups(runs, ["label", "density"])


def test_a_seed_twice_is_no_group_that_can_be_tested() -> None:
    row = {"label": "a", "network": "n", "task": "t", "density": 0.1, "seed": 0, "test_accuracy": 0.5}
    with pytest.raises(ValueError, match="have the seed 0"):
        methods(pd.DataFrame([row, row | {"device": "cuda"}]))


def test_some_seeds_of_a_group() -> None:
    group = Group(("a",), "r2", (0, 1, 2), (0.1, 0.2, 0.3), frozenset({3}), frozenset({1}))
    some = group.only(frozenset({1, 3}))
    assert (some.seeds, some.values, some.missing, some.diverged) == ((1,), (0.2,), frozenset({3}), frozenset({1}))
    assert (some.metric, some.every_seed) == ("r2", frozenset({1, 3}))


def test_a_metric_as_it_is_shown() -> None:
    assert [Headline(name).title for name in ("accuracy", "micro_f1", "r2")] == [
        "test accuracy, %",
        "test micro f1, %",
        "test r2",
    ]
    assert (Headline("accuracy").text(0.5, "+"), Headline("r2").text(-0.5, "+")) == ("+50.00", "-0.5000")
