"""What the report says of its own numbers: same results, seeds, clocks, shared runs, unfinished grids."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scratchcard.analysis.report import report
from scratchcard.analysis.report.cost import cost
from scratchcard.analysis.report.density_rows import density_table, means, seeds_text, usual_seeds
from scratchcard.analysis.report.heat_maps import heat_maps
from scratchcard.analysis.report.page import Data, Panels
from scratchcard.analysis.report.sources import named
from scratchcard.analysis.results import frame
from scratchcard.apply.method import Method
from tests.analysis.report_results import BASELINES, STACKS, record, runs, write_grid
from tests.analysis.test_report import Page

DENSITIES = (0.005, 0.02, 0.1)
SEEDS = (0, 1, 2)
SNIP = Method("snip", regime="UMS")
TWIN = Method("magnitude", on="snip", regime="UMS", restack=True)
RESULTS = ("test_accuracy", "test_loss", "training", "kept", "effective_density", "layer_density", "live_units")


def twins() -> list[dict[str, Any]]:
    """SNIP, and magnitude on SNIP's scores with SNIP's results; losses that differ by run."""
    made = runs([SNIP, *BASELINES], DENSITIES, SEEDS)
    for number, one in enumerate(made):
        one["training"]["validation_loss"] = 0.1 + number / 1000
    second = runs([TWIN], DENSITIES, SEEDS)
    for one, other in zip(second, made, strict=False):
        one.update({name: other[name] for name in RESULTS})
    return made + second


def words(path: Path) -> str:
    page = Page(path)
    return html.unescape(re.sub(r"<script.*?</script>|<[^>]+>", " ", page.text, flags=re.DOTALL))


def loaded(records: list[dict[str, Any]], folder: Path) -> pd.DataFrame:
    folder.mkdir()
    for made in records:
        (folder / f"{made['digest']}.json").write_text(json.dumps(made))
    return named(frame(folder))


def test_the_same_result_under_two_names_is_marked_and_ranked_once(tmp_path: Path) -> None:
    declared = {"name": "family", "of": [SNIP.label, TWIN.label], "against": ["random"], "densities": None}
    write_grid(tmp_path / "runs", "grid", twins(), [declared | {"task": None, "paired": False}])
    text = words(report(tmp_path / "runs", tmp_path / "report.html"))
    assert f"'{SNIP.label}' and '{TWIN.label}' are identical in all 9 runs" in text
    assert f"identical to {SNIP.label}" in text
    assert "Of these 6 tests 3 repeat another" in text
    assert "1 method left out that another stands for" in text
    assert f"Mean ranks of {1 + len(BASELINES)} methods" in Page(tmp_path / "report.html").text


def test_methods_that_differ_are_not_called_the_same(tmp_path: Path) -> None:
    write_grid(tmp_path / "runs", "grid", runs([SNIP, TWIN, *BASELINES], DENSITIES, SEEDS))
    text = words(report(tmp_path / "runs", tmp_path / "report.html"))
    assert "identical" not in text
    assert "left out that another" not in text


def test_seeds_by_density_are_said_where_they_differ(tmp_path: Path) -> None:
    made = runs(BASELINES[:3], [0.005], range(4)) + runs(BASELINES[:3], [0.1], range(2))
    rows = means(loaded(made[:-1], tmp_path / "runs"))
    assert usual_seeds(rows) == {0.005: 4, 0.1: 2}
    assert seeds_text(rows) == " Seeds: 4 at 0.005; 2 at 0.1, unless the cell says otherwise."
    _, cells = density_table(rows)
    notes = {line[0].text: [cell.note for cell in line[1:3]] for line in cells}
    odd = BASELINES[2].label
    assert notes.pop(odd) == ["", "1 seed"]
    assert set(map(tuple, notes.values())) == {("", "")}
    assert seeds_text(means(loaded(made[:12], tmp_path / "same"))) == ""


@pytest.mark.parametrize(
    ("devices", "unit", "words_"),
    [
        (["cpu"], "processor seconds", "not the time that passed"),
        (["cuda"], "seconds", "the time that passed, on a GPU"),
        (["cpu", "cuda"], "seconds", "two clocks"),
    ],
)
def test_the_axis_of_cost_says_which_clock(devices: list[str], unit: str, words_: str, tmp_path: Path) -> None:
    made = runs(BASELINES, DENSITIES, SEEDS)
    for number, one in enumerate(made):
        one["device"] = devices[number % len(devices)]
    (section,) = cost(loaded(made, tmp_path / "runs"), Data())
    panels = next(block for block in section.blocks if isinstance(block, Panels))
    titles = {layer["encoding"]["x"]["title"] for chart in panels.charts for layer in chart.spec["layer"]}
    assert titles == {f"pruning + training, {unit} (log axis)"}
    assert words_ in section.text
    assert "predictor" not in section.text


def test_costs_of_predictors_are_said_to_be_left_out_and_missing_seconds_are_not_zero(tmp_path: Path) -> None:
    made = runs(BASELINES[1:3], [0.1], SEEDS)
    for one in made[:3]:
        one["configuration"]["method"]["predictor"] = "predictors/linear"
    made[3]["pruning_seconds"] = None
    data = Data()
    (section,) = cost(loaded(made, tmp_path / "runs"), data)
    assert "fitting a predictor" in section.text
    (row,) = [row for row in data.sets["cost lenet_300_100 mnist accuracy"] if row["method"] == made[3]["label"]]
    assert row["n"] == 2


def test_what_lies_below_the_floor_does_not_stretch_a_plot(tmp_path: Path) -> None:
    """Vega draws marks outside of their plot unless told to clip, and its page then grows with them."""
    made = runs(STACKS[:6], DENSITIES, SEEDS) + [record(Method("random"), d, s) for d in DENSITIES for s in SEEDS]
    for one in made[-9:]:
        one["test_accuracy"] = 0.1
        one["pruning_seconds"] = 0.0
    write_grid(tmp_path / "runs", "grid", made)
    charts = Page(report(tmp_path / "runs", tmp_path / "report.html")).charts
    floored = [chart for chart in charts if any(p["name"] == "floor" for p in chart["params"])]
    assert len(floored) > 3
    for chart in floored:
        for layer in chart["layer"]:
            assert layer["mark"]["type"] == "text" or layer["mark"].get("clip"), layer["mark"]


def test_shared_runs_and_unfinished_grids_are_told(tmp_path: Path) -> None:
    declared = {"name": "family", "of": ["snip"], "against": ["random"], "densities": None, "task": None}
    digests = write_grid(tmp_path / "runs", "one", runs(BASELINES, DENSITIES, SEEDS), [declared | {"paired": False}])
    write_grid(tmp_path / "runs", "two", runs(BASELINES[:2], DENSITIES, SEEDS))
    text = words(report(tmp_path / "runs", tmp_path / "report.html"))
    assert "18 runs belong to several grids" in text
    assert "not finished" not in text
    assert "before the runs" not in text  # no page can know that
    write_grid(tmp_path / "runs", "one", [], [declared | {"paired": False}], digests=[*digests, "0" * 64])
    assert "not finished: every p" in words(report(tmp_path / "runs", tmp_path / "report.html"))


def test_runs_of_one_seed_that_nothing_tells_apart_are_pointed_out(tmp_path: Path) -> None:
    made = runs(BASELINES[:3], DENSITIES, SEEDS)
    again = json.loads(json.dumps(made[:2]))
    for one in again:
        one["digest"] = one["digest"][::-1]
        one["configuration"]["workload"]["recipe"]["learning_rate"] = 0.01
    write_grid(tmp_path / "runs", "grid", made + again)
    text = words(report(tmp_path / "runs", tmp_path / "report.html"))
    assert "2 of these runs have the method, density and seed of another" in text


def test_runs_on_other_data_are_other_methods(tmp_path: Path) -> None:
    made = runs(BASELINES[1:2], [0.1], SEEDS)
    again = json.loads(json.dumps(made))
    for one in again:
        one["digest"] = one["digest"][::-1]
        one["configuration"]["workload"]["data_digest"] = "e" * 64
    found = loaded(made + again, tmp_path / "runs")
    assert found["method"].nunique() == 2
    assert not found.duplicated(["method", "seed"]).any()


def test_a_cell_of_a_heat_map_holds_one_method(tmp_path: Path) -> None:
    """Two predictors are two columns; a stack in another schedule does not join the plain one's seeds."""
    stacks = runs([TWIN, SNIP, Method.of("magnitude", on="snip", regime="UMS", restack=True, rounds=10)], [0.1], SEEDS)
    for name in ("linear", "trees"):
        for seed in SEEDS:
            one = record(TWIN, 0.1, seed, label=f"{name} on snip every round, UMS 100")
            one["configuration"]["method"] |= {"scorer": "predicted", "predictor": name, "predictor_name": name}
            stacks.append(one)
    data = Data()
    heat_maps(loaded(stacks, tmp_path / "runs"), data)
    rows = data.sets["stacks every round lenet_300_100 mnist"]
    assert {row["column"] for row in rows} == {"magnitude", "snip", "linear", "trees"}
    assert {row["n"] for row in rows} == {len(SEEDS)}
    plain = next(row for row in rows if (row["row"], row["column"]) == ("snip", "magnitude"))
    expected = 100 * sum(record(TWIN, 0.1, seed)["test_accuracy"] for seed in SEEDS) / len(SEEDS)
    assert plain["value"] == pytest.approx(expected, rel=1e-5)


def test_versions_of_torch_and_devices_that_are_mixed_are_said(tmp_path: Path) -> None:
    made = runs([SNIP], DENSITIES, SEEDS)
    write_grid(tmp_path / "runs", "grid", made, [])
    assert "these runs mix" not in words(report(tmp_path / "runs", tmp_path / "report.html"))
    made[0]["versions"]["torch"], made[1]["device"] = "2.16.0", "cuda:0"
    write_grid(tmp_path / "runs", "grid", made, [])
    text = words(report(tmp_path / "runs", tmp_path / "report.html"))
    assert "these runs mix 2 versions of torch (2.15.0: 8 runs, 2.16.0: 1 run)" in text
    assert "these runs mix 2 kinds of device (cpu: 8 runs, cuda: 1 run)" in text


def test_what_tickets_checks_found_is_counted_by_kind(tmp_path: Path) -> None:
    made = runs([SNIP, *BASELINES], DENSITIES, SEEDS)
    odd = [one for one in made if one["label"] == made[0]["label"]][:4]
    for one in odd:
        one["checks"] = {"collapsed": "nothing is kept of <1.weight>"}
    odd[0]["checks"]["by_lot"] = "84 % by lot"
    write_grid(tmp_path / "runs", "grid", made)
    text = words(report(tmp_path / "runs", tmp_path / "report.html"))
    assert "What tickets' own checks found odd" in text
    assert "nothing is kept of <1.weight>" in text
    assert f"{made[0]['label']} (4)" in text
    assert f"{made[0]['label']} (1)" in text
