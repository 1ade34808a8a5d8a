"""Results: what was recorded is what is read, from a folder, an exported file, or through SQL."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from scratchcard.analysis import results
from scratchcard.analysis import run_files as reading
from scratchcard.analysis.results import DamagedRecordWarning, MixedRunsWarning
from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.sweeps.run_records import write_result
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload
from tests.analysis.recorded import failure, record, write, write_grid

NAMES = [
    *("digest", "label", "network", "task", "data_digest", "density", "seed", "scorer", "on", "predictor"),
    *("regime", "rounds", "shots", "schedule", "scope", "towards", "restack", "rewind_step", "round_steps"),
    *(
        "search_steps",
        "search_learning_rate",
        "search_rise",
        "search_stride",
        "search_optimizer",
        "search_batch_size",
        "search_weight_decay",
        "settle",
        "look_every",
        "pace",
        "update_steps",
        "drop_fraction",
        "update_share",
        "same_sign",
        "masks",
        "thresholds",
        "mask_rate",
        "mask_decay",
    ),
    *("initial", "initial_scorer", "kept_weights", "kept_signs"),
    *("optimizer", "learning_rate", "scoring_examples", "max_steps"),
    *("kept", "prunable", "effective_density", "test_accuracy", "test_loss"),
    *("metric", "test_metrics"),
    *("validation_accuracy", "validation_loss", "pruning_seconds", "passes", "training_seconds", "wall_seconds"),
    *("steps", "best_step", "early_stopped", "diverged", "engine", "device", "results_version", "torch"),
    *("python", "scratchcard", "machine", "finished", "layer_density", "live_units", "checks", "grids"),
]

# Whatever dtype text has in the installed pandas.
TEXT = str(pd.Series(["text"]).dtype)
INTEGERS = {
    "rounds",
    "shots",
    "rewind_step",
    "round_steps",
    "search_steps",
    "search_batch_size",
    "look_every",
    "update_steps",
    "masks",
    "scoring_examples",
    "max_steps",
    "steps",
    "best_step",
    "results_version",
}
REALS = {
    *("search_learning_rate", "search_rise", "search_stride", "search_weight_decay", "settle"),
    *("pace", "drop_fraction", "update_share", "learning_rate", "mask_rate", "mask_decay"),
    *("density", "towards", "effective_density", "test_accuracy", "test_loss", "validation_accuracy"),
    *("validation_loss", "pruning_seconds", "passes", "training_seconds", "wall_seconds"),
}
TYPES = (
    dict.fromkeys(NAMES, TEXT)
    | dict.fromkeys(INTEGERS, "Int64")
    | dict.fromkeys(REALS, "float64")
    | {"seed": "int64", "kept": "int64", "prunable": "int64", "early_stopped": "boolean", "diverged": "boolean"}
    | {"restack": "boolean", "same_sign": "boolean", "kept_signs": "boolean"}
)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert_frame_equal(one, other, check_exact=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = [record(label, seed=seed) for label in ("snip", "grasp") for seed in (2, 0, 1)]
    return write(tmp_path / "results", made)


# What a row says


def test_a_real_run_is_a_row(tmp_path: Path) -> None:
    workload = Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=20, evaluation_interval=10))
    method = Method.of("synflow", on="magnitude", regime="UMS", rounds=2, initial="saw", initial_scorer="snip")
    made, _ = Experiment(workload, method, 0.05, 3).run()
    write_result(made, tmp_path)
    (row,) = results.frame(tmp_path).to_dict("records")
    assert row["digest"] == made["digest"]
    assert row["label"] == "synflow on magnitude, UMS 2, saw snip"
    assert (row["scorer"], row["on"], row["regime"], row["initial"]) == ("synflow", "magnitude", "UMS", "saw")
    assert (row["initial_scorer"], row["rounds"], row["seed"], row["density"]) == ("snip", 2, 3, 0.05)
    assert (row["task"], row["network"], row["data_digest"]) == ("digits", "lenet_300_100", workload.task.digest)
    assert (row["kept"], row["prunable"], row["max_steps"]) == (2510, 50_200, 20)
    assert row["test_accuracy"] == made["test_accuracy"]
    assert row["training_seconds"] == made["training"]["seconds"]
    assert row["diverged"] is False
    assert json.loads(row["layer_density"]) == made["layer_density"]
    assert json.loads(row["live_units"]) == made["live_units"]
    assert row["torch"] == made["versions"]["torch"]


def test_the_columns_are_those_promised_with_types_that_hang_on_no_value(folder: Path) -> None:
    frame = results.frame(folder)
    assert list(frame.columns) == NAMES
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == TYPES
    full = record("full")
    full |= {"wall_seconds": 2.0, "machine": "x86_64, 2 cores", "history": [[10, 0.5, None, 0.8]]}
    full["training"]["diverged"] = True
    full["configuration"]["method"] |= {"towards": 0.005, "on": "snip"}
    frame = results.frame(write(folder / "full", [full]))
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == TYPES
    assert frame[["wall_seconds", "machine", "diverged", "towards", "on"]].values.tolist() == [
        [2.0, "x86_64, 2 cores", True, 0.005, "snip"]
    ]


def test_fields_that_older_records_lack_are_missing(folder: Path) -> None:
    frame = results.frame(folder)
    for name in ("wall_seconds", "machine", "diverged", "towards", "on", "predictor", "initial_scorer"):
        assert frame[name].isna().all()
    assert frame["rounds"].notna().all()
    assert (frame["grids"] == "").all()


@pytest.mark.parametrize(
    ("name", "path", "shown"),
    [
        ("gbm-imp", "runs/predictors/3f2a", "gbm-imp"),
        (None, "runs/predictors/3f2a", "3f2a"),
        (None, "bundle/", "bundle"),
        (None, r"C:\runs\bundle", "bundle"),
    ],
)
def test_a_predictor_goes_by_its_name_else_by_the_last_part_of_its_path(
    tmp_path: Path, name: str | None, path: str, shown: str
) -> None:
    made = record("predicted")
    made["configuration"]["method"] |= {"predictor": path} | ({"predictor_name": name} if name else {})
    assert results.frame(write(tmp_path, [made]))["predictor"].tolist() == [shown]


def test_rows_are_sorted_by_task_density_label_and_seed(tmp_path: Path) -> None:
    keys = [(task, d, label, seed) for task in "ba" for d in (0.1, 0.005) for label in ("b", "a") for seed in (10, 9)]
    write(tmp_path, [record(label, seed=seed, density=d, task=task) for task, d, label, seed in keys])
    frame = results.frame(tmp_path)
    assert list(frame[["task", "density", "label", "seed"]].itertuples(index=False, name=None)) == sorted(keys)


real = st.floats(allow_nan=False, allow_infinity=False)
share = st.floats(0.0, 1.0)
density = st.floats(0.0, 1.0, exclude_min=True)
maybe_real = st.none() | real
maybe_seconds = st.none() | st.floats(0.0, allow_infinity=False)
word = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
whole = st.none() | st.integers(0, 2**62)


@st.composite
def folders_of_records(draw: st.DrawFn) -> list[dict[str, Any]]:
    made = []
    for seed in draw(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=8, unique=True)):
        one = record(draw(word), seed=seed, density=draw(density), test_accuracy=draw(share), task=draw(word))
        one["test_loss"], one["wall_seconds"] = draw(maybe_real), draw(maybe_seconds)
        one["training"] = {"steps": draw(whole), "diverged": draw(st.none() | st.booleans())}
        one["configuration"]["method"] |= {"on": draw(st.none() | word), "towards": draw(st.none() | share)}
        one["layer_density"] = draw(st.dictionaries(word, share, max_size=3))
        made.append(one)
    return made


@given(folders_of_records())
@settings(max_examples=12)
def test_folder_export_and_query_agree_with_the_records_to_the_bit(made: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as path:
        folder = write(Path(path) / "results", made)
        frame = results.frame(folder)
        rows = {row["digest"]: row for row in frame.to_dict("records")}
        assert len(rows) == len(made)
        for one in made:
            row = rows[one["digest"]]
            expected = {
                "density": one["configuration"]["density"],
                "test_accuracy": one["test_accuracy"],
                "test_loss": one["test_loss"],
                "wall_seconds": one["wall_seconds"],
                "towards": one["configuration"]["method"]["towards"],
                "steps": one["training"]["steps"],
                "diverged": one["training"]["diverged"],
                "on": one["configuration"]["method"]["on"],
                "label": one["label"],
                "seed": one["configuration"]["seed"],
            }
            assert {name: None if pd.isna(row[name]) else row[name] for name in expected} == expected
            assert json.loads(row["layer_density"]) == one["layer_density"]
        exported = results.export(folder, Path(path) / "out.parquet")
        same(results.frame(exported), frame)
        same(results.query(exported, "SELECT * FROM runs"), frame)


def test_reading_in_parts_is_reading_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = results.frame(folder)
    monkeypatch.setattr(reading, "CHUNK", 4)
    same(results.frame(folder), frame)


# Damage


def damaged(kind: str, text: str) -> bytes:
    made = json.loads(text)
    if kind == "cut off":
        return text.encode()[: len(text) // 2]
    if kind == "cut off by one":
        return text.rstrip().encode()[:-1]
    if kind == "empty":
        return b""
    if kind == "zeros, as after a crash":
        return bytes(len(text))
    if kind == "not UTF-8":
        return text.replace("mnist", "mn\xefst").encode("latin-1")
    if kind == "a list":
        return f"[{text}]".encode()
    if kind == "a number":
        return b"7"
    if kind == "another run's":
        return text.replace(made["digest"], "0" * 64).encode()
    if kind == "no accuracy":
        made["test_accuracy"] = None
    if kind == "a wrong type":
        made["configuration"] = "mnist"
    if kind == "settings alone":
        made = {"digest": made["digest"]}
    return json.dumps(made).encode()


@pytest.mark.parametrize(
    "kind",
    [
        *("cut off", "cut off by one", "empty", "zeros, as after a crash", "not UTF-8", "a list", "a number"),
        *("another run's", "no accuracy", "a wrong type", "settings alone"),
    ],
)
def test_a_damaged_record_is_skipped_and_named(folder: Path, kind: str) -> None:
    before = results.frame(folder)
    victim = sorted(folder.glob("*.json"))[2]
    victim.write_bytes(damaged(kind, victim.read_text()))
    with pytest.warns(DamagedRecordWarning, match=f"skipped 1 file in .*{victim.name}"):
        frame = results.frame(folder)
    same(frame, before[before["digest"] != victim.stem].reset_index(drop=True))


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ('"test_accuracy": true', "test_accuracy should be a valid number, not true"),
        ('"test_accuracy": 7.5', "test_accuracy is 7.5, but accuracy lies between 0 and 1"),
        ('"test_accuracy": "x"', 'test_accuracy should be a valid number, not "x"'),
        ('"test_accuracy": NaN', "test_accuracy should be a finite number, not nan"),
        ('"test_accuracy": null', "test_accuracy is null, which is no number to compare"),
        ('"effective_density": 1.5', "effective_density should be less than or equal to 1, not 1.5"),
        ('"effective_density": -0.1', "effective_density should be greater than or equal to 0, not -0.1"),
        ('"effective_density": NaN', "effective_density should be less than or equal to 1, not nan"),
        ('"effective_density": 0.5', "effective_density is 0.5, which is more than kept / prunable"),
        ('"kept": 26620.5', "kept should be a valid integer, not 26620.5"),
        ('"kept": 266201', "kept is 266201, which is more than prunable, 266200"),
        ('"rounds": 3', "rounds should be a valid array, not 3"),
        ('"rounds": [{"steps": -1}]', "rounds.0.steps should be greater than or equal to 0, not -1"),
        ('"history": [[10, 0.5]]', "history.0.2 is missing"),
        ('"history": [[10, 0.5, null, "x"]]', 'history.0.3 should be a valid number, not "x"'),
        ('"wall_seconds": -2', "wall_seconds should be greater than or equal to 0, not -2"),
    ],
)
def test_a_record_edited_by_hand_is_left_out_and_says_what_is_odd(folder: Path, odd: str, told: str) -> None:
    before = results.frame(folder)
    victim = sorted(folder.glob("*.json"))[2]
    name = odd.partition(":")[0].strip('"')
    made = {key: value for key, value in json.loads(victim.read_text()).items() if key != name}
    victim.write_text(f"{json.dumps(made)[:-1]}, {odd}}}")
    with pytest.warns(DamagedRecordWarning, match=re.escape(f"{victim.name} ({told})")):
        frame = results.frame(folder)
    same(frame, before[before["digest"] != victim.stem].reset_index(drop=True))


def test_a_metric_that_is_no_share_has_no_range(tmp_path: Path) -> None:
    made = record(test_accuracy=-7.5) | {"metric": "r2", "test_metrics": {"r2": -7.5}}
    assert results.frame(write(tmp_path, [made]))["test_accuracy"].tolist() == [-7.5]


def test_many_damaged_records_are_counted(folder: Path) -> None:
    for victim in sorted(folder.glob("*.json"))[:5]:
        victim.write_text("{")
    with pytest.warns(DamagedRecordWarning, match="skipped 5 files in .* and 2 more$"):
        assert len(results.frame(folder)) == 1


def test_what_a_sweep_leaves_beside_the_records_is_none(folder: Path) -> None:
    before = results.frame(folder)
    (folder / f".{'a' * 64}.77.part.json").write_text('{"dig')
    (folder / f"{'b' * 64}.json").mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / ".shared").mkdir()
    same(results.frame(folder), before)


def test_a_record_that_goes_while_it_is_read_is_no_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, listed = results.frame(folder), reading._stems(folder)
    monkeypatch.setattr(reading, "_stems", lambda _: [*listed, "f" * 64])
    same(results.frame(folder), before)


@pytest.mark.parametrize("nothing", ["missing", "empty", "only failed"])
def test_nothing_to_read_is_one_sentence(tmp_path: Path, nothing: str) -> None:
    source = tmp_path / "results"
    if nothing != "missing":
        source.mkdir()
    if nothing == "only failed":
        write(source, [failure(record())])
    told = {"missing": "there are no results at", "empty": "no finished run in", "only failed": "; 1 failed"}
    with pytest.raises((ValueError, FileNotFoundError), match=told[nothing]):
        results.frame(source)


# Failed runs


def test_failed_runs_are_told_apart_until_they_succeed(folder: Path) -> None:
    lost, mended = record("synflow", seed=7), record("synflow", seed=8)
    before = results.frame(folder)
    write(folder, [failure(lost, "OSError: disk full"), failure(mended)])
    same(results.frame(folder), before)
    found = results.failures(folder)
    assert list(found.columns) == ["digest", "label", "density", "seed", "error", "finished"]
    assert found["seed"].tolist() == [7, 8]
    assert found.iloc[0].tolist() == [lost["digest"], "synflow", 0.1, 7, "OSError: disk full", lost["finished"]]
    write(folder, [mended])
    assert results.failures(folder)["seed"].tolist() == [7]
    exported = results.export(folder, folder / "out.parquet")
    same(results.failures(exported), results.failures(folder))


def test_without_failed_runs_the_frame_is_empty_and_typed(folder: Path) -> None:
    found = results.failures(folder)
    assert len(found) == 0
    assert str(found["density"].dtype) == "float64"


def test_a_damaged_failure_is_skipped_and_named(folder: Path) -> None:
    write(folder, [failure(record("synflow"))])
    (folder / "bad.error.json").write_text('{"digest": "bad"}')
    with pytest.warns(DamagedRecordWarning, match=r"failed runs: bad\.error\.json"):
        assert len(results.failures(folder)) == 1


# Grids and predictors


def test_grids_are_read_filtered_and_exported(folder: Path) -> None:
    snip = [record("snip", seed=seed)["digest"] for seed in (0, 1, 2)]
    half = write_grid(folder, "half", [snip[1], "not run yet", snip[0]], text="densities = 0.1  # ±", references=["B"])
    both = write_grid(folder, "both", snip)
    assert results.grids(folder) == [both, half]
    frame = results.frame(folder)
    assert frame["grids"].tolist() == ["", "", "", "both,half", "both,half", "both"]
    part = results.frame(folder, grid="half")
    same(part, frame[frame["digest"].isin(snip[:2])].reset_index(drop=True))
    assert results.unfinished(frame, results.grids(folder)) == {"both": (0, 3), "half": (1, 3)}
    exported = results.export(folder, folder / "all.parquet")
    assert results.grids(exported) == [both, half]
    same(results.frame(exported, grid="half"), part)
    alone = results.export(folder, folder / "half.parquet", grid="half")
    assert results.grids(alone) == [half]
    same(results.frame(alone), part)


def test_a_grids_export_holds_its_own_failures(folder: Path) -> None:
    ours, other = record("synflow", seed=7), record("synflow", seed=8)
    write(folder, [failure(ours), failure(other)])
    write_grid(folder, "mine", [ours["digest"], record("snip")["digest"]])
    assert results.failures(folder, grid="mine")["seed"].tolist() == [7]
    assert results.failures(results.export(folder, folder / "o.parquet", grid="mine"))["seed"].tolist() == [7]


def test_an_unknown_grid_names_the_nearest(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no grid 'x' in .*no grid was swept into it"):
        results.frame(folder, grid="x")
    write_grid(folder, "baselines", [])
    with pytest.raises(ValueError, match="unknown grid 'baseline', known are baselines; did you mean 'baselines'"):
        results.frame(folder, grid="baseline")
    with pytest.raises(ValueError, match="no finished run of grid 'baselines'"):
        results.frame(folder, grid="baselines")


def test_a_damaged_manifest_is_skipped_and_named(folder: Path) -> None:
    write_grid(folder, "good", [])
    (folder / "grids" / "bad.json").write_text('{"name": "bad"}')
    with pytest.warns(DamagedRecordWarning, match=r"grid manifests: bad\.json"):
        assert [manifest["name"] for manifest in results.grids(folder)] == ["good"]


def test_predictors_go_along(folder: Path) -> None:
    (folder / "predictors").mkdir()
    known = {"name": "gbm", "identity": "3f2a", "metrics": {"held_out": {"r2": 0.25, "overlap": None}}, "seconds": 2.0}
    (folder / "predictors" / "3f2a.json").write_text(json.dumps(known))
    assert results.predictors(folder) == [known]
    assert results.predictors(results.export(folder, folder / "out.parquet")) == [known]


# SQL


def test_sql_over_the_runs(folder: Path) -> None:
    found = results.query(
        folder, "SELECT label, count(*) AS n, sum(seed) AS s, avg(test_accuracy) AS a FROM runs GROUP BY 1 ORDER BY 1"
    )
    assert found.values.tolist() == [["grasp", 3, 3, pytest.approx(0.9)], ["snip", 3, 3, pytest.approx(0.9)]]
    assert [str(found[name].dtype) for name in ("n", "s", "a")] == ["int64", "int64", "float64"]
    wide = results.query(folder, "PIVOT runs ON seed USING avg(density) GROUP BY label ORDER BY label;")
    assert wide.values.tolist() == [["grasp", 0.1, 0.1, 0.1], ["snip", 0.1, 0.1, 0.1]]
    assert results.query(folder, "DESCRIBE runs")["column_name"].tolist() == NAMES
    assert len(results.query(folder, "SELECT * FROM runs WHERE seed > 99")) == 0
    assert str(results.query(folder, "SELECT NULL::INT AS x FROM runs")["x"].dtype) == "Int64"
    assert results.query(folder, "SELECT 2::UHUGEINT ** 70 AS x, 1.5 AS d LIMIT 1").values.tolist() == [[2.0**70, 1.5]]


def test_sql_over_one_grid(folder: Path) -> None:
    write_grid(folder, "one", [record("snip", seed=1)["digest"]])
    assert results.query(folder, "SELECT label, seed FROM runs", grid="one").values.tolist() == [["snip", 1]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    return results.export(write(folder / "results", [record(seed=seed) for seed in (0, 1)]), folder / "all.parquet")


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("COPY runs TO '{out}'", "only one SELECT"),
        ("COPY (SELECT 1) TO '{out}'", "only one SELECT"),
        ("EXPORT DATABASE '{out}'", "only one SELECT"),
        ("ATTACH '{out}' AS other", "only one SELECT"),
        ("INSTALL httpfs", "only one SELECT"),
        ("SET enable_external_access = true", "only one SELECT"),
        ("DROP VIEW runs", "only one SELECT"),
        ("CREATE TABLE mine AS SELECT * FROM runs", "only one SELECT"),
        ("SELECT 1; SELECT 2", "only one SELECT"),
        ("SELECT 1; COPY runs TO '{out}'", "only one SELECT"),
        ("", "only one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM read_json('{out}')", "disabled by configuration"),
        ("SELECT * FROM glob('/etc/*')", "disabled by configuration"),
        ("SELECT * FROM '/etc/passwd'", "does not exist"),
        ("SELECT * FROM 'https://example.org/x.parquet'", "cannot be run"),
        ("SELECT * FROM query('COPY runs TO ''{out}''')", "cannot be run"),
        ("SELECT * FROM frame_of_mine", "does not exist"),
        ("SELEC 1", "syntax error at or near"),
        ("SELECT nope FROM runs", 'column "nope" not found'),
        ("SELECT label::INT FROM runs", "Could not convert"),
        ("SELECT $1", "cannot be run"),
        ("SELECT seed, label AS seed FROM runs", "several columns called 'seed'"),
    ],
)
def test_other_sql_is_refused_in_one_sentence(exported: Path, tmp_path: Path, sql: str, told: str) -> None:
    frame_of_mine = pd.DataFrame({"x": [1]})
    assert len(frame_of_mine) == 1
    out = tmp_path / "made_by_sql"
    with pytest.raises(ValueError, match=told) as caught:
        results.query(exported, sql.format(out=out))
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_the_database_has_no_way_out() -> None:
    """The second wall, behind the refusal of other statements."""
    import duckdb

    with reading.closed_connection() as connection:
        for sql in ("COPY (SELECT 1) TO 'x.csv'", "ATTACH 'x.db'", "SET enable_external_access = true", "LOAD httpfs"):
            with pytest.raises(duckdb.Error):
                connection.sql(sql)
        assert connection.sql("SELECT current_setting('temp_directory')").fetchall() == [("",)]
    assert not Path("x.csv").exists()
    assert not Path("x.db").exists()


def test_without_duckdb_folders_are_refused_and_exports_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = results.export(folder, folder / "all.parquet")
    frame = results.frame(folder)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    for call in (lambda: results.frame(folder), lambda: results.query(exported, "SELECT 1")):
        with pytest.raises(ValueError, match=r"pip install 'scratchcard\[report\]'"):
            call()
    same(results.frame(exported), frame)


# Exports


def test_the_same_results_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_grid(folder, "g", [record("snip")["digest"]])
    one = results.export(folder, tmp_path / "one.parquet").read_bytes()
    again = tmp_path / "again"
    for path in sorted(folder.glob("*.json"), reverse=True):
        write(again, [json.loads(path.read_text())])
    shutil.copytree(folder / "grids", again / "grids")
    assert results.export(again, tmp_path / "two.parquet").read_bytes() == one
    assert results.export(tmp_path / "one.parquet", tmp_path / "three.parquet").read_bytes() == one


def test_csv_holds_the_frame(folder: Path, tmp_path: Path) -> None:
    frame = results.frame(folder)
    back = pd.read_csv(results.export(folder, tmp_path / "out.csv"), engine="python", dtype=TYPES)
    assert list(back.columns) == NAMES
    for name in NAMES:
        if name != "grids":  # empty text and missing text are one in CSV
            same(back[[name]], frame[[name]])


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_querys_outcome_is_exported(folder: Path, tmp_path: Path, ending: str) -> None:
    sql = "SELECT seed, avg(test_accuracy) AS mean FROM runs GROUP BY seed ORDER BY seed"
    out = results.export(folder, tmp_path / f"out{ending}", query=sql)
    same(pd.read_csv(out) if ending == ".csv" else pd.read_parquet(out), results.query(folder, sql))


def test_an_export_of_a_selection_of_rows_is_a_source(folder: Path, tmp_path: Path) -> None:
    out = results.export(
        folder, tmp_path / "out.parquet", query="SELECT * FROM runs WHERE seed = 1 ORDER BY label DESC"
    )
    frame = results.frame(folder)
    same(results.frame(out), frame[frame["seed"] == 1].reset_index(drop=True))


def test_parquet_without_a_later_column_is_read(folder: Path, tmp_path: Path) -> None:
    out = results.export(folder, tmp_path / "out.parquet", query="SELECT * EXCLUDE (machine, diverged) FROM runs")
    same(results.frame(out), results.frame(folder))


def test_foreign_files_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ending must be \.parquet or \.csv"):
        results.export(folder, tmp_path / "out.xlsx")
    results.frame(folder).to_parquet(tmp_path / "pandas.parquet")
    with pytest.raises(ValueError, match="none that `scratchcard results --out`"):
        results.frame(tmp_path / "pandas.parquet")
    (tmp_path / "text.parquet").write_text("digest,label\n")
    with pytest.raises(ValueError, match="truncated or no Parquet file"):
        results.frame(tmp_path / "text.parquet")
    whole = results.export(folder, tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated or no Parquet file"):
        results.grids(tmp_path / "cut.parquet")
    part = results.export(folder, tmp_path / "part.parquet", query="SELECT label, seed FROM runs")
    with pytest.raises(ValueError, match=r"lacks the columns digest, network.*outcome of a query"):
        results.frame(part)
    wrong = results.export(folder, tmp_path / "wrong.parquet", query="SELECT * REPLACE ('much' AS density) FROM runs")
    with pytest.raises(ValueError, match="other types than results have"):
        results.frame(wrong)
    with pytest.raises(ValueError, match=r"no folder of results and no exported \.parquet"):
        results.frame(results.export(folder, tmp_path / "out.csv"))


@pytest.mark.parametrize("at", range(16))
def test_a_flipped_byte_is_refused_or_read(folder: Path, tmp_path: Path, at: int) -> None:
    """Whatever is wrong in the file, it is an error of the user's file, never one of ours."""
    whole = bytearray(results.export(folder, tmp_path / "whole.parquet").read_bytes())
    whole[min(at * len(whole) // 15, len(whole) - 1)] ^= 0xFF
    (tmp_path / "bad.parquet").write_bytes(whole)
    for read in (results.frame, results.grids):
        try:
            read(tmp_path / "bad.parquet")
        except ValueError as error:
            told = str(error)
        else:
            told = "nothing that counts was hit: bad.parquet"
        assert "bad.parquet" in told


def test_a_newer_format_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratchcard.analysis.results_file.FORMAT", 2)
    out = results.export(folder, tmp_path / "out.parquet")
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"newer scratchcard \(format 2\)"):
        results.frame(out)


def test_an_export_that_fails_leaves_what_was_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = results.export(folder, tmp_path / "exports" / "out.parquet")
    before = out.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        results.export(folder, out)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["out.parquet"]


def test_an_exports_metadata_does_not_repeat_the_digests(folder: Path, tmp_path: Path) -> None:
    write_grid(folder, "g", results.frame(folder)["digest"].tolist())
    stored = pq.read_metadata(results.export(folder, tmp_path / "out.parquet")).metadata[b"scratchcard"]
    assert json.loads(stored)["grids"][0]["digests"] == [0, 1, 2, 3, 4, 5]


# Means


def test_the_summary_is_a_mean_and_its_interval_over_the_seeds(tmp_path: Path) -> None:
    made = [record("snip", seed=seed, test_accuracy=a) for seed, a in enumerate([0.5, 0.75, 1.0])]
    (_, row) = results.summary(results.frame(write(tmp_path, [*made, record("magnitude", density=0.01)]))).values[::-1]
    summed = results.summary(results.frame(tmp_path))
    assert list(summed.columns) == [
        *("task", "network", "density", "label", "predictor", "metric", "test_accuracy", "half_width", "seeds")
    ]
    single, several = summed.to_dict("records")
    assert (single["label"], single["seeds"], math.isnan(single["half_width"])) == ("magnitude", 1, True)
    assert (several["label"], several["seeds"], several["test_accuracy"]) == ("snip", 3, 0.75)
    # t(0.975, 2) = 4.302653, s = 0.25, n = 3
    assert several["half_width"] == pytest.approx(4.302652729749464 * 0.25 / math.sqrt(3), rel=1e-9)
    assert row[3] == "magnitude"


def test_runs_that_differ_in_more_than_the_seed_are_told(tmp_path: Path) -> None:
    one = record("snip")
    other = copy.deepcopy(one)
    other["configuration"]["workload"]["recipe"]["max_steps"] = 60
    other["digest"] = "e" * 64
    frame = results.frame(write(tmp_path, [one, other]))
    with pytest.warns(MixedRunsWarning, match="2 runs of 'snip' on mnist at density 0.1 share 1 seeds: .*max_steps"):
        results.summary(frame)
