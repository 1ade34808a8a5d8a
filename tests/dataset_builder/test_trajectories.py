"""Tables of trajectories: what their rows hold, that a predictor is applied to the same numbers, resuming, refusing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.apply.predicted import PredictedScorer
from scratchcard.apply.stacked import StackedScorer
from scratchcard.artefacts.store import Store
from scratchcard.dataset_builder.build import build
from scratchcard.dataset_builder.features import FEATURES, MOVEMENT_FEATURES, compute_features
from scratchcard.dataset_builder.looks import Looks
from scratchcard.dataset_builder.recording import Recording
from scratchcard.dataset_builder.targets import LOOK_TARGETS, REPEAT_OFFSET
from scratchcard.dataset_builder.trajectories import NAMES
from scratchcard.meta.bundle import load_bundle, save_bundle
from scratchcard.meta.fit import fit
from scratchcard.meta.predictor import Predictor
from scratchcard.regimes import EMS, ESS, ISS, UMS
from scratchcard.score_tables.schema import FeatureBlock
from scratchcard.score_tables.table import ScoreTable
from scratchcard.scorers import make_scorer
from scratchcard.sweeps.fitted import FittedSpec
from scratchcard.workloads import stored_training
from scratchcard.workloads.engines.trajectory import Trajectory
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(max_steps=20, evaluation_interval=20, scoring_examples=50, learning_rate=0.2)
SEARCH = EMS(rounds=3, search_steps=12, pace=1.5)
SLOW = ISS(rounds=2)
DENSITY = 0.1


def recording(**changes: Any) -> Recording:
    given: dict[str, Any] = {"regime": SEARCH, "scorer": "magnitude", "density": DENSITY, "slow": SLOW}
    return Recording(**given | changes)


NETWORK = """
from torch import nn

def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
"""


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workload]:
    """Of 888 weights, in a file of its own: all that lies beside a factory's file is digested with it, often."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "trajectory_network.py").write_text(NETWORK, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Workload("trajectory_network:perceptron", load_task("digits"), RECIPE)


@pytest.fixture(scope="module")
def table(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> ScoreTable:
    return build(workload, [3, 4], tmp_path_factory.mktemp("table"), recording(tickets=2, repeat=True))


def test_rows_are_those_of_the_looks_and_of_the_slow_tickets(table: ScoreTable, workload: Workload) -> None:
    assert table.schema.names == tuple(c.name for c in (*FEATURES, *MOVEMENT_FEATURES, *LOOK_TARGETS))
    assert table.rounds == (1, 2, 3)
    slow = [
        SLOW.find(workload, make_scorer("magnitude"), DENSITY, 3, data_seed=3 + number * REPEAT_OFFSET)
        for number in range(3)
    ]
    network, batch = workload.build(3), workload.scoring_batch(3)
    found = SEARCH.find(workload, make_scorer("magnitude"), DENSITY, 3)
    trajectory, share = Trajectory(network, workload.task, RECIPE, seed=3), [0.0]
    looks = Looks(network, lambda: share[0])
    for number, (steps, _) in enumerate(SEARCH.looks(DENSITY), start=1):
        mask = found.mask_after(number - 1) if number > 1 else None
        trajectory.advance(steps - trajectory.step, mask)
        share[0] = steps / 12
        how: dict[str, Any] = {"mask": mask, "density": DENSITY, "names": NAMES, "looks": looks}
        expected = compute_features(network, batch, workload.task.loss, **how)
        for block, features in zip(table.blocks(rounds=[number], seeds=[3]), expected, strict=True):
            assert block.parameter == features.parameter
            assert np.array_equal(block.indices, features.indices)
            assert np.array_equal(block.features(features.names).values, features.values)
            kept, survived = (
                [np.asarray(value[block.parameter]).reshape(-1)[block.indices] for value in values]
                for values in ([one.mask.tensors for one in slow], [one.survived for one in slow])
            )
            assert np.array_equal(block.columns["kept"], (kept[0] + 0.0 + kept[1]) / 2)
            assert block.columns["rounds_survived"] == pytest.approx((survived[0] + survived[1]) / 4)
            assert np.array_equal(block.columns["kept_repeat"], kept[2])
    shares = {float(v) for block in table.blocks() for v in block.columns["kept"]}
    assert shares == {0.0, 0.5, 1.0}  # the two tickets differ
    about = table.files[0].metadata
    assert about["looks"] == [{"steps": steps, "density": density} for steps, density in SEARCH.looks(DENSITY)]


def test_a_predictor_sees_the_numbers_that_its_table_holds(
    table: ScoreTable, workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same trajectory: the table's search is the predictor's own, by one that was fitted on another table."""
    predictor = fit(table, "linear", target="rounds_survived", objective="regression", held_out_seeds=[4])
    assert set(predictor.features) == set(NAMES)
    own = build(workload, [5], tmp_path / "own", recording(scorer=PredictedScorer(predictor, DENSITY)))
    save_bundle(predictor, tmp_path / "bundle")
    asked: list[FeatureBlock] = []
    predict = Predictor.predict

    def noted(self: Predictor, features: FeatureBlock) -> np.ndarray:
        asked.append(features)
        return predict(self, features)

    monkeypatch.setattr(Predictor, "predict", noted)
    method = Method("predicted", predictor=str(tmp_path / "bundle"), regime=SEARCH)
    ticket = find_ticket(workload, method, DENSITY, seed=5)
    assert ticket.mask.kept == round(DENSITY * ticket.mask.total)
    rows = [block for number in (1, 2, 3) for block in own.blocks(rounds=[number])]
    for seen, row in zip(asked, rows, strict=True):
        assert (seen.parameter, seen.names) == (row.parameter, predictor.features)
        assert np.array_equal(seen.indices, row.indices)
        assert np.array_equal(seen.values, row.features(seen.names).values)
    last = np.concatenate([row.columns["search_share"] for row in rows[-2:]])
    assert set(last.tolist()) == {1.0}


def test_a_predictor_of_movement_serves_every_regime_that_trains_and_no_other(
    table: ScoreTable, workload: Workload
) -> None:
    predictor = fit(table, "linear", features=["moved", "magnitude", "search_share"], target="score", evaluate=False)
    scorer = PredictedScorer(predictor, DENSITY)
    for regime in (SEARCH, EMS(rounds=2, search_steps=6, shots=2), ESS(search_steps=6), ISS(rounds=2)):
        first = regime.find(workload, scorer, DENSITY, seed=1)
        assert regime.find(workload, scorer, DENSITY, seed=1).mask == first.mask  # nothing is left of a search
        stacked = StackedScorer(scorer, make_scorer("magnitude"), every_round=True)
        assert regime.find(workload, stacked, DENSITY, seed=1).mask.kept == first.mask.kept
    with pytest.raises(ValueError, match="features of movement are known at the looks of a search that trains"):
        UMS(rounds=2).find(workload, scorer, DENSITY, seed=1)
    plain = PredictedScorer(fit(table, "linear", features=["magnitude"], target="score", evaluate=False), DENSITY)
    assert plain.from_start(workload.build(0), lambda: 1.0) is plain


def test_chosen_looks_have_the_same_rows_as_among_all(table: ScoreTable, workload: Workload, tmp_path: Path) -> None:
    chosen = build(workload, [3], tmp_path, recording(tickets=2, repeat=True, looks=(1, 3)))
    assert chosen.rounds == (1, 3)
    for one, other in zip(chosen.blocks(), table.blocks(rounds=[1, 3], seeds=[3]), strict=True):
        assert all(np.array_equal(one.columns[name], other.columns[name]) for name in table.schema.names)


def test_a_build_goes_on_where_it_was_broken_off(
    table: ScoreTable, workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_training, "WORTH_KEEPING", 0.0)
    store, asked = Store(tmp_path / "rounds"), recording(tickets=2, repeat=True)
    with monkeypatch.context() as stopped:
        seen: list[int] = []
        advance = Trajectory.advance

        def stop(self: Trajectory, *given: Any) -> float:
            if len(seen) == 2:
                raise KeyboardInterrupt
            seen.append(given[0])
            return advance(self, *given)

        stopped.setattr(Trajectory, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            build(workload, [3], tmp_path / "table", asked, store=store)
    assert not list((tmp_path / "table").glob("*.parquet"))
    trained: list[int] = []
    monkeypatch.setattr(Trajectory, "advance", lambda self, *given: trained.append(given[0]) or advance(self, *given))
    monkeypatch.setattr("scratchcard.workloads.stored_training.train", lambda *_, **__: pytest.fail("slow again"))
    again = build(workload, [3], tmp_path / "table", asked, session=Session(store=store))
    assert len(trained) == 1  # the last stretch
    for one, other in zip(again.blocks(), table.blocks(seeds=[3]), strict=True):
        assert all(np.array_equal(one.columns[name], other.columns[name]) for name in table.schema.names)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"regime": "ISS", "tickets": 2}, "tickets is for early regimes .* the regime is ISS"),
        ({"regime": "IMS", "looks": (1,)}, "looks is for early regimes"),
        ({"looks": (1, 4)}, r"looks are \[1, 4\], expected numbers in \[1, 3\], each only once"),
        ({"looks": (2, 2)}, "each only once"),
        ({"slow": "ESS"}, "slow is ESS, expected a regime that is not early"),
        ({"slow": SLOW, "slow_rounds": 2}, "slow_rounds is given twice"),
        ({"every_round": True}, "every_round is for slow regimes; an early one has rows at each of its `looks`"),
        ({"slow_scorer": len}, "cannot be a recording's scorer"),
    ],
)
def test_what_does_not_go_together_is_refused(words: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Recording(**{"regime": SEARCH, "density": DENSITY} | words)


def test_slow_recordings_are_described_as_they_were() -> None:
    assert list(Recording().describe()) == ["regime", "scorer", "settings", "density", "every_round", "repeat"]
    early = Recording.of("EMS", "snip", DENSITY, rounds=3, slow_rounds=4, tickets=2)
    assert early.describe()["tickets"] == 2
    assert early.make_slow() == ISS(rounds=4)
    for words in ({"tickets": 3}, {"looks": (1,)}, {"slow_rounds": 5}, {"slow": "IMS"}, {"slow_scorer": "snip"}):
        assert recording(**{"slow": "ISS"} | words).describe() != recording(slow="ISS").describe()


def test_another_table_is_not_added_to(table: ScoreTable, workload: Workload) -> None:
    with pytest.raises(ValueError, match="another recording"):
        build(workload, [6], table.path, recording(tickets=1))


def test_grids_may_learn_from_a_trajectory() -> None:
    early = {"regime": "EMS", "rounds": 3, "tickets": 2}
    common: dict[str, Any] = {"family": "linear", "train_seeds": [0], "held_out_seeds": [1], "objective": "regression"}
    spec = FittedSpec(**common, features=("moved", "snip"), target="rounds_survived", table=early)
    assert spec.table.recording().tickets == 2
    with pytest.raises(ValueError, match="unknown feature 'moved'"):
        FittedSpec(**common, features=("moved",), target="kept")
    with pytest.raises(ValueError, match="unknown target 'kept_next'"):
        FittedSpec(**common, target="kept_next", table=early)
    with pytest.raises(ValueError, match="`kept` is a share of 2 slow tickets"):
        FittedSpec(**common | {"objective": "classification", "family": "gbm"}, table=early)


def test_a_saved_predictor_reads_as_it_was_fitted(table: ScoreTable, tmp_path: Path) -> None:
    predictor = fit(table, "tree", target="rounds_survived", objective="regression", evaluate=False)
    save_bundle(predictor, tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").features == tuple(NAMES)
