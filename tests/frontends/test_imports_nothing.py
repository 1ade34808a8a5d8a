"""Commands that only ask import no code that a file names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchcard.artefacts.code_digest import code_digest
from scratchcard.sweeps.grid import read_grid
from scratchcard.sweeps.run_grid import run_grid, standing
from scratchcard.workloads.tasks import _load
from tests.frontends.calls import as_json, refused, run

CODE = """
from pathlib import Path
import torch
from torch import nn
import scratchcard as sc
Path(__file__).with_name("imported").touch()
def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
def task():
    return sc.Task.of(torch.arange(240.0).reshape(60, 4).sin(), torch.arange(60) % 2)
"""
GRID = """
name = "own"
title = "Own code"
densities = [0.5, 0.25]
seeds = "0-1"
methods = [{ scorer = "random" }]
[workload]
network = "evil_package.code:network"
task = "evil_package.code:task"
recipe = { max_steps = 20, scoring_examples = 20, batch_size = 32 }
"""


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A grid whose network and task are a user's own code, in a package that is code too."""
    package = tmp_path / "evil_package"
    package.mkdir()
    (package / "__init__.py").write_text("from pathlib import Path\nPath(__file__).with_name('imported').touch()\n")
    (package / "code.py").write_text(CODE)
    path = tmp_path / "own.toml"
    path.write_text(GRID)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    forget()


def forget() -> None:
    """As in a new process."""
    for name in [name for name in sys.modules if name.startswith("evil_package")]:
        del sys.modules[name]
    _load.cache_clear()


def imported(grid: Path) -> bool:
    return (grid.parent / "evil_package" / "imported").exists()


def test_how_far_a_grid_is_is_told_without_importing_its_code(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    for command in (["status", grid, "--out", out], ["sweep", grid, "--out", out, "--dry-run"]):
        told = as_json(*command)
        assert (told["total"], told["done"], told["seconds_left"]) == (4, 0, None)
    assert not imported(grid)
    assert run_grid(read_grid(grid, out, densities=[0.5]), out).ran == 2
    assert imported(grid)
    for again in (["status", grid, "--out", out], ["sweep", grid, "--out", out, "--dry-run"]):
        forget()
        (grid.parent / "evil_package" / "imported").unlink(missing_ok=True)
        told = as_json(*again)
        assert (told["total"], told["done"]) == (4, 2)
        assert told["seconds_left"] > 0
        for command in (["results", out], ["status", grid, "--out", out, "--density", "0.5"], ["list", "tasks"]):
            assert run(*command).exit_code == 0
        assert not imported(grid)
    # Edited code is another network and task: nothing of it is done.
    (grid.parent / "evil_package" / "code.py").write_text(CODE + "# edited\n")
    assert as_json("status", grid, "--out", out)["done"] == 0


def test_a_name_that_cannot_be_imported_is_said_where_it_is_needed(grid: Path, tmp_path: Path) -> None:
    text = (
        grid.read_text().replace("evil_package.code:network", "evil:boom").replace("evil_package.code:task", "digits")
    )
    grid.write_text(text)
    assert as_json("status", grid, "--out", tmp_path / "results")["total"] == 4
    assert "cannot import the network 'evil:boom'" in refused("sweep", grid, "--out", tmp_path / "results")


def test_what_is_known_with_and_without_importing_is_the_same(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    whole = read_grid(grid, out)
    run_grid(whole, out)
    asked = read_grid(grid, out, imports=False)
    assert asked.digests == whole.digests
    assert standing(asked, out) == standing(whole, out)


def test_code_is_found_without_running_the_packages_above_it(grid: Path) -> None:
    before = code_digest("evil_package.code:network")
    assert before is not None
    assert not imported(grid)
    __import__("evil_package.code")
    assert code_digest("evil_package.code:network") == before
    assert code_digest("evil_package.nothing:x") is code_digest("evil..x:y") is code_digest("no_such:z") is None
    assert code_digest("torch.nn.functional:relu") is not None


@pytest.mark.parametrize("notes", ['{"tasks": 3}', '{"tasks": {"evil_package.code:task": {"digest": 3}}}', "[", "{}"])
def test_damaged_notes_are_as_good_as_none(grid: Path, tmp_path: Path, notes: str) -> None:
    out = tmp_path / "results"
    run_grid(read_grid(grid, out), out)
    (out / "grids" / "own.json").write_text(notes)
    assert as_json("status", grid, "--out", out)["done"] == 0
    forget()
    assert run_grid(read_grid(grid, out), out).ran == 0  # and the next sweep notes it again
    assert as_json("status", grid, "--out", out)["done"] == 4
