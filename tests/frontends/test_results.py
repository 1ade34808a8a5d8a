"""`scratchcard results`, as a user meets it."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from scratchcard.analysis import results
from tests.analysis.recorded import failure, record, write, write_grid
from tests.frontends.calls import as_json, refused, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = [record("snip", seed=seed, test_accuracy=0.5 + seed / 4) for seed in (0, 1, 2)]
    return write(tmp_path / "results", [*made, record("magnitude", density=0.005, test_accuracy=0.25)])


def told(*arguments: object) -> list[list[str]]:
    result = run("results", *arguments)
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_without_sql_it_prints_means_and_intervals(folder: Path) -> None:
    assert told(folder) == [
        ["task", "density", "label", "test accuracy, %", "seeds"],
        ["mnist", "0.005", "magnitude", "25.00", "1"],
        ["mnist", "0.1", "snip", "75.00 ± 62.10", "3"],
    ]
    single, several = as_json("results", folder)
    assert (single["half_width"], single["predictor"], single["test_accuracy"]) == (None, None, 0.25)
    assert (several["label"], several["seeds"], several["test_accuracy"]) == ("snip", 3, 0.75)


def test_networks_and_predictors_are_named_where_they_differ(folder: Path) -> None:
    other = record("predicted", seed=5)
    other["configuration"]["workload"]["network"] = "mine:net"
    other["configuration"]["method"]["predictor"] = "bundles/gbm"
    lines = told(write(folder, [other]))
    assert lines[0] == ["task", "network", "density", "label", "predictor", "test accuracy, %", "seeds"]
    assert lines[2] == ["mnist", "mine:net", "0.1", "predicted", "gbm", "90.00", "1"]


def test_another_metric_is_called_by_its_name_and_not_averaged_with_accuracy(folder: Path) -> None:
    other = record("snip", seed=9, test_accuracy=0.5) | {"metric": "r2", "test_metrics": {"r2": 0.5}}
    lines = told(write(folder, [other]))
    assert lines[0][-2:] == ["result", "seeds"]
    assert lines[2][2:] == ["snip", "test accuracy, %: 75.00 ± 62.10", "3"]
    assert lines[3][2:] == ["snip", "test r2: 0.5000", "1"]
    alone = told(write(folder.parent / "alone", [other]))
    assert alone == [["task", "density", "label", "test r2", "seeds"], ["mnist", "0.1", "snip", "0.5000", "1"]]
    assert as_json("results", folder, "SELECT test_metrics->>'r2' AS r2 FROM runs WHERE metric = 'r2'") == [
        {"r2": "0.5"}
    ]


def test_a_terminal_is_shown_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from scratchcard.frontends.cli.results import _table

    _table(["label", "mean", "note"], [{"label": "snip", "mean": 0.1 + 0.2, "note": "[bold]a\nb"}])
    assert capsys.readouterr().out.split("\n")[:2] == ["label  mean  note     ", "snip    0.3  [bold]a b"]


def test_sql_is_answered_as_text_and_as_json(folder: Path) -> None:
    sql = "SELECT label, sum(seed) s, avg(test_accuracy) a, max(wall_seconds) w FROM runs GROUP BY 1 ORDER BY 1"
    assert told(folder, sql) == [
        ["label", "s", "a", "w"],
        ["magnitude", "0", "0.25", ""],
        ["snip", "3", "0.75", ""],
    ]
    assert as_json("results", folder, sql)[1] == {"label": "snip", "s": 3, "a": 0.75, "w": None}
    assert as_json("results", folder, "SELECT [1.5, NULL] AS l, {'a': true} AS s, DATE '2026-01-02' AS d LIMIT 1") == [
        {"l": [1.5, None], "s": {"a": True}, "d": "2026-01-02"}
    ]
    assert told(folder, "SELECT 'a\tb\nc' AS x LIMIT 1") == [["x"], ["a b c"]]
    assert told(folder, "SELECT * FROM runs WHERE false") == [["no rows"]]
    assert as_json("results", folder, "SELECT * FROM runs WHERE false") == []


def test_it_exports(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert told(folder, "--out", out) == [[f"written to {out}"]]
    pd.testing.assert_frame_equal(results.frame(out), results.frame(folder), check_exact=True)
    assert told(out) == told(folder)
    part = tmp_path / "part.csv"
    assert as_json("results", out, "SELECT DISTINCT label FROM runs ORDER BY 1", "--out", part) == {"out": str(part)}
    assert part.read_text() == "label\nmagnitude\nsnip\n"


def test_one_grid_and_what_it_still_lacks(folder: Path) -> None:
    write_grid(folder, "mine", [record("snip", seed=1)["digest"], "not run", "nor this"])
    write_grid(folder, "done", [record("snip", seed=1)["digest"]])
    assert told(folder, "--grid", "mine")[1:] == [["mnist", "0.1", "snip", "75.00", "1"]]
    noted = "scratchcard: warning: 2 of the 3 runs of grid 'mine' are not finished\n"
    assert run("results", folder, "--grid", "mine").stderr == noted
    assert run("results", folder).stderr == noted
    assert run("results", folder, "--grid", "done").stderr == ""
    assert "did you mean 'mine'" in refused("results", folder, "--grid", "min")


def test_failed_runs_are_noted_and_listed(folder: Path) -> None:
    assert told(folder, "--failed") == [[f"no failed runs in {folder}"]]
    write(folder, [failure(record("grasp", seed=4), "RuntimeError: no\nluck")])
    assert "1 run failed: scratchcard results" in run("results", folder).stderr
    names, values = told(folder, "--failed")
    assert dict(zip(names, values, strict=True))["error"] == "RuntimeError: no luck"
    (listed,) = as_json("results", folder, "--failed")
    assert (listed["label"], listed["seed"], listed["error"]) == ("grasp", 4, "RuntimeError: no\nluck")


def test_a_damaged_record_is_a_warning(folder: Path) -> None:
    victim = folder / f"{record('snip', seed=1, density=0.1)['digest']}.json"
    victim.write_text(victim.read_text()[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run("results", folder)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert f"warning: skipped 1 file in {folder}" in result.stderr
    assert victim.name in result.stderr


def test_what_cannot_be_is_one_sentence(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there are no results at" in refused("results", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "there is no finished run in" in refused("results", tmp_path / "empty")
    (tmp_path / "x.parquet").write_text("no")
    assert "truncated or no Parquet file" in refused("results", tmp_path / "x.parquet")
    assert "syntax error" in refused("results", folder, "SELEC label FROM runs")
    assert "only one SELECT" in refused("results", folder, f"COPY runs TO '{tmp_path / 'stolen'}'")
    assert "disabled by configuration" in refused("results", folder, "FROM read_csv('/etc/passwd')")
    assert "ending must be" in refused("results", folder, "--out", tmp_path / "out.txt")
    assert "--failed lists failed runs" in refused("results", folder, "SELECT 1", "--failed")
    (tmp_path / "file").write_text("")
    assert "scratchcard: " in refused("results", folder, "--out", tmp_path / "file" / "out.csv")
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert "pip install 'scratchcard[report]'" in refused("results", folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "results", "x.parquet"]


def test_json_is_json_for_every_value(folder: Path) -> None:
    sql = "SELECT 'NaN'::DOUBLE AS n, 'Infinity'::DOUBLE AS i, now() AS t, uuid() AS u, 2::UHUGEINT ** 80 AS h LIMIT 1"
    (row,) = as_json("results", folder, sql)
    assert (row["n"], row["i"], row["h"]) == (None, None, 2.0**80)
    assert json.loads(json.dumps(row)) == row


def test_the_same_result_under_two_names_is_told(folder: Path) -> None:
    assert "several names" not in run("results", folder).stderr
    write(folder, [record("snip again", seed=seed, test_accuracy=0.5 + seed / 4) for seed in (0, 1, 2)])
    result = run("results", folder)
    assert result.exit_code == 0
    assert "'snip' and 'snip again' are identical in all 3 runs: one result under several names" in result.stderr
