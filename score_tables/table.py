"""ScoreTable: rows of weights with features and targets, in Parquet, read row group by row group.

A table is a folder of files, one for a workload and seed, with a `manifest.json` about how it was built; or
one such file, which describes itself. Keys (workload, seed, round, parameter, index), then float32 columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from scratchcard.artefacts.digest import sha256
from scratchcard.score_tables.manifest import MANIFEST, read_manifest
from scratchcard.score_tables.place import Place, place_of
from scratchcard.score_tables.schema import TableBlock, TableSchema
from scratchcard.score_tables.table_file import RowGroup, TableFile, read_groups
from scratchcard.words import counted


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """A score table on disk; holds only the footers, reads a row group at a time.

    Attributes:
        path: the folder or file, of this machine or in an object store (see `place_of`).
        schema: the columns, the same in every file.
        manifest: the folder's `manifest.json` ({} if the build has not finished), or one file's own metadata.
        files: the whole files, sorted by workload and seed.

    Examples:
        >>> from scratchcard.score_tables.schema import Column
        >>> from scratchcard.score_tables.writer import TableWriter
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "toy-seed0.parquet"
        >>> schema = TableSchema(1, (Column("magnitude", "feature", "raw", "|w|"),))
        >>> sizes = np.array([0.5, 0.1], np.float32)
        >>> with TableWriter(schema, path, "toy", 0) as writer:
        ...     writer.write(TableBlock("toy", 0, 0, "weight", np.arange(2), {"magnitude": sizes}))
        >>> table = ScoreTable.open(path.parent)
        >>> table.rows, table.seeds
        (2, {'toy': (0,)})
        >>> table.columns(["magnitude"])["magnitude"].tolist()[0]
        0.5
    """

    path: Place
    schema: TableSchema
    manifest: dict[str, Any]
    files: tuple[TableFile, ...]

    def __repr__(self) -> str:
        networks, columns = counted(len(self.files), "network"), counted(len(self.schema.columns), "column")
        return f"ScoreTable({str(self.path)!r}, {counted(self.rows, 'row')} of {networks}, {columns})"

    @classmethod
    def open(cls, path: str | Place) -> ScoreTable:
        """Open a folder of files or one file; unfinished files (`.part`) are not listed.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: no file, a damaged or foreign one, an unknown version, or files that do not
                belong together.
        """
        path = place_of(path)
        if not path.exists():
            raise FileNotFoundError(f"no score table at {path}: expected a folder that 'scratchcard build' wrote")
        if path.is_file():
            file = TableFile.open(path)
            return cls(path, file.schema, file.metadata, (file,))
        paths = sorted(place for place in path.glob("*.parquet") if not place.name.startswith("."))
        if not paths:
            raise ValueError(f"{path} holds no score table: expected at least one finished .parquet file in it")
        files = tuple(sorted(map(TableFile.open, paths), key=lambda file: (file.workload, file.seed)))
        for before, file in pairwise(files):
            if (before.workload, before.seed) == (file.workload, file.seed):
                raise ValueError(
                    f"{before.path.name} and {file.path.name} hold the same workload {file.workload!r} and "
                    f"seed {file.seed}; remove one of them from {path}"
                )
            if file.schema != files[0].schema:
                raise ValueError(
                    f"{file.path.name} has other columns than {files[0].path.name}; files of one table were "
                    "built by one release with one set of features"
                )
        manifest = read_manifest(path) if (path / MANIFEST).exists() else {}
        return cls(path, files[0].schema, manifest, files)

    @property
    def rows(self) -> int:
        """Number of rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def seeds(self) -> dict[str, tuple[int, ...]]:
        """Seeds by workload."""
        seeds: dict[str, tuple[int, ...]] = {}
        for file in self.files:
            seeds[file.workload] = (*seeds.get(file.workload, ()), file.seed)
        return seeds

    @property
    def rounds(self) -> tuple[int, ...]:
        """The rounds that have rows, ascending."""
        return tuple(sorted({group.round for file in self.files for group in file.groups}))

    @cached_property
    def digest(self) -> str:
        """sha256 over the files' sha256 in the order of workload and seed; their names do not matter."""
        return digest_of(file.digest for file in self.files)

    def groups(
        self,
        *,
        seeds: Collection[int] | None = None,
        workloads: Collection[str] | None = None,
        rounds: Collection[int] | None = None,
    ) -> tuple[RowGroup, ...]:
        """The row groups of these seeds, workloads and rounds (all of them by default), in file order.

        Raises:
            ValueError: a seed, workload or round that the table does not hold.
        """
        check_known("seed", seeds, sorted({file.seed for file in self.files}))
        check_known("workload", workloads, [*self.seeds])
        check_known("round", rounds, self.rounds)
        return tuple(
            group
            for file in self.files
            if (seeds is None or file.seed in seeds) and (workloads is None or file.workload in workloads)
            for group in file.groups
            if rounds is None or group.round in rounds
        )

    def read(self, group: RowGroup, columns: Sequence[str] | None = None) -> TableBlock:
        """One row group with the named columns (all by default)."""
        return next(self._read((group,), columns))

    def blocks(self, columns: Sequence[str] | None = None, **chosen: Collection[Any] | None) -> Iterator[TableBlock]:
        """One block a row group, read one at a time, of all rows or those that are `chosen` as for `groups`.

        Raises:
            ValueError: an unknown column, seed, workload or round, or a file that is damaged inside.
        """
        return self._read(self.groups(**chosen), columns)

    def columns(self, names: Sequence[str], **chosen: Collection[Any] | None) -> dict[str, np.ndarray]:
        """Whole columns, float32, in the order of `blocks`; for tables and selections that fit in memory."""
        groups = self.groups(**chosen)
        whole = {name: np.empty(sum(group.rows for group in groups), dtype=np.float32) for name in names}
        start = 0
        for block in self._read(groups, names):
            for name in names:
                whole[name][start : start + block.rows] = block.columns[name]
            start += block.rows
        return whole

    def _read(self, groups: Sequence[RowGroup], columns: Sequence[str] | None) -> Iterator[TableBlock]:
        names = list(self.schema.names if columns is None else columns)
        self.schema.check(names)
        return read_groups(groups, names)


def digest_of(files: Iterable[str]) -> str:
    """A table's digest from its files', in the order of workload and seed.

    Examples:
        >>> digest_of(["ab", "cd"]) == sha256(["ab\\ncd"])
        True
    """
    return sha256(["\n".join(files)])


def check_known(what: str, asked: Collection[Any] | None, known: Sequence[Any]) -> None:
    """Refuse what a table does not have, and say what it has.

    Raises:
        ValueError: names both.

    >>> check_known("seed", [9], [0, 1])
    Traceback (most recent call last):
    ...
    ValueError: the table has no seed 9; it has 0, 1
    """
    unknown = [item for item in asked or () if item not in known]
    if unknown:
        raise ValueError(f"the table has no {what} {', '.join(map(str, unknown))}; it has {', '.join(map(str, known))}")
