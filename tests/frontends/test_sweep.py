"""`scratchcard sweep` and `status` as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.frontends.calls import as_json, refused, run

GRID = """
name = "small"
title = "A small grid"
densities = [0.05]
seeds = "1-2"

[workload]
task = "digits"
recipe = { max_steps = 40, evaluation_interval = 20, scoring_examples = 64 }

[[methods]]
scorer = ["snip", "magnitude"]
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return path


def test_a_grid_from_dry_run_to_export(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    planned = run("sweep", grid, "--out", out, "--dry-run").stdout
    assert "0 of 4 runs done; how long the rest takes is not known" in planned
    assert not out.exists()
    done = as_json("sweep", grid, "--out", out, "--jobs", 2, "--device", "cpu")
    assert (done["done"], done["total"], done["ran"], done["failed"]) == (4, 4, 4, {})
    assert done["runs_per_minute"] == pytest.approx(60 * 4 / done["seconds"])
    again = run("sweep", grid, "--out", out)
    assert "4 of 4 runs done" in again.stdout
    assert "0 runs in" in again.stdout
    assert as_json("status", grid, "--out", out)["done"] == 4
    assert "snip" in run("results", out, "--grid", "small").stdout
    assert not list(tmp_path.rglob("*.part*"))


def test_an_estimate_follows_from_what_is_done(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    run("sweep", grid, "--out", out)
    more = tmp_path / "more.toml"
    more.write_text(GRID.replace('"small"', '"more"').replace('"1-2"', '"1-3"'))
    found = as_json("status", more, "--out", out, "--jobs", 2)
    assert (found["done"], found["total"]) == (4, 6)
    assert found["seconds_left"] > 0
    assert "2 jobs" in run("sweep", more, "--out", out, "--jobs", 2, "--dry-run").stdout


def test_kept_tickets_can_be_evaluated(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    run("sweep", grid, "--out", out)
    # Runs without their ticket are done again, and come out as they were.
    before = as_json("results", out, "SELECT digest, test_accuracy FROM runs ORDER BY digest")
    assert as_json("sweep", grid, "--out", out, "--keep-tickets")["ran"] == 4
    assert as_json("results", out, "SELECT digest, test_accuracy FROM runs ORDER BY digest") == before
    for row in before:
        ticket = out / "tickets" / f"{row['digest']}.safetensors"
        assert as_json("evaluate", ticket)["accuracy"] == row["test_accuracy"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('scorer = ["snip", "magnitude"]', 'scorer = "snup"'), "did you mean 'snip'"),
        (('task = "digits"', 'task = "digits"\nseed = 3'), "workload.seed is no key of a grid"),
        (("densities = [0.05]", "densities = [1.5]"), "density must lie in"),
    ],
)
def test_a_wrong_grid_is_one_line(grid: Path, tmp_path: Path, change: tuple[str, str], message: str) -> None:
    grid.write_text(GRID.replace(*change))
    assert message in refused("sweep", grid, "--out", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_other_densities_can_be_left_out(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    grid.write_text(GRID.replace("[0.05]", "[0.05, 0.1]"))
    assert as_json("sweep", grid, "--out", out, "--density", 0.1)["ran"] == 4
    assert as_json("status", grid, "--out", out)["done"] == 4
    # The folder's notes are those of the whole grid.
    assert "4 of the 8 runs of grid 'small' are not finished" in run("results", out).stderr
    assert "no density 0.2; it has 0.05, 0.1" in refused("status", grid, "--out", out, "--density", 0.2)


def test_other_tasks_can_be_left_out(grid: Path, tmp_path: Path) -> None:
    assert as_json("status", grid, "--out", tmp_path, "--task", "digits")["total"] == 4
    assert "no task" in refused("status", grid, "--out", tmp_path, "--task", "mnist")
