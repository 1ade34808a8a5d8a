"""What a score table holds: its columns, and blocks of its rows (no Parquet here)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from scratchcard.artefacts.json_file import declared, parse_object
from scratchcard.words import quoted

TABLE_VERSION = 1
KEYS = ("workload", "seed", "round", "parameter", "index")
THESIS_FEATURES = ("snip", "grasp", "synflow", "magnitude")
"""The four criteria's scores scaled to [0, 1]: the features of Lutz & Manai 2022 (bachelor thesis, ZHAW)."""


@dataclass(frozen=True)
class Column:
    """One column of numbers.

    Attributes:
        name: how features and targets are asked for.
        role: a feature is known before training, a target only from a slow regime.
        transform: how the raw number became the stored one (`raw`, `log`, `rank` ...); applied by whoever
            computes the column, never by who reads it.
        description: formula and meaning.

    Examples:
        >>> Column("magnitude", "feature", "raw", "|w|")
        Column(name='magnitude', role='feature', transform='raw', description='|w|')
    """

    name: str
    role: Literal["feature", "target"]
    transform: str
    description: str

    def __post_init__(self) -> None:
        if self.role not in ("feature", "target"):
            raise ValueError(
                f"column {quoted(self.name)} has the role {quoted(self.role)}, expected 'feature' or 'target'"
            )
        if not self.name or self.name in KEYS:
            raise ValueError(f"a column cannot be called {self.name!r}: the keys of a table are {', '.join(KEYS)}")


@dataclass(frozen=True)
class TableSchema:
    """The version and the ordered columns of a score table, stored inside each of its files.

    Raises:
        ValueError: two columns of one name.

    Examples:
        >>> columns = Column("magnitude", "feature", "raw", "|w|"), Column("kept", "target", "raw", "1 if kept")
        >>> schema = TableSchema(1, columns)
        >>> schema.features, schema.targets
        (('magnitude',), ('kept',))
        >>> TableSchema.from_json(schema.to_json()) == schema
        True
    """

    version: int
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = self.names
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"a table cannot have two columns of one name: {', '.join(doubled)}")

    @property
    def names(self) -> tuple[str, ...]:
        """All column names in order, without the keys."""
        return tuple(column.name for column in self.columns)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features in order."""
        return tuple(column.name for column in self.columns if column.role == "feature")

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets in order."""
        return tuple(column.name for column in self.columns if column.role == "target")

    def column(self, name: str) -> Column:
        """The column called `name`.

        Raises:
            ValueError: there is none.
        """
        self.check([name])
        return next(column for column in self.columns if column.name == name)

    def check(self, names: Any) -> None:
        """Refuse names that are no columns.

        Raises:
            ValueError: naming them and the columns there are.
        """
        unknown = [str(name) for name in names if name not in self.names]
        if unknown:
            raise ValueError(f"the table has no column {', '.join(unknown)}; it has {', '.join(self.names)}")

    def to_json(self) -> str:
        """The schema as JSON text; the same schema gives the same text."""
        return json.dumps({"version": self.version, "columns": [asdict(column) for column in self.columns]})

    @classmethod
    def from_json(cls, text: str) -> TableSchema:
        """The inverse of `to_json`.

        Raises:
            ValueError: not a schema, or of a version that this release does not read.
        """
        try:
            data = parse_object(text)
        except ValueError as error:
            raise ValueError("not a table schema: expected JSON with 'version' and 'columns'") from error
        version = data.get("version")
        if "columns" not in data or "version" not in data:
            raise ValueError("not a table schema: expected JSON with 'version' and 'columns'")
        if version != TABLE_VERSION:
            raise ValueError(f"score table version {quoted(version)}, this release reads {TABLE_VERSION}")
        columns = declared(list[dict[str, str]], data["columns"], "not a table schema, its columns")
        return cls(version, tuple(declared(Column, column, "not a table schema, a column") for column in columns))


@dataclass(frozen=True, eq=False)
class FeatureBlock:
    """Features of some weights of one parameter.

    Attributes:
        parameter: the weight tensor's qualified name.
        indices: `(n,)` int64, flat indices into that tensor, ascending.
        names: the features in the order of the columns of `values`.
        values: `(n, F)` float32.

    Raises:
        ValueError: shapes that do not fit together.

    Examples:
        >>> block = FeatureBlock("weight", np.arange(2), ("magnitude",), np.array([[0.5], [0.1]], np.float32))
        >>> block.rows
        2
    """

    parameter: str
    indices: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        expected = (len(self.indices), len(self.names))
        if self.values.shape != expected:
            raise ValueError(
                f"features of {self.parameter!r} have shape {self.values.shape}, expected {expected} "
                "(weights, features)"
            )

    @property
    def rows(self) -> int:
        """Number of weights."""
        return len(self.indices)


@dataclass(frozen=True, eq=False)
class TableBlock:
    """Rows of a score table that share workload, seed, round and parameter.

    Attributes:
        indices: `(n,)` int64, flat indices into the weight tensor.
        columns: features and targets by name, each `(n,)` float32; only those asked for.

    Raises:
        ValueError: a column of another length than `indices`.

    Examples:
        >>> block = TableBlock("toy", 0, 0, "weight", np.arange(2), {"magnitude": np.array([0.5, 0.1], np.float32)})
        >>> block.features(("magnitude",)).values.tolist()[0]
        [0.5]
    """

    workload: str
    seed: int
    round: int
    parameter: str
    indices: np.ndarray
    columns: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        for name, values in self.columns.items():
            if values.shape != (len(self.indices),):
                raise ValueError(
                    f"column {name!r} of {self.parameter!r} has shape {values.shape}, expected ({len(self.indices)},)"
                )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.indices)

    def features(self, names: tuple[str, ...]) -> FeatureBlock:
        """The named columns side by side, as a predictor takes them.

        Raises:
            ValueError: a name that this block does not hold.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise ValueError(f"this block was read without the column(s) {', '.join(missing)}")
        values = np.empty((self.rows, len(names)), dtype=np.float32)
        for place, name in enumerate(names):
            values[:, place] = self.columns[name]
        return FeatureBlock(self.parameter, self.indices, names, values)
