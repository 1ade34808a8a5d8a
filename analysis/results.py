"""Results: the records of a folder, or an exported file of them, as one frame, and SQL over it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.groups import SETTINGS, Group, differing, groups
from scratchcard.analysis.results_file import Manifests, check_ending, read_export, read_manifests, write_export
from scratchcard.analysis.run_columns import to_frame
from scratchcard.analysis.run_files import (
    DamagedRecordWarning,
    closed_connection,
    import_duckdb,
    read_failures,
    read_grids,
    read_predictors,
    read_records,
)
from scratchcard.analysis.statistics import Interval
from scratchcard.registry import lookup

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "DamagedRecordWarning",
    "MixedRunsWarning",
    "export",
    "failures",
    "frame",
    "grids",
    "predictors",
    "query",
    "summary",
    "unfinished",
]

GROUP = ("task", "network", "density", "label", "predictor")
"""Runs that agree in these differ in their seed alone, unless `summary` warns."""


class MixedRunsWarning(UserWarning):
    """One group holds a seed more than once: its runs differ in something that its label does not name."""


def frame(source: str | Path, *, grid: str | None = None) -> pd.DataFrame:
    """One row a finished run, in the columns of `analysis.run_columns`; sorted, accuracies as shares in [0, 1].

    Args:
        source: a folder of results, or a `.parquet` file that `export` wrote. Both give the same frame, to the bit.
        grid: only the runs of this grid.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no finished run, an unknown grid, a file that is not ours, or DuckDB is not installed (folders).

    Warns:
        DamagedRecordWarning: files that are no whole records were skipped.
    """
    return to_frame(_load(Path(source), grid)[0])


def grids(source: str | Path) -> list[dict[str, Any]]:
    """The manifests of the grids whose runs the source holds, sorted by name.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file that is not ours.
    """
    path = _existing(Path(source))
    return read_grids(path) if path.is_dir() else read_manifests(path).grids


def predictors(source: str | Path) -> list[dict[str, Any]]:
    """The predictors that were fitted for the source's grids: name, identity, recipe, metrics, seconds.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file that is not ours.
    """
    path = _existing(Path(source))
    return read_predictors(path) if path.is_dir() else read_manifests(path).predictors


def failures(source: str | Path, *, grid: str | None = None) -> pd.DataFrame:
    """The runs that failed and have no result since: digest, label, density, seed, error, finished.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file that is not ours, or an unknown grid.
    """
    import pandas as pd

    path = _existing(Path(source))
    found = read_failures(path) if path.is_dir() else read_manifests(path).failures
    if grid is not None:
        wanted = set(_manifest(path, grids(path), grid)["digests"])
        found = [failure for failure in found if failure["digest"] in wanted]
    texts = {name: [failure[name] for failure in found] for name in ("digest", "label", "error", "finished")}
    density = pd.Series([failure["density"] for failure in found], dtype="float64")
    seed = pd.Series([failure["seed"] for failure in found], dtype="Int64")
    rest = {name: pd.Series(values, dtype="str") for name, values in texts.items()}
    ordered = ("digest", "label", "density", "seed", "error", "finished")
    return pd.DataFrame({name: (rest | {"density": density, "seed": seed})[name] for name in ordered})


def query(source: str | Path, sql: str, *, grid: str | None = None) -> pd.DataFrame:
    """What a SELECT (in DuckDB's SQL) over the view `runs`, the source's frame, gives.

    The database is in memory and closed: no files, no network, no extensions.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: as `frame`; wrong SQL, another statement than one SELECT, or two columns of one name.
    """
    return to_frame(_query(_load(Path(source), grid)[0], sql))


def export(source: str | Path, out: str | Path, *, grid: str | None = None, query: str | None = None) -> Path:
    """Write the frame, or what a query over it gives, as Parquet or CSV by the ending of `out`; returns `out`.

    A Parquet file carries the manifests of the grids, the predictors' metrics and the failed runs in its metadata and
    is a source itself. It is written beside and renamed; the same results give the same bytes.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: as `query`; another ending.
    """
    path, out = Path(source), Path(out)
    check_ending(out)
    table, manifests = _load(path, grid, manifests=True)
    write_export(table if query is None else _query(table, query), manifests, out, query=query)
    return out


def unfinished(frame: pd.DataFrame, grids: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """For each grid (a manifest) how many of its runs a frame lacks, and how many it has: `{name: (missing, all)}`."""
    done = set(frame["digest"])
    planned = {str(manifest["name"]): set(manifest["digests"]) for manifest in grids}
    return {name: (len(digests - done), len(digests)) for name, digests in planned.items()}


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a (task, network, density, label, predictor, metric): the mean headline metric over the seeds, with its
    95 % interval.

    Columns: these six, `test_accuracy`, `half_width` (NaN for a single run), `seeds`. In the frame's order.

    Warns:
        MixedRunsWarning: a group holds a seed more than once, so that its runs differ in more than the seed.
    """
    import pandas as pd

    rows = []
    for group in groups(frame, GROUP):
        if group.repeated:
            _warn_of_mixed(group, frame.iloc[list(group.rows)])
        found = group.interval if group.values else Interval(math.nan, math.nan, 0)
        rows.append((*group.key, group.metric, found.mean, found.half_width, len(group.every_seed)))
    summed = pd.DataFrame(rows, columns=[*GROUP, "metric", "test_accuracy", "half_width", "seeds"])
    return summed.astype({name: frame[name].dtype for name in GROUP})


def _warn_of_mixed(group: Group, runs: pd.DataFrame) -> None:
    task, _, density, label, _ = group.key
    differ = differing(runs, SETTINGS)
    reason = f"they differ in {', '.join(differ)}" if differ else "see their configurations"
    warnings.warn(
        f"{len(runs)} runs of {label!r} on {task} at density {density:g} share {len(group.every_seed)} seeds: "
        f"{reason}; tell them apart with SQL or a grid",
        MixedRunsWarning,
        stacklevel=3,
    )


def _existing(source: Path) -> Path:
    if not source.exists():
        raise FileNotFoundError(f"there are no results at {source}: expected a folder of them or an exported .parquet")
    if not source.is_dir() and source.suffix != ".parquet":
        raise ValueError(f"{source} is no folder of results and no exported .parquet file")
    return source


def _manifest(source: Path, manifests: list[dict[str, Any]], grid: str) -> dict[str, Any]:
    known = {str(manifest["name"]): manifest for manifest in manifests}
    if not known:
        raise ValueError(f"there is no grid {grid!r} in {source}: no grid was swept into it")
    return lookup(known, "grids", grid)


def _load(source: Path, grid: str | None, *, manifests: bool = False) -> tuple[pa.Table, Manifests]:
    """The rows; with `manifests` also all that stands beside them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    path = _existing(source)
    only: Collection[str] | None = None
    if path.is_dir():
        beside = Manifests(read_grids(path))
        if grid is not None:
            only = set(_manifest(path, beside.grids, grid)["digests"])
        table = read_records(path, beside.grids, only)
        if manifests:
            beside = Manifests(beside.grids, read_predictors(path), read_failures(path))
    else:
        table, beside = read_export(path)
        if grid is not None:
            only = set(_manifest(path, beside.grids, grid)["digests"])
            table = table.filter(pc.is_in(table["digest"], pa.array(only, pa.string())))
    if table.num_rows == 0:
        of = f" of grid {grid!r}" if grid is not None else ""
        failed = len(failures(path, grid=grid))
        ending = f"; {failed} failed" if failed else ""
        raise ValueError(f"there is no finished run{of} in {path}, expected records that a sweep wrote{ending}")
    if only is not None:
        lost = [failure for failure in beside.failures if failure["digest"] in only]
        beside = Manifests([m for m in beside.grids if m["name"] == grid], beside.predictors, lost)
    return table, beside


def _query(table: pa.Table, sql: str) -> pa.Table:
    duckdb = import_duckdb()
    try:
        statements = duckdb.extract_statements(sql)
        # PIVOT counts as several statements, of which it is the reading one.
        reads = {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}
        if len(statements) != 1 or statements[0].type not in reads:
            raise ValueError(f"only one SELECT over the view runs is allowed, got {sql!r}")
        with closed_connection() as connection:
            connection.register("runs", table)
            found = _plain(connection.sql(sql).to_arrow_table())
    except duckdb.Error as error:
        text = str(error).partition("\n\nLINE ")[0].partition("\nLINE ")[0]
        raise ValueError(f"the SQL cannot be run: {' '.join(text.split())}") from error
    twice = sorted({name for name in found.column_names if found.column_names.count(name) > 1})
    if twice:
        raise ValueError(f"the SQL gives several columns called {twice[0]!r}: give each its own name with AS")
    return found


def _plain(table: pa.Table) -> pa.Table:
    """With whole decimals, DuckDB's sums of integers, as integers where they fit, other decimals as floats."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for column in table.columns:
        if pa.types.is_decimal(column.type):
            largest = pc.max(pc.abs(column)).as_py() or 0
            fits = column.type.scale == 0 and largest <= 2**63 - 1
            column = column.cast(pa.int64() if fits else pa.float64())
        elif pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        columns.append(column)
    return pa.table(columns, names=table.column_names)
