"""Every family: a contract over the dict, and equality with the library that fitted it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from scratchcard.meta.batch import Batch
from scratchcard.meta.bundle import load_bundle, save_bundle
from scratchcard.meta.fit import fit
from scratchcard.meta.parts import Part
from scratchcard.meta.predictor import ROWS, Predictor
from scratchcard.meta.predictors import PREDICTORS
from scratchcard.meta.predictors.forest import Forest
from scratchcard.meta.predictors.gbm import GBM
from scratchcard.meta.predictors.mlp import MLP
from scratchcard.meta.predictors.multishot import Multishot
from scratchcard.meta.predictors.multishot import arrays as multishot_arrays
from scratchcard.meta.predictors.sgd import SGD
from scratchcard.meta.predictors.tree import Tree
from scratchcard.meta.rows import Rows, networks_of
from scratchcard.score_tables.schema import FeatureBlock, TableBlock
from scratchcard.score_tables.table import ScoreTable

CASES = [(name, objective) for name, family in PREDICTORS.items() for objective in family.objectives]
SMALL = {"forest": {"trees": 5}, "gbm": {"trees": 20}, "mlp": {"epochs": 20}}
KEPT = {"classification": "kept", "ranking": "kept", "regression": "score"}


@pytest.fixture(scope="module")
def fitted(table: ScoreTable) -> dict[tuple[str, str], Predictor]:
    return {
        (name, objective): fit(table, name, objective=objective, held_out_seeds=[2], **SMALL.get(name, {}))
        for name, objective in CASES
    }


def features_of(table: ScoreTable, predictor: Predictor, seed: int = 2) -> FeatureBlock:
    columns = table.columns(predictor.features, seeds=[seed])
    values = np.column_stack([columns[name] for name in predictor.features])
    return FeatureBlock("all", np.arange(len(values)), predictor.features, values)


def rows_of(table: ScoreTable, objective: str, features: tuple[str, ...] | None = None) -> Rows:
    return Rows(table, features or table.schema.features, KEPT[objective], networks_of(table))


@pytest.mark.parametrize(("name", "objective"), CASES)
def test_contract(
    name: str,
    objective: str,
    fitted: dict[tuple[str, str], Predictor],
    table: ScoreTable,
    tmp_path: Path,
) -> None:
    predictor = fitted[name, objective]
    block = features_of(table, predictor)
    scores = predictor.predict(block)
    assert scores.dtype == np.float64
    assert scores.shape == (1000,)
    assert np.isfinite(scores).all()
    if objective == "classification":
        assert 0 <= scores.min() <= scores.max() <= 1
    # It learned something: kept weights are far above the density of 0.2 in what it puts first.
    assert predictor.metrics["held_out"]["average_precision"] > 0.6
    # Saved and loaded, it is the same to the bit, and so is a second fit.
    again = load_bundle(save_bundle(predictor, tmp_path / "bundle"))
    assert np.array_equal(again.predict(block), scores)
    assert again.digest == predictor.digest
    assert (again.columns, again.metrics, again.training) == (
        predictor.columns,
        predictor.metrics,
        predictor.training,
    )
    second = fit(table, name, objective=objective, held_out_seeds=[2], evaluate=False, **SMALL.get(name, {}))
    assert second.digest == predictor.digest
    # A row's score does not depend on the other rows beyond rounding.
    part = FeatureBlock("all", np.arange(3), block.names, block.values[5:8])
    assert np.allclose(predictor.predict(part), scores[5:8], rtol=1e-12)
    assert predictor.predict(FeatureBlock("none", np.arange(0), block.names, block.values[:0])).shape == (0,)


@pytest.mark.parametrize("name", PREDICTORS)
def test_progress_ends_at_its_total(name: str, table: ScoreTable) -> None:
    seen: list[tuple[int, int]] = []
    fit(
        table,
        name,
        progress=lambda done, total: seen.append((done, total)),
        evaluate=False,
        **SMALL.get(name, {}),
    )
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_sample_will_do(name: str, table: ScoreTable) -> None:
    for objective in PREDICTORS[name].objectives:
        predictor = fit(table, name, objective=objective, max_rows=1200, **SMALL.get(name, {}))
        assert predictor.training["sampling"]["rows_used"] == 1200
        assert predictor.metrics["train"]["average_precision"] > 0.5


def test_features_are_refused_by_name(fitted: dict[tuple[str, str], Predictor], table: ScoreTable) -> None:
    predictor = fitted["linear", "regression"]
    block = features_of(table, predictor)
    names = block.names

    def ask(names: tuple[str, ...], values: np.ndarray) -> None:
        predictor.predict(FeatureBlock("w", block.indices, names, values))

    with pytest.raises(ValueError, match="missing: wide, not its own: none"):
        ask(names[:-1], block.values[:, :-1])
    with pytest.raises(ValueError, match="missing: none, not its own: extra"):
        ask((*names, "extra"), block.values[:, [0, *range(6)]])
    with pytest.raises(ValueError, match="number 1 is 'grasp', expected 'snip'"):
        ask((names[1], names[0], *names[2:]), block.values)
    with pytest.raises(ValueError, match="takes the 6 features"):
        ask((names[0], *names), block.values[:, [0, *range(6)]])
    for bad in (np.nan, np.inf):
        values = block.values.copy()
        values[7, 3] = bad
        with pytest.raises(ValueError, match="feature 'magnitude' of 'w' holds NaN or infinity"):
            ask(names, values)


def test_blocks_larger_than_a_chunk_and_other_layouts(
    fitted: dict[tuple[str, str], Predictor], table: ScoreTable
) -> None:
    predictor = fitted["gbm", "classification"]
    block = features_of(table, predictor)
    values = np.asfortranarray(np.tile(block.values, (ROWS // 1000 + 2, 1)))
    scores = predictor.predict(FeatureBlock("w", np.arange(len(values)), block.names, values))
    assert np.array_equal(scores, np.tile(predictor.predict(block), ROWS // 1000 + 2))


@pytest.mark.parametrize("dependent", [False, True])
def test_linear_is_scikit_learns(dependent: bool, make_table: Callable[..., ScoreTable]) -> None:
    def repeated(block: TableBlock) -> None:
        block.columns["grasp"][:] = block.columns["snip"]  # one solution of many: the smallest

    table = make_table(change=repeated if dependent else None)
    ours = fit(table, "linear", held_out_seeds=(), evaluate=False)
    whole = rows_of(table, "regression").whole()
    theirs = LinearRegression().fit(whole.x.astype(np.float64), whole.y)
    assert np.allclose(ours.arrays["coefficients"], theirs.coef_, rtol=1e-8, atol=1e-13)
    assert np.allclose(ours.predict(features_of(table, ours)), theirs.predict(features_of(table, ours).values))


def test_linear_with_weights_is_scikit_learns(table: ScoreTable) -> None:
    rows = replace(rows_of(table, "regression"), max_rows=1000, keep_positives=True)
    whole = rows.whole()
    arrays = PREDICTORS["linear"]().fit(rows, "regression", seed=0, threads=1)
    theirs = LinearRegression().fit(whole.x.astype(np.float64), whole.y, sample_weight=whole.weight)
    assert np.allclose(arrays["coefficients"], theirs.coef_, rtol=1e-8)
    assert np.allclose(arrays["intercept"], theirs.intercept_, rtol=1e-8)


@pytest.mark.parametrize("objective", ["regression", "classification"])
@pytest.mark.parametrize("standardise", [True, False])
def test_sgd_is_scikit_learns(objective: str, standardise: bool, table: ScoreTable) -> None:
    features = ("snip", "grasp", "wide") if standardise else ("snip", "grasp")
    rows = rows_of(table, objective, features)
    family = SGD(epochs=2, standardise=standardise)
    arrays = family.fit(rows, objective, seed=3, threads=1)
    mean, scale = rows.moments if standardise else (np.zeros(2), np.ones(2))
    estimator = family.estimator(objective, 3)
    generator = np.random.default_rng(3)
    for _ in range(2):
        for batch in rows.shuffled(65_536, generator):
            more = {"classes": [0, 1]} if objective == "classification" else {}
            estimator.partial_fit((batch.x - mean) / scale, batch.y, **more)
    x = rows.whole().x
    z = (x - mean) / scale
    expected = estimator.predict_proba(z)[:, 1] if objective == "classification" else estimator.predict(z)
    assert np.allclose(SGD.forward(arrays, objective, len(features))(x), expected, rtol=1e-6)


@pytest.mark.parametrize("family", [Tree(leaf_rows=1), Tree(depth=3), Forest(trees=7)])
@pytest.mark.parametrize("objective", ["regression", "classification"])
def test_trees_are_scikit_learns(family: Tree | Forest, objective: str, table: ScoreTable) -> None:
    rows = rows_of(table, objective)
    arrays = family.fit(rows, objective, seed=0, threads=1)
    estimator = family.estimator(objective, 0, 1) if isinstance(family, Forest) else family.estimator(objective, 0)
    whole = rows.whole()
    estimator.fit(whole.x, whole.y)
    x = np.concatenate([whole.x, np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)])
    expected = estimator.predict_proba(x)[:, 1] if objective == "classification" else estimator.predict(x)
    ours = family.forward(arrays, objective, 6)(x)
    assert np.allclose(ours, expected, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("objective", GBM.objectives)
@pytest.mark.parametrize("leaves", [31, 80])
def test_gbm_is_lightgbms_to_the_bit(objective: str, leaves: int, table: ScoreTable) -> None:
    rows = rows_of(table, objective)
    family = GBM(trees=25, leaves=leaves, leaf_rows=3)
    booster = family.train(rows, objective, seed=0, threads=1)
    arrays = family.fit(rows, objective, seed=0, threads=1)
    x = rows.whole().x
    assert np.array_equal(GBM.forward(arrays, objective, 6)(x), booster.predict(x))


def test_gbm_from_the_stream_is_gbm_from_memory(table: ScoreTable) -> None:
    rows = rows_of(table, "classification")
    whole = rows.whole()
    family = GBM(trees=10)
    streamed = family.train(rows, "classification", seed=0, threads=1)
    parameters = {key: value for key, value in streamed.params.items() if key != "num_iterations"}
    memory = lightgbm.train(parameters, lightgbm.Dataset(whole.x, whole.y, params=parameters), 10)
    assert np.array_equal(streamed.predict(whole.x), memory.predict(whole.x))


def test_ranking_queries_hold_rows_with_their_own_targets(table: ScoreTable, monkeypatch: pytest.MonkeyPatch) -> None:
    # Were features and targets put into different orders, nothing could be learned.
    monkeypatch.setattr("scratchcard.meta.predictors.gbm.QUERY_ROWS", 130)
    for ranking, target in (("rank_xendcg", "kept"), ("lambdarank", "rounds_survived")):
        predictor = fit(table, "gbm", objective="ranking", target=target, held_out_seeds=[2], trees=30, ranking=ranking)
        assert predictor.metrics["held_out"]["average_precision"] > 0.8


@pytest.mark.parametrize("objective", MLP.objectives)
@pytest.mark.parametrize("hidden", [(8, 4), (5,)])
def test_mlp_is_torchs_forward(objective: str, hidden: tuple[int, ...], table: ScoreTable) -> None:
    rows = rows_of(table, objective)
    family = MLP(hidden=hidden, epochs=2)
    network = family.train(rows, objective, seed=1, threads=1)
    arrays = family.arrays(network, rows, objective)
    x = rows.whole().x
    mean, scale = rows.moments
    low, high = arrays["output_range"]
    with torch.no_grad():
        raw = network(torch.from_numpy(((x - mean) / scale).astype(np.float32)))[:, 0]
        expected = low + (high - low) * torch.sigmoid(raw.double()).numpy()
    ours = MLP.forward(arrays, objective, 6)(x)
    assert np.allclose(ours, expected, rtol=2e-6)
    with torch.no_grad():
        raw = network.double()(torch.from_numpy((x - mean) / scale))[:, 0]
    assert np.allclose(ours, low + (high - low) * torch.sigmoid(raw).numpy(), rtol=1e-12)


def test_mlp_starts_at_the_mean_and_leaves_torch_alone(table: ScoreTable) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    rows = rows_of(table, "classification")
    arrays = MLP(epochs=0).fit(rows, "classification", seed=0, threads=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    bias = arrays["bias_3"][0]
    assert 1 / (1 + np.exp(-bias)) == pytest.approx(rows.summary.mean, rel=1e-6)


def test_mlp_watches_the_last_network(table: ScoreTable) -> None:
    patient = MLP(epochs=40, patience=2, learning_rate=0.05)
    arrays = patient.fit(rows_of(table, "classification"), "classification", seed=0, threads=1)
    x = features_of(table, fit(table, "linear", evaluate=False)).values
    kept = table.columns(["kept"], seeds=[2])["kept"]
    error = np.mean((MLP.forward(arrays, "classification", 6)(x) - kept) ** 2)
    assert error < 0.8 * kept.var()


def test_balanced_raises_the_probability_of_kept(table: ScoreTable) -> None:
    for name in ("sgd", "tree", "forest", "gbm", "mlp"):
        options = SMALL.get(name, {})
        means = []
        for balanced in (False, True):
            predictor = fit(table, name, objective="classification", balanced=balanced, evaluate=False, **options)
            means.append(predictor.predict(features_of(table, predictor)).mean())
        if name != "sgd":  # few steps from a half
            assert means[0] == pytest.approx(0.21, abs=0.05)
        assert means[1] > means[0] + 0.03


@pytest.mark.parametrize(("name", "objective"), CASES)
@pytest.mark.parametrize("value", [0.1, -2.3, 1e6 / 3])
def test_trap_what_was_constant_in_training_changes_no_prediction(
    name: str, objective: str, value: float, make_table: Callable[..., ScoreTable]
) -> None:
    def constant(block: TableBlock) -> None:
        block.columns["magnitude"][:] = value

    options = {"epochs": 2} if name == "mlp" else SMALL.get(name, {})
    predictor = fit(make_table(change=constant), name, objective=objective, evaluate=False, **options)
    block = features_of(make_table(seeds=(2,), change=constant), predictor)
    expected = predictor.predict(block)
    for other in (value + 1, -value, 0.0):
        block.values[:, 3] = other
        assert np.allclose(predictor.predict(block), expected, rtol=1e-9, atol=1e-12)
    assert len(np.unique(expected)) > 2


@pytest.mark.parametrize("objective", SGD.objectives)
def test_sgd_on_features_as_stored_keeps_a_constants_part_and_no_more(
    objective: str, make_table: Callable[..., ScoreTable]
) -> None:
    def constant(block: TableBlock) -> None:
        block.columns["magnitude"][:] = 0.5

    rows = rows_of(make_table(change=constant), objective, ("snip", "magnitude"))
    family = SGD(standardise=False)
    arrays = family.fit(rows, objective, seed=0, threads=1)
    assert arrays["coefficients"][1] == 0.0
    # The same as scikit-learn on the rows that it was fitted on.
    estimator = family.estimator(objective, 0)
    generator = np.random.default_rng(0)
    for _ in range(family.epochs):
        for batch in rows.shuffled(65_536, generator):
            more = {"classes": [0, 1]} if objective == "classification" else {}
            estimator.partial_fit(batch.x.astype(np.float64), batch.y, **more)
    x = rows.whole().x
    expected = estimator.predict_proba(x)[:, 1] if objective == "classification" else estimator.predict(x)
    assert np.allclose(SGD.forward(arrays, objective, 2)(x), expected, rtol=1e-6)


def test_mlp_learns_nothing_of_what_varies_only_in_the_network_that_it_watches(
    make_table: Callable[..., ScoreTable],
) -> None:
    def constant(block: TableBlock) -> None:
        if block.seed != 2:
            block.columns["magnitude"][:] = 0.1

    rows = rows_of(make_table(change=constant), "classification")
    arrays = MLP(epochs=4, patience=3).fit(rows, "classification", seed=0, threads=1)
    assert bool((arrays["weight_1"][:, 3] == 0).all())
    assert bool((arrays["weight_1"][:, [0, 1, 2, 4, 5]] != 0).all())


def test_multishot_is_linear_with_coefficients_that_drift() -> None:
    found = Multishot.forward(
        multishot_arrays(np.array([1.0, 2.0, 0.0]), np.array([0.0, -4.0, 3.0]), 2), "regression", 3
    )
    x = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.5], [1.0, 1.0, 1.0], [1.0, 1.0, 7.0]], dtype=np.float32)
    # 1 + 2 at t = 0; 3 + 0.5 (-4 + 1.5); 3 + (-4 + 3); t beyond 1 counts as 1, its own term does not.
    assert found(x).tolist() == [3.0, 1.75, 2.0, 3.0 + (-4.0 + 21.0)]
    still = Multishot.forward(
        multishot_arrays(np.array([1.0, 2.0, 0.0]), np.array([0.0, -4.0, 3.0]), -1), "regression", 3
    )
    assert still(x).tolist() == [3.0] * 4
    for clock in (-2, 3):
        with pytest.raises(ValueError, match="'clock'"):
            Multishot.forward(multishot_arrays(np.zeros(3), np.zeros(3), clock), "regression", 3)


def test_multishot_finds_coefficients_and_drift_again() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(500, 4)).astype(np.float32)
    x[:, 2] = generator.choice([0.0, 0.3, 0.9], 500)
    clock = x[:, 2].astype(np.float64)
    y = x @ np.array([1.0, -2.0, 0.5, 0.0]) + clock * (x[:, [0, 3]] @ np.array([3.0, 1.5])) + 7.0

    class Given:
        features = ("snip", "grasp", "progress", "wide")
        count, cluster = 500, None

        def batches(self, *_: object) -> list[Batch]:
            return [Batch(x[:200], y[:200], None), Batch(x[200:], y[200:], None)]

        def over_parts(self, part: Callable[[Any, Part], Any], **_: object) -> list[Any]:
            return [part(self, Part((("toy", 0),)))]

    found = Multishot().fit(Given(), "regression", seed=0, threads=1)  # type: ignore[arg-type]
    assert found["clock"].tolist() == [2]
    assert found["coefficients"][[0, 1, 3]] == pytest.approx([1.0, -2.0, 0.0], abs=1e-5)
    assert found["drift"][[0, 1, 3]] == pytest.approx([3.0, 0.0, 1.5], abs=1e-5)
