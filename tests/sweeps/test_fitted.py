"""A grid's predictors: refused early, built and fitted once, found again wherever the folder goes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from scratchcard.sweeps.fitted import LearnedOn
from scratchcard.sweeps.grid import read_grid
from scratchcard.sweeps.run_grid import run_grid, standing
from scratchcard.workloads.tasks import load_task
from tests.sweeps.test_grid import HEAD, write

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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"linear"', '"linaer"'), "did you mean 'linear'"),
        (('"regression"', '"ranking"'), "has no objective 'ranking'"),
        (('"score"', '"scores"'), "did you mean 'score'"),
        (('"thesis"', '["magnitude", "magnitud"]'), "unknown feature 'magnitud'"),
        (('"thesis"', "[]"), "at least one name"),
        (("[5]", "[4]"), "seed 4 is both trained on and held out"),
        (('"3-4"', "[3, 3]"), "names a seed twice"),
        (("[1]", "[3]"), "learning_curve asks for 3 networks, train_seeds has 2"),
        (("learning_curve = [1]", "options = { depth = 3 }"), "small-linear: linear has no setting depth"),
        (('scorer = "synflow", ', 'scorer = "synflo", '), "did you mean 'synflow'"),
        (("rounds = 2", 'rounds = "2"'), r"table\.rounds is '2'"),
        (("shots = 2", "shots = 0"), r"table\.shots is 0"),
        (("density = 0.05", "density = 5"), r"table\.density is 5, expected a number in \(0, 1\]"),
    ],
)
def test_a_predictor_that_cannot_be_fitted_is_refused_before_its_table_is_built(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    assert change[0] in PREDICTOR
    with pytest.raises(ValueError, match=message) as caught:
        read_grid(write(tmp_path, PREDICTOR.replace(*change)), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_predictor_is_fitted_where_methods_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_task("digits")
    other = dataclasses.replace(digits, name="mnist", digest="0" * 64, loader=None)
    monkeypatch.setattr("scratchcard.sweeps.grid.load_task", lambda name, _: {"digits": digits, "mnist": other}[name])
    head = HEAD.replace('"digits"', '["digits", "mnist"]')
    for methods, tasks in (
        (PREDICTOR, ["digits", "mnist"]),
        (PREDICTOR.replace('predictor = "small-linear"', 'predictor = "small-linear"\ntasks = "mnist"'), ["mnist"]),
        # One that no method names is fitted for its metrics.
        (PREDICTOR.partition("[[methods]]")[0] + '[[methods]]\nscorer = "snip"\n', ["digits", "mnist"]),
    ):
        grid = read_grid(write(tmp_path, methods, head), tmp_path)
        assert [workload.task.name for _, _, workload in grid.fitted] == tasks


def test_bundles_have_labels_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    run_grid(
        read_grid(write(tmp_path, PREDICTOR.replace('seeds = "3-4"', 'seeds = "3"').replace("[1]", "[]")), folder),
        folder,
    )
    (bundle,) = (path for path in (folder / "predictors").iterdir() if path.is_dir())
    places = [tmp_path / name for name in ("first", "second")]
    for place in places:
        shutil.copytree(bundle, place)
    text = f'[[methods]]\nscorer = "predicted"\npredictor = {json.dumps([str(place) for place in places])}\n'
    path = write(tmp_path, text)
    grid = read_grid(path, folder)
    assert {e.label for e in grid.experiments} == {"first"}  # equal bundles are one predictor
    assert {e.label for e in read_grid(write(tmp_path, text.replace("first", "second")), folder).experiments} == {
        "second"
    }


def test_a_damaged_record_of_a_predictor_is_made_again(tmp_path: Path) -> None:
    path, folder = write(tmp_path, PREDICTOR), tmp_path / "results"
    run_grid(read_grid(path, folder), folder)
    (record,) = (folder / "predictors").glob("*.json")
    whole, (bundle,) = record.read_text(), (folder / "predictors").glob("*/model.safetensors")
    arrays = bundle.read_bytes()
    for damaged in (whole[: len(whole) // 2], "{}", "[]", '{"learning_curve": {}}'):
        record.write_text(damaged)
        assert run_grid(read_grid(path, folder), folder).ran == 0
        assert set(json.loads(record.read_text())["learning_curve"]) == {"1"}
    assert bundle.read_bytes() == arrays  # the same once more
    assert not list((folder / ".shared").rglob("*.lock"))


ELSEWHERE = """
[predictors.small-linear.workload]
task = "digits"
recipe = { max_steps = 30 }

[[methods]]
scorer = "predicted"
predictor = ["small-linear", "own-linear"]
densities = 0.1
seeds = "1"
"""


def test_a_predictor_that_learns_elsewhere_is_fitted_once_for_all_workloads(tmp_path: Path) -> None:
    one, _, _ = PREDICTOR.partition("[[methods]]")
    two = 'task = "digits"\nnetwork = ["lenet_300_100", "conv_2"]'
    head = HEAD.replace('task = "digits"', two)
    grid = read_grid(write(tmp_path, one.replace("small-linear", "own-linear") + one + ELSEWHERE, head), tmp_path / "a")
    learned = sorted((name, workload.network, workload.recipe.max_steps) for name, _, workload in grid.fitted)
    own = [("own-linear", network, 40) for network in ("conv_2", "lenet_300_100")]
    assert learned == [*own, ("small-linear", "lenet_300_100", 30)]
    identities = {(e.label, e.workload.network): e.method.predictor_identity for e in grid.experiments}
    assert identities["small-linear", "lenet_300_100"] == identities["small-linear", "conv_2"]
    assert len(set(identities.values())) == 3
    run_grid(grid, tmp_path / "a")
    records = [json.loads(found.read_text()) for found in (tmp_path / "a" / "predictors").glob("*.json")]
    told = {(each["name"], each["recipe"]["workload"]["network"]) for each in records}
    assert told == {(name, network) for name, network, _ in learned}


def test_without_a_workload_of_its_own_a_predictor_keeps_its_identity(tmp_path: Path) -> None:
    grid = read_grid(write(tmp_path, PREDICTOR), tmp_path / "results")
    (workload, *_), spec = (e.workload for e in grid.experiments), grid.file.predictors["small-linear"]
    elsewhere = spec.model_copy(update={"workload": LearnedOn(task="digits")})
    assert elsewhere.identity(workload) == spec.identity(workload)  # it is that of the workload that is learned from


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("nothing", r"\[predictors.small-linear.workload\]: unknown task 'nothing'"),
        ("mine.code:task", "the task 'mine.code:task' is code, expected a registered task, or one of files"),
    ],
)
def test_what_a_predictor_cannot_learn_from(tmp_path: Path, task: str, said: str) -> None:
    path = write(tmp_path, PREDICTOR + f'\n[predictors.small-linear.workload]\ntask = "{task}"\n')
    with pytest.raises(ValueError, match=said):
        read_grid(path, tmp_path / "results")


def test_a_folder_that_is_moved_has_its_runs_with_predictors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = write(tmp_path, PREDICTOR), tmp_path / "results"
    run_grid(read_grid(path, folder), folder)
    shutil.rmtree(folder / ".shared")
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    folder.rename(moved)
    monkeypatch.chdir(tmp_path)
    method = read_grid(path, "elsewhere/moved").experiments[0].method
    assert Path(method.predictor or "").is_absolute()  # a worker may work in another folder
    stages: list[str] = []
    assert run_grid(read_grid(path, "elsewhere/moved"), moved, report=lambda text, *_: stages.append(text)).ran == 0
    assert stages == []
    for done in list(moved.glob("*.json"))[:2]:
        told = json.loads(done.read_text())["configuration"]["method"]
        assert told["predictor"] == f"predictors/{told['predictor_identity']}"  # within the folder, wherever it is
        done.unlink()
    assert run_grid(read_grid(path, moved), moved).ran == 2
