"""The columns of a frame of results: names, types, and where in a run's record each of them stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SQL = {"text": "VARCHAR", "integer": "BIGINT", "real": "DOUBLE", "flag": "BOOLEAN", "json": "JSON"}
"""Kind of a column to DuckDB's type. JSON stays text."""


class RecordColumn(NamedTuple):
    """One column.

    Attributes:
        name: in the frame.
        path: the keys that lead to it in the record, joined with dots; empty for a column that is worked out.
        kind: text, integer, real, flag or json (kept as text).
        required: without it a file is no record of a finished run; the others may be missing (older records).
    """

    name: str
    path: str
    kind: str = "text"
    required: bool = False


def _columns(parent: str, written: str) -> Iterator[RecordColumn]:
    """From `name:kind` for each column, with `!` behind those that are required."""
    for word in written.split():
        name, _, kind = word.rstrip("!").partition(":")
        yield RecordColumn(name, f"{parent}{name}", kind or "text", word.endswith("!"))


_METHOD = "configuration.method."
_WORKLOAD = "configuration.workload."
COLUMNS = (
    *_columns("", "digest! label!"),
    *_columns(_WORKLOAD, "network! task! data_digest"),
    *_columns("configuration.", "density:real! seed:integer!"),
    *_columns(_METHOD, "scorer! on"),
    RecordColumn("predictor", ""),
    *_columns(_METHOD, "regime! rounds:integer shots:integer schedule scope towards:real restack:flag"),
    *_columns(_METHOD, "rewind_step:integer initial initial_scorer"),
    *_columns(f"{_WORKLOAD}recipe.", "scoring_examples:integer max_steps:integer"),
    *_columns("", "kept:integer! prunable:integer! effective_density:real test_accuracy:real! test_loss:real metric"),
    *_columns("", "test_metrics:json"),
    *_columns("training.", "validation_accuracy:real validation_loss:real"),
    *_columns("", "pruning_seconds:real"),
    RecordColumn("training_seconds", "training.seconds", "real"),
    *_columns("", "wall_seconds:real"),
    *_columns("training.", "steps:integer best_step:integer early_stopped:flag diverged:flag engine"),
    *_columns("", "device"),
    *_columns("configuration.", "results_version:integer"),
    *_columns("versions.", "torch python scratchcard"),
    *_columns("", "machine finished layer_density:json live_units:json"),
    RecordColumn("grids", "", required=True),
)
PREDICTOR_PATHS = (f"{_METHOD}predictor_name", f"{_METHOD}predictor")
"""What `predictor` is worked out from: the name, else the last part of the path."""
ORDER = [(name, "ascending") for name in ("task", "density", "label", "seed", "digest")]
"""What rows are sorted by; the digest makes the order one."""


def arrow_schema() -> pa.Schema:
    """The columns as an Arrow schema."""
    import pyarrow as pa

    types = {"text": pa.string(), "integer": pa.int64(), "real": pa.float64(), "flag": pa.bool_(), "json": pa.string()}
    return pa.schema([pa.field(column.name, types[column.kind], not column.required) for column in COLUMNS])


def json_structure() -> dict[str, Any]:
    """The part of a record that columns come from, as DuckDB's `json_transform` wants it: leaves are types.

    With the types given, no schema is inferred from the files: five thousand records would otherwise cost seconds, and
    a field that is null in all of them would have no type.
    """
    structure: dict[str, Any] = {}
    leaves = {column.path: SQL[column.kind] for column in COLUMNS if column.path}
    for path, kind in (leaves | dict.fromkeys(PREDICTOR_PATHS, SQL["text"])).items():
        *parents, last = path.split(".")
        level = structure
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = kind
    return structure


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A pandas frame: text, int64, float64 and bool; Int64 and boolean where a value may be missing.

    A missing real number is NaN. Columns of a result are typed by what they are, whether or not values are missing,
    so that code that works on one frame works on the next; other columns (of a query) by whether any is missing.
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
