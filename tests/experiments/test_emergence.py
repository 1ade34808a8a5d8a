"""When the mask is there: the trajectories of dense trainings, which tickets hold, and the forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.emergence import emerged, holds, look_every, page, trajectories, write_rows
from experiments.forecast import forecast
from experiments.trajectories import THRESHOLD, trajectory
from scratchcard.analysis.results import frame
from scratchcard.pruning.emergence import mask_distance
from scratchcard.regimes import ESS
from scratchcard.scorers import make_scorer
from scratchcard.sweeps.grid import read_grid
from scratchcard.sweeps.run_grid import run_grid
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

GRID = """
name = "small"
title = "Small"
densities = [0.2, 0.05]
seeds = "0-1"

[workload]
task = "digits"
recipe = { optimizer = "adam", learning_rate = 0.0012, batch_size = 60, max_steps = 40, evaluation_interval = 20 }

[[methods]]
scorer = "magnitude"
regime = "ESS"
search_steps = [4, 40]

[[methods]]
scorer = "magnitude"

[[methods]]
scorer = "magnitude"
regime = "ESS"
search_steps = 40
settle = 0.1
look_every = 4
"""


def test_a_trajectory_sees_the_masks_that_early_searches_cut() -> None:
    recipe = Recipe(optimizer="adam", learning_rate=0.0012, batch_size=60, max_steps=40, evaluation_interval=20)
    workload = Workload("lenet_300_100", load_task("digits"), recipe)
    rows = trajectory(workload, 3, [0.1], 4)
    assert [(row["criterion"], row["density"]) for row in rows] == [("magnitude", 0.1), ("snip", 0.1)]
    for row in rows:
        scorer, last = make_scorer(row["criterion"]), row["last_step"]
        masks = {step: ESS(search_steps=step).find(workload, scorer, 0.1, seed=3).mask for step in (1, 8, last)}
        for step, mask in masks.items():
            assert row["distances"][str(step)] == pytest.approx(mask_distance(mask, masks[last]), abs=2e-3)
        assert row["distances"][str(last)] == 0
        stopping = ESS(search_steps=last, settle=THRESHOLD, look_every=4)
        looks = stopping.find(workload, scorer, 0.1, seed=3).training
        assert row["stopped"] == (looks[-1]["step"] if looks[-1]["settled"] else None)
    known, others = rows[0]["known"], rows[1]["known"]
    assert known["density"] == pytest.approx(-1)
    assert known["weights"] == pytest.approx(np.log10(50_200))
    assert (known["gradient"], others["gradient"]) == (0, 1)
    assert known["disagreement"] == others["disagreement"] > 0
    assert known["uneven"] != others["uneven"]


def test_what_holds_is_not_below_the_last_by_more_than_the_seeds_spread() -> None:
    last, spread = [0.95, 0.97], 0.01
    for shift, held in ((-0.5 * spread, True), (-20 * spread, False), (20 * spread, True)):
        found, seen = holds({10: [value + shift for value in last], 100: last})
        assert found == {10: held, 100: True}
        # Both have the variance 2e-4 about their means: s = sqrt(2e-4), two degrees of freedom, two seeds each.
        assert seen == pytest.approx(4.302653 * np.sqrt(2e-4), rel=1e-5)


def test_a_step_is_the_earliest_from_which_on_the_mask_is_near() -> None:
    row = {"distances": {"0": 0.2, "10": 0.4, "20": 0.2, "30": 0.05, "40": 0.0}}
    assert emerged(row) == {"emergence_0.1": 30, "emergence_0.3": 20}


def rows_of(target: np.ndarray, known: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "step": 10**value - 1,
            "known": {"x": x, "one": 1.0},
            "place": place % 6,
            "criterion": "snip",
            "density": [0.1, 0.2][place % 2],
        }
        for place, (value, x) in enumerate(zip(target, known, strict=True))
    ]


def test_the_forecast_finds_what_is_there_and_nothing_else() -> None:
    draw = np.random.default_rng(0)
    known = draw.normal(size=60)
    clear, noise = (
        forecast(rows_of(target, known), "step", "place") for target in (2 + known, 2 + draw.normal(size=60))
    )
    assert clear["ridge"] < 0.05 * clear["mean"]
    assert noise["ridge"] > 0.9 * noise["mean"]
    assert clear["rows"] == 60


def test_what_is_left_out_is_not_seen() -> None:
    """A place whose target is all its own is missed by the distance from the others."""
    rows = rows_of(np.repeat([1.0, 3.0, 5.0], 4), np.zeros(12))
    for place, row in enumerate(rows):
        row["place"] = place // 4
    errors = forecast(rows, "step", "place")
    assert errors["ridge"] == pytest.approx(np.sqrt(6))
    assert errors["mean"] == pytest.approx(np.sqrt(6))
    assert errors["alike"] == pytest.approx(np.sqrt(6))


def test_those_most_alike_are_of_the_same_place_where_it_is_not_left_out() -> None:
    rows = rows_of(np.tile([1.0, 3.0, 2.0], 4), np.zeros(12))
    for place, row in enumerate(rows):
        row["place"], row["seed"], row["density"] = place % 3, place // 3, 0.1
    assert forecast(rows, "step", "seed")["alike"] == pytest.approx(0, abs=1e-9)
    assert forecast(rows, "step", "place")["alike"] == pytest.approx(np.sqrt(1.5))
    with pytest.raises(ValueError, match="1 values of density, expected three"):
        forecast(rows, "step", "density")


def test_the_page_of_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.toml").write_text(GRID)
    grid = read_grid(tmp_path / "small.toml", tmp_path)
    assert look_every(grid) == 4
    rows = trajectories(grid, tmp_path / "trajectories")
    assert len(rows) == 2 * 2 * 2
    monkeypatch.setattr("experiments.emergence.trajectory", None)  # what was measured is read
    assert trajectories(grid, tmp_path / "trajectories") == rows
    run_grid(grid, tmp_path / "runs")
    text = page(rows, {"small": frame(tmp_path / "runs", grid="small")}, {"small": "Small"})
    assert "| criterion | density | 0 (0 %) | 4 (10 %) | 40 (100 %) | can see | holds from |" in text
    assert text.count("| magnitude | 0.2 |") == 2
    assert "| last_step |" not in text  # two seeds of one network are too few for a forecast
    write_rows(rows, tmp_path / "rows.csv")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + len(rows)
    (tmp_path / "small.toml").write_text(GRID.replace("settle = 0.1\nlook_every = 4", "floor = 1"))
    with pytest.raises(ValueError, match=r"has ESS with settle looking every \[\] steps"):
        look_every(read_grid(tmp_path / "small.toml", tmp_path))
