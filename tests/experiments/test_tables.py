"""Pages of Markdown of whole grids: numbers, seeds, tests over all of a family, methods that are the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from experiments.tables import page, write_pages
from scratchcard.analysis.results import frame, grids
from scratchcard.apply.method import Method
from tests.analysis.report_results import BASELINES, record, runs, write_grid

SNIP = Method("snip", regime="UMS")
TWIN = Method("magnitude", on="snip", regime="UMS", restack=True)
RESULTS = ("test_accuracy", "test_loss", "training", "kept", "effective_density", "layer_density", "live_units")


def written(folder: Path, records: list[dict[str, Any]], comparisons: Any = (), **manifest: Any) -> str:
    write_grid(folder, "grid", records, comparisons, **manifest)
    return page(frame(folder, grid="grid"), grids(folder)[0])


def family(of: list[str], against: list[str]) -> dict[str, Any]:
    return {"name": "family", "of": of, "against": against, "densities": None, "task": None, "paired": False}


def test_cells_have_the_mean_the_interval_and_the_seeds_of_the_records(tmp_path: Path) -> None:
    made = runs(BASELINES, [0.005], range(5)) + runs(BASELINES, [0.1], range(3)) + [record(BASELINES[1], 0.1, 3)]
    text = written(tmp_path, made)
    assert "| method | 0.005 (5 seeds) | 0.1 (3 seeds) |" in text
    row = next(line for line in text.splitlines() if line.startswith(f"| {BASELINES[1].label} |"))
    for density, cell in zip((0.005, 0.1), row.split(" | ")[1:], strict=True):
        values = [100 * one["test_accuracy"] for one in made if label_at(one, BASELINES[1].label, density)]
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert cell.startswith(f"{np.mean(values):.2f} ± {(high - low) / 2:.2f}")
        assert ("(4)" in cell) == (density == 0.1)
    assert "Not finished" not in text


def label_at(one: dict[str, Any], label: str, density: float) -> bool:
    return bool(one["label"] == label and one["configuration"]["density"] == density)


def test_methods_that_are_the_same_are_named_and_ranked_once(tmp_path: Path) -> None:
    made = runs([SNIP, *BASELINES], [0.005, 0.1], range(3))
    twins = runs([TWIN], [0.005, 0.1], range(3))
    for twin, one in zip(twins, made, strict=False):
        twin.update({name: one[name] for name in RESULTS})
    text = written(tmp_path, made + twins, [family([SNIP.label, TWIN.label], ["random"])])
    assert f"| {TWIN.label}<br>identical to {SNIP.label} |" in text
    assert f"'{SNIP.label}' and '{TWIN.label}' are identical in all 6 runs" in text
    ranks = next(line for line in text.splitlines() if line.startswith("Mean ranks"))
    assert SNIP.label in ranks
    assert TWIN.label not in ranks
    assert "Of these 4 tests 2 repeat another" in text
    assert "identical" not in written(tmp_path / "other", made)


def test_a_family_over_two_tasks_is_corrected_as_one(tmp_path: Path) -> None:
    made = [one for task in ("mnist", "digits") for one in runs(BASELINES, [0.02], range(4), task=task)]
    text = written(tmp_path, made, [family(["snip"], ["random", "magnitude"])])
    assert "**family**: 4 tests" in text
    assert text.count("**family**") == 1
    tests = [line.split(" | ") for line in text.splitlines() if re.match(r"\| snip \| (random|magnitude) \|", line)]
    assert sorted(test[2] for test in tests) == ["digits", "digits", "mnist", "mnist"]


def test_runs_of_one_label_with_other_settings_are_not_pooled(tmp_path: Path) -> None:
    made = runs(BASELINES[:3], [0.02, 0.03], range(3))  # densities without published figures
    again = json.loads(json.dumps([one for one in made if one["label"] == "snip"]))
    for one in again:
        one["digest"] = one["digest"][::-1]
        one["configuration"]["workload"]["recipe"]["max_steps"] = 500
        one["test_accuracy"] = 0.5
    text = written(tmp_path, made + again, [family(["snip"], ["random"])])
    assert re.search(r"\| snip \[500 steps\] \| 50\.00 ± 0\.00 \| 50\.00 ± 0\.00 \|", text)
    assert "| snip [12885 steps] |" in text
    assert "They could not be tested" in text


def test_an_unfinished_grid_says_so(tmp_path: Path) -> None:
    made = runs(BASELINES, [0.1], range(3))
    text = written(tmp_path, made, digests=[*(one["digest"] for one in made), "0" * 64])
    assert "12 of 13 runs" in text
    assert "**Not finished**" in text


def test_a_grid_that_has_not_begun_has_no_page(tmp_path: Path) -> None:
    made = runs(BASELINES, [0.1], range(3))
    write_grid(tmp_path, "begun", made)
    write_grid(tmp_path, "planned", [], digests=["0" * 64])
    assert write_pages(tmp_path, tmp_path / "pages") == [tmp_path / "pages" / "begun.md"]
    assert (tmp_path / "pages" / "begun.md").read_text() == page(
        frame(tmp_path, grid="begun"), next(m for m in grids(tmp_path) if m["name"] == "begun")
    )
    with pytest.raises(ValueError, match=r"unknown grid 'begin'.*did you mean 'begun'"):
        write_pages(tmp_path, tmp_path / "pages", ["begin"])
