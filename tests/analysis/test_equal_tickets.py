"""Methods that find the same tickets: found among real differences, and never counted twice."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scratchcard.analysis.equal_tickets import EQUAL, Identical, identical, note, others, repeated
from scratchcard.analysis.significance import compare


def runs_of(method: str, numbers: int, densities: Any = (0.005, 0.1), seeds: Any = (0, 1, 2)) -> pd.DataFrame:
    """Runs whose results depend on `numbers` alone, not on the name."""
    rows = []
    for density, seed in itertools.product(densities, seeds):
        draw = np.random.default_rng([numbers, round(1000 * density), seed])
        result = dict(zip(EQUAL, (*draw.random(2), round(density * 266200), density * 0.9), strict=True))
        place = {"network": "lenet_300_100", "task": "mnist", "density": density, "seed": seed, "diverged": False}
        rows.append({"method": method, "label": method, "layer_density": "{}", "best_step": 430} | place | result)
    return pd.DataFrame(rows)


def test_groups_with_the_shortest_name_first() -> None:
    runs = pd.concat([runs_of("magnitude on snip", 1), runs_of("snip", 1), runs_of("grasp", 2), runs_of("snip x", 1)])
    (group,) = identical(runs)
    assert group == Identical(("snip", "snip x", "magnitude on snip"), 6, whole=True)
    assert others([group]) == {"snip x": "snip", "magnitude on snip": "snip"}
    text = note([group])
    assert "'snip', 'snip x' and 'magnitude on snip' are identical in all 6 runs" in text
    assert "counts twice" in text
    assert note([]) == ""


@pytest.mark.parametrize("column", [*EQUAL, "layer_density", "best_step"])
def test_one_number_of_one_run_tells_two_methods_apart(column: str) -> None:
    runs = pd.concat([runs_of("a", 1), runs_of("b", 1)], ignore_index=True)
    assert len(identical(runs)) == 1
    other = runs.copy()
    last: Any = other[column].iloc[-1]
    other.loc[len(other) - 1, column] = "{1}" if isinstance(last, str) else last + 1
    assert identical(other) == []


def test_equal_accuracies_alone_are_no_sameness() -> None:
    """Dead networks all guess one class: same accuracy, other tickets."""
    runs = pd.concat([runs_of("a", 1), runs_of("b", 2)]).assign(test_accuracy=0.098)
    assert identical(runs) == []


def test_what_was_not_recorded_is_not_the_same() -> None:
    runs = pd.concat([runs_of("a", 1), runs_of("b", 1)])
    assert identical(runs.assign(validation_loss=np.nan)) == []
    assert len(identical(runs.assign(best_step=None))) == 1


def test_unfinished_methods_agree_where_both_have_runs() -> None:
    few = runs_of("b", 1, seeds=(0, 1))
    (group,) = identical(pd.concat([runs_of("a", 1), few]))
    assert (group.common, group.whole) == (4, False)
    assert "all 4 runs that they have in common" in note([group])
    assert identical(pd.concat([runs_of("a", 1), few.iloc[:1]])) == []  # one common run may be chance
    assert identical(pd.concat([runs_of("a", 1), runs_of("b", 1, seeds=(7, 8))])) == []


def test_runs_of_another_task_are_not_common() -> None:
    assert identical(pd.concat([runs_of("a", 1), runs_of("b", 1).assign(task="fashion_mnist")])) == []


def test_a_method_with_a_seed_twice_is_left_alone() -> None:
    assert identical(pd.concat([runs_of("a", 1), runs_of("a", 1), runs_of("b", 1)])) == []


def test_tests_that_repeat_another_are_counted() -> None:
    worse = runs_of("worse", 3).assign(test_accuracy=lambda frame: frame["test_accuracy"] / 1000 - 9)
    runs = pd.concat([runs_of("a", 1), runs_of("a again", 1), worse, runs_of("c", 2)])
    groups = identical(runs, "label")
    declared = {"name": "family", "of": ["a", "a again", "c"], "against": ["worse"]}
    tests = compare(runs, [declared])
    assert tests["significant"].all(), "the test needs differences to be seen"
    text = repeated(tests, groups)
    assert "Of these 6 tests 2 repeat another" in text
    assert "4 are different tests, 4 of them significant" in text
    against = compare(runs, [declared | {"against": ["worse", "a"]}])
    assert "2 of these 10 tests compare a method with one that is identical" in repeated(against, groups)
    assert repeated(compare(runs, [declared | {"of": ["a", "c"]}]), groups) == ""
    assert repeated(tests, []) == ""
