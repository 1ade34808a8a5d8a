"""The file that results are exported to, with manifests in its metadata; and the frame of its columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scratchcard.analysis.record_columns import (
    COLUMNS,
    ORDER,
    arrow_schema,
)
from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.json_file import declared, parse_object
from scratchcard.artefacts.parquet_file import damage_told
from scratchcard.words import quoted, shortened

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KEY = b"scratchcard"
"""Of our part of the schema's metadata: JSON."""
FORMAT = 1
LARGEST_SEED = 2**63
ENDINGS = (".parquet", ".csv")


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A pandas frame: text, int64, float64 and bool; Int64 and boolean where a value may be missing.

    A missing real number is NaN. Columns of a result are typed by what they are, whether or not values are missing,
    so that code that works on one frame works on the next; other columns (of a query) by whether any is missing.

    >>> import pyarrow as pa
    >>> to_frame(pa.table({"rounds": [1, None], "test_loss": [0.5, None]})).dtypes.astype(str).to_dict()
    {'rounds': 'Int64', 'test_loss': 'float64'}
    """
    import pandas as pd
    import pyarrow as pa

    canonical = arrow_schema()
    text = pd.Series(["text"]).dtype  # pandas 3: str; pandas 2: object
    series: dict[str, Any] = {}
    for field, values in zip(table.schema, table.columns, strict=True):
        known = field.name in canonical.names and canonical.field(field.name).type == field.type
        missing = canonical.field(field.name).nullable if known else values.null_count > 0
        nullable: dict[Any, Any] = {pa.bool_(): pd.BooleanDtype()} if missing else {}
        if missing and pa.types.is_integer(field.type):
            nullable[field.type] = pd.Int64Dtype() if pa.types.is_signed_integer(field.type) else pd.UInt64Dtype()
        column = values.to_pandas(types_mapper=nullable.get)
        series[field.name] = column.astype(text) if pa.types.is_string(field.type) else column
    return pd.DataFrame(series, columns=table.column_names)


class Manifests(NamedTuple):
    """What stands beside the rows.

    Attributes:
        grids: the grids' manifests.
        predictors: the fitted predictors, with their metrics.
        failures: the runs that failed.

    Examples:
        >>> Manifests(grids=[{"name": "toy", "digests": ["ab12"]}], predictors=[], failures=[]).grids[0]["name"]
        'toy'
    """

    grids: list[dict[str, Any]]
    predictors: list[dict[str, Any]]
    failures: list[dict[str, Any]]


@dataclass(frozen=True)
class Failed:
    """A run that failed, as it stands beside the rows.

    Examples:
        >>> Failed("ab12", "snip", "ValueError: no weights", "2026-01-01T00:00:00Z", 0.5, 0).seed
        0
    """

    digest: str
    label: str
    error: str
    finished: str
    density: float | None
    seed: int | None

    def __post_init__(self) -> None:
        if self.seed is not None and abs(self.seed) >= LARGEST_SEED:
            raise ValueError("its seed has more than 63 bits")


def write_export(table: pa.Table, manifests: Manifests, out: Path, *, query: str | None = None) -> None:
    """Write beside, then rename. The same table and manifests give the same bytes.

    In the metadata a grid's digests that are rows of the table are row numbers: text there is not compressed, and five
    thousand digests would take more room than all the columns.

    Raises:
        ValueError: a column that the format cannot hold.

    Examples:
        >>> import pyarrow as pa
        >>> write_export(pa.table({"kept": [2, 4]}), Manifests([], [], []), Path("kept.csv"))
        >>> Path("kept.csv").read_text().split()
        ['kept', '2', '4']
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with written_beside(out) as beside:
        if out.suffix == ".csv":
            to_frame(table).to_csv(beside, index=False, lineterminator="\n")
            return
        numbers = {digest: number for number, digest in enumerate(_digests(table)) if isinstance(digest, str)}
        grids = [grid | {"digests": [numbers.get(d, d) for d in grid["digests"]]} for grid in manifests.grids]
        metadata = {"format": FORMAT, "columns": table.column_names, "query": query}
        metadata |= manifests._replace(grids=grids)._asdict()
        text = json.dumps(metadata, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        # Without Arrow's own copy of the schema: the file's types say all, and it would hold the metadata once more.
        options: dict[str, Any] = {"compression": "zstd", "compression_level": 9, "store_schema": False}
        try:
            with pq.ParquetWriter(beside, table.schema, write_page_checksum=True, **options) as writer:
                writer.write_table(table)
                writer.add_key_value_metadata({KEY: text.encode()})
        except pa.ArrowNotImplementedError as error:
            raise ValueError(f"Parquet cannot hold a column of this result: {error}") from error


def read_export(path: Path) -> tuple[pa.Table, Manifests]:
    """What `write_export` wrote.

    Raises:
        ValueError: no Parquet file, or not one of ours.

    Examples:
        >>> import pyarrow as pa
        >>> grid = {"name": "toy", "digests": ["ab12", "cd34"]}
        >>> write_export(pa.table({"digest": ["ab12"]}), Manifests([grid], [], []), Path("read.parquet"))
        >>> table, manifests = read_export(Path("read.parquet"))
        >>> table["digest"].to_pylist(), manifests.grids
        (['ab12'], [{'digests': ['ab12', 'cd34'], 'name': 'toy'}])
    """
    import pyarrow.parquet as pq

    with damage_told(path, "export it again"), pq.ParquetFile(path, page_checksum_verification=True) as file:
        stored, names = file.metadata.metadata or {}, file.schema_arrow.names
        table = file.read()
        table.validate(full=True)
    try:
        ours = parse_object(stored[KEY])
        newer = ours["format"] > FORMAT
        digests = _digests(table)
        for grid in ours["grids"]:
            grid["digests"] = [digests[d] if isinstance(d, int) else d for d in grid["digests"]]
        manifests = Manifests(*(list(ours[name]) for name in Manifests._fields))
        for grid in manifests.grids:
            declared(list[str], [grid["name"], *grid["digests"]], "a grid's name and digests")
        declared(list[dict[str, Any]], manifests.predictors, "its predictors")
        declared(list[Failed], manifests.failures, "its failed runs")
        columns = ours["columns"]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        written = "none that `scratchcard results --out` or `export` wrote"
        raise ValueError(f"{path} is a Parquet file, but {written}") from error
    if newer:
        raise ValueError(
            f"{path} was written by a newer scratchcard (format {quoted(ours['format'], 40)}); update this one"
        )
    if columns != names:  # the file's own list of them has no checksum
        raise ValueError(f"{path} is damaged: its columns are not those that were written; export them again")
    return table, manifests


def whole(table: pa.Table, path: Path) -> pa.Table:
    """The rows of an export in the columns and the order of results.

    Raises:
        ValueError: the outcome of a query that lacks columns, or columns of other types.

    Examples:
        >>> table = arrow_schema().empty_table()
        >>> whole(table.select(table.column_names[::-1]), Path("backwards.parquet")).column_names[:3]
        ['digest', 'label', 'network']
        >>> whole(table.select(["digest", "label"]), Path("query.parquet"))
        Traceback (most recent call last):
            ...
        ValueError: query.parquet lacks the columns network, task, ...
    """
    import pyarrow as pa

    lost = [column.name for column in COLUMNS if column.required and column.name not in table.column_names]
    if lost:
        raise ValueError(
            f"{path} lacks the columns {', '.join(lost)}: it holds the outcome of a query, where all columns of the "
            "runs are needed; export them without a query"
        )
    schema, empty = arrow_schema(), pa.nulls(table.num_rows)
    columns = [table[name] if name in table.column_names else empty for name in schema.names]
    try:
        found = pa.table([values.cast(kind) for values, kind in zip(columns, schema.types, strict=True)], schema=schema)
        found.validate()
        if any(found[name].null_count for name in schema.names if not schema.field(name).nullable):
            raise pa.ArrowInvalid("a required value is missing")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"{path} holds other types than results have ({shortened(str(error))}); export them again"
        ) from error
    return found.sort_by(ORDER)


def _digests(table: pa.Table) -> list[Any]:
    return list(table["digest"].to_pylist()) if table.column_names.count("digest") == 1 else []
