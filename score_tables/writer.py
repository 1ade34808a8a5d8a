"""Writing score tables: one Parquet file for a workload and seed, whole or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scratchcard.score_tables.place import Place, place_of, written_whole
from scratchcard.score_tables.schema import KEYS, TABLE_VERSION, TableBlock, TableSchema

FORMAT = "scratchcard-table"
MAX_ROWS = 1_000_000


def file_name(workload: str, seed: int) -> str:
    """The name of the file that holds this workload and seed.

    Raises:
        ValueError: a workload name that cannot be part of a file name.

    Examples:
        >>> file_name("lenet_300_100-mnist", 3)
        'lenet_300_100-mnist-seed3.parquet'
    """
    if not workload or any(sign in workload for sign in '/\\:*?"<>|\0') or workload.startswith("."):
        raise ValueError(f"the workload name {workload!r} cannot be part of a file name; leave out / \\ : and the like")
    return f"{workload}-seed{seed}.parquet"


def arrow_schema(schema: TableSchema) -> pa.Schema:
    """Keys, then one float32 column for each column of `schema`.

    Examples:
        >>> from scratchcard.score_tables.schema import Column
        >>> arrow_schema(TableSchema(1, (Column("magnitude", "feature", "raw", "|w|"),))).names
        ['workload', 'seed', 'round', 'parameter', 'index', 'magnitude']
    """
    text = pa.dictionary(pa.int32(), pa.string())
    kinds = dict(zip(KEYS, (text, pa.int64(), pa.int32(), text, pa.int64()), strict=True))
    kinds |= dict.fromkeys(schema.names, pa.float32())
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


class TableWriter:
    """Writes the rows of one workload and seed; a context manager.

    The file grows beside its place (for an object store in a temporary folder) and goes there when the block ends
    without an error, so `path` is whole or not there; of two writers of one path the one that ends last stays. Floats
    are zstd level 1 with BYTE_STREAM_SPLIT and no dictionary (noise-like mantissas do not repeat); pages carry
    checksums. Every `write` starts a row group, cut at 1M rows, so none crosses a parameter or a round.

    Args:
        metadata: plain JSON about the origin of these rows (recipe, versions ...), kept in the file.

    Raises:
        ValueError: rows that do not fit the schema or the file, features that are not finite, or no rows at all.
        OSError: what is at the path is no regular file, or nothing can be written there.

    Examples:
        >>> import pathlib, tempfile
        >>> from scratchcard.score_tables.schema import Column
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "toy-seed0.parquet"
        >>> schema = TableSchema(1, (Column("magnitude", "feature", "raw", "|w|"),))
        >>> sizes = np.array([0.5, 0.1], np.float32)
        >>> with TableWriter(schema, path, "toy", 0) as writer:
        ...     writer.write(TableBlock("toy", 0, 0, "weight", np.arange(2), {"magnitude": sizes}))
        >>> writer.rows, path.exists()
        (2, True)
    """

    def __init__(
        self,
        schema: TableSchema,
        path: str | Place,
        workload: str,
        seed: int,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if schema.version != TABLE_VERSION:
            raise ValueError(f"this release writes score table version {TABLE_VERSION}, got {schema.version}")
        self.schema, self.path, self.workload, self.seed = schema, place_of(path), workload, int(seed)
        self.rows = 0
        about = {"format": FORMAT, "workload": workload, "seed": self.seed, "metadata": dict(metadata or {})}
        texts = {"scratchcard.table": json.dumps(about, sort_keys=True), "scratchcard.schema": schema.to_json()}
        self._arrow = arrow_schema(schema).with_metadata(texts)
        self._file: BinaryIO | None = None
        self._writer: Any = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> TableWriter:
        with contextlib.ExitStack() as stack:
            part = stack.enter_context(written_whole(self.path))
            self._file = stack.enter_context(part.open("xb"))
            self._writer = pq.ParquetWriter(
                self._file,
                self._arrow,
                compression="zstd",
                compression_level=1,
                use_dictionary=list(KEYS[:4]),
                column_encoding=dict.fromkeys(self.schema.names, "BYTE_STREAM_SPLIT")
                | {"index": "DELTA_BINARY_PACKED"},
                write_page_checksum=True,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, writer, self._writer = self._stack.pop_all(), self._writer, None
        try:
            if writer is not None:
                writer.close()
            if error is None:
                self._finish()
        except BaseException:
            stack.__exit__(*sys.exc_info())
            raise
        stack.__exit__(kind, error, trace)  # renames the part, or removes it where there was an error

    def write(self, block: TableBlock) -> None:
        """Append rows: at least one row group, at most 1M rows each; an empty block writes nothing."""
        if self._writer is None:
            raise ValueError("a TableWriter writes only inside its `with` block")
        columns = self._checked(block)
        for start in range(0, block.rows, MAX_ROWS):
            stop = min(start + MAX_ROWS, block.rows)
            size = stop - start
            self._writer.write_table(
                pa.Table.from_arrays(
                    [
                        _repeated(block.workload, size),
                        pa.array(np.full(size, block.seed, dtype=np.int64)),
                        pa.array(np.full(size, block.round, dtype=np.int32)),
                        _repeated(block.parameter, size),
                        pa.array(np.asarray(block.indices[start:stop], dtype=np.int64)),
                        *(pa.array(values[start:stop]) for values in columns),
                    ],
                    schema=self._arrow,
                ),
                row_group_size=MAX_ROWS,
            )
        self.rows += block.rows

    def _checked(self, block: TableBlock) -> list[np.ndarray]:
        if (block.workload, block.seed) != (self.workload, self.seed):
            raise ValueError(
                f"rows of {block.workload!r} seed {block.seed} do not belong into the file of "
                f"{self.workload!r} seed {self.seed}"
            )
        names = self.schema.names
        if set(block.columns) != set(names):
            missing = [name for name in names if name not in block.columns]
            unknown = [name for name in block.columns if name not in names]
            raise ValueError(f"a block of {block.parameter!r} has missing columns {missing}, unknown ones {unknown}")
        columns = []
        for column in self.schema.columns:
            values = np.ascontiguousarray(block.columns[column.name], dtype=np.float32)
            if column.role == "feature" and not np.isfinite(values).all():
                raise ValueError(f"feature {column.name!r} of {block.parameter!r} holds NaN or infinity")
            columns.append(values)
        return columns

    def _finish(self) -> None:
        if self._file is None:
            raise ValueError("a TableWriter is a context manager: use it with `with`")
        if not self.rows:
            raise ValueError(f"no rows were written for {self.path.name}: a score table needs at least one")
        self._file.flush()
        os.fsync(self._file.fileno())


def _repeated(text: str, size: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, dtype=np.int32)), pa.array([text]))
