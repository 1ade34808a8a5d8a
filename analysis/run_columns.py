"""The columns of a frame of results: names, types, and where in a run's record each of them stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Kind = Literal["text", "integer", "real", "flag", "json"]

SQL = {"text": "VARCHAR", "integer": "BIGINT", "real": "DOUBLE", "flag": "BOOLEAN", "json": "JSON"}
"""DuckDB's types. JSON stays text."""


@dataclass(frozen=True)
class RecordColumn:
    """One column.

    Attributes:
        name: in the frame.
        path: the keys that lead to it in the record, joined with dots; empty for a column that is worked out.
        kind: text, integer, real, flag or json (kept as text).
        required: without it a file is no record of a finished run; the others may be missing (older records).
    """

    name: str
    path: str
    kind: Kind = "text"
    required: bool = False


_METHOD = "configuration.method"
_WORKLOAD = "configuration.workload"

COLUMNS = (
    RecordColumn("digest", "digest", required=True),
    RecordColumn("label", "label", required=True),
    RecordColumn("network", f"{_WORKLOAD}.network", required=True),
    RecordColumn("task", f"{_WORKLOAD}.task", required=True),
    RecordColumn("data_digest", f"{_WORKLOAD}.data_digest"),
    RecordColumn("density", "configuration.density", "real", required=True),
    RecordColumn("seed", "configuration.seed", "integer", required=True),
    RecordColumn("scorer", f"{_METHOD}.scorer", required=True),
    RecordColumn("on", f"{_METHOD}.on"),
    RecordColumn("predictor", ""),
    RecordColumn("regime", f"{_METHOD}.regime", required=True),
    RecordColumn("rounds", f"{_METHOD}.rounds", "integer"),
    RecordColumn("shots", f"{_METHOD}.shots", "integer"),
    RecordColumn("schedule", f"{_METHOD}.schedule"),
    RecordColumn("scope", f"{_METHOD}.scope"),
    RecordColumn("towards", f"{_METHOD}.towards", "real"),
    RecordColumn("restack", f"{_METHOD}.restack", "flag"),
    RecordColumn("rewind_step", f"{_METHOD}.rewind_step", "integer"),
    RecordColumn("initial", f"{_METHOD}.initial"),
    RecordColumn("initial_scorer", f"{_METHOD}.initial_scorer"),
    RecordColumn("scoring_examples", f"{_WORKLOAD}.recipe.scoring_examples", "integer"),
    RecordColumn("max_steps", f"{_WORKLOAD}.recipe.max_steps", "integer"),
    RecordColumn("kept", "kept", "integer", required=True),
    RecordColumn("prunable", "prunable", "integer", required=True),
    RecordColumn("effective_density", "effective_density", "real"),
    RecordColumn("test_accuracy", "test_accuracy", "real", required=True),
    RecordColumn("test_loss", "test_loss", "real"),
    RecordColumn("metric", "metric"),
    RecordColumn("test_metrics", "test_metrics", "json"),
    RecordColumn("validation_accuracy", "training.validation_accuracy", "real"),
    RecordColumn("validation_loss", "training.validation_loss", "real"),
    RecordColumn("pruning_seconds", "pruning_seconds", "real"),
    RecordColumn("training_seconds", "training.seconds", "real"),
    RecordColumn("wall_seconds", "wall_seconds", "real"),
    RecordColumn("steps", "training.steps", "integer"),
    RecordColumn("best_step", "training.best_step", "integer"),
    RecordColumn("early_stopped", "training.early_stopped", "flag"),
    RecordColumn("diverged", "training.diverged", "flag"),
    RecordColumn("engine", "training.engine"),
    RecordColumn("device", "device"),
    RecordColumn("results_version", "configuration.results_version", "integer"),
    RecordColumn("torch", "versions.torch"),
    RecordColumn("python", "versions.python"),
    RecordColumn("scratchcard", "versions.scratchcard"),
    RecordColumn("machine", "machine"),
    RecordColumn("finished", "finished"),
    RecordColumn("layer_density", "layer_density", "json"),
    RecordColumn("live_units", "live_units", "json"),
    RecordColumn("grids", "", required=True),
)

PREDICTOR_PATHS = (f"{_METHOD}.predictor_name", f"{_METHOD}.predictor")
"""What `predictor` is worked out from: the name, else the last part of the path."""

ORDER = ("task", "density", "label", "seed", "digest")
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
    leaves = [(column.path, SQL[column.kind]) for column in COLUMNS if column.path]
    for path, kind in [*leaves, *((path, SQL["text"]) for path in PREDICTOR_PATHS)]:
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
