"""The columns of results, and where they stand in a record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel

from scratchcard.sweeps.record import Record

if TYPE_CHECKING:
    import pyarrow as pa

SQL = {"text": "VARCHAR", "integer": "BIGINT", "real": "DOUBLE", "flag": "BOOLEAN", "json": "JSON"}
"""Kind of a column to DuckDB's type. JSON stays text."""
KINDS = {str: "text", int: "integer", float: "real", bool: "flag"}
"""Type in a record to kind of a column; what is none of these is JSON."""


class RecordColumn(NamedTuple):
    """One column.

    Attributes:
        name: in the frame.
        path: the keys that lead to it in the record, joined with dots; empty for a column that is worked out.
        kind: text, integer, real, flag or json (kept as text), as `sweeps.record` declares it.
        required: without it a record is left out; the others may be missing (older records).

    Examples:
        >>> next(column for column in COLUMNS if column.name == "training_seconds")
        RecordColumn(name='training_seconds', path='training.seconds', kind='real', required=False)
    """

    name: str
    path: str
    kind: str = "text"
    required: bool = False


def _declared(path: str) -> str:
    """The kind of the value at a path of a record."""
    part: Any = Record
    for name in path.split("."):
        if not (isinstance(part, type) and issubclass(part, BaseModel)):
            raise ValueError(f"records have no {path}")
        wanted = part.model_fields[name].annotation
        part = next((one for one in get_args(wanted) if one is not type(None)), wanted)
        part = part.__origin__ if hasattr(part, "__metadata__") else part
    return KINDS.get(part, "json")


def _columns(parent: str, written: str) -> Iterator[RecordColumn]:
    """From the names of the columns, with `!` behind those that are required."""
    for word in written.split():
        name = word.rstrip("!")
        path = f"{parent}{name}"
        yield RecordColumn(name, path, _declared(path), word.endswith("!"))


_METHOD = "configuration.method."
_WORKLOAD = "configuration.workload."
COLUMNS = (
    *_columns("", "digest! label!"),
    *_columns(_WORKLOAD, "network! task! data_digest"),
    *_columns("configuration.", "density! seed!"),
    *_columns(_METHOD, "scorer! on"),
    RecordColumn("predictor", ""),
    *_columns(_METHOD, "regime! rounds shots schedule scope towards restack rewind_step round_steps"),
    *_columns(
        _METHOD,
        "search_steps search_learning_rate search_rise search_stride search_optimizer search_batch_size "
        "search_weight_decay settle look_every pace update_steps drop_fraction update_share same_sign "
        "masks thresholds mask_rate mask_decay",
    ),
    *_columns(_METHOD, "initial initial_scorer kept_weights kept_signs"),
    *_columns(f"{_WORKLOAD}recipe.", "optimizer learning_rate scoring_examples max_steps"),
    *_columns("", "kept! prunable! effective_density test_accuracy! test_loss metric test_metrics"),
    *_columns("training.", "validation_accuracy validation_loss"),
    *_columns("", "pruning_seconds passes"),
    RecordColumn("training_seconds", "training.seconds", _declared("training.seconds")),
    *_columns("", "wall_seconds"),
    *_columns("training.", "steps best_step early_stopped diverged engine"),
    *_columns("", "device"),
    *_columns("configuration.", "results_version"),
    *_columns("versions.", "torch python scratchcard"),
    *_columns("", "machine finished layer_density live_units checks"),
    RecordColumn("grids", "", required=True),
)
PREDICTOR_PATHS = (f"{_METHOD}predictor_name", f"{_METHOD}predictor")
"""What `predictor` is worked out from: the name, else the last part of the path."""
ORDER = [(name, "ascending") for name in ("task", "density", "label", "seed", "digest")]
"""What rows are sorted by; the digest makes the order one."""


def arrow_schema() -> pa.Schema:
    """The columns as an Arrow schema.

    >>> arrow_schema().field("seed"), arrow_schema().field("predictor")
    (pyarrow.Field<seed: int64 not null>, pyarrow.Field<predictor: string>)
    """
    import pyarrow as pa

    types = {"text": pa.string(), "integer": pa.int64(), "real": pa.float64(), "flag": pa.bool_(), "json": pa.string()}
    return pa.schema([pa.field(column.name, types[column.kind], not column.required) for column in COLUMNS])


def json_structure() -> dict[str, Any]:
    """The part of a record that columns come from, as DuckDB's `json_transform` wants it: leaves are types.

    With the types given, no schema is inferred from the files: five thousand records would otherwise cost seconds, and
    a field that is null in all of them would have no type.

    >>> json_structure()["training"]["best_step"], json_structure()["configuration"]["seed"]
    ('BIGINT', 'BIGINT')
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
