"""Tables in an object store: built, gone on with, shown and fitted from there; whole files, and the manifest last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import scratchcard as sc
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.meta.fit import fit
from scratchcard.score_tables.manifest import read_manifest
from scratchcard.score_tables.place import StorePath, place_of, written_whole
from scratchcard.score_tables.table import ScoreTable
from scratchcard.workloads.workload import Workload
from tests.frontends.calls import as_json, refused
from tests.score_tables.object_store import ObjectStore, object_store

RECORDING = Recording("USS", "snip", 0.3)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with object_store() as found:
        yield found


@pytest.fixture
def out(store: ObjectStore) -> StorePath:
    place = place_of(f"s3://bucket/tables/mine?{store.query}")
    assert isinstance(place, StorePath)
    return place


@pytest.fixture
def workload() -> Workload:
    task = sc.Task.of(torch.randn(80, 5), torch.arange(80) % 2)
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    return Workload(network, task)


def names(store: ObjectStore) -> list[str]:
    return [name.removeprefix("bucket/tables/mine/") for name in store.puts if not name.endswith("/")]


def test_a_table_there_is_the_table_of_this_machine(
    store: ObjectStore, out: StorePath, workload: Workload, tmp_path: Path
) -> None:
    here, there = build(workload, [0], tmp_path / "table", RECORDING), build(workload, [0], out, RECORDING)
    assert there.digest == here.digest
    (file,) = (tmp_path / "table").glob("*.parquet")
    assert store.objects[f"bucket/tables/mine/{file.name}"] == file.read_bytes()
    assert names(store)[0] == names(store)[-1] == "manifest.json"  # claimed, and last of all complete
    listed = {file.name: here.files[0].digest}
    assert read_manifest(out)["files"] == read_manifest(tmp_path / "table")["files"] == listed
    left = {name for name in store.objects if not name.endswith("/")}  # pyarrow marks folders
    assert left == {f"bucket/tables/mine/{name}" for name in (file.name, "manifest.json")}
    names_of = ("magnitude", "snip")
    for name, column in here.columns(names_of).items():
        np.testing.assert_array_equal(there.columns(names_of)[name], column)
    again = [fit(table, "tree", objective="regression", held_out_seeds=[]).digest for table in (here, there)]
    assert again[0] == again[1]


def test_a_second_build_does_nothing_and_a_damaged_file_is_built_again(
    store: ObjectStore, out: StorePath, workload: Workload
) -> None:
    table = build(workload, [0], out, RECORDING)
    before = len(store.puts)
    assert build(workload, [0], out, RECORDING).digest == table.digest
    assert len(store.puts) == before
    (name,) = (name for name in store.objects if name.endswith(".parquet"))
    whole = store.objects[name]
    store.objects[name] = whole[:100]
    with pytest.raises(ValueError, match="is damaged, truncated or no Parquet file"):
        ScoreTable.open(out)
    assert build(workload, [0], out, RECORDING).digest == table.digest
    assert store.objects[name] == whole
    with pytest.raises(ValueError, match="made with another recording"):
        build(workload, [0], out, Recording("USS", "snip", 0.5))


def test_what_breaks_off_leaves_nothing_half_there(store: ObjectStore, out: StorePath) -> None:
    def half() -> None:
        with written_whole(out / "toy.parquet") as beside:
            beside.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.objects == {}


def test_another_folder_is_left_alone(store: ObjectStore, out: StorePath, workload: Workload) -> None:
    store.objects["bucket/tables/mine/precious.txt"] = b"mine"
    with pytest.raises(
        FileExistsError, match=r"is not a score table but holds 1 file of another kind \(precious.txt\)"
    ):
        build(workload, [0], out, RECORDING)
    assert list(store.objects) == ["bucket/tables/mine/precious.txt"]


def test_what_cannot_be_reached_or_is_not_there_is_one_sentence(store: ObjectStore, out: StorePath) -> None:
    with pytest.raises(FileNotFoundError, match="no score table at s3://bucket/tables/mine"):
        ScoreTable.open(out)
    store.broken = True
    with pytest.raises(OSError, match=r"s3://bucket/tables/mine.* cannot be reached \(.*ACCESS_DENIED") as caught:
        ScoreTable.open(out)
    assert "\n" not in str(caught.value)


def test_the_commands_take_addresses(out: StorePath, tmp_path: Path) -> None:
    recording = ["--regime", "USS", "--scorer", "snip", "--density", "0.1"]
    built: Any = as_json("build", "--task", "digits", "--seeds", "0", *recording, "--out", out)
    assert built["table"] == str(out)
    shown: Any = as_json("show", out)
    assert (shown["rows"], shown["digest"]) == (built["rows"], built["digest"])
    fitted: Any = as_json("fit", out, "--family", "linear", "--out", tmp_path / "bundle", "--held-out-seeds", "none")
    assert fitted["metrics"]["train"]["rows"] == built["rows"]
    bundle = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert bundle["training"]["table_digest"] == built["digest"]
    assert "ftp://host/table is an address of an unknown kind" in refused("show", "ftp://host/table")
    assert "would be noted" in refused("show", "s3://key:secret@bucket/table")


def test_a_file_address_is_a_folder_of_this_machine(tmp_path: Path, workload: Workload) -> None:
    table = build(workload, [0], f"file://{tmp_path}/a table", RECORDING)
    assert table.path == tmp_path / "a table"
    assert (tmp_path / "a table" / "manifest.json").is_file()
