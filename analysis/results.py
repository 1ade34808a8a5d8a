"""Results: the records of a folder, or an exported file of them, as one frame, and SQL over it."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.groups import SETTINGS, differing, groups
from scratchcard.analysis.results_file import ENDINGS, Manifests, read_export, to_frame, whole, write_export
from scratchcard.analysis.run_files import DamagedRecordWarning as DamagedRecordWarning
from scratchcard.analysis.run_files import closed_connection, import_duckdb, read_beside, read_records
from scratchcard.analysis.statistics import Interval
from scratchcard.registry import lookup

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

GROUP = ("task", "network", "density", "label", "predictor")
"""Runs that agree in these differ in their seed alone, unless `summary` warns."""


class MixedRunsWarning(UserWarning):
    """One group holds a seed more than once: its runs differ in something that its label does not name.

    >>> import pandas as pd, warnings
    >>> run = {"task": "digits", "network": "lenet", "density": 0.1, "label": "snip", "predictor": None, "seed": 0}
    >>> twice = pd.DataFrame([run, run]).assign(test_accuracy=[0.9, 0.8], device=["cpu", "cuda"])
    >>> with warnings.catch_warnings(action="error"):
    ...     summary(twice)
    Traceback (most recent call last):
        ...
    scratchcard.analysis.results.MixedRunsWarning: 2 runs of 'snip' ... share 1 seeds: they differ in device; ...
    """


def frame(source: str | Path, *, grid: str | None = None) -> pd.DataFrame:
    """One row a finished run, in the columns of `analysis.results_file`; sorted, accuracies as shares in [0, 1].

    Args:
        source: a folder of results, or a `.parquet` file that `export` wrote. Both give the same frame, to the bit.
        grid: only the runs of this grid.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no finished run, an unknown grid, a file that is not ours, or DuckDB is not installed (folders).

    Warns:
        DamagedRecordWarning: files that are no whole records were skipped.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> runs = [sc.Experiment(workload, sc.Method(name), 0.25, seed=0) for name in ("random", "snip")]
        >>> _ = sc.sweep(runs, "framed")
        >>> frame("framed")[["label", "density", "kept"]].values.tolist()
        [['random', 0.25, 2], ['snip', 0.25, 2]]
    """
    return to_frame(_load(source, grid)[0])


def grids(source: str | Path) -> list[dict[str, Any]]:
    """The manifests of the grids whose runs the source holds, sorted by name; see `frame` for errors.

    >>> import pathlib
    >>> pathlib.Path("gridded/grids").mkdir(parents=True)
    >>> _ = pathlib.Path("gridded/grids/toy.json").write_text('{"name": "toy", "title": "A toy", "digests": ["ab12"]}')
    >>> grids("gridded")
    [{'name': 'toy', 'title': 'A toy', 'digests': ['ab12']}]
    """
    return _manifests(source).grids


def predictors(source: str | Path) -> list[dict[str, Any]]:
    """The predictors fitted for the source's grids: name, identity, recipe, metrics, seconds; errors as of `frame`.

    >>> import pathlib
    >>> pathlib.Path("fitted/predictors").mkdir(parents=True)
    >>> told = '{"name": "linear", "identity": "ab12", "metrics": {"held_out": {"r2": 0.3}}}'
    >>> _ = pathlib.Path("fitted/predictors/ab12.json").write_text(told)
    >>> [(predictor["name"], predictor["metrics"]["held_out"]) for predictor in predictors("fitted")]
    [('linear', {'r2': 0.3})]
    """
    return _manifests(source).predictors


def failures(source: str | Path, *, grid: str | None = None) -> pd.DataFrame:
    """The runs that failed and have no result since: digest, label, density, seed, error, finished.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file that is not ours, or an unknown grid.

    Examples:
        >>> import pathlib
        >>> pathlib.Path("failed").mkdir()
        >>> told = '{"digest": "ab12", "label": "snip", "configuration": {"density": 0.1, "seed": 3}, "error": "lost"}'
        >>> _ = pathlib.Path("failed/ab12.error.json").write_text(told)
        >>> failures("failed")[["label", "density", "seed", "error"]].values.tolist()
        [['snip', 0.1, 3, 'lost']]
    """
    import pandas as pd

    kinds = {"digest": "str", "label": "str", "density": "float64", "seed": "Int64", "error": "str", "finished": "str"}
    return pd.DataFrame(_of(_manifests(source), source, grid).failures, columns=list(kinds)).astype(kinds)


def query(source: str | Path, sql: str, *, grid: str | None = None) -> pd.DataFrame:
    """What a SELECT (in DuckDB's SQL) over the view `runs`, the source's frame, gives.

    The database is in memory and closed: no files, no network, no extensions.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: as `frame`; wrong SQL, another statement than one SELECT, or two columns of one name.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> _ = sc.sweep([sc.Experiment(workload, sc.Method("snip"), density, 0) for density in (0.25, 0.5)], "queried")
        >>> query("queried", "SELECT label, sum(kept) AS kept FROM runs GROUP BY label").values.tolist()
        [['snip', 6]]
    """
    return to_frame(_query(_load(source, grid)[0], sql))


def export(source: str | Path, out: str | Path, *, grid: str | None = None, query: str | None = None) -> Path:
    """Write the frame, or what a query over it gives, as Parquet or CSV by the ending of `out`; returns `out`.

    A Parquet file carries the manifests of the grids, the predictors' metrics and the failed runs in its metadata and
    is a source itself. It is written beside and renamed; the same results give the same bytes.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: as `query`; another ending.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> _ = sc.sweep([sc.Experiment(workload, sc.Method("snip"), 0.25, 0)], "exported")
        >>> frame(export("exported", "exported.parquet")).equals(frame("exported"))
        True
    """
    out = Path(out)
    if out.suffix not in ENDINGS:
        raise ValueError(f"cannot export to {out}: the file's ending must be {' or '.join(ENDINGS)}")
    table, manifests = _load(source, grid)
    write_export(table if query is None else _query(table, query), manifests, out, query=query)
    return out


def unfinished(frame: pd.DataFrame, grids: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """For each grid (a manifest) how many of its runs a frame lacks, and how many it has: `{name: (missing, all)}`.

    >>> import pandas as pd
    >>> unfinished(pd.DataFrame({"digest": ["ab12"]}), [{"name": "toy", "digests": ["ab12", "cd34", "ef56"]}])
    {'toy': (2, 3)}
    """
    done = set(frame["digest"])
    planned = {str(manifest["name"]): set(manifest["digests"]) for manifest in grids}
    return {name: (len(digests - done), len(digests)) for name, digests in planned.items()}


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a (task, network, density, label, predictor, metric): the mean headline metric over the seeds, with its
    95 % interval.

    Columns: these six, `test_accuracy`, `half_width` (NaN for a single run), `seeds`. In the frame's order.

    Warns:
        MixedRunsWarning: a group holds a seed more than once, so that its runs differ in more than the seed.

    Examples:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"label": "snip", "seed": [0, 1, 2], "test_accuracy": [0.90, 0.92, 0.94]})
        >>> frame = frame.assign(task="digits", network="lenet", density=0.1, predictor=None)
        >>> summary(frame)[["label", "test_accuracy", "half_width", "seeds"]].round(3).values.tolist()
        [['snip', 0.92, 0.05, 3]]
    """
    import pandas as pd

    rows = []
    for group in groups(frame, GROUP):
        if group.repeated:
            task, _, density, label, _ = group.key
            differ = differing(frame.iloc[list(group.rows)], SETTINGS)
            reason = f"they differ in {', '.join(differ)}" if differ else "see their configurations"
            told = f"{len(group.rows)} runs of {label!r} on {task} at density {density:g} share "
            told += f"{len(group.every_seed)} seeds: {reason}; tell them apart with SQL or a grid"
            warnings.warn(told, MixedRunsWarning, stacklevel=2)
        found = group.interval if group.values else Interval(math.nan, math.nan, 0)
        rows.append((*group.key, group.metric, found.mean, found.half_width, len(group.every_seed)))
    summed = pd.DataFrame(rows, columns=[*GROUP, "metric", "test_accuracy", "half_width", "seeds"])
    return summed.astype({name: frame[name].dtype for name in GROUP})


def _manifests(source: str | Path) -> Manifests:
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"there are no results at {path}: expected a folder of them or an exported .parquet")
    if path.is_dir():
        found = read_beside(path)
    elif path.suffix == ".parquet":
        found = read_export(path)[1]
    else:
        raise ValueError(f"{path} is no folder of results and no exported .parquet file")
    # JSON can hold half a character, which no page, frame or terminal takes.
    return Manifests(*json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")))


def _of(found: Manifests, source: str | Path, grid: str | None) -> Manifests:
    """What is of one grid."""
    if grid is None:
        return found
    known = {str(manifest["name"]): manifest for manifest in found.grids}
    if not known:
        raise ValueError(f"there is no grid {grid!r} in {source}: no grid was swept into it")
    manifest = lookup(known, "grids", grid)
    lost = [failure for failure in found.failures if failure["digest"] in set(manifest["digests"])]
    return Manifests([manifest], found.predictors, lost)


def _load(source: str | Path, grid: str | None) -> tuple[pa.Table, Manifests]:
    """The rows, and what stands beside them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    path, found = Path(source), _manifests(source)
    beside = _of(found, source, grid)
    only = None if grid is None else set(beside.grids[0]["digests"])
    if path.is_dir():
        table = read_records(path, found.grids, only)
    else:
        table = whole(read_export(path)[0], path)
        if only is not None:
            table = table.filter(pc.is_in(table["digest"], pa.array(only, pa.string())))
    if table.num_rows == 0:
        of = f" of grid {grid!r}" if grid is not None else ""
        ending = f"; {len(beside.failures)} failed" if beside.failures else ""
        raise ValueError(f"there is no finished run{of} in {path}, expected records that a sweep wrote{ending}")
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
