"""The exported form of results: one Parquet file with the manifests in its metadata, or a CSV file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scratchcard.analysis.run_columns import COLUMNS, ORDER, arrow_schema, to_frame
from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.json_file import parse_object

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"scratchcard"
"""Of our part of the schema's metadata: JSON."""
FORMAT = 1
ENDINGS = (".parquet", ".csv")


class Manifests(NamedTuple):
    """What stands beside the rows.

    Attributes:
        grids: the grids' manifests.
        predictors: the fitted predictors, with their metrics.
        failures: the runs that failed.
    """

    grids: list[dict[str, Any]]
    predictors: list[dict[str, Any]]
    failures: list[dict[str, Any]]


def check_ending(out: Path) -> None:
    """Raises:
    ValueError: a file that is neither Parquet nor CSV by its ending.
    """
    if out.suffix not in ENDINGS:
        raise ValueError(f"cannot export to {out}: the file's ending must be {' or '.join(ENDINGS)}")


def write_export(table: pa.Table, manifests: Manifests, out: Path, *, query: str | None = None) -> None:
    """Write beside, then rename. The same table and manifests give the same bytes.

    In the metadata a grid's digests that are rows of the table are row numbers: text there is not compressed, and five
    thousand digests would take more room than all the columns.

    Raises:
        ValueError: a column that the format cannot hold.
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
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            stored, names = file.metadata.metadata or {}, file.schema_arrow.names
            table = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a Parquet file ({' '.join(str(error).split())})") from error
    try:
        ours = parse_object(stored[KEY])
        newer = ours["format"] > FORMAT
        digests = _digests(table)
        for grid in ours["grids"]:
            grid["digests"] = [digests[d] if isinstance(d, int) else d for d in grid["digests"]]
        manifests = Manifests(*(list(ours[name]) for name in Manifests._fields))
        columns = ours["columns"]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        written = "none that `scratchcard results --out` or `export` wrote"
        raise ValueError(f"{path} is a Parquet file, but {written}") from error
    if newer:
        raise ValueError(f"{path} was written by a newer scratchcard (format {ours['format']}); update this one")
    if columns != names:  # the file's own list of them has no checksum
        raise ValueError(f"{path} is damaged: its columns are not those that were written; export them again")
    return table, manifests


def whole(table: pa.Table, path: Path) -> pa.Table:
    """The rows of an export in the columns and the order of results.

    Raises:
        ValueError: the outcome of a query that lacks columns, or columns of other types.
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
        raise ValueError(f"{path} holds other types than results have ({error}); export them again") from error
    return found.sort_by(ORDER)


def _digests(table: pa.Table) -> list[Any]:
    return list(table["digest"].to_pylist()) if table.column_names.count("digest") == 1 else []
