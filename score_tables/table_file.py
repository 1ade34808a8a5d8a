"""One file of a score table: its footer, and its row groups one at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from scratchcard.artefacts.digest import file_digest
from scratchcard.artefacts.json_file import declared, parse_object
from scratchcard.artefacts.parquet_file import damage_told
from scratchcard.score_tables.place import Place, place_of
from scratchcard.score_tables.schema import KEYS, TableBlock, TableSchema
from scratchcard.score_tables.writer import FORMAT, arrow_schema
from scratchcard.words import quoted, shortened

_AGAIN = "build it again"


@dataclass(frozen=True)
class Description:
    """What a file says of itself beside its schema.

    Examples:
        >>> Description(FORMAT, "toy", 0, {}).seed
        0
    """

    format: str
    workload: str
    seed: int
    metadata: dict[str, Any]


@dataclass(frozen=True)
class RowGroup:
    """Where a block lies: file, number in it, and the keys that all its rows share.

    Examples:
        >>> second = RowGroup(Path("toy-seed0.parquet"), 1, "toy", seed=0, round=0, parameter="bias", rows=2)
        >>> second.number, second.parameter
        (1, 'bias')
    """

    path: Place
    number: int
    workload: str
    seed: int
    round: int
    parameter: str
    rows: int


@dataclass(frozen=True)
class TableFile:
    """One whole file of a table, from its footer.

    Raises (by `open`):
        FileNotFoundError: there is no such file.
        ValueError: truncated, not a score table, or of an unknown version, in one sentence.

    Examples:
        >>> import pathlib, tempfile
        >>> from scratchcard.score_tables.schema import Column, TableBlock, TableSchema
        >>> from scratchcard.score_tables.writer import TableWriter
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "toy-seed0.parquet"
        >>> schema = TableSchema(1, (Column("magnitude", "feature", "raw", "|w|"),))
        >>> sizes = np.array([0.5, 0.1], np.float32)
        >>> with TableWriter(schema, path, "toy", 0) as writer:
        ...     writer.write(TableBlock("toy", 0, 0, "weight", np.arange(2), {"magnitude": sizes}))
        >>> file = TableFile.open(path)
        >>> file.workload, file.seed, file.rows
        ('toy', 0, 2)
    """

    path: Place
    workload: str
    seed: int
    schema: TableSchema
    metadata: dict[str, Any]
    groups: tuple[RowGroup, ...]

    @classmethod
    def open(cls, path: str | Place) -> TableFile:
        """Read the footer of one file."""
        path = place_of(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no score table at {path}: expected a .parquet file that `scratchcard build` wrote"
            )
        with _parquet(path) as file:
            with damage_told(str(path), _AGAIN):
                arrow, footer = file.schema_arrow, file.metadata
            texts = arrow.metadata or {}
            try:
                description = parse_object(texts.get(b"scratchcard.table", b"{}"))
            except ValueError:
                description = {}
            if description.get("format") != FORMAT:
                raise ValueError(f"{path} is a Parquet file but not a score table (no {FORMAT!r} in its metadata)")
            try:
                schema = TableSchema.from_json(texts.get(b"scratchcard.schema", b"").decode())
                about = declared(Description, description, "its description")
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            if not arrow.remove_metadata().equals(arrow_schema(schema)):
                raise ValueError(f"{path} is damaged: its columns are not those of its own schema; build it again")
            try:
                groups = tuple(
                    _group(path, about.workload, about.seed, number, footer.row_group(number))
                    for number in range(footer.num_row_groups)
                )
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"{path} is damaged ({shortened(str(error))}); build it again") from error
        return cls(path, about.workload, about.seed, schema, about.metadata, groups)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(group.rows for group in self.groups)

    @cached_property
    def digest(self) -> str:
        """sha256 of the file's bytes."""
        return file_digest(self.path)


def read_groups(groups: Sequence[RowGroup], names: Sequence[str]) -> Iterator[TableBlock]:
    """Row groups of one file or several, one at a time, with the named columns.

    Raises:
        FileNotFoundError: a file has gone.
        ValueError: a file is damaged inside.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "read_groups", recording)
        >>> (path,) = Path("read_groups").glob("*.parquet")
        >>> (block,) = read_groups(TableFile.open(path).groups, ["magnitude"])
        >>> block.columns["magnitude"].shape
        (8,)
    """
    for path, of_file in itertools.groupby(groups, lambda group: group.path):
        with _parquet(path) as file:
            for group in of_file:
                with damage_told(str(path), _AGAIN):
                    # `iter_batches` would buffer most of the file; `read_row_group` holds one group.
                    rows = file.read_row_group(group.number, columns=["index", *names], use_threads=False)
                yield TableBlock(
                    group.workload,
                    group.seed,
                    group.round,
                    group.parameter,
                    rows.column("index").to_numpy(),
                    {name: rows.column(name).to_numpy() for name in names},
                )


def _parquet(path: Place) -> Any:
    how: dict[str, Any] = {"page_checksum_verification": True}
    try:
        if isinstance(path, Path):
            with damage_told(path, _AGAIN):
                return pq.ParquetFile(path, pre_buffer=False, **how)
        file = path.open()  # one that cannot be reached is not damaged
        with damage_told(str(path), _AGAIN):
            return pq.ParquetFile(file, pre_buffer=True, **how)  # the columns of a row group in few requests
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} has gone since the table was opened") from None


def _group(path: Place, workload: str, seed: int, number: int, footer: Any) -> RowGroup:
    """The keys of a row group from its statistics, so that filters need not read it."""
    found: dict[str, Any] = {}
    for place, key in enumerate(KEYS[:4]):
        statistics = footer.column(place).statistics
        if statistics is None or statistics.min != statistics.max:
            raise ValueError(f"row group {number} mixes several values of {key!r}")
        found[key] = statistics.min
    if (found["workload"], found["seed"]) != (workload, seed):
        raise ValueError(f"row group {number} belongs to {quoted(found['workload'])} seed {found['seed']}")
    return RowGroup(path, number, workload, seed, int(found["round"]), str(found["parameter"]), footer.num_rows)
