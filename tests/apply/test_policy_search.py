"""The search for coefficients: goes on where it stopped, refuses what is not its own, and improves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scratchcard.apply.policy_search import SCALES, PolicySearch
from scratchcard.artefacts.leases import Leases
from scratchcard.dataset_builder.features import PAIR_FEATURES
from scratchcard.meta.predictor import Predictor
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

pytest.importorskip("cmaes")

SEARCH = PolicySearch(("digits",), generations=3, population=4, rounds=2, features={"stepped_ln": 1.0, "path_ln": 1.0})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Accuracy is a closed form of the coefficients: best at (3, -1), and the same for every seed."""
    seen: list[int] = []

    def accuracy(
        self: PolicySearch, data_dir: str | None, device: str, theta: np.ndarray, task: str, network: str, seed: int
    ) -> float:
        seen.append(seed)
        return float(1 - 0.01 * ((theta[:2] - [3.0, -1.0]) ** 2).sum())

    monkeypatch.setattr(PolicySearch, "_accuracy", accuracy)
    return seen


def test_it_climbs(quick: list[int], tmp_path: Path) -> None:
    found = replace(SEARCH, generations=60, population=10).run(tmp_path / "search.json")
    assert found.arrays["coefficients"][:2] == pytest.approx([3.0, -1.0], abs=0.3)
    assert found.features == ("stepped_ln", "path_ln", "progress")
    accuracies = found.training["median_accuracies"]
    assert np.shape(accuracies) == (60, 1)
    assert np.mean(accuracies[-5:]) > np.mean(accuracies[:5])


def test_without_drift_nothing_changes_from_round_to_round(quick: list[int], tmp_path: Path) -> None:
    found = replace(SEARCH, generations=60, population=10, drift=False).run(tmp_path / "search.json")
    assert found.arrays["coefficients"][:2] == pytest.approx([3.0, -1.0], abs=0.3)
    assert not found.arrays["drift"].any()


def test_no_generations_leave_the_beginning(quick: list[int], tmp_path: Path) -> None:
    found = replace(SEARCH, generations=0, start={"path_ln": 2.0}).run(tmp_path / "search.json")
    assert found.arrays["coefficients"].tolist() == [0.0, 2.0, 0.0]
    assert not quick
    assert found.training["median_accuracies"] == []


def test_an_interrupted_search_goes_on_to_the_same_end(quick: list[int], tmp_path: Path) -> None:
    whole = SEARCH.run(tmp_path / "whole.json")
    calls = len(quick)
    replace(SEARCH, generations=2).run(tmp_path / "part.json")
    quick.clear()
    seen: list[tuple[int, int]] = []
    lines: list[str] = []
    found = SEARCH.run(tmp_path / "part.json", progress=lambda *at: seen.append(at), log=lines.append)
    assert found.digest == whole.digest
    assert len(quick) == calls // 3 == len(seen)
    assert seen[-1] == (12, 12)
    assert lines[-1].startswith("generation 3: median digits ")
    quick.clear()
    assert SEARCH.run(tmp_path / "part.json").digest == whole.digest
    assert not quick


def test_candidates_of_a_generation_meet_the_same_seeds(quick: list[int], tmp_path: Path) -> None:
    replace(SEARCH, tasks=("digits", "mnist")).run(tmp_path / "search.json")
    generations = np.reshape(quick, (3, 4, 2))
    assert (generations == generations[:, :1]).all()
    assert len({tuple(seeds) for seeds in generations[:, 0].tolist()}) == 3
    assert generations.min() >= 10_000  # far from the seeds of experiments


@pytest.mark.parametrize("text", ["", "{", "[]", '{"settings": {}}', '{"settings": {}, "generations": [[1]]}'])
def test_a_damaged_record_is_refused_and_left(quick: list[int], tmp_path: Path, text: str) -> None:
    file = tmp_path / "search.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"search\.json is no record of a search"):
        SEARCH.run(file)
    assert file.read_text() == text


def test_another_search_is_refused(quick: list[int], tmp_path: Path) -> None:
    SEARCH.run(tmp_path / "search.json")
    with pytest.raises(ValueError, match="other settings"):
        replace(SEARCH, density=0.01).run(tmp_path / "search.json")
    record = json.loads((tmp_path / "search.json").read_text())
    assert np.shape(record["generations"]) == (3, 4, 1)


def test_real_tickets_are_found_and_trained(tmp_path: Path) -> None:
    search = replace(SEARCH, density=0.02, generations=1, population=4)
    found = search.run(tmp_path / "search.json")
    assert isinstance(found, Predictor)
    assert 0.5 < found.training["median_accuracies"][0][0] <= 1.0


def test_its_features_are_those_of_pairs_and_unit_sizes() -> None:
    assert set(SCALES) == {c.name for c in PAIR_FEATURES if c.name != "progress"} | {"fan_in", "fan_out"}


def test_two_searches_do_not_write_one_file(quick: list[int], tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    with Leases(tmp_path / ".search.json.leases") as theirs:
        assert theirs.take("search")
        with pytest.raises(OSError, match=r"another search writes .*search\.json: let it end, or name another file"):
            SEARCH.run(file)
    assert not quick
    SEARCH.run(file)
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]


EARLY = replace(
    SEARCH,
    regime={"regime": "EMS", "rounds": 4, "search_steps": 40},
    tuned={"search_learning_rate": (0.1, 0.5), "pace": (1.0, 0.3)},
    recipe={"max_steps": 30},
)


def test_settings_of_the_regime_are_searched_with_the_coefficients(tmp_path: Path, quick: list[int]) -> None:
    found = replace(EARLY, generations=0).run(tmp_path / "search.json")
    beginning = {"regime": "EMS", "rounds": 4, "search_steps": 40}
    assert found.options == beginning | {"search_learning_rate": pytest.approx(0.1), "pace": pytest.approx(1.0)}
    theta = np.array([1.0, 2.0, 0.5, 0.0, np.log(0.3), np.log(9.0)])
    made = EARLY.predictor(theta)
    assert made.options["search_learning_rate"] == pytest.approx(0.3)
    assert made.options["pace"] == 4  # the highest that there is
    assert made.arrays["coefficients"].tolist() == [1.0, 2.0, 0.0]
    assert made.arrays["drift"].tolist() == [0.5, 0.0, 0.0]


def test_an_early_search_is_judged_by_its_tickets(tmp_path: Path) -> None:
    search = replace(EARLY, tasks=("digits", "digits"), networks=("lenet_300_100", "lenet_300_100"), density=0.05)
    found = replace(search, generations=1, population=4).run(tmp_path / "search.json")
    accuracies = json.loads((tmp_path / "search.json").read_text())["generations"][0]
    assert np.shape(accuracies) == (4, 2)
    assert np.min(accuracies) > 0.3
    wild = search.predictor(np.array([1.0, 1.0, 0.0, 0.0, np.log(1e30), 0.0]))
    workload = Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=30))
    assert search.accuracy(wild, workload, 0) == 0.0  # it diverges
    assert search.accuracy(found, workload, 0) > 0.3


def test_the_record_of_an_earlier_search_is_one_of_the_same_settings() -> None:
    known = json.loads(Path("results/default/search.json").read_text())["settings"]
    assert PolicySearch()._settings() == known


def test_a_regime_that_there_is_not_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="EMSS"):
        replace(EARLY, regime={"regime": "EMSS"})
    with pytest.raises(ValueError, match="1 networks for 2 tasks"):
        replace(EARLY, tasks=("digits", "mnist"), networks=("lenet_5",))
