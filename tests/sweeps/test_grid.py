"""Grids: what a file expands to, what is refused and how it says so, running and going on."""

from __future__ import annotations

import codecs
import dataclasses
import json
from pathlib import Path

import pytest
import torch

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.sweeps.grid import read_grid
from scratchcard.sweeps.run_grid import run_grid, standing
from scratchcard.sweeps.run_records import read_result
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

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


@pytest.mark.parametrize(
    ("line", "excluded"),
    [
        ('exclude = ["5"]', [("5",)]),
        ('exclude = ["1", "5"]', [("1", "5")]),
        ('exclude = [[], ["1", "5"]]', [(), ("1", "5")]),
        ('exclude = ["none", ["5"]]', [(), ("5",)]),
        ("exclude = []", [()]),
    ],
)
def test_a_setting_that_is_a_list_is_one_value_and_a_list_of_lists_several(
    tmp_path: Path, line: str, excluded: list[tuple[str, ...]]
) -> None:
    grid = read_grid(write(tmp_path, f'[[methods]]\nscorer = "snip"\n{line}\n'), tmp_path)
    # They are the runs that the library would make.
    workload = Workload(
        "lenet_300_100",
        load_task("digits"),
        Recipe(max_steps=40, evaluation_interval=20, scoring_examples=64),
    )
    wanted = [Experiment(workload, Method.of("snip", exclude=names), 0.1, 2) for names in excluded]
    found = [run for run in grid.experiments if (run.density, run.seed) == (0.1, 2)]
    assert [run.digest for run in found] == [run.digest for run in wanted]
    assert [run.label for run in found] == [run.label for run in wanted]


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
        (('scorer = "snip"', 'scorer = "snip"\nrounds = 3'), "USS has no setting rounds"),
        (('scorer = "snip"', 'scorer = "predicted"'), "needs a predictor"),
        (("densities = [0.05, 0.1]", "densities = [0.05, 0]"), r"density must lie in \(0, 1\]"),
        (("densities = [0.05, 0.1]", "densities = []"), "densities"),
        (('seeds = "1-2"', 'seeds = "two"'), "no list of seeds"),
        (('seeds = "1-2"', 'seeds = "1-2'), "no TOML file"),
        (('task = "digits"', 'task = "digitz"'), "did you mean 'digits'"),
        (("max_steps", "max_step"), r"\[workload\.recipe\].*no setting max_step"),
        (('name = "small"', 'name = "A grid"'), "name is 'A grid'"),
        (("densities = [0.05, 0.1]", 'densities = ["0.05"]'), "densities.0 is '0.05': a density is a number"),
        (("densities = [0.05, 0.1]", "densities = true"), "densities.0 is True: a density is a number"),
        (('seeds = "1-2"', "seeds = [1, true]"), "seeds.1 is True"),
        (('seeds = "1-2"', "seeds = [9999999999]"), "seeds.0 is 9999999999"),
        (('scorer = "snip"', 'scorer = "snip"\nregime = "UMS"\nrounds = "3"'), r"methods\.0\.rounds is '3'"),
        (('scorer = "snip"', 'scorer = "snip"\nregime = "UMS"\nrounds = true'), r"methods\.0\.rounds is True"),
        (('scorer = "snip"', 'scorer = "snip"\nrestack = 1'), r"methods\.0\.restack is 1"),
        (
            ('scorer = "snip"', 'scorer = "snip"\ntasks = "mnist"'),
            "a method names the task 'mnist'; the grid has digits",
        ),
        (('scorer = "snip"', 'scorer = "snip"\nregime = "ISS"\ntowards = 0.08'), "never reaches 0.05"),
        (('scorer = "snip"', 'scorer = "snip"\nregime = "ISS"\nrewind_step = 40'), "cannot rewind to step 40"),
        (
            ('scorer = "snip"', 'scorer = "predicted"\npredictor = "mine"'),
            "'mine' is none of its predictors .it has none",
        ),
        (('task = "digits"', 'task = "digits"\nnetwork = "lenet_300"'), "did you mean 'lenet_300_100'"),
        (('task = "digits"', 'task = "digits"\nnetwork = "no_such.module:small"'), "cannot import the network"),
        (
            (
                'scorer = "snip"',
                'scorer = "snip"\n[[comparisons]]\nname = "c"\nof = "snip"\nagainst = "snip"\ntask = "mnist"',
            ),
            "the comparison 'c' names the task 'mnist'",
        ),
        (
            (
                'scorer = "snip"',
                'scorer = "snip"\n[[comparisons]]\nname = "c"\nof = "snip"\nagainst = "snip"\nnetwork = "wide"',
            ),
            "the comparison 'c' names the network 'wide'; the grid has lenet_300_100",
        ),
        (
            (
                'scorer = "snip"',
                'scorer = "snip"\n[[comparisons]]\nname = "c"\nof = "snip"\nagainst = "snip"\ndensities = 0.3',
            ),
            "at density 0.3, at which the grid has no run",
        ),
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


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("rounds = []", "methods.0.rounds is \\[], of which no method can be made"),  # its methods were dropped
        ("on = []", "methods.0.on is \\[], of which"),
        ("exclude = 5", "methods.0.exclude is 5, expected a list of texts"),
        ('restack = { name = "grasp" }', "methods.0.restack is .*, expected true or false"),
        ("nested = " + "[" * 100_000, "is no TOML file"),
    ],
    ids=["no rounds", "no stack", "text", "table", "nested"],
)
def test_what_no_method_can_be_made_of(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_grid(write(tmp_path, f'[[methods]]\nscorer = "snip"\n{line}\n'), tmp_path)


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    text = HEAD + '[[methods]]\nscorer = "snip"\n'
    path = tmp_path / "grid.toml"
    path.write_bytes(codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode())
    assert len(read_grid(path, tmp_path).experiments) == 4
    path.write_bytes(text.replace("A small grid", "Größe").encode("latin-1"))
    with pytest.raises(ValueError, match=r"grid\.toml is not in UTF-8.*save it as UTF-8"):
        read_grid(path, tmp_path)


def test_a_dense_network_is_one_run_whatever_prunes_nothing_of_it(tmp_path: Path) -> None:
    text = """
[[methods]]
scorer = "magnitude"
regime = "ISS"
rewind_step = 10

[[methods]]
scorer = ["snip", "synflow"]

[[methods]]
scorer = "snip"
initial = "bimodal"
"""
    grid = read_grid(write(tmp_path, text, HEAD.replace("[0.05, 0.1]", "1")), tmp_path)
    found = [(e.label, e.method.scorer, e.method.make_regime().name, e.seed) for e in grid.experiments]
    assert sorted(found) == [(label, "snip", "USS", seed) for label in ("dense", "dense, bimodal") for seed in (1, 2)]


def test_numbers_written_as_whole_ones_are_the_same_run(tmp_path: Path) -> None:
    def digests(recipe: str) -> list[str]:
        head = HEAD.replace("max_steps = 40", f"max_steps = 40{recipe}")
        return [
            e.digest for e in read_grid(write(tmp_path, '[[methods]]\nscorer = "snip"\n', head), tmp_path).experiments
        ]

    assert digests("") == digests(", momentum = 0, weight_decay = 0")
    assert digests(", learning_rate = 1, betas = [0, 0.9]") == digests(", learning_rate = 1.0, betas = [0.0, 0.9]")
    assert digests("") != digests(", momentum = 0.5")


def test_a_data_dir_goes_to_the_tasks_that_look_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "placed.py").write_text(
        "import torch, scratchcard as sc\ndef found(data_dir): return sc.Task.of(*torch.load(data_dir / 'found.pt'))\n"
    )
    torch.save((torch.rand(60, 64), torch.arange(60) % 10), tmp_path / "found.pt")
    monkeypatch.syspath_prepend(str(tmp_path))
    methods = '[[methods]]\nscorer = "snip"\n'
    with pytest.raises(ValueError, match="no task with a setting data_dir: digits looks in no folder; leave it out"):
        read_grid(write(tmp_path, methods), tmp_path, data_dir=tmp_path)
    head = HEAD.replace('"digits"', '["digits", "placed:found"]')
    tasks = {
        run.workload.task.name
        for run in read_grid(write(tmp_path, methods, head), tmp_path, data_dir=tmp_path).experiments
    }
    assert tasks == {"digits", "placed:found"}


def test_a_part_of_the_tasks_keeps_what_is_known_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_task("digits")
    other = dataclasses.replace(digits, name="mnist", digest="0" * 64, loader=None)
    monkeypatch.setattr("scratchcard.sweeps.grid.load_task", lambda name, _: {"digits": digits, "mnist": other}[name])
    text = """
[[methods]]
scorer = "snip"
tasks = "digits"

[[methods]]
scorer = "magnitude"
tasks = "mnist"

[[comparisons]]
name = "c"
of = "snip"
against = "magnitude"
"""
    path, folder = write(tmp_path, text, HEAD.replace('"digits"', '["digits", "mnist"]')), tmp_path / "results"
    whole = [e.digest for e in read_grid(path, folder).experiments]
    for task, done in (("digits", 4), ("mnist", 8)):  # labels of the other task's methods are no error
        run_grid(read_grid(path, folder, tasks=[task]), folder)
        manifest = json.loads((folder / "grids" / "small.json").read_text())
        assert manifest["digests"] == whole[:done]
    path.write_text(path.read_text().replace('"1-2"', '"1"'))  # another grid: what the earlier one had is not its
    run_grid(read_grid(path, folder, tasks=["digits"]), folder)
    assert len(json.loads((folder / "grids" / "small.json").read_text())["digests"]) == 2


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
        "network": None,
        "task": None,
        "paired": False,
    }
    assert [session.get("runs") for session in manifest["sessions"]] == [8, None]
