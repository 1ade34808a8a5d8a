"""Figures of merit: closed forms, and streamed sums against scikit-learn on everything at once."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, mean_squared_error, r2_score

from scratchcard.meta.evaluation import Sums, evaluate_predictor, overlap
from scratchcard.meta.predictor import Predictor
from scratchcard.meta.rows import networks_of
from scratchcard.score_tables.schema import Column, TableBlock
from scratchcard.score_tables.table import ScoreTable


def line(coefficients: dict[str, float], objective: str = "regression", target: str = "score") -> Predictor:
    columns = tuple(Column(name, "feature", "raw", "") for name in coefficients)
    arrays = {"coefficients": np.array(list(coefficients.values())), "intercept": np.array([0.1])}
    family = "linear" if objective == "regression" else "sgd"
    return Predictor(family, objective, target, columns, arrays)  # type: ignore[arg-type]


def test_overlap_by_hand() -> None:
    kept = np.array([True, True, False, False])
    assert overlap(np.array([4.0, 3, 2, 1]), kept) == 1
    assert overlap(np.array([1.0, 2, 3, 4]), kept) == 0
    assert overlap(np.array([4.0, 1, 3, 2]), kept) == 0.5
    assert overlap(np.zeros(4), kept) == 0.5  # all tie: the density
    assert overlap(np.array([2.0, 1, 1, 1]), kept) == pytest.approx((1 + 1 / 3) / 2)
    assert overlap(np.array([2.0, 1]), np.zeros(2, bool)) is None
    assert overlap(np.array([2.0, 1]), np.ones(2, bool)) == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_overlap_is_the_mean_over_random_orders_of_ties(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores, kept = generator.integers(0, 3, 12).astype(float), generator.random(12) < 0.4
    kept[0] = True
    k = kept.sum()
    drawn = []
    for _ in range(3000):
        order = generator.permutation(12)
        top = order[np.argsort(-scores[order], kind="stable")[:k]]
        drawn.append(kept[top].sum() / k)
    assert overlap(scores, kept) == pytest.approx(np.mean(drawn), abs=5 * max(np.std(drawn), 1e-3) / 3000**0.5)


def test_streamed_sums_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    y = 1e4 + generator.normal(size=5000)
    predicted = y + 0.5 * generator.normal(size=5000)
    sums = Sums()
    for part in np.array_split(np.arange(5000), [0, 1, 700, 4000]):
        sums.add(y[part], predicted[part])
    assert sums.r2 == pytest.approx(r2_score(y, predicted), rel=1e-10)
    assert sums.mse == pytest.approx(mean_squared_error(y, predicted), rel=1e-10)
    assert Sums().r2 is Sums().mse is None
    flat = Sums()
    flat.add(np.ones(3), np.zeros(3))
    assert (flat.mse, flat.r2) == (1.0, None)


def test_a_whole_report(table: ScoreTable) -> None:
    found = evaluate_predictor(line({"snip": 0.3, "depth": 0.2}), table, networks=networks_of(table)[1:])
    assert found == json.loads(json.dumps(found))
    columns = table.columns(["snip", "depth", "score"], seeds=[1, 2])
    snip, depth, score = (column.astype(float) for column in columns.values())
    predicted = 0.3 * snip + 0.2 * depth + 0.1
    assert found["rows"] == 2000
    assert found["r2"] == pytest.approx(r2_score(score, predicted), rel=1e-9)
    assert found["mse"] == pytest.approx(mean_squared_error(score, predicted), rel=1e-9)
    assert [(entry["seed"], entry["round"], entry["rows"]) for entry in found["networks"]] == [
        (1, 0, 1000),
        (2, 0, 1000),
    ]
    for entry in found["networks"]:
        own = table.columns(["snip", "depth", "kept", "kept_repeat"], seeds=[entry["seed"]])
        scores, kept = 0.3 * own["snip"].astype(float) + 0.2 * own["depth"], own["kept"] > 0
        assert entry["average_precision"] == pytest.approx(average_precision_score(kept, scores))
        higher = scores[kept > 0][:, None] - scores[kept == 0][None, :]
        assert entry["roc_auc"] == pytest.approx(((higher > 0) + 0.5 * (higher == 0)).mean())
        top = np.argsort(-scores)[: kept.sum()]
        assert entry["overlap"] == pytest.approx(kept[top].mean())
    first, second = found["networks"]
    own = table.columns(["kept", "kept_repeat"], seeds=[1])
    assert first["noise_ceiling"] == pytest.approx((own["kept"] * own["kept_repeat"]).sum() / own["kept"].sum())
    assert second["noise_ceiling"] is None
    assert found["noise_ceiling"] == first["noise_ceiling"]
    assert found["overlap"] == pytest.approx((first["overlap"] + second["overlap"]) / 2)


FIGURES = ("rows", "r2", "mse", "average_precision", "roc_auc", "overlap", "noise_ceiling")


def test_rounds_are_networks_of_their_own(make_table: Callable[..., ScoreTable]) -> None:
    table = make_table(rounds=(0, 3), seeds=(0,))
    predictor = line({"snip": 1.0})
    assert [entry["round"] for entry in evaluate_predictor(predictor, table)["networks"]] == [0, 3]
    only = evaluate_predictor(predictor, table, rounds=[3])
    assert [entry["round"] for entry in only["networks"]] == [3]


def test_trap_the_headline_is_the_dense_networks_round(make_table: Callable[..., ScoreTable]) -> None:
    predictor = line({"snip": 0.3, "grasp": 0.5})
    table = make_table(rounds=(0, 2, 3), seeds=(0, 1))
    found = evaluate_predictor(predictor, table)
    assert found == json.loads(json.dumps(found))
    assert [entry["round"] for entry in found["by_round"]] == [0, 2, 3]
    for entry in found["by_round"]:
        alone = evaluate_predictor(predictor, table, rounds=[entry["round"]])
        assert entry == {name: alone[name] for name in ("round", *FIGURES)}
        assert alone["by_round"] == [entry]
    dense = evaluate_predictor(predictor, make_table(rounds=(0,), seeds=(0, 1)))
    for name in ("round", *FIGURES):
        assert found[name] == dense[name]
        assert name in ("round", "rows") or found[name] != found["by_round"][1][name]
    assert found["rows"] == 2000
    assert len(found["networks"]) == 6


def test_without_round_0_the_headline_is_the_first_round(make_table: Callable[..., ScoreTable]) -> None:
    table = make_table(rounds=(4, 2), seeds=(0,))
    found = evaluate_predictor(line({"snip": 1.0}), table)
    assert found["round"] == 2
    assert found["overlap"] == found["networks"][0]["overlap"] != found["networks"][1]["overlap"]
    with pytest.raises(ValueError, match="no rows to evaluate on"):
        evaluate_predictor(line({"snip": 1.0}), table, rounds=[])


def test_a_classifier_is_measured_on_its_own_target(table: ScoreTable) -> None:
    predictor = line({"snip": 1.0}, "classification", "kept")
    found = evaluate_predictor(predictor, table, networks=networks_of(table)[:1])
    columns = table.columns(["snip", "kept"], seeds=[0])
    probability = 1 / (1 + np.exp(-columns["snip"].astype(float) - 0.1))
    assert found["mse"] == pytest.approx(mean_squared_error(columns["kept"], probability))


def test_a_network_without_kept_weights_has_no_figures(make_table: Callable[..., ScoreTable]) -> None:
    def none_kept(block: TableBlock) -> None:
        block.columns["kept"][:] = 0

    found = evaluate_predictor(line({"snip": 1.0}), make_table(change=none_kept, seeds=(0,)))
    assert found["average_precision"] is found["overlap"] is None


def test_nothing_to_evaluate_on(table: ScoreTable) -> None:
    with pytest.raises(ValueError, match="no network to evaluate on"):
        evaluate_predictor(line({"snip": 1.0}), table, networks=[])
    with pytest.raises(ValueError, match="no column foreign"):
        evaluate_predictor(line({"foreign": 1.0}), table)
