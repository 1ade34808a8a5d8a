"""The exported form of results: one Parquet file with the manifests in its metadata, or a CSV file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.run_columns import COLUMNS, ORDER, arrow_schema, to_frame
from scratchcard.artefacts.files import written_beside

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"scratchcard"
"""Of our part of the schema's metadata: JSON."""
FORMAT = 1
ENDINGS = (".parquet", ".csv")


@dataclass(frozen=True)
class Manifests:
    """What stands beside the rows.

    Attributes:
        grids: the grids' manifests.
        predictors: the fitted predictors, with their metrics.
        failures: the runs that failed.
    """

    grids: list[dict[str, Any]] = field(default_factory=list)
    predictors: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)


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
        ValueError: another ending, or a column that the format cannot hold.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_ending(out)
    with written_beside(out) as beside:
        if out.suffix == ".csv":
            to_frame(table).to_csv(beside, index=False, lineterminator="\n")
            return
        metadata = {
            "format": FORMAT,
            "columns": table.column_names,
            "query": query,
            "grids": _numbered(table, manifests.grids),
            "predictors": manifests.predictors,
            "failures": manifests.failures,
        }
        text = json.dumps(metadata, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        # Without Arrow's own copy of the schema: the file's types say all, and it would hold the metadata once more.
        options: dict[str, Any] = {"compression": "zstd", "compression_level": 9, "store_schema": False}
        options["write_page_checksum"] = True
        try:
            with pq.ParquetWriter(beside, table.schema, **options) as writer:
                writer.write_table(table)
                writer.add_key_value_metadata({KEY: text.encode()})
        except pa.ArrowNotImplementedError as error:
            raise ValueError(f"Parquet cannot hold a column of this result: {error}") from error


def read_manifests(path: Path) -> Manifests:
    """What `write_export` put beside the rows.

    Raises:
        ValueError: no Parquet file, or not one of ours.
    """
    return _read(path, only_metadata=True)[1]


def read_export(path: Path) -> tuple[pa.Table, Manifests]:
    """The rows, in the columns and the order of results, and the manifests.

    Raises:
        ValueError: no Parquet file, not one of ours, or the outcome of a query that lacks columns.
    """
    import pyarrow as pa

    stored, manifests = _read(path, only_metadata=False)
    lost = [column.name for column in COLUMNS if column.required and column.name not in stored.column_names]
    if lost:
        raise ValueError(
            f"{path} lacks the columns {', '.join(lost)}: it holds the outcome of a query, where all columns of the "
            "runs are needed; export them without a query"
        )
    schema = arrow_schema()
    empty = pa.nulls(stored.num_rows)
    columns = [stored[name] if name in stored.column_names else empty for name in schema.names]
    try:
        table = pa.table([values.cast(kind) for values, kind in zip(columns, schema.types, strict=True)], schema=schema)
        table.validate()
        if any(table[name].null_count for name in schema.names if not schema.field(name).nullable):
            raise pa.ArrowInvalid("a required value is missing")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{path} holds other types than results have ({error}); export them again") from error
    return table.sort_by([(name, "ascending") for name in ORDER]), manifests


def _read(path: Path, *, only_metadata: bool) -> tuple[pa.Table, Manifests]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            stored = file.metadata.metadata or {}
            names = file.schema_arrow.names
            # The metadata's row numbers need the digests; nothing else of the rows.
            wanted = [name for name in names if name == "digest"] if only_metadata else names
            table = file.read(columns=wanted)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a Parquet file ({' '.join(str(error).split())})") from error
    try:
        ours = json.loads(stored[KEY])
        if ours["format"] > FORMAT:
            raise ValueError(f"{path} was written by a newer scratchcard (format {ours['format']}); update this one")
        if ours["columns"] != names:  # the file's own list of them has no checksum
            raise ValueError(f"{path} is damaged: its columns are not those that were written; export them again")
        grids = [_named(table, manifest) for manifest in ours["grids"]]
        return table, Manifests(grids, list(ours["predictors"]), list(ours["failures"]))
    except (KeyError, TypeError, IndexError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is a Parquet file, but none that `scratchcard results --out` or `export` wrote"
        ) from error


def _numbered(table: pa.Table, grids: list[dict[str, Any]]) -> list[dict[str, Any]]:
    digests = table["digest"].to_pylist() if table.column_names.count("digest") == 1 else []
    rows = {digest: number for number, digest in enumerate(digests) if isinstance(digest, str)}
    return [manifest | {"digests": [rows.get(d, d) for d in manifest["digests"]]} for manifest in grids]


def _named(table: pa.Table, manifest: dict[str, Any]) -> dict[str, Any]:
    digests = table["digest"].to_pylist() if "digest" in table.column_names else []
    return manifest | {"digests": [digests[d] if isinstance(d, int) else d for d in manifest["digests"]]}
