"""What the fuzzer found once, file by file: each is refused in one short sentence that names the file."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

from scratchcard.analysis.anatomy import anatomy, read_anatomy
from scratchcard.analysis.record_columns import arrow_schema
from scratchcard.analysis.results import failures, grids
from scratchcard.analysis.results_file import KEY, Manifests, write_export
from scratchcard.analysis.run_files import DamagedRecordWarning
from scratchcard.apply.shipped import shipped
from scratchcard.artefacts.json_file import declared, read_json, write_json
from scratchcard.frontends.cli import cli
from scratchcard.meta.bundle import load_bundle, save_bundle
from scratchcard.meta.predictor import Predictor
from scratchcard.pruning.ticket import Ticket
from scratchcard.score_tables.schema import Column
from scratchcard.sweeps.grid import read_grid
from scratchcard.workloads.tasks.tensors import tensors_task
from scratchcard.workloads.weights_file import load_weights
from tests.artefacts.rewritten import rewritten
from tests.fuzz.fuzzing import SENTENCE
from tests.fuzz.readers import GRID, READERS


def refused(read: Callable[[Any], object], path: Path) -> str:
    with pytest.raises(ValueError, match=re.escape(path.name)) as caught:
        read(path)
    text = str(caught.value)
    assert len(text.replace(str(path), "")) <= SENTENCE
    assert text.isprintable()
    return text


@pytest.mark.parametrize(
    "texts", [{"version": "9" * 5000}, {"weights": json.dumps(["x" * 5000])}, {"weights": json.dumps(["\x1b[2J"])}]
)
def test_a_ticket_with_long_or_odd_texts(tmp_path: Path, texts: dict[str, str]) -> None:
    READERS["ticket"].make(tmp_path)
    refused(Ticket.load, rewritten(tmp_path / "ticket.safetensors", texts))


def test_a_ticket_with_trained_weights_of_an_odd_type(tmp_path: Path) -> None:
    READERS["ticket"].make(tmp_path)
    path = tmp_path / "ticket.safetensors"
    kept = int(Ticket.load(path).mask.tensors["0.weight"].sum())
    odd = torch.ones(kept, dtype=torch.uint32)
    refused(Ticket.load, rewritten(path, tensors={"trained/0.weight": odd}))


def test_declared_content_is_quoted_short_and_without_control_characters(tmp_path: Path) -> None:
    contents: tuple[Any, ...] = ({"\x1b[31m" * 500: "x"}, {"a": "\n\x1b" * 500})
    for content in contents:
        with pytest.raises(ValueError, match="it is") as caught:
            declared(dict[str, int], content, "it is")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < SENTENCE
    (tmp_path / "note.json").write_text('{"a": NaN\x00}')
    refused(read_json, tmp_path / "note.json")


def test_the_arrays_of_a_bundle_come_in_one_order(tmp_path: Path) -> None:
    arrays = {"intercept": np.array([1.0]), "coefficients": np.array([2.0])}
    columns = (Column("magnitude", "feature", "raw", "|w|"),)
    folder = save_bundle(Predictor("linear", "regression", "score", columns, arrays), tmp_path / "bundle")
    assert {tuple(load_bundle(folder).arrays) for _ in range(20)} == {("coefficients", "intercept")}


@pytest.fixture
def stored_anatomy(tmp_path: Path) -> Path:
    READERS["ticket"].make(tmp_path)
    anatomy(tmp_path / "ticket.safetensors", tmp_path / "anatomy.parquet")
    return tmp_path / "anatomy.parquet"


@pytest.mark.parametrize("text", [b"{}", b"[1", b"\xff", b'{"index_columns": [{}], "columns": [{"name": 1}]}'])
def test_what_an_anatomy_says_of_pandas_does_not_matter(stored_anatomy: Path, text: bytes) -> None:
    before = read_anatomy(stored_anatomy)
    table = pq.read_table(stored_anatomy)
    metadata = table.schema.metadata | {b"pandas": text}
    pq.write_table(table.replace_schema_metadata(metadata), stored_anatomy)
    assert read_anatomy(stored_anatomy).equals(before)
    assert [str(kind) for kind in before.dtypes] == [str(kind) for kind in read_anatomy(stored_anatomy).dtypes]


def test_an_anatomy_with_other_columns_or_a_flipped_bit(stored_anatomy: Path) -> None:
    table, content = pq.read_table(stored_anatomy), bytearray(stored_anatomy.read_bytes())
    content[len(content) // 3] ^= 1  # within the pages
    stored_anatomy.write_bytes(bytes(content))
    refused(read_anatomy, stored_anatomy)
    pq.write_table(table.drop(["seed"]), stored_anatomy)
    assert "columns are not those" in refused(read_anatomy, stored_anatomy)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"lenet_300_100"', '"lenet"'),
        ('"digits"', '"didgits"'),
        ('"digits"', '"\\u001b[2J"'),
        ("[0.5]", f"[{'9' * 5000}]"),
        ("[0.5]", f'["{"x" * 5000}"]'),
        ("[0.5]", "[" * 5000),
    ],
)
def test_a_grid_that_names_what_is_not_there(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(GRID.replace(old, new))
    refused(lambda file: read_grid(file, tmp_path / "results"), path)


def test_weights_that_name_a_function_with_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(nn.Linear(2, 1).state_dict(), path)
    path.write_bytes(path.read_bytes().replace(b"_rebuild_tensor_v2", b"\x7frebuild_tensor_v2"))
    assert "more than plain tensors" in refused(lambda file: load_weights(nn.Linear(2, 1), file), path)


def arrays(**entries: Any) -> dict[str, Any]:
    return {"train_inputs": np.eye(50, dtype=np.float32), "train_targets": np.arange(50) % 2} | entries


@pytest.mark.parametrize(
    "entries",
    [
        {"train_targets": np.arange(1)},
        {"train_inputs": np.full((50, 2), np.nan)},
        {"objective": np.array("\x1b[2J")},
        {"objective": np.array('{"a":' * 20_000)},
        {"\x1b": np.array(3)},
    ],
)
def test_a_task_of_arrays_that_do_not_fit(tmp_path: Path, entries: dict[str, Any]) -> None:
    path = tmp_path / "task.npz"
    np.savez(path, **arrays(**entries))
    refused(lambda file: tensors_task("task", file), path)


@pytest.mark.parametrize(
    ("said", "instead"),
    [(b"'shape': (50,)", b"'shape': ((((("), (b"'descr': '<i8'", b"'descr': ()")],
    ids=["ends early", "no type"],
)
def test_an_array_with_an_odd_header(tmp_path: Path, said: bytes, instead: bytes) -> None:
    path = tmp_path / "task.npz"
    np.savez(path, **arrays())
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    assert any(said in content for content in entries.values())
    with zipfile.ZipFile(path, "w") as archive:  # whose sums are right
        for name, content in entries.items():
            archive.writestr(name, content.replace(said, instead.ljust(len(said))))
    assert "cannot be read" in refused(lambda file: tensors_task("task", file), path)


def test_a_task_that_was_saved_is_checked_by_its_checksum(tmp_path: Path) -> None:
    READERS["task safetensors"].make(tmp_path)
    path = tmp_path / "task.safetensors"
    content = bytearray(path.read_bytes())
    content[-1 - 8] ^= 1
    path.write_bytes(bytes(content))
    assert "checksum" in refused(lambda file: tensors_task("task", file), path)


@pytest.mark.parametrize(
    "lost", [{"seed": [1]}, {"seed": 2**70}, {"density": "x"}, {"digest": None}, {"error": {"a": 1}}]
)
def test_an_export_whose_failed_runs_are_of_other_types(tmp_path: Path, lost: dict[str, Any]) -> None:
    path = tmp_path / "runs.parquet"
    known = {"digest": "ab", "label": "snip", "error": "x", "finished": "y", "density": 0.5, "seed": 0}
    for entry, fits in ((known, True), (known | lost, False)):
        write_export(arrow_schema().empty_table(), Manifests([], [], [entry]), path)
        assert KEY in pq.read_metadata(path).metadata
        if fits:
            assert len(failures(path)) == 1
        else:
            refused(failures, path)


def test_half_a_character_among_the_features_of_a_bundle_is_left_out_of_what_is_shown(tmp_path: Path) -> None:
    folder = shutil.copytree(shipped("default")[0], tmp_path / "bundle")
    manifest = read_json(folder / "manifest.json")
    manifest["features"][0]["transform"] = "\ud800log"
    write_json(folder / "manifest.json", manifest)
    done = CliRunner().invoke(cli, ["show", str(folder)])
    assert done.exit_code == 0, done.exception
    assert "(log)" in done.output


def test_half_a_character_in_what_a_failed_run_says(tmp_path: Path) -> None:
    told = {"digest": "ab12", "label": "snip", "configuration": {}, "error": "\ud800 lost"}
    (tmp_path / "ab12.error.json").write_text(json.dumps(told))
    assert failures(tmp_path)["error"].tolist() == ["? lost"]


def test_a_name_of_a_weight_that_cannot_be_printed(tmp_path: Path) -> None:
    save_file({"\x7feight": torch.ones(2, 2)}, tmp_path / "weights.safetensors")
    assert "missing are weight" in refused(partial(load_weights, nn.Linear(2, 2)), tmp_path / "weights.safetensors")


@pytest.mark.parametrize("said", [b'"sha256"', b'"objective"', b'"outputs"'])
def test_a_saved_task_is_known_by_what_is_left_of_its_metadata(tmp_path: Path, said: bytes) -> None:
    READERS["task safetensors"].make(tmp_path)
    path = tmp_path / "task.safetensors"
    content = path.read_bytes()
    assert content.count(said) == 1
    path.write_bytes(content.replace(said, said[:-2] + b'5"'))
    assert "damaged" in refused(lambda file: tensors_task("task", file), path)


@pytest.mark.parametrize("read", [read_anatomy, failures])
def test_texts_of_a_table_that_are_no_texts(tmp_path: Path, read: Callable[[Path], object]) -> None:
    odd = pa.array([b"\xf4\xf4"]).view(pa.string())
    pq.write_table(pa.table({"kind": odd}), tmp_path / "odd.parquet")
    assert "Invalid UTF8" in refused(read, tmp_path / "odd.parquet")


@pytest.mark.parametrize(("kind", "name"), [("score table", "magnitude"), ("anatomy", "workload"), ("results", "kept")])
def test_a_column_whose_name_is_no_text(tmp_path: Path, kind: str, name: str) -> None:
    reader = READERS[kind]
    reader.make(tmp_path)
    path = sorted(tmp_path.rglob("*.parquet"))[0]
    content, odd = path.read_bytes(), name.encode()[:-1] + b"\xf4"
    assert name.encode() in content
    path.write_bytes(content.replace(name.encode(), odd))
    assert "damaged" in refused(lambda _: reader.read(tmp_path), path)


def test_a_grids_note_whose_digests_are_no_texts_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / "tiny.json").write_text('{"name": "tiny", "digests": [["ab12"]]}')
    with pytest.warns(DamagedRecordWarning, match="no whole grid manifests"):
        assert grids(tmp_path) == []
