"""Score tables: what is written comes back, row group by row group; damage is refused in one sentence."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scratchcard.artefacts.files import remove_unfinished
from scratchcard.score_tables import writer
from scratchcard.score_tables.manifest import read_manifest, write_manifest
from scratchcard.score_tables.schema import Column, FeatureBlock, TableBlock, TableSchema
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.writer import TableWriter, file_name

SCHEMA = TableSchema(
    1,
    (
        Column("weight", "feature", "raw", "w"),
        Column("snip", "feature", "minmax_network", "|w g|"),
        Column("kept", "target", "raw", "1 if kept"),
    ),
)


def make_block(
    rows: int = 5, *, workload: str = "toy", seed: int = 0, round_: int = 0, parameter: str = "0.weight"
) -> TableBlock:
    rng = np.random.default_rng([rows, seed, round_, len(parameter)])
    return TableBlock(
        workload,
        seed,
        round_,
        parameter,
        np.arange(rows, dtype=np.int64) * 2,
        {name: rng.normal(size=rows).astype(np.float32) for name in SCHEMA.names},
    )


def write(folder: Path, *blocks: TableBlock, metadata: dict[str, object] | None = None) -> Path:
    first = blocks[0]
    path = folder / file_name(first.workload, first.seed)
    with TableWriter(SCHEMA, path, first.workload, first.seed, metadata) as writer:
        for block in blocks:
            writer.write(block)
    return path


def check_same(block: TableBlock, other: TableBlock) -> None:
    assert (block.workload, block.seed, block.round, block.parameter) == (
        other.workload,
        other.seed,
        other.round,
        other.parameter,
    )
    assert block.indices.dtype == np.int64
    np.testing.assert_array_equal(block.indices, other.indices)
    for name, values in block.columns.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, other.columns[name])


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    blocks = [make_block(5), make_block(3, parameter="2.weight"), make_block(2, round_=1)]
    blocks[2].columns["kept"][0] = np.nan  # a target may be unknown
    write(tmp_path, *blocks, metadata={"recipe": {"steps": 3}})
    write_manifest(tmp_path, {"version": 1})

    table = ScoreTable.open(tmp_path)

    assert table.schema == SCHEMA
    assert table.schema.features == ("weight", "snip")
    assert table.schema.targets == ("kept",)
    assert table.rows == 10
    assert table.seeds == {"toy": (0,)}
    assert table.rounds == (0, 1)
    assert table.manifest == {"version": 1} == read_manifest(tmp_path)
    assert table.files[0].metadata == {"recipe": {"steps": 3}}
    read = list(table.blocks())
    assert len(read) == 3
    for block, other in zip(read, blocks, strict=True):
        assert tuple(block.columns) == SCHEMA.names
        check_same(block, other)


def test_one_file_alone_describes_itself(tmp_path: Path) -> None:
    path = write(tmp_path, make_block(4), metadata={"code": "0.1"})
    table = ScoreTable.open(path)
    assert (table.schema, table.rows, table.manifest) == (SCHEMA, 4, {"code": "0.1"})
    assert table.digest == ScoreTable.open(tmp_path).digest


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 23), min_size=1, max_size=5).filter(any),
    limit=st.integers(1, 9),
)
def test_row_groups_stay_within_the_limit_and_never_cross_a_block(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, sizes: list[int], limit: int
) -> None:
    monkeypatch.setattr(writer, "MAX_ROWS", limit)
    blocks = [make_block(rows, round_=place) for place, rows in enumerate(sizes)]
    path = write(tmp_path_factory.mktemp("table"), *blocks)
    groups = [rows for size in sizes for rows in [*[limit] * (size // limit), size % limit] if rows]
    footer = pq.read_metadata(path)
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == groups
    table = ScoreTable.open(path)
    for name in SCHEMA.names:
        np.testing.assert_array_equal(
            table.columns([name])[name], np.concatenate([block.columns[name] for block in blocks])
        )


def test_columns_and_filters(tmp_path: Path) -> None:
    for workload in ("a", "b"):
        for seed in (0, 10, 2):
            write(
                tmp_path,
                *(make_block(3 + seed, workload=workload, seed=seed, round_=number) for number in (0, 1)),
            )
    table = ScoreTable.open(tmp_path)
    assert table.seeds == {"a": (0, 2, 10), "b": (0, 2, 10)}  # by number, not by text
    (block,) = table.blocks(["kept"], seeds=[10], workloads=["b"], rounds=[1])
    assert tuple(block.columns) == ("kept",)
    check_same(block, make_block(13, workload="b", seed=10, round_=1))
    columns = table.columns(["snip", "weight"], seeds={0, 2}, workloads=["a"])
    expected = [make_block(3 + seed, workload="a", seed=seed, round_=i) for seed in (0, 2) for i in (0, 1)]
    assert list(columns) == ["snip", "weight"]
    np.testing.assert_array_equal(columns["snip"], np.concatenate([b.columns["snip"] for b in expected]))
    group = table.groups(seeds=[2], workloads=["b"], rounds=[0])[0]
    check_same(table.read(group, ["snip"]), make_block(5, workload="b", seed=2))


def test_a_block_gives_features_in_the_order_asked_for(tmp_path: Path) -> None:
    write(tmp_path, make_block(4))
    block = next(ScoreTable.open(tmp_path).blocks(["weight", "snip"]))
    features = block.features(("snip", "weight"))
    assert isinstance(features, FeatureBlock)
    np.testing.assert_array_equal(features.values[:, 0], block.columns["snip"])
    with pytest.raises(ValueError, match=r"without the column\(s\) kept"):
        block.features(("kept",))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"columns": ["magnitude"]}, "no column magnitude; it has weight, snip, kept"),
        ({"seeds": [7]}, "no seed 7; it has 0"),
        ({"workloads": ["cifar"]}, "no workload cifar; it has toy"),
        ({"rounds": [3]}, "no round 3; it has 0"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, asked: dict[str, list[object]], message: str) -> None:
    write(tmp_path, make_block())
    with pytest.raises(ValueError, match=message):
        ScoreTable.open(tmp_path).blocks(**asked)  # type: ignore[arg-type]


def test_floats_are_split_streams_without_a_dictionary(tmp_path: Path) -> None:
    group = pq.read_metadata(write(tmp_path, make_block(1000))).row_group(0)
    for place in range(5, 8):
        column = group.column(place)
        assert column.compression == "ZSTD"
        assert "BYTE_STREAM_SPLIT" in column.encodings
        assert not column.has_dictionary_page


def test_the_same_rows_give_the_same_bytes_and_other_rows_another_digest(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, make_block(50)) for name in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert ScoreTable.open(tmp_path / "one").digest == ScoreTable.open(tmp_path / "two").digest
    other = make_block(50)
    other.columns["kept"][7] += 1
    write(tmp_path / "two", other)
    assert ScoreTable.open(tmp_path / "one").digest != ScoreTable.open(tmp_path / "two").digest


# Damage.


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = write(tmp_path, make_block(500))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for place in (path, tmp_path):
        with pytest.raises(ValueError, match="is damaged, truncated or no Parquet file") as caught:
            ScoreTable.open(place)
        assert "\n" not in str(caught.value)


def test_a_flipped_byte_in_the_data_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, make_block(5000))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        list(ScoreTable.open(path).blocks())


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"weight": [1.0]}), foreign)
    with pytest.raises(ValueError, match="not a score table"):
        ScoreTable.open(foreign)
    text = tmp_path / "text.parquet"
    text.write_text("weight,snip\n1,2\n")
    with pytest.raises(ValueError, match="no Parquet file"):
        ScoreTable.open(text)


def rewrite(path: Path, **texts: str) -> None:
    """The same rows with other metadata."""
    table = pq.read_table(path)
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    metadata |= {f"scratchcard.{key}": text for key, text in texts.items()}
    pq.write_table(table.replace_schema_metadata(metadata), path)


COLUMN = {"name": "weight", "role": "feature", "transform": "raw", "description": "w"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"schema": json.dumps({"version": 2, "columns": []})}, "version 2, this release reads 1"),
        ({"schema": "{"}, "not a table schema"),
        ({"schema": json.dumps({"version": 1, "columns": [{"title": "x"}]})}, "not a table schema"),
        ({"schema": json.dumps({"version": 1, "columns": [COLUMN | {"name": 5}]})}, "columns: 0.name is 5"),
        ({"schema": json.dumps({"version": 1, "columns": [COLUMN | {"role": None}]})}, "columns: 0.role is None"),
        ({"schema": json.dumps({"version": 1, "columns": [COLUMN | {"role": "key"}]})}, "role is key"),
        ({"schema": json.dumps({"version": 1, "columns": {}})}, "columns: it is {}"),
        ({"schema": json.dumps({"version": 1, "columns": None})}, "columns: it is None"),
        ({"schema": json.dumps([1])}, "not a table schema"),
        ({"schema": "[" * 100_000}, "not a table schema"),
        ({"schema": json.dumps({"version": 1, "columns": []})}, "not those of its own schema"),
        ({"table": "["}, "not a score table"),
        ({"table": "[]"}, "not a score table"),
        ({"table": json.dumps({"format": "scratchcard-table"})}, "its description: workload is missing"),
        (
            {"table": '{"format": "scratchcard-table", "workload": ["x"], "seed": 0, "metadata": {}}'},
            "its description: workload is",
        ),
        (
            {"table": '{"format": "scratchcard-table", "workload": "toy", "seed": true, "metadata": {}}'},
            "its description: seed is True",
        ),
        (
            {"table": '{"format": "scratchcard-table", "workload": "toy", "seed": 0, "metadata": null}'},
            "its description: metadata is None",
        ),
        (
            {"table": '{"format": "scratchcard-table", "workload": "x", "seed": 0, "metadata": {}}'},
            "belongs to 'toy' seed 0",
        ),
    ],
)
def test_tampered_metadata_is_refused(tmp_path: Path, texts: dict[str, str], message: str) -> None:
    path = write(tmp_path, make_block())
    rewrite(path, **texts)
    with pytest.raises(ValueError, match=message):
        ScoreTable.open(path)


def test_a_row_group_that_mixes_parameters_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, make_block(), make_block(parameter="2.weight"))
    rewrite(path)  # one row group now
    with pytest.raises(ValueError, match="mixes several values of 'parameter'"):
        ScoreTable.open(path)


def test_missing_and_empty(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "none.parquet"):
        with pytest.raises(FileNotFoundError, match="no score table at"):
            ScoreTable.open(path)
    with pytest.raises(ValueError, match="holds no score table"):
        ScoreTable.open(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match="is damaged"):
        read_manifest(tmp_path)


def test_a_failed_manifest_leaves_the_old_one(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"rows": 1})
    with pytest.raises(TypeError):
        write_manifest(tmp_path, {"rows": object()})
    assert read_manifest(tmp_path) == {"rows": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_files_of_other_columns_or_the_same_seed_do_not_make_a_table(tmp_path: Path) -> None:
    path = write(tmp_path, make_block())
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="hold the same workload 'toy' and seed 0"):
        ScoreTable.open(tmp_path)
    copy.unlink()
    other = TableSchema(1, SCHEMA.columns[:1])
    with TableWriter(other, tmp_path / "other.parquet", "toy", 1) as writer:
        writer.write(TableBlock("toy", 1, 0, "w", np.arange(2), {"weight": np.ones(2, dtype=np.float32)}))
    with pytest.raises(ValueError, match="has other columns than"):
        ScoreTable.open(tmp_path)


# Writing.


def fail_in_the_middle(path: Path) -> None:
    with TableWriter(SCHEMA, path, "toy", 0) as writer:
        writer.write(make_block(9))
        raise RuntimeError("boom")


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "toy-seed0.parquet"
    with pytest.raises(RuntimeError, match="boom"):
        fail_in_the_middle(path)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_leaves_the_older_file(tmp_path: Path) -> None:
    path = write(tmp_path, make_block(3))
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="boom"):
        fail_in_the_middle(path)
    assert path.read_bytes() == before
    assert [place.name for place in tmp_path.iterdir()] == [path.name]


def test_a_killed_writer_leaves_no_file_and_the_next_one_succeeds(tmp_path: Path) -> None:
    script = f"""
import os, signal, numpy as np
from pathlib import Path
from scratchcard.score_tables.schema import Column, TableBlock, TableSchema
from scratchcard.score_tables.writer import TableWriter
schema = TableSchema(1, (Column("weight", "feature", "raw", "w"),))
with TableWriter(schema, Path({str(tmp_path)!r}) / "toy-seed0.parquet", "toy", 0) as writer:
    writer.write(TableBlock("toy", 0, 0, "w", np.arange(5), {{"weight": np.ones(5, dtype=np.float32)}}))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    (part,) = tmp_path.iterdir()
    assert part.name.startswith(".toy-seed0.")
    assert part.name.endswith(".part.parquet")
    with pytest.raises(ValueError, match="holds no score table"):
        ScoreTable.open(tmp_path)
    write(tmp_path, make_block(4))
    assert ScoreTable.open(tmp_path).rows == 4
    remove_unfinished(tmp_path)  # as a build does
    assert [path.name for path in tmp_path.iterdir()] == ["toy-seed0.parquet"]


def test_of_two_writers_of_one_file_the_last_wins_and_both_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "toy-seed0.parquet"
    with TableWriter(SCHEMA, path, "toy", 0) as first:
        first.write(make_block(7))
        write(tmp_path, make_block(2))
        assert ScoreTable.open(path).rows == 2
    assert ScoreTable.open(path).rows == 7
    assert [place.name for place in tmp_path.iterdir()] == [path.name]
    assert [place.name for place in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "do not belong into the file of 'toy' seed 0"),
        ({"workload": "other"}, "do not belong into the file"),
        ({"columns": {"weight": np.zeros(5, dtype=np.float32)}}, "missing columns .*snip"),
        ({"columns": make_block(5).columns | {"more": np.zeros(5)}}, "unknown ones .*more"),
        ({"columns": make_block(5).columns | {"snip": np.full(5, np.inf)}}, "feature 'snip' .* NaN"),
        ({"columns": make_block(5).columns | {"weight": np.full(5, np.nan)}}, "feature 'weight' .* NaN"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    block = make_block(5)
    with (
        pytest.raises(ValueError, match=message),
        TableWriter(SCHEMA, tmp_path / "t.parquet", "toy", 0) as writer,
    ):
        writer.write(dataclasses.replace(block, **change))
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="no rows were written"),
        TableWriter(SCHEMA, tmp_path / "t", "toy", 0) as writer,
    ):
        writer.write(make_block(0))
    assert list(tmp_path.iterdir()) == []


def test_writing_outside_the_block_is_refused(tmp_path: Path) -> None:
    writer = TableWriter(SCHEMA, tmp_path / "t", "toy", 0)
    with pytest.raises(ValueError, match="inside its `with` block"):
        writer.write(make_block())


def test_blocks_and_schemas_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\), expected \(3,\)"):
        TableBlock("toy", 0, 0, "w", np.arange(3), {"weight": np.zeros(2)})
    with pytest.raises(ValueError, match=r"expected \(3, 2\)"):
        FeatureBlock("w", np.arange(3), ("a", "b"), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="two columns of one name: snip"):
        TableSchema(1, (SCHEMA.columns[1], SCHEMA.columns[1]))
    with pytest.raises(ValueError, match="cannot be called 'seed'"):
        Column("seed", "feature", "raw", "")
    with pytest.raises(ValueError, match="role 'key'"):
        Column("x", "key", "raw", "")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be part of a file name"):
        file_name("../mnist", 0)


def test_a_schema_comes_back_from_its_text() -> None:
    assert TableSchema.from_json(SCHEMA.to_json()) == SCHEMA
    assert SCHEMA.column("snip").transform == "minmax_network"
