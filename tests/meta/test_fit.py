"""Fitting: splits, defaults, options, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from scratchcard.meta.fit import fit, make_family, split_networks
from scratchcard.score_tables.schema import THESIS_FEATURES, TableBlock
from scratchcard.score_tables.table import ScoreTable


def test_seeds_not_held_out_are_trained_on(table: ScoreTable) -> None:
    split = split_networks(table, held_out_seeds=[1])
    assert split.train == (("toy", 0), ("toy", 2))
    assert split.held_out == (("toy", 1),)


def test_without_a_word_the_last_seed_or_what_is_not_trained_on_is_held_out(
    table: ScoreTable, make_table: Callable[..., ScoreTable]
) -> None:
    split = split_networks(table)
    assert (split.train, split.held_out) == ((("toy", 0), ("toy", 1)), (("toy", 2),))
    split = split_networks(table, train_seeds=[2])
    assert (split.train, split.held_out) == ((("toy", 2),), (("toy", 0), ("toy", 1)))
    split = split_networks(table, train_seeds=[0, 1, 2])
    assert (len(split.train), split.held_out) == (3, ())
    split = split_networks(table, held_out_seeds=())
    assert (len(split.train), split.held_out) == (3, ())
    split = split_networks(table, train_seeds=[1], held_out_seeds=())
    assert (split.train, split.held_out) == ((("toy", 1),), ())
    split = split_networks(make_table(seeds=(4,)))
    assert (split.train, split.held_out) == ((("toy", 4),), ())


def test_no_network_is_on_both_sides(make_table: Callable[..., ScoreTable]) -> None:
    table = make_table(workloads=("one", "two"), seeds=(0, 1))
    split = split_networks(table, held_out_workloads=["two"])
    assert split.train == (("one", 0), ("one", 1))
    assert split.held_out == (("two", 0), ("two", 1))
    split = split_networks(table, held_out_workloads=["two"], train_seeds=[0], held_out_seeds=[0])
    assert (split.train, split.held_out) == ((("one", 0),), (("two", 0),))
    split = split_networks(table, train_seeds=[0], held_out_seeds=[1])
    assert not set(split.train) & set(split.held_out)
    assert split.train == (("one", 0), ("two", 0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_seeds": [0, 1], "held_out_seeds": [1, 2]}, "seed 1 is both trained on and held out"),
        ({"train_seeds": [7]}, "no seed 7"),
        ({"held_out_seeds": [8]}, "no seed 8"),
        ({"held_out_workloads": ["toys"]}, "no workload toys"),
        ({"held_out_workloads": ["toy"]}, "no network is left"),
        ({"held_out_seeds": [0, 1, 2]}, "no network is left"),
    ],
)
def test_bad_splits_are_refused(table: ScoreTable, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(table, "linear", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        ("linaer", {}, "did you mean 'linear'"),
        ("linear", {"objective": "classification"}, "can be fitted for regression"),
        ("forest", {"objective": "ranking"}, "can be fitted for classification, regression"),
        ("gbm", {"objective": "clustering"}, "no objective 'clustering'"),
        ("gbm", {"leafs": 3}, "no setting leafs"),
        ("linear", {"alpha": 3}, "no setting alpha; it has none"),
        ("forest", {"trees": 5000}, "more than the 50 MB"),
        (
            "gbm",
            {"objective": "classification", "target": "score"},
            "classification needs a target of 0 and 1",
        ),
        ("gbm", {"objective": "regression", "target": "kept_repeat"}, "holds NaN"),
        ("gbm", {"target": "keep"}, "no target keep|no target 'keep'"),
        ("gbm", {"features": ["snip", "snap"]}, "no feature snap"),
        ("gbm", {"features": []}, "at least one feature"),
        ("gbm", {"features": "all"}, "'thesis' or None"),
        ("gbm", {"features": ["snip", "snip"]}, "named twice"),
        ("gbm", {"max_rows": 0}, "max_rows must be at least 1"),
        ("gbm", {"objective": "ranking", "balanced": True}, "leave out `balanced`"),
        ("gbm", {"objective": "ranking", "grades": 31}, "1 to 30 grades"),
        ("mlp", {"hidden": (1, 2, 3)}, "one or two hidden layers"),
        ("mlp", {"patience": 1, "train_seeds": [0]}, "second training network"),
    ],
)
def test_bad_arguments_are_refused(table: ScoreTable, family: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(table, family, **arguments)  # type: ignore[arg-type]


def test_one_class_alone_is_refused(make_table: Callable[..., ScoreTable]) -> None:
    def all_kept(block: TableBlock) -> None:
        block.columns["kept"][:] = 1

    with pytest.raises(ValueError, match="nothing to learn"):
        fit(make_table(change=all_kept, seeds=(0,)), "gbm")


def test_the_record_says_what_was_done(table: ScoreTable) -> None:
    predictor = fit(table, "tree", held_out_seeds=[2], max_rows=600, features="thesis", leaves=7)
    assert (predictor.family, predictor.objective, predictor.target) == ("tree", "classification", "kept")
    assert predictor.features == THESIS_FEATURES
    assert predictor.columns == tuple(table.schema.column(name) for name in THESIS_FEATURES)
    training = predictor.training
    assert training["table_digest"] == table.digest
    assert training["train"] == [["toy", 0], ["toy", 1]]
    assert training["held_out"] == [["toy", 2]]
    assert training["sampling"]["rows_used"] == 600
    assert {"scikit-learn", "numpy", "safetensors"} <= set(training["versions"])
    assert predictor.options["leaves"] == 7
    assert predictor.metrics["held_out"]["rows"] == 1000
    assert predictor.metrics["train"]["rows"] == 2000
    assert json.loads(json.dumps(predictor.metrics)) == predictor.metrics
    assert "'tree', 'classification' of 'kept', 4 features" in repr(predictor)


def test_evaluation_can_be_left_out(table: ScoreTable) -> None:
    assert fit(table, "linear", evaluate=False).metrics == {}
    assert "held_out" in fit(table, "linear").metrics
    assert "held_out" not in fit(table, "linear", held_out_seeds=()).metrics


def test_held_out_rows_have_no_influence(make_table: Callable[..., ScoreTable]) -> None:
    def spoiled(block: TableBlock) -> None:
        if block.seed == 2:
            block.columns["score"][:] = 0.5
            block.columns["snip"][:] = 100

    whole = fit(make_table(), "linear", held_out_seeds=[2], evaluate=False)
    other = fit(make_table(change=spoiled), "linear", held_out_seeds=[2], evaluate=False)
    assert all(np.array_equal(whole.arrays[name], other.arrays[name]) for name in whole.arrays)


def test_options_are_the_familys_provenance() -> None:
    assert repr(make_family("linear")) == "Linear()"
    assert "trees=3" in repr(make_family("gbm", trees=3))
