"""Building: what a table holds, resuming after a kill, refusing other settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import scratchcard.dataset_builder.build as module
from scratchcard.artefacts.store import Store, Stored
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.dataset_builder.features import FEATURES, compute_features
from scratchcard.dataset_builder.table_folder import claim
from scratchcard.dataset_builder.targets import REPEAT_OFFSET, TARGETS
from scratchcard.pruning.parameters import prunable
from scratchcard.score_tables.manifest import read_manifest
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.writer import file_name
from scratchcard.scorers import make_scorer
from scratchcard.workloads.engines.training import Recipe
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(max_steps=40, evaluation_interval=20, scoring_examples=100)
IMP = Recording.of("ISS", "magnitude", 0.05, rounds=2)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


@pytest.fixture(scope="module")
def table(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> ScoreTable:
    recording = Recording.of("ISS", "magnitude", 0.05, rounds=2, every_round=True, repeat=True)
    return build(workload, [3], tmp_path_factory.mktemp("table"), recording)


def test_rows_features_and_targets_are_those_of_the_network_and_the_search(
    table: ScoreTable, workload: Workload
) -> None:
    found = IMP.make_regime().find(workload, make_scorer("magnitude"), 0.05, 3)
    again = IMP.make_regime().find(workload, make_scorer("magnitude"), 0.05, 3, data_seed=3 + REPEAT_OFFSET)
    network, batch = workload.build(3), workload.scoring_batch(3)
    assert table.schema.names == tuple(c.name for c in (*FEATURES, *TARGETS))
    for number in (0, 1):
        mask = found.mask_after(number)
        blocks = list(table.blocks(rounds=[number]))
        assert sum(block.rows for block in blocks) == mask.kept
        expected = compute_features(network, batch, workload.task.loss, mask=mask if number else None, density=0.05)
        for block, features in zip(blocks, expected, strict=True):
            assert (block.workload, block.seed, block.parameter) == (workload.name, 3, features.parameter)
            kept = np.flatnonzero(mask.tensors[block.parameter].reshape(-1).numpy())
            assert np.array_equal(block.indices, kept)
            for place, name in enumerate(features.names):
                assert np.array_equal(block.columns[name], features.values[:, place]), name
            final = found.mask.tensors[block.parameter].reshape(-1).numpy()[kept]
            assert np.array_equal(block.columns["kept"], final)
            second = again.mask.tensors[block.parameter].reshape(-1).numpy()[kept]
            assert np.array_equal(block.columns["kept_repeat"], second)


def test_the_manifest_says_how_the_table_was_made(table: ScoreTable) -> None:
    manifest = read_manifest(table.path)
    assert manifest["seeds"] == {"lenet_300_100-digits": [3]}
    assert manifest["rows"] == table.rows
    assert manifest["digest"] == table.digest
    assert manifest["recording"]["regime"] == "ISS"
    assert manifest["workloads"]["lenet_300_100-digits"]["data_digest"] == load_task("digits").digest
    assert {"scratchcard", "torch", "results"} <= set(manifest["versions"])
    assert manifest["files"] == {file.path.name: file.digest for file in table.files}
    seed = table.files[0].metadata
    assert seed["kept"] == round(0.05 * 50_200)
    assert 0 < seed["kept_by_both"] <= seed["kept"]
    assert seed["scoring_batch"] == {"examples": 100, "seed": 3, "balanced": False}
    seconds = manifest["seconds"][table.files[0].path.name]
    assert 0 < seconds["slow_seconds"] <= 60
    assert len(seconds["training_seconds"]) == len(seed["training"])
    assert not (table.path / ".rounds").exists()


def test_two_workers_write_what_one_does_and_seeds_can_be_added(workload: Workload, tmp_path: Path) -> None:
    recording = Recording.of("UMS", "snip", 0.05, rounds=3)
    one = build(workload, [0, 1], tmp_path / "one", recording)
    build(workload, [0], tmp_path / "two", recording)
    two = build(workload, [0, 1], tmp_path / "two", recording, jobs=2)
    assert one.rows == two.rows == 2 * 50_200
    assert one.digest == two.digest
    assert set(read_manifest(tmp_path / "two")["seconds"]) == {file.path.name for file in two.files}
    for first, second in zip(one.blocks(), two.blocks(), strict=True):
        assert all(np.array_equal(first.columns[n], second.columns[n], equal_nan=True) for n in first.columns)
    assert read_manifest(tmp_path / "two")["seeds"] == {workload.name: [0, 1]}


def test_a_second_call_does_nothing_and_other_settings_are_refused(workload: Workload, tmp_path: Path) -> None:
    build(workload, [0], tmp_path, IMP)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    build(workload, [0], tmp_path, IMP)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times
    with pytest.raises(ValueError, match="another recording"):
        build(workload, [0], tmp_path, Recording.of("ISS", "magnitude", 0.04, rounds=2))
    other = Workload("lenet_300_100", load_task("digits"), Recipe(max_steps=30))
    told = (
        "holds a table of 1 seed made with another workload .*max_steps 40 there, 30 asked.*; go on with its settings, "
        "choose another folder, or delete it"
    )
    with pytest.raises(ValueError, match=told):
        build(other, [1], tmp_path, IMP)
    unfinished = tmp_path / "unfinished"
    claim(unfinished, workload, IMP)  # as it is after Ctrl-C in the first seed
    with pytest.raises(ValueError, match=r"holds an unfinished table \(0 seeds built\) made with another workload"):
        build(other, [1], unfinished, IMP)
    with pytest.raises(ValueError, match="each only once"):
        build(workload, [1, 1], tmp_path, IMP)


def test_a_damaged_file_is_built_again_and_fixed_weights_are_one_network(workload: Workload, tmp_path: Path) -> None:
    recording = Recording("USS", "snip", 0.05)
    whole = build(workload, [0, 1], tmp_path, recording)
    before, path = whole.columns(["snip", "kept"]), whole.files[1].path
    path.write_bytes(path.read_bytes()[:5000])
    after = build(workload, [0, 1], tmp_path, recording).columns(["snip", "kept"])
    assert all(np.array_equal(before[name], after[name]) for name in before)
    fixed = Workload("lenet_300_100", load_task("digits"), RECIPE, weights=tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="all seeds are the same network"):
        build(fixed, [0, 1], tmp_path / "other", recording)


def test_a_folder_with_a_foreign_manifest_is_refused(workload: Workload, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"workloads": [1]}')
    with pytest.raises(FileExistsError, match="is not a score table but holds 1 file of another kind"):
        build(workload, [0], tmp_path, IMP)


def test_other_columns_are_refused_before_the_slow_search(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording("USS", "snip", 0.05)
    with monkeypatch.context() as earlier:  # a release with one feature less
        earlier.setattr("scratchcard.dataset_builder.table_folder.FEATURES", FEATURES[1:])
        earlier.setattr("scratchcard.dataset_builder.features.FEATURES", FEATURES[1:])
        earlier.setattr(
            "scratchcard.dataset_builder.build.compute_features",
            lambda *a, **k: compute_features(*a, names=[column.name for column in FEATURES[1:]], **k),
        )
        build(workload, [0], tmp_path, recording)

    def search(*_: object, **__: object) -> None:
        raise AssertionError("the slow search began")

    monkeypatch.setattr("scratchcard.dataset_builder.build._build_seed", search)
    message = rf"seed0\.parquet has other columns \(without {FEATURES[0].name}\) than files that are built now"
    with pytest.raises(ValueError, match=message):
        build(workload, [0, 1], tmp_path, recording)
    assert not list(tmp_path.glob("*seed1*"))


def test_a_folder_of_notes_is_refused_before_anything_is_written(workload: Workload, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not a score table but holds 1 file of another kind \(notes\.txt\)"):
        build(workload, [0], tmp_path, Recording("USS", "snip", 0.05))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_a_build_that_is_killed_goes_on(tmp_path: Path, workload: Workload) -> None:
    """A real process, killed with SIGKILL while it works on the second seed; the first is not built again."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from scratchcard.dataset_builder.build import Recording, build\n"
        "from scratchcard.workloads.tasks import load_task\n"
        "from scratchcard.workloads.engines.training import Recipe\n"
        "from scratchcard.workloads.workload import Workload\n"
        "recipe = Recipe(max_steps=40, evaluation_interval=20, scoring_examples=100)\n"
        "w = Workload('lenet_300_100', load_task('digits'), recipe)\n"
        f"build(w, range(50), {str(tmp_path / 'table')!r}, Recording.of('ISS', 'magnitude', 0.05, rounds=2))\n"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    first = tmp_path / "table" / file_name(workload.name, 0)
    try:
        deadline = time.monotonic() + 120
        while not first.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert first.exists()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    whole = sorted(path.name for path in (tmp_path / "table").glob("lenet*.parquet"))
    modified = {name: (tmp_path / "table" / name).stat().st_mtime_ns for name in whole}
    seeds = range(len(whole) + 1)
    table = build(workload, seeds, tmp_path / "table", IMP)
    assert table.seeds[workload.name] == tuple(seeds)
    assert {name: (tmp_path / "table" / name).stat().st_mtime_ns for name in whole} == modified
    fresh = build(workload, [seeds[-1]], tmp_path / "fresh", IMP)
    resumed = ScoreTable.open(tmp_path / "table" / file_name(workload.name, seeds[-1]))
    for one, other in zip(fresh.blocks(), resumed.blocks(), strict=True):
        assert all(np.array_equal(one.columns[n], other.columns[n], equal_nan=True) for n in one.columns)


def test_the_network_of_the_table_is_the_one_that_the_seed_builds(workload: Workload, table: ScoreTable) -> None:
    weight = next(iter(prunable(workload.build(3)).values())).detach().reshape(-1).numpy()
    block = next(table.blocks(["weight"], rounds=[0]))
    assert np.array_equal(block.columns["weight"], weight[block.indices])


@pytest.mark.parametrize("killed_at", ["complete_manifest", "_clear"])
def test_a_build_that_died_after_its_last_seed_is_ended_by_the_next(
    killed_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task.of(torch.rand(40, 4), torch.arange(40) % 2)
    workload = Workload("lenet_300_100", task, Recipe(max_steps=5, batch_size=20))
    recording = Recording("USS", "magnitude", 0.5)
    whole = build(workload, [0, 1], tmp_path / "whole", recording)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "table"
    with monkeypatch.context() as patched:
        patched.setattr(module, killed_at, dies)
        with pytest.raises(KeyboardInterrupt):
            build(workload, [0, 1], folder, recording)
    left = folder / ".rounds" / workload.name / "seed0"
    Store(left).put("ab" * 32, Stored({"weight": torch.ones(2)}))
    name = f"{workload.name}-seed0.parquet"
    taken = "import os, sys; from pathlib import Path; from scratchcard.artefacts.leases import Leases; "
    taken += "Leases(Path(sys.argv[1])).take(sys.argv[2]); os._exit(0)"
    subprocess.run([sys.executable, "-c", taken, str(folder / ".leases"), name], check=True)
    assert (folder / ".leases" / name).exists()
    again = build(workload, [0, 1], folder, recording)
    assert again.manifest["files"] == whole.manifest["files"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.path.iterdir())
