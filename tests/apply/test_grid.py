"""Grids: what a file expands to, what is refused and how it says so, running and going on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apply.experiment import Experiment, read_result
from apply.grid import read_grid
from apply.method import Method
from apply.run_grid import run_grid, standing
from workloads.recipe import Recipe
from workloads.tasks import load_task
from workloads.workload import Workload

HEAD = """
name = "small"
title = "A small grid"
densities = [0.05, 0.1]
seeds = "1-2"

[workload]
task = "digits"
recipe = { max_steps = 40, evaluation_interval = 20, scoring_examples = 64 }
"""


def write(folder: Path, methods: str, head: str = HEAD) -> Path:
    path = folder / "grid.toml"
    path.write_text(head + methods)
    return path


def test_a_list_of_values_stands_for_all_combinations(tmp_path: Path) -> None:
    text = '[[methods]]\nscorer = ["snip", "synflow"]\non = ["none", "magnitude"]\nregime = ["USS", "UMS"]\n'
    grid = read_grid(write(tmp_path, text), tmp_path)
    assert len(grid.experiments) == 2 * 2 * 2 * 2 * 2
    assert {e.label for e in grid.experiments} == {
        f"{scorer}{on}{regime}"
        for scorer in ("snip", "synflow")
        for on in ("", " on magnitude")
        for regime in ("", ", UMS 100")
    }
    assert {(e.density, e.seed) for e in grid.experiments} == {(0.05, 1), (0.05, 2), (0.1, 1), (0.1, 2)}
    # It is the run that the library would make.
    recipe = Recipe(max_steps=40, evaluation_interval=20, scoring_examples=64)
    same = Experiment(Workload("lenet_300_100", load_task("digits"), recipe), Method("snip", regime="UMS"), 0.1, 2)
    assert same.digest in {e.digest for e in grid.experiments}


def test_methods_may_have_densities_and_seeds_of_their_own_and_equal_runs_are_one(tmp_path: Path) -> None:
    text = """
[[extra]]
densities = 0.05
seeds = "7-8"

[[methods]]
scorer = "snip"

[[methods]]
scorer = ["snip", "random"]
densities = 1.0
seeds = 1

[[methods]]
scorer = ["snip"]
seeds = "1"
"""
    found = [(e.label, e.density, e.seed) for e in read_grid(write(tmp_path, text), tmp_path).experiments]
    assert found == [
        *(("snip", 0.05, seed) for seed in (1, 2, 7, 8)),
        *(("snip", 0.1, seed) for seed in (1, 2)),
        ("dense", 1.0, 1),
        ("dense", 1.0, 1),
    ]


def test_the_name_and_place_of_a_file_do_not_change_its_runs(tmp_path: Path) -> None:
    text = '[[methods]]\nscorer = "snip"\n'
    one = read_grid(write(tmp_path, text), tmp_path / "a")
    other = tmp_path / "other.toml"
    other.write_text((HEAD + text).replace('"small"', '"other"'))
    assert [e.digest for e in one.experiments] == [e.digest for e in read_grid(other, tmp_path / "b").experiments]
    changed = tmp_path / "changed.toml"
    changed.write_text((HEAD + text).replace("max_steps = 40", "max_steps = 41"))
    assert not {e.digest for e in one.experiments} & {e.digest for e in read_grid(changed, tmp_path).experiments}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[[methods]]", "[[method]]"), "methods is missing"),
        (('scorer = "snip"', 'scorer = "snip"\nround = 3'), r"methods\.0\.round is no key"),
        (('scorer = "snip"', 'scorer = "snipp"'), "did you mean 'snip'"),
        (('scorer = "snip"', 'scorer = "snip"\nrounds = 3'), "USS has one round"),
        (('scorer = "snip"', 'scorer = "predicted"'), "needs a predictor"),
        (("densities = [0.05, 0.1]", "densities = [0.05, 0]"), r"density must lie in \(0, 1\]"),
        (("densities = [0.05, 0.1]", "densities = []"), "densities"),
        (('seeds = "1-2"', 'seeds = "two"'), "no list of seeds"),
        (('seeds = "1-2"', 'seeds = "1-2'), "no TOML file"),
        (('task = "digits"', 'task = "digitz"'), "did you mean 'digits'"),
        (("max_steps", "max_step"), r"\[workload\.recipe\].*no setting max_step"),
        (('name = "small"', 'name = "A grid"'), "name is 'A grid'"),
        (
            ('scorer = "snip"', 'scorer = "snip"\n[[comparisons]]\nname = "c"\nof = "snip"\nagainst = "grasp"'),
            "names 'grasp', which no method of this grid is called; they are: snip",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = HEAD + '[[methods]]\nscorer = "snip"\n'
    assert change[0] in text
    path = tmp_path / "grid.toml"
    path.write_text(text.replace(*change))
    with pytest.raises(ValueError, match=message) as caught:
        read_grid(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a TOML file"):
        read_grid(tmp_path / "none.toml", tmp_path)


def test_a_grid_is_run_once_and_its_folder_says_what_it_is(tmp_path: Path) -> None:
    text = (
        '[[methods]]\nscorer = ["snip", "magnitude"]\n[[comparisons]]\nname = "c"\nof = "snip"\nagainst = "magnitude"'
    )
    path, folder = write(tmp_path, text), tmp_path / "results"
    grid = read_grid(path, folder)
    assert standing(grid, folder).done == 0
    assert standing(grid, folder).seconds_left is None
    swept = run_grid(grid, folder)
    assert (swept.ran, swept.failed) == (8, {})
    assert all(read_result(folder, e.digest) is not None for e in grid.experiments)
    assert run_grid(grid, folder).ran == 0
    now = standing(grid, folder)
    assert (now.total, now.done, now.failed, now.running, now.seconds_left) == (8, 8, {}, 0, 0)
    manifest = json.loads((folder / "grids" / "small.json").read_text())
    assert manifest["digests"] == [e.digest for e in grid.experiments]
    assert manifest["text"] == path.read_text()
    assert manifest["comparisons"][0] == {
        "name": "c",
        "of": ["snip"],
        "against": ["magnitude"],
        "densities": None,
        "task": None,
        "paired": False,
    }
    assert [session.get("runs") for session in manifest["sessions"]] == [8, None]


PREDICTOR = """
[predictors.small-linear]
family = "linear"
objective = "regression"
target = "score"
features = "thesis"
train_seeds = "3-4"
held_out_seeds = [5]
learning_curve = [1]
table = { regime = "IMS", scorer = "synflow", density = 0.05, rounds = 2, shots = 2 }

[[methods]]
scorer = "predicted"
predictor = "small-linear"

[[methods]]
scorer = "synflow"
on = "predicted"
predictor = "small-linear"
regime = "UMS"
rounds = 3
"""


def test_a_grids_predictor_is_built_and_fitted_once(tmp_path: Path) -> None:
    path, folder = write(tmp_path, PREDICTOR), tmp_path / "results"
    grid = read_grid(path, folder)
    # The runs are known before the predictor is.
    assert standing(grid, folder).done == 0
    assert {e.label for e in grid.experiments} == {"small-linear", "synflow on small-linear, UMS 3"}
    stages: list[str] = []
    assert run_grid(grid, folder, report=lambda text, *_: stages.append(text)).ran == 8
    assert "fitting small-linear" in stages
    stages.clear()
    assert run_grid(read_grid(path, folder), folder, report=lambda text, *_: stages.append(text)).ran == 0
    assert stages == []
    records = [json.loads(p.read_text()) for p in (folder / "predictors").glob("*.json")]
    assert len(records) == 1
    assert records[0]["name"] == "small-linear"
    assert set(records[0]["metrics"]) == {"train", "held_out"}
    assert set(records[0]["learning_curve"]) == {"1"}
    # Elsewhere it has the same identity, though the table's own digest holds the seconds that it took.
    assert [e.digest for e in read_grid(path, tmp_path / "b").experiments] == [e.digest for e in grid.experiments]
    # Another fit is another run.
    other = tmp_path / "other.toml"
    other.write_text(path.read_text().replace('"3-4"', '"3"'))
    assert not {e.digest for e in read_grid(other, folder).experiments} & {e.digest for e in grid.experiments}
